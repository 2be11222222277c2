package cloud

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
	"quamina.net/go/quamina"
)

func TestEventPatternsMatchAsEventBridgesDo(t *testing.T) {
	const event = `{"source":"aws.iam","account":"111122223333","resources":[],"region":null,
		"detail":{"eventName":"CreateRole","n":5,"price":2.5,"ip":"10.0.1.7","ok":false,"tags":["a","b"],"list":[{"k":"x","v":1},{"k":"y","v":2}]}}`
	for pattern, want := range map[string]bool{
		`{"source":["aws.iam"]}`:                                                                true,
		`{"source":["aws.kms","aws.iam"]}`:                                                      true,
		`{"source":["AWS.IAM"]}`:                                                                false,
		`{"source":[{"equals-ignore-case":"AWS.IAM"}]}`:                                         true,
		`{"source":["aws.iam"],"account":["2"]}`:                                                false,
		`{"detail":{"eventName":[{"prefix":"Create"}]}}`:                                        true,
		`{"detail":{"eventName":[{"prefix":{"equals-ignore-case":"CREATE"}}]}}`:                 true,
		`{"detail":{"eventName":[{"suffix":"Role"}]}}`:                                          true,
		`{"detail":{"eventName":[{"suffix":"role"}]}}`:                                          false,
		`{"detail":{"eventName":[{"wildcard":"C*R*e"}]}}`:                                       true,
		`{"detail":{"eventName":[{"wildcard":"*x*"}]}}`:                                         false,
		`{"detail":{"eventName":[{"anything-but":"CreateUser"}]}}`:                              true,
		`{"detail":{"eventName":[{"anything-but":["CreateUser","CreateRole"]}]}}`:               false,
		`{"detail":{"eventName":[{"anything-but":{"prefix":"Create"}}]}}`:                       false,
		`{"detail":{"eventName":[{"anything-but":{"wildcard":["*User","Delete*"]}}]}}`:          true,
		`{"detail":{"errorCode":[{"anything-but":"x"}]}}`:                                       false, // it must be there
		`{"detail":{"errorCode":[{"exists":false}]}}`:                                           true,
		`{"detail":{"errorCode":[{"exists":true}]}}`:                                            false,
		`{"detail":{"eventName":[{"exists":true}]}}`:                                            true,
		`{"nowhere":{"errorCode":[{"exists":false}]}}`:                                          true,
		`{"detail":{"n":[5]}}`:                                                                  true,
		`{"detail":{"n":["5"]}}`:                                                                false,
		`{"detail":{"n":[{"numeric":[">",4,"<=",5]}]}}`:                                         true,
		`{"detail":{"price":[{"numeric":["=",2.5]}]}}`:                                          true,
		`{"detail":{"n":[{"numeric":["<",5]}]}}`:                                                false,
		`{"detail":{"eventName":[{"numeric":["<",5]}]}}`:                                        false,
		`{"detail":{"ip":[{"cidr":"10.0.0.0/16"}]}}`:                                            true,
		`{"detail":{"ip":[{"cidr":"10.1.0.0/16"}]}}`:                                            false,
		`{"detail":{"ok":[false]}}`:                                                             true,
		`{"detail":{"tags":["b"]}}`:                                                             true,
		`{"detail":{"tags":["c"]}}`:                                                             false,
		`{"region":[null]}`:                                                                     true,
		`{"resources":[{"exists":false}]}`:                                                      true,
		`{"detail":{"list":{"k":["x"],"v":[1]}}}`:                                               true,
		`{"detail":{"list":{"k":["x"],"v":[2]}}}`:                                               false, // of one and the same element
		`{"$or":[{"source":["aws.kms"]},{"account":["111122223333"]}]}`:                         true,
		`{"detail":{"$or":[{"eventName":["DeleteRole"]},{"n":[6]}]}}`:                           false,
		`{"detail":{"eventName":["DeleteRole"],"$or":[{"n":[5]},{"n":[6]}]}}`:                   false,
		`{"detail":{"eventName":[{"prefix":"Delete"},{"suffix":"Role"},"x"],"errorCode":[""]}}`: false,
	} {
		var e map[string]any
		if err := json.Unmarshal([]byte(event), &e); err != nil {
			t.Fatal(err)
		}
		p, err := compileEventPattern(pattern)
		if err != nil {
			t.Errorf("%s: %v", pattern, err)
		} else if got := p.matches(e); got != want {
			t.Errorf("%s matches: %v", pattern, got)
		}
	}
}

