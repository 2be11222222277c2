// Package faults holds the fault files that a run must report exactly.
//
// The header of each file says how the program is driven under its faults, and
// what it must report then. What no line mentions must pass: a run that reports
// more is as wrong as one that reports less.
//
//	# run: WORD...
//	# scenarios: PATTERN...
//	# expect: SELECT ACCOUNT REGION CHECK=STATUS[|STATUS] [hop=HOP] [field=FIELD]... [CHECK=STATUS ...]...
//	# expect: finding SERVICE/EVENT ACCOUNT REGION
//
// run lists commands of the program and, between them, how far the sandbox's
// clock is put forward; its last word is a confirm or a seal, which reports: a
// seal also whether the records are sealed and immutable, either one also whether
// what was promised is alerted, if alerts are among the commands. Without the line it
// is what DefaultRun says. scenarios narrows the catalogue down, where a few canaries
// show as much as all.
//
// An expect line speaks of every canary it selects, so that a scenario that is
// added later falls under it by what it does. ACCOUNT and REGION are patterns;
// SELECT is one of these, or several joined by "&":
//
//	aws/kms-*               the scenario's id
//	calls(kms:*)            some step makes this call
//	undoes(ec2:Revoke*)     some step's undo makes this call
//	records(kms.*/*)        some step leaves this record, SERVICE/EVENT
//	recorded(eu-west-1)     some step's record is written in this region
//	readonly()              some step's record is marked as of a read
//	kind(must-be-denied)    the scenario's kind
//	promises(keys-changed)  an alert of that name is promised of what it does
//
// A canary that promises no alert is not-run where others are alerted.
// Of several lines that speak of the same check of the same canary, the last
// holds. A line that speaks of nothing is an error: it could not fail.
// STATUS|STATUS allows either, where chance decides (in which of two files a
// record comes); each must occur. hop and the fields are said of what did not
// pass; "field=NAME?" may be named or not. Of a canary whose records are data events,
// which no event history has, emitted and delivered cannot be told apart: such a hop is
// then no hop.
package faults

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/tests/sandbox/fault"
)

//go:embed *.yaml
var files embed.FS

// File is one fault file.
type File struct {
	Name      string // "record-dropped.yaml"
	Data      []byte
	Run       []Word
	Scenarios []string // patterns over ids; none: all
	Expect    []Expectation
	Findings  []Finding
}

// Sealed reports whether the run says how the records are kept.
func (f File) Sealed() bool { return f.Run[len(f.Run)-1].Command == "seal" }

// Heard reports whether the run says what became of the promised alerts.
func (f File) Heard() bool {
	return slices.ContainsFunc(f.Run, func(w Word) bool { return w.Command == "alerts" })
}

// Checks that a run answers for every canary.
func (f File) Checks() []string {
	all := checks
	if f.Sealed() {
		all = slices.Concat(all, custody)
	}
	if f.Heard() {
		all = slices.Concat(all, []string{alerted})
	}
	return all
}

// Word of a run: a command, or a time by which the clock is put forward.
type Word struct {
	Command string // inject, confirm, alerts, seal or sweep; "" for a time
	Advance time.Duration
}

// DefaultRun is how a file is driven unless it says otherwise: every record that
// comes as usual is there by the first confirm, and by the second the deadline of
// the others has passed (and not yet the hour's digest been signed, which takes time).
const DefaultRun = "inject 12m confirm 49m confirm"

// Expectation is what a run under the file's faults must report of the canaries
// it selects.
type Expectation struct {
	Line            int
	Select          string
	Account, Region string // patterns
	Answers         []Answer
}

// Answer of one check.
type Answer struct {
	Check    string
	Statuses []string // one of them
	Hop      string   // of what did not pass; "" = none
	Fields   []string // that must be named as wrong, and no others; with "?" they may be
}

// Finding is a record that imitates a canary and must be reported.
type Finding struct {
	Line            int
	Record          string // pattern of SERVICE/EVENT
	Account, Region string // patterns
}

