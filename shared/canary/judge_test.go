package canary

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/event"
)

var (
	t0  = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	slo = SLO{Pass: 15 * time.Minute, Late: time.Hour, Amend: 24 * time.Hour, Clock: 2 * time.Minute}
)

// one is a canary of one step with everything as it should be; tests break it.
type one struct {
	s    Scenario
	c    Canary
	ev   Evidence
	seen Seen
}

func proven(kind Kind) *one {
	c := Canary{ID: "20261122-abcdef-01", Run: "20261122-abcdef", Scenario: "aws/x", Target: Target{Provider: "aws", Account: "111122223333", Region: "us-east-1"}}
	call := Call{Operation: "iam:CreateRole", Region: "us-east-1", Params: map[string]any{"RoleName": "auditcanary-20261122-abcdef-01"}}
	undo := Call{Operation: "iam:DeleteRole", Region: "us-east-1", Gone: []string{"NoSuchEntity"}}
	want := event.Event{
		Time:     t0,
		Metadata: event.Metadata{EventCode: "AwsApiCall"},
		Cloud:    event.Cloud{Provider: "AWS", Account: "111122223333", Region: "us-east-1"},
		Actor: event.Actor{
			Type: "AssumedRole", UID: "arn:aws:sts::111122223333:assumed-role/inj/auditcanary-20261122-abcdef-01",
			Account: "111122223333", Session: event.Session{Issuer: "arn:aws:iam::111122223333:role/inj", Name: "auditcanary-20261122-abcdef-01", SourceIdentity: "auditcanary"},
		},
		API:         event.API{Service: "iam.amazonaws.com", Operation: "CreateRole", RequestUID: "req-1"},
		SrcEndpoint: event.Endpoint{IP: "192.0.2.7"},
	}
	outcome := Outcome{Result: Succeeded}
	switch kind {
	case MustBeDenied:
		outcome = Outcome{Result: Refused, Code: "AccessDenied"}
	case DryRun:
		outcome = Outcome{Result: Failed, Code: "DryRunOperation"}
	}
	want.API.Error = outcome.Code
	got := want
	got.Metadata.UID = "event-1"
	o := &one{
		s: Scenario{ID: "aws/x", Kind: kind, Steps: []Step{{ID: "create", Call: "iam:CreateRole"}}},
		c: c,
		ev: Evidence{
			Intents: []Intent{{Step: "create", Phase: PhaseDo, Attempt: 1, Call: call, Undo: &undo}},
			Receipts: []Receipt{{
				Canary: c.ID, Step: "create", Phase: PhaseDo, Attempt: 1, Call: call,
				Started: t0.Add(-time.Second), Ended: t0, RequestIDs: []string{"req-1"}, Outcome: outcome, Want: want,
			}},
			Cleanup: Cleanup{Listed: t0.Add(time.Minute)},
		},
		seen: Seen{
			AsOf:      t0.Add(10 * time.Minute),
			Sightings: []Sighting{{Event: got, Raw: []byte(`{}`), At: Location{Store: "central", Bucket: "b", Key: "k"}, Stored: t0.Add(5 * time.Minute)}},
		},
	}
	if kind == DoneAndUndone || kind == Decoy {
		o.ev.Intents = append(o.ev.Intents, Intent{Step: "create", Phase: PhaseUndo, Attempt: 1, Call: undo})
		o.ev.Receipts = append(o.ev.Receipts, Receipt{Step: "create", Phase: PhaseUndo, Attempt: 1, Call: undo, RequestIDs: []string{"req-2"}, Outcome: Outcome{Result: Succeeded}})
	}
	return o
}

// loseReply: the call had its effect, but nobody knows the id of what it made.
func (o *one) loseReply() {
	undo := Call{Operation: "x:Delete", Params: map[string]any{"Id": "${steps.create.Id}"}}
	o.ev.Intents[0].Undo = &undo
	o.ev.Intents = o.ev.Intents[:1]
	o.ev.Receipts = o.ev.Receipts[:1]
	o.ev.Receipts[0].Outcome = Outcome{Result: Unknown, Code: "Timeout"}
}

