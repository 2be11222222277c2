package aws

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/auditcanary/auditcanary/shared/run"
)

// EveryBoundary is a permissions boundary for the injector role in every account: with it
// the role can do nothing that no scenario of the plans does, and nothing to what is not
// named or tagged as canaries' own, whatever is attached to it. It grants nothing: what it
// allows is what policies may grant at most. plans are of EveryTarget; see EveryPermissions.
func EveryBoundary(plans []run.Plan) (json.RawMessage, error) {
	sts, err := everywhere(plans)
	if err != nil {
		return nil, err
	}
	var actions, unnamed, things, ownActions, canarys words
	for _, st := range sts {
		if changes := changing(st.Action); len(changes) > 0 {
			ownActions = append(ownActions, changes...)
			for _, r := range st.Resource {
				canarys = append(canarys, anyKind(inAnyAccount(r)))
			}
		}
		if slices.Equal(st.Resource, words{"*"}) {
			unnamed = append(unnamed, st.Action...)
		} else {
			things = append(things, st.Resource...)
		}
		actions = append(actions, st.Action...)
	}
	for i, r := range things {
		things[i] = anyKind(inAnyAccount(r))
		switch {
		case strings.HasPrefix(r, "arn:aws:ec2:"):
			things[i] = "arn:aws:ec2:*" // which has few names, and of which the tags are asked
		case strings.HasPrefix(r, "arn:aws:eks:"):
			things[i] = "arn:aws:eks:*" // any cluster, and any entry of it
		}
	}
	type bound struct {
		Sid, Effect string
		Action      words                        `json:",omitempty"`
		NotAction   words                        `json:",omitempty"`
		Resource    words                        `json:",omitempty"`
		NotResource words                        `json:",omitempty"`
		Condition   map[string]map[string]string `json:",omitempty"`
	}
	doc, err := json.Marshal(struct {
		Version   string
		Statement []bound
	}{"2012-10-17", []bound{
		{Sid: "GrantsNothing", Effect: "Allow", Action: words{"*"}, Resource: words{"*"}},
		{Sid: "WhatNoScenarioDoes", Effect: "Deny", NotAction: listings(actions), Resource: words{"*"}},
		{Sid: "WhatIsNotOurs", Effect: "Deny", NotAction: listings(unnamed), NotResource: widest(things)},
		// Our own roles, policies and rules are listed as canaries' things are, and never
		// changed: or the injector could lift this very boundary.
		{Sid: "WhatIsOurOwn", Effect: "Deny", Action: byInitial(ownActions), NotResource: widest(canarys)},
		// What the cloud names is known by its tags.
		{Sid: "WhatIsNotTagged", Effect: "Deny", Resource: words{"*"}, Action: slices.DeleteFunc(slices.Clone(onTagged), func(a string) bool { return !slices.Contains(actions, a) }),
			Condition: map[string]map[string]string{"Null": {resourceTagRun: "true"}, "StringNotEquals": {fixtureTag: "fixture"}}},
	}})
	if err != nil {
		return nil, err
	}
	if most := maxManagedPolicy - reservedForBoundary; len(doc) > most {
		return nil, fmt.Errorf("the boundary has %d characters, and %d are possible: leave scenarios out", len(doc), most)
	}
	return json.RawMessage(asTemplate(string(doc))), nil
}

// reservedForBoundary is as reservedForPartition, for fewer ARNs.
const reservedForBoundary = 350

// onTagged are operations on things that a name cannot mark.
var onTagged = words{
	"backup:DeleteRecoveryPoint", "config:DeleteConfigRule", "ec2:DeleteInternetGateway", "ec2:DeleteKeyPair", "ec2:DeleteNetworkAcl", "ec2:DeleteRouteTable", "ec2:DeleteSnapshot",
	"ec2:ModifySnapshotAttribute", "kms:CancelKeyDeletion", "kms:DisableKey", "kms:EnableKey", "kms:ScheduleKeyDeletion",
}

// listings shortens actions that only list, describe or tag to a pattern for each service,
// and so those that read settings of buckets and trails, or a security group's two directions.
func listings(actions words) (out words) {
	for _, a := range actions {
		service, name, _ := strings.Cut(a, ":")
		for _, verb := range []string{"AuthorizeSecurityGroup", "Describe", "GetBucket", "GetTrail", "List", "RevokeSecurityGroup", "Tag"} {
			if strings.HasPrefix(name, verb) {
				a = service + ":" + verb + "*"
			}
		}
		out = append(out, a)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// changing are the actions that change who may do what, or what is told to the alerts.
func changing(actions words) (out words) {
	for _, a := range actions {
		service, name, _ := strings.Cut(a, ":")
		reads := strings.HasPrefix(name, "Get") || strings.HasPrefix(name, "List") || strings.HasPrefix(name, "Describe")
		if (service == "iam" || service == "events") && !reads {
			out = append(out, a)
		}
	}
	return out
}

// byInitial shortens actions to a pattern for each service's initial: of what is denied, more
// is no harm.
func byInitial(actions words) (out words) {
	for _, a := range actions {
		service, name, _ := strings.Cut(a, ":")
		out = append(out, service+":"+name[:1]+"*")
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// inAnyAccount is a resource in whichever account, which is shorter; another account's are
// never reached.
func inAnyAccount(resource string) string {
	return strings.ReplaceAll(resource, ":"+everyAccount+":", ":*:")
}

var kindOf = regexp.MustCompile(`^(arn:aws:(?:iam:[^:]*:[^:]*:[a-z-]+/auditcanary/|(?:ssm|rds):[^:]*:[^:]*:[a-z-]+[/:]auditcanary-).*)$`)

// anyKind is one of the canaries' things of IAM, SSM or RDS, whatever its kind: its name says
// whose it is.
func anyKind(resource string) string {
	if !kindOf.MatchString(resource) {
		return resource
	}
	f := strings.SplitN(resource, ":", 6)
	f[5] = "*" + f[5][strings.IndexAny(f[5], "/:"):]
	return strings.Join(f, ":")
}

// widest leaves out what another of the patterns covers.
func widest(patterns words) (out words) {
	slices.Sort(patterns)
	patterns = slices.Compact(patterns)
	for _, p := range patterns {
		if !slices.ContainsFunc(patterns, func(o string) bool { return o != p && covers(o, p) }) {
			out = append(out, p)
		}
	}
	return out
}

// covers: whatever p matches, the pattern o does. Of patterns with ? nothing is claimed.
func covers(o, p string) bool {
	if strings.Contains(o, "?") {
		return false
	}
	parts := strings.Split(o, "*")
	rest, ok := strings.CutPrefix(p, parts[0])
	if !ok {
		return false
	}
	if len(parts) == 1 {
		return rest == ""
	}
	for _, part := range parts[1 : len(parts)-1] {
		_, after, found := strings.Cut(rest, part)
		if !found {
			return false
		}
		rest = after
	}
	return strings.HasSuffix(rest, parts[len(parts)-1])
}
