package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/trail"
)

// Chain is what the validations of one chain of signed digests found, or (Trail "")
// of what lies beside the chains of a place: what the whole ledger says of it,
// whatever the report's period.
type Chain struct {
	trail.Chain
	Result ChainResult `json:"result"`
	// Validated is when it last was, by our clock; Validations, how often. A place of
	// the configuration of which no chain ever was has none.
	Validated   time.Time `json:"validated,omitzero"`
	Validations int       `json:"validations"`
	// From and To: the time that valid digests cover without a hole.
	From time.Time `json:"covered_from,omitzero"`
	To   time.Time `json:"covered_to,omitzero"`
	// Counts over that time.
	Counts trail.Counts `json:"counts"`
	Head   *ChainHead   `json:"head"`
	// Findings that stand, what fails first; More counts others that the ledger does
	// not hold one by one.
	Findings []ChainFinding       `json:"findings"`
	More     map[trail.Status]int `json:"more,omitempty"`
}

// ChainHead is the last digest that was valid.
type ChainHead struct {
	Bucket string    `json:"bucket"`
	Key    string    `json:"key"`
	SHA256 string    `json:"sha256"`
	End    time.Time `json:"end"`
	// AgeSeconds from its end to when the report was drawn up.
	AgeSeconds int64 `json:"age_seconds"`
}

// ChainFinding is a finding, with when the validation that found it began.
type ChainFinding struct {
	trail.Finding
	Found time.Time `json:"found"`
}

// ChainResult is a chain in a word.
type ChainResult string

const (
	ChainBroken ChainResult = "broken"
	// ChainUnknown: something could not be found out, nothing is covered, or it was
	// never validated.
	ChainUnknown ChainResult = "not-known"
	ChainIntact  ChainResult = "intact"
)

// chains are those of the ledger, and each configured place of which there is none:
// the broken ones first, then by name.
func (b *builder) chains() []Chain {
	out := []Chain{}
	at := func(account, region string) bool {
		return slices.ContainsFunc(out, func(c Chain) bool { return c.Account == account && c.Region == region })
	}
	for _, c := range b.in.State.Chains() {
		out = append(out, chainOf(c, b.in.Now))
	}
	for _, t := range b.in.Facts.Targets {
		for _, region := range t.Regions {
			if !at(t.Account, region) {
				out = append(out, Chain{Chain: trail.Chain{Account: t.Account, Region: region}, Result: ChainUnknown, Findings: []ChainFinding{}})
			}
		}
	}
	results := []ChainResult{ChainBroken, ChainUnknown, ChainIntact}
	slices.SortStableFunc(out, func(x, y Chain) int {
		return cmp.Or(slices.Index(results, x.Result)-slices.Index(results, y.Result), cmp.Compare(x.String(), y.String()))
	})
	return out
}

func chainOf(s run.ChainState, now time.Time) Chain {
	c := Chain{Chain: s.Chain, Validated: s.Validated, Validations: s.Times, From: s.First.UTC(), To: s.Last.UTC(), Counts: s.Counts, Findings: []ChainFinding{}, More: map[trail.Status]int{}}
	if h := s.Head; h != nil && h.Key != "" {
		c.Head = &ChainHead{Bucket: h.Bucket, Key: h.Key, SHA256: h.SHA256, End: h.End.UTC(), AgeSeconds: int64(now.Sub(h.End) / time.Second)}
	}
	for _, f := range s.Findings {
		switch {
		case f.More > 0:
			c.More[f.Status] += f.More
		default:
			if f.Kind == trail.NoDigests && f.Status == trail.Pending {
				f.Status = trail.Inconclusive // nothing was validated
			}
			c.Findings = append(c.Findings, ChainFinding{f.Finding, f.Found})
		}
	}
	statuses := []trail.Status{trail.Fail, trail.Inconclusive}
	slices.SortStableFunc(c.Findings, func(x, y ChainFinding) int {
		order := func(f ChainFinding) int {
			return (slices.Index(statuses, f.Status) + len(statuses) + 1) % (len(statuses) + 1)
		}
		return order(x) - order(y)
	})
	switch {
	case c.found(trail.Fail) > 0:
		c.Result = ChainBroken
	case c.found(trail.Inconclusive) > 0, c.Trail != "" && c.From.IsZero():
		c.Result = ChainUnknown
	default:
		c.Result = ChainIntact
	}
	return c
}

// found counts the findings of a status.
func (c Chain) found(s trail.Status) int {
	n := c.More[s]
	for _, f := range c.Findings {
		if f.Status == s {
			n++
		}
	}
	return n
}

// name of the chain at its place.
func (c Chain) name() string {
	switch {
	case c.Validations == 0:
		return "–"
	case c.Trail == "":
		return "files beside the chains"
	case c.Backfill:
		return c.Trail + " (backfill)"
	}
	return c.Trail
}

// covered says which time is.
func (c Chain) covered(at func(time.Time) string) string {
	switch {
	case c.Validations > 0 && c.Trail == "":
		return "–"
	case c.From.IsZero():
		return "nothing"
	}
	return at(c.From) + " to " + at(c.To)
}

