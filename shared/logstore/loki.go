package logstore

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Loki asks a Grafana Loki server in LogQL.
//
// Entries are filed under the time that whoever ships them chooses; when one arrived, the
// server does not know. It returns pages of the oldest that there are, so that what comes
// meanwhile is on a later page. The very same line twice at the same time in one stream is
// one entry.
//
// The server remembers, whatever a request says of caching, that a query of some hours had
// no answer, and does not look again when something comes late (v3.7.8, where results of
// queries are cached). So every query differs from all before it.
type Loki struct {
	call  *caller
	sel   Selection
	look  *looks
	clock func() time.Time
}

// NewLoki returns the index at an endpoint. The clock bounds queries, which must have an
// end; nothing is concluded from it.
func NewLoki(at Endpoint, sel Selection, clock func() time.Time) (*Loki, error) {
	c, err := newCaller(at)
	if err != nil {
		return nil, fmt.Errorf("loki: %w", err)
	}
	if err := CheckSelector(sel.Selector); err != nil {
		return nil, fmt.Errorf("loki: %w", err)
	}
	if sel.RecordField != "" {
		return nil, errors.New("loki: a record is the line of an entry: there are no record fields")
	}
	return &Loki{call: c, sel: sel, look: newLooks(), clock: clock}, nil
}

const (
	lokiPage = 1000 // entries; a server's own limit is 5,000 unless it is set lower
	// lokiAhead is how far beyond our own clock a query reaches.
	lokiAhead = 24 * time.Hour
)

func (l *Loki) streams(q Query) string {
	if q.Cluster == "" {
		return l.sel.Selector
	}
	return and(l.sel.Selector, l.sel.ClusterField+"="+strconv.Quote(q.Cluster))
}

// query is what a Query is in LogQL. A quoted text of that language is one of Go's.
func (l *Loki) query(q Query) string {
	text := l.streams(q)
	for _, w := range q.All {
		text += " |= " + strconv.Quote(w)
	}
	if len(q.Any) > 0 {
		text += " |= " + strings.Join(quoted(q.Any), " or ")
	}
	return text + ` != "auditcanary-look-` + l.look.next() + `"`
}

// until is the end of a query.
func (l *Loki) until(q Query) time.Time {
	if !q.Until.IsZero() {
		return q.Until
	}
	return l.clock().Add(lokiAhead)
}

// Find implements Index.
func (l *Loki) Find(ctx context.Context, q Query) (Answer, error) {
	var out Answer
	seen := map[string]bool{} // of the last moment of the page before
	until, from := l.until(q), q.From
	for {
		page, r, err := l.page(ctx, l.query(q), from, until, lokiPage, "forward")
		out.Asked++
		out.Bytes += int64(len(r.body))
		if out.AsOf.IsZero() {
			out.AsOf = r.date
		}
		if q.Until.IsZero() && r.date.After(until) {
			return out, fmt.Errorf("loki: its clock (%s) is more than %s ahead of ours: the end of the query lies before it", r.date.UTC().Format(time.RFC3339), lokiAhead)
		}
		fresh := 0
		for _, e := range page {
			key := e.Stream + "\x00" + e.Time.String() + "\x00" + string(e.Text)
			if seen[key] {
				continue
			}
			fresh++
			if len(out.Entries) == q.Most {
				out.More = true
				return out, nil
			}
			out.Entries = append(out.Entries, e)
			seen[key] = true
		}
		switch {
		case err != nil:
			return out, fmt.Errorf("loki: %w", err)
		case len(page) < lokiPage:
			return out, nil
		case fresh == 0:
			return out, fmt.Errorf("loki: more than %d entries are of the same moment (%s): what comes after them cannot be reached", lokiPage, from.UTC().Format(time.RFC3339Nano))
		}
		from = page[len(page)-1].Time
		maps.DeleteFunc(seen, func(key string, _ bool) bool { return !strings.Contains(key, "\x00"+from.String()+"\x00") })
	}
}

// page asks once.
func (l *Loki) page(ctx context.Context, query string, from, until time.Time, most int, direction string) ([]Entry, reply, error) {
	const path = "/loki/api/v1/query_range"
	r, err := l.call.post(ctx, path, url.Values{
		"query": {query}, "start": {strconv.FormatInt(from.UnixNano(), 10)}, "end": {strconv.FormatInt(until.UnixNano(), 10)},
		"limit": {strconv.Itoa(most)}, "direction": {direction},
	})
	if err != nil {
		return nil, r, err // a part of a JSON document cannot be read
	}
	out, err := lokiEntries(r.body)
	if err != nil {
		err = fmt.Errorf("POST %s: %w", path, err)
	}
	return out, r, err
}

