package canary

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const (
	aRequest = "1f7a8d3c-0f2a-4c1e-9f00-5f2a3b4c5d6e"
	anEvent  = "7d1c2b3a-9e8f-4a5b-8c7d-6e5f4a3b2c1d"
	aSession = "auditcanary-20261126-abcdef-01"
)

// bridged is a record as EventBridge passes it on.
const bridged = `{"version":"0","id":"ee376907-2647-4179-9203-343cfb3017a4","detail-type":"AWS API Call via CloudTrail","source":"aws.iam","account":"111122223333","time":"2026-11-26T10:00:00Z","region":"us-east-1","resources":[],"detail":{"eventVersion":"1.11","userIdentity":{"type":"AssumedRole","principalId":"AROAEXAMPLE:` + aSession + `","arn":"arn:aws:sts::111122223333:assumed-role/auditcanary-injector/` + aSession + `","sessionContext":{"sourceIdentity":"auditcanary"}},"eventTime":"2026-11-26T10:00:00Z","eventSource":"iam.amazonaws.com","eventName":"CreateRole","requestParameters":{"roleName":"` + aSession + `"},"requestID":"` + aRequest + `","eventID":"` + anEvent + `","readOnly":false}}`

func quoted(s string) string { b, _ := json.Marshal(s); return string(b) }

func TestAnAlertIsKnownByWhatItNamesHoweverItIsWrapped(t *testing.T) {
	enveloped := `{"Type":"Notification","MessageId":"m-1","TopicArn":"arn:aws:sns:us-east-1:111122223333:alerts","Message":` + quoted(bridged) + `}`
	for name, payload := range map[string]string{
		"an event of EventBridge":            bridged,
		"the same in an SNS envelope":        enveloped,
		"that in a queue's body":             `{"Records":[{"body":` + quoted(enveloped) + `}]}`,
		"a string of JSON in a string":       quoted(quoted(bridged)),
		"two documents, one after the other": `{"a":1}` + "\n" + bridged,
		"cut off":                            bridged[:len(bridged)-20],
		"an envelope that is cut off":        enveloped[:len(enveloped)-12],
		"with a byte order mark":             "\ufeff" + bridged,
		"a PagerDuty event":                  `{"event_action":"trigger","dedup_key":"x","payload":{"summary":"CreateRole","custom_details":` + bridged + `}}`,
		"text":                               "Privileged call CreateRole by " + aSession + " (requestID: " + aRequest + ", eventID=" + anEvent + ").",
		"markdown":                           "**Request ID:** `x` *request id*: " + aRequest + "\n**Event ID** " + anEvent + "\n" + aSession,
		"keys of a log platform":             `{"@request_id":"` + aRequest + `","event":{"id":"` + anEvent + `"},"user":"` + aSession + `"}`,
		"an OCSF event":                      `{"api":{"request":{"uid":"` + aRequest + `"}},"metadata":{"uid":"` + anEvent + `"},"actor":{"session":{"name":"` + aSession + `"}}}`,
		"lists":                              `{"request_ids":["` + aRequest + `"],"eventIDs":["` + anEvent + `"],"names":["` + aSession + `"]}`,
		"a key that is there twice":          `{"requestID":"` + aRequest + `","requestID":"other","eventID":"` + anEvent + `","s":"` + aSession + `"}`,
		"deep":                               strings.Repeat(`{"a":`, 100) + bridged + strings.Repeat(`}`, 100),
		"many tokens before":                 `{"x":[` + strings.Repeat("1,", maxTokens) + `1],"d":` + bridged + `}`,
	} {
		var r Rang
		r.Name([]byte(payload))
		if !slices.Contains(r.RequestIDs, aRequest) || !slices.Contains(r.EventIDs, anEvent) || !slices.Contains(r.Sessions, aSession) {
			t.Errorf("%s: names requests %q, events %q, sessions %q", name, r.RequestIDs, r.EventIDs, r.Sessions)
		}
	}
}

func TestTheKeyByWhichRepeatsAreToldMayBeEither(t *testing.T) {
	for _, key := range []string{"dedup_key", "dedupKey", "incident_key", "alias", "correlation_id"} {
		var r Rang
		r.Name(fmt.Appendf(nil, `{"payload":{"%s":"%s"}}`, key, aRequest))
		if !slices.Contains(r.RequestIDs, aRequest) || !slices.Contains(r.EventIDs, aRequest) {
			t.Errorf("%s: names requests %q, events %q", key, r.RequestIDs, r.EventIDs)
		}
	}
}

