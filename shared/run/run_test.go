package run_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/event"
	"github.com/auditcanary/auditcanary/shared/ledger"
	"github.com/auditcanary/auditcanary/shared/run"
)

// world is a cloud in memory: things that exist, the records it emitted, and a
// count of effects after which the process under test "dies": from then on
// nothing it does reaches anybody. (The end-to-end stories kill real processes
// over the real wire; this one enumerates every effect in milliseconds.)
type world struct {
	mu      sync.Mutex
	things  map[string]string // name -> canary
	records []canary.Sighting
	done    map[string]int // canary/operation -> how often it was really done
	effects int
	dieAt   int // 0: never
	after   bool
	now     time.Time
	stopped time.Time           // the store's clock stands still here, and it shows nothing
	fail    map[string][]string // operation -> error codes for the next calls
	lacks   string              // an account that has nothing to act on
	hidden  error               // what listing answers beside what it finds
	vault   vault               // what attempts are made on (attempt_test.go)
	own     []string            // request ids of sessions, known to the process alone
}

var errDead = errors.New("the process is dead")

func newWorld() *world {
	return &world{things: map[string]string{}, done: map[string]int{}, now: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), fail: map[string][]string{}}
}

// effect runs f unless the process has died; dying "after" means that the
// effect stands but nobody hears of it.
func (w *world) effect(f func()) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.effects++
	switch {
	case w.dieAt == 0 || w.effects < w.dieAt:
		f()
		return nil
	case w.effects == w.dieAt && w.after:
		f()
	}
	return errDead
}

// alive begins a new process in the same world.
func (w *world) alive() { w.mu.Lock(); w.dieAt = 0; w.mu.Unlock() }

func (w *world) dead() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dieAt != 0 && w.effects >= w.dieAt
}

// The port run.Cloud.

func (w *world) Plan(s canary.Scenario, c canary.Canary) (run.Plan, error) {
	if c.Target.Account == w.lacks {
		return run.Plan{}, fmt.Errorf("the thing is %w", run.ErrNotConfigured)
	}
	p := run.Plan{Canary: c, Scenario: s}
	for _, st := range s.Steps {
		ps := run.PlannedStep{Step: st.ID, Call: canary.Call{Operation: st.Call, Region: c.Target.Region, Params: map[string]any{"Name": c.Name() + "-" + st.ID}}}
		for _, look := range st.Protection {
			ps.Looks = append(ps.Looks, canary.Call{Operation: look.Read, Region: c.Target.Region, Params: look.Params})
		}
		if st.Undo != nil {
			ps.Undo = &canary.Call{Operation: st.Undo.Call, Region: c.Target.Region, Params: ps.Call.Params, Gone: []string{"Gone"}}
		}
		p.Steps = append(p.Steps, ps)
	}
	return p, nil
}

func (w *world) Open(_ context.Context, p run.Plan) (run.Prober, error) {
	err := w.effect(func() {
		id := fmt.Sprintf("req-%d", w.effects)
		w.own = append(w.own, id)
		w.records = append(w.records, canary.Sighting{Event: event.Event{
			Time: w.now, Cloud: event.Cloud{Account: p.Canary.Target.Account, Region: p.Canary.Target.Region}, Actor: event.Actor{UID: "arn:runner"},
			API:         event.API{Service: "sts.amazonaws.com", Operation: "AssumeRole", RequestUID: id, Request: map[string]any{"roleSessionName": p.Canary.Name(), "roleArn": "arn:aws:iam::" + p.Canary.Target.Account + ":role/injector"}},
			HTTPRequest: event.HTTPRequest{UserAgent: "app/" + canary.Marker}, Metadata: event.Metadata{UID: "event-" + id},
		}, Raw: []byte(`{"r":"` + id + `"}`), At: recordedAt(id), Stored: w.now.Add(5 * time.Minute)})
	})
	if err != nil {
		return nil, err
	}
	return session{w, p.Canary}, nil
}

type session struct {
	w *world
	c canary.Canary
}

