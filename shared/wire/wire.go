package wire

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"golang.org/x/mod/sumdb/note"

	"github.com/auditcanary/auditcanary/scenarios"
	"github.com/auditcanary/auditcanary/shared/aws"
	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/kubernetes"
	"github.com/auditcanary/auditcanary/shared/ledger"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/trail"
)

// Options are what a configuration file does not say.
type Options struct {
	// Version of the program, for the ledger.
	Version string
	// Progress is told what happens. Optional.
	Progress func(run.Progress)
	// Clock is the time; nil: the real one.
	Clock func() time.Time
}

// Mode says what the ledger is opened for.
type Mode int

const (
	// ReadOnly needs only the verifier key.
	ReadOnly Mode = iota
	// ReadWrite needs the signing key; a log that does not exist is begun.
	ReadWrite
)

// Open makes a run ready: ledger, drivers, log store, scenarios.
func Open(ctx context.Context, c *Config, o Options) (*run.Run, error) {
	catalogue, err := Catalogue(c)
	if err != nil {
		return nil, err
	}
	r, in, err := openLooking(ctx, c, o)
	if err != nil {
		return nil, err
	}
	cloud, err := c.cloud(in.aws, r.Clock)
	if err != nil {
		return nil, err
	}
	r.Clouds = map[string]run.Cloud{"aws": cloud, kubernetes.Provider: in.kubernetes}
	r.Sweepers = map[string]run.Sweeper{"aws": cloud, kubernetes.Provider: in.kubernetes}
	r.Scenarios = catalogue
	return r, nil
}

// OpenLooking makes a run ready that only looks for records and alerts, and judges: without
// scenarios, and with nothing that could act. A program that opens no more links no
// client to act with.
func OpenLooking(ctx context.Context, c *Config, o Options) (*run.Run, error) {
	r, _, err := openLooking(ctx, c, o)
	return r, err
}

// opened is what acting is opened with as well.
type opened struct {
	aws        awssdk.Config
	kubernetes *kubernetes.Cloud
}

func openLooking(ctx context.Context, c *Config, o Options) (*run.Run, opened, error) {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Progress == nil {
		o.Progress = progressOf(ctx)
	}
	base, own, err := c.baseAWS(ctx)
	if err != nil {
		return nil, opened{}, err
	}
	history, err := c.history(base)
	if err != nil {
		return nil, opened{}, err
	}
	clusters, err := c.clusters(o.Clock, own.Note)
	if err != nil {
		return nil, opened{}, err
	}
	alerts, err := c.openAlerts(base, o.Clock)
	if err != nil {
		return nil, opened{}, err
	}
	log, err := OpenLedger(ctx, c, ReadWrite)
	if err != nil {
		return nil, opened{}, err
	}
	store, kept, err := c.openLogStore(base)
	if err != nil {
		return nil, opened{}, err
	}
	return &run.Run{
		Log:          log,
		Histories:    map[string]run.History{"aws": history, kubernetes.Provider: clusters},
		Store:        store,
		Custodian:    kept,
		Keeping:      c.LogStores[0].keeping(),
		AlertSources: alerts,
		Targets:      c.targets(),
		Global:       global(),
		SLO:          c.CanarySLO(),
		Poll:         c.SLO.Poll.Duration,
		Clock:        o.Clock,
		Sleep:        sleep,
		Compile:      compile,
		Register:     c.register(),
		Own:          own.Drain,
		Progress:     o.Progress,
		Version:      o.Version,
		ConfigHash:   c.hash,
	}, opened{base, clusters}, nil
}

