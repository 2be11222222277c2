package aws

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// Part is a part of this driver that calls AWS with somebody's identity.
type Part string

const (
	// BecomeRole: whatever is done under another role {role}. Names: role.
	BecomeRole Part = "become-role"
	// BecomeSigner: LedgerSigner under another role {role}. Names: role.
	BecomeSigner Part = "become-signer"
	// ReadLedger and WriteLedger: LedgerStore. Names: bucket, prefix.
	ReadLedger  Part = "read-ledger"
	WriteLedger Part = "write-ledger"
	// ReadArchive: ArchiveStore, Keeper and DigestKeys. Names: bucket, prefix.
	ReadArchive Part = "read-archive"
	// ReadKeyState: Keeper, of an archive that is encrypted with a key. Names: key.
	ReadKeyState Part = "read-key-state"
	// WriteEvidence: EvidenceStore. Names: bucket, prefix.
	WriteEvidence Part = "write-evidence"
	// SignPackets: PacketSigner. Names: key.
	SignPackets Part = "sign-packets"
	// SignLedger: LedgerSigner. Names: key.
	SignLedger Part = "sign-ledger"
	// ReadEncrypted and WriteEncrypted: what S3 asks in the caller's name of the key of an
	// encrypted bucket, in addition to the rights in the bucket. Names: key, region of the bucket.
	ReadEncrypted  Part = "read-encrypted"
	WriteEncrypted Part = "write-encrypted"
	// ListenQueue: AlertQueue. Names: queue, an ARN.
	ListenQueue Part = "listen-queue"
	// ListenAlarm: AlarmAlerts. Names: account, region.
	ListenAlarm Part = "listen-alarm"
	// ListenGuardDuty: GuardDutyAlerts. Names: account, region.
	ListenGuardDuty Part = "listen-guardduty"
	// ListenSecurityHub: SecurityHubAlerts. Names: account, region.
	ListenSecurityHub Part = "listen-securityhub"
	// ListenInbox: AlertInbox. Names: bucket, prefix.
	ListenInbox Part = "listen-inbox"
	// ImportFindings: FindingsHub. Names: account, region.
	ImportFindings Part = "import-findings"
	// StartMachine: Machine. Names: machine, an ARN.
	StartMachine Part = "start-machine"
	// Inspect: Inspector, in one account. Names: account, bucket of the archive.
	Inspect Part = "inspect"
	// InspectOrganization: Inspector, in the management account (or one that acts for it).
	InspectOrganization Part = "inspect-organization"
)

const (
	someBucket  = "arn:{partition}:s3:::{bucket}"
	someObjects = "arn:{partition}:s3:::{bucket}/{prefix}*"
)

