// Package run takes canaries through the steps of a run: plan, inject, confirm, sweep.
//
// A run has no state of its own. Everything it knows is a fold over the ledger
// (State), and everything it is about to do is written there first: Inject
// appends the plan, then before each call the intent with its undo, after it the
// receipt. Whoever comes later, in another process or after a crash, folds the
// same entries and goes on: Confirm looks for what is still open and judges it,
// Sweep undoes what is still owed, from the journal and from what the accounts
// themselves list, and records a clean account.
//
// Seal and Alerts amend a verdict later, when the provider has signed for its records
// and when the alerts that its scenario promises rang, or their time is over.
//
// What must be denied is attempted between two looks at what protects the thing, which
// are written down as well: nothing is attempted that was not seen to be protected.
//
// Two walls stand elsewhere than one might expect. The undo happens at the end
// of Inject and not after Confirm: a temporary privilege that stood until its
// record arrives would be as risky as the log is slow. And "now" is the log
// store's own clock (Seen.AsOf), never ours: a record is missing once the store,
// by its own clock, has been seen in full after the deadline.
//
// The package declares the ports it needs (Cloud, Sweeper, LogStore, History,
// AlertSource) and imports no driver.
package run
