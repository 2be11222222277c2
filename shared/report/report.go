// Package report is everything an auditor is shown of a period, as plain data.
//
// New folds the ledger's state, the coverage report and the facts of the
// configuration into one Report: nothing in it was looked up anywhere else, and
// equal input gives equal bytes. Every output format renders this one view
// (Renderers), so that no two of them can disagree.
//
// All text that comes from a log, an error or a scenario is anybody's. The view
// keeps it as it is; whoever renders it makes it inert in their own format.
package report

import (
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/coverage"
	"github.com/auditcanary/auditcanary/shared/event"
	"github.com/auditcanary/auditcanary/shared/run"
)

// Report is one period. All slices are there, if empty; all times are UTC.
type Report struct {
	// V is the version of this shape: 1.
	V int `json:"v"`
	// At is when it was drawn up, by our clock; Version the program's.
	At      time.Time `json:"at"`
	Version string    `json:"version"`
	Period  Period    `json:"period"`
	// Ledger it was folded from; null: it has not begun.
	Ledger *run.Checkpoint `json:"ledger"`
	Facts  Facts           `json:"facts"`
	Tally  Tally           `json:"tally"`
	// Runs and Canaries in the ledger's order, oldest first.
	Runs     []Run     `json:"runs"`
	Canaries []Canary  `json:"canaries"`
	Controls []Control `json:"controls"`
	HeatMap  HeatMap   `json:"heat_map"`
	// Coverage of what is privileged, without its cells (HeatMap sums them up).
	Coverage Coverage `json:"coverage"`
	// Losses count, by the hop on which the record was lost or changed, the checks that did not pass.
	Losses     []Loss     `json:"losses"`
	Latency    []Hop      `json:"latency"`
	Protection Protection `json:"protection"`
	Trend      []Trend    `json:"trend"`
	// Findings are records that imitate a canary.
	Findings []Finding `json:"findings"`
	// Leftovers are what canaries left, as far as it is known, or could not be listed.
	Leftovers []Leftover `json:"leftovers"`

	Alerts     []Alert     `json:"alerts"`
	Exceptions []Exception `json:"exceptions"`
	Reviews    []Review    `json:"reviews"`
	Tickets    []Ticket    `json:"tickets"`
	// Absent says, for each of those four that this program holds nothing of, why:
	// by "alerts", "exceptions", "reviews", "tickets". An empty list without an
	// entry here is a statement that there are none.
	Absent map[string]string `json:"absent"`
}

// Period is from From (inclusive) to To (exclusive), by when a canary was
// planned; zero: from the beginning, to the end.
type Period struct {
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
	// Run, if given, is the only run that counts.
	Run string `json:"run,omitempty"`
}

// Facts are what the configuration says.
type Facts struct {
	// Title, Organization and Owner as people stated them; "" = not stated.
	Title        string `json:"title,omitempty"`
	Organization string `json:"organization,omitempty"`
	Owner        string `json:"owner,omitempty"`
	// ConfigHash and CatalogueHash are the present ones; a run has its own.
	ConfigHash    string       `json:"config_hash"`
	CatalogueHash string       `json:"catalogue_hash"`
	Targets       []TargetFact `json:"targets"`
	Categories    []Category   `json:"categories"`
	Scenarios     []Scenario   `json:"scenarios"`
	SLO           SLO          `json:"slo"`
	Stores        []StoreFact  `json:"stores"`
	LedgerAt      LedgerFact   `json:"ledger"`
	// Hub that findings are for; null: each account's own.
	Hub *HubFact `json:"hub"`
	// Roles that act or read, as the configuration names them.
	Roles []RoleFact `json:"roles"`
	// Adequacy of each source of logs, as somebody decided it.
	Adequacy []coverage.Adequacy `json:"adequacy"`
	// Sources are what somebody stated of the same.
	Sources []SourceFact `json:"sources"`
	// AlertPath is what people rely on to be told of a record, as it is configured.
	AlertPath []AlertFact `json:"alert_path"`
	// Excluded are patterns of scenarios that the configuration leaves out.
	Excluded []string `json:"excluded"`
	// OutOfScope is what people left out of the scope, with the reason.
	OutOfScope []Exclusion `json:"out_of_scope"`
	// NotProvable are privileged operations of which no canary can prove a record.
	NotProvable []coverage.Unprovable `json:"not_provable"`
	// ControlsVersion of the mapping of checks to controls; Meanings says what each
	// check means, whatever the control.
	ControlsVersion string    `json:"controls_version"`
	Meanings        []Meaning `json:"meanings"`
}

