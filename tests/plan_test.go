// Package tests holds what is tested across the whole program.
package tests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/auditcanary/auditcanary"

// floors is the house from the ground up. A package imports packages of lower
// floors only, never its neighbours'. A package that is not listed is not part
// of the plan: say where it stands before it is built.
var floors = [][]room{
	{
		{"shared/event", "one normalised privileged event, a reader per log format"},
		{"shared/ledger", "the append-only signed log; it knows leaves, not what is in them"},
		{"shared/inert", "anybody's text, harmless to show"},
		{"shared/vitals", "the numbers by which the program itself is watched; knows no function that tells them"},
		{"shared/auditpolicy", "what an API server's audit policy leaves unrecorded; arithmetic over rules"},
	},
	{
		{"shared/canary", "the nouns, with the judge; speaks of events"},
		{"shared/host", "one main, three faces; it knows the platforms, not the work"},
		{"shared/doctor", "checks in bounded time, of which unknown is never ok; knows none of them"},
	},
	{
		{"shared/trail", "CloudTrail files; finds events for canaries"},
		{"shared/access", "who may tamper with the logs, by which statement; arithmetic over policies"},
		{"shared/pattern", "whether an alert rule matches a record that is known in part; arithmetic over patterns"},
		{"scenarios", "canaries as data"},
		{"shared/exception", "approved exceptions that end; arithmetic over a register"},
		{"shared/cost", "what a month costs by list prices; arithmetic over counts"},
		{"shared/coverage", "what is proven of what is privileged; arithmetic over verdicts"},
	},
	{
		{"shared/run", "the steps of a run; declares the ports"},
		{"shared/inventory", "the sources of logs; weighs settings that were read, beside what coverage knows of proofs"},
	},
	{
		{"shared/report", "a period as plain data, with a renderer per format"},
		{"shared/packet", "evidence that verifies alone; understands a run's entries, and no driver"},
		{"shared/alertrule", "which alerts could fire; holds rules against the records that plans will leave"},
		{"shared/logstore", "central log stores that are asked by query; declares the index that a driver asks"},
		{"shared/ticket", "a ticket for each thing that fails until it is fixed; declares the desk and the chat"},
	},
	{
		{"shared/aws", "the driver for AWS; implements the ports"},
		{"shared/gcp", "the driver for Google Cloud; implements the packet's signer"},
		{"shared/kubernetes", "the driver for Kubernetes clusters; implements the ports"},
		{"shared/slack", "the driver for Slack; implements the chat"},
		{"shared/jira", "the driver for Jira; implements the ticket desk"},
	},
	{
		{"shared/wire", "configuration to a ready run; alone knows every driver"},
	},
	{
		{"functions/auditcanary", "the command for a person at a terminal"},
		{"functions/inject", "does the due canaries"},
		{"functions/packet", "builds the evidence packet of a period"},
		{"functions/confirm", "looks for what is open, judges, undoes"},
		{"functions/sweep", "undoes what a crash left"},
		{"functions/report", "keeps tickets, tells the chat"},
		{"functions/trigger", "takes what people and programs ask for"},
	},
}

type room struct{ path, what string }

// ban forbids some packages an import, however the floors lie.
type ban struct {
	in     func(pkg string) bool // package within the module
	except []string
	imports,
	why string
	// deep: through other packages too. Only for what the standard library does
	// not itself import everywhere (fmt imports os).
	deep bool
}