func TestNoEventPattern(t *testing.T) {
	for pattern, says := range map[string]string{
		``:                                      "no JSON object",
		`[]`:                                    "no JSON object",
		`{} x`:                                  "something follows",
		`{}`:                                    "empty objects",
		`{"a":{}}`:                              `empty objects are not allowed at "a"`,
		`{"a":{"b":[]}}`:                        `empty arrays are not allowed at "a.b"`,
		`{"a":"b"}`:                             `"a" must be an object or an array`,
		`{"a":[["b"]]}`:                         "is no value to match",
		`{"a":[{"soundex":"b"}]}`:               "unrecognized match type soundex",
		`{"a":[{"prefix":"b","suffix":"c"}]}`:   "has one key",
		`{"a":[{"prefix":1}]}`:                  "prefix wants a string",
		`{"a":[{"exists":"true"}]}`:             "exists wants true or false",
		`{"a":[{"numeric":[">"]}]}`:             "numeric wants",
		`{"a":[{"numeric":["~",1]}]}`:           "unrecognized operator",
		`{"a":[{"numeric":[">","1"]}]}`:         "is no number",
		`{"a":[{"cidr":"10.0.0.0"}]}`:           "no block of addresses",
		`{"a":[{"wildcard":"a**b"}]}`:           "consecutive wildcards",
		`{"a":[{"wildcard":"a\\b"}]}`:           "invalid escape",
		`{"a":[{"anything-but":[]}]}`:           "anything-but of nothing",
		`{"a":[{"anything-but":{"cidr":"x"}}]}`: "unsupported anything-but",
		`{"$or":["a"]}`:                         "no object",
	} {
		if _, err := compileEventPattern(pattern); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", pattern, err, says)
		}
	}
}

// On what both know, an independent matcher by an author of EventBridge's agrees.
func TestAnIndependentMatcherAgrees(t *testing.T) {
	matched := map[bool]int{}
	rapid.Check(t, func(t *rapid.T) {
		pick := func(from ...string) string { return rapid.SampledFrom(from).Draw(t, "x") }
		value := func() string { return pick(`"ab"`, `"abc"`, `"b"`, `true`, `null`, `7`) }
		text := func() string { return pick(`"a"`, `"ab"`, `"abc"`, `"B"`) }
		leaf := func() string {
			switch pick("value", "value", "prefix", "but", "exists", "wildcard", "fold") {
			case "prefix":
				return `{"prefix":` + text() + `}`
			case "but":
				return `{"anything-but":[` + text() + `,` + text() + `]}`
			case "exists":
				return `{"exists":true}` // what is absent it does not find beside other fields
			case "wildcard":
				return `{"wildcard":` + pick(`"a*"`, `"*c"`, `"a*c"`) + `}`
			case "fold":
				return `{"equals-ignore-case":` + pick(`"AB"`, `"b"`) + `}`
			}
			return value()
		}
		list := func() string {
			first := leaf()
			if strings.Contains(first, "exists") || rapid.Bool().Draw(t, "one") { // it takes exists alone
				return "[" + first + "]"
			}
			if second := leaf(); !strings.Contains(second, "exists") {
				return "[" + first + "," + second + "]"
			}
			return "[" + first + "]"
		}
		pattern := fmt.Sprintf(`{%q:%s,"in":{%q:%s}}`, pick("a", "b"), list(), pick("c", "d"), list())
		event := fmt.Sprintf(`{"a":%s,"in":{"c":%s,"e":[%s,%s]},"z":1}`, value(), value(), value(), value())
		ours, err := compileEventPattern(pattern)
		if err != nil {
			t.Fatalf("%s: %v", pattern, err)
		}
		theirs, err := quamina.New()
		if err != nil {
			t.Fatal(err)
		}
		if err := theirs.AddPattern("p", pattern); err != nil {
			t.Skipf("%s: %v", pattern, err)
		}
		found, err := theirs.MatchesForEvent([]byte(event))
		if err != nil {
			t.Fatalf("%s: %v", event, err)
		}
		var e map[string]any
		if err := json.Unmarshal([]byte(event), &e); err != nil {
			t.Fatal(err)
		}
		got := ours.matches(e)
		if matched[got]++; got != (len(found) > 0) {
			t.Errorf("%s on %s: ours %v, the other's %v", pattern, event, got, len(found) > 0)
		}
	})
	if matched[true] == 0 || matched[false] == 0 {
		t.Errorf("it shows nothing: %v", matched)
	}
}

func FuzzEventPattern(f *testing.F) {
	f.Add(`{"detail":{"eventName":[{"wildcard":"*a*b"},{"anything-but":{"suffix":["x"]}}],"$or":[{"a":[1]},{"b":[null]}]}}`, `{"detail":{"eventName":["xab",{"a":[]}]}}`)
	f.Add(`{"a":[{"numeric":[">=",1e3]},{"cidr":"::/0"},{"prefix":{"equals-ignore-case":"É"}}]}`, `{"a":[1e400,"::1","é"]}`)
	f.Fuzz(func(t *testing.T, pattern, event string) {
		p, err := compileEventPattern(pattern)
		var e map[string]any
		if err != nil || json.Unmarshal([]byte(event), &e) != nil {
			return
		}
		p.matches(e)
		p.matches(nil)
	})
}

func FuzzEventInput(f *testing.F) {
	f.Add(`{"InputTransformer":{"InputPathsMap":{"a":"$.detail.a[0]"},"InputTemplate":"{\"x\":<a>,\"y\":\"<a> \\\" <aws.events.event>\"}"}}`, `{"detail":{"a":["q\"\n"]}}`)
	f.Add(`{"InputPath":"$.detail-type"}`, `{"detail-type":"x"}`)
	f.Fuzz(func(t *testing.T, target, event string) {
		var to, e map[string]any
		if json.Unmarshal([]byte(target), &to) != nil || json.Unmarshal([]byte(event), &e) != nil {
			return
		}
		if in, err := eventInputOf(to); err == nil {
			in.of(e, "arn:aws:events:us-east-1:1:rule/b/r", "now")
		}
	})
}
