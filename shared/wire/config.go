package wire

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// Config is auditcanary.yaml: what runs where, where its records must arrive,
// where the ledger is kept. These comments are its manual. Unknown keys are
// errors. Secrets are never in it, only references to them. Relative paths are
// relative to the file.
type Config struct {
	// Version of this format: 1.
	Version int `yaml:"version"`
	// AWS settings that hold for every AWS client.
	AWS AWS `yaml:"aws"`
	// Targets are the accounts in which canaries act. Each account once.
	Targets []Target `yaml:"targets"`
	// Clusters are the Kubernetes clusters in which canaries act. Each once.
	Clusters []Cluster `yaml:"clusters"`
	// LogStores are the central log stores in which records must surface: exactly one for now.
	LogStores []LogStore `yaml:"log_stores"`
	// Ledger is the signed log that is both the state and the evidence.
	Ledger Ledger `yaml:"ledger"`
	// Signing is the key that signs the ledger's checkpoints.
	Signing Signing `yaml:"signing"`
	// Evidence is how packets are signed and where they are kept. Optional.
	Evidence Evidence `yaml:"evidence"`
	// SLO says how long a record may take.
	SLO SLO `yaml:"slo"`
	// Scenarios selects what runs.
	Scenarios Scenarios `yaml:"scenarios"`
	// Adequacy records, for each source of logs, whether what it records suffices.
	// ISO/IEC 27017 12.4.3 asks the customer to decide; what is not here is undecided.
	Adequacy []Adequacy `yaml:"adequacy"`
	// Scope is what `auditcanary scope` cannot know. All of it may be left out, and is then "not stated".
	Scope Scope `yaml:"scope"`
	// SecurityHub is the one that `auditcanary report --push securityhub` imports into. Optional.
	SecurityHub *SecurityHub `yaml:"security_hub"`
	// Inspection is how the settings of accounts are read (`auditcanary sources` and
	// `auditcanary access`), and their event history when a record is missing. May be left
	// out; then nobody reads them, and where a record was lost is unknown.
	Inspection Inspection `yaml:"inspection"`
	// Sources says who owns which class of sources of logs, and which must be recorded.
	Sources []LogSource `yaml:"sources"`
	// AlertPath lists what people rely on to be told. What is not listed is not judged.
	AlertPath AlertPath `yaml:"alert_path"`
	// Exceptions is the register of approved exceptions. Optional.
	Exceptions *Exceptions `yaml:"exceptions"`
	// Tickets is where a failing check becomes a ticket, Chat where people are told of a
	// run (`auditcanary notify`). Optional.
	Tickets Tickets `yaml:"tickets"`
	Chat    Chat    `yaml:"chat"`
	// Alerts say where the alerts arrive that scenarios promise. What is promised under
	// another name is not listened for, and verdicts say so.
	Alerts []Alert `yaml:"alerts"`
	// Trigger says who may ask for a run besides the schedule. Optional.
	Trigger *Trigger `yaml:"trigger"`

	file string
	dir  string
	hash string
	cell string // the one it was narrowed down to
	// appID of what merely looks and must leave no mark of canaries; "": the program's own.
	appID string
}

// AWS settings. Credentials come from the SDK's default chain (environment,
// profile, the function's role).
type AWS struct {
	// EndpointURL sends every AWS call there (a VPC endpoint, a proxy, a test
	// server), with path-style S3. Empty: AWS's own endpoints.
	EndpointURL string `yaml:"endpoint_url"`
	// CallTimeout bounds one canary call (default 30s). A call that takes longer
	// counts as unanswered: it may or may not have been done.
	CallTimeout Duration `yaml:"call_timeout"`
}

