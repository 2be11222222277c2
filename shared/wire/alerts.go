package wire

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"

	"github.com/auditcanary/auditcanary/shared/alertrule"
	"github.com/auditcanary/auditcanary/shared/aws"
	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// Alert says where the alerts of one name arrive that scenarios promise, and how soon
// they must. Exactly one of sqs, cloudwatch_alarm, guardduty, security_hub and inbox.
type Alert struct {
	// Name as scenarios promise it: permissions-changed. Each once.
	Name string `yaml:"name"`
	// SQS is a queue that gets a copy of what people get: subscribed to the same SNS
	// topic (raw or not), or a target of the same EventBridge rule.
	SQS *AlertQueue `yaml:"sqs"`
	// CloudWatchAlarm is an alarm. It names no event: see accept_weak.
	CloudWatchAlarm *AlertAlarm `yaml:"cloudwatch_alarm"`
	// GuardDuty is a detector, by the findings it makes.
	GuardDuty *AlertDetector `yaml:"guardduty"`
	// SecurityHub is a hub, by the findings it holds.
	SecurityHub *AlertHub `yaml:"security_hub"`
	// Inbox is a folder of a bucket into which an alert tool's webhook is written, an
	// object a message.
	Inbox *AlertInbox `yaml:"inbox"`
	// Within: how long after the call it is in time (default 5m).
	Within Duration `yaml:"within"`
	// Late: late until then, missing after it (default 30m, at most 24h).
	Late Duration `yaml:"late"`
	// AcceptWeak: one that names no event, only the canary's session or nothing at all,
	// is good enough if it comes in time. Verdicts say so. Left out, it is inconclusive.
	AcceptWeak bool `yaml:"accept_weak"`
	// Scenarios are patterns over ids (aws/iam-*) of those that promise it, beside those
	// that name it.
	Scenarios []string `yaml:"scenarios"`
	// Rules are all that stand on its way: names of those in alert_path (event_rules, those
	// that forward among them, metric_filters, alarms), and types of GuardDuty findings.
	// They are read through inspection.role. Where none of them could ever see what a
	// canary does, that is said at once, and by `auditcanary alerts --rules` before any run.
	Rules []string `yaml:"rules"`
}

// Through is the role by which a place is asked.
type Through struct {
	// RoleARN of a role that may read there; empty: the base credentials.
	RoleARN string `yaml:"role_arn"`
	// ExternalIDEnv names the environment variable that holds the role's external id, if it wants one.
	ExternalIDEnv string `yaml:"external_id_env"`
}

// AlertQueue is an SQS queue of its own: what is read is deleted from it. Where the
// configuration has cells each needs its own, or one would delete another's alerts: {cell}
// in its name stands for the cell.
type AlertQueue struct {
	QueueURL string `yaml:"queue_url"`
	Region   string `yaml:"region"`
	Through  `yaml:",inline"`
}

// AlertAlarm is a CloudWatch alarm of one metric.
type AlertAlarm struct {
	Where   `yaml:",inline"`
	Name    string `yaml:"name"`
	Through `yaml:",inline"`
}

// AlertDetector is a GuardDuty detector.
type AlertDetector struct {
	Where `yaml:",inline"`
	// Detector id (default: whichever the region has).
	Detector string `yaml:"detector"`
	// Types of findings that count, "Stealth:IAMUser/CloudTrailLoggingDisabled".
	Types   []string `yaml:"types"`
	Through `yaml:",inline"`
}

// AlertHub is a Security Hub.
type AlertHub struct {
	Where `yaml:",inline"`
	// Generators of the findings that count: beginnings of their GeneratorId.
	Generators []string `yaml:"generators"`
	Through    `yaml:",inline"`
}

// AlertInbox is a folder of a bucket.
type AlertInbox struct {
	Bucket string `yaml:"bucket"`
	Prefix string `yaml:"prefix"`
	Region string `yaml:"region"`
	// Dated: what follows the prefix begins with the day of writing, UTC, as 2006/01/02/;
	// then only the days that matter are listed. Left out, the whole folder is, each time.
	Dated   bool `yaml:"dated"`
	Through `yaml:",inline"`
}

// maxAlertLate is the longest that an alert may take: no person would call it one.
const maxAlertLate = 24 * time.Hour

func (a *Alert) defaults() {
	a.Within.Duration = cmp.Or(a.Within.Duration, 5*time.Minute)
	a.Late.Duration = cmp.Or(a.Late.Duration, 30*time.Minute)
}

// alertKinds are those of places, in the order of the fields.
const alertKinds = "sqs, cloudwatch_alarm, guardduty, security_hub, inbox"

