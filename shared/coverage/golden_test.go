package coverage

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/auditcanary/auditcanary/shared/canary"
)

var update = flag.Bool("update", false, "write the expected reports anew")

func golden(t *testing.T, file string, write func(io.Writer) error) string {
	t.Helper()
	var got bytes.Buffer
	if err := write(&got); err != nil {
		t.Fatal(err)
	}
	file = filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("%s is not what is written now; look at the difference, then: go test ./shared/coverage -update\n%s", file, got.String())
	}
	return got.String()
}

func date(s string) time.Time {
	d, err := time.Parse(time.DateOnly, s)
	if err != nil {
		panic(err)
	}
	return d
}

// fortnight is a world in which something of everything happened.
func fortnight() Input {
	in := world()
	in.Tests = []Test{
		key(), key(denied, func(t *Test) { t.Region = "us-east-1" }),
		key(verdict(canary.Fail), func(t *Test) { t.Account, t.Canary = acct2, "20261122-aaaaaa-03" }),
		{Operation: "iam:CreateRole", Account: acct1, Region: "us-east-1", Scenario: "aws/role", Category: "permissions", Kind: canary.DoneAndUndone, Run: "20261122-aaaaaa", Canary: "20261122-aaaaaa-04", At: now, Status: canary.Pass},
		{Operation: "iam:CreateRole", Account: acct2, Region: "us-east-1", Scenario: "aws/role", Category: "permissions", Kind: canary.DoneAndUndone, Run: "20261001-bbbbbb", Canary: "20261001-bbbbbb-04", At: date("2026-10-01"), Status: canary.Pass},
		{Operation: "logs:PutRetentionPolicy", Account: acct1, Region: "eu-west-1", Scenario: "aws/retention", Category: "logging-disabled", Kind: canary.DoneAndUndone, Run: "20261122-aaaaaa", Canary: "20261122-aaaaaa-05", At: now, Status: canary.Inconclusive},
		key(func(t *Test) { t.Account = "999999999999" }),
	}
	in.Ledger = &Ledger{Origin: "auditcanary.example/test", Size: 108, Root: "f0rdWDH5ArnMrz2bdrvdp2Ti8GQUW0eAdvbfc2S8mMY="}
	in.Exceptions = []Exception{{ID: "EX-7", Operation: "ec2:DeleteVpc", Account: acct2, Owner: "network team", Expires: date("2027-01-01")}}
	in.Decisions = []Decision{
		{Source: "cloud-management-events", Decision: Sufficient, Why: "an organisation trail records all of them", By: "CISO", On: date("2026-03-01"), ReviewBy: date("2027-03-01")},
		{Source: "databases", Decision: Additional, Why: "the engine's own administrators are invisible", Done: "audit plugin to the central store", By: "Head of Data", On: date("2025-10-01"), ReviewBy: date("2026-10-01")},
	}
	return in
}

func TestTheReportAsAPersonReadsIt(t *testing.T) {
	r := Measure(fortnight())
	text := golden(t, "table.golden", func(w io.Writer) error { return r.WriteTable(w, -1) })
	text += golden(t, "brief.golden", r.WriteBrief)
	for line := range strings.Lines(text) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 100 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

func TestAnEmptyLedgerIsAReportInWhichNothingIsProven(t *testing.T) {
	r := Measure(world())
	if r.Total.Statuses[Proven] != 0 || r.Total.Statuses[NeverTested] != r.Total.Provable() || *r.Total.Percent != 0 {
		t.Errorf("%+v", r.Total)
	}
	golden(t, "empty.golden", func(w io.Writer) error { return r.WriteTable(w, 2) })
}

func TestOfVeryManyAccountsTheTableShowsTheLeastProven(t *testing.T) {
	in := world()
	in.Targets = nil
	for i := range 30 {
		account := fmt.Sprintf("%012d", i)
		in.Targets = append(in.Targets, canary.Target{Provider: "aws", Account: account, Region: "eu-west-1"})
		if i < 20 {
			in.Tests = append(in.Tests, key(func(t *Test) { t.Account = account }))
		}
	}
	var b strings.Builder
	if err := Measure(in).WriteTable(&b, 0); err != nil {
		t.Fatal(err)
	}
	if text := b.String(); !strings.Contains(text, "\n000000000029 ") || strings.Contains(text, "\n000000000019 ") || !strings.Contains(text, "... and 10 more, of which no less is proven.") {
		t.Error(text)
	}
}

func TestTheReportAsProgramsReadIt(t *testing.T) {
	r := Measure(fortnight())
	golden(t, "report.csv", r.WriteCSV)
	golden(t, "report.json", func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	})
}

