package aws

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// kind is something canaries can leave behind, with the way to list it.
type kind struct {
	name   string
	global bool // listed once, with the home region
	// fixture, if given, is the fixture without which there is nothing to list.
	fixture string
	list    func(context.Context, place) ([]run.Leftover, error)
	// undo are the operations that remove such a thing.
	undo []string
	// reads is all that listing needs, as permissions.
	reads grants
}

// kinds are all of them. A further kind is one line in its subject's file.
func kinds() []kind {
	return slices.Concat(
		identityKinds(),
		networkKinds(),
		securityKinds(),
		keyKinds(),
		storageKinds(),
		systemsKinds(),
		loggingKinds(),
		monitoringKinds(),
		dataKinds(),
	)
}

// reads is all this driver ever reads in an account, as permissions.
func reads() grants {
	var all grants
	for _, k := range kinds() {
		all = append(all, k.reads...)
	}
	return all
}

// Leftovers implements run.Sweeper. Global kinds (roles) are listed with the
// region in which the partition records them, us-east-1. Fixtures that are not
// in their proper state have no run of their own where the provider keeps none
// (a disabled key, a stopped trail). An error means that the listing is not
// complete; what was found until then comes with it. A kind whose fixture is not
// configured is not looked for, and is such an error (run.ErrNotConfigured).
func (c *Cloud) Leftovers(ctx context.Context, at canary.Target) ([]run.Leftover, error) {
	t, err := c.target(at)
	if err != nil {
		return nil, err
	}
	p := place{cloud: c, target: t, scene: t.scene(at.Region, "*", canary.Marker), pages: new(int)}
	due, errs := dueKinds(t, at)
	var left []run.Leftover
	for _, some := range share(t.scene(at.Region, "*", canary.Marker+"-*"), due) {
		p.cfg = c.reading(t, at, some.policy)
		for _, k := range some.kinds {
			found, err := k.list(ctx, p)
			for i := range found {
				found[i].Kind = k.name
			}
			left = append(left, found...)
			if err != nil {
				errs = append(errs, &run.UnlistedError{Kind: k.name, Undo: k.undo, Err: err})
			}
			if ctx.Err() != nil {
				return left, errors.Join(errs...)
			}
		}
	}
	return left, errors.Join(errs...)
}

// dueKinds are the kinds to be listed in a place. For each that is not, because
// its fixture is not configured, an error names what would undo it, as far as no
// other kind is listed that is undone so.
func dueKinds(t Target, at canary.Target) (due []kind, skipped []error) {
	var without []kind
	var undone []string
	for _, k := range kinds() {
		_, there := t.fixture(at.Region, k.fixture)
		switch {
		case k.global && at.Region != homeRegion(t.partition()):
		case k.fixture != "" && !there:
			without = append(without, k)
		default:
			due, undone = append(due, k), append(undone, k.undo...)
		}
	}
	for _, k := range without {
		undo := slices.DeleteFunc(slices.Clone(k.undo), func(op string) bool { return slices.Contains(undone, op) })
		if len(undo) > 0 {
			skipped = append(skipped, &run.UnlistedError{Kind: k.name, Undo: undo, Err: fmt.Errorf("fixture %s is %w", k.fixture, run.ErrNotConfigured)})
		}
	}
	return due, skipped
}

// shared is some kinds that are listed in one session, under its policy.
type shared struct {
	kinds  []kind
	policy string
}

// share divides kinds among as few sessions as STS's limit of a session policy
// allows, in order.
func share(s scene, kinds []kind) []shared {
	var all []shared
	for _, k := range kinds {
		if n := len(all); n > 0 {
			more := append(slices.Clone(all[n-1].kinds), k)
			if doc := readPolicy(s, more); len(doc) <= maxSessionPolicy {
				all[n-1] = shared{more, doc}
				continue
			}
		}
		all = append(all, shared{[]kind{k}, readPolicy(s, []kind{k})})
	}
	return all
}

func readPolicy(s scene, kinds []kind) string {
	var sts []statement
	for _, k := range kinds {
		for _, g := range k.reads {
			sts = append(sts, s.statement(g, nil))
		}
	}
	return string(policy(sts))
}

// place is an account and region being read.
type place struct {
	cloud  *Cloud
	target Target
	scene  scene
	cfg    aws.Config
	pages  *int // read so far, of all kinds
}

func (p place) fail(err error, what string) error {
	return explain(err, what, p.scene.account, p.cfg.Region, readAdvice)
}

// reading is a configuration for a read-only session of an account and region;
// sessions of the same policy are shared, and renewed as they run out.
func (c *Cloud) reading(t Target, at canary.Target, doc string) aws.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	which := reader{at, doc}
	creds, ok := c.readers[which]
	if !ok {
		creds = aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
			id, err := c.assume(ctx, t, at.Region, readName, doc)
			return id.creds, err
		}))
		c.readers[which] = creds
	}
	cfg := c.config(at.Region)
	cfg.Credentials = creds
	return cfg
}

// reader is a read-only session: where, and under which policy.
type reader struct {
	at     canary.Target
	policy string
}

// bound gives one request of a listing its time.
func (p place) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, p.cloud.timeout)
}

// made reads whose the tags say a thing is. A fixture is nobody's.
func made(tags map[string]string) (runID, canaryID string, ok bool) {
	runID, canaryID = tags[tagRun], tags[tagCanary]
	return runID, canaryID, idForm.MatchString(runID) && idForm.MatchString(canaryID) && tags[tagFixture] != "fixture"
}

// maxPages is far more than any account has; a server that never says "last
// page" must not keep us for ever.
const maxPages = 1000

var errEndless = fmt.Errorf("the listing does not end within %d pages", maxPages)

// nextPage gives one page its time.
func nextPage[Page, Option any](ctx context.Context, p place, next func(context.Context, ...func(*Option)) (*Page, error)) (*Page, error) {
	if *p.pages++; *p.pages > maxPages {
		return nil, errEndless
	}
	ctx, cancel := p.bound(ctx)
	defer cancel()
	return next(ctx)
}
