package access

import (
	"bytes"
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

//go:embed tamper.tsv
var tamperTSV []byte

// Tamper is one action by which the logs are harmed, or read.
type Tamper struct {
	Group  string `json:"group"`
	Action string `json:"action"`
	// On is the kind of resource.
	On   string `json:"on"`
	What string `json:"what"`
}

// Groups of actions, in the order in which people want to see them.
func Groups() []string { return []string{"delete", "weaken", "forge", "stop", "silence", "read"} }

// act is the group of what is no tampering but tells who acts in an account.
const act = "act"

// Tampers returns the actions of tamper.tsv, those that tell who acts included.
func Tampers() ([]Tamper, error) { return readTampers("tamper.tsv", tamperTSV) }

var actionForm = regexp.MustCompile(`^[a-z0-9-]+:[A-Z][A-Za-z0-9]*$`)

func readTampers(file string, data []byte) ([]Tamper, error) {
	var out []Tamper
	n := 0
	for line := range bytes.Lines(data) {
		n++
		text := strings.TrimSuffix(string(line), "\n")
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		f := strings.Split(text, "\t")
		if len(f) != 4 {
			return nil, fmt.Errorf("%s:%d: %d columns, not 4", file, n, len(f))
		}
		t := Tamper{f[0], f[1], f[2], f[3]}
		switch {
		case t.Group != act && !slices.Contains(Groups(), t.Group):
			return nil, fmt.Errorf("%s:%d: group %q is not known", file, n, t.Group)
		case !actionForm.MatchString(t.Action):
			return nil, fmt.Errorf("%s:%d: %q is no action", file, n, t.Action)
		case slices.ContainsFunc(out, func(o Tamper) bool { return o.Action == t.Action && o.On == t.On }):
			return nil, fmt.Errorf("%s:%d: %s on %s is there twice", file, n, t.Action, t.On)
		}
		out = append(out, t)
	}
	return out, nil
}
