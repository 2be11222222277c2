package trail

import (
	"fmt"
	"strings"
	"time"
)

// Key is the parsed name of one CloudTrail log file:
//
//	[prefix/]AWSLogs/[o-id/]<account>/CloudTrail/<region>/YYYY/MM/DD/<account>_CloudTrail_<region>_YYYYMMDDTHHmmZ_<16>.json.gz
//
// Source: CloudTrail user guide, "CloudTrail log file name format".
type Key struct {
	Prefix         string // without the closing slash; "" if none
	OrganizationID string // "o-..." for a file of an organisation trail
	Account        string // 12 digits
	Region         string // the region the events were recorded in
	// Stamp is the minute in the name: about when the file was delivered. It
	// says nothing about when its events happened, which may be at any time before.
	Stamp time.Time
	// Unique is the 16 characters that keep names apart.
	Unique string
}

const (
	awsLogs   = "AWSLogs"
	logFolder = "CloudTrail"
	logSuffix = ".json.gz"

	stampFormat = "20060102T1504Z"
	dayFormat   = "2006/01/02"
)

// String is the object key.
func (k Key) String() string {
	day := k.Stamp.UTC()
	return place{k.Prefix, k.OrganizationID, k.Account, k.Region}.day(day) +
		stem(k.Account, k.Region, day) + "_" + k.Unique + logSuffix
}

// ParseKey reads an object key. It accepts exactly the names CloudTrail gives to
// log files; the error of any other key (digests, Insights and network activity
// files among them) says what is wrong with it.
func ParseKey(key string) (Key, error) {
	k, err := parseKey(key)
	if err != nil {
		return Key{}, fmt.Errorf("parse log file key %q: %w", key, err)
	}
	return k, nil
}

func parseKey(key string) (Key, error) {
	at, date, file, err := splitKey(key, logFolder, "log files")
	if err != nil {
		return Key{}, err
	}
	k := Key{Prefix: at.prefix, OrganizationID: at.organization, Account: at.account, Region: at.region}
	rest, err := stemless(file, at, logFolder)
	if err != nil {
		return Key{}, err
	}
	stamp, unique, ok := strings.Cut(rest, "_")
	if !ok || !isUnique(unique) {
		return Key{}, fmt.Errorf("file name %q does not end with 16 letters and digits", file)
	}
	t, err := time.Parse(stampFormat, stamp)
	if err != nil {
		return Key{}, fmt.Errorf("file name %q: %q is not a time of the form YYYYMMDDTHHmmZ", file, stamp)
	}
	if t.Format(dayFormat) != date {
		return Key{}, fmt.Errorf("file name %q does not belong in folder %q", file, date)
	}
	k.Stamp, k.Unique = t, unique
	return k, nil
}

// splitKey reads what the keys of log files and digests have in common: the place,
// the folder of the kind, which is for what, the date as it stands, and the file's name.
func splitKey(key, kind, what string) (at place, date, file string, err error) {
	fail := func(format string, args ...any) (place, string, string, error) {
		return place{}, "", "", fmt.Errorf(format, args...)
	}
	// From the right: the prefix is free text and may itself hold "AWSLogs".
	parts := strings.Split(key, "/")
	if len(parts) < 8 {
		return fail("has %d parts, %s at least 8", len(parts), what)
	}
	head, tail := parts[:len(parts)-7], parts[len(parts)-7:]
	at.account, at.region = tail[0], tail[2]
	if tail[1] != kind {
		return fail("is in folder %q, %s are in %q", tail[1], what, kind)
	}
	if last := head[len(head)-1]; last != awsLogs {
		if !isOrganization(last) || len(head) < 2 || head[len(head)-2] != awsLogs {
			return fail("account %q does not follow %s/ or %s/<organisation id>/", at.account, awsLogs, awsLogs)
		}
		at.organization, head = last, head[:len(head)-1]
	}
	head = head[:len(head)-1]
	at.prefix = strings.Join(head, "/")
	if len(head) > 0 && at.prefix == "" {
		return fail("begins with a slash")
	}
	if !isAccount(at.account) {
		return fail("account %q is not 12 digits", at.account)
	}
	if !isRegion(at.region) {
		return fail("%q is not a region", at.region)
	}
	return at, strings.Join(tail[3:6], "/"), tail[6], nil
}

// stemless is a file's name without what its folder says already, and without its suffix.
func stemless(file string, at place, kind string) (string, error) {
	rest, ok := strings.CutPrefix(file, at.account+"_"+kind+"_"+at.region+"_")
	if !ok {
		return "", fmt.Errorf("file name %q does not begin with the account and region of its folder", file)
	}
	rest, ok = strings.CutSuffix(rest, logSuffix)
	if !ok {
		return "", fmt.Errorf("file name %q does not end with %s", file, logSuffix)
	}
	return rest, nil
}

// place is where one trail keeps the log files of one account and region.
type place struct{ prefix, organization, account, region string }

// day is the folder of one day's log files, with the closing slash.
func (p place) day(t time.Time) string { return p.folder(logFolder) + t.UTC().Format(dayFormat) + "/" }

// folder is where the place's files of a kind are, with the closing slash.
func (p place) folder(kind string) string {
	var b strings.Builder
	for _, s := range []string{p.prefix, awsLogs, p.organization, p.account, kind, p.region} {
		if s != "" {
			b.WriteString(s + "/")
		}
	}
	return b.String()
}

// stem begins the name of every log file stamped t.
func stem(account, region string, t time.Time) string {
	return account + "_" + logFolder + "_" + region + "_" + t.UTC().Format(stampFormat)
}

// isAccount: 12 digits.
func isAccount(s string) bool {
	return len(s) == 12 && only(s, func(c byte) bool { return '0' <= c && c <= '9' })
}

// isOrganization: "o-" and lower-case letters and digits (AWS Organizations API
// reference: 10 to 32 of them; shorter ones are let through, they harm nobody).
func isOrganization(s string) bool {
	id, ok := strings.CutPrefix(s, "o-")
	return ok && 0 < len(id) && len(id) <= 32 && only(id, lowerOrDigit)
}

// isRegion: words of lower-case letters and digits joined by hyphens, the last a
// number: us-east-1, us-gov-west-1. New regions appear, so no list.
func isRegion(s string) bool {
	words := strings.Split(s, "-")
	if len(s) > 32 || len(words) < 3 {
		return false
	}
	for _, w := range words {
		if w == "" || !only(w, lowerOrDigit) {
			return false
		}
	}
	return only(words[len(words)-1], func(c byte) bool { return '0' <= c && c <= '9' })
}

func isUnique(s string) bool {
	return len(s) == 16 && only(s, func(c byte) bool { return lowerOrDigit(c) || 'A' <= c && c <= 'Z' })
}

func lowerOrDigit(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

func only(s string, ok func(byte) bool) bool {
	for i := range len(s) {
		if !ok(s[i]) {
			return false
		}
	}
	return true
}
