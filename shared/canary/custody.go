package canary

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// Custody is how one record is kept, found out after it was seen: whether the
// provider signed for the very bytes it was read from, and whether anybody could
// take them away. It holds facts; Protect weighs them.
type Custody struct {
	Step string   `json:"step"`
	At   Location `json:"at"`
	// Stored is when the object arrived, Looked when all this was found out: both by
	// the store's own clock.
	Stored time.Time `json:"stored"`
	Looked time.Time `json:"looked"`
	// Required is what the configuration demanded at that time.
	Required Keeping `json:"required"`
	Seal     Seal    `json:"seal"`
	Held     Held    `json:"held"`
}

// Keeping is what is demanded of the object that holds a record.
type Keeping struct {
	// Mode of retention: COMPLIANCE, GOVERNANCE, or "" where none is demanded.
	Mode string `json:"mode,omitempty"`
	// Days that the object must be retained for after it arrived.
	Days int `json:"days,omitempty"`
	// Digested is how long after it arrived a signed digest may come to name it;
	// Overdue, after how long none is expected any more.
	Digested time.Duration `json:"digested"`
	Overdue  time.Duration `json:"overdue"`
}

// The modes of S3 Object Lock.
const (
	Compliance = "COMPLIANCE" // nobody may shorten or remove it, the root user neither
	Governance = "GOVERNANCE" // whoever has s3:BypassGovernanceRetention may
)

// Seal is what the signed digests say of an object. Neither Digest nor a reason:
// no digest names the object so far.
type Seal struct {
	// Digest that names the object, verified, and the hash it gives for it.
	Digest    string `json:"digest,omitempty"` // key
	LogSHA256 string `json:"log_sha256,omitempty"`
	// Backfill: the digest came after the fact, in the chain for files that the
	// hourly digests missed.
	Backfill bool `json:"backfill,omitempty"`
	// Head is the last digest of its chain, up to which the chain was verified.
	Head string `json:"head,omitempty"` // key
	// Covered is the end of the time that verified digests covered without naming
	// the object.
	Covered time.Time `json:"covered,omitzero"`
	// Broken says what is wrong with the object or with the digest that names it.
	Broken string `json:"broken,omitempty"`
	// Unknown says why it could not be found out.
	Unknown string `json:"unknown,omitempty"`
}

// Held is what keeps an object version from being taken away.
type Held struct {
	// Gone: the version is not there any more.
	Gone bool `json:"gone,omitempty"`
	// Unlocked, when not empty, says that the store has no lock that could keep a
	// record at all, and who may take it away: then nothing else of it is asked.
	Unlocked string `json:"unlocked,omitempty"`
	// Mode and Until of its retention; "" if it has none.
	Mode  string    `json:"mode,omitempty"`
	Until time.Time `json:"until,omitzero"`
	// LegalHold and EventHold may stand beside it.
	LegalHold bool `json:"legal_hold,omitempty"`
	EventHold bool `json:"event_hold,omitempty"`
	// Key that the object is encrypted with; nil if with none of the customer's.
	Key    *EncryptionKey `json:"key,omitempty"`
	Bucket BucketHeld     `json:"bucket"`
	// Unread lists what could not be found out, with the reason; each speaks for
	// itself ("retention: AccessDenied ...").
	Unread []string `json:"unread,omitempty"`
}

// BucketHeld is what of the bucket's settings protects its objects.
type BucketHeld struct {
	// Versioning: Enabled, Suspended or "".
	Versioning string `json:"versioning,omitempty"`
	// DefaultMode and DefaultDays are the retention that the next objects get.
	DefaultMode string `json:"default_mode,omitempty"`
	DefaultDays int    `json:"default_days,omitempty"`
	// Expiring are the enabled lifecycle rules under which this object expires,
	// soonest first, at most MaxExpiring; More counts the others.
	Expiring []Expiry `json:"expiring,omitempty"`
	More     int      `json:"more,omitempty"`
}

