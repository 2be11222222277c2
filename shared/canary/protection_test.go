package canary

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/event"
)

// attempted is a canary whose one call must be denied, between two looks at a lock.
func attempted() *one {
	o := proven(MustBeDenied)
	look := Reading{Call: Call{Operation: "x:GetLock"}, RequestIDs: []string{"look"}, Outcome: Outcome{Result: Succeeded}, Reply: json.RawMessage(`{"Locked":true}`)}
	o.s.Steps[0].Protection = []Protection{{Read: "x:GetLock", Expect: []string{"reply.Locked"}}}
	o.ev.Intents[0].Undo = nil
	o.ev.Inspections = []Inspection{
		{Step: "create", When: Before, Attempt: 1, Readings: []Reading{look}},
		{Step: "create", When: After, Attempt: 1, Readings: []Reading{look}},
	}
	return o
}

func TestAnAttemptIsJudgedByTheAnswerAndByTheState(t *testing.T) {
	for _, tt := range []struct {
		claim string
		spoil func(o *one)
		check Check
		want  Status
		say   string
	}{
		{"as it must be", func(*one) {}, Injected, Pass, ""},
		{"attempted, and nobody looked before", func(o *one) { o.ev.Inspections = o.ev.Inspections[1:] }, Injected, Inconclusive, "does not say what protected the thing before"},
		{"attempted although the lock was open", func(o *one) { o.ev.Inspections[0].Readings[0].Unmet = "reply.Locked" }, Injected, Fail, "the protection is absent"},
		{"only one of two looks before", func(o *one) {
			o.s.Steps[0].Protection = append(o.s.Steps[0].Protection, Protection{Read: "x:GetOther"})
		}, Injected, Inconclusive, "was not read whole"},
		{"nobody looked again", func(o *one) { o.ev.Inspections = o.ev.Inspections[:1] }, Injected, Inconclusive, "interrupted before the protection was read again"},
		{"allowed, and nobody looked again", func(o *one) {
			o.ev.Inspections = o.ev.Inspections[:1]
			o.ev.Receipts[0].Outcome = Outcome{Result: Succeeded}
		}, Injected, Fail, "was allowed"},
		{"refused, and one look was not made again", func(o *one) { o.ev.Inspections[1].Readings = nil }, Injected, Inconclusive, "was not read again"},
		{"a reply that is none", func(o *one) { o.ev.Inspections[1].Readings[0].Reply = []byte("x") }, Injected, Inconclusive, "is no JSON object"},
		{"equal, but no longer holding", func(o *one) { o.ev.Inspections[1].Readings[0].Unmet = "reply.Locked" }, Injected, Fail, "no longer holds"},
		{"stood, and then the run died", func(o *one) {
			o.ev.Intents, o.ev.Receipts, o.ev.Inspections = nil, nil, o.ev.Inspections[:1]
		}, Injected, Inconclusive, "never begun"},

		{"a data event is missing", func(o *one) {
			o.ev.Receipts[0].DataEvent, o.seen.Sightings, o.seen.AsOf = true, nil, t0.Add(2*time.Hour)
			o.seen.History = map[string]HistoryAnswer{"req-1": {Asked: t0}} // must not be taken for an answer
		}, Surfaced, Fail, "where it was lost is unknown: it is a data event"},
		{"a data event is wrong", func(o *one) {
			o.ev.Receipts[0].DataEvent = true
			o.seen.Sightings[0].Event.Actor.UID = "somebody"
			o.seen.History = map[string]HistoryAnswer{"req-1": {Asked: t0}}
		}, Attributed, Fail, "where it was changed is unknown: it is a data event"},
	} {
		o := attempted()
		tt.spoil(o)
		if a := o.judge().Checks[tt.check]; a.Status != tt.want || !strings.Contains(a.Detail, tt.say) || a.Hop != "" {
			t.Errorf("%s: %+v, want %s %q", tt.claim, a, tt.want, tt.say)
		}
	}
}

// What was answered with success, and is judged by state, must be recorded as refused;
// not as anything else, and not as refused for want of a right of its own.
func TestTheRecordOfWhatIsJudgedByState(t *testing.T) {
	for _, tt := range []struct {
		claim, error, message string
		params                map[string]any
		want                  Status
	}{
		{"recorded as a success: nobody says that it was refused", "", "", map[string]any{"name": "x"}, Inconclusive},
		{"recorded as refused, without its parameters", "AccessDenied", "explicit deny in a service control policy", nil, Pass},
		{"recorded as another error", "ThrottlingException", "slow down", map[string]any{"name": "x"}, Fail},
		{"recorded as refused for want of a right of its own", "AccessDenied", "because no identity-based policy allows it", nil, Inconclusive},
		{"recorded as a success, without its parameters", "", "", nil, Fail},
		{"recorded with other parameters", "", "", map[string]any{"name": "y"}, Fail},
	} {
		o := attempted()
		o.s.Steps[0].ByState = "it answers with success whatever it does"
		r := &o.ev.Receipts[0]
		r.Outcome, r.Want.API.Error, r.Want.API.Request = Outcome{Result: Succeeded}, "", map[string]any{"Name": "x"}
		e := &o.seen.Sightings[0].Event
		e.Metadata.LogName = "cloudtrail"
		e.API.Error, e.API.ErrorMessage, e.API.Request = tt.error, tt.message, tt.params
		v := o.judge()
		if a := v.Checks[Injected]; a.Status != Pass || !strings.Contains(a.Detail, "refused (by state)") {
			t.Errorf("%s: injected %+v", tt.claim, a)
		}
		if a := v.Checks[Attributed]; a.Status != tt.want {
			t.Errorf("%s: attributed %+v, want %s", tt.claim, a, tt.want)
		}
		// The same record of a step that is judged by its answer is a difference.
		o.s.Steps[0].ByState = ""
		if a := o.judge().Checks[Attributed]; tt.error != "" && a.Status != Fail {
			t.Errorf("%s, judged by the answer: %+v", tt.claim, a)
		}
	}
	if byState(Scenario{Steps: []Step{{ID: "create", ByState: "x"}}}, Receipt{Step: "create", Phase: PhaseUndo, Outcome: Outcome{Result: Succeeded}}, event.Event{API: event.API{Error: "AccessDenied"}}) != nil {
		t.Error("an undo is not judged by state")
	}
}

