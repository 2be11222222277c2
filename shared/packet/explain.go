package packet

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/event"
	"github.com/auditcanary/auditcanary/shared/ledger"
	"github.com/auditcanary/auditcanary/shared/run"
)

// Explanation is the chain of custody of one canary, from the call that we made to
// the digest that the provider signed, in steps.
type Explanation struct {
	Canary   string        `json:"canary"`
	Run      string        `json:"run"`
	Scenario string        `json:"scenario"`
	Target   canary.Target `json:"target"`
	Steps    []Step        `json:"steps"`
}

// Step is one link of it.
type Step struct {
	// Leaf of the ledger that says so.
	Leaf int64     `json:"leaf"`
	At   time.Time `json:"at"`
	Text string    `json:"text"`
	// Verified: proven by this packet and the keys given. Why says by what, or what
	// would be needed.
	Verified bool   `json:"verified"`
	Why      string `json:"why"`
}

// BadVerdict says that judging anew gives another verdict.
const BadVerdict = "verdict"

// explainer collects what is to be explained or judged anew while leaves go by.
type explainer struct {
	id      string
	all     bool
	period  Period
	compile func([]string) ([]canary.Rule, error)

	state  *run.State
	begun  map[string][]byte // the beginnings of runs, until it is known which counts
	target canary.Target
	taken  []takenEntry
	// again says how often judging anew gave what the ledger has, and of which
	// checks not.
	again   int
	skipped int
	// bytes of what is taken, and how many listings.
	bytes, listings int
	wrong           []*Fault
	slo             canary.SLO
}

type takenEntry struct {
	leaf  int64
	entry run.Entry
	// same are the checks of a verdict that judging anew gives too.
	same []canary.Check
	// fault is what is wrong with the entry, if something is.
	fault string
}

const (
	// maxTaken bounds the entries of one canary, maxTakenBytes what they weigh, and
	// maxListings those among them that list its place.
	maxTaken      = 10_000
	maxTakenBytes = 64 << 20
	maxListings   = 100
	// maxBegun bounds the beginning of a run, in bytes.
	maxBegun = 4096
)

func newExplainer(o VerifyOptions, m Manifest) *explainer {
	return &explainer{slo: m.SLO, period: m.Period, id: o.Explain, all: o.Rejudge, compile: o.Compile, state: run.NewState(), begun: map[string][]byte{}}
}

func (x *explainer) take(leaf int64, data []byte, e entry) error {
	if x.id == "" && !x.all {
		return nil
	}
	if e.Type == "planned" && e.Planned == nil || e.Type == "listed" && e.Listed == nil {
		return nil // the fold has no use for it either
	}
	if e.Type == "planned" && !x.period.holds(e.At) {
		return nil // of another packet
	}
	mine := x.id != "" && (e.Canary == x.id || e.Type == "listed" && len(x.taken) > 0 && e.Listed.Target == x.target)
	switch {
	case e.Type == "begun" && !x.all:
		if len(data) > maxBegun {
			return &Fault{Name: TooMuch, Kind: ledger.ErrBroken, File: leavesFile, Leaf: leaf, Err: fmt.Errorf("the beginning of a run has %d bytes, at most %d", len(data), maxBegun)}
		}
		x.begun[e.Run] = slices.Clone(data)
		return nil
	case e.Type == "planned" && mine:
		x.target = e.Planned.Canary.Target
		if begun := x.begun[e.Run]; begun != nil {
			if err := x.state.Apply(begun); err != nil {
				return fmt.Errorf("begin run %s: %w", e.Run, err)
			}
			delete(x.begun, e.Run)
		}
	case !mine && !x.all:
		return nil
	case e.Canary != "" && e.Type != "planned" && x.state.Canary(e.Canary) == nil:
		return nil // of an earlier packet
	}
	t := takenEntry{leaf: leaf}
	if e.Type == "verdict" {
		wrong := len(x.wrong)
		if t.same = x.judge(leaf, e); len(x.wrong) > wrong {
			t.fault = x.wrong[wrong].Err.Error()
		}
	}
	if !slices.Contains([]string{"blob", "public_key", "validated", "own", "sweeping", "swept", "forged", "injected", "rang"}, e.Type) {
		if err := x.state.Apply(data); err != nil {
			return refuse(BadEntry, leavesFile, "leaf %d: %w", leaf, err)
		}
	}
	if mine && e.Type == "listed" {
		x.listings++
		mine = x.listings <= maxListings
	}
	if mine {
		if x.bytes += len(data); len(x.taken) >= maxTaken || x.bytes > maxTakenBytes {
			return &Fault{Name: TooMuch, Kind: ledger.ErrBroken, File: leavesFile, Leaf: leaf, Err: fmt.Errorf("canary %s has more than %d entries, or than %d bytes of them", x.id, maxTaken, maxTakenBytes)}
		}
		if err := json.Unmarshal(data, &t.entry); err != nil {
			return refuse(BadEntry, leavesFile, "leaf %d: %w", leaf, err)
		}
		x.taken = append(x.taken, t)
	}
	return nil
}

