package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/auditcanary/auditcanary/shared/ledger"
	"github.com/auditcanary/auditcanary/shared/wire"
	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

const ledgerOrigin = "auditcanary.example/demo"

// writeConfig writes auditcanary.yaml for this sandbox into dir, with the key
// that signs its ledger (kept if there is one), and returns the file's path. egress
// is the address that calls come from.
func writeConfig(dir, url, egress string, world cloud.Extent, include []string) (string, error) {
	if err := writeKey(filepath.Join(dir, "signing.key")); err != nil {
		return "", fmt.Errorf("signing key: %w", err)
	}
	file := filepath.Join(dir, "auditcanary.yaml")
	if err := os.WriteFile(file, []byte(config(url, egress, world, include)), 0o600); err != nil {
		return "", fmt.Errorf("configuration: %w", err)
	}
	return file, nil
}

func writeKey(file string) error {
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	private, public, err := ledger.GenerateKey(ledgerOrigin)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".pub", []byte(public+"\n"), 0o644); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(private+"\n"), 0o600)
}

// permit gives each account's injector exactly what the product says it needs for
// the catalogue, as an operator does. What is missing there is missing here.
func permit(plane *cloud.Cloud, config string) error {
	cfg, err := wire.Load(config)
	if err != nil {
		return fmt.Errorf("the configuration just written: %w", err)
	}
	for _, t := range cfg.Targets {
		one := *cfg // an account at a time: plans are large
		one.Targets = []wire.Target{t}
		plans, err := wire.Plan(&one)
		if err != nil {
			return fmt.Errorf("plan the catalogue: %w", err)
		}
		policies, err := wire.Permissions(&one, plans)
		if err != nil {
			return err
		}
		if err := plane.PermitInjector(t.Account, policies[t.Account]); err != nil {
			return err
		}
	}
	return nil
}

// config is the product's configuration file for the sandbox's world.
func config(url, egress string, world cloud.Extent, include []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Written by the sandbox for this run.
version: 1
aws:
  endpoint_url: %s
targets:
`, url)
	for _, account := range world.Accounts {
		fmt.Fprintf(&b, "  - account: %q\n    regions: [%s]\n    role_arn: %s\n    egress: [%q]\n    fixtures:\n",
			account, strings.Join(world.Regions, ", "), cloud.InjectorRole(account), egress)
		for _, region := range append([]string{"*"}, world.Regions...) {
			fmt.Fprintf(&b, "      %q:\n", region)
			fixtures := cloud.Fixtures(account, region)
			for _, name := range slices.Sorted(maps.Keys(fixtures)) {
				fmt.Fprintf(&b, "        %s: %s\n", name, fixtures[name])
			}
		}
	}
	fmt.Fprintf(&b, `log_stores:
  - name: central
    type: cloudtrail-s3
    bucket: %s
    region: %s
    organization_id: %s
    role_arn: %s
ledger:
  origin: %s
  dir: ledger
signing:
  key_file: signing.key
evidence: {bucket: %s, prefix: packets, region: %s, role_arn: %s, retain_days: 400}
slo: {pass: 15m, late: 60m, amend: 24h, poll: 1s}
scenarios: {dirs: [], include: ["%s"], exclude: []}
inspection:
  role: %s
  organization: {management_account: %q, region: %s}
sources:
  - {class: cloud-management-events, owner: platform team}
  - {class: console-sign-in, owner: identity team}
%s%s%s`, cloud.ArchiveBucket, homeRegion, cloud.Organization, cloud.ReaderRole(), ledgerOrigin,
		cloud.EvidenceBucket, homeRegion, cloud.EvidenceRole(), strings.Join(include, `", "`),
		cloud.InspectorRole, cloud.ManagementAccount, homeRegion, alertPath(world), alerts(), people(url))
	return b.String()
}

// alertPath lists what people of this world rely on.
func alertPath(world cloud.Extent) string {
	var b strings.Builder
	fmt.Fprintf(&b, `alert_path:
  event_rules:
    - {account: %[1]q, region: %[2]s, name: %[3]s, all_management_events: true, targets: [%[4]q]}
%[10]s  topics:
    - {arn: %[4]q, endpoints: [%[5]s]}
  alarms:
    - {account: %[1]q, region: %[2]s, name: %[6]s, actions: [%[4]q]}
  metric_filters:
    - {account: %[1]q, region: %[2]s, log_group: %[7]s, name: %[8]s, pattern: '%[9]s'}
  log_groups:
    - {account: %[1]q, region: %[2]s, name: %[7]s, retention_days: 365, protected: true}
  detectors:
`, cloud.ManagementAccount, homeRegion, cloud.AlertRule, cloud.AlertTopic, cloud.AlertEndpoint, cloud.AlertAlarm, cloud.AlertLogGroup, cloud.AlertFilter, cloud.AlertFilterPattern, eventRules(world))
	for _, account := range world.Accounts {
		for _, region := range world.Regions {
			fmt.Fprintf(&b, "    - {account: %q, region: %s}\n", account, region)
		}
	}
	return b.String()
}

// alerts says where each alert of the security bus arrives, and what makes it: the rule of
// its name, and the one that forwards to it.
func alerts() string {
	var b strings.Builder
	b.WriteString("alerts:\n")
	for _, name := range cloud.AlertNames() {
		if name == cloud.AlertRule { // no scenario promises it
			continue
		}
		fmt.Fprintf(&b, "  - {name: %s, sqs: {queue_url: %q, region: %s, role_arn: %s}, within: 5m, late: 30m, rules: [%s, %s]}\n",
			name, cloud.AlertTapURL(name), homeRegion, cloud.ReaderRole(), cloud.ForwardRule, name)
	}
	return b.String()
}

// eventRules are those by which the security team is told.
func eventRules(world cloud.Extent) string {
	var b strings.Builder
	for _, account := range world.Accounts {
		for _, region := range world.Regions {
			fmt.Fprintf(&b, "    - {account: %q, region: %s, name: %s, all_management_events: true}\n", account, region, cloud.ForwardRule)
		}
	}
	for _, name := range cloud.AlertNames() {
		fmt.Fprintf(&b, "    - {account: %q, region: %s, bus: %s, name: %s}\n", cloud.ManagementAccount, homeRegion, cloud.SecurityBus, name)
	}
	return b.String()
}
