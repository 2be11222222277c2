package event

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// MaxRecord is the size in bytes above which a raw record is refused unread.
// CloudTrail's own limit is 256 KB an event.
const MaxRecord = 1 << 20

// ReadCloudTrail reads one CloudTrail record, a JSON object of eventVersion 1.x
// as it stands in the "Records" of a log file.
//
// It is total: any bytes give an event or an error, never a panic. Unknown
// fields are ignored. A field of the wrong type is left unstated and named in
// Metadata.Unreadable; the rest of the record is still read. Invalid UTF-8
// (the provider cuts long fields at a byte, not at a character) reads as U+FFFD.
//
// It is an error if raw is larger than MaxRecord, is not one JSON object, holds a
// name twice in one object, holds two names that differ only in case in the
// envelope or the identity (parsers disagree on which of two counts, so a reader
// that picked one could be made to see another actor than the next reader), has
// an eventVersion other than 1.x, or holds no CloudTrail field at all.
//
// Source of the fields: CloudTrail user guide, "record contents" and
// "userIdentity element", eventVersion 1.11.
func ReadCloudTrail(raw []byte) (Event, error) {
	if len(raw) > MaxRecord {
		return Event{}, fmt.Errorf("cloudtrail record: %d bytes, more than the %d allowed", len(raw), MaxRecord)
	}
	var members map[string]any
	if err := json.Unmarshal(raw, &members, jsontext.AllowInvalidUTF8(true)); err != nil {
		return Event{}, fmt.Errorf("cloudtrail record: %w", err)
	}
	if members == nil {
		return Event{}, errors.New("cloudtrail record: null instead of a JSON object")
	}
	var unreadable []string
	record := object{members: members, unreadable: &unreadable}
	identity := record.object("userIdentity")
	session := identity.object("sessionContext")
	issuer := session.object("sessionIssuer")
	attributes := session.object("attributes")
	for _, o := range []object{record, identity, session, issuer, attributes} {
		if a, b, found := o.twins(); found {
			return Event{}, fmt.Errorf("cloudtrail record: names %q and %q differ only in case", o.path(a), o.path(b))
		}
	}
	if !record.hasAny("eventName", "eventSource", "eventID", "eventTime", "userIdentity") {
		return Event{}, errors.New("cloudtrail record: none of eventName, eventSource, eventID, eventTime, userIdentity: not a CloudTrail record")
	}

	e := Event{
		Time: record.time("eventTime"),
		Metadata: Metadata{
			UID:        record.text("eventID"),
			LogName:    "cloudtrail",
			LogVersion: record.text("eventVersion"),
			EventCode:  record.text("eventType"),
			Category:   record.text("eventCategory"),
			SharedUID:  record.text("sharedEventID"),
		},
		Cloud: Cloud{
			Provider: "AWS",
			Account:  record.text("recipientAccountId"),
			Region:   record.text("awsRegion"),
		},
		Actor: Actor{
			Type:          identity.text("type"),
			UIDAlt:        identity.text("principalId"),
			Name:          identity.text("userName"),
			Account:       identity.text("accountId"),
			CredentialUID: identity.text("accessKeyId"),
			InvokedBy:     identity.text("invokedBy"),
			IDP:           identity.text("identityProvider"),
			OnBehalfOf:    identity.object("onBehalfOf").text("userId"),
			Session: Session{
				Issuer:         issuer.text("arn"),
				SourceIdentity: session.text("sourceIdentity"),
				Created:        attributes.time("creationDate"),
				MFA:            attributes.boolean("mfaAuthenticated"),
			},
		},
		API: API{
			Service:      record.text("eventSource"),
			Operation:    record.text("eventName"),
			RequestUID:   record.text("requestID"),
			Request:      record.object("requestParameters").members,
			Response:     record.object("responseElements").members,
			ReadOnly:     record.boolean("readOnly"),
			Error:        record.text("errorCode"),
			ErrorMessage: record.text("errorMessage"),
		},
		HTTPRequest: HTTPRequest{UserAgent: record.text("userAgent")},
	}
	if v := e.Metadata.LogVersion; v != "" {
		switch major, _, err := schemaVersion(v); {
		case err != nil:
			unreadable = append(unreadable, "eventVersion")
		case major != 1:
			return Event{}, fmt.Errorf("cloudtrail record: eventVersion %.20q: only version 1.x is known", v)
		}
	}
	arn := identity.text("arn")
	e.Actor.UID = mostExactName(e.Actor, arn)
	e.Actor.Session.Name = sessionName(e.Actor, arn)
	if from := record.text("sourceIPAddress"); from != "" {
		if addr, err := netip.ParseAddr(from); err == nil && addr.Zone() == "" {
			e.SrcEndpoint.IP = from
		} else {
			e.SrcEndpoint.Domain = from
		}
	}
	if a := record.object("addendum"); a.members != nil {
		e.Metadata.Amends = &Amendment{
			Reason:             a.text("reason"),
			UpdatedFields:      a.text("updatedFields"),
			OriginalUID:        a.text("originalEventID"),
			OriginalRequestUID: a.text("originalRequestID"),
		}
	}
	for _, o := range []object{record, record.object("requestParameters"), record.object("responseElements"), record.object("additionalEventData")} {
		if o.members["omitted"] == true {
			e.Metadata.Truncated = true
		}
	}
	for _, r := range record.objects("resources") {
		e.Resources = append(e.Resources, Resource{
			UID:     r.text("ARN"),
			Type:    r.text("type"),
			Account: r.text("accountId"),
		})
	}
	slices.Sort(unreadable)
	e.Metadata.Unreadable = slices.Compact(unreadable)
	return e, nil
}

