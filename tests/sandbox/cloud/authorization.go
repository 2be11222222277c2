package cloud

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

// What is asked by whoever wants to know who may do what: all principals of an
// account with their policies, the organisation's tree, and which of its policies
// stands where.

// accountAuthorizationDetails pages over users, roles and policies in that order,
// as the real one pages over all kinds together. Documents are URL-encoded.
// The sandbox has no groups.
func accountAuthorizationDetails(k *call) (reply, error) {
	if len(k.list("Filter")) > 0 {
		return reply{}, fail(501, "NotImplemented", "the sandbox has no filter of authorization details")
	}
	size, err := k.integer("MaxItems", 100)
	if err != nil || size < 1 || size > 1000 {
		return reply{}, fail(400, "ValidationError", "1 validation error detected: Value '%d' at 'maxItems' failed to satisfy constraint", size)
	}
	from := 0
	if m := k.str("Marker"); m != "" {
		if _, err := fmt.Sscanf(m, "marker-%d", &from); err != nil || from < 0 {
			return reply{}, fail(400, "ValidationError", "Invalid Marker.")
		}
	}
	lists := [][]el{k.userDetails(), nil, k.roleDetails(), k.policyDetails()}
	var body []el
	at, more := 0, false
	for i, name := range []string{"UserDetailList", "GroupDetailList", "RoleDetailList", "Policies"} {
		var page []el
		for _, e := range lists[i] {
			switch {
			case at >= from+size:
				more = true
			case at >= from:
				page = append(page, e)
			}
			at++
		}
		body = append(body, node(name, page...))
	}
	body = append(body, leaf("IsTruncated", more))
	if more {
		body = append(body, leaf("Marker", fmt.Sprintf("marker-%d", from+size)))
	}
	return reply{body: body}, nil
}