// kinds of place that are given.
func (a Alert) kinds() (out []string) {
	for _, k := range []struct {
		name  string
		given bool
	}{
		{"sqs", a.SQS != nil}, {"cloudwatch_alarm", a.CloudWatchAlarm != nil}, {"guardduty", a.GuardDuty != nil},
		{"security_hub", a.SecurityHub != nil}, {"inbox", a.Inbox != nil},
	} {
		if k.given {
			out = append(out, k.name)
		}
	}
	return out
}

var alertName = regexp.MustCompile(`^[a-z0-9-]{1,60}$`)

func (c *Config) checkAlerts(bad complain) {
	first := map[string]int{}
	type placed struct {
		place string
		by    int
	}
	var places []placed
	for i, a := range c.Alerts {
		at := fmt.Sprintf("alerts.%d", i)
		sound := true
		wrong := func(field, format string, args ...any) {
			sound = false
			bad(strings.TrimSuffix(at+"."+field, "."), "alert %q: "+format, append([]any{a.Name}, args...)...)
		}
		if !alertName.MatchString(a.Name) {
			bad(at+".name", "alert name %q is not one such as permissions-changed", a.Name)
		} else if n, dup := first[a.Name]; dup {
			bad(at+".name", "alert %s is configured twice, here and as number %d: a name arrives in one place", a.Name, n+1)
		} else {
			first[a.Name] = i
		}
		if kinds := a.kinds(); len(kinds) != 1 {
			given := "none is given"
			if len(kinds) > 0 {
				given = strings.Join(kinds, " and ") + " are given"
			}
			wrong("", "it arrives in exactly one place of %s: %s", alertKinds, given)
		}
		if len(c.Cells()) > 0 {
			a = a.inCell("cell")
		}
		mine := a.check(wrong)
		if j := slices.IndexFunc(places, func(o placed) bool {
			return slices.ContainsFunc(mine, func(p string) bool { return strings.HasPrefix(p, o.place) || strings.HasPrefix(o.place, p) })
		}); j >= 0 {
			wrong(a.kinds()[0], "alert %s arrives there already: each needs a place of its own, or they could not be told apart", c.Alerts[places[j].by].Name)
		} else {
			for _, p := range mine {
				places = append(places, placed{p, i})
			}
		}
		if a.Within.Duration >= a.Late.Duration {
			wrong("within", "within (%s) must be shorter than late (%s)", a.Within, a.Late)
		}
		if a.Late.Duration > maxAlertLate {
			wrong("late", "late (%s) must not be longer than %s", a.Late, maxAlertLate)
		}
		for j, p := range a.Scenarios {
			if _, err := path.Match(p, ""); err != nil || p == "" {
				wrong(fmt.Sprintf("scenarios.%d", j), "%q is not a pattern over scenario ids", p)
			}
		}
		if len(a.Rules) > 0 && c.Inspection.Role == "" {
			wrong("rules", "rules are read through inspection.role, and there is none: name the role, or leave them out")
		}
		if sound { // what the drivers would refuse
			if _, err := openAlert(awssdk.Config{}, a, time.Now); err != nil {
				wrong(a.kinds()[0], "%v", err)
			}
		}
		for j, name := range a.Rules {
			if !slices.Contains(c.AlertPath.names(), name) && !findingType.MatchString(name) {
				wrong(fmt.Sprintf("rules.%d", j), "alert_path has no event rule, metric filter or alarm %q, and it is no type of a GuardDuty finding", name)
			}
		}
	}
}

// names of what makes alerts.
func (p AlertPath) names() (out []string) {
	for _, r := range p.EventRules {
		out = append(out, r.Name)
	}
	for _, f := range p.MetricFilters {
		out = append(out, f.Name)
	}
	for _, a := range p.Alarms {
		out = append(out, a.Name)
	}
	return out
}

