package canary

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestNoFailureWithoutEvidence puts together, by chance, what can become of the
// records of a canary of three steps and what can be found out about them. A
// verdict that is not a pass must say on which hop and give evidence for it, or
// say why that cannot be known.
func TestNoFailureWithoutEvidence(t *testing.T) {
	rnd := rand.New(rand.NewPCG(27017, 1243))
	reached := map[string]int{}
	for n := range 5_000 {
		o := threeSteps()
		for i := range o.ev.Receipts {
			scatter(rnd, o, i)
			o.ev.Receipts[i].DataEvent = rnd.IntN(6) == 0
		}
		if rnd.IntN(3) > 0 {
			o.seen.AsOf = t0.Add(2 * time.Hour)
		}
		if rnd.IntN(8) == 0 {
			o.seen.GaveUp = "5 looks in a row failed"
		}
		if rnd.IntN(4) == 0 {
			o.seen.Looked = []Look{{Account: "111122223333", Region: "us-east-1", Objects: 3, Records: 40, First: t0, Last: t0.Add(time.Hour)}}
		}
		v := o.judge()
		for _, check := range []Check{Surfaced, Attributed, Timely} {
			a := v.Checks[check]
			reached[fmt.Sprintf("%s %s %s", check, a.Status, a.Hop)]++
			if err := localised(a); err != nil {
				t.Fatalf("case %d, %s: %v\n%+v", n, check, err, a)
			}
		}
	}
	for _, want := range []string{
		"surfaced pass ", "surfaced not-run ", "surfaced fail delivered", "surfaced fail emitted", "surfaced fail ",
		"surfaced inconclusive parsed", "surfaced inconclusive stored", "surfaced inconclusive ",
		"attributed pass ", "attributed fail delivered", "attributed fail emitted", "attributed fail ",
		"timely pass ", "timely late delivered", "timely fail delivered",
	} {
		if reached[want] == 0 {
			t.Errorf("never reached: %s", want)
		}
	}
}

// localised says what an answer owes.
func localised(a Answer) error {
	switch {
	case a.Status == Pass || a.Status == NotRun:
		if a.Hop != "" || len(a.Evidence) > 0 {
			return fmt.Errorf("a %s has a hop or evidence", a.Status)
		}
		return nil
	case a.Detail == "":
		return fmt.Errorf("no detail")
	case a.Hop == "" && !strings.Contains(a.Detail, "unknown") && !strings.Contains(a.Detail, "nobody could look") && !strings.Contains(a.Detail, "could not be read"):
		return fmt.Errorf("neither a hop nor why it cannot be known")
	case a.Hop != "" && len(a.Evidence) == 0:
		return fmt.Errorf("a hop without evidence")
	case a.Hop == Emitted && !slices.ContainsFunc(a.Evidence, func(c Clue) bool { return c.Source == FromHistory }):
		return fmt.Errorf("hop emitted, and the history is not quoted")
	case (a.Hop == Stored || a.Hop == Parsed) && a.Evidence[0].Object == "":
		return fmt.Errorf("hop %s, and no object is named", a.Hop)
	}
	for _, c := range a.Evidence {
		if c.Source == "" || c.Found == "" || c.Asked.IsZero() && c.Source == FromHistory {
			return fmt.Errorf("clue %+v says nothing", c)
		}
	}
	return nil
}

