package ticket

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

func titles(n News) string {
	var out []string
	for _, g := range n.Groups {
		out = append(out, fmt.Sprintf("%s %d", g.Title, len(g.Items)))
	}
	return strings.Join(out, ", ")
}

func TestASummarySaysWhatChangedSinceTheLastOne(t *testing.T) {
	w := newWorld(t)
	summaries := func() (out []News) {
		for i, n := range w.posts {
			if w.threads[i] == "" {
				out = append(out, n)
			}
		}
		return out
	}
	link := func(s *Step) { s.ReportURL = "https://report.example/" }
	w.did(t, one{"aws/a": fail(canary.Delivered), "aws/b": pass(), "aws/c": {Status: canary.Late, Detail: "late"}, "aws/d": unknown()})
	w.report(t, link)
	n := summaries()[0]
	if got := titles(n); got != "New 1, Late 1, Could not be found out 1" {
		t.Errorf("first: %s", got)
	}
	if item := n.Groups[0].Items[0]; item.What != "aws/a at 111122223333/us-east-1: surfaced" || item.Ticket != (Link{"AC-1", "https://desk.example/AC-1"}) || !strings.Contains(item.Detail, "no record of it") {
		t.Errorf("%+v", item)
	}
	if n.Links[0].URL != "https://report.example/" || n.Kind != "run" || n.Run != "run-1" {
		t.Errorf("%+v", n)
	}
	// The chat is down for a run: the next summary says what that run brought.
	w.chatDown = errors.New("channel is archived")
	w.did(t, one{"aws/a": fail(canary.Delivered), "aws/b": fail(canary.Emitted), "aws/c": pass(), "aws/d": pass()})
	if res := w.report(t, link); res.ExitCode() != 0 || res.Posts[0].Err != "channel is archived" {
		t.Errorf("%+v", res.Posts)
	}
	w.chatDown = nil
	w.did(t, one{"aws/a": fail(canary.Delivered), "aws/b": fail(canary.Emitted), "aws/c": pass(), "aws/d": pass()})
	w.report(t, link)
	all := summaries()
	if got := titles(all[len(all)-1]); len(all) != 2 || got != "New 1, Still failing 1, Fixed 2" {
		t.Errorf("%d summaries, the last: %s", len(all), got)
	}
	// What a post that failed left undone is done by the next step, once.
	w.did(t, one{"aws/a": fail(canary.Delivered)})
	w.chatDown = errors.New("rate limited")
	w.report(t)
	w.chatDown = nil
	w.report(t)
	w.report(t)
	if all = summaries(); len(all) != 3 || titles(all[2]) != "Still failing 2" {
		t.Errorf("%d summaries, the last: %s", len(all), titles(all[len(all)-1]))
	}
	if !strings.Contains(all[2].Groups[0].Items[1].Detail, "not tested in the last 1 run") {
		t.Errorf("%+v", all[2].Groups[0].Items[1])
	}
}

func TestDetailsStandInTheThreadInPieces(t *testing.T) {
	w := newWorld(t)
	w.did(t, many(200, fail(canary.Delivered)))
	w.report(t)
	if len(w.posts) != 1+mostDetails {
		t.Fatalf("%d messages", len(w.posts))
	}
	for i, n := range w.posts[1:] {
		if w.threads[i+1] != "1" || n.Kind != "detail" || len(n.Groups[0].Items) != detailsEach {
			t.Errorf("%d: thread %q, %s, %d items", i, w.threads[i+1], n.Kind, len(n.Groups[0].Items))
		}
	}
	if !strings.Contains(w.posts[mostDetails].Title, "more is in the report") {
		t.Errorf("%s", w.posts[mostDetails].Title)
	}
}

