// Package coverage measures how much of what is privileged has been proven to be logged.
//
// The denominator is not our own: aws.tsv lists the operations that public rule
// sets and benchmarks call privileged, with how many of them do. Each operation in
// each account and region is a cell, and each cell has exactly one Status. A cell is
// proven only by the verdict of a canary that made this very call there; that another
// operation of its category was proven there is a sample, shown beside the proof,
// never added to it.
//
// What cannot be measured is asked: for each source of logs somebody has to decide
// whether what the provider records suffices (ISO/IEC 27017 12.4.3 asks exactly this
// of the customer). Nobody's decision is "undecided", never "sufficient".
//
// Everything here is arithmetic over its input: no I/O, no clock. Text, CSV and the
// scope document are written from the same numbers.
package coverage
