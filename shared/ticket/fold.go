package ticket

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/exception"
	"github.com/auditcanary/auditcanary/shared/run"
)

// Condition is how a check of a scenario at a target stands, over all runs.
type Condition string

const (
	Failing   Condition = "failing"
	TooLate   Condition = "late"
	NotFound  Condition = "inconclusive" // nobody could find out
	Accepted  Condition = "excepted"     // it does not pass, and an exception covers that
	Passing   Condition = "passing"      // again, but not often enough yet
	Fixed     Condition = "fixed"        // passed often enough in a row
	Untouched Condition = ""             // nothing was ever wrong
)

// Finding is what the runs say of one check of one scenario at one target.
type Finding struct {
	run.Fingerprint
	Title, Category string
	Condition       Condition
	// Answer is the last one that counts, and where it was given. What was not run, and
	// what is still awaited, does not count.
	Answer canary.Answer
	Run    string
	Canary *run.CanaryState
	// Amended: an earlier verdict on the same canary said otherwise.
	Amended bool
	// First and Last are when the canaries were planned that did not pass, since it passed
	// often enough for the last time; Bad counts them, Of those that were done since.
	First, Last time.Time
	Bad, Of     int
	// Passes and Inconclusive in a row, up to now.
	Passes, Inconclusive int
	// Exception that covers it, where Condition is Accepted: its id, and what is to be
	// said of it.
	Exception, Says string
	// Since counts the runs that came after the last answer and gave none.
	Since int
	// firstRun is the run in which the trouble began, fixedRun that of the first pass
	// after it, doneRun that in which it had passed often enough; indexes, -1 for none.
	firstRun, fixedRun, doneRun int
}

// Worried reports whether it is something that somebody has to look after.
func (f *Finding) Worried(c Config) bool {
	switch f.Condition {
	case Failing, TooLate:
		return true
	case NotFound:
		return f.Inconclusive >= c.InconclusiveAfter
	}
	return false
}

// Covers says which exception covers an answer that did not pass, by its id, and what
// is to be said of it (who approved it, until when); false: none does.
type Covers func(cs *run.CanaryState, check canary.Check, a canary.Answer) (id, says string, ok bool)

// InRegister are the exceptions of a register that count at a time.
func InRegister(reg exception.Register, now time.Time) Covers {
	return func(cs *run.CanaryState, check canary.Check, a canary.Answer) (string, string, bool) {
		x, ok := reg.For(exception.About(cs.Plan.Canary, cs.At, check, a), now)
		if !ok {
			return "", "", false
		}
		return x.ID, fmt.Sprintf("accepted by %s until %s: %s", x.Risk.Approver, x.Expires, x.Risk.Statement), true
	}
}

// Fold gives what the runs say, by fingerprint in the order of their first appearance,
// of every check that has ever not passed. It is pure. covers may be nil. Only the last
// verdict on a canary counts, and none while the canary is still awaited.
func Fold(s *run.State, covers Covers, c Config) []*Finding {
	c = c.withDefaults()
	all := map[run.Fingerprint]*Finding{}
	var order []*Finding
	last := map[*Finding]int{}
	for n, rs := range s.Runs {
		for _, cs := range rs.Canaries {
			v, judged := cs.Verdict()
			if !judged || v.Open() {
				continue
			}
			id := cs.Plan.Canary
			for _, check := range canary.Checks() {
				a, ok := v.Checks[check]
				none := !ok || a.Status == canary.NotRun
				if none && !takenBack(cs, check) {
					continue
				}
				fp := run.Fingerprint{Scenario: id.Scenario, Target: id.Target, Check: check}
				f := all[fp]
				if f == nil {
					f = &Finding{Fingerprint: fp, firstRun: -1, fixedRun: -1, doneRun: -1}
					all[fp], order = f, append(order, f)
				}
				if none {
					f.heard(cs, n, c.ResolveAfter)
					continue
				}
				f.take(cs, a, n, c)
				last[f] = n
			}
		}
	}
	var out []*Finding
	for _, f := range order {
		if f.Canary == nil {
			continue // all that was said of it was taken back
		}
		f.Since = len(s.Runs) - 1 - last[f]
		if f.settle(covers, c); f.Condition != Untouched {
			out = append(out, f)
		}
	}
	return out
}

// take folds one more answer in.
func (f *Finding) take(cs *run.CanaryState, a canary.Answer, n int, c Config) {
	enough := c.ResolveAfter
	f.Title, f.Category = cs.Plan.Scenario.Title, cs.Plan.Scenario.Category
	f.Answer, f.Run, f.Canary = a, cs.Run.ID, cs
	f.Amended = amended(cs, f.Check, a)
	if a.Status == canary.Pass {
		// That it could not be found out at first, of which nobody makes a ticket at once,
		// is nothing that was wrong.
		if f.Amended && (c.InconclusiveAfter <= 1 || saidWrong(cs, f.Check)) {
			f.heard(cs, n, enough)
		}
		f.Inconclusive = 0
		f.Passes++
		if f.firstRun >= 0 {
			f.Of++
			if f.Passes == 1 {
				f.fixedRun = n
			}
			if f.Passes == enough {
				f.doneRun = n
			}
		}
		return
	}
	if f.Passes >= enough {
		// What was wrong before that is another story.
		f.First, f.Bad, f.Of, f.firstRun = time.Time{}, 0, 0, -1
	}
	f.Passes, f.fixedRun, f.doneRun = 0, -1, -1
	if f.firstRun < 0 || f.Bad == 0 {
		f.firstRun, f.First, f.Of = n, cs.At, 0
	}
	f.Last = cs.At
	f.Bad++
	f.Of++
	if a.Status == canary.Inconclusive {
		f.Inconclusive++
	} else {
		f.Inconclusive = 0
	}
}

