// Package doctor runs the checks of an installation within bounded time.
//
// A Check looks at one thing and says what it saw: it is ok, it is wrong, or nobody
// could find out; with the fix, as a command or a setting. What hangs, breaks or
// says nothing is unknown, and unknown is never ok. Which checks there are is the
// caller's affair.
package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/auditcanary/auditcanary/shared/inert"
)

// Status of what was looked at.
type Status string

const (
	OK    Status = "ok"
	Wrong Status = "wrong"
	// Unknown: it could not be found out.
	Unknown Status = "unknown"
	// Skipped: it does not apply here, or what it builds on is not ok.
	Skipped Status = "skipped"
)

// Finding is what a check says of one thing.
type Finding struct {
	Check   string `json:"check"`
	Account string `json:"account,omitempty"`
	Region  string `json:"region,omitempty"`
	Status  Status `json:"status"`
	// Seen is what was there, in a sentence.
	Seen string `json:"seen"`
	// Fix is what to do: a command or a setting. Never empty for what is wrong or unknown.
	Fix string `json:"fix,omitempty"`
}

// Check looks at one thing, once (Do) or in each account (Each).
type Check struct {
	// Name by which it is selected, What it looks at in a line.
	Name, What string
	// Needs are earlier checks. Where one of them is not ok, in the account at hand if it
	// looks into accounts, this one is skipped.
	Needs []string
	Do    func(ctx context.Context) []Finding
	Each  func(ctx context.Context, account string) []Finding
}

// Options of an examination.
type Options struct {
	// Accounts in which Each looks.
	Accounts []string
	// Only these checks, with those that they need; none = all.
	Only []string
	// Timeout of one check, in one account (default 1m).
	Timeout time.Duration
	// Parallel is how many are at work at once (default 8).
	Parallel int
	// Progress is told of each that has ended. Optional.
	Progress func(done, total int, name string)
}

// Report is what was found, in the order of the checks and of the accounts.
type Report struct {
	Findings []Finding `json:"findings"`
	Wrong    int       `json:"wrong"`
	Unknown  int       `json:"unknown"`
	Skipped  int       `json:"skipped"`
	OK       int       `json:"ok"`
}

// unit is a check, in one account or in none.
type unit struct {
	Check
	account string
	needs   []*unit
	done    chan struct{} // closed when findings are there
	found   []Finding
}

// Examine runs the checks. An error means that there is no such check, or that ctx ended.
func Examine(ctx context.Context, checks []Check, o Options) (Report, error) {
	units, err := plan(checks, o)
	if err != nil {
		return Report{}, err
	}
	slots := make(chan struct{}, cmp.Or(o.Parallel, 8))
	var group sync.WaitGroup
	var mu sync.Mutex
	done := 0
	for _, u := range units {
		group.Go(func() {
			defer close(u.done)
			for _, n := range u.needs {
				<-n.done
			}
			slots <- struct{}{}
			defer func() { <-slots }()
			u.run(ctx, cmp.Or(o.Timeout, time.Minute))
			mu.Lock()
			defer mu.Unlock()
			done++
			if o.Progress != nil {
				o.Progress(done, len(units), u.Name)
			}
		})
	}
	group.Wait()
	if err := ctx.Err(); err != nil {
		return Report{}, err
	}
	r := Report{Findings: []Finding{}}
	for _, u := range units {
		r.Findings = append(r.Findings, u.found...)
	}
	for _, f := range r.Findings {
		switch f.Status {
		case OK:
			r.OK++
		case Wrong:
			r.Wrong++
		case Skipped:
			r.Skipped++
		default:
			r.Unknown++
		}
	}
	return r, nil
}

// plan orders what is to be done: a unit for each check, and for each account where it
// looks into accounts.
func plan(checks []Check, o Options) ([]*unit, error) {
	wanted := map[string]bool{}
	for _, name := range o.Only {
		if !slices.ContainsFunc(checks, func(c Check) bool { return c.Name == name }) {
			return nil, fmt.Errorf("no check %q; there are: %s", name, strings.Join(Names(checks), ", "))
		}
		wanted[name] = true
	}
	for _, c := range slices.Backward(checks) { // what a check needs comes before it
		if wanted[c.Name] || len(o.Only) == 0 {
			wanted[c.Name] = true
			for _, n := range c.Needs {
				wanted[n] = true
			}
		}
	}
	byCheck := map[string][]*unit{}
	var units []*unit
	for _, c := range checks {
		if !wanted[c.Name] {
			continue
		}
		accounts := []string{""}
		if c.Each != nil {
			accounts = o.Accounts
		}
		for _, account := range accounts {
			u := &unit{Check: c, account: account, done: make(chan struct{})}
			for _, name := range c.Needs {
				before, ok := byCheck[name]
				if !ok {
					return nil, fmt.Errorf("check %s needs %s, which does not come before it", c.Name, name)
				}
				for _, n := range before {
					if n.account == "" || account == "" || n.account == account {
						u.needs = append(u.needs, n)
					}
				}
			}
			units = append(units, u)
		}
		byCheck[c.Name] = slices.DeleteFunc(slices.Clone(units), func(u *unit) bool { return u.Name != c.Name })
	}
	return units, nil
}