// What stands in a ledger, a scenario or the configuration may have been written
// for a spreadsheet, a terminal or a browser.
var hostile = []string{
	`=HYPERLINK("https://evil.example","x")`, "+1", "-1+1", "@SUM(A1)", "|calc", "＝1+1",
	"\x1b[2Jgone\a", "a\nb\r\nc", "\u202Egnirts", `a|b`, "<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`,
	"[link](javascript:alert(1))", "![i](x)", "`code`", "https://evil.example", "www.evil.example", "a@evil.example", "*b* _i_ ~s~ $m$", "&lt;b&gt;", `\|`, "</style><script>", "\xff\xfe",
}

func TestNoCellBecomesAFormula(t *testing.T) {
	for _, h := range hostile {
		in := world()
		in.Tests = []Test{key(func(t *Test) { t.Scenario, t.Run, t.Canary = h, h, h })}
		var b bytes.Buffer
		if err := Measure(in).WriteCSV(&b); err != nil {
			t.Fatal(err)
		}
		lines, err := csv.NewReader(&b).ReadAll()
		if err != nil || len(lines) != 16 {
			t.Fatalf("%q: %d lines, %v", h, len(lines), err)
		}
		for _, line := range lines {
			for _, cell := range line {
				if strings.IndexAny(cell, "=+-@|＝\t\r\n") == 0 || strings.ContainsAny(cell, "\x1b\a\r\n\u202E") {
					t.Errorf("%q became the cell %q", h, cell)
				}
			}
		}
	}
}

func TestNothingSteersATerminal(t *testing.T) {
	for _, h := range hostile {
		in := fortnight()
		in.Tests = append(in.Tests, key(func(t *Test) { t.Operation, t.Scenario = h, h }))
		in.Scenarios[0].ID, in.Decisions[0].By = h, h
		in.Categories[0].ID = h
		in.Ledger = &Ledger{Origin: h, Root: h}
		var b bytes.Buffer
		if err := Measure(in).WriteTable(&b, -1); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(b.String(), "\x1b\a\r\u202E") {
			t.Errorf("%q came through: %q", h, b.String())
		}
		for line := range strings.Lines(b.String()) {
			if utf8.RuneCountInString(line) > 101 {
				t.Errorf("%q: %d columns: %s", h, utf8.RuneCountInString(line), line)
			}
		}
	}
}

func scopeInput() ScopeInput {
	in := fortnight()
	return ScopeInput{
		Statement: Statement{
			Organization: "Example Ltd", Owner: "Head of Cloud Platform", Version: "1.3", ApprovedBy: "CISO", ApprovedOn: "2026-11-01",
			Actors:     []Actor{{"Platform administrators", "human", "SSO, role PlatformAdmin"}, {"Deployment pipeline", "ci-cd", "OIDC, role deploy"}},
			OutOfScope: []Exclusion{{"The sandbox accounts", "they hold no production data"}},
		},
		Systems:    []System{{[]string{acct1}, []string{"eu-west-1", "us-east-1"}}, {[]string{acct2}, []string{"eu-west-1"}}},
		Store:      Store{Name: "central", Type: "cloudtrail-s3", Bucket: "org-trail-archive", Region: "us-east-1", Organization: "o-exampleorg1"},
		Agents:     []Actor{{"auditcanary injector", "auditcanary", "arn:aws:iam::111122223333:role/auditcanary/auditcanary-injector"}},
		Categories: in.Categories, Scenarios: in.Scenarios, Operations: in.Operations, NotProvable: in.NotProvable, Decisions: in.Decisions,
		Home: "us-east-1", Version: "v0.3.0", ConfigHash: strings.Repeat("ab", 32), CatalogueHash: strings.Repeat("cd", 32), Now: now,
	}
}

func TestTheScopeDocument(t *testing.T) {
	s := NewScope(scopeInput())
	markdown := golden(t, "scope.md", s.WriteMarkdown)
	page := golden(t, "scope.html", s.WriteHTML)
	for _, doc := range []string{markdown, page} {
		for _, want := range []string{"Example Ltd", "Platform administrators", "SaaS", "no scenario", "undecided", "overdue", "not verified by this version", "hourly"} {
			if !strings.Contains(doc, want) {
				t.Errorf("%q is not in the document", want)
			}
		}
	}
}

