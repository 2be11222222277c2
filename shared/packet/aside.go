package packet

import (
	"bytes"
	"encoding/binary"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// aside is what a fold has put aside, each kind so that what must be seen together is in
// one part.
type aside struct {
	room *room
	// entries about canaries, by canary; rings are what alerts name and what was heard, by
	// the name; answers say of what was heard that an alert before it names it, by canary.
	entries, rings, answers *piles
	// lines of verdicts in the order of their plans, looks in that of their verdicts.
	lines, looks *piles
	// objects of each place, and seals, to be counted.
	objects *piles
}

func newAside(s Scratch, count int) *aside {
	if count == 0 {
		count = partCount
	}
	r := newRoom(s)
	of := func(size int) *piles { return newPiles(r, count, size) }
	return &aside{room: r, entries: of(8 << 10), rings: of(1 << 10), answers: of(512), lines: of(2 << 10), looks: of(1 << 10), objects: of(512)}
}

// noted is what an entry says of a canary.
type noted struct {
	Leaf int64 `json:"l"`
	// Holds: the period holds the time at which it was written.
	Holds bool  `json:"h,omitempty"`
	Entry entry `json:"e"`
	// Large: the record's bytes are not in the ledger. Wrong is what is wrong with them.
	Large bool     `json:"r,omitempty"`
	Wrong []string `json:"w,omitempty"`
	Seal  *sealed  `json:"s,omitempty"`
}

// sealed is what was found out about the seal of a record.
type sealed struct {
	Same    bool   `json:"s,omitempty"` // it is of the bytes that the record was read from
	NotHeld bool   `json:"n,omitempty"`
	Wrong   string `json:"w,omitempty"`
}

// putAside keeps of an entry what the fold of its canary needs. What the bytes of a
// record, or of a digest, have to say is found out at once.
func (s *state) putAside(leaf int64, holds bool, e entry) error {
	n := noted{Leaf: leaf, Holds: holds, Entry: entry{Type: e.Type, Canary: e.Canary}}
	to := s.aside.entries.of(idKey(e.Canary))
	switch {
	case e.Type == "planned" && e.Planned != nil:
		n.Entry.Planned, n.Entry.At, n.Entry.Run = e.Planned, e.At, e.Run
	case e.Type == "blocked" && e.Blocked != nil:
		n.Entry.Blocked = e.Blocked
	case e.Type == "receipt" && e.Receipt != nil:
		n.Entry.Receipt = e.Receipt
	case e.Type == "verdict" && e.Verdict != nil:
		n.Entry.Verdict = e.Verdict
	case e.Type == "heard" && e.Heard != nil:
		n.Entry.Heard = e.Heard
		if err := s.heard(leaf, e); err != nil {
			return err
		}
	case e.Type == "sighted" && e.Sighted != nil:
		if n.Large = len(e.Sighted.Raw) == 0; !n.Large {
			n.Wrong = wrongRecord(e.Sighted)
		}
		small := *e.Sighted
		small.Raw = nil
		n.Entry.Sighted = &small
	case e.Type == "kept" && e.Kept != nil && s.custody != nil:
		id, same, err := s.custody.keep(*e.Kept)
		n.Seal = &sealed{Same: same}
		switch {
		case errors.Is(err, errScratch):
			return err
		case errors.Is(err, errNotHeld):
			n.Seal.NotHeld = true
		case err != nil:
			n.Seal.Wrong = err.Error()
		case e.Kept.Digest != nil:
			if err := s.aside.objects.addDistinct(ofSeals, id); err != nil {
				return err
			}
		}
		small := *e.Kept
		small.Digest, small.Path = nil, nil
		n.Entry.Kept = &small
	case e.Type != "forged" && !holds:
		return nil // it says nothing of a canary, and is of no account
	}
	record, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("put leaf %d aside: %w", leaf, err)
	}
	return s.aside.entries.add(to, record)
}

// ofSeals is the group of seals among what is counted; the others are places.
const ofSeals = math.MaxUint32

const (
	isRang  = 0
	isHeard = 1
)

// ring takes in what an alert names, unless nobody heard it.
func (s *state) ring(leaf int64, e entry) error {
	r := e.Rang
	if r.Suppressed != "" {
		return nil
	}
	for _, named := range []struct {
		by  canary.Means
		ids []string
	}{{canary.ByRequest, r.RequestIDs}, {canary.ByEvent, r.EventIDs}} {
		for _, id := range named.ids {
			k := rangKey(r.Alert, r.ID, r.At, named.by, id)
			s.alerts++
			if err := s.aside.rings.add(s.aside.rings.of(k), []byte{isRang}, k[:]); err != nil {
				return err
			}
		}
	}
	return nil
}

// answer to what was heard for a canary: the leaf, and which of it.
type answer [12]byte

func answerOf(leaf int64, i int) (a answer) {
	binary.BigEndian.PutUint64(a[:], uint64(leaf))
	binary.BigEndian.PutUint32(a[8:], uint32(i))
	return a
}

