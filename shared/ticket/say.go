package ticket

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/event"
	"github.com/auditcanary/auditcanary/shared/exception"
	"github.com/auditcanary/auditcanary/shared/inert"
)

// How much of anybody's text a ticket holds, in bytes, and how many of what there may be
// any number of. A desk takes about 32,000 characters in a text, 255 in a summary.
const (
	maxSummary  = 200
	maxDetail   = 2000
	maxValue    = 300
	maxShort    = 160
	maxRows     = 20
	maxMembers  = 30       // named in the text of a ticket for several, of which a desk takes about 45; all are in what is attached
	maxEvidence = 16 << 10 // of one value in what is attached
)

// in says in words how a finding stands.
func (f *Finding) in(c Config) string {
	a := f.Answer
	switch f.Condition {
	case Failing:
		return "does not pass" + lostOn(a.Hop)
	case TooLate:
		return "is late"
	case NotFound:
		return fmt.Sprintf("could not be found out, %s in a row", times(f.Inconclusive, "run"))
	case Accepted:
		return "does not pass, and is covered by exception " + cmp.Or(f.Exception, "(unnamed)") + parenthesis(cut(f.Says, maxValue))
	case Passing:
		if f.Passes == 0 {
			return "was said not to pass, which was taken back; it has not been tested since"
		}
		return fmt.Sprintf("passes again, %d of %d times in a row", f.Passes, c.ResolveAfter)
	case Fixed:
		return fmt.Sprintf("passed %s in a row", times(f.Passes, "run"))
	}
	return "passes"
}

func parenthesis(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}

func lostOn(h canary.Hop) string {
	if h == "" {
		return ""
	}
	return ", hop " + string(h)
}