// Target is one account.
type Target struct {
	// Account id, twelve digits, in quotes.
	Account string `yaml:"account"`
	// Regions in which regional canaries run.
	Regions []string `yaml:"regions"`
	// Cell of the account: accounts of one cell share a ledger and are tested, reported
	// and packed together, apart from other cells. Every account has one, or none has.
	Cell string `yaml:"cell"`
	// RoleARN is the injector role in that account.
	RoleARN string `yaml:"role_arn"`
	// ExternalIDEnv names the environment variable that holds the role's external id, if it wants one.
	ExternalIDEnv string `yaml:"external_id_env"`
	// Egress lists the addresses (or CIDR ranges) the injector's calls come
	// from. Empty: the records' source address is not compared, and every
	// verdict says so.
	Egress []string `yaml:"egress"`
	// Fixtures are what infrastructure code deployed for canaries to act on, by
	// region ("*" = every region). A scenario whose fixture is missing is not run
	// there, and says so. Named things begin with "auditcanary-"; whatever takes
	// tags carries auditcanary=fixture. "Locked" ones are those that a service
	// control policy of the organisation protects as it protects the real ones.
	//
	//   - security_group, vpc, snapshot: ids; used by nothing, the snapshot empty.
	//   - kms_key, deletion_key, grant_key: ids of keys that encrypt nothing; three,
	//     since canaries that act at the same time must not meet on one.
	//   - bucket, lifecycle_bucket, public_access_bucket: names of empty buckets.
	//   - decoy_trail, selector_trail, locked_trail: names of trails that select one
	//     data event there never is (of the function auditcanary-none).
	//   - log_group: name of an empty log group that keeps 365 days.
	//   - locked_rule: name of an EventBridge rule that is enabled and has no target.
	//   - guardduty_detector: id; security_hub: ARN of the hub; eks_cluster: name.
	//     These are the account's real ones; canaries add to them and take away.
	//   - break_glass_role: name; the real role, or one like it.
	//   - locked_role: name of a role in /auditcanary/ that nobody may assume, under
	//     the permissions boundary AWSDenyAll.
	//   - eks_principal, flow_log_role: names of roles that may do nothing.
	//
	// What tamper probes attempt to take away, after they have seen it protected:
	//
	//   - locked_bucket: name of a bucket under Object Lock (COMPLIANCE) with a policy and a
	//     lifecycle rule; locked_object: key of a worthless object in it. The archive's
	//     trail must select the data events of the bucket, or no record of probes of the
	//     object comes there.
	//   - multi_region_trail_arn: a trail of the account that is seen in this region and
	//     has its home in another; organization_trail_arn: that of the organisation.
	//   - pending_key: id of a key about to be deleted, to be made anew every 30 days.
	//   - protected_log_group: name of an empty log group under deletion protection.
	//   - locked_vault, locked_recovery_point: name of a backup vault under a lock, and the
	//     ARN of a worthless recovery point in it.
	Fixtures map[string]map[string]string `yaml:"fixtures"`
}

// LogStore is a central log store.
type LogStore struct {
	// Name by which verdicts call it.
	Name string `yaml:"name"`
	// Type: cloudtrail-s3, an S3 archive to which a CloudTrail trail delivers, or one that
	// is asked by query: victorialogs, loki or cloudwatch-logs.
	Type string `yaml:"type"`
	// Bucket of the archive.
	Bucket string `yaml:"bucket"`
	// Region of the bucket.
	Region string `yaml:"region"`
	// Prefix before AWSLogs/, if the trail has one.
	Prefix string `yaml:"prefix"`
	// OrganizationID (o-...) if an organisation trail delivers there.
	OrganizationID string `yaml:"organization_id"`
	// RoleARN of the reader role in the archive's account. Empty: the base credentials read.
	RoleARN string `yaml:"role_arn"`
	// Trail is the name of the trail that delivers there, HomeRegion its home region.
	// Left out, every chain of digests that lies there counts, whichever trail's it is.
	Trail      string `yaml:"trail"`
	HomeRegion string `yaml:"home_region"`
	// Protection is what must keep each record from being taken away.
	Protection Protection `yaml:"protection"`
	// QueryStore is what those need that are asked by query.
	QueryStore `yaml:",inline"`
}

