package access

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A statement of an identity policy, from a small alphabet so that things meet.
func genStatement(t *rapid.T, label, effect string) string {
	pick := func(what string, from ...string) string { return rapid.SampledFrom(from).Draw(t, label+what) }
	some := func(what string, from ...string) []string {
		return rapid.SliceOfNDistinct(rapid.SampledFrom(from), 1, 2, rapid.ID).Draw(t, label+what)
	}
	m := map[string]any{"Effect": effect}
	m[pick("actionKind", "Action", "Action", "NotAction")] = some("actions", "*", "s3:*", "S3:delete*", "s3:GetObject", "kms:*", "s3:DeleteObjectVersio?")
	m[pick("resourceKind", "Resource", "Resource", "NotResource")] = some("resources", "*", "arn:aws:s3:::logs/*", "arn:aws:s3:::logs/tmp/*", "arn:aws:s3:::other", "arn:aws:s3:::logs/${aws:username}/*", "arn:aws:s3:::l*s/?")
	if rapid.Bool().Draw(t, label+"conditional") {
		op := pick("op", "StringEquals", "StringNotEquals", "StringLike", "StringEqualsIfExists", "ForAnyValue:StringLike", "ForAllValues:StringLike", "StringSounds")
		m["Condition"] = map[string]any{op: map[string]any{pick("key", "aws:username", "aws:PrincipalOrgID", "aws:PrincipalOrgPaths", "aws:PrincipalAccount", "aws:SourceIp", "aws:PrincipalTag/team"): some("values", "alice", "bob", "o-ours", "o-ours/*", home, "*")}}
	}
	if pick("odd", "", "", "", "", "x") != "" {
		m["Comment"] = "x"
	}
	b, _ := json.Marshal(m)
	return string(b)
}

func withPrincipal(t *rapid.T, label, statement string) string {
	kind := rapid.SampledFrom([]string{"Principal", "Principal", "NotPrincipal"}).Draw(t, label+"kind")
	who := rapid.SampledFrom([]string{`"*"`, aws(alice), aws(ops), aws(home), aws(archive), `{"Service":"cloudtrail.amazonaws.com"}`, `{"CanonicalUser":"79a5"}`}).Draw(t, label+"who")
	return `{"` + kind + `":` + who + "," + statement[1:]
}

func genPolicies(t *rapid.T, label, kind string, most int) []Policy {
	var out []Policy
	for i := range rapid.IntRange(0, most).Draw(t, label+"policies") {
		var statements []string
		for j := range rapid.IntRange(1, 3).Draw(t, label+"statements") {
			at := fmt.Sprintf("%s%d.%d ", label, i, j)
			s := genStatement(t, at, rapid.SampledFrom([]string{"Allow", "Allow", "Deny"}).Draw(t, at+"effect"))
			if kind == "bucket policy" {
				s = withPrincipal(t, at, s)
			}
			statements = append(statements, s)
		}
		out = append(out, doc(kind, statements...))
	}
	return out
}

func genScene(t *rapid.T) scene {
	s := scene{
		kind:     rapid.SampledFrom([]string{User, Role, Root, Service, Anybody, Foreigner}).Draw(t, "kind"),
		action:   rapid.SampledFrom([]string{"s3:DeleteObjectVersion", "s3:GetObject", "kms:Decrypt"}).Draw(t, "action"),
		on:       rapid.SampledFrom([]string{"arn:aws:s3:::logs/a", "arn:aws:s3:::logs/tmp/a", "arn:aws:s3:::logs/*", "arn:aws:s3:::other"}).Draw(t, "on"),
		owner:    rapid.SampledFrom([]string{home, home, archive, "?"}).Draw(t, "owner"),
		decides:  rapid.Bool().Draw(t, "decides"),
		linked:   rapid.Bool().Draw(t, "linked") && rapid.Bool().Draw(t, "linked too"),
		policies: genPolicies(t, "identity ", "inline policy", 2),
		resource: genPolicies(t, "resource ", "bucket policy", 1),
	}
	if rapid.Bool().Draw(t, "bounded") {
		s.boundary = append(genPolicies(t, "boundary ", "permissions boundary", 1), doc("permissions boundary", allowAll))[:1]
	}
	if rapid.Bool().Draw(t, "in a unit") {
		s.scps = [][]Policy{append(genPolicies(t, "scp ", SCPKind, 1), doc(SCPKind, allowAll))}
	}
	return s
}

func TestAnExplicitDenyAlwaysWins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := genScene(t)
		where := rapid.IntRange(0, 3).Draw(t, "where")
		own := s.kind == User || s.kind == Role
		switch {
		case where == 0 && own:
			s.policies = append(s.policies, doc("inline policy", denyAll))
		case where == 1 && own:
			s.boundary = []Policy{doc("permissions boundary", allowAll, denyAll)}
		case where == 2 && (own || s.kind == Root) && !s.linked:
			s.scps = append(s.scps, []Policy{doc(SCPKind, allowAll, denyAll)})
		default:
			s.resource = append(s.resource, doc("bucket policy", to("Deny", `"*"`, "*")))
		}
		if d := s.decide(); d.Outcome != Denied {
			t.Fatalf("%s in spite of a deny: %s", d.Outcome, d.Path())
		}
	})
}

