package aws

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
	logs "github.com/auditcanary/auditcanary/shared/trail"
)

// AlertInbox is a folder of a bucket into which whatever makes alerts writes what it
// sends to its webhook, an object a message. Nothing is taken from it: a lifecycle rule
// of the bucket clears it.
//
// Its identity needs s3:ListBucket on the bucket and s3:GetObject on the folder, and
// kms:Decrypt on the bucket's key if it has one.
type AlertInbox struct {
	alert, prefix string
	dated         bool
	store         *ArchiveStore

	mu   sync.Mutex
	read map[string]inboxObject // by key: what was read before
}

// inboxObject is an object as it was when it was read.
type inboxObject struct {
	modified time.Time
	size     int64
	rang     canary.Rang
	none     bool // it is no alert
}

var _ run.AlertSource = (*AlertInbox)(nil)

// NewAlertInbox listens for the alert of a name in the objects whose keys begin with
// prefix, through a client of the bucket's own region. dated says that what follows the
// prefix begins with the day of writing, UTC, as 2006/01/02/: then only the days that
// matter are listed. Otherwise the whole folder is, each time.
func NewAlertInbox(client *s3.Client, alert, bucket, prefix string, dated bool) *AlertInbox {
	return &AlertInbox{alert: alert, prefix: prefix, dated: dated, store: NewArchiveStore(client, bucket)}
}

// Bounds of one Listen.
const (
	maxInboxListed  = 100_000
	maxInboxRead    = 5000
	maxInboxPayload = 1 << 20
)

var errInboxFull = errors.New("it holds more objects than one look takes")

// Listen reads the objects written since a time, each once. An object that was written
// over is another alert: its id has the version.
func (b *AlertInbox) Listen(ctx context.Context, since time.Time) (run.Arrived, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out run.Arrived
	// S3 says when in whole seconds.
	since = since.UTC().Truncate(time.Second)
	startAfter := ""
	if b.dated {
		startAfter = b.prefix + since.Add(-time.Hour).Format("2006/01/02/")
	}
	var found []logs.Object
	listed := 0
	asOf, err := b.store.List(ctx, b.prefix, startAfter, func(o logs.Object) error {
		if listed++; listed > maxInboxListed || len(found) >= maxInboxRead {
			return errInboxFull
		}
		if !o.LastModified.Before(since) && !strings.HasSuffix(o.Key, "/") {
			found = append(found, o)
		}
		return nil
	})
	full := errors.Is(err, errInboxFull)
	if err != nil && !full {
		return out, err
	}
	if full {
		out.Problems = append(out.Problems, fmt.Sprintf("inbox s3://%s/%s: %v (%d listed, %d of them new): let a lifecycle rule clear it, or have the day stand in its keys (inbox.dated)", b.store.bucket, b.prefix, errInboxFull, listed, len(found)))
	}
	// The oldest first: what a look does not reach is what came last.
	slices.SortStableFunc(found, func(x, y logs.Object) int { return x.LastModified.Compare(y.LastModified) })
	read, complete := map[string]inboxObject{}, !full
	for _, o := range found {
		if before, known := b.read[o.Key]; known && before.modified.Equal(o.LastModified) && before.size == o.Size {
			read[o.Key] = before
			if !before.none {
				out.Alerts = append(out.Alerts, before.rang)
			}
			continue
		}
		rang, payload, err := b.object(ctx, o)
		switch {
		case ctx.Err() != nil:
			return out, fmt.Errorf("read inbox s3://%s/%s: %w", b.store.bucket, b.prefix, ctx.Err())
		case errors.Is(err, fs.ErrNotExist): // taken away since it was listed
			complete = false
			out.Problems = append(out.Problems, fmt.Sprintf("s3://%s/%s was taken away while it was being read", b.store.bucket, o.Key))
		case err != nil:
			complete = false
			out.Problems = append(out.Problems, err.Error())
		default:
			none, problem := noAlert(payload)
			if problem != "" {
				out.Problems = append(out.Problems, fmt.Sprintf("s3://%s/%s %s", b.store.bucket, o.Key, problem))
			}
			if !none {
				out.Alerts = append(out.Alerts, rang)
			}
			read[o.Key] = inboxObject{o.LastModified, o.Size, rang, none}
		}
	}
	b.read = read
	if complete {
		out.AsOf = asOf
	}
	return out, nil
}

// object reads one payload. One that is too large is an alert of what was read of it,
// and not returned itself.
func (b *AlertInbox) object(ctx context.Context, o logs.Object) (canary.Rang, string, error) {
	got, err := b.store.Open(ctx, o.Key)
	if err != nil {
		return canary.Rang{}, "", err
	}
	defer got.Body.Close()
	payload, err := io.ReadAll(io.LimitReader(got.Body, maxInboxPayload+1))
	if err != nil {
		return canary.Rang{}, "", fmt.Errorf("read s3://%s/%s: %w", b.store.bucket, o.Key, err)
	}
	r := canary.Rang{Alert: b.alert, ID: o.Key, At: got.LastModified}
	if got.VersionID != "" {
		r.ID += "@" + got.VersionID
	} else {
		r.ID += "@" + got.LastModified.Format(time.RFC3339)
	}
	if len(payload) > maxInboxPayload {
		// The hash of a part would pass for that of all of it.
		r.Name(payload[:maxInboxPayload])
		r.SHA256 = ""
		r.Weak = fmt.Sprintf("it has more than %d bytes, and only these were read", maxInboxPayload)
		return r, "", nil
	}
	r.Name(payload)
	told(&r, string(payload), true)
	return r, string(payload), nil
}

// Settle does nothing: the folder keeps what is in it.
func (b *AlertInbox) Settle(context.Context, []string) error { return nil }
