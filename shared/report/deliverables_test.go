package report

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/coverage"
)

func TestDeliverablesAsReviewed(t *testing.T) {
	files, err := Deliverables(example(t), coverage.NewScope(coverage.ScopeInput{}), nil)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name)
		if !strings.HasPrefix(f.Name, "logging-scope") && !strings.HasPrefix(f.Name, "data-dictionary") { // golden where they are made
			golden(t, f.Name, f.Data)
		}
	}
	for _, name := range []string{"index", "logging-scope", "log-source-inventory", "log-protection-design", "data-dictionary", "test-results", "exceptions", "controls"} {
		if !slices.Contains(names, name+".md") || !slices.Contains(names, name+".html") {
			t.Errorf("%s is missing", name)
		}
	}
}

// TestTheDictionaryIsWhole: every row of the package's own is in the document.
func TestTheDictionaryIsWhole(t *testing.T) {
	d := example(t).dictionary()
	if d.Title != "Data dictionary of an event" || len(d.Sections) != 4 {
		t.Fatalf("%s with %d sections", d.Title, len(d.Sections))
	}
	for i, head := range []int{6, 3, 3, 3} {
		s := d.Sections[i]
		if len(s.Rows) < 2 {
			t.Errorf("section %s has %d rows", s.Title, len(s.Rows))
		}
		for _, row := range s.Rows {
			if len(row) != len(s.Head) || i == 0 && len(row) != head {
				t.Errorf("section %s: row %q under %q", s.Title, row, s.Head)
			}
		}
	}
}

// TestResultsHaveEventIDsAndDates of every canary that was done.
func TestResultsHaveEventIDsAndDates(t *testing.T) {
	r := example(t)
	var b bytes.Buffer
	if err := r.testResults().writeMarkdown(&b); err != nil {
		t.Fatal(err)
	}
	for _, c := range r.Canaries {
		for _, st := range c.Steps {
			for _, rec := range st.Records {
				if !strings.Contains(b.String(), rec.EventID) {
					t.Errorf("event %s is missing", rec.EventID)
				}
			}
		}
	}
	for _, want := range []string{"2026-11-01 09:00:00 UTC", "2026-11-02 09:05:00 UTC", "event-forged", "auditcanary-left", "198.51.100.9"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing", want)
		}
	}
}

// TestAPlaceThatIsNeverSeenSaysSo, in the inventory.
func TestAPlaceThatIsNeverSeenSaysSo(t *testing.T) {
	seen := example(t).inventory(nil).Sections[2]
	got := map[string]string{}
	for _, row := range seen.Rows {
		got[row[0]] = row[3] + " " + row[5]
	}
	if got[gamma] != "0 none seen" || got[alpha] != "5 2026-11-01 09:05:00 UTC" {
		t.Errorf("%v", got)
	}
}

// TestTheDesignShowsHowRecordsWereHeld, not only what was demanded.
func TestTheDesignShowsHowRecordsWereHeld(t *testing.T) {
	d := example(t).protectionDesign(nil)
	i := slices.IndexFunc(d.Sections, func(s section) bool { return s.Title == "How records were found to be held" })
	if rows := d.Sections[i].Rows; len(rows) != 1 || rows[0][0] != "COMPLIANCE, 365 days from its arrival" || rows[0][1] != "versioning Enabled, default COMPLIANCE 365 days" || rows[0][3] != "1" {
		t.Errorf("%q", rows)
	}
}

// eachHostileDocument renders every document of hostile reports.
func eachHostileDocument(t *testing.T, check func(d document) error) {
	t.Helper()
	for _, r := range hostileReports(t) {
		for _, d := range r.documents(poisonedInspection(r.shift, r.all)) {
			if err := check(d); err != nil {
				t.Fatalf("%s, hostile texts moved by %d (all: %v): %v", d.Name, r.shift, r.all, err)
			}
		}
	}
}

func TestHostileTextStaysInertInHTMLDocuments(t *testing.T) {
	t.Parallel()
	elements := strings.Fields("html head meta title style body main h1 h2 p table caption thead tbody tr th td div svg defs marker path line rect text")
	attributes := strings.Fields("lang charset http-equiv content name class scope role aria-label tabindex viewBox id refX refY markerWidth markerHeight orient d x y x1 y1 x2 y2 width height rx marker-end")
	eachHostileDocument(t, func(d document) error {
		var b bytes.Buffer
		if err := d.writeHTML(&b); err != nil {
			return err
		}
		if !utf8.Valid(b.Bytes()) {
			return fmt.Errorf("not UTF-8")
		}
		dec := xml.NewDecoder(&b)
		dec.Entity = xml.HTMLEntity
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
				if !slices.Contains(elements, x.Name.Local) {
					return fmt.Errorf("element %s", x.Name.Local)
				}
				for _, a := range x.Attr {
					if !slices.Contains(attributes, a.Name.Local) {
						return fmt.Errorf("attribute %s of %s", a.Name.Local, x.Name.Local)
					}
				}
			case xml.CharData:
				if i := bytes.IndexFunc(x, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
					return fmt.Errorf("a character that does not print in %.60q", x)
				}
			case xml.Comment:
				return fmt.Errorf("a comment: %.60q", x)
			}
		}
	})
}