var bans = []ban{
	{in: everywhere, imports: module + "/tests", deep: true,
		why: "the sandbox is a place reached through endpoint URLs, not a mode of the program"},
	{in: everywhere, except: []string{"functions/auditcanary"}, imports: "os/exec", deep: false,
		why: "nothing this program does needs another program; a person's terminal may open a browser"},

	{in: is("shared/canary", "shared/event"), imports: "os", why: "the judge does no I/O: a verdict follows from the ledger and the records alone"},
	{in: is("shared/canary", "shared/event"), imports: "net", why: "the judge does no I/O (net/netip, which only parses, is another package)"},
	{in: is("shared/canary", "shared/event"), imports: "net/http", why: "the judge does no I/O"},
	{in: is("shared/canary", "shared/event"), imports: "io/fs", why: "the judge does no I/O"},
	{in: is("shared/canary", "shared/event"), imports: "context", why: "what needs a context waits for something, and the judge does not"},
	{in: is("shared/canary", "shared/event"), imports: "log", why: "what the judge has to say is in the verdict"},
	{in: is("shared/canary", "shared/event"), imports: "math/rand/v2", why: "equal evidence gives equal verdicts"},

	{in: is("shared/inventory"), imports: "os", why: "what is found follows from the settings alone; who reads them is another's affair"},
	{in: is("shared/inventory"), imports: "context", why: "what needs a context waits for something, and weighing does not"},

	{in: is("shared/coverage"), imports: "os", why: "what is covered follows from the verdicts alone; who reads them is another's affair"},
	{in: is("shared/coverage"), imports: "context", why: "what needs a context waits for something, and counting does not"},

	{in: is("shared/cost"), imports: "os", why: "an estimate follows from counts and prices; who reads files of them is another's affair"},

	{in: is("shared/report"), imports: "os", why: "a report follows from the ledger alone; who keeps the bytes is another's affair"},
	{in: is("shared/report"), imports: "net/http", why: "a report says what is in the ledger and asks nobody"},
	{in: is("shared/report"), imports: "context", why: "what needs a context waits for something, and rendering does not"},
	{in: is("shared/packet"), imports: "github.com/aws/aws-sdk-go-v2", deep: true, why: "whoever verifies a packet needs no cloud, and links none"},
	{in: is("shared/packet"), imports: "google.golang.org/api", deep: true, why: "whoever verifies a packet needs no cloud, and links none"},
	{in: is("shared/packet"), imports: "net/http", why: "verifying calls nobody; who asks a time-stamping authority is the caller"},
	{in: is("shared/packet"), imports: "os", why: "it reads and writes what it is handed"},

	{in: is("shared/ticket"), imports: "os", why: "what to do about tickets follows from the ledger and the desk"},
	{in: is("shared/ticket"), imports: "net/http", why: "desk and chat are reached through ports only"},
	{in: is("shared/pattern", "shared/alertrule"), imports: "os", why: "whether a rule fires follows from the rule and the record; who reads the rule is another's affair"},
	{in: is("shared/pattern", "shared/alertrule"), imports: "context", why: "what needs a context waits for something, and matching does not"},

	{in: is("shared/auditpolicy"), imports: "os", why: "what is recorded follows from the policy alone; who reads it is another's affair"},
	{in: is("shared/access"), imports: "os", why: "who may do what follows from the policies alone; who collects them is another's affair"},
	{in: is("shared/access"), imports: "context", why: "what needs a context waits for something, and deciding does not"},

	{in: is("shared/trail", "shared/run"), imports: "os", why: "it reads and acts through ports only, so that every driver is judged alike"},
	{in: is("shared/trail", "shared/run"), imports: "net/http", why: "it reads and acts through ports only"},

	{in: below("shared/aws"), imports: "github.com/aws/aws-sdk-go-v2", deep: true,
		why: "only drivers know a cloud's SDK: the steps of a run are the same for every cloud"},
	{in: below("shared/aws"), imports: "google.golang.org/api", deep: true,
		why: "only drivers know a cloud's SDK"},
	{in: below("shared/gcp"), imports: "golang.org/x/oauth2", deep: true,
		why: "only drivers know a cloud's credentials; whoever verifies a packet links none"},
	{in: everywhere, except: []string{"shared/gcp"}, imports: "golang.org/x/oauth2", why: "Google's credentials are its driver's affair"},
	{in: everywhere, except: []string{"shared/kubernetes", "shared/wire"}, imports: "k8s.io", why: "clusters are their driver's affair; wire reads the kubeconfig"},
	{in: everywhere, except: []string{"shared/slack"}, imports: "github.com/slack-go/slack", why: "Slack is its driver's affair"},
	{in: everywhere, except: []string{"shared/host"}, imports: "github.com/aws/aws-lambda-go", why: "the platform is host's affair"},
	{in: everywhere, except: []string{"shared/host"}, imports: "github.com/GoogleCloudPlatform/functions-framework-go", why: "the platform is host's affair"},
	{in: everywhere, except: []string{"functions/auditcanary"}, imports: "github.com/spf13/cobra", deep: true,
		why: "a deployed function takes JSON, not flags"},
	{in: within("functions"), imports: module + "/shared/aws", why: "wire alone knows the drivers: a further cloud must not touch the functions"},
	{in: within("functions"), imports: module + "/shared/gcp", why: "wire alone knows the drivers"},
	{in: within("functions"), imports: module + "/shared/kubernetes", why: "wire alone knows the drivers"},
	{in: within("functions"), imports: module + "/shared/slack", why: "wire alone knows the drivers"},
	{in: within("functions"), imports: module + "/shared/jira", why: "wire alone knows the drivers"},
	{in: everywhere, except: []string{"shared/jira"}, imports: "github.com/andygrunwald/go-jira", why: "Jira is its driver's affair"},
}

