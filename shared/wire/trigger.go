package wire

import (
	"bytes"
	"context"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/auditcanary/auditcanary/shared/aws"
	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/inert"
	"github.com/auditcanary/auditcanary/shared/ledger"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/slack"
)

const (
	// answerIn is when an answer is given at the latest: Slack waits three seconds.
	answerIn = 2500 * time.Millisecond
	// kickIn is how much of that is kept for starting the work.
	kickIn = 700 * time.Millisecond
	// noteStrangers is how often the ledger is told of requests that nobody may make:
	// anybody can send them.
	noteStrangers = time.Minute
	// strangersADay is how many times a day it is told at most.
	strangersADay = 48
	// takeAgain is after how long it is tried again to begin what waits.
	takeAgain = 20 * time.Second
	// minKey is the length of the shortest key of a caller.
	minKey = 32
)

// TriggerOptions are what a configuration file does not say.
type TriggerOptions struct {
	Version string
	Clock   func() time.Time // nil: the real one
	// Local does what was asked for in this process, until the context of OpenTrigger
	// ends and what is under way then is undone: wait for it before the process ends.
	// Where there are cells it is done in one of them only. nil: the configured state
	// machine is started instead.
	Local *sync.WaitGroup
	// Log takes a line about each thing that goes wrong. Optional.
	Log io.Writer
}

