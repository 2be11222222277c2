package ticket

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/event"
	"github.com/auditcanary/auditcanary/shared/exception"
	"github.com/auditcanary/auditcanary/shared/run"
)

type one = map[string]canary.Answer

func TestTheSameFailureIsOneTicketThatSaysItOnce(t *testing.T) {
	w := newWorld(t)
	for n := range 10 {
		// Each run has its own ids, and they are in what was found.
		a := fail(canary.Delivered)
		a.Detail = fmt.Sprintf("no record of request %d", n)
		a.Fields = []event.Difference{{Field: "actor.session.name", Expected: fmt.Sprintf("auditcanary-run-%d-00", n+1), Found: fmt.Sprintf("req_run_%d_00", n+1)}}
		w.did(t, one{"aws/a": a, "aws/b": pass()})
		if code := w.report(t).ExitCode(); code != 0 {
			t.Errorf("run %d: exit code %d", n, code)
		}
	}
	if len(w.issues) != 1 || len(w.issues[0].comments) != 0 || len(w.issues[0].attached) != 1 {
		t.Fatalf("%d tickets; %+v", len(w.issues), w.issues[0])
	}
	i := w.issues[0]
	if !strings.Contains(i.attached[0], `"checkpoint": "ledger.example\n`) || !strings.Contains(i.attached[0], `"entry": 6`) {
		t.Errorf("attached: %s", i.attached[0])
	}
	if got := text(i.body); !strings.Contains(got, "10 of 10 runs since then") || !strings.Contains(got, "req_run_10_00") || !strings.Contains(got, "the store did not get it") {
		t.Errorf("body:\n%s", got)
	}
	if i.draft.Severity != "high" || i.draft.Kind != Failure || i.draft.Mark != Mark("surfaced of aws/a at aws/111122223333/us-east-1") {
		t.Errorf("draft %+v", i.draft)
	}
	// Another report over the same ledger does nothing at all.
	before := w.state(t).Size
	if res := w.report(t); len(res.Acts) != 0 || len(res.Posts) != 0 || w.state(t).Size != before {
		t.Errorf("again: %+v", res)
	}
	// What changes is said, once.
	w.did(t, one{"aws/a": fail(canary.Emitted), "aws/b": pass()})
	w.report(t)
	w.report(t)
	if len(i.comments) != 1 || !strings.Contains(text(i.comments[0]), "hop emitted") || len(i.attached) != 2 {
		t.Errorf("%d comments, %d attached: %s", len(i.comments), len(i.attached), text(i.comments[0]))
	}
}

func TestATicketIsResolvedAfterEnoughPassesAndReopened(t *testing.T) {
	w := newWorld(t)
	w.did(t, one{"aws/a": fail(canary.Delivered)})
	w.report(t)
	i := w.issues[0]
	for n, tt := range []struct {
		answer   canary.Answer
		open     bool
		comments int
	}{
		{pass(), true, 1}, // passes again, 1 of 2
		{canary.Answer{Status: canary.NotRun, Detail: "no fixture"}, true, 1},
		{unknown(), true, 2}, // neither closes nor counts
		{pass(), true, 3},
		{pass(), false, 4},
		{pass(), false, 4},
		{unknown(), false, 4}, // once is nothing
		{fail(canary.Delivered), true, 5},
		{fail(canary.Delivered), true, 5},
	} {
		w.did(t, one{"aws/a": tt.answer})
		res := w.report(t)
		if i.Open != tt.open || len(i.comments) != tt.comments || len(w.issues) != 1 {
			t.Errorf("step %d (%s): open %t, %d comments, %d tickets; want %t, %d, 1: %+v", n, tt.answer.Status, i.Open, len(i.comments), len(w.issues), tt.open, tt.comments, res.Acts)
		}
	}
	if got := text(i.comments[4]); !strings.Contains(got, "Reopened") {
		t.Errorf("comment of the return: %s", got)
	}
}

func TestWhatCannotBeFoundOutBecomesATicketAfterAWhile(t *testing.T) {
	w := newWorld(t)
	for n := range 4 {
		w.did(t, one{"aws/a": unknown()})
		w.report(t)
		if want := map[bool]int{true: 1}[n >= 2]; len(w.issues) != want {
			t.Errorf("after %d runs: %d tickets, want %d", n+1, len(w.issues), want)
		}
	}
	if got := text(w.issues[0].body); !strings.Contains(got, "neither a pass nor a failure") || w.issues[0].draft.Severity != "medium" {
		t.Errorf("%s\n%s", w.issues[0].draft.Severity, got)
	}
}

