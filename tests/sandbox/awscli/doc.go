// Package awscli holds AWS's own command line as an oracle for the sandbox: its
// `cloudtrail validate-logs` must accept the digests that the sandbox signs.
//
// The script aws points Debian's awscli at a loopback address.
package awscli
