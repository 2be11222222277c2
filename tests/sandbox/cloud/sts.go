package cloud

import (
	"errors"
	"maps"
	"regexp"
	"time"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

func stsService() service {
	return service{
		source: "sts.amazonaws.com", wire: query{"https://sts.amazonaws.com/doc/2011-06-15/"},
		ops: map[string]operation{
			"GetCallerIdentity": {readOnly: true, do: getCallerIdentity},
			"AssumeRole":        {readOnly: true, needs: assumeRoleNeeds, do: assumeRole},
		},
	}
}

func getCallerIdentity(k *call) (reply, error) {
	p := k.Principal
	return reply{body: []el{leaf("Arn", p.ARN), leaf("UserId", p.PrincipalID), leaf("Account", p.Account)}}, nil
}

var (
	roleARN     = regexp.MustCompile(`^arn:aws:iam::(\d{12}):role(/[\x21-\x7e]*/|/)([\w+=,.@-]{1,64})$`)
	sessionName = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)
)

// roleAt finds the role an ARN names; nil if it is not there.
func (c *Cloud) roleAt(arn string) (account string, r *Role) {
	m := roleARN.FindStringSubmatch(arn)
	if m == nil {
		return "", nil
	}
	if a := c.world.Accounts[m[1]]; a != nil {
		if r := a.Roles[m[3]]; r != nil && r.Path == m[2] {
			return m[1], r
		}
	}
	return m[1], nil
}

// sourceIdentity is what the new session will carry: the one asked for, or the
// one the caller's session already has (it survives chaining).
func (k *call) sourceIdentity() string {
	if s := k.str("SourceIdentity"); s != "" {
		return s
	}
	return k.Principal.SourceIdentity
}

// assumeRoleNeeds: AssumeRole, and with a source identity or tags a further
// permission each. Every action sees only the condition keys it knows at AWS.
func assumeRoleNeeds(k *call) []need {
	arn := k.str("RoleArn")
	owner, r := k.cloud.roleAt(arn)
	var out []need
	add := func(action string, ctx policy.Context) {
		n := need{action: action, resource: arn, owner: owner, mustGrant: true, context: ctx}
		if r != nil { // a role that is not there grants nothing: a denial, as AWS gives
			n.grants = []policy.Named{{Doc: r.trust}}
			tagKeys(ctx, "aws:ResourceTag/", r.Tags)
			tagKeys(ctx, "iam:ResourceTag/", r.Tags)
		}
		out = append(out, n)
	}
	given, source := tags(k.list("Tags")), policy.Context{}
	if id := k.sourceIdentity(); id != "" {
		source["sts:sourceidentity"] = []string{id}
	}
	assume := requestTags(maps.Clone(source), given)
	if name := k.str("RoleSessionName"); name != "" {
		assume["sts:rolesessionname"] = []string{name}
	}
	if id := k.str("ExternalId"); id != "" {
		assume["sts:externalid"] = []string{id}
	}
	add("sts:AssumeRole", assume)
	if len(source) > 0 {
		add("sts:SetSourceIdentity", source)
	}
	if len(given) > 0 {
		add("sts:TagSession", requestTags(policy.Context{}, given))
	}
	return out
}

// maxSessionPolicy is the largest inline session policy, in characters.
const maxSessionPolicy = 2048