func TestWhatIsAwaitedCountsAsNothingYet(t *testing.T) {
	w := newWorld(t)
	open := canary.Answer{Status: canary.Fail, Open: true, Detail: "awaited"}
	w.did(t, one{"aws/a": open})
	if res := w.report(t); len(w.issues) != 0 || len(res.Posts) != 0 {
		t.Errorf("%d tickets, %+v", len(w.issues), res)
	}
	w.verdict(t, "run-1", 0, "aws/a", fail(canary.Emitted))
	if res := w.report(t); len(w.issues) != 1 || len(w.posts) != 2 {
		t.Errorf("%d tickets, %+v", len(w.issues), res)
	}
	// A late arrival amends the verdict.
	w.verdict(t, "run-1", 0, "aws/a", pass())
	w.report(t)
	if c := w.issues[0].comments; len(c) != 1 || !strings.Contains(text(c[0]), "amended") || !w.issues[0].Open {
		t.Errorf("comments %v", c)
	}
	w.did(t, one{"aws/a": pass()})
	w.report(t)
	if w.issues[0].Open {
		t.Error("not resolved after two passes, the first of them amended")
	}
}

// A verdict that somebody heard of may be taken back: then what comes after it counts.
func TestATicketWhoseVerdictWasTakenBackIsResolvedByPasses(t *testing.T) {
	takeBack := canary.Answer{Status: canary.NotRun, Detail: "the store was not asked"}
	t.Run("one", func(t *testing.T) {
		w := newWorld(t)
		w.did(t, one{"aws/a": fail(canary.Delivered)})
		w.report(t)
		w.verdict(t, "run-1", 0, "aws/a", takeBack)
		w.report(t)
		if !w.issues[0].Open {
			t.Error("resolved by what was not run")
		}
		for n, open := range []bool{true, false} {
			w.did(t, one{"aws/a": pass()})
			w.report(t)
			if w.issues[0].Open != open {
				t.Errorf("after %d passes: open %t", n+1, w.issues[0].Open)
			}
		}
		if got := text(w.issues[0].body); strings.Contains(got, "0001") || !strings.Contains(got, "0 of 2 runs") {
			t.Errorf("%s", got)
		}
	})
	t.Run("after it had been fixed before", func(t *testing.T) {
		w := newWorld(t)
		w.did(t, one{"aws/a": pass()})
		w.did(t, one{"aws/a": pass()})
		w.did(t, one{"aws/a": fail(canary.Delivered)})
		w.report(t)
		w.verdict(t, "run-3", 0, "aws/a", takeBack)
		w.report(t)
		if !w.issues[0].Open {
			t.Error("resolved by passes of before")
		}
		w.did(t, one{"aws/a": pass()})
		w.did(t, one{"aws/a": pass()})
		w.report(t)
		if w.issues[0].Open {
			t.Error("not resolved")
		}
	})
	t.Run("while it fails all the same", func(t *testing.T) {
		w := newWorld(t)
		w.did(t, one{"aws/a": fail(canary.Delivered)})
		w.did(t, one{"aws/a": fail(canary.Delivered)})
		w.report(t)
		w.verdict(t, "run-2", 0, "aws/a", takeBack)
		w.report(t)
		if got := text(w.issues[0].body); !w.issues[0].Open || !strings.Contains(got, "1 of 1 run since") {
			t.Errorf("open %t: %s", w.issues[0].Open, got)
		}
	})
	t.Run("one of a group", func(t *testing.T) {
		w := newWorld(t)
		w.did(t, many(11, fail(canary.Delivered)))
		w.report(t)
		w.verdict(t, "run-1", 3, "aws/s003", takeBack)
		others := many(11, pass())
		delete(others, "aws/s003")
		for range 2 {
			w.did(t, others)
			w.report(t)
		}
		if !w.issues[0].Open {
			t.Error("resolved, and of one of its members nothing is known")
		}
		for range 2 {
			w.did(t, many(11, pass()))
			w.report(t)
		}
		if w.issues[0].Open {
			t.Error("not resolved")
		}
	})
}

func TestAnExceptionMakesNoTicketAndClosesNone(t *testing.T) {
	w := newWorld(t)
	w.accepts(t, w.accepted("EX-1", "aws/a", 60))
	w.did(t, one{"aws/a": fail(canary.Delivered), "aws/b": fail(canary.Delivered)})
	w.report(t)
	if len(w.issues) != 1 || !strings.Contains(w.issues[0].summary, "aws/b") {
		t.Fatalf("%d tickets", len(w.issues))
	}
	if n := w.posts[0]; n.Tally[0] != (Count{canary.Fail, 1}) || n.Tally[1] != (Count{canary.Excepted, 1}) {
		t.Errorf("tally %v", n.Tally)
	}
	w.accepts(t, w.accepted("EX-1", "aws/a", 60), w.accepted("EX-2", "aws/b", 60))
	w.did(t, one{"aws/a": fail(canary.Delivered), "aws/b": fail(canary.Delivered)})
	w.report(t)
	if i := w.issues[0]; !i.Open || len(i.comments) != 1 || !strings.Contains(text(i.comments[0]), "exception EX-2 (accepted by Ann until") {
		t.Errorf("%t %v", i.Open, i.comments)
	}
	w.accepts(t, w.accepted("EX-2", "aws/b", 60)) // the other is withdrawn
	w.report(t)
	if len(w.issues) != 2 || !w.issues[1].Open || !strings.Contains(w.issues[1].summary, "aws/a") {
		t.Errorf("%d tickets after it was withdrawn", len(w.issues))
	}
}