// MaxExpiring bounds the rules that are kept: a bucket may have a thousand.
const MaxExpiring = 5

// Expiry is a lifecycle rule that hides an object behind a delete marker.
type Expiry struct {
	Rule string `json:"rule"`
	Days int    `json:"days"` // after its creation
}

// EncryptionKey is a key without which a record cannot be read.
type EncryptionKey struct {
	ARN string `json:"arn"`
	// State: Enabled, Disabled, PendingDeletion, ...; Origin: AWS_KMS, EXTERNAL, ...
	State  string `json:"state"`
	Origin string `json:"origin"`
	// Deletion is when it will be gone.
	Deletion time.Time `json:"deletion,omitzero"`
}

// Protect answers Sealed and Immutable of a verdict from what is known of the
// custody of its records. Judge does it; whoever looks later does it again with
// the verdict that stands.
func Protect(v *Verdict, ev Evidence) {
	sealed, immutable := make([]Answer, 0, len(v.Records)+1), make([]Answer, 0, len(v.Records)+1)
	for _, rec := range v.Records {
		s, i := custodyOf(rec, ev)
		sealed, immutable = append(sealed, s), append(immutable, i)
	}
	if len(v.Records) == 0 || v.Checks[Surfaced].Status != Pass {
		// What did not arrive is not kept either.
		sealed, immutable = append(sealed, noRecord), append(immutable, noRecord)
	}
	v.Checks[Sealed], v.Checks[Immutable] = worst(sealed), worst(immutable)
}

// Settled reports whether looking again can change nothing of what Protect says of
// the records that were found.
func Settled(v Verdict, ev Evidence) bool {
	for _, rec := range v.Records {
		sealed, immutable := custodyOf(rec, ev)
		if !sealed.settled() || !immutable.settled() {
			return false
		}
	}
	return true
}

// Awaits reports whether a digest may yet come to name a record: waiting may help.
func Awaits(v Verdict, ev Evidence) bool {
	for _, rec := range v.Records {
		if c, ok := ev.custody(rec); ok && !judgeSealed(c).settled() && c.Looked.Before(c.Stored.Add(c.Required.Overdue)) {
			return true
		}
	}
	return false
}

func (a Answer) settled() bool {
	return a.Status == Pass || a.Status == Fail || a.Detail == notDemanded
}

// custodyOf answers both for one record.
func custodyOf(rec StepRecord, ev Evidence) (sealed, immutable Answer) {
	sealed, immutable = Answer{Status: NotRun, Detail: notLooked}, Answer{Status: NotRun, Detail: notLooked}
	if c, ok := ev.custody(rec); ok {
		sealed, immutable = judgeSealed(c), judgeImmutable(c)
	}
	sealed.Step, immutable.Step = rec.Step, rec.Step
	return sealed, immutable
}

const (
	notLooked   = "nobody has looked how the record is kept; run `auditcanary seal`"
	notDemanded = "the configuration demands no retention of this log store"
)

var noRecord = Answer{Status: NotRun, Detail: "not every record was found"}

// custody is the last that is known of the record's object.
func (e Evidence) custody(rec StepRecord) (Custody, bool) {
	for i := len(e.Custody) - 1; i >= 0; i-- {
		if c := e.Custody[i]; c.Step == rec.Step && c.At == rec.At {
			return c, true
		}
	}
	return Custody{}, false
}

