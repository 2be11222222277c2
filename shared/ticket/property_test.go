package ticket

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// TestWhateverTheRunsSay draws histories of verdicts, with steps that die in between,
// and holds the tickets against what they must be by the plain rule.
func TestWhateverTheRunsSay(t *testing.T) {
	resolved, reopened, grouped, died := 0, 0, 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt)
		w.lag = 5 * time.Minute
		set := func(s *Step) { s.Chat, s.GroupAbove = nil, 2 }
		histories := map[string][]string{} // by scenario: what counts
		changes := map[string]int{}        // by scenario
		said := map[string]string{}
		for range rapid.IntRange(1, 5).Draw(rt, "runs") {
			runOf := one{}
			for n := range 3 {
				s := fmt.Sprintf("aws/s%d", n)
				switch kind := rapid.SampledFrom([]string{"fail", "fail", "emitted", "late", "inconclusive", "pass", "pass", "pass", "not-run", "absent"}).Draw(rt, s); kind {
				case "absent":
				case "not-run":
					runOf[s] = canary.Answer{Status: canary.NotRun, Detail: "no fixture"}
				default:
					runOf[s] = map[string]canary.Answer{"fail": fail(canary.Delivered), "emitted": fail(canary.Emitted), "late": {Status: canary.Late, Detail: "late"}, "inconclusive": unknown(), "pass": pass()}[kind]
					histories[s] = append(histories[s], kind)
				}
			}
			if len(runOf) == 0 {
				continue
			}
			w.did(rt, runOf)
			for s, h := range histories {
				now := h[len(h)-1]
				if now == "pass" && passes(h) >= 2 {
					now = "fixed"
				}
				if now != said[s] {
					said[s] = now
					changes[s]++
				}
			}
			wasOpen := w.open()
			if at := rapid.IntRange(0, 12).Draw(rt, "die at"); at > 0 {
				w.dieAt, w.after = w.effects+at, rapid.Bool().Draw(rt, "after")
				s := w.step(rt)
				set(s)
				_, err := s.Run(context.Background(), Options{})
				if err != nil && !w.dead() {
					rt.Fatal(err)
				}
				if w.dead() {
					died++
				}
				w.dieAt = 0
				w.report(rt, set)
				w.wait(14 * time.Minute)
			}
			w.report(rt, set)

			owner := map[string]*run.TicketState{}
			for _, st := range w.state(rt).TicketStates() {
				for _, fp := range append(slices.Clone(st.Members), st.Fingerprint) {
					if f, ok := run.ParseFingerprint(fp); ok {
						if other := owner[f.Scenario]; other != nil {
							rt.Fatalf("%s has the tickets %s and %s", fp, other.Key, st.Key)
						}
						owner[f.Scenario] = st
					}
				}
				if len(st.Members) > 0 {
					grouped++
				}
			}
			marks := map[string]bool{}
			for _, i := range w.issues {
				if marks[i.mark] {
					rt.Fatalf("two tickets of %s", i.mark)
				}
				marks[i.mark] = true
				if strings.Contains(fmt.Sprint(i.comments), "Reopened") {
					reopened++
				}
			}
			most := map[string]int{}
			for s, h := range histories {
				st := owner[s]
				if must(h) && (st == nil || st.Key == "" || !w.issue(st.Key).Open) {
					rt.Fatalf("%s (%v) has no open ticket", s, h)
				}
				if st != nil && st.Key != "" {
					most[st.Key] += changes[s]
					if slices.Contains(wasOpen, st.Key) && !w.issue(st.Key).Open {
						resolved++
						if passes(h) < 2 {
							rt.Fatalf("%s was resolved, and %s is %v", st.Key, s, h)
						}
					}
				}
			}
			for key, n := range most {
				if got := len(w.issue(key).comments); got > n {
					rt.Fatalf("%s has %d comments for %d changes", key, got, n)
				}
			}
		}
	})
	t.Logf("%d resolved, %d reopened, %d grouped, %d died", resolved, reopened, grouped, died)
}

func passes(h []string) (n int) {
	for _, x := range slices.Backward(h) {
		if x != "pass" {
			break
		}
		n++
	}
	return n
}

// must says by the plain rule whether there has to be an open ticket.
func must(h []string) bool {
	last := h[len(h)-1]
	if last == "inconclusive" {
		n := 0
		for _, x := range slices.Backward(h) {
			if x != "inconclusive" {
				break
			}
			n++
		}
		return n >= 3
	}
	return last != "pass"
}