func TestWhatNamesNoEventNamesNothing(t *testing.T) {
	for name, payload := range map[string]string{
		"an alarm":                   `{"AlarmName":"root-logins","NewStateValue":"ALARM","id":"5","detail":{"uid":"x"}}`,
		"an id of another thing":     `{"detail":{"id":"` + aRequest + `"},"request":{"id":7},"event":{"id":null}}`,
		"an id that is none":         `{"requestID":"` + strings.Repeat("a", maxNameLength+1) + `","eventID":"a b","request_id":{"x":"y"}}`,
		"a session of another's":     `{"s":"xauditcanary-1 my-auditcanary-2 auditcanary auditcanary-"}`,
		"an id that is a word's end": "the event identity of preevent ideas",
		"nothing":                    "",
		"no text":                    "\x00\xff\xfe{\"requestID",
	} {
		var r Rang
		r.Name([]byte(payload))
		if len(r.RequestIDs)+len(r.EventIDs)+len(r.Sessions) != 0 {
			t.Errorf("%s: names requests %q, events %q, sessions %q", name, r.RequestIDs, r.EventIDs, r.Sessions)
		}
	}
}

func TestAPayloadIsKeptInPartAndHashedWhole(t *testing.T) {
	payload := []byte(bridged + strings.Repeat(" ", MaxPayload))
	var r Rang
	r.Name(payload)
	payload[0] = 'X'
	if len(r.Payload) != MaxPayload || r.Payload[0] != '{' {
		t.Errorf("%d bytes kept, beginning %q", len(r.Payload), r.Payload[0])
	}
	if r.SHA256 == "" || !slices.Equal(r.RequestIDs, []string{aRequest}) {
		t.Errorf("hash %q, requests %q", r.SHA256, r.RequestIDs)
	}
	r.Name([]byte(`{}`))
	if len(r.RequestIDs) != 0 || string(r.Payload) != "{}" {
		t.Errorf("of the payload before, %q is left", r.RequestIDs)
	}
}

func TestThatAPayloadNamesMoreThanIsKeptIsSaid(t *testing.T) {
	records := func(n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(`{"requestID":"req-%d","eventID":"event-%d"}`, i%maxNames, i))
		}
		return "[" + strings.Join(all, ",") + "]"
	}
	for _, tc := range []struct {
		claim, payload string
		more           bool
	}{
		{"as many as are kept", records(maxNames), false},
		{"one more", records(maxNames + 1), true},
		{"one more, in text", strings.Trim(records(maxNames+1), "["), true},
		{"more than are looked for in text", "requestID=req-one " + strings.Repeat("eventID=event-1 ", 4*maxNames) + "requestID=req-two", true},
		{"more sessions", func() (s string) {
			for i := range maxNames + 1 {
				s += fmt.Sprintf(" %s-%d", Marker, i)
			}
			return s
		}(), true},
		{"the same often", strings.Repeat(`{"requestID":"req-1"}`, 2*maxNames), false},
		{"larger than is read", records(2) + strings.Repeat(" ", maxNamed), true},
		{"deeper than is read", strings.Repeat(`{"a":`, 100) + bridged + strings.Repeat(`}`, 100), true},
		{"more tokens than are read", `{"x":[` + strings.Repeat("1,", maxTokens) + `1],"d":` + bridged + `}`, true},
		{"kept in part only", bridged + strings.Repeat(" ", MaxPayload), false},
	} {
		var r Rang
		if r.Name([]byte(tc.payload)); r.More != tc.more {
			t.Errorf("%s: more %v, named are %d requests, %d events, %d sessions", tc.claim, r.More, len(r.RequestIDs), len(r.EventIDs), len(r.Sessions))
		}
		if r.Name([]byte(`{}`)); r.More {
			t.Errorf("%s: of the payload before, it is left that it names more", tc.claim)
		}
	}
}

// FuzzName: whatever the payload, what is kept is bounded, fits an entry, and the same
// names are found once more.
func FuzzName(f *testing.F) {
	f.Add([]byte(bridged))
	f.Add([]byte(quoted(quoted(bridged))))
	f.Add([]byte(`{"a":[{"requestID":["x","y",{"eventID":"` + anEvent + `"}]},"` + aSession + `"]`))
	f.Add([]byte(`]}{[`))
	f.Add([]byte("request id: " + strings.Repeat("a-", 100) + " \xff"))
	f.Add([]byte(strings.Repeat(`{"request_id":"\"`, 70)))
	f.Fuzz(func(t *testing.T, payload []byte) {
		var r, again Rang
		r.Name(payload)
		for _, names := range [][]string{r.RequestIDs, r.EventIDs, r.Sessions} {
			if len(names) > maxNames {
				t.Fatalf("%d names", len(names))
			}
			for _, name := range names {
				if len(name) > maxNameLength || !anID().MatchString(name) {
					t.Fatalf("name %q", name)
				}
			}
		}
		entry, err := json.Marshal(r)
		if err != nil || len(entry) > 60_000 {
			t.Fatalf("%d bytes, %v", len(entry), err)
		}
		again.Name(payload)
		if !reflect.DeepEqual(r, again) {
			t.Fatal("read twice, it names something else")
		}
	})
}
