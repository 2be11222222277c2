package coverage

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/auditcanary/auditcanary/shared/canary"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const (
	acct1 = "111122223333"
	acct2 = "444455556666"
)

// world is a small catalogue over a small universe: three regional operations and
// two that exist once per account.
func world() Input {
	op := func(id, category string, ruleSets int, global bool) Operation {
		return Operation{ID: id, Category: category, RuleSets: ruleSets, Access: "write", Source: "cloud-management-events", Global: global}
	}
	return Input{
		Operations: []Operation{
			op("ec2:DeleteVpc", "network-rules", 4, false),
			op("iam:CreateRole", "permissions", 7, true),
			op("iam:DeleteRole", "permissions", 1, true),
			op("kms:DisableKey", "encryption-keys", 4, false),
			op("kms:ScheduleKeyDeletion", "encryption-keys", 6, false),
			{ID: "signin:ConsoleLogin", Category: "privileged-access-tooling", RuleSets: 10, Access: "write", Source: "console-sign-in", Global: true},
		},
		NotProvable: []Unprovable{{"signin:ConsoleLogin", "it carries no request id", "310 real records"}},
		Categories: []Category{
			{"permissions", "Permissions and roles"}, {"network-rules", "Network rules"}, {"encryption-keys", "Encryption keys"},
			{"privileged-access-tooling", "Privileged access tooling"}, {"saas", "SaaS"},
		},
		Scenarios: []canary.Scenario{
			{
				ID: "aws/role", Title: "A role is made", Category: "permissions", Kind: canary.DoneAndUndone, Scope: "account", Hash: "aa",
				Controls: []string{"iso27017:2015/12.4.3"}, Schedule: canary.Schedule{Every: "daily"},
				Steps: []canary.Step{{ID: "create", Call: "iam:CreateRole", Undo: &canary.Undo{Call: "iam:DeleteRole"}}},
			},
			{
				ID: "aws/key", Title: "A key is disabled", Category: "encryption-keys", Kind: canary.DoneAndUndone, Scope: "region", Hash: "bb",
				Controls: []string{"iso27017:2015/12.4.3", "iso27002:2022/8.15"}, Schedule: canary.Schedule{Every: "hourly"},
				Steps: []canary.Step{{ID: "disable", Call: "kms:DisableKey", Undo: &canary.Undo{Call: "kms:EnableKey"}}},
			},
			{
				ID: "aws/key-denied", Title: "Disabling a key is refused", Category: "encryption-keys", Kind: canary.MustBeDenied, Scope: "region", Hash: "cc",
				Controls: []string{"iso27017:2015/12.4.3"}, Schedule: canary.Schedule{Every: "weekly"},
				Steps: []canary.Step{{ID: "disable", Call: "kms:DisableKey", NoUndo: "refused"}},
			},
			{
				ID: "aws/retention", Title: "A retention is set", Category: "logging-disabled", Kind: canary.DoneAndUndone, Scope: "region", Hash: "dd",
				Controls: []string{"iso27017:2015/12.4.3"}, Schedule: canary.Schedule{Every: "daily"},
				Steps: []canary.Step{{ID: "put", Call: "logs:PutRetentionPolicy", NoUndo: "the same value"}},
			},
		},
		Targets: []canary.Target{
			{Provider: "aws", Account: acct1, Region: "eu-west-1"}, {Provider: "aws", Account: acct1, Region: "us-east-1"},
			{Provider: "aws", Account: acct2, Region: "eu-west-1"},
		},
		Home:   "us-east-1",
		MaxAge: DefaultMaxAge,
		Now:    now,
	}
}

// key is a verdict of aws/key on kms:DisableKey in the first account's eu-west-1.
func key(change ...func(*Test)) Test {
	t := Test{
		Operation: "kms:DisableKey", Account: acct1, Region: "eu-west-1", Scenario: "aws/key", Category: "encryption-keys",
		Kind: canary.DoneAndUndone, Run: "20261122-aaaaaa", Canary: "20261122-aaaaaa-01", At: now.Add(-time.Hour), Status: canary.Pass,
	}
	for _, c := range change {
		c(&t)
	}
	return t
}