// parts are the rights that each needs: those of the calls it makes, and no more. A
// run of every step under exactly these, in which each is used, is under test. Where a
// grant has the resource "*", AWS knows no other for its actions.
var parts = map[Part]grants{
	// Roles are assumed with a source identity, but for the one that signs the ledger: its
	// calls have none of our marks.
	BecomeRole:   {allow("{role}", nil, "sts:AssumeRole", "sts:SetSourceIdentity")},
	BecomeSigner: {allow("{role}", nil, "sts:AssumeRole")},

	// Without s3:ListBucket S3 answers 403, not 404, for an object that is not there.
	ReadLedger:  {allow(someBucket, nil, "s3:ListBucket"), allow(someObjects, nil, "s3:GetObject")},
	WriteLedger: {allow(someBucket, nil, "s3:ListBucket"), allow(someObjects, nil, "s3:GetObject", "s3:PutObject")},

	// Without s3:GetObjectRetention S3 leaves out how an object is locked. HEAD of a
	// version is s3:GetObjectVersion.
	ReadArchive: {
		allow(someBucket, nil, "s3:ListBucket", "s3:GetBucketVersioning", "s3:GetBucketObjectLockConfiguration", "s3:GetLifecycleConfiguration"),
		allow(someObjects, nil, "s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectRetention"),
		allow("*", nil, "cloudtrail:ListPublicKeys"),
	},
	ReadKeyState: {allow("{key}", nil, "kms:DescribeKey")},

	// A lock that is put with the object needs s3:PutObjectRetention.
	WriteEvidence: {
		allow(someBucket, nil, "s3:ListBucket"),
		allow(someObjects, nil, "s3:GetObject", "s3:PutObject", "s3:PutObjectRetention"),
	},
	SignPackets: {
		allow("{key}", nil, "kms:GetPublicKey"),
		allow("{key}", when{"kms:SigningAlgorithm": "ECDSA_SHA_256", "kms:MessageType": "DIGEST"}, "kms:Sign"),
	},
	// What verifies holds the public key already: nobody asks KMS for it at run time.
	SignLedger:     {allow("{key}", when{"kms:SigningAlgorithm": "ED25519_SHA_512", "kms:MessageType": "RAW"}, "kms:Sign")},
	ReadEncrypted:  {allow("{key}", when{"kms:ViaService": "s3.{region}.amazonaws.com"}, "kms:Decrypt")},
	WriteEncrypted: {allow("{key}", when{"kms:ViaService": "s3.{region}.amazonaws.com"}, "kms:Decrypt", "kms:GenerateDataKey")},

	ListenQueue: {allow("{queue}", nil, "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes")},
	// An alarm may be kept back by another one, and by rules; both are found by its name.
	ListenAlarm: {
		allow("arn:{partition}:cloudwatch:{region}:{account}:alarm:*", nil, "cloudwatch:DescribeAlarms", "cloudwatch:DescribeAlarmHistory"),
		allow("arn:{partition}:cloudwatch:{region}:{account}:alarm-mute-rule:*", nil, "cloudwatch:ListAlarmMuteRules"),
		allow("*", nil, "cloudwatch:GetMetricData"),
	},
	ListenGuardDuty: {
		allow("*", nil, "guardduty:ListDetectors", "guardduty:ListFilters", "guardduty:ListFindings", "guardduty:GetFindings"),
		allow("arn:{partition}:guardduty:{region}:{account}:detector/*", nil, "guardduty:GetDetector", "guardduty:GetFilter"),
	},
	ListenSecurityHub: {allow("arn:{partition}:securityhub:{region}:{account}:hub/default", nil, "securityhub:GetFindings")},
	ListenInbox:       {allow(someBucket, nil, "s3:ListBucket"), allow(someObjects, nil, "s3:GetObject")},
	ImportFindings: {
		allow("arn:{partition}:securityhub:{region}:{account}:product/{account}/default", nil, "securityhub:BatchImportFindings"),
		allow("arn:{partition}:securityhub:{region}:{account}:hub/default", nil, "securityhub:BatchUpdateFindings"),
	},
	StartMachine: {allow("{machine}", nil, "states:StartExecution")},

	Inspect: {
		// The event history, of what did not come through.
		allow("*", nil, "cloudtrail:LookupEvents"),
		// Sources: trails, the archive, keys.
		allow("*", nil, "cloudtrail:DescribeTrails"),
		allow("arn:{partition}:cloudtrail:*:*:trail/*", nil, "cloudtrail:GetTrailStatus", "cloudtrail:GetEventSelectors"), // an organisation's is the management account's
		allow(someBucket, nil, "s3:GetBucketVersioning", "s3:GetBucketObjectLockConfiguration", "s3:GetLifecycleConfiguration", "s3:GetBucketPolicyStatus",
			"s3:GetReplicationConfiguration", "s3:GetEncryptionConfiguration", "s3:GetBucketPolicy"),
		allow("arn:{partition}:kms:*:{account}:key/*", nil, "kms:DescribeKey", "kms:GetKeyPolicy"),
		// Sources: the alert path.
		allow("arn:{partition}:events:*:{account}:rule/*", nil, "events:DescribeRule", "events:ListTargetsByRule"),
		allow("arn:{partition}:sns:*:{account}:*", nil, "sns:GetTopicAttributes", "sns:ListSubscriptionsByTopic", "sns:GetSubscriptionAttributes"),
		allow("arn:{partition}:cloudwatch:*:{account}:alarm:*", nil, "cloudwatch:DescribeAlarms"),
		allow("arn:{partition}:logs:*:{account}:log-group:*", nil, "logs:DescribeMetricFilters"),
		allow("arn:{partition}:guardduty:*:{account}:detector/*", nil, "guardduty:GetDetector", "guardduty:GetFilter"),
		allow("arn:{partition}:cloudwatch:*:{account}:alarm-mute-rule:*", nil, "cloudwatch:ListAlarmMuteRules"),
		allow("*", nil, "logs:DescribeLogGroups", "guardduty:ListDetectors", "guardduty:ListFilters"),
		// Authorization: who may do what.
		allow("*", nil, "iam:GetAccountAuthorizationDetails"),
		allow("arn:{partition}:iam::*:policy/*", nil, "iam:GetPolicy", "iam:GetPolicyVersion"), // AWS's own are in the account "aws"
	},
	InspectOrganization: {
		allow("*", nil, "organizations:ListAccounts", "organizations:ListRoots", "organizations:ListPolicies", "organizations:ListDelegatedAdministrators"),
		allow("arn:{partition}:organizations::{account}:root/*", nil, "organizations:ListAccountsForParent", "organizations:ListOrganizationalUnitsForParent"),
		allow("arn:{partition}:organizations::{account}:ou/*", nil, "organizations:ListAccountsForParent", "organizations:ListOrganizationalUnitsForParent"),
		allow("arn:{partition}:organizations::*:policy/*", nil, "organizations:DescribePolicy", "organizations:ListTargetsForPolicy"), // AWS's own are in the account "aws"
	},
}