// OpenTrigger makes the handler of what people and programs ask for: POST /slack is the
// slash command, POST /run is for the configured callers. What somebody asks for stands in
// the ledger before it is begun.
func OpenTrigger(ctx context.Context, c *Config, o TriggerOptions) (http.Handler, error) {
	if c.Trigger == nil {
		return nil, fmt.Errorf("%s: there is no trigger: it says who may ask for a run", c.file)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	whole := c
	if c.cell == "" && c.Trigger.Cell != "" {
		var err error
		if c, err = c.inCell(c.Trigger.Cell); err != nil {
			return nil, err
		}
	}
	if o.Local != nil {
		whole = c
	}
	catalogue, err := Catalogue(c)
	if err != nil {
		return nil, err
	}
	t := &trigger{c: c, whole: whole, within: answerIn, clock: o.Clock, slo: c.CanarySLO(), log: o.Log, keys: map[string]caller{}, ledgers: map[string]*ledger.Log{}}
	for _, s := range catalogue {
		t.scenarios = append(t.scenarios, s.ID)
	}
	if err := t.secrets(); err != nil {
		return nil, err
	}
	if t.ledger, err = OpenLedger(ctx, c, ReadWrite); err != nil {
		return nil, err
	}
	t.ledgers[c.cell] = t.ledger
	switch {
	case o.Local != nil:
		take := func(ctx context.Context) (bool, error) {
			return takeAsked(ctx, c, Options{Version: o.Version, Clock: o.Clock})
		}
		t.kick = local(ctx, o.Local, takeAgain, take, t.complain)
	case c.Trigger.StateMachine != "":
		base, _, err := c.baseAWS(ctx)
		if err != nil {
			return nil, err
		}
		machine, err := aws.NewMachine(base, c.Trigger.StateMachine)
		if err != nil {
			return nil, err
		}
		t.kick = func(ctx context.Context, what Given) error { return machine.Start(ctx, what.Run, what) }
	}
	mux := http.NewServeMux()
	if c.Trigger.Slack != nil {
		mux.HandleFunc("POST /slack", t.command)
	}
	mux.HandleFunc("POST /run", t.request)
	return served{mux, t}, nil
}

// served is a trigger with its paths.
type served struct {
	http.Handler
	trigger *trigger
}

// trigger takes what is asked for.
type trigger struct {
	c *Config // of the cell whose status is told, in whose ledger stands who was turned away
	// whole is the configuration with all targets that may be asked for.
	whole     *Config
	ledger    *ledger.Log
	clock     func() time.Time
	slo       canary.SLO
	log       io.Writer
	within    time.Duration // answers are given
	scenarios []string      // ids of the catalogue
	signing   string        // Slack's secret
	groups    *slack.Groups
	keys      map[string]caller
	// kick starts the work on a command; nil: the schedule does it.
	kick func(ctx context.Context, what Given) error

	mu        sync.Mutex
	ledgers   map[string]*ledger.Log // by cell
	strangers int                    // requests that were not allowed and the ledger was not told of
	noted     time.Time              // when it was told last
}

type caller struct {
	key string
	may May
}

// secrets reads them from the environment.
func (t *trigger) secrets() error {
	if s := t.c.Trigger.Slack; s != nil {
		if t.signing = os.Getenv(s.SigningSecretEnv); len(t.signing) < minKey {
			return fmt.Errorf("trigger.slack: environment variable %s does not hold a signing secret of at least %d characters", s.SigningSecretEnv, minKey)
		}
		if len(s.Groups) > 0 {
			var err error
			t.groups, err = slack.NewGroups(slack.Options{
				Token: os.Getenv(s.TokenEnv), APIURL: s.APIURL, Timeout: answerIn, Clock: t.clock, Sleep: sleep,
			})
			if err != nil {
				return fmt.Errorf("trigger.slack: token_env %s: %w", s.TokenEnv, err)
			}
		}
	}
	for _, one := range t.c.Trigger.Callers {
		key := os.Getenv(one.KeyEnv)
		if len(key) < minKey {
			return fmt.Errorf("trigger.callers: %s: environment variable %s does not hold a key of at least %d characters", one.ID, one.KeyEnv, minKey)
		}
		for id, other := range t.keys {
			if other.key == key {
				return fmt.Errorf("trigger.callers: %s and %s have the same key: nobody could tell them apart", id, one.ID)
			}
		}
		t.keys[one.ID] = caller{key, one.May}
	}
	return nil
}

// local does what was asked for in this process: at its start what an earlier process has
// left, then whatever somebody asks for. As long as something waits, for another run to
// end, or nobody knows, it tries again after some time. It ends with ctx.
func local(ctx context.Context, work *sync.WaitGroup, again time.Duration, take func(context.Context) (waiting bool, err error), complain func(format string, args ...any)) func(context.Context, Given) error {
	asked := make(chan struct{}, 1)
	asked <- struct{}{}
	work.Go(func() {
		var later <-chan time.Time
		for {
			select {
			case <-ctx.Done():
			case <-asked:
			case <-later:
			}
			if ctx.Err() != nil {
				return
			}
			later = nil
			waiting, err := take(ctx)
			if err != nil {
				complain("%v", err)
			}
			if waiting || err != nil {
				later = time.After(again)
			}
		}
	})
	return func(context.Context, Given) error {
		select {
		case asked <- struct{}{}:
		default: // it is about to look
		}
		return nil
	}
}

// takeAsked begins all that was asked for, and reports whether something still waits. The
// configuration is read anew.
func takeAsked(ctx context.Context, c *Config, o Options) (waiting bool, err error) {
	cfg, err := Load(c.file)
	if err != nil {
		return false, err
	}
	if err := cfg.Select(Selection{Cell: c.cell}); err != nil {
		return false, err
	}
	r, err := Open(ctx, cfg, o)
	if err != nil {
		return false, err
	}
	if _, err := r.Take(ctx, ""); err != nil {
		return false, err
	}
	state, _, err := run.Fold(ctx, r.Log)
	if err != nil {
		return false, err
	}
	return len(state.Waiting()) > 0, nil
}

// command answers the slash command.
func (t *trigger) command(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), t.within)
	defer cancel()
	cmd, err := slack.ReadCommand(r, t.signing, t.clock())
	if err != nil {
		t.stranger(ctx, "slack", err.Error())
		answerJSON(w, statusOf(err), map[string]string{"error": err.Error()})
		return
	}
	// From here on who asks gets an answer to read, which Slack wants under status 200.
	say := func(lines ...string) { answerJSON(w, http.StatusOK, slack.Reply(lines...)) }
	s := t.c.Trigger.Slack
	if !slices.Contains(s.Users, cmd.User) {
		member := false
		if t.groups != nil {
			if member, err = t.groups.Have(ctx, cmd.User, s.Groups); err != nil && !member {
				t.complain("whether %s may use the command: %v", cmd.User, err)
				say("Whether you may use this could not be found out, so nothing is done. Try again; if it stays so, whoever keeps auditcanary finds the reason in its log.")
				return
			}
		}
		if !member {
			t.stranger(ctx, "slack", "user "+cmd.User+" is not allowed")
			say("You may not use this. Whoever keeps auditcanary's configuration can let you.")
			return
		}
	}
	words, err := slack.ParseWords(cmd.Text)
	if err != nil {
		say(append([]string{err.Error()}, strings.Split(slack.Help, "\n")...)...)
		return
	}
	if words.Do == "help" {
		say(strings.Split(slack.Help, "\n")...)
		return
	}
	by := cmd.User
	if cmd.Name != "" {
		by += " (" + cmd.Name + ")"
	}
	a := run.Asked{ID: "slack:" + cmd.ID, By: by, Through: "slack", Channel: cmd.Channel, Command: words.Do, At: t.clock().UTC()}
	out := t.take(ctx, a, s.May, words)
	say(out.Say...)
}