func TestAQuietChatHearsOfChangesAndOnceADay(t *testing.T) {
	w := newWorld(t) // 10:00
	quiet := func(s *Step) { s.News = NewsConfig{Quiet: true, DigestAt: 15 * time.Hour} }
	kinds := func() string {
		var out []string
		for _, n := range w.posts {
			if n.Kind != "detail" {
				out = append(out, n.Kind)
			}
		}
		return strings.Join(out, " ")
	}
	for hour, tt := range []struct {
		answer canary.Answer
		want   string
	}{
		{pass(), ""},                              // 11
		{fail(canary.Delivered), "change"},        // 12
		{fail(canary.Delivered), "change"},        // 13
		{fail(canary.Delivered), "change"},        // 14
		{fail(canary.Delivered), "change digest"}, // 15
		{pass(), "change digest change"},          // 16
		{pass(), "change digest change change"},   // 17: passed often enough
		{pass(), "change digest change change"},   // 18
	} {
		w.did(t, one{"aws/a": tt.answer})
		w.report(t, quiet)
		w.report(t, quiet)
		if got := kinds(); got != tt.want {
			t.Errorf("hour %d: %q, want %q", 11+hour, got, tt.want)
		}
	}
	w.wait(21 * time.Hour)
	w.report(t, quiet)
	if got := kinds(); got != "change digest change change digest" {
		t.Errorf("the next day: %q", got)
	}
	if got := w.posts[len(w.posts)-1].Title; !strings.Contains(got, "Digest of 2026-11-23") {
		t.Error(got)
	}
}

func TestARunIsToldOfOnceNothingIsAwaited(t *testing.T) {
	w := newWorld(t)
	w.did(t, one{"aws/a": pass()})
	w.did(t, one{"aws/a": {Status: canary.NotRun, Open: true, Detail: "awaited"}})
	w.report(t)
	if len(w.posts) != 1 || w.posts[0].Run != "run-1" {
		t.Errorf("%+v", w.posts)
	}
	if _, err := w.step(t).Run(t.Context(), Options{Run: "run-9"}); err == nil || !strings.Contains(err.Error(), `no run "run-9"`) {
		t.Errorf("%v", err)
	}
	res, err := w.step(t).Run(t.Context(), Options{Run: "run-2"})
	if err != nil || len(res.Said) != 1 || !strings.Contains(res.Said[0], "still awaited") {
		t.Errorf("%v %v", res.Said, err)
	}
}

// A step that freezes between its intent and the message finds, when it goes on, that
// another one took it for dead and has posted.
func TestAStepThatFrozeDoesNotPostOnceMore(t *testing.T) {
	w := newWorld(t)
	w.did(t, one{"aws/a": fail(canary.Delivered)})
	noDesk := func(s *Step) { s.Desk = nil }
	w.afterClaim = func() {
		w.afterClaim = nil
		w.wait(4 * time.Minute)
		w.report(t, noDesk)
	}
	w.report(t, noDesk)
	marks := map[string]int{}
	for _, n := range w.posts {
		if marks[n.Mark]++; marks[n.Mark] > 1 {
			t.Errorf("%s was posted %d times", n.Mark, marks[n.Mark])
		}
	}
	if len(w.posts) != 2 {
		t.Errorf("%d posts, want the summary and its details", len(w.posts))
	}
	// Frozen for less than that, it leaves the message for later.
	w.did(t, one{"aws/a": fail(canary.Emitted)})
	w.afterClaim = func() { w.afterClaim = nil; w.wait(2 * time.Minute) }
	if res := w.report(t, noDesk); len(w.posts) != 2 || !strings.Contains(res.Posts[0].Err, "left for now") {
		t.Errorf("%d posts: %+v", len(w.posts), res.Posts)
	}
	w.wait(2 * time.Minute)
	if w.report(t, noDesk); len(w.posts) != 4 {
		t.Errorf("%d posts, want 4", len(w.posts))
	}
}