// Right is what a part needs, with the names that its templates have.
type Right struct {
	Part  Part
	Names map[string]string
}

var templateName = regexp.MustCompile(`\{([a-z]+)\}`)

// Rights merges what some parts need into one identity policy, deterministically. It
// is an error if a right lacks a name that its part asks for. Names are put in as they are.
func Rights(rights []Right) (json.RawMessage, error) {
	var all []statement
	for _, r := range rights {
		grants, known := parts[r.Part]
		if !known {
			return nil, fmt.Errorf("there is no part %q (%v)", r.Part, slices.Sorted(maps.Keys(parts)))
		}
		fill := func(template string) (string, error) {
			var missing string
			out := templateName.ReplaceAllStringFunc(template, func(name string) string {
				v, ok := r.Names[strings.Trim(name, "{}")]
				if !ok {
					missing = name
				}
				return v
			})
			if missing != "" {
				return "", fmt.Errorf("rights of part %s: %s is not given, for %s", r.Part, missing, template)
			}
			return out, nil
		}
		for _, g := range grants {
			resource, err := fill(g.resource)
			if err != nil {
				return nil, err
			}
			st := statement{Effect: "Allow", Action: g.actions, Resource: words{resource}}
			for key, template := range g.when {
				value, err := fill(template)
				if err != nil {
					return nil, err
				}
				if st.Condition == nil {
					st.Condition = map[string]map[string]string{"StringLike": {}}
				}
				st.Condition["StringLike"][key] = value
			}
			all = append(all, st)
		}
	}
	doc := policy(all)
	if len(doc) > maxManagedPolicy {
		return nil, fmt.Errorf("the rights have %d characters, and a managed policy takes %d", len(doc), maxManagedPolicy)
	}
	return doc, nil
}

// Stand-ins of a target for which is planned once and for all, see EveryTarget. They
// have the forms that are demanded of real ones, and what stands for an account its length.
const (
	everyAccount    = "098765432109"
	everyRegion     = "xx-every-1"
	elsewhereRegion = "xx-elsewhere-1"
	everyTrail      = "arn:aws:cloudtrail:" + elsewhereRegion + ":098765432108:trail/every"
	everyBreakGlass = canary.Marker + "-break-glass-of-every-account"
	everyID         = "-of-every-account"
)

