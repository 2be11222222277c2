package cloud

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

// The sandbox's organisation.
const (
	Organization      = "o-exampleorg1"
	ManagementAccount = "100000000001"
	ArchiveAccount    = "999999999999"
	ToolAccount       = "222222222222"
	// ArchiveBucket holds what the organisation trail delivers; in us-east-1.
	ArchiveBucket = "org-trail-archive"
	// LedgerBucket is the product's own, in the tool account, us-east-1.
	LedgerBucket = "auditcanary-ledger"
	// EvidenceBucket takes its packets; it has Object Lock, and is there too.
	EvidenceBucket = "auditcanary-evidence"
	// TrailName of the organisation trail; home region us-east-1.
	TrailName = "org-trail"
)

// TargetAccounts are the accounts in which canaries run.
func TargetAccounts() []string { return []string{"111122223333", "444455556666"} }

// Regions are the regions in use.
func Regions() []string { return []string{"us-east-1", "eu-west-1"} }

// Extent is how large a world is: where canaries run, and the regions in use.
type Extent struct{ Accounts, Regions []string }

// UsualExtent is that of World: two accounts, two regions.
func UsualExtent() Extent { return Extent{TargetAccounts(), Regions()} }

// LargeExtent has so many accounts and regions, those of the usual one first.
func LargeExtent(accounts, regions int) Extent {
	e := Extent{Regions: slices.Concat(Regions(), []string{"eu-central-1", "us-west-2", "ap-southeast-2", "eu-north-1", "ca-central-1", "sa-east-1"})}
	e.Regions = e.Regions[:max(1, min(regions, len(e.Regions)))]
	e.Accounts = TargetAccounts()
	for n := 1; len(e.Accounts) < accounts; n++ {
		e.Accounts = append(e.Accounts, fmt.Sprintf("3%011d", n))
	}
	e.Accounts = e.Accounts[:max(1, accounts)]
	return e
}

// Seed is a world: the state the control plane starts from, and then changes.
type Seed struct {
	Extent       Extent
	Organization string
	Management   string // account id
	Accounts     map[string]*Account
	Buckets      map[string]*Bucket
	// SCPs by level (root of the organisation first); each level must allow.
	SCPs [][]policy.Named
	// Managed policies by ARN.
	Managed map[string]policy.Document
}

// Account is one member of the organisation.
type Account struct {
	ID      string
	RootKey Key
	Users   map[string]*User // by name
	Roles   map[string]*Role // by name
	Regions map[string]*Region
}

// Key is an access key.
type Key struct{ ID, Secret string }

// User is an IAM user with one access key.
type User struct {
	Name, ID string
	Key      Key
	Policies []policy.Named
}

// ARN of the user.
func (u *User) ARN(account string) string { return "arn:aws:iam::" + account + ":user/" + u.Name }

// Role is an IAM role.
type Role struct {
	Name, Path, ID, Description string
	Trust                       string // the document as given
	trust                       policy.Document
	Created                     time.Time
	MaxSession                  time.Duration
	Boundary                    string   // ARN of a managed policy, "" = none
	Attached                    []string // ARNs of managed policies
	Policies                    []policy.Named
	Inline                      map[string]policy.Document // what PutRolePolicy put in, by name
	Tags                        map[string]string
}

// ARN of the role.
func (r *Role) ARN(account string) string {
	return "arn:aws:iam::" + account + ":role" + r.Path + r.Name
}

// Region holds an account's regional resources.
type Region struct {
	Groups map[string]*Group // by id
	Keys   map[string]*KMSKey
	Trails map[string]*Trail // by name
	// Things are resources that only their own service looks into, by kind ("rds
	// parameter group") and id. Those of global services are in us-east-1.
	Things map[string]map[string]*Thing
}

// Thing is a resource of no further structure.
type Thing struct {
	ID, ARN string
	Tags    map[string]string
	// Attr is the rest of its state, as JSON values.
	Attr map[string]any
}

