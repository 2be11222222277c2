package exception

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/auditcanary/auditcanary/shared/canary"
)

var update = flag.Bool("update", false, "write schema.json and the golden files anew")

// golden compares got with a file, or writes it with -update.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; if that is meant, run `go test ./shared/exception -update`\ngot:\n%s\nwant:\n%s", file, got, want)
	}
}

func TestTheSchemaIsWhatTheTypesSay(t *testing.T) {
	golden(t, "schema.json", generateSchema(t))
}

// generateSchema makes the schema of a register's file from the types and their comments.
func generateSchema(t *testing.T) []byte {
	t.Helper()
	r := jsonschema.Reflector{Anonymous: true, ExpandedStruct: true}
	if err := r.AddGoComments("github.com/auditcanary/auditcanary/shared/exception", "./", jsonschema.WithFullComment()); err != nil {
		t.Fatal(err)
	}
	s := r.ReflectFromType(reflect.TypeFor[file]())
	s.Title = "auditcanary register of exceptions"
	part := func(def, name string) *jsonschema.Schema {
		of := s
		if def != "" {
			of = s.Definitions[def]
		}
		p, ok := of.Properties.Get(name)
		if !ok {
			t.Fatalf("%s has no field %q any more", def, name)
		}
		return p
	}
	n := func(n uint64) *uint64 { return &n }
	part("", "version").Enum = []any{1}
	part("", "exceptions").MaxItems = n(maxExceptions)
	part("Exception", "id").Pattern, part("Exception", "id").MaxLength = idForm.String(), n(maxID)
	part("Scope", "scenario").MinLength, part("Scope", "scenario").MaxLength = n(1), n(maxLine)
	part("Scope", "target").Pattern = accountForm.String()
	for _, c := range excepting() {
		part("Scope", "check").Enum = append(part("Scope", "check").Enum, c)
	}
	for _, x := range exceptable() {
		part("Problem", "status").Items.Enum = append(part("Problem", "status").Items.Enum, x)
	}
	part("Problem", "hop").Enum = []any{canary.Emitted, canary.Delivered, canary.Stored, canary.Parsed}
	for _, name := range []string{"steps", "fields", "details"} {
		part("Problem", name).MaxItems = n(maxList)
		part("Problem", name).Items.MinLength = n(1)
	}
	part("Control", "id").Pattern, part("Control", "version").Pattern = controlForm.String(), versionForm.String()
	part("Exception", "compensating_controls").MinItems, part("Exception", "compensating_controls").MaxItems = n(1), n(maxList)
	for _, name := range []string{"requester", "approver", "statement"} {
		part("Risk", name).MinLength = n(1)
	}
	part("Remediation", "plan").MinLength, part("Exception", "owner").MinLength = n(1), n(1)
	for _, day := range []*jsonschema.Schema{part("Exception", "opened"), part("Exception", "expires"), part("Remediation", "by")} {
		day.Pattern = `^[0-9]{4}-[0-9]{2}-[0-9]{2}$`
	}
	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(out, '\n')
}

func TestAReaderAndTheSchemaAgree(t *testing.T) {
	doc, err := validator.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := validator.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, sound := range map[string]bool{"testdata/register.yaml": true, "testdata/bad.yaml": false} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Read(name, data); (err == nil) != sound {
			t.Errorf("Read %s: %v", name, err)
		}
		if err := schema.Validate(asJSON(t, data)); (err == nil) != sound {
			t.Errorf("the schema says of %s: %v", name, err)
		}
	}
}

