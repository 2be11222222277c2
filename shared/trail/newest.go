package trail

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// Newest is a log file or digest that stands in the archive.
type Newest struct {
	Key string
	// Stored is when it came, by the store's clock.
	Stored time.Time
}

// Newest looks for what has arrived from a place since a time: a log file, or, from
// where nothing happened, a digest. What it returns is of the last day that has any, not
// necessarily the very last of it; false: nothing has arrived. It reads no object.
func (a *Archive) Newest(ctx context.Context, t canary.Target, since time.Time) (Newest, bool, error) {
	asOf := since
	var newest Newest
	for _, p := range a.places([]canary.Target{t}) {
		for _, kind := range []string{logFolder, digestFolder} {
			for n := range maxDays {
				day := since.UTC().AddDate(0, 0, n)
				if n > 0 && day.Truncate(24*time.Hour).After(asOf.Add(a.cfg.Margin)) {
					break
				}
				folder := p.folder(kind) + day.Format(dayFormat) + "/"
				told, err := a.store.List(ctx, folder, "", func(o Object) error {
					if o.Size == 0 || o.LastModified.Before(since) {
						return nil
					}
					if o.LastModified.After(newest.Stored) {
						newest = Newest{o.Key, o.LastModified.UTC()}
					}
					return errFound
				})
				if err != nil && !errors.Is(err, errFound) {
					return Newest{}, false, fmt.Errorf("list %s of %s: %w", folder, a.store.Name(), err)
				}
				if told.After(asOf) {
					asOf = told
				}
			}
		}
	}
	return newest, newest.Key != "", nil
}

// First is the first key of the archive, where CloudTrail's layout begins as it is
// configured ("AWSLogs/o-exampleorg1/"). Where there is nothing, ok is false, and elsewhere the
// first key of the bucket that is like it, "" if there is none at all.
func (a *Archive) First(ctx context.Context) (root, elsewhere string, ok bool, err error) {
	prefix := a.cfg.Prefix
	if prefix != "" {
		prefix += "/"
	}
	root = prefix + awsLogs + "/"
	if a.cfg.OrganizationID != "" {
		root += a.cfg.OrganizationID + "/"
	}
	for _, folder := range []string{root, prefix + awsLogs + "/", prefix, ""} {
		key := ""
		_, err := a.store.List(ctx, folder, "", func(o Object) error {
			key = o.Key
			return errFound
		})
		if err != nil && !errors.Is(err, errFound) {
			return root, "", false, fmt.Errorf("list %s of %s: %w", folder, a.store.Name(), err)
		}
		if key != "" {
			return root, key, folder == root, nil
		}
	}
	return root, "", false, nil
}