func many(n int, a canary.Answer) one {
	out := one{}
	for i := range n {
		out[fmt.Sprintf("aws/s%03d", i)] = a
	}
	return out
}

func TestManyAtOnceAreOneTicket(t *testing.T) {
	w := newWorld(t)
	w.did(t, many(200, fail(canary.Delivered)))
	if code := w.report(t).ExitCode(); code != 0 || len(w.issues) != 1 {
		t.Fatalf("exit code %d, %d tickets", code, len(w.issues))
	}
	i := w.issues[0]
	if got := text(i.body); strings.Count(got, "aws/s") != maxMembers || !strings.Contains(got, "(170 more") || i.draft.Kind != Group {
		t.Errorf("%s", got)
	}
	if n := strings.Count(i.attached[0], `"scenario"`); n != 200 {
		t.Errorf("%d members attached", n)
	}
	// Further ones of the same kind join, others do not.
	next := many(201, fail(canary.Delivered))
	next["aws/other"] = fail(canary.Emitted)
	w.did(t, next)
	w.report(t)
	if len(w.issues) != 2 || len(i.comments) != 1 || len(w.state(t).TicketStates()[0].Members) != 201 {
		t.Errorf("%d tickets, %d comments", len(w.issues), len(i.comments))
	}
	// All pass but one: it stays open. Then that one too.
	passing := many(201, pass())
	passing["aws/s007"] = fail(canary.Emitted) // it stays with the ticket it got
	for range 3 {
		w.did(t, passing)
		w.report(t)
	}
	if !i.Open || len(w.issues) != 2 {
		t.Fatalf("open %t, %d tickets", i.Open, len(w.issues))
	}
	passing["aws/s007"] = pass()
	for range 2 {
		w.did(t, passing)
		w.report(t)
	}
	if i.Open {
		t.Error("not resolved")
	}
	w.did(t, one{"aws/s009": fail(canary.Delivered)})
	w.report(t)
	if !i.Open || len(w.issues) != 2 {
		t.Errorf("the return of one: open %t, %d tickets", i.Open, len(w.issues))
	}
}

func TestTenAtOnceAreTenTickets(t *testing.T) {
	w := newWorld(t)
	w.did(t, many(10, fail(canary.Delivered)))
	w.report(t)
	if len(w.issues) != 10 {
		t.Errorf("%d tickets", len(w.issues))
	}
}

func TestWhatPeopleDidAtTheDesk(t *testing.T) {
	fixed := func(w *world) *issue { w.issues[0].Open = false; return w.issues[0] }
	t.Run("resolved while it fails: reopened", func(t *testing.T) {
		w := newWorld(t)
		w.did(t, one{"aws/a": fail(canary.Delivered)})
		w.report(t)
		i := fixed(w)
		w.report(t)
		w.report(t)
		if !i.Open || len(i.comments) != 1 || !strings.Contains(text(i.comments[0]), "Reopened") {
			t.Errorf("open %t, comments %v", i.Open, i.comments)
		}
	})
	t.Run("resolved while it fails: left, if so configured", func(t *testing.T) {
		w := newWorld(t)
		w.did(t, one{"aws/a": fail(canary.Delivered)})
		w.report(t)
		i := fixed(w)
		leave := func(s *Step) { s.LeaveResolved = true }
		if res := w.report(t, leave); i.Open || res.Acts[0].Act != "left" || res.ExitCode() != 0 {
			t.Errorf("%+v", res)
		}
		for range 2 {
			w.did(t, one{"aws/a": pass()})
			w.report(t, leave)
		}
		w.did(t, one{"aws/a": fail(canary.Delivered)})
		w.report(t, leave)
		if !i.Open {
			t.Error("not reopened when it came back")
		}
	})
	t.Run("deleted: made anew", func(t *testing.T) {
		w := newWorld(t)
		w.did(t, one{"aws/a": fail(canary.Delivered)})
		w.report(t)
		w.issues[0].deleted = true
		for range 2 {
			w.did(t, one{"aws/a": fail(canary.Delivered)})
			w.report(t)
		}
		if len(w.issues) != 2 || !strings.Contains(text(w.issues[1].body), "takes the place of AC-1") {
			t.Fatalf("%d tickets: %s", len(w.issues), text(w.issues[len(w.issues)-1].body))
		}
		if st := w.state(t).TicketStates()[0]; st.Key != "AC-2" || st.Gone[0] != "AC-1" {
			t.Errorf("%+v", st)
		}
	})
	t.Run("deleted after it was fixed: nothing", func(t *testing.T) {
		w := newWorld(t)
		w.did(t, one{"aws/a": fail(canary.Delivered)})
		w.report(t)
		w.issues[0].deleted = true
		w.did(t, one{"aws/a": pass()})
		w.report(t)
		if len(w.issues) != 1 {
			t.Errorf("%d tickets", len(w.issues))
		}
	})
}