// Canary is what a selection looks at.
type Canary struct {
	Scenario, Account, Region, Kind string
	Calls, Undoes                   []string // "kms:DisableKey"
	Alerts                          []string // that it promises of what it is to come out as
	Records                         []Record
}

// Record that a canary leaves.
type Record struct {
	Name     string // "kms.amazonaws.com/DisableKey"
	Region   string
	ReadOnly bool
	Data     bool // a data event
}

// All returns the files by name. Every one has been parsed.
func All() ([]File, error) {
	names, err := fs.Glob(files, "*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list fault files: %w", err)
	}
	var out []File
	for _, name := range names {
		data, err := files.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read fault file: %w", err)
		}
		f, err := Parse(name, data)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// Parse reads a fault file with its header. Errors name file and line, and all
// of the header's are returned together.
func Parse(name string, data []byte) (File, error) {
	if _, err := fault.Parse(name, data); err != nil {
		return File{}, err
	}
	f := File{Name: name, Data: data}
	var errs []error
	for i, text := range strings.Split(string(data), "\n") {
		var err error
		if words, ok := strings.CutPrefix(text, "# run:"); ok && f.Run != nil {
			err = errors.New("run is said twice")
		} else if ok {
			f.Run, err = parseRun(strings.Fields(words))
		} else if words, ok := strings.CutPrefix(text, "# scenarios:"); ok {
			f.Scenarios = strings.Fields(words)
			for _, glob := range f.Scenarios {
				err = errors.Join(err, pattern(glob))
			}
		} else if words, ok := strings.CutPrefix(text, "# expect:"); ok {
			err = f.expect(i+1, strings.Fields(words))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s:%d: %w", name, i+1, err))
		}
	}
	if len(errs) == 0 && len(f.Expect)+len(f.Findings) == 0 {
		errs = append(errs, fmt.Errorf("%s: no expect line: what must a run report?", name))
	}
	if f.Run == nil {
		f.Run, _ = parseRun(strings.Fields(DefaultRun))
	}
	return f, errors.Join(errs...)
}

func parseRun(words []string) ([]Word, error) {
	var out []Word
	for _, w := range words {
		d, err := time.ParseDuration(w)
		switch {
		case slices.Contains([]string{"inject", "confirm", "alerts", "seal", "sweep"}, w):
			out = append(out, Word{Command: w})
		case err == nil && d > 0:
			out = append(out, Word{Advance: d})
		default:
			return nil, fmt.Errorf("run: %q is neither inject, confirm, alerts, seal or sweep nor a time like 12m", w)
		}
	}
	if len(out) == 0 || out[len(out)-1].Command != "confirm" && out[len(out)-1].Command != "seal" {
		return nil, errors.New("run does not end with a confirm or a seal, which reports")
	}
	return out, nil
}

func (f *File) expect(line int, words []string) error {
	if len(words) == 4 && words[0] == "finding" {
		f.Findings = append(f.Findings, Finding{Line: line, Record: words[1], Account: words[2], Region: words[3]})
		return errors.Join(pattern(words[1]), pattern(words[2]), pattern(words[3]))
	}
	if len(words) < 4 {
		return errors.New("expect wants SELECT ACCOUNT REGION CHECK=STATUS")
	}
	e := Expectation{Line: line, Select: words[0], Account: words[1], Region: words[2]}
	if _, err := e.selects(Canary{}); err != nil {
		return err
	}
	for _, w := range words[3:] {
		key, val, ok := strings.Cut(w, "=")
		last := len(e.Answers) - 1
		switch {
		case !ok || val == "":
			return fmt.Errorf("expect: %q is not CHECK=STATUS", w)
		case slices.Contains(checks, key) || slices.Contains(custody, key) || key == alerted:
			a := Answer{Check: key, Statuses: strings.Split(val, "|")}
			for _, s := range a.Statuses {
				if !slices.Contains(statuses, s) {
					return fmt.Errorf("expect: unknown status %q", s)
				}
			}
			e.Answers = append(e.Answers, a)
		case last < 0:
			return fmt.Errorf("expect: %q comes before any CHECK=STATUS", w)
		case key == "hop" && slices.Contains(hops, val):
			e.Answers[last].Hop = val
		case key == "field":
			e.Answers[last].Fields = append(e.Answers[last].Fields, val)
		default:
			return fmt.Errorf("expect: unknown word %q", w)
		}
	}
	f.Expect = append(f.Expect, e)
	return nil
}

