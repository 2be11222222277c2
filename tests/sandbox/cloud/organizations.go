package cloud

import (
	"maps"
	"slices"
	"strings"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

// organizationsService: what an organisation's management account may do with
// policies; members may only look who manages them.
//
// The record of a refusal is that of a real refused DescribeOrganization; that of
// a success is inferred from the API, with a small first letter.
func organizationsService() service {
	return service{
		source: "organizations.amazonaws.com", global: true, wire: json11{},
		ops: map[string]operation{
			"DescribeOrganization":             {readOnly: true, needs: anyOf("organizations:DescribeOrganization"), do: describeOrganization},
			"CreatePolicy":                     {needs: createPolicyNeeds, do: managed(createControlPolicy)},
			"DeletePolicy":                     {needs: onControlPolicy("organizations:DeletePolicy", "PolicyId"), do: managed(deleteControlPolicy)},
			"ListPolicies":                     {readOnly: true, needs: listPoliciesNeeds, do: managed(listControlPolicies)},
			"ListAccounts":                     {readOnly: true, needs: anyOf("organizations:ListAccounts"), do: managed(listAccounts)},
			"DescribePolicy":                   {readOnly: true, needs: onControlPolicy("organizations:DescribePolicy", "PolicyId"), do: managed(describeControlPolicy)},
			"ListTargetsForPolicy":             {readOnly: true, needs: onControlPolicy("organizations:ListTargetsForPolicy", "PolicyId"), do: managed(listTargetsForPolicy)},
			"ListDelegatedAdministrators":      {readOnly: true, needs: anyOf("organizations:ListDelegatedAdministrators"), do: listDelegated},
			"ListRoots":                        {readOnly: true, needs: anyOf("organizations:ListRoots"), do: managed(listRoots)},
			"ListAccountsForParent":            {readOnly: true, needs: onParent("organizations:ListAccountsForParent"), do: managed(listAccountsForParent)},
			"ListOrganizationalUnitsForParent": {readOnly: true, needs: onParent("organizations:ListOrganizationalUnitsForParent"), do: managed(listUnitsForParent)},
			"ListTagsForResource":              {readOnly: true, needs: onControlPolicy("organizations:ListTagsForResource", "ResourceId"), do: managed(listPolicyTags)},
		},
	}
}

const (
	controlPolicies   = "organizations policy"
	controlPolicyType = "SERVICE_CONTROL_POLICY"

	// membersMayNot is what Organizations itself answers, where IAM would have allowed it.
	membersMayNot = "You don't have permissions to access this resource."
)

func describeOrganization(k *call) (reply, error) {
	w := k.cloud.world
	arn := "arn:aws:organizations::" + w.Management
	return reply{body: map[string]any{"Organization": map[string]any{
		"Id": w.Organization, "Arn": arn + ":organization/" + w.Organization, "FeatureSet": "ALL",
		"MasterAccountId": w.Management, "MasterAccountArn": arn + ":account/" + w.Organization + "/" + w.Management,
		"MasterAccountEmail": "root@example.com",
	}}}, nil
}

// managed refuses whoever is not of the management account; the sandbox delegates
// policies to nobody.
func managed(do func(*call) (reply, error)) func(*call) (reply, error) {
	return func(k *call) (reply, error) {
		if k.Principal.Account != k.cloud.world.Management {
			return reply{}, &apiError{code: "AccessDeniedException", message: membersMayNot, status: 400, denied: true}
		}
		return do(k)
	}
}

// policiesOf are the organisation's own policies.
func (k *call) policiesOf() map[string]*Thing {
	return k.cloud.world.Accounts[k.cloud.world.Management].Regions["us-east-1"].Things[controlPolicies]
}

func (k *call) policyARN(id string) string {
	w := k.cloud.world
	return "arn:aws:organizations::" + w.Management + ":policy/" + w.Organization + "/service_control_policy/" + id
}

func createPolicyNeeds(k *call) []need {
	given := tags(k.list("Tags"))
	ctx := policy.Context{"organizations:policytype": {k.str("Type")}}
	out := []need{{action: "organizations:CreatePolicy", resource: k.policyARN("*"), context: requestTags(maps.Clone(ctx), given)}}
	if len(given) > 0 {
		out = append(out, need{action: "organizations:TagResource", resource: k.policyARN("*"), context: requestTags(ctx, given)})
	}
	return out
}

func onControlPolicy(action, param string) func(*call) []need {
	return func(k *call) []need {
		ctx := policy.Context{"organizations:policytype": {controlPolicyType}}
		if p := k.policiesOf()[k.str(param)]; p != nil {
			tagKeys(ctx, "aws:ResourceTag/", p.Tags)
		}
		return []need{{action: action, resource: k.policyARN(k.str(param)), context: ctx}}
	}
}

func listPoliciesNeeds(k *call) []need {
	return []need{{action: "organizations:ListPolicies", resource: "*", context: policy.Context{"organizations:policytype": {k.str("Filter")}}}}
}

func createControlPolicy(k *call) (reply, error) {
	name := k.str("Name")
	if k.str("Type") != controlPolicyType {
		return reply{}, fail(400, "PolicyTypeNotAvailableForOrganizationException", "The policy type %s is not available for this organization.", k.str("Type"))
	}
	if _, err := policy.Parse([]byte(k.str("Content")), policy.ForIdentity); err != nil {
		return reply{}, fail(400, "MalformedPolicyDocumentException", "The provided policy document does not meet the requirements of the specified policy type: %v", err)
	}
	for _, p := range k.policiesOf() {
		if p.Attr["name"] == name {
			return reply{}, fail(400, "DuplicatePolicyException", "A policy with the same name already exists.")
		}
	}
	id := "p-" + randomText(8, "abcdefghijklmnopqrstuvwxyz0123456789")
	p := &Thing{ID: id, ARN: k.policyARN(id), Tags: tags(k.list("Tags")), Attr: map[string]any{"name": name, "description": k.str("Description"), "content": k.str("Content")}}
	k.cloud.world.Accounts[k.cloud.world.Management].Regions["us-east-1"].Put(controlPolicies, p)
	made := map[string]any{"PolicySummary": policySummary(p), "Content": k.str("Content")}
	return reply{body: map[string]any{"Policy": made}, elements: map[string]any{"policy": lowerNames(made)}}, nil
}

func policySummary(p *Thing) map[string]any {
	return map[string]any{
		"Id": p.ID, "Arn": p.ARN, "Name": p.Attr["name"], "Description": p.Attr["description"], "Type": controlPolicyType, "AwsManaged": false,
	}
}

func deleteControlPolicy(k *call) (reply, error) {
	id := k.str("PolicyId")
	if k.policiesOf()[id] == nil {
		return reply{}, fail(400, "PolicyNotFoundException", "You specified a policy that doesn't exist.")
	}
	delete(k.policiesOf(), id)
	return reply{}, nil
}

func listControlPolicies(k *call) (reply, error) {
	size, err := k.integer("MaxResults", 20)
	if err != nil || size < 1 || size > 20 {
		return reply{}, fail(400, "InvalidInputException", "You specified an invalid value for MaxResults.")
	}
	list, all := []any{}, map[string]map[string]any{}
	if k.str("Filter") == controlPolicyType {
		for id, p := range k.policiesOf() {
			all[id] = policySummary(p)
		}
		for id, c := range k.cloud.world.controlPolicies() {
			all[id] = c.summary()
		}
	}
	these, next := page(slices.Sorted(maps.Keys(all)), k.str("NextToken"), size)
	for _, id := range these {
		list = append(list, all[id])
	}
	body := map[string]any{"Policies": list}
	if next != "" {
		body["NextToken"] = next
	}
	return reply{body: body}, nil
}

func listPolicyTags(k *call) (reply, error) {
	id := k.str("ResourceId")
	if !strings.HasPrefix(id, "p-") {
		return reply{}, fail(400, "InvalidInputException", "You provided a value that does not match the required pattern.")
	}
	p := k.policiesOf()[id]
	if _, seeded := k.cloud.world.controlPolicies()[id]; seeded {
		return reply{body: map[string]any{"Tags": []any{}}}, nil
	}
	if p == nil {
		return reply{}, fail(400, "TargetNotFoundException", "You specified a target that doesn't exist.")
	}
	list := []any{}
	for _, key := range slices.Sorted(maps.Keys(p.Tags)) {
		list = append(list, map[string]any{"Key": key, "Value": p.Tags[key]})
	}
	return reply{body: map[string]any{"Tags": list}}, nil
}

// listAccounts pages by at most 20, as the service does.
func listAccounts(k *call) (reply, error) {
	size, err := k.integer("MaxResults", 20)
	if err != nil || size < 1 || size > 20 {
		return reply{}, fail(400, "InvalidInputException", "You specified an invalid value for MaxResults.")
	}
	w, list := k.cloud.world, []any{}
	these, next := page(slices.Sorted(maps.Keys(w.Accounts)), k.str("NextToken"), size)
	for _, id := range these {
		list = append(list, map[string]any{
			"Id": id, "Arn": "arn:aws:organizations::" + w.Management + ":account/" + w.Organization + "/" + id, "Name": accountNames[id],
			"Email": "root+" + id + "@example.com", "Status": "ACTIVE", "State": "ACTIVE", "JoinedMethod": "CREATED", "JoinedTimestamp": 1735689600,
		})
	}
	body := map[string]any{"Accounts": list}
	if next != "" {
		body["NextToken"] = next
	}
	return reply{body: body}, nil
}

// accountNames of the world's accounts.
var accountNames = map[string]string{
	ManagementAccount: "management", ArchiveAccount: "log archive", ToolAccount: "security", "111122223333": "production", "444455556666": "staging",
}