func times(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// What names a finding: "aws/iam-role at 111122223333/us-east-1: surfaced".
func (f *Finding) what() string {
	return fmt.Sprintf("%s at %s/%s: %s", f.Scenario, f.Target.Account, f.Target.Region, f.Check)
}

// single is the ticket of one finding.
func (d *decider) single(f *Finding) wanted {
	w := wanted{
		kind: Failure, worried: f.Worried(d.c), done: f.Condition == Fixed,
		summary: line(f.what() + " " + f.brief()), about: f.change(),
		labels:   d.c.labels(Failure, string(f.Check), f.Category, d.c.Environments[f.Target.Account]),
		severity: d.c.severity(f), category: f.Category, why: f.what() + " " + f.in(d.c),
	}
	w.body = slices.Concat(d.wrong(f), d.history(f), d.evidence(f), d.hint(f.Check, f.Answer.Hop, f.Condition))
	w.comment = slices.Concat(Doc{{Kind: "text", Text: fmt.Sprintf("Since run %s it %s.", f.Run, f.in(d.c))}}, d.wrong(f))
	if f.Amended {
		w.comment = append(w.comment, Block{Kind: "text", Text: "The verdict on this run was amended: it said otherwise before."})
	}
	if f.Condition != Passing && f.Condition != Fixed {
		w.evidence = func() []byte { return attachment(d.Origin, d.Checkpoint, []*Finding{f}) }
	}
	return w
}

// brief is in without what counts up.
func (f *Finding) brief() string {
	switch f.Condition {
	case Failing:
		return "does not pass" + lostOn(f.Answer.Hop)
	case TooLate:
		return "is late"
	case NotFound:
		return "cannot be found out"
	case Accepted:
		return "is excepted"
	case Passing, Fixed:
		if f.Passes == 0 {
			return "was said not to pass"
		}
		return "passes again"
	}
	return ""
}

// line is text that stands in one line.
func line(text string) string { return cut(inert.Line(text), maxSummary) }

// wrong says what was expected, and what was found.
func (d *decider) wrong(f *Finding) Doc {
	a := f.Answer
	if f.Condition == Passing || f.Condition == Fixed {
		return nil
	}
	doc := Doc{{Kind: "text", Text: fmt.Sprintf("%s: the check %q %s.", cut(f.Title, maxValue), f.Check, f.in(d.c))}}
	if a.Detail != "" {
		doc = append(doc, Block{Kind: "code", Text: cut(a.Detail, maxDetail)})
	}
	if a.Step != "" {
		doc = append(doc, Block{Kind: "text", Text: "Step: " + cut(a.Step, maxShort)})
	}
	if len(a.Fields) > 0 {
		rows := [][]string{{"Field", "Expected", "Found"}}
		for i, x := range a.Fields {
			if i == maxRows {
				rows = append(rows, []string{fmt.Sprintf("(%d more in what is attached)", len(a.Fields)-i), "", ""})
				break
			}
			rows = append(rows, []string{cut(x.Field, maxShort), cut(x.Expected, maxValue), cut(x.Found, maxValue)})
		}
		doc = append(doc, Block{Kind: "table", Rows: rows})
	}
	if rows := beside(a); len(rows) > 0 {
		doc = append(doc, Block{Kind: "text", Text: "Beside that:"}, Block{Kind: "list", Rows: rows})
	}
	if f.Condition == NotFound {
		doc = append(doc, Block{Kind: "text", Text: fmt.Sprintf("Nobody could find out whether this control works. That is neither a pass nor a failure of it; after %s in a row it is somebody's to look after.", times(d.c.InconclusiveAfter, "run"))})
	}
	if f.Condition == Accepted {
		doc = append(doc, Block{Kind: "text", Text: "An exception is no fix: a ticket that stands stays open until the check passes."})
	}
	return doc
}

// beside are the alerts that did not ring as promised, if there are several, or the other
// steps that did not pass, a line each.
func beside(a canary.Answer) (rows [][]string) {
	add := func(what, detail string) {
		if detail != "" {
			what += ": " + detail
		}
		rows = append(rows, []string{cut(what, maxValue)})
	}
	for _, x := range a.Alerts {
		if amiss(x) {
			add("Alert "+x.Alert+": "+string(x.Kind), x.Detail)
		}
	}
	if len(rows) == 1 {
		rows = nil // it is the one that is told
	}
	for _, o := range a.Also {
		if len(a.Alerts) > 0 {
			break // they are of these alerts
		}
		what := "Step " + o.Step + ": " + string(o.Status) + lostOn(o.Hop)
		if len(o.Fields) > 0 {
			what += ", in " + strings.Join(o.Fields, ", ")
		}
		add(what, o.Detail)
	}
	if n := len(rows); n > maxRows {
		rows = append(rows[:maxRows], []string{fmt.Sprintf("(%d more in what is attached)", n-maxRows)})
	}
	return rows
}

// history says since when, and how often.
func (d *decider) history(f *Finding) Doc {
	rows := [][]string{
		{"First seen", stamp(f.First)},
		{"Last seen", stamp(f.Last)},
		{"How often", fmt.Sprintf("%d of %s since then", f.Bad, times(f.Of, "run"))},
		{"Last run that tells", f.Run},
	}
	if f.Passes > 0 {
		rows = append(rows, []string{"Passed since", fmt.Sprintf("%s in a row; this is resolved after %d", times(f.Passes, "time"), d.c.ResolveAfter)})
	}
	if f.Amended {
		rows = append(rows, []string{"Amended", "the last verdict replaces one that said otherwise"})
	}
	if f.Since > 0 {
		rows = append(rows, []string{"Not tested since", fmt.Sprintf("%s came after it and did not tell: that is no pass", times(f.Since, "run"))})
	}
	return Doc{{Kind: "heading", Text: "Since when"}, {Kind: "table", Rows: append([][]string{{"What", "Says"}}, rows...)}}
}

// evidence says where the proof stands.
func (d *decider) evidence(f *Finding) Doc {
	rows := [][]string{{"Canary", f.Canary.Plan.Canary.ID}}
	if d.Origin != "" {
		rows = append(rows, []string{"Ledger", fmt.Sprintf("%s, entry %d", d.Origin, f.Canary.Leaf)})
	}
	r := referencesOf(f)
	add := func(name string, values []string) {
		for i, v := range values {
			if i == 5 {
				rows = append(rows, []string{"", fmt.Sprintf("(%d more)", len(values)-i)})
				break
			}
			rows = append(rows, []string{name, cut(v, maxValue)})
		}
	}
	add("Request", r.RequestIDs)
	add("Event", r.EventIDs)
	add("Object", r.Objects)
	doc := Doc{{Kind: "heading", Text: "Evidence"}, {Kind: "table", Rows: append([][]string{{"What", "Where"}}, rows...)}}
	var clues [][]string
	for i, c := range f.Answer.Evidence {
		if i == 5 {
			break
		}
		clues = append(clues, []string{fmt.Sprintf("%s: %s", c.Source, cut(c.Found, maxValue))})
	}
	if len(clues) > 0 {
		doc = append(doc, Block{Kind: "list", Rows: clues})
	}
	if d.c.ReportURL != "" {
		doc = append(doc, Block{Kind: "link", Text: "The report", URL: d.c.ReportURL})
	}
	return doc
}

// references are what somebody needs to look the same thing up elsewhere.
type references struct {
	RequestIDs []string `json:"request_ids"`
	EventIDs   []string `json:"event_ids"`
	Objects    []string `json:"objects"` // s3://bucket/key
}

func referencesOf(f *Finding) references {
	r := references{RequestIDs: []string{}, EventIDs: []string{}, Objects: []string{}}
	add := func(to *[]string, v string) {
		if v = cut(v, 1<<10); v != "" && !slices.Contains(*to, v) {
			*to = append(*to, v)
		}
	}
	mine := func(step string) bool { return f.Answer.Step == "" || step == f.Answer.Step }
	for _, rec := range f.Canary.Evidence.Receipts {
		if mine(rec.Step) && rec.Phase == canary.PhaseDo {
			for _, id := range rec.RequestIDs {
				add(&r.RequestIDs, id)
			}
		}
	}
	v, _ := f.Canary.Verdict()
	for _, rec := range v.Records {
		if mine(rec.Step) {
			add(&r.EventIDs, rec.EventUID)
			if rec.At.Key != "" {
				add(&r.Objects, rec.At.Object())
			}
		}
	}
	for _, c := range f.Answer.Evidence {
		add(&r.EventIDs, c.EventID)
		add(&r.Objects, c.Object)
	}
	return r
}

// attached is one finding as it is attached to a ticket.
type attached struct {
	Scenario  string        `json:"scenario"`
	Target    canary.Target `json:"target"`
	Check     canary.Check  `json:"check"`
	Condition Condition     `json:"condition"`
	Run       string        `json:"run"`
	Canary    string        `json:"canary"`
	// Entry of the ledger that holds the verdict.
	Entry  int64         `json:"entry"`
	Answer canary.Answer `json:"answer"`
	// First seen, and how often since.
	First      time.Time  `json:"first"`
	Last       time.Time  `json:"last"`
	Bad        int        `json:"bad"`
	Of         int        `json:"of"`
	References references `json:"references"`
}

// maxAttached bounds what is attached, in bytes.
const maxAttached = 4 << 20

// attachment is the evidence of findings as JSON. What does not fit is counted.
func attachment(origin, checkpoint string, fs []*Finding) []byte {
	out := struct {
		Ledger string `json:"ledger"`
		// Checkpoint signs for the tree that has the entries.
		Checkpoint string            `json:"checkpoint"`
		Findings   []json.RawMessage `json:"findings"`
		LeftOut    int               `json:"left_out,omitempty"`
	}{Ledger: origin, Checkpoint: checkpoint, Findings: []json.RawMessage{}}
	size := 0
	for i, f := range fs {
		a := f.Answer
		a.Detail = cut(a.Detail, maxEvidence)
		a.Fields, a.Explained = bounded(a.Fields), bounded(a.Explained)
		a.Evidence = slices.Clone(a.Evidence[:min(len(a.Evidence), maxRows)])
		for j := range a.Evidence {
			a.Evidence[j].Found = cut(a.Evidence[j].Found, maxEvidence)
		}
		one, err := json.Marshal(attached{
			Scenario: f.Scenario, Target: f.Target, Check: f.Check, Condition: f.Condition, Run: f.Run, Canary: f.Canary.Plan.Canary.ID,
			Entry: f.Canary.Leaf, Answer: a, First: f.First, Last: f.Last, Bad: f.Bad, Of: f.Of, References: referencesOf(f),
		})
		if size += len(one); err != nil || size > maxAttached {
			out.LeftOut = len(fs) - i
			break
		}
		out.Findings = append(out.Findings, one)
	}
	data, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return []byte(`{"findings":[]}`) // only strings and numbers are in it
	}
	return data
}

