package wire

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/auditcanary/auditcanary/shared/slack"
)

// Trigger says who may ask for a run besides the schedule. Left out, nobody may.
type Trigger struct {
	// Slack is the slash command /auditcanary.
	Slack *TriggerSlack `yaml:"slack"`
	// Callers may POST to /run.
	Callers []TriggerCaller `yaml:"callers"`
	// StateMachine is the ARN of the deployed state machine of runs, auditcanary-STAGE-run:
	// an execution of it does what was asked for, looks for its records, and tells of them.
	// Left out, the next scheduled inject does it, and the next scheduled confirm looks.
	StateMachine string `yaml:"state_machine"`
	// Cell of which the status is told, and in whose ledger stands who was turned away.
	// What is asked for stands in the ledger of its target's own cell. Needed where targets
	// have cells; --cell and AUDITCANARY_CELL take its place, and then only that cell's
	// targets may be asked for.
	Cell string `yaml:"cell"`
}

// May says what somebody may ask for.
type May struct {
	// Scenarios are patterns over ids (default all).
	Scenarios []string `yaml:"scenarios"`
	// Targets are ACCOUNT or ACCOUNT/REGION, or "*" for all that are configured (default all
	// of trigger.cell; where there are no cells, all). Scenarios of a whole account run once
	// for it, whichever of its regions was asked for.
	Targets []string `yaml:"targets"`
}

// TriggerSlack is who may use the slash command.
type TriggerSlack struct {
	May `yaml:",inline"`
	// SigningSecretEnv names the environment variable that holds the app's signing secret.
	SigningSecretEnv string `yaml:"signing_secret_env"`
	// Users (U...) and user Groups (S...) that may. Nobody else may.
	Users  []string `yaml:"users"`
	Groups []string `yaml:"groups"`
	// TokenEnv names the environment variable that holds the bot's token, with the scope
	// usergroups:read. Needed with groups only.
	TokenEnv string `yaml:"token_env"`
	// APIURL of Slack (default https://slack.com/api/).
	APIURL string `yaml:"api_url"`
}

// TriggerCaller is a program with a key of its own.
type TriggerCaller struct {
	May `yaml:",inline"`
	// ID by which the ledger calls it; requests carry it (X-Auditcanary-Key).
	ID string `yaml:"id"`
	// KeyEnv names the environment variable that holds its key, at least 32 characters.
	KeyEnv string `yaml:"key_env"`
}

var (
	machineARN = regexp.MustCompile(`^arn:aws(-[a-z]+)*:states:[a-z0-9-]+:[0-9]{12}:stateMachine:[A-Za-z0-9_-]{1,80}$`)
	callerID   = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)
	slackUser  = regexp.MustCompile(`^[UW][A-Z0-9]{2,30}$`)
	slackTeam  = regexp.MustCompile(`^S[A-Z0-9]{2,30}$`)
)

func (c *Config) checkTrigger(bad complain) {
	t := c.Trigger
	if t == nil {
		return
	}
	if t.Slack == nil && len(t.Callers) == 0 {
		bad("trigger", "trigger says who may ask for a run: it needs slack or callers")
	}
	if t.StateMachine != "" && !machineARN.MatchString(t.StateMachine) {
		bad("trigger.state_machine", "state_machine %q is not the ARN of a state machine, like arn:aws:states:us-east-1:222222222222:stateMachine:auditcanary-prod-run", t.StateMachine)
	}
	switch cells := c.Cells(); {
	case t.Cell == "" && len(cells) > 0:
		bad("trigger", "trigger needs cell, since targets have cells: it tells the status of one of them (%s)", all(cells, ""))
	case t.Cell != "" && !slices.Contains(cells, t.Cell):
		bad("trigger.cell", "trigger.cell %q is not the cell of any target", t.Cell)
	}
	if s := t.Slack; s != nil {
		c.checkMay("trigger.slack", s.May, bad)
		if !envName.MatchString(s.SigningSecretEnv) {
			bad("trigger.slack.signing_secret_env", "signing_secret_env is not the name of an environment variable (and no place for the secret itself)")
		}
		if len(s.Users)+len(s.Groups) == 0 {
			bad("trigger.slack", "trigger.slack lets nobody in: list users or groups")
		}
		for i, u := range s.Users {
			if !slackUser.MatchString(u) {
				bad(fmt.Sprintf("trigger.slack.users.%d", i), "%q is not the id of a Slack user, like U0123ABCD", u)
			}
		}
		for i, g := range s.Groups {
			if !slackTeam.MatchString(g) {
				bad(fmt.Sprintf("trigger.slack.groups.%d", i), "%q is not the id of a Slack user group, like S0123ABCD", g)
			}
		}
		if len(s.Groups) > 0 && !envName.MatchString(s.TokenEnv) {
			bad("trigger.slack.token_env", "groups need token_env: who is in them must be asked for")
		}
		if !slackAddress(s.APIURL) {
			bad("trigger.slack.api_url", "trigger.slack.api_url: not an https address (or http on this machine) without a user in it that ends in /, like https://slack.com/api/")
		}
	}
	seen := map[string]bool{}
	for i, caller := range t.Callers {
		at := fmt.Sprintf("trigger.callers.%d", i)
		c.checkMay(at, caller.May, bad)
		if !callerID.MatchString(caller.ID) {
			bad(at+".id", "caller id %q must be of a-z, 0-9 and -, at most 40 long", caller.ID)
		}
		if seen[caller.ID] {
			bad(at+".id", "caller %q is there twice", caller.ID)
		}
		seen[caller.ID] = true
		if !envName.MatchString(caller.KeyEnv) {
			bad(at+".key_env", "key_env is not the name of an environment variable (and no place for the key itself)")
		}
	}
}

func (c *Config) checkMay(at string, m May, bad complain) {
	for i, s := range m.Scenarios {
		if !slack.IsGlob(s) {
			bad(fmt.Sprintf("%s.scenarios.%d", at, i), "%q is no pattern of scenarios, like aws/kms-*", s)
		}
	}
	for i, t := range m.Targets {
		if t != everyTarget && !c.has(t) {
			bad(fmt.Sprintf("%s.targets.%d", at, i), "target %q is not ACCOUNT or ACCOUNT/REGION of a configured target", t)
		}
	}
}

// everyTarget, among targets, is all that are configured.
const everyTarget = "*"

// cellsOf are the cells of targets, ACCOUNT or ACCOUNT/REGION.
func (c *Config) cellsOf(targets []string) []string {
	narrow := Config{Targets: slices.DeleteFunc(slices.Clone(c.Targets), func(t Target) bool {
		return !slices.ContainsFunc(targets, func(of string) bool { account, _, _ := strings.Cut(of, "/"); return account == t.Account })
	})}
	return narrow.Cells()
}

// has reports whether a target, ACCOUNT or ACCOUNT/REGION, is configured.
func (c *Config) has(target string) bool {
	account, region, one := strings.Cut(target, "/")
	return slices.ContainsFunc(c.Targets, func(t Target) bool {
		return t.Account == account && (!one || slices.Contains(t.Regions, region))
	})
}