// request answers a caller: JSON {"do": "run", "scenario": glob, "target": target},
// signed over time and body as Slack signs, under headers of our own.
func (t *trigger) request(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), t.within)
	defer cancel()
	no := func(status int, err error) {
		answerJSON(w, status, map[string]string{"error": inert.Line(err.Error())})
	}
	body, err := slack.ReadBody(r)
	id, signature := r.Header.Get("X-Auditcanary-Key"), r.Header.Get("X-Auditcanary-Signature")
	who, known := t.keys[id]
	if err == nil {
		key := who.key
		if !known {
			key = strings.Repeat("\x00", minKey) // as long to find out, and never right
		}
		if err = slack.Verify(key, r.Header.Get("X-Auditcanary-Timestamp"), signature, body, t.clock()); err == nil && !known {
			err = slack.ErrSignature
		}
	}
	if err != nil {
		t.stranger(ctx, "http", err.Error())
		no(statusOf(err), err)
		return
	}
	var ask struct {
		Do       string `json:"do"`
		Scenario string `json:"scenario"`
		Target   string `json:"target"`
	}
	if err := json.UnmarshalRead(bytes.NewReader(body), &ask, json.RejectUnknownMembers(true)); err != nil {
		no(http.StatusBadRequest, fmt.Errorf(`the body is not {"do": "run" or "status", "scenario": pattern, "target": account or account/region}: %w`, err))
		return
	}
	words, err := slack.ParseWords(strings.Join([]string{ask.Do, ask.Scenario, ask.Target}, " "))
	if err != nil || words.Do == "help" || words.Scenario != ask.Scenario || words.Target != ask.Target {
		no(http.StatusBadRequest, errors.Join(errors.New(`do is "run" or "status"; scenario a pattern like aws/kms-*, target 111122223333 or 111122223333/us-east-1, both for run only`), err))
		return
	}
	a := run.Asked{ID: "http:" + id + ":" + signature, By: id, Through: "http", Command: words.Do, At: t.clock().UTC()}
	out := t.take(ctx, a, who.may, words)
	answerJSON(w, out.status, out)
}

// outcome of something asked for.
type outcome struct {
	Asked string `json:"asked"`
	// Run that it becomes.
	Run     string   `json:"run,omitempty"`
	Refused string   `json:"refused,omitempty"`
	Say     []string `json:"say"`
	status  int
}

// take writes down what was asked for, and starts it.
func (t *trigger) take(ctx context.Context, a run.Asked, may May, words slack.Words) outcome {
	cell := t.c.cell
	if a.Command == "run" {
		a.Scenarios, a.Targets, a.Refused = t.selected(may, words)
		if a.Refused == "" {
			cell, a.Refused = t.cellOf(a.Targets)
		}
	}
	noteCtx, cancel := context.WithTimeout(ctx, t.within-kickIn)
	defer cancel()
	var known run.Asked
	var state *run.State
	var repeat bool
	log, err := t.ledgerOf(noteCtx, cell)
	if err == nil {
		known, state, repeat, err = run.NoteAsked(noteCtx, log, t.clock, a)
	}
	out := outcome{Asked: a.ID, status: http.StatusOK}
	switch {
	case err != nil:
		t.complain("%s of %s: %v", a.Command, a.By, err)
		out.status = http.StatusServiceUnavailable
		out.Say = []string{"The ledger did not answer in time: whether this was taken is not known. Ask for the status before you ask again."}
		return out
	case known.Refused != "":
		out.status, out.Refused = http.StatusForbidden, known.Refused
		out.Say = []string{"Not done: " + known.Refused + "."}
		return out
	case known.Command != "run":
		out.Say = t.statusLines(state)
		return out
	}
	out.status, out.Run = http.StatusAccepted, run.RunFor(known)
	out.Say = []string{fmt.Sprintf("Run %s was asked for by %s: %s at %s. Its outcome is reported like that of every run.", out.Run, known.By, all(known.Scenarios, "all scenarios"), all(known.Targets, "all targets"))}
	if begun := state.Run(out.Run) != nil; repeat && (begun || known.Run != "") {
		return out
	}
	if err := t.start(ctx, Given{Run: out.Run, Asked: known.ID, Cell: cell}); err != nil {
		t.complain("start %s: %v", out.Run, err)
		out.Say = append(out.Say, "Whether it was started is not known. If nothing is reported of it within the hour, it was not: ask again then.")
	}
	return out
}

// start starts the work, and does not wait for it longer than there is time.
func (t *trigger) start(ctx context.Context, what Given) error {
	if t.kick == nil {
		return nil // the schedule's
	}
	ctx, cancel := context.WithTimeout(ctx, kickIn)
	defer cancel()
	done := make(chan error, 1)
	kick := t.kick // it may outlast us
	go func() { done <- kick(ctx, what) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("no answer in time; the next scheduled inject takes it up: %w", ctx.Err())
	}
}

// cellOf is the cell in whose ledger a request for targets stands, and which does it, or why
// there is none.
func (t *trigger) cellOf(targets []string) (cell, refused string) {
	cells := t.whole.cellsOf(targets)
	switch {
	case len(targets) == 0:
		return t.c.cell, ""
	case len(cells) == 0:
		return "", ""
	case len(cells) == 1:
		return cells[0], ""
	default:
		return t.c.cell, fmt.Sprintf("what is asked for is done in one cell, and this is in %d (%s): name an account", len(cells), all(cells, ""))
	}
}

// ledgerOf a cell, opened once.
func (t *trigger) ledgerOf(ctx context.Context, cell string) (*ledger.Log, error) {
	t.mu.Lock()
	log := t.ledgers[cell]
	t.mu.Unlock()
	if log != nil {
		return log, nil
	}
	c, err := t.whole.inCell(cell)
	if err != nil {
		return nil, err
	}
	if log, err = OpenLedger(ctx, c, ReadWrite); err != nil {
		return nil, err
	}
	t.mu.Lock()
	t.ledgers[cell] = log
	t.mu.Unlock()
	return log, nil
}

// selected is what of a request somebody may ask for: patterns or ids, targets, or why
// it is refused. Who asks for everything gets everything they may ask for.
func (t *trigger) selected(may May, w slack.Words) (scenarios, targets []string, refused string) {
	matched := 0
	for _, id := range t.scenarios {
		if w.Scenario != "" && !run.MatchesID(w.Scenario, id) {
			continue
		}
		matched++
		allowed := len(may.Scenarios) == 0 || slices.ContainsFunc(may.Scenarios, func(glob string) bool { return run.MatchesID(glob, id) })
		switch {
		case allowed && len(may.Scenarios) > 0:
			scenarios = append(scenarios, id) // what a pattern matches may be more tomorrow
		case !allowed && w.Scenario != "":
			return nil, nil, fmt.Sprintf("%s is not among the scenarios that you may ask for: %s", id, strings.Join(may.Scenarios, ", "))
		}
	}
	switch {
	case matched == 0:
		return nil, nil, "no scenario matches " + w.Scenario
	case len(may.Scenarios) > 0 && len(scenarios) == 0:
		return nil, nil, "no scenario matches " + strings.Join(may.Scenarios, ", ")
	case len(may.Scenarios) == 0 && w.Scenario != "":
		scenarios = []string{w.Scenario}
	}
	anywhere := slices.Contains(may.Targets, everyTarget)
	if w.Target == "" {
		if anywhere && len(t.whole.Cells()) > 1 {
			return nil, nil, fmt.Sprintf("what is asked for is done in one cell, and there are %d: name an account", len(t.whole.Cells()))
		}
		if anywhere {
			return scenarios, nil, ""
		}
		return scenarios, may.Targets, ""
	}
	account, _, _ := strings.Cut(w.Target, "/")
	switch {
	case !t.whole.has(w.Target) && t.whole.cell != "":
		return nil, nil, fmt.Sprintf("target %s is not configured in cell %s, for which alone one can ask here", w.Target, t.whole.cell)
	case !t.whole.has(w.Target):
		return nil, nil, fmt.Sprintf("target %s is not configured", w.Target)
	case anywhere:
	case len(may.Targets) == 0 && !t.c.has(w.Target):
		return nil, nil, fmt.Sprintf("target %s is not in cell %s, and you are allowed no other", w.Target, t.c.cell)
	case len(may.Targets) > 0 && !slices.Contains(may.Targets, w.Target) && !slices.Contains(may.Targets, account):
		return nil, nil, fmt.Sprintf("%s is not among the targets that you may ask for: %s", w.Target, strings.Join(may.Targets, ", "))
	}
	return scenarios, []string{w.Target}, ""
}