// added returns the scene with a further statement of that effect somewhere.
func added(t *rapid.T, s scene, effect string) scene {
	statement := genStatement(t, "added ", effect)
	switch rapid.IntRange(0, 3).Draw(t, "where") {
	case 0:
		s.policies = append(slices.Clone(s.policies), doc("inline policy", statement))
	case 1:
		s.resource = append(slices.Clone(s.resource), doc("bucket policy", withPrincipal(t, "added ", statement)))
	case 2:
		if s.boundary != nil {
			b := s.boundary[0]
			b.Doc.Statements = append(slices.Clone(b.Doc.Statements), doc("", statement).Doc.Statements...)
			s.boundary = []Policy{b}
		}
	case 3:
		if s.scps != nil {
			s.scps = [][]Policy{append(slices.Clone(s.scps[0]), doc(SCPKind, statement))}
		}
	}
	return s
}

// checkUntil checks a property, and again until a case has reached what it is about:
// chance may miss it once.
func checkUntil(t *testing.T, reached *int, what string, property func(*rapid.T)) {
	t.Helper()
	for range 100 {
		if rapid.Check(t, property); *reached > 0 || t.Failed() {
			return
		}
	}
	t.Errorf("nothing ever %s: the cases prove nothing", what)
}

func TestAddingADenyNeverAddsAccess(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := genScene(t)
		before, after := s.decide(), added(t, s, "Deny").decide()
		if after.Outcome > before.Outcome {
			t.Fatalf("from %s (%s) to %s (%s)", before.Outcome, before.Reason, after.Outcome, after.Path())
		}
	})
}

func TestAddingAnAllowNeverRemovesAccess(t *testing.T) {
	changed := 0
	checkUntil(t, &changed, "added access", func(t *rapid.T) {
		s := genScene(t)
		before, after := s.decide(), added(t, s, "Allow").decide()
		if after.Outcome < before.Outcome {
			t.Fatalf("from %s (%s) to %s (%s)", before.Outcome, before.Path(), after.Outcome, after.Reason)
		}
		if after.Outcome > before.Outcome {
			changed++
		}
	})
}

// What is known can only be learnt: a statement with an element that is not known
// lies between having no such statement, and having it without that element.
func TestWhatIsNotKnownLiesBetween(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := scene{policies: genPolicies(t, "identity ", "inline policy", 2)}
		effect := rapid.SampledFrom([]string{"Allow", "Deny"}).Draw(t, "effect")
		known := fmt.Sprintf(`{"Effect":%q,"Action":"s3:*","Resource":"*"}`, effect)
		odd := strings.Replace(known, "{", `{"Unless":"x",`, 1)
		with := func(statement string) Outcome {
			c := s
			c.policies = append(slices.Clone(s.policies), doc("inline policy", statement))
			return c.decide().Outcome
		}
		a, b, c := s.decide().Outcome, with(odd), with(known)
		if b < min(a, c) || b > max(a, c) {
			t.Fatalf("without %s, odd %s, with %s", a, b, c)
		}
		if b == Allowed && effect == "Deny" || b == Denied && effect == "Allow" && c != Denied {
			t.Fatalf("%s with an undecided %s", b, effect)
		}
	})
}

// Whose a resource is, and what its policy says, may be unknown: what would be
// allowed if the one or the other were known is then possible at least.
func TestWhatIsNotKnownOfAResourceIsNotTakenForADeny(t *testing.T) {
	open := 0
	checkUntil(t, &open, "was allowed", func(t *rapid.T) {
		s := genScene(t)
		s.kind = rapid.SampledFrom([]string{User, Role, Root}).Draw(t, "of an account")
		s.owner = rapid.SampledFrom([]string{home, archive}).Draw(t, "owner")
		known := s.decide()
		if known.Outcome == Denied {
			return
		}
		open++
		s.owner = "?"
		if d := s.decide(); d.Outcome != Possible {
			t.Fatalf("%s (%s) of an unknown owner, of a known one %s (%s)", d.Outcome, d.Reason, known.Outcome, known.Path())
		}
	})
}

