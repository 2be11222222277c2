package packet

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/ledger"
)

// What a packet's entries may cost, whoever signed them. Four gigabytes of entries
// pack to a few megabytes: without limits a small file could ask for any memory. They
// are far above a year of hourly runs; a packet that is over one is broken (TooMuch),
// and Build does not build it.
const (
	// maxText is the most bytes of an id, a version, a hash, or a part of a place.
	maxText = 256
	// maxTitle is the most bytes of a scenario's title.
	maxTitle = 1024
	// maxSaid is how many bytes are kept of a reason, or of what was looked at.
	maxSaid = 512
	// maxControls is how many controls a scenario may have.
	maxControls = 100
	// maxPublicKey is the most bytes of a provider's public key: RSA of 16,384 bits fits.
	maxPublicKey = 4096
	// maxStatuses is how many kinds of findings a validation may have.
	maxStatuses = 32
	// maxManifest bounds manifest.json, in bytes, which is read before any key is known
	// to be trusted.
	maxManifest = 1 << 20
)

// limits are how many of each kind a packet may have.
type limits struct {
	runs, scenarios, places, canaries, chains, blobs, keys int
	// bytes that are put aside in scratch.
	aside int
	// pairs of runs and scenarios, names that are shared, lines of categories.
	pairs, names, lines int
	// evidence: receipts, records and objects; checked: digests that name a file.
	evidence, checked int
}

func maxLimits() limits {
	return limits{
		runs: 200_000, scenarios: 20_000, places: 20_000, canaries: 1_000_000, chains: 20_000, blobs: 500_000, keys: 10_000, aside: math.MaxInt32,
		pairs: 2_000_000, names: 200_000, lines: 200_000, evidence: 10_000_000, checked: 1_000_000,
	}
}

// take checks one entry, folds it in, and looks whether it was one too many.
func (s *state) take(leaf int64, e entry) error {
	if err := e.check(); err != nil {
		name := BadEntry
		if errors.Is(err, errTooLong) {
			name = TooMuch
		}
		return &Fault{Name: name, Kind: ledger.ErrBroken, File: leavesFile, Leaf: leaf, Err: err}
	}
	if err := s.apply(leaf, e); err != nil {
		return err
	}
	return s.tooMuch(leaf)
}

func (s *state) tooMuch(leaf int64) error {
	if err := s.over(); err != nil {
		return &Fault{Name: TooMuch, Kind: ledger.ErrBroken, File: leavesFile, Leaf: leaf, Err: err}
	}
	return nil
}

func (s *state) over() error {
	type count struct {
		what    string
		n, most int
	}
	l := s.limits
	counts := []count{
		{"runs", len(s.runs), l.runs}, {"scenarios", len(s.scenarios), l.scenarios}, {"places", len(s.places), l.places},
		{"canaries", s.planned, l.canaries}, {"canaries of earlier packets", s.carriedBefore + len(s.carried), l.canaries}, {"chains of digests", len(s.chains), l.chains},
		{"pairs of runs and scenarios", s.pairs, l.pairs}, {"names", len(s.names), l.names}, {"lines of categories", s.lines, l.lines},
		{"bytes of entries, packed", int(s.aside.room.at), l.aside}, {"receipts, records and objects", len(s.evidence) + s.alerts + len(s.unheld) + s.objects, l.evidence},
	}
	if c := s.custody; c != nil {
		counts = append(counts, count{"digests", len(c.blobs), l.blobs}, count{"public keys", len(c.keys), l.keys}, count{"seals", c.checks, l.checked})
	}
	for _, c := range counts {
		if c.n > c.most {
			return fmt.Errorf("more than %d %s: choose a shorter period, or a control", c.most, c.what)
		}
	}
	return nil
}

var errTooLong = errors.New("longer than it may be")

// check says what of an entry no packet may have: ids and places that are no names,
// for people will read them in a terminal or a spreadsheet, and what is too long.
func (e entry) check() error {
	var c checks
	c.name("run", e.Run)
	c.name("canary", e.Canary)
	if b := e.Begun; b != nil {
		c.text("version", b.Version, maxText)
		c.text("configuration hash", b.ConfigHash, maxText)
		c.text("catalogue hash", b.CatalogueHash, maxText)
	}
	if p := e.Planned; p != nil {
		c.name("canary", p.Canary.ID)
		c.name("run", p.Canary.Run)
		c.name("scenario", p.Canary.Scenario)
		c.name("scenario hash", p.Canary.ScenarioHash)
		c.target(p.Canary.Target)
		c.name("scenario", p.Scenario.ID)
		c.name("scenario hash", p.Scenario.Hash)
		c.text("category", p.Scenario.Category, maxText)
		c.text("kind", string(p.Scenario.Kind), maxText)
		c.text("title", p.Scenario.Title, maxTitle)
		c.few("controls", len(p.Scenario.Controls), maxControls)
		for _, control := range p.Scenario.Controls {
			c.text("control", control, maxText)
		}
	}
	if l := e.Listed; l != nil {
		c.target(l.Target)
	}
	if v := e.Validated; v != nil {
		c.name("account", v.Chain.Account)
		c.name("region", v.Chain.Region)
		c.text("organisation", v.Chain.Organization, maxText)
		c.text("trail", v.Chain.Trail, maxText)
		c.name("home region", v.Chain.HomeRegion)
		for _, f := range v.Findings {
			c.text("status", string(f.Status), maxText)
		}
		c.few("statuses", len(v.More), maxStatuses)
		for status := range v.More {
			c.text("status", string(status), maxText)
		}
	}
	if r := e.Register; r != nil {
		c.text("source of exceptions", r.Source, maxTitle)
		c.text("hash of exceptions", r.SHA256, maxText)
		for _, x := range r.Exceptions {
			c.name("exception", x.ID)
			c.text("owner", x.Owner, maxTitle)
			c.text("approver", x.Risk.Approver, maxTitle)
			c.text("day", string(x.Expires), maxText)
		}
	}
	if b := e.Blob; b != nil {
		c.text("hash", b.SHA256, maxText)
	}
	if k := e.PublicKey; k != nil {
		c.text("fingerprint", k.Fingerprint, maxText)
		c.few("bytes of a public key", len(k.DER), maxPublicKey)
	}
	return c.err
}

// checks remembers the first that fails.
type checks struct{ err error }

func (c *checks) target(t canary.Target) {
	c.name("provider", t.Provider)
	c.name("account", t.Account)
	c.name("region", t.Region)
}

func (c *checks) name(what, s string) {
	c.text(what, s, maxText)
	if c.err == nil && strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_.:/-", r)
	}) {
		c.err = fmt.Errorf("%s %.80q has other characters than letters, digits and _.:/-", what, s)
	}
}

func (c *checks) text(what, s string, most int) {
	if c.err == nil && len(s) > most {
		c.err = fmt.Errorf("%s %.80q has %d bytes, at most %d: %w", what, s, len(s), most, errTooLong)
	}
}

func (c *checks) few(what string, n, most int) {
	if c.err == nil && n > most {
		c.err = fmt.Errorf("%d %s, at most %d: %w", n, what, most, errTooLong)
	}
}

// name gives a string that is kept once for all who use it.
func (s *state) name(text string) string {
	if have, ok := s.names[text]; ok {
		return have
	}
	text = strings.Clone(text)
	s.names[text] = text
	return text
}

// cut keeps the beginning of a sentence.
func cut(s string) string {
	if len(s) <= maxSaid {
		return s
	}
	return strings.ToValidUTF8(s[:maxSaid], "") + "…"
}