// Meaning is what a pass of one check shows, and what it does not.
type Meaning struct {
	Check       canary.Check `json:"check"`
	Shows       string       `json:"shows"`
	DoesNotShow string       `json:"does_not_show"`
}

// TargetFact is one account with the regions in which canaries run.
type TargetFact struct {
	Provider string   `json:"provider"`
	Account  string   `json:"account"`
	Regions  []string `json:"regions"`
	// Egress are the addresses its calls come from; none: the source address is not compared.
	Egress []string `json:"egress"`
}

// Category is a class of privileged activity.
type Category struct {
	ID    string `json:"id"`
	Title string `json:"title"`
}

// Scenario is one of the catalogue as it is selected now.
type Scenario struct {
	ID       string      `json:"id"`
	Title    string      `json:"title"`
	Category string      `json:"category"`
	Kind     canary.Kind `json:"kind"`
	Scope    string      `json:"scope"`
	Every    string      `json:"every"`
	Hash     string      `json:"hash"`
	Controls []string    `json:"controls"`
	Calls    []string    `json:"calls"`
	Harmless string      `json:"harmless"`
}

// SLO in seconds; see canary.SLO.
type SLO struct {
	PassSeconds  int64 `json:"pass_seconds"`
	LateSeconds  int64 `json:"late_seconds"`
	AmendSeconds int64 `json:"amend_seconds"`
	ClockSeconds int64 `json:"clock_seconds"`
}

// StoreFact is a central log store with what is demanded of it.
type StoreFact struct {
	Name         string `json:"name"`
	Type         string `json:"type"`
	Bucket       string `json:"bucket"`
	Prefix       string `json:"prefix,omitempty"`
	Region       string `json:"region"`
	Organization string `json:"organization,omitempty"`
	Trail        string `json:"trail,omitempty"`
	Reader       string `json:"reader,omitempty"` // role
	// Retention demanded: mode COMPLIANCE, GOVERNANCE or "" (none), and days.
	Mode string `json:"mode,omitempty"`
	Days int    `json:"days,omitempty"`
	// DigestedSeconds within which a signed digest must name an object; 0: nothing signs for
	// what is in the store.
	DigestedSeconds int64 `json:"digested_seconds"`
}

// LedgerFact is where the evidence is kept.
type LedgerFact struct {
	Origin string `json:"origin"`
	// Place: "directory", or the bucket as s3://bucket/prefix.
	Place  string `json:"place"`
	Writer string `json:"writer,omitempty"` // role
}

// HubFact is the security hub that findings are imported into.
type HubFact struct {
	Account string `json:"account"`
	Region  string `json:"region"`
}

// RoleFact is a role that the configuration names.
type RoleFact struct {
	Role    string `json:"role"` // ARN
	Purpose string `json:"purpose"`
	Account string `json:"account"`
}

// SourceFact is who answers for a class of sources of logs.
type SourceFact struct {
	Class string `json:"class"` // as in Adequacy
	Owner string `json:"owner"`
	// Required: that none of it is recorded would be a finding.
	Required bool `json:"required"`
}

// AlertFact is one thing between a record and the person who must know of it.
type AlertFact struct {
	Kind    string `json:"kind"` // "event rule", "topic", "alarm", "metric filter", "detector", "log group"
	Name    string `json:"name"`
	Account string `json:"account"`
	Region  string `json:"region"`
	// Demands is what the configuration demands of it, in words.
	Demands string `json:"demands,omitempty"`
}

// Exclusion is what is out of scope, and why.
type Exclusion struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// Tally counts canaries by their last verdict.
type Tally struct {
	Canaries     int `json:"canaries"`
	Proven       int `json:"proven"`
	Failed       int `json:"failed"`
	Late         int `json:"late"`
	Inconclusive int `json:"inconclusive"`
	NotRun       int `json:"not_run"`
	Excepted     int `json:"excepted"`
	// Open are those of the above that may still change by waiting.
	Open     int `json:"open"`
	Findings int `json:"findings"`
	// Controls counts them by outcome.
	Controls map[Outcome]int `json:"controls"`
	// Checks counts statuses check by check.
	Checks map[canary.Check]map[canary.Status]int `json:"checks"`
}

// Run is one run.
type Run struct {
	ID            string    `json:"id"`
	At            time.Time `json:"at"`
	Version       string    `json:"version"`
	ConfigHash    string    `json:"config_hash"`
	CatalogueHash string    `json:"catalogue_hash"`
	// Canaries planned; Done: nobody will begin any more of them.
	Canaries int                   `json:"canaries"`
	Done     bool                  `json:"done"`
	Statuses map[canary.Status]int `json:"statuses"`
	Forged   int                   `json:"forged"`
}

