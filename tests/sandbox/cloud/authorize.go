package cloud

import (
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

// caller is the authenticated identity with what limits it.
type caller struct {
	Principal Principal
	session   *session // of an assumed role
}

// session is a set of temporary credentials.
type session struct {
	principal     Principal
	secret, token string
	expires       time.Time // on the machine's clock
	policy        []policy.Named
}

// need is one permission an operation asks for.
type need struct {
	action   string
	resource string // ARN, or "*"
	// shown is how the denial names the resource, when not by its ARN (IAM).
	shown string
	// owner of the resource, "" = the caller's account.
	owner string
	// grants is the resource's own policy; mustGrant: it decides who may at all.
	grants    []policy.Named
	mustGrant bool
	// context are the operation's own condition keys.
	context policy.Context
}

func expiredToken() *apiError {
	return &apiError{code: "ExpiredToken", message: "The security token included in the request is expired", status: 403}
}

// expire ends a session, because a fault says so, and returns what its calls are answered.
func (c *Cloud) expire(id string) *apiError {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.sessions[id]; s != nil {
		s.expires = c.opts.Real()
	}
	return expiredToken()
}

// credential returns who an access key id belongs to. The lock is held.
func (c *Cloud) credential(id, token string) (caller, string, error) {
	if s := c.sessions[id]; s != nil {
		switch {
		case token != s.token:
			return caller{}, "", fail(403, "InvalidClientTokenId", "The security token included in the request is invalid")
		case !c.opts.Real().Before(s.expires):
			return caller{}, "", expiredToken()
		}
		return caller{Principal: s.principal, session: s}, s.secret, nil
	}
	for _, a := range c.world.Accounts {
		if id == a.RootKey.ID {
			p := Principal{Account: a.ID, Type: "Root", ARN: "arn:aws:iam::" + a.ID + ":root", PrincipalID: a.ID, AccessKeyID: id}
			return caller{Principal: p}, a.RootKey.Secret, nil
		}
		for _, u := range a.Users {
			if id == u.Key.ID {
				p := Principal{Account: a.ID, Type: "IAMUser", ARN: u.ARN(a.ID), PrincipalID: u.ID, UserName: u.Name, AccessKeyID: id}
				return caller{Principal: p}, u.Key.Secret, nil
			}
		}
	}
	return caller{}, "", fail(403, "InvalidClientTokenId", "The security token included in the request is invalid")
}

// authorize decides one need of the caller, or returns the service's denial.
// The lock is held.
func (c *Cloud) authorize(k *call, n need) error {
	p := k.Principal
	owner := n.owner
	if owner == "" {
		owner = p.Account
	}
	d := policy.Decide(policy.Request{
		Action: n.action, Resource: n.resource, PrincipalARN: p.ARN, RoleARN: p.RoleARN,
		Account: p.Account, ResourceAccount: owner, Context: c.context(k, n, owner),
	}, c.layers(k, n))
	c.decided.note(p, n, d)
	if d.Allowed {
		return nil
	}
	shown := n.shown
	if shown == "" {
		shown = n.resource
	}
	msg := "User: " + p.ARN + " is not authorized to perform: " + n.action
	if shown != "*" || k.Service != "ec2" {
		msg += " on resource: " + shown
	}
	return &apiError{code: deniedCode(k.Service), message: deniedPrefix(k.Service) + msg + " " + d.Reason, status: deniedStatus(k.Service), denied: true}
}

func deniedCode(service string) string {
	switch service {
	case "ec2":
		return "UnauthorizedOperation"
	case "kms", "cloudtrail", "organizations", "backup", "eks", "guardduty", "securityhub", "wafv2":
		return "AccessDeniedException"
	case "secretsmanager", "ssm":
		return "AccessDeniedException"
	case "logs", "config", "events":
		return "AccessDeniedException"
	}
	return "AccessDenied"
}

func deniedPrefix(service string) string {
	if service == "ec2" {
		return "You are not authorized to perform this operation. "
	}
	return ""
}

func deniedStatus(service string) int {
	if service == "logs" || service == "config" || service == "events" || service == "kms" || service == "cloudtrail" || service == "secretsmanager" || service == "ssm" || service == "organizations" || service == "wafv2" {
		return 400
	}
	return 403
}

// layers gathers every policy that applies to the caller.
func (c *Cloud) layers(k *call, n need) policy.Layers {
	l := policy.Layers{Resource: n.grants, ResourceMustAllow: n.mustGrant}
	// Service control policies do not bind the management account.
	if k.Principal.Account != c.world.Management {
		l.SCPs = c.world.SCPs
	}
	acct := c.world.Accounts[k.Principal.Account]
	switch {
	case acct == nil:
	case k.Principal.Type == "Root":
		l.Identity = []policy.Named{{Doc: administrator}}
	case k.Principal.Type == "IAMUser":
		l.Identity = acct.Users[k.Principal.UserName].Policies
	case k.who.session != nil:
		l.Session = k.who.session.policy
		// A role of the same name made later is another role.
		if r := acct.Roles[k.Principal.RoleName]; r != nil && r.ID == k.Principal.RoleID {
			l.Identity = append(l.Identity, r.Policies...)
			for _, doc := range r.Inline {
				l.Identity = append(l.Identity, policy.Named{Doc: doc})
			}
			for _, arn := range r.Attached {
				l.Identity = append(l.Identity, policy.Named{ARN: arn, Doc: c.world.Managed[arn]})
			}
			if r.Boundary != "" {
				l.Boundary = []policy.Named{{ARN: r.Boundary, Doc: c.world.Managed[r.Boundary]}}
			}
		}
	}
	return l
}

// context holds the condition keys every request has, with the operation's own.
func (c *Cloud) context(k *call, n need, owner string) policy.Context {
	p := k.Principal
	ctx := policy.Context{
		"aws:principalaccount": {p.Account},
		"aws:principalorgid":   {c.world.Organization},
		"aws:principaltype":    {p.Type},
		"aws:principalarn":     {p.ARN},
		"aws:resourceaccount":  {owner},
		"aws:requestedregion":  {k.Region},
		"aws:securetransport":  {"true"},
		"aws:viaawsservice":    {"false"},
		"aws:sourceip":         {sourceIP(k.HTTP)},
	}
	if p.RoleARN != "" {
		ctx["aws:principalarn"] = []string{p.RoleARN} // of a session: the role's
	}
	if p.SourceIdentity != "" {
		ctx["aws:sourceidentity"] = []string{p.SourceIdentity}
	}
	if ua := k.HTTP.UserAgent(); ua != "" {
		ctx["aws:useragent"] = []string{ua}
	}
	for key, v := range n.context {
		ctx[strings.ToLower(key)] = v
	}
	return ctx
}

func sourceIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// tagKeys adds a family of tag keys to a context: "aws:ResourceTag/".
func tagKeys(ctx policy.Context, family string, tags map[string]string) policy.Context {
	for key, v := range tags {
		ctx[strings.ToLower(family+key)] = []string{v}
	}
	return ctx
}

// requestTags are the keys of the tags a request carries.
func requestTags(ctx policy.Context, tags map[string]string) policy.Context {
	if len(tags) == 0 {
		return ctx
	}
	tagKeys(ctx, "aws:RequestTag/", tags)
	var names []string
	for name := range tags {
		names = append(names, name)
	}
	ctx["aws:tagkeys"] = names
	return ctx
}

// anyOf is the need of an operation without resources: "*".
func anyOf(action string) func(*call) []need {
	return func(*call) []need { return []need{{action: action, resource: "*"}} }
}
