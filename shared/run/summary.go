package run

import (
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/exception"
	"github.com/auditcanary/auditcanary/shared/ledger"
)

// Summary is what `run --json` prints: one run, or several, as the ledger has them.
type Summary struct {
	Run        string     `json:"run"`
	Checkpoint Checkpoint `json:"checkpoint"`
	Canaries   []Line     `json:"canaries"`
	// Findings are records that imitate a canary.
	Findings []Finding `json:"findings"`
	Tally    Tally     `json:"tally"`
}

// Checkpoint is the ledger's head the summary was folded from.
type Checkpoint struct {
	Origin string `json:"origin"`
	Size   int64  `json:"size"`
	Root   string `json:"root"` // base64
	// Signed is the checkpoint as it stands in the ledger, with its signatures.
	Signed string `json:"signed"`
}

// Line is one canary.
type Line struct {
	ID       string `json:"id"`
	Scenario string `json:"scenario"`
	Category string `json:"category"`
	Target   string `json:"target"` // account
	Region   string `json:"region"`
	// Receipt gathers the calls of the canary (not of its undo).
	Receipt LineReceipt `json:"receipt"`
	// Record of the first step; Records has one for each.
	Record  *LineRecord                    `json:"record"`
	Records []LineRecord                   `json:"records"`
	Checks  map[canary.Check]canary.Answer `json:"checks"`
	// Status is the worst of the required checks, as the exceptions in force leave it;
	// an excepted answer says in Accepted what it was.
	Status canary.Status `json:"status"`
	// Amended counts earlier verdicts that this one replaces; all are in the ledger.
	Amended int `json:"amended,omitempty"`
}

// LineReceipt is the ground truth in short.
type LineReceipt struct {
	RequestIDs []string   `json:"request_ids"`
	Calls      []LineCall `json:"calls"`
}

// LineCall is one call.
type LineCall struct {
	Step       string   `json:"step"`
	Operation  string   `json:"operation"`
	Result     string   `json:"result"`
	Code       string   `json:"code,omitempty"`
	RequestIDs []string `json:"request_ids"`
	Time       string   `json:"time,omitempty"` // the service's, RFC 3339
}

// LineRecord is where a record stands.
type LineRecord struct {
	Step      string `json:"step"`
	EventID   string `json:"event_id"`
	Store     string `json:"store"`
	Bucket    string `json:"bucket"`
	Key       string `json:"key"`
	VersionID string `json:"version_id"`
	Offset    int64  `json:"offset"`
	Length    int64  `json:"length"`
	SHA256    string `json:"object_sha256"`
}

// Finding is a record that carries our marks without being ours.
type Finding struct {
	Kind      string          `json:"kind"` // "forged-marker"
	EventID   string          `json:"event_id"`
	RequestID string          `json:"request_id"`
	Actor     string          `json:"actor"`
	Operation string          `json:"operation"`
	At        canary.Location `json:"at"`
}

// Tally counts.
type Tally struct {
	Canaries     int `json:"canaries"`
	Proven       int `json:"proven"`
	Failed       int `json:"failed"`
	Late         int `json:"late"`
	Inconclusive int `json:"inconclusive"`
	NotRun       int `json:"not_run"`
	// Excepted are those that pass but for what an approved exception covers, until
	// ExceptedUntil (the first day on which one of these ends, 2026-12-31).
	Excepted      int    `json:"excepted"`
	ExceptedUntil string `json:"excepted_until,omitempty"`
	Findings      int    `json:"findings"`
	// Protected are those whose records are known to be sealed and immutable;
	// Unsealed, those whose records are still in no digest (which takes hours).
	Protected int `json:"protected"`
	Unsealed  int `json:"unsealed"`
	// Checks counts statuses check by check.
	Checks map[canary.Check]map[canary.Status]int `json:"checks"`
}

// ExitCode: 0 all proven or excepted, 1 something failed or was late, 2 something could
// not be found out (or nothing was proven).
func (t Tally) ExitCode() int {
	switch {
	case t.Failed > 0 || t.Late > 0 || t.Findings > 0:
		return 1
	case t.Inconclusive > 0 || t.NotRun > 0 || t.Proven == 0:
		return 2
	}
	return 0
}

// ExitCode of the summary is its tally's.
func (s Summary) ExitCode() int { return s.Tally.ExitCode() }

