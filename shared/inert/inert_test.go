package inert

import "testing"

func TestTextIsInert(t *testing.T) {
	for in, want := range map[string]string{
		"plain text": "plain text", "a\nb\x1b[2J\u202e": "a\uFFFDb\uFFFD[2J\uFFFD",
		"=1+1": "'=1+1", "%x": "'%x", "＝1": "'＝1", "-": "'-", "a=1": "a=1", "": "",
	} {
		if got := Cell(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