func assumeRole(k *call) (reply, error) {
	c, p := k.cloud, k.Principal
	account, r := c.roleAt(k.str("RoleArn"))
	if r == nil {
		return reply{}, errors.New("the role is gone after it was authorised")
	}
	name, source := k.str("RoleSessionName"), k.sourceIdentity()
	if !sessionName.MatchString(name) {
		return reply{}, fail(400, "ValidationError", "1 validation error detected: Value '%s' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]*", name)
	}
	if source != "" && !sessionName.MatchString(source) {
		return reply{}, fail(400, "ValidationError", "1 validation error detected: Value '%s' at 'sourceIdentity' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]*", source)
	}
	if p.SourceIdentity != "" && source != p.SourceIdentity {
		return reply{}, &apiError{code: "AccessDenied", status: 403, denied: true, message: "The source identity of a session cannot be changed"}
	}
	if p.Type == "Root" {
		return reply{}, &apiError{code: "AccessDenied", status: 403, denied: true, message: "Roles may not be assumed by root accounts."}
	}
	seconds, err := k.integer("DurationSeconds", 3600)
	if err != nil {
		return reply{}, err
	}
	longest := r.MaxSession
	if p.Type == "AssumedRole" {
		longest = time.Hour // role chaining
	}
	if lifetime := time.Duration(seconds) * time.Second; lifetime < 15*time.Minute || lifetime > longest {
		return reply{}, fail(400, "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	var inline []policy.Named
	if text := k.str("Policy"); text != "" {
		if len(text) > maxSessionPolicy {
			return reply{}, fail(400, "ValidationError", "1 validation error detected: Value at 'policy' failed to satisfy constraint: Member must have length less than or equal to %d", maxSessionPolicy)
		}
		doc, err := policy.Parse([]byte(text), policy.ForIdentity)
		if err != nil {
			return reply{}, fail(400, "MalformedPolicyDocument", "%v", err)
		}
		inline = []policy.Named{{Doc: doc}}
	}
	if k.Params["PolicyArns"] != nil {
		return reply{}, fail(400, "NotImplemented", "the sandbox knows inline session policies only")
	}

	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	s := &session{
		secret: randomText(40, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"),
		token:  "IQoJb3JpZ2luX2Vj" + randomText(200, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"),
		// Measured on the machine's clock: a client's own clock decides when it renews.
		expires: c.opts.Real().Add(time.Duration(seconds) * time.Second),
		policy:  inline,
		principal: Principal{
			Account: account, Type: "AssumedRole", AccessKeyID: "ASIA" + randomText(16, alphabet),
			ARN:         "arn:aws:sts::" + account + ":assumed-role/" + r.Name + "/" + name,
			PrincipalID: r.ID + ":" + name, RoleARN: r.ARN(account), RoleName: r.Name, RoleID: r.ID,
			SessionName: name, SourceIdentity: source, SessionCreated: k.Time,
		},
	}
	c.forgetExpired()
	c.sessions[s.principal.AccessKeyID] = s

	elements := map[string]any{
		"credentials": map[string]any{
			"accessKeyId": s.principal.AccessKeyID, "sessionToken": s.token,
			"expiration": s.expires.UTC().Format("Jan 2, 2006, 3:04:05 PM"),
		},
		"assumedRoleUser": map[string]any{"assumedRoleId": s.principal.PrincipalID, "arn": s.principal.ARN},
	}
	if source != "" {
		elements["sourceIdentity"] = source
	}
	body := leaves(
		node("Credentials", leaf("AccessKeyId", s.principal.AccessKeyID), leaf("SecretAccessKey", s.secret),
			leaf("SessionToken", s.token), leaf("Expiration", s.expires.UTC().Format(time.RFC3339))),
		node("AssumedRoleUser", leaf("AssumedRoleId", s.principal.PrincipalID), leaf("Arn", s.principal.ARN)),
		leaf("SourceIdentity", source),
	)
	if inline != nil {
		body = append(body, leaf("PackedPolicySize", 1+len(k.str("Policy"))*100/maxSessionPolicy))
	}
	return reply{
		body: body, elements: elements, owner: account,
		resources: []resource{{ARN: r.ARN(account), Type: "AWS::IAM::Role", Account: account}},
	}, nil
}

// forgetExpired drops sessions an hour after their end; until then their use is
// answered with ExpiredToken. Some stay longer, never more than twice as many as there must be.
func (c *Cloud) forgetExpired() {
	if len(c.sessions) < c.forgetAt {
		return // looking at them all each time would make many cost their square
	}
	for id, s := range c.sessions {
		if c.opts.Real().Sub(s.expires) > time.Hour {
			delete(c.sessions, id)
		}
	}
	c.forgetAt = 100 + 2*len(c.sessions)
}
