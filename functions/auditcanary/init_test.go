package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/auditcanary/auditcanary/shared/wire"
)

func initArgs(file string, more ...string) []string {
	return append([]string{"--config", file, "init", "--account", "111122223333", "--region", "us-east-1", "--archive-bucket", "org-trail-archive", "--archive-region", "us-east-1", "--origin", "example.com/log"}, more...)
}

func TestInitWritesForItsOwnerOnlyAndOverwritesNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "auditcanary.yaml")
	if code := execute(t.Context(), initArgs(file, "--keygen")); code != 0 {
		t.Fatal(code)
	}
	key := filepath.Join(filepath.Dir(file), "signing.key")
	for _, private := range []string{file, key} {
		if st, err := os.Stat(private); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", private, st, err)
		}
	}
	if _, err := wire.Load(file); err != nil {
		t.Error(err)
	}
	config, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	if code := execute(t.Context(), initArgs(file, "--region", "eu-west-1")); code != 2 {
		t.Errorf("without --force: exit code %d", code)
	}
	if now, _ := os.ReadFile(file); !bytes.Equal(now, config) {
		t.Error("without --force it was overwritten")
	}
	if code := execute(t.Context(), initArgs(file, "--region", "eu-west-1", "--force", "--keygen")); code != 0 {
		t.Errorf("with --force: exit code %d", code)
	}
	c, err := wire.Load(file)
	if err != nil || !slices.Equal(c.Targets[0].Regions, []string{"us-east-1", "eu-west-1"}) {
		t.Errorf("%+v %v", c, err)
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("overwritten: %v %v", st, err)
	}
	if now, _ := os.ReadFile(key); !bytes.Equal(now, secret) {
		t.Error("the ledger's key was overwritten")
	}
}

func TestInitWritesNothingThatDoesNotLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "auditcanary.yaml")
	if code := execute(t.Context(), initArgs(file, "--account", "12", "--keygen")); code != 2 {
		t.Errorf("exit code %d", code)
	}
	if left, _ := os.ReadDir(filepath.Dir(file)); len(left) != 0 {
		t.Errorf("it left %v", left)
	}
}

func TestInitAsksForWhatIsLeftOpen(t *testing.T) {
	in := initOptions{}
	var asked bytes.Buffer
	answers := "111122223333, 444455556666\nus-east-1 eu-west-1\norg-trail-archive\n\nexample.com/log\n\n"
	if err := in.ask(true, strings.NewReader(answers), &asked); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(in.accounts, []string{"111122223333", "444455556666"}) || !slices.Equal(in.Regions, []string{"us-east-1", "eu-west-1"}) ||
		in.Bucket != "org-trail-archive" || in.BucketRegion != "us-east-1" || in.Origin != "example.com/log" || in.ReaderRole != "" {
		t.Errorf("%+v\n%s", in, asked.String())
	}
	asked.Reset()
	in = initOptions{}
	err := in.ask(false, strings.NewReader(answers), &asked)
	if err == nil || !strings.Contains(err.Error(), "--account (or --organization), --region, --archive-bucket") || asked.Len() > 0 {
		t.Errorf("where nobody answers: %v, asked %q", err, asked.String())
	}
}
