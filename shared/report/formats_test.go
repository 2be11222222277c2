package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/coverage"
	"github.com/auditcanary/auditcanary/shared/event"
)

// oscalSchema is NIST's, for assessment results alone: of the whole, each error is
// one of seven.
func oscalSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := os.ReadFile("testdata/schemas/oscal/oscal_complete_schema-1-1-3.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	root := doc.(map[string]any)
	delete(root, "oneOf")
	root["type"], root["additionalProperties"], root["required"] = "object", false, []any{"assessment-results"}
	root["properties"] = map[string]any{"assessment-results": map[string]any{"$ref": "#/definitions/oscal-complete-oscal-ar:assessment-results"}}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	c.UseRegexpEngine(func(s string) (jsonschema.Regexp, error) { return regexp.Compile(s) })
	if err := c.AddResource("oscal.json", root); err != nil {
		t.Fatal(err)
	}
	sch, err := c.Compile("oscal.json")
	if err != nil {
		t.Fatal(err)
	}
	return sch
}

func validOSCAL(t *testing.T, sch *jsonschema.Schema, text []byte) error {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return sch.Validate(v)
}

func TestOSCALIsValid(t *testing.T) {
	sch := oscalSchema(t)
	nist, err := os.ReadFile("testdata/schemas/oscal/ifa_assessment-results-example.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := validOSCAL(t, sch, nist); err != nil {
		t.Fatalf("NIST's own example is refused: %v", err)
	}
	text := render(t, "oscal", example(t))
	if err := validOSCAL(t, sch, text); err != nil {
		t.Fatalf("%#v", err)
	}
	// The schema refuses what is wrong: a check of the check.
	for old, bad := range map[string]string{
		`"state": "satisfied"`: `"state": "fine"`, `"oscal-version": "1.1.3"`: `"oscal-version": ""`, `"methods"`: `"method"`, `"target-id": "au-9_obj"`: `"target-id": "AU 9"`,
	} {
		broken := bytes.Replace(text, []byte(old), []byte(bad), 1)
		if bytes.Equal(broken, text) || validOSCAL(t, sch, broken) == nil {
			t.Errorf("with %s instead of %s it is still valid", bad, old)
		}
	}
}

// shape lists the paths of a document: every member name, lists without numbers.
func shape(v any, path string, into map[string]bool) {
	switch x := v.(type) {
	case map[string]any:
		for k, child := range x {
			into[path+"."+k] = true
			shape(child, path+"."+k, into)
		}
	case []any:
		for _, child := range x {
			shape(child, path, into)
		}
	}
}

// TestOSCALHasTheShapeOfNISTsExample: whatever NIST's example of continuous
// monitoring says of results, observations, risks and findings, ours says as well,
// but for what only people write.
func TestOSCALHasTheShapeOfNISTsExample(t *testing.T) {
	paths := func(text []byte) map[string]bool {
		var v any
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		into := map[string]bool{}
		shape(v, "", into)
		return into
	}
	nist, err := os.ReadFile("testdata/schemas/oscal/ifa_assessment-results-example.json")
	if err != nil {
		t.Fatal(err)
	}
	ours := paths(render(t, "oscal", example(t)))
	byHand := regexp.MustCompile(`^\.assessment-results(\.local-definitions|\.metadata\.(roles|responsible-parties|parties\.(links|short-name|member-of))|\.results\.local-definitions\.tasks|\.results\.observations\.(expires|remarks)|\.results\.findings\.implementation-statement-uuid)`)
	for path := range paths(nist) {
		if !ours[path] && !byHand.MatchString(path) {
			t.Errorf("NIST's example has %s, ours has not", path)
		}
	}
}