func (s session) Do(_ context.Context, call canary.Call, _ []string) canary.Receipt {
	r := canary.Receipt{Call: call, Outcome: canary.Outcome{Result: canary.Unknown}}
	name, _ := call.Params["Name"].(string)
	err := s.w.effect(func() {
		w := s.w
		id := fmt.Sprintf("req-%d", w.effects)
		r.RequestIDs = []string{id}
		r.Want = event.Event{Time: w.now, Cloud: event.Cloud{Account: s.c.Target.Account, Region: s.c.Target.Region}, Actor: event.Actor{UID: "arn:canary"}, API: event.API{Service: "test", Operation: call.Operation, RequestUID: id}}
		r.Outcome = canary.Outcome{Result: canary.Succeeded}
		if codes := w.fail[call.Operation]; len(codes) > 0 {
			w.fail[call.Operation] = codes[1:]
			r.Outcome = canary.Outcome{Result: canary.Failed, Code: codes[0]}
		} else if strings.HasPrefix(call.Operation, "test:Make") {
			w.things[name] = s.c.ID
			w.done[s.c.ID+" "+call.Operation+" "+name]++
		} else if _, there := w.things[name]; there {
			delete(w.things, name)
		} else {
			r.Outcome = canary.Outcome{Result: canary.Failed, Code: "Gone"}
		}
		got := r.Want
		got.Metadata.UID = "event-" + id
		w.records = append(w.records, canary.Sighting{Event: got, Raw: []byte(`{"r":"` + id + `"}`), At: recordedAt(id), Stored: w.now.Add(5 * time.Minute)})
	})
	if err != nil {
		r.RequestIDs, r.Want, r.Outcome = nil, event.Event{}, canary.Outcome{Result: canary.Unknown, Code: err.Error()}
	}
	return r
}

// recordedAt is where the record of a request stands: a file of its own.
func recordedAt(id string) canary.Location {
	return canary.Location{Store: "s", Bucket: "b", Key: id, VersionID: "v", ObjectSHA256: fmt.Sprintf("%x", sha256.Sum256([]byte(id)))}
}

// The port run.Sweeper.

func (w *world) Leftovers(_ context.Context, t canary.Target) ([]run.Leftover, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []run.Leftover
	for _, name := range slices.Sorted(maps.Keys(w.things)) {
		id := w.things[name]
		if w.dieAt != 0 && w.effects >= w.dieAt {
			return nil, errDead
		}
		out = append(out, run.Leftover{Kind: "thing", ID: name, Canary: id, Run: id[:len(id)-3], Undo: []canary.Call{{Operation: "test:Unmake", Params: map[string]any{"Name": name}, Gone: []string{"Gone"}}}})
	}
	return out, w.hidden
}

func (w *world) OpenSweep(_ context.Context, t canary.Target) (run.Session, error) {
	return session{w, canary.Canary{Target: t}}, nil
}

// The port run.LogStore.

func (w *world) Poll(_ context.Context, watch *run.Watch) (run.Seen, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(10 * time.Minute)
	if !w.stopped.IsZero() {
		return run.Seen{AsOf: w.stopped}, nil
	}
	if watch.State == nil {
		watch.State = map[string]bool{}
	}
	read := watch.State.(map[string]bool)
	seen := run.Seen{AsOf: w.now}
	for _, si := range w.records {
		if si.Stored.Before(w.now) && !read[si.At.Key] && (watch.RequestIDs[si.Event.API.RequestUID] || strings.HasPrefix(si.Event.Actor.Session.Name, canary.Marker+"-") || si.Event.HTTPRequest.UserAgent != "") {
			read[si.At.Key] = true
			seen.Sightings = append(seen.Sightings, si)
		}
	}
	return seen, nil
}

// dyingStore is the ledger's store, of the same world: its writes are effects too.
type dyingStore struct {
	files *memory
	w     *world
}

// memory is a ledger.Store that lives as long as the test.
type memory struct {
	mu    sync.Mutex
	files map[string][]byte
	made  map[string]int
}

func newMemory() *memory { return &memory{files: map[string][]byte{}, made: map[string]int{}} }

func (m *memory) Get(_ context.Context, path string) ([]byte, ledger.Version, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.files[path]
	if !ok {
		return nil, "", ledger.ErrNotFound
	}
	return data, ledger.Version(fmt.Sprint(m.made[path])), nil
}

func (m *memory) Put(_ context.Context, path string, data []byte, old ledger.Version) (ledger.Version, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, there := m.files[path]; there != (old != "") || there && old != ledger.Version(fmt.Sprint(m.made[path])) {
		return "", ledger.ErrConflict
	}
	m.files[path] = bytes.Clone(data)
	m.made[path]++
	return ledger.Version(fmt.Sprint(m.made[path])), nil
}

