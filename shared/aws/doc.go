// Package aws translates between this program and Amazon Web Services.
//
// Cloud is the acting half: it plans a canary's calls (Plan), opens the session
// that may make them and nothing else (Open), and makes each of them exactly
// once (Session.Do). calls.go holds the one list of what it may ever do. Three
// independent things keep a wrong scenario harmless: the list with its guards
// refuses it when it is planned and again when it is sent; the session policy
// generated from the plan lets the cloud refuse it; and what it may touch
// carries the mark "auditcanary" by name or by tag.
//
// Inspector is the looking half: it reads the settings of any account through a
// read-only role, and translates them for the packages that weigh them. What it
// cannot read is part of its answer.
//
// Sweeping (Leftovers, OpenSweep) and the event history (Recorded) are here
// too. Nothing here retries a canary's call, polls or decides: one request, one
// receipt.
package aws
