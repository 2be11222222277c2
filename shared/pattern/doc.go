// Package pattern decides whether a rule matches an event of which not everything is known.
//
// Three languages are read: EventBridge event patterns (ParseEventPattern),
// CloudWatch Logs filter patterns (ParseFilter) and GuardDuty finding criteria
// (Criteria). Each is matched against a JSON document in which parts may be left
// open (Unknown, Text, OneOf, Open): the record that a call will leave is known in
// part before the call is made.
//
// The answer has three values. No means that no document that agrees with what is
// known could match; Yes, that every one would. All else is Undecided: what is not
// known, an operator that is not known here, and whatever the provider's
// documentation leaves open.
//
// Everything here follows from its input: no I/O, no clock.
package pattern
