package logstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// VictoriaLogs asks a VictoriaLogs server in LogsQL.
//
// Entries are filed under _time, which whoever ships them chooses; when one arrived, the
// server does not know. An error that comes after the server has begun to answer stands
// as a line of text in the reply, whose end it then leaves out.
//
// The server remembers which streams a selector means, and goes on remembering for as
// long as somebody asks, even that there was none in the second in which a stream was
// new (v1.121.0). So every question has a selector of its own.
type VictoriaLogs struct {
	call *caller
	sel  Selection
	look *looks
}

// NewVictoriaLogs returns the index at an endpoint.
func NewVictoriaLogs(at Endpoint, sel Selection) (*VictoriaLogs, error) {
	c, err := newCaller(at)
	if err != nil {
		return nil, fmt.Errorf("victorialogs: %w", err)
	}
	sel.RecordField = cmp.Or(sel.RecordField, "_msg")
	if err := CheckSelector(sel.Selector); err != nil {
		return nil, fmt.Errorf("victorialogs: %w", err)
	}
	return &VictoriaLogs{call: c, sel: sel, look: newLooks()}, nil
}

// query is what a Query is in LogsQL. A quoted text of that language is one of Go's.
func (v *VictoriaLogs) query(q Query) string {
	var b strings.Builder
	b.WriteString(and(v.sel.Selector, `auditcanary_look!="`+v.look.next()+`"`))
	if q.Cluster != "" {
		b.WriteString(" " + strconv.Quote(v.sel.ClusterField) + ":=" + strconv.Quote(q.Cluster))
	}
	field := strconv.Quote(v.sel.RecordField)
	for _, w := range q.All {
		b.WriteString(" " + field + ":" + strconv.Quote(w))
	}
	if len(q.Any) > 0 {
		b.WriteString(" " + field + ":contains_any(" + strings.Join(quoted(q.Any), ",") + ")")
	}
	return b.String()
}

func (v *VictoriaLogs) form(q Query, query string) url.Values {
	form := url.Values{"query": {query}, "start": {q.From.UTC().Format(time.RFC3339Nano)}}
	if !q.Until.IsZero() {
		form.Set("end", q.Until.UTC().Format(time.RFC3339Nano))
	}
	return form
}

const vlQuery = "/select/logsql/query"

// Find implements Index.
func (v *VictoriaLogs) Find(ctx context.Context, q Query) (Answer, error) {
	fields := strings.Join(quoted([]string{"_time", "_stream_id", "_stream", v.sel.RecordField}), ",")
	form := v.form(q, v.query(q)+" | fields "+fields)
	form.Set("limit", strconv.Itoa(q.Most+1))
	r, err := v.call.post(ctx, vlQuery, form)
	out := Answer{AsOf: r.date, Asked: 1, Bytes: int64(len(r.body))}
	lineErr := v.lines(r, func(row map[string]string) error {
		e := Entry{Text: []byte(row[v.sel.RecordField]), Stream: cmp.Or(row["_stream"], "{}")}
		var err error
		if e.Time, err = time.Parse(time.RFC3339Nano, row["_time"]); err != nil {
			return fmt.Errorf("_time: %w", err)
		}
		out.Entries = append(out.Entries, e)
		return nil
	})
	if err := cmp.Or(err, lineErr); err != nil {
		return out, fmt.Errorf("victorialogs: %w", err)
	}
	if len(out.Entries) > q.Most {
		out.Entries, out.More = out.Entries[:q.Most], true
	}
	return out, nil
}

// Count implements Index.
func (v *VictoriaLogs) Count(ctx context.Context, q Query) (Census, error) {
	r, err := v.call.post(ctx, vlQuery, v.form(q, v.query(q)+" | stats count() entries, count_uniq(_stream_id) streams, min(_time) first, max(_time) last"))
	out := Census{AsOf: r.date, Asked: 1}
	rows := 0
	lineErr := v.lines(r, func(row map[string]string) error {
		rows++
		var errs [4]error
		out.Entries, errs[0] = strconv.Atoi(row["entries"])
		out.Streams, errs[1] = strconv.Atoi(row["streams"])
		if out.Entries > 0 {
			out.First, errs[2] = time.Parse(time.RFC3339Nano, row["first"])
			out.Last, errs[3] = time.Parse(time.RFC3339Nano, row["last"])
		}
		return errors.Join(errs[:]...)
	})
	err = cmp.Or(err, lineErr)
	if err == nil && rows != 1 {
		err = fmt.Errorf("POST %s: a count of %d rows", vlQuery, rows)
	}
	if err != nil {
		return Census{AsOf: r.date, Asked: 1}, fmt.Errorf("victorialogs: %w", err)
	}
	return out, nil
}

// lines reads the rows of a reply. A reply of another kind is a proxy's, or an error
// page; no row at all has no kind either.
func (v *VictoriaLogs) lines(r reply, each func(row map[string]string) error) error {
	if len(r.body) > 0 && !strings.HasPrefix(r.kind, "application/stream+json") {
		return fmt.Errorf("POST %s: the reply is %.60q and no stream of JSON%s", vlQuery, r.kind, said(r.body))
	}
	n := 0
	for line := range bytes.Lines(r.body) {
		n++
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		var row map[string]string
		if err := json.Unmarshal(line, &row, jsontext.AllowInvalidUTF8(true)); err != nil {
			return fmt.Errorf("POST %s: line %d of the reply is no row%s: %w", vlQuery, n, said(line), err)
		}
		if err := each(row); err != nil {
			return fmt.Errorf("POST %s: line %d of the reply: %w", vlQuery, n, err)
		}
	}
	return nil
}

// Keeping implements Index.
func (v *VictoriaLogs) Keeping(ctx context.Context) (string, error) {
	const unlocked = "VictoriaLogs has no lock that keeps an entry: whoever may write to its disk or change its flags can take the record away"
	r, err := v.call.get(ctx, "/flags", nil)
	if err != nil {
		return unlocked, fmt.Errorf("victorialogs: retention: %w", err)
	}
	text := unlocked + "; after how long it drops entries it does not say"
	for line := range strings.Lines(string(r.body)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && strings.TrimLeft(name, "-") == "retentionPeriod" {
			if days, err := strconv.Unquote(value); err == nil {
				value = days
			}
			text = fmt.Sprintf("%s; it drops entries after %.20s (-retentionPeriod)", unlocked, value)
		}
	}
	return text, nil
}