func bounded(fields []event.Difference) []event.Difference {
	out := slices.Clone(fields[:min(len(fields), 200)])
	for i := range out {
		out[i].Expected, out[i].Found = cut(out[i].Expected, maxEvidence), cut(out[i].Found, maxEvidence)
	}
	return out
}

// group is the ticket of many findings of one cause.
func (d *decider) group(fingerprint string, members []*Finding, join []string) wanted {
	w := wanted{kind: Group, join: join, done: len(members) > 0}
	n := map[Condition]int{}
	var severities, about []string
	var worst *Finding
	for _, f := range members {
		n[f.Condition]++
		w.worried = w.worried || f.Worried(d.c)
		w.done = w.done && f.Condition == Fixed
		if f.Worried(d.c) {
			severities = append(severities, d.c.severity(f))
			worst = f
		}
		about = append(about, f.String()+" "+string(f.Condition))
	}
	if worst == nil && len(members) > 0 {
		worst = members[0]
	}
	slices.Sort(about)
	w.about, w.severity = hash(about...), worstSeverity(append(severities, "low"))
	name := strings.TrimPrefix(fingerprint, "group: ")
	w.summary = line(fmt.Sprintf("%s: %d canaries of one cause", name, len(members)))
	sum := fmt.Sprintf("%d checks share this ticket: %d do not pass, %d late, %d could not be found out, %d excepted, %d pass again, %d fixed.",
		len(members), n[Failing], n[TooLate], n[NotFound], n[Accepted], n[Passing], n[Fixed])
	w.why = name + ": " + sum
	w.labels = d.c.labels(Group)
	w.body = Doc{
		{Kind: "text", Text: fmt.Sprintf("More than %d checks newly did not pass at once, with the same check and the same hop (%s): most likely they have one cause. What fails alike while this is open joins it; it is resolved once every one of them passed %s in a row.", d.c.GroupAbove, name, times(d.c.ResolveAfter, "time"))},
		{Kind: "text", Text: sum},
	}
	rows := [][]string{{"Check", "How it stands", "What was found", "Since"}}
	// What does not pass is named first.
	named := slices.Clone(members)
	slices.SortStableFunc(named, func(a, b *Finding) int { return rank(a.Condition) - rank(b.Condition) })
	for i, f := range named {
		if i == maxMembers {
			rows = append(rows, []string{fmt.Sprintf("(%d more: all are in what is attached)", len(named)-i), "", "", ""})
			break
		}
		rows = append(rows, []string{cut(f.what(), maxShort), f.in(d.c), cut(f.Answer.Detail, maxShort), stamp(f.First)})
	}
	w.body = append(w.body, Block{Kind: "table", Rows: rows})
	if d.c.ReportURL != "" {
		w.body = append(w.body, Block{Kind: "link", Text: "The report", URL: d.c.ReportURL})
	}
	if worst != nil {
		w.body = append(w.body, d.hint(worst.Check, worst.Answer.Hop, worst.Condition)...)
		w.category = worst.Category
		w.labels = d.c.labels(Group, string(worst.Check))
	}
	w.comment = Doc{{Kind: "text", Text: "Now: " + sum}}
	if w.worried {
		w.evidence = func() []byte { return attachment(d.Origin, d.Checkpoint, members) }
	}
	return w
}

