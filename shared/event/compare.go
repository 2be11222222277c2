package event

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Tolerance is how far two honest clocks may lie apart.
type Tolerance struct {
	// Before and After bound got.Time relative to want.Time.
	Before, After time.Duration
}

// Difference is one field in which a record does not say what we know.
type Difference struct {
	// Field is the dotted name as AttributionFields lists it. Under api.request it
	// goes on in the API's own spelling, as the parameters were sent:
	// "api.request.IpPermissions[0].FromPort".
	Field string `json:"field"`
	// Expected is what the receipt says, Found what the record says ("" = absent);
	// what is no text is given as JSON. Both are cut at 1 KB, the comparison is not.
	Expected string `json:"expected"`
	Found    string `json:"found"`
	// Rule names the known provider behaviour that explains the difference;
	// "" means nothing explains it: the record is wrong.
	Rule string `json:"rule,omitempty"`
}

// Compare holds the record got against want, which was built from the receipt
// of the call, and returns every attribution field in which they differ, in the
// order of AttributionFields; none if the record says what we know.
//
// A field that want does not state is not compared, with one exception: no error
// in want states success, so an error in got is a difference. A field that want
// states and got lacks is a difference with Found "". Under api.request every
// leaf parameter of want must be in got with the same value, in whatever
// spelling and nesting the log records it (see params.go); got may hold more
// members (defaults), but not more elements in a list.
//
// A difference that is known behaviour of the provider has its Rule set (see
// NamedDifferences); it is up to the caller to count it as explained.
func Compare(want, got Event, tol Tolerance) []Difference {
	var out []Difference
	for _, a := range attributes {
		for _, m := range a.compare(a.field, &want, &got, tol) {
			out = append(out, Difference{
				Field:    m.field,
				Expected: cut(m.expected),
				Found:    cut(m.found),
				Rule:     explain(&want, &got, m),
			})
		}
	}
	return out
}

// AttributionFields lists the fields that Compare compares. "api.request" stands
// for itself (all parameters missing) and for every parameter below it.
func AttributionFields() []string {
	var out []string
	for _, a := range attributes {
		out = append(out, a.field)
	}
	return out
}

// mismatch is a difference before it is explained and cut.
type mismatch struct {
	field           string
	expected, found string
	absent          bool // the record does not have the field at all
}

// attribute is one line of the table: how a field of two events is compared.
type attribute struct {
	field   string
	compare func(field string, want, got *Event, tol Tolerance) []mismatch
}

var attributes = [...]attribute{
	{"metadata.event_code", name(func(e *Event) string { return e.Metadata.EventCode })},
	{"cloud.account", name(func(e *Event) string { return e.Cloud.Account })},
	{"cloud.region", name(func(e *Event) string { return e.Cloud.Region })},
	{"actor.type", name(func(e *Event) string { return e.Actor.Type })},
	{"actor.uid", name(func(e *Event) string { return e.Actor.UID })},
	{"actor.uid_alt", name(func(e *Event) string { return e.Actor.UIDAlt })},
	{"actor.account", name(func(e *Event) string { return e.Actor.Account })},
	{"actor.credential_uid", name(func(e *Event) string { return e.Actor.CredentialUID })},
	{"actor.session.issuer", name(func(e *Event) string { return e.Actor.Session.Issuer })},
	{"actor.session.name", name(func(e *Event) string { return e.Actor.Session.Name })},
	{"actor.session.source_identity", name(func(e *Event) string { return e.Actor.Session.SourceIdentity })},
	{"actor.session.is_mfa", truth(func(e *Event) *bool { return e.Actor.Session.MFA })},
	{"api.service", name(func(e *Event) string { return e.API.Service })},
	{"api.operation", name(func(e *Event) string { return e.API.Operation })},
	{"api.request_uid", name(func(e *Event) string { return e.API.RequestUID })},
	{"api.read_only", truth(func(e *Event) *bool { return e.API.ReadOnly })},
	{"api.error", compareResult},
	{"api.request", compareRequest},
	{"src_endpoint.ip", compareAddress},
	{"http_request.user_agent", name(func(e *Event) string { return e.HTTPRequest.UserAgent })},
	{"time", compareTime},
}

func name(of func(*Event) string) func(string, *Event, *Event, Tolerance) []mismatch {
	return func(field string, want, got *Event, _ Tolerance) []mismatch {
		w, g := of(want), of(got)
		if w == "" || w == g {
			return nil
		}
		return []mismatch{{field: field, expected: w, found: g, absent: g == ""}}
	}
}

func truth(of func(*Event) *bool) func(string, *Event, *Event, Tolerance) []mismatch {
	return func(field string, want, got *Event, _ Tolerance) []mismatch {
		w, g := of(want), of(got)
		switch {
		case w == nil, g != nil && *w == *g:
			return nil
		case g == nil:
			return []mismatch{{field: field, expected: strconv.FormatBool(*w), absent: true}}
		}
		return []mismatch{{field: field, expected: strconv.FormatBool(*w), found: strconv.FormatBool(*g)}}
	}
}

func compareResult(field string, want, got *Event, _ Tolerance) []mismatch {
	if want.API.Error == got.API.Error {
		return nil
	}
	return []mismatch{{field: field, expected: want.API.Error, found: got.API.Error, absent: got.API.Error == ""}}
}

// compareAddress accepts any address of want's list. An entry of the list that is
// neither an address nor a prefix matches nothing: a mistake there cannot pass.
func compareAddress(field string, want, got *Event, _ Tolerance) []mismatch {
	if want.SrcEndpoint.IP == "" {
		return nil
	}
	found := got.SrcEndpoint.IP
	if addr, err := netip.ParseAddr(found); err == nil {
		addr = addr.Unmap()
		for entry := range strings.SplitSeq(want.SrcEndpoint.IP, ",") {
			entry = strings.TrimSpace(entry)
			if a, err := netip.ParseAddr(entry); err == nil && a.Unmap() == addr {
				return nil
			}
			if p, err := netip.ParsePrefix(entry); err == nil && p.Contains(addr) {
				return nil
			}
		}
	}
	if found == "" {
		found = got.SrcEndpoint.Domain
	}
	return []mismatch{{field: field, expected: want.SrcEndpoint.IP, found: found, absent: found == ""}}
}

func compareTime(field string, want, got *Event, tol Tolerance) []mismatch {
	if want.Time.IsZero() {
		return nil
	}
	m := mismatch{field: field, expected: want.Time.UTC().Format(time.RFC3339)}
	if got.Time.IsZero() {
		m.absent = true
		return []mismatch{m}
	}
	if got.Time.Before(want.Time.Add(-tol.Before)) || got.Time.After(want.Time.Add(tol.After)) {
		m.found = got.Time.UTC().Format(time.RFC3339)
		return []mismatch{m}
	}
	return nil
}

// maxShown bounds what a Difference quotes of a record, which is anybody's text.
const maxShown = 1024

func cut(s string) string {
	if len(s) <= maxShown {
		return s
	}
	end := maxShown - len("…")
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}