// TestOSCALSaysNothingIsSatisfiedThatIsNotProven, and every reference leads somewhere.
func TestOSCALSaysNothingIsSatisfiedThatIsNotProven(t *testing.T) {
	r := example(t)
	var doc oscalDocument
	if err := json.Unmarshal(render(t, "oscal", r), &doc); err != nil {
		t.Fatal(err)
	}
	res := doc.Results.Results[0]
	ids := map[string]bool{}
	note := func(id string) {
		if ids[id] {
			t.Errorf("uuid %s is there twice", id)
		}
		ids[id] = true
	}
	for _, o := range res.Observations {
		note(o.UUID)
	}
	for _, k := range res.Risks {
		note(k.UUID)
	}
	for _, f := range res.Findings {
		note(f.UUID)
		for _, o := range f.Observations {
			if !ids[o.UUID] {
				t.Errorf("finding %s refers to an observation that is not there", f.Title)
			}
		}
		for _, k := range f.Risks {
			if !ids[k.UUID] {
				t.Errorf("finding %s refers to a risk that is not there", f.Title)
			}
		}
	}
	if len(res.Findings) != len(r.Controls) {
		t.Fatalf("%d findings of %d controls", len(res.Findings), len(r.Controls))
	}
	for i, f := range res.Findings {
		c := r.Controls[i]
		if satisfied := f.Target.Status.State == "satisfied"; satisfied != (c.Outcome == Proven) {
			t.Errorf("control %s is %s, and the finding says %s", c.ID, c.Outcome, f.Target.Status.State)
		}
		if (c.Outcome == Failed) != (len(f.Risks) > 0) {
			t.Errorf("control %s is %s, with %d risks", c.ID, c.Outcome, len(f.Risks))
		}
	}
	if got := oscalControl("nist-800-53:r5/AC-6(9)"); got != "ac-6.9" {
		t.Errorf("NIST's own id of AC-6(9): %s", got)
	}
	// Two failures (of which one is a canary that left something behind), a forged
	// marker and a broken chain of digests.
	if len(res.Risks) != 4 {
		t.Errorf("%d risks, want 4", len(res.Risks))
	}
}

// ocsfSchema is what is left of the compiled schema; see testdata/schemas/ocsf/ORIGIN.
type ocsfSchema struct {
	Version          string
	Classes, Objects map[string]ocsfType
	Types            map[string]struct {
		Type, Regex string
		MaxLen      int   `json:"max_len"`
		Range       []int `json:"range"`
	}
	regex map[string]*regexp.Regexp
}

type ocsfType struct {
	UID         int
	Constraints map[string][]string
	Attributes  map[string]struct {
		Type, Requirement, Profile string
		ObjectType                 string `json:"object_type"`
		IsArray                    bool   `json:"is_array"`
		Enum                       []string
	}
}

func readOCSF(t *testing.T) *ocsfSchema {
	t.Helper()
	text, err := os.ReadFile("testdata/schemas/ocsf/schema-1.5.0-classes.json")
	if err != nil {
		t.Fatal(err)
	}
	s := &ocsfSchema{regex: map[string]*regexp.Regexp{}}
	if err := json.Unmarshal(text, s); err != nil {
		t.Fatal(err)
	}
	for name, typ := range s.Types {
		if typ.Regex == "" {
			continue
		}
		re, err := regexp.Compile(typ.Regex)
		if err != nil {
			t.Logf("type %s: %v; not checked by its expression", name, err)
			continue
		}
		s.regex[name] = re
	}
	return s
}

// validate returns everything that is wrong with one event.
func (s *ocsfSchema) validate(text []byte) (wrong []string) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var e map[string]any
	if err := dec.Decode(&e); err != nil {
		return []string{err.Error()}
	}
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	md, _ := e["metadata"].(map[string]any)
	if md["version"] != s.Version {
		bad("metadata.version is %v, want %s", md["version"], s.Version)
	}
	profiles := map[string]bool{"": true}
	list, _ := md["profiles"].([]any)
	for _, p := range list {
		profiles[fmt.Sprint(p)] = true
	}
	for name, class := range s.Classes {
		if fmt.Sprint(class.UID) != fmt.Sprint(e["class_uid"]) {
			continue
		}
		s.object(name, class, e, profiles, bad)
		activity, _ := strconv.Atoi(fmt.Sprint(e["activity_id"]))
		if want := class.UID*100 + activity; fmt.Sprint(want) != fmt.Sprint(e["type_uid"]) {
			bad("type_uid is %v, want %d", e["type_uid"], want)
		}
		return wrong
	}
	return append(wrong, fmt.Sprintf("class %v is not known", e["class_uid"]))
}