// check reports what is wrong with where an alert arrives, and names the places, so that
// no two alerts arrive at one: one that is the beginning of another holds it too.
func (a Alert) check(bad complain) (places []string) {
	const end = "\n" // of a name that is the whole
	region := func(field, r string) {
		if !regionID.MatchString(r) {
			bad(field+".region", "%q is not a region", r)
		}
	}
	role := func(field string, t Through, account string) {
		m := roleARN.FindStringSubmatch(t.RoleARN)
		switch {
		case t.RoleARN == "" && t.ExternalIDEnv != "":
			bad(field+".external_id_env", "an external id is for a role, and role_arn names none")
		case t.RoleARN != "" && m == nil:
			bad(field+".role_arn", "role_arn %q is not the ARN of a role", t.RoleARN)
		case m != nil && account != "" && m[1] != account:
			bad(field+".role_arn", "role_arn %s is not in account %s", t.RoleARN, account)
		}
	}
	where := func(field string, w Where, t Through) {
		if !accountID.MatchString(w.Account) {
			bad(field+".account", "account %q is not twelve digits in quotes", w.Account)
			w.Account = ""
		}
		region(field, w.Region)
		role(field, t, w.Account)
	}
	if q := a.SQS; q != nil {
		u, err := url.Parse(q.QueueURL)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || !queuePath.MatchString(u.Path) || u.RawQuery != "" || u.User != nil {
			bad("sqs.queue_url", "queue_url %q is not the URL of a queue (https://sqs.us-east-1.amazonaws.com/111122223333/name)", q.QueueURL)
		} else if strings.HasSuffix(u.Path, ".fifo") {
			bad("sqs.queue_url", "queue %s is a FIFO queue: it gives nothing more while what it gave is not deleted", q.QueueURL)
		}
		region("sqs", q.Region)
		role("sqs", q.Through, "")
		if err == nil {
			places = append(places, "sqs "+strings.TrimSuffix(strings.ToLower(u.Host), ":443")+u.Path+end)
		}
	}
	if x := a.CloudWatchAlarm; x != nil {
		where("cloudwatch_alarm", x.Where, x.Through)
		if blank(x.Name) {
			bad("cloudwatch_alarm", "the alarm has no name")
		}
		places = append(places, "alarm "+x.Account+" "+x.Region+" "+x.Name+end)
	}
	if x := a.GuardDuty; x != nil {
		where("guardduty", x.Where, x.Through)
		if len(x.Types) == 0 || slices.ContainsFunc(x.Types, blank) {
			bad("guardduty.types", "types must list the types of findings that count")
		}
		for _, kind := range x.Types { // a region has one detector
			places = append(places, "detector "+x.Account+" "+x.Region+" "+kind+end)
		}
	}
	if x := a.SecurityHub; x != nil {
		where("security_hub", x.Where, x.Through)
		if len(x.Generators) == 0 || slices.ContainsFunc(x.Generators, blank) {
			bad("security_hub.generators", "generators must list the beginnings of the generator ids of the findings that count")
		}
		for _, g := range x.Generators {
			places = append(places, "hub "+x.Account+" "+x.Region+" "+g)
		}
	}
	if x := a.Inbox; x != nil {
		if x.Bucket == "" {
			bad("inbox", "the inbox has no bucket")
		}
		if strings.HasPrefix(x.Prefix, "/") || x.Prefix != "" && !strings.HasSuffix(x.Prefix, "/") {
			bad("inbox.prefix", "prefix %q must end in a slash and not begin with one", x.Prefix)
		}
		region("inbox", x.Region)
		role("inbox", x.Through, "")
		places = append(places, "inbox "+x.Bucket+"/"+x.Prefix)
	}
	return places
}

// CheckAlerts says which alerts would be listened for in vain: those that no scenario
// promises, selected or not, and patterns that are like none.
func CheckAlerts(c *Config) error {
	if len(c.Alerts) == 0 {
		return nil
	}
	all := *c
	all.Scenarios.Include, all.Scenarios.Exclude = nil, nil
	catalogue, err := Catalogue(&all)
	if err != nil {
		return err
	}
	var errs []error
	for _, a := range c.Alerts {
		for _, p := range a.Scenarios {
			if !slices.ContainsFunc(catalogue, func(s canary.Scenario) bool { ok, _ := path.Match(p, s.ID); return ok }) {
				errs = append(errs, fmt.Errorf("%s: alert %q: no scenario is like %s", c.file, a.Name, p))
			}
		}
		if len(a.Scenarios) == 0 && !slices.ContainsFunc(catalogue, func(s canary.Scenario) bool {
			return slices.ContainsFunc(s.Alerts, func(p canary.Promise) bool { return p.Alert == a.Name })
		}) {
			errs = append(errs, fmt.Errorf("%s: alert %q: no scenario promises it: correct its name, or list the scenarios that do", c.file, a.Name))
		}
	}
	return errors.Join(errs...)
}

// findingType is the form of GuardDuty's types, "Stealth:IAMUser/CloudTrailLoggingDisabled".
var findingType = regexp.MustCompile(`^[A-Za-z]+:[A-Za-z0-9]+/[A-Za-z0-9.!_-]+$`)

var queuePath = regexp.MustCompile(`^/[0-9]{12}/[A-Za-z0-9_-]{1,80}(\.fifo)?$`)

