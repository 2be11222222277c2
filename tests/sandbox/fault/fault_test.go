package fault_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/tests/sandbox/fault"
)

func parse(t *testing.T, src string) *fault.Set {
	t.Helper()
	s, err := fault.Parse("f.yaml", []byte(src))
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	return s
}

func one(at, match, do string) string {
	return "faults:\n  - name: a fault\n    at: " + at + "\n    match: '" + match + "'\n    do: " + do + "\n"
}

func TestParseReadsEveryAction(t *testing.T) {
	for _, tc := range []struct {
		at, do string
		want   fault.Do
	}{
		{"record", "{drop: true}", fault.Do{Drop: true}},
		{"record", "{delay: 70m}", fault.Do{Delay: 70 * time.Minute}},
		{"record", "{duplicate: 2}", fault.Do{Duplicate: 2}},
		{"record", `{set: {a.b: x, n: 3, o: {p: [1]}}}`, fault.Do{Set: map[string]any{"a.b": "x", "n": 3, "o": map[string]any{"p": []any{1}}}}},
		{"record", "{unset: [errorCode, a.b]}", fault.Do{Unset: []string{"errorCode", "a.b"}}},
		{"file", "{drop: true}", fault.Do{Drop: true}},
		{"file", "{truncate: 12}", fault.Do{Truncate: 12}},
		{"file", "{corrupt: true}", fault.Do{Corrupt: true}},
		{"file", "{reorder: true}", fault.Do{Reorder: true}},
		{"file", "{replace: true}", fault.Do{Replace: true}},
		{"call", "{error: {code: Throttling}}", fault.Do{Error: &fault.Error{Code: "Throttling", Status: 400, When: "before"}}},
		{"call", `{error: {code: Internal, message: "", status: 503, when: after}}`, fault.Do{Error: &fault.Error{Code: "Internal", Status: 503, When: "after"}}},
		{"call", "{hang: {for: 30s, when: after}}", fault.Do{Hang: &fault.Hang{For: 30 * time.Second, When: "after"}}},
		{"call", "{hang: {for: 1s}}", fault.Do{Hang: &fault.Hang{For: time.Second, When: "before"}}},
		{"call", "{expire: true}", fault.Do{Expire: true}},
		{"call", "{skew: -5m}", fault.Do{Skew: -5 * time.Minute}},
		{"record", "{shift: {eventTime: -10m}}", fault.Do{Shift: map[string]time.Duration{"eventTime": -10 * time.Minute}}},
		{"file", "{layout: without-organization}", fault.Do{Layout: fault.WithoutOrganization}},
		{"digest", "{drop: true}", fault.Do{Drop: true}},
		{"digest", "{delay: 3h}", fault.Do{Delay: 3 * time.Hour}},
		{"digest", "{set: {logFiles: []}}", fault.Do{Set: map[string]any{"logFiles": []any{}}}},
		{"digest", "{unset: [logFiles]}", fault.Do{Unset: []string{"logFiles"}}},
		{"digest", "{replace: true}", fault.Do{Replace: true}},
		{"object", "{delete: true}", fault.Do{Delete: true}},
		{"object", "{truncate: 3}", fault.Do{Truncate: 3}},
		{"object", "{corrupt: true}", fault.Do{Corrupt: true}},
		{"object", "{replace: true}", fault.Do{Replace: true}},
		{"object", "{copy: {old: a, new: b}}", fault.Do{Copy: &fault.Copy{Old: "a", New: "b"}}},
		{"object", "{retain: {mode: NONE}}", fault.Do{Retain: &fault.Retain{Mode: "NONE"}}},
		{"object", "{retain: {mode: GOVERNANCE, for: 24h}}", fault.Do{Retain: &fault.Retain{Mode: "GOVERNANCE", For: 24 * time.Hour}}},
	} {
		got := parse(t, one(tc.at, "true", tc.do)).Fire(tc.at, map[string]any{})
		if len(got) != 1 || !reflect.DeepEqual(got[0].Do, tc.want) {
			t.Errorf("at %s, do %s: got %+v, want %+v", tc.at, tc.do, got, tc.want)
		}
	}
}