// Protection is what is demanded of the object that holds a record.
type Protection struct {
	// Mode of S3 Object Lock: COMPLIANCE (default), GOVERNANCE (it can be lifted: an
	// accepted weakness), or none, which leaves "immutable" not run.
	Mode string `yaml:"mode"`
	// Days that an object must be retained for after it arrived (default 365).
	Days int `yaml:"days"`
	// Digested: within what time after it arrived a signed digest must name an object
	// (default 2h15m: digests are hourly and come a little after their hour).
	Digested Duration `yaml:"digested"`
	// Overdue: after what time no digest is expected any more, a backfill digest
	// neither (default 24h, at most 72h).
	Overdue Duration `yaml:"overdue"`
}

// Keeping is that in the judge's terms.
func (p Protection) Keeping() canary.Keeping {
	k := canary.Keeping{Mode: p.Mode, Days: p.Days, Digested: p.Digested.Duration, Overdue: p.Overdue.Duration}
	if k.Mode == noRetention {
		k.Mode, k.Days = "", 0
	}
	return k
}

const noRetention = "none"

func (p *Protection) defaults() {
	p.Mode, p.Days = cmp.Or(p.Mode, canary.Compliance), cmp.Or(p.Days, 365)
	p.Digested.Duration = cmp.Or(p.Digested.Duration, 2*time.Hour+15*time.Minute)
	p.Overdue.Duration = cmp.Or(p.Overdue.Duration, 24*time.Hour)
}

func (p Protection) check(bad func(field, format string, args ...any)) {
	if !slices.Contains([]string{canary.Compliance, canary.Governance, noRetention}, p.Mode) {
		bad("mode", "protection mode %q is not known; known: COMPLIANCE, GOVERNANCE, none", p.Mode)
	}
	if p.Days < 1 {
		bad("days", "protection of %d days: at least 1, or mode: none", p.Days)
	}
	if most := 72 * time.Hour; p.Overdue.Duration > most {
		bad("overdue", "protection.overdue (%s) must not be longer than %s: so long would a forged file pass for one that awaits its digest", p.Overdue, most)
	}
	if p.Digested.Duration >= p.Overdue.Duration {
		bad("digested", "protection.digested (%s) must be shorter than protection.overdue (%s)", p.Digested, p.Overdue)
	}
}

// Ledger is where the signed log is kept: in a directory or in S3.
type Ledger struct {
	// Origin names the log for ever, like a URL without a scheme
	// ("auditcanary.example.com/prod"). Checkpoints carry it; changing it begins another log.
	Origin string `yaml:"origin"`
	// Dir keeps it in a directory.
	Dir string `yaml:"dir"`
	// S3 keeps it in a bucket, with conditional writes.
	S3 *LedgerS3 `yaml:"s3"`
}

// LedgerS3 is a ledger in a bucket.
type LedgerS3 struct {
	Bucket  string `yaml:"bucket"`
	Prefix  string `yaml:"prefix"`
	Region  string `yaml:"region"`
	RoleARN string `yaml:"role_arn"` // ledger writer role; empty: the base credentials
}

// SecurityHub is the AWS Security Hub of one account and region.
type SecurityHub struct {
	// Account and Region of the hub; findings name the accounts they are of as resources.
	Account string `yaml:"account"`
	Region  string `yaml:"region"`
	// RoleARN of the role in that account that may import and update findings; empty: the base credentials.
	RoleARN string `yaml:"role_arn"`
}

func (h *SecurityHub) check(bad complain) {
	if h == nil {
		return
	}
	if !accountID.MatchString(h.Account) {
		bad("security_hub.account", "account %q is not twelve digits in quotes", h.Account)
	}
	if !regionID.MatchString(h.Region) {
		bad("security_hub.region", "%q is not a region", h.Region)
	}
	if h.RoleARN != "" {
		if m := roleARN.FindStringSubmatch(h.RoleARN); m == nil || m[1] != h.Account {
			bad("security_hub.role_arn", "role_arn %q is not the ARN of a role in account %s: findings are imported from the hub's own account", h.RoleARN, h.Account)
		}
	}
}

