package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/trail"
	"github.com/auditcanary/auditcanary/shared/vitals"
)

// Message is one message of a queue, as Lambda hands it over.
type Message struct {
	ID     string `json:"messageId"`
	Body   string `json:"body"`
	Source string `json:"eventSource"`
}

// PushResult is what became of messages: those that failed are given again by the queue, and
// in the end moved to its dead letters, the others are not.
type PushResult struct {
	Failed []FailedMessage `json:"batchItemFailures"`
	// What was done, over all cells.
	Files   int   `json:"files"`
	Awaited int   `json:"awaited"`
	Decided int   `json:"decided"`
	Gets    int   `json:"gets"`
	Bytes   int64 `json:"bytes"`
	// Ignored are objects that are nobody's of ours: of other accounts, or digests.
	Ignored int `json:"ignored"`
	Poison  int `json:"poison"`
}

// FailedMessage names one, as Lambda wants it.
type FailedMessage struct {
	ID string `json:"itemIdentifier"`
}

// queued reads an event of a queue; false: it is none.
func queued(raw json.RawMessage) ([]Message, bool) {
	var event struct {
		Records []Message `json:"Records"`
	}
	if json.Unmarshal(raw, &event) != nil || len(event.Records) == 0 {
		return nil, false
	}
	for _, m := range event.Records {
		if m.Source != "aws:sqs" {
			return nil, false
		}
	}
	return event.Records, true
}

// push takes the names of files as they arrive. A warm process keeps, cell by cell, what
// it has folded.
type push struct {
	deployment
	log *slog.Logger

	one   sync.Mutex // the platform gives one event at a time; the Functions Framework may not
	cells map[string]*listener
}

func newPush() *push {
	return &push{log: slog.New(slog.NewJSONHandler(os.Stderr, nil)), cells: map[string]*listener{}}
}

// take reads each file that the messages name once, for all canaries of its cell. A
// message that is not understood, or names what is not of the archive, is poison: it
// fails alone, and is logged, so that its queue moves it to the dead letters. A file that
// could not be read fails the messages that name it; Confirm finds it by listing anyway.
// Where the log store is no archive it is an error: nothing is wrong with the messages.
func (p *push) take(ctx context.Context, messages []Message) (PushResult, error) {
	p.one.Lock()
	defer p.one.Unlock()
	out := PushResult{Failed: []FailedMessage{}}
	cfg, version, err := p.config(ctx, "")
	if err != nil {
		return out, err
	}
	if err := cfg.needArchive("the function that takes what a queue says of new files"); err != nil {
		return out, err
	}
	byCell := map[string][]string{} // keys, each once
	from := map[string][]string{}   // message ids, by key
	fail := func(id string) {
		if !slices.Contains(out.Failed, FailedMessage{id}) {
			out.Failed = append(out.Failed, FailedMessage{id})
		}
	}
	for _, m := range messages {
		files, err := p.filesOf(cfg, m, &out)
		if err != nil {
			out.Poison++
			fail(m.ID)
			p.log.ErrorContext(ctx, "poison message", "message", m.ID, "why", err.Error())
			continue
		}
		for cell, keys := range files {
			for _, key := range keys {
				if from[key] == nil {
					byCell[cell] = append(byCell[cell], key)
					out.Files++
				}
				from[key] = append(from[key], m.ID)
			}
		}
	}
	vitals.From(ctx).Add(vitals.PoisonMessages, float64(out.Poison))
	var came []run.Progressed
	for cell, keys := range byCell {
		heard, err := p.look(ctx, cell, version, keys)
		came = append(came, p.progress(ctx, cell, heard, err)...)
		out.Awaited += heard.Awaited
		out.Decided += heard.Decided
		out.Gets += heard.Gets
		out.Bytes += heard.Bytes
		if err != nil {
			p.log.ErrorContext(ctx, "files were not looked into", "cell", cell, "files", len(keys), "why", err.Error())
		}
		for _, problem := range heard.Problems {
			p.log.WarnContext(ctx, "could not be read", "cell", cell, "object", problem.Object, "why", problem.Err)
		}
		for _, key := range keys {
			unread := slices.ContainsFunc(heard.Problems, func(o canary.Problem) bool { return o.Hop == canary.Stored && strings.HasSuffix(o.Object, "/"+key) })
			if err != nil || unread {
				for _, id := range from[key] {
					fail(id)
				}
			}
		}
	}
	if call := vitals.From(ctx); call != nil && len(came) > 0 {
		tellProgress(call, came...)
	}
	return out, nil
}

// progress is what came of a cell's ledger in this call: what is decided here is told by
// no other call. Nothing where nobody watches, or nothing was decided.
func (p *push) progress(ctx context.Context, cell string, heard run.Heard, failed error) []run.Progressed {
	call, l := vitals.From(ctx), p.cells[cell]
	if call == nil || l == nil || heard.Decided == 0 && failed == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tellIn)
	defer cancel()
	came, err := l.run.CameOf(ctx, &l.known, call.Began)
	if err != nil {
		p.log.WarnContext(ctx, "what came of these files is not told: the ledger could not be read", "cell", cell, "why", err.Error())
		return nil
	}
	return []run.Progressed{came}
}

// listener is what a warm process keeps of one cell.
type listener struct {
	run   *run.Run
	files *trail.Archive
	known run.Arrivals
}

// maxWarm bounds the cells that are kept; what is forgotten is read again.
const maxWarm = 100

