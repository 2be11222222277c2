package cloud

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

func kmsService() service {
	return service{
		source: "kms.amazonaws.com", wire: json11{},
		ops: map[string]operation{
			"DisableKey":          {needs: onKey("kms:DisableKey"), do: setKey(false)},
			"EnableKey":           {needs: onKey("kms:EnableKey"), do: setKey(true)},
			"ScheduleKeyDeletion": {needs: onKey("kms:ScheduleKeyDeletion"), do: scheduleKeyDeletion},
			"CancelKeyDeletion":   {needs: onKey("kms:CancelKeyDeletion"), do: cancelKeyDeletion},
			"CreateGrant":         {needs: onKey("kms:CreateGrant"), do: createGrant},
			"DescribeKey":         {readOnly: true, needs: onKey("kms:DescribeKey"), do: describeKey},
			"GetPublicKey":        {readOnly: true, needs: onKey("kms:GetPublicKey"), do: getPublicKey},
			"GetKeyPolicy":        {readOnly: true, needs: onKey("kms:GetKeyPolicy"), do: getKeyPolicy},
			"ListKeys":            {readOnly: true, needs: anyOf("kms:ListKeys"), do: listKeys},
			"ListResourceTags":    {readOnly: true, needs: onKey("kms:ListResourceTags"), do: listResourceTags},
			"Sign":                {readOnly: true, needs: onKey("kms:Sign"), do: signMessage, params: signParams},
		},
		seed: func(w *Seed, account, region string) {
			for _, fixture := range []string{"deletion_key", "grant_key"} {
				id := fixtureKeyID(account, region, fixture)
				w.Accounts[account].Regions[region].Keys[id] = &KMSKey{
					ID: id, Description: "auditcanary fixture, encrypts nothing", Enabled: true,
					Created: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC),
					Tags:    map[string]string{"auditcanary": "fixture"},
				}
			}
			seedPendingKey(w, account, region)
		},
		fixtures: func(account, region string) map[string]string {
			if region == "*" {
				return nil
			}
			return map[string]string{
				"deletion_key": fixtureKeyID(account, region, "deletion_key"),
				"grant_key":    fixtureKeyID(account, region, "grant_key"),
				"pending_key":  fixtureKeyID(account, region, "pending_key"),
			}
		},
	}
}

func fixtureKeyID(account, region, fixture string) string {
	return keyID(account, region+"/"+fixture)
}

// keyDeletions is the kind under which a region keeps when its keys will be
// deleted, by key id. (A key that is about to be deleted is disabled too.)
const keyDeletions = "kms key to be deleted"

// region is the caller's account in the call's region; empty if the region is not in use.
func (k *call) region() *Region {
	if r := k.account().Regions[k.Region]; r != nil {
		return r
	}
	return &Region{Things: map[string]map[string]*Thing{}} // what is put into it is nowhere
}

func (k *call) keyARN(id string) string {
	return "arn:aws:kms:" + k.Region + ":" + k.Principal.Account + ":key/" + id
}

// key finds the key KeyId names, by id or ARN; nil if it is not there.
func (k *call) key() (arn string, key *KMSKey) {
	id := k.str("KeyId")
	if !strings.HasPrefix(id, "arn:") {
		return k.keyARN(id), k.region().Keys[id]
	}
	if rest, ok := strings.CutPrefix(id, k.keyARN("")); ok {
		return id, k.region().Keys[rest]
	}
	return id, nil
}

func onKey(action string) func(*call) []need {
	return func(k *call) []need {
		arn, key := k.key()
		n := need{action: action, resource: arn, context: policy.Context{}}
		if key != nil {
			tagKeys(n.context, "aws:ResourceTag/", key.Tags)
		}
		for param, condition := range map[string]string{
			"GranteePrincipal": "kms:granteeprincipal", "Operations": "kms:grantoperations",
			"PendingWindowInDays": "kms:schedulekeydeletionpendingwindowindays",
			"SigningAlgorithm":    "kms:signingalgorithm", "MessageType": "kms:messagetype",
		} {
			switch v := k.Params[param].(type) {
			case string:
				n.context[condition] = []string{v}
			case float64:
				n.context[condition] = []string{strconv.Itoa(int(v))}
			case []any:
				for _, x := range v {
					n.context[condition] = append(n.context[condition], fmt.Sprint(x))
				}
			}
		}
		return []need{n}
	}
}

