package doctor

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"
)

func sound() []Finding { return []Finding{{Status: OK, Seen: "fine"}} }

func ok(context.Context) []Finding { return sound() }

func statuses(r Report) (out []string) {
	for _, f := range r.Findings {
		out = append(out, strings.Trim(f.Check+" "+f.Account, " ")+" "+string(f.Status))
	}
	return out
}

func TestWhatCannotBeFoundOutIsUnknown(t *testing.T) {
	never := make(chan struct{})
	defer close(never)
	for name, do := range map[string]func(context.Context) []Finding{
		"it hangs, heeding nobody":    func(context.Context) []Finding { <-never; return nil },
		"it breaks":                   func(context.Context) []Finding { panic("a reply that nobody expected") },
		"it says nothing":             func(context.Context) []Finding { return nil },
		"it says a status of its own": func(context.Context) []Finding { return []Finding{{Status: "fine", Seen: "?"}} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := Examine(t.Context(), []Check{{Name: "sound", Do: ok}, {Name: "odd", Do: do}}, Options{Timeout: 20 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			if got := statuses(r); !slices.Equal(got, []string{"sound ok", "odd unknown"}) {
				t.Fatal(got)
			}
			if r.Findings[1].Fix == "" || r.ExitCode() != 2 {
				t.Errorf("exit code %d, fix %q", r.ExitCode(), r.Findings[1].Fix)
			}
		})
	}
}

func TestWhoHeedsTheTimeLimitSaysWhatHung(t *testing.T) {
	r, err := Examine(t.Context(), []Check{{Name: "slow", Do: func(ctx context.Context) []Finding {
		<-ctx.Done()
		return []Finding{{Status: Unknown, Seen: "the bucket did not answer", Fix: "wait"}}
	}}}, Options{Timeout: 10 * time.Millisecond})
	if err != nil || r.Findings[0].Seen != "the bucket did not answer" {
		t.Fatal(r, err)
	}
}

func TestFindingsStandInTheOrderOfChecksAndAccounts(t *testing.T) {
	checks := []Check{
		{Name: "first", Do: func(context.Context) []Finding { time.Sleep(20 * time.Millisecond); return sound() }},
		{Name: "role", Each: func(_ context.Context, account string) []Finding {
			if account == "b" {
				return []Finding{{Status: Wrong, Seen: "no role", Fix: "deploy it"}}
			}
			return sound()
		}},
		{Name: "things", Needs: []string{"role"}, Each: func(context.Context, string) []Finding { return sound() }},
		{Name: "all", Needs: []string{"role"}, Do: ok},
		{Name: "last", Needs: []string{"first"}, Do: ok},
	}
	want := []string{"first ok", "role a ok", "role b wrong", "role c ok", "things a ok", "things b skipped", "things c ok", "all skipped", "last ok"}
	for range 5 {
		r, err := Examine(t.Context(), checks, Options{Accounts: []string{"a", "b", "c"}})
		if err != nil {
			t.Fatal(err)
		}
		if got := statuses(r); !slices.Equal(got, want) {
			t.Fatal(got)
		}
		if r.ExitCode() != 1 || r.Wrong != 1 || r.Skipped != 2 || r.OK != 6 {
			t.Errorf("%+v", r)
		}
	}
	r, err := Examine(t.Context(), checks, Options{Accounts: []string{"a"}, Only: []string{"things"}})
	if err != nil || !slices.Equal(statuses(r), []string{"role a ok", "things a ok"}) {
		t.Errorf("only: %v %v", statuses(r), err)
	}
	if _, err := Examine(t.Context(), checks, Options{Only: []string{"thing"}}); err == nil || !strings.Contains(err.Error(), "first, role, things, all, last") {
		t.Error("a check that there is not:", err)
	}
	if _, err := Examine(t.Context(), []Check{checks[2], checks[1]}, Options{Accounts: []string{"a"}}); err == nil {
		t.Error("a check before what it needs was run")
	}
}

func TestWhatAServerSaysStaysOnItsLine(t *testing.T) {
	r, err := Examine(t.Context(), []Check{{Name: "odd", Do: func(context.Context) []Finding {
		return []Finding{{Status: Wrong, Seen: "no\nok     all is well\x1b[2J" + strings.Repeat("ä", maxText), Fix: "a\nb"}}
	}}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "\n"); n != 3 || strings.Contains(b.String(), "\x1b") || len(b.String()) > 2*maxText {
		t.Errorf("%d lines, %d bytes", n, b.Len())
	}
}

func TestNothingFoundOutIsNotOK(t *testing.T) {
	r, err := Examine(t.Context(), []Check{{Name: "n/a", Do: func(context.Context) []Finding { return []Finding{{Status: Skipped, Seen: "not configured"}} }}}, Options{})
	if err != nil || r.ExitCode() != 2 {
		t.Error(r, err)
	}
}
