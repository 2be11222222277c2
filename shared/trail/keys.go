package trail

import (
	"context"
	"crypto/md5"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// PublicKey is a key that CloudTrail signs a region's digests with.
type PublicKey struct {
	Fingerprint string    `json:"fingerprint"` // MD5 of DER, hex, as in the digests
	DER         []byte    `json:"der"`         // PKCS #1 or SPKI
	From        time.Time `json:"from,omitzero"`
	Until       time.Time `json:"until,omitzero"`
}

// PublicKeys is where the provider publishes the keys: those that signed digests
// of a region at some time between from and until. Safe for concurrent use.
// Errors name the region and wrap the cause.
type PublicKeys interface {
	PublicKeys(ctx context.Context, region string, from, until time.Time) ([]PublicKey, error)
}

// rsa parses the key. A key under a fingerprint that is not its own is an error:
// the fingerprint is what the digests name it by.
func (k PublicKey) rsa() (*rsa.PublicKey, error) {
	if own := md5.Sum(k.DER); hex.EncodeToString(own[:]) != k.Fingerprint {
		return nil, fmt.Errorf("public key %q: its bytes have fingerprint %x", k.Fingerprint, own)
	}
	if key, err := x509.ParsePKCS1PublicKey(k.DER); err == nil {
		return key, nil
	}
	any, err := x509.ParsePKIXPublicKey(k.DER)
	if err != nil {
		return nil, fmt.Errorf("public key %q is neither PKCS #1 nor SPKI: %w", k.Fingerprint, err)
	}
	key, ok := any.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("public key %q is no RSA key (%T)", k.Fingerprint, any)
	}
	return key, nil
}

var (
	// errKeyUnavailable: whether the key is CloudTrail's could not be found out.
	errKeyUnavailable = errors.New("the public key could not be had")
	// errKeyForeign: CloudTrail lists keys for that time, and this one is not among them.
	errKeyForeign = errors.New("no key of CloudTrail's")
)

const (
	// maxAsks of one region's keys: a rotation needs one. What is beyond was made
	// to make us ask.
	maxAsks = 500
	// maxKeyFailures after which a region is not asked again.
	maxKeyFailures = 3
)

// keyring finds keys by region and fingerprint, and asks for what it does not have.
type keyring struct {
	source PublicKeys // nil: what is known is all
	known  map[string]PublicKey

	mu      sync.Mutex
	regions map[string]*regionKeys
}

type regionKeys struct {
	mu     sync.Mutex // held while asking, so that everybody asks once
	keys   map[string]PublicKey
	asked  []asked
	failed int
	err    error
	broken error // of a key listed that is none
}

// asked is a time that was asked for, and how many keys the provider has for it.
type asked struct {
	from, until time.Time
	keys        int
}

func newKeyring(source PublicKeys, known []PublicKey) *keyring {
	r := &keyring{source: source, known: map[string]PublicKey{}, regions: map[string]*regionKeys{}}
	for _, k := range known {
		if _, err := k.rsa(); err == nil { // else the provider is asked
			r.known[k.Fingerprint] = k
		}
	}
	return r
}

// get returns the key that a region's digests of a time are signed with. Its
// error wraps errKeyUnavailable or errKeyForeign.
func (r *keyring) get(ctx context.Context, region, fingerprint string, from, until time.Time) (PublicKey, error) {
	if k, ok := r.known[fingerprint]; ok {
		return k, nil
	}
	r.mu.Lock()
	g := r.regions[region]
	if g == nil {
		g = &regionKeys{keys: map[string]PublicKey{}}
		r.regions[region] = g
	}
	r.mu.Unlock()

	g.mu.Lock()
	defer g.mu.Unlock()
	if k, ok := g.keys[fingerprint]; ok {
		return k, nil
	}
	had, err := g.ask(ctx, r.source, region, from, until)
	if err != nil {
		return PublicKey{}, fmt.Errorf("%w: fingerprint %q, region %s: %w", errKeyUnavailable, fingerprint, region, err)
	}
	if k, ok := g.keys[fingerprint]; ok {
		return k, nil
	}
	if g.broken != nil {
		return PublicKey{}, fmt.Errorf("%w: fingerprint %q: region %s lists a key that is none: %w", errKeyUnavailable, fingerprint, region, g.broken)
	}
	span := fmt.Sprintf("from %s to %s", from.UTC().Format(time.RFC3339), until.UTC().Format(time.RFC3339))
	if had == 0 {
		// Nobody promises for how long CloudTrail lists old keys.
		return PublicKey{}, fmt.Errorf("%w: fingerprint %q: region %s lists no key %s any more; an archived key would do", errKeyUnavailable, fingerprint, region, span)
	}
	return PublicKey{}, fmt.Errorf("%w: fingerprint %q is not among the %d that region %s lists %s", errKeyForeign, fingerprint, had, region, span)
}

// ask returns how many keys the region lists for a time; those are in keys then.
func (g *regionKeys) ask(ctx context.Context, source PublicKeys, region string, from, until time.Time) (int, error) {
	switch {
	case source == nil:
		return 0, errors.New("it is not among the archived keys, and the provider is not asked")
	case g.failed >= maxKeyFailures:
		return 0, g.err
	case len(g.asked) >= maxAsks:
		return 0, fmt.Errorf("asked for %d times already", maxAsks)
	}
	for _, a := range g.asked {
		if a.from.Equal(from) && a.until.Equal(until) {
			return a.keys, nil
		}
	}
	keys, err := source.PublicKeys(ctx, region, from, until)
	if err != nil {
		if ctx.Err() == nil {
			g.failed, g.err = g.failed+1, err
		}
		return 0, err
	}
	g.failed = 0
	g.asked = append(g.asked, asked{from, until, len(keys)})
	for _, k := range keys {
		if _, err := k.rsa(); err != nil {
			g.broken = err
			continue
		}
		g.keys[k.Fingerprint] = k
	}
	return len(keys), nil
}

func sortKeys(keys []PublicKey) {
	slices.SortFunc(keys, func(a, b PublicKey) int { return strings.Compare(a.Fingerprint, b.Fingerprint) })
}