func (k *call) knownKey() (string, *KMSKey, error) {
	arn, key := k.key()
	if key == nil {
		return "", nil, fail(400, "NotFoundException", "Key '%s' does not exist", arn)
	}
	return arn, key, nil
}

func setKey(enabled bool) func(*call) (reply, error) {
	return func(k *call) (reply, error) {
		arn, key, err := k.knownKey()
		if err != nil {
			return reply{}, err
		}
		if k.deletion(key) != nil {
			return reply{}, pendingDeletion(arn)
		}
		key.Enabled = enabled
		return reply{elements: map[string]any{"keyId": arn}, resources: k.keyResource(arn)}, nil
	}
}

// deletion is when a key will be deleted; nil if it will not.
func (k *call) deletion(key *KMSKey) *Thing { return k.region().Things[keyDeletions][key.ID] }

func pendingDeletion(arn string) error {
	return fail(400, "KMSInvalidStateException", "%s is pending deletion.", arn)
}

// scheduleKeyDeletion: shape of the record from the KMS developer guide, log
// entries of ScheduleKeyDeletion.
func scheduleKeyDeletion(k *call) (reply, error) {
	arn, key, err := k.knownKey()
	if err != nil {
		return reply{}, err
	}
	days, err := k.integer("PendingWindowInDays", 30)
	if err != nil || days < 7 || days > 30 {
		return reply{}, fail(400, "ValidationException", "1 validation error detected: Value at 'pendingWindowInDays' failed to satisfy constraint: Member must have value between 7 and 30")
	}
	if k.deletion(key) != nil {
		return reply{}, pendingDeletion(arn)
	}
	at := k.Time.Add(time.Duration(days) * 24 * time.Hour)
	key.Enabled = false
	k.region().Put(keyDeletions, &Thing{ID: key.ID, ARN: arn, Attr: map[string]any{"deletion": at.Unix()}})
	return reply{
		body:      map[string]any{"KeyId": arn, "KeyState": "PendingDeletion", "PendingWindowInDays": days, "DeletionDate": at.Unix()},
		elements:  map[string]any{"keyId": arn, "keyState": "PendingDeletion", "deletionDate": at.Format("Jan 2, 2006 3:04:05 PM")},
		resources: k.keyResource(arn),
	}, nil
}

// cancelKeyDeletion leaves the key disabled. Record: KMS developer guide, log
// entry of CancelKeyDeletion.
func cancelKeyDeletion(k *call) (reply, error) {
	arn, key, err := k.knownKey()
	if err != nil {
		return reply{}, err
	}
	if k.deletion(key) == nil {
		return reply{}, fail(400, "KMSInvalidStateException", "%s is not pending deletion.", arn)
	}
	delete(k.region().Things[keyDeletions], key.ID)
	return reply{body: map[string]any{"KeyId": arn}, elements: map[string]any{"keyId": arn}, resources: k.keyResource(arn)}, nil
}