// EveryTarget stands for every account and region in which canaries run. Its fixtures
// have the names that infra/aws/member.yaml gives them; those that the cloud names are
// known by their tag. injector is the path and name of the role.
func EveryTarget(injector string) Target {
	home, bucket := homeRegion("aws"), canary.Marker+"-"+everyAccount+"-"+everyRegion
	locked := canary.Marker + "-locked"
	t := Target{
		Account: everyAccount, Regions: []string{home, everyRegion}, RoleARN: "arn:aws:iam::" + everyAccount + ":role/" + injector,
		Fixtures: map[string]map[string]string{"*": {
			"security_group": "sg" + everyID, "vpc": "vpc" + everyID, "snapshot": "snap" + everyID,
			"kms_key": "key" + everyID, "deletion_key": "key" + everyID, "grant_key": "key" + everyID, "pending_key": "key" + everyID,
			"bucket": bucket, "lifecycle_bucket": bucket + "-lifecycle", "public_access_bucket": bucket + "-access",
			"locked_bucket": bucket + "-locked", "locked_object": canary.Marker + "-object",
			"decoy_trail": canary.Marker + "-decoy", "selector_trail": canary.Marker + "-selector", "locked_trail": locked,
			"organization_trail_arn": everyTrail,
			"log_group":              canary.Marker + "-retention", "protected_log_group": canary.Marker + "-protected",
			"locked_rule": locked, "locked_role": locked, "locked_vault": locked,
			"guardduty_detector": "detector" + everyID, "eks_cluster": "cluster" + everyID,
			"break_glass_role": everyBreakGlass, "eks_principal": canary.Marker + "-nobody", "flow_log_role": canary.Marker + "-flow-logs",
		}},
	}
	for _, region := range t.Regions {
		t.Fixtures[region] = map[string]string{
			"security_hub":           "arn:aws:securityhub:" + region + ":" + everyAccount + ":hub/default",
			"locked_recovery_point":  "arn:aws:backup:" + region + ":" + everyAccount + ":recovery-point:of-every-account",
			"multi_region_trail_arn": "arn:aws:cloudtrail:" + elsewhereRegion + ":" + everyAccount + ":trail/" + canary.Marker + "-multi-" + region,
		}
	}
	return t
}

// EveryPermissions is Permissions for plans of EveryTarget, as CloudFormation has them:
// with the parameters OrganizationTrailArn and BreakGlassRole, and its own for account
// and partition. Each is small enough in every partition.
func EveryPermissions(plans []run.Plan) ([]json.RawMessage, error) {
	sts, err := everywhere(plans)
	if err != nil {
		return nil, err
	}
	docs, err := divide(sts, maxManagedPolicy-reservedForPartition)
	for i, d := range docs {
		docs[i] = json.RawMessage(asTemplate(string(d)))
	}
	return docs, err
}

// everywhere are the statements for plans of EveryTarget, for any region.
func everywhere(plans []run.Plan) ([]statement, error) {
	sts, err := permitted(plans)
	if err != nil {
		return nil, err
	}
	anywhere := strings.NewReplacer(everyTrail, everyTrail,
		homeRegion("aws"), "*", everyRegion, "*", elsewhereRegion, "*", "recovery-point:of-every-account", "recovery-point:*",
		"sg"+everyID, "*", "vpc"+everyID, "*", "snap"+everyID, "*", "key"+everyID, "*", "detector"+everyID, "*", "cluster"+everyID, "*")
	for i, st := range sts {
		for j, r := range st.Resource {
			sts[i].Resource[j] = anywhere.Replace(r)
		}
		for operator, values := range st.Condition {
			for k, v := range values {
				if values[k] = anywhere.Replace(v); v != "*" && values[k] == "*" {
					delete(values, k) // it held a region apart
				}
			}
			if len(values) == 0 {
				delete(st.Condition, operator)
			}
		}
	}
	return merge(sts), nil
}

// asTemplate writes the stand-ins of EveryTarget as CloudFormation's references.
func asTemplate(doc string) string {
	return strings.NewReplacer(
		everyTrail, "${OrganizationTrailArn}", everyBreakGlass, "${BreakGlassRole}", everyAccount, "${AWS::AccountId}", "arn:aws:", "arn:${AWS::Partition}:",
	).Replace(doc)
}

// reservedForPartition is by how much a policy may grow where the partition's name is
// longer, and the names of the two parameters are.
const reservedForPartition = 600