// Signing is the key that signs checkpoints: a note signer key (PRIVATE+KEY+...), which
// `auditcanary ledger keygen` makes, or a key of AWS KMS, which nobody can copy.
type Signing struct {
	// KeyFile holds it, readable by its owner only. KeyFile.pub beside it, if there
	// is one, is the verifier key; who only reads needs no other.
	KeyFile string `yaml:"key_file"`
	// KeyEnv names the environment variable that holds it instead.
	KeyEnv string `yaml:"key_env"`
	// KMSKey is the ARN of a key of AWS KMS (ECC_NIST_EDWARDS25519, SIGN_VERIFY) that
	// signs instead. Every append asks it once. Packets then need a key of their own
	// (evidence.kms_key or evidence.gcp_kms_key).
	KMSKey string `yaml:"kms_key"`
	// RoleARN of the role that may kms:Sign with it; empty: the base credentials.
	RoleARN string `yaml:"role_arn"`
	// Verifier is the verifier key (NAME+HASH+KEY) that the ledger is trusted by: whoever
	// only reads needs nothing else. With kms_key it must be there
	// (`auditcanary ledger keygen --kms ARN NAME` prints it); else it may.
	Verifier string `yaml:"verifier"`
}

// SLO is how long a record may take from the action to standing in the store.
type SLO struct {
	// Pass: in time until then (default 15m).
	Pass Duration `yaml:"pass"`
	// Late: late until then, missing after it (default 60m).
	Late Duration `yaml:"late"`
	// Amend: a later arrival within this amends the verdict; both are kept (default 24h).
	Amend Duration `yaml:"amend"`
	// Clock: how far a record's time may lie from the service's own reply (default 2m).
	Clock Duration `yaml:"clock"`
	// Poll: the shortest pause between two looks at the store (default 30s).
	Poll Duration `yaml:"poll"`
}

// Scenarios selects what runs.
type Scenarios struct {
	// Dirs with scenario files of your own, beside the built-in ones.
	Dirs []string `yaml:"dirs"`
	// Include globs over scenario ids (default all).
	Include []string `yaml:"include"`
	// Exclude globs over scenario ids.
	Exclude []string `yaml:"exclude"`

	// every is the cadence that a run was narrowed down to.
	every string
}

// Adequacy is one decision on one source of logs.
type Adequacy struct {
	// Source: cloud-management-events, cloud-data-events,
	// cloud-network-activity-events, console-sign-in, identity-provider,
	// privileged-access-tooling, kubernetes, os-hosts, databases, ci-cd or saas. Each once.
	Source string `yaml:"source"`
	// Decision: sufficient, or additional (more logging is needed).
	Decision string `yaml:"decision"`
	// Why it was decided so.
	Why string `yaml:"why"`
	// Additional says what is logged beyond the source; with decision additional only.
	Additional string `yaml:"additional"`
	// By whom it was decided, and On which day (2026-11-22; from a later day on it does not stand yet).
	By string `yaml:"by"`
	On Date   `yaml:"on"`
	// ReviewBy is the day by which it must be decided anew; afterwards it is overdue.
	ReviewBy Date `yaml:"review_by"`
}

// Scope is what people state of the scope of logging.
type Scope struct {
	// Title of the document (default "Privileged Activity Logging Scope").
	Title string `yaml:"title"`
	// Organization whose scope it is, Owner of the document, its Version.
	Organization string `yaml:"organization"`
	Owner        string `yaml:"owner"`
	Version      string `yaml:"version"`
	// ApprovedBy whom, and ApprovedOn which day.
	ApprovedBy string `yaml:"approved_by"`
	ApprovedOn Date   `yaml:"approved_on"`
	// Actors with privileges, beside this program's own roles.
	Actors []Actor `yaml:"actors"`
	// OutOfScope is what is deliberately not covered.
	OutOfScope []OutOfScope `yaml:"out_of_scope"`
}

// Actor is somebody or something that acts with privilege.
type Actor struct {
	// Name, "Platform administrators".
	Name string `yaml:"name"`
	// Kind: human, break-glass, ci-cd, service-account or provider.
	Kind string `yaml:"kind"`
	// Through which account, role or tool. Optional.
	Through string `yaml:"through"`
}