// mdPlain is a line of ours without what was escaped: nothing in it may be markup.
var (
	mdEscaped = regexp.MustCompile(`\\[^A-Za-z0-9 ]|www\\\.|&(amp|lt|gt|#8203);`)
	mdMarkup  = regexp.MustCompile("[<>`*_~\\[\\]!$@]|://|www\\.")
	fence     = regexp.MustCompile(`^(flowchart LR|  [a-z]+[0-9]*\["[A-Za-z0-9 .,:/_#;-]*(<br/>[A-Za-z0-9 .,:/_#;-]*)*"\]|  [a-z]+[0-9]* -->\|"[A-Za-z0-9 .,:/_#;-]*"\| [a-z]+[0-9]*)$`)
)

func TestHostileTextStaysInertInMarkdownAndMermaid(t *testing.T) {
	t.Parallel()
	eachHostileDocument(t, func(d document) error {
		var b bytes.Buffer
		if err := d.writeMarkdown(&b); err != nil {
			return err
		}
		columns, within := 0, false
		for l := range strings.Lines(b.String()) {
			l = strings.TrimSuffix(l, "\n")
			if strings.IndexFunc(l, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 {
				return fmt.Errorf("a character that does not print in %.80q", l)
			}
			if l == "```mermaid" || within && l == "```" {
				within = !within
				continue
			}
			if within {
				if !fence.MatchString(l) {
					return fmt.Errorf("no line of a flowchart: %.200q", l)
				}
				continue
			}
			plain := mdEscaped.ReplaceAllString(l, "")
			if mdMarkup.MatchString(plain) {
				return fmt.Errorf("markup in %.200q", plain)
			}
			switch {
			case strings.HasPrefix(l, "|"):
				n := strings.Count(plain, "|")
				if columns != 0 && n != columns {
					return fmt.Errorf("a row of %d bars under one of %d: %.200q", n, columns, l)
				}
				columns = n
			case l == "":
				columns = 0
			case strings.HasPrefix(l, "# "), strings.HasPrefix(l, "## "):
			case startsBlock.MatchString(l):
				return fmt.Errorf("a block begins with %.80q", l)
			}
		}
		if within {
			return fmt.Errorf("the diagram does not end")
		}
		return nil
	})
}

func TestDiagramsDrawEveryBoxOnce(t *testing.T) {
	g := example(t).design()
	drawn := g.Draw()
	n := 0
	for _, c := range g.Columns {
		n += len(c)
	}
	if len(drawn.Boxes) != n || len(drawn.Arrows) != len(g.Arrows) {
		t.Errorf("%d boxes of %d, %d arrows of %d", len(drawn.Boxes), n, len(drawn.Arrows), len(g.Arrows))
	}
	for i, a := range drawn.Boxes {
		if a.X+a.W > drawn.Width || a.Y+a.H > drawn.Height {
			t.Errorf("box %q stands out of the drawing", a.Name.Text)
		}
		for _, b := range drawn.Boxes[i+1:] {
			if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("boxes %q and %q overlap", a.Name.Text, b.Name.Text)
			}
		}
	}
}

// TestAStoreIsNamedInItsOwnWords: one without buckets that nothing signs for is not said
// to have either.
func TestAStoreIsNamedInItsOwnWords(t *testing.T) {
	in := exampleInput(t)
	in.Facts.Stores = []StoreFact{{Name: "audit", Type: "loki", Region: "fsn1"}}
	r := New(in)
	r.Findings[0].At = canary.Location{Store: "audit", Key: "loki://audit/kube"}
	docs := map[string]string{}
	for _, d := range r.documents(nil) {
		var b bytes.Buffer
		if err := d.writeMarkdown(&b); err != nil {
			t.Fatal(err)
		}
		docs[d.Name] = b.String()
	}
	for _, tt := range []struct{ doc, want string }{
		{"test-results", `| loki:\/\/audit/kube |`},
		{"log-source-inventory", "| audit | loki | none | none | fsn1 | none | not stated | none demanded | no digest |"},
	} {
		if !strings.Contains(docs[tt.doc], tt.want) {
			t.Errorf("%s does not say %q:\n%s", tt.doc, tt.want, docs[tt.doc])
		}
	}
	if design := docs["log-protection-design"]; strings.Contains(design, "igned digest that names every") || strings.Contains(design, "bucket") || !strings.Contains(design, "loki in fsn1") || !strings.Contains(design, "nothing signs for it") {
		t.Errorf("log-protection-design:\n%s", design)
	}
}
