package wire

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"

	"github.com/auditcanary/auditcanary/shared/aws"
	"github.com/auditcanary/auditcanary/shared/doctor"
	"github.com/auditcanary/auditcanary/shared/inventory"
	"github.com/auditcanary/auditcanary/shared/run"
)

// DoctorOptions narrow an examination down.
type DoctorOptions struct {
	doctor.Options
	// Cell of the configuration; "" all of it.
	Cell string
	// Clock is this machine's; nil: the real one.
	Clock func() time.Time
}

// patient is the installation, as far as the checks have come.
type patient struct {
	file, cell string
	accounts   []string // to look into; none = all targets
	clock      func() time.Time

	// These are there for whatever needs the check configuration.
	cfg       *Config
	base      awssdk.Config
	inspector *aws.Inspector // nil: none is configured
	plans     []run.Plan

	caller  aws.Caller // after credentials
	sources func(context.Context) (inventory.Report, error)

	mu    sync.Mutex
	roles map[string]func() (*aws.Roles, error) // by account
}

// Doctor checks an installation: everything that a run, its evidence and its alerts rest
// on. It is read-only: it injects nothing, and makes no write but such as its own
// condition forbids. An error means that there is no such check or account, or that ctx ended.
func Doctor(ctx context.Context, file string, o DoctorOptions) (doctor.Report, error) {
	p := &patient{file: file, cell: o.Cell, accounts: o.Accounts, clock: o.Clock, roles: map[string]func() (*aws.Roles, error){}}
	if p.clock == nil {
		p.clock = time.Now
	}
	broken := p.load(ctx)
	if broken == nil {
		for _, id := range o.Accounts {
			if !p.cfg.has(id) {
				return doctor.Report{}, fmt.Errorf("account %s is no target in %s", id, file)
			}
		}
		if len(o.Accounts) == 0 {
			for _, t := range p.cfg.Targets {
				o.Accounts = append(o.Accounts, t.Account)
			}
		}
		p.accounts = o.Accounts
	}
	return doctor.Examine(ctx, p.checks(broken), o.Options)
}

// load reads the configuration, or says what is wrong with it.
func (p *patient) load(ctx context.Context) []doctor.Finding {
	wrong := func(err error) (out []doctor.Finding) {
		for line := range strings.Lines(err.Error()) {
			out = append(out, doctor.Finding{Status: doctor.Wrong, Seen: strings.TrimSuffix(line, "\n"), Fix: "correct it there; auditcanary config check tells whether all is sound"})
		}
		return out
	}
	c, err := Load(p.file)
	if errors.Is(err, os.ErrNotExist) {
		return []doctor.Finding{{Status: doctor.Wrong, Seen: err.Error(), Fix: "auditcanary init, or --config FILE"}}
	}
	if err != nil {
		return wrong(err)
	}
	if err := c.Select(Selection{Cell: p.cell}); err != nil {
		return wrong(err)
	}
	c.appID = aws.LookingAppID
	if p.plans, err = Plan(c); err != nil {
		return wrong(err)
	}
	if err := CheckAlerts(c); err != nil {
		return wrong(err)
	}
	if p.base, _, err = c.baseAWS(ctx); err != nil {
		return []doctor.Finding{{Status: doctor.Wrong, Seen: err.Error(), Fix: "correct the profile that AWS_PROFILE names, or AWS's own configuration file"}}
	}
	if c.Inspection.Role != "" {
		if p.inspector, err = c.inspector(p.base); err != nil {
			return wrong(err)
		}
	}
	p.cfg = c
	p.sources = p.once(p.takeSources)
	return nil
}

