package scenarios

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"testing"

	"github.com/invopop/jsonschema"

	"github.com/auditcanary/auditcanary/shared/canary"
)

var update = flag.Bool("update", false, "write schema.json and the golden files anew")

func TestSchemaIsWhatTheTypesSay(t *testing.T) {
	golden(t, "schema.json", generateSchema(t))
}

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
		t.Errorf("%s differs; if that is meant, run `go test ./scenarios -update`\ngot:\n%s\nwant:\n%s", file, got, want)
	}
}

// generateSchema makes the schema of a scenario file from canary.Scenario, its
// comments and the catalogue's own lists.
func generateSchema(t *testing.T) []byte {
	t.Helper()
	r := jsonschema.Reflector{Anonymous: true, ExpandedStruct: true}
	if err := r.AddGoComments("github.com/auditcanary/auditcanary/scenarios", "../shared/canary/canary.go", jsonschema.WithFullComment()); err != nil {
		t.Fatal(err)
	}
	if err := r.AddGoComments("github.com/auditcanary/auditcanary/scenarios", "../shared/canary/alert.go", jsonschema.WithFullComment()); err != nil {
		t.Fatal(err)
	}
	s := r.ReflectFromType(reflect.TypeFor[canary.Scenario]())
	s.Title = "auditcanary scenario"
	step, undo, schedule := s.Definitions["Step"], s.Definitions["Undo"], s.Definitions["Schedule"]
	look, promise := s.Definitions["Protection"], s.Definitions["Promise"]
	if step == nil || undo == nil || schedule == nil || look == nil || promise == nil {
		t.Fatalf("canary.Scenario no longer has Step, Undo, Protection, Promise and Schedule: %v", s.Definitions)
	}

	// The hash is of the file; it cannot stand in it.
	s.Properties.Delete("hash")
	s.Required = remove(s.Required, "hash")

	part := func(s *jsonschema.Schema, name string) *jsonschema.Schema {
		p, ok := s.Properties.Get(name)
		if !ok {
			t.Fatalf("canary has no field %q any more", name)
		}
		return p
	}
	one, few, many := ptr(1), ptr(20), ptr(50)
	line, text := ptr(100), ptr(2000)
	part(s, "id").Pattern = `^[a-z0-9-]+(/[a-z0-9-]+)+$`
	part(s, "id").MaxLength = line
	part(s, "title").Pattern = `^[^\n]+$`
	part(s, "title").MinLength, part(s, "title").MaxLength = ptr(10), line
	for _, c := range Categories() {
		part(s, "category").Enum = append(part(s, "category").Enum, c.ID)
	}
	controls, err := Controls()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range controls {
		part(s, "controls").Items.Enum = append(part(s, "controls").Items.Enum, c.ID)
	}
	part(s, "controls").MinItems, part(s, "controls").MaxItems, part(s, "controls").UniqueItems = one, many, true
	part(s, "kind").Enum = []any{canary.DoneAndUndone, canary.MustBeDenied, canary.Decoy, canary.DryRun}
	part(s, "scope").Enum = []any{"region", "account"}
	part(s, "harmless").MinLength, part(s, "harmless").MaxLength = one, text
	part(s, "cost").MinLength, part(s, "cost").MaxLength = ptr(4), text
	part(s, "steps").MinItems, part(s, "steps").MaxItems = one, few
	part(s, "expect").MinItems, part(s, "expect").MaxItems = one, ptr(maxExpect)
	part(s, "alerts").MinItems, part(s, "alerts").MaxItems, part(s, "alerts").UniqueItems = one, few, true
	part(promise, "alert").Pattern, part(promise, "alert").MaxLength = `^[a-z0-9-]+$`, ptr(60)
	part(promise, "on").Enum = []any{canary.OnAllowed, canary.OnDenied}
	part(promise, "step").Pattern, part(promise, "step").MaxLength = `^[a-z0-9-]+$`, line
	part(schedule, "every").Enum = []any{"hourly", "daily", "weekly"}
	part(schedule, "why").MinLength, part(schedule, "why").MaxLength = few, text
	call := operationForm.String()
	part(step, "id").Pattern, part(step, "id").MaxLength = `^[a-z0-9-]+$`, line
	part(step, "call").Pattern = call
	part(step, "no_undo").MinLength, part(step, "no_undo").MaxLength = one, text
	codes := `^[A-Za-z][A-Za-z0-9._]*$`
	part(step, "unprotected").Items.Pattern = codes
	part(step, "unprotected").MinItems, part(step, "unprotected").MaxItems, part(step, "unprotected").UniqueItems = one, few, true
	part(step, "protection").MinItems, part(step, "protection").MaxItems = one, ptr(4)
	part(step, "by_state").MinLength, part(step, "by_state").MaxLength = one, text
	part(step, "refused_with").Items.Pattern = codes
	part(step, "refused_with").MinItems, part(step, "refused_with").MaxItems, part(step, "refused_with").UniqueItems = one, few, true
	part(look, "read").Pattern = call
	part(look, "requires").MinItems, part(look, "requires").MaxItems = one, ptr(maxExpect)
	part(look, "expect").MinItems, part(look, "expect").MaxItems = one, ptr(maxExpect)
	part(undo, "call").Pattern = call
	part(undo, "gone").Items.Pattern = codes
	part(undo, "gone").MinItems, part(undo, "gone").MaxItems, part(undo, "gone").UniqueItems = one, few, true

	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(out, '\n')
}

func ptr(n uint64) *uint64 { return &n }

func remove(list []string, s string) []string {
	var kept []string
	for _, x := range list {
		if x != s {
			kept = append(kept, x)
		}
	}
	return kept
}