// attachGone says of every attachment that the ticket is gone, and shows it when asked.
type attachGone struct{ *world }

func (d attachGone) Do(ctx context.Context, key string, c Change) error {
	if c.Attach != nil {
		return fmt.Errorf("attach to %s: 404: %w", key, ErrGone)
	}
	return d.world.Do(ctx, key, c)
}

func TestADeskThatCallsEveryTicketGoneGetsOneMoreInAStep(t *testing.T) {
	w := newWorld(t)
	w.did(t, one{"aws/a": fail(canary.Delivered)})
	for n := 1; n <= 2; n++ {
		res := w.report(t, noChat, func(s *Step) { s.Desk = attachGone{w} })
		if len(w.issues) != n+1 || res.ExitCode() != 2 {
			t.Errorf("step %d: %d tickets, want %d; exit code %d: %+v", n, len(w.issues), n+1, res.ExitCode(), res.Acts)
		}
	}
	if code := w.report(t, noChat).ExitCode(); len(w.issues) != 3 || code != 0 {
		t.Errorf("a desk that attaches: %d tickets, exit code %d", len(w.issues), code)
	}
}

func TestADeskThatIsDownLosesNothing(t *testing.T) {
	w := newWorld(t)
	w.down = errors.New("dial desk.example: connection refused")
	for range 3 {
		w.did(t, many(6, fail(canary.Delivered)))
		res := w.report(t)
		if res.ExitCode() != 2 {
			t.Errorf("exit code %d: %+v", res.ExitCode(), res.Acts)
		}
	}
	w.down = nil
	w.did(t, many(6, fail(canary.Delivered)))
	if code := w.report(t).ExitCode(); len(w.issues) != 6 || code != 0 {
		t.Errorf("%d tickets, exit code %d", len(w.issues), code)
	}
}

func TestARefusedTicketDoesNotKeepTheOthers(t *testing.T) {
	w := newWorld(t)
	w.refuse = func(d Draft) error {
		if strings.Contains(d.Summary, "aws/s002") {
			return fmt.Errorf("create: the project has no field %q: %w", "Team", ErrRefused)
		}
		return nil
	}
	w.did(t, many(6, fail(canary.Delivered)))
	res := w.report(t)
	refused := 0
	for _, d := range res.Acts {
		if d.Refused {
			refused++
			if !strings.Contains(d.Err, `"Team"`) {
				t.Errorf("%q", d.Err)
			}
		}
	}
	if len(w.issues) != 5 || refused != 1 || res.ExitCode() != 2 {
		t.Errorf("%d tickets, %d refused, exit code %d", len(w.issues), refused, res.ExitCode())
	}
	// A refusal is certain: it is tried again at once, when the field is there.
	w.refuse = nil
	if code := w.report(t).ExitCode(); len(w.issues) != 6 || code != 0 {
		t.Errorf("%d tickets, exit code %d", len(w.issues), code)
	}
}

func TestAnInterruptedCreationWaitsForTheSearch(t *testing.T) {
	w := newWorld(t)
	w.lag = 8 * time.Minute
	w.did(t, one{"aws/a": fail(canary.Delivered)})
	// The desk makes it and the answer is lost.
	lost := false
	w.before = func() { lost = true }
	s := w.step(t)
	s.Chat = nil
	s.Desk = losing{w}
	if _, err := s.Run(context.Background(), Options{}); err != nil || !lost || len(w.issues) != 1 {
		t.Fatalf("%v, %d tickets", err, len(w.issues))
	}
	w.before = nil
	res := w.report(t, noChat)
	if len(w.issues) != 1 || res.Acts[0].Act != "wait" || res.ExitCode() != 2 || !strings.Contains(res.Acts[0].Why, "nobody knows") {
		t.Errorf("%d tickets, %+v", len(w.issues), res.Acts)
	}
	w.wait(5 * time.Minute) // the call is over for certain, and the search does not show it yet
	res = w.report(t, noChat)
	if len(w.issues) != 1 || res.Acts[0].Act != "wait" {
		t.Errorf("%d tickets, %+v", len(w.issues), res.Acts)
	}
	w.wait(3 * time.Minute)
	res = w.report(t, noChat)
	if len(w.issues) != 1 || !res.Acts[0].Adopted || res.ExitCode() != 0 || w.state(t).TicketStates()[0].Key != "AC-1" {
		t.Errorf("%d tickets, %+v", len(w.issues), res.Acts)
	}
	// One that was never made is made once the search must have caught up.
	w.did(t, one{"aws/a": fail(canary.Delivered), "aws/b": fail(canary.Delivered)})
	w.down = errors.New("timed out")
	w.report(t, noChat)
	w.down = nil
	w.report(t, noChat)
	if len(w.issues) != 2 {
		// Asking about AC-1 failed as well; the creation of the other was tried all the same.
		w.wait(14 * time.Minute)
		w.report(t, noChat)
	}
	if len(w.issues) != 2 {
		t.Errorf("%d tickets", len(w.issues))
	}
}