// heard begins the trouble anew where a verdict said that it was wrong and says so no
// longer: somebody may have heard it, and what was not run since settles nothing.
func (f *Finding) heard(cs *run.CanaryState, n, enough int) {
	if f.firstRun < 0 || f.Passes >= enough {
		f.First, f.Last, f.Bad, f.Of, f.Passes, f.firstRun, f.fixedRun, f.doneRun = cs.At, cs.At, 0, 0, 0, n, -1, -1
	}
}

// takenBack reports whether an earlier verdict, given when nothing was awaited any more,
// said that a check does not pass, of which the last one has no answer.
func takenBack(cs *run.CanaryState, check canary.Check) bool {
	return slices.ContainsFunc(cs.Verdicts[:len(cs.Verdicts)-1], func(v canary.Verdict) bool {
		a, ok := v.Checks[check]
		return ok && !v.Open() && a.Status != canary.NotRun && a.Status != canary.Pass
	})
}

// saidWrong reports whether an earlier verdict, given when nothing was awaited any more,
// said that a check is wrong, and not only that it is not known.
func saidWrong(cs *run.CanaryState, check canary.Check) bool {
	return slices.ContainsFunc(cs.Verdicts[:len(cs.Verdicts)-1], func(v canary.Verdict) bool {
		a := v.Checks[check]
		return !v.Open() && (a.Status == canary.Fail || a.Status == canary.Late)
	})
}

// amended reports whether an earlier verdict, given when nothing was awaited any more,
// said something else.
func amended(cs *run.CanaryState, check canary.Check, a canary.Answer) bool {
	for _, v := range cs.Verdicts[:len(cs.Verdicts)-1] {
		if old, ok := v.Checks[check]; ok && !v.Open() && old.Status != canary.NotRun && old.Status != a.Status {
			return true
		}
	}
	return false
}

func (f *Finding) settle(covers Covers, c Config) {
	switch f.Answer.Status {
	case canary.Pass:
		switch {
		case f.firstRun < 0:
			f.Condition = Untouched
		case f.Passes >= c.ResolveAfter:
			f.Condition = Fixed
		default:
			f.Condition = Passing
		}
		return
	case canary.Late:
		f.Condition = TooLate
	case canary.Inconclusive:
		f.Condition = NotFound
	case canary.Excepted:
		f.Condition = Accepted
		return
	default:
		f.Condition = Failing
	}
	if covers == nil {
		return
	}
	if id, says, ok := covers(f.Canary, f.Check, f.Answer); ok {
		f.Condition, f.Exception, f.Says = Accepted, id, says
	}
}

// change is the hash of what counts as a change of a finding: how it stands, where it
// was lost, what differs, and what else is wrong beside that. What is another in every
// run (ids, times, names that carry them) is not in it, nor are counters.
func (f *Finding) change() string {
	h := []string{string(f.Condition)}
	switch f.Condition {
	case Passing, Fixed:
		return hash(h...)
	case Accepted:
		h = append(h, f.Exception, f.Says)
	}
	h = append(h, string(f.Answer.Hop), f.Answer.Step)
	for _, d := range f.Answer.Fields {
		h = append(h, d.Field, f.steady(d.Expected), f.steady(d.Found))
	}
	h = append(h, f.reasons(f.Answer.Status, f.Answer.Detail))
	for _, o := range f.Answer.Also {
		h = append(h, "also", o.Step, string(o.Status), string(o.Hop), f.reasons(o.Status, o.Detail))
		h = append(h, o.Fields...)
	}
	for _, a := range f.Answer.Alerts {
		if amiss(a) {
			h = append(h, "alert", a.Alert, string(a.Kind))
		}
	}
	return hash(h...)
}

// reasons are what of a detail counts as a change: how an object can be taken away is
// said nowhere else.
func (f *Finding) reasons(status canary.Status, detail string) string {
	if f.Check != canary.Immutable || status != canary.Fail {
		return ""
	}
	return f.steady(detail)
}

// amiss reports whether something is wrong with an alert; that it is awaited, or was not
// listened for, is not.
func amiss(a canary.AlertAnswer) bool { return a.Status != canary.Pass && a.Status != canary.NotRun }

// varying matches what is another in each run: marks, UUIDs, times, ids of keys and
// principals, long hexadecimal numbers.
var varying = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)` + canary.Marker + `-[a-z0-9-]+` +
		`|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}` +
		`|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?` +
		`|\bA[A-Z]{3}[A-Z0-9]{16,}\b` +
		`|\b[0-9a-f]{16,}\b`)
})

// maxSteady bounds what of a value is compared between runs, in bytes.
const maxSteady = 4 << 10

func (f *Finding) steady(text string) string {
	text = cut(text, maxSteady)
	for _, r := range f.Canary.Evidence.Receipts {
		for _, id := range r.RequestIDs {
			if id != "" {
				text = strings.ReplaceAll(text, id, "~")
			}
		}
	}
	for _, id := range []string{f.Canary.Plan.Canary.ID, f.Run} {
		if id != "" {
			text = strings.ReplaceAll(text, id, "~")
		}
	}
	return varying().ReplaceAllString(text, "~")
}

// hash is over each part with its length, so that no two lists have the same.
func hash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s\n", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Mark is the label by which a ticket is found again: it identifies the fingerprint.
func Mark(fingerprint string) string {
	return canary.Marker + "-" + hash(fingerprint)[:24]
}

// cut keeps text to a number of bytes, and says how much is missing.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + fmt.Sprintf("… (%d bytes more)", len(text)-most)
}