// Put adds or replaces a thing.
func (r *Region) Put(kind string, t *Thing) {
	if r.Things[kind] == nil {
		r.Things[kind] = map[string]*Thing{}
	}
	r.Things[kind][t.ID] = t
}

// Group is a security group.
type Group struct {
	ID, Name, Description, VPC string
	Tags                       map[string]string
	Rules                      []*Rule
}

// Rule is one rule of a security group.
type Rule struct {
	ID                string // sgr-...
	Egress            bool
	Protocol          string
	From, To          int // -1 = all
	CIDR, Description string
	V6                bool
	Tags              map[string]string
}

// KMSKey is a customer-managed key; its key policy delegates to the account's
// IAM policies, as the default one does.
type KMSKey struct {
	ID, Description string
	Enabled         bool
	Created         time.Time
	Tags            map[string]string
	// Spec of a key that signs: see kms_sign.go; "" encrypts.
	Spec string
}

// Trail is a CloudTrail trail.
type Trail struct {
	Name, Bucket, Home                    string
	MultiRegion, Organization, Validation bool
	Logging                               bool
	Started, Stopped                      time.Time
	CustomSelectors                       bool
	// Prefix in the bucket, ARNs of the key and the log group, "" = none.
	Prefix, Key, LogGroup string
	// NoGlobalEvents: the services without a region are left out.
	NoGlobalEvents bool
}

// Bucket is what the control plane knows of an S3 bucket.
type Bucket struct {
	Name, Account, Region string
	Policy                string // "" = none
	policy                policy.Document
	// Key is the ARN of the key that its objects are encrypted with, "" = S3's own.
	Key string
}

const (
	administratorAccess = "arn:aws:iam::aws:policy/AdministratorAccess"
	denyAll             = "arn:aws:iam::aws:policy/AWSDenyAll"
)