func rank(c Condition) int {
	return slices.Index([]Condition{Failing, TooLate, NotFound, Accepted, Passing, Fixed}, c)
}

// notice is the ticket of something about an exception.
func (d *decider) notice(n exception.Notice) wanted {
	text := n.Detail + "."
	for _, more := range []struct{ what, text string }{{"Owner", n.Owner}, {"Contact", n.Contact}, {"Approved in", n.Ticket}, {"Plan", n.Plan}} {
		if more.text != "" {
			text += " " + more.what + ": " + strings.TrimSuffix(more.text, ".") + "."
		}
	}
	w := wanted{
		kind: Exception, worried: true, severity: n.Urgency, summary: line(n.Title), why: line(n.Title),
		about:  hash(n.Title, n.Urgency, string(n.Until)), // not the text, in which days count down
		labels: d.c.labels(Exception),
		body:   Doc{{Kind: "text", Text: cut(text, maxDetail)}},
	}
	if until, err := time.Parse(time.DateOnly, string(n.Until)); err == nil && until.AddDate(0, 0, 1).After(d.Now) {
		w.body = append(w.body, Block{Kind: "text", Text: "Its last day is " + string(n.Until) + ". After it what it covers counts as failing again."})
	}
	w.comment = slices.Clone(w.body)
	return w
}