func (s *ocsfSchema) object(path string, typ ocsfType, o map[string]any, profiles map[string]bool, bad func(string, ...any)) {
	for name, a := range typ.Attributes {
		if _, there := o[name]; !there && a.Requirement == "required" && profiles[a.Profile] {
			bad("%s.%s is required", path, name)
		}
	}
	if any := typ.Constraints["at_least_one"]; len(any) > 0 && !slices.ContainsFunc(any, func(n string) bool { _, there := o[n]; return there }) {
		bad("%s needs one of %v", path, any)
	}
	for name, v := range o {
		a, known := typ.Attributes[name]
		if !known {
			bad("%s.%s is not in the schema", path, name)
			continue
		}
		if !profiles[a.Profile] {
			bad("%s.%s is of profile %s, which the event does not name", path, name, a.Profile)
		}
		values := []any{v}
		if a.IsArray {
			list, ok := v.([]any)
			if !ok {
				bad("%s.%s must be a list", path, name)
				continue
			}
			values = list
		}
		for _, one := range values {
			at := path + "." + name
			if a.ObjectType != "" && a.ObjectType != "object" {
				child, ok := one.(map[string]any)
				if !ok {
					bad("%s must be an object", at)
					continue
				}
				s.object(at, s.Objects[a.ObjectType], child, profiles, bad)
				continue
			}
			s.value(at, a.Type, a.Enum, one, bad)
		}
	}
}

func (s *ocsfSchema) value(at, typ string, enum []string, v any, bad func(string, ...any)) {
	if len(enum) > 0 && strings.HasSuffix(typ, "integer_t") || len(enum) > 0 && typ == "long_t" {
		if !slices.Contains(enum, fmt.Sprint(v)) {
			bad("%s is %v, which is none of %v", at, v, enum)
		}
	}
	base := typ
	for s.Types[base].Type != "" {
		base = s.Types[base].Type
	}
	text, isText := v.(string)
	number, isNumber := v.(json.Number)
	switch base {
	case "string_t":
		if !isText {
			bad("%s must be text, not %T", at, v)
		} else if re := s.regex[typ]; re != nil && !re.MatchString(text) {
			bad("%s %q is no %s", at, text, typ)
		} else if max := s.Types[typ].MaxLen; max > 0 && utf8.RuneCountInString(text) > max {
			bad("%s is longer than %d", at, max)
		}
		if typ == "ip_t" {
			if _, err := netip.ParseAddr(text); err != nil {
				bad("%s %q is no address", at, text)
			}
		}
	case "integer_t", "long_t":
		n, err := strconv.ParseInt(string(number), 10, 64)
		if !isNumber || err != nil {
			bad("%s must be an integer, not %v", at, v)
		} else if typ == "timestamp_t" && (n < 0 || n > 32503680000000) {
			bad("%s %d is no time of this age", at, n)
		}
	case "boolean_t":
		if _, ok := v.(bool); !ok {
			bad("%s must be true or false", at)
		}
	}
}

func TestOCSFIsValid(t *testing.T) {
	s := readOCSF(t)
	text := render(t, "ocsf", example(t))
	classes := map[string]int{}
	for l := range bytes.Lines(text) {
		if wrong := s.validate(l); len(wrong) > 0 {
			t.Errorf("%q\n%.300s", wrong, l)
		}
		var e struct {
			Class int `json:"class_uid"`
		}
		if err := json.Unmarshal(l, &e); err != nil {
			t.Fatal(err)
		}
		classes[fmt.Sprint(e.Class)]++
	}
	// Six records (two roles made, two policies attached, a trail, a port), five verdicts.
	if want := map[string]int{"3004": 2, "3005": 2, "6003": 2, "2003": 5}; !reflect.DeepEqual(classes, want) {
		t.Errorf("classes %v, want %v", classes, want)
	}
	first := text[:bytes.IndexByte(text, '\n')]
	for old, bad := range map[string]string{
		`"severity_id":1`: `"severity_id":7`, `"time":`: `"tyme":`, `"type_uid":`: `"type_uid":1`, `"version":"1.5.0"`: `"version":"1.4.0"`,
		`"profiles":["cloud"]`: `"profiles":[]`, `"ip":"203.0.113.7"`: `"ip":"nowhere"`, `"provider":"AWS"`: `"provider":1`,
	} {
		broken := bytes.Replace(first, []byte(old), []byte(bad), 1)
		if bytes.Equal(broken, first) || len(s.validate(broken)) == 0 {
			t.Errorf("with %s instead of %s it is still valid", bad, old)
		}
	}
}