// A comment whose answer was lost is not made again, even if another run came in between.
func TestALostAnswerIsNotSaidTwice(t *testing.T) {
	w := newWorld(t)
	w.did(t, one{"aws/a": fail(canary.Delivered)})
	w.report(t, noChat)
	w.did(t, one{"aws/a": fail(canary.Emitted)})
	res := w.report(t, noChat, func(s *Step) { s.Desk = losing{w} })
	if len(w.issues[0].comments) != 0 || res.ExitCode() != 2 {
		t.Errorf("%d comments, %+v", len(w.issues[0].comments), res.Acts)
	}
	for range 3 {
		w.did(t, one{"aws/a": fail(canary.Emitted)})
		w.report(t, noChat, func(s *Step) { s.Desk = deaf{w, "Since run"} })
	}
	w.did(t, one{"aws/a": fail(canary.Emitted)})
	if code := w.report(t, noChat).ExitCode(); len(w.issues[0].comments) != 1 || code != 0 {
		t.Errorf("%d comments, exit code %d", len(w.issues[0].comments), code)
	}
}

// deaf loses the answers to comments that contain a text.
type deaf struct {
	*world
	text string
}

func (d deaf) Do(ctx context.Context, key string, c Change) error {
	if err := d.world.Do(ctx, key, c); err != nil {
		return err
	}
	if strings.Contains(text(c.Comment), d.text) {
		return errors.New("read: connection reset by peer")
	}
	return nil
}

func (l losing) Do(context.Context, string, Change) error {
	return errors.New("read: connection reset by peer")
}

// losing loses the answers to Create, and every change.
type losing struct{ *world }

func (l losing) Create(ctx context.Context, d Draft) (Issue, error) {
	if _, err := l.world.Create(ctx, d); err != nil {
		return Issue{}, err
	}
	return Issue{}, errors.New("read: connection reset by peer")
}

// TestDyingAtEveryEffect kills the step before and after each write of the ledger and
// each call that changes something at the desk or in the chat, over several steps with
// a search that lags: there is never more than one ticket for a fingerprint, and never
// none in the end.
func TestDyingAtEveryEffect(t *testing.T) {
	story := func(dieAt int, after bool) (w *world, died bool) {
		w = newWorld(t)
		w.lag = 7 * time.Minute
		w.dieAt, w.after = dieAt, after
		reports := func() {
			for range 3 {
				if s := w.step(t); s.Log != nil {
					_, err := s.Run(context.Background(), Options{})
					if err != nil && !w.dead() {
						t.Fatal(err)
					}
				}
				if w.dead() {
					died = true
					w.dieAt = 0 // a new process
				}
				w.wait(7 * time.Minute)
			}
		}
		w.did(t, one{"aws/a": fail(canary.Delivered), "aws/b": pass()})
		reports()
		w.did(t, one{"aws/a": fail(canary.Emitted), "aws/b": fail(canary.Delivered)})
		reports()
		w.did(t, one{"aws/a": pass()})
		w.did(t, one{"aws/a": pass(), "aws/b": fail(canary.Delivered)})
		reports()
		w.did(t, one{"aws/a": fail(canary.Emitted), "aws/b": fail(canary.Delivered)})
		reports()
		return w, died
	}
	whole, _ := story(0, false)
	if whole.effects < 40 {
		t.Fatalf("only %d effects", whole.effects)
	}
	for at := 1; at <= whole.effects; at++ {
		for _, after := range []bool{false, true} {
			w, died := story(at, after)
			if !died {
				t.Fatalf("effect %d: nobody died", at)
			}
			if len(w.issues) != 2 || len(w.open()) != 2 {
				t.Fatalf("dying at effect %d (after %t): %d tickets, open %v", at, after, len(w.issues), w.open())
			}
			for n, i := range w.issues {
				if got, want := len(i.comments), len(whole.issues[n].comments); got != want {
					t.Errorf("dying at effect %d (after %t): %s has %d comments, want %d", at, after, i.Key, got, want)
				}
				if got, want := entry.ReplaceAllString(text(i.body), "entry"), entry.ReplaceAllString(text(whole.issues[n].body), "entry"); got != want {
					t.Errorf("dying at effect %d (after %t): %s says\n%s\nwant\n%s", at, after, i.Key, got, want)
				}
			}
			marks := map[string]int{}
			for _, n := range w.posts {
				if marks[n.Mark]++; marks[n.Mark] > 1 {
					t.Errorf("dying at effect %d (after %t): %s was posted twice", at, after, n.Mark)
				}
			}
			if len(w.posts) != len(whole.posts) {
				t.Errorf("dying at effect %d (after %t): %d posts, want %d", at, after, len(w.posts), len(whole.posts))
			}
		}
	}
}