// Canary is one scenario at one target in one run, with all that is known of it.
type Canary struct {
	ID            string      `json:"id"`
	Run           string      `json:"run"`
	Scenario      string      `json:"scenario"`
	ScenarioHash  string      `json:"scenario_hash"`
	Title         string      `json:"title"`
	Category      string      `json:"category"`
	CategoryTitle string      `json:"category_title"`
	Kind          canary.Kind `json:"kind"`
	Controls      []string    `json:"controls"`
	Provider      string      `json:"provider"`
	Account       string      `json:"account"`
	Region        string      `json:"region"`
	// At is when it was planned.
	At time.Time `json:"at"`
	// Status is the worst of the required checks and of those others that have an
	// answer; Open: it may still change by waiting; Judged: somebody has looked.
	Status canary.Status `json:"status"`
	Open   bool          `json:"open"`
	Judged bool          `json:"judged"`
	// Latest: no later canary of the period asked the same scenario at the same target.
	Latest bool `json:"latest"`
	// Checks are all eight, in the order of a canary's life.
	Checks []Check `json:"checks"`
	Steps  []Step  `json:"steps"`
	// NotRun and Blocked say why it could not be done, or not even be begun.
	NotRun  string         `json:"not_run,omitempty"`
	Blocked string         `json:"blocked,omitempty"`
	Cleanup canary.Cleanup `json:"cleanup"`
	// Owed are undo calls that have not been seen to work.
	Owed []string `json:"owed"`
	// History has every verdict, oldest first; the last one counts.
	History []Verdict `json:"history"`
}

// Check is one check's answer.
type Check struct {
	Check    canary.Check `json:"check"`
	Required bool         `json:"required"`
	canary.Answer
}

// Verdict is one earlier or present word on a canary.
type Verdict struct {
	AsOf   time.Time                      `json:"as_of,omitzero"` // the store's clock
	Status canary.Status                  `json:"status"`
	Checks map[canary.Check]canary.Status `json:"checks"`
}

// Step is one call: what was done (ground truth), and what the store says of it.
type Step struct {
	ID        string `json:"id"`
	Operation string `json:"operation"`
	Region    string `json:"region"` // where it was sent
	// Receipt of the last attempt; null: it was not made, or got no receipt.
	Receipt *canary.Receipt `json:"receipt"`
	// NoUndo says why nothing needs undoing; Undo are the attempts.
	NoUndo string           `json:"no_undo,omitempty"`
	Undo   []canary.Receipt `json:"undo"`
	// Records found of this call; the first one is the one that counts.
	Records []Record `json:"records"`
}

// Record is one record found in the store.
type Record struct {
	EventID   string          `json:"event_id"`
	RequestID string          `json:"request_id"`
	At        canary.Location `json:"at"`
	// Stored is when it arrived, by the store's clock.
	Stored time.Time `json:"stored,omitzero"`
	// Raw is the record as it stands in the store, if it is valid UTF-8; RawBytes
	// (base64 in JSON) has it if it is not. Neither: it was too large to be kept.
	Raw      string `json:"raw,omitempty"`
	RawBytes []byte `json:"raw_base64,omitempty"`
	// Event is the record, normalised; null where it cannot be read, and Unreadable says why.
	Event      *event.Event `json:"event"`
	Unreadable string       `json:"unreadable,omitempty"`
	// Fields hold it against the receipt, in the order of event.AttributionFields.
	Fields []Field `json:"fields"`
	// Custody is what was last found out about how it is kept; null: nobody looked.
	Custody *canary.Custody `json:"custody"`
}

// Field is one field of a receipt beside that of the record.
type Field struct {
	Name     string     `json:"name"`
	Expected string     `json:"expected"`
	Found    string     `json:"found"`
	State    FieldState `json:"state"`
	// Rule that explains a difference.
	Rule string `json:"rule,omitempty"`
}

// FieldState says how a field compares.
type FieldState string

const (
	Same        FieldState = "same"
	Differs     FieldState = "differs"
	Explained   FieldState = "explained"    // differs as the provider is known to
	NotCompared FieldState = "not-compared" // the receipt does not state it
)

// Outcome of a control.
type Outcome string

const (
	// Proven: every answer to the checks that support it is a pass.
	Proven Outcome = "proven"
	// Failed: one of them is fail or late.
	Failed Outcome = "failed"
	// Inconclusive: none failed, and one could not be found out.
	Inconclusive Outcome = "inconclusive"
	// Partly: some passed, and others were not run or are excepted.
	Partly Outcome = "partly-tested"
	// NotTested: nothing passed and nothing failed.
	NotTested Outcome = "not-tested"
)