// inlineElements are policies that stand in a principal itself.
func inlineElements(name string, policies []policy.Named, more map[string]policy.Document) el {
	var members []el
	add := func(name string, d policy.Document) {
		members = append(members, node("member", leaf("PolicyName", name), leaf("PolicyDocument", policy.Encode(d.Text))))
	}
	for i, p := range policies {
		if p.ARN == "" {
			add(fmt.Sprintf("inline-%d", i+1), p.Doc)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(more)) {
		add(name, more[name])
	}
	return node(name, members...)
}

func attachedElements(arns []string) el {
	var members []el
	for _, arn := range arns {
		members = append(members, node("member", leaf("PolicyName", arn[strings.LastIndexByte(arn, '/')+1:]), leaf("PolicyArn", arn)))
	}
	return node("AttachedManagedPolicies", members...)
}

func (k *call) userDetails() []el {
	var out []el
	users := k.account().Users
	for _, name := range slices.Sorted(maps.Keys(users)) {
		u := users[name]
		out = append(out, node("member", leaf("Path", "/"), leaf("UserName", u.Name), leaf("UserId", u.ID), leaf("Arn", u.ARN(k.Principal.Account)),
			leaf("CreateDate", longAgo), node("GroupList"), inlineElements("UserPolicyList", u.Policies, nil), attachedElements(nil)))
	}
	things := k.home().Things[iamUsers.kind]
	for _, id := range slices.Sorted(maps.Keys(things)) {
		out = append(out, node("member", withTags(things[id], append(userElement(things[id]), node("GroupList"), node("UserPolicyList"), attachedElements(nil)))...))
	}
	return out
}

// longAgo is when what was there at the start was made.
const longAgo = "2025-01-01T00:00:00Z"

func (k *call) roleDetails() []el {
	var out []el
	roles := k.account().Roles
	for _, name := range slices.Sorted(maps.Keys(roles)) {
		r := roles[name]
		kids := leaves(leaf("Path", r.Path), leaf("RoleName", r.Name), leaf("RoleId", r.ID), leaf("Arn", r.ARN(k.Principal.Account)),
			leaf("CreateDate", r.Created.Format(time.RFC3339)), leaf("AssumeRolePolicyDocument", policy.Encode(r.Trust)))
		kids = append(kids, node("InstanceProfileList"), inlineElements("RolePolicyList", r.Policies, r.Inline), attachedElements(r.Attached))
		if r.Boundary != "" {
			kids = append(kids, node("PermissionsBoundary", leaf("PermissionsBoundaryType", "Policy"), leaf("PermissionsBoundaryArn", r.Boundary)))
		}
		if len(r.Tags) > 0 {
			kids = append(kids, tagElements(r.Tags))
		}
		out = append(out, node("member", append(kids, node("RoleLastUsed"))...))
	}
	return out
}

// policyDetails are the account's own managed policies, and those of AWS that are
// attached to somebody or bound somebody.
func (k *call) policyDetails() []el {
	var out []el
	world, own := k.cloud.world, k.home().Things[iamPolicies.kind]
	for _, arn := range slices.Sorted(maps.Keys(world.Managed)) {
		versions := map[string]string{"v1": world.Managed[arn].Text}
		latest, kids := "v1", []el(nil)
		if t := own[arn]; t != nil {
			kids, latest = k.policyElement(t), t.text("default")
			versions = map[string]string{}
			for id, text := range t.versions() {
				versions[id], _ = text.(string)
			}
		} else {
			attached, bounds := k.uses(arn)
			if attached+bounds == 0 || !strings.HasPrefix(arn, "arn:aws:iam::aws:") {
				continue
			}
			name := arn[strings.LastIndexByte(arn, '/')+1:]
			kids = []el{leaf("PolicyName", name), leaf("PolicyId", uniqueID("ANPA", arn)), leaf("Arn", arn), leaf("Path", "/"), leaf("DefaultVersionId", latest),
				leaf("AttachmentCount", attached), leaf("PermissionsBoundaryUsageCount", bounds), leaf("IsAttachable", true), leaf("CreateDate", longAgo), leaf("UpdateDate", longAgo)}
		}
		var list []el
		for _, id := range slices.Sorted(maps.Keys(versions)) {
			list = append(list, node("member", leaf("Document", policy.Encode(versions[id])), leaf("VersionId", id), leaf("IsDefaultVersion", id == latest), leaf("CreateDate", longAgo)))
		}
		out = append(out, node("member", append(kids, node("PolicyVersionList", list...))...))
	}
	return out
}

// getKeyPolicy: every key here has the policy that a key gets if nobody gives it
// another: it leaves everything to the account's IAM policies.
func getKeyPolicy(k *call) (reply, error) {
	if _, _, err := k.knownKey(); err != nil {
		return reply{}, err
	}
	text := `{"Version":"2012-10-17","Id":"key-default-1","Statement":[{"Sid":"Enable IAM User Permissions","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` +
		k.Principal.Account + `:root"},"Action":"kms:*","Resource":"*"}]}`
	return reply{body: map[string]any{"Policy": text, "PolicyName": "default"}}, nil
}

// topicAttributes: a topic has the policy that it gets if nobody gives it another,
// unless the world gave it its own.
func topicAttributes(k *call) (reply, error) {
	t, err := k.topic()
	if err != nil {
		return reply{}, err
	}
	text := `{"Version":"2008-10-17","Id":"__default_policy_ID","Statement":[{"Sid":"__default_statement_ID","Effect":"Allow","Principal":{"AWS":"*"},` +
		`"Action":["SNS:GetTopicAttributes","SNS:SetTopicAttributes","SNS:AddPermission","SNS:RemovePermission","SNS:DeleteTopic","SNS:Subscribe","SNS:ListSubscriptionsByTopic","SNS:Publish"],` +
		`"Resource":"` + t.ARN + `","Condition":{"StringEquals":{"AWS:SourceOwner":"` + k.Principal.Account + `"}}}]}`
	if own := t.text("Policy"); own != "" {
		text = own
	}
	entry := func(key, value string) el { return node("entry", leaf("key", key), leaf("value", value)) }
	return reply{body: []el{node("Attributes", entry("TopicArn", t.ARN), entry("Owner", k.Principal.Account), entry("Policy", text))}}, nil
}

// rootID of the organisation; all its accounts are in it directly.
const rootID = "r-exmp"

func (k *call) parentNeeds(action string) []need {
	w := k.cloud.world
	kind := "root"
	if strings.HasPrefix(k.str("ParentId"), "ou-") {
		kind = "ou"
	}
	return []need{{action: action, resource: "arn:aws:organizations::" + w.Management + ":" + kind + "/" + w.Organization + "/" + k.str("ParentId")}}
}

func onParent(action string) func(*call) []need {
	return func(k *call) []need { return k.parentNeeds(action) }
}

func listRoots(k *call) (reply, error) {
	w := k.cloud.world
	return reply{body: map[string]any{"Roots": []any{map[string]any{
		"Id": rootID, "Arn": "arn:aws:organizations::" + w.Management + ":root/" + w.Organization + "/" + rootID, "Name": "Root",
		"PolicyTypes": []any{map[string]any{"Type": controlPolicyType, "Status": "ENABLED"}},
	}}}}, nil
}

// listDelegatedAdministrators: the sandbox's organisation delegates to nobody.
func (k *call) parent() error {
	if k.str("ParentId") != rootID {
		return fail(400, "ParentNotFoundException", "You provided parent ID that doesn't exist.")
	}
	return nil
}

func listAccountsForParent(k *call) (reply, error) {
	if err := k.parent(); err != nil {
		return reply{}, err
	}
	return listAccounts(k)
}

func listUnitsForParent(k *call) (reply, error) {
	if err := k.parent(); err != nil {
		return reply{}, err
	}
	return reply{body: map[string]any{"OrganizationalUnits": []any{}}}, nil
}

// controlPolicy is one that stands in the world from its start: attached to the
// root, and FullAWSAccess to every account too, as a new organisation has it.
type controlPolicy struct {
	id, name, arn, text string
	managed             bool
	targets             []string
}

func (w *Seed) controlPolicies() map[string]controlPolicy {
	out := map[string]controlPolicy{}
	for _, level := range w.SCPs {
		for _, p := range level {
			id := p.ARN[strings.LastIndexByte(p.ARN, '/')+1:]
			c := controlPolicy{id: id, name: strings.TrimPrefix(id, "p-"), arn: p.ARN, text: p.Doc.Text, managed: strings.Contains(p.ARN, "::aws:"), targets: []string{rootID}}
			if c.managed {
				c.targets = append(c.targets, slices.Sorted(maps.Keys(w.Accounts))...)
			}
			out[id] = c
		}
	}
	return out
}

func (c controlPolicy) summary() map[string]any {
	return map[string]any{"Id": c.id, "Arn": c.arn, "Name": c.name, "Description": "", "Type": controlPolicyType, "AwsManaged": c.managed}
}

func describeControlPolicy(k *call) (reply, error) {
	id := k.str("PolicyId")
	if c, ok := k.cloud.world.controlPolicies()[id]; ok {
		return reply{body: map[string]any{"Policy": map[string]any{"PolicySummary": c.summary(), "Content": c.text}}}, nil
	}
	p := k.policiesOf()[id]
	if p == nil {
		return reply{}, fail(400, "PolicyNotFoundException", "You specified a policy that doesn't exist.")
	}
	return reply{body: map[string]any{"Policy": map[string]any{"PolicySummary": policySummary(p), "Content": p.Attr["content"]}}}, nil
}

func listTargetsForPolicy(k *call) (reply, error) {
	size, err := k.integer("MaxResults", 20)
	if err != nil || size < 1 || size > 20 {
		return reply{}, fail(400, "InvalidInputException", "You specified an invalid value for MaxResults.")
	}
	c, ok := k.cloud.world.controlPolicies()[k.str("PolicyId")]
	if !ok && k.policiesOf()[k.str("PolicyId")] == nil {
		return reply{}, fail(400, "PolicyNotFoundException", "You specified a policy that doesn't exist.")
	}
	w, list := k.cloud.world, []any{}
	these, next := page(slices.Sorted(slices.Values(c.targets)), k.str("NextToken"), size)
	for _, id := range these {
		kind, arn, name := "ACCOUNT", "account", accountNames[id]
		if id == rootID {
			kind, arn, name = "ROOT", "root", "Root"
		}
		list = append(list, map[string]any{"TargetId": id, "Type": kind, "Name": name, "Arn": "arn:aws:organizations::" + w.Management + ":" + arn + "/" + w.Organization + "/" + id})
	}
	body := map[string]any{"Targets": list}
	if next != "" {
		body["NextToken"] = next
	}
	return reply{body: body}, nil
}

// Planted is something that a test puts into the world past its API: what somebody
// did long ago. One of its parts is given.
type Planted struct {
	Role   *PlantedRole   `json:"role,omitempty"`
	Bucket *PlantedBucket `json:"bucket,omitempty"`
	// ArchiveKey has the organisation's trail encrypt with the archive's key.
	ArchiveKey bool `json:"archive_key,omitempty"`
	// Careless is a bucket that from now on ignores the conditions of writes.
	Careless string `json:"careless,omitempty"`
	// Untagged takes the tags from a security group or key.
	Untagged *Untagged `json:"untagged,omitempty"`
	// SCPs replace the organisation's service control policies, beside the one that allows all.
	SCPs []json.RawMessage `json:"scps,omitempty"`
	// TapReader is the ARN of a role that reads the alert taps in place of the archive's reader.
	TapReader string `json:"tap_reader,omitempty"`
}

// PlantedRole is added to an account, or replaces its namesake.
type PlantedRole struct {
	Account string          `json:"account"`
	Path    string          `json:"path"`
	Name    string          `json:"name"`
	Trust   json.RawMessage `json:"trust"`
	// Policy is its inline policy. What the sandbox cannot evaluate grants nothing
	// here, and is shown as it is.
	Policy json.RawMessage `json:"policy"`
	// Policies are managed ones of its own, Boundary is another: those must be such as the
	// sandbox can evaluate.
	Policies []json.RawMessage `json:"policies,omitempty"`
	Boundary json.RawMessage   `json:"boundary,omitempty"`
}

// PlantedBucket sets a bucket's policy, if one is given, and the ARN of the key that it is
// encrypted with, "" = none.
type PlantedBucket struct {
	Name   string          `json:"name"`
	Policy json.RawMessage `json:"policy,omitempty"`
	Key    string          `json:"key,omitempty"`
}

// Plant puts it into the world.
func (c *Cloud) Plant(p Planted) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case p.Careless != "":
		return c.beCareless(p.Careless)
	case p.Untagged != nil:
		return c.untag(*p.Untagged)
	case len(p.SCPs) > 0:
		return c.plantSCPs(p.SCPs)
	case p.TapReader != "":
		for _, q := range c.world.Accounts[ArchiveAccount].Regions[alertRegion].Things[queues] {
			q.Attr["Policy"] = strings.ReplaceAll(q.text("Policy"), ReaderRole(), p.TapReader)
		}
		return nil
	case p.Role != nil && p.Bucket == nil:
		return c.plantRole(*p.Role)
	case p.Bucket != nil && p.Role == nil:
		b := c.world.Buckets[p.Bucket.Name]
		if b == nil {
			return fmt.Errorf("there is no bucket %q", p.Bucket.Name)
		}
		if b.Key = p.Bucket.Key; p.Bucket.Policy == nil {
			return nil
		}
		doc, err := policy.Parse(p.Bucket.Policy, policy.ForResource)
		if err != nil {
			return fmt.Errorf("bucket %s: %w", b.Name, err)
		}
		b.Policy, b.policy = string(p.Bucket.Policy), doc
		return nil
	}
	if p.ArchiveKey && p.Role == nil && p.Bucket == nil {
		c.world.Accounts[c.world.Management].Regions["us-east-1"].Trails[TrailName].Key = "arn:aws:kms:us-east-1:" + ArchiveAccount + ":key/" + keyID(ArchiveAccount, "us-east-1")
		return nil
	}
	return errors.New("want either a role, a bucket or the archive's key")
}