// lokiEntries reads the reply to a query, in the order of time.
func lokiEntries(body []byte) ([]Entry, error) {
	var answer struct {
		Status   string          `json:"status"`
		Warnings json.RawMessage `json:"warnings"`
		Data     struct {
			ResultType string `json:"resultType"`
			Result     []struct {
				Stream map[string]string   `json:"stream"`
				Values [][]json.RawMessage `json:"values"`
			} `json:"result"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("the reply is no JSON%s: %w", said(body), err)
	}
	if answer.Status != "success" || answer.Data.ResultType != "streams" {
		return nil, fmt.Errorf("the reply is of status %.40q and type %.40q", answer.Status, answer.Data.ResultType)
	}
	var out []Entry
	for _, s := range answer.Data.Result {
		name := labels(s.Stream)
		for _, v := range s.Values {
			e, err := lokiEntry(v)
			if err != nil {
				return out, fmt.Errorf("stream %.200s: %w", name, err)
			}
			e.Stream = name
			out = append(out, e)
		}
	}
	slices.SortStableFunc(out, func(a, b Entry) int { return a.Time.Compare(b.Time) })
	if w := string(answer.Warnings); w != "" && w != "null" && w != "[]" {
		return out, fmt.Errorf("the reply is not whole, the server warns%s", said([]byte(w)))
	}
	return out, nil
}

// lokiEntry reads ["1700000000000000000", "line"], after which more may come.
func lokiEntry(v []json.RawMessage) (Entry, error) {
	var at, line string
	if len(v) < 2 {
		return Entry{}, fmt.Errorf("an entry of %d parts", len(v))
	}
	if err := errors.Join(json.Unmarshal(v[0], &at), json.Unmarshal(v[1], &line)); err != nil {
		return Entry{}, fmt.Errorf("an entry: %w", err)
	}
	ns, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return Entry{}, fmt.Errorf("the time of an entry: %w", err)
	}
	return Entry{Text: []byte(line), Time: time.Unix(0, ns).UTC()}, nil
}

// labels are a stream's, as a selector would have them.
func labels(stream map[string]string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(stream)) {
		parts = append(parts, name+"="+strconv.Quote(stream[name]))
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// Count implements Index. How many there are the server estimates; the first and the last
// it returns.
func (l *Loki) Count(ctx context.Context, q Query) (Census, error) {
	const path = "/loki/api/v1/index/stats"
	until := l.until(q)
	first, r, err := l.page(ctx, l.query(q), q.From, until, 1, "forward")
	out := Census{AsOf: r.date, Asked: 1}
	if err != nil || len(first) == 0 {
		return out, prefixed("loki", err)
	}
	last, _, err := l.page(ctx, l.query(q), q.From, until, 1, "backward")
	out.Asked++
	if err != nil || len(last) == 0 {
		return out, prefixed("loki", cmp.Or(err, errors.New("the last entry is gone, and the first was there")))
	}
	out.First, out.Last = first[0].Time, last[0].Time
	stats, err := l.call.get(ctx, path, url.Values{
		"query": {l.streams(q)}, "start": {strconv.FormatInt(q.From.UnixNano(), 10)}, "end": {strconv.FormatInt(until.UnixNano(), 10)},
	})
	out.Asked++
	if err != nil {
		return out, prefixed("loki", err)
	}
	var n struct{ Streams, Entries int }
	if err := json.Unmarshal(stats.body, &n); err != nil {
		return out, fmt.Errorf("loki: GET %s: the reply is no JSON%s: %w", path, said(stats.body), err)
	}
	// What has just come may not be in the estimate yet.
	out.Streams, out.Entries = max(n.Streams, 1), max(n.Entries, 1)
	return out, nil
}

func prefixed(store string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", store, err)
}

// Keeping implements Index.
func (l *Loki) Keeping(ctx context.Context) (string, error) {
	const unlocked = "Loki has no lock that keeps an entry: whoever may write to its object store, ask it to delete or change its configuration can take the record away"
	r, err := l.call.get(ctx, "/config", nil)
	if err != nil {
		return unlocked, fmt.Errorf("loki: retention: %w", err)
	}
	found := map[string]string{}
	for line := range strings.Lines(string(r.body)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && found[name] == "" {
			found[name] = value
		}
	}
	text := unlocked
	switch enabled, period := found["retention_enabled"], found["retention_period"]; {
	case enabled == "true" && period != "" && period != "0s":
		text += fmt.Sprintf("; it drops entries after %.20s (retention_period)", period)
	case enabled == "false":
		text += "; by itself it drops none (retention_enabled is false)"
	default:
		text += "; after how long it drops entries it does not say"
	}
	if found["deletion_mode"] != "" {
		text += fmt.Sprintf(", deletion_mode is %.40s", found["deletion_mode"])
	}
	return text, nil
}
