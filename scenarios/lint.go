package scenarios

import (
	"errors"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// Tags by which the sweep finds what a canary made, should the reply that named
// it have been lost.
const (
	tagRun    = canary.Marker + ":run"
	tagCanary = canary.Marker + ":canary"
)

// linter holds a scenario against the rules that no schema can express.
type linter struct {
	*document
	s     *canary.Scenario
	order map[string]int // step id -> index of the first step of that name
}

// lint reports what is wrong with s and compiles its expectations into s.Rules.
func lint(d *document, s *canary.Scenario, check Checker) {
	l := linter{d, s, map[string]int{}}
	l.identity()
	l.harmless()
	for i, st := range s.Steps {
		l.stepID(i, st)
		l.undo(i, st)
		l.dryRun(i, st)
		l.unprotected(i, st)
		l.protection(i)
		l.references(i, st)
		l.marks(i, st)
		l.calls(i, st, check)
	}
	l.expectations()
	l.alerts()
}

// at reports a fault of the value at path.
func (l *linter) at(path []string, format string, args ...any) {
	n := l.locate(path)
	l.fail(n.Line, n.Column, format, args...)
}

// stepPath is the path of a part of step i.
func stepPath(i int, parts ...string) []string {
	return append([]string{"steps", strconv.Itoa(i)}, parts...)
}

// identity requires that a scenario is found under its id.
func (l *linter) identity() {
	base := strings.TrimSuffix(filepath.Base(l.file), filepath.Ext(l.file))
	if last := l.s.ID[strings.LastIndexByte(l.s.ID, '/')+1:]; last != base && l.s.ID != "" {
		l.at([]string{"id"}, "id %s does not match the file: it must end in %s", quote(l.s.ID), quote("/"+base))
	}
}

// harmless requires two reasons, so that one being wrong does no harm.
func (l *linter) harmless() {
	reasons := 0
	for line := range strings.Lines(l.s.Harmless) {
		if reason, ok := strings.CutPrefix(line, "- "); ok && ofSubstance(reason) {
			reasons++
		}
	}
	if reasons < 2 && l.s.Harmless != "" {
		l.at([]string{"harmless"}, `harmless must give two independent reasons, each on a line that begins with "- "`)
	}
}

// ofSubstance tells a reason from a word that fills the field.
func ofSubstance(reason string) bool { return len(strings.Fields(reason)) >= 5 }

func (l *linter) stepID(i int, st canary.Step) {
	if st.ID == "" {
		return
	}
	if first, taken := l.order[st.ID]; taken {
		l.at(stepPath(i, "id"), "step id %s is already taken by steps[%d]", quote(st.ID), first)
		return
	}
	l.order[st.ID] = i
}

// undo requires a way back from every step, or a reason why none is needed.
func (l *linter) undo(i int, st canary.Step) {
	switch {
	case l.s.Kind == canary.DryRun && st.Undo != nil:
		n := l.locateKey(stepPath(i, "undo"))
		l.fail(n.Line, n.Column, "a dry-run step does nothing: it must not have undo, but no_undo with the reason")
		return
	case st.Undo != nil && st.NoUndo != "":
		n := l.locateKey(stepPath(i, "no_undo"))
		l.fail(n.Line, n.Column, "a step has either undo or no_undo, not both")
	case st.Undo == nil && st.NoUndo == "":
		l.at(stepPath(i), "a step needs undo, or no_undo with the reason why nothing needs undoing")
		return
	}
	if st.NoUndo != "" && !ofSubstance(st.NoUndo) {
		l.at(stepPath(i, "no_undo"), "no_undo must give the reason in at least five words")
	}
	if st.Undo != nil {
		l.gone(i, *st.Undo)
	}
}

// removing are the verbs of calls that fail when there is nothing left to remove.
var removing = regexp.MustCompile(`:(delete |Delete|Deregister|Detach|Disassociate|Release|Remove|Revoke|Terminate)`)

// saysGone matches error codes which say that something is not there. It lists
// what counts, not what does not: a code nobody thought of is not success.
var saysGone = regexp.MustCompile(`(?i)not_?found|no_?such|not_?exist|non_?exist|not_?attached|already_?deleted`)

// notThere are codes that say it only as the answer to one call.
var notThere = map[string]string{
	// The only state that suits a cancellation is being about to be deleted.
	"kms:CancelKeyDeletion": "KMSInvalidStateException",
	// "The specified SSM document doesn't exist."
	"ssm:DeleteDocument": "InvalidDocument",
	// One code for every refusal. The detector and the name, which CreateFilter
	// took, are all that it is sent.
	"guardduty:DeleteFilter": "BadRequestException",
}

// gone requires that an undo knows when it has nothing left to do, and that it
// takes nothing else for that: a refused undo that counts as done leaves a
// privileged thing behind.
func (l *linter) gone(i int, u canary.Undo) {
	if removing.MatchString(u.Call) && len(u.Gone) == 0 {
		l.at(stepPath(i, "undo"), "undo %s must list in gone the error codes which mean that there is nothing left to undo", u.Call)
	}
	for j, code := range u.Gone {
		if !saysGone.MatchString(code) && code != notThere[u.Call] {
			l.at(stepPath(i, "undo", "gone", strconv.Itoa(j)), "gone: %s does not say that there is nothing left to undo, as NoSuchEntity does", quote(code))
		}
	}
}

// dryRun requires that exactly the steps of the kind dry-run are dry runs.
func (l *linter) dryRun(i int, st canary.Step) {
	v, stated := st.Params["DryRun"]
	switch {
	case l.s.Kind == canary.DryRun && v != true:
		l.at(stepPath(i, "params", "DryRun"), "a dry-run step must have the parameter DryRun: true")
	case l.s.Kind != canary.DryRun && stated && l.s.Kind != "":
		n := l.locateKey(stepPath(i, "params", "DryRun"))
		l.fail(n.Line, n.Column, "DryRun is for scenarios of kind dry-run: a %s step must really be tried", l.s.Kind)
	}
}

// unprotected is for attempts that must be denied.
func (l *linter) unprotected(i int, st canary.Step) {
	if len(st.Unprotected) > 0 && l.s.Kind != canary.MustBeDenied && l.s.Kind != "" {
		n := l.locateKey(stepPath(i, "unprotected"))
		l.fail(n.Line, n.Column, "unprotected is for scenarios of kind must-be-denied: a %s step need not be refused", l.s.Kind)
	}
}

// protection is for attempts that must be denied: each look must say what must hold,
// and what an attempt's answer means may differ from other calls' only where there is
// a look that tells what became of the thing.
func (l *linter) protection(i int) {
	st := &l.s.Steps[i]
	looks := len(st.Protection) > 0
	if looks && l.s.Kind != canary.MustBeDenied && l.s.Kind != "" {
		n := l.locateKey(stepPath(i, "protection"))
		l.fail(n.Line, n.Column, "protection is for scenarios of kind must-be-denied: a %s step is done, not attempted", l.s.Kind)
	}
	for _, field := range []struct {
		name  string
		given bool
	}{{"by_state", st.ByState != ""}, {"refused_with", len(st.RefusedWith) > 0}} {
		if field.given && !looks {
			n := l.locateKey(stepPath(i, field.name))
			l.fail(n.Line, n.Column, "%s needs a protection: without looking, nobody knows what became of the thing", field.name)
		}
	}
	if st.ByState != "" && !ofSubstance(st.ByState) {
		l.at(stepPath(i, "by_state"), "by_state must give the reason in at least five words")
	}
	for j, code := range st.RefusedWith {
		if slices.Contains(st.Unprotected, code) {
			l.at(stepPath(i, "refused_with", strconv.Itoa(j)), "refused_with: %s is unprotected too: it cannot mean both", quote(code))
		}
	}
	for j := range st.Protection {
		l.look(stepPath(i, "protection", strconv.Itoa(j)), &st.Protection[j])
	}
}

// look compiles what must hold of one look's reply.
func (l *linter) look(path []string, p *canary.Protection) {
	if len(p.Requires)+len(p.Expect) == 0 {
		l.at(path, "a look needs expect (what is the protection) or requires (what makes the attempt harmless)")
	}
	for _, part := range []struct {
		name  string
		exprs []string
	}{{"requires", p.Requires}, {"expect", p.Expect}} {
		for k, expr := range part.exprs {
			at := append(slices.Clone(path), part.name, strconv.Itoa(k))
			if strings.Contains(expr, "${") {
				l.at(at, "%s: references are not replaced here; params holds what was asked with", part.name)
				continue
			}
			x, err := CompileReply(expr)
			if err != nil {
				l.at(at, "%s: %s", part.name, printed(err.Error()))
				continue
			}
			p.Rules = append(p.Rules, canary.ReplyRule{Text: expr, Holds: x})
		}
	}
}

// protectionPath is a part of what was read, perhaps less a duration.
var protectionPath = regexp.MustCompile(`^[A-Za-z0-9]+(\.[A-Za-z0-9]+)*(-[0-9]+(s|m|h))?$`)

// references requires that every ${...} can be resolved when its call is made.
func (l *linter) references(i int, st canary.Step) {
	l.eachString(stepPath(i, "params"), st.Params, func(path []string, s string) {
		l.refer(path, s, i-1, len(st.Protection) > 0)
	})
	for j, look := range st.Protection {
		l.eachString(stepPath(i, "protection", strconv.Itoa(j), "params"), look.Params, func(path []string, s string) {
			l.refer(path, s, i-1, j > 0)
		})
	}
	if st.Undo == nil {
		return
	}
	own := false
	l.eachString(stepPath(i, "undo", "params"), st.Undo.Params, func(path []string, s string) {
		l.refer(path, s, i, false)
		for _, name := range canary.References(s) {
			own = own || strings.HasPrefix(name, "steps."+st.ID+".")
		}
	})
	// The reply that names what was made may be lost. Then only the sweep can
	// undo it, and the sweep finds only what is tagged. marks says so of calls
	// that make something by name.
	if own && !creating.MatchString(st.Call) && !hasTag(st.Params, tagRun, "${run}") {
		l.at(stepPath(i, "undo", "params"), "undo refers to the reply of its own step, which may be lost: the step must set the tag %s=${run}", tagRun)
	}
}

var fixtureName = regexp.MustCompile(`^fixture\.[a-z0-9_]+$`)

// refer checks the references of s; steps up to index last may be referred to, and
// what was read of the step's protection if something was read by then.
func (l *linter) refer(path []string, s string, last int, read bool) {
	var names []string
	_, err := canary.Expand(s, func(name string) (string, bool) {
		names = append(names, name)
		return "", true
	})
	if err != nil {
		l.at(path, "%s is not closed; write $${ for a literal ${", quote(s))
	}
	for _, name := range names {
		switch name {
		case "name", "canary", "run", "account", "region", "partition":
			continue
		}
		if rest, ok := strings.CutPrefix(name, "steps."); ok {
			l.referStep(path, name, rest, last)
		} else if rest, ok := strings.CutPrefix(name, "protection."); ok && read {
			if !protectionPath.MatchString(rest) {
				l.at(path, "%s must say which part of what was read, as in ${protection.Policy}; only -1s or the like, off a time, may follow", quote("${"+name+"}"))
			}
		} else if !fixtureName.MatchString(name) {
			known := "account, canary, fixture.<name>, name, partition, "
			if read {
				known += "protection.<path>, "
			}
			l.at(path, "unknown reference %s; known: %sregion, run, steps.<step>.<path>", quote("${"+name+"}"), known)
		}
	}
}

func (l *linter) referStep(path []string, name, rest string, last int) {
	step, reply, _ := strings.Cut(rest, ".")
	index := slices.IndexFunc(l.s.Steps, func(st canary.Step) bool { return st.ID == step })
	switch {
	case index < 0:
		l.at(path, "%s: there is no step %s", quote("${"+name+"}"), quote(step))
	case index > last:
		l.at(path, "%s: step %s has not been done by then", quote("${"+name+"}"), quote(step))
	case reply == "":
		l.at(path, "%s must say which part of the reply, as in ${steps.%s.Role.Arn}", quote("${"+name+"}"), step)
	}
}

// creating are the verbs of calls that leave something behind under a name or id of its own.
var creating = regexp.MustCompile(`:(Allocate|AuthorizeSecurityGroup|Create|Import|Register|Run)`)

// untaggable are calls that make something which takes no tags, with the way by
// which the sweep finds it all the same.
var untaggable = map[string]string{
	"ec2:CreateNetworkAclEntry": "goes with its network ACL, which is tagged",
	"iam:CreateAccessKey":       "listed with its user, which is tagged",
	"iam:CreatePolicyVersion":   "listed with its policy, which is tagged",
	"securityhub:CreateInsight": "its name is the canary's",
}

// marks requires that whatever a scenario names is canary-marked, and that what
// it makes carries the tags by which the sweep finds it.
func (l *linter) marks(i int, st canary.Step) {
	l.names(stepPath(i, "params"), st.Params)
	for j, look := range st.Protection {
		l.names(stepPath(i, "protection", strconv.Itoa(j), "params"), look.Params)
	}
	if st.Undo != nil {
		l.names(stepPath(i, "undo", "params"), st.Undo.Params)
	}
	if !creating.MatchString(st.Call) || untaggable[st.Call] != "" || l.s.Kind == canary.DryRun {
		return
	}
	for _, tag := range []struct{ key, value string }{{tagRun, "${run}"}, {tagCanary, "${canary}"}} {
		if !hasTag(st.Params, tag.key, tag.value) {
			l.at(stepPath(i, "params"), "%s makes something: it must set the tag %s=%s", st.Call, tag.key, tag.value)
		}
	}
}

// namesNothing are parameters that are called names but name no thing of the
// account, with what they say instead.
var namesNothing = map[string]string{
	"AttributeName": "which of a snapshot's settings is meant",
}

// names checks the parameters that name a thing of the account: Name, RoleName, Bucket.
func (l *linter) names(path []string, params map[string]any) {
	for _, key := range slices.Sorted(maps.Keys(params)) {
		s, ok := params[key].(string)
		if !ok || (key != "Bucket" && !strings.HasSuffix(key, "Name")) || namesNothing[key] != "" {
			continue
		}
		marked := slices.ContainsFunc([]string{"${name}", canary.Marker + "-", "${fixture.", "${steps.", "${protection."}, func(prefix string) bool {
			return strings.HasPrefix(s, prefix)
		})
		if !marked {
			l.at(append(slices.Clone(path), key), "%s %s is not canary-marked: it must begin with ${name} or %s-, or be a fixture", key, quote(s), canary.Marker)
		}
	}
}

// hasTag says whether a parameter about tags (Tags, TagSpecifications, TagList,
// BackupVaultTags) sets key to value, in any of the forms in which APIs take tags.
func hasTag(params map[string]any, key, value string) bool {
	for name, v := range params {
		if strings.Contains(name, "Tag") && sets(v, key, value) {
			return true
		}
	}
	return false
}

func sets(v any, key, value string) bool {
	switch v := v.(type) {
	case []any:
		return slices.ContainsFunc(v, func(x any) bool { return sets(x, key, value) })
	case map[string]any:
		if v[key] == value || (v["Key"] == key && v["Value"] == value) || (v["TagKey"] == key && v["TagValue"] == value) {
			return true
		}
		for _, x := range v {
			if sets(x, key, value) {
				return true
			}
		}
	}
	return false
}

// operationForm is "iam:CreateRole"; of a cluster, "core:create pods/exec".
var operationForm = regexp.MustCompile(`^([a-z0-9-]+:[A-Z][A-Za-z0-9]+|[a-z0-9.]+:[a-z]+ [a-z]+(/[a-z]+)?)$`)

// calls asks the driver about every call.
func (l *linter) calls(i int, st canary.Step, check Checker) {
	if len(st.Protection) > 0 {
		l.call(stepPath(i), st.Call, st.Params, check.CheckAttempt)
	} else {
		l.call(stepPath(i), st.Call, st.Params, check.CheckCall)
	}
	for j, look := range st.Protection {
		l.call(stepPath(i, "protection", strconv.Itoa(j)), look.Read, look.Params, check.CheckLook)
	}
	if st.Undo != nil {
		l.call(stepPath(i, "undo"), st.Undo.Call, st.Undo.Params, check.CheckCall)
	}
}

func (l *linter) call(path []string, operation string, params map[string]any, check func(string, map[string]any) error) {
	if !operationForm.MatchString(operation) { // the schema has said so
		return
	}
	l.refused(path, check(operation, params))
}

// refused reports each error that err joins, at the parameter it names, or else at the call.
func (l *linter) refused(path []string, err error) {
	if err == nil {
		return
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range joined.Unwrap() {
			l.refused(path, one)
		}
		return
	}
	var param interface{ ParamPath() []string }
	if !errors.As(err, &param) {
		l.at(append(slices.Clone(path), "call"), "%s", printed(err.Error()))
		return
	}
	n := l.locateKey(append(append(slices.Clone(path), "params"), param.ParamPath()...))
	l.fail(n.Line, n.Column, "%s", printed(err.Error()))
}

// maxExpect is the number of expectations a scenario may have: each costs a
// compilation, and an evaluation for every record.
const maxExpect = 20

func (l *linter) expectations() {
	for i, expr := range l.s.Expect[:min(len(l.s.Expect), maxExpect)] {
		path := []string{"expect", strconv.Itoa(i)}
		if strings.Contains(expr, "${") {
			l.at(path, "expect: references are not replaced here; what the calls imply is compared anyway")
			continue
		}
		x, err := CompileExpect(expr)
		if err != nil {
			l.at(path, "expect: %s", printed(err.Error()))
			continue
		}
		l.s.Rules = append(l.s.Rules, canary.Rule{Text: expr, Holds: x.Holds})
	}
}

// alerts requires that each alert is promised once, of a step that there is (and is
// named, where there are several), for what may come of it.
func (l *linter) alerts() {
	for i, p := range l.s.Alerts {
		path := []string{"alerts", strconv.Itoa(i)}
		at := func(field string) []string { return append(slices.Clone(path), field) }
		if first := slices.IndexFunc(l.s.Alerts, func(o canary.Promise) bool {
			return o.Alert == p.Alert && o.On == p.On && (o.Step == p.Step || o.Step == "")
		}); first < i && first >= 0 {
			l.at(path, "alert %s on %s is already promised by alerts[%d]", quote(p.Alert), p.On, first)
		}
		if _, known := l.order[p.Step]; p.Step != "" && !known {
			l.at(at("step"), "alert %s: there is no step %s", quote(p.Alert), quote(p.Step))
		}
		if p.Step == "" && len(l.s.Steps) > 1 {
			l.at(path, "alert %s: of several steps, say which sets it off: one promise a step, or an alert for one would hide that the others ring none", quote(p.Alert))
		}
		switch {
		case l.s.Kind == canary.DryRun:
			l.at(path, "a dry run does nothing: no alert can be promised of it")
		case p.On == canary.OnDenied && l.s.Kind != canary.MustBeDenied && l.s.Kind != "":
			l.at(at("on"), "alert %s is promised for a refusal: a %s canary that is refused was not done, and nothing is expected of it", quote(p.Alert), l.s.Kind)
		}
	}
}

// eachString calls f for every string in v, with its path, in the order of paths.
func (l *linter) eachString(path []string, v any, f func(path []string, s string)) {
	switch v := v.(type) {
	case string:
		f(path, v)
	case []any:
		for i, x := range v {
			l.eachString(append(slices.Clone(path), strconv.Itoa(i)), x, f)
		}
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			l.eachString(append(slices.Clone(path), k), v[k], f)
		}
	}
}