// The judge's words; a test holds them against it.
var (
	checks   = []string{"injected", "surfaced", "attributed", "timely", "cleaned"}
	custody  = []string{"sealed", "immutable"}
	alerted  = "alerted"
	statuses = []string{"pass", "late", "fail", "inconclusive", "not-run"}
	hops     = []string{"emitted", "delivered", "stored", "parsed", "alerted"}
)

// selects reports whether a line speaks of a canary.
func (e Expectation) selects(c Canary) (bool, error) {
	out := true
	for _, term := range strings.Split(e.Select, "&") {
		ok, err := selected(term, c)
		if err != nil {
			return false, fmt.Errorf("expect: %w", err)
		}
		out = out && ok
	}
	if err := errors.Join(pattern(e.Account), pattern(e.Region)); err != nil {
		return false, fmt.Errorf("expect: %w", err)
	}
	return out && match(e.Account, c.Account) && match(e.Region, c.Region), nil
}

func selected(term string, c Canary) (bool, error) {
	name, rest, property := strings.Cut(term, "(")
	if !property {
		return match(term, c.Scenario), pattern(term)
	}
	arg, closed := strings.CutSuffix(rest, ")")
	if !closed {
		return false, fmt.Errorf("%q is not closed", term)
	}
	if err := pattern(arg); err != nil {
		return false, err
	}
	any := func(list []string) bool {
		return slices.ContainsFunc(list, func(s string) bool { return match(arg, s) })
	}
	record := func(f func(Record) bool) bool { return slices.ContainsFunc(c.Records, f) }
	switch {
	case name == "calls":
		return any(c.Calls), nil
	case name == "undoes":
		return any(c.Undoes), nil
	case name == "records":
		return record(func(r Record) bool { return match(arg, r.Name) }), nil
	case name == "recorded":
		return record(func(r Record) bool { return match(arg, r.Region) }), nil
	case name == "readonly" && arg == "":
		return record(func(r Record) bool { return r.ReadOnly }), nil
	case name == "promises":
		return any(c.Alerts), nil
	case name == "kind":
		return match(arg, c.Kind), nil
	}
	return false, fmt.Errorf("unknown selection %q", term)
}

// match: "*" stands for anything, slashes too.
func match(glob, s string) bool {
	if glob == "*" {
		return true
	}
	ok, err := path.Match(strings.ReplaceAll(glob, "/", "\x00"), strings.ReplaceAll(s, "/", "\x00"))
	return err == nil && ok
}

func pattern(glob string) error {
	if _, err := path.Match(glob, ""); err != nil {
		return fmt.Errorf("pattern %q: %w", glob, err)
	}
	return nil
}

// Narrow leaves the canaries of the file's scenarios.
func (f File) Narrow(all []Canary) []Canary {
	if len(f.Scenarios) == 0 {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(c Canary) bool {
		return !slices.ContainsFunc(f.Scenarios, func(glob string) bool { return match(glob, c.Scenario) })
	})
}

// Question is one check of one canary.
type Question struct{ Scenario, Account, Region, Check string }