func TestRecallPutsInWhatWasRead(t *testing.T) {
	read := []Reading{
		{Reply: []byte(`{"Policy":"{\"a\":\"${aws:username}\"}","Rules":[{"ID":"r","Days":7}],"N":3}`)},
		{Reply: []byte(`{"Until":"2027-01-02T03:04:05.5Z","Policy":"second"}`)},
	}
	for _, tt := range []struct {
		in   any
		want any
		err  string
	}{
		{"${protection.Policy}", `{"a":"${aws:username}"}`, ""}, // the first that has it, and nothing in it is a reference
		{"${protection.Rules}", []any{map[string]any{"ID": "r", "Days": 7.0}}, ""},
		{"${protection.Rules.0.ID}", "r", ""},
		{"${protection.Until-1s}", "2027-01-02T03:04:04.5Z", ""},
		{"a-${protection.N}-${protection.Rules.0.ID}", "a-3-r", ""},
		{map[string]any{"A": []any{"${protection.N}", true, 1.0}}, map[string]any{"A": []any{3.0, true, 1.0}}, ""},
		{"${aws:username}", "${aws:username}", ""},
		{"${protection.None}", nil, "no reply that was read before has it"},
		{"${protection.Rules.1}", nil, "no reply"},
		{"${protection.Rules.x}", nil, "no reply"},
		{"${protection.Policy-1s}", nil, "cannot parse"},
		{"${protection.Until-soon}", nil, "invalid duration"},
		{"${protection.Until", nil, "is not closed"},
		{[]any{map[string]any{"B": "${protection.None}"}}, nil, "no reply"},
	} {
		got, err := Recall(tt.in, read)
		if tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) || tt.err == "" && (err != nil || !reflect.DeepEqual(got, tt.want)) {
			t.Errorf("%v: %v, %v; want %v %s", tt.in, got, err, tt.want, tt.err)
		}
	}
}

// FuzzRecall: whatever a service replies and a scenario refers to, there is a value or
// an error, and a string without a reference is left alone.
func FuzzRecall(f *testing.F) {
	for _, s := range []string{"${protection.A}", "x${protection.A.0-1s}y", "${protection.", "$${protection.A}", "${other}"} {
		f.Add(s, `{"A":["2027-01-02T03:04:05Z",{"B":null}]}`)
	}
	f.Add("${protection.A-1h}", `{"A":"2027-01-02T03:04:05Z"}`)
	f.Add("${protection.A}", `{"A":`)
	f.Fuzz(func(t *testing.T, s, reply string) {
		got, err := Recall(s, []Reading{{Reply: json.RawMessage(reply)}})
		if !strings.Contains(s, "${protection.") && (err != nil || got != s) {
			t.Errorf("%q became %v, %v", s, got, err)
		}
		if err == nil && got == nil {
			t.Errorf("%q became nothing", s)
		}
	})
}

func TestAChangeIsNamed(t *testing.T) {
	for _, tt := range []struct{ was, is, want string }{
		{`{"A":{"B":true}}`, `{"A":{"B":false}}`, "A.B was true and is false"},
		{`{"A":{"B":true}}`, `{"A":{}}`, "A.B was true and is not there"},
		{`{"A":{}}`, `{"A":{"B":true}}`, "A.B was not there and is true"},
		{`{"V":[{"I":"1"},{"I":"2"}]}`, `{"V":[{"I":"1"},{"I":"3"}]}`, `V.1.I was "2" and is "3"`},
		{`{"V":["1"]}`, `{"V":["0","1"]}`, `V was ["1"] and is ["0","1"]`},
	} {
		var was, is any
		if json.Unmarshal([]byte(tt.was), &was) != nil || json.Unmarshal([]byte(tt.is), &is) != nil {
			t.Fatal(tt)
		}
		if got := change(was, is, ""); got != tt.want {
			t.Errorf("%s to %s: %s, want %s", tt.was, tt.is, got, tt.want)
		}
	}
	if got := shown(strings.Repeat("é", 400)); len(got) > 210 || !strings.HasSuffix(got, "...") {
		t.Errorf("a long value: %d bytes", len(got))
	}
}
