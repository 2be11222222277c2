package wire

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/slack"
)

// TestWhatIsAskedForStandsInTheLedgerOfItsCell: whatever cell the trigger's own is.
func TestWhatIsAskedForStandsInTheLedgerOfItsCell(t *testing.T) {
	t.Setenv("CI_KEY", ciKey)
	data, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	second := "targets:\n  - account: \"222222222222\"\n    cell: b\n    regions: [eu-central-1]\n    role_arn: arn:aws:iam::222222222222:role/auditcanary-injector\n  - cell: a\n    account:"
	celled := strings.Replace(string(data), "targets:\n  - account:", second, 1)
	skey, _, err := note.GenerateKey(rand.Reader, "auditcanary.example/test")
	if err != nil {
		t.Fatal(err)
	}
	open := func(section string) (*trigger, http.Handler, error) {
		t.Helper()
		dir := t.TempDir()
		file := filepath.Join(dir, "auditcanary.yaml")
		if err := errors.Join(os.WriteFile(filepath.Join(dir, "signing.key"), []byte(skey), 0o600), os.WriteFile(file, []byte(celled+section), 0o600)); err != nil {
			t.Fatal(err)
		}
		c, err := Load(file)
		if err != nil {
			return nil, nil, err
		}
		h, err := OpenTrigger(t.Context(), c, TriggerOptions{})
		if err != nil {
			return nil, nil, err
		}
		return theTrigger(t, h), h, nil
	}
	for section, want := range map[string]string{
		"\ntrigger:\n  callers: [{id: ci, key_env: CI_KEY}]\n":                                         "trigger needs cell, since targets have cells",
		"\ntrigger:\n  cell: c\n  callers: [{id: ci, key_env: CI_KEY}]\n":                              `trigger.cell "c" is not the cell of any target`,
		"\ntrigger:\n  cell: b\n  callers: [{id: ci, key_env: CI_KEY, targets: [\"333333333333\"]}]\n": `target "333333333333" is not ACCOUNT`,
		"\ntrigger:\n  cell: b\n  state_machine: run\n  callers: [{id: ci, key_env: CI_KEY}]\n":        `state_machine "run" is not the ARN of a state machine`,
	} {
		if _, _, err := open(section); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", section, err, want)
		}
	}

	d, h, err := open("\ntrigger:\n  cell: b\n  callers: [{id: ci, key_env: CI_KEY, targets: [\"*\"]}]\n")
	if err != nil {
		t.Fatal(err)
	}
	var kicked []Given
	d.kick = func(_ context.Context, what Given) error { kicked = append(kicked, what); return nil }
	ask := func(scenario, target string) (int, string) {
		t.Helper()
		body := `{"do": "run", "scenario": "` + scenario + `", "target": "` + target + `"}`
		ts := strconv.FormatInt(time.Now().Unix(), 10)
		r := httptest.NewRequest(http.MethodPost, "/run", strings.NewReader(body))
		r.Header.Set("X-Auditcanary-Key", "ci")
		r.Header.Set("X-Auditcanary-Timestamp", ts)
		r.Header.Set("X-Auditcanary-Signature", slack.Sign(ciKey, ts, []byte(body)))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	// known is what the ledger of a cell has of it.
	known := func(cell string) []run.Asked {
		t.Helper()
		c, err := d.whole.inCell(cell)
		if err != nil {
			t.Fatal(err)
		}
		log, err := OpenLedger(t.Context(), c, ReadOnly)
		if err != nil {
			t.Fatal(err)
		}
		state, _, err := run.Fold(t.Context(), log)
		if err != nil {
			t.Fatal(err)
		}
		return state.Asked
	}
	for target, cell := range map[string]string{"222222222222": "b", "111122223333/us-east-1": "a"} {
		kicked = nil
		status, said := ask("aws/kms-*", target)
		asked := known(cell)
		if status != http.StatusAccepted || len(asked) != 1 || !slices.Equal(asked[0].Targets, []string{target}) {
			t.Fatalf("%s: %d %s; the ledger of %s has %+v", target, status, said, cell, asked)
		}
		if want := (Given{Run: run.RunFor(asked[0]), Asked: asked[0].ID, Cell: cell}); len(kicked) != 1 || kicked[0] != want {
			t.Errorf("%s: kicked %+v, want %+v", target, kicked, want)
		}
	}
	// A request for all cells belongs into none: it is refused, in the trigger's own.
	kicked = nil
	if status, said := ask("aws/kms-*", ""); status != http.StatusForbidden || !strings.Contains(said, "name an account") || len(kicked) != 0 || len(known("a")) != 1 || len(known("b")) != 2 {
		t.Errorf("%d %s, kicked %v", status, said, kicked)
	}
	// Whoever is not allowed more may ask for what is in the trigger's own cell.
	if cell, refused := d.cellOf(nil); cell != "b" || refused != "" {
		t.Errorf("cell %q, %q", cell, refused)
	}
	if _, targets, refused := d.selected(May{}, slack.Words{Do: "run", Target: "222222222222"}); refused != "" || len(targets) != 1 {
		t.Errorf("%v, %q", targets, refused)
	}
	if _, _, refused := d.selected(May{}, slack.Words{Do: "run", Target: "111122223333"}); !strings.Contains(refused, "not in cell b") {
		t.Errorf("refused %q", refused)
	}
	// Who may ask in one cell only need not say which.
	if cell, refused := d.cellOf([]string{"111122223333/us-east-1", "111122223333/eu-west-1"}); cell != "a" || refused != "" {
		t.Errorf("cell %q, %q", cell, refused)
	}

	// A cell that is chosen from outside is the only one.
	c, err := d.whole.inCell("b")
	if err != nil {
		t.Fatal(err)
	}
	one, err := OpenTrigger(t.Context(), c, TriggerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, refused := theTrigger(t, one).selected(May{}, slack.Words{Do: "run", Target: "111122223333"}); !strings.Contains(refused, "is not configured in cell b") {
		t.Errorf("refused %q", refused)
	}
}