// entry of the ledger: how many stand before it depends on what was tried twice.
var entry = regexp.MustCompile(`entry \d+`)

// TestTwoStepsAtOnce begins a second step before each call that the first one makes, and
// before each of its appends.
func TestTwoStepsAtOnce(t *testing.T) {
	count := func(at int) (calls int, w *world) {
		w = newWorld(t)
		w.lag = 7 * time.Minute
		w.did(t, one{"aws/a": fail(canary.Delivered), "aws/b": fail(canary.Emitted)})
		inside := false
		w.before = func() {
			if inside {
				return
			}
			if calls++; calls == at {
				inside = true
				w.report(t)
				inside = false
			}
		}
		w.beforeClaim = w.before
		w.report(t)
		w.before, w.beforeClaim = nil, nil
		w.wait(20 * time.Minute)
		w.report(t)
		return calls, w
	}
	calls, _ := count(0)
	for at := 1; at <= calls; at++ {
		_, w := count(at)
		if len(w.issues) != 2 || len(w.posts) != 2 {
			t.Errorf("a second step at call %d: %d tickets, %d posts", at, len(w.issues), len(w.posts))
		}
		for _, i := range w.issues {
			if len(i.comments) != 0 || len(i.attached) != 1 {
				t.Errorf("a second step at call %d: %s has %d comments, %d attached", at, i.Key, len(i.comments), len(i.attached))
			}
		}
	}
}

func TestAnActThatComesTooLateIsNotBegun(t *testing.T) {
	w := newWorld(t)
	w.slow = 40 * time.Second // two calls for each creation: the third is begun too late
	w.did(t, many(5, fail(canary.Delivered)))
	if code := w.report(t, noChat).ExitCode(); code != 0 || len(w.issues) != 5 {
		t.Errorf("exit code %d, %d tickets", code, len(w.issues))
	}
	late := 0
	for _, e := range w.state(t).Tickets {
		if strings.Contains(e.Err, "too late") {
			late++
		}
	}
	if late == 0 {
		t.Error("nothing came too late")
	}
}

func TestExceptionsThatEndAreTicketsOfTheirOwn(t *testing.T) {
	w := newWorld(t)
	both := one{"aws/a": fail(canary.Delivered), "aws/b": pass()}
	w.accepts(t, w.accepted("EX-1", "aws/a", 29), w.accepted("EX-2", "aws/b", -2))
	w.did(t, both)
	w.report(t)
	w.report(t)
	if len(w.issues) != 2 || w.issues[0].draft.Kind != Exception || w.issues[0].summary != "Exception EX-1: expires-in-30-days" || w.issues[1].draft.Severity != "high" {
		t.Fatalf("%d tickets: %+v", len(w.issues), w.issues[0])
	}
	if soon, over := text(w.issues[0].body), text(w.issues[1].body); !strings.Contains(soon, "Owner: Cloud team.") || !strings.Contains(soon, "Its last day is") || strings.Contains(over, "Its last day is") {
		t.Errorf("%s\n%s", soon, over)
	}
	// The end comes nearer: the same ticket says so. The other was taken out of the register.
	w.accepts(t, w.accepted("EX-1", "aws/a", 6))
	w.did(t, both)
	w.report(t)
	if got := strings.Join(w.open(), " "); got != "AC-1" || len(w.issues) != 2 || len(w.issues[0].comments) != 1 {
		t.Errorf("open %s of %d", got, len(w.issues))
	}
}

// Where nobody knows the register, nothing is said to be settled.
func TestWithoutARegisterNoTicketOfAnExceptionIsClosed(t *testing.T) {
	open := &run.TicketState{Fingerprint: "exception EX-1: end", Kind: string(Exception), Key: "AC-1", Open: true, Done: map[string]int{}}
	if acts := Decide(Facts{Tickets: []*run.TicketState{open}}, Config{}); len(acts) != 0 {
		t.Errorf("%+v", acts)
	}
	if acts := Decide(Facts{Tickets: []*run.TicketState{open}, Notices: []exception.Notice{}}, Config{}); !slices.ContainsFunc(acts, func(a Act) bool { return a.Act == "resolve" }) {
		t.Errorf("with an empty one: %+v", acts)
	}
}