// TestOCSFOfEveryClass: what a refused call does not say is no class that needs it.
func TestOCSFOfEveryClass(t *testing.T) {
	s := readOCSF(t)
	no := false
	for op, want := range classes() {
		service, operation, _ := strings.Cut(op, "/")
		e := event.Event{Time: day1, Cloud: event.Cloud{Provider: "AWS", Account: alpha}, API: event.API{Service: service, Operation: operation, RequestUID: "r", ReadOnly: &no}}
		for _, params := range []map[string]any{nil, {}, {"userName": 7}, {
			"userName": "u", "roleName": "r", "policyName": "p", "policyArn": "arn:p", "instanceProfileName": "i", "url": "https://example.com", "openIDConnectProviderArn": "arn:o",
		}} {
			e.API.Request = params
			text, err := json.Marshal(Report{}.ocsfActivity(Canary{At: day1}, Record{Event: &e}))
			if err != nil {
				t.Fatal(err)
			}
			if wrong := s.validate(text); len(wrong) > 0 {
				t.Errorf("%s with %v: %q", op, params, wrong)
			}
			class := want.class
			if len(params) < 2 {
				class = apiActivity
			}
			if !bytes.Contains(text, fmt.Appendf(nil, `"class_uid":%d,`, class)) {
				t.Errorf("%s with %v is not of class %d: %s", op, params, class, text)
			}
		}
	}
}

// TestASFFIsStable: a finding keeps its Id from run to run; what passes is resolved.
func TestASFFIsStable(t *testing.T) {
	in := exampleInput(t)
	now := map[string]ASFFFinding{}
	for _, f := range New(in).ASFF() {
		now[f.ProductFields["auditcanary/scenario"]+" "+f.Resources[0].Id] = f
	}
	in.Period = Period{Run: "20261101-aaaaaa"}
	for _, before := range New(in).ASFF() {
		f := now[before.ProductFields["auditcanary/scenario"]+" "+before.Resources[0].Id]
		if f.Id != before.Id {
			t.Errorf("%s: the Id was %s, is %s", before.Title, before.Id, f.Id)
		}
	}
	trail, role := now["aws/stop-logging-denied AWS::::Account:"+alpha], now["aws/iam-role AWS::::Account:"+alpha]
	if trail.RecordState != "ARCHIVED" || trail.Workflow.Status != "RESOLVED" || trail.Compliance.Status != "PASSED" {
		t.Errorf("what passes again is %s, %s, %s", trail.RecordState, trail.Workflow.Status, trail.Compliance.Status)
	}
	if role.RecordState != "ACTIVE" || role.Workflow.Status != "NEW" || role.Compliance.Status != "FAILED" || role.CreatedAt != "2026-11-02T09:00:00Z" {
		t.Errorf("what fails is %s, %s, %s since %s", role.RecordState, role.Workflow.Status, role.Compliance.Status, role.CreatedAt)
	}
	if len(now) != 4 {
		t.Errorf("%d findings, want 4: what was not run is none", len(now))
	}
	in.Facts.Hub = &HubFact{"999999999999", "eu-central-1"}
	for _, f := range New(in).ASFF() {
		if f.AwsAccountId != "999999999999" || f.ProductArn != "arn:aws:securityhub:eu-central-1:999999999999:product/999999999999/default" || f.Resources[0].Id == "AWS::::Account:999999999999" {
			t.Errorf("finding for the hub: %+v", f)
		}
	}
}

func TestJUnitCounts(t *testing.T) {
	var s junitSuites
	if err := xml.Unmarshal(render(t, "junit", example(t)), &s); err != nil {
		t.Fatal(err)
	}
	if len(s.Suites) != 5 || s.Tests != 40 || s.Failures != 2 || s.Errors == 0 || s.Skipped == 0 {
		t.Errorf("%d suites, %d tests, %d failures, %d errors, %d skipped", len(s.Suites), s.Tests, s.Failures, s.Errors, s.Skipped)
	}
	for _, suite := range s.Suites {
		for _, c := range suite.Cases {
			if c.Failure != nil && !strings.Contains(c.Failure.Text, "canary ") {
				t.Errorf("%s %s: the failure does not say of which canary", suite.Name, c.Name)
			}
		}
	}
}

