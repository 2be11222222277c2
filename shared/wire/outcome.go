package wire

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/ledger"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/ticket"
)

// Outcome is what a deployed function answers about a run of one cell: references and
// counts, never data, since a state machine carries it along (256 KiB is its limit). All
// fields are always there: a path to one that is missing would end an execution.
type Outcome struct {
	Run    string `json:"run"`
	Cell   string `json:"cell"`
	Ledger Head   `json:"ledger"`
	Tally  Counts `json:"tally"`
	// Leftovers counts what canaries of the run are known to have left.
	Leftovers int `json:"leftovers"`
	// Begun: the ledger knows the run. Injected: nobody will begin any more of it.
	Begun    bool `json:"begun"`
	Injected bool `json:"injected"`
	// Settled: nothing is awaited any more. GiveUp: all that is had its time.
	Settled bool `json:"settled"`
	GiveUp  bool `json:"give_up"`
	// WaitSeconds until the next look is worth it; at least 1.
	WaitSeconds int `json:"wait_seconds"`
	// Looks at the log store so far, this one counted.
	Looks int `json:"looks"`
	// Waits: what was asked for waits for another run's end, or another function does it.
	// Refused says why it never will be done.
	Waits   bool   `json:"waits"`
	Refused string `json:"refused"`

	exitCode int
}

// Head is a ledger's checkpoint in short.
type Head struct {
	Origin string `json:"origin"`
	Size   int64  `json:"size"`
	Root   string `json:"root"` // base64
}

// Counts are canaries by status, as run.Tally has them.
type Counts struct {
	Canaries     int `json:"canaries"`
	Proven       int `json:"proven"`
	Failed       int `json:"failed"`
	Late         int `json:"late"`
	Inconclusive int `json:"inconclusive"`
	NotRun       int `json:"not_run"`
	Excepted     int `json:"excepted"`
	Findings     int `json:"findings"`
}

// ExitCode at a terminal is that of the run's tally.
func (o Outcome) ExitCode() int { return o.exitCode }

// maxLooks bounds the looks at one run, whatever the clocks say: an execution has
// 25,000 events, and must end.
const maxLooks = 24

// answerOf folds the ledger into what is answered about a run.
func answerOf(ctx context.Context, r *run.Run, c *Config, in Input) (any, error) {
	state, cp, err := run.Fold(ctx, r.Log)
	if err != nil {
		return nil, err
	}
	tellState(ctx, state, r.Clock())
	if in.Summary {
		return run.Summarise(state, cp, in.Run, r.SLO, r.Clock()), nil
	}
	return outcomeOf(r, c, state, cp, in), nil
}

func outcomeOf(r *run.Run, c *Config, state *run.State, cp ledger.Checkpoint, in Input) Outcome {
	now := r.Clock()
	o := Outcome{Run: in.Run, Cell: c.Cell(), Ledger: Head{Origin: cp.Origin, Size: cp.Size, Root: cp.Root.String()}, Looks: in.Looks + 1}
	t := run.Summarise(state, cp, in.Run, r.SLO, now).Tally
	o.exitCode = t.ExitCode()
	o.Tally = Counts{t.Canaries, t.Proven, t.Failed, t.Late, t.Inconclusive, t.NotRun, t.Excepted, t.Findings}
	for _, cs := range state.Canaries {
		if in.Run == "" || cs.Run.ID == in.Run {
			o.Leftovers += len(cs.Evidence.Cleanup.Left) + len(cs.Evidence.ToUndo())
		}
	}
	if in.Run == "" {
		return o // of no run in particular: nothing is waited for
	}
	view := r.Outlook(state, in.Run, now)
	o.Begun, o.Injected, o.Settled = view.Begun, view.Injected, view.Settled()
	o.GiveUp = !o.Settled && (view.GiveUp || o.Looks >= maxLooks)
	o.WaitSeconds = max(1, int((view.Wait+time.Second-1)/time.Second))
	return o
}

