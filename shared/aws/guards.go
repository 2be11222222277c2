package aws

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// guard refuses parameters that are not provably harmless, saying why.
type guard func(s scene, params map[string]any) error

// scene is for whom and where a call is made: what its templates and guards
// may refer to.
type scene struct {
	partition, account, region string
	run                        string
	// name of the canary, "auditcanary-<id>"; in a sweep only "auditcanary".
	name     string
	fixtures map[string]string
	// seen is what was read of a protection; nil until then.
	seen []canary.Reading
}

func (g guards) check(s scene, operation string, params map[string]any) error {
	if err := g.all(s, params); err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	return nil
}

// all is the first refusal.
func (g guards) all(s scene, p map[string]any) error {
	for _, refuse := range g {
		if err := refuse(s, p); err != nil {
			return err
		}
	}
	return nil
}

// lookAt returns a parameter by its name, or by its path of names
// ("ConfigRule.ConfigRuleName"); nil if it is not there.
func lookAt(p map[string]any, param string) any {
	name, rest, deeper := strings.Cut(param, ".")
	if !deeper {
		return p[name]
	}
	m, _ := p[name].(map[string]any)
	return lookAt(m, rest)
}

func textAt(p map[string]any, param string) string {
	v, _ := lookAt(p, param).(string)
	return v
}

// ownName: the name is the canary's own, or begins with it. Of an ARN, its last
// part is meant.
func ownName(param string) guard {
	return func(s scene, p map[string]any) error {
		v := textAt(p, param)
		if strings.HasPrefix(v, "arn:") {
			if err := s.ours(v); err != nil {
				return fmt.Errorf("%s: %w", param, err)
			}
			v = lastPart(v)
		}
		if v == s.name && s.name != canary.Marker || strings.HasPrefix(v, s.name+"-") {
			return nil
		}
		if s.name == canary.Marker {
			return fmt.Errorf("%s %q is not canary-marked: it must begin with %q", param, v, canary.Marker+"-")
		}
		return fmt.Errorf("%s %q is not canary-marked: it must be %q (${name}) or begin with it", param, v, s.name)
	}
}

// markedName: a fixture that a name can mark.
func markedName(param string) guard {
	return func(s scene, p map[string]any) error {
		v := textAt(p, param)
		if err := s.ours(v); err != nil {
			return fmt.Errorf("%s: %w", param, err)
		}
		if name := lastPart(v); !strings.HasPrefix(name, canary.Marker+"-") || strings.ContainsAny(v, "*?$") {
			return fmt.Errorf("%s %q is not canary-marked: its name must begin with %q", param, v, canary.Marker+"-")
		}
		return nil
	}
}

// fixtureID: an opaque id cannot be marked by name, so it must be one the
// configuration lists; the session policy demands the tag as well.
func fixtureID(param string) guard {
	return func(s scene, p map[string]any) error {
		v := textAt(p, param)
		if err := s.ours(v); err != nil {
			return fmt.Errorf("%s: %w", param, err)
		}
		for _, f := range s.fixtures {
			if v != "" && lastPart(f) == lastPart(v) {
				return nil
			}
		}
		return fmt.Errorf("%s %q is no configured fixture of %s/%s: an id cannot be canary-marked by its name", param, v, s.account, s.region)
	}
}

// breakGlassRole: a role of this account that is canary-marked or configured.
func breakGlassRole(param string) guard {
	return func(s scene, p map[string]any) error {
		v := textAt(p, param)
		if !strings.HasPrefix(v, "arn:"+s.partition+":iam::"+s.account+":role/") {
			return fmt.Errorf("%s %q is not a role of account %s", param, v, s.account)
		}
		if markedName(param)(s, p) == nil {
			return nil
		}
		return fixtureID(param)(s, p)
	}
}

// madeID: an id that the cloud gave to something a canary made: at first a
// reference to the reply of the call that made it, then the id itself. That it is
// the canary's own is for the session policy to demand, by the tag.
func madeID(param, prefix string) guard {
	return func(_ scene, p map[string]any) error {
		v := textAt(p, param)
		if strings.HasPrefix(v, "${steps.") && strings.HasSuffix(v, "}") || strings.HasPrefix(v, prefix) && idForm.MatchString(v) {
			return nil
		}
		return fmt.Errorf("%s %q must be the id that the reply of an earlier step gave (%s..., as ${steps.<step>.<path>})", param, v, prefix)
	}
}

// nullID: every id is the one that nothing has.
func nullID(param, null string) guard {
	return func(s scene, p map[string]any) error {
		ids, _ := lookAt(p, param).([]any)
		for _, id := range ids {
			if id != null {
				return fmt.Errorf("%s %q: only %s, which nothing has, may be named", param, id, null)
			}
		}
		if len(ids) == 0 {
			return fmt.Errorf("%s is empty: it must be [%s]", param, null)
		}
		return nil
	}
}