// undoByStep: the second step is the undo of the first, which is not sent again.
func (o *one) undoByStep() *Receipt {
	o.ev.Intents[0].Undo = &Call{Operation: "x:Delete", Region: "us-east-1", Params: map[string]any{"Ids": []any{"${steps.create.Id}"}}}
	done := Call{Operation: "x:Delete", Region: "us-east-1", Params: map[string]any{"Ids": []any{"made"}}}
	o.ev.Receipts[0].Output = map[string]string{"Id": "made"}
	o.ev.Intents = append(o.ev.Intents[:1], Intent{Step: "delete", Phase: PhaseDo, Attempt: 1, Call: done})
	second := o.ev.Receipts[0]
	second.Step, second.Call, second.Output = "delete", done, nil
	o.ev.Receipts = append(o.ev.Receipts[:1], second)
	return &o.ev.Receipts[1]
}

func (o *one) judge() Verdict { return Judge(o.s, o.c, o.ev, o.seen, slo) }

func TestEveryKindIsProvenWhenAllIsAsItMustBe(t *testing.T) {
	for _, kind := range []Kind{DoneAndUndone, MustBeDenied, Decoy, DryRun} {
		v := proven(kind).judge()
		if v.Overall() != Pass || v.Open() {
			t.Errorf("%s: %s, open %v: %+v", kind, v.Overall(), v.Open(), v.Checks)
		}
		if len(v.Records) != 1 || v.Records[0].EventUID != "event-1" {
			t.Errorf("%s: records %+v", kind, v.Records)
		}
	}
}

