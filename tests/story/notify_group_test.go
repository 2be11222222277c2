package story

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// TestTwoHundredFailuresAtOnceAreFewTickets lets the whole catalogue fail at once, in
// ledgers that hold the verdicts (to wait for the event history of 200 records would
// take a minute), and has the real program tell the real servers, which check what a
// ticket and a message may be and how often one comes. The rule, as package ticket has
// it: more than ten of the same check and hop in one step share a ticket, what fails
// alike while it is open joins it, and it is resolved when all of them passed often
// enough.
func TestTwoHundredFailuresAtOnceAreFewTickets(t *testing.T) {
	t.Parallel()
	w := newCatalogue(t)
	if len(w.plans) < 200 {
		t.Fatalf("only %d canaries", len(w.plans))
	}
	const alone, elsewhere = 8, 16
	late := len(w.plans) - 5 // they pass in the first run
	first := func(n int) map[canary.Check]canary.Answer {
		switch {
		case n < alone:
			return failing(canary.Attributed, canary.Delivered)
		case n < alone+elsewhere:
			return failing(canary.Surfaced, canary.Emitted)
		case n >= late:
			return failing("", "")
		}
		return failing(canary.Surfaced, canary.Delivered)
	}
	w.did(t, first)
	w.notify(t)
	shared := late - alone - elsewhere
	groups := 0
	for _, k := range w.tickets(t) {
		if !slices.Contains(k.Labels, "auditcanary-group") {
			continue
		}
		groups++
		n := elsewhere
		if strings.HasPrefix(k.Summary, "surfaced, hop delivered") {
			n = shared
			if more := fmt.Sprintf("(%d more: all are in what is attached)", n-30); !strings.Contains(k.Description, more) {
				t.Errorf("%s does not say %q", k.Key, more)
			}
		}
		if !strings.Contains(k.Description, "Where to look") {
			t.Errorf("%s does not say where to look", k.Key)
		}
		if want := fmt.Sprintf("%d canaries of one cause", n); !strings.HasSuffix(k.Summary, want) {
			t.Errorf("%s: %q, want %q", k.Key, k.Summary, want)
		}
		for name, data := range k.Attachments {
			var attached struct{ Findings []any }
			if err := json.Unmarshal([]byte(data), &attached); err != nil || len(attached.Findings) != n {
				t.Errorf("%s, %s: %d findings (%v), want %d", k.Key, name, len(attached.Findings), err, n)
			}
		}
	}
	if all := w.tickets(t); groups != 2 || len(all) != groups+alone {
		t.Errorf("%d tickets, %d of them for several: want %d and 2", len(all), groups, groups+alone)
	}

	// Slack takes a message a second, and none that is too long (else it were not there).
	posts := w.messages(t)
	if len(posts) != 11 || !strings.Contains(posts[0].Text, fmt.Sprintf("%d fail", late)) {
		t.Errorf("%d messages, the first %q: want a summary, and ten details", len(posts), posts[0].Text)
	}
	if took := w.took; took < time.Duration(len(posts)-1)*time.Second {
		t.Errorf("%d messages in %v", len(posts), took)
	}
	if more := regexp.MustCompile(`\d+ more`); !more.Match(posts[0].Blocks) {
		t.Error("the summary does not count what it does not show")
	}

	// The next two runs: most of it passes, and five more fail like them.
	w.quiet(t)
	for range 2 {
		w.did(t, func(n int) map[canary.Check]canary.Answer {
			if n >= late {
				return failing(canary.Surfaced, canary.Delivered)
			}
			return failing("", "")
		})
	}
	w.notify(t)
	open := 0
	for _, k := range w.tickets(t) {
		if k.Open {
			open++
			if !strings.HasSuffix(k.Summary, fmt.Sprintf("%d canaries of one cause", shared+5)) {
				t.Errorf("%s is open: %q", k.Key, k.Summary)
			}
		}
	}
	if all := w.tickets(t); open != 1 || len(all) != groups+alone {
		t.Errorf("%d tickets, %d open: what fails alike joins the one that is there", len(all), open)
	}
	for range 2 {
		w.did(t, func(int) map[canary.Check]canary.Answer { return failing("", "") })
	}
	w.notify(t)
	for _, k := range w.tickets(t) {
		if k.Open {
			t.Errorf("%s is open after two passes of all: %q", k.Key, k.Summary)
		}
	}
}

