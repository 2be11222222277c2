package wire

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func draft() Draft {
	return Draft{
		Origin: "auditcanary.example.com/prod", Regions: []string{"us-east-1", "eu-west-1"}, Bucket: "org-trail-archive", BucketRegion: "us-east-1",
		LedgerDir: "ledger", KeyFile: "signing.key", InspectorRole: "auditcanary/auditcanary-inspector",
		Accounts: []DraftAccount{
			{Account: "111122223333", RoleARN: "arn:aws:iam::111122223333:role/auditcanary/auditcanary-injector"},
			{Account: "444455556666", RoleARN: "arn:aws:iam::444455556666:role/auditcanary/auditcanary-injector"},
		},
	}
}

// kept is a key that is commented out: nothing is between it and the mark.
var kept = regexp.MustCompile(`(?m)^( *)#([^ \n].*|  .*)$`)

func TestADraftLoadsWithWhateverItIsToldAndAllThatIsCommentedOut(t *testing.T) {
	for name, change := range map[string]func(*Draft){
		"the least": func(*Draft) {},
		"the most": func(d *Draft) {
			d.ExternalIDEnv, d.Prefix, d.ReaderRole = "EXTERNAL_ID", "logs", "arn:aws:iam::999999999999:role/auditcanary/auditcanary-reader"
			d.Organization, d.ManagementAccount = "o-exampleorg1", "100000000001"
			d.LedgerBucket, d.LedgerRegion, d.LedgerPrefix, d.KeyEnv = "auditcanary-ledger", "us-east-1", "ledger", "SIGNING_KEY"
			d.PutIntoCells(1)
			d.Take([]Stack{{Account: "111122223333", Region: "eu-west-1", Fixtures: map[string]string{"vpc": "vpc-1"}}})
		},
		"without an inspector": func(d *Draft) { d.InspectorRole = "" },
		"in cells":             func(d *Draft) { d.PutIntoCells(1) },
	} {
		t.Run(name, func(t *testing.T) {
			d := draft()
			change(&d)
			data, err := d.Render("auditcanary.yaml")
			if err != nil {
				t.Fatal(err)
			}
			c, err := Parse("auditcanary.yaml", data)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Plan(c); err != nil {
				t.Error(err)
			}
			if got := c.LogStores[0]; got.Bucket != d.Bucket || got.Prefix != d.Prefix || got.RoleARN != d.ReaderRole || got.OrganizationID != d.Organization {
				t.Errorf("log store %+v", got)
			}
			if len(c.Targets) != 2 || c.Targets[1].RoleARN != d.Accounts[1].RoleARN || c.Targets[0].ExternalIDEnv != d.ExternalIDEnv || c.Targets[1].Cell != d.Accounts[1].Cell || !slices.Equal(c.Targets[0].Regions, d.Regions) {
				t.Errorf("targets %+v", c.Targets)
			}
			if c.Ledger.Origin != d.Origin || (c.Ledger.S3 != nil) != (d.LedgerBucket != "") || c.Signing.KeyEnv != d.KeyEnv || c.Inspection.Role != d.InspectorRole {
				t.Errorf("ledger %+v, signing %+v, inspection %+v", c.Ledger, c.Signing, c.Inspection)
			}
			all := kept.ReplaceAllString(string(data), "$1$2")
			if all == string(data) {
				t.Fatal("nothing is commented out")
			}
			if _, err := Parse("auditcanary.yaml", []byte(all)); err != nil {
				t.Errorf("with all that is commented out:\n%v\n%s", err, all)
			}
			// Every section of the manual is there.
			for f := range reflect.TypeFor[Config]().Fields() {
				if key := f.Tag.Get("yaml"); key != "" && !regexp.MustCompile(`(?m)^#?`+key+`:`).Match(data) {
					t.Errorf("no section %s", key)
				}
			}
		})
	}
}

func TestADraftQuotesWhatItIsTold(t *testing.T) {
	d := draft()
	d.Prefix = "a: b\n\"#{{.}}"
	data, err := d.Render("auditcanary.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if c, err := Parse("auditcanary.yaml", data); err != nil || c.LogStores[0].Prefix != d.Prefix {
		t.Errorf("%v %q", err, c.LogStores[0].Prefix)
	}
	d = draft()
	d.Accounts[0].Account = "1\ntargets: []"
	if _, err := d.Render("auditcanary.yaml"); err == nil || !strings.Contains(err.Error(), "twelve digits") {
		t.Error(err)
	}
}

func TestStacksBecomeFixtures(t *testing.T) {
	f, err := os.Open(filepath.Join("testdata", "stacks.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stacks, err := ReadStacks("stacks.json", f)
	if err != nil {
		t.Fatal(err)
	}
	d := draft()
	if without := d.Take(stacks); !slices.Equal(without, []string{"444455556666"}) {
		t.Errorf("without a stack: %v", without)
	}
	want := map[string]map[string]string{
		"*":         {"decoy_trail": "auditcanary-decoy", "break_glass_role": "auditcanary-break-glass"},
		"us-east-1": {"security_group": "sg-1", "locked_recovery_point": "arn:aws:backup:us-east-1:111122223333:recovery-point:x"},
		"eu-west-1": {"security_group": "sg-2"},
	}
	if !reflect.DeepEqual(d.Accounts[0].Fixtures, want) || d.Accounts[0].RoleARN != "arn:aws:iam::111122223333:role/other" {
		t.Errorf("%+v", d.Accounts[0])
	}
	if _, err := d.Render("auditcanary.yaml"); err != nil {
		t.Error(err)
	}
}

func TestReadStacksSaysWhatItWants(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "no stack in it",
		"{":                                    "answer 1",
		`{"Stacks":[]}`:                        "has no Stacks",
		`[{"OutputKey":"a"}]`:                  "answer 1",
		`{"Stacks":[{"StackId":"arn:aws:x"}]}`: "not the ARN of a stack",
		strings.Repeat(`{"Stacks":[{"StackId":"arn:aws:cloudformation:us-east-1:111122223333:stack/a/1"}]}`, 2): "a second stack in 111122223333/us-east-1",
	} {
		if _, err := ReadStacks("f.json", strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzReadStacks(f *testing.F) {
	data, err := os.ReadFile(filepath.Join("testdata", "stacks.json"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(data))
	f.Add(`{"Stacks":[{"StackId":"arn:aws:cloudformation:us-east-1:111122223333:stack/a/1","Outputs":[{"OutputKey":"FixtureÄb","OutputValue":"${x}\n"}]}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		stacks, err := ReadStacks("f.json", strings.NewReader(text))
		if err != nil {
			return
		}
		d := draft()
		d.Take(stacks)
		// What it writes loads, or it writes nothing.
		if data, err := d.Render("auditcanary.yaml"); err == nil {
			if _, err := Parse("auditcanary.yaml", data); err != nil {
				t.Error(err)
			}
		}
	})
}