// must: the parameter is this value (a template, if it is a string).
func must(param string, want any) guard {
	return func(s scene, p map[string]any) error {
		w := want
		if t, ok := want.(string); ok {
			w = s.place(t)
		}
		got := lookAt(p, param)
		if got == w {
			return nil
		}
		return missing{param, w, got}
	}
}

// missing is must's refusal.
type missing struct {
	param     string
	want, got any
}

func (m missing) Error() string {
	if m.got == nil {
		return fmt.Sprintf("%s must be %v", m.param, m.want)
	}
	return fmt.Sprintf("%s must be %v, not %v", m.param, m.want, m.got)
}

// ifGiven lets the parameter be left out.
func ifGiven(g guard) guard {
	return func(s scene, p map[string]any) error {
		err := g(s, p)
		var m missing
		if errors.As(err, &m) && m.got == nil {
			return nil
		}
		return err
	}
}

// onlyDenies: the policy document gives nobody anything.
func onlyDenies(param string) guard {
	return func(_ scene, p map[string]any) error {
		doc, err := policyIn(p, param)
		if err != nil {
			return err
		}
		for i, st := range doc.Statement {
			if st.Effect != "Deny" {
				return fmt.Errorf("%s statement %d has effect %q: only Deny is harmless", param, i, st.Effect)
			}
		}
		if len(doc.Statement) == 0 {
			return fmt.Errorf("%s has no statement", param)
		}
		return nil
	}
}

// denialsAreConditional: a blanket denial on a bucket would lock out its undo.
func denialsAreConditional(param string) guard {
	return func(_ scene, p map[string]any) error {
		doc, err := policyIn(p, param)
		if err != nil {
			return err
		}
		for i, st := range doc.Statement {
			if len(st.Condition) == 0 {
				return fmt.Errorf("%s statement %d denies without a condition: that may lock out its own undo", param, i)
			}
		}
		return nil
	}
}

// deniesAll: at least one statement takes everything.
func deniesAll(param string) guard {
	return func(_ scene, p map[string]any) error {
		doc, err := policyIn(p, param)
		if err != nil {
			return err
		}
		for _, st := range doc.Statement {
			if st.Effect == "Deny" && len(st.Condition) == 0 && isStar(st.Action) && isStar(st.Resource) {
				return nil
			}
		}
		return fmt.Errorf("%s must deny everything: {\"Effect\":\"Deny\",\"Action\":\"*\",\"Resource\":\"*\"}", param)
	}
}

// policyID: a policy cannot be tagged, so its Id must say whose it is.
func policyID(param string) guard {
	return func(s scene, p map[string]any) error {
		doc, err := policyIn(p, param)
		if err != nil {
			return err
		}
		run, id, ok := parsePolicyID(doc.ID)
		if !ok || run != s.run || id != s.canaryID() {
			return fmt.Errorf("%s has the Id %q: the sweep finds it only as %q", param, doc.ID, bucketPolicyID("${run}", "${canary}"))
		}
		return nil
	}
}

// bucketPolicyID is how a bucket policy says whose it is.
func bucketPolicyID(run, canary string) string {
	return tagRun + "=" + run + " " + tagCanary + "=" + canary
}

func parsePolicyID(id string) (run, canaryID string, ok bool) {
	first, second, _ := strings.Cut(id, " ")
	run, ok1 := strings.CutPrefix(first, tagRun+"=")
	canaryID, ok2 := strings.CutPrefix(second, tagCanary+"=")
	return run, canaryID, ok1 && ok2 && run != "" && canaryID != "" && !strings.Contains(canaryID, " ")
}

// runTags: what the call makes carries the tags the sweep looks for.
func runTags() guard {
	return func(s scene, p map[string]any) error {
		tags := map[string]string{}
		walk(p, func(m map[string]any) {
			for _, form := range [][2]string{{"Key", "Value"}, {"TagKey", "TagValue"}} { // KMS has its own
				k, ok1 := m[form[0]].(string)
				v, ok2 := m[form[1]].(string)
				if ok1 && ok2 {
					tags[k] = v
				}
			}
			for _, k := range []string{tagRun, tagCanary} { // the newer services take a map
				if v, ok := m[k].(string); ok {
					tags[k] = v
				}
			}
		})
		for k, want := range map[string]string{tagRun: s.run, tagCanary: s.canaryID()} {
			if tags[k] != want {
				return fmt.Errorf("the tags %s=${run} and %s=${canary} are missing: a sweep could not find what it makes", tagRun, tagCanary)
			}
		}
		return nil
	}
}

// documentation are the networks that no machine has (RFC 5737, RFC 3849).
var documentation = []netip.Prefix{
	netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32"),
}

