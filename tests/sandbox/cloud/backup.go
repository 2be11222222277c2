package cloud

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

// No real record of a vault was at hand: the names follow those of the real
// StartBackupJob and DeleteRecoveryPoint in the service's documentation
// (backupVaultName), and that the tags are masked is inferred from the API's model,
// which marks them as sensitive.
func backupService() service {
	return service{
		source: "backup.amazonaws.com", wire: backupWire,
		ops: map[string]operation{
			"CreateBackupVault":                  {needs: createVaultNeeds, do: createVault, params: createVaultParams},
			"DeleteBackupVault":                  {needs: onVault("backup:DeleteBackupVault"), do: deleteVault},
			"PutBackupVaultLockConfiguration":    {needs: lockVaultNeeds, do: lockVault},
			"DeleteBackupVaultLockConfiguration": {needs: onVault("backup:DeleteBackupVaultLockConfiguration"), do: unlockVault},
			"DescribeBackupVault":                {readOnly: true, needs: onVault("backup:DescribeBackupVault"), do: describeVault},
			"DescribeRecoveryPoint":              {readOnly: true, needs: onRecoveryPoint("backup:DescribeRecoveryPoint"), do: describeRecoveryPoint},
			"DeleteRecoveryPoint":                {needs: onRecoveryPoint("backup:DeleteRecoveryPoint"), do: deleteRecoveryPoint, deniedAnswersSuccess: true},
			"ListBackupVaults":                   {readOnly: true, needs: anyOf("backup:ListBackupVaults"), do: listVaults},
			"ListTags":                           {readOnly: true, needs: vaultTagsNeeds, do: vaultTags},
		},
		seed: seedLockedVault,
		fixtures: func(account, region string) map[string]string {
			if region == "*" {
				return nil
			}
			return map[string]string{"locked_vault": lockedVault, "locked_recovery_point": recoveryPointARN(account, region)}
		},
	}
}

var backupWire = restJSON{routes: []jsonRoute{
	{"PUT", "/backup-vaults/{backupVaultName}/vault-lock", "PutBackupVaultLockConfiguration"},
	{"DELETE", "/backup-vaults/{backupVaultName}/vault-lock", "DeleteBackupVaultLockConfiguration"},
	{"GET", "/backup-vaults/{backupVaultName}/recovery-points/{recoveryPointArn}", "DescribeRecoveryPoint"},
	{"DELETE", "/backup-vaults/{backupVaultName}/recovery-points/{recoveryPointArn}", "DeleteRecoveryPoint"},
	{"GET", "/backup-vaults/{backupVaultName}", "DescribeBackupVault"},
	{"PUT", "/backup-vaults/{backupVaultName}", "CreateBackupVault"},
	{"DELETE", "/backup-vaults/{backupVaultName}", "DeleteBackupVault"},
	{"GET", "/backup-vaults", "ListBackupVaults"},
	{"GET", "/tags/{resourceArn}", "ListTags"},
}}

const backupVaults = "backup vault"

var vaultName = regexp.MustCompile(`^[a-zA-Z0-9_-]{2,50}$`)

// hidden is what stands in a record for what may be a secret.
const hidden = "HIDDEN_DUE_TO_SECURITY_REASONS"

func (k *call) vaultARN(name string) string {
	return "arn:aws:backup:" + k.Region + ":" + k.Principal.Account + ":backup-vault:" + name
}

// backupKey is the key that AWS Backup has in every account and region.
func (k *call) backupKey() string {
	return k.keyARN(keyID(k.Principal.Account, k.Region+"/aws/backup"))
}

func (k *call) vaultContext(name string) policy.Context {
	ctx := policy.Context{}
	if v := k.region().Things[backupVaults][name]; v != nil {
		tagKeys(ctx, "aws:ResourceTag/", v.Tags)
	}
	return ctx
}

// onVault is the need of an operation on the vault the request names.
func onVault(action string) func(*call) []need {
	return func(k *call) []need {
		name := k.str("backupVaultName")
		return []need{{action: action, resource: k.vaultARN(name), context: k.vaultContext(name)}}
	}
}

// createVaultNeeds: a vault is made together with what the key behind it needs,
// which the service does in the caller's name.
func createVaultNeeds(k *call) []need {
	arn, given := k.vaultARN(k.str("backupVaultName")), mapTags(k.Params["BackupVaultTags"])
	out := []need{{action: "backup:CreateBackupVault", resource: arn, context: requestTags(policy.Context{}, given)}}
	if len(given) > 0 {
		out = append(out, need{action: "backup:TagResource", resource: arn, context: requestTags(policy.Context{}, given)})
	}
	out = append(out, need{action: "backup-storage:MountCapsule", resource: "*"})
	for _, action := range []string{"kms:CreateGrant", "kms:GenerateDataKey", "kms:Decrypt", "kms:RetireGrant", "kms:DescribeKey"} {
		out = append(out, need{action: action, resource: k.backupKey(), context: policy.Context{"kms:viaservice": {"backup." + k.Region + ".amazonaws.com"}}})
	}
	return out
}

func lockVaultNeeds(k *call) []need {
	name := k.str("backupVaultName")
	ctx := k.vaultContext(name)
	for param, key := range map[string]string{"ChangeableForDays": "backup:changeablefordays", "MinRetentionDays": "backup:minretentiondays", "MaxRetentionDays": "backup:maxretentiondays"} {
		if k.Params[param] != nil {
			ctx[key] = []string{fmt.Sprint(k.Params[param])}
		}
	}
	return []need{{action: "backup:PutBackupVaultLockConfiguration", resource: k.vaultARN(name), context: ctx}}
}

