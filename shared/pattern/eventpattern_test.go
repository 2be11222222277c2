package pattern

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func doc(t testing.TB, text string) any {
	t.Helper()
	v, err := Decode([]byte(text))
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

func eventPattern(t testing.TB, text string) *EventPattern {
	t.Helper()
	p, err := ParseEventPattern(text)
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return p
}

// The event of EventBridge's own documentation.
const instance = `{"detail-type":"EC2 Instance State-change Notification","source":"aws.ec2","time":"2017-10-02T16:24:49Z",
 "resources":["arn:aws:ec2:us-east-1:123456789012:instance/i-000000aaaaaa00000","arn:aws:ec2:us-east-1:123456789012:volume/v-1"],"empty":[],
 "detail":{"c-count":5,"d-count":3,"x-limit":301.8,"source-ip":"10.0.0.33","ip6":"2001:db8::1","state":"running","path":"dir/lib/a.png","none":null,"flag":false,"text":"5",
  "star":"a*b","inner":{"one":1}}}`

func TestEventPatternsMatchAsDocumented(t *testing.T) {
	event := doc(t, instance)
	for _, tc := range []struct {
		pattern string
		want    Truth
	}{
		{`{"source":["aws.ec2"]}`, Yes},
		{`{"source":["aws.s3"]}`, No},
		{`{"source":["AWS.EC2"]}`, No},
		{`{"source":["aws.s3","aws.ec2"],"detail":{"state":["running"]}}`, Yes},
		{`{"source":["aws.ec2"],"detail":{"state":["stopped"]}}`, No},
		{`{"nothing":["x"]}`, No},
		{`{"resources":["arn:aws:ec2:us-east-1:123456789012:volume/v-1"]}`, Yes},
		{`{"resources":["arn:aws:ec2:us-east-1:123456789012:volume/v-2"]}`, No},
		// Objects are no leaves.
		{`{"detail":["running"]}`, No},
		{`{"detail":{"state":{"deeper":["x"]}}}`, No},
		{`{"detail":{"inner":{"one":[1]}}}`, Yes},
		{`{"detail.inner.one":[1]}`, Yes}, // names are joined by dots

		{`{"detail":{"c-count":[5]}}`, Yes},
		{`{"detail":{"c-count":[5.0]}}`, Yes},
		{`{"detail":{"c-count":["5"]}}`, No},
		{`{"detail":{"text":[5]}}`, No},
		{`{"detail":{"none":[null]}}`, Yes},
		{`{"detail":{"state":[null]}}`, No},
		{`{"detail":{"flag":[false]}}`, Yes},
		{`{"detail":{"flag":[true]}}`, No},
		{`{"detail":{"flag":["false"]}}`, No},

		{`{"time":[{"prefix":"2017-10-02"}]}`, Yes},
		{`{"time":[{"prefix":"2018"}]}`, No},
		{`{"detail":{"c-count":[{"prefix":"5"}]}}`, No},
		{`{"source":[{"prefix":{"equals-ignore-case":"AWS."}}]}`, Yes},
		{`{"source":[{"prefix":{"equals-ignore-case":"AZURE"}}]}`, No},
		{`{"detail":{"path":[{"suffix":".png"}]}}`, Yes},
		{`{"detail":{"path":[{"suffix":".PNG"}]}}`, No},
		{`{"detail":{"path":[{"suffix":{"equals-ignore-case":".PNG"}}]}}`, Yes},
		{`{"source":[{"equals-ignore-case":"AWS.Ec2"}]}`, Yes},
		{`{"source":[{"equals-ignore-case":"AWS.Ec"}]}`, No},

		{`{"detail":{"path":[{"wildcard":"dir/*.png"}]}}`, Yes},
		{`{"detail":{"path":[{"wildcard":"*/lib/*"}]}}`, Yes},
		{`{"detail":{"path":[{"wildcard":"*"}]}}`, Yes},
		{`{"detail":{"path":[{"wildcard":"lib/*"}]}}`, No},
		{`{"detail":{"star":[{"wildcard":"a\\*b"}]}}`, Yes},
		{`{"detail":{"state":[{"wildcard":"r\\*g"}]}}`, No},
		{`{"detail":{"c-count":[{"wildcard":"*"}]}}`, No},

		{`{"detail":{"state":[{"anything-but":"stopped"}]}}`, Yes},
		{`{"detail":{"state":[{"anything-but":"running"}]}}`, No},
		{`{"detail":{"state":[{"anything-but":["stopped","running"]}]}}`, No},
		{`{"detail":{"state":[{"anything-but":{"prefix":"stop"}}]}}`, Yes},
		{`{"detail":{"state":[{"anything-but":{"prefix":"run"}}]}}`, No},
		{`{"detail":{"state":[{"anything-but":{"prefix":["stop","run"]}}]}}`, No},
		{`{"detail":{"path":[{"anything-but":{"suffix":".png"}}]}}`, No},
		{`{"detail":{"path":[{"anything-but":{"wildcard":"*/lib/*"}}]}}`, No},
		{`{"detail":{"path":[{"anything-but":{"wildcard":"*/bin/*"}}]}}`, Yes},
		{`{"detail":{"state":[{"anything-but":{"equals-ignore-case":"RUNNING"}}]}}`, No},
		{`{"detail":{"state":[{"anything-but":{"equals-ignore-case":["x","STOPPED"]}}]}}`, Yes},
		{`{"detail":{"x-limit":[{"anything-but":[100,301.8]}]}}`, No},
		{`{"detail":{"x-limit":[{"anything-but":100}]}}`, Yes},
		{`{"detail":{"missing":[{"anything-but":"x"}]}}`, No},
		{`{"resources":[{"anything-but":{"prefix":"arn:aws:ec2:us-east-1:123456789012:instance"}}]}`, Yes}, // the other element
		{`{"detail":{"flag":[{"anything-but":"x"}]}}`, Undecided},

		{`{"detail":{"c-count":[{"numeric":[">",0,"<=",5]}],"d-count":[{"numeric":["<",10]}],"x-limit":[{"numeric":["=",3.018e2]}]}}`, Yes},
		{`{"detail":{"c-count":[{"numeric":[">",5]}]}}`, No},
		{`{"detail":{"c-count":[{"numeric":[">=",5]}]}}`, Yes},
		{`{"detail":{"text":[{"numeric":[">",0]}]}}`, No},

		{`{"detail":{"source-ip":[{"cidr":"10.0.0.0/24"}]}}`, Yes},
		{`{"detail":{"source-ip":[{"cidr":"10.0.1.0/24"}]}}`, No},
		{`{"detail":{"ip6":[{"cidr":"2001:db8::/32"}]}}`, Yes},
		{`{"detail":{"state":[{"cidr":"10.0.0.0/8"}]}}`, No},

		{`{"detail":{"state":[{"exists":true}]}}`, Yes},
		{`{"detail":{"missing":[{"exists":true}]}}`, No},
		{`{"detail":{"missing":[{"exists":false}]}}`, Yes},
		{`{"detail":{"state":[{"exists":false}]}}`, No},
		{`{"detail":{"none":[{"exists":true}]}}`, Yes},
		{`{"detail":{"inner":[{"exists":true}]}}`, No},   // only leaves exist
		{`{"detail":{"inner":[{"exists":false}]}}`, Yes}, // as the documentation warns
		{`{"empty":[{"exists":true}]}`, No},
		{`{"detail":{"missing":["x",{"exists":false}]}}`, Yes},

		{`{"source":["aws.ec2"],"$or":[{"detail":{"state":["stopped"]}},{"detail":{"c-count":[5]}}]}`, Yes},
		{`{"source":["aws.ec2"],"$or":[{"detail":{"state":["stopped"]}},{"detail":{"c-count":[6]}}]}`, No},
		{`{"source":["aws.s3"],"$or":[{"detail":{"state":["running"]}},{"detail":{"c-count":[5]}}]}`, No},
		{`{"detail":{"$or":[{"state":["x"]},{"c-count":[5],"$or":[{"d-count":[4]},{"d-count":[3]}]}]}}`, Yes},
		{`{"$or":[{"source":["aws.ec2"]},{"source":["x"]}],"detail":{"$or":[{"state":["x"]},{"c-count":[7]}]}}`, No},

		// What is not documented, or not known here.
		{`{"source":[{"sounds-like":"x"}]}`, Undecided},
		{`{"nothing":[{"sounds-like":"x"}]}`, Undecided},
		{`{"source":["aws.ec2",{"sounds-like":"x"}]}`, Yes},
		{`{"source":["aws.ec2"],"detail":{"state":["stopped"],"path":[{"sounds-like":"x"}]}}`, No},
		{`{"source":[{"prefix":7}]}`, Undecided},
		{`{"source":[{"wildcard":"a**b"}]}`, Undecided},
		{`{"source":[{"wildcard":"a\\xb"}]}`, Undecided},
		{`{"detail":{"state":[{"anything-but":["x",5]}]}}`, Undecided},
		{`{"source":["aws.ec2"],"$or":[{"source":["aws.ec2"]},{"time":["x"]}]}`, Undecided},
		{`{"$or":[{"prefix":["x"]},{"source":["aws.ec2"]}]}`, Undecided},
		{`{"source":[{"equals-ignore-case":"ÄWS"}]}`, No},
		{`{"time":[{"cidr":"nonsense"}]}`, Undecided},
	} {
		if got := eventPattern(t, tc.pattern).Match(event); got.Truth != tc.want {
			t.Errorf("%s: %+v, want %s", tc.pattern, got, tc.want)
		} else if (got.Truth == Yes) != (got.Reason == "") {
			t.Errorf("%s: %s with reason %q", tc.pattern, got.Truth, got.Reason)
		}
	}
}

// Fields that stand in one list must match in one element of it, as aws/event-ruler's
// cases demand.
func TestOneElementOfAListMustMatchAllFields(t *testing.T) {
	staff := `{"employees":[[{"firstName":"John","lastName":"Doe","ids":[1234,1000,9999]},{"firstName":"Anna","lastName":"Smith"}],[{"firstName":"Peter","lastName":"Jones","ids":[]}]]}`
	split := `{"d":[{"a":1},{"b":2}]}`
	for _, tc := range []struct {
		pattern, event string
		want           Truth
	}{
		{`{"employees":{"firstName":["Anna"]}}`, staff, Yes},
		{`{"employees":{"firstName":["John"],"ids":[1000]}}`, staff, Yes},
		{`{"employees":{"firstName":["Anna"],"ids":[{"exists":false}]}}`, staff, Yes},
		{`{"employees":{"firstName":["Anna"],"lastName":["Jones"]}}`, staff, No},
		{`{"employees":{"firstName":["Anna"],"ids":[1000]}}`, staff, No},
		{`{"employees":{"firstName":["Anna"],"ids":[{"exists":true}]}}`, staff, No},
		{`{"employees":["b"]}`, staff, No},
		{`{"d":{"a":[{"exists":true}],"b":[{"exists":true}]}}`, split, No},
		{`{"d":{"a":[{"exists":true}],"b":[{"exists":false}]}}`, split, Yes},
		{`{"d":{"a":[{"exists":true}],"b":[{"exists":true}]}}`, `{"d":[{"a":1},{"b":2},{"a":3,"b":4}]}`, Yes},
		{`{"d":{"a":["x"],"b":["y"]}}`, `{"d":[{"a":["q","x"],"b":["r","y"]}]}`, Yes},
		{`{"d":{"u":{"k":["color"],"v":["blue"]}}}`, `{"d":[{"u":[{"k":"color"},{"v":"blue"}]}]}`, No},
		{`{"d":{"u":{"k":["color"],"v":["blue"]}}}`, `{"d":[{"u":[{"k":"color","v":"red"},{"k":"color","v":"blue"}]}]}`, Yes},
		{`{"u":{"n":[{"exists":true}],"s":[{"anything-but":"banned"}]}}`, `{"u":[{"n":"alice","s":"banned"},{"n":"bob","s":"active"}]}`, Yes},
	} {
		if got := eventPattern(t, tc.pattern).Match(doc(t, tc.event)); got.Truth != tc.want {
			t.Errorf("%s on %s: %+v, want %s", tc.pattern, tc.event, got, tc.want)
		}
	}
}

func TestWhatIsNotKnownDecidesNothing(t *testing.T) {
	event := map[string]any{
		"source": "aws.iam", "id": Text{},
		"detail": Open{
			"eventName": "CreateRole", "errorCode": OneOf{"AccessDenied", "AccessDeniedException"}, "maybe": OneOf{Absent{}, "x"},
			"userIdentity":      Open{"type": "AssumedRole", "arn": Text{Prefix: "arn:aws:sts::1:assumed-role/injector/auditcanary-"}},
			"requestParameters": Unknown{}, "invokedBy": Absent{}, "list": []any{Open{"a": "1"}},
		},
	}
	for _, tc := range []struct {
		pattern string
		want    Truth
	}{
		{`{"source":["aws.iam"],"id":[{"exists":true}]}`, Yes},
		{`{"id":["x"]}`, Undecided},
		{`{"id":[{"exists":false}]}`, No},
		{`{"id":[5]}`, No},
		{`{"id":[{"anything-but":"x"}]}`, Undecided},
		{`{"id":[{"wildcard":"*"}]}`, Yes},
		{`{"detail":{"requestParameters":{"roleName":["x"]}}}`, Undecided},
		{`{"detail":{"requestParameters":{"roleName":[{"exists":false}]}}}`, Undecided},
		{`{"detail":{"requestParameters":[{"exists":true}]}}`, Undecided},
		{`{"source":["aws.s3"],"detail":{"requestParameters":{"roleName":["x"]}}}`, No},
		{`{"detail":{"vpcEndpointId":[{"exists":true}]}}`, Undecided},
		{`{"detail":{"userIdentity":{"invokedBy":["x"]}}}`, Undecided},
		{`{"detail":{"invokedBy":[{"exists":false}]}}`, Yes},
		{`{"detail":{"eventName":{"deeper":["x"]}}}`, No},
		{`{"sources":["x"]}`, No}, // the envelope is closed

		{`{"detail":{"errorCode":[{"exists":false}]}}`, No},
		{`{"detail":{"errorCode":["AccessDenied"]}}`, Undecided},
		{`{"detail":{"errorCode":[{"prefix":"AccessDenied"}]}}`, Yes},
		{`{"detail":{"errorCode":["AccessDenied","AccessDeniedException"]}}`, Yes},
		{`{"detail":{"errorCode":["Throttling"]}}`, No},
		{`{"detail":{"errorCode":[{"anything-but":"Throttling"}]}}`, Yes},
		{`{"detail":{"maybe":["x"]}}`, Undecided},
		{`{"detail":{"maybe":["y"]}}`, No},
		{`{"detail":{"maybe":[{"exists":false}]}}`, Undecided},
		{`{"detail":{"maybe":["x",{"exists":false}]}}`, Undecided}, // in truth yes: alternatives are not combined

		{`{"detail":{"userIdentity":{"arn":[{"prefix":"arn:aws:sts::1:assumed-role/injector/"}]}}}`, Yes},
		{`{"detail":{"userIdentity":{"arn":[{"prefix":"arn:aws:sts::2:"}]}}}`, No},
		{`{"detail":{"userIdentity":{"arn":[{"prefix":"arn:aws:sts::1:assumed-role/injector/auditcanary-2026"}]}}}`, Undecided},
		{`{"detail":{"userIdentity":{"arn":[{"anything-but":{"wildcard":"*/auditcanary-*"}}]}}}`, No},
		{`{"detail":{"userIdentity":{"arn":[{"anything-but":{"wildcard":"*/breakglass-*"}}]}}}`, Undecided},
		{`{"detail":{"userIdentity":{"arn":[{"suffix":"-01"}]}}}`, Undecided},
		{`{"detail":{"userIdentity":{"arn":[{"equals-ignore-case":"ARN:aws:sts::1:assumed-role/INJECTOR/auditcanary-x"}]}}}`, Undecided},
		{`{"detail":{"list":{"a":["1"],"b":["2"]}}}`, Undecided},
		{`{"detail":{"list":{"a":["2"],"b":["2"]}}}`, No},
		{`{"$or":[{"detail":{"requestParameters":{"x":["y"]}}},{"source":["aws.iam"]}]}`, Yes},
		{`{"$or":[{"detail":{"requestParameters":{"x":["y"]}}},{"source":["aws.s3"]}]}`, Undecided},
	} {
		if got := eventPattern(t, tc.pattern).Match(event); got.Truth != tc.want {
			t.Errorf("%s: %+v, want %s", tc.pattern, got, tc.want)
		}
	}
}

func TestTheReasonNamesTheFieldThatDecides(t *testing.T) {
	event := map[string]any{"source": "aws.iam", "detail": Open{"eventName": "CreateRole", "errorCode": OneOf{"AccessDenied", "X"}, "requestParameters": Unknown{}, "id": Text{Prefix: "a"}}}
	for pattern, want := range map[string]string{
		`{"source":["aws.iam"],"detail":{"eventName":["DeleteRole", "X"]}}`:       `detail.eventName must be ["DeleteRole","X"], and is "CreateRole"`,
		`{"source":["aws.iam"],"detail":{"errorCode":[{"exists":false}]}}`:        `detail.errorCode must not exist, and is "AccessDenied" or "X"`,
		`{"detail":{"eventName":["CreateRole"],"requestParameters":{"a":["b"]}}}`: `detail.requestParameters.a must be ["b"], and is not known`,
		`{"detail":{"eventName":[{"sounds-like":"x"}]}}`:                          `detail.eventName is compared by {"sounds-like":"x"}, which is not understood here`,
		`{"detail":{"id":["b"]}}`:                                                      `detail.id must be ["b"], and is a text that begins with "a"`,
		`{"region":[{"exists":true}]}`:                                                 `region must exist, and is not there`,
		`{"$or":[{"source":["aws.s3"]},{"detail":{"eventName":["Y"]}}]}`:               `source must be ["aws.s3"], and is "aws.iam"; detail.eventName must be ["Y"], and is "CreateRole"`,
		`{"source":["aws.iam"],"$or":[{"detail":{"x":["1"]}},{"source":["aws.iam"]}]}`: `the pattern names source twice`,
	} {
		if got := eventPattern(t, pattern).Match(event); got.Reason != want {
			t.Errorf("%s:\n got %q\nwant %q", pattern, got.Reason, want)
		}
	}
}

func TestMalformedEventPatternsSayWhere(t *testing.T) {
	for text, want := range map[string]string{
		``:                                    "line 1, column 1: unexpected EOF",
		`{}`:                                  "line 1, column 1: the pattern is empty",
		`[]`:                                  "expected an object",
		"{\n \"source\": \"aws.iam\"}":        "line 2, column 21: source must be an object or a list, not \"aws.iam\"",
		`{"a":[]}`:                            "the list of a is empty",
		`{"a":[[1]]}`:                         "a list within the list of a",
		`{"a":[{}]}`:                          "an operator must be an object with one name",
		`{"a":[{"prefix":"x","suffix":"y"}]}`: "an operator must be an object with one name",
		`{"a":["x"],"a":["y"]}`:               `the name "a" is there twice`,
		`{"a":["x"]} x`:                       "more after the end",
		`{"a":["x"`:                           "unexpected EOF",
		`{"$or":[{"a":["x"]}]}`:               "at least two alternatives",
		`{"$or":["x","y"]}`:                   "expected an object",
		strings.Repeat(`{"a":`, 200):          "nested more than 100 levels deep",
		strings.Repeat(" ", maxPattern+1):     "more than the",
		`{"a":[` + strings.Repeat("[", 5000):  "nested more than 100 levels deep",
		`{"$or":[` + strings.Repeat(`{"a":["x"]},`, maxRules+1) + `{"a":["x"]}]}`: "more than 1000 rules",
	} {
		_, err := ParseEventPattern(text)
		var at *SyntaxError
		if !errors.As(err, &at) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q in it", text, err, want)
		}
	}
}