// documentationNetworks: rules name documentation addresses only; or, to
// remove them, rules by their id.
func documentationNetworks() guard {
	return func(_ scene, p map[string]any) (err error) {
		named := 0
		walk(p, func(m map[string]any) {
			for k, v := range m {
				switch k {
				case "CidrIp", "CidrIpv6", "CidrBlock", "Ipv6CidrBlock":
					named++
					cidr, _ := v.(string)
					if !isDocumentation(cidr) && err == nil {
						err = fmt.Errorf("%s %q is not a documentation network (RFC 5737, RFC 3849): it might be somebody's", k, cidr)
					}
				case "UserIdGroupPairs", "PrefixListIds", "SourceSecurityGroupName", "SourceSecurityGroupOwnerId":
					if err == nil {
						err = fmt.Errorf("%s is not allowed: only documentation networks are", k)
					}
				case "SecurityGroupRuleIds":
					named++
				}
			}
		})
		if err == nil && named == 0 {
			err = errors.New("no address range is named")
		}
		return err
	}
}

func isDocumentation(cidr string) bool {
	pre, err := netip.ParsePrefix(cidr)
	return err == nil && slices.ContainsFunc(documentation, func(d netip.Prefix) bool {
		return d.Contains(pre.Addr()) && pre.Bits() >= d.Bits()
	})
}

// ours refuses an ARN of another account or partition.
func (s scene) ours(v string) error {
	if !strings.HasPrefix(v, "arn:") {
		return nil
	}
	parts := strings.SplitN(v, ":", 6)
	if len(parts) < 6 || parts[1] != s.partition || parts[3] != "" && parts[3] != s.region || parts[4] != "" && parts[4] != s.account {
		return fmt.Errorf("%q is not of account %s in %s", v, s.account, s.region)
	}
	return nil
}

func (s scene) canaryID() string { return strings.TrimPrefix(s.name, canary.Marker+"-") }

// fill writes a template out: once, or once for each value of a list parameter
// in it. A parameter that is an ARN stands for the whole.
func (s scene) fill(template string, params map[string]any) []string {
	return fillParams(s.place(template), params)
}

// place writes out what of a template is known without a call.
func (s scene) place(template string) string {
	return strings.NewReplacer("{partition}", s.partition, "{account}", s.account, "{region}", s.region, "{run}", s.run, "{name}", s.name).Replace(template)
}

func fillParams(template string, params map[string]any) []string {
	before, rest, _ := strings.Cut(template, "{")
	param, after, found := strings.Cut(rest, "}")
	if !found {
		return []string{template}
	}
	var filled []string
	for _, v := range texts(lookAt(params, param)) {
		if strings.HasPrefix(v, "arn:") && !strings.Contains(v, "${") {
			filled = append(filled, v)
			continue
		}
		if strings.Contains(v, "${") { // not known yet: what it may be is for the condition to say
			v = "*"
		}
		for _, tail := range fillParams(after, params) {
			filled = append(filled, before+v+tail)
		}
	}
	return filled
}

// texts lists a parameter's string values.
func texts(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, x := range v {
			out = append(out, texts(x)...)
		}
		return out
	}
	return nil
}

// lastPart of an ARN or a path: the name itself.
func lastPart(v string) string {
	return v[strings.LastIndexAny(v, "/:")+1:]
}

// walk calls f for every object in v.
func walk(v any, f func(map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		f(v)
		for _, x := range v {
			walk(x, f)
		}
	case []any:
		for _, x := range v {
			walk(x, f)
		}
	}
}

// document is an IAM policy as far as the guards read it.
type document struct {
	ID        string
	Statement []struct {
		Effect    string
		Action    any
		Resource  any
		Condition map[string]any
	}
}

func policyIn(p map[string]any, param string) (document, error) {
	text, ok := p[param].(string)
	if !ok || text == "" {
		return document{}, fmt.Errorf("%s is missing", param)
	}
	return parsePolicy(param, text)
}

// parsePolicy is as strict as the service: case matters, and a name given twice
// is an error rather than a question of who reads it.
func parsePolicy(param, text string) (document, error) {
	var raw struct {
		ID        string `json:"Id"`
		Statement jsontext.Value
	}
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		return document{}, fmt.Errorf("%s is not an IAM policy: %w", param, err)
	}
	if raw.Statement.Kind() == '{' { // a single one may stand without its brackets
		raw.Statement = slices.Concat(jsontext.Value("["), raw.Statement, jsontext.Value("]"))
	}
	doc := document{ID: raw.ID}
	if err := json.Unmarshal(raw.Statement, &doc.Statement); err != nil {
		return document{}, fmt.Errorf("%s is not an IAM policy: Statement: %w", param, err)
	}
	return doc, nil
}

func isStar(v any) bool {
	return v == "*" || reflect.DeepEqual(v, []any{"*"})
}
