package cloud

import (
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

// What tamper probes attempt to take away, and the calls with which they look at it.

// protectFixtures are the organisation's guards around what tamper probes attempt to
// take away, as it has them around the real things.
const protectFixtures = `{"Sid":"ProtectLockedBuckets","Effect":"Deny","Action":["s3:PutBucketPolicy","s3:DeleteBucketPolicy","s3:PutLifecycleConfiguration","s3:PutBucketObjectLockConfiguration","s3:DeleteBucket"],"Resource":"arn:aws:s3:::auditcanary-*-locked"},
 {"Sid":"ProtectKeys","Effect":"Deny","Action":["kms:ScheduleKeyDeletion","kms:DisableKey"],"Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/protected":"yes"}}},
 {"Sid":"ProtectRecoveryPoints","Effect":"Deny","Action":"backup:DeleteRecoveryPoint","Resource":"*"},`

// WorldRootKey is the root user's access key of an account in every world.
func WorldRootKey(account string) Key { return key(account, "root") }

// LiftProtection takes the statement with that Sid out of the organisation's service
// control policies, as somebody does who should not, and reports whether it was there.
func (c *Cloud) LiftProtection(sid string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := false
	for _, level := range c.world.SCPs {
		for i := range level {
			kept := slices.DeleteFunc(slices.Clone(level[i].Doc.Statements), func(s policy.Statement) bool { return s.Sid == sid })
			found = found || len(kept) < len(level[i].Doc.Statements)
			level[i].Doc.Statements = kept
		}
	}
	return found
}

// CloudTrail.

const multiRegionTrail = "auditcanary-multi-" // and its home region

const orgTrailARN = "arn:aws:cloudtrail:us-east-1:" + ManagementAccount + ":trail/" + TrailName

// multiRegionTrailARN is that of an account's trail that is seen in a region and has its
// home in another.
func multiRegionTrailARN(account, region string) string {
	i := slices.IndexFunc(Regions(), func(r string) bool { return r != region })
	home := Regions()[i]
	return "arn:aws:cloudtrail:" + home + ":" + account + ":trail/" + multiRegionTrail + home
}

// seedDataSelector has the organisation's trail take, beside all management events,
// the data events of the locked buckets.
func seedDataSelector(w *Seed) {
	prefixes := []any{}
	for _, account := range w.Extent.Accounts {
		for _, region := range w.Extent.Regions {
			prefixes = append(prefixes, "arn:aws:s3:::"+LockedBucket(account, region)+"/")
		}
	}
	fields := func(category string, more ...any) any {
		return map[string]any{"Name": category, "FieldSelectors": append([]any{map[string]any{"Field": "eventCategory", "Equals": []any{category}}}, more...)}
	}
	w.Accounts[w.Management].Regions["us-east-1"].Put(eventSelectors, &Thing{ID: TrailName, Attr: map[string]any{"AdvancedEventSelectors": []any{
		fields("Management"),
		fields("Data", map[string]any{"Field": "resources.type", "Equals": []any{"AWS::S3::Object"}}, map[string]any{"Field": "resources.ARN", "StartsWith": prefixes}),
	}}})
}

// selectsData reports whether the organisation's trail takes an S3 data event: one of
// its selectors of that category and type names, or begins, the object's ARN. (The
// sandbox reads no other fields of a selector: with one it selects nothing.)
func (c *Cloud) selectsData(k *call) bool {
	if k.Service != "s3" {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.world.Accounts[c.world.Management].Regions["us-east-1"].Things[eventSelectors][TrailName]
	if t == nil {
		return false
	}
	selectors, _ := t.Attr["AdvancedEventSelectors"].([]any)
	return slices.ContainsFunc(selectors, func(s any) bool {
		m, _ := s.(map[string]any)
		fields, _ := m["FieldSelectors"].([]any)
		said := 0
		for _, f := range fields {
			of, _ := f.(map[string]any)
			var ok bool
			switch field(f, "Field") {
			case "eventCategory":
				ok = holds(of["Equals"], func(v string) bool { return v == "Data" })
			case "resources.type":
				ok = holds(of["Equals"], func(v string) bool { return v == "AWS::S3::Object" })
			case "resources.ARN":
				ok = holds(of["StartsWith"], func(v string) bool { return strings.HasPrefix(objectARN(k), v) }) ||
					holds(of["Equals"], func(v string) bool { return objectARN(k) == v })
			}
			if !ok {
				return false
			}
			said++
		}
		return said >= 2
	})
}

func holds(list any, is func(string) bool) bool {
	values, _ := list.([]any)
	return slices.ContainsFunc(values, func(v any) bool { s, _ := v.(string); return is(s) })
}

// asDataEvent gives a record what those of data events have. (Shape: records of
// DeleteObject in public rule tests, and in the CloudTrail user guide.)
func (k *call) asDataEvent(rec Record) {
	rec["managementEvent"], rec["eventCategory"] = false, "Data"
	owner := k.Principal.Account
	k.cloud.mu.Lock()
	if b := k.cloud.world.Buckets[k.str("Bucket")]; b != nil {
		owner = b.Account
	}
	k.cloud.mu.Unlock()
	object := map[string]any{"type": "AWS::S3::Object", "ARN": objectARN(k)}
	if k.str("Key") == "" {
		object = map[string]any{"type": "AWS::S3::Object", "ARNPrefix": objectARN(k)}
	}
	rec["resources"] = []any{object, map[string]any{"accountId": owner, "type": "AWS::S3::Bucket", "ARN": bucketARN(k)}}
}

// S3.

const (
	// LockedSuffix ends the names of the buckets under Object Lock that probes act on.
	LockedSuffix = "-locked"
	// LockedObject is the key of the object in each of them.
	LockedObject = "auditcanary-object"
)

// LockedBucket is the name of an account's and region's bucket under Object Lock.
func LockedBucket(account, region string) string {
	return "auditcanary-" + account + "-" + region + LockedSuffix
}

func seedLockedBucket(w *Seed, account, region string) {
	name := LockedBucket(account, region)
	w.bucket(name, account, region, `{"Version":"2012-10-17","Statement":[{"Sid":"TLSOnly","Effect":"Deny","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::`+name+`","arn:aws:s3:::`+name+`/*"],"Condition":{"Bool":{"aws:SecureTransport":"false"}}}]}`)
	w.Accounts[account].Regions[region].Put(lifecycle, &Thing{ID: name, Attr: map[string]any{"LifecycleConfiguration": map[string]any{
		"xmlns": s3Namespace, "Rule": map[string]any{
			"ID": "uploads", "Status": "Enabled", "Filter": map[string]any{"Prefix": ""}, "AbortIncompleteMultipartUpload": map[string]any{"DaysAfterInitiation": 7},
		},
	}}})
	seedDataSelector(w)
}

// KMS.

// seedPendingKey makes the key that is about to be deleted. (A real one has 30 days to
// live; this one's day does not come, so that every start has the same.)
func seedPendingKey(w *Seed, account, region string) {
	id, r := fixtureKeyID(account, region, "pending_key"), w.Accounts[account].Regions[region]
	r.Keys[id] = &KMSKey{
		ID: id, Description: "auditcanary fixture, encrypts nothing", Created: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC),
		Tags: map[string]string{"auditcanary": "fixture", "protected": "yes"},
	}
	r.Put(keyDeletions, &Thing{ID: id, Attr: map[string]any{"deletion": time.Date(2099, 1, 2, 0, 0, 0, 0, time.UTC).Unix()}})
}

// CloudWatch Logs.

func onLogGroupIdentifier(action string) func(*call) []need {
	return func(k *call) []need {
		return []need{{action: action, resource: logGroupARN(k.Principal.Account, k.Region, k.str("logGroupIdentifier")) + ":log-stream:"}}
	}
}

func protectLogGroup(k *call) (reply, error) {
	g := k.region().Things[logGroups][k.str("logGroupIdentifier")]
	if g == nil {
		return reply{}, fail(400, "ResourceNotFoundException", "The specified log group does not exist.")
	}
	g.Attr["deletionProtectionEnabled"] = k.Params["deletionProtectionEnabled"] == true
	return reply{}, nil
}

// Organizations.

// listDelegated: the sandbox delegates to the archive's account. Members are refused,
// as Organizations does, whatever their policies say.
func listDelegated(k *call) (reply, error) {
	if a := k.Principal.Account; a != k.cloud.world.Management && a != ArchiveAccount {
		return reply{}, &apiError{code: "AccessDeniedException", message: membersMayNot, status: 400, denied: true}
	}
	return reply{body: map[string]any{"DelegatedAdministrators": []any{map[string]any{
		"Id": ArchiveAccount, "Arn": "arn:aws:organizations::" + k.cloud.world.Management + ":account/" + k.cloud.world.Organization + "/" + ArchiveAccount, "Status": "ACTIVE",
	}}}}, nil
}

// AWS Backup.

const (
	recoveryPoints = "backup recovery point"
	lockedVault    = "auditcanary-locked"
)

func recoveryPointARN(account, region string) string {
	return "arn:aws:backup:" + region + ":" + account + ":recovery-point:" + keyID(account, region+"/recovery-point")
}

func seedLockedVault(w *Seed, account, region string) {
	r := w.Accounts[account].Regions[region]
	fixture := map[string]string{"auditcanary": "fixture"}
	created := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC).Unix()
	r.Put(backupVaults, &Thing{ID: lockedVault, ARN: "arn:aws:backup:" + region + ":" + account + ":backup-vault:" + lockedVault, Tags: fixture,
		Attr: map[string]any{"created": created, "locked": true, "min": 365.0}})
	arn := recoveryPointARN(account, region)
	r.Put(recoveryPoints, &Thing{ID: arn, ARN: arn, Tags: fixture, Attr: map[string]any{"vault": lockedVault, "created": created}})
}