func (d dyingStore) Get(ctx context.Context, path string) ([]byte, ledger.Version, error) {
	return d.files.Get(ctx, path)
}

func (d dyingStore) Put(ctx context.Context, path string, data []byte, old ledger.Version) (v ledger.Version, err error) {
	dead := d.w.effect(func() { v, err = d.files.Put(ctx, path, data, old) })
	if dead != nil {
		return "", dead
	}
	return v, err
}

func key(t *testing.T) (note.Signer, note.Verifier) {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, "example.com/test")
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return s, v
}

// process is one life of the program in the world.
func process(t *testing.T, w *world, files *memory, s note.Signer, v note.Verifier) (*run.Run, error) {
	t.Helper()
	log, err := ledger.Open(t.Context(), dyingStore{files, w}, "example.com/test", s, v)
	if err != nil {
		return nil, err
	}
	w.own = nil // died with the process
	return &run.Run{
		Own: func() []string { w.mu.Lock(); defer w.mu.Unlock(); ids := w.own; w.own = nil; return ids },
		Log: log, Clouds: map[string]run.Cloud{"test": w}, Sweepers: map[string]run.Sweeper{"test": w}, Store: w,
		Scenarios: []canary.Scenario{
			{ID: "test/two", Kind: canary.DoneAndUndone, Scope: "region", Steps: []canary.Step{
				{ID: "a", Call: "test:MakeA", Undo: &canary.Undo{Call: "test:Unmake"}},
				{ID: "b", Call: "test:MakeB", Undo: &canary.Undo{Call: "test:Unmake"}},
			}},
			{ID: "test/one", Kind: canary.Decoy, Scope: "region", Steps: []canary.Step{{ID: "c", Call: "test:MakeC", Undo: &canary.Undo{Call: "test:Unmake"}}}},
		},
		Targets:  []canary.Target{{Provider: "test", Account: "1", Region: "r"}},
		SLO:      canary.SLO{Pass: 15 * time.Minute, Late: time.Hour, Amend: 24 * time.Hour, Clock: time.Minute},
		Clock:    func() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.now },
		Sleep:    func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
		Compile:  func([]string) ([]canary.Rule, error) { return nil, nil },
		Parallel: 1,
		Version:  "test",
	}, nil
}

func summary(t *testing.T, r *run.Run, id string) run.Summary {
	t.Helper()
	state, cp, err := run.Fold(t.Context(), r.Log)
	if err != nil {
		t.Fatal(err)
	}
	return run.Summarise(state, cp, id, r.SLO, r.Clock())
}

func TestARunProvesEveryCanaryAndLeavesNothing(t *testing.T) {
	w := newWorld()
	s, v := key(t)
	r, err := process(t, w, newMemory(), s, v)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Inject(t.Context(), "20261122-aaaaaa"); err != nil {
		t.Fatal(err)
	}
	if got := summary(t, r, "").ExitCode(); got != 2 {
		t.Errorf("before anybody looked: exit code %d, want 2 (not known)", got)
	}
	if err := r.Confirm(t.Context(), run.ConfirmOptions{Wait: true}); err != nil {
		t.Fatal(err)
	}
	sum := summary(t, r, "20261122-aaaaaa")
	if sum.ExitCode() != 0 || sum.Tally.Proven != 2 || len(w.things) != 0 {
		t.Errorf("exit %d, tally %+v, left %v, canaries %+v", sum.ExitCode(), sum.Tally, w.things, sum.Canaries)
	}
}

// What cannot be done at a target for lack of a fixture is shown, and is neither
// proven nor failed.
func TestACanaryWithoutItsFixtureIsNotRun(t *testing.T) {
	w := newWorld()
	w.lacks = "1"
	s, v := key(t)
	r, err := process(t, w, newMemory(), s, v)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Inject(t.Context(), "20261122-aaaaaa"), r.Confirm(t.Context(), run.ConfirmOptions{Wait: true})); err != nil {
		t.Fatal(err)
	}
	sum := summary(t, r, "20261122-aaaaaa")
	if sum.Tally.Canaries != 2 || sum.Tally.NotRun != 2 || sum.ExitCode() != 2 || len(w.done) != 0 {
		t.Fatalf("exit %d, tally %+v, done %v", sum.ExitCode(), sum.Tally, w.done)
	}
	for _, l := range sum.Canaries {
		if a := l.Checks[canary.Injected]; a.Status != canary.NotRun || !strings.Contains(a.Detail, "the thing is not configured") || a.Open {
			t.Errorf("injected: %+v", a)
		}
	}
}