// Compare holds what a run reported against what the file says that it must.
// got has an answer to every check of every canary, one status each. It returns
// what is wrong, a line each.
func (f File) Compare(canaries []Canary, got map[Question]Answer, findings []Finding) []string {
	var wrong []string
	said := map[Question]*answered{}
	var lines []*answered
	for _, e := range f.Expect {
		n := 0
		var own []*answered
		for _, a := range e.Answers {
			own = append(own, &answered{line: e.Line, want: a, seen: map[string]bool{}})
		}
		for _, c := range canaries {
			ok, err := e.selects(c)
			if err != nil {
				return []string{fmt.Sprintf("%s:%d: %v", f.Name, e.Line, err)}
			}
			if !ok {
				continue
			}
			n++
			for _, a := range own {
				said[Question{c.Scenario, c.Account, c.Region, a.want.Check}] = a
			}
		}
		if n == 0 {
			wrong = append(wrong, fmt.Sprintf("%s:%d: the line speaks of no canary: it cannot fail", f.Name, e.Line))
			continue
		}
		lines = append(lines, own...)
	}
	for _, c := range canaries {
		for _, check := range f.Checks() {
			q := Question{c.Scenario, c.Account, c.Region, check}
			want := Answer{Check: check, Statuses: []string{"pass"}}
			if check == alerted && len(c.Alerts) == 0 {
				want.Statuses = []string{"not-run"}
			}
			if a := said[q]; a != nil {
				want = a.want.of(c)
				a.seen[got[q].status()] = true
			}
			if !got[q].is(want) {
				wrong = append(wrong, fmt.Sprintf("%s at %s/%s: got %s, want %s", c.Scenario, c.Account, c.Region, got[q], want))
			}
		}
	}
	for _, a := range lines {
		for _, s := range a.want.Statuses {
			if !a.seen[s] {
				wrong = append(wrong, fmt.Sprintf("%s:%d: no canary has %s=%s", f.Name, a.line, a.want.Check, s))
			}
		}
	}
	return append(wrong, f.compareFindings(findings)...)
}

// answered is one answer of a line, with the statuses that were seen under it.
type answered struct {
	line int
	want Answer
	seen map[string]bool
}

func (f File) compareFindings(findings []Finding) []string {
	var wrong []string
	is := func(want, got Finding) bool {
		return match(want.Record, got.Record) && match(want.Account, got.Account) && match(want.Region, got.Region)
	}
	for _, got := range findings {
		if !slices.ContainsFunc(f.Findings, func(want Finding) bool { return is(want, got) }) {
			wrong = append(wrong, fmt.Sprintf("finding %s at %s/%s: not expected", got.Record, got.Account, got.Region))
		}
	}
	for _, want := range f.Findings {
		if !slices.ContainsFunc(findings, func(got Finding) bool { return is(want, got) }) {
			wrong = append(wrong, fmt.Sprintf("%s:%d: there is no such finding", f.Name, want.Line))
		}
	}
	return wrong
}

// is reports whether an answer that was given is one that is wanted.
func (a Answer) is(want Answer) bool {
	status := a.status()
	if !slices.Contains(want.Statuses, status) {
		return false
	}
	if status == "pass" || status == "not-run" {
		return a.Hop == "" && len(a.Fields) == 0
	}
	if a.Hop != want.Hop {
		return false
	}
	for _, f := range want.Fields {
		name, may := strings.CutSuffix(f, "?")
		if !may && !slices.Contains(a.Fields, name) {
			return false
		}
	}
	return !slices.ContainsFunc(a.Fields, func(f string) bool {
		return !slices.Contains(want.Fields, f) && !slices.Contains(want.Fields, f+"?")
	})
}

// of is the answer as it is wanted of a canary.
func (a Answer) of(c Canary) Answer {
	if (a.Hop == "emitted" || a.Hop == "delivered") && a.Check != "timely" && slices.ContainsFunc(c.Records, func(r Record) bool { return r.Data }) {
		a.Hop = ""
	}
	return a
}

func (a Answer) status() string {
	if len(a.Statuses) != 1 {
		return "no answer"
	}
	return a.Statuses[0]
}

func (a Answer) String() string {
	text := a.Check + "=" + strings.Join(a.Statuses, "|")
	if a.Hop != "" {
		text += " hop=" + a.Hop
	}
	for _, f := range a.Fields {
		text += " field=" + f
	}
	return text
}