// asJSON is a YAML document as an editor validates it: dates are strings.
func asJSON(t *testing.T, data []byte) any {
	t.Helper()
	var n yaml.Node
	if err := yaml.Unmarshal(data, &n); err != nil {
		t.Fatal(err)
	}
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!timestamp" {
			n.Tag = "!!str"
		}
		for _, c := range n.Content {
			walk(c)
		}
	}
	walk(&n)
	var v any
	if err := n.Decode(&v); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := validator.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestARegisterIsReadAsItStands(t *testing.T) {
	data, err := os.ReadFile("testdata/register.yaml")
	if err != nil {
		t.Fatal(err)
	}
	r, err := Read("exceptions.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Exceptions) != 2 || r.Source != "exceptions.yaml" || len(r.SHA256) != 64 {
		t.Fatalf("read %d exceptions of %s, %s", len(r.Exceptions), r.Source, r.SHA256)
	}
	got, err := json.MarshalIndent(r.Exceptions, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/register.golden.json", append(got, '\n'))
	if l := r.Exceptions[1].Line; l != 30 {
		t.Errorf("the second is at line %d", l)
	}
}

func TestEverythingThatIsWrongIsSaidAtOnceWithItsLine(t *testing.T) {
	data, err := os.ReadFile("testdata/bad.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, err = Read("bad.yaml", data)
	if err == nil {
		t.Fatal("a bad register was read")
	}
	golden(t, "testdata/bad.golden", []byte(err.Error()+"\n"))
}

func TestWhatIsNoRegisterIsRefused(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"nothing", "", "x.yaml:1: the file is empty"},
		{"no mapping", "- a\n", "x.yaml:1: the file must be a mapping"},
		{"no YAML", "version: 1\nexceptions: [\n", "not YAML"},
		{"two documents", "version: 1\nexceptions: []\n---\na: 1\n", "more than one YAML document"},
		{"no list", "version: 1\n", "x.yaml:1: exceptions are missing"},
		{"an alias", "version: 1\nexceptions:\n  - &a {id: x}\n  - *a\n", "x.yaml:3: anchors and aliases"},
		{"a tag", "version: !!str 1\nexceptions: []\n", "x.yaml:1: tags are not allowed"},
		{"what cannot be seen", "version: 1\nexceptions:\n  - id: \"a\\u202eb\"\n", "x.yaml:3: the text"},
		{"a filler", "version: 1\nexceptions:\n  - owner: \"Jane\u3164\"\n", "x.yaml:3: the text"},
		{"a blank", "version: 1\nexceptions:\n  - owner: \"Jane\u2800\"\n", "x.yaml:3: the text"},
		{"a joiner", "version: 1\nexceptions:\n  - owner: \"Ja\u034fne\"\n", "x.yaml:3: the text"},
		{"no UTF-8", "version: 1\n# \xff\n", "x.yaml:2: the file is not UTF-8"},
		{"a key twice", "version: 1\nversion: 1\nexceptions: []\n", "x.yaml:2: "},
		{"an unknown key", "version: 1\nexception: []\n", `x.yaml:2: unknown key "exception"`},
		{"too deep", "version: 1\nexceptions: " + strings.Repeat("[", 40) + strings.Repeat("]", 40) + "\n", "nested more than"},
		{"too large", "version: 1\n#" + strings.Repeat("x", MaxBytes), "larger than"},
		{"too many", "version: 1\nexceptions:\n" + strings.Repeat("  - {}\n", maxExceptions+1), "at most 500"},
	} {
		r, err := Read("x.yaml", []byte(tc.text))
		var errs Errors
		if !errors.As(err, &errs) || !strings.Contains(err.Error(), tc.want) || len(r.Exceptions) != 0 {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
	if r, err := Read("x.yaml", []byte("version: 1\nexceptions: []\n")); err != nil || r.Exceptions == nil {
		t.Errorf("a register of none: %v, %v", r, err)
	}
}

func FuzzRead(f *testing.F) {
	for _, name := range []string{"testdata/register.yaml", "testdata/bad.yaml"} {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("version: 1\nexceptions: []\n"))
	f.Add([]byte("? a\n: b\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Read("x.yaml", data)
		if err != nil {
			var errs Errors
			if !errors.As(err, &errs) || len(errs) == 0 || len(errs) > maxErrors+1 {
				t.Fatalf("not a list of errors: %v", err)
			}
			lines := bytes.Count(data, []byte("\n")) + bytes.Count(data, []byte("\r")) + bytes.Count(data, []byte("\xc2\x85")) + bytes.Count(data, []byte("\xe2\x80")) + 1
			for _, e := range errs {
				if e.Line < 1 || e.Line > lines+1 || strings.ContainsAny(e.Msg, "\n\x1b\x00") {
					t.Fatalf("line %d of %d: %q", e.Line, lines, e.Msg)
				}
			}
			return
		}
		parts, err := r.Divide(56 << 10)
		if err != nil {
			t.Fatalf("what was read does not fit into entries: %v", err)
		}
		var j Joining
		for i, p := range parts {
			back, whole := j.Join(p)
			if whole != (i == len(parts)-1) {
				t.Fatalf("part %d of %d: whole %v", i+1, len(parts), whole)
			}
			if whole && len(back.Exceptions) != len(r.Exceptions) {
				t.Fatalf("%d of %d came back", len(back.Exceptions), len(r.Exceptions))
			}
		}
	})
}
