package ticket

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/ledger"
	"github.com/auditcanary/auditcanary/shared/run"
)

// NewsConfig is what the chat is told.
type NewsConfig struct {
	// Quiet posts only what changed, and a digest once a day.
	Quiet bool
	// DigestAt is the time of day (UTC) from which on the digest is posted.
	DigestAt time.Duration
}

// Told is one message, as it came out.
type Told struct {
	Mark string `json:"mark"`
	Kind string `json:"kind"`
	URL  string `json:"url,omitempty"`
	// Why it was not posted, or that it was there already.
	Err   string `json:"error,omitempty"`
	Found bool   `json:"found,omitempty"`
	// Refused: it will not go away by itself, as the chat could not even be opened.
	Refused bool `json:"refused,omitempty"`
}

// How much one message tells.
const (
	detailsEach = 15 // findings to a message in the thread
	mostDetails = 10 // messages in a thread
)

// detailsFor is how long the details of a message may follow it.
const detailsFor = 24 * time.Hour

// chat tells people what is new. It never makes the step fail: what the chat did not
// take is written down, and tried again by the next step.
func (r *reporting) chat(ctx context.Context) error {
	if r.Chat == nil && !r.opt.DryRun || r.NoChat {
		return nil
	}
	if err := r.catchUp(ctx); err != nil {
		return err
	}
	last := r.lastDecided()
	if last < 0 {
		if r.opt.Run != "" {
			r.say("Nothing is posted of run %s yet: some of its canaries are still awaited.", r.opt.Run)
		}
		return nil
	}
	sum := r.news(last)
	if r.News.Quiet && !sum.changed && postOf(r.state, sum.Mark) == nil {
		return r.digest(ctx, last)
	}
	if r.News.Quiet {
		sum.Kind = "change"
	}
	at, err := r.post(ctx, sum.News, "", sum.told)
	if err != nil || at == nil {
		return err
	}
	if r.Clock().Sub(at.At) < detailsFor {
		for _, d := range r.details(sum, at) {
			if _, err := r.post(ctx, d.News, at.TS, d.told); err != nil {
				return err
			}
		}
	}
	return r.digest(ctx, last)
}

// lastDecided is the run to tell of: the last one of which nothing is awaited any more,
// or the one that was asked for; -1: none.
func (r *reporting) lastDecided() int {
	for i, rs := range slices.Backward(r.state.Runs) {
		if (r.opt.Run == "" || rs.ID == r.opt.Run) && decided(rs) {
			return i
		}
	}
	return -1
}

func decided(rs *run.RunState) bool {
	return rs.Injected && len(rs.Canaries) > 0 && !slices.ContainsFunc(rs.Canaries, func(cs *run.CanaryState) bool {
		v, judged := cs.Verdict()
		return !judged || v.Open()
	})
}