// Given is what an execution of a state machine was started with: by a schedule, by hand,
// by the trigger, or by the event that says how another execution ended.
type Given struct {
	// Run is the run's id, if somebody chose it.
	Run   string `json:"run"`
	Every string `json:"every,omitempty"`
	// Asked is the id of a command, and Run the run it becomes, in one Cell where there are cells.
	Asked string `json:"asked,omitempty"`
	Cell  string `json:"cell,omitempty"`
	// Scheduled is the time that a schedule names: the same, if it delivers twice.
	Scheduled time.Time `json:"scheduled,omitzero"`
	// Detail of an event "Step Functions Execution Status Change".
	Detail *struct {
		Execution string `json:"executionArn"`
		Status    string `json:"status"`
		StartDate int64  `json:"startDate"` // milliseconds since 1970
		Input     string `json:"input"`     // JSON
	} `json:"detail,omitempty"`
}

// Itinerary is what a state machine begins with: the run's id, and where it takes place.
type Itinerary struct {
	// Run; "" where a sweep is of no run in particular.
	Run   string `json:"run"`
	Every string `json:"every"`
	// Asked is the command that the run does, and Cell the one it is limited to; "" neither.
	Asked string `json:"asked"`
	Cell  string `json:"cell"`
	// Why the run is over, for a sweep after it.
	Why   string `json:"why"`
	Cells []Cell `json:"cells"`
	// Canaries that are planned in all cells: what is in no cell's tally was not run. What a
	// command selects stands in the ledger: 0.
	Canaries int `json:"canaries"`
}

// Cell is one item of the map over the cells; "" where there are none.
type Cell struct {
	Cell string `json:"cell"`
	// After so many seconds it begins: a thousand at once would mostly be throttled.
	After int `json:"after"`
}

// itinerary does nothing but answer: asked again, for the same execution, it answers the
// same. It gives a sweep a run only where it is told of one that ended.
func itinerary(c *Config, in Input, sweep bool) (Itinerary, error) {
	given := Given{}
	if in.Given != nil {
		given = *in.Given
	}
	execution, started, why := in.Execution, in.Started, ""
	if d := given.Detail; d != nil && d.Execution != "" {
		execution, started, why = d.Execution, time.UnixMilli(d.StartDate).UTC(), "the execution ended: "+d.Status
		given = Given{}
		if err := json.Unmarshal([]byte(cmp.Or(d.Input, "{}")), &given); err != nil {
			return Itinerary{}, fmt.Errorf("plan: what execution %s was given: %w", execution, err)
		}
	}
	out := Itinerary{Every: given.Every, Why: why, Cells: []Cell{}}
	if given.Asked != "" && given.Run == "" {
		return out, fmt.Errorf("plan: command %q becomes a run, and the input has none", given.Asked)
	}
	if given.Asked != "" && !sweep { // a sweep is of all cells: alarms count whole ones
		out.Asked, out.Cell = given.Asked, given.Cell
	}
	if err := c.Select(Selection{Every: given.Every, Cell: out.Cell}); err != nil {
		return out, err
	}
	if !sweep || why != "" {
		var err error
		if out.Run, err = runIDOf(given, execution, started); err != nil {
			return out, err
		}
	}
	for i, name := range c.Cells() {
		out.Cells = append(out.Cells, Cell{name, i})
	}
	if len(out.Cells) == 0 {
		out.Cells = append(out.Cells, Cell{})
	}
	if sweep || out.Asked != "" {
		return out, nil
	}
	catalogue, err := Catalogue(c)
	if err != nil {
		return out, err
	}
	r := &run.Run{Scenarios: catalogue, Targets: c.targets(), Global: global()}
	out.Canaries = r.Planned()
	return out, nil
}

