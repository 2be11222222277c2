package wire

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/auditcanary/auditcanary/shared/slack"
)

// TestATriggerIsOfOneCell: what is asked for stands in one ledger, so where there are
// several the configuration says in which, and nobody may ask for what is in another.
func TestATriggerIsOfOneCell(t *testing.T) {
	t.Setenv("CI_KEY", ciKey)
	data, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	second := "targets:\n  - account: \"222222222222\"\n    cell: b\n    regions: [eu-central-1]\n    role_arn: arn:aws:iam::222222222222:role/auditcanary-injector\n  - cell: a\n    account:"
	celled := strings.Replace(string(data), "targets:\n  - account:", second, 1)
	open := func(section string) (*trigger, error) {
		t.Helper()
		dir := t.TempDir()
		skey, _, err := note.GenerateKey(rand.Reader, "auditcanary.example/test/b") // a cell's ledger bears its name
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "auditcanary.yaml")
		if err := os.WriteFile(filepath.Join(dir, "signing.key"), []byte(skey), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(celled+section), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(file)
		if err != nil {
			return nil, err
		}
		h, err := OpenTrigger(t.Context(), c, TriggerOptions{})
		if err != nil {
			return nil, err
		}
		return theTrigger(t, h), nil
	}
	for section, want := range map[string]string{
		"\ntrigger:\n  callers: [{id: ci, key_env: CI_KEY}]\n":                                                      "trigger needs cell, since targets have cells",
		"\ntrigger:\n  cell: c\n  callers: [{id: ci, key_env: CI_KEY}]\n":                                           `trigger.cell "c" is not the cell of any target`,
		"\ntrigger:\n  cell: b\n  callers: [{id: ci, key_env: CI_KEY, targets: [\"111122223333\"]}]\n":              `target "111122223333" is not in trigger.cell b`,
		"\ntrigger:\n  cell: b\n  callers: [{id: ci, key_env: CI_KEY, targets: [\"222222222222/eu-central-1\"]}]\n": "",
	} {
		d, err := open(section)
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q in it", section, err, want)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if d.c.cell != "b" || !strings.HasSuffix(d.c.Ledger.Origin, "/b") {
			t.Errorf("cell %q, ledger %s", d.c.cell, d.c.Ledger.Origin)
		}
		if _, targets, refused := d.selected(May{}, slack.Words{Do: "run", Target: "222222222222"}); refused != "" || len(targets) != 1 {
			t.Errorf("%v, %q", targets, refused)
		}
		if _, _, refused := d.selected(May{}, slack.Words{Do: "run", Target: "111122223333"}); !strings.Contains(refused, "is not configured in cell b") {
			t.Errorf("refused %q", refused)
		}
	}
}