// said says in one line what is wrong with the chain, or what is not known of it.
func (c Chain) said() string {
	switch {
	case c.Validations == 0:
		return "no validation is in the ledger"
	case c.Result == ChainIntact:
		return ""
	case len(c.Findings) == 0 && len(c.More) == 0:
		return "no digest was valid, so that nothing is covered"
	}
	if len(c.Findings) == 0 {
		return fmt.Sprintf("%d findings", c.found(trail.Fail)+c.found(trail.Inconclusive))
	}
	return c.Findings[0].says()
}

func (f ChainFinding) says() string {
	s := string(f.Kind) + ": " + f.Detail
	if f.Object != "" {
		s += " (" + f.Object + ")"
	}
	return s
}

// validated reports whether any chain ever was.
func (p Protection) validated() bool {
	return slices.ContainsFunc(p.Chains, func(c Chain) bool { return c.Validations > 0 })
}

// broken are the chains that are.
func (p Protection) broken() (out []Chain) {
	for _, c := range p.Chains {
		if c.Result == ChainBroken {
			out = append(out, c)
		}
	}
	return out
}

// chainsSay sums the chains up in words.
func chainsSay(r Report) string {
	p := r.Protection
	switch stores := r.Facts.Stores; {
	case p.validated():
	case len(stores) > 0 && !slices.ContainsFunc(stores, StoreFact.signed):
		return "Nothing signs for what is in this log store, so that there is no chain of digests to validate, and nothing is known of the records beside those of canaries."
	default:
		return "No chain of digests was ever validated, so that nothing is known of the log files beside those of canaries: run auditcanary integrity."
	}
	n := map[ChainResult]int{}
	never := 0
	for _, c := range p.Chains {
		switch {
		case c.Validations == 0:
			never++
		case c.Trail != "" || c.Result != ChainIntact: // files beside the chains are worth a word only where something is wrong
			n[c.Result]++
		}
	}
	parts := []string{fmt.Sprintf("%d intact", n[ChainIntact]), fmt.Sprintf("%d broken", n[ChainBroken]), fmt.Sprintf("%d not known", n[ChainUnknown])}
	if never > 0 {
		parts = append(parts, amount(never, "place", "places")+" never validated")
	}
	return "Chains of signed digests, as the ledger's validations left them: " + strings.Join(parts, ", ") + "."
}

type chainRow struct {
	Account, Region, Name string
	Tag                   tag
	Covered               string
	Digests, Logs         string
	Head, Validated       string
	Says                  []chainSays
	More                  int
}

type chainSays struct {
	Tag    tag
	Detail string
	Object string
	When   string
}

// How many chains, and of each how many findings, the page shows.
const (
	maxChainRows     = 200
	maxChainFindings = 3
)

func (r ChainResult) tag() tag {
	switch r {
	case ChainIntact:
		return tag{"pass", "✓", "intact"}
	case ChainBroken:
		return tag{"fail", "✗", "broken"}
	}
	return tag{"unknown", "?", "not known"}
}

// chainRows are the chains, as many as are shown; intact files beside them are not.
func chainRows(r Report) (out []chainRow, more int) {
	if !r.Protection.validated() {
		return nil, 0
	}
	for _, c := range r.Protection.Chains {
		if c.Trail == "" && c.Result == ChainIntact {
			continue
		}
		if len(out) == maxChainRows {
			more++
			continue
		}
		out = append(out, chainRowOf(c))
	}
	return out, more
}

func chainRowOf(c Chain) chainRow {
	k := c.Counts
	row := chainRow{
		Account: c.Account, Region: c.Region, Name: c.name(), Tag: c.Result.tag(), Covered: c.covered(when),
		Digests: validOf(k.Digests, k.DigestsInvalid+k.DigestsMissing+k.DigestsUnknown), Logs: validOf(k.Logs, k.LogsInvalid+k.LogsMissing+k.LogsUnknown),
		Head: "–", Validated: "validated " + when(c.Validated),
	}
	if c.Validations == 0 {
		row.Validated = "never validated"
	}
	if c.Trail == "" {
		row.Digests, row.Logs = "–", "–"
	}
	if c.Head != nil {
		row.Head = lasts(float64(c.Head.AgeSeconds))
	}
	bad := c.More[trail.Fail] + c.More[trail.Inconclusive]
	for _, f := range c.Findings {
		if f.Status == trail.Pending {
			continue
		}
		if bad++; len(row.Says) == maxChainFindings {
			continue
		}
		one := chainSays{Tag: tag{"unknown", "?", string(f.Kind)}, Detail: f.Detail, Object: f.Object, When: "found " + when(f.Found)}
		if f.Status == trail.Fail {
			one.Tag.Class, one.Tag.Mark = "fail", "✗"
		}
		if !f.From.IsZero() && !f.Until.IsZero() {
			one.When = when(f.From) + " to " + when(f.Until) + ", " + one.When
		}
		row.Says = append(row.Says, one)
	}
	row.More = bad - len(row.Says)
	if bad == 0 && c.Result == ChainUnknown {
		row.Says = []chainSays{{Detail: c.said()}}
	}
	return row
}

// validOf shows how many are valid, and of how many where that is not all.
func validOf(valid, other int) string {
	if other == 0 {
		return fmt.Sprint(valid)
	}
	return fmt.Sprintf("%d of %d", valid, valid+other)
}