// runIDOf derives a run's id from what began it, so that a state that is retried, or a
// schedule that delivers twice, begins no second run.
func runIDOf(given Given, execution string, started time.Time) (string, error) {
	began, key := started, execution
	switch {
	case given.Run != "":
		return given.Run, nil
	case !given.Scheduled.IsZero():
		began, key = given.Scheduled, given.Every+"@"+given.Scheduled.UTC().Format(time.RFC3339)
	}
	if began.IsZero() || key == "" {
		return "", fmt.Errorf("plan: the input needs execution and started, or a time that it was scheduled at: a run's id derives from them")
	}
	sum := sha256.Sum256([]byte(key))
	return began.UTC().Format("20060102") + "-" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:6], nil
}

// CellResult is what the state machine keeps of one cell (about 200 bytes: a thousand fit
// into what an execution may carry).
type CellResult struct {
	Cell string `json:"cell"`
	// Tally; nil: the cell's part ended before there was one.
	Tally     *Counts `json:"tally,omitempty"`
	Begun     bool    `json:"begun"`
	Settled   bool    `json:"settled"`
	Leftovers int     `json:"leftovers"`
	// Error by its name ("Lambda.Unknown"), if something went wrong on the way.
	Error string `json:"error,omitempty"`
}

// Whole is what became of a run in all cells.
type Whole struct {
	Run   string `json:"run"`
	Cells int    `json:"cells"`
	Tally Counts `json:"tally"`
	// Leftovers counts what was left in all cells.
	Leftovers int `json:"leftovers"`
	// Unfinished counts the cells in which something went wrong on the way; some are named,
	// with why. Awaited counts those in which something had not come when its time was up.
	Unfinished int      `json:"unfinished"`
	Why        []string `json:"why"`
	Awaited    int      `json:"awaited"`
	// Posted says whether the chat was told; where it was not, Said says why.
	Posted bool   `json:"posted"`
	Said   string `json:"said"`
}

// Completed reports whether the run came to its end in every cell, and nothing is awaited.
func (w Whole) Completed() bool { return w.Unfinished == 0 && w.Awaited == 0 }

// ExitCode: as of a run; what did not come to its end, or has not come, could not be found out.
func (w Whole) ExitCode() int {
	t := run.Tally{Failed: w.Tally.Failed, Late: w.Tally.Late, Findings: w.Tally.Findings, Inconclusive: w.Tally.Inconclusive, NotRun: w.Tally.NotRun, Proven: w.Tally.Proven}
	if code := t.ExitCode(); code != 0 || w.Completed() {
		return code
	}
	return 2
}

// maxWhy bounds the cells that are named.
const maxWhy = 20

// whole adds up the cells. A cell of the configuration of which there is no result is
// unfinished, and what was planned and is in no tally was not run: nothing is left out.
func whole(c *Config, in Input) Whole {
	w := Whole{Run: in.Run, Why: []string{}}
	results := map[string]CellResult{}
	for _, one := range in.Whole.Cells {
		results[one.Cell] = one
	}
	cells := c.Cells()
	if len(cells) == 0 {
		cells = []string{""}
	}
	for name := range results {
		if !slices.Contains(cells, name) { // of a configuration that was there when the run began
			cells = append(cells, name)
		}
	}
	slices.Sort(cells)
	w.Cells = len(cells)
	for _, name := range cells {
		one, ok := results[name]
		why := ""
		switch {
		case !ok:
			why = "nothing came back"
		case one.Error != "":
			why = one.Error
		case one.Tally == nil || !one.Begun:
			why = "it was not begun"
		case !one.Settled:
			w.Awaited++
		}
		if ok && one.Tally != nil {
			w.Tally.add(*one.Tally)
			w.Leftovers += one.Leftovers
		}
		if why == "" {
			continue
		}
		w.Unfinished++
		if len(w.Why) < maxWhy {
			w.Why = append(w.Why, cmp.Or(name, "all accounts")+": "+why)
		}
	}
	if missing := in.Whole.Canaries - w.Tally.Canaries; missing > 0 {
		w.Tally.Canaries += missing
		w.Tally.NotRun += missing
	}
	return w
}