func TestWhatBreaksIsNamed(t *testing.T) {
	recorded := proven(Decoy).ev.Receipts[0].Want
	tests := []struct {
		claim   string
		kind    Kind
		breakIt func(*one)
		check   Check
		status  Status
		hop     Hop
		detail  string
		open    bool
	}{
		{"a role that cannot be assumed is inconclusive", Decoy, func(o *one) { o.ev = Evidence{Blocked: "AccessDenied"} }, Injected, Inconclusive, "", "AccessDenied", false},
		{"a call never begun is inconclusive", Decoy, func(o *one) { o.ev = Evidence{} }, Injected, Inconclusive, "", "never begun", false},
		{"a call without receipt is inconclusive", Decoy, func(o *one) { o.ev.Receipts = nil; o.ev.Intents = o.ev.Intents[:1] }, Injected, Inconclusive, "", "interrupted during", false},
		{"a throttled call is inconclusive", Decoy, func(o *one) { o.ev.Receipts[0].Outcome = Outcome{Result: Failed, Code: "Throttling"} }, Injected, Inconclusive, "", "Throttling", false},
		{"a call without answer is inconclusive", Decoy, func(o *one) { o.ev.Receipts[0].Outcome = Outcome{Result: Unknown, Code: "timeout"} }, Injected, Inconclusive, "", "no answer", false},
		{"a call without answer proves no record, though one with our name stands there", Decoy, func(o *one) {
			o.ev.Receipts[0].Outcome = Outcome{Result: Unknown}
			o.ev.Receipts[0].RequestIDs = nil
		}, Surfaced, Inconclusive, "", "a hint, not a proof", false},
		{"a success without request id is inconclusive", Decoy, func(o *one) { o.ev.Receipts[0].RequestIDs = nil }, Injected, Inconclusive, "", "request id", false},
		{"an allowed must-be-denied fails", MustBeDenied, func(o *one) { o.ev.Receipts[0].Outcome = Outcome{Result: Succeeded} }, Injected, Fail, "", "had to be denied", false},
		{"a must-be-denied that fails otherwise is inconclusive", MustBeDenied, func(o *one) { o.ev.Receipts[0].Outcome = Outcome{Result: Failed, Code: "TrailNotFoundException"} }, Injected, Inconclusive, "", "TrailNotFound", false},
		{"a must-be-denied that was refused for want of a permission of its own is inconclusive", MustBeDenied, func(o *one) {
			o.ev.Receipts[0].Outcome = Outcome{Result: Refused, Code: "AccessDenied", Message: "User: x is not authorized to perform: cloudtrail:StopLogging because no identity-based policy allows the cloudtrail:StopLogging action"}
		}, Injected, Inconclusive, "", "says nothing about the protection", false},
		{"a must-be-denied that a control policy of the organisation does not allow passes", MustBeDenied, func(o *one) {
			o.ev.Receipts[0].Outcome = Outcome{Result: Refused, Code: "AccessDenied", Message: "User: x is not authorized to perform: cloudtrail:StopLogging because no service control policy allows the cloudtrail:StopLogging action"}
		}, Injected, Pass, "", "", false},
		{"a must-be-denied that only came to nothing fails", MustBeDenied, func(o *one) {
			o.s.Steps[0].Unprotected = []string{"TrailNotFoundException"}
			o.ev.Receipts[0].Outcome = Outcome{Result: Failed, Code: "TrailNotFoundException"}
		}, Injected, Fail, "", "the protection is missing", false},
		{"an executed dry run fails", DryRun, func(o *one) { o.ev.Receipts[0].Outcome = Outcome{Result: Succeeded} }, Injected, Fail, "", "dry run", false},
		{"a refused change is inconclusive, not a failed control", Decoy, func(o *one) { o.ev.Receipts[0].Outcome = Outcome{Result: Refused, Code: "AccessDenied"} }, Injected, Inconclusive, "", "refused", false},

		{"a record not there yet is awaited", Decoy, func(o *one) { o.seen.Sightings = nil }, Surfaced, NotRun, "", "waiting", true},
		{"a missing record fails; without history the hop is not guessed", Decoy, func(o *one) { o.seen.Sightings = nil; o.seen.AsOf = t0.Add(61 * time.Minute) }, Surfaced, Fail, "", "unknown", false},
		{"in history and not in the store: lost on delivery", Decoy, func(o *one) {
			o.seen.Sightings, o.seen.AsOf = nil, t0.Add(61*time.Minute)
			o.seen.History = map[string]HistoryAnswer{"req-1": {Event: &recorded}}
		}, Surfaced, Fail, Delivered, "event history has it", false},
		{"in neither: not emitted", Decoy, func(o *one) {
			o.seen.Sightings, o.seen.AsOf = nil, t0.Add(61*time.Minute)
			o.seen.History = map[string]HistoryAnswer{"req-1": {}}
		}, Surfaced, Fail, Emitted, "did not emit", false},
		{"history that cannot be asked says nothing", Decoy, func(o *one) {
			o.seen.Sightings, o.seen.AsOf = nil, t0.Add(61*time.Minute)
			o.seen.History = map[string]HistoryAnswer{"req-1": {Err: "throttled"}}
		}, Surfaced, Fail, "", "could not be asked: throttled", false},
		{"a receipt without a time does not wait for ever", Decoy, func(o *one) {
			o.ev.Receipts[0].Want.Time = time.Time{}
			o.seen.Sightings, o.seen.AsOf = nil, t0.Add(61*time.Minute)
		}, Surfaced, Fail, "", "no record", false},
		{"a store never seen in full proves nothing missing", Decoy, func(o *one) { o.seen.Sightings, o.seen.AsOf = nil, time.Time{} }, Surfaced, NotRun, "", "waiting", true},
		{"a store nobody can look at is inconclusive", Decoy, func(o *one) { o.seen = Seen{GaveUp: "NoSuchBucket"} }, Surfaced, Inconclusive, "", "NoSuchBucket", false},
		{"an unreadable object may have held it", Decoy, func(o *one) {
			o.seen.Sightings, o.seen.AsOf = nil, t0.Add(61*time.Minute)
			o.seen.Problems = []Problem{{Account: "111122223333", Region: "us-east-1", Object: "s3://b/cut.gz", Hop: Parsed, Err: "unexpected EOF"}}
		}, Surfaced, Inconclusive, Parsed, "s3://b/cut.gz", false},
		{"an object that cannot be had may have held it", Decoy, func(o *one) {
			o.seen.Sightings, o.seen.AsOf = nil, t0.Add(61*time.Minute)
			o.seen.Problems = []Problem{{Account: "111122223333", Region: "us-east-1", Object: "s3://b/gone.gz", Hop: Stored, Err: "NoSuchKey"}}
		}, Surfaced, Inconclusive, Stored, "s3://b/gone.gz", false},
		{"an unreadable object of another account excuses nothing", Decoy, func(o *one) {
			o.seen.Sightings, o.seen.AsOf = nil, t0.Add(61*time.Minute)
			o.seen.Problems = []Problem{{Account: "444455556666", Region: "us-east-1", Object: "s3://b/cut.gz", Err: "unexpected EOF"}}
		}, Surfaced, Fail, "", "", false},
		{"another request id is not ours, whatever its names", Decoy, func(o *one) {
			o.seen.Sightings[0].Event.API.RequestUID = "req-forged"
			o.seen.AsOf = t0.Add(61 * time.Minute)
		}, Surfaced, Fail, "", "no record", false},

		{"a rewritten actor is named", Decoy, func(o *one) { o.seen.Sightings[0].Event.Actor.UID = "arn:aws:iam::111122223333:user/mallory" }, Attributed, Fail, "", "actor.uid", false},
		{"a field right in history was changed on the way", Decoy, func(o *one) {
			o.seen.Sightings[0].Event.SrcEndpoint.IP = "203.0.113.9"
			o.seen.History = map[string]HistoryAnswer{"req-1": {Event: &recorded}}
		}, Attributed, Fail, Delivered, "src_endpoint.ip", false},
		{"a field wrong in history too was emitted wrong", Decoy, func(o *one) {
			o.seen.Sightings[0].Event.SrcEndpoint.IP = "203.0.113.9"
			wrong := o.seen.Sightings[0].Event
			o.seen.History = map[string]HistoryAnswer{"req-1": {Event: &wrong}}
		}, Attributed, Fail, Emitted, "src_endpoint.ip", false},
		{"where a field was changed is not guessed: the history was not asked", Decoy, func(o *one) {
			o.seen.Sightings[0].Event.SrcEndpoint.IP = "203.0.113.9"
		}, Attributed, Fail, "", "where it was changed is unknown: the event history was not asked", false},
		{"where a field was changed is not guessed: the history has no such event", Decoy, func(o *one) {
			o.seen.Sightings[0].Event.SrcEndpoint.IP = "203.0.113.9"
			o.seen.History = map[string]HistoryAnswer{"req-1": {}}
		}, Attributed, Fail, "", "has no event of this request", false},
		{"an event id that another request's record has too is no id", Decoy, func(o *one) {
			other := o.seen.Sightings[0]
			other.Event.API.RequestUID = "req-of-somebody"
			o.seen.Sightings = append(o.seen.Sightings, other)
			own := recorded
			own.Metadata.UID = "event-of-its-own"
			o.seen.History = map[string]HistoryAnswer{"req-1": {Event: &own}}
		}, Attributed, Fail, Delivered, "metadata.uid", false},
		{"an event id that the service itself gave twice was emitted so", Decoy, func(o *one) {
			other := o.seen.Sightings[0]
			other.Event.API.RequestUID = "req-of-somebody"
			o.seen.Sightings = append(o.seen.Sightings, other)
			o.seen.History = map[string]HistoryAnswer{"req-1": {Event: &o.seen.Sightings[0].Event}}
		}, Attributed, Fail, Emitted, "metadata.uid", false},
		{"what differs in a damaged object may be damage", Decoy, func(o *one) {
			o.seen.Sightings[0].Event.SrcEndpoint.IP = "203.0.113.9"
			o.seen.Problems = []Problem{{Account: "111122223333", Region: "us-east-1", Object: "s3://b/k", Hop: Parsed, Err: "at byte 99: checksum"}}
		}, Attributed, Inconclusive, Parsed, "s3://b/k is damaged (at byte 99: checksum)", false},
		{"a damaged copy says nothing against a sound one", Decoy, func(o *one) {
			bad := o.seen.Sightings[0]
			bad.Event.SrcEndpoint.IP, bad.Raw, bad.At.Key = "203.0.113.9", []byte(`{"x":1}`), "k2"
			o.seen.Sightings = append(o.seen.Sightings, bad)
			o.seen.Problems = []Problem{{Account: "111122223333", Region: "us-east-1", Object: "s3://b/k2", Hop: Parsed, Err: "at byte 99: checksum"}}
		}, Attributed, Pass, "", "", false},
		{"a damaged record that has taken an event id does not make it used twice", Decoy, func(o *one) {
			other := o.seen.Sightings[0]
			other.Event.API.RequestUID, other.At.Key = "req-of-somebody", "k2"
			o.seen.Sightings = append(o.seen.Sightings, other)
			o.seen.Problems = []Problem{{Account: "111122223333", Region: "us-east-1", Object: "s3://b/k2", Hop: Parsed, Err: "at byte 99: checksum"}}
		}, Attributed, Pass, "", "", false},
		{"a defect elsewhere in an object that was read to its end excuses nothing", Decoy, func(o *one) {
			o.seen.Sightings[0].Event.SrcEndpoint.IP, o.seen.Sightings[0].At.ObjectSHA256 = "203.0.113.9", "ab12"
			o.seen.Problems = []Problem{{Account: "111122223333", Region: "us-east-1", Object: "s3://b/k", Hop: Parsed, Err: "at byte 99: too deep"}}
		}, Attributed, Fail, "", "src_endpoint.ip", false},
		{"one wrong copy among right ones fails", Decoy, func(o *one) {
			bad := o.seen.Sightings[0]
			bad.Event.Actor.UID, bad.Raw, bad.At.Key = "arn:aws:iam::111122223333:user/mallory", []byte(`{"x":1}`), "k2"
			o.seen.Sightings = append(o.seen.Sightings, bad)
		}, Attributed, Fail, "", "actor.uid", false},
		{"a receipt that does not say who acted proves no attribution", Decoy, func(o *one) { o.ev.Receipts[0].Want.Actor.UID = "" }, Attributed, Inconclusive, "", "who acted", false},
		{"an expectation that cannot be decided is inconclusive", Decoy, func(o *one) {
			o.s.Rules = []Rule{{Text: "x", Holds: func(event.Event) (bool, error) { return true, errors.New("no such field") }}}
		}, Attributed, Inconclusive, "", "no such field", false},
		{"an unmet expectation fails", Decoy, func(o *one) {
			o.s.Rules = []Rule{{Text: "event.actor.type == 'Root'", Holds: func(event.Event) (bool, error) { return false, nil }}}
		}, Attributed, Fail, "", "Root", false},
		{"an expectation the event meets in the history was broken on the way", Decoy, func(o *one) {
			o.s.Rules = []Rule{{Text: "uid", Holds: func(e event.Event) (bool, error) { return e.Metadata.UID != "event-1", nil }}}
			o.seen.History = map[string]HistoryAnswer{"req-1": {Event: &recorded}}
		}, Attributed, Fail, Delivered, "uid", false},
		{"an expectation the event does not meet in the history either was emitted so", Decoy, func(o *one) {
			o.s.Rules = []Rule{{Text: "never", Holds: func(event.Event) (bool, error) { return false, nil }}}
			o.seen.History = map[string]HistoryAnswer{"req-1": {Event: &recorded}}
		}, Attributed, Fail, Emitted, "never", false},

		{"a record after the pass time is late", Decoy, func(o *one) { o.seen.Sightings[0].Stored = t0.Add(20 * time.Minute) }, Timely, Late, Delivered, "20m", false},
		{"a record after the late time fails", Decoy, func(o *one) { o.seen.Sightings[0].Stored = t0.Add(70 * time.Minute) }, Timely, Fail, Delivered, "1h10m", false},
		{"a store without times proves no timeliness", Decoy, func(o *one) { o.seen.Sightings[0].Stored = time.Time{} }, Timely, Inconclusive, "", "gave no time", false},

		{"an undo still owed fails", Decoy, func(o *one) { o.ev.Intents, o.ev.Receipts = o.ev.Intents[:1], o.ev.Receipts[:1] }, Cleaned, Fail, "", "still owed", false},
		{"an undo that needed a retry is late", Decoy, func(o *one) {
			failed := o.ev.Receipts[1]
			failed.Outcome = Outcome{Result: Failed, Code: "ServiceUnavailable"}
			again := o.ev.Intents[1]
			again.Attempt = 2
			ok := o.ev.Receipts[1]
			ok.Attempt = 2
			o.ev.Intents = append(o.ev.Intents, again)
			o.ev.Receipts = []Receipt{o.ev.Receipts[0], failed, ok}
		}, Cleaned, Late, "", "ServiceUnavailable", false},
		{"gone already is undone", Decoy, func(o *one) {
			o.ev.Receipts[1].Outcome = Outcome{Result: Failed, Code: "NoSuchEntity"}
		}, Cleaned, Pass, "", "", false},
		{"a refused undo is still owed while the account has not been listed", Decoy, func(o *one) {
			o.ev.Receipts[1].Outcome = Outcome{Result: Refused, Code: "AccessDenied"}
			o.ev.Cleanup = Cleanup{}
		}, Cleaned, Fail, "", "still owed", false},
		{"a refused undo with something left is still owed", Decoy, func(o *one) {
			o.ev.Receipts[1].Outcome = Outcome{Result: Refused, Code: "AccessDenied"}
			o.ev.Cleanup.Left = []string{"iam role auditcanary-x"}
		}, Cleaned, Fail, "", "still owed", false},
		{"a refused undo of what the account no longer holds is late, not a pass", Decoy, func(o *one) {
			o.ev.Receipts[1].Outcome = Outcome{Result: Refused, Code: "AccessDenied"}
		}, Cleaned, Late, "", "AccessDenied", false},
		{"a failed undo of what the account no longer holds is late, not a pass", Decoy, func(o *one) {
			o.ev.Receipts[1].Outcome = Outcome{Result: Failed, Code: "BadRequestException"}
		}, Cleaned, Late, "", "BadRequestException", false},
		{"a failed undo with something left is still owed", Decoy, func(o *one) {
			o.ev.Receipts[1].Outcome = Outcome{Result: Failed, Code: "BadRequestException"}
			o.ev.Cleanup.Left = []string{"guardduty filter auditcanary-x"}
		}, Cleaned, Fail, "", "still owed", false},
		{"an undo that never reached the service is still owed whatever the listing says", Decoy, func(o *one) {
			o.ev.Receipts[1].Outcome, o.ev.Receipts[1].RequestIDs = Outcome{Result: Failed, Code: "NotSent"}, nil
		}, Cleaned, Fail, "", "still owed", false},
		{"an undo whose reply was lost is still owed while the account has not been listed", Decoy, func(o *one) {
			o.loseReply()
			o.ev.Cleanup = Cleanup{}
		}, Cleaned, Fail, "", "still owed", false},
		{"an undo whose reply was lost is still owed with something left", Decoy, func(o *one) {
			o.loseReply()
			o.ev.Cleanup.Left = []string{"securityhub insight x"}
		}, Cleaned, Fail, "", "still owed", false},
		{"an undo whose reply was lost is settled by a clean listing, late", Decoy, func(o *one) { o.loseReply() }, Cleaned, Late, "", "was lost", false},
		{"a refused call made nothing, and has no reply to lose", MustBeDenied, func(o *one) {
			o.loseReply()
			o.ev.Receipts[0].Outcome = Outcome{Result: Refused, Code: "AccessDenied"}
		}, Cleaned, Pass, "", "", false},
		{"an undo that refers to no lost reply is not settled by a listing", Decoy, func(o *one) {
			o.loseReply()
			undo := Call{Operation: "iam:DeleteRole"}
			o.ev.Intents[0].Undo = &undo
		}, Cleaned, Fail, "", "still owed", false},
		{"an unanswered undo is still owed whatever the listing says", Decoy, func(o *one) {
			o.ev.Receipts[1].Outcome = Outcome{Result: Unknown}
		}, Cleaned, Fail, "", "still owed", false},
		{"a later step that made the undo's call needs no undo", Decoy, func(o *one) { o.undoByStep() }, Cleaned, Pass, "", "", false},
		{"a later step that may have made it does not count", Decoy, func(o *one) { o.undoByStep().Outcome.Result = Unknown }, Cleaned, Fail, "", "still owed", false},
		{"nor one that was refused", Decoy, func(o *one) { o.undoByStep().Outcome.Result = Refused }, Cleaned, Fail, "", "still owed", false},
		{"nor one on another thing", Decoy, func(o *one) { o.undoByStep().Call.Params = map[string]any{"Ids": []any{"other"}} }, Cleaned, Fail, "", "still owed", false},
		{"nor one on more things", Decoy, func(o *one) { o.undoByStep().Call.Params = map[string]any{"Ids": []any{"made", "other"}} }, Cleaned, Fail, "", "still owed", false},
		{"nor one in another region", Decoy, func(o *one) { o.undoByStep().Call.Region = "eu-west-1" }, Cleaned, Fail, "", "still owed", false},
		{"nor another call", Decoy, func(o *one) { o.undoByStep().Call.Operation = "x:Disable" }, Cleaned, Fail, "", "still owed", false},
		{"nor one before it was made", Decoy, func(o *one) { o.undoByStep(); slices.Reverse(o.ev.Receipts) }, Cleaned, Fail, "", "still owed", false},
		{"nor one after a reply that did not say what was made", Decoy, func(o *one) { o.undoByStep(); o.ev.Receipts[0].Output = nil; o.ev.Cleanup = Cleanup{} }, Cleaned, Fail, "", "still owed", false},
		{"what a later step undid is listed all the same", Decoy, func(o *one) { o.undoByStep(); o.ev.Cleanup.Left = []string{"x made"} }, Cleaned, Fail, "", "x made", false},
		{"an account not listed is not known to be clean", Decoy, func(o *one) { o.ev.Cleanup = Cleanup{} }, Cleaned, Inconclusive, "", "not been listed", false},
		{"an account that cannot be listed is not known to be clean", Decoy, func(o *one) { o.ev.Cleanup = Cleanup{Err: "throttled"} }, Cleaned, Inconclusive, "", "throttled", false},
		{"what is listed after the undo fails", Decoy, func(o *one) { o.ev.Cleanup.Left = []string{"iam role auditcanary-x"} }, Cleaned, Fail, "", "iam role auditcanary-x", false},
	}
	for _, tt := range tests {
		t.Run(tt.claim, func(t *testing.T) {
			o := proven(tt.kind)
			tt.breakIt(o)
			v := o.judge()
			a := v.Checks[tt.check]
			if a.Status != tt.status || a.Hop != tt.hop || a.Open != tt.open || !strings.Contains(a.Detail, tt.detail) {
				t.Errorf("%s: got %s hop %q open %v detail %q fields %+v", tt.check, a.Status, a.Hop, a.Open, a.Detail, a.Fields)
			}
			if tt.status != Pass && v.Overall() == Pass {
				t.Errorf("a canary with %s %s counts as proven", tt.check, tt.status)
			}
		})
	}
}