func TestParseRefusesWithExactErrors(t *testing.T) {
	for _, tc := range []struct{ name, src, want string }{
		{"nothing", "", "f.yaml:1: the file is empty; want a mapping with the key faults"},
		{"only a comment", "# nothing\n", "f.yaml:1: the file is empty; want a mapping with the key faults"},
		{"a list", "- a\n", "f.yaml:1: the file must be a mapping with faults"},
		{"no faults", "{}\n", "f.yaml:1: faults is missing"},
		{"unknown top key", "fault: []\n", `f.yaml:1: unknown key "fault" in the file; want faults`},
		{"two documents", "faults: []\n---\nfaults: []\n", "f.yaml:2: more than one document"},
		{"faults no list", "faults: {}\n", "f.yaml:1: faults must be a list"},
		{"unknown key", "faults:\n  - {name: a, at: record, match: 'true', do: {drop: true},\n     time: 1}\n",
			`f.yaml:3: unknown key "time" in a fault; want name, at, match, times, after, for, hop, wait, do`},
		{"missing keys", "faults:\n  - {name: a}\n",
			"f.yaml:2: at is missing in a fault\nf.yaml:2: match is missing in a fault\nf.yaml:2: do is missing in a fault"},
		{"same name", "faults:\n  - {name: a, at: record, match: 'true', do: {drop: true}}\n  - {name: a, at: record, match: 'true', do: {drop: true}}\n",
			`f.yaml:3: fault "a" has the name of the one in line 2`},
		{"key twice", "faults:\n  - name: a\n    name: b\n    at: file\n    match: 'true'\n    do: {drop: true}\n",
			`f.yaml:3: key "name" occurs twice in a fault`},
		{"unknown point", one("pigeon", "true", "{drop: true}"), `f.yaml:3: unknown point "pigeon" in at; want call, record, file, digest, object, alert, ticket or chat`},
		{"two actions", one("record", "true", "{drop: true, delay: 5m}"),
			"f.yaml:5: do has 2 actions (drop, delay); want exactly one: write a second fault"},
		{"no action", one("record", "true", "{}"),
			"f.yaml:5: do is empty; want one of error, hang, expire, skew, drop, delay, duplicate, set, unset, shift, truncate, corrupt, reorder, replace, layout, delete, copy, retain"},
		{"unknown action", one("record", "true", "{lose: true}"),
			`f.yaml:5: unknown key "lose" in do; want error, hang, expire, skew, drop, delay, duplicate, set, unset, shift, truncate, corrupt, reorder, replace, layout, delete, copy, retain`},
		{"record cannot hang", one("record", "true", "{hang: {for: 1s}}"), "f.yaml:5: a record cannot do hang"},
		{"call cannot drop", one("call", "true", "{drop: true}"), "f.yaml:5: a call cannot do drop"},
		{"drop false", one("record", "true", "{drop: false}"), `f.yaml:5: drop can only be true, not "false"`},
		{"delay without unit", one("record", "true", "{delay: 70}"), `f.yaml:5: delay must be a duration above 0 like 70m or 30s, not "70"`},
		{"negative delay", one("record", "true", "{delay: -1m}"), `f.yaml:5: delay must be a duration above 0 like 70m or 30s, not "-1m"`},
		{"duplicate 0", one("file", "true", "{duplicate: 0}"), `f.yaml:5: duplicate must be a whole number from 1, not "0"`},
		{"set nothing", one("record", "true", "{set: {}}"), "f.yaml:5: set must be a mapping of dotted paths to values"},
		{"set bad path", one("record", "true", "{set: {a..b: 1}}"), `f.yaml:5: set: path "a..b" has an empty part`},
		{"set no JSON", one("record", "true", "{set: {a: {1: x}}}"), "f.yaml:5: set: the value of a is not JSON: json: unsupported type: map[interface {}]interface {}"},
		{"unset string", one("record", "true", "{unset: errorCode}"), "f.yaml:5: unset must be a list of dotted paths"},
		{"error without code", one("call", "true", "{error: {status: 500}}"), "f.yaml:5: code is missing in error"},
		{"error with good status", one("call", "true", "{error: {code: X, status: 200}}"), "f.yaml:5: status 200 is no HTTP error; want 400 to 599"},
		{"error when", one("call", "true", "{error: {code: X, when: later}}"), `f.yaml:5: unknown when "later"; want before or after`},
		{"hang without for", one("call", "true", "{hang: {when: after}}"), "f.yaml:5: for is missing in hang"},
		{"hop on a call", "faults:\n  - {name: a, at: call, match: 'true', hop: emitted, do: {hang: {for: 1s}}}\n", "f.yaml:2: hop is for faults at record only"},
		{"unknown hop", "faults:\n  - {name: a, at: record, match: 'true', hop: stored, do: {drop: true}}\n", `f.yaml:2: unknown hop "stored"; want emitted or delivered`},
		{"call cannot shift", one("call", "true", "{shift: {a: 1m}}"), "f.yaml:5: a call cannot do shift"},
		{"digest cannot reorder", one("digest", "true", "{reorder: true}"), "f.yaml:5: a digest cannot do reorder"},
		{"object cannot drop", one("object", "true", "{drop: true}"), "f.yaml:5: an object cannot do drop"},
		{"skew of nothing", one("call", "true", "{skew: 0s}"), `f.yaml:5: skew must be a duration like 5m or -30s, not "0s"`},
		{"shift by no time", one("record", "true", "{shift: {eventTime: soon}}"), `f.yaml:5: shift: eventTime must be a duration like 5m or -30s, not "soon"`},
		{"shift nothing", one("record", "true", "{shift: eventTime}"), "f.yaml:5: shift must be a mapping of dotted paths to durations"},
		{"unknown layout", one("file", "true", "{layout: flat}"), `f.yaml:5: unknown layout "flat"; want without-organization`},
		{"copy without new", one("object", "true", "{copy: {old: a}}"), "f.yaml:5: copy wants old and new: the text to replace in the key, and by what"},
		{"copy to itself", one("object", "true", "{copy: {old: a, new: a}}"), "f.yaml:5: copy: old and new are the same"},
		{"unknown retention", one("object", "true", "{retain: {mode: SOME}}"), `f.yaml:5: unknown mode "SOME" in retain; want GOVERNANCE, COMPLIANCE or NONE`},
		{"retention for no time", one("object", "true", "{retain: {mode: GOVERNANCE}}"), "f.yaml:5: for is missing in retain"},
		{"no retention for a time", one("object", "true", "{retain: {mode: NONE, for: 1h}}"), "f.yaml:5: retain: NONE is for no time"},
		{"retention that waits", "faults:\n  - {name: a, at: object, match: 'true', wait: 1h, do: {retain: {mode: NONE}}}\n",
			"f.yaml:2: retain cannot wait: a retention is given when the object comes"},
		{"wait on a file", "faults:\n  - {name: a, at: file, match: 'true', wait: 1h, do: {drop: true}}\n", "f.yaml:2: wait is for faults at object only"},
		{"window without unit", "faults:\n  - {name: a, at: file, match: 'true', after: 5, do: {drop: true}}\n",
			`f.yaml:2: after must be a duration above 0 like 70m or 30s, not "5"`},
		{"times negative", "faults:\n  - {name: a, at: record, match: 'true', times: -1, do: {drop: true}}\n", `f.yaml:2: times must be a whole number from 0, not "-1"`},
		{"match syntax", one("record", "it.a ==", "{drop: true}"),
			"f.yaml:4: match: column 8: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"},
		{"match other variable", one("record", "event.a == 1", "{drop: true}"),
			"f.yaml:4: match: column 1: undeclared reference to 'event'"},
		{"match no bool", one("record", `"yes"`, "{drop: true}"), `f.yaml:4: match is a string, not a bool: "yes"`},
		{"match empty", one("record", "", "{drop: true}"), "f.yaml:4: match must be a CEL condition over it"},
		{"no YAML", "faults: [\n", "f.yaml: yaml: line 1: did not find expected node content"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := fault.Parse("f.yaml", []byte(tc.src))
			if err == nil || err.Error() != tc.want {
				t.Errorf("got:  %v\nwant: %s", err, tc.want)
			}
		})
	}
}

