package infra

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
)

const gcp = "../../infra/gcp"

func terraform(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(gcp, "*.tf"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	out := map[string][]byte{}
	for _, f := range files {
		if out[f], err = os.ReadFile(f); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestTerraformIsFormatted(t *testing.T) {
	for file, text := range terraform(t) {
		if formatted := hclwrite.Format(text); !bytes.Equal(formatted, text) {
			t.Errorf("%s is not formatted (terraform fmt)", file)
		}
	}
	if text := []byte("a   = 1\nbb = 2\n"); bytes.Equal(hclwrite.Format(text), text) {
		t.Error("what is not formatted passes")
	}
}

// TestTerraformRefersToWhatThereIs: every var, local, resource and each.* leads somewhere.
// What the provider would say of arguments nobody asked.
func TestTerraformRefersToWhatThereIs(t *testing.T) {
	for _, problem := range dangling(t, terraform(t)) {
		t.Error(problem)
	}
	bad := map[string][]byte{"bad.tf": []byte("variable \"a\" {}\nresource \"x_y\" \"z\" {\n  a = var.b\n  b = local.c\n  c = x_y.w.id\n  d = each.key\n  e = [for k, v in var.a : v if other.thing.id != k]\n}\n")}
	if got := dangling(t, bad); len(got) != 5 {
		t.Errorf("five things are wrong, got %q", got)
	}
}

func dangling(t *testing.T, files map[string][]byte) (problems []string) {
	t.Helper()
	known := map[string]bool{"path.module": true}
	var bodies []*hclsyntax.Body
	p := hclparse.NewParser()
	for file, text := range files {
		f, diags := p.ParseHCL(text, file)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		body := f.Body.(*hclsyntax.Body)
		bodies = append(bodies, body)
		for _, b := range body.Blocks {
			switch b.Type {
			case "variable":
				known["var."+b.Labels[0]] = true
			case "resource":
				known[b.Labels[0]+"."+b.Labels[1]] = true
			case "locals":
				for name := range b.Body.Attributes {
					known["local."+name] = true
				}
			}
		}
	}
	for _, body := range bodies {
		for _, b := range body.Blocks {
			if b.Type == "terraform" || b.Type == "variable" {
				continue
			}
			_, repeated := b.Body.Attributes["for_each"]
			_ = hclsyntax.VisitAll(b.Body, func(n hclsyntax.Node) hcl.Diagnostics {
				attribute, ok := n.(*hclsyntax.Attribute)
				if !ok {
					return nil
				}
				for _, v := range attribute.Expr.Variables() { // less what a for expression names itself
					name := v.RootName()
					if len(v) > 1 {
						if a, ok := v[1].(hcl.TraverseAttr); ok {
							name += "." + a.Name
						}
					}
					if name == "each.key" || name == "each.value" {
						if !repeated {
							problems = append(problems, fmt.Sprintf("%s: %s without for_each", attribute.SrcRange, name))
						}
					} else if !known[name] {
						problems = append(problems, fmt.Sprintf("%s: there is no %s", attribute.SrcRange, name))
					}
				}
				return nil
			})
		}
	}
	return problems
}

// TestTheWorkflowHasItsAddresses: what Terraform puts into it is what it asks for.
func TestTheWorkflowHasItsAddresses(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(gcp, "run.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	main := string(terraform(t)[filepath.Join(gcp, "main.tf")])
	_, call, _ := strings.Cut(main, "templatefile(")
	call, _, _ = strings.Cut(call, "})")
	for _, m := range regexp.MustCompile(`(^|[^$])\$\{([a-z]+)\}`).FindAllStringSubmatch(string(text), -1) {
		if !regexp.MustCompile(`(?m)^\s+` + m[2] + `\s+=`).MatchString(call) {
			t.Errorf("run.yaml asks for %s, which main.tf does not give", m[2])
		}
	}
}

// TestTheContainerHoldsWhatIsPackaged: the container's build line, run as it stands, makes
// the very bytes that make package makes for the same platform; and the container is one
// that runs nothing else, as nobody, and knows certificate authorities.
func TestTheContainerHoldsWhatIsPackaged(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(gcp, "Containerfile"))
	if err != nil {
		t.Fatal(err)
	}
	joined := strings.ReplaceAll(string(text), "\\\n", " ")
	instruction := func(name string) (out []string) {
		for _, line := range regexp.MustCompile(`(?m)^`+name+` +(.*)$`).FindAllStringSubmatch(joined, -1) {
			out = append(out, line[1])
		}
		return out
	}
	from := instruction("FROM")
	if len(from) != 2 || from[1] != "scratch" {
		t.Errorf("built from %q, want a last stage from scratch", from)
	}
	if user := instruction("USER"); len(user) != 1 || !regexp.MustCompile(`^[1-9][0-9]*:[1-9][0-9]*$`).MatchString(user[0]) {
		t.Errorf("USER %q", user)
	}
	if !slices.ContainsFunc(instruction("COPY"), func(c string) bool {
		return strings.Contains(c, "ca-certificates.crt /etc/ssl/certs/ca-certificates.crt")
	}) {
		t.Error("no certificates are copied")
	}
	_, version, _ := strings.Cut(from[0], "golang:")
	version, _, _ = strings.Cut(version, " ")
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if m := regexp.MustCompile(`(?m)^go (\S+)$`).FindSubmatch(mod); m == nil || !strings.HasPrefix(version, string(m[1])) && version < string(m[1]) {
		t.Errorf("built with Go %s, go.mod wants %s", version, m)
	}

	loop := regexp.MustCompile(`for f in ([a-z ]+); do +(go build .*) -o /out/\$f (\./functions/\$f) \|\| exit 1; +done`).FindStringSubmatch(strings.Join(instruction("RUN"), "\n"))
	if loop == nil {
		t.Fatalf("no build line in %q", instruction("RUN"))
	}
	folders, err := os.ReadDir("../../functions")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range folders {
		if built := slices.Contains(strings.Fields(loop[1]), f.Name()); built == (f.Name() == "auditcanary") {
			t.Errorf("functions/%s is built: %t", f.Name(), built)
		}
	}
	bundle, err := os.ReadFile("../bundle/main.go")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`exec\.CommandContext\(ctx, "go", "build", (.*), "-tags", tags, "-o", out, pkg\)`).FindSubmatch(bundle)
	tags := regexp.MustCompile(`(?m)^const tags = "(.*),lambda"$`).FindSubmatch(bundle)
	if line == nil || tags == nil {
		t.Fatal("the packaging has another build line: hold the container against it")
	}
	var want []string
	for _, m := range regexp.MustCompile(`"([^"]*)"`).FindAllSubmatch(line[1], -1) {
		want = append(want, string(m[1]))
	}
	want = append(want, "-tags", string(tags[1])) // the container's functions serve HTTP, with what lambda leaves out
	var args []string
	for _, m := range regexp.MustCompile(`"([^"]*)"|(\S+)`).FindAllStringSubmatch(strings.TrimPrefix(loop[2], "go build "), -1) {
		args = append(args, m[1]+m[2])
	}
	if !slices.Equal(args, want) {
		t.Errorf("the container is built with %q, the package with %q", args, want)
	}
}