// global says where each provider records its global services.
func global() map[string]string {
	return map[string]string{"aws": "us-east-1", kubernetes.Provider: kubernetes.Region}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Catalogue reads the scenarios the configuration selects.
func Catalogue(c *Config) ([]canary.Scenario, error) {
	dirs := make([]string, len(c.Scenarios.Dirs))
	for i, d := range c.Scenarios.Dirs {
		dirs[i] = c.path(d)
	}
	return scenarios.Load(scenarios.Options{Dirs: dirs, Include: c.Scenarios.Include, Exclude: c.Scenarios.Exclude, Every: c.Scenarios.every, Check: Checker()})
}

// checker asks each provider's allow-list.
type checker struct{}

func (checker) CheckCall(operation string, params map[string]any) error {
	if ofCluster(operation) {
		return kubernetes.CheckCall(operation, params)
	}
	return aws.CheckCall(operation, params)
}

func (checker) CheckAttempt(operation string, params map[string]any) error {
	if ofCluster(operation) {
		return kubernetes.CheckAttempt(operation, params)
	}
	return aws.CheckAttempt(operation, params)
}

func (checker) CheckLook(operation string, params map[string]any) error {
	if ofCluster(operation) {
		return kubernetes.CheckLook(operation, params)
	}
	return aws.CheckLook(operation, params)
}

// Checker knows the calls the drivers can make.
func Checker() scenarios.Checker { return checker{} }

func compile(expect []string) ([]canary.Rule, error) {
	var rules []canary.Rule
	for _, text := range expect {
		x, err := scenarios.CompileExpect(text)
		if err != nil {
			return nil, fmt.Errorf("expectation %q: %w", text, err)
		}
		rules = append(rules, canary.Rule{Text: text, Holds: x.Holds})
	}
	return rules, nil
}

// Plan works out what a run would do, without a credential and without a call.
func Plan(c *Config) ([]run.Plan, error) {
	catalogue, err := Catalogue(c)
	if err != nil {
		return nil, err
	}
	cloud, err := c.cloud(awssdk.Config{}, time.Now)
	if err != nil {
		return nil, err
	}
	clusters, err := c.clusters(time.Now, nil)
	if err != nil {
		return nil, err
	}
	r := &run.Run{Clouds: map[string]run.Cloud{"aws": cloud, kubernetes.Provider: clusters}, Scenarios: catalogue, Targets: c.targets(), Global: global()}
	return r.PlanAll("00000000-dryrun")
}

// Permissions merges what the plans need into policies for each account's injector
// role, each small enough for a managed policy; for a cluster, into the manifests to apply.
func Permissions(c *Config, plans []run.Plan) (map[string][]json.RawMessage, error) {
	byAccount := map[string][]run.Plan{}
	for _, p := range plans {
		byAccount[p.Canary.Target.Account] = append(byAccount[p.Canary.Target.Account], p)
	}
	out := map[string][]json.RawMessage{}
	for account, ps := range byAccount {
		if ps[0].Canary.Target.Provider == kubernetes.Provider {
			list, err := c.manifests(account, ps)
			if err != nil {
				return nil, fmt.Errorf("manifests of cluster %s: %w", account, err)
			}
			out[account] = []json.RawMessage{list}
			continue
		}
		policy, err := aws.Permissions(ps)
		if err != nil {
			return nil, fmt.Errorf("permissions of account %s: %w", account, err)
		}
		out[account] = policy
	}
	return out, nil
}

// CanarySLO is the SLO in the judge's terms.
func (c *Config) CanarySLO() canary.SLO {
	return canary.SLO{Pass: c.SLO.Pass.Duration, Late: c.SLO.Late.Duration, Amend: c.SLO.Amend.Duration, Clock: c.SLO.Clock.Duration}
}

func (c *Config) targets() []canary.Target { return append(c.accounts(), c.clusterTargets()...) }

// partition of AWS that the accounts are in, as the first role's ARN has it.
func (c *Config) partition() string {
	if len(c.Targets) > 0 {
		if rest, ok := strings.CutPrefix(c.Targets[0].RoleARN, "arn:"); ok {
			name, _, _ := strings.Cut(rest, ":iam:")
			return name
		}
	}
	return "aws"
}

// accounts are the targets that are accounts of AWS.
func (c *Config) accounts() []canary.Target {
	var out []canary.Target
	for _, t := range c.Targets {
		for _, r := range t.Regions {
			out = append(out, canary.Target{Provider: "aws", Account: t.Account, Region: r})
		}
	}
	return out
}

// baseAWS is the configuration all AWS clients are made from.
func (c *Config) baseAWS(ctx context.Context) (awssdk.Config, *aws.Own, error) {
	own := &aws.Own{}
	opts := []func(*awsconfig.LoadOptions) error{
		awsconfig.WithRegion(c.LogStores[0].Region),
		awsconfig.WithAppID(cmp.Or(c.appID, canary.Marker)),
		// A server that hangs must not hang us; canary calls have their own, shorter bound.
		awsconfig.WithHTTPClient(awshttp.NewBuildableClient().WithTimeout(2 * time.Minute)),
	}
	if c.AWS.EndpointURL != "" {
		opts = append(opts, awsconfig.WithBaseEndpoint(c.AWS.EndpointURL))
	}
	cfg, err := awsconfig.LoadDefaultConfig(ctx, opts...)
	if err != nil {
		return cfg, nil, fmt.Errorf("load the AWS credentials and settings: %w", err)
	}
	own.Watch(&cfg)
	return cfg, own, nil
}

func (c *Config) cloud(base awssdk.Config, clock func() time.Time) (*aws.Cloud, error) {
	var targets []aws.Target
	for _, t := range c.Targets {
		targets = append(targets, aws.Target{
			Account: t.Account, Regions: t.Regions, RoleARN: t.RoleARN,
			ExternalID: os.Getenv(t.ExternalIDEnv), Egress: t.Egress, Fixtures: t.Fixtures,
		})
	}
	return aws.New(aws.Options{Base: base, Targets: targets, Clock: clock, CallTimeout: c.AWS.CallTimeout.Duration})
}

// readerConfig is the base configuration in a region, under a role if one is named.
func readerConfig(base awssdk.Config, region, roleARN string) awssdk.Config {
	return assumed(base, region, roleARN, "")
}

// assumed is readerConfig for a role that may want an external id.
func assumed(base awssdk.Config, region, roleARN, externalIDEnv string) awssdk.Config {
	cfg := base.Copy()
	cfg.Region = region
	if roleARN != "" {
		cfg.Credentials = awssdk.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), roleARN, func(o *stscreds.AssumeRoleOptions) {
			o.RoleSessionName = canary.Marker
			o.SourceIdentity = awssdk.String(canary.Marker)
			if externalIDEnv != "" {
				o.ExternalID = awssdk.String(os.Getenv(externalIDEnv))
			}
		}))
	}
	return cfg
}