// Names of checks.
func Names(checks []Check) []string {
	var out []string
	for _, c := range checks {
		out = append(out, c.Name)
	}
	return out
}

// run does the check and keeps what it found, whatever becomes of it.
func (u *unit) run(ctx context.Context, timeout time.Duration) {
	for _, n := range u.needs {
		if !n.sound() {
			u.keep([]Finding{{Status: Skipped, Seen: "not looked at, because of " + n.Name}})
			return
		}
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer := make(chan []Finding, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				answer <- []Finding{{Status: Unknown, Seen: fmt.Sprintf("the check itself broke: %v", p), Fix: "please report this; it is a mistake of this program's"}}
			}
		}()
		if u.Each != nil {
			answer <- u.Each(ctx, u.account)
			return
		}
		answer <- u.Do(ctx)
	}()
	late := []Finding{{Status: Unknown, Seen: fmt.Sprintf("no answer within %s", timeout), Fix: "look at the network path from here, or give it more time (--timeout)"}}
	select {
	case found := <-answer:
		u.keep(found)
	case <-ctx.Done():
		// Whoever heeds ctx answers now, and knows better what hung.
		t := time.NewTimer(500 * time.Millisecond)
		defer t.Stop()
		select {
		case found := <-answer:
			u.keep(found)
		case <-t.C:
			u.keep(late)
		}
	}
}

// sound says that nothing it found is wrong or unknown.
func (u *unit) sound() bool {
	return !slices.ContainsFunc(u.found, func(f Finding) bool { return f.Status != OK })
}

// keep makes what was found fit to show. A check that says nothing, or something that
// is no status, has found out nothing.
func (u *unit) keep(found []Finding) {
	if len(found) == 0 {
		found = []Finding{{Status: Unknown, Seen: "the check said nothing"}}
	}
	for _, f := range found {
		f.Check, f.Account = u.Name, cmp.Or(f.Account, u.account)
		f.Seen, f.Fix = clean(f.Seen), clean(f.Fix)
		if !slices.Contains([]Status{OK, Wrong, Skipped}, f.Status) {
			f.Status = Unknown
		}
		if f.Fix == "" && (f.Status == Wrong || f.Status == Unknown) {
			f.Fix = "please report this; it is a mistake of this program's that it has no fix"
		}
		u.found = append(u.found, f)
	}
}

// maxText bounds what is shown of one sentence, in bytes: servers have a say in it.
const maxText = 2048

func clean(s string) string {
	s = inert.Line(s)
	if len(s) <= maxText {
		return s
	}
	n := maxText
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// ExitCode is 0 if all is ok, 1 if something is wrong, 2 if something could not be found
// out, or nothing was.
func (r Report) ExitCode() int {
	switch {
	case r.Wrong > 0:
		return 1
	case r.Unknown > 0 || r.OK == 0:
		return 2
	}
	return 0
}

// Write shows the report, a line for each finding, with its fix below it.
func (r Report) Write(w io.Writer) error {
	var errs []error
	line := func(format string, args ...any) {
		_, err := fmt.Fprintf(w, format, args...)
		errs = append(errs, err)
	}
	shown := map[Status]string{OK: "ok", Wrong: "WRONG", Unknown: "?", Skipped: "-"}
	width := 0
	for _, f := range r.Findings {
		width = max(width, len(f.Check))
	}
	for _, f := range r.Findings {
		seen := f.Seen
		if at := strings.Trim(f.Account+"/"+f.Region, "/"); at != "" {
			seen = at + ": " + seen
		}
		line("%-5s  %-*s  %s\n", shown[f.Status], width, f.Check, seen)
		if f.Fix != "" {
			line("%-5s  %-*s  FIX: %s\n", "", width, "", f.Fix)
		}
	}
	line("%d wrong, %d unknown, %d skipped, %d ok.\n", r.Wrong, r.Unknown, r.Skipped, r.OK)
	return errors.Join(errs...)
}