// threeSteps is a canary of three calls, proven.
func threeSteps() *one {
	o := proven(MustBeDenied)
	o.s.Kind = Decoy
	step, in, r, si := o.s.Steps[0], o.ev.Intents[0], o.ev.Receipts[0], o.seen.Sightings[0]
	o.s.Steps, o.ev.Intents, o.ev.Receipts, o.seen.Sightings = nil, nil, nil, nil
	for i := range 3 {
		id := fmt.Sprintf("req-%d", i+1)
		step.ID, in.Step, in.Undo, r.Step = fmt.Sprintf("step-%d", i+1), fmt.Sprintf("step-%d", i+1), nil, fmt.Sprintf("step-%d", i+1)
		r.RequestIDs, r.Want.API.RequestUID, si.Event.API.RequestUID = []string{id}, id, id
		r.Outcome, r.Want.API.Error, si.Event.API.Error = Outcome{Result: Succeeded}, "", ""
		si.Event.Metadata.UID, si.Raw = fmt.Sprintf("event-%d", i+1), fmt.Appendf(nil, `{"n":%d}`, i+1)
		o.s.Steps, o.ev.Intents = append(o.s.Steps, step), append(o.ev.Intents, in)
		o.ev.Receipts, o.seen.Sightings = append(o.ev.Receipts, r), append(o.seen.Sightings, si)
	}
	return o
}

// scatter lets something become of the record of step i, and lets something be
// found out about it.
func scatter(rnd *rand.Rand, o *one, i int) {
	id := o.ev.Receipts[i].RequestIDs[0]
	right := o.ev.Receipts[i].Want
	right.Metadata.UID = fmt.Sprintf("event-%d", i+1)
	at := slices.IndexFunc(o.seen.Sightings, func(s Sighting) bool { return s.Event.API.RequestUID == id })
	switch rnd.IntN(12) {
	case 0: // lost
		o.seen.Sightings = slices.Delete(o.seen.Sightings, at, at+1)
	case 1: // and something could not be read
		o.seen.Sightings = slices.Delete(o.seen.Sightings, at, at+1)
		hop := []Hop{Stored, Parsed, ""}[rnd.IntN(3)]
		p := Problem{Account: "111122223333", Region: "us-east-1", Object: "s3://b/x.gz", Hop: hop, Err: "no"}
		if hop == "" {
			p = Problem{Err: "AccessDenied"}
		}
		o.seen.Problems = append(o.seen.Problems, p)
	case 2:
		o.seen.Sightings[at].Event.SrcEndpoint.IP = "203.0.113.9"
	case 3:
		o.seen.Sightings[at].Event.Metadata.UID = "event-1"
	case 4:
		o.seen.Sightings[at].Stored = t0.Add(20 * time.Minute)
	case 5:
		o.seen.Sightings[at].Stored = t0.Add(2 * time.Hour)
	}
	if o.seen.History == nil {
		o.seen.History = map[string]HistoryAnswer{}
	}
	asked := t0.Add(3 * time.Hour)
	wrong := right
	wrong.SrcEndpoint.IP = "203.0.113.9"
	switch rnd.IntN(5) {
	case 0:
		o.seen.History[id] = HistoryAnswer{Asked: asked, Event: &right}
	case 1:
		o.seen.History[id] = HistoryAnswer{Asked: asked, Event: &wrong}
	case 2:
		o.seen.History[id] = HistoryAnswer{Asked: asked}
	case 3:
		o.seen.History[id] = HistoryAnswer{Asked: asked, Err: "throttled"}
	}
}