func s3Of(cfg awssdk.Config) *s3.Client {
	return s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = cfg.BaseEndpoint != nil })
}

// s3Client reads or writes a bucket, under a role if one is named.
func s3Client(base awssdk.Config, region, roleARN string) *s3.Client {
	return s3Of(readerConfig(base, region, roleARN))
}

func newArchive(client *s3.Client, s LogStore) *trail.Archive {
	return trail.NewArchive(trail.Config{Name: s.Name, Prefix: s.Prefix, OrganizationID: s.OrganizationID}, aws.NewArchiveStore(client, s.Bucket))
}

// archive adapts an archive to the port.
type archive struct{ *trail.Archive }

func (a archive) Poll(ctx context.Context, w *run.Watch) (run.Seen, error) {
	mem, _ := w.State.(*trail.Memory)
	if mem == nil {
		mem = &trail.Memory{}
		w.State = mem
	}
	found, err := a.Archive.Poll(ctx, trail.Query{RequestIDs: w.RequestIDs, Places: w.Places, Since: w.Since}, mem)
	return run.Seen{
		AsOf: found.AsOf, Sightings: found.Sightings, Problems: found.Problems, Looked: found.Looked,
		Lists: found.Lists, Gets: found.Gets, Records: found.Records, Bytes: found.Bytes,
	}, err
}