// openAlerts makes ready the places where alerts arrive. The rules that make an alert are
// read when they are first asked about; where they cannot be read nobody knows, and the
// alert is waited for.
func (c *Config) openAlerts(base awssdk.Config, clock func() time.Time) ([]run.Alert, error) {
	var out []run.Alert
	rules := c.alertRules(base)
	for _, a := range c.Alerts {
		source, err := openAlert(base, a, clock)
		if err != nil {
			return nil, fmt.Errorf("alert %s: %w", a.Name, err)
		}
		one := run.Alert{
			Name: a.Name, Source: source, Within: a.Within.Duration, Late: a.Late.Duration, AcceptWeak: a.AcceptWeak, Scenarios: a.Scenarios,
		}
		if len(a.Rules) > 0 && c.Inspection.Role != "" {
			one.Never = func(ctx context.Context, p run.Plan, promise canary.Promise) []string {
				settings, err := rules(ctx)
				if err != nil {
					return nil
				}
				return never(alertrule.Alert{Name: a.Name, Rules: a.Rules}, settings, c.alertCalls([]run.Plan{p}), promise)
			}
		}
		out = append(out, one)
	}
	return out, nil
}

// never says why an alert could not be made by any of the calls that promise it; nothing
// if one may, or nobody knows.
func never(a alertrule.Alert, s alertrule.Settings, calls []alertrule.Call, promise canary.Promise) (reasons []string) {
	for _, call := range calls {
		if promise.Step != "" && call.Step != promise.Step || promise.On != "" && string(call.Outcome) != string(promise.On) {
			continue
		}
		answer := alertrule.CouldFire(a, s, call)
		if answer.Verdict != alertrule.Never {
			return nil
		}
		reasons = append(reasons, answer.Reasons...)
	}
	return slices.Compact(reasons)
}

// openAlert opens the one place where an alert arrives.
func openAlert(base awssdk.Config, a Alert, clock func() time.Time) (run.AlertSource, error) {
	switch {
	case a.SQS != nil:
		return aws.NewAlertQueue(a.SQS.config(base, a.SQS.Region), a.Name, a.SQS.QueueURL), nil
	case a.CloudWatchAlarm != nil:
		x := a.CloudWatchAlarm
		return aws.NewAlarmAlerts(x.Through.at(base, a.Name, x.Where, clock), x.Name)
	case a.GuardDuty != nil:
		x := a.GuardDuty
		return aws.NewGuardDutyAlerts(x.Through.at(base, a.Name, x.Where, clock), aws.GuardDutyOptions{Detector: x.Detector, Types: x.Types})
	case a.SecurityHub != nil:
		x := a.SecurityHub
		return aws.NewSecurityHubAlerts(x.Through.at(base, a.Name, x.Where, clock), aws.SecurityHubOptions{Generators: x.Generators})
	default:
		x := a.Inbox
		return aws.NewAlertInbox(s3Of(x.config(base, x.Region)), a.Name, x.Bucket, x.Prefix, x.Dated), nil
	}
}

// config is that of an account and region under the role that may read there.
func (t Through) config(base awssdk.Config, region string) awssdk.Config {
	return assumed(base, region, t.RoleARN, t.ExternalIDEnv)
}

func (t Through) at(base awssdk.Config, alert string, w Where, clock func() time.Time) aws.AlertPlace {
	return aws.AlertPlace{Alert: alert, Account: w.Account, Config: t.config(base, w.Region), Clock: clock}
}

// PromisedAlert is an alert that a scenario promises, or the configuration for it.
type PromisedAlert struct {
	canary.Promise
	// Arrives says where it is listened for, or that it is not.
	Arrives string
}

// Promised are the alerts that are promised for a scenario.
func (c *Config) Promised(s canary.Scenario) (out []PromisedAlert) {
	var names []run.Alert
	for _, a := range c.Alerts {
		names = append(names, run.Alert{Name: a.Name, Scenarios: a.Scenarios})
	}
	for _, p := range run.Promises(s, canary.Evidence{}, names) {
		arrives := "nobody listens for it: the configuration does not say where it arrives (alerts)"
		if i := slices.IndexFunc(c.Alerts, func(a Alert) bool { return a.Name == p.Alert }); i >= 0 {
			a := c.Alerts[i]
			arrives = fmt.Sprintf("%s, within %s, late until %s", a.place(), a.Within, a.Late)
			if a.AcceptWeak {
				arrives += ", accepted without the event's name"
			}
		}
		out = append(out, PromisedAlert{p, arrives})
	}
	return out
}

// place in words.
func (a Alert) place() string {
	switch {
	case a.SQS != nil:
		return "queue " + a.SQS.QueueURL
	case a.CloudWatchAlarm != nil:
		return fmt.Sprintf("alarm %s in %s/%s", a.CloudWatchAlarm.Name, a.CloudWatchAlarm.Account, a.CloudWatchAlarm.Region)
	case a.GuardDuty != nil:
		return fmt.Sprintf("GuardDuty in %s/%s", a.GuardDuty.Account, a.GuardDuty.Region)
	case a.SecurityHub != nil:
		return fmt.Sprintf("Security Hub in %s/%s", a.SecurityHub.Account, a.SecurityHub.Region)
	}
	return fmt.Sprintf("s3://%s/%s", a.Inbox.Bucket, a.Inbox.Prefix)
}
