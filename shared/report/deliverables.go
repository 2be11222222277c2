package report

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/coverage"
	"github.com/auditcanary/auditcanary/shared/event"
)

// File is one deliverable.
type File struct {
	Name string // "log-source-inventory.md"
	Data []byte
}

// Deliverables are the documents that ISO/IEC 27017 12.4.3 is shown with, each as
// Markdown and as HTML, from what the ledger, the configuration and the catalogue
// say, and the accounts where they were asked (nil: they were not): nothing in them
// is kept by hand. An index names them all.
func Deliverables(r Report, scope coverage.Scope, asked *Inspection) ([]File, error) {
	var files []File
	add := func(name string, write func(*bytes.Buffer) error) error {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			return fmt.Errorf("deliverable %s: %w", name, err)
		}
		files = append(files, File{name, b.Bytes()})
		return nil
	}
	err := add("logging-scope.md", func(b *bytes.Buffer) error { return scope.WriteMarkdown(b) })
	if err == nil {
		err = add("logging-scope.html", func(b *bytes.Buffer) error { return scope.WriteHTML(b) })
	}
	if err != nil {
		return nil, err
	}
	for _, d := range r.documents(asked) {
		if err := add(d.Name+".md", func(b *bytes.Buffer) error { return d.writeMarkdown(b) }); err != nil {
			return nil, err
		}
		if err := add(d.Name+".html", func(b *bytes.Buffer) error { return d.writeHTML(b) }); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// documents are all but the scope, the index first.
func (r Report) documents(asked *Inspection) []document {
	docs := []document{r.inventory(asked), r.protectionDesign(asked), r.dictionary(), r.testResults(), r.exceptions(), r.controlMapping()}
	index := document{Name: "index", Title: "Deliverables", Facts: r.about(), Purpose: "Each is generated from the ledger, the configuration and the scenario catalogue, and stands beside this file as Markdown and as HTML.",
		Sections: []section{{Title: "Documents", Head: []string{"File", "Document"}, Rows: [][]string{{"logging-scope", "Privileged Activity Logging Scope"}}}}}
	for _, d := range docs {
		index.Sections[0].Rows = append(index.Sections[0].Rows, []string{d.Name, d.Title})
	}
	return append([]document{index}, docs...)
}

// about says what every document is of.
func (r Report) about() [][2]string {
	period := "from the beginning to " + moment(r.At)
	switch p := r.Period; {
	case !p.From.IsZero() && !p.To.IsZero():
		period = moment(p.From) + " to " + moment(p.To)
	case !p.From.IsZero():
		period = moment(p.From) + " to " + moment(r.At)
	case !p.To.IsZero():
		period = "from the beginning to " + moment(p.To)
	}
	if r.Period.Run != "" {
		period += ", run " + r.Period.Run + " only"
	}
	head := "has not begun"
	if r.Ledger != nil {
		head = fmt.Sprintf("%s, %d entries, root %s", r.Ledger.Origin, r.Ledger.Size, r.Ledger.Root)
	}
	return [][2]string{
		{"Organisation", or(r.Facts.Organization, "not stated")}, {"Period", period}, {"Ledger", head},
		{"Configuration", "SHA-256 " + r.Facts.ConfigHash}, {"Catalogue", "SHA-256 " + r.Facts.CatalogueHash},
		{"Generated", moment(r.At) + " by auditcanary " + r.Version},
	}
}

// moment is a time as documents write it; "" where nobody stated one.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// inventory is the Logging Source Inventory: the classes of sources with their
// decision, the stores, and for each place what was seen of it.
func (r Report) inventory(asked *Inspection) document {
	d := document{Name: "log-source-inventory", Title: "Logging Source Inventory", Facts: r.about(),
		Purpose: "Which sources of logs there are, whether somebody decided that what they record suffices, where they arrive, and from which accounts and regions records were really seen; and what the accounts' settings say of it, where they were asked."}
	sources := section{Title: "Sources of logs", Text: "Nothing is taken to suffice until somebody has decided so.", Head: []string{"Source", "Owner", "Required", "Decision", "Why, and what is done besides", "Decided", "Review by", "Privileged operations recorded there", "To be considered"}}
	for _, a := range r.Facts.Adequacy {
		row := []string{a.Title, "not stated", "not stated", string(a.State), "nobody has decided", "", "", fmt.Sprint(a.Operations), a.Limits}
		for _, s := range r.Facts.Sources {
			if s.Class == a.ID {
				row[1], row[2] = or(s.Owner, "not stated"), map[bool]string{true: "yes", false: "no"}[s.Required]
			}
		}
		if x := a.Decision; x != nil {
			row[3] = string(a.State) + ": " + x.Decision
			row[4] = strings.TrimSuffix(x.Why+"; "+x.Done, "; ")
			row[5], row[6] = x.By+", "+x.On.Format(time.DateOnly), x.ReviewBy.Format(time.DateOnly)
		}
		sources.Rows = append(sources.Rows, row)
	}
	stores := section{Title: "Central log stores", Head: []string{"Store", "Type", "Bucket", "Prefix", "Region", "Organisation", "Trail", "Retention demanded", "Digest due within"}}
	for _, s := range r.Facts.Stores {
		due := "no digest"
		if s.signed() {
			due = duration(s.DigestedSeconds)
		}
		stores.Rows = append(stores.Rows, []string{s.Name, s.Type, or(s.Bucket, "none"), or(s.Prefix, "none"), or(s.Region, "none"), or(s.Organization, "none"), or(s.Trail, "not stated"), retention(s), due})
	}
	seen := section{Title: "What was seen, by place", Text: "Records of canaries in this period. A place without one may log nothing.", Head: []string{"Account", "Region", "Canaries", "Records seen", "Objects", "First arrival", "Last arrival"}}
	for _, p := range r.places() {
		row := []string{p.account, p.region, fmt.Sprint(p.canaries), fmt.Sprint(p.records), fmt.Sprint(len(p.objects)), or(moment(p.first), "none seen"), or(moment(p.last), "none seen")}
		seen.Rows = append(seen.Rows, row)
	}
	d.Sections = append([]section{sources, stores, seen}, asked.sources()...)
	return d
}

// where is its type, and its region, if it has one.
func (s StoreFact) where() string {
	if s.Region == "" {
		return s.Type
	}
	return s.Type + " in " + s.Region
}

// signed reports whether anything signs for what is in the store.
func (s StoreFact) signed() bool { return s.DigestedSeconds > 0 }

func retention(s StoreFact) string {
	if s.Mode == "" {
		return "none demanded"
	}
	return fmt.Sprintf("S3 Object Lock, %s, %d days", s.Mode, s.Days)
}

func duration(seconds int64) string { return (time.Duration(seconds) * time.Second).String() }

// place is what was seen of one account and region.
type placeSeen struct {
	account, region   string
	canaries, records int
	objects           map[string]bool
	first, last       time.Time
}

// places are the configured ones, then others in which canaries were.
func (r Report) places() []*placeSeen {
	var out []*placeSeen
	find := func(account, region string) *placeSeen {
		for _, p := range out {
			if p.account == account && p.region == region {
				return p
			}
		}
		p := &placeSeen{account: account, region: region, objects: map[string]bool{}}
		out = append(out, p)
		return p
	}
	for _, t := range r.Facts.Targets {
		for _, region := range t.Regions {
			find(t.Account, region)
		}
	}
	for _, c := range r.Canaries {
		p := find(c.Account, c.Region)
		p.canaries++
		for _, st := range c.Steps {
			for _, rec := range st.Records {
				p.records++
				p.objects[rec.At.Bucket+"/"+rec.At.Key] = true
				if p.first.IsZero() || rec.Stored.Before(p.first) {
					p.first = rec.Stored
				}
				if rec.Stored.After(p.last) {
					p.last = rec.Stored
				}
			}
		}
	}
	return out
}

// protectionDesign is the Admin Log Protection Design: the way of a record as it is
// configured, what is demanded of it, how it was found to be kept, and who may act.
func (r Report) protectionDesign(asked *Inspection) document {
	d := document{Name: "log-protection-design", Title: "Admin Log Protection Design", Facts: r.about(),
		Purpose: "How a record of privileged activity comes into the central store, and what keeps it from being changed or taken away: as it is configured, and as it was found."}
	d.Sections = append(d.Sections, section{Title: "The way of a record", Diagram: r.design()})

	demanded := section{Title: "What is demanded", Head: []string{"Demand", "Value"}}
	for _, s := range r.Facts.Stores {
		demanded.Rows = append(demanded.Rows, []string{"Retention of every object of store " + s.Name, retention(s)})
		if s.signed() {
			demanded.Rows = append(demanded.Rows, []string{"Signed digest that names every object of store " + s.Name, "within " + duration(s.DigestedSeconds) + " after it arrived"})
		}
	}
	demanded.Rows = append(demanded.Rows,
		[]string{"Arrival of a record", "within " + duration(r.Facts.SLO.PassSeconds) + "; late until " + duration(r.Facts.SLO.LateSeconds) + ", missing after that"},
		[]string{"Evidence of this program", "append-only log " + r.Facts.LedgerAt.Origin + " in " + or(r.Facts.LedgerAt.Place, "a place not stated") + ", every head signed"})
	d.Sections = append(d.Sections, demanded,
		r.found("Integrity, as it was found", "Whether a signed digest covers the bytes that each record was read from (check sealed), of the latest canaries.", r.Protection.Sealed),
		r.found("Retention, as it was found", "Whether nobody can take each record away (check immutable), of the latest canaries.", r.Protection.Immutable),
		r.kept(), r.chains())

	alerts := section{Title: "What people rely on to be told", Text: "As the configuration lists it; whether it is in order is in the Logging Source Inventory, where the accounts were asked. " + r.Absent["alerts"], Head: []string{"Kind", "Name", "Account", "Region", "Demanded of it"}}
	for _, x := range r.Facts.AlertPath {
		alerts.Rows = append(alerts.Rows, []string{x.Kind, x.Name, x.Account, x.Region, or(x.Demands, "that it is there, and on")})
	}
	roles := section{Title: "Roles of this program", Text: "The roles that the configuration names, and what for.", Head: []string{"Role", "Account", "Purpose"}}
	for _, x := range r.Facts.Roles {
		roles.Rows = append(roles.Rows, []string{x.Role, x.Account, x.Purpose})
	}
	d.Sections = append(append(d.Sections, alerts, roles), asked.access()...)
	return d
}

// design is the diagram, of the configuration.
func (r Report) design() *diagram {
	g := &diagram{Title: "From an action to the evidence of its record: accounts, log stores, this program, its ledger"}
	accounts := box{ID: "accounts", Name: fmt.Sprintf("%d accounts", len(r.Facts.Targets))}
	for i, t := range r.Facts.Targets {
		if i == 6 {
			accounts.Lines = append(accounts.Lines, fmt.Sprintf("and %d more", len(r.Facts.Targets)-i))
			break
		}
		accounts.Lines = append(accounts.Lines, t.Account+": "+strings.Join(t.Regions, ", "))
	}
	var stores []box
	for i, s := range r.Facts.Stores {
		id := fmt.Sprintf("store%d", i)
		one := box{ID: id, Name: "log store " + s.Name, Lines: []string{s.where()}}
		if s.Bucket != "" {
			one.Lines = append(one.Lines, "bucket "+s.Bucket)
		}
		signed := "nothing signs for it"
		if s.signed() {
			signed = "signed digests within " + duration(s.DigestedSeconds)
		}
		one.Lines = append(one.Lines, retention(s), signed)
		stores = append(stores, one)
		trail := "the provider's trail"
		if s.Trail != "" {
			trail = "trail " + s.Trail
		}
		g.Arrows = append(g.Arrows, arrow{"accounts", id, trail}, arrow{id, "program", "read, compared"})
	}
	injector := "canary calls, undone"
	program := box{ID: "program", Name: "auditcanary", Lines: []string{fmt.Sprintf("%d scenarios", len(r.Facts.Scenarios)), "checks: sealed, immutable, ..."}}
	ledger := box{ID: "ledger", Name: "ledger " + r.Facts.LedgerAt.Origin, Lines: []string{r.Facts.LedgerAt.Place, "append-only, signed heads"}}
	people := box{ID: "roles", Name: "roles of this program"}
	for i, x := range r.Facts.Roles {
		if i == 6 {
			people.Lines = append(people.Lines, fmt.Sprintf("and %d more", len(r.Facts.Roles)-i))
			break
		}
		people.Lines = append(people.Lines, x.Role[strings.LastIndexByte(x.Role, '/')+1:]+" ("+x.Account+")")
	}
	g.Columns = [][]box{{people, accounts}, stores, {program}, {ledger}}
	g.Arrows = append(g.Arrows, arrow{"roles", "accounts", injector}, arrow{"program", "ledger", "receipts, records, verdicts"})
	return g
}

// found are groups of canaries with the same answer.
func (r Report) found(title, text string, groups []ProtectionGroup) section {
	s := section{Title: title, Text: text, Head: []string{"Answer", "Canaries", "Detail", "For example"}}
	for _, g := range groups {
		s.Rows = append(s.Rows, []string{string(g.Status), fmt.Sprint(len(g.Canaries)), or(g.Detail, "as demanded"), g.Canaries[0]})
	}
	return s
}

// kept lists how the objects of records were found to be held, like ones together.
func (r Report) kept() section {
	s := section{Title: "How records were found to be held", Text: "Each way in which the object of a record was found to be kept, of the latest canaries.", Head: []string{"Object", "Bucket", "Key", "Records", "Last looked"}}
	type way struct{ object, bucket, key string }
	type count struct {
		records int
		looked  time.Time
	}
	var ways []way
	counts := map[way]count{}
	for _, c := range r.Latest() {
		for _, st := range c.Steps {
			for _, rec := range st.Records {
				k := rec.Custody
				if k == nil {
					continue
				}
				w := way{heldObject(*k), heldBucket(*k), heldKey(*k)}
				n, known := counts[w]
				if !known {
					ways = append(ways, w)
				}
				n.records++
				if k.Looked.After(n.looked) {
					n.looked = k.Looked
				}
				counts[w] = n
			}
		}
	}
	for _, w := range ways {
		s.Rows = append(s.Rows, []string{w.object, w.bucket, w.key, fmt.Sprint(counts[w].records), moment(counts[w].looked)})
	}
	return s
}

func heldObject(k canary.Custody) string {
	h := k.Held
	if h.Gone {
		return "the version is gone"
	}
	out := "no retention"
	if h.Mode != "" {
		out = h.Mode + fmt.Sprintf(", %d days from its arrival", int(h.Until.Sub(k.Stored).Hours()+12)/24)
	}
	if h.LegalHold {
		out += ", legal hold"
	}
	if h.EventHold {
		out += ", event hold"
	}
	if len(h.Unread) > 0 {
		out += "; not found out: " + strings.Join(h.Unread, "; ")
	}
	return out
}

func heldBucket(k canary.Custody) string {
	b := k.Held.Bucket
	out := "versioning " + or(b.Versioning, "off") + ", default " + or(b.DefaultMode, "none")
	if b.DefaultMode != "" {
		out += fmt.Sprintf(" %d days", b.DefaultDays)
	}
	for _, e := range b.Expiring {
		out += fmt.Sprintf(", rule %s expires after %d days", e.Rule, e.Days)
	}
	return out
}

func heldKey(k canary.Custody) string {
	if k.Held.Key == nil {
		return "none of the customer's"
	}
	return k.Held.Key.ARN + ", " + k.Held.Key.State + ", " + k.Held.Key.Origin
}

// dictionary is the data dictionary, read from where the event package keeps it.
func (r Report) dictionary() document {
	d := document{Name: "data-dictionary", Facts: r.about()}
	unescape := strings.NewReplacer("`", "", `\|`, "|", `\`, "")
	var s *section
	for text := range strings.Lines(event.Dictionary()) {
		text = strings.TrimSpace(text)
		switch {
		case text == "":
		case strings.HasPrefix(text, "# "):
			d.Title = text[2:]
			d.Sections = append(d.Sections, section{Title: "Fields"})
			s = &d.Sections[0]
		case s == nil:
		case strings.HasPrefix(text, "## "):
			d.Sections = append(d.Sections, section{Title: text[3:]})
			s = &d.Sections[len(d.Sections)-1]
		case strings.HasPrefix(text, "|---"):
		case strings.HasPrefix(text, "|"):
			cells := splitRow(text)
			for i := range cells {
				cells[i] = unescape.Replace(cells[i])
			}
			if s.Head == nil {
				s.Head = cells
			} else {
				s.Rows = append(s.Rows, cells)
			}
		default:
			s.Text = strings.TrimSpace(s.Text + " " + unescape.Replace(text))
		}
	}
	return d
}

// splitRow splits a row of a Markdown table at the bars that are not escaped.
func splitRow(row string) (cells []string) {
	row = strings.TrimSuffix(strings.TrimPrefix(row, "|"), "|")
	cell := ""
	for i, part := range strings.Split(row, "|") {
		if i > 0 {
			if strings.HasSuffix(cell, `\`) {
				cell += "|" + part
				continue
			}
			cells = append(cells, strings.TrimSpace(cell))
		}
		cell = part
	}
	return append(cells, strings.TrimSpace(cell))
}

// testResults are the canaries of the period, with event ids and dates.
func (r Report) testResults() document {
	t := r.Tally
	d := document{Name: "test-results", Title: "Test results", Facts: r.about(),
		Purpose: fmt.Sprintf("%d canaries: %d proven, %d failed, %d late, %d inconclusive, %d not run, %d excepted; %d of them may still change by waiting. Only what passed counts as proven.",
			t.Canaries, t.Proven, t.Failed, t.Late, t.Inconclusive, t.NotRun, t.Excepted, t.Open)}
	runs := section{Title: "Runs", Head: []string{"Run", "Begun", "Version", "Canaries", "Proven", "Configuration", "Catalogue"}}
	for _, x := range r.Runs {
		runs.Rows = append(runs.Rows, []string{x.ID, moment(x.At), x.Version, fmt.Sprint(x.Canaries), fmt.Sprint(x.Statuses[canary.Pass]), x.ConfigHash, x.CatalogueHash})
	}
	results := section{Title: "Results", Head: []string{"Canary", "Scenario", "Place", "Done", "Status", "Event ids", "Request ids", "Arrived", "Detail"}}
	for _, c := range r.Canaries {
		var events, requests []string
		done, arrived := c.At, time.Time{}
		for i, st := range c.Steps {
			if st.Receipt != nil {
				requests = append(requests, st.Receipt.RequestIDs...)
				if i == 0 {
					done = st.Receipt.Ended
				}
			}
			for _, rec := range st.Records {
				events = append(events, rec.EventID)
				if rec.Stored.After(arrived) {
					arrived = rec.Stored
				}
			}
		}
		results.Rows = append(results.Rows, []string{c.ID, c.Scenario, c.place(), moment(done), string(c.Status), strings.Join(events, " "), strings.Join(requests, " "), moment(arrived), c.why()})
	}
	forged := section{Title: "Records that imitate a canary", Head: []string{"Event id", "Request id", "Operation", "Actor", "Object", "Arrived"}}
	for _, f := range r.Findings {
		forged.Rows = append(forged.Rows, []string{f.EventID, f.RequestID, f.Operation, f.Actor, f.At.Object(), moment(f.Stored)})
	}
	left := section{Title: "What canaries left behind", Head: []string{"Canary", "Place", "What", "Listed"}}
	for _, l := range r.Leftovers {
		left.Rows = append(left.Rows, []string{l.Canary, l.Account + "/" + l.Region, or(l.What, "not known: "+l.Err), moment(l.Listed)})
	}
	d.Sections = []section{runs, results, forged, left}
	return d
}

// exceptions are what is deliberately or by necessity not tested or not proven.
func (r Report) exceptions() document {
	d := document{Name: "exceptions", Title: "Exceptions and limits", Facts: r.about(),
		Purpose: "What is approved not to pass, what is left out on purpose, and what cannot be proven: each shown, none counted as proven."}
	approved := section{Title: "Approved exceptions", Text: r.Absent["exceptions"], Head: []string{"Exception", "Scope", "Accepted risk", "Meanwhile", "Owner", "Approved by", "Until", "Remediation", "Covers"}}
	for _, x := range r.Exceptions {
		until := "no day"
		if !x.Expires.IsZero() {
			until = x.Expires.Format(time.DateOnly)
		}
		approved.Rows = append(approved.Rows, []string{x.ID, x.Scope + ": " + x.Problem, x.Reason, strings.Join(x.Compensating, "; "), x.Owner, x.ApprovedBy + ", for " + x.Requester,
			strings.Join(append([]string{until + ", " + x.State}, x.Findings...), "; "), x.Remediation, fmt.Sprintf("%d canaries", len(x.Covers))})
	}
	out := section{Title: "Out of scope", Head: []string{"What", "Why"}}
	for _, x := range r.Facts.OutOfScope {
		out.Rows = append(out.Rows, []string{x.What, x.Why})
	}
	excluded := section{Title: "Scenarios that the configuration excludes", Head: []string{"Pattern"}}
	for _, x := range r.Facts.Excluded {
		excluded.Rows = append(excluded.Rows, []string{x})
	}
	notRun := section{Title: "Canaries that could not be run", Text: "Of the latest of each scenario and place.", Head: []string{"Scenario", "Place", "Reason"}}
	for _, c := range r.Latest() {
		if c.NotRun != "" {
			notRun.Rows = append(notRun.Rows, []string{c.Scenario, c.place(), c.NotRun})
		}
	}
	blind := section{Title: "What no canary can prove", Head: []string{"Operation", "Reason", "Origin of the fact"}}
	for _, u := range r.Facts.NotProvable {
		blind.Rows = append(blind.Rows, []string{u.ID, u.Reason, u.Origin})
	}
	gaps := section{Title: "Privileged operations that are not proven everywhere", Text: "Worst first; how many independent rule sets call each privileged.", Head: []string{"Operation", "Rule sets", "Cells not proven", "Scenarios that would test it"}}
	for _, g := range r.Coverage.Gaps {
		var cells []string
		for _, s := range coverage.Statuses() {
			if n := g.Statuses[s]; n > 0 {
				cells = append(cells, fmt.Sprintf("%d %s", n, s))
			}
		}
		gaps.Rows = append(gaps.Rows, []string{g.Operation, fmt.Sprint(g.RuleSets), strings.Join(cells, ", "), or(strings.Join(g.Scenarios, ", "), "none")})
	}
	d.Sections = []section{approved, out, excluded, notRun, blind, gaps}
	return d
}

// controlMapping is what the checks mean for each control, with the outcome.
func (r Report) controlMapping() document {
	d := document{Name: "controls", Title: "Controls and what supports them", Facts: append(r.about(), [2]string{"Mapping", "version " + r.Facts.ControlsVersion}),
		Purpose: "A control is proven here only where every answer to the checks that support it is a pass; what no canary shows of it stands beside it. Where number and title were not held against the framework's own text, it says so."}
	checks := section{Title: "What a check shows", Head: []string{"Check", "A pass shows", "It does not show"}}
	for _, m := range r.Facts.Meanings {
		checks.Rows = append(checks.Rows, []string{string(m.Check), m.Shows, m.DoesNotShow})
	}
	controls := section{Title: "Controls", Head: []string{"Control", "Title", "Outcome", "Canaries", "Supported by", "Not shown by any canary", "Number and title"}}
	for _, c := range r.Controls {
		var by []string
		for _, k := range c.Checks {
			by = append(by, fmt.Sprintf("%s (%s): %s; not %s", k.Check, counted(k.Statuses), k.Shows, k.DoesNotShow))
		}
		confirmed := "confirmed: " + c.Source
		if !c.Confirmed {
			confirmed = "NOT confirmed: " + c.Source
		}
		controls.Rows = append(controls.Rows, []string{c.Framework + " " + c.Clause, c.Title, string(c.Outcome), fmt.Sprint(c.Canaries), strings.Join(by, ". "), c.Limits, confirmed})
	}
	d.Sections = []section{checks, controls}
	return d
}

// counted says how many there are of each status, the worst first.
func counted(n map[canary.Status]int) string {
	var out []string
	for _, s := range []canary.Status{canary.Fail, canary.Late, canary.Inconclusive, canary.NotRun, canary.Excepted, canary.Pass} {
		if n[s] > 0 {
			out = append(out, fmt.Sprintf("%d %s", n[s], s))
		}
	}
	return or(strings.Join(out, ", "), "nobody asked")
}