// How long it is until then is another each day.
func TestATicketOfAnExceptionSaysADayOnce(t *testing.T) {
	w := newWorld(t)
	x := w.accepted("EX-1", "aws/a", 24)
	w.accepts(t, x)
	w.did(t, one{"aws/a": fail(canary.Delivered)})
	for range 4 {
		w.report(t)
		w.wait(24 * time.Hour)
	}
	if i := w.issues[0]; len(w.issues) != 1 || len(i.comments) != 0 || !strings.Contains(text(i.body), "in 21 days") {
		t.Errorf("%d tickets, %d comments: %s", len(w.issues), len(i.comments), text(i.body))
	}
	x.Expires = exception.Day(w.clock().AddDate(0, 0, 25).Format(time.DateOnly))
	w.accepts(t, x)
	w.report(t)
	if i := w.issues[0]; len(i.comments) != 1 {
		t.Errorf("another end: %d comments", len(i.comments))
	}
}

// The mark of a ticket can be known before: whoever made one with it wrote what he liked.
func TestATicketThatWasThereIsGivenItsText(t *testing.T) {
	planted := func(w *world) {
		w.issues = append(w.issues, &issue{Issue: Issue{Key: "AC-1", Open: true, Created: w.now.Add(-time.Hour)},
			mark: Mark("surfaced of aws/a at aws/111122223333/us-east-1"), done: map[string]bool{}, summary: "please ignore", body: Doc{{Kind: "text", Text: "please ignore"}}})
	}
	for name, begin := range map[string]func(*world){
		"found before its creation": planted,
		"found after a creation that was interrupted": func(w *world) {
			s := w.step(t)
			s.Chat, s.Desk = nil, neverMade{w}
			if _, err := s.Run(context.Background(), Options{}); err != nil {
				t.Fatal(err)
			}
			planted(w)
		},
	} {
		w := newWorld(t)
		w.did(t, one{"aws/a": fail(canary.Delivered)})
		begin(w)
		res := w.report(t, noChat)
		i := w.issues[0]
		if len(w.issues) != 1 || !res.Acts[0].Adopted || !strings.Contains(text(i.body), "no record of it") || !strings.Contains(i.summary, "aws/a") || len(i.attached) != 1 || res.ExitCode() != 0 {
			t.Errorf("%s: %d tickets, %q, %s: %+v", name, len(w.issues), i.summary, text(i.body), res.Acts)
		}
		if again := w.report(t, noChat); len(again.Acts) != 0 {
			t.Errorf("%s: again %+v", name, again.Acts)
		}
	}
}

// neverMade fails in every creation, and nobody knows how.
type neverMade struct{ *world }

func (neverMade) Create(context.Context, Draft) (Issue, error) {
	return Issue{}, errors.New("read: connection reset by peer")
}

// More that is wrong with what has a ticket is told in it.
func TestWhatIsNewlyWrongBesideItIsSaid(t *testing.T) {
	silent := func(name string) canary.AlertAnswer {
		return canary.AlertAnswer{Promise: canary.Promise{Alert: name}, Kind: canary.AlertSilent, Status: canary.Fail}
	}
	rang := canary.AlertAnswer{Promise: canary.Promise{Alert: "siem"}, Kind: canary.AlertRang, Status: canary.Pass}
	awaited := canary.AlertAnswer{Promise: canary.Promise{Alert: "siem"}, Kind: canary.AlertAwaited, Status: canary.NotRun}
	alerts := func(all ...canary.AlertAnswer) canary.Answer {
		return canary.Answer{Status: canary.Fail, Hop: canary.Announced, Detail: "silent", Alerts: all}
	}
	also := func(all ...canary.Other) canary.Answer {
		return canary.Answer{Status: canary.Fail, Step: "create", Also: all}
	}
	weak := func(detail string) canary.Answer {
		return canary.Answer{Status: canary.Fail, Hop: canary.Stored, Detail: detail}
	}
	for _, tc := range []struct {
		name          string
		check         canary.Check
		first, second canary.Answer
		said          bool
		want          string
	}{
		{"a second silent alert", canary.Alerted, alerts(silent("guardduty"), rang), alerts(silent("guardduty"), silent("siem")), true, "siem: silent"},
		{"the same silent alert", canary.Alerted, alerts(silent("guardduty"), rang), alerts(silent("guardduty"), rang), false, ""},
		{"another alert that is awaited", canary.Alerted, alerts(silent("guardduty"), rang), alerts(silent("guardduty"), awaited), false, ""},
		{"a second step", canary.Surfaced, also(), also(canary.Other{Step: "delete", Status: canary.Fail, Hop: canary.Delivered, Detail: "no record"}), true, "delete: fail, hop delivered: no record"},
		{"another hop of it", canary.Surfaced, also(canary.Other{Step: "delete", Status: canary.Fail, Hop: canary.Emitted}), also(canary.Other{Step: "delete", Status: canary.Fail, Hop: canary.Delivered}), true, "delete: fail, hop delivered"},
		{"another field of it", canary.Attributed, also(canary.Other{Step: "delete", Status: canary.Fail, Fields: []string{"a"}}), also(canary.Other{Step: "delete", Status: canary.Fail, Fields: []string{"a", "b"}}), true, "delete: fail, in a, b"},
		{"the same step in other words", canary.Surfaced, also(canary.Other{Step: "delete", Status: canary.Fail, Detail: "request 1"}), also(canary.Other{Step: "delete", Status: canary.Fail, Detail: "request 2"}), false, ""},
		{"another weakness", canary.Immutable, weak("no retention until 2026-11-20T10:00:00Z"), weak("no retention until 2026-11-20T10:00:00Z; versioning is not enabled"), true, "versioning is not enabled"},
		{"the same weakness at another time", canary.Immutable, weak("no retention until 2026-11-20T10:00:00Z"), weak("no retention until 2026-11-21T11:22:33Z"), false, ""},
		{"another weakness of a second record", canary.Immutable, also(canary.Other{Step: "delete", Status: canary.Fail, Detail: "x"}), also(canary.Other{Step: "delete", Status: canary.Fail, Detail: "x; y"}), true, "delete: fail: x; y"},
	} {
		w := newWorld(t)
		for n, a := range []canary.Answer{tc.first, tc.second} {
			id := w.did(t, one{"aws/a": pass()})
			c := canaryOf(id, 0, "aws/a")
			w.write(t, run.Entry{Type: "verdict", Run: id, Canary: c.ID, Verdict: &canary.Verdict{Canary: c.ID, Checks: answers{tc.check: a}}})
			w.report(t, noChat)
			if tc.said && n == 1 && len(w.issues[0].comments) == 1 && !strings.Contains(text(w.issues[0].comments[0]), tc.want) {
				t.Errorf("%s: %q is not in:\n%s", tc.name, tc.want, text(w.issues[0].comments[0]))
			}
			if want := map[bool]int{true: 1}[tc.said && n == 1]; len(w.issues) != 1 || len(w.issues[0].comments) != want {
				t.Errorf("%s, run %d: %d tickets, %d comments, want %d", tc.name, n+1, len(w.issues), len(w.issues[0].comments), want)
			}
		}
	}
}