// judge judges a canary anew from what the packet has up to its verdict. Only what
// the verdict claims to have found can be found again: whether a record is missing
// from the log store, the packet alone cannot tell.
func (x *explainer) judge(leaf int64, e entry) (same []canary.Check) {
	cs := x.state.Canary(e.Canary)
	if cs == nil || e.Verdict == nil {
		return nil
	}
	scenario := cs.Plan.Scenario
	if len(scenario.Expect) > 0 {
		if x.compile == nil {
			x.skipped++
			return nil
		}
		rules, err := x.compile(scenario.Expect)
		if err != nil {
			x.skipped++
			return nil
		}
		scenario.Rules = rules
	}
	seen := canary.Seen{AsOf: e.Verdict.AsOf}
	for _, si := range cs.Sighted {
		if len(si.Raw) == 0 {
			x.skipped++ // too large for an entry
			return nil
		}
		ev, err := event.Read(si.Raw)
		if err != nil {
			x.wrong = append(x.wrong, &Fault{Name: BadVerdict, Kind: ledger.ErrBroken, File: leavesFile, Leaf: leaf, Err: fmt.Errorf("the record of event %s cannot be read: %w", si.EventUID, err)})
			return nil
		}
		if ev.Cloud.Account == "" && ev.Cloud.Region == "" && ev.Metadata.LogName == event.Kubernetes {
			// No audit event says which cluster it is of; where it stood, the store said.
			ev.Cloud.Account, ev.Cloud.Region = cs.Plan.Canary.Target.Account, cs.Plan.Canary.Target.Region
		}
		seen.Sightings = append(seen.Sightings, canary.Sighting{Event: ev, Raw: si.Raw, At: si.At, Stored: si.Stored})
	}
	v := canary.Judge(scenario, cs.Plan.Canary, cs.Evidence, seen, x.slo)
	agrees := true
	for _, check := range canary.Checks() {
		said := e.Verdict.Checks[check].Status
		if said != canary.Pass && said != canary.Late {
			continue
		}
		if v.Checks[check].Status == said {
			same = append(same, check)
			continue
		}
		agrees = false
		if len(x.wrong) <= maxProblems {
			x.wrong = append(x.wrong, &Fault{Name: BadVerdict, Kind: ledger.ErrBroken, File: leavesFile, Leaf: leaf, Err: fmt.Errorf(
				"the verdict of %s says %s: %s; judged anew from the packet it is %s (%s)", e.Canary, check, said, v.Checks[check].Status, v.Checks[check].Detail)})
		}
	}
	if agrees {
		x.again++
	}
	return same
}

// judged says what judging anew gave, and explains what was asked for.
func (v *verifier) judged(r *sliceReader) {
	x := r.explain
	for _, f := range x.wrong {
		v.fault(f)
	}
	switch {
	case x.all:
		v.say("%d verdicts, judged anew from the receipts and records in the packet, pass what they passed; by the SLO in the manifest: pass within %s, late within %s, amendments within %s, clocks apart by %s.",
			x.again, x.slo.Pass, x.slo.Late, x.slo.Amend, x.slo.Clock)
		if x.skipped > 0 {
			v.unsaid("%d verdicts could not be judged anew: a record is too large to be in the ledger, or an expectation of the scenario was not compiled.", x.skipped)
		}
	case x.id == "":
		v.unsaid("Judging the verdicts anew was not asked for (--rejudge).")
	}
	if x.id == "" {
		return
	}
	if len(x.taken) == 0 || x.state.Canary(x.id) == nil {
		v.problem(MissingEvidence, ledger.ErrIncomplete, leavesFile, "canary %q was not planned in this packet", x.id)
		return
	}
	for i, t := range x.taken {
		x.taken[i].fault = cmp.Or(r.faults[t.leaf], t.fault)
	}
	v.report.Explained = v.explanation(x, r.state)
}