func TestFireMatchesOnTheThingAndItsPoint(t *testing.T) {
	s := parse(t, one("record", `it.eventName == "CreateRole" && it.userIdentity.accountId == "111122223333"`, "{drop: true}"))
	rec := func(name, account string) map[string]any {
		return map[string]any{"eventName": name, "userIdentity": map[string]any{"accountId": account}}
	}
	for _, tc := range []struct {
		name string
		at   string
		it   map[string]any
		want int
	}{
		{"the record", "record", rec("CreateRole", "111122223333"), 1},
		{"another operation", "record", rec("DeleteRole", "111122223333"), 0},
		{"another account", "record", rec("CreateRole", "444455556666"), 0},
		{"another point", "call", rec("CreateRole", "111122223333"), 0},
		{"a record without the field", "record", map[string]any{"eventName": "CreateRole"}, 0},
		{"an empty record", "record", nil, 0},
	} {
		if got := s.Fire(tc.at, tc.it); len(got) != tc.want {
			t.Errorf("%s: fired %d times, want %d", tc.name, len(got), tc.want)
		}
	}
	if err := s.Err(); err != nil {
		t.Errorf("a missing field is no error, got %v", err)
	}
}

func TestNumbersOfAnyKindCompare(t *testing.T) {
	s := parse(t, one("call", "it.n == 3", "{hang: {for: 1s}}"))
	for _, n := range []any{3, int64(3), float64(3), uint64(3)} {
		if len(s.Fire("call", map[string]any{"n": n})) != 1 {
			t.Errorf("n of type %T does not match", n)
		}
	}
	if len(s.Fire("call", map[string]any{"n": 4})) != 0 {
		t.Error("n = 4 matches")
	}
}