// hostile is what attackers write into logs, each for another reader.
var hostile = []string{
	`"><script>alert(1)</script><img src=x onerror=alert(2)>`, `]]><!ENTITY x SYSTEM "file:///etc/passwd">&x;`,
	`=HYPERLINK("http://evil.example/","x")`, "+1+1|cmd' /C calc'!A0", "@SUM(A1)", "-2+3", "\t=1+1", "\r\n=1+1", "＝1+1",
	"a,b\"c\";d\ne\r\nf", "`rm -rf`$(id)", "[x](javascript:alert(1)) ![y](http://evil.example/z.png) | <b>|", "# heading\n- list\n\n```mermaid\ngraph TD; a-->b\n```",
	"end\n  click a \"javascript:alert(1)\"\n  %%{init: {'securityLevel':'loose'}}%%", "\x00\x01\x07\x1b[31mred\x1b]0;title\x07\x7f", "\u202eevil\u2066\u200b\ufeff\u2028\u2029",
	"\xff\xfe\x80bad utf-8\xc3", "\xed\xa0\x80", "{{.}}${x}#{y}<%= z %>", `\u0000\"`, `C:\..\..\etc`, "../../etc/passwd", "%00%0a%0d%2e%2e", "s3://[::1]:99999/?#%zz", "",
	" \t ", "😀\U000e0041\ufffe\uffff", "-->", "--", "://", "www.evil.example @everyone",
}

// huge is what a field may hold at most, and more.
var huge = []string{strings.Repeat("A", 40_000), strings.Repeat("é", 5_000), strings.Repeat("\"", 2_000)}

// large in place of a number of places to move by makes every field large.
const large = 1 << 30

// evil is the next hostile text; every now and then a huge one.
func evil(n *int) string {
	*n++
	if *n > large {
		return strings.Repeat("Aé ", 700)
	}
	if *n%97 == 0 {
		return huge[*n/97%len(huge)]
	}
	return hostile[*n%len(hostile)]
}

// poison puts hostile text into every field of the report that holds text, or, if
// all, into every named kind of text as well (statuses, checks, kinds).
func poison(v reflect.Value, next func() string, all bool) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			poison(v.Elem(), next, all)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			poison(v.Field(i), next, all)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return
		}
		for i := range v.Len() {
			poison(v.Index(i), next, all)
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			elem := reflect.New(v.Type().Elem()).Elem()
			elem.Set(v.MapIndex(k))
			if elem.Kind() == reflect.Interface && !elem.IsNil() && elem.Elem().Kind() == reflect.String {
				elem.Set(reflect.ValueOf(next()))
			} else {
				poison(elem, next, all)
			}
			v.SetMapIndex(k, elem)
		}
	case reflect.String:
		if v.CanSet() && (all || v.Type() == reflect.TypeFor[string]()) {
			v.SetString(next())
		}
	}
}

// poisoned is the example with the hostile texts moved on by one place each time,
// so that each meets each field.
func poisoned(t *testing.T, shift int, all bool) Report {
	r := example(t)
	// What is not in the example is hostile too.
	r.Alerts, r.Exceptions, r.Reviews, r.Tickets = []Alert{{}}, []Exception{{}}, []Review{{}}, []Ticket{{}}
	r.Exceptions[0].Compensating, r.Exceptions[0].Findings = []string{""}, []string{""}
	r.Canaries[0].Checks[1].Accepted, r.Canaries[0].Checks[1].Also = &canary.Accepted{}, []canary.Other{{Fields: []string{""}}}
	r.Facts.Hub = &HubFact{}
	r.Canaries[0].Steps[0].Records[0].Custody = &canary.Custody{Held: canary.Held{Mode: "x", Unread: []string{""}, Key: &canary.EncryptionKey{}, Bucket: canary.BucketHeld{DefaultMode: "x", Expiring: []canary.Expiry{{}}}}}
	r.Facts.OutOfScope, r.Facts.Excluded, r.Facts.NotProvable = []Exclusion{{}}, []string{""}, []coverage.Unprovable{{}}
	n := shift
	poison(reflect.ValueOf(&r).Elem(), func() string { return evil(&n) }, all)
	if !all {
		// The joins are by id: which canaries speak for which controls.
		for i := range r.Controls {
			for j := range r.Controls[i].Checks {
				r.Controls[i].Checks[j].Canaries = "all"
			}
		}
	}
	return r
}