// judgeSealed: did the provider sign for the bytes that the record was read from?
func judgeSealed(c Custody) Answer {
	s := c.Seal
	clue := func(found string) []Clue {
		return []Clue{{Source: FromStore, Asked: c.Looked, Found: found, Object: c.At.Object()}}
	}
	if s.Broken != "" {
		return Answer{Status: Fail, Hop: Stored, Detail: s.Broken, Evidence: clue(s.Broken)}
	}
	if s.Digest != "" {
		switch {
		case c.At.ObjectSHA256 == "":
			return Answer{Status: Inconclusive, Hop: Stored, Detail: "the object could not be hashed to its end when the record was read", Evidence: clue("no hash of it is known")}
		case s.LogSHA256 != c.At.ObjectSHA256:
			detail := fmt.Sprintf("the record was read from other bytes (SHA-256 %s) than digest %s signs for (%s)", c.At.ObjectSHA256, s.Digest, s.LogSHA256)
			return Answer{Status: Fail, Hop: Stored, Detail: detail, Evidence: clue("its hash is not the one that the digest gives")}
		case s.Backfill:
			return Answer{Status: Pass, Detail: "sealed by a backfill digest"}
		}
		return Answer{Status: Pass}
	}
	if s.Unknown != "" {
		return Answer{Status: Inconclusive, Hop: Stored, Detail: s.Unknown, Evidence: clue(s.Unknown)}
	}
	due, overdue := c.Stored.Add(c.Required.Digested), c.Stored.Add(c.Required.Overdue)
	covered := "and no digest of that time is there"
	if s.Covered.After(c.Stored) {
		covered = "although the digests of that time are there and valid"
	}
	switch {
	case c.Looked.Before(due):
		return Answer{Status: NotRun, Detail: fmt.Sprintf("the digest that must name it is due by %s; then run `auditcanary seal`", stamp(due))}
	case c.Looked.Before(overdue):
		detail := fmt.Sprintf("no digest names the object, %s; one was due by %s, a backfill digest may come until %s", covered, stamp(due), stamp(overdue))
		return Answer{Status: Late, Hop: Stored, Detail: detail, Evidence: clue("in no digest yet")}
	}
	detail := fmt.Sprintf("no digest names the object, %s; the last was due by %s: the provider has not signed for it", covered, stamp(overdue))
	return Answer{Status: Fail, Hop: Stored, Detail: detail, Evidence: clue("in no digest")}
}

// retentionSlack is how much shorter than demanded a retention may be for the
// time between the bucket's counting it and the object's being there.
const retentionSlack = 5 * time.Minute

// judgeImmutable: can nobody take the object away, and will the next one be as safe?
func judgeImmutable(c Custody) Answer {
	if c.Required.Mode == "" {
		return Answer{Status: NotRun, Detail: notDemanded}
	}
	clue := []Clue{{Source: FromStore, Asked: c.Looked, Found: c.Held.String(), Object: c.At.Object()}}
	if c.Held.Unlocked != "" {
		return Answer{Status: Fail, Hop: Stored, Detail: c.Held.String(), Evidence: clue}
	}
	if weak := append(weakObject(c), weakBucket(c)...); len(weak) > 0 {
		return Answer{Status: Fail, Hop: Stored, Detail: strings.Join(weak, "; "), Evidence: clue}
	}
	if len(c.Held.Unread) > 0 {
		return Answer{Status: Inconclusive, Hop: Stored, Detail: "could not be found out: " + strings.Join(c.Held.Unread, "; "), Evidence: clue}
	}
	return Answer{Status: Pass}
}

// String is what was found, in a line.
func (h Held) String() string {
	switch {
	case h.Unlocked != "" && h.Gone:
		return "the record is gone; " + h.Unlocked
	case h.Unlocked != "":
		return h.Unlocked
	case h.Gone:
		return "the version is not there"
	}
	text := "no retention"
	if h.Mode != "" {
		text = h.Mode + " until " + stamp(h.Until)
	}
	if h.LegalHold {
		text += ", legal hold"
	}
	if h.EventHold {
		text += ", event hold"
	}
	if h.Key != nil {
		text += fmt.Sprintf("; key %s, %s", h.Key.State, h.Key.Origin)
	}
	text += "; bucket: versioning " + cmp.Or(h.Bucket.Versioning, "off") + ", "
	if h.Bucket.DefaultMode == "" {
		text += "no default retention"
	} else {
		text += fmt.Sprintf("default %s for %d days", h.Bucket.DefaultMode, h.Bucket.DefaultDays)
	}
	for _, e := range h.Bucket.Expiring {
		text += fmt.Sprintf(", rule %q expires it after %d days", e.Rule, e.Days)
	}
	if n := len(h.Unread); n > 0 {
		text += fmt.Sprintf("; %d things could not be read", n)
	}
	return text
}

