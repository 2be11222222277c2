package host

import (
	"strings"
	"testing"
)

func TestTerminalRunsOnce(t *testing.T) {
	for _, tc := range []struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		{[]string{`{"a":1}`}, 0, "\"a\": 1", ""},
		{[]string{`{"exit":1}`}, 1, "\"exit\": 1", ""},
		{[]string{`{"fail":"it broke"}`}, 2, "", "echo: it broke"},
		{nil, 0, "{}", ""},
	} {
		p := start(t, binary(t, "echo"), tc.args)
		if code := p.wait(t); code != tc.code || !strings.Contains(p.stdout.String(), tc.stdout) || !strings.Contains(p.stderr.String(), tc.stderr) {
			t.Errorf("%q: exit code %d, stdout %s, stderr %s", tc.args, code, p.stdout.String(), p.stderr.String())
		}
	}
}
