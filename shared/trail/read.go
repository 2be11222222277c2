package trail

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// Read looks into log files of which somebody said that they have arrived, each with one
// request, however many request ids are waited for. Whatever was not named was not looked
// at: Found.AsOf stays zero, so that nothing is missing by it. What could not be read is
// in Found.Problems; the error is for a key that no log file of this archive has.
func (a *Archive) Read(ctx context.Context, keys []string, requestIDs map[string]bool) (Found, error) {
	objects := make([]listed, len(keys))
	for i, key := range keys {
		k, err := ParseKey(key)
		if err != nil {
			return Found{}, err
		}
		if k.Prefix != a.cfg.Prefix || k.OrganizationID != "" && k.OrganizationID != a.cfg.OrganizationID {
			return Found{}, fmt.Errorf("log file %q is not of the archive %s", key, a.cfg.Name)
		}
		objects[i] = listed{Object{Key: key}, place{k.Prefix, k.OrganizationID, k.Account, k.Region}}
	}
	var claims atomic.Int64
	results := make([]result, len(objects))
	scanners := sync.Pool{New: func() any { return NewScanner() }}
	a.parallel(len(objects), func(i int) {
		s := scanners.Get().(*Scanner)
		defer scanners.Put(s)
		results[i] = a.read(ctx, s, objects[i], requestIDs, &claims)
	})
	var out Found
	for i, r := range results {
		out.Gets += r.gets
		out.Records += r.records
		out.Bytes += r.bytes
		out.Sightings = append(out.Sightings, r.sightings...)
		out.Problems = append(out.Problems, r.problems...)
		if r.err != nil {
			out.Problems = append(out.Problems, a.problem(objects[i].place, objects[i].Key, canary.Stored, r.err.Error()))
		}
	}
	return out, nil
}