func (t *Counts) add(o Counts) {
	t.Canaries += o.Canaries
	t.Proven += o.Proven
	t.Failed += o.Failed
	t.Late += o.Late
	t.Inconclusive += o.Inconclusive
	t.NotRun += o.NotRun
	t.Excepted += o.Excepted
	t.Findings += o.Findings
}

// tell posts the whole to the chat, once for each run. The chat is asked for it first: no
// ledger is the whole's own. Where it is one ledger's run, its report has told already.
func (w *Whole) tell(ctx context.Context, c *Config) {
	if len(c.Cells()) < 2 && w.Unfinished == 0 {
		w.Said = "the report of the run itself was posted"
		return
	}
	chat, err := c.openChat(time.Now)
	switch {
	case err != nil:
		w.Said = err.Error()
		return
	case chat == nil:
		w.Said = "no chat is configured"
		return
	}
	n := w.news(c, time.Now().UTC())
	if _, found, err := chat.Find(ctx, n.Mark, n.At.Add(-48*time.Hour)); err != nil {
		w.Said = "the chat could not be asked whether it was told already: " + err.Error()
		return
	} else if found {
		w.Posted, w.Said = true, "it was posted before"
		return
	}
	if _, err := chat.Post(ctx, n, ""); err != nil {
		w.Said = err.Error()
		return
	}
	w.Posted = true
}

func (w *Whole) news(c *Config, now time.Time) ticket.News {
	n := ticket.News{Mark: wholeMark(w.Run), Kind: "run", Title: fmt.Sprintf("Run %s in %d cells", w.Run, w.Cells), Run: w.Run, At: now}
	for _, one := range []ticket.Count{
		{Status: canary.Pass, N: w.Tally.Proven}, {Status: canary.Fail, N: w.Tally.Failed}, {Status: canary.Late, N: w.Tally.Late},
		{Status: canary.Inconclusive, N: w.Tally.Inconclusive}, {Status: canary.NotRun, N: w.Tally.NotRun}, {Status: canary.Excepted, N: w.Tally.Excepted},
	} {
		if one.N > 0 {
			n.Tally = append(n.Tally, one)
		}
	}
	g := ticket.NewsGroup{Title: "Cells that did not come to their end"}
	for _, why := range w.Why {
		g.Items = append(g.Items, ticket.NewsItem{What: why})
	}
	if more := w.Unfinished - len(w.Why); more > 0 {
		g.Items = append(g.Items, ticket.NewsItem{What: fmt.Sprintf("and %d more", more)})
	}
	if len(g.Items) > 0 {
		n.Groups = append(n.Groups, g)
	}
	if w.Awaited > 0 {
		n.Groups = append(n.Groups, ticket.NewsGroup{Title: "Still awaited", Items: []ticket.NewsItem{{What: fmt.Sprintf("in %d cells a record, an alert or a digest had not come when its time was up; the next confirm looks again, `auditcanary report` says of which canary", w.Awaited)}}})
	}
	if w.Leftovers > 0 {
		n.Groups = append(n.Groups, ticket.NewsGroup{Title: "Left in the accounts", Items: []ticket.NewsItem{{What: fmt.Sprintf("%d things; run `auditcanary sweep`", w.Leftovers)}}})
	}
	if c.Chat.ReportURL != "" {
		n.Links = append(n.Links, ticket.Link{Text: "Report", URL: c.Chat.ReportURL})
	}
	return n
}

// wholeMark identifies the message; an id that a message cannot carry is hashed.
func wholeMark(runID string) string {
	if !cellName.MatchString(runID) {
		sum := sha256.Sum256([]byte(runID))
		runID = strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:24]
	}
	return canary.Marker + "-whole-" + runID
}