// topLevel is everything that stands at the top of the repository; false: not yet.
var topLevel = map[string]bool{
	".ci": true, ".editorconfig": true, ".gitignore": true,
	"LICENSE": true, "Makefile": true, "README.md": true, "go.mod": true, "go.sum": true,
	"functions": true, "scenarios": true, "shared": true, "tests": true,
	"infra": true, "serverless.yml": false,
}

// drawers are names under which anything would find a place.
var drawers = []string{"util", "utils", "common", "model", "models", "types", "helper", "helpers", "misc", "lib", "base", "core", "internal", "pkg"}

// goPackage is what `go list -json` says of one package.
type goPackage struct {
	ImportPath, Name, Dir, Doc string
	GoFiles                    []string
	Imports, Deps              []string
	TestImports, XTestImports  []string
	Error                      *struct{ Err string }
}

// in returns the path within the module.
func (p goPackage) in() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

func TestTheHouseStandsAsPlanned(t *testing.T) {
	pkgs := list(t, "..")
	for _, p := range pkgs {
		if p.Error != nil {
			t.Errorf("%s: %s", p.in(), p.Error.Err)
		}
	}
	for _, v := range violations(pkgs) {
		t.Error(v)
	}
	built := map[string]bool{}
	for _, p := range pkgs {
		built[p.in()] = true
	}
	for _, rooms := range floors {
		for _, r := range rooms {
			if !built[r.path] {
				t.Errorf("%s is in the plan (%s), and does not exist", r.path, r.what)
			}
		}
	}
}

// violations says what of the packages is not as planned.
func violations(pkgs []goPackage) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, p := range pkgs {
		here := floorOf(p.in())
		if here < 0 {
			add("%s is not in the plan: give it a floor in tests/plan_test.go, with what it is", p.in())
		}
		if slices.Contains(drawers, path.Base(p.in())) {
			add("%s is named for a drawer: name it for the noun it owns", p.in())
		}
		for _, imp := range p.Imports {
			in, ours := strings.CutPrefix(imp, module+"/")
			if there := floorOf(in); ours && here >= 0 && there >= here {
				add("%s (floor %d) imports %s (floor %d): only lower floors may be imported", p.in(), here, in, there)
			}
		}
		for _, b := range bans {
			if !b.in(p.in()) || slices.Contains(b.except, p.in()) {
				continue
			}
			imports := slices.Concat(p.Imports, p.TestImports, p.XTestImports)
			if b.imports != module+"/tests" {
				imports = p.Imports // what a test needs is its own affair
			}
			if b.deep {
				imports = append(slices.Clone(imports), p.Deps...)
			}
			for _, imp := range imports {
				if imp == b.imports || (strings.Contains(b.imports, ".") && strings.HasPrefix(imp, b.imports+"/")) {
					add("%s imports %s: %s", p.in(), imp, b.why)
					break
				}
			}
		}
	}
	return out
}

