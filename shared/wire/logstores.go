package wire

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"

	"github.com/auditcanary/auditcanary/shared/aws"
	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/logstore"
	"github.com/auditcanary/auditcanary/shared/run"
)

// QueryStore is what a log store that is asked by query needs beside a name and a type.
// None of them can lock what it holds: with protection.mode COMPLIANCE (default) or
// GOVERNANCE "immutable" fails and says so, to be accepted as an exception with its
// compensating control; with none it is not run.
type QueryStore struct {
	// URL of victorialogs and loki: https, or http on this machine.
	URL string `yaml:"url"`
	// Selector of the streams that hold the audit records: {job="kube-audit"}.
	Selector string `yaml:"selector"`
	// ClusterField names the field (of Loki: the label) whose value is the cluster that an
	// entry is of, as targets call it. Left out: all entries are of one cluster.
	ClusterField string `yaml:"cluster_field"`
	// RecordField of victorialogs holds the record whole, as text (default _msg).
	RecordField string `yaml:"record_field"`
	// LogGroup of cloudwatch-logs, in Region, read under RoleARN; StreamPrefix of the
	// streams that hold the records (default, of kubernetes: kube-apiserver-audit-).
	LogGroup     string `yaml:"log_group"`
	StreamPrefix string `yaml:"stream_prefix"`
	// Format of the records: kubernetes (default) or cloudtrail. Cloud Logging's entries of
	// GKE (gke) are refused: they leave out too much of what a canary is known by.
	Format string `yaml:"format"`
	// Tenant: of loki the X-Scope-OrgID, of victorialogs ACCOUNT:PROJECT.
	Tenant string `yaml:"tenant"`
	// BearerEnv, or PasswordEnv with User, name the environment variables that hold the
	// token or the password.
	BearerEnv   string `yaml:"bearer_env"`
	User        string `yaml:"user"`
	PasswordEnv string `yaml:"password_env"`
	// CAFile holds the certificates to trust instead of the system's, PEM.
	CAFile string `yaml:"ca_file"`
	// Settle is how long an entry that the store has taken in may not be found yet
	// (default 1m). So much later is it known that one is missing.
	Settle Duration `yaml:"settle"`
}

// storeChecks are all types of log stores that are known, each with what says what is wrong
// with the configuration of one, by field.
func storeChecks() map[string]func(s LogStore, bad func(field, format string, args ...any)) {
	return map[string]func(s LogStore, bad func(field, format string, args ...any)){
		archiveType:       checkArchive,
		"cloudwatch-logs": checkLogGroup,
		"loki":            checkLoki,
		"victorialogs":    checkVictoriaLogs,
	}
}

// storeOpeners open them. (Apart from the checks, so that a program which opens none links
// no driver of theirs.)
func storeOpeners() map[string]func(c *Config, base awssdk.Config, s LogStore) (run.LogStore, run.Custodian, error) {
	return map[string]func(c *Config, base awssdk.Config, s LogStore) (run.LogStore, run.Custodian, error){
		archiveType:       openArchiveStore,
		"cloudwatch-logs": openLogGroup,
		"loki":            openLoki,
		"victorialogs":    openVictoriaLogs,
	}
}

const archiveType = "cloudtrail-s3"

// checkStore checks one log store.
func checkStore(s LogStore, bad func(field, format string, args ...any)) {
	if s.Name == "" {
		bad("", "log store without a name")
	}
	check, known := storeChecks()[s.Type]
	if !known {
		bad("type", "log store type %q is not known; known: %s", s.Type, strings.Join(slices.Sorted(maps.Keys(storeChecks())), ", "))
		return
	}
	check(s, bad)
	if s.RoleARN != "" && !roleARN.MatchString(s.RoleARN) {
		bad("role_arn", "role_arn %q is not the ARN of a role", s.RoleARN)
	}
	s.Protection.check(func(field, format string, args ...any) { bad("protection."+field, format, args...) })
}

func checkArchive(s LogStore, bad func(field, format string, args ...any)) {
	if s.Bucket == "" {
		bad("", "log store %q has no bucket", s.Name)
	}
	if !regionID.MatchString(s.Region) {
		bad("region", "log store %q: %q is not a region", s.Name, s.Region)
	}
	if s.HomeRegion != "" && !regionID.MatchString(s.HomeRegion) {
		bad("home_region", "log store %q: %q is not a region", s.Name, s.HomeRegion)
	}
	if s.QueryStore != (QueryStore{}) {
		bad("", "log store %q: of its fields some are for stores that are asked by query only (url, selector, log_group, ...)", s.Name)
	}
}