func vaultTagsNeeds(k *call) []need {
	arn := k.str("resourceArn")
	return []need{{action: "backup:ListTags", resource: arn, context: k.vaultContext(strings.TrimPrefix(arn, k.vaultARN("")))}}
}

func createVaultParams(k *call) any {
	p := maps.Clone(k.Params)
	if p["BackupVaultTags"] != nil {
		p["BackupVaultTags"] = hidden
	}
	return lowerNames(p)
}

func (k *call) vault() (*Thing, error) {
	name := k.str("backupVaultName")
	v := k.region().Things[backupVaults][name]
	if v == nil {
		return nil, fail(400, "ResourceNotFoundException", "Backup Vault name: %s Does not exist.", name)
	}
	return v, nil
}

func createVault(k *call) (reply, error) {
	name := k.str("backupVaultName")
	switch {
	case !vaultName.MatchString(name):
		return reply{}, fail(400, "InvalidParameterValueException", "Invalid backup vault name: %s", name)
	case k.region().Things[backupVaults][name] != nil:
		return reply{}, fail(400, "AlreadyExistsException", "Backup vault with the same name already exists")
	}
	v := &Thing{ID: name, ARN: k.vaultARN(name), Tags: mapTags(k.Params["BackupVaultTags"]), Attr: map[string]any{"created": k.Time.Unix()}}
	k.region().Put(backupVaults, v)
	return reply{
		body:     map[string]any{"BackupVaultName": name, "BackupVaultArn": v.ARN, "CreationDate": k.Time.Unix()},
		elements: map[string]any{"backupVaultName": name, "backupVaultArn": v.ARN, "creationDate": k.Time.Format("Jan 2, 2006 3:04:05 PM")},
	}, nil
}

// deleteVault: vaults of the sandbox are always empty.
func deleteVault(k *call) (reply, error) {
	v, err := k.vault()
	if err != nil {
		return reply{}, err
	}
	delete(k.region().Things[backupVaults], v.ID)
	return reply{}, nil
}

// lockVault: with ChangeableForDays the lock becomes final on a day.
func lockVault(k *call) (reply, error) {
	v, err := k.vault()
	if err != nil {
		return reply{}, err
	}
	if v.Attr["final"] == true {
		return reply{}, fail(400, "InvalidRequestException", "The vault lock configuration is immutable")
	}
	least, most := k.Params["MinRetentionDays"], k.Params["MaxRetentionDays"]
	for _, days := range []any{least, most} {
		if n, ok := days.(float64); days != nil && (!ok || n < 1 || n > 36500) {
			return reply{}, fail(400, "InvalidParameterValueException", "Retention days must be between 1 and 36500")
		}
	}
	if n, ok := k.Params["ChangeableForDays"].(float64); k.Params["ChangeableForDays"] != nil {
		if !ok || n < 3 {
			return reply{}, fail(400, "InvalidParameterValueException", "ChangeableForDays must be 3 or greater")
		}
		v.Attr["final"] = true // the cooling-off time is not waited for
	}
	v.Attr["locked"], v.Attr["min"], v.Attr["max"] = true, least, most
	return reply{}, nil
}

func unlockVault(k *call) (reply, error) {
	v, err := k.vault()
	if err != nil {
		return reply{}, err
	}
	if v.Attr["final"] == true {
		return reply{}, fail(400, "InvalidRequestException", "The vault lock configuration is immutable")
	}
	delete(v.Attr, "locked")
	delete(v.Attr, "min")
	delete(v.Attr, "max")
	return reply{}, nil
}

func (k *call) vaultMember(v *Thing) map[string]any {
	m := map[string]any{
		"BackupVaultName": v.ID, "BackupVaultArn": v.ARN, "CreationDate": v.Attr["created"], "EncryptionKeyArn": k.backupKey(),
		"NumberOfRecoveryPoints": len(k.recoveryPoints(v.ID)), "Locked": v.Attr["locked"] == true,
	}
	for attr, name := range map[string]string{"min": "MinRetentionDays", "max": "MaxRetentionDays"} {
		if v.Attr[attr] != nil {
			m[name] = v.Attr[attr]
		}
	}
	return m
}

func listVaults(k *call) (reply, error) {
	size, err := k.integer("maxResults", 1000)
	if err != nil || size < 1 || size > 1000 {
		return reply{}, fail(400, "InvalidParameterValueException", "MaxResults must be between 1 and 1000")
	}
	list, all := []any{}, k.region().Things[backupVaults]
	these, next := page(slices.Sorted(maps.Keys(all)), k.str("nextToken"), size)
	for _, name := range these {
		list = append(list, k.vaultMember(all[name]))
	}
	body := map[string]any{"BackupVaultList": list}
	if next != "" {
		body["NextToken"] = next
	}
	return reply{body: body}, nil
}

func vaultTags(k *call) (reply, error) {
	name := strings.TrimPrefix(k.str("resourceArn"), k.vaultARN(""))
	v := k.region().Things[backupVaults][name]
	if v == nil {
		return reply{}, fail(400, "ResourceNotFoundException", "%s does not exist", k.str("resourceArn"))
	}
	return reply{body: map[string]any{"Tags": v.Tags}}, nil
}