func TestCopiesAndCorrectionsDoNotBreakAProvenCanary(t *testing.T) {
	o := proven(Decoy)
	wrong := o.seen.Sightings[0]
	dup := wrong
	dup.At.Key, dup.Stored = "k2", dup.Stored.Add(time.Minute)
	// The first record was wrong; the provider corrects it under a new event id.
	right := wrong
	right.Event.Metadata.UID = "event-2"
	right.Event.API.RequestUID = "req-of-the-correction"
	right.Event.Metadata.Amends = &event.Amendment{Reason: "UPDATED_DATA", OriginalUID: "event-1", OriginalRequestUID: "req-1"}
	wrong.Event.SrcEndpoint.IP, wrong.Raw = "203.0.113.9", []byte(`{"w":1}`)
	dup.Event, dup.Raw = wrong.Event, wrong.Raw
	o.seen.Sightings = []Sighting{wrong, dup, right}
	v := o.judge()
	if v.Overall() != Pass {
		t.Errorf("%+v", v.Checks)
	}
	if got := v.Records[0].Copies; len(got) != 2 {
		t.Errorf("copies %v, want both others", got)
	}
}

func TestOnlyAKnownRequestIDMakesARecordOurs(t *testing.T) {
	ours := func(id string) bool { return id == "req-1" }
	mk := func(f func(*event.Event)) Sighting {
		e := proven(Decoy).seen.Sightings[0].Event
		f(&e)
		return Sighting{Event: e}
	}
	blank := func(e *event.Event) { *e = event.Event{API: event.API{RequestUID: "req-x"}} }
	tests := []struct {
		claim  string
		s      Sighting
		forged bool
	}{
		{"our own record", mk(func(*event.Event) {}), false},
		{"session name", mk(func(e *event.Event) { blank(e); e.Actor.Session.Name = "auditcanary-20261122-abcdef-01" }), true},
		{"source identity", mk(func(e *event.Event) { blank(e); e.Actor.Session.SourceIdentity = "auditcanary" }), true},
		{"agent", mk(func(e *event.Event) { blank(e); e.HTTPRequest.UserAgent = "aws-sdk-go-v2/1 app/auditcanary" }), true},
		{"a canary's token in other hands", mk(func(e *event.Event) {
			blank(e)
			e.Cloud.Provider, e.Actor.UID = "Kubernetes", "system:serviceaccount:auditcanary:auditcanary-canary"
		}), true},
		{"an account that a canary made", mk(func(e *event.Event) {
			blank(e)
			e.Cloud.Provider, e.Actor.UID = "Kubernetes", "system:serviceaccount:own-namespace:auditcanary-20261122-abcdef-01"
		}), true},
		{"a canary's user", mk(func(e *event.Event) {
			blank(e)
			e.Cloud.Provider, e.Actor.UID = "Kubernetes", "auditcanary-break-glass"
		}), true},
		{"who impersonates a canary's account", mk(func(e *event.Event) {
			blank(e)
			e.Cloud.Provider, e.Actor.Session.Name = "Kubernetes", "system:serviceaccount:auditcanary:auditcanary-canary"
		}), true},
		{"an account beside the canaries'", mk(func(e *event.Event) {
			blank(e)
			e.Cloud.Provider, e.Actor.UID = "Kubernetes", "system:serviceaccount:auditcanary-x:default"
		}), false},
		{"an id of another cloud that begins so", mk(func(e *event.Event) {
			blank(e)
			e.Cloud.Provider, e.Actor.UID = "AWS", "auditcanary-break-glass"
		}), false},
		{"no request id at all", mk(func(e *event.Event) { e.API.RequestUID = "" }), true},
		{"somebody else's", mk(blank), false},
	}
	for _, tt := range tests {
		if got := len(Forged([]Sighting{tt.s}, ours)) == 1; got != tt.forged {
			t.Errorf("%s: forged %v, want %v", tt.claim, got, tt.forged)
		}
	}
}