// A kind that cannot be listed leaves those canaries unproven that may have left
// one, and no others.
func TestAKindThatCannotBeListedConcernsWhoMayHaveLeftOne(t *testing.T) {
	for _, tt := range []struct {
		claim  string
		hidden error
		proven int
	}{
		{"a kind of theirs", errors.Join(&run.UnlistedError{Kind: "thing", Undo: []string{"test:Unmake"}, Err: errors.New("refused")}), 0},
		{"a kind of others", errors.Join(&run.UnlistedError{Kind: "filter", Undo: []string{"test:Unfilter"}, Err: errors.New("refused")}), 2},
		{"a kind of nobody knows whom", &run.UnlistedError{Kind: "thing", Err: errors.New("refused")}, 0},
		{"a kind of theirs that is not configured any more", &run.UnlistedError{Kind: "thing", Undo: []string{"test:Unmake"}, Err: run.ErrNotConfigured}, 0},
		{"one of theirs beside one of others", errors.Join(&run.UnlistedError{Kind: "filter", Undo: []string{"test:Unfilter"}, Err: errors.New("refused")}, &run.UnlistedError{Kind: "thing", Undo: []string{"test:Unmake"}, Err: errors.New("refused")}), 0},
		{"the place as a whole", errors.New("refused"), 0},
		{"the place as a whole, beside a kind of others", errors.Join(errors.New("refused"), &run.UnlistedError{Kind: "filter", Undo: []string{"test:Unfilter"}, Err: errors.New("refused")}), 0},
	} {
		t.Run(tt.claim, func(t *testing.T) {
			w := newWorld()
			w.hidden = tt.hidden
			s, v := key(t)
			r, err := process(t, w, newMemory(), s, v)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(r.Inject(t.Context(), "20261122-aaaaaa"), r.Confirm(t.Context(), run.ConfirmOptions{Wait: true})); err != nil {
				t.Fatal(err)
			}
			sum := summary(t, r, "20261122-aaaaaa")
			if sum.Tally.Proven != tt.proven || sum.Tally.Proven+sum.Tally.Inconclusive != 2 {
				t.Errorf("tally %+v, want %d proven and the rest inconclusive", sum.Tally, tt.proven)
			}
			known := errors.Is(tt.hidden, run.ErrNotConfigured) // no fault of the place
			if res, err := r.Sweep(t.Context(), 0); err != nil || known != (len(res.Problems) == 0) || known != (len(res.Clean) != 0) {
				t.Errorf("the sweep calls the place %+v, %v", res, err)
			}
		})
	}
}

// More leftovers than an entry of the ledger holds: they are all removed, and as
// long as they stand nobody is called clean.
func TestASweepRemovesMoreThanAnEntryHolds(t *testing.T) {
	w := newWorld()
	for i := range 400 {
		w.things[fmt.Sprintf("auditcanary-20261101-aaaaaa-01-%0*d", 100, i)] = "20261101-aaaaaa-01"
	}
	s, v := key(t)
	r, err := process(t, w, newMemory(), s, v)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Inject(t.Context(), "20261122-aaaaaa"), r.Confirm(t.Context(), run.ConfirmOptions{Wait: true})); err != nil {
		t.Fatal(err)
	}
	for _, l := range summary(t, r, "20261122-aaaaaa").Canaries {
		if a := l.Checks[canary.Cleaned]; a.Status != canary.Inconclusive || !strings.Contains(a.Detail, "more things are left than this entry holds") {
			t.Errorf("cleaned: %+v", a)
		}
	}
	res, err := r.Sweep(t.Context(), 0)
	if err != nil || len(res.Undone) < 400 || len(res.Clean) != 2 || len(w.things) != 0 {
		t.Errorf("%d undone, clean %v, %d left, %v", len(res.Undone), res.Clean, len(w.things), err)
	}
}

func TestAStoreWhoseClockStandsStillIsGivenUp(t *testing.T) {
	w := newWorld()
	w.stopped = w.now
	s, v := key(t)
	r, err := process(t, w, newMemory(), s, v)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Inject(t.Context(), "20261122-aaaaaa"); err != nil {
		t.Fatal(err)
	}
	if err := r.Confirm(t.Context(), run.ConfirmOptions{Wait: true}); err != nil {
		t.Fatal(err)
	}
	sum := summary(t, r, "")
	a := sum.Canaries[0].Checks[canary.Surfaced]
	if sum.ExitCode() != 2 || a.Status != canary.Inconclusive || !strings.Contains(a.Detail, "the store's clock") {
		t.Errorf("exit %d, surfaced %+v", sum.ExitCode(), a)
	}
}

// hidden is a store in which the records of some calls cannot be seen.
type hidden struct {
	run.LogStore
	hides map[string]bool // by operation
}

func (h hidden) Poll(ctx context.Context, w *run.Watch) (run.Seen, error) {
	seen, err := h.LogStore.Poll(ctx, w)
	seen.Sightings = slices.DeleteFunc(seen.Sightings, func(s canary.Sighting) bool { return h.hides[s.Event.API.Operation] })
	seen.Looked = []canary.Look{{Account: "1", Region: "r", Objects: int(seen.AsOf.Unix() % 1000), Records: 5}}
	return seen, err
}

// memoir is a history that has every event, and notes what it was asked for.
type memoir struct {
	mu    sync.Mutex
	asked []string
	err   error
}

func (m *memoir) Recorded(_ context.Context, r canary.Receipt) (*event.Event, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = append(m.asked, r.Call.Operation)
	e := r.Want
	e.Metadata.UID = "event-of-the-history"
	return &e, m.err
}

// TestTheHistoryIsAskedOfWhatDecidesOnce: of a canary that misses two records,
// the first one's hop is looked up; what was found is evidence; and a second look
// that learns nothing new adds no verdict.
func TestTheHistoryIsAskedOfWhatDecidesOnce(t *testing.T) {
	w := newWorld()
	s, v := key(t)
	r, err := process(t, w, newMemory(), s, v)
	if err != nil {
		t.Fatal(err)
	}
	m := &memoir{}
	r.Histories = map[string]run.History{"test": m}
	r.Store = hidden{w, map[string]bool{"test:MakeA": true, "test:MakeB": true}}
	if err := r.Inject(t.Context(), "20261122-aaaaaa"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.Confirm(t.Context(), run.ConfirmOptions{Wait: true}); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(m.asked, []string{"test:MakeA", "test:MakeA"}) { // once in each Confirm
		t.Errorf("asked for %q", m.asked)
	}
	line := summary(t, r, "").Canaries[0]
	a := line.Checks[canary.Surfaced]
	if a.Status != canary.Fail || a.Hop != canary.Delivered || a.Step != "a" || line.Amended != 0 {
		t.Errorf("amended %d, %+v", line.Amended, a)
	}
	if !slices.ContainsFunc(a.Evidence, func(c canary.Clue) bool {
		return c.Source == canary.FromHistory && c.EventID == "event-of-the-history" && !c.Asked.IsZero()
	}) || !slices.ContainsFunc(a.Evidence, func(c canary.Clue) bool {
		return c.Source == canary.FromStore && strings.Contains(c.Found, "objects of 1/r with 5 records")
	}) {
		t.Errorf("evidence %+v", a.Evidence)
	}

	// A history that cannot be asked any more: the hop is not known any more either.
	m.err = errors.New("throttled")
	if err := r.Confirm(t.Context(), run.ConfirmOptions{}); err != nil {
		t.Fatal(err)
	}
	line = summary(t, r, "").Canaries[0]
	if a = line.Checks[canary.Surfaced]; a.Hop != "" || !strings.Contains(a.Detail, "could not be asked: throttled") || line.Amended != 1 {
		t.Errorf("amended %d, %+v", line.Amended, a)
	}
}

func TestARunIsBegunOnce(t *testing.T) {
	w := newWorld()
	s, v := key(t)
	r, err := process(t, w, newMemory(), s, v)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.Inject(t.Context(), "20261122-aaaaaa"); err != nil {
			t.Fatal(err)
		}
	}
	for what, n := range w.done {
		if n != 1 {
			t.Errorf("%s was done %d times", what, n)
		}
	}
	if n := len(summary(t, r, "").Canaries); n != 2 {
		t.Errorf("%d canaries, want 2", n)
	}
}

func TestAnUndoThatFailsOnceIsRetriedAndSaid(t *testing.T) {
	w := newWorld()
	w.fail["test:Unmake"] = []string{"ServiceUnavailable"}
	s, v := key(t)
	r, err := process(t, w, newMemory(), s, v)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Inject(t.Context(), "20261122-aaaaaa"); err != nil {
		t.Fatal(err)
	}
	if err := r.Confirm(t.Context(), run.ConfirmOptions{Wait: true}); err != nil {
		t.Fatal(err)
	}
	sum := summary(t, r, "")
	if got := sum.Canaries[0].Checks[canary.Cleaned].Status; got != canary.Late || len(w.things) != 0 || sum.ExitCode() != 1 {
		t.Errorf("cleaned %s, left %v, exit %d", got, w.things, sum.ExitCode())
	}
	if got := sum.Canaries[1].Status; got != canary.Pass {
		t.Errorf("the other canary is %s", got)
	}
}

// TestDyingAtEveryEffect kills the process at every effect of a run, before it
// and after it: calls to the cloud and writes to the ledger alike. Afterwards a
// sweep must leave nothing, a confirm must come to a verdict for every canary
// that was planned, no action may have been done twice under one canary's id,
// and a canary may count as proven only if it really was.
func TestDyingAtEveryEffect(t *testing.T) {
	s, v := key(t)
	total := 0
	{
		w := newWorld()
		r, err := process(t, w, newMemory(), s, v)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Inject(t.Context(), "20261122-aaaaaa"); err != nil {
			t.Fatal(err)
		}
		if err := r.Confirm(t.Context(), run.ConfirmOptions{Wait: true}); err != nil {
			t.Fatal(err)
		}
		total = w.effects
	}
	if total < 40 {
		t.Fatalf("only %d effects counted: the enumeration is not real", total)
	}
	for at := 1; at <= total; at++ {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("effect %d after=%v", at, after), func(t *testing.T) { dieAndRecover(t, at, after, s, v) })
		}
	}
	t.Logf("%d effects, each died at twice", total)
}

func dieAndRecover(t *testing.T, at int, after bool, s note.Signer, v note.Verifier) {
	w := newWorld()
	w.dieAt, w.after = at, after
	files := newMemory()
	if r, err := process(t, w, files, s, v); err == nil {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if r.Inject(ctx, "20261122-aaaaaa") == nil {
			_ = r.Confirm(ctx, run.ConfirmOptions{Wait: true})
		}
		cancel()
	}

	w.alive()
	r, err := process(t, w, files, s, v)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Sweep(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if len(w.things) != 0 {
		t.Errorf("the sweep left %v", w.things)
	}
	if err := r.Confirm(t.Context(), run.ConfirmOptions{Wait: true}); err != nil {
		t.Fatal(err)
	}
	for what, n := range w.done {
		if n != 1 {
			t.Errorf("%s was done %d times", what, n)
		}
	}
	state, _, err := run.Fold(t.Context(), r.Log)
	if err != nil {
		t.Fatal(err)
	}
	for _, cs := range state.Canaries {
		verdict, judged := cs.Verdict()
		if !judged || verdict.Open() {
			t.Errorf("canary %s has no final verdict", cs.Plan.Canary.ID)
		}
		if verdict.Overall() != canary.Pass {
			continue
		}
		for _, ps := range cs.Plan.Steps {
			if w.done[cs.Plan.Canary.ID+" "+ps.Call.Operation+" "+ps.Call.Params["Name"].(string)] != 1 {
				t.Errorf("canary %s counts as proven but %s was never done", cs.Plan.Canary.ID, ps.Call.Operation)
			}
		}
	}
	for _, rs := range state.Runs {
		if len(rs.Forged) > 0 {
			t.Errorf("our own calls are called forged: %+v", rs.Forged)
		}
	}
	if len(w.done) > 0 && len(state.Canaries) == 0 {
		t.Error("something was done that the ledger knows nothing of")
	}
	// A second run goes through as if nothing had been.
	if err := r.Inject(t.Context(), "20261122-bbbbbb"); err != nil {
		t.Fatal(err)
	}
	if err := r.Confirm(t.Context(), run.ConfirmOptions{Run: "20261122-bbbbbb", Wait: true}); err != nil {
		t.Fatal(err)
	}
	if sum := summary(t, r, "20261122-bbbbbb"); sum.ExitCode() != 0 {
		t.Errorf("the run after the crash: %+v", sum.Tally)
	}
}

// TestASessionOfADeadProcessIsNotCalledForged: also by a look that comes before the sweep.
// And only what may have been that process is taken for it.
func TestASessionOfADeadProcessIsNotCalledForged(t *testing.T) {
	s, v := key(t)
	forged := func(t *testing.T, n int, sweep bool, change func(*canary.Sighting)) (found []run.Sighted) {
		t.Helper()
		w := newWorld()
		files := newMemory()
		r, err := process(t, w, files, s, v)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Inject(t.Context(), "20261122-aaaaaa"); err != nil {
			t.Fatal(err)
		}
		w.dieAt, w.after = w.effects+n, true
		_ = r.Inject(t.Context(), "20261122-bbbbbb") // it dies
		w.alive()
		if r, err = process(t, w, files, s, v); err != nil {
			t.Fatal(err)
		}
		if change != nil {
			state, _, err := run.Fold(t.Context(), r.Log)
			if err != nil {
				t.Fatal(err)
			}
			last := state.Canaries[len(state.Canaries)-1].Plan.Canary
			si := canary.Sighting{Event: event.Event{
				Time: w.now, Cloud: event.Cloud{Account: "1"}, Actor: event.Actor{UID: "arn:attacker"}, Metadata: event.Metadata{UID: "event-x"},
				API:         event.API{Service: "sts.amazonaws.com", Operation: "AssumeRole", RequestUID: "x", Request: map[string]any{"roleSessionName": last.Name(), "roleArn": "arn:aws:iam::1:role/injector"}},
				HTTPRequest: event.HTTPRequest{UserAgent: "app/" + canary.Marker},
			}, Raw: []byte("{}"), At: recordedAt("x"), Stored: w.now.Add(time.Minute)}
			change(&si)
			w.records = append(w.records, si)
		}
		if sweep {
			if _, err := r.Sweep(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
		}
		w.now = w.now.Add(30 * time.Minute)
		if err := r.Confirm(t.Context(), run.ConfirmOptions{Wait: true}); err != nil {
			t.Fatal(err)
		}
		state, _, err := run.Fold(t.Context(), r.Log)
		if err != nil {
			t.Fatal(err)
		}
		for _, rs := range state.Runs {
			found = append(found, rs.Forged...)
		}
		return found
	}
	for n := 1; n <= 12; n++ {
		for _, sweep := range []bool{true, false} {
			if found := forged(t, n, sweep, nil); len(found) > 0 {
				t.Errorf("died at %d, swept %t: ours, called forged: %+v", n, sweep, found)
			}
		}
	}
	const begun = 6 // effects, after which the run stands in the ledger and no canary has a receipt
	if found := forged(t, begun, true, func(*canary.Sighting) {}); len(found) != 0 {
		t.Errorf("what may have been that process is called forged: %+v", found)
	}
	// A session that is known to have been opened is not opened once more.
	const received = 14 // effects, after which the first canary has a receipt
	if found := forged(t, received, true, func(si *canary.Sighting) {
		si.Event.API.Request["roleSessionName"] = canary.Marker + "-20261122-bbbbbb-01"
	}); len(found) != 1 {
		t.Errorf("of one that has done something: %d are found, 1 is there", len(found))
	}
	for what, change := range map[string]func(*canary.Sighting){
		"long after":      func(si *canary.Sighting) { si.Event.Time = si.Event.Time.Add(90 * 24 * time.Hour) },
		"long before":     func(si *canary.Sighting) { si.Event.Time = si.Event.Time.Add(-time.Hour) },
		"into another's":  func(si *canary.Sighting) { si.Event.API.Request["roleArn"] = "arn:aws:iam::9:role/admin" },
		"by another call": func(si *canary.Sighting) { si.Event.API.Service = "example.amazonaws.com" },
		"of another's name": func(si *canary.Sighting) {
			si.Event.API.Request["roleSessionName"] = canary.Marker + "-20261122-cccccc-01"
		},
	} {
		if found := forged(t, begun, true, change); len(found) != 1 {
			t.Errorf("%s: %d are found, 1 is there", what, len(found))
		}
	}
}

func TestARunIsNamedAfterItsDay(t *testing.T) {
	for _, id := range []string{run.NewRunID(time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)), "20261126-scale1", "20261126-on-demand"} {
		if !run.IsRunID(id) {
			t.Errorf("%q is refused", id)
		}
	}
	for _, id := range []string{"", "mine", "20261126", "20261126-", "2026112-a", "10261126-a", "20261126-A", "20261126-a/b", "20261126-" + strings.Repeat("a", 41)} {
		if run.IsRunID(id) {
			t.Errorf("%q is taken", id)
		}
	}
}