func TestWhatNobodyStatedIsSaidToBeUnstated(t *testing.T) {
	in := scopeInput()
	in.Statement, in.Decisions, in.Scenarios = Statement{}, nil, nil
	s := NewScope(in)
	if len(s.Activities) != 0 || len(s.Untested) != len(in.Categories) || s.Undecided != len(Sources()) {
		t.Errorf("%d activities, %d untested, %d undecided", len(s.Activities), len(s.Untested), s.Undecided)
	}
	golden(t, "scope-unstated.md", s.WriteMarkdown)
	golden(t, "scope-unstated.html", s.WriteHTML)
}

// hostileScope has the same hostile text wherever text can come from.
func hostileScope(h string) Scope {
	in := scopeInput()
	in.Statement = Statement{h, h, h, h, h, h, []Actor{{h, h, h}}, []Exclusion{{h, h}}}
	in.Store = Store{h, h, h, h, h, h}
	in.Systems = []System{{[]string{h}, []string{h}}}
	in.Agents = []Actor{{h, h, h}}
	in.Categories[0].Title = h
	in.Scenarios[0].ID, in.Scenarios[0].Controls, in.Scenarios[0].Schedule.Every = h, []string{h}, h
	in.Scenarios[0].Steps = []canary.Step{{Call: h}}
	in.Decisions[0].Why, in.Decisions[0].Done, in.Decisions[0].By = h, h, h
	in.Version, in.ConfigHash = h, h
	return NewScope(in)
}

var escaped = regexp.MustCompile(`\\[[:punct:]]`)

func TestTheMarkdownIsWhatItWouldBeWithHarmlessText(t *testing.T) {
	shape := func(s Scope) (lines, cells int, text string) {
		var b strings.Builder
		if err := s.WriteMarkdown(&b); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			lines++
			cells += strings.Count(strings.ReplaceAll(strings.ReplaceAll(line, `\\`, ""), `\|`, ""), "|")
		}
		return lines, cells, b.String()
	}
	lines, cells, _ := shape(hostileScope("harmless"))
	for _, h := range hostile {
		l, c, text := shape(hostileScope(h))
		if l != lines || c != cells {
			t.Errorf("%q: %d lines with %d cells, want %d with %d", h, l, c, lines, cells)
		}
		text = escaped.ReplaceAllString(text, "")
		for _, bad := range []string{"<script", "<img", "](javascript", "![", "`", "https://evil", "www.evil", " a@evil", "\x1b", "\r", "\u202E"} {
			if strings.Contains(text, bad) {
				t.Errorf("%q: %q came through", h, bad)
			}
		}
	}
}

func TestThePageIsWhatItWouldBeWithHarmlessText(t *testing.T) {
	elements := func(s Scope) map[string]int {
		var b bytes.Buffer
		if err := s.WriteHTML(&b); err != nil {
			t.Fatal(err)
		}
		count := map[string]int{}
		for dec := xml.NewDecoder(&b); ; {
			tok, err := dec.Token()
			if errors.Is(err, io.EOF) {
				return count
			}
			if err != nil {
				t.Fatal(err)
			}
			if e, ok := tok.(xml.StartElement); ok {
				count[e.Name.Local]++
				for _, a := range e.Attr {
					count[e.Name.Local+" "+a.Name.Local]++
				}
			}
		}
	}
	want := elements(hostileScope("harmless"))
	if want["table"] != 6 || want["script"] != 0 {
		t.Fatalf("%v", want)
	}
	for _, h := range hostile {
		if strings.ContainsAny(h, "\x1b\a") || !utf8.ValidString(h) {
			continue // no XML; a browser shows a replacement character
		}
		got := elements(hostileScope(h))
		for k, n := range got {
			if want[k] != n {
				t.Errorf("%q: %d of %s, want %d", h, n, k, want[k])
			}
		}
	}
}

// The page may run nothing and load nothing; its style is allowed by its hash.
func TestThePageAllowsItsOwnStyleAndNothingElse(t *testing.T) {
	var b strings.Builder
	if err := NewScope(scopeInput()).WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(b.String(), "<style>")
	style, _, found := strings.Cut(rest, "</style>")
	sum := sha256.Sum256([]byte(style))
	hash := strings.ReplaceAll(base64.StdEncoding.EncodeToString(sum[:]), "+", "&#43;")
	if want := "default-src 'none'; style-src 'sha256-" + hash + "'"; !found || !strings.Contains(b.String(), want) {
		t.Errorf("no %q in the page", want)
	}
	for _, bad := range []string{"<script", " style=", "http://", "https://", "url(", "<link", "<img"} {
		if strings.Contains(b.String(), bad) {
			t.Errorf("the page has %q in it", bad)
		}
	}
}