// OutOfScope is something that is not covered, with the reason.
type OutOfScope struct {
	What string `yaml:"what"`
	Why  string `yaml:"why"`
}

// Inspection is how the settings of accounts are read: through one role of the
// same name in every account, which may read and change nothing.
type Inspection struct {
	// Role is the path and name of that role: auditcanary/auditcanary-inspector.
	Role string `yaml:"role"`
	// ExternalIDEnv names the environment variable that holds the roles' external id, if they want one.
	ExternalIDEnv string `yaml:"external_id_env"`
	// Organization lists the accounts. Optional.
	Organization *Organization `yaml:"organization"`
	// Accounts lists them where no organization does. Left out: those of the targets
	// and of the log store's reader role.
	Accounts []string `yaml:"accounts"`
	// Regions that are looked into. Left out: those of the targets and the log store's.
	Regions []string `yaml:"regions"`
	// SilentAfter: how old the latest delivery from a region may be (default 24h), by
	// the provider's clock. DigestAfter: the latest digest, one an hour (default 3h).
	SilentAfter Duration `yaml:"silent_after"`
	DigestAfter Duration `yaml:"digest_after"`
}

// Organization is where an organisation's accounts are listed.
type Organization struct {
	// ManagementAccount (or one that may list accounts in its place), twelve digits, in quotes.
	ManagementAccount string `yaml:"management_account"`
	// Region in which the organisation's service is asked (default: where the provider records it).
	Region string `yaml:"region"`
}

// LogSource is what somebody says of a class of sources of logs.
type LogSource struct {
	// Class is one of those that adequacy decides on (Adequacy.Source). Each once.
	Class string `yaml:"class"`
	// Owner answers for it.
	Owner string `yaml:"owner"`
	// Required: that none of it is recorded is a finding. Management events and
	// console sign-ins always are required; data and network activity events are
	// recorded only where a selector asks for them. Other classes cannot be.
	Required bool `yaml:"required"`
}

// AlertPath is what stands between a record and the person who must know of it.
// Accounts are twelve digits in quotes; they need not be targets.
type AlertPath struct {
	EventRules    []AlertRule   `yaml:"event_rules"`
	Topics        []AlertTopic  `yaml:"topics"`
	Alarms        []Alarm       `yaml:"alarms"`
	MetricFilters []AlertFilter `yaml:"metric_filters"`
	Detectors     []Detector    `yaml:"detectors"`
	LogGroups     []LogGroup    `yaml:"log_groups"`
}

// Where a thing on the alert path is.
type Where struct {
	Account string `yaml:"account"`
	Region  string `yaml:"region"`
}

// AlertRule is an EventBridge rule.
type AlertRule struct {
	Where `yaml:",inline"`
	Name  string `yaml:"name"`
	// Bus it is on (default: the account's default bus).
	Bus string `yaml:"bus"`
	// AllManagementEvents: it must see read-only calls as well, AssumeRole among them.
	AllManagementEvents bool `yaml:"all_management_events"`
	// Pattern it must have, JSON. Left out, it is not compared.
	Pattern string `yaml:"pattern"`
	// Targets it must have, ARNs. Left out, it must have at least one.
	Targets []string `yaml:"targets"`
}

// AlertTopic is an SNS topic.
type AlertTopic struct {
	ARN string `yaml:"arn"`
	// Endpoints that must be subscribed and confirmed. Left out, at least one must be.
	Endpoints []string `yaml:"endpoints"`
	// Filtered: that subscriptions take a part of the messages only is meant.
	Filtered bool `yaml:"filtered"`
}

// Alarm is a CloudWatch alarm of any kind.
type Alarm struct {
	Where `yaml:",inline"`
	Name  string `yaml:"name"`
	// Actions it must have in state ALARM, ARNs. Left out, it must have at least one.
	Actions []string `yaml:"actions"`
	// Muted lists the mute rules and suppressing alarms that were agreed on, as the
	// finding names them.
	Muted []string `yaml:"muted"`
}