// createGrant answers the question whether it would be allowed. It carries no
// grants: one asked for in earnest is refused, so that no test takes it for made.
// The record of a dry run is inferred: the parameters as sent, and the error.
func createGrant(k *call) (reply, error) {
	arn, key, err := k.knownKey()
	if err != nil {
		return reply{}, err
	}
	grantee, ok := strings.CutPrefix(k.str("GranteePrincipal"), "arn:aws:iam::"+k.Principal.Account+":role/")
	switch role := k.account().Roles[grantee[strings.LastIndexByte(grantee, '/')+1:]]; {
	case k.deletion(key) != nil:
		return reply{}, pendingDeletion(arn)
	case !key.Enabled:
		return reply{}, fail(400, "DisabledException", "%s is disabled.", arn)
	case !ok || role == nil || role.Path+role.Name != "/"+grantee:
		return reply{}, fail(400, "InvalidArnException", "ARN does not refer to a valid principal: %s", k.str("GranteePrincipal"))
	case len(k.list("Operations")) == 0:
		return reply{}, fail(400, "ValidationException", "1 validation error detected: Value null at 'operations' failed to satisfy constraint: Member must not be null")
	case k.Params["DryRun"] != true:
		return reply{}, fail(501, "NotImplemented", "the sandbox has no grants, only dry runs of CreateGrant")
	}
	return reply{}, &apiError{code: "DryRunOperationException", message: "The request would have succeeded, but the DryRun option is set.", status: 400}
}

func (k *call) keyResource(arn string) []resource {
	return []resource{{ARN: arn, Type: "AWS::KMS::Key", Account: k.Principal.Account}}
}

func describeKey(k *call) (reply, error) {
	arn, key, err := k.knownKey()
	if err != nil {
		return reply{}, err
	}
	state := "Disabled"
	if key.Enabled {
		state = "Enabled"
	}
	metadata := map[string]any{
		"AWSAccountId": k.Principal.Account, "KeyId": key.ID, "Arn": arn, "CreationDate": key.Created.Unix(),
		"Enabled": key.Enabled, "KeyState": state, "Description": key.Description, "KeyUsage": "ENCRYPT_DECRYPT",
		"Origin": "AWS_KMS", "KeyManager": "CUSTOMER", "KeySpec": "SYMMETRIC_DEFAULT",
		"CustomerMasterKeySpec": "SYMMETRIC_DEFAULT", "EncryptionAlgorithms": []string{"SYMMETRIC_DEFAULT"}, "MultiRegion": false,
	}
	if key.Spec != "" {
		delete(metadata, "EncryptionAlgorithms")
		metadata["KeyUsage"], metadata["KeySpec"], metadata["CustomerMasterKeySpec"] = "SIGN_VERIFY", key.Spec, key.Spec
		metadata["SigningAlgorithms"] = []string{signingAlgorithm[key.Spec]}
	}
	if d := k.deletion(key); d != nil {
		metadata["KeyState"], metadata["DeletionDate"] = "PendingDeletion", d.Attr["deletion"]
	}
	return reply{resources: k.keyResource(arn), body: map[string]any{"KeyMetadata": metadata}}, nil
}

func listKeys(k *call) (reply, error) {
	size, err := k.integer("Limit", 100)
	if err != nil || size < 1 || size > 1000 {
		return reply{}, fail(400, "ValidationException", "1 validation error detected: Value at 'limit' failed to satisfy constraint")
	}
	ids := slices.Sorted(maps.Keys(k.region().Keys))
	if m := k.str("Marker"); m != "" { // the marker is the last key of the page before
		ids = slices.DeleteFunc(ids, func(id string) bool { return id <= m })
	}
	list, more := []any{}, len(ids) > size
	for _, id := range ids[:min(size, len(ids))] {
		list = append(list, map[string]any{"KeyId": id, "KeyArn": k.keyARN(id)})
	}
	body := map[string]any{"Keys": list, "Truncated": more}
	if more {
		body["NextMarker"] = ids[size-1]
	}
	return reply{body: body}, nil
}

func listResourceTags(k *call) (reply, error) {
	arn, key, err := k.knownKey()
	if err != nil {
		return reply{}, err
	}
	list := []any{}
	for _, name := range slices.Sorted(maps.Keys(key.Tags)) {
		list = append(list, map[string]any{"TagKey": name, "TagValue": key.Tags[name]})
	}
	return reply{body: map[string]any{"Tags": list, "Truncated": false}, resources: k.keyResource(arn)}, nil
}