// hostileReport is one of them. No renderer changes what it renders, so that they
// are made once for all tests.
type hostileReport struct {
	shift int
	all   bool
	Report
}

var made struct {
	sync.Once
	reports []hostileReport
}

func hostileReports(t *testing.T) []hostileReport {
	made.Do(func() {
		for shift := range len(hostile) + 1 {
			if shift == len(hostile) {
				shift = large
			}
			made.reports = append(made.reports, hostileReport{shift, false, poisoned(t, shift, false)})
			if shift%8 == 0 { // the named kinds are few
				made.reports = append(made.reports, hostileReport{shift, true, poisoned(t, shift, true)})
			}
		}
	})
	return made.reports
}

// eachPoisoned renders hostile reports in one format.
func eachPoisoned(t *testing.T, format string, check func(r Report, text []byte) error) {
	t.Helper()
	for _, r := range hostileReports(t) {
		if format == "json" && r.shift%8 != 0 {
			continue // it has one way for every field
		}
		var b bytes.Buffer
		err := Renderers()[format](&b, r.Report)
		if err == nil {
			err = check(r.Report, b.Bytes())
		}
		if err != nil {
			t.Fatalf("%s, hostile texts moved by %d (all: %v): %v", format, r.shift, r.all, err)
		}
	}
}

func TestHostileTextStaysInertInOSCAL(t *testing.T) {
	t.Parallel()
	sch := oscalSchema(t)
	eachPoisoned(t, "oscal", func(_ Report, text []byte) error {
		if err := plainJSON(text); err != nil {
			return err
		}
		return validOSCAL(t, sch, text)
	})
}

func TestHostileTextStaysInertInOCSF(t *testing.T) {
	t.Parallel()
	s := readOCSF(t)
	eachPoisoned(t, "ocsf", func(_ Report, text []byte) error {
		for l := range bytes.Lines(text) {
			if err := plainJSON(l); err != nil {
				return err
			}
			if wrong := s.validate(l); len(wrong) > 0 {
				return fmt.Errorf("%.600q in %.300s", wrong, l)
			}
		}
		return nil
	})
}

// plainJSON is text without anything that a page or a terminal would act on.
func plainJSON(text []byte) error {
	if !json.Valid(text) || !utf8.Valid(text) {
		return fmt.Errorf("no valid JSON")
	}
	if bytes.ContainsAny(text, "<>&") {
		return fmt.Errorf("a character of HTML as it is")
	}
	if i := bytes.IndexFunc(text, func(r rune) bool { return r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) }); i >= 0 {
		return fmt.Errorf("a control character at byte %d", i)
	}
	return nil
}

func TestHostileTextStaysInertInJSON(t *testing.T) {
	t.Parallel()
	eachPoisoned(t, "json", func(r Report, text []byte) error {
		var back Report
		if err := json.Unmarshal(text, &back); err != nil {
			return err
		}
		return plainJSON(text)
	})
}

func TestHostileTextStaysInertInASFF(t *testing.T) {
	t.Parallel()
	id := regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	eachPoisoned(t, "asff", func(r Report, text []byte) error {
		if err := plainJSON(text); err != nil {
			return err
		}
		for _, f := range r.ASFF() {
			one, err := json.Marshal(f)
			switch {
			case err != nil:
				return err
			case len(one) > 240<<10:
				return fmt.Errorf("a finding of %d bytes", len(one))
			case len(f.Title) > asffTitle || len(f.Description) > asffDescription || len(f.Title) == 0 || len(f.Description) == 0 || len(f.GeneratorId) > 512:
				return fmt.Errorf("title of %d, description of %d, generator of %d bytes", len(f.Title), len(f.Description), len(f.GeneratorId))
			case !id.MatchString(f.AwsAccountId) || !id.MatchString(f.Region):
				return fmt.Errorf("account %q, region %q", f.AwsAccountId, f.Region)
			case len(f.ProductFields) > 50:
				return fmt.Errorf("%d product fields", len(f.ProductFields))
			}
		}
		return nil
	})
}