// AlertFilter is a metric filter of a log group.
type AlertFilter struct {
	Where    `yaml:",inline"`
	LogGroup string `yaml:"log_group"`
	Name     string `yaml:"name"`
	// Pattern it must have. Left out, it is not compared.
	Pattern string `yaml:"pattern"`
}

// Detector is a GuardDuty detector.
type Detector struct {
	Where `yaml:",inline"`
	// ID (default: whichever the region has).
	ID string `yaml:"id"`
	// Suppressions lists the filters that archive findings as was agreed on.
	Suppressions []string `yaml:"suppressions"`
}

// LogGroup is a CloudWatch log group that alerts are made from.
type LogGroup struct {
	Where `yaml:",inline"`
	Name  string `yaml:"name"`
	// RetentionDays it must keep at least. Left out, it is not compared.
	RetentionDays int `yaml:"retention_days"`
	// Protected: deletion protection must be on.
	Protected bool `yaml:"protected"`
}

// Date is a day, written like 2026-11-22.
type Date struct{ time.Time }

// UnmarshalYAML reads it.
func (d *Date) UnmarshalYAML(n *yaml.Node) error {
	v, err := time.Parse(time.DateOnly, n.Value)
	if err != nil {
		return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: %q is not a day such as 2026-11-22", n.Line, n.Value)}}
	}
	d.Time = v
	return nil
}

// Duration is written like "15m" or "1h30m".
type Duration struct{ time.Duration }

// UnmarshalYAML reads it.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	v, err := time.ParseDuration(n.Value)
	if err != nil || v <= 0 {
		return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: %q is not a positive duration such as 15m", n.Line, n.Value)}}
	}
	d.Duration = v
	return nil
}

// maxConfig bounds the configuration file, bytes: a thousand accounts with all their
// fixtures in four regions take about six million.
const maxConfig = 16 << 20

// Load reads and checks a configuration file. The error lists everything wrong
// with it, a line each, as file:line: message.
func Load(file string) (*Config, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, fmt.Errorf("read the configuration %s: %w", file, err)
	}
	if len(data) > maxConfig {
		return nil, fmt.Errorf("%s: larger than %d bytes", file, maxConfig)
	}
	return Parse(file, data)
}

// Parse is Load for bytes that were read already; file is for messages and
// relative paths.
func Parse(file string, data []byte) (*Config, error) {
	c := &Config{}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	switch err := dec.Decode(c); {
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%s: empty", file)
	case err != nil:
		return nil, yamlErrors(file, err)
	}
	if err := dec.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: more than one YAML document", file)
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	sum := sha256.Sum256(data)
	c.file, c.dir, c.hash = file, filepath.Dir(abs), hex.EncodeToString(sum[:])
	c.defaults()
	return c, c.check(lines(data))
}

var yamlLine = regexp.MustCompile(`^line (\d+): (.*)$`)

// yamlErrors turns the decoder's errors into file:line: message lines.
func yamlErrors(file string, err error) error {
	var te *yaml.TypeError
	if !errors.As(err, &te) {
		msg := strings.TrimPrefix(err.Error(), "yaml: ")
		if m := yamlLine.FindStringSubmatch(msg); m != nil {
			return fmt.Errorf("%s:%s: %s", file, m[1], m[2])
		}
		return fmt.Errorf("%s: %s", file, msg)
	}
	var errs []error
	for _, e := range te.Errors {
		m := yamlLine.FindStringSubmatch(e)
		if m == nil {
			errs = append(errs, fmt.Errorf("%s: %s", file, e))
			continue
		}
		msg := m[2]
		if field, _, ok := strings.Cut(strings.TrimPrefix(msg, "field "), " not found in type "); ok {
			msg = fmt.Sprintf("unknown key %q", field)
		}
		errs = append(errs, fmt.Errorf("%s:%s: %s", file, m[1], msg))
	}
	return errors.Join(errs...)
}