func openArchiveStore(_ *Config, base awssdk.Config, s LogStore) (run.LogStore, run.Custodian, error) {
	kept := newCustodian(base, s)
	return archive{kept.archive}, kept, nil
}

var fieldName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)

// checkQuery checks what all stores have that are asked by query.
func checkQuery(s LogStore, bad func(field, format string, args ...any)) {
	if s.Bucket != "" || s.Prefix != "" || s.OrganizationID != "" || s.Trail != "" || s.HomeRegion != "" {
		bad("", "log store %q: bucket, prefix, organization_id, trail and home_region are of type %s only", s.Name, archiveType)
	}
	proving := slices.DeleteFunc(logstore.Formats(), func(f string) bool { return f == "gke" })
	switch {
	case s.Format == "gke":
		bad("format", "log store %q: format gke can prove no canary, and each would fail: entries of GKE state neither the URI that was asked for, nor the token and the account's uid that it was asked with; clusters of GKE cannot be proven yet", s.Name)
	case s.Format != "" && !slices.Contains(proving, s.Format):
		bad("format", "log store %q: format %q is not known; known: %s", s.Name, s.Format, strings.Join(proving, ", "))
	}
	for _, f := range [][2]string{{"cluster_field", s.ClusterField}, {"record_field", s.RecordField}} {
		if f[1] != "" && !fieldName.MatchString(f[1]) {
			bad(f[0], "log store %q: %s %q is not the name of a field", s.Name, f[0], f[1])
		}
	}
}

// checkHTTP checks a store that is asked over HTTP.
func checkHTTP(s LogStore, bad func(field, format string, args ...any)) {
	checkQuery(s, bad)
	if err := logstore.CheckURL(s.URL); err != nil {
		bad("url", "log store %q: url: %v", s.Name, err)
	}
	if err := logstore.CheckSelector(s.Selector); err != nil {
		bad("selector", "log store %q: %v", s.Name, err)
	}
	if s.BearerEnv != "" && s.PasswordEnv != "" {
		bad("bearer_env", "log store %q: bearer_env or password_env, not both", s.Name)
	}
	if (s.User == "") != (s.PasswordEnv == "") {
		bad("user", "log store %q: user and password_env belong together", s.Name)
	}
	if s.LogGroup != "" || s.StreamPrefix != "" || s.Region != "" || s.RoleARN != "" {
		bad("", "log store %q: log_group, stream_prefix, region and role_arn are of type cloudwatch-logs only", s.Name)
	}
}

var vlTenant = regexp.MustCompile(`^([0-9]{1,10}):([0-9]{1,10})$`)

func checkVictoriaLogs(s LogStore, bad func(field, format string, args ...any)) {
	checkHTTP(s, bad)
	if s.Tenant != "" && !vlTenant.MatchString(s.Tenant) {
		bad("tenant", "log store %q: tenant %q is not ACCOUNT:PROJECT, two numbers", s.Name, s.Tenant)
	}
}

func openVictoriaLogs(c *Config, _ awssdk.Config, s LogStore) (run.LogStore, run.Custodian, error) {
	at, err := c.endpoint(s)
	if err != nil {
		return nil, nil, err
	}
	if m := vlTenant.FindStringSubmatch(s.Tenant); m != nil {
		at.Header = map[string]string{"AccountID": m[1], "ProjectID": m[2]}
	}
	index, err := logstore.NewVictoriaLogs(at, logstore.Selection{Selector: s.Selector, ClusterField: s.ClusterField, RecordField: s.RecordField})
	if err != nil {
		return nil, nil, fmt.Errorf("log store %s: %w", s.Name, err)
	}
	return c.asked(s, index, 100)
}

func checkLoki(s LogStore, bad func(field, format string, args ...any)) {
	checkHTTP(s, bad)
	if s.RecordField != "" {
		bad("record_field", "log store %q: in loki a record is the line of an entry: there is no record_field", s.Name)
	}
	if strings.Contains(s.ClusterField, ".") {
		bad("cluster_field", "log store %q: %q is not the name of a label", s.Name, s.ClusterField)
	}
}