func verdict(s canary.Status) func(*Test) { return func(t *Test) { t.Status = s } }
func ago(d time.Duration) func(*Test)     { return func(t *Test) { t.At = now.Add(-d) } }
func denied(t *Test)                      { t.Scenario, t.Kind = "aws/key-denied", canary.MustBeDenied }
func retired(t *Test)                     { t.Scenario = "aws/old-key" }

const daysOld = 40 * 24 * time.Hour

func find(t *testing.T, r Report, op, account, region string) Cell {
	t.Helper()
	var found []Cell
	for _, c := range r.Cells {
		if c.Operation == op && c.Account == account && c.Region == region {
			found = append(found, c)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d cells of %s at %s/%s, want 1", len(found), op, account, region)
	}
	return found[0]
}

func TestTheStatusOfAnOperation(t *testing.T) {
	exception := Exception{ID: "EX-1", Operation: "kms:DisableKey", Owner: "somebody", Expires: now.Add(time.Hour)}
	for _, tc := range []struct {
		name   string
		tests  []Test
		change func(*Input)
		want   Status
		reason string
	}{
		{"nothing was ever done", nil, nil, NeverTested, "aws/key would test it, and has no finished verdict here"},
		{"a canary passed", []Test{key()}, nil, Proven, ""},
		{"a canary failed", []Test{key(verdict(canary.Fail))}, nil, Failed, "the latest verdict of aws/key is fail"},
		{"a late record is no proof", []Test{key(verdict(canary.Late))}, nil, Failed, "the latest verdict of aws/key is late"},
		{"nobody could find out", []Test{key(verdict(canary.Inconclusive))}, nil, Inconclusive, "is inconclusive"},
		{"a required check was not run", []Test{key(verdict(canary.NotRun))}, nil, Inconclusive, "is not-run"},
		{"a status nobody knows", []Test{key(verdict("splendid"))}, nil, Inconclusive, "is splendid"},
		{"an excepted verdict", []Test{key(verdict(canary.Excepted))}, nil, Excepted, "is excepted"},
		{"it passed once and fails now", []Test{key(ago(2 * time.Hour)), key(verdict(canary.Fail))}, nil, Failed, ""},
		{"it failed once and passes now", []Test{key(verdict(canary.Fail), ago(2*time.Hour)), key()}, nil, Proven, ""},
		{"the order of the input says nothing", []Test{key(), key(verdict(canary.Fail), ago(2*time.Hour))}, nil, Proven, ""},
		{"another scenario failed on it earlier", []Test{key(), key(denied, verdict(canary.Fail), ago(2*time.Hour))}, nil, Failed, "aws/key-denied is fail"},
		{"another scenario failed on it long ago", []Test{key(), key(denied, verdict(canary.Fail), ago(daysOld))}, nil, Failed, ""},
		{"a scenario failed on it that is gone, lately", []Test{key(), key(retired, verdict(canary.Fail))}, nil, Failed, ""},
		{"a scenario failed on it that is gone, long ago", []Test{key(), key(retired, verdict(canary.Fail), ago(daysOld))}, nil, Proven, ""},
		{"another scenario found nothing out", []Test{key(), key(denied, verdict(canary.Inconclusive))}, nil, Inconclusive, ""},
		{"only a refusal was proven", []Test{key(denied)}, nil, Proven, "proven by an attempt that was not carried out (must-be-denied)"},
		{"a deed and a refusal were proven", []Test{key(denied), key(ago(2 * time.Hour))}, nil, Proven, ""},
		{"the proof is old", []Test{key(ago(daysOld))}, nil, Stale, "aws/key last tested it on 2026-10-13"},
		{"the proof is as old as it may be", []Test{key(ago(DefaultMaxAge))}, nil, Proven, ""},
		{"the proof is a second older", []Test{key(ago(DefaultMaxAge + time.Second))}, nil, Stale, ""},
		{"one proof is old, another is not", []Test{key(ago(daysOld)), key(denied)}, nil, Proven, "must-be-denied"},
		{"old failures do not grow stale", []Test{key(verdict(canary.Fail), ago(daysOld))}, nil, Failed, ""},
		{"another region proves nothing here", []Test{key(func(t *Test) { t.Region = "us-east-1" })}, nil, NeverTested, ""},
		{"another account proves nothing here", []Test{key(func(t *Test) { t.Account = acct2 })}, nil, NeverTested, ""},
		{"another operation of the category was proven", []Test{key(func(t *Test) { t.Operation = "kms:ScheduleKeyDeletion" })}, nil, ByCategory,
			"a sample: kms:ScheduleKeyDeletion was proven here by aws/key, this operation was not"},
		{"another of another category was", []Test{key(func(t *Test) { t.Operation, t.Category = "ec2:DeleteVpc", "network-rules" })}, nil, NeverTested, ""},
		{"a sample that is old", []Test{key(ago(daysOld), func(t *Test) { t.Operation = "kms:ScheduleKeyDeletion" })}, nil, NeverTested, ""},
		{"a sample in a category in which something failed", []Test{
			key(func(t *Test) { t.Operation = "kms:ScheduleKeyDeletion" }),
			key(verdict(canary.Fail), func(t *Test) { t.Operation, t.Scenario = "kms:PutKeyPolicy", "aws/key-policy" }),
		}, nil, NeverTested, "; of its category, aws/key-policy is fail here, so that nothing counts as a sample"},
		{"a verdict that is excepted", []Test{key(verdict(canary.Excepted), func(t *Test) { t.Accepted = "exception EX-2 of the key team until 2026-12-31" })}, nil, Excepted, "the latest verdict of aws/key is excepted: exception EX-2 of the key team until 2026-12-31"},
		{"a sample in a category in which something is excepted", []Test{
			key(func(t *Test) { t.Operation = "kms:ScheduleKeyDeletion" }),
			key(verdict(canary.Excepted), func(t *Test) { t.Operation, t.Scenario = "kms:PutKeyPolicy", "aws/key-policy" }),
		}, nil, NeverTested, "; of its category, aws/key-policy is excepted here, so that nothing counts as a sample"},
		{"an exception", nil, func(in *Input) { in.Exceptions = []Exception{exception} }, Excepted, "exception EX-1 of somebody until 2026-11-22"},
		{"an exception that expired", nil, func(in *Input) { e := exception; e.Expires = now; in.Exceptions = []Exception{e} }, NeverTested, ""},
		{"an exception of another place", nil, func(in *Input) { e := exception; e.Region = "us-east-1"; in.Exceptions = []Exception{e} }, NeverTested, ""},
		{"an exception does not hide a failure", []Test{key(verdict(canary.Fail))}, func(in *Input) { in.Exceptions = []Exception{exception} }, Failed, ""},
		{"not loggable", nil, func(in *Input) { in.NotProvable = []Unprovable{{"kms:DisableKey", "nobody records it", "a book"}} }, NotLoggable, "nobody records it (a book)"},
		{"not loggable, and yet it was proven", []Test{key()}, func(in *Input) { in.NotProvable = []Unprovable{{"kms:DisableKey", "x", "y"}} }, Proven, ""},
		{"not loggable, and it failed", []Test{key(verdict(canary.Fail))}, func(in *Input) { in.NotProvable = []Unprovable{{"kms:DisableKey", "x", "y"}} }, Failed, ""},
		{"not loggable comes before an exception", nil, func(in *Input) {
			in.NotProvable, in.Exceptions = []Unprovable{{"kms:DisableKey", "x", "y"}}, []Exception{exception}
		}, NotLoggable, ""},
	} {
		in := world()
		in.Tests = tc.tests
		if tc.change != nil {
			tc.change(&in)
		}
		c := find(t, Measure(in), "kms:DisableKey", acct1, "eu-west-1")
		if c.Status != tc.want || !strings.Contains(c.Reason, tc.reason) || (c.Reason == "") != (tc.want == Proven && tc.reason == "") {
			t.Errorf("%s: %s (%s), want %s (%s)", tc.name, c.Status, c.Reason, tc.want, tc.reason)
		}
		if c.Status == Proven && (c.Test == nil || c.Test.Run == "" || c.Test.Canary == "" || c.Test.At.IsZero()) {
			t.Errorf("%s: proven without saying by what: %+v", tc.name, c.Test)
		}
	}
}

func TestAnUndoIsNotJudgedAndProvesNothing(t *testing.T) {
	in := world()
	in.Tests = []Test{{Operation: "iam:CreateRole", Account: acct1, Region: "us-east-1", Scenario: "aws/role", Category: "permissions", Kind: canary.DoneAndUndone, At: now, Status: canary.Pass}}
	r := Measure(in)
	if c := find(t, r, "iam:DeleteRole", acct1, "us-east-1"); c.Status != ByCategory {
		t.Errorf("DeleteRole is %s", c.Status)
	}
	if c := find(t, r, "iam:DeleteRole", acct2, "us-east-1"); c.Status != NeverTested || c.Reason != "aws/role calls it to undo, and undo calls are not judged" {
		t.Errorf("DeleteRole in the other account is %s: %s", c.Status, c.Reason)
	}
	i := slices.IndexFunc(r.Gaps, func(g Gap) bool { return g.Operation == "iam:DeleteRole" })
	if i < 0 || len(r.Gaps[i].Scenarios) != 0 || !slices.Equal(r.Gaps[i].UndoneBy, []string{"aws/role"}) {
		t.Errorf("gaps %+v", r.Gaps)
	}
}

func TestWhatExistsOncePerAccountIsOneCellInTheHomeRegion(t *testing.T) {
	in := world()
	r := Measure(in)
	// The second account does not list the home region, and has roles all the same.
	find(t, r, "iam:CreateRole", acct2, "us-east-1")
	if want := 3*3 + 3*2; len(r.Cells) != want {
		t.Errorf("%d cells, want %d", len(r.Cells), want)
	}
	// A regional operation is not to be covered where it is no target.
	in.Tests = []Test{
		key(func(t *Test) { t.Account, t.Region = acct2, "us-east-1" }),
		key(func(t *Test) { t.Account = "999999999999" }),
		key(func(t *Test) { t.Operation = "iam:CreateRole" }), // in eu-west-1
	}
	if r := Measure(in); r.Elsewhere != 3 || r.Total.Statuses[Proven] != 0 {
		t.Errorf("%d elsewhere, %d proven; want 3 and 0", r.Elsewhere, r.Total.Statuses[Proven])
	}
}

func TestPercentagesAreHonest(t *testing.T) {
	in := world()
	in.Tests = []Test{key()}
	total := Measure(in).Total
	// 15 cells, two of them console sign-in; one proven; one sampled beside it.
	if total.Provable() != 13 || total.Statuses[Proven] != 1 || total.Statuses[ByCategory] != 1 || *total.Percent != 7.6 {
		t.Errorf("%+v, %v%%", total, *total.Percent)
	}
	var ops []Operation
	for range 2000 {
		ops = append(ops, Operation{ID: "kms:DisableKey" + strings.Repeat("X", len(ops)), Category: "encryption-keys"})
		in.Tests = append(in.Tests, key(func(t *Test) { t.Operation = ops[len(ops)-1].ID }))
	}
	in.Targets, in.Operations, in.Tests = in.Targets[:1], ops, in.Tests[:len(in.Tests)-1]
	if total := Measure(in).Total; *total.Percent != 99.9 {
		t.Errorf("1999 of 2000 is %v%%", *total.Percent)
	}
	in.Operations = nil
	if total := Measure(in).Total; total.Percent != nil || total.percent() != "n/a" {
		t.Errorf("nothing of nothing is %s", total.percent())
	}
}

func TestOperationsBeyondTheUniverseAreNamedAndCountNowhere(t *testing.T) {
	in := world()
	before := Measure(in).Total.Cells
	in.Tests = []Test{key(func(t *Test) { t.Operation, t.Scenario = "logs:PutRetentionPolicy", "aws/retention" }), key(func(t *Test) { t.Operation, t.Scenario = "logs:Forgotten", "aws/gone" })}
	r := Measure(in)
	if r.Total.Cells != before || r.Total.Statuses[Proven] != 0 {
		t.Errorf("they count: %+v", r.Total)
	}
	var got []string
	for _, b := range r.Beyond {
		got = append(got, b.Operation+" "+strings.Join(b.Scenarios, ","))
		if b.Statuses[Proven] != 1 {
			t.Errorf("%+v", b)
		}
	}
	if want := []string{"logs:Forgotten aws/gone", "logs:PutRetentionPolicy aws/retention"}; !slices.Equal(got, want) {
		t.Errorf("beyond: %q, want %q", got, want)
	}
}

func TestGapsAreSortedByUrgencyThenByRuleSets(t *testing.T) {
	in := world()
	in.Targets = in.Targets[1:2] // us-east-1 of the first account
	home := func(op, category string, s canary.Status, d time.Duration) Test {
		return Test{Operation: op, Account: acct1, Region: "us-east-1", Scenario: "aws/x", Category: category, At: now.Add(-d), Status: s}
	}
	in.Scenarios = append(in.Scenarios, canary.Scenario{ID: "aws/x"})
	in.Tests = []Test{home("iam:CreateRole", "permissions", canary.Fail, 0), home("kms:DisableKey", "encryption-keys", canary.Pass, daysOld)}
	var got []string
	for _, g := range Measure(in).Gaps {
		got = append(got, g.Operation)
	}
	// Untested: by rule sets, then name; then stale; then failed.
	want := []string{"kms:ScheduleKeyDeletion", "ec2:DeleteVpc", "iam:DeleteRole", "kms:DisableKey", "iam:CreateRole"}
	if !slices.Equal(got, want) {
		t.Errorf("gaps %q, want %q", got, want)
	}
}

func TestAdequacyIsDecidedBySomebodyOrNotAtAll(t *testing.T) {
	date := func(s string) time.Time {
		d, err := time.Parse(time.DateOnly, s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	good := Decision{Source: "databases", Decision: Additional, Why: "w", Done: "d", By: "CISO", On: date("2026-01-01"), ReviewBy: date("2026-12-31")}
	for _, tc := range []struct {
		name   string
		change func(*Decision)
		want   AdequacyState
	}{
		{"decided", func(*Decision) {}, Decided},
		{"sufficient", func(d *Decision) { d.Decision = Sufficient }, Decided},
		{"of another source", func(d *Decision) { d.Source = "saas" }, Undecided},
		{"from tomorrow on", func(d *Decision) { d.On = date("2026-11-23") }, Undecided},
		{"to be reviewed today", func(d *Decision) { d.ReviewBy = date("2026-11-22") }, Decided},
		{"to be reviewed yesterday", func(d *Decision) { d.ReviewBy = date("2026-11-21") }, Overdue},
		{"never to be reviewed", func(d *Decision) { d.ReviewBy = time.Time{} }, Overdue},
		{"decided as something else", func(d *Decision) { d.Decision = "fine" }, Undecided},
	} {
		d := good
		tc.change(&d)
		got := Decide([]Decision{d}, nil, now)
		i := slices.IndexFunc(got, func(a Adequacy) bool { return a.ID == "databases" })
		if got[i].State != tc.want || (got[i].Decision == nil) != (tc.want == Undecided) {
			t.Errorf("%s: %s with %+v, want %s", tc.name, got[i].State, got[i].Decision, tc.want)
		}
	}
	for _, a := range Decide(nil, nil, now) {
		if a.State != Undecided {
			t.Errorf("%s is %s without anybody's decision", a.ID, a.State)
		}
	}
}

// However much was tested, each cell of the grid has one status, every division of
// it has the same sums, and nothing is proven that no passing canary did there.
func TestStatusesPartitionTheGrid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := world()
		pick := func(label string, from ...string) string { return rapid.SampledFrom(from).Draw(t, label) }
		in.Tests = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Test {
			x := Test{
				Operation: rapid.SampledFrom([]string{"ec2:DeleteVpc", "iam:CreateRole", "kms:DisableKey", "kms:ScheduleKeyDeletion", "signin:ConsoleLogin", "x:Y"}).Draw(t, "op"),
				Account:   rapid.SampledFrom([]string{acct1, acct2, "999999999999"}).Draw(t, "account"),
				Region:    rapid.SampledFrom([]string{"eu-west-1", "us-east-1", "mars"}).Draw(t, "region"),
				Scenario:  rapid.SampledFrom([]string{"aws/role", "aws/key", "aws/key-denied", "aws/gone"}).Draw(t, "scenario"),
				Canary:    rapid.StringMatching(`[a-z]{4}`).Draw(t, "canary"),
				At:        now.Add(-time.Duration(rapid.IntRange(-1, 60).Draw(t, "days")) * 24 * time.Hour),
				Status:    rapid.SampledFrom([]canary.Status{canary.Pass, canary.Pass, canary.Fail, canary.Late, canary.Inconclusive, canary.NotRun}).Draw(t, "status"),
			}
			x.Category, x.Kind = "encryption-keys", canary.DoneAndUndone
			switch x.Scenario {
			case "aws/role":
				x.Category = "permissions"
			case "aws/key-denied":
				x.Kind = canary.MustBeDenied
			}
			return x
		}), 0, 40).Draw(t, "tests")
		if pick("exception", "no", "yes") == "yes" {
			in.Exceptions = []Exception{{ID: "EX", Operation: "ec2:DeleteVpc", Account: acct1, Expires: now.Add(1)}}
		}
		r := Measure(in)

		seen := map[at]bool{}
		for _, c := range r.Cells {
			k := at{c.Operation, place{c.Account, c.Region}}
			if seen[k] {
				t.Fatalf("%v stands twice in the grid", k)
			}
			seen[k] = true
			if !slices.Contains(Statuses(), c.Status) {
				t.Fatalf("%v has the status %q", k, c.Status)
			}
			proof := func(x Test) bool {
				return x.Operation == c.Operation && x.Account == c.Account && x.Region == c.Region && x.Status == canary.Pass && now.Sub(x.At) <= in.MaxAge
			}
			if c.Status == Proven && (c.Test == nil || !proof(*c.Test) || !slices.ContainsFunc(in.Tests, proof)) {
				t.Fatalf("%v is proven by %+v", k, c.Test)
			}
		}
		if len(seen) != 15 {
			t.Fatalf("%d cells", len(seen))
		}
		for _, rows := range [][]Row{{r.Total}, r.ByAccount, r.ByRegion, r.ByCategory} {
			cells, byStatus := 0, map[Status]int{}
			for _, row := range rows {
				cells += row.Cells
				sum := 0
				for s, n := range row.Statuses {
					byStatus[s] += n
					sum += n
				}
				if sum != row.Cells {
					t.Fatalf("%s: %d statuses of %d cells", row.ID, sum, row.Cells)
				}
			}
			if cells != 15 {
				t.Fatalf("rows sum up to %d cells", cells)
			}
			for s, n := range byStatus {
				if n != r.Total.Statuses[s] {
					t.Fatalf("%d cells %s, in total %d", n, s, r.Total.Statuses[s])
				}
			}
		}
		slices.Reverse(in.Tests)
		if again := Measure(in); !reflect.DeepEqual(again, r) {
			t.Fatal("the report depends on the order of its input")
		}
	})
}
