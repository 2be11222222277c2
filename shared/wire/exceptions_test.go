package wire

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/exception"
)

func TestTheRegisterInUseIsReadByTheRulesOfTheConfiguration(t *testing.T) {
	good, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	parse := func(more string) *Config {
		t.Helper()
		c, err := Parse(filepath.Join(dir, "auditcanary.yaml"), append(good[:len(good):len(good)], more...))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if _, configured, err := parse("").RegisterInUse(); configured || err != nil {
		t.Errorf("none is configured: %v, %v", configured, err)
	}
	c := parse("exceptions: {file: register.yaml, max_days: 30}\n")
	if _, _, err := c.RegisterInUse(); err == nil || !strings.Contains(err.Error(), "register.yaml") {
		t.Errorf("a file that is not there: %v", err)
	}
	text := `version: 1
exceptions:
  - id: EX-1
    scope: {scenario: aws/kms-*, target: "111122223333", check: surfaced}
    problem: {hop: delivered}
    control: {id: "iso27017:2015/12.4.3", version: 2026-11-26.1}
    compensating_controls: [a second trail]
    risk: {requester: A, approver: B, statement: known}
    opened: 2026-11-01
    expires: 2026-12-15
    remediation: {plan: repair it, by: 2026-12-10}
    owner: Cloud team
`
	if err := os.WriteFile(filepath.Join(dir, "register.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r, configured, err := c.RegisterInUse()
	if err != nil || !configured || r.Source != "register.yaml" || r.MaxDays != 30 || r.ControlsVersion == "" {
		t.Fatalf("%+v, %v", r, err)
	}
	s := exception.Subject{Scenario: "aws/kms-disable-key", Target: canary.Target{Account: "111122223333"}, Check: canary.Surfaced, Status: canary.Fail, Hop: canary.Delivered}
	now := time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)
	r.ControlsVersion = "2026-11-26.1" // whatever version is in use
	if _, ok := r.For(s, now); ok {
		t.Error("45 days count where 30 are allowed")
	}
	r.MaxDays = exception.DefaultMaxDays
	if _, ok := r.For(s, now); !ok {
		t.Error("it does not count at all")
	}
	if r, err := (*Config)(nil).ReadRegister(filepath.Join(dir, "register.yaml")); err != nil || r.MaxDays != exception.DefaultMaxDays {
		t.Errorf("without a configuration: %d, %v", r.MaxDays, err)
	}
}