// TestEvidenceCanBeLookedUp pins what the clues say.
func TestEvidenceCanBeLookedUp(t *testing.T) {
	recorded := proven(Decoy).seen.Sightings[0].Event
	asked := t0.Add(62 * time.Minute)
	for _, tt := range []struct {
		claim   string
		breakIt func(*one)
		check   Check
		hop     Hop
		want    []Clue
	}{
		{"lost on delivery", func(o *one) {
			o.seen.Sightings, o.seen.AsOf = nil, t0.Add(61*time.Minute)
			o.seen.Looked = []Look{
				{Account: "444455556666", Region: "us-east-1", Objects: 9, Records: 900},
				{Account: "111122223333", Region: "us-east-1", Objects: 14, Records: 312, First: t0.Add(4 * time.Minute), Last: t0.Add(59 * time.Minute)},
			}
			o.seen.History = map[string]HistoryAnswer{"req-1": {Asked: asked, Event: &recorded}}
		}, Surfaced, Delivered, []Clue{
			{Source: FromStore, Asked: t0.Add(61 * time.Minute), Found: "14 objects of 111122223333/us-east-1 with 312 records, stored from 2026-11-22T10:04:00Z to 2026-11-22T10:59:00Z, hold no record of request req-1"},
			{Source: FromHistory, Asked: asked, EventID: "event-1", Found: "that of 111122223333/us-east-1 has event event-1 of request req-1"},
		}},
		{"never emitted, and the place is empty", func(o *one) {
			o.seen.Sightings, o.seen.AsOf = nil, t0.Add(61*time.Minute)
			o.seen.History = map[string]HistoryAnswer{"req-1": {Asked: asked}}
		}, Surfaced, Emitted, []Clue{
			{Source: FromStore, Asked: t0.Add(61 * time.Minute), Found: "no object of 111122223333/us-east-1 at all since the call, hence no record of request req-1"},
			{Source: FromHistory, Asked: asked, Found: "that of 111122223333/us-east-1 has no event of request req-1"},
		}},
		{"cannot be read", func(o *one) {
			o.seen.Sightings, o.seen.AsOf = nil, t0.Add(61*time.Minute)
			o.seen.Problems = []Problem{{Account: "111122223333", Region: "us-east-1", Object: "s3://b/cut.gz", Hop: Parsed, Err: "at byte 4096: unexpected EOF"}}
		}, Surfaced, Parsed, []Clue{
			{Source: FromStore, Asked: t0.Add(61 * time.Minute), Object: "s3://b/cut.gz", Found: "could not be read: at byte 4096: unexpected EOF"},
		}},
		{"changed on the way", func(o *one) {
			o.seen.Sightings[0].Event.SrcEndpoint.IP = "203.0.113.9"
			o.seen.Sightings[0].At.Offset, o.seen.Sightings[0].At.Length = 4711, 812
			o.seen.History = map[string]HistoryAnswer{"req-1": {Asked: asked, Event: &recorded}}
		}, Attributed, Delivered, []Clue{
			{Source: FromStore, Asked: t0.Add(10 * time.Minute), EventID: "event-1", Object: "s3://b/k", Found: "record at byte 4711 (812 bytes) differs from the receipt in src_endpoint.ip"},
			{Source: FromHistory, Asked: asked, EventID: "event-1", Found: "that of 111122223333/us-east-1 has event event-1 of request req-1"},
		}},
		{"too late", func(o *one) { o.seen.Sightings[0].Stored = t0.Add(70 * time.Minute) }, Timely, Delivered, []Clue{
			{Source: FromStore, Asked: t0.Add(10 * time.Minute), EventID: "event-1", Object: "s3://b/k", Found: "call answered 2026-11-22T10:00:00Z by the service's clock, its record stored 2026-11-22T11:10:00Z by the store's"},
		}},
	} {
		o := proven(Decoy)
		tt.breakIt(o)
		a := o.judge().Checks[tt.check]
		if a.Hop != tt.hop || !slices.Equal(a.Evidence, tt.want) {
			t.Errorf("%s: hop %q\n got %+v\nwant %+v", tt.claim, a.Hop, a.Evidence, tt.want)
		}
	}
}

// TestEvidenceIsBounded: a flood of objects that cannot be read is counted, not listed.
func TestEvidenceIsBounded(t *testing.T) {
	o := proven(Decoy)
	o.seen.Sightings, o.seen.AsOf = nil, t0.Add(61*time.Minute)
	for i := range 1000 {
		o.seen.Problems = append(o.seen.Problems, Problem{Account: "111122223333", Region: "us-east-1", Object: fmt.Sprint(i), Hop: Parsed, Err: "no"})
	}
	a := o.judge().Checks[Surfaced]
	if len(a.Evidence) != maxClues+1 || a.Evidence[maxClues].Found != "and 995 more that could not be read" {
		t.Errorf("%d clues, the last: %+v", len(a.Evidence), a.Evidence[len(a.Evidence)-1])
	}
}