func TestExpand(t *testing.T) {
	lookup := func(n string) (string, bool) { v, ok := map[string]string{"name": "N", "run": "R"}[n]; return v, ok }
	for _, tt := range []struct{ in, out, err string }{
		{"plain", "plain", ""},
		{"${name}", "N", ""},
		{"a-${name}-${run}-b", "a-N-R-b", ""},
		{"$${aws:username}", "${aws:username}", ""},
		{"${nobody}", "", "unknown reference ${nobody}"},
		{"${name", "", "is not closed"},
		{"$", "$", ""},
		{"", "", ""},
	} {
		got, err := Expand(map[string]any{"k": []any{tt.in, 1.0}}, lookup)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%q: error %v, want %q", tt.in, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", tt.in, err)
			continue
		}
		if s := got.(map[string]any)["k"].([]any)[0]; s != tt.out {
			t.Errorf("%q: got %q, want %q", tt.in, s, tt.out)
		}
	}
}

// TestExpandAhead: what it leaves, the expansion before the call makes of it what one would.
func TestExpandAhead(t *testing.T) {
	const text = "${name} ${steps.a.Id} $${aws:username}"
	steps := func(n string) (string, bool) { return "I", n == "steps.a.Id" }
	ahead, err := ExpandAhead(map[string]any{"k": []any{text, 1}}, func(n string) (string, bool) {
		if strings.HasPrefix(n, "steps.") {
			return "${" + n + "}", true
		}
		return "N", n == "name"
	})
	if err != nil || !reflect.DeepEqual(ahead, map[string]any{"k": []any{"N ${steps.a.Id} $${aws:username}", 1.0}}) {
		t.Fatalf("%v, %v", ahead, err)
	}
	if got, err := Expand(ahead, steps); err != nil || !reflect.DeepEqual(got, map[string]any{"k": []any{"N I ${aws:username}", 1.0}}) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := ExpandAhead(map[string]any{"k": "${nobody}"}, steps); err == nil || !strings.Contains(err.Error(), "${nobody}") {
		t.Errorf("an unknown reference: %v", err)
	}
}