func floorOf(pkg string) int {
	for i, rooms := range floors {
		for _, r := range rooms {
			if r.path == pkg {
				return i
			}
		}
	}
	return -1
}

func everywhere(string) bool { return true }

func is(pkgs ...string) func(string) bool {
	return func(p string) bool { return slices.Contains(pkgs, p) }
}

func within(dir string) func(string) bool {
	return func(p string) bool { return strings.HasPrefix(p, dir+"/") }
}

// below are the packages of lower floors.
func below(pkg string) func(string) bool {
	return func(p string) bool { return floorOf(p) < floorOf(pkg) }
}

func TestThePlanNotices(t *testing.T) {
	pkg := func(in string, imports ...string) goPackage {
		return goPackage{ImportPath: module + "/" + in, Imports: imports}
	}
	for _, tc := range []struct {
		name string
		pkg  goPackage
		want string // "" = nothing
	}{
		{"an import downwards", pkg("shared/run", module+"/shared/canary", "net/netip"), ""},
		{"a package nobody planned", pkg("shared/queue"), "shared/queue is not in the plan"},
		{"a drawer", pkg("shared/util"), "shared/util is named for a drawer"},
		{"an import upwards", pkg("shared/canary", module+"/shared/run"), "shared/canary (floor 1) imports shared/run (floor 3)"},
		{"an import sideways", pkg("shared/trail", module+"/scenarios"), "shared/trail (floor 2) imports scenarios (floor 2)"},
		{"the sandbox", pkg("shared/wire", module+"/tests/sandbox/cloud"), "shared/wire imports " + module + "/tests/sandbox/cloud: the sandbox is a place"},
		{"the sandbox in a test", goPackage{ImportPath: module + "/shared/wire", XTestImports: []string{module + "/tests/sandbox/cloud"}}, "the sandbox is a place"},
		{"a judge that reads files", pkg("shared/canary", "os"), "shared/canary imports os: the judge does no I/O"},
		{"a judge that parses addresses", pkg("shared/event", "net/netip"), ""},
		{"a judge that waits", pkg("shared/event", "context"), "shared/event imports context"},
		{"a run that knows a driver", pkg("shared/run", module+"/shared/aws"), "shared/run (floor 3) imports shared/aws (floor 5)"},
		{"a run that knows an SDK through another", goPackage{ImportPath: module + "/shared/run", Deps: []string{"github.com/aws/aws-sdk-go-v2/service/iam"}}, "only drivers know a cloud's SDK"},
		{"a verifier that knows an SDK through another", goPackage{ImportPath: module + "/shared/packet", Deps: []string{"github.com/aws/aws-sdk-go-v2/service/kms"}}, "whoever verifies a packet needs no cloud"},
		{"a driver that knows its SDK", pkg("shared/aws", "github.com/aws/aws-sdk-go-v2/service/iam"), ""},
		{"a function that knows a driver", pkg("functions/inject", module+"/shared/aws"), "wire alone knows the drivers"},
		{"a function that knows another driver", pkg("functions/packet", module+"/shared/gcp"), "wire alone knows the drivers"},
		{"a run that knows a cluster's objects", pkg("shared/run", "k8s.io/api/core/v1"), "their driver's affair"},
		{"a verifier that knows credentials through another", goPackage{ImportPath: module + "/shared/packet", Deps: []string{"golang.org/x/oauth2/google"}}, "only drivers know a cloud's credentials"},
		{"a driver that knows another's credentials", pkg("shared/aws", "golang.org/x/oauth2"), "its driver's affair"},
		{"a function that knows its platform", pkg("functions/inject", "github.com/aws/aws-lambda-go/lambda"), "the platform is host's affair"},
		{"a function with flags", pkg("functions/inject", "github.com/spf13/cobra"), "takes JSON, not flags"},
		{"a command with flags", pkg("functions/auditcanary", "github.com/spf13/cobra"), ""},
		{"a program that runs programs", pkg("shared/wire", "os/exec"), "shared/wire imports os/exec"},
	} {
		got := strings.Join(violations([]goPackage{tc.pkg}), "\n")
		if (tc.want == "") != (got == "") || !strings.Contains(got, tc.want) {
			t.Errorf("%s: got %q, want %q in it", tc.name, got, tc.want)
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, dir := range []string{"..", "."} {
		for _, p := range list(t, dir) {
			if len(p.GoFiles) == 0 {
				continue // tests only
			}
			if p.Doc == "" {
				t.Errorf("%s has no package comment", p.ImportPath)
			}
			if dir == ".." && strings.Contains(p.Doc, " and ") && !strings.Contains(p.Doc, " between ") {
				t.Errorf("%s is two things, by its own account: %q", p.ImportPath, p.Doc)
			}
		}
	}
}

// TestNothingHappensOnImport: a plugin is a function and one line in a visible
// map; what an init function registers is seen by nobody who reads the map.
func TestNothingHappensOnImport(t *testing.T) {
	eachFile(t, list(t, ".."), func(fset *token.FileSet, _ goPackage, f *ast.File) {
		for _, pos := range inits(f) {
			t.Errorf("%s: func init", fset.Position(pos))
		}
	})
}

func inits(f *ast.File) (out []token.Pos) {
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			out = append(out, fn.Pos())
		}
	}
	return out
}

// TestTheJudgeReadsNoClock: time is an argument, so that a verdict can be
// computed again, years later, from the same evidence.
func TestTheJudgeReadsNoClock(t *testing.T) {
	pure := slices.DeleteFunc(list(t, ".."), func(p goPackage) bool {
		return !is("shared/canary", "shared/event")(p.in())
	})
	if len(pure) != 2 {
		t.Fatalf("found %d of the 2 packages", len(pure))
	}
	eachFile(t, pure, func(fset *token.FileSet, _ goPackage, f *ast.File) {
		for _, pos := range clocks(f) {
			t.Errorf("%s: reads the clock", fset.Position(pos))
		}
	})
}

func clocks(f *ast.File) (out []token.Pos) {
	ast.Inspect(f, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			x, _ := sel.X.(*ast.Ident)
			if x != nil && x.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}, sel.Sel.Name) {
				out = append(out, sel.Pos())
			}
		}
		return true
	})
	return out
}

func TestInitsAndClocksAreNoticed(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "x.go", `package x
import "time"
func init() {}
type s struct{}
func (s) init() {}
var t0 = time.Now()
func f(t time.Time) bool { return time.Since(t) > time.Second }
`, 0)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(inits(f)); n != 1 {
		t.Errorf("%d inits, want 1", n)
	}
	if n := len(clocks(f)); n != 2 {
		t.Errorf("%d clocks, want 2", n)
	}
}

func TestTheTopLevelIsFixed(t *testing.T) {
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, e := range entries {
		there[e.Name()] = true
		if _, planned := topLevel[e.Name()]; !planned && e.Name() != ".git" && e.Name() != "out" {
			t.Errorf("%s stands at the top of the repository and is not in the plan", e.Name())
		}
	}
	for name, must := range topLevel {
		if must && !there[name] {
			t.Errorf("%s is missing at the top of the repository", name)
		}
	}
}

func TestTheProductDoesNotRequireItsTests(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join("..", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mod), module+"/tests") {
		t.Error("go.mod of the product names the tests module")
	}
}

// list returns the packages of the module in dir.
func list(t *testing.T, dir string) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Name,Dir,Doc,GoFiles,Imports,Deps,TestImports,XTestImports,Error", "./...")
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list in %s: %v\n%s", dir, err, stderr.String())
	}
	var pkgs []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); err == io.EOF {
			return pkgs
		} else if err != nil {
			t.Fatalf("go list in %s: %v", dir, err)
		}
		pkgs = append(pkgs, p)
	}
}

func eachFile(t *testing.T, pkgs []goPackage, visit func(*token.FileSet, goPackage, *ast.File)) {
	t.Helper()
	fset := token.NewFileSet()
	for _, p := range pkgs {
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Error(err)
				continue
			}
			visit(fset, p, f)
		}
	}
}