func TestFireAtMostTimesUnderConcurrency(t *testing.T) {
	s := parse(t, "faults:\n  - {name: a, at: call, match: 'true', times: 5, do: {error: {code: Throttling}}}\n")
	var fired atomic.Int64
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { fired.Add(int64(len(s.Fire("call", map[string]any{"n": 1})))) })
	}
	wg.Wait()
	if fired.Load() != 5 {
		t.Errorf("fired %d times, want 5", fired.Load())
	}
	if st := s.Status(); len(st) != 1 || st[0].Fired != 5 {
		t.Errorf("Status = %+v", st)
	}
}

func TestFireReturnsActionsInTheFilesOrder(t *testing.T) {
	s := parse(t, `faults:
  - {name: second in the alphabet, at: record, match: 'true', do: {unset: [errorCode]}}
  - {name: first in the alphabet, at: record, match: 'true', hop: emitted, do: {set: {errorCode: X}}}
`)
	got := s.Fire("record", map[string]any{})
	if len(got) != 2 || got[0].Name != "second in the alphabet" || got[0].Hop != "delivered" || got[1].Hop != "emitted" {
		t.Errorf("got %+v", got)
	}
}

func TestAMatchThatCannotBeEvaluatedIsReported(t *testing.T) {
	s := parse(t, one("record", `it.a.startsWith("x")`, "{drop: true}"))
	if got := s.Fire("record", map[string]any{"a": 1}); len(got) != 0 {
		t.Errorf("fired %+v", got)
	}
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), `fault "a fault": evaluate match:`) {
		t.Errorf("Err = %v", err)
	}
	if st := s.Status(); st[0].Error == "" {
		t.Errorf("Status hides the error: %+v", st)
	}
}

func TestANilSetFiresNothing(t *testing.T) {
	var s *fault.Set
	if s.Fire("call", nil) != nil || s.Err() != nil || len(s.Status()) != 0 {
		t.Error("a nil set does something")
	}
}

func TestReplaceIsSeenByWhoeverHoldsTheSet(t *testing.T) {
	s := parse(t, one("record", "true", "{drop: true}"))
	other := parse(t, "faults:\n  - {name: b, at: record, match: 'true', times: 1, do: {duplicate: 1}}\n")
	other.Fire("record", nil)
	s.Replace(other)
	for i, want := range []int{1, 0} { // counted from the beginning, and not on the other's account
		if got := s.Fire("record", nil); len(got) != want || (want == 1 && got[0].Name != "b") {
			t.Errorf("Fire %d = %+v", i, got)
		}
	}
	if st := other.Status(); st[0].Fired != 1 {
		t.Errorf("the other set counts along: %+v", st)
	}
	s.Replace(nil)
	if got := s.Fire("record", nil); got != nil {
		t.Errorf("after Replace(nil): %+v", got)
	}
}