func (v *verifier) explanation(x *explainer, s *state) *Explanation {
	c := x.state.Canary(x.id).Plan.Canary
	ex := &Explanation{Canary: c.ID, Run: c.Run, Scenario: c.Scenario, Target: c.Target}
	for i, t := range x.taken {
		if text, verified, why := v.step(t, s); text != "" {
			switch {
			case v.untrusted:
				verified, why = false, "the key is not one that you trust"
			case t.fault != "":
				verified, why = false, "there is something wrong with it: "+t.fault
			case verified && t.entry.Kept != nil && !foundAt(x.taken[:i], t.entry.Kept.At):
				verified, why = false, "no record that was found before it stands at that place"
			}
			ex.Steps = append(ex.Steps, Step{Leaf: t.leaf, At: t.entry.At, Text: text, Verified: verified, Why: why})
		}
	}
	return ex
}

// foundAt reports whether a record was found at that very place.
func foundAt(entries []takenEntry, at canary.Location) bool {
	return slices.ContainsFunc(entries, func(t takenEntry) bool { return t.entry.Sighted != nil && t.entry.Sighted.At == at })
}

const inTree = "entry %d of the signed tree"

// step says one entry in a sentence, and what proves it.
func (v *verifier) step(t takenEntry, s *state) (text string, verified bool, why string) {
	e, leaf := t.entry, fmt.Sprintf(inTree, t.leaf)
	switch {
	case e.Planned != nil:
		p := e.Planned
		text = fmt.Sprintf("planned: %s (%s), file SHA-256 %s, in %s/%s", p.Scenario.ID, p.Scenario.Title, p.Scenario.Hash, p.Canary.Target.Account, p.Canary.Target.Region)
		if p.NotRun != "" {
			text += "; not run: " + p.NotRun
		}
		return text, true, leaf
	case e.Blocked != nil:
		return "not begun: " + e.Blocked.Reason, true, leaf
	case e.Intent != nil:
		in := e.Intent
		return fmt.Sprintf("about to %s: %s in %s, step %s, attempt %d", in.Phase, in.Call.Operation, in.Call.Region, in.Step, in.Attempt), true, leaf + ", written before the call"
	case e.Receipt != nil:
		r := e.Receipt
		text = fmt.Sprintf("%s %s: sent %s, %s, request %s", r.Call.Operation, r.Outcome.Result, r.Started.UTC().Format(time.RFC3339), answered(*r), orNone(strings.Join(r.RequestIDs, ", ")))
		return text, false, leaf + " shows that we wrote so then; the provider does not sign its replies: that the record below has the same request id is what confirms it"
	case e.Inspected != nil:
		var said []string
		for _, r := range e.Inspected.Readings {
			said = append(said, fmt.Sprintf("%s %s, request %s", r.Call.Operation, r.Outcome.Result, orNone(strings.Join(r.RequestIDs, ", "))))
		}
		text = fmt.Sprintf("looked at the protection, %s step %s: %s", e.Inspected.When, e.Inspected.Step, orNone(strings.Join(said, "; ")))
		return text, false, leaf + " shows that we wrote so then; the provider does not sign its replies"
	case e.Sighted != nil:
		si := e.Sighted
		text = fmt.Sprintf("found: event %s of request %s for step %s, %d bytes at byte %d of %s (version %s), stored %s; the object's SHA-256 is %s",
			si.EventUID, si.RequestID, si.Step, si.At.Length, si.At.Offset, si.At.Object(), orNone(si.At.VersionID), si.Stored.UTC().Format(time.RFC3339), orNone(si.At.ObjectSHA256))
		if len(si.Raw) == 0 {
			return text, false, "the record is too large to be in the ledger: fetch the object, compare its SHA-256, and look at that place"
		}
		return text, true, leaf + " has the record's exact bytes, with these ids; to see them in the object, fetch it and compare its SHA-256"
	case e.Kept != nil:
		return v.keptStep(e, s, leaf)
	case e.Rang != nil:
		r := e.Rang
		text = fmt.Sprintf("alert %s arrived, id %s, sent %s; it names %s; its payload's SHA-256 is %s",
			r.Alert, r.ID, r.At.UTC().Format(time.RFC3339), orNone(strings.Join(slices.Concat(r.RequestIDs, r.EventIDs, r.Sessions), ", ")), orNone(r.SHA256))
		return text, false, leaf + " shows that we wrote so then; whoever sends alerts does not sign them"
	case e.Heard != nil:
		h := e.Heard
		text = fmt.Sprintf("listened for alert %s: %d heard that may be the canary's", h.Alert, len(h.Heard))
		if !h.AsOf.IsZero() {
			text += ", all that had arrived by " + h.AsOf.UTC().Format(time.RFC3339)
		}
		return text, false, leaf + " shows that we wrote so then"
	case e.Verdict != nil:
		var said []string
		for _, c := range canary.Checks() {
			if a, ok := e.Verdict.Checks[c]; ok {
				said = append(said, fmt.Sprintf("%s %s", c, a.Status))
			}
		}
		text = "verdict: " + strings.Join(said, ", ")
		var open []string
		for _, c := range canary.Checks() {
			if st := e.Verdict.Checks[c].Status; st != canary.NotRun && st != "" && !slices.Contains(t.same, c) {
				open = append(open, string(c))
			}
		}
		if len(open) == 0 {
			return text, true, leaf + "; judged anew from the packet it is the same"
		}
		return text, false, leaf + "; judged anew from the packet all is the same but " + strings.Join(open, ", ") + ", for which the log store itself would be needed"
	case e.Listed != nil:
		l := e.Listed
		switch {
		case l.Err != "":
			text = "the account could not be listed: " + l.Err
		case len(l.Left) > 0:
			text = fmt.Sprintf("the account was listed: %d things were left of canaries", len(l.Left))
		default:
			text = "the account was listed: nothing of a canary was left"
		}
		return text, false, leaf + " shows that we wrote so then; the provider does not sign its replies"
	}
	return "", false, ""
}