func (k *call) recoveryPoints(vault string) (ids []string) {
	for id, p := range k.region().Things[recoveryPoints] {
		if p.Attr["vault"] == vault {
			ids = append(ids, id)
		}
	}
	return ids
}

func onRecoveryPoint(action string) func(*call) []need {
	return func(k *call) []need {
		arn := k.str("recoveryPointArn")
		ctx := policy.Context{}
		if p := k.region().Things[recoveryPoints][arn]; p != nil {
			tagKeys(ctx, "aws:ResourceTag/", p.Tags)
		}
		return []need{{action: action, resource: arn, context: ctx}}
	}
}

func (k *call) recoveryPoint() (*Thing, error) {
	if _, err := k.vault(); err != nil {
		return nil, err
	}
	p := k.region().Things[recoveryPoints][k.str("recoveryPointArn")]
	if p == nil || p.Attr["vault"] != k.str("backupVaultName") {
		return nil, fail(400, "ResourceNotFoundException", "RecoveryPoint not found: %s", k.str("recoveryPointArn"))
	}
	return p, nil
}

func describeVault(k *call) (reply, error) {
	v, err := k.vault()
	if err != nil {
		return reply{}, err
	}
	return reply{body: k.vaultMember(v)}, nil
}

func describeRecoveryPoint(k *call) (reply, error) {
	p, err := k.recoveryPoint()
	if err != nil {
		return reply{}, err
	}
	return reply{body: map[string]any{
		"RecoveryPointArn": p.ARN, "BackupVaultName": p.Attr["vault"], "Status": "COMPLETED", "CreationDate": p.Attr["created"],
		"ResourceType": "S3", "Lifecycle": map[string]any{"DeleteAfterDays": 3650},
	}}, nil
}

// deleteRecoveryPoint: what a locked vault answers is inferred; that who may not is
// answered with success is the API reference's word (DeleteRecoveryPoint).
func deleteRecoveryPoint(k *call) (reply, error) {
	p, err := k.recoveryPoint()
	if err != nil {
		return reply{}, err
	}
	if v, _ := k.vault(); v.Attr["locked"] == true {
		return reply{}, fail(400, "InvalidRequestException", "Backup vault %s is locked: the recovery point cannot be deleted", v.ID)
	}
	delete(k.region().Things[recoveryPoints], p.ID)
	return reply{}, nil
}
