package aws

import (
	"encoding/json"
	"fmt"
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
	var actions, unnamed, things words
	for _, st := range sts {
		if slices.Equal(st.Resource, words{"*"}) {
			unnamed = append(unnamed, st.Action...)
		} else {
			things = append(things, st.Resource...)
		}
		actions = append(actions, st.Action...)
	}
	for i, r := range things {
		things[i] = strings.ReplaceAll(r, ":"+everyAccount+":", ":*:") // shorter; another account's are never reached
		if strings.HasPrefix(r, "arn:aws:ec2:") {
			things[i] = "arn:aws:ec2:*" // which has few names, and of which the tags are asked
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

// listings shortens actions that only list, describe or tag to a pattern for each service.
func listings(actions words) (out words) {
	for _, a := range actions {
		service, name, _ := strings.Cut(a, ":")
		for _, verb := range []string{"Describe", "List", "Tag"} {
			if strings.HasPrefix(name, verb) {
				a = service + ":" + verb + "*"
			}
		}
		out = append(out, a)
	}
	slices.Sort(out)
	return slices.Compact(out)
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
