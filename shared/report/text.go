package report

import (
	"crypto/sha1"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/auditcanary/auditcanary/scenarios"
	"github.com/auditcanary/auditcanary/shared/canary"
)

// line makes one line of anybody's text: valid UTF-8 without control characters
// or those that reorder text, of at most n bytes, without spaces at its ends.
// Formats that are read by people or by strict parsers take no other text.
func line(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case unicode.IsPrint(r):
			return r
		}
		return '\uFFFD'
	}, clip(s, n))
	return strings.TrimSpace(clip(s, n)) // replacing may have made it longer
}

// clip cuts text at n bytes, between two characters, and shows that it did.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	end := n - len("…")
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:max(end, 0)] + "…"
}

// or is the text, or what to say where there is none.
func or(s, none string) string {
	if strings.TrimSpace(s) == "" {
		return none
	}
	return s
}

// uuid is a name-based UUID (version 5): equal parts give the same one, in every
// report. SHA-1 is what the version prescribes; nothing rests on its strength.
func uuid(parts ...string) string {
	namespace := [16]byte{0x5d, 0x1b, 0x6c, 0x0e, 0x72, 0x5f, 0x4a, 0x3c, 0x9e, 0x21, 0x8f, 0x44, 0xa1, 0x0d, 0xc2, 0x7b}
	h := sha1.New()
	h.Write(namespace[:])
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	b := h.Sum(nil)[:16]
	b[6], b[8] = b[6]&0x0f|0x50, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// stamp is a time in RFC 3339, seconds and UTC; what is no time of this age,
// because nobody stated it or somebody lied, is the fallback.
func stamp(t, fallback time.Time) string {
	if t.Year() < 1970 || t.Year() > 2999 {
		t = fallback
	}
	return t.UTC().Format(time.RFC3339)
}

// origin names the ledger, for ids that must stay the same from report to report.
func (r Report) origin() string { return or(r.Facts.LedgerAt.Origin, "auditcanary") }

// place is where a canary acted.
func (c Canary) place() string { return c.Account + "/" + c.Region }

// standsAt names the object a record stands in; "" where it is in none.
func standsAt(rec Record) string {
	if rec.At.Key == "" {
		return ""
	}
	at := rec.At.Object()
	if rec.At.VersionID != "" {
		at += "?versionId=" + rec.At.VersionID
	}
	return at
}

// why says in a sentence what keeps a canary from being proven.
func (c Canary) why() string {
	for _, k := range c.Checks {
		if k.Status == c.Status && k.Detail != "" {
			s := string(k.Check) + ": " + k.Detail
			if k.Hop != "" {
				s += " (hop " + string(k.Hop) + ")"
			}
			return s
		}
	}
	if c.Status == canary.Pass {
		return "every check that was run passed"
	}
	return string(c.Status)
}

// speaks reports whether a canary speaks for a control, through any of its checks.
func (c Canary) speaks(ctl Control) bool {
	return slices.ContainsFunc(ctl.Checks, func(k ControlCheck) bool { return c.counts(ctl, k) })
}

// counts reports whether a canary's answer to one check counts for a control.
func (c Canary) counts(ctl Control, k ControlCheck) bool {
	if k.Canaries == scenarios.AllCanaries {
		return true
	}
	return slices.Contains(c.Controls, ctl.ID)
}