func openLoki(c *Config, _ awssdk.Config, s LogStore) (run.LogStore, run.Custodian, error) {
	at, err := c.endpoint(s)
	if err != nil {
		return nil, nil, err
	}
	if s.Tenant != "" {
		at.Header = map[string]string{"X-Scope-OrgID": s.Tenant}
	}
	index, err := logstore.NewLoki(at, logstore.Selection{Selector: s.Selector, ClusterField: s.ClusterField}, time.Now)
	if err != nil {
		return nil, nil, fmt.Errorf("log store %s: %w", s.Name, err)
	}
	return c.asked(s, index, 100)
}

func checkLogGroup(s LogStore, bad func(field, format string, args ...any)) {
	checkQuery(s, bad)
	if s.LogGroup == "" {
		bad("", "log store %q has no log_group", s.Name)
	}
	if !regionID.MatchString(s.Region) {
		bad("region", "log store %q: %q is not a region", s.Name, s.Region)
	}
	if s.ClusterField != "" {
		bad("cluster_field", "log store %q: a log group holds the records of one cluster (EKS): there is no cluster_field", s.Name)
	}
	if s.URL != "" || s.Selector != "" || s.RecordField != "" || s.Tenant != "" || s.BearerEnv != "" || s.User != "" || s.PasswordEnv != "" || s.CAFile != "" {
		bad("", "log store %q: url, selector, record_field, tenant, ca_file and what it is asked as are of types victorialogs and loki only", s.Name)
	}
}

// eksStreams are those to which EKS writes audit events, among those of other logs.
const eksStreams = "kube-apiserver-audit-"

func openLogGroup(c *Config, base awssdk.Config, s LogStore) (run.LogStore, run.Custodian, error) {
	prefix := s.StreamPrefix
	if prefix == "" && cmp.Or(s.Format, defaultFormat) == defaultFormat {
		prefix = eksStreams
	}
	client := cloudwatchlogs.NewFromConfig(readerConfig(base, s.Region, s.RoleARN))
	return c.asked(s, aws.NewLogGroup(client, s.LogGroup, prefix), 500)
}

// defaultFormat of the records.
const defaultFormat = "kubernetes"

// endpoint is where a store is asked over HTTP, with its secrets.
func (c *Config) endpoint(s LogStore) (logstore.Endpoint, error) {
	at := logstore.Endpoint{URL: s.URL, User: s.User}
	for _, secret := range []struct {
		env string
		to  *string
	}{{s.BearerEnv, &at.Bearer}, {s.PasswordEnv, &at.Password}} {
		if secret.env == "" {
			continue
		}
		if *secret.to = strings.TrimSpace(os.Getenv(secret.env)); *secret.to == "" {
			return at, fmt.Errorf("log store %s: environment variable %s is empty", s.Name, secret.env)
		}
	}
	if s.CAFile != "" {
		ca, err := os.ReadFile(c.path(s.CAFile))
		if err != nil {
			return at, fmt.Errorf("log store %s: ca_file: %w", s.Name, err)
		}
		at.CA = ca
	}
	return at, nil
}

// asked is a store that an index asks.
func (c *Config) asked(s LogStore, index logstore.Index, maxWords int) (run.LogStore, run.Custodian, error) {
	store, err := logstore.New(logstore.Config{
		Name: s.Name, Type: s.Type, Format: cmp.Or(s.Format, defaultFormat), ByCluster: s.ClusterField != "",
		Settle: s.Settle.Duration, Vouch: c.SLO.Pass.Duration, MaxWords: maxWords,
	}, index)
	if err != nil {
		return nil, nil, err
	}
	return store, store, nil
}

// openLogStore opens the configured one.
func (c *Config) openLogStore(base awssdk.Config) (run.LogStore, run.Custodian, error) {
	s := c.LogStores[0]
	return storeOpeners()[s.Type](c, base, s)
}

// keeping is what is demanded of it. Nothing signs for the records of another store than
// an archive, so that no digest is waited for.
func (s LogStore) keeping() canary.Keeping {
	k := s.Protection.Keeping()
	if s.Type != archiveType {
		k.Digested, k.Overdue = 0, time.Duration(0)
	}
	return k
}

// needArchive says why something cannot be done that only an archive in S3 allows.
func (c *Config) needArchive(what string) error {
	if s := c.LogStores[0]; s.Type != archiveType {
		return fmt.Errorf("%s reads how CloudTrail's records come to an archive in S3 (log store type %s): log store %s is of type %s", what, archiveType, s.Name, s.Type)
	}
	return nil
}
