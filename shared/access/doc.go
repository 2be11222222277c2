// Package access answers who can delete, change, stop, silence or read the logs, through which statement.
//
// World holds what was collected: the accounts with their principals, the
// organisation's policies, and the resources in question with theirs. Decide
// answers one question (may this principal do this action to this resource) the
// way the cloud does: an explicit deny anywhere wins, every layer that applies
// must allow. Report asks it for every tamper action of tamper.tsv.
//
// The answer has three values. What the request itself would have to show (an
// address, MFA, a tag), what is not known here (an operator, an element, a
// version), and a policy that could not be read, is neither taken for met nor for
// unmet: an Allow that hangs on it makes the answer "possible", and so does a Deny
// that hangs on it. Nothing undecided is ever dropped.
//
// Everything here follows from its input: no I/O, no clock.
package access
