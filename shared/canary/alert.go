package canary

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"time"
)

// Promise is an alert that a scenario promises: what it does must ring there.
type Promise struct {
	// Alert is its name; the configuration says where an alert of that name arrives.
	Alert string `json:"alert"`
	// On which outcome it is promised: rules that look at success are blind to denials.
	On PromisedOn `json:"on"`
	// Step that sets it off; "" = any of them.
	Step string `json:"step,omitempty"`
}

// PromisedOn is the outcome of a call for which an alert is promised.
type PromisedOn string

const (
	OnAllowed PromisedOn = "allowed"
	OnDenied  PromisedOn = "denied"
)

// Rang is one alert as it arrived.
type Rang struct {
	// Alert is its name in the configuration.
	Alert string `json:"alert"`
	// ID at the place where it arrived (message id, finding id, alarm and time). The
	// same id once more is the same alert, updated.
	ID string `json:"id"`
	// At is when it rang (was sent, or last updated), by the provider's clock.
	At time.Time `json:"at"`
	// Count is how many occurrences are folded into it; 0 counts as 1.
	Count int `json:"count,omitempty"`
	// Since is when the first of those occurred (a finding's first event, the beginning
	// of a metric's period). Zero: nobody knows; then Count says how many only against
	// an earlier state of the same alert.
	Since time.Time `json:"since,omitzero"`
	// Suppressed, when not empty, says why nobody heard it ("archived by filter x").
	Suppressed string `json:"suppressed,omitempty"`
	// What it names, as found in the payload.
	RequestIDs []string `json:"request_ids,omitempty"`
	EventIDs   []string `json:"event_ids,omitempty"`
	Sessions   []string `json:"sessions,omitempty"` // that begin with our mark
	// Weak, when not empty, says why it cannot name an event ("an alarm has no event").
	Weak string `json:"weak,omitempty"`
	// Rule that made it, as far as it says so.
	Rule string `json:"rule,omitempty"`
	// Payload as it arrived, cut at MaxPayload; SHA256 of all of it, hex.
	Payload []byte `json:"payload,omitempty"`
	SHA256  string `json:"sha256,omitempty"`
}

// MaxPayload is how much of an alert's payload is kept, in bytes.
const MaxPayload = 16 << 10

// Name fills in the payload, its hash, and what it names: an alert is known by the
// request id or event id in it, however it is wrapped.
func (r *Rang) Name(payload []byte) {
	sum := sha256.Sum256(payload)
	r.SHA256, r.Payload = hex.EncodeToString(sum[:]), payload[:min(len(payload), MaxPayload)]
	r.RequestIDs = named(payload, requestIDs)
	r.EventIDs = named(payload, eventIDs)
	r.Sessions = named(payload, sessions)
}

var (
	requestIDs = regexp.MustCompile(`(?i)request_?id\\*"\s*:\s*\\*"([A-Za-z0-9-]{1,128})`)
	eventIDs   = regexp.MustCompile(`(?i)event_?id\\*"\s*:\s*\\*"([A-Za-z0-9-]{1,128})`)
	sessions   = regexp.MustCompile(`(` + Marker + `-[a-z0-9-]{1,64})`)
)

func named(payload []byte, re *regexp.Regexp) (out []string) {
	for _, m := range re.FindAllSubmatch(payload, 50) {
		if s := string(m[1]); !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