func TestAWindowOpensAndClosesByTheSandboxsClock(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	begin := now
	s := parse(t, "faults:\n"+
		"  - {name: always, at: call, match: 'true', do: {expire: true}}\n"+
		"  - {name: for a minute, at: call, match: 'true', for: 1m, do: {expire: true}}\n"+
		"  - {name: after ten, at: call, match: 'true', after: 10m, do: {expire: true}}\n"+
		"  - {name: a minute after ten, at: call, match: 'true', after: 10m, for: 1m, do: {expire: true}}\n")
	struck := func() (names []string) {
		for _, a := range s.Fire("call", nil) {
			names = append(names, a.Name)
		}
		return names
	}
	if got := struck(); !reflect.DeepEqual(got, []string{"always", "for a minute"}) {
		t.Errorf("without a clock no time passes, but %q struck", got)
	}
	s.Start(func() time.Time { return now })
	for _, tt := range []struct {
		age  time.Duration
		want []string
	}{
		{0, []string{"always", "for a minute"}},
		{time.Minute - 1, []string{"always", "for a minute"}},
		{time.Minute, []string{"always"}},
		{10 * time.Minute, []string{"always", "after ten", "a minute after ten"}},
		{11 * time.Minute, []string{"always", "after ten"}},
	} {
		now = begin.Add(tt.age)
		if got := struck(); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("after %s: %q, want %q", tt.age, got, tt.want)
		}
	}
	s.Replace(parse(t, "faults:\n  - {name: for a minute, at: call, match: 'true', for: 1m, do: {expire: true}}\n"))
	if got := struck(); len(got) != 1 {
		t.Errorf("the time of new faults does not begin when they come: %q", got)
	}
}

func TestEditLeavesTheOriginalAlone(t *testing.T) {
	rec := map[string]any{
		"errorCode":    "AccessDenied",
		"userIdentity": map[string]any{"arn": "a", "sessionContext": map[string]any{"sourceIdentity": "auditcanary"}},
		"resources":    []any{map[string]any{"ARN": "x"}},
	}
	set := fault.Do{Set: map[string]any{"userIdentity.arn": "b", "new.deep.field": 1, "errorCode.sub": "y"}}.Edit(rec)
	if got := set["userIdentity"].(map[string]any)["arn"]; got != "b" {
		t.Errorf("arn = %v", got)
	}
	if got := set["new"].(map[string]any)["deep"].(map[string]any)["field"]; got != 1 {
		t.Errorf("new.deep.field = %v", got)
	}
	if got := set["errorCode"].(map[string]any)["sub"]; got != "y" {
		t.Errorf("errorCode.sub = %v", got)
	}
	gone := fault.Do{Unset: []string{"errorCode", "userIdentity.sessionContext.sourceIdentity", "absent.path", "errorCode.sub"}}.Edit(rec)
	if _, has := gone["errorCode"]; has {
		t.Error("errorCode is still there")
	}
	if sc := gone["userIdentity"].(map[string]any)["sessionContext"].(map[string]any); len(sc) != 0 {
		t.Errorf("sessionContext = %v", sc)
	}
	rec["eventTime"] = "2026-11-22T10:00:00Z"
	shifted := fault.Do{Shift: map[string]time.Duration{"eventTime": -10 * time.Minute, "errorCode": time.Hour, "absent.path": time.Hour}}.Edit(rec)
	if shifted["eventTime"] != "2026-11-22T09:50:00Z" || shifted["errorCode"] != "AccessDenied" || rec["eventTime"] != "2026-11-22T10:00:00Z" {
		t.Errorf("shifted %v, original %v", shifted, rec)
	}
	delete(rec, "eventTime")
	set["resources"].([]any)[0].(map[string]any)["ARN"] = "changed"
	want := map[string]any{
		"errorCode":    "AccessDenied",
		"userIdentity": map[string]any{"arn": "a", "sessionContext": map[string]any{"sourceIdentity": "auditcanary"}},
		"resources":    []any{map[string]any{"ARN": "x"}},
	}
	if !reflect.DeepEqual(rec, want) {
		t.Errorf("the original changed: %v", rec)
	}
}

func TestLoadNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(path, []byte("faults: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := fault.Load(path); err == nil || err.Error() != path+":1: faults must be a list" {
		t.Errorf("Load = %v", err)
	}
	if _, err := fault.Load(path + ".absent"); err == nil || !strings.Contains(err.Error(), "bad.yaml.absent") {
		t.Errorf("Load of an absent file = %v", err)
	}
}

// Whatever the bytes are, parsing gives faults that can be fired or an error.
func FuzzParse(f *testing.F) {
	f.Add(one("record", "it.a == 1", "{drop: true}"))
	f.Add(one("call", "true", "{error: {code: X, when: after}}"))
	f.Add("faults: *x\n")
	f.Add("? a\n: b\n")
	f.Fuzz(func(t *testing.T, src string) {
		s, err := fault.Parse("f.yaml", []byte(src))
		if err != nil {
			return
		}
		for _, at := range []string{"call", "record", "file", "digest", "object", "alert"} {
			for _, a := range s.Fire(at, map[string]any{"a": 1}) {
				a.Do.Edit(map[string]any{"a": 1})
			}
		}
	})
}