// Lists that can be combined in many ways end in no answer, not in no end.
func TestManyCombinationsAreGivenUp(t *testing.T) {
	var event, pattern strings.Builder
	event.WriteString(`{"z":"1"`)
	pattern.WriteString(`{"z":["2"]`)
	for _, name := range strings.Split("abcdefghijklm", "") {
		event.WriteString(`,"` + name + `":["1","1","1","1"]`)
		pattern.WriteString(`,"` + name + `":["1"]`)
	}
	p := eventPattern(t, pattern.String()+"}")
	if got := p.Match(doc(t, event.String()+"}")); got.Truth != Undecided || !strings.Contains(got.Reason, "too many ways") {
		t.Errorf("%+v", got)
	}
	var rules strings.Builder // each of many rules may be combined in many ways, too
	rules.WriteString(`{"$or":[{"z":["2"]}`)
	for range 300 {
		rules.WriteString(`,{"a":["1"],"b":["1"],"c":["1"],"d":["1"],"e":["1"],"f":["1"],"z":["2"]}`)
	}
	began := time.Now()
	if got := eventPattern(t, rules.String()+"]}").Match(doc(t, event.String()+"}")); got.Truth != Undecided {
		t.Errorf("%+v", got)
	}
	if d := time.Since(began); d > 3*time.Second {
		t.Errorf("it took %s", d)
	}
	if got := eventPattern(t, `{"a":["x"]}`).Match(doc(t, `{"a":[`+strings.Repeat("1,", maxLeaves)+`1]}`)); got.Truth != Undecided {
		t.Errorf("too many fields: %+v", got)
	}
}

func FuzzEventPattern(f *testing.F) {
	for _, s := range []string{`{"a":["x"]}`, `{"a":{"b":[{"prefix":"x"}]},"$or":[{"c":[1]},{"d":[null]}]}`, `{"a":[{"anything-but":{"wildcard":["*x*"]}}]}`, `{"a":[{"numeric":[">",1e999]}]}`, `{"a":[{"cidr":"::/0"}]}`, `{`, "\xff"} {
		f.Add(s, instance)
	}
	f.Fuzz(func(t *testing.T, text, event string) {
		p, err := ParseEventPattern(text)
		if err != nil {
			var at *SyntaxError
			if !errors.As(err, &at) || at.Line < 1 || at.Column < 1 {
				t.Fatalf("%#v", err)
			}
			return
		}
		if got := p.Match(Unknown{}); got.Truth != Undecided {
			t.Fatalf("%s of what is not known: %+v", text, got)
		}
		if v, err := Decode([]byte(event)); err == nil {
			if got := p.Match(v); (got.Truth == Yes) != (got.Reason == "") {
				t.Fatalf("%+v", got)
			}
		}
	})
}