// checks are all there are, in the order in which they are told: first what others build on.
func (p *patient) checks(broken []doctor.Finding) []doctor.Check {
	configuration := func(context.Context) []doctor.Finding {
		if broken != nil {
			return broken
		}
		return p.configuration()
	}
	loaded, signedIn := []string{"configuration"}, []string{"credentials"}
	return []doctor.Check{
		{Name: "configuration", What: "the file loads, with every scenario and alert that it selects", Do: configuration},
		{Name: "secrets", What: "the environment variables that it names are set", Needs: loaded, Do: p.secrets},
		{Name: "exceptions", What: "the register of exceptions can be read", Needs: loaded, Do: p.exceptions},
		{Name: "audit-policy", What: "the API servers' audit policies and flags drop nothing that canaries do", Needs: loaded, Do: p.auditPolicy},
		{Name: "credentials", What: "who we are", Needs: loaded, Do: p.credentials},
		{Name: "clock", What: "this machine's clock against the provider's", Needs: signedIn, Do: p.clocks},
		{Name: "injector", What: "the injector role can be assumed as a canary does: external id, source identity, session policy", Needs: signedIn, Each: p.injector},
		{Name: "external-id", What: "the injector role refuses a wrong external id", Needs: []string{"injector"}, Each: p.externalID},
		{Name: "inspector", What: "the inspector role can be assumed", Needs: signedIn, Each: p.inspectorRole},
		{Name: "permissions", What: "the injector role may do what the selected scenarios need", Needs: []string{"inspector"}, Each: p.permissions},
		{Name: "fixtures", What: "what canaries act on is there, and carries its name or tag", Needs: []string{"inspector"}, Each: p.fixtures},
		{Name: "clusters", What: "clusters that canaries act in (none is examined)", Needs: loaded, Do: p.clusters},
		{Name: "archive", What: "the log archive can be listed, and has CloudTrail's layout", Needs: signedIn, Do: p.archive},
		{Name: "records", What: "something has arrived lately from every target", Needs: []string{"archive"}, Each: p.records},
		{Name: "trails", What: "trails log all management events of all regions, with digests", Needs: signedIn, Do: p.weighed("trails")},
		{Name: "protection", What: "the archive is locked and versioned as demanded, and its key usable", Needs: signedIn, Do: p.weighed("protection")},
		{Name: "alert-path", What: "rules, topics, alarms and filters that alert_path lists", Needs: signedIn, Do: p.weighed("alert-path")},
		{Name: "alerts", What: "the places where alerts arrive can be read", Needs: signedIn, Do: p.alerts},
		{Name: "ledger", What: "the ledger is signed by its key, can be written, and conditions of writes are honoured", Needs: loaded, Do: p.ledger},
		{Name: "evidence", What: "the evidence bucket is under Object Lock and can be written", Needs: signedIn, Do: p.evidence},
		{Name: "evidence-key", What: "the key that signs packets is of the right kind", Needs: signedIn, Do: p.evidenceKey},
		{Name: "tickets", What: "Jira would take tickets of every kind", Needs: loaded, Do: p.tickets},
		{Name: "chat", What: "the Slack bot has its scopes and is in its channel", Needs: loaded, Do: p.chat},
		{Name: "trigger", What: "who may ask for a run can be checked", Needs: loaded, Do: p.trigger},
	}
}

// DoctorChecks are the names of the checks with what they look at.
func DoctorChecks() []doctor.Check { return (&patient{}).checks(nil) }

func (p *patient) configuration() []doctor.Finding {
	canaries, places := 0, 0
	for _, t := range p.cfg.Targets {
		places += len(t.Regions)
	}
	for _, plan := range p.plans {
		if plan.NotRun == "" {
			canaries++
		}
	}
	seen := fmt.Sprintf("%s is sound: %d accounts, %d places, %d canaries a run", p.file, len(p.cfg.Targets), places, canaries)
	if canaries == 0 {
		return []doctor.Finding{{Status: doctor.Wrong, Seen: seen, Fix: "add the fixtures that scenarios need (targets.fixtures), or select other scenarios: auditcanary config check says why none can run"}}
	}
	return ok("%s", seen)
}

// target by account; it is one.
func (p *patient) target(account string) Target {
	return p.cfg.Targets[slices.IndexFunc(p.cfg.Targets, func(t Target) bool { return t.Account == account })]
}

// acts reports whether canaries act in an account: there, whatever a role does under our
// source identity would be taken for a forged canary by the next confirmation.
func (p *patient) acts(account string) bool { return p.cfg.has(account) }

// views are the configuration as it is for each ledger: of each cell, or the one there is.
func (p *patient) views() []*Config {
	cells := p.cfg.Cells()
	if len(cells) == 0 || p.cfg.cell != "" {
		return []*Config{p.cfg}
	}
	var out []*Config
	for _, name := range cells {
		view := *p.cfg
		if err := view.selectCell(name); err == nil { // it is one of its own
			out = append(out, &view)
		}
	}
	return out
}

func ok(format string, args ...any) []doctor.Finding {
	return []doctor.Finding{{Status: doctor.OK, Seen: fmt.Sprintf(format, args...)}}
}

func skipped(format string, args ...any) []doctor.Finding {
	return []doctor.Finding{{Status: doctor.Skipped, Seen: fmt.Sprintf(format, args...)}}
}

// failed is what a call's error means: wrong where a service said so, unknown where
// nobody answered, or it was busy.
func failed(err error, fix string) doctor.Finding {
	f := doctor.Finding{Status: doctor.Unknown, Seen: err.Error(), Fix: "run it again; if it stays so: " + fix}
	if aws.Settled(err) {
		f.Status, f.Fix = doctor.Wrong, fix
	}
	return f
}