var plainMark = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9-]{1,60}$`) })

func runMark(id string) string {
	if !plainMark().MatchString(id) {
		id = hash(id)[:24]
	}
	return canary.Marker + "-run-" + id
}

// posted is what became of a message.
type posted struct {
	run.Post
	begun bool // pending, and nobody knows
}

// postOf is what the ledger says of a message, nil: nobody began it. A message that
// was posted stays so, whatever another step said of it.
func postOf(s *run.State, mark string) *posted {
	var out *posted
	for _, p := range s.Posts {
		if p.Mark != mark || out != nil && out.TS != "" {
			continue
		}
		out = &posted{Post: p, begun: p.Pending}
	}
	return out
}

// summary is a message about a run, section by section.
type summary struct {
	News
	sections []section
	changed  bool   // it says something that is new
	told     string // see run.Post
}

// section is a NewsGroup, with what its lines are about.
type section struct {
	title string
	lines []newsLine
}

type newsLine struct {
	NewsItem
	about string // see standing
}

func (s section) group() NewsGroup {
	g := NewsGroup{Title: s.title}
	for _, l := range s.lines {
		g.Items = append(g.Items, l.NewsItem)
	}
	return g
}

// standing is a finding with how it stands, as a message remembers what it told of.
func (f *Finding) standing(c Condition) string { return hash(f.String(), string(c))[:12] }

// maxTold bounds, in bytes, what the ledger remembers of a message.
const maxTold = 40 << 10

// telling is what a message tells of, for the ledger.
func telling(standings []string) string {
	if len(standings) == 0 {
		return "-"
	}
	if told := strings.Join(standings, " "); len(told) <= maxTold {
		return told
	}
	return ""
}

// news is the summary of a run, with what changed since the last one that people were
// told of.
func (r *reporting) news(last int) summary {
	rs := r.state.Runs[last]
	base, heard := -1, ""
	for i := last - 1; i >= 0 && base < 0; i-- {
		if p := postOf(r.state, runMark(r.state.Runs[i].ID)); p != nil && p.TS != "" {
			base, heard = i, p.Told
		}
	}
	sum := r.sections(base, heard, last)
	sum.News = News{Mark: runMark(rs.ID), Kind: "run", Title: "Run " + rs.ID, Run: rs.ID, At: rs.At, Tally: r.tally(rs)}
	for _, s := range sum.sections {
		sum.Groups = append(sum.Groups, s.group())
	}
	if r.c.ReportURL != "" {
		sum.Links = append(sum.Links, Link{Text: "Report", URL: r.c.ReportURL})
	}
	return sum
}

// tally counts the canaries of a run as its summary at a terminal does.
func (r *reporting) tally(rs *run.RunState) []Count {
	t := run.Summarise(r.state, ledger.Checkpoint{}, rs.ID, canary.SLO{}, r.Clock()).Tally
	var out []Count
	for _, c := range []Count{
		{canary.Pass, t.Proven}, {canary.Fail, t.Failed}, {canary.Late, t.Late}, {canary.Inconclusive, t.Inconclusive},
		{canary.NotRun, t.NotRun}, {canary.Excepted, t.Excepted},
	} {
		if c.N > 0 {
			out = append(out, c)
		}
	}
	return out
}

// sections sort what is or was wrong. What stands otherwise than people heard after run
// base is new or fixed, and what began or ended since then; both by the runs up to last.
func (r *reporting) sections(base int, heard string, last int) (sum summary) {
	titles := []string{"New", "Still failing", "Fixed", "Excepted", "Late", "Could not be found out"}
	lines := map[string][]newsLine{}
	var told []string
	// unheard: they were not told that it stands in any of these ways. Where nobody knows
	// what they were told, only the runs count.
	unheard := func(f *Finding, as ...Condition) bool {
		return heard != "" && !slices.ContainsFunc(as, func(c Condition) bool { return strings.Contains(heard, f.standing(c)) })
	}
	tickets := map[string]Link{}
	for _, t := range r.state.TicketStates() {
		if t.Key == "" {
			continue
		}
		for _, fp := range append([]string{t.Fingerprint}, t.Members...) {
			tickets[fp] = Link{Text: t.Key, URL: t.URL}
		}
	}
	upTo := *r.state
	upTo.Runs = upTo.Runs[:last+1]
	for _, f := range Fold(&upTo, r.covers(), r.c) {
		title := ""
		fresh := f.firstRun > base || unheard(f, f.Condition)
		switch f.Condition {
		case Failing:
			title = "Still failing"
			if fresh {
				title = "New"
			}
		case TooLate:
			title = "Late"
		case NotFound:
			title = "Could not be found out"
		case Accepted:
			title, fresh = "Excepted", false
		case Passing:
			fresh = f.Passes > 0 && (f.fixedRun > base || unheard(f, Passing))
		case Fixed:
			// That it was fixed long ago is not remembered.
			fresh = f.fixedRun > base || f.doneRun > base || heard != "" && !unheard(f, Failing, TooLate, NotFound, Accepted, Passing)
		}
		if fresh && (f.Condition == Passing || f.Condition == Fixed) {
			title = "Fixed"
		}
		about := f.standing(f.Condition)
		if f.Condition != Fixed || fresh {
			told = append(told, about)
		}
		if title == "" {
			continue
		}
		sum.changed = sum.changed || fresh
		detail := f.in(r.c)
		if f.Condition != Passing && f.Condition != Fixed {
			detail += ", since " + stamp(f.First)
			if f.Answer.Detail != "" {
				detail += ": " + f.Answer.Detail
			}
			if f.Since > 0 {
				detail += fmt.Sprintf(" (not tested in the last %s)", times(f.Since, "run"))
			}
		}
		lines[title] = append(lines[title], newsLine{NewsItem{What: cut(f.what(), maxValue), Detail: cut(detail, maxDetail), Ticket: tickets[f.String()]}, about})
	}
	for _, t := range titles {
		if len(lines[t]) > 0 {
			sum.sections = append(sum.sections, section{t, lines[t]})
		}
	}
	sum.told = telling(told)
	return sum
}

// details are the messages in the thread of another: all that it told, in full, and
// what an amendment of its run brought since then.
func (r *reporting) details(sum summary, at *posted) []summary {
	thread := at.Told
	for _, p := range r.state.Posts {
		if p.Thread == at.TS && p.TS != "" {
			thread += " " + p.Told
		}
	}
	first := r.inThread(sum, func(l newsLine) bool { return at.Told == "" || strings.Contains(at.Told, l.about) },
		func(n int, _ string) string { return fmt.Sprintf("%s-%d", sum.Mark, n) })
	since := r.inThread(sum, func(l newsLine) bool { return at.Told != "" && !strings.Contains(thread, l.about) },
		func(_ int, told string) string { return sum.Mark + "-" + hash(told)[:12] })
	return append(first, since...)
}

// inThread are the lines of a summary that match, in messages of a mark each.
func (r *reporting) inThread(sum summary, match func(newsLine) bool, mark func(n int, told string) string) (out []summary) {
	for _, s := range sum.sections {
		if s.title == "Excepted" {
			continue
		}
		lines := slices.DeleteFunc(slices.Clone(s.lines), func(l newsLine) bool { return !match(l) })
		for chunk := range slices.Chunk(lines, detailsEach) {
			if len(out) == mostDetails {
				out[mostDetails-1].Title += " (more is in the report)"
				return out
			}
			var about []string
			for _, l := range chunk {
				about = append(about, l.about)
			}
			told := telling(about)
			out = append(out, summary{told: told, News: News{
				Mark: mark(len(out)+1, told), Kind: "detail", Title: s.title, Run: sum.Run, At: sum.At,
				Groups: []NewsGroup{section{s.title, chunk}.group()},
			}})
		}
	}
	return out
}

// digest is posted once a day in quiet mode.
func (r *reporting) digest(ctx context.Context, last int) error {
	now := r.Clock().UTC()
	day := now.Truncate(24 * time.Hour)
	if !r.News.Quiet || now.Before(day.Add(r.News.DigestAt)) {
		return nil
	}
	n := r.news(last).News
	n.Mark, n.Kind = canary.Marker+"-digest-"+day.Format(time.DateOnly), "digest"
	n.Title, n.At = "Digest of "+day.Format(time.DateOnly)+", last run "+n.Run, now
	_, err := r.post(ctx, n, "", "")
	return err
}

// post sends one message, if it was not sent already, and gives where it stands; nil:
// it does not stand anywhere yet. The error is the ledger's.
func (r *reporting) post(ctx context.Context, n News, thread, told string) (*posted, error) {
	for {
		if err := r.catchUp(ctx); err != nil {
			return nil, err
		}
		p := postOf(r.state, n.Mark)
		if p != nil && p.TS != "" {
			return p, nil
		}
		out := Told{Mark: n.Mark, Kind: n.Kind}
		if r.opt.DryRun {
			r.out.Posts = append(r.out.Posts, out)
			return nil, nil
		}
		if p != nil && p.begun && r.Clock().Sub(p.At) < r.c.inFlight() {
			out.Err = "begun at " + stamp(p.At) + ", and nobody knows what came of it: left for now"
			r.out.Posts = append(r.out.Posts, out)
			return nil, nil
		}
		e := run.Post{Mark: n.Mark, Kind: n.Kind, Thread: thread, Told: told, Pending: true}
		since := r.Clock()
		err := r.appendAt(ctx, []run.Entry{{Type: "post", Run: n.Run, Post: &e}})
		if errors.Is(err, ledger.ErrMoved) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if r.Clock().Sub(since) > r.begunWithin() {
			continue // somebody else may have taken it for abandoned: look what stands now
		}
		tried := firstTry(r.state, n.Mark)
		at, found, err := r.send(ctx, n, thread, tried.At)
		e.Pending, e.Channel, e.TS, e.URL = false, at.Channel, at.TS, at.URL
		if err == nil && at.TS == "" {
			err = errors.New("the chat did not say where the message stands")
		}
		if err != nil {
			e.Err = short(err)
		}
		if found {
			e.Told = tried.Told // it is that message
		}
		if err := r.append(ctx, run.Entry{Type: "post", Run: n.Run, Post: &e}); err != nil {
			return nil, err
		}
		out.Err, out.URL, out.Found = e.Err, e.URL, found
		r.out.Posts = append(r.out.Posts, out)
		if e.Err != "" {
			return nil, nil
		}
		e.At = r.Clock()
		return &posted{Post: e}, nil
	}
}

// firstTry is the intent with which a message was begun for the first time; zero: it
// never was.
func firstTry(s *run.State, mark string) run.Post {
	for _, p := range s.Posts {
		if p.Mark == mark {
			return p
		}
	}
	return run.Post{}
}

// send posts a message, unless an earlier try did without anybody hearing of it.
func (r *reporting) send(ctx context.Context, n News, thread string, tried time.Time) (at Posted, found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.callTimeout())
	defer cancel()
	if !tried.IsZero() {
		at, found, err := r.Chat.Find(ctx, n.Mark, tried.Add(-time.Minute))
		if err != nil || found {
			return at, found, err
		}
	}
	at, err = r.Chat.Post(ctx, n, thread)
	return at, false, err
}