// statusLines say how the last run went, and what is open.
func (t *trigger) statusLines(state *run.State) []string {
	if len(state.Runs) == 0 {
		return []string{"There was no run yet."}
	}
	last := state.Runs[len(state.Runs)-1]
	sum := run.Summarise(state, ledger.Checkpoint{}, last.ID, t.slo, t.clock())
	var parts []string
	for _, c := range []struct {
		n    int
		what string
	}{
		{sum.Tally.Proven, "proven"}, {sum.Tally.Excepted, "excepted"}, {sum.Tally.Failed, "failed"}, {sum.Tally.Late, "late"},
		{sum.Tally.Inconclusive, "inconclusive"}, {sum.Tally.NotRun, "not run"}, {sum.Tally.Findings, "forged"},
	} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	lines := []string{fmt.Sprintf("Last run: %s, begun %s: of %d canaries %s.", last.ID, last.At.UTC().Format("2006-01-02 15:04 UTC"), sum.Tally.Canaries, all(parts, "none is known of yet"))}

	// Open is what failed when it was asked last.
	type place struct{ scenario, account, region string }
	now := map[place]run.Line{}
	var order []place
	for _, l := range run.Summarise(state, ledger.Checkpoint{}, "", t.slo, t.clock()).Canaries {
		at := place{l.Scenario, l.Target, l.Region}
		if _, seen := now[at]; !seen {
			order = append(order, at)
		}
		now[at] = l
	}
	order = slices.DeleteFunc(order, func(at place) bool { return now[at].Status != canary.Fail })
	const most = 5
	for _, at := range order[:min(len(order), most)] {
		lines = append(lines, fmt.Sprintf("Open: %s at %s/%s.", at.scenario, at.account, at.region))
	}
	if more := len(order) - most; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more.", more))
	}
	if len(order) == 0 {
		lines = append(lines, "No failure is open.")
	}
	if waiting := state.Waiting(); len(waiting) > 0 {
		lines = append(lines, fmt.Sprintf("Asked for and not begun: %d.", len(waiting)))
	}
	return lines
}

func all(list []string, otherwise string) string {
	if len(list) == 0 {
		return otherwise
	}
	const most = 5
	if len(list) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
	}
	return strings.Join(list, ", ")
}

// stranger counts a request that is not allowed; the ledger is told how many there were,
// at most once a minute, whichever process does it.
func (t *trigger) stranger(ctx context.Context, through, why string) {
	t.mu.Lock()
	t.strangers++
	now := t.clock().UTC()
	if since := now.Sub(t.noted); since >= 0 && since < noteStrangers {
		t.mu.Unlock()
		return
	}
	n := t.strangers
	t.strangers, t.noted = 0, now
	t.mu.Unlock()
	said := fmt.Sprintf("requests that were not allowed since this was written down last: %d; the latest: %s", n, inert.Line(why))
	ctx, cancel := context.WithTimeout(ctx, t.within-kickIn)
	defer cancel()
	told, err := run.NoteStrangers(ctx, t.ledger, t.clock, through, said, noteStrangers, strangersADay)
	if err != nil {
		t.complain("%v", err)
	}
	if !told {
		t.mu.Lock()
		t.strangers += n
		t.mu.Unlock()
	}
}

func (t *trigger) complain(format string, args ...any) {
	fmt.Fprintln(t.log, "trigger: "+inert.Line(fmt.Sprintf(format, args...)))
}

func statusOf(err error) int {
	if errors.Is(err, slack.ErrTooLarge) {
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusUnauthorized
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	body, err := stdjson.Marshal(v)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"error": "the answer could not be encoded"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// An error means that the caller is gone, and there is nobody to tell.
	_, _ = w.Write(append(body, '\n'))
}