func TestHostileTextStaysInertInJUnit(t *testing.T) {
	t.Parallel()
	names := []string{"testsuites", "testsuite", "testcase", "failure", "error", "skipped"}
	eachPoisoned(t, "junit", func(_ Report, text []byte) error {
		if !utf8.Valid(text) {
			return fmt.Errorf("not UTF-8")
		}
		dec := xml.NewDecoder(bytes.NewReader(text))
		for {
			tok, err := dec.Token()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			switch x := tok.(type) {
			case xml.StartElement:
				if !slices.Contains(names, x.Name.Local) {
					return fmt.Errorf("element %s", x.Name.Local)
				}
			case xml.Comment, xml.Directive:
				return fmt.Errorf("%T in it", tok)
			}
		}
	})
}

func TestHostileTextStaysInertInCSV(t *testing.T) {
	t.Parallel()
	eachPoisoned(t, "csv", func(r Report, text []byte) error {
		rows, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
		if err != nil {
			return err
		}
		want := 1
		for _, c := range r.Canaries {
			want += len(c.Checks)
		}
		if len(rows) != want {
			return fmt.Errorf("%d lines, want %d", len(rows), want)
		}
		for _, row := range rows {
			for _, cell := range row {
				if strings.IndexAny(cell, "=+-@|%\t\r＝＋－＠") == 0 {
					return fmt.Errorf("%.60q is a formula to a spreadsheet", cell)
				}
				if i := strings.IndexFunc(cell, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 || !utf8.ValidString(cell) || len(cell) > maxCell+8 {
					return fmt.Errorf("%.60q leaves its cell", cell)
				}
			}
		}
		return nil
	})
}

func TestUUIDsAreNameBased(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	for _, parts := range [][]string{{}, {""}, {"a"}, {"a", "b"}, {"ab"}, {"a", "", "b"}, {"1:a"}} {
		id := uuid(parts...)
		if !form.MatchString(id) || seen[id] || id != uuid(parts...) {
			t.Errorf("uuid of %q: %s", parts, id)
		}
		seen[id] = true
	}
}

func TestEveryFormatHasAHostileTest(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	for format := range Renderers() {
		if !strings.Contains(strings.ToLower(all.String()), "testhostiletextstaysinertin"+format) {
			t.Errorf("format %s has no test TestHostileTextStaysInertIn...", format)
		}
	}
}

// FuzzTextInEveryFormat: whatever text stands in a report, each format stays what it is.
func FuzzTextInEveryFormat(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	var once sync.Once
	var small []byte
	var sch *jsonschema.Schema
	var ocsf *ocsfSchema
	f.Fuzz(func(t *testing.T, s string) {
		once.Do(func() {
			r := example(t)
			r.Canaries, r.Controls, r.Facts = r.Canaries[4:5], r.Controls[:1], Facts{Targets: r.Facts.Targets[:1]}
			r.Coverage, r.HeatMap, r.Trend = Coverage{}, HeatMap{}, nil
			small, sch, ocsf = render(t, "json", r), oscalSchema(t), readOCSF(t)
		})
		var r Report
		if err := json.Unmarshal(small, &r); err != nil {
			t.Fatal(err)
		}
		poison(reflect.ValueOf(&r).Elem(), func() string { return s }, false)
		for format, check := range map[string]func([]byte) error{
			"json": plainJSON, "asff": plainJSON,
			"oscal": func(text []byte) error { return validOSCAL(t, sch, text) },
			"ocsf": func(text []byte) error {
				for l := range bytes.Lines(text) {
					if wrong := ocsf.validate(l); len(wrong) > 0 {
						return fmt.Errorf("%q", wrong)
					}
				}
				return nil
			},
			"junit": func(text []byte) error { return xml.Unmarshal(text, new(junitSuites)) },
			"csv":   func(text []byte) error { _, err := csv.NewReader(bytes.NewReader(text)).ReadAll(); return err },
		} {
			if err := check(render(t, format, r)); err != nil {
				t.Errorf("%s: %v", format, err)
			}
		}
	})
}