var administrator = policy.MustParse(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`, policy.ForIdentity)

// World is the sandbox's world: an organisation with an organisation trail into
// a log archive, a security account whose runner injects canaries, and two
// target accounts with the fixtures that canaries act on. Ids are derived from
// names, so every start has the same ones.
func World(clock Clock) *Seed { return WorldOf(clock, UsualExtent()) }

// WorldOf is World in another extent.
func WorldOf(clock Clock, e Extent) *Seed {
	now := clock.Now().UTC().Truncate(time.Second)
	w := &Seed{
		Extent: e, Organization: Organization, Management: ManagementAccount,
		Accounts: map[string]*Account{}, Buckets: map[string]*Bucket{},
		Managed: map[string]policy.Document{
			administratorAccess: administrator,
			denyAll:             policy.MustParse(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`, policy.ForIdentity),
		},
		SCPs: [][]policy.Named{{
			{ARN: "arn:aws:organizations::aws:policy/service_control_policy/p-FullAWSAccess", Doc: administrator},
			{ARN: "arn:aws:organizations::" + ManagementAccount + ":policy/" + Organization + "/service_control_policy/p-protecttrails",
				Doc: policy.MustParse(protectTrails, policy.ForIdentity)},
		}},
	}
	for _, id := range append([]string{ManagementAccount, ArchiveAccount, ToolAccount}, e.Accounts...) {
		a := &Account{ID: id, RootKey: key(id, "root"), Users: map[string]*User{}, Roles: map[string]*Role{}, Regions: map[string]*Region{}}
		for _, r := range e.Regions {
			a.Regions[r] = &Region{Groups: map[string]*Group{}, Keys: map[string]*KMSKey{}, Trails: map[string]*Trail{}, Things: map[string]map[string]*Thing{}}
		}
		w.Accounts[id] = a
		w.role(id, Role{Path: "/auditcanary/", Name: "auditcanary-inspector", Trust: trustInspection, Created: now, Tags: map[string]string{"auditcanary": "fixture"}}, inspectorPolicy)
	}

	w.Accounts[ManagementAccount].Regions["us-east-1"].Trails[TrailName] = &Trail{
		Name: TrailName, Bucket: ArchiveBucket, Home: "us-east-1",
		MultiRegion: true, Organization: true, Validation: true, Logging: true, Started: now,
	}
	seedAlertPath(w)
	seedSecurityAlerts(w)
	seedArchiveKey(w, now)
	seedToolKeys(w, now)
	w.bucket(ArchiveBucket, ArchiveAccount, "us-east-1", archivePolicy)
	w.bucket(LedgerBucket, ToolAccount, "us-east-1", "")
	w.bucket(EvidenceBucket, ToolAccount, "us-east-1", "")

	w.Accounts[ToolAccount].Users["auditcanary-runner"] = &User{
		Name: "auditcanary-runner", ID: uniqueID("AIDA", ToolAccount, "auditcanary-runner"), Key: key(ToolAccount, "auditcanary-runner"),
		Policies: named(runnerPolicy),
	}
	w.role(ToolAccount, Role{Path: "/auditcanary/", Name: "auditcanary-evidence", Trust: trustRunner, Created: now}, evidencePolicy)
	w.role(ArchiveAccount, Role{Path: "/auditcanary/", Name: "auditcanary-reader", Trust: trustRunner, Created: now}, readerPolicy)
	w.role(ManagementAccount, Role{Path: "/auditcanary/", Name: "auditcanary-log-reader", Trust: trustRunner, Created: now}, logReaderPolicy)

	for _, id := range e.Accounts {
		fixture := map[string]string{"auditcanary": "fixture"}
		w.role(id, Role{Path: "/auditcanary/", Name: "auditcanary-injector", Trust: trustRunner, Created: now, Tags: fixture},
			strings.ReplaceAll(injectorPolicy, "ACCOUNT", id))
		w.role(id, Role{Path: "/", Name: "auditcanary-break-glass", Trust: strings.ReplaceAll(trustInjector, "ACCOUNT", id), Created: now, Tags: fixture},
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`)
		for _, region := range e.Regions {
			r := w.Accounts[id].Regions[region]
			sg := "sg-0" + digest(id, region, "security-group")[:16]
			r.Groups[sg] = &Group{ID: sg, Name: "auditcanary-fixture", Description: "attached to nothing", VPC: "vpc-0" + digest(id, region, "vpc")[:16], Tags: fixture}
			kms := keyID(id, region)
			r.Keys[kms] = &KMSKey{ID: kms, Description: "auditcanary fixture, encrypts nothing", Enabled: true, Created: now, Tags: fixture}
			bucket := "auditcanary-" + id + "-" + region
			w.bucket(bucket, id, region, "")
			for _, name := range []string{"auditcanary-decoy", "auditcanary-locked"} {
				r.Trails[name] = &Trail{Name: name, Bucket: bucket, Home: region, Logging: true, Started: now, CustomSelectors: true}
			}
			for _, s := range services() {
				if s.seed != nil {
					s.seed(w, id, region)
				}
			}
		}
	}
	return w
}

// The organisation's guard around its trails and its boundaries.
const protectTrails = `{"Version":"2012-10-17","Statement":[{"Sid":"ProtectTrails","Effect":"Deny",
 "Action":["cloudtrail:StopLogging","cloudtrail:DeleteTrail","cloudtrail:UpdateTrail","cloudtrail:PutEventSelectors"],
 "Resource":["arn:aws:cloudtrail:*:*:trail/auditcanary-locked","arn:aws:cloudtrail:*:*:trail/auditcanary-multi-*","arn:aws:cloudtrail:*:*:trail/org-trail"]},
 ` + protectFixtures + `
 {"Sid":"ProtectBoundaries","Effect":"Deny","Action":"iam:DeleteRolePermissionsBoundary","Resource":"arn:aws:iam::*:role/auditcanary/auditcanary-locked"},
 {"Sid":"ProtectRecorders","Effect":"Deny","Action":["config:StopConfigurationRecorder","config:DeleteConfigurationRecorder","config:DeleteDeliveryChannel"],"Resource":"*"},
 {"Sid":"ProtectRules","Effect":"Deny","Action":["events:DisableRule","events:DeleteRule","events:PutRule","events:RemoveTargets"],"Resource":"arn:aws:events:*:*:rule/auditcanary-locked"},
 {"Sid":"ProtectDetectors","Effect":"Deny","Action":["guardduty:UpdateDetector","guardduty:DeleteDetector"],"Resource":"*"},
 {"Sid":"ProtectSnapshots","Effect":"Deny","Action":["rds:ModifyDBSnapshotAttribute","rds:ModifyDBClusterSnapshotAttribute"],"Resource":"*"}]}`

// The archive admits the service that writes it, and the management account to read.
const archivePolicy = `{"Version":"2012-10-17","Statement":[
 {"Sid":"AWSCloudTrailAclCheck","Effect":"Allow","Principal":{"Service":"cloudtrail.amazonaws.com"},"Action":"s3:GetBucketAcl","Resource":"arn:aws:s3:::org-trail-archive"},
 {"Sid":"AWSCloudTrailWrite","Effect":"Allow","Principal":{"Service":"cloudtrail.amazonaws.com"},"Action":"s3:PutObject","Resource":"arn:aws:s3:::org-trail-archive/AWSLogs/*"},
 {"Sid":"ManagementReads","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::100000000001:root"},
  "Action":["s3:GetBucketLocation","s3:ListBucket","s3:GetObject"],"Resource":["arn:aws:s3:::org-trail-archive","arn:aws:s3:::org-trail-archive/*"]}]}`

// The injector, the reader and the inspectors trust the runner, under the tool's session names only.
const trustRunner = `{"Version":"2012-10-17","Statement":[
 {"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::222222222222:user/auditcanary-runner"},"Action":"sts:AssumeRole",
  "Condition":{"StringLike":{"sts:RoleSessionName":"auditcanary*"}}},
 {"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::222222222222:user/auditcanary-runner"},"Action":"sts:TagSession"},
 {"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::222222222222:user/auditcanary-runner"},"Action":"sts:SetSourceIdentity",
  "Condition":{"StringEquals":{"sts:SourceIdentity":"auditcanary"}}}]}`

const trustInjector = `{"Version":"2012-10-17","Statement":[
 {"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::ACCOUNT:role/auditcanary/auditcanary-injector"},"Action":["sts:AssumeRole","sts:SetSourceIdentity","sts:TagSession"]}]}`

const runnerPolicy = `{"Version":"2012-10-17","Statement":[
 {"Effect":"Allow","Action":["kms:Sign","kms:GetPublicKey"],"Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/auditcanary":"ledger"}}},
 {"Effect":"Allow","Action":["sts:AssumeRole","sts:SetSourceIdentity","sts:TagSession"],"Resource":"arn:aws:iam::*:role/auditcanary/*"},
 {"Effect":"Allow","Action":"states:StartExecution","Resource":"arn:aws:states:*:222222222222:stateMachine:auditcanary-*"},
 {"Effect":"Allow","Action":["s3:GetBucketLocation","s3:ListBucket"],"Resource":"arn:aws:s3:::auditcanary-ledger"},
 {"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":"arn:aws:s3:::auditcanary-ledger/*"}]}`

const evidencePolicy = `{"Version":"2012-10-17","Statement":[
 {"Effect":"Allow","Action":["kms:Sign","kms:GetPublicKey"],"Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/auditcanary":"packets"}}},
 {"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::auditcanary-evidence"},
 {"Effect":"Allow","Action":["s3:GetObject","s3:PutObject","s3:PutObjectRetention","s3:GetObjectRetention"],"Resource":"arn:aws:s3:::auditcanary-evidence/*"},
 {"Effect":"Allow","Action":"kms:GetPublicKey","Resource":"*"}]}`

const readerPolicy = `{"Version":"2012-10-17","Statement":[
 {"Effect":"Allow","Action":["sqs:ReceiveMessage","sqs:DeleteMessage","sqs:ChangeMessageVisibility","sqs:GetQueueAttributes"],"Resource":"arn:aws:sqs:us-east-1:999999999999:auditcanary-alert-tap-*"},
 {"Effect":"Allow","Action":["s3:ListBucket","s3:GetBucketLocation","s3:GetBucketVersioning","s3:GetBucketObjectLockConfiguration","s3:GetLifecycleConfiguration"],"Resource":"arn:aws:s3:::org-trail-archive"},
 {"Effect":"Allow","Action":"cloudtrail:ListPublicKeys","Resource":"*"},
 {"Effect":"Allow","Action":["s3:GetObject","s3:GetObjectVersion","s3:GetObjectRetention"],"Resource":"arn:aws:s3:::org-trail-archive/*"}]}`

// PermitInjector replaces what the injector of an account may do by managed
// policies: those that `auditcanary plan` says it needs.
func (c *Cloud) PermitInjector(account string, documents []json.RawMessage) error {
	const most, longest = 10, 6144 // IAM's quotas
	if len(documents) > most {
		return fmt.Errorf("%d policies for the injector in %s: a role takes %d", len(documents), account, most)
	}
	var policies []policy.Named
	for i, text := range documents {
		if len(text) > longest {
			return fmt.Errorf("policy %d of the injector in %s has %d characters, more than %d", i, account, len(text), longest)
		}
		doc, err := policy.Parse(text, policy.ForIdentity)
		if err != nil {
			return fmt.Errorf("policy %d of the injector in %s: %w", i, account, err)
		}
		policies = append(policies, policy.Named{Doc: doc})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.world.Accounts[account].Roles["auditcanary-injector"].Policies = policies
	return nil
}

// What the first eight scenarios and the sweep need, on canary-named or
// fixture-tagged resources only. Fixtures of IAM themselves are out of reach.
const injectorPolicy = `{"Version":"2012-10-17","Statement":[
 {"Sid":"CreateBoundedRoles","Effect":"Allow","Action":["iam:CreateRole","iam:AttachRolePolicy"],"Resource":"arn:aws:iam::ACCOUNT:role/auditcanary/auditcanary-*",
  "Condition":{"StringEquals":{"iam:PermissionsBoundary":"arn:aws:iam::aws:policy/AWSDenyAll"}}},
 {"Sid":"UndoRoles","Effect":"Allow","Action":["iam:DeleteRole","iam:DetachRolePolicy","iam:TagRole","iam:GetRole","iam:ListRoleTags","iam:ListAttachedRolePolicies","iam:ListRolePolicies"],
  "Resource":"arn:aws:iam::ACCOUNT:role/auditcanary/auditcanary-*"},
 {"Sid":"NotTheFixtures","Effect":"Deny","Action":["iam:AttachRolePolicy","iam:DetachRolePolicy","iam:DeleteRole","iam:TagRole"],"Resource":"*",
  "Condition":{"StringEquals":{"aws:ResourceTag/auditcanary":"fixture"}}},
 {"Sid":"Look","Effect":"Allow","Action":["iam:ListRoles","ec2:DescribeSecurityGroups","ec2:DescribeSecurityGroupRules","kms:ListKeys","cloudtrail:DescribeTrails"],"Resource":"*"},
 {"Sid":"GroupFixture","Effect":"Allow","Action":["ec2:AuthorizeSecurityGroupIngress","ec2:RevokeSecurityGroupIngress"],"Resource":"arn:aws:ec2:*:ACCOUNT:security-group/*",
  "Condition":{"StringEquals":{"aws:ResourceTag/auditcanary":"fixture"}}},
 {"Sid":"GroupRules","Effect":"Allow","Action":["ec2:AuthorizeSecurityGroupIngress","ec2:RevokeSecurityGroupIngress"],"Resource":"arn:aws:ec2:*:ACCOUNT:security-group-rule/*"},
 {"Sid":"TagOnCreate","Effect":"Allow","Action":"ec2:CreateTags","Resource":"arn:aws:ec2:*:ACCOUNT:security-group-rule/*",
  "Condition":{"StringEquals":{"ec2:CreateAction":"AuthorizeSecurityGroupIngress"}}},
 {"Sid":"FlowLogs","Effect":"Allow","Action":"ec2:DeleteFlowLogs","Resource":"arn:aws:ec2:*:ACCOUNT:vpc-flow-log/*"},
 {"Sid":"KeyFixture","Effect":"Allow","Action":["kms:DisableKey","kms:EnableKey","kms:DescribeKey","kms:ListResourceTags"],"Resource":"arn:aws:kms:*:ACCOUNT:key/*",
  "Condition":{"StringEquals":{"aws:ResourceTag/auditcanary":"fixture"}}},
 {"Sid":"BucketFixture","Effect":"Allow","Action":["s3:PutBucketPolicy","s3:DeleteBucketPolicy","s3:GetBucketPolicy","s3:GetBucketLocation"],"Resource":"arn:aws:s3:::auditcanary-ACCOUNT-*"},
 {"Sid":"Trails","Effect":"Allow","Action":["cloudtrail:StopLogging","cloudtrail:StartLogging","cloudtrail:GetTrailStatus","cloudtrail:GetTrail"],"Resource":"arn:aws:cloudtrail:*:ACCOUNT:trail/auditcanary-*"},
 {"Sid":"BreakGlass","Effect":"Allow","Action":["sts:AssumeRole","sts:SetSourceIdentity","sts:TagSession"],"Resource":"arn:aws:iam::ACCOUNT:role/auditcanary-break-glass"}]}`

func named(text string) []policy.Named {
	return []policy.Named{{Doc: policy.MustParse(text, policy.ForIdentity)}}
}

func (w *Seed) role(account string, r Role, identity string) {
	r.ID, r.MaxSession = uniqueID("AROA", account, r.Name), time.Hour
	r.trust = policy.MustParse(r.Trust, policy.ForTrust)
	r.Policies = named(identity)
	w.Accounts[account].Roles[r.Name] = &r
}

func (w *Seed) bucket(name, account, region, doc string) {
	b := &Bucket{Name: name, Account: account, Region: region, Policy: doc}
	if doc != "" {
		b.policy = policy.MustParse(doc, policy.ForResource)
	}
	w.Buckets[name] = b
}

// trailLogs says whether the organisation trail takes an account's records.
func (w *Seed) trailLogs(account string) bool {
	if w.Accounts[w.Management] == nil {
		return false
	}
	for _, r := range w.Accounts[w.Management].Regions {
		for _, t := range r.Trails {
			if t.Organization && t.Logging && w.Accounts[account] != nil {
				return true
			}
		}
	}
	return false
}

func digest(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])
}

func uniqueID(prefix string, parts ...string) string {
	sum := sha256.Sum256([]byte(prefix + strings.Join(parts, "\x00")))
	return prefix + base32.StdEncoding.EncodeToString(sum[:])[:17]
}

func key(account, name string) Key {
	return Key{ID: uniqueID("AKIA", account, name)[:20], Secret: digest("secret", account, name)[:40]}
}

func keyID(account, region string) string {
	d := digest(account, region, "kms-key")
	return fmt.Sprintf("%s-%s-4%s-a%s-%s", d[:8], d[8:12], d[12:15], d[15:18], d[18:30])
}

// Runner returns the access key of the product's own user in the tool account.
func (c *Cloud) Runner() Key {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.world.Accounts[ToolAccount].Users["auditcanary-runner"].Key
}

// RootKey returns the root user's access key of an account, for tests and for
// AWS's own tools; zero if there is no such account.
func (c *Cloud) RootKey(account string) Key {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a := c.world.Accounts[account]; a != nil {
		return a.RootKey
	}
	return Key{}
}

// InjectorRole and ReaderRole are the ARNs the product's configuration names.
func InjectorRole(account string) string {
	return "arn:aws:iam::" + account + ":role/auditcanary/auditcanary-injector"
}

// ReaderRole is the role that reads the archive.
func ReaderRole() string {
	return "arn:aws:iam::" + ArchiveAccount + ":role/auditcanary/auditcanary-reader"
}

// EvidenceRole is the role that keeps packets.
func EvidenceRole() string {
	return "arn:aws:iam::" + ToolAccount + ":role/auditcanary/auditcanary-evidence"
}

// Fixtures are what the configuration names for a target account and region;
// region "*" holds what is the same in all.
func Fixtures(account, region string) map[string]string {
	all := map[string]string{}
	for _, s := range services() {
		if s.fixtures != nil {
			maps.Copy(all, s.fixtures(account, region))
		}
	}
	maps.Copy(all, firstFixtures(account, region))
	return all
}

func firstFixtures(account, region string) map[string]string {
	if region == "*" {
		return map[string]string{"break_glass_role": "auditcanary-break-glass"}
	}
	return map[string]string{
		"security_group": "sg-0" + digest(account, region, "security-group")[:16],
		"kms_key":        keyID(account, region),
		"bucket":         "auditcanary-" + account + "-" + region,
		"decoy_trail":    "auditcanary-decoy",
		"locked_trail":   "auditcanary-locked",
	}
}

// Change is one thing that is not as it was at the start: what canaries left.
type Change struct {
	Account string `json:"account"`
	Region  string `json:"region"`
	Kind    string `json:"kind"` // "iam role", "security group rule", "kms key", "flow log", "trail", "bucket policy"
	ID      string `json:"id"`
	// Is is the state in JSON, "" if it is gone.
	Is string `json:"is,omitempty"`
}

// Changes returns the difference between the world now and as it was at the
// start: empty means that nothing was left behind.
func (c *Cloud) Changes() []Change {
	before := things(WorldOf(c.opts.Clock, c.opts.World.Extent))
	c.mu.Lock()
	now := things(c.world)
	c.mu.Unlock()
	var out []Change
	for _, id := range slices.Sorted(maps.Keys(now)) {
		if before[id] != now[id] {
			ch := changeOf(id)
			ch.Is = now[id]
			out = append(out, ch)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(before)) {
		if _, there := now[id]; !there {
			out = append(out, changeOf(id))
		}
	}
	return out
}

func changeOf(id string) Change {
	f := strings.SplitN(id, "\x00", 4)
	return Change{Account: f[0], Region: f[1], Kind: f[2], ID: f[3]}
}

// things lists the world's state by account, region, kind and id. What a use
// leaves by itself (times) is no part of it.
func things(w *Seed) map[string]string {
	out := map[string]string{}
	put := func(account, region, kind, id string, v any) {
		b, _ := json.Marshal(v)
		out[account+"\x00"+region+"\x00"+kind+"\x00"+id] = string(b)
	}
	for _, a := range w.Accounts {
		for _, r := range a.Roles {
			put(a.ID, "us-east-1", "iam role", r.Path+r.Name, map[string]any{"attached": r.Attached, "inline": slices.Sorted(maps.Keys(r.Inline)), "boundary": r.Boundary, "trust": r.Trust, "tags": r.Tags})
		}
		for name, region := range a.Regions {
			for _, g := range region.Groups {
				for _, rule := range g.Rules {
					put(a.ID, name, "security group rule", g.ID+"/"+rule.ID, map[string]any{"egress": rule.Egress, "cidr": rule.CIDR, "from": rule.From, "to": rule.To, "tags": rule.Tags})
				}
			}
			for kind, all := range region.Things {
				for _, t := range all {
					put(a.ID, name, kind, t.ID, map[string]any{"tags": t.Tags, "attr": t.Attr})
				}
			}
			for _, k := range region.Keys {
				put(a.ID, name, "kms key", k.ID, map[string]any{"enabled": k.Enabled})
			}
			for _, t := range region.Trails {
				put(a.ID, name, "trail", t.Name, map[string]any{"logging": t.Logging, "bucket": t.Bucket, "prefix": t.Prefix, "validation": t.Validation, "regions": t.MultiRegion})
			}
		}
	}
	for _, b := range w.Buckets {
		if b.Policy != "" {
			put(b.Account, b.Region, "bucket policy", b.Name, b.Policy)
		}
	}
	return out
}