// Outcomes lists them, worst first.
func Outcomes() []Outcome { return []Outcome{Failed, Inconclusive, NotTested, Partly, Proven} }

// Control is one requirement, with what the latest canary of each scenario and
// target says of it.
type Control struct {
	ID        string `json:"id"`
	Framework string `json:"framework"`
	Clause    string `json:"clause"`
	Title     string `json:"title"`
	// Confirmed is false where number and title were not held against the
	// framework's own text; Source says where they are from.
	Confirmed bool   `json:"confirmed"`
	Source    string `json:"source"`
	// Limits is what no canary shows of it.
	Limits  string  `json:"limits"`
	Outcome Outcome `json:"outcome"`
	// Canaries that speak for it, by status.
	Canaries int                   `json:"canaries"`
	Statuses map[canary.Status]int `json:"statuses"`
	// Checks that support it.
	Checks []ControlCheck `json:"checks"`
	// Scenarios whose canaries they are.
	Scenarios []string `json:"scenarios"`
}

// ControlCheck is one check that supports a control.
type ControlCheck struct {
	Check canary.Check `json:"check"`
	// Canaries that speak for it: all, or those whose scenario names the control (naming).
	Canaries string `json:"canaries"`
	// Fields are the only ones that count for it; none: all.
	Fields []string `json:"fields"`
	// Shows and DoesNotShow say what a pass means for the control.
	Shows       string                `json:"shows"`
	DoesNotShow string                `json:"does_not_show"`
	Statuses    map[canary.Status]int `json:"statuses"`
}

// HeatMap is what is proven of what is privileged, by account and category.
type HeatMap struct {
	Accounts   []string   `json:"accounts"`
	Categories []Category `json:"categories"`
	// Cells, account by account, each category once.
	Cells []HeatCell `json:"cells"`
}

// HeatCell is one account and category; it counts operations x regions.
type HeatCell struct {
	Account  string                  `json:"account"`
	Category string                  `json:"category"`
	Cells    int                     `json:"cells"`
	Statuses map[coverage.Status]int `json:"statuses"`
	// State is the word for its colour: failed, inconclusive, proven (all that can
	// be), partly (some), sampled (only as covered by category), stale, excepted,
	// never-tested; or empty, where the category has no privileged operation.
	State HeatState `json:"state"`
	// Canaries of the period there, by status of the latest of each scenario and region.
	Canaries map[canary.Status]int `json:"canaries"`
}

// HeatState is the state of one cell of the heat map.
type HeatState string

const (
	HeatFailed       HeatState = "failed"
	HeatInconclusive HeatState = "inconclusive"
	HeatProven       HeatState = "proven"
	HeatPartly       HeatState = "partly"
	HeatStale        HeatState = "stale"
	HeatSampled      HeatState = "sampled"
	HeatExcepted     HeatState = "excepted"
	HeatNotLoggable  HeatState = "not-loggable"
	HeatNeverTested  HeatState = "never-tested"
	HeatEmpty        HeatState = "empty"
)

// Coverage is coverage.Report without what the rest of the report says.
type Coverage struct {
	MaxAgeSeconds int64             `json:"max_age_seconds"`
	Operations    int               `json:"operations"`
	Accounts      int               `json:"accounts"`
	Regions       int               `json:"regions"`
	Total         coverage.Row      `json:"total"`
	ByAccount     []coverage.Row    `json:"by_account"`
	ByRegion      []coverage.Row    `json:"by_region"`
	ByCategory    []coverage.Row    `json:"by_category"`
	Gaps          []coverage.Gap    `json:"gaps"`
	Beyond        []coverage.Beyond `json:"beyond_the_universe"`
	Elsewhere     int               `json:"tests_elsewhere"`
}

// Loss counts what was lost or changed on one hop.
type Loss struct {
	// Hop is emitted, delivered, stored, parsed or alerted; "" = nobody could tell.
	Hop    canary.Hop `json:"hop"`
	Checks int        `json:"checks"`
	// Canaries concerned, by id.
	Canaries []string `json:"canaries"`
}

