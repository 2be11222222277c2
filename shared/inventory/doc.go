// Package inventory judges what was read of the sources of logs in an organisation's accounts.
//
// A Snapshot holds settings as the provider gave them: trails with what they
// record in each account and region, the bucket they deliver to, its key, and
// what stands on the way from a record to a person (rules, topics, alarms,
// metric filters, detectors). What could not be read is in it too, as Unread.
// Take weighs it against what the configuration expects: a Row for each account,
// region and class of sources, and a Finding for each thing that is missing,
// off, silent or weakened, with what was found, what was expected and what to do.
//
// What somebody relies on for an alert is only known to them: of the alert path
// only what is listed is judged. A second trail that records less than the one
// which suffices is nobody's fault either, and no finding.
//
// Settings prove nothing: a trail that should record is not a record that
// arrived. So beside them stands, for each category of privileged activity, the
// last canary that proved it there.
//
// Everything here is arithmetic over its input: no I/O, no clock.
package inventory
