package fault

import (
	"os"
	"strings"
	"testing"
)

// TestEveryExampleOfTheDocumentationParses reads the package's own documentation:
// its examples must be fault files, and show every action of every point.
func TestEveryExampleOfTheDocumentationParses(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	examples := examplesOf(string(text))
	if len(examples) != 8 {
		t.Errorf("%d examples, want the first, a window and one for each point", len(examples))
	}
	for _, src := range examples {
		set, err := Parse("example", []byte(src))
		if err != nil {
			t.Errorf("%v\n%s", err, src)
			continue
		}
		for _, f := range set.faults {
			for _, action := range named(f.do) {
				shown[f.at+" "+action] = true
			}
		}
	}
	n := 0
	for at, able := range actions {
		for action := range able {
			n++
			if !shown[at+" "+action] {
				t.Errorf("no example shows what %s does at %s", action, at)
			}
		}
	}
	if len(shown) != n {
		t.Errorf("%d actions shown, %d there are", len(shown), n)
	}
}

// examplesOf cuts the indented fault files out of a Go comment.
func examplesOf(text string) []string {
	var out []string
	in := false
	for line := range strings.Lines(text) {
		code, ok := strings.CutPrefix(line, "//\t")
		switch {
		case ok && strings.HasPrefix(code, "faults:"):
			in = true
			out = append(out, code)
		case ok && in:
			out[len(out)-1] += code
		default:
			in = false
		}
	}
	return out
}

// named says which action a Do is, in the words of the file.
func named(do Do) []string {
	var out []string
	for name, there := range map[string]bool{
		"error": do.Error != nil, "hang": do.Hang != nil, "expire": do.Expire, "skew": do.Skew != 0,
		"drop": do.Drop, "delay": do.Delay != 0, "duplicate": do.Duplicate != 0,
		"set": do.Set != nil, "unset": do.Unset != nil, "shift": do.Shift != nil,
		"truncate": do.Truncate != 0, "corrupt": do.Corrupt, "reorder": do.Reorder, "replace": do.Replace,
		"layout": do.Layout != "", "delete": do.Delete, "copy": do.Copy != nil, "retain": do.Retain != nil,
	} {
		if there {
			out = append(out, name)
		}
	}
	return out
}