// signingKey reads the private note key.
func (c *Config) signingKey() (string, error) {
	if c.Signing.KeyEnv != "" {
		v := strings.TrimSpace(os.Getenv(c.Signing.KeyEnv))
		if v == "" {
			return "", fmt.Errorf("signing key: environment variable %s is empty", c.Signing.KeyEnv)
		}
		return v, nil
	}
	file := c.path(c.Signing.KeyFile)
	st, err := os.Stat(file)
	if err != nil {
		return "", fmt.Errorf("signing key: %w; make one with: auditcanary ledger keygen %s %s", err, c.Ledger.Origin, c.Signing.KeyFile)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("signing key %s is readable by others (mode %04o); run: chmod 600 %s", file, st.Mode().Perm(), file)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("signing key: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// verifierKey is the public key to trust the ledger by: the configured one, else
// KEY_FILE.pub where there is one, so that whoever only reads needs no private key; otherwise derived.
func (c *Config) verifierKey() (string, error) {
	if c.Signing.Verifier != "" {
		return c.Signing.Verifier, nil
	}
	if c.Signing.KeyFile != "" {
		file := c.path(c.Signing.KeyFile) + ".pub"
		data, err := os.ReadFile(file)
		if err == nil {
			return strings.TrimSpace(string(data)), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("verifier key: %w", err)
		}
	}
	skey, err := c.signingKey()
	if err != nil {
		return "", err
	}
	vkey, err := ledger.VerifierKey(skey)
	if err != nil {
		return "", fmt.Errorf("signing key: %w", err)
	}
	return vkey, nil
}

// OpenLedger opens the configured log.
func OpenLedger(ctx context.Context, c *Config, mode Mode) (*ledger.Log, error) {
	vkey, err := c.verifierKey()
	if err != nil {
		return nil, err
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, fmt.Errorf("verifier key: %w", err)
	}
	var signer note.Signer
	if mode == ReadWrite {
		if signer, err = c.ledgerSigner(ctx, verifier, vkey); err != nil {
			return nil, err
		}
	}
	store, err := c.ledgerStore(ctx)
	if err != nil {
		return nil, err
	}
	log, err := ledger.Open(ctx, store, c.Ledger.Origin, signer, verifier)
	if err != nil {
		return nil, fmt.Errorf("open the ledger: %w", err)
	}
	return log, nil
}

func (c *Config) ledgerStore(ctx context.Context) (ledger.Store, error) {
	if err := c.oneLedger(); err != nil {
		return nil, err
	}
	if c.Ledger.S3 == nil {
		return ledger.NewDir(c.path(c.Ledger.Dir))
	}
	base, _, err := c.baseAWS(ctx)
	if err != nil {
		return nil, err
	}
	s := *c.Ledger.S3
	if s.Prefix != "" && !strings.HasSuffix(s.Prefix, "/") {
		s.Prefix += "/"
	}
	return aws.NewLedgerStore(s3Client(base, s.Region, s.RoleARN), s.Bucket, s.Prefix), nil
}

// LedgerSource says which ledger to verify; the zero value is the configured one.
type LedgerSource struct {
	Dir, URL    string
	Key, Origin string
	Cell        string // of the configuration, if it has cells
}

// Verifiable is a ledger with what it is trusted by.
type Verifiable struct {
	Store    ledger.Store
	Verifier note.Verifier
	Origin   string
}

// LedgerToVerify finds the ledger and the key to trust it by. The configuration
// is read only for what the source leaves open.
func LedgerToVerify(ctx context.Context, configFile string, src LedgerSource) (Verifiable, error) {
	var v Verifiable
	if src.Dir != "" && src.URL != "" {
		return v, fmt.Errorf("verify: --dir or --url, not both")
	}
	var cfg *Config
	if (src.Dir == "" && src.URL == "") || src.Key == "" {
		var err error
		if cfg, err = Load(configFile); err != nil {
			return v, fmt.Errorf("%w\n(to verify a ledger without a configuration, give --key and --origin)", err)
		}
		if err := cfg.Select(Selection{Cell: src.Cell}); err != nil {
			return v, err
		}
		v.Origin = cfg.Ledger.Origin
	}
	vkey := src.Key
	if data, err := os.ReadFile(vkey); vkey != "" && err == nil {
		vkey = strings.TrimSpace(string(data))
	}
	if vkey == "" {
		var err error
		if vkey, err = cfg.verifierKey(); err != nil {
			return v, err
		}
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return v, fmt.Errorf("verifier key: %w", err)
	}
	v.Verifier = verifier
	if src.Origin != "" {
		v.Origin = src.Origin
	}
	if v.Origin == "" {
		v.Origin = verifier.Name()
	}
	switch {
	case src.Dir != "":
		if _, err := os.Stat(src.Dir); err != nil {
			return v, fmt.Errorf("verify: %w", err)
		}
		v.Store, err = ledger.NewDir(src.Dir)
	case src.URL != "":
		v.Store = ledger.NewHTTP(src.URL, http.DefaultClient)
	default:
		v.Store, err = cfg.ledgerStore(ctx)
	}
	return v, err
}