// Hop is how long one stretch of the way took.
type Hop struct {
	// Name: "call" (the service's answer, our clock), "delivery" (from the call to
	// the record standing in the store, both by the provider's clocks; the SLO is of
	// this one), "noticed" (from there to the first complete look that had it), "digest"
	// (from there to the time in the name of the digest that signs for it, if one does), "alert"
	// (from the call to the alert that it promises, if any rang; each has an SLO of its own).
	Name  string `json:"name"`
	Title string `json:"title"`
	// SLO of the hop in seconds; null: none.
	PassSeconds *float64 `json:"pass_seconds"`
	LateSeconds *float64 `json:"late_seconds"`
	// Samples, smallest first, and figures over them, all in seconds.
	Samples []Sample `json:"samples"`
	P50     float64  `json:"p50"`
	P95     float64  `json:"p95"`
	Max     float64  `json:"max"`
}

// Sample is how long it took once.
type Sample struct {
	Canary  string  `json:"canary"`
	Step    string  `json:"step"`
	Seconds float64 `json:"seconds"`
}

// Protection sums up integrity (sealed) and retention (immutable) of the records
// of the latest canaries, and the chains of digests, of everything that is logged.
type Protection struct {
	Sealed    []ProtectionGroup `json:"sealed"`
	Immutable []ProtectionGroup `json:"immutable"`
	// Chains, the broken ones first.
	Chains []Chain `json:"chains"`
}

// ProtectionGroup are canaries with the same answer.
type ProtectionGroup struct {
	Status   canary.Status `json:"status"`
	Detail   string        `json:"detail,omitempty"`
	Canaries []string      `json:"canaries"`
}

// Trend is one run as part of a series.
type Trend struct {
	Run      string                `json:"run"`
	At       time.Time             `json:"at"`
	Statuses map[canary.Status]int `json:"statuses"`
	// Accounts are the same in every run, in the same order; one that a run did not
	// test is there, and not tested.
	Accounts []TrendAccount `json:"accounts"`
}

// TrendAccount is one account in one run.
type TrendAccount struct {
	Account  string                `json:"account"`
	Tested   bool                  `json:"tested"`
	Canaries int                   `json:"canaries"`
	Proven   int                   `json:"proven"`
	Statuses map[canary.Status]int `json:"statuses"`
}

// Finding is a record that carries our marks without being ours.
type Finding struct {
	Kind      string          `json:"kind"` // "forged-marker"
	Run       string          `json:"run"`
	EventID   string          `json:"event_id"`
	RequestID string          `json:"request_id"`
	Actor     string          `json:"actor"`
	Operation string          `json:"operation"`
	At        canary.Location `json:"at"`
	Stored    time.Time       `json:"stored,omitzero"`
	Raw       string          `json:"raw,omitempty"`
	RawBytes  []byte          `json:"raw_base64,omitempty"`
}

// Leftover is what of a canary was still there when its account was last listed.
type Leftover struct {
	Canary  string    `json:"canary"`
	Run     string    `json:"run"`
	Account string    `json:"account"`
	Region  string    `json:"region"`
	Listed  time.Time `json:"listed,omitzero"`
	// What was left ("iam role auditcanary-..."); "" where Err says why nobody knows.
	What string `json:"what,omitempty"`
	Err  string `json:"error,omitempty"`
}

// Alert is one alert that a canary promises, with what became of it.
type Alert struct {
	Canary   string            `json:"canary"`
	Run      string            `json:"run"`
	Scenario string            `json:"scenario"`
	Account  string            `json:"account"`
	Region   string            `json:"region"`
	Name     string            `json:"name"`
	On       canary.PromisedOn `json:"on"`
	Status   canary.Status     `json:"status"`
	// Kind is what became of it: rang, late, duplicate, silent and so on.
	Kind canary.AlertKind `json:"kind"`
	Rang time.Time        `json:"rang,omitzero"`
	// LatencySeconds after the call, both by the provider's clocks.
	LatencySeconds *float64 `json:"latency_seconds,omitempty"`
	// Weak says by what it was taken for the canary's, where it names no event.
	Weak   canary.Means `json:"weak,omitempty"`
	Detail string       `json:"detail,omitempty"`
}

// Review is one review of logs.
type Review struct {
	ID       string    `json:"id"`
	Due      time.Time `json:"due,omitzero"`
	Done     time.Time `json:"done,omitzero"`
	Reviewer string    `json:"reviewer"`
	Result   string    `json:"result"`
}

// Ticket is the ticket of one failing check.
type Ticket struct {
	ID       string       `json:"id"`
	URL      string       `json:"url,omitempty"`
	Scenario string       `json:"scenario"`
	Target   string       `json:"target"`
	Check    canary.Check `json:"check"`
	State    string       `json:"state"`
	Opened   time.Time    `json:"opened,omitzero"`
	Closed   time.Time    `json:"closed,omitzero"`
}