func (c *Config) defaults() {
	for i := range c.LogStores {
		c.LogStores[i].Protection.defaults()
	}
	for i := range c.Alerts {
		c.Alerts[i].defaults()
	}
	for _, d := range []struct {
		d *Duration
		v time.Duration
	}{
		{&c.SLO.Pass, 15 * time.Minute}, {&c.SLO.Late, time.Hour}, {&c.SLO.Amend, 24 * time.Hour},
		{&c.SLO.Clock, 2 * time.Minute}, {&c.SLO.Poll, 30 * time.Second}, {&c.AWS.CallTimeout, 30 * time.Second},
		{&c.Inspection.SilentAfter, 24 * time.Hour}, {&c.Inspection.DigestAfter, 3 * time.Hour},
	} {
		if d.d.Duration == 0 {
			d.d.Duration = d.v
		}
	}
}

var (
	accountID = regexp.MustCompile(`^[0-9]{12}$`)
	regionID  = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]$`)
	roleARN   = regexp.MustCompile(`^arn:aws[a-z-]*:iam::([0-9]{12}):role/[\w+=,.@/-]+$`)
)

// check reports everything wrong, with lines.
func (c *Config) check(lineOf func(path string) int) error {
	var errs []error
	bad := func(path string, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s:%d: %s", c.file, lineOf(path), fmt.Sprintf(format, args...)))
	}
	if c.Version != 1 {
		bad("version", "version must be 1")
	}
	if len(c.Targets)+len(c.Clusters) == 0 {
		bad("targets", "no targets: nothing could be tested")
	}
	firstAt := map[string]string{}
	for i, t := range c.Targets {
		at := fmt.Sprintf("targets.%d", i)
		if !accountID.MatchString(t.Account) {
			bad(at+".account", "account %q is not twelve digits in quotes", t.Account)
		} else if first, dup := firstAt[t.Account]; dup {
			bad(at+".account", "duplicate target: account %s is already at line %d", t.Account, lineOf(first))
		} else {
			firstAt[t.Account] = at + ".account"
		}
		if len(t.Regions) == 0 {
			bad(at, "target %s has no regions", t.Account)
		}
		seen := map[string]bool{}
		for j, r := range t.Regions {
			p := fmt.Sprintf("%s.regions.%d", at, j)
			if !regionID.MatchString(r) {
				bad(p, "%q is not a region", r)
			} else if seen[r] {
				bad(p, "duplicate region %s in target %s", r, t.Account)
			}
			seen[r] = true
		}
		m := roleARN.FindStringSubmatch(t.RoleARN)
		switch {
		case m == nil:
			bad(at+".role_arn", "role_arn %q is not the ARN of a role", t.RoleARN)
		case m[1] != t.Account:
			bad(at+".role_arn", "role_arn %s is not in account %s", t.RoleARN, t.Account)
		}
		for j, e := range t.Egress {
			_, err1 := netip.ParsePrefix(e)
			_, err2 := netip.ParseAddr(e)
			if err1 != nil && err2 != nil {
				bad(fmt.Sprintf("%s.egress.%d", at, j), "%q is neither an address nor a CIDR range", e)
			}
		}
		for r := range t.Fixtures {
			if r != "*" && !seen[r] {
				bad(at+".fixtures."+r, "fixtures for region %q, which target %s does not list", r, t.Account)
			}
		}
	}
	c.checkCells(bad)
	if len(c.LogStores) != 1 {
		bad("log_stores", "exactly one log store is needed, found %d", len(c.LogStores))
	}
	for i, s := range c.LogStores {
		at := fmt.Sprintf("log_stores.%d", i)
		checkStore(s, func(field, format string, args ...any) { bad(strings.TrimSuffix(at+"."+field, "."), format, args...) })
	}
	if c.Ledger.Origin == "" || strings.ContainsAny(c.Ledger.Origin, " \n+") {
		bad("ledger.origin", "the ledger needs an origin without spaces or '+', such as auditcanary.example.com/prod")
	}
	if (c.Ledger.Dir == "") == (c.Ledger.S3 == nil) {
		bad("ledger", "the ledger is kept either in dir or in s3: exactly one of them")
	}
	if s := c.Ledger.S3; s != nil && (s.Bucket == "" || !regionID.MatchString(s.Region)) {
		bad("ledger.s3", "the ledger's s3 needs bucket and region")
	}
	c.checkSigning(bad)
	if c.SLO.Pass.Duration >= c.SLO.Late.Duration {
		bad("slo", "slo.pass (%s) must be shorter than slo.late (%s)", c.SLO.Pass, c.SLO.Late)
	}
	if c.SLO.Late.Duration > c.SLO.Amend.Duration {
		bad("slo", "slo.late (%s) must not be longer than slo.amend (%s)", c.SLO.Late, c.SLO.Amend)
	}
	c.checkClusters(bad)
	c.SecurityHub.check(bad)
	c.Exceptions.check(bad)
	c.Evidence.check(func(field, format string, args ...any) { bad("evidence."+field, format, args...) })
	c.checkAdequacy(bad)
	c.checkScope(bad)
	c.checkInspection(bad)
	c.checkSources(bad)
	c.checkTickets(bad)
	c.checkAlerts(bad)
	c.checkTrigger(bad)
	return errors.Join(errs...)
}

// lines finds lines of a file that is known to be YAML. It is parsed once more if one is
// asked for, and only then: large ones take their time.
func lines(data []byte) func(path string) int {
	var root *yaml.Node
	return func(path string) int {
		if root == nil {
			root = &yaml.Node{}
			if err := yaml.Unmarshal(data, root); err != nil {
				return 1
			}
		}
		return lineOf(root, path)
	}
}

// lineOf finds the line of a dotted path ("targets.0.account"), or of as much of
// it as there is.
func lineOf(root *yaml.Node, path string) int {
	n := root
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	line := max(n.Line, 1)
	for path != "" {
		name, rest, _ := strings.Cut(path, ".")
		var next *yaml.Node
		switch n.Kind {
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == name {
					next, line = n.Content[i+1], n.Content[i].Line
				}
			}
		case yaml.SequenceNode:
			if idx, err := strconv.Atoi(name); err == nil && idx >= 0 && idx < len(n.Content) {
				next, line = n.Content[idx], n.Content[idx].Line
			}
		}
		if next == nil {
			return line
		}
		n, path = next, rest
	}
	return line
}

// Selection narrows a run down; its zero value selects everything.
type Selection struct {
	// Scenarios are patterns over ids, of which one must match.
	Scenarios []string
	// Every is a cadence (hourly, daily, weekly): only scenarios that ask for it.
	Every string
	// Targets as ACCOUNT or ACCOUNT/REGION, or the name of a cluster. What is not
	// configured cannot be selected.
	Targets []string
	// Cell takes its accounts only, with the ledger of the cell.
	Cell string
}

// Select narrows the configuration down.
func (c *Config) Select(sel Selection) error {
	if len(sel.Scenarios) > 0 {
		c.Scenarios.Include = sel.Scenarios
	}
	c.Scenarios.every = sel.Every
	if sel.Cell != "" {
		if err := c.selectCell(sel.Cell); err != nil {
			return err
		}
	}
	targets := sel.Targets
	if len(targets) == 0 {
		return nil
	}
	var out []Target
	var clusters []Cluster
	for _, sel := range targets {
		if i := slices.IndexFunc(c.Clusters, func(cl Cluster) bool { return cl.Name == sel }); i >= 0 {
			clusters = append(clusters, c.Clusters[i])
			continue
		}
		account, region, one := strings.Cut(sel, "/")
		i := slices.IndexFunc(c.Targets, func(t Target) bool { return t.Account == account })
		if i < 0 || one && !slices.Contains(c.Targets[i].Regions, region) {
			return fmt.Errorf("target %s is not in %s", sel, c.file)
		}
		t := c.Targets[i]
		if one {
			t.Regions = []string{region}
		}
		out = append(out, t)
	}
	c.Targets, c.Clusters = out, clusters
	return nil
}

// path resolves a path of the file.
func (c *Config) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(c.dir, p)
}
