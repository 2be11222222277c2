// Package alertrule says which alerts could fire for the canaries that are planned.
//
// An alert is made by rules that the configuration lists: event rules (with those
// that forward to them from bus to bus), metric filters with alarms, GuardDuty
// findings. CouldFire holds the settings of these rules, as the inspector read them,
// against the record that a call of a canary will leave: Fires if all on one way
// lets it through, Never with the reason if on every way something stops it, and
// Undecided for all that is not known, could not be read or is not documented. It
// never says Never where the record might get through on the ways that are listed.
//
// It is known before any run, so that a rule which could not ring is not waited for.
// Whether one that could does ring is what the canary shows.
//
// The package stands above run, whose plans it reads, and above inventory, whose
// settings. Everything here follows from its input: no I/O, no clock.
package alertrule
