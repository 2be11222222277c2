package access

import (
	"slices"
	"strings"
)

// World is what was collected.
type World struct {
	// Organization is its id (o-...), Management its management account; "" if
	// there is none, or it is not known.
	Organization, Management string
	// Accounts by id: those of the organisation, inspected or not.
	Accounts map[string]*Account
	// Resources in question, with their own policies.
	Resources []*Resource
	// Targets are the accounts that privileged people and this program act in.
	Targets []string
	// Injectors are the roles (ARNs) with which this program acts there.
	Injectors []string
	// Gaps are what could not be read.
	Gaps []Gap
}

// Gap is something that could not be read, and why.
type Gap struct {
	Account string `json:"account,omitempty"`
	What    string `json:"what"`
	Why     string `json:"why"`
}

// Account is one account.
type Account struct {
	ID string
	// Unread says why its principals are not known; "" if they are.
	Unread     string
	Principals []*Principal
	// Levels of the organisation above it, root first, itself last. Each must allow.
	Levels []Level
}

// Level is the root of an organisation, a unit, or an account, with the policies
// attached there.
type Level struct {
	Name       string // r-..., ou-..., or the account's id
	SCPs, RCPs []Policy
	// NoSCPs, NoRCPs: policies of that kind are not in use, so that none need allow.
	NoSCPs, NoRCPs bool
}

// Policy is a document where it is attached.
type Policy struct {
	// Kind in people's words: "inline policy", "managed policy", "service control policy".
	Kind string
	// Name of the policy, or its ARN.
	Name string
	// Through says how the principal comes to it: "group admins".
	Through string
	Doc     Document
	// Unread says why the document is not known; "" if it is. It may allow and deny
	// anything.
	Unread string
}

// NewPolicy parses a document; one that cannot be parsed is kept, unread.
func NewPolicy(kind, name string, raw []byte) Policy {
	p := Policy{Kind: kind, Name: name}
	var err error
	if p.Doc, err = ParseDocument(raw); err != nil {
		p.Unread = err.Error()
	}
	return p
}

// Kinds of principals.
const (
	User = "user"
	Role = "role"
	Root = "root"
	// Outsiders: what a resource policy names and no account here has.
	Anybody   = "anybody"
	Foreigner = "other account"
	Service   = "service"
	Federated = "federated"
	Unknown   = "unknown principal"
)

// Principal is somebody who may act.
type Principal struct {
	Kind string
	// ARN of a user, role or root; what the policy says, of an outsider.
	ARN string
	// ID is the unique id (AIDA..., AROA...).
	ID      string
	Account string
	Tags    map[string]string // of a user
	// Policies by which it is allowed: inline, managed, of its groups.
	Policies []Policy
	// Boundary is nil if there is none.
	Boundary *Policy
	// Trust is a role's trust policy.
	Trust *Policy
	// ServiceLinked roles are bound by no SCP and no RCP.
	ServiceLinked bool
}

// Name is the last part of its ARN.
func (p *Principal) Name() string {
	if i := strings.LastIndexByte(p.ARN, ':'); i >= 0 && (p.Kind == User || p.Kind == Role || p.Kind == Root) {
		return p.ARN[i+1:]
	}
	return p.ARN
}

// Kinds of resources, as tamper.tsv names them, are free words ("object").

// Resource is what is asked about.
type Resource struct {
	Kind string
	// ARN; wildcards in it stand for every resource of that form.
	ARN string
	// Forms are the ARNs by which policies speak of it, where it is not that one alone.
	Forms []string
	// Account is "" where the owner is not known: then any account may be it.
	Account, Region string
	// Delegates are accounts that may act on it like its own (delegated administrators).
	Delegates []string
	// Archive: part of where the logs stand or of what writes them there.
	Archive bool
	// Policies are the resource's own.
	Policies []Policy
	// PolicyDecides: nothing is allowed that the resource's own policy does not allow,
	// or delegate to its account (keys, roles). NoPolicies: its service has none, so
	// that other accounts do not reach it.
	PolicyDecides, NoPolicies bool
	// RCPs bind it (of the services here S3, KMS and STS are known to heed them).
	RCPs bool
}

// owned says whether an account acts on the resource as its own.
func (r *Resource) owned(account string) bool {
	return account == r.Account || slices.Contains(r.Delegates, account)
}

// below is where under a detector its filters and lists of addresses are: making or changing
// one is authorised there, not on the detector.
var below = map[string]string{"guardduty:CreateFilter": "/filter/*", "guardduty:UpdateFilter": "/filter/*", "guardduty:UpdateIPSet": "/ipset/*"}

// asked is what the question is asked of: names of S3 objects may have colons,
// others have none.
func (r *Resource) asked(action string) []glob {
	forms := r.Forms
	if forms == nil {
		forms = []string{r.ARN}
	}
	if under := below[action]; under != "" && r.Kind == "detector" {
		forms = append(forms[:len(forms):len(forms)], r.ARN+under)
	}
	var out []glob
	for _, f := range forms {
		g := compile(f)
		if r.Kind != "object" {
			for i := range g {
				if g[i] == anyRun {
					g[i] = anyName
				}
			}
		}
		out = append(out, g)
	}
	return out
}

func (r *Resource) partition() string {
	if parts := strings.SplitN(r.ARN, ":", 3); len(parts) == 3 && parts[0] == "arn" {
		return parts[1]
	}
	return "aws"
}

// path is an account's path in the organisation, "o-1/r-1/ou-1/", if it is known.
func (w *World) path(account string) ([]string, bool) {
	a := w.Accounts[account]
	if a == nil || w.Organization == "" || len(a.Levels) < 2 || !strings.HasPrefix(a.Levels[0].Name, "r-") {
		return nil, false
	}
	path := w.Organization + "/"
	for _, l := range a.Levels[:len(a.Levels)-1] { // the last is the account itself
		path += l.Name + "/"
	}
	return []string{path}, true
}

// principal finds a principal by ARN or unique id; nil if there is none.
func (w *World) principal(name string) *Principal {
	for _, a := range w.Accounts {
		for _, p := range a.Principals {
			if p.ARN == name || p.ID != "" && p.ID == name {
				return p
			}
		}
	}
	return nil
}

// accountOf reads the account out of an ARN, or an account id that stands alone.
func accountOf(name string) string {
	id := name
	if parts := strings.SplitN(name, ":", 6); len(parts) == 6 && parts[0] == "arn" {
		id = parts[4]
	}
	if len(id) == 12 && strings.Trim(id, "0123456789") == "" {
		return id
	}
	return ""
}

// LogGroupForms are the ARNs by which policies speak of a log group: itself, and
// the streams in it.
func LogGroupForms(arn string) []string {
	return []string{arn, arn + ":log-stream:*"}
}