// failing is what a canary shows whose check fails on a hop; "": all pass.
func failing(check canary.Check, hop canary.Hop) map[canary.Check]canary.Answer {
	out := map[canary.Check]canary.Answer{}
	for _, c := range canary.Required() {
		out[c] = canary.Answer{Status: canary.Pass}
	}
	if check != "" {
		out[check] = canary.Answer{Status: canary.Fail, Hop: hop, Detail: strings.Repeat("no record of it in the store an hour after the call; ", 4)}
	}
	return out
}

// catalogue is a sandbox with all that a run would do there.
type catalogue struct {
	sb    *sandbox
	plans []run.Plan
	runs  int
	took  time.Duration // of the last notify
}

func newCatalogue(t *testing.T) *catalogue {
	t.Helper()
	dir := t.TempDir()
	sb, err := startSandbox(filepath.Join(dir, "log"), "-listen", "127.0.0.1:0", "-data", filepath.Join(dir, "data"), "-speed", "0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if log := sb.stop(); t.Failed() {
			t.Log(log)
		}
	})
	w := &catalogue{sb: sb}
	var printed struct{ Canaries []run.Plan }
	auditcanary(t, sb, &printed, "plan", "--json")
	w.plans = printed.Canaries
	return w
}

// did writes down that a run of everything was, and what came of the nth canary.
func (w *catalogue) did(t *testing.T, of func(n int) map[canary.Check]canary.Answer) {
	t.Helper()
	w.runs++
	id := fmt.Sprintf("20261126-run%03d", w.runs)
	at := time.Now().UTC()
	var leaves [][]byte
	write := func(e run.Entry) {
		e.V, e.At, e.Run = 1, at, id
		leaf, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, leaf)
	}
	write(run.Entry{Type: "begun", Begun: &run.Begun{Canaries: len(w.plans)}})
	name := func(n int) string { return fmt.Sprintf("%s-%03d", id, n) }
	for n, p := range w.plans {
		p.Canary.ID, p.Canary.Run = name(n), id
		write(run.Entry{Type: "planned", Canary: name(n), Planned: &p})
	}
	write(run.Entry{Type: "injected", Injected: &run.Injected{}})
	for n := range w.plans {
		write(run.Entry{Type: "verdict", Canary: name(n), Verdict: &canary.Verdict{Canary: name(n), Checks: of(n)}})
	}
	if _, err := openLedger(t, w.sb).Append(t.Context(), leaves...); err != nil {
		t.Fatal(err)
	}
}

// notify does the step; nothing may be left.
func (w *catalogue) notify(t *testing.T) {
	t.Helper()
	var res told
	begun := time.Now()
	auditcanary(t, w.sb, &res, "notify", "--json")
	w.took = time.Since(begun)
	for _, a := range res.Acts {
		if a.Error != "" || a.Act == "wait" {
			t.Errorf("not done: %+v", a)
		}
	}
	for _, p := range res.Posts {
		if p.Error != "" {
			t.Errorf("not posted: %+v", p)
		}
	}
}

// quiet takes the chat out of the configuration.
func (w *catalogue) quiet(t *testing.T) {
	t.Helper()
	data, err := os.ReadFile(w.sb.Config)
	if err != nil {
		t.Fatal(err)
	}
	data = regexp.MustCompile(`(?m)^  slack: .*\n`).ReplaceAll(data, nil)
	if err := os.WriteFile(w.sb.Config, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (w *catalogue) tickets(t *testing.T) (all []atDesk) {
	t.Helper()
	if err := w.sb.admin(http.MethodGet, "tickets", "", &all); err != nil {
		t.Fatal(err)
	}
	return all
}

func (w *catalogue) messages(t *testing.T) (all []inChat) {
	t.Helper()
	if err := w.sb.admin(http.MethodGet, "messages", "", &all); err != nil {
		t.Fatal(err)
	}
	return all
}
