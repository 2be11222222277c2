// Package exception holds accepted limitations: each with an owner, a compensating control, a day on which it ends.
package exception

import (
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// Exception is one approved exception.
type Exception struct {
	ID string `json:"id"`
}

// Register is all of them, as they were read.
type Register struct {
	Exceptions []Exception `json:"exceptions"`
	// Source it was read from (a file, a Jira project) and the SHA-256 of what was read, hex.
	Source string `json:"source"`
	SHA256 string `json:"sha256"`
}

// Subject is what an exception may be about: one check of one canary that did not pass.
type Subject struct {
	Scenario     string
	ScenarioHash string
	Target       canary.Target
	Check        canary.Check
	Status       canary.Status
	Hop          canary.Hop
	Detail       string
}

// For returns the exception that covers s at a time, if one does. Only what did not
// pass can be excepted, and nothing that expired, is unapproved or too broad counts.
func (r Register) For(s Subject, now time.Time) (Exception, bool) {
	return Exception{}, false
}