// heard asks whether the alerts that were heard rang before.
func (s *state) heard(leaf int64, e entry) error {
	of := idKey(e.Canary)
	for i, x := range e.Heard.Heard {
		if x.Suppressed != "" || x.By != canary.ByRequest && x.By != canary.ByEvent {
			continue
		}
		k, a := rangKey(e.Heard.Alert, x.ID, x.At, x.By, x.Name), answerOf(leaf, i)
		s.alerts++
		if err := s.aside.rings.add(s.aside.rings.of(k), []byte{isHeard}, k[:], of[:], a[:]); err != nil {
			return err
		}
	}
	return nil
}

// answerAll answers what heard asked.
func (a *aside) answerAll() error {
	for i := range a.rings.all {
		rang := map[key]bool{}
		for record, err := range a.rings.read(i) {
			if err != nil {
				return err
			}
			k, rest := key(record[1:]), record[1+len(key{}):]
			if record[0] == isRang {
				rang[k] = true
			} else if rang[k] { // in the order of the ledger: it rang before
				if err := a.answers.add(a.answers.of(key(rest)), rest[len(key{}):]); err != nil {
					return err
				}
			}
		}
		a.rings.drop(i)
	}
	return nil
}

// foldParts folds what was put aside, part by part, and puts aside what becomes of each
// canary.
func (s *state) foldParts() error {
	if err := s.aside.answerAll(); err != nil {
		return err
	}
	for i := range s.aside.entries.all {
		for record, err := range s.aside.answers.read(i) {
			if err != nil {
				return err
			}
			s.answers[answer(record)] = true
		}
		for record, err := range s.aside.entries.read(i) {
			if err != nil {
				return err
			}
			var n noted
			if err := json.Unmarshal(record, &n); err != nil {
				return fmt.Errorf("read an entry that was put aside: %w", err)
			}
			if err := s.fold(n); err != nil {
				return err
			}
			if err := s.tooMuch(n.Leaf); err != nil {
				return err
			}
		}
		s.aside.answers.drop(i)
		s.aside.entries.drop(i)
		if err := s.endPart(i); err != nil {
			return err
		}
	}
	return nil
}

// endPart counts what the canaries of a part came to, and lets go of them.
func (s *state) endPart(i int) error {
	var text bytes.Buffer
	for _, c := range s.canaries {
		line := c.place.categories[c.scenario.Category]
		c.count(line)
		if s.excepted(c) {
			line.Excepted++
		}
		c.place.Records += c.records
		text.Reset()
		out := csv.NewWriter(&text)
		if err := out.Write(c.line()); err != nil {
			return err
		}
		out.Flush()
		reason := c.gap()
		head := binary.BigEndian.AppendUint64(nil, uint64(c.planned))
		if err := s.aside.lines.add(i, binary.BigEndian.AppendUint32(head, uint32(len(reason))), []byte(reason), text.Bytes()); err != nil {
			return err
		}
	}
	for _, p := range s.numbered {
		for object := range p.objects {
			if err := s.aside.objects.addDistinct(p.number, object); err != nil {
				return err
			}
		}
		clear(p.objects)
	}
	s.carriedBefore += len(s.carried)
	clear(s.canaries)
	s.canaries, s.unprovenText = s.canaries[:0], 0
	clear(s.byID)
	clear(s.carried)
	clear(s.evidence)
	clear(s.sealed)
	clear(s.unheld)
	clear(s.answers)
	clear(s.unproven)
	return nil
}

func splitLine(record []byte) (reason string, line []byte) {
	n := binary.BigEndian.Uint32(record[8:])
	return string(record[12 : 12+n]), record[12+n:]
}

// looked puts aside what a verdict says of how much was read at a place.
func (s *state) looked(leaf int64, p *place, v *canary.Verdict) error {
	head := binary.BigEndian.AppendUint64(nil, uint64(leaf))
	n := uint32(0)
	for _, check := range canary.Checks() {
		for _, clue := range v.Checks[check].Evidence {
			if clue.Source != canary.FromStore || clue.Object != "" {
				continue
			}
			n++
			if err := s.aside.looks.add(s.aside.looks.of(idKey(v.Canary)), binary.BigEndian.AppendUint32(head, n), binary.BigEndian.AppendUint32(nil, p.number), []byte(cut(clue.Found))); err != nil {
				return err
			}
		}
	}
	return nil
}

// together says of the places what takes all parts to say.
func (s *state) together() error {
	for record, err := range s.aside.looks.merged() {
		if err != nil {
			return err
		}
		p, found := s.numbered[binary.BigEndian.Uint32(record[12:])], string(record[16:])
		if !slices.Contains(p.Looked, found) {
			p.Looked = append([]string{strings.Clone(found)}, p.Looked[:min(len(p.Looked), maxLooked-1)]...)
		}
	}
	count := map[uint32]int{}
	if err := s.aside.objects.distinct(count); err != nil {
		return err
	}
	for _, p := range s.numbered {
		p.Objects = count[p.number]
	}
	s.seals = count[ofSeals]
	return nil
}