func TestADryRunTouchesNothing(t *testing.T) {
	w := newWorld(t)
	w.did(t, one{"aws/a": fail(canary.Delivered)})
	s := w.step(t)
	effects, size := w.effects, w.state(t).Size
	w.before = func() { t.Error("a call was made") }
	res, err := s.Run(context.Background(), Options{DryRun: true})
	if err != nil || w.effects != effects || w.state(t).Size != size {
		t.Fatalf("%v, %d effects", err, w.effects-effects)
	}
	if len(res.Acts) != 2 || res.Acts[0].Act != "create" || res.Acts[1].Act != "attach" || len(res.Posts) != 1 {
		t.Errorf("%+v", res)
	}
}

func TestHugeTextIsCut(t *testing.T) {
	w := newWorld(t)
	huge := strings.Repeat("<!channel> {code}\x1b[2J \n", 60000)
	a := canary.Answer{Status: canary.Fail, Hop: canary.Delivered, Detail: huge, Step: huge}
	for range 300 {
		a.Fields = append(a.Fields, event.Difference{Field: "f" + huge[:100], Expected: huge[:1000], Found: huge[:1000]})
	}
	a.Evidence = []canary.Clue{{Source: canary.FromStore, Found: huge, Object: "s3://b/" + huge, EventID: huge}}
	s := run.NewState()
	rs := &run.RunState{ID: "r"}
	cs := &run.CanaryState{Run: rs, Plan: run.Plan{Canary: canaryOf("r", 0, "aws/a"), Scenario: canary.Scenario{Title: huge}}, Verdicts: []canary.Verdict{{Checks: answers{canary.Surfaced: a}}}}
	rs.Canaries, s.Runs = []*run.CanaryState{cs}, []*run.RunState{rs}
	acts := Decide(Facts{Findings: Fold(s, nil, Config{}), Now: w.now}, Config{})
	d := acts[0].draft
	if n := len(text(d.Body)); n > 30000 || len(d.Summary) > 255 || strings.ContainsAny(d.Summary, "\n\x1b") {
		t.Errorf("%d bytes, summary %q", n, d.Summary)
	}
	data := attachment("o", "", Fold(s, nil, Config{}))
	if len(data) > maxAttached+1<<20 {
		t.Errorf("%d bytes attached", len(data))
	}
}

// What was not known at first, and passed in the same run, was never wrong: nobody is told
// that it is fixed. What failed at first is another thing.
func TestWhatWasOnlyNotKnownAtFirstIsNoNews(t *testing.T) {
	for name, tc := range map[string]struct {
		first canary.Answer
		want  int
	}{
		"not known": {canary.Answer{Status: canary.Inconclusive, Detail: "the place could not be asked"}, 0},
		"failed":    {fail(canary.Delivered), 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.did(t, one{"aws/a": tc.first})
			w.verdict(t, "run-1", 0, "aws/a", pass())
			if got := Fold(w.state(t), nil, Config{}); len(got) != tc.want {
				t.Errorf("%d findings, want %d", len(got), tc.want)
			}
		})
	}
}
