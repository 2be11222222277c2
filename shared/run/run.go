package run

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/exception"
	"github.com/auditcanary/auditcanary/shared/ledger"
)

// Run holds what the steps need. All fields but the optional ones must be set.
type Run struct {
	Log       *ledger.Log
	Clouds    map[string]Cloud   // by provider, "aws"
	Sweepers  map[string]Sweeper // by provider
	Histories map[string]History // by provider; optional
	Store     LogStore
	// Custodian says how the store keeps its records; Keeping is what is demanded.
	Custodian Custodian
	Keeping   canary.Keeping
	// AlertSources say where alerts of which name arrive. Optional.
	AlertSources []Alert
	Scenarios    []canary.Scenario
	// Targets are the accounts and regions where canaries run.
	Targets []canary.Target
	// Global is the region in which a provider's global services are recorded ("aws": "us-east-1").
	Global map[string]string
	SLO    canary.SLO
	// Poll is the shortest pause between two looks at the store.
	Poll time.Duration
	// Parallel bounds how many canaries act at once (default 8).
	Parallel int
	Clock    func() time.Time
	// Sleep waits, or returns ctx's error.
	Sleep func(ctx context.Context, d time.Duration) error
	// Compile turns a scenario's expectations into rules, for scenarios read back from the ledger.
	Compile func(expect []string) ([]canary.Rule, error)
	// Register reads the register of exceptions in use; nil: there is none.
	Register func() (exception.Register, error)
	// Own drains the request ids of the calls drivers made for themselves. Optional.
	Own func() []string
	// Progress is told what happens, in plain sentences. Optional.
	Progress func(Progress)
	// Version of this program and hash of the configuration, for the ledger.
	Version, ConfigHash string

	asked *Asked // what the run was asked for by, if it was
}

// Progress is how far a step has come.
type Progress struct {
	Step    string // plan, inject, confirm, seal, alerts, integrity, sweep
	Done    int
	Total   int
	Message string
}

func (r *Run) progress(step string, done, total int, format string, args ...any) {
	if r.Progress != nil {
		r.Progress(Progress{Step: step, Done: done, Total: total, Message: fmt.Sprintf(format, args...)})
	}
}

// PlanAll works out every canary of a new run: each scenario at each of its
// targets. It does no I/O. A scenario that is refused is an error naming it and
// the reason; nothing is planned around it silently. Where a target lacks what a
// scenario acts on, its canary is planned as one that is not run, with the reason.
func (r *Run) PlanAll(runID string) ([]Plan, error) {
	var plans []Plan
	for _, s := range r.Scenarios {
		provider, _, _ := strings.Cut(s.ID, "/")
		cloud, ok := r.Clouds[provider]
		if !ok {
			return nil, fmt.Errorf("plan %s: no driver for provider %q", s.ID, provider)
		}
		for _, t := range r.targetsOf(s, provider) {
			c := canary.Canary{
				ID: fmt.Sprintf("%s-%02d", runID, len(plans)+1), Run: runID,
				Scenario: s.ID, ScenarioHash: s.Hash, Target: t,
			}
			p, err := cloud.Plan(s, c)
			if errors.Is(err, ErrNotConfigured) {
				p, err = Plan{Canary: c, Scenario: s, NotRun: err.Error()}, nil
			}
			if err != nil {
				return nil, fmt.Errorf("plan %s at %s/%s: %w", s.ID, t.Account, t.Region, err)
			}
			plans = append(plans, p)
		}
	}
	return plans, nil
}

// targetsOf: once per account and region, or once per account in the region
// where the provider records its global services.
func (r *Run) targetsOf(s canary.Scenario, provider string) []canary.Target {
	var out []canary.Target
	for _, t := range r.Targets {
		if t.Provider != provider {
			continue
		}
		if s.Scope == "account" {
			t.Region = r.Global[provider]
		}
		if !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out
}

// NewRunID is a new run's name: its day, and 30 random bits. What the injector's role may
// touch is known by names that begin so.
func NewRunID(now time.Time) string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return now.UTC().Format("20060102") + "-" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:]))[:6]
}

// IsRunID reports whether a run may have this name: its day, a dash, 1 to 40 lower-case
// letters, digits and dashes. What canaries make is named after it, and the permissions of
// injectors are for names that begin with a day.
func IsRunID(id string) bool {
	day, rest, ok := strings.Cut(id, "-")
	return ok && len(day) == 8 && day[0] == '2' && strings.Trim(day, "0123456789") == "" &&
		rest != "" && len(rest) <= 40 && strings.Trim(rest, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// CatalogueHash pins the scenarios: SHA-256 over their ids and hashes.
func CatalogueHash(ss []canary.Scenario) string {
	ss = slices.Clone(ss)
	slices.SortFunc(ss, func(a, b canary.Scenario) int { return cmp.Compare(a.ID, b.ID) })
	h := sha256.New()
	for _, s := range ss {
		fmt.Fprintf(h, "%s %s\n", s.ID, s.Hash)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// noteOwn writes down which calls drivers made for themselves.
func (r *Run) noteOwn(ctx context.Context, runID string) error {
	for _, e := range r.own(runID) {
		if err := r.append(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// own are entries of the calls that drivers made for themselves since it was asked last.
func (r *Run) own(runID string) []Entry {
	if r.Own == nil {
		return nil
	}
	var out []Entry
	for chunk := range slices.Chunk(r.Own(), 1000) {
		out = append(out, Entry{Type: "own", Run: runID, Own: &Own{RequestIDs: chunk}})
	}
	return out
}