// noLonger is what becomes of the ticket of a notice that is settled.
func (d *decider) noLonger(fingerprint string) wanted {
	text := "The register of exceptions gives no more reason for this."
	return wanted{
		kind: Exception, done: true, summary: line(fingerprint + ": settled"), about: hash("settled"), why: fingerprint + " is settled",
		body: Doc{{Kind: "text", Text: text}}, comment: Doc{{Kind: "text", Text: text}},
	}
}

// hint says where to look first.
func (d *decider) hint(check canary.Check, hop canary.Hop, c Condition) Doc {
	if c == Passing || c == Fixed {
		return nil
	}
	text, ok := hints[check][hop]
	if !ok {
		text = hints[check][""]
	}
	if c == NotFound && (hop == "" || text == "") {
		text = "Look at why it could not be found out: permissions of the roles, reach of the log store, an interrupted run. Then run the canary again."
	}
	return Doc{{Kind: "heading", Text: "Where to look"}, {Kind: "text", Text: text}}
}

// hints by check and hop; "" is for a hop that is not known.
var hints = map[canary.Check]map[canary.Hop]string{
	canary.Injected: {
		"": "An attempt that had to be refused was allowed, or a call did not come out as it must. Look at the policy that should have refused it (service control policy, resource policy, lock), before anything else: the protection may be missing.",
	},
	canary.Surfaced: {
		canary.Emitted:   "The provider's own event history does not have the event either. Look whether the service records this operation in this region, and whether the call was made at all.",
		canary.Delivered: "The provider recorded the event and the store did not get it. Look at the trail: is it logging, does its selector take this event, may it write to the bucket and use the key?",
		canary.Stored:    "An object came that cannot be read. Look at the permissions of the reader role on the bucket and the key, and at what happened to the object.",
		canary.Parsed:    "The object is there and what it holds cannot be read. Look whether something rewrites the files on their way, and keep a copy of the object.",
		"":               "The record is not in the store, and it is not known where it was lost. Ask the event history of that account and region for the request id.",
	},
	canary.Attributed: {
		canary.Emitted:   "The provider's event history differs from what was done in the same way: the record was wrong from the beginning. Compare with the documented record of that operation.",
		canary.Delivered: "The store's record differs from the provider's event history: it was changed on its way, or in the store. Treat it as a possible manipulation, and validate the digests (auditcanary integrity).",
		"":               "The record does not say what was done. Compare the fields above with the receipt; if the provider's event history agrees with the receipt, treat it as a possible manipulation.",
	},
	canary.Timely:    {"": "The record came later than agreed. Look at the delivery times of the trail, and at any queue or function between it and the store."},
	canary.Sealed:    {"": "No signed digest names the object, or one contradicts it. Look whether log file validation is on, and validate the chain (auditcanary integrity)."},
	canary.Immutable: {"": "The object that holds the record can be taken away. Look at the Object Lock retention of the bucket and of this object, and at the state of its key."},
	canary.Alerted:   {"": "The alert did not ring. Look at the rule (is it enabled, does its pattern match this event?), its targets, the topic's subscriptions and its filters."},
	canary.Cleaned:   {"": "Something of the canary may still be there. Run auditcanary sweep, and look at what it names."},
}