// What a run says by an amendment, hours after its summary, is told as what is new.
func TestAQuietChatHearsOfAmendments(t *testing.T) {
	quiet := func(s *Step) { s.News = NewsConfig{Quiet: true, DigestAt: 24*time.Hour - 1} }
	// amend gives a's canary of a run another verdict.
	amend := func(w *world, id string, alerted canary.Answer) {
		c := canaryOf(id, 0, "aws/a")
		w.write(t, run.Entry{Type: "verdict", Run: id, Canary: c.ID, Verdict: &canary.Verdict{Canary: c.ID, Checks: answers{
			canary.Injected: pass(), canary.Surfaced: pass(), canary.Alerted: alerted, canary.Cleaned: pass(),
		}}})
	}
	silent := canary.Answer{Status: canary.Fail, Hop: canary.Announced, Detail: "it did not ring"}
	last := func(w *world) News {
		for i := len(w.posts) - 1; i >= 0; i-- {
			if w.threads[i] == "" {
				return w.posts[i]
			}
		}
		return News{}
	}
	summaries := func(w *world) (n int) {
		for _, thread := range w.threads {
			if thread == "" {
				n++
			}
		}
		return n
	}
	w := newWorld(t)
	w.did(t, one{"aws/a": pass(), "aws/b": fail(canary.Delivered)})
	w.report(t, quiet)
	amend(w, "run-1", silent)
	for n := range 3 {
		amend(w, w.did(t, one{"aws/a": pass(), "aws/b": fail(canary.Delivered)}), silent)
		w.report(t, quiet)
		if summaries(w) != 2 || titles(last(w)) != "New 1, Still failing 1" || !strings.Contains(last(w).Groups[0].Items[0].What, "aws/a") {
			t.Errorf("run %d: %d messages, the last: %+v", n+2, summaries(w), last(w).Groups)
		}
	}
	// So is that it was amended to a pass.
	for _, id := range []string{"run-2", "run-3", "run-4"} {
		amend(w, id, pass())
	}
	amend(w, w.did(t, one{"aws/a": pass(), "aws/b": fail(canary.Delivered)}), pass())
	w.report(t, quiet)
	if summaries(w) != 3 || titles(last(w)) != "Still failing 1, Fixed 1" {
		t.Errorf("%d messages, the last: %s", summaries(w), titles(last(w)))
	}
	w.did(t, one{"aws/a": pass(), "aws/b": fail(canary.Delivered)})
	w.report(t, quiet)
	if summaries(w) != 3 {
		t.Errorf("%d messages, the last: %s", summaries(w), titles(last(w)))
	}
	// What passed once and fails again is news as well.
	for n, want := range []int{4, 5, 5} {
		w.did(t, one{"aws/b": []canary.Answer{pass(), fail(canary.Delivered), fail(canary.Delivered)}[n]})
		w.report(t, quiet)
		if summaries(w) != want {
			t.Errorf("b, run %d: %d messages, want %d, the last: %s", n, summaries(w), want, titles(last(w)))
		}
	}
}

// The thread of a run that is amended gets what is new by that, and nothing twice.
func TestTheThreadOfAnAmendedRunSaysWhatIsNew(t *testing.T) {
	w := newWorld(t)
	runOf := many(20, fail(canary.Delivered))
	runOf["aws/a"], runOf["aws/b"] = pass(), pass()
	w.did(t, runOf)
	w.report(t)
	said := func() (n map[string]int) {
		n = map[string]int{}
		for i, p := range w.posts {
			if w.threads[i] == "1" {
				for _, item := range p.Groups[0].Items {
					n[item.What]++
				}
			}
		}
		return n
	}
	if len(w.posts) != 3 || len(said()) != 20 {
		t.Fatalf("%d messages, %d told", len(w.posts), len(said()))
	}
	for n, s := range []string{"aws/a", "aws/b"} { // they stand before the others
		w.wait(time.Hour)
		w.verdict(t, "run-1", n, s, fail(canary.Emitted))
		w.report(t)
		w.report(t)
		if len(w.posts) != 4+n || len(said()) != 21+n {
			t.Errorf("%s: %d messages, %d told", s, len(w.posts), len(said()))
		}
	}
	w.verdict(t, "run-1", 5, "aws/s003", pass())
	w.report(t)
	for what, times := range said() {
		want := map[bool]int{true: 2, false: 1}[strings.Contains(what, "aws/s003")]
		if times != want {
			t.Errorf("%s is told %d times, want %d", what, times, want)
		}
	}
	if got := w.posts[len(w.posts)-1].Groups[0]; got.Title != "Fixed" || len(got.Items) != 1 {
		t.Errorf("%+v", got)
	}
}
