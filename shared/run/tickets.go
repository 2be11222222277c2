package run

import "time"

// Ticket is one act on one ticket: written as pending before it, and again, with what
// came of it, after it.
type Ticket struct {
	// Fingerprint of what it is about: never a run.
	Fingerprint string `json:"fingerprint"`
	// Act: create, update, comment, attach, resolve, reopen.
	Act string `json:"act"`
	// N numbers the acts on one fingerprint, from 1: it pairs an intent with its outcome.
	N       int  `json:"n"`
	Pending bool `json:"pending,omitempty"`
	// Key and URL of the ticket, as soon as they are known.
	Key string `json:"key,omitempty"`
	URL string `json:"url,omitempty"`
	// Content is the SHA-256 of what was said, hex: nothing is said twice.
	Content string `json:"content,omitempty"`
	// Members are the fingerprints that a ticket for several stands for.
	Members []string `json:"members,omitempty"`
	// Err says why it was not done; empty when it was.
	Err string `json:"error,omitempty"`
}

// Post is one message to a chat: written as pending before it, and again after it.
type Post struct {
	// Mark identifies it; the message carries it.
	Mark    string `json:"mark"`
	Pending bool   `json:"pending,omitempty"`
	Channel string `json:"channel,omitempty"`
	TS      string `json:"ts,omitempty"`
	Thread  string `json:"thread,omitempty"`
	URL     string `json:"url,omitempty"`
	Kind    string `json:"kind,omitempty"` // run, change, digest, detail
	Err     string `json:"error,omitempty"`
}

// Asked is that somebody asked for a run.
type Asked struct {
	// ID of the command: the same command once more is the same.
	ID string `json:"id"`
	// By whom (Slack user id and name, or the caller of the HTTP interface), and where.
	By      string `json:"by"`
	Through string `json:"through"` // slack, http
	Channel string `json:"channel,omitempty"`
	// What was asked for.
	Command   string   `json:"command"` // run, status
	Scenarios []string `json:"scenarios,omitempty"`
	Targets   []string `json:"targets,omitempty"`
	// Run that it became; empty until it began.
	Run string `json:"run,omitempty"`
	// Refused says why it was not done.
	Refused string    `json:"refused,omitempty"`
	At      time.Time `json:"asked,omitzero"`
}