func TestNotActionAndNotResourceAreComplements(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := func(what string, from ...string) string {
			b, _ := json.Marshal(rapid.SliceOfNDistinct(rapid.SampledFrom(from), 1, 3, rapid.ID).Draw(t, what))
			return string(b)
		}
		actions := list("actions", "s3:*", "s3:Del*", "kms:Decrypt", "*:Get*", "?3:*")
		resources := list("resources", "arn:aws:s3:::a*", "arn:aws:s3:::*", "arn:aws:kms:*:*:key/*", "arn:aws:s3:::b/?")
		statement := func(not1, not2 string) Statement {
			return doc("", fmt.Sprintf(`{"Effect":"Allow","%sAction":%s,"%sResource":%s}`, not1, actions, not2, resources)).Doc.Statements[0]
		}
		q := (&World{}).ask(&Principal{Kind: User, ARN: alice, Account: home},
			rapid.SampledFrom([]string{"s3:DeleteObject", "s3:GetObject", "kms:Decrypt", "ec2:Run"}).Draw(t, "action"), &Resource{},
			compile(rapid.SampledFrom([]string{"arn:aws:s3:::a", "arn:aws:s3:::b/c", "arn:aws:kms:eu-west-1:1:key/k", "arn:aws:s3:::b/*", "*"}).Draw(t, "resource")))
		plain, notAction, notResource := statement("", ""), statement("Not", ""), statement("", "Not")
		if a, b := plain.actionCovers(q.actionG), notAction.actionCovers(q.actionG); a != b.not() {
			t.Fatalf("%s: action %d, NotAction %d", actions, a, b)
		}
		a, _ := plain.resourceCovers(q)
		b, _ := notResource.resourceCovers(q)
		if a != b.not() {
			t.Fatalf("%s: resource %d, NotResource %d", resources, a, b)
		}
	})
}

// naive matches a pattern by trying everything.
func naive(p, s string) bool {
	switch {
	case p == "":
		return s == ""
	case p[0] == '*':
		return naive(p[1:], s) || s != "" && naive(p, s[1:])
	case s == "":
		return false
	}
	return (p[0] == '?' || p[0] == s[0]) && naive(p[1:], s[1:])
}

func TestWildcardsMatchAsANaiveMatcherDoes(t *testing.T) {
	pattern := rapid.StringMatching(`[ab*?]{0,7}`)
	text := rapid.StringMatching(`[ab]{0,8}`)
	rapid.Check(t, func(t *rapid.T) {
		p, s := pattern.Draw(t, "pattern"), text.Draw(t, "text")
		if got, want := compile(p).covers(compile(s)), truthOf(naive(p, s)); got != want {
			t.Fatalf("%q on %q: %d, want %d", p, s, got, want)
		}
	})
}

// What is said of two patterns holds for every text that the second stands for.
func TestPatternsAgainstPatternsHoldForEveryText(t *testing.T) {
	pattern := rapid.StringMatching(`[ab*?]{0,5}`)
	var texts []string
	for n := range 6 {
		for i := range 1 << n {
			texts = append(texts, strings.NewReplacer("0", "a", "1", "b").Replace(fmt.Sprintf("%0*b", n, i))[:n])
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		p, s := pattern.Draw(t, "pattern"), pattern.Draw(t, "other")
		got := compile(p).covers(compile(s))
		names := compile(s) // no text here has a colon, so that names are texts
		for i := range names {
			if names[i] == anyRun {
				names[i] = anyName
			}
		}
		if as := compile(p).covers(names); as != got {
			t.Fatalf("%q covers %q: %d, as a name %d", p, s, got, as)
		}
		for _, text := range texts {
			if !naive(s, text) {
				continue
			}
			switch m := naive(p, text); {
			case got == yes && !m, got == no && m:
				t.Fatalf("%q covers %q: %d, and yet for %q: %t", p, s, got, text, m)
			}
		}
	})
}

func FuzzParseDocument(f *testing.F) {
	for _, seed := range []string{
		`{"Version":"2012-10-17","Statement":[` + allowAll + `,` + denyAll + `]}`,
		`{"Statement":{"Effect":"Deny","NotPrincipal":{"AWS":["*"]},"NotAction":"s3:*","NotResource":"arn:aws:s3:::${aws:username}/*","Condition":{"Bool":{"aws:SecureTransport":false}}}}`,
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"*","Resource":"${*}${","Condition":{"ForAllValues:NumericLessThanIfExists":{"s3:max-keys":10}}}}`,
		`{"Version":"2030","Id":"x","Statement":[{"Effect":"","When":{}}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := ParseDocument(raw)
		if err != nil {
			return
		}
		set := []Policy{{Kind: "any policy", Doc: d}}
		for _, kind := range []string{User, Role, Root, Anybody, Service, Foreigner} {
			for _, on := range []string{aFile, "arn:aws:s3:::logs/*"} {
				s := scene{kind: kind, on: on, policies: set, boundary: set, scps: [][]Policy{set}, rcps: [][]Policy{set}, resource: set, decides: true}
				d := s.decide()
				// What denies everything for certain is not outdone by anything it says itself.
				s.resource = append(slices.Clone(set), doc("bucket policy", to("Deny", `"*"`, "*")))
				if s.decide().Outcome != Denied {
					t.Fatalf("%s in spite of a deny; without it %s", kind, d.Outcome)
				}
			}
		}
	})
}
