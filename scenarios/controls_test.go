package scenarios

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/event"
)

func TestControlsSchemaIsWhatTheTypesSay(t *testing.T) {
	golden(t, "controls.schema.json", generateControlsSchema(t))
}

// generateControlsSchema makes the schema of controls.yaml from Mapping and its comments.
func generateControlsSchema(t *testing.T) []byte {
	t.Helper()
	r := jsonschema.Reflector{Anonymous: true, ExpandedStruct: true}
	if err := r.AddGoComments("github.com/auditcanary/auditcanary/scenarios", "controls.go", jsonschema.WithFullComment()); err != nil {
		t.Fatal(err)
	}
	s := r.ReflectFromType(reflect.TypeFor[Mapping]())
	s.Title = "auditcanary controls"
	part := func(s *jsonschema.Schema, name string) *jsonschema.Schema {
		p, ok := s.Properties.Get(name)
		if !ok {
			t.Fatalf("the mapping has no field %q any more", name)
		}
		return p
	}
	text := func(p *jsonschema.Schema) { p.Pattern, p.MinLength, p.MaxLength = `^[^\n]+$`, ptr(4), ptr(300) }
	control, support, meaning := s.Definitions["Control"], s.Definitions["Support"], s.Definitions["Meaning"]
	part(s, "version").Pattern = `^[0-9]{4}-[0-9]{2}-[0-9]{2}\.[0-9]+$`
	part(s, "controls").MinItems, part(s, "controls").MaxItems = ptr(1), ptr(200)
	part(control, "id").Pattern = `^[a-z0-9-]+:[a-z0-9.-]+/[A-Za-z0-9.()-]+$`
	for _, name := range []string{"framework", "title", "source", "limits"} {
		text(part(control, name))
	}
	part(control, "checks").MinItems, part(control, "checks").MaxItems = ptr(1), ptr(8)
	part(support, "canaries").Enum = []any{AllCanaries, NamingCanaries}
	for _, one := range []*jsonschema.Schema{support, meaning} {
		for _, c := range canary.Checks() {
			part(one, "check").Enum = append(part(one, "check").Enum, c)
		}
		if one == support {
			fields := part(one, "fields")
			fields.MinItems, fields.UniqueItems = ptr(1), true
			for _, f := range event.AttributionFields() {
				fields.Items.Enum = append(fields.Items.Enum, f)
			}
		}
		text(part(one, "shows"))
		text(part(one, "does_not_show"))
	}
	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(out, '\n')
}

// TestWhatIsWrongWithAMappingIsNamed: each mistake, with the line and column it is at.
func TestWhatIsWrongWithAMappingIsNamed(t *testing.T) {
	sound := string(controlsYAML)
	for _, tc := range []struct{ name, old, new string }{
		{"unknown-key", "    limits: access", "    limit: access"},
		{"unknown-check", "{check: timely, canaries: naming", "{check: punctual, canaries: naming"},
		{"unknown-population", "{check: timely, canaries: naming", "{check: timely, canaries: some"},
		{"control-twice", "id: iso27017:2015/12.4.2\n    framework: ISO/IEC 27017:2015\n    clause: 12.4.2", "id: iso27017:2015/12.4.1\n    framework: ISO/IEC 27017:2015\n    clause: 12.4.1"},
		{"id-of-another-clause", "clause: 12.4.4", "clause: 12.4.5"},
		{"id-form", "id: cis-aws:3.0.0/3.1", "id: CIS 3.1"},
		{"confirmed-by-hearsay", "confirmed: false\n    source: general knowledge\n    checks:\n      - {check: surfaced, canaries: naming, shows: the granting", "confirmed: true\n    source: general knowledge\n    checks:\n      - {check: surfaced, canaries: naming, shows: the granting"},
		{"no-limits", "    limits: access to log information by those who need not read it\n", ""},
		{"check-not-explained", "  - check: timely\n    shows: the record stood in the store within the time agreed, by the provider's own clocks\n    does_not_show: that anybody looked at it in that time\n", ""},
		{"check-twice", "{check: timely, canaries: naming", "{check: surfaced, canaries: naming"},
		{"cleaned-supports-nothing", "{check: timely, canaries: naming", "{check: cleaned, canaries: naming"},
		{"unknown-field", "fields: [time]", "fields: [moment]"},
		{"fields-of-another-check", "{check: timely, canaries: naming", "{check: timely, canaries: naming, fields: [time]"},
		{"no-version", "version: 2026-11-26.2", "version: latest"},
		{"without-does-not-show", ", does_not_show: that it is watched}", "}"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			text := strings.Replace(sound, tc.old, tc.new, 1)
			if text == sound {
				t.Fatalf("%q is not in controls.yaml", tc.old)
			}
			_, err := parseMapping("controls.yaml", []byte(text))
			if err == nil {
				t.Fatal("nothing is wrong with it, by its own account")
			}
			golden(t, filepath.Join("testdata", "controls", tc.name+".err"), []byte(err.Error()+"\n"))
		})
	}
}

// TestACanaryCanSpeakForEachControl: where only those count whose scenario names
// the control, there is such a scenario.
func TestACanaryCanSpeakForEachControl(t *testing.T) {
	m, err := ReadControls()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("aws/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	var all strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	for _, c := range m.Controls {
		naming := slices.ContainsFunc(c.Checks, func(s Support) bool { return s.Canaries == NamingCanaries })
		if naming && !strings.Contains(all.String(), c.ID) {
			t.Errorf("control %s asks for canaries that name it, and no scenario does", c.ID)
		}
	}
}