// weakObject lists what is wrong with how the object version itself is held.
func weakObject(c Custody) (weak []string) {
	h, need := c.Held, c.Stored.AddDate(0, 0, c.Required.Days)
	unread := h.unread("retention")
	switch {
	case h.Gone:
		return []string{"the object version that held the record is gone"}
	case c.At.VersionID == "" || c.At.VersionID == "null":
		weak = append(weak, "the object has no version: whoever may write its key may replace it")
	case unread:
	case h.Mode == "" && h.LegalHold:
		weak = append(weak, "the object has a legal hold and no retention: whoever has s3:PutObjectLegalHold may lift it")
	case h.Mode == "" && h.EventHold:
		weak = append(weak, "the object has an event hold and no retention date: until when it is kept is not fixed")
	case h.Mode == "":
		weak = append(weak, "the object has no retention: whoever has s3:DeleteObjectVersion may delete it")
	case h.Mode != Compliance && c.Required.Mode == Compliance:
		weak = append(weak, fmt.Sprintf("the object's retention is %s, demanded is %s: it can be lifted", h.Mode, c.Required.Mode))
	case h.Mode != Compliance && h.Mode != Governance:
		weak = append(weak, fmt.Sprintf("the object's retention mode %q is not known", h.Mode))
	}
	if h.Mode != "" && !unread && !h.Until.After(c.Looked) {
		weak = append(weak, fmt.Sprintf("the object's retention ended on %s: it can be deleted", stamp(h.Until)))
	}
	if h.Mode != "" && !unread && h.Until.Before(need.Add(-retentionSlack)) {
		weak = append(weak, fmt.Sprintf("the object is retained until %s, demanded is %s (%d days after it arrived)", stamp(h.Until), stamp(need), c.Required.Days))
	}
	if k := h.Key; k != nil && !h.unread("key") {
		switch {
		case !k.Deletion.IsZero():
			weak = append(weak, fmt.Sprintf("key %s will be deleted on %s, and the record with it", k.ARN, stamp(k.Deletion)))
		case k.State != "Enabled":
			weak = append(weak, fmt.Sprintf("key %s is %s: the record cannot be read", k.ARN, k.State))
		case k.Origin != "AWS_KMS" && k.Origin != "AWS_CLOUDHSM":
			weak = append(weak, fmt.Sprintf("the material of key %s is of origin %s: it can be deleted at once, and the record with it", k.ARN, k.Origin))
		}
	}
	return weak
}

// weakBucket lists what of the bucket's settings no longer protects what comes next.
func weakBucket(c Custody) (weak []string) {
	b := c.Held.Bucket
	if !c.Held.unread("versioning") && b.Versioning != "Enabled" {
		weak = append(weak, "the bucket's versioning is not enabled: records can be overwritten")
	}
	if !c.Held.unread("default retention") {
		switch {
		case b.DefaultMode == "":
			weak = append(weak, "the bucket gives new objects no retention")
		case b.DefaultMode != Compliance && c.Required.Mode == Compliance, b.DefaultDays < c.Required.Days:
			weak = append(weak, fmt.Sprintf("the bucket gives new objects %s for %d days, demanded is %s for %d", b.DefaultMode, b.DefaultDays, c.Required.Mode, c.Required.Days))
		}
	}
	for _, e := range b.Expiring {
		if e.Days < c.Required.Days {
			weak = append(weak, fmt.Sprintf("lifecycle rule %q hides the object behind a delete marker after %d days, it must stand for %d", e.Rule, e.Days, c.Required.Days))
		}
	}
	return weak
}

// unread reports whether a part could not be found out.
func (h Held) unread(part string) bool {
	for _, u := range h.Unread {
		if strings.HasPrefix(u, part+":") {
			return true
		}
	}
	return false
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }
