package scenarios

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/event"
)

// operations stands for a driver: the calls it can make with their parameters.
type operations map[string][]string

// unknownParam is an error that says where.
type unknownParam struct {
	op   string
	path []string
}

func (e unknownParam) Error() string {
	return fmt.Sprintf("%s has no parameter %q", e.op, strings.Join(e.path, "."))
}
func (e unknownParam) ParamPath() []string { return e.path }

func (o operations) CheckCall(op string, params map[string]any) error {
	known, ok := o[op]
	if !ok {
		return fmt.Errorf("unknown operation %q", op)
	}
	var errs []error
	for _, p := range slices.Sorted(maps.Keys(params)) {
		if !slices.Contains(known, p) {
			errs = append(errs, unknownParam{op, []string{p}})
		}
	}
	return errors.Join(errs...)
}

func (o operations) CheckAttempt(op string, params map[string]any) error {
	return o.CheckCall(op, params)
}
func (o operations) CheckLook(op string, params map[string]any) error { return o.CheckCall(op, params) }

var allowed = operations{
	"cloudtrail:GetTrailStatus":         {"Name"},
	"s3:GetBucketPolicy":                {"Bucket"},
	"iam:CreateRole":                    {"RoleName", "Path", "Description", "AssumeRolePolicyDocument", "PermissionsBoundary", "Tags"},
	"iam:DeleteRole":                    {"RoleName"},
	"iam:AttachRolePolicy":              {"RoleName", "PolicyArn"},
	"iam:DetachRolePolicy":              {"RoleName", "PolicyArn"},
	"ec2:AuthorizeSecurityGroupIngress": {"GroupId", "IpPermissions", "TagSpecifications"},
	"ec2:RevokeSecurityGroupIngress":    {"GroupId", "IpPermissions", "SecurityGroupRuleIds"},
	"ec2:DeleteFlowLogs":                {"FlowLogIds", "DryRun"},
	"cloudtrail:StopLogging":            {"Name"},
	"cloudtrail:StartLogging":           {"Name"},
	"kms:DisableKey":                    {"KeyId"},
	"kms:EnableKey":                     {"KeyId"},
	"s3:PutBucketPolicy":                {"Bucket", "Policy"},
	"s3:DeleteBucketPolicy":             {"Bucket"},
	"sts:AssumeRole":                    {"RoleArn", "RoleSessionName", "SourceIdentity", "DurationSeconds", "Policy"},
}

// anything stands for a driver that can make every call: whether the built-in
// scenarios' calls are on the allow-list is for the driver's own tests to say.
var anything = CheckerFunc(func(string, map[string]any) error { return nil })

func builtIns(t *testing.T) []canary.Scenario {
	t.Helper()
	all, err := Load(Options{Check: anything})
	if err != nil {
		t.Fatalf("the built-in scenarios have faults:\n%v", err)
	}
	return all
}

func TestEveryBuiltInScenarioIsCleanAndInTheCatalogue(t *testing.T) {
	var list bytes.Buffer
	for _, s := range builtIns(t) {
		if want := builtInDir + "/" + s.ID + ".yaml"; s.File != want {
			t.Errorf("%s stands in %s, want %s", s.ID, s.File, want)
		}
		fmt.Fprintf(&list, "%s\n  %s\n  %s, %s, once per %s, %s\n  %s\n", s.ID, s.Title, s.Category, s.Kind, s.Scope, s.Schedule.Every, strings.Join(s.Controls, " "))
		for _, st := range s.Steps {
			undo := "none: " + st.NoUndo
			if st.Undo != nil {
				undo = st.Undo.Call
			}
			fmt.Fprintf(&list, "  - %s: %s, undo %s\n", st.ID, st.Call, undo)
			for _, p := range st.Protection {
				fmt.Fprintf(&list, "    looks %s, requires %q, expects %q\n", p.Read, p.Requires, p.Expect)
			}
		}
		for _, r := range s.Rules {
			fmt.Fprintf(&list, "  expect %s\n", r.Text)
		}
		for _, p := range s.Alerts {
			fmt.Fprintf(&list, "  alert %s on %s %s\n", p.Alert, p.On, p.Step)
		}
	}
	golden(t, "testdata/catalogue.golden", list.Bytes())
}

// Who does it must be noticed, and the names are few: a rule for each can be had. Only a
// dry run does nothing that anybody would have to know of, and where the deed is the undo,
// of which no alert counts, none can be promised.
func TestEveryBuiltInScenarioPromisesAnAlertOfAKnownName(t *testing.T) {
	byUndo := []string{"aws/backup-vault", "aws/config-rule"}
	promised := map[string]int{}
	for _, s := range builtIns(t) {
		if (len(s.Alerts) == 0) != (s.Kind == canary.DryRun || slices.Contains(byUndo, s.ID)) {
			t.Errorf("%s, %s, promises %v", s.ID, s.Kind, s.Alerts)
		}
		refused := slices.ContainsFunc(s.Alerts, func(p canary.Promise) bool { return p.On == canary.OnDenied })
		if refused != (s.Kind == canary.MustBeDenied) {
			t.Errorf("%s, %s, promises %v", s.ID, s.Kind, s.Alerts)
		}
		for _, p := range s.Alerts {
			promised[p.Alert]++
		}
	}
	for _, a := range Alerts() {
		if promised[a.Name] == 0 || a.Means == "" {
			t.Errorf("no scenario promises %q (%s)", a.Name, a.Means)
		}
		delete(promised, a.Name)
	}
	if len(promised) > 0 {
		t.Errorf("alerts that nobody explains: %v", promised)
	}
}

func TestEveryBuiltInFileLeadsAnEditorToTheSchema(t *testing.T) {
	files, err := builtInFiles()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !bytes.HasPrefix(f.data, []byte("# yaml-language-server: $schema=../schema.json\n")) {
			t.Errorf("%s does not begin with the schema's address", f.name)
		}
	}
}

// Every kind of canary shapes what comes after the reader; the first scenarios cover them all.
func TestBuiltInScenariosCoverEveryKind(t *testing.T) {
	kinds := map[canary.Kind]bool{}
	for _, s := range builtIns(t) {
		kinds[s.Kind] = true
	}
	for _, k := range []canary.Kind{canary.DoneAndUndone, canary.MustBeDenied, canary.Decoy, canary.DryRun} {
		if !kinds[k] {
			t.Errorf("no scenario of kind %s", k)
		}
	}
}

// No call is sent to a name that was not expanded or to anything but a canary's own.
func TestBuiltInReferencesExpand(t *testing.T) {
	for _, s := range builtIns(t) {
		for _, st := range s.Steps {
			_, err := canary.Expand(st.Params, func(name string) (string, bool) { return "x", name != "" })
			if err != nil {
				t.Errorf("%s:%d: %v", s.File, st.Line, err)
			}
		}
	}
}

func TestReadKeepsHashFileAndLines(t *testing.T) {
	data, err := os.ReadFile("aws/iam-temporary-admin-role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s, err := Read("aws/iam-temporary-admin-role.yaml", data, allowed)
	if err != nil {
		t.Fatal(err)
	}
	changed, err := Read("aws/iam-temporary-admin-role.yaml", append(data, "# \n"...), allowed)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Hash) != 64 || s.Hash == changed.Hash {
		t.Errorf("hash %q, with one more comment %q: they must differ", s.Hash, changed.Hash)
	}
	lines := strings.Split(string(data), "\n")
	for _, st := range s.Steps {
		if want := "  - id: " + st.ID; lines[st.Line-1] != want {
			t.Errorf("step %s: line %d is %q, want %q", st.ID, st.Line, lines[st.Line-1], want)
		}
	}
	if s.File != "aws/iam-temporary-admin-role.yaml" {
		t.Errorf("file = %q", s.File)
	}
	if got := s.Steps[0].Params["Tags"].([]any)[0].(map[string]any)["Value"]; got != "${run}" {
		t.Errorf("tag value = %v", got)
	}
}

// The messages are what somebody who writes a scenario works with: each is pinned.
func TestInvalidFilesAreRefusedWithExactlyTheseMessages(t *testing.T) {
	files, err := filepath.Glob("testdata/invalid/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 25 {
		t.Fatalf("only %d invalid files", len(files))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			name := filepath.Base(file)
			s, err := Read(name, data, allowed)
			if err == nil {
				t.Fatalf("read without an error: %+v", s)
			}
			if s.ID != "" || s.Steps != nil {
				t.Errorf("a refused file still yields a scenario: %+v", s)
			}
			var errs Errors
			if !errors.As(err, &errs) {
				t.Errorf("error is a %T, want Errors", err)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".err", []byte(err.Error()+"\n"))
		})
	}
}

func TestHostileFilesAreRefusedNotSuffered(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s*%c]\n", c, c, strings.Repeat(fmt.Sprintf("*%c,", c-1), 8), c-1)
	}
	tests := []struct{ name, data, want string }{
		{"empty", "", "f.yaml:1:1: the file is empty"},
		{"only a comment", "# nothing\n", "f.yaml:1:1: the file is empty"},
		{"only a document marker", "---\n", "f.yaml:2:1: a value is missing"},
		{"longer than the limit", strings.Repeat("#", MaxBytes+1), "f.yaml:1:1: the file is longer than 262144 bytes"},
		{"not UTF-8", "id: a\ntitle: caf\xe9\n", "f.yaml:2:11: the file is not UTF-8"},
		{"UTF-16", "\xff\xfei\x00d\x00", "f.yaml:1:1: the file is not UTF-8"},
		{"terminal escape", "id: \x1b[2J\n", "f.yaml:1:5: the character U+001B is not allowed"},
		{"escaped terminal escape", `id: "\e[2J"` + "\n", "f.yaml:1:5: the text holds the character U+001B, which is not allowed"},
		{"text that turns round", "title: \u202egnp\n", "f.yaml:1:8: the character U+202E is not allowed"},
		{"alias bomb", bomb, "f.yaml:2:4: anchors are not allowed"},
		{"alias to itself", "a: &a [*a]\n", "f.yaml:1:4: anchors are not allowed"},
		{"deep brackets", strings.Repeat("[", MaxBytes), "f.yaml:1:1: not YAML: exceeded max depth of 10000"},
		{"deep indentation", strings.Repeat("- ", 200) + "x", "f.yaml:1:65: values are nested more than 32 deep"},
		{"very many values", "steps: [" + strings.Repeat("x,", 20_000) + "]", "f.yaml:1:20003: the file has more than 10000 values"},
		{"very many unknown fields", func() string {
			var b strings.Builder
			for i := range 4_000 {
				fmt.Fprintf(&b, "f%d: 1\n", i)
			}
			return b.String()
		}(), "f.yaml:1:1: more than 100 errors; the rest is not shown"},
		{"second document", "id: a\n---\nid: b\n", "f.yaml:2:1: a second YAML document; a file holds one scenario"},
		{"broken second document", "id: a\n---\n[\n", "f.yaml:4:1: not YAML: did not find expected node content"},
		{"very many expectations", "expect: [" + strings.Repeat("a,", 500) + "]", "f.yaml:1:9: expect must have at most 20 items"},
		{"an expectation nested too deep", "expect: ['" + strings.Repeat("[", 1500) + "']", "f.yaml:1:10: expect: expression recursion limit exceeded: 50"},
		{"an expectation too long", "expect: ['" + strings.Repeat("a", 3000) + "']", "f.yaml:1:10: expect: expression is longer than 2048 bytes"},
		{"a list", "- id: a\n", "f.yaml:1:1: the file must be a mapping, not a list"},
		{"a word", "scenario\n", "f.yaml:1:1: the file must be a mapping, not a string"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Read("f.yaml", []byte(tt.data), allowed)
			if err == nil || !strings.Contains(err.Error()+"\n", tt.want+"\n") {
				if text := fmt.Sprint(err); len(text) > 2000 {
					t.Fatalf("error %s...\nwant %s", text[:2000], tt.want)
				}
				t.Fatalf("error %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestReadWithoutACheckerIsAnError(t *testing.T) {
	if _, err := Read("f.yaml", nil, nil); err == nil || err.Error() != "read scenarios: no checker of calls is given" {
		t.Errorf("error %v", err)
	}
}

// A driver may wrap, join and point deep into the parameters; where it does not
// say which parameter, the call is what is marked.
func TestWhatTheDriverRefusesIsReportedWhereItStands(t *testing.T) {
	data, err := os.ReadFile("aws/iam-temporary-admin-role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	check := CheckerFunc(func(op string, _ map[string]any) error {
		if op != "iam:CreateRole" {
			return nil
		}
		return errors.Join(
			fmt.Errorf("%s: %w", op, unknownParam{op, []string{"Tags", "1", "Key"}}),
			unknownParam{op, []string{"Tags", "7", "Key"}},
			errors.New("no\x1b[2J reason"),
		)
	})
	_, err = Read("iam-temporary-admin-role.yaml", data, check)
	want := `iam-temporary-admin-role.yaml:21:11: no [2J reason
iam-temporary-admin-role.yaml:29:9: iam:CreateRole has no parameter "Tags.7.Key"
iam-temporary-admin-role.yaml:30:12: iam:CreateRole: iam:CreateRole has no parameter "Tags.1.Key"`
	if fmt.Sprint(err) != want {
		t.Errorf("error\n%v\nwant\n%s", err, want)
	}
}

func TestLoadReadsOwnDirectories(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "acme/own.yaml", ownScenario("acme/own"))
	write(t, dir, ".hidden/other.yaml", "not: read\n")
	write(t, dir, "README.md", "not read\n")
	all, err := Load(Options{Dirs: []string{dir}, Check: anything})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != len(builtIns(t))+1 || all[0].ID != "acme/own" {
		t.Errorf("%d scenarios, the first is %s", len(all), all[0].ID)
	}
}

func TestCadencesDivideTheCatalogue(t *testing.T) {
	n := 0
	for _, every := range []string{"hourly", "daily"} {
		some, err := Load(Options{Every: every, Check: anything})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range some {
			if s.Schedule.Every != every {
				t.Errorf("%s runs %s, not %s", s.ID, s.Schedule.Every, every)
			}
		}
		n += len(some)
	}
	for _, s := range builtIns(t) {
		if s.Schedule.Every == "weekly" {
			n++
		}
	}
	if n != len(builtIns(t)) {
		t.Errorf("the cadences have %d scenarios together, the catalogue %d", n, len(builtIns(t)))
	}
}

func TestLoadFollowsLinksToFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "..data/own.yaml", ownScenario("acme/own"))
	if err := os.Symlink("..data/own.yaml", filepath.Join(dir, "own.yaml")); err != nil {
		t.Skip(err)
	}
	if _, err := Load(Options{Dirs: []string{dir}, Include: []string{"acme/own"}, Check: anything}); err != nil {
		t.Error(err)
	}
}

func TestLoadRefuses(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "one/own.yaml", ownScenario("acme/own"))
	write(t, dir, "two/own.yaml", "# another\n"+ownScenario("acme/own"))
	write(t, dir, "three/kms-disable-key.yaml", ownScenario("aws/kms-disable-key"))
	write(t, dir, "bad/own.yaml", "id: acme/own\n")
	write(t, dir, "badtoo/more.yaml", "[\n")
	write(t, dir, "none/README.md", "")
	if err := os.Mkdir(filepath.Join(dir, "none", "x.yaml"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "link/README.md", "")
	if err := os.Symlink(os.DevNull, filepath.Join(dir, "link", "x.yaml")); err != nil {
		t.Skip(err)
	}
	in := func(names ...string) (dirs []string) {
		for _, n := range names {
			dirs = append(dirs, filepath.Join(dir, n))
		}
		return dirs
	}
	tests := []struct {
		name string
		o    Options
		want []string
	}{
		{"two own files of one id", Options{Dirs: in("one", "two")}, []string{"two/own.yaml:2:5: id \"acme/own\" is already taken by " + dir + "/one/own.yaml"}},
		{"an id of a built-in one", Options{Dirs: in("three")}, []string{"three/kms-disable-key.yaml:1:5: id \"aws/kms-disable-key\" is already taken by scenarios/aws/kms-disable-key.yaml"}},
		{"all faulty files at once", Options{Dirs: in("bad", "badtoo")}, []string{"bad/own.yaml:1:1: missing field \"steps\"", "badtoo/more.yaml:2:1: not YAML"}},
		{"a directory that is not there", Options{Dirs: in("nowhere")}, []string{"read scenario directory " + dir + "/nowhere: lstat"}},
		{"a directory without scenarios", Options{Dirs: in("none")}, []string{"read scenario directory " + dir + "/none: it has no *.yaml file"}},
		{"a device", Options{Dirs: in("link")}, []string{"link/x.yaml: not a regular file"}},
		{"an inclusion of nothing", Options{Include: []string{"aws/*", "awz/*"}}, []string{`include scenarios "awz/*": no scenario has such an id`}},
		{"an exclusion of nothing", Options{Exclude: []string{"aws/kms"}}, []string{`exclude scenarios "aws/kms": no scenario has such an id`}},
		{"a cadence that does not exist", Options{Every: "daly"}, []string{`no selected scenario runs "daly": a cadence is hourly, daily or weekly`}},
		{"a cadence that none of the selected has", Options{Include: []string{"aws/cloudtrail-stop-logging-denied"}, Every: "weekly"}, []string{`no selected scenario runs "weekly"`}},
		{"a broken pattern", Options{Exclude: []string{"["}}, []string{`exclude scenarios "[": syntax error in pattern`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Check = anything
			all, err := Load(tt.o)
			if err == nil {
				t.Fatalf("loaded %d scenarios", len(all))
			}
			if all != nil {
				t.Errorf("an error, and yet %d scenarios", len(all))
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %v\nwant it to say %s", err, want)
				}
			}
		})
	}
}

func TestLoadChooses(t *testing.T) {
	tests := []struct {
		include, exclude []string
		want             []string
	}{
		{[]string{"aws/cloudtrail-stop-logging-d*"}, nil, []string{"aws/cloudtrail-stop-logging-decoy", "aws/cloudtrail-stop-logging-denied"}},
		{[]string{"aws/cloudtrail-stop-logging-d*", "aws/kms-disable-*"}, []string{"*/*-denied"}, []string{"aws/cloudtrail-stop-logging-decoy", "aws/kms-disable-key"}},
		{nil, []string{"aws/*", "kubernetes/*"}, nil},
	}
	for _, tt := range tests {
		all, err := Load(Options{Include: tt.include, Exclude: tt.exclude, Check: anything})
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, s := range all {
			ids = append(ids, s.ID)
		}
		if !slices.Equal(ids, tt.want) {
			t.Errorf("include %q exclude %q: %q, want %q", tt.include, tt.exclude, ids, tt.want)
		}
	}
}

func TestControlsAndCategoriesAreSound(t *testing.T) {
	controls, err := Controls()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, c := range controls {
		if seen[c.ID] {
			t.Errorf("control %s is there twice", c.ID)
		}
		seen[c.ID] = true
		if c.Framework == "" || c.Title == "" || c.Source == "" || !strings.HasSuffix(c.ID, "/"+c.Clause) {
			t.Errorf("control is not complete: %+v", c)
		}
	}
	for _, id := range []string{"iso27017:2015/12.4.1", "iso27017:2015/12.4.2", "iso27017:2015/12.4.3", "iso27002:2022/8.15", "iso27002:2022/8.16"} {
		if !seen[id] {
			t.Errorf("control %s is missing", id)
		}
	}
	if n := len(Categories()); n != 16 {
		t.Errorf("%d categories, want 16", n)
	}
}

func TestReplyExpectations(t *testing.T) {
	reply := map[string]any{"Locked": true, "Until": "2027-01-01T00:00:00Z", "Versions": []any{map[string]any{"Key": "k"}}}
	params := map[string]any{"Prefix": "k"}
	now := time.Date(2026, 12, 31, 23, 30, 0, 0, time.UTC)
	for _, tt := range []struct {
		expr    string
		want    bool
		wantErr string
	}{
		{"reply.Locked", true, ""},
		{"!reply.Locked", false, ""},
		{"reply.Versions[0].Key == params.Prefix", true, ""},
		{"timestamp(reply.Until) > now", true, ""},
		{"timestamp(reply.Until) > now + duration('1h')", false, ""},
		{"has(reply.Rule) && reply.Rule.Mode == 'COMPLIANCE'", false, ""},
		{"reply.Rule.Mode == 'COMPLIANCE'", false, "no such key: Rule"},
		{"reply.Until", false, "not a boolean"},
		{"reply.Versions[1].Key == 'k'", false, "index out of bounds"},
	} {
		x, err := CompileReply(tt.expr)
		if err != nil {
			t.Fatalf("%s: %v", tt.expr, err)
		}
		got, err := x(reply, params, now)
		if got != tt.want || (err == nil) != (tt.wantErr == "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
			t.Errorf("%s: %v, %v; want %v %s", tt.expr, got, err, tt.want, tt.wantErr)
		}
	}
	if _, err := CompileReply("event.api.operation == 'x'"); err == nil {
		t.Error("an event is no reply")
	}
}

func TestExpectations(t *testing.T) {
	yes := true
	e := event.Event{API: event.API{Operation: "AssumeRole", ReadOnly: &yes, Request: map[string]any{"durationSeconds": 900, "roleArn": "arn:x"}}}
	big := event.Event{API: event.API{Operation: "AssumeRole", Request: map[string]any{"list": func() (l []any) {
		for i := range 2000 {
			l = append(l, i)
		}
		return l
	}()}}}
	tests := []struct {
		expr    string
		e       event.Event
		want    bool
		wantErr string
	}{
		{"event.api.operation == 'AssumeRole'", e, true, ""},
		{"event.api.operation == 'CreateRole'", e, false, ""},
		{"has(event.api.read_only) && event.api.read_only", e, true, ""},
		{"has(event.api.read_only) && event.api.read_only", event.Event{}, false, ""},
		{"event.api.request.durationSeconds == 900", e, true, ""},
		{"event.api.request.nothing == 900", e, false, "no such key: nothing"},
		{"event.api.read_only", event.Event{}, false, "no such key: read_only"},
		{"event.api.operation", e, false, "not a boolean"},
		{"event.api.request.list.all(a, event.api.request.list.all(b, event.api.request.list.all(c, a+b+c >= 0)))", big, false, "cost limit"},
	}
	for _, tt := range tests {
		x, err := CompileExpect(tt.expr)
		if err != nil {
			t.Errorf("%s: %v", tt.expr, err)
			continue
		}
		got, err := x.Holds(tt.e)
		if got != tt.want || (err == nil) != (tt.wantErr == "") || (err != nil && !strings.Contains(err.Error(), tt.wantErr)) {
			t.Errorf("%s = %v, %v; want %v, %q", tt.expr, got, err, tt.want, tt.wantErr)
		}
	}
}

// The schema's rule about break-glass would notice a trail that is for writes only.
func TestBreakGlassExpectationFailsOnARecordThatIsNotReadOnly(t *testing.T) {
	all, err := Load(Options{Include: []string{"aws/sts-break-glass-assume-role"}, Check: anything})
	if err != nil {
		t.Fatal(err)
	}
	if len(all[0].Rules) != 1 {
		t.Fatalf("%d rules", len(all[0].Rules))
	}
	yes, no := true, false
	for _, tt := range []struct {
		stated *bool
		want   bool
	}{{&yes, true}, {&no, false}, {nil, false}} {
		got, err := all[0].Rules[0].Holds(event.Event{API: event.API{ReadOnly: tt.stated}})
		if got != tt.want || err != nil {
			t.Errorf("%v, %v; want %v", got, err, tt.want)
		}
	}
}

func FuzzRead(f *testing.F) {
	files, err := builtInFiles()
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		f.Add(file.data)
	}
	invalid, err := filepath.Glob("testdata/invalid/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range invalid {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	r, err := newReader(allowed)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, _, errs := r.read("f.yaml", data)
		lines := bytes.Count(data, []byte("\n")) + 1
		for _, e := range errs {
			if e.Line < 1 || e.Line > lines+1 || e.Col < 1 || e.Msg == "" || !printableText(e.Msg) {
				t.Errorf("error %+v of a file of %d lines", e, lines)
			}
		}
		if len(errs) > 0 {
			return
		}
		// What is accepted is complete, and can be expanded.
		if s.ID == "" || len(s.Steps) == 0 || len(s.Rules) != len(s.Expect) {
			t.Errorf("accepted: %+v", s)
		}
		for _, st := range s.Steps {
			if st.Undo == nil && st.NoUndo == "" {
				t.Errorf("accepted without undo: %+v", st)
			}
			if _, err := canary.Expand(st.Params, func(string) (string, bool) { return "x", true }); err != nil {
				t.Errorf("accepted with references that do not expand: %v", err)
			}
		}
	})
}

func printableText(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return !printable(r) || r == '\n' }) < 0
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	p := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// ownScenario is a small valid scenario as a user would write one.
func ownScenario(id string) string {
	return `id: ` + id + `
title: A scenario of our own
category: encryption-keys
controls: [iso27017:2015/12.4.3]
kind: done-and-undone
scope: region
harmless: |
  - the key is a fixture without data
  - enabling the key brings it back
cost: none
schedule: {every: daily, why: once a day is enough for this}
steps:
  - id: disable
    call: kms:DisableKey
    params: {KeyId: "${fixture.kms_key}"}
    undo:
      call: kms:EnableKey
      params: {KeyId: "${fixture.kms_key}"}
`
}