// Summarise folds the state into what people read at a time. runID "" takes all runs.
// slo is used for canaries nobody has judged yet.
func Summarise(state *State, cp ledger.Checkpoint, runID string, slo canary.SLO, now time.Time) Summary {
	s := Summary{
		Run:        runID,
		Checkpoint: Checkpoint{Origin: cp.Origin, Size: cp.Size, Root: cp.Root.String(), Signed: string(cp.Signed)},
		Canaries:   []Line{}, Findings: []Finding{},
		Tally: Tally{Checks: map[canary.Check]map[canary.Status]int{}},
	}
	register := state.RegisterAt(now)
	for _, rs := range state.Runs {
		if runID != "" && rs.ID != runID {
			continue
		}
		for _, cs := range rs.Canaries {
			s.add(lineOf(cs, slo, register, now))
		}
		for _, f := range rs.Forged {
			s.Findings = append(s.Findings, Finding{Kind: "forged-marker", EventID: f.EventUID, RequestID: f.RequestID, Actor: f.Actor, Operation: f.Operation, At: f.At})
			s.Tally.Findings++
		}
	}
	return s
}

func (s *Summary) add(l Line) {
	s.Canaries = append(s.Canaries, l)
	s.Tally.Canaries++
	switch l.Status {
	case canary.Pass:
		s.Tally.Proven++
	case canary.Fail:
		s.Tally.Failed++
	case canary.Late:
		s.Tally.Late++
	case canary.Inconclusive:
		s.Tally.Inconclusive++
	case canary.Excepted:
		s.Tally.Excepted++
	default:
		s.Tally.NotRun++
	}
	if sealed, immutable := l.Checks[canary.Sealed], l.Checks[canary.Immutable]; sealed.Status == canary.Pass && immutable.Status == canary.Pass {
		s.Tally.Protected++
	} else if sealed.Status == canary.NotRun && l.Checks[canary.Surfaced].Status == canary.Pass {
		s.Tally.Unsealed++
	}
	for check, a := range l.Checks {
		if by := a.Accepted; by != nil && l.Status == canary.Excepted && (s.Tally.ExceptedUntil == "" || by.Until < s.Tally.ExceptedUntil) {
			s.Tally.ExceptedUntil = by.Until
		}
		if s.Tally.Checks[check] == nil {
			s.Tally.Checks[check] = map[canary.Status]int{}
		}
		s.Tally.Checks[check][a.Status]++
	}
}

func lineOf(cs *CanaryState, slo canary.SLO, register exception.Register, now time.Time) Line {
	c := cs.Plan.Canary
	v, judged := cs.Verdict()
	if !judged {
		// Nobody has looked yet: judge what is known, with nothing seen.
		v = canary.Judge(cs.Plan.Scenario, c, cs.Evidence, canary.Seen{}, slo)
	}
	v = register.Overlay(c, cs.At, v, now)
	l := Line{
		ID: c.ID, Scenario: c.Scenario, Category: cs.Plan.Scenario.Category,
		Target: c.Target.Account, Region: c.Target.Region,
		Receipt: LineReceipt{RequestIDs: []string{}, Calls: []LineCall{}}, Records: []LineRecord{},
		Checks: v.Checks, Status: v.Overall(), Amended: max(0, len(cs.Verdicts)-1),
	}
	for _, rec := range cs.Evidence.Receipts {
		if rec.Phase != canary.PhaseDo {
			continue
		}
		l.Receipt.RequestIDs = append(l.Receipt.RequestIDs, rec.RequestIDs...)
		call := LineCall{Step: rec.Step, Operation: rec.Call.Operation, Result: string(rec.Outcome.Result), Code: rec.Outcome.Code, RequestIDs: rec.RequestIDs}
		if !rec.Want.Time.IsZero() {
			call.Time = rec.Want.Time.UTC().Format("2006-01-02T15:04:05Z")
		}
		l.Receipt.Calls = append(l.Receipt.Calls, call)
	}
	for _, r := range v.Records {
		l.Records = append(l.Records, LineRecord{
			Step: r.Step, EventID: r.EventUID, Store: r.At.Store, Bucket: r.At.Bucket, Key: r.At.Key,
			VersionID: r.At.VersionID, Offset: r.At.Offset, Length: r.At.Length, SHA256: r.At.ObjectSHA256,
		})
	}
	if len(l.Records) > 0 {
		l.Record = &l.Records[0]
	}
	return l
}