func (c *Cloud) plantSCPs(texts []json.RawMessage) error {
	level := c.world.SCPs[0][:1] // which allows all
	for i, text := range texts {
		doc, err := policy.Parse(text, policy.ForIdentity)
		if err != nil {
			return fmt.Errorf("service control policy %d: %w", i+1, err)
		}
		level = append(level, policy.Named{ARN: fmt.Sprintf("arn:aws:organizations::%s:policy/%s/service_control_policy/p-planted%d", ManagementAccount, Organization, i+1), Doc: doc})
	}
	c.world.SCPs = [][]policy.Named{level}
	return nil
}

func (c *Cloud) plantRole(p PlantedRole) error {
	a := c.world.Accounts[p.Account]
	if a == nil {
		return fmt.Errorf("there is no account %q", p.Account)
	}
	if !roleName.MatchString(p.Name) {
		return fmt.Errorf("%q is no name of a role", p.Name)
	}
	trust, err := policy.Parse(p.Trust, policy.ForTrust)
	if err != nil {
		return fmt.Errorf("trust policy of %s: %w", p.Name, err)
	}
	doc, err := policy.Parse(p.Policy, policy.ForIdentity)
	if err != nil {
		doc = policy.Document{Text: string(p.Policy)}
	}
	r := &Role{
		Name: p.Name, Path: cmp.Or(p.Path, "/"), ID: uniqueID("AROA", p.Account, p.Name, "planted"), Trust: string(p.Trust), trust: trust,
		Created: c.opts.Clock.Now().UTC(), MaxSession: time.Hour, Policies: []policy.Named{{Doc: doc}},
	}
	if len(p.Policies) > 0 {
		r.Policies = nil
	}
	own := func(name string, text json.RawMessage) (string, error) {
		arn := "arn:aws:iam::" + p.Account + ":policy" + r.Path + p.Name + "-" + name
		doc, err := policy.Parse(text, policy.ForIdentity)
		if err != nil {
			return "", fmt.Errorf("policy %s: %w", arn, err)
		}
		c.world.Managed[arn] = doc
		return arn, nil
	}
	for i, text := range p.Policies {
		arn, err := own(fmt.Sprint(i+1), text)
		if err != nil {
			return err
		}
		r.Attached = append(r.Attached, arn)
	}
	if p.Boundary != nil {
		if r.Boundary, err = own("boundary", p.Boundary); err != nil {
			return err
		}
	}
	a.Roles[p.Name] = r
	return nil
}