// schemaVersion splits an eventVersion. Both halves are numbers: 1.08 is minor
// version 8 and lies before 1.11.
func schemaVersion(v string) (major, minor int, err error) {
	a, b, ok := strings.Cut(v, ".")
	if !ok {
		return 0, 0, fmt.Errorf("eventVersion %.20q: not major.minor", v)
	}
	if major, err = strconv.Atoi(a); err != nil {
		return 0, 0, fmt.Errorf("eventVersion %.20q: %w", v, err)
	}
	if minor, err = strconv.Atoi(b); err != nil {
		return 0, 0, fmt.Errorf("eventVersion %.20q: %w", v, err)
	}
	return major, minor, nil
}

// mostExactName is who acted. Not every identity has an ARN: a service has only
// its name (invokedBy), another account's principal an id and an account, a web
// or SAML identity an id and a user name, an Identity Center user a user id, and
// an anonymous S3 request nothing but accountId "ANONYMOUS_PRINCIPAL".
func mostExactName(a Actor, arn string) string {
	if arn != "" {
		return arn
	}
	switch a.Type {
	case "AWSService":
		if a.InvokedBy != "" {
			return a.InvokedBy
		}
	case "IdentityCenterUser":
		if a.OnBehalfOf != "" {
			return a.OnBehalfOf
		}
	}
	for _, name := range []string{a.UIDAlt, a.Name, a.Account, a.InvokedBy, a.OnBehalfOf} {
		if name != "" {
			return name
		}
	}
	return ""
}

// sessionName is the name that the caller gave the session:
// arn:aws:sts::ACCOUNT:assumed-role/ROLE/NAME, arn:aws:sts::ACCOUNT:federated-user/NAME,
// or, without an ARN, the principal id's part after the colon.
func sessionName(a Actor, arn string) string {
	if _, rest, ok := strings.Cut(arn, ":assumed-role/"); ok {
		_, name, _ := strings.Cut(rest, "/")
		return name
	}
	if _, name, ok := strings.Cut(arn, ":federated-user/"); ok {
		return name
	}
	if arn == "" && (a.Type == "AssumedRole" || a.Type == "FederatedUser") {
		_, name, _ := strings.Cut(a.UIDAlt, ":")
		return name
	}
	return ""
}

// object reads the members of a JSON object. The zero members (absent, null or
// not an object) has none. Values of another type than asked for are noted in
// unreadable under their dotted name.
type object struct {
	name       string
	members    map[string]any
	unreadable *[]string
}

func (o object) path(name string) string {
	if o.name == "" {
		return name
	}
	return o.name + "." + name
}

func (o object) wrong(name string) { *o.unreadable = append(*o.unreadable, o.path(name)) }

func (o object) hasAny(names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { _, ok := o.members[n]; return ok })
}

// twins finds two names that differ only in case.
func (o object) twins() (a, b string, found bool) {
	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(o.members)) {
		folded := fold(name)
		if first, ok := seen[folded]; ok {
			return first, name, true
		}
		seen[folded] = name
	}
	return "", "", false
}

// fold maps names that a case-insensitive parser takes for one to one string.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return least
	}, name)
}

func (o object) text(name string) string {
	switch v := o.members[name].(type) {
	case nil:
		return ""
	case string:
		return v
	default:
		o.wrong(name)
		return ""
	}
}

// boolean reads true and "true": CloudTrail writes readOnly as the one and
// mfaAuthenticated as the other.
func (o object) boolean(name string) *bool {
	switch v := o.members[name].(type) {
	case nil:
		return nil
	case bool:
		return &v
	case string:
		if v == "true" || v == "false" {
			b := v == "true"
			return &b
		}
	}
	o.wrong(name)
	return nil
}

// timeLayouts are CloudTrail's own, the one its documentation shows for session
// creation dates, and the one lake and warehouse exports rewrite it to (UTC).
var timeLayouts = [...]string{time.RFC3339, "20060102T150405Z", "2006-01-02 15:04:05"}

func (o object) time(name string) time.Time {
	s := o.text(name)
	if s == "" {
		return time.Time{}
	}
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC()
		}
	}
	o.wrong(name)
	return time.Time{}
}

func (o object) object(name string) object {
	sub := object{name: o.path(name), unreadable: o.unreadable}
	switch v := o.members[name].(type) {
	case nil:
	case map[string]any:
		sub.members = v
	default:
		o.wrong(name)
	}
	return sub
}

func (o object) objects(name string) []object {
	list, ok := o.members[name].([]any)
	if !ok {
		if o.members[name] != nil {
			o.wrong(name)
		}
		return nil
	}
	var out []object
	for i, v := range list {
		m, ok := v.(map[string]any)
		if !ok {
			o.wrong(fmt.Sprintf("%s[%d]", name, i))
			continue
		}
		out = append(out, object{name: fmt.Sprintf("%s[%d]", o.path(name), i), members: m, unreadable: o.unreadable})
	}
	return out
}
