package ticket

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/exception"
	"github.com/auditcanary/auditcanary/shared/ledger"
	"github.com/auditcanary/auditcanary/shared/run"
)

// tester is a *testing.T or a *rapid.T.
type tester interface {
	Helper()
	Fatal(...any)
}

var errDead = errors.New("the process is dead")

// world is a ledger, a desk and a chat in memory, with a count of effects after which
// the process under test "dies": from then on nothing it does reaches anybody.
type world struct {
	mu      sync.Mutex
	now     time.Time
	effects int
	dieAt   int // 0: never
	after   bool

	files map[string][]byte

	// The desk.
	issues []*issue
	lag    time.Duration // of its search
	slow   time.Duration // of each call
	down   error         // what every call answers
	refuse func(Draft) error
	// before is called at the beginning of each call of desk or chat, unlocked.
	before func()
	// beforeClaim is called before a batch of the ledger claims its place, unlocked.
	beforeClaim func()
	// afterClaim is called once a batch has claimed its place, unlocked.
	afterClaim func()

	// The chat.
	posts    []News
	threads  []string
	chatDown error

	runs int
}

type issue struct {
	Issue
	draft    Draft
	mark     string
	comments []Doc
	attached []string
	done     map[string]bool // marks of changes
	deleted  bool
	body     Doc
	summary  string
}

func newWorld(t tester) *world {
	t.Helper()
	return &world{now: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), files: map[string][]byte{}}
}

// quick signs with a hash: who may sign is not under test, and a real key takes most of
// the time of a test that dies hundreds of times.
type quick struct{}

func (quick) Name() string    { return "ledger.example" }
func (quick) KeyHash() uint32 { return 7 }

func (quick) Sign(msg []byte) ([]byte, error) { return []byte(hash(string(msg))), nil }
func (quick) Verify(msg, sig []byte) bool     { return string(sig) == hash(string(msg)) }

// effect runs f unless the process has died; dying "after" means that the effect stands
// but nobody hears of it. The caller holds the lock.
func (w *world) effect(f func() error) error {
	w.effects++
	switch {
	case w.dieAt == 0 || w.effects < w.dieAt:
		return f()
	case w.effects == w.dieAt && w.after:
		_ = f()
	}
	return errDead
}

func (w *world) dead() bool { return w.dieAt != 0 && w.effects >= w.dieAt }

func (w *world) clock() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.now }

func (w *world) wait(d time.Duration) { w.mu.Lock(); defer w.mu.Unlock(); w.now = w.now.Add(d) }

// The ledger's store. plain does not count effects: who writes verdicts is not under test.
type store struct {
	*world
	plain bool
}

func (s store) Get(_ context.Context, path string) ([]byte, ledger.Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, ok := s.files[path]
	if !ok {
		return nil, "", ledger.ErrNotFound
	}
	return bytes.Clone(data), ledger.Version(fmt.Sprint(hash(string(data)))), nil
}

func (s store) Put(_ context.Context, path string, data []byte, old ledger.Version) (ledger.Version, error) {
	if s.beforeClaim != nil && !s.plain && strings.HasPrefix(path, "claim/") {
		s.beforeClaim()
	}
	if s.afterClaim != nil && !s.plain && strings.HasPrefix(path, "claim/") {
		defer s.afterClaim()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	put := func() error {
		have, ok := s.files[path]
		if ok != (old != "") || ok && ledger.Version(hash(string(have))) != old {
			return ledger.ErrConflict
		}
		s.files[path] = bytes.Clone(data)
		return nil
	}
	v := ledger.Version(hash(string(data)))
	switch {
	case s.plain:
		return v, put()
	case strings.HasPrefix(path, "claim/"):
		// A batch is in the log once it has claimed its place: whoever comes next
		// finishes it. That dying between the other writes does no harm is the
		// ledger's own to show.
		return v, s.effect(put)
	case s.dead():
		return v, errDead
	}
	return v, put()
}

func (w *world) log(t tester, plain bool) *ledger.Log {
	t.Helper()
	l, err := ledger.Open(context.Background(), store{w, plain}, "ledger.example", quick{}, quick{})
	if err != nil {
		if w.dead() {
			return nil
		}
		t.Fatal(err)
	}
	return l
}

// The port Desk.

func (w *world) call(f func() error) error {
	if w.before != nil {
		w.before()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(w.slow)
	if w.down != nil {
		return w.down
	}
	return f()
}

func (w *world) Find(_ context.Context, q Query) (out []Issue, err error) {
	err = w.call(func() error {
		if w.dead() {
			return errDead
		}
		for _, i := range w.issues {
			switch {
			case q.Key != "" && i.Key == q.Key && i.deleted:
				return fmt.Errorf("find %s: %w", q.Key, ErrGone)
			case q.Key != "" && i.Key == q.Key,
				q.Mark != "" && i.mark == q.Mark && w.now.Sub(i.Created) >= w.lag && !i.deleted:
				out = append(out, i.Issue)
			}
		}
		return nil
	})
	return out, err
}

func (w *world) Create(_ context.Context, d Draft) (out Issue, err error) {
	err = w.call(func() error {
		if w.refuse != nil {
			if err := w.refuse(d); err != nil {
				return err
			}
		}
		return w.effect(func() error {
			key := fmt.Sprintf("AC-%d", len(w.issues)+1)
			i := &issue{Issue: Issue{Key: key, URL: "https://desk.example/" + key, Open: true, Created: w.now}, draft: d, mark: d.Mark, done: map[string]bool{}, body: d.Body, summary: d.Summary}
			w.issues = append(w.issues, i)
			out = i.Issue
			return nil
		})
	})
	return out, err
}

func (w *world) Do(_ context.Context, key string, c Change) error {
	return w.call(func() error {
		return w.effect(func() error {
			i := w.issue(key)
			if i == nil || i.deleted {
				return fmt.Errorf("change %s: %w", key, ErrGone)
			}
			if c.Mark == "" {
				return errors.New("a change without a mark")
			}
			if c.To != "" {
				i.Open = c.To == "open"
				return nil
			}
			if i.done[c.Mark] {
				return nil
			}
			i.done[c.Mark] = true
			switch {
			case c.Comment != nil:
				i.comments = append(i.comments, c.Comment)
			case c.Attach != nil:
				if !json.Valid(c.Attach) {
					return errors.New("what is attached is not JSON")
				}
				i.attached = append(i.attached, string(c.Attach))
			case c.Body != nil:
				i.body, i.summary = c.Body, c.Summary
			default:
				return errors.New("an empty change")
			}
			return nil
		})
	})
}

func (w *world) issue(key string) *issue {
	for _, i := range w.issues {
		if i.Key == key {
			return i
		}
	}
	return nil
}

// The port Chat.
type chat struct{ *world }

func (c chat) Post(_ context.Context, n News, thread string) (out Posted, err error) {
	err = c.call(func() error {
		if c.chatDown != nil {
			return c.chatDown
		}
		return c.effect(func() error {
			c.posts, c.threads = append(c.posts, n), append(c.threads, thread)
			out = Posted{Channel: "C1", TS: fmt.Sprint(len(c.posts)), URL: "https://chat.example/" + fmt.Sprint(len(c.posts))}
			return nil
		})
	})
	return out, err
}

func (c chat) Find(_ context.Context, mark string, _ time.Time) (out Posted, found bool, err error) {
	err = c.call(func() error {
		if c.dead() {
			return errDead
		}
		if c.chatDown != nil {
			return c.chatDown
		}
		for i, n := range c.posts {
			if n.Mark == mark {
				out, found = Posted{Channel: "C1", TS: fmt.Sprint(i + 1)}, true
			}
		}
		return nil
	})
	return out, found, err
}

// answers of one canary by check; "" = not judged yet.
type answers map[canary.Check]canary.Answer

func pass() canary.Answer { return canary.Answer{Status: canary.Pass} }

func fail(hop canary.Hop) canary.Answer {
	return canary.Answer{Status: canary.Fail, Hop: hop, Detail: "no record of it", Step: "create"}
}

func unknown() canary.Answer {
	return canary.Answer{Status: canary.Inconclusive, Detail: "the store could not be listed"}
}

// did writes a run into the ledger: of each scenario, its surfaced answer. A nil map
// value means that it is still awaited.
func (w *world) did(t tester, surfaced map[string]canary.Answer) string {
	t.Helper()
	w.runs++
	id := fmt.Sprintf("run-%d", w.runs)
	w.wait(time.Hour)
	entries := []run.Entry{{Type: "begun", Run: id, Begun: &run.Begun{Canaries: len(surfaced)}}}
	names := make([]string, 0, len(surfaced))
	for s := range surfaced {
		names = append(names, s)
	}
	slices.Sort(names)
	for n, s := range names {
		c := canaryOf(id, n, s)
		entries = append(entries,
			run.Entry{Type: "planned", Run: id, Canary: c.ID, Planned: &run.Plan{Canary: c, Scenario: canary.Scenario{ID: s, Title: "Title of " + s, Category: "permissions"}}},
			run.Entry{Type: "receipt", Run: id, Canary: c.ID, Receipt: &canary.Receipt{Canary: c.ID, Step: "create", Phase: canary.PhaseDo, Attempt: 1, RequestIDs: []string{"req_" + strings.ReplaceAll(c.ID, "-", "_")}}},
		)
	}
	entries = append(entries, run.Entry{Type: "injected", Run: id, Injected: &run.Injected{}})
	w.write(t, entries...)
	for n, s := range names {
		w.verdict(t, id, n, s, surfaced[s])
	}
	return id
}

func canaryOf(runID string, n int, scenario string) canary.Canary {
	return canary.Canary{ID: fmt.Sprintf("%s-%02d", runID, n), Run: runID, Scenario: scenario, Target: canary.Target{Provider: "aws", Account: "111122223333", Region: "us-east-1"}}
}

func (w *world) verdict(t tester, runID string, n int, scenario string, a canary.Answer) {
	t.Helper()
	c := canaryOf(runID, n, scenario)
	follows := pass()
	if a.Status != canary.Pass {
		follows = canary.Answer{Status: canary.NotRun, Detail: "no record to judge"}
	}
	w.write(t, run.Entry{Type: "verdict", Run: runID, Canary: c.ID, Verdict: &canary.Verdict{Canary: c.ID, Checks: answers{
		canary.Injected: pass(), canary.Surfaced: a, canary.Attributed: follows, canary.Timely: follows, canary.Cleaned: pass(),
	}}})
}

// accepts writes down a register of these exceptions.
func (w *world) accepts(t tester, all ...exception.Exception) {
	t.Helper()
	w.write(t, run.Entry{Type: "register", Register: &exception.Register{
		Exceptions: all, Source: "exceptions.yaml", SHA256: strings.Repeat("a", 64), MaxDays: 180, ControlsVersion: "1",
	}})
}

// accepted is an exception in order, that what a scenario does is lost on delivery, until
// so many days from now.
func (w *world) accepted(id, scenario string, days int) exception.Exception {
	day := func(n int) exception.Day { return exception.Day(w.clock().AddDate(0, 0, n).Format(time.DateOnly)) }
	return exception.Exception{
		ID: id, Scope: exception.Scope{Scenario: scenario, Target: "111122223333", Check: canary.Surfaced}, Problem: exception.Problem{Hop: canary.Delivered},
		Control: exception.Control{ID: "iso27017:2015/12.4.3", Version: "1"}, CompensatingControls: []string{"a second trail"},
		Risk: exception.Risk{Requester: "Bob", Approver: "Ann", Statement: "a second trail has it"}, Opened: day(-20), Expires: day(days), Owner: "Cloud team",
	}
}

func (w *world) write(t tester, entries ...run.Entry) {
	t.Helper()
	var leaves [][]byte
	for _, e := range entries {
		e.V, e.At = 1, w.clock()
		leaf, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, leaf)
	}
	if _, err := w.log(t, true).Append(context.Background(), leaves...); err != nil {
		t.Fatal(err)
	}
}

func (w *world) step(t tester) *Step {
	t.Helper()
	return &Step{Log: w.log(t, false), Desk: w, Chat: chat{w}, Origin: "ledger.example", Clock: w.clock}
}

// report does one step.
func (w *world) report(t tester, change ...func(*Step)) Result {
	t.Helper()
	s := w.step(t)
	for _, c := range change {
		c(s)
	}
	res, err := s.Run(context.Background(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func (w *world) state(t tester) *run.State {
	t.Helper()
	s, _, err := run.Fold(context.Background(), w.log(t, true))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (w *world) open() (keys []string) {
	for _, i := range w.issues {
		if i.Open && !i.deleted {
			keys = append(keys, i.Key)
		}
	}
	return keys
}

func text(d Doc) string {
	var b strings.Builder
	for _, x := range d {
		b.WriteString(x.Text + "\n")
		for _, r := range x.Rows {
			b.WriteString(strings.Join(r, " | ") + "\n")
		}
	}
	return b.String()
}

func noChat(s *Step) { s.Chat = nil }
