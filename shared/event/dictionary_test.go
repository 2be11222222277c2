package event

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite DICTIONARY.md")

func TestDictionaryIsUpToDate(t *testing.T) {
	got := dictionary(t)
	if *update {
		if err := os.WriteFile("DICTIONARY.md", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("DICTIONARY.md")
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Error("DICTIONARY.md is not what the types say; run: go test ./shared/event -run Dictionary -update")
	}
}

// dictionary renders the types of event.go: their JSON names, their comments and
// their tags of each format, and the tables of this package.
func dictionary(t *testing.T) string {
	var b strings.Builder
	b.WriteString(`# Data dictionary of an event

Generated from ` + "`event.go`, `compare.go`, `params.go`, `cloudtrail_differences.go` and `kubernetes_differences.go`" + ` (` + "`go test ./shared/event -run Dictionary -update`" + `).
An event is given as JSON with these names; CEL expectations see the same. A field that is absent was not stated.
"Compared" fields are those in which a record must say what the receipt says.

| field | type | meaning | CloudTrail field | Kubernetes audit field | compared |
|---|---|---|---|---|---|
`)
	comments := fieldComments(t)
	var rows func(prefix string, typ reflect.Type)
	listed := map[string]bool{}
	rows = func(prefix string, typ reflect.Type) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			name = prefix + name
			listed[name] = true
			comment := comments[typ.Name()+"."+f.Name]
			if comment == "" {
				t.Errorf("%s.%s has no comment", typ.Name(), f.Name)
			}
			compared := ""
			if slices.Contains(AttributionFields(), name) {
				compared = "yes"
			}
			raw := map[string]string{}
			for _, format := range []string{"cloudtrail", "kubernetes"} {
				if field := f.Tag.Get(format); field != "" {
					raw[format] = "`" + field + "`"
				}
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", name, typeName(f.Type), cell(comment), raw["cloudtrail"], raw["kubernetes"], compared)
			switch inner := f.Type; {
			case inner.Kind() == reflect.Slice && inner.Elem().Kind() == reflect.Struct:
				rows(name+"[].", inner.Elem())
			case inner.Kind() == reflect.Pointer && inner.Elem().Kind() == reflect.Struct:
				rows(name+".", inner.Elem())
			case inner.Kind() == reflect.Struct && inner.PkgPath() != "time":
				rows(name+".", inner)
			}
		}
	}
	rows("", reflect.TypeFor[Event]())
	for _, f := range AttributionFields() {
		if !listed[f] {
			t.Errorf("attribution field %s is no field of Event", f)
		}
	}
	b.WriteString(`
## Known differences between CloudTrail's records and the calls

Where a record legitimately does not say what the caller knows. Such a difference is shown with its rule and does not fail a check.

| rule | why | source of the fact |
|---|---|---|
`)
	for _, d := range NamedDifferences("cloudtrail") {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", d.Name, cell(d.Why), cell(d.Source))
	}
	b.WriteString(`
## Known differences between Kubernetes' audit events and the calls

| rule | why | source of the fact |
|---|---|---|
`)
	for _, d := range NamedDifferences("kubernetes") {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", d.Name, cell(d.Why), cell(d.Source))
	}
	b.WriteString(`
## Parameters that CloudTrail records under names of their own

Beyond case, number and set names, which are the same parameter anywhere.

| service | parameter in the API | recorded as | source of the fact |
|---|---|---|---|
`)
	for _, r := range recordedNames {
		fmt.Fprintf(&b, "| `%s` | `%s` | `%s` | %s |\n", r.service, r.param, strings.Join(r.path, "."), cell(r.source))
	}
	return b.String()
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

func typeName(t reflect.Type) string {
	switch {
	case t.Kind() == reflect.Pointer:
		return typeName(t.Elem())
	case t.PkgPath() == "time":
		return "timestamp (RFC 3339, UTC)"
	case t.Kind() == reflect.Struct, t.Kind() == reflect.Map:
		return "object"
	case t.Kind() == reflect.Slice:
		return "list of " + typeName(t.Elem())
	case t.Kind() == reflect.Bool:
		return "boolean"
	}
	return t.Kind().String()
}

// fieldComments maps "Type.Field" of event.go to its comment on one line.
func fieldComments(t *testing.T) map[string]string {
	file, err := parser.ParseFile(token.NewFileSet(), "event.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if s, ok := spec.Type.(*ast.StructType); ok {
			for _, f := range s.Fields.List {
				for _, name := range f.Names {
					out[spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
				}
			}
		}
		return true
	})
	return out
}