// look looks into files of one cell.
func (p *push) look(ctx context.Context, cell, version string, keys []string) (run.Heard, error) {
	l := p.cells[cell]
	if l == nil {
		cfg, _, err := p.config(ctx, cell)
		if err != nil {
			return run.Heard{}, err
		}
		r, err := OpenLooking(ctx, cfg, Options{Version: version})
		if err != nil {
			return run.Heard{}, err
		}
		base, _, err := cfg.baseAWS(ctx)
		if err != nil {
			return run.Heard{}, err
		}
		if len(p.cells) >= maxWarm {
			clear(p.cells)
		}
		l = &listener{run: r, files: newCustodian(base, cfg.LogStores[0]).archive}
		p.cells[cell] = l
	}
	return l.run.Arrived(ctx, &l.known, keys, func(ctx context.Context, keys []string, ids map[string]bool) (run.Seen, error) {
		found, err := l.files.Read(ctx, keys, ids)
		return run.Seen{Sightings: found.Sightings, Problems: found.Problems, Gets: found.Gets, Records: found.Records, Bytes: found.Bytes}, err
	})
}

// filesOf are the log files that a message names, by cell.
func (p *push) filesOf(c *Config, m Message, out *PushResult) (map[string][]string, error) {
	objects, err := objectsOf([]byte(m.Body))
	if err != nil {
		return nil, err
	}
	store := c.LogStores[0]
	files := map[string][]string{}
	ignored := 0
	for _, o := range objects {
		if o.bucket != store.Bucket {
			return nil, fmt.Errorf("it names an object of bucket %.80q, and the archive is %q", o.bucket, store.Bucket)
		}
		if _, err := trail.ParseDigestKey(o.key); err == nil {
			ignored++
			continue
		}
		k, err := trail.ParseKey(o.key)
		if err != nil {
			return nil, fmt.Errorf("it names no file of CloudTrail: %.300s", err)
		}
		if k.Prefix != strings.Trim(store.Prefix, "/") || k.OrganizationID != "" && k.OrganizationID != store.OrganizationID {
			return nil, fmt.Errorf("it names a file of another trail than that of %s: %.300q", store.Name, o.key)
		}
		i := slices.IndexFunc(c.Targets, func(t Target) bool { return t.Account == k.Account })
		if i < 0 {
			ignored++ // of an account where no canary acts
			continue
		}
		files[c.Targets[i].Cell] = append(files[c.Targets[i].Cell], o.key)
	}
	out.Ignored += ignored
	return files, nil
}

// arrived is an object that a message names.
type arrived struct{ bucket, key string }

// Bounds of what a message may hold.
const (
	maxEnvelopes = 3 // one within the other
	maxObjects   = 1000
)

// objectsOf reads the names of objects in a message: S3's own event, EventBridge's, or
// CloudTrail's notification, each as it is or within SNS's envelope. A test message of S3
// names none.
func objectsOf(body []byte) ([]arrived, error) {
	for range maxEnvelopes {
		var m struct {
			// SNS
			Type, Message string
			// S3
			Event   string
			Records []struct {
				EventName string `json:"eventName"`
				S3        struct {
					Bucket struct {
						Name string `json:"name"`
					} `json:"bucket"`
					Object struct {
						Key string `json:"key"` // URL-encoded
					} `json:"object"`
				} `json:"s3"`
			}
			// EventBridge
			DetailType string `json:"detail-type"`
			Detail     struct {
				Bucket struct {
					Name string `json:"name"`
				} `json:"bucket"`
				Object struct {
					Key string `json:"key"` // as it is
				} `json:"object"`
			} `json:"detail"`
			// CloudTrail
			S3Bucket    string   `json:"s3Bucket"`
			S3ObjectKey []string `json:"s3ObjectKey"`
		}
		if err := json.Unmarshal(body, &m); err != nil {
			return nil, fmt.Errorf("it is no notification that names objects: %w", err)
		}
		var out []arrived
		switch {
		case m.Type == "Notification" && m.Message != "":
			body = []byte(m.Message)
			continue
		case m.Event == "s3:TestEvent":
			return nil, nil
		case len(m.Records) > maxObjects || len(m.S3ObjectKey) > maxObjects:
			return nil, fmt.Errorf("it names more than %d objects", maxObjects)
		case len(m.Records) > 0:
			for _, r := range m.Records {
				key, err := url.QueryUnescape(r.S3.Object.Key)
				if err != nil {
					return nil, fmt.Errorf("key %.300q: %w", r.S3.Object.Key, err)
				}
				if !strings.HasPrefix(r.EventName, "ObjectCreated:") {
					return nil, fmt.Errorf("it tells of %.80q, and only of what was created the archive is asked", r.EventName)
				}
				out = append(out, arrived{r.S3.Bucket.Name, key})
			}
		case m.DetailType == "Object Created":
			out = append(out, arrived{m.Detail.Bucket.Name, m.Detail.Object.Key})
		case m.S3Bucket != "":
			for _, key := range m.S3ObjectKey {
				out = append(out, arrived{m.S3Bucket, key})
			}
		default:
			return nil, errors.New("it is no notification that names objects")
		}
		for _, o := range out {
			if o.bucket == "" || o.key == "" {
				return nil, errors.New("it names an object without its bucket or key")
			}
		}
		return out, nil
	}
	return nil, fmt.Errorf("more than %d envelopes", maxEnvelopes)
}