func answered(r canary.Receipt) string {
	if r.Want.Time.IsZero() {
		return "no time in the reply"
	}
	return "answered " + r.Want.Time.UTC().Format(time.RFC3339) + " by the service's clock"
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}

// keptStep says how a record is kept.
func (v *verifier) keptStep(e run.Entry, s *state, leaf string) (text string, verified bool, why string) {
	k := e.Kept
	object := k.At.Object()
	held := "no retention"
	if k.Held.Mode != "" {
		held = fmt.Sprintf("retention %s until %s", k.Held.Mode, k.Held.Until.UTC().Format(time.RFC3339))
	}
	switch {
	case k.Digest == nil && k.Seal.Broken != "":
		return fmt.Sprintf("kept: %s: %s; %s", object, k.Seal.Broken, held), false, leaf + " shows that we found so then"
	case k.Digest == nil:
		return fmt.Sprintf("kept: no digest names %s yet; %s", object, held), false, leaf + " shows that we looked then"
	}
	text = fmt.Sprintf("kept: digest %s, signed by the provider's key %s, names %s with SHA-256 %s", k.Digest.Key, k.Digest.Fingerprint, object, k.Seal.LogSHA256)
	if n := len(k.Path); n > 0 {
		text += fmt.Sprintf("; %d later digests follow, each signed over the one before, the last ends %s", n, k.Path[n-1].End.UTC().Format(time.RFC3339))
	}
	text += "; " + held
	if _, err := s.custody.verify(*k); err != nil {
		return text, false, err.Error()
	}
	if k.Seal.LogSHA256 != k.At.ObjectSHA256 {
		return text, false, "the digest's signature is good, and it is not over the bytes that the record was read from"
	}
	return text, true, "the digest's bytes, its RSA signature and the hash of the very object that the record was read from; that the key is the provider's, `aws cloudtrail list-public-keys` tells; the retention is what the provider's interface said"
}
