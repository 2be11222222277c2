package coverage

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/auditcanary/auditcanary/shared/canary"
)

func TestWhatHoldsForAllActivitiesIsSaidOnce(t *testing.T) {
	in := scopeInput()
	s := NewScope(in)
	if s.Prefix != "aws/" || !slices.Equal(s.Controls, []string{"iso27017:2015/12.4.3"}) || len(s.Sources) != 1 {
		t.Errorf("prefix %q, controls %q, sources %q", s.Prefix, s.Controls, s.Sources)
	}
	for _, a := range s.Activities {
		if len(a.Sources) > 0 || slices.Contains(a.Controls, "iso27017:2015/12.4.3") {
			t.Errorf("%s repeats it: %q, %q", a.Category.ID, a.Sources, a.Controls)
		}
	}

	// As soon as it does not hold for one of them, it is said where it holds.
	in.Scenarios = append(slices.Clone(in.Scenarios), canary.Scenario{
		ID: "gcp/object", Category: "network-rules", Kind: canary.DoneAndUndone, Schedule: canary.Schedule{Every: "daily"},
		Controls: []string{"nist-800-53:r5/AU-9"}, Steps: []canary.Step{{Call: "s3:PutObject"}},
	})
	s = NewScope(in)
	if s.Prefix != "" || len(s.Controls) != 0 {
		t.Errorf("prefix %q, controls %q", s.Prefix, s.Controls)
	}
	for _, a := range s.Activities {
		if other := a.Category.ID == "network-rules"; other != (len(a.Sources) == 1) || len(a.Controls) == 0 {
			t.Errorf("%s: sources %q, controls %q", a.Category.ID, a.Sources, a.Controls)
		}
	}
	for format, doc := range written(t, s) {
		for _, want := range []string{"recorded in: Cloud data events", "its row says so", "No control is common", "gcp/object", "aws/key"} {
			if !strings.Contains(doc, want) {
				t.Errorf("%q is not in the %s", want, format)
			}
		}
	}
}

func TestScenariosStandByHowOftenTheyRunWithWhatIsSpecialOfThem(t *testing.T) {
	in := scopeInput()
	scenario := func(id, every string, kind canary.Kind, scope string) canary.Scenario {
		return canary.Scenario{ID: id, Category: "permissions", Kind: kind, Scope: scope, Schedule: canary.Schedule{Every: every}, Steps: []canary.Step{{Call: "iam:CreateRole"}}}
	}
	in.Scenarios = []canary.Scenario{
		scenario("aws/e", "yearly", "unheard-of", "region"),
		scenario("aws/d", "weekly", canary.DryRun, "region"),
		scenario("aws/c", "hourly", canary.MustBeDenied, "account"),
		scenario("aws/b", "daily", canary.Decoy, "region"),
		scenario("aws/a", "hourly", canary.DoneAndUndone, "region"),
	}
	s := NewScope(in)
	if got, want := s.Activities[0].scenarios(), "hourly: a, c (M, A); daily: b (D); weekly: d (R); yearly: e (unheard-of)"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for format, doc := range written(t, s) {
		for _, m := range s.Marks() {
			if !strings.Contains(doc, "("+m.Sign+") "+m.Meaning) {
				t.Errorf("the %s does not say what %s means", format, m.Sign)
			}
		}
	}
}

// A page has no room for a thousand accounts, and leaves none of them out.
func TestManyAccountsStandInAnAnnex(t *testing.T) {
	in := scopeInput()
	var many []string
	for i := range maxListed + 1 {
		many = append(many, fmt.Sprintf("%012d", i))
	}
	in.Systems = []System{{many, []string{"eu-west-1"}}, {many[:1], []string{"us-east-1"}}}
	for format, doc := range written(t, NewScope(in)) {
		page, annex, found := strings.Cut(doc, "Annex: the 25 accounts in eu-west-1")
		if !found || !strings.Contains(page, "25 accounts, which the annex lists") || strings.Contains(page, many[1]) || !strings.Contains(annex, strings.Join(many, ", ")) {
			t.Errorf("the %s:\n%s", format, doc)
		}
	}
	in.Systems[0].Accounts = many[:maxListed]
	for format, doc := range written(t, NewScope(in)) {
		if strings.Contains(doc, "Annex") {
			t.Errorf("the %s has an annex:\n%s", format, doc)
		}
	}
}

// written is the document in each of its formats.
func written(t *testing.T, s Scope) map[string]string {
	t.Helper()
	docs := map[string]string{}
	for format, write := range map[string]func(io.Writer) error{"Markdown": s.WriteMarkdown, "page": s.WriteHTML} {
		var b strings.Builder
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		docs[format] = b.String()
	}
	return docs
}
