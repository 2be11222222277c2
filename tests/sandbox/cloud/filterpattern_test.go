package cloud

import (
	"encoding/json"
	"testing"
)

const patternEvent = `{"eventName":"StopLogging","errorCode":null,"n":5,"read":false,"userIdentity":{"type":"AssumedRole","arn":"arn:aws:sts::1:assumed-role/r/s"},
 "list":["a",{"b":"c"}],"odd.key":"x"}`

func TestAFilterPatternCountsWhatItSays(t *testing.T) {
	var event any
	if err := json.Unmarshal([]byte(patternEvent), &event); err != nil {
		t.Fatal(err)
	}
	for pattern, want := range map[string]bool{
		``:                                 true,
		`{ $.eventName = "StopLogging" }`:  true,
		`{$.eventName=StopLogging}`:        true,
		`{ $.eventName = stoplogging }`:    false,
		`{ $.eventName = "Stop*" }`:        true,
		`{ $.eventName = *Logging }`:       true,
		`{ $.eventName = "Start*" }`:       false,
		`{ $.eventName = %^Stop% }`:        true,
		`{ $.eventName != "StopLogging" }`: false,
		`{ $.eventName != "DeleteTrail" }`: true,
		`{ $.nothing != "x" }`:             false,
		`{ $.nothing NOT EXISTS }`:         true,
		`{ $.errorCode NOT EXISTS }`:       false,
		`{ $.errorCode EXISTS }`:           true,
		`{ $.errorCode IS NULL }`:          true,
		`{ $.nothing IS NULL }`:            false,
		`{ $.read IS FALSE }`:              true,
		`{ $.read IS TRUE }`:               false,
		`{ $.n = 5 }`:                      true,
		`{ $.n >= 5 && $.n < 6 }`:          true,
		`{ $.n > 5 }`:                      false,
		`{ $.eventName > 5 }`:              false,
		`{ $.list[1].b = "c" }`:            true,
		`{ $.list[7] = "c" }`:              false,
		`{ $['odd.key'] = x }`:             true,
		`{ $.userIdentity.type = "Root" && $.userIdentity.invokedBy NOT EXISTS }`: false,
		// && binds closer than ||.
		`{ $.n = 5 || $.n = 6 && $.n = 7 }`:   true,
		`{ ($.n = 5 || $.n = 6) && $.n = 7 }`: false,
		TamperFilterPattern:                   true,
		NetworkFilterPattern:                  false,
	} {
		f, err := parseFilterPattern(pattern)
		if err != nil {
			t.Error(err)
		} else if f(event) != want {
			t.Errorf("%s: %v", pattern, !want)
		}
	}
	for _, pattern := range []string{
		`ERROR`, `[a, b]`, `{`, `{ }`, `{ $.a }`, `{ $.a = }`, `{ $.a = "x }`, `{ ($.a = x }`, `{ $.a = x) }`, `{ $.a IS MAYBE }`, `{ $.a NOT NULL }`, `{ $.a < x }`,
		`{ a = b }`, `{ $ = b }`, `{ $.a = x y }`, `{ $.a = %(% }`, `{ $.a && }`, `{ $.a = && }`,
	} {
		if f, err := parseFilterPattern(pattern); err == nil {
			t.Errorf("%s is a pattern: %v", pattern, f(event))
		}
	}
}

func FuzzFilterPattern(f *testing.F) {
	for _, seed := range []string{TamperFilterPattern, NetworkFilterPattern, AlertFilterPattern, `{ $.a[1].b = %x% || ($.c IS NULL && $.d < 1e3) }`, `{ $.a = "\"" }`, `{ $.a = "\`} {
		f.Add(seed, patternEvent)
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		p, err := parseFilterPattern(pattern)
		var event any
		if err == nil && json.Unmarshal([]byte(text), &event) == nil {
			p(event)
		}
	})
}
