package cloud

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

// iamThing is a kind of IAM's things beside roles: managed policies, users,
// instance profiles, OIDC providers. They are Things of the account's home region.
type iamThing struct {
	kind string // of the Thing
	// resource is the part of the ARN before path and name.
	resource string
	// param names an existing thing: its name, or its ARN, which is its id then.
	param string
	// shown is what stands before the name in messages.
	shown string
	// idPrefix of the unique id.
	idPrefix string
	// name is the parameter that names a new one, in this form.
	name string
	form *regexp.Regexp
	// absent is the message that there is none.
	absent string
}

var (
	iamPolicies  = iamThing{"iam policy", "policy", "PolicyArn", "policy ", "ANPA", "PolicyName", policyName, "Policy %s was not found."}
	iamUsers     = iamThing{"iam user", "user", "UserName", "user ", "AIDA", "UserName", roleName, "The user with name %s cannot be found."}
	iamProfiles  = iamThing{"iam instance profile", "instance-profile", "InstanceProfileName", "instance profile ", "AIPA", "InstanceProfileName", policyName, "Instance Profile %s cannot be found."}
	iamProviders = iamThing{"iam oidc provider", "oidc-provider", "OpenIDConnectProviderArn", "", "", "Url", regexp.MustCompile(`^https://[a-z0-9.-]+(/[\x21-\x7e]*)?$`), "OpenIDConnect Provider not found for arn %s"}
)

const accessKeyKind = "iam access key"

// home is the region that keeps what an account has once.
func (k *call) home() *Region { return k.account().Regions["us-east-1"] }

func (k *call) iamARN(resource string) string {
	return "arn:aws:iam::" + k.Principal.Account + ":" + resource
}

// on is the need of an operation on an existing thing. IAM lets tags restrict
// access to all of them (API reference: TagPolicy, TagUser, ...).
func (x iamThing) on(action string) func(*call) []need {
	return func(k *call) []need {
		id, ctx := k.str(x.param), policy.Context{}
		arn := id
		if !strings.HasPrefix(id, "arn:") {
			arn = k.iamARN(x.resource + "/" + id)
		}
		if t := k.home().Things[x.kind][id]; t != nil {
			arn = t.ARN
			tagKeys(ctx, "aws:ResourceTag/", t.Tags)
			tagKeys(ctx, "iam:ResourceTag/", t.Tags)
		}
		return []need{{action: action, resource: arn, shown: x.shown + id, context: ctx}}
	}
}

// creates is the need of an operation that makes a thing, and tags it.
func (x iamThing) creates(create, tag string) func(*call) []need {
	return func(k *call) []need {
		given := tags(k.list("Tags"))
		ctx := requestTags(policy.Context{}, given)
		if b := k.str("PermissionsBoundary"); b != "" && create == "iam:CreateUser" {
			ctx["iam:permissionsboundary"] = []string{b}
		}
		arn := x.newARN(k)
		out := []need{{action: create, resource: arn, shown: arn, context: ctx}}
		if len(given) > 0 {
			out = append(out, need{action: tag, resource: arn, shown: arn, context: requestTags(policy.Context{}, given)})
		}
		return out
	}
}

// newARN of what a request would make.
func (x iamThing) newARN(k *call) string {
	name := k.str(x.name)
	if host, ok := strings.CutPrefix(name, "https://"); ok {
		return k.iamARN(x.resource + "/" + host)
	}
	return k.iamARN(x.resource + cmp.Or(k.str("Path"), "/") + name)
}

// create checks a request and makes the thing.
func (x iamThing) create(k *call) (*Thing, error) {
	name, path, given := k.str(x.name), cmp.Or(k.str("Path"), "/"), tags(k.list("Tags"))
	if !x.form.MatchString(name) || !rolePath.MatchString(path) {
		return nil, fail(400, "ValidationError", "1 validation error detected: Value '%s%s' at '%s' failed to satisfy constraint", path, name, lowerFirst(x.name))
	}
	if len(given) > 50 {
		return nil, fail(409, "LimitExceeded", "a resource has at most 50 tags")
	}
	t := &Thing{ID: name, ARN: x.newARN(k), Tags: given, Attr: map[string]any{
		"name": name, "path": path, "created": k.Time.Format(time.RFC3339),
	}}
	if x.idPrefix != "" {
		t.Attr["id"] = x.idPrefix + randomText(17, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
	}
	if strings.HasSuffix(x.param, "Arn") {
		t.ID = t.ARN
	}
	if k.home().Things[x.kind][t.ID] != nil {
		return nil, fail(409, "EntityAlreadyExists", "%s%s already exists.", x.shown, name)
	}
	k.home().Put(x.kind, t)
	return t, nil
}

// thing is the existing one that a request names.
func (x iamThing) thing(k *call) (*Thing, error) {
	id := k.str(x.param)
	if t := k.home().Things[x.kind][id]; t != nil {
		return t, nil
	}
	return nil, fail(404, "NoSuchEntity", x.absent, id)
}

// list answers with those below the path that was asked for.
func (x iamThing) list(k *call, name string, show func(*Thing) el) (reply, error) {
	var members []el
	all := k.home().Things[x.kind]
	for _, id := range slices.Sorted(maps.Keys(all)) {
		if strings.HasPrefix(all[id].text("path"), cmp.Or(k.str("PathPrefix"), "/")) {
			members = append(members, show(all[id]))
		}
	}
	return k.page(name, members)
}

func (x iamThing) listTags(k *call) (reply, error) {
	t, err := x.thing(k)
	if err != nil {
		return reply{}, err
	}
	return k.page("Tags", tagElements(t.Tags).kids)
}

// text is a member of the state.
func (t *Thing) text(name string) string { s, _ := t.Attr[name].(string); return s }

// recordedDate is a date as IAM's records have it; dates of replies are RFC 3339.
func recordedDate(s string) string {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return s
	}
	return t.Format("Jan 2, 2006 3:04:05 PM")
}

// sentTags adds the tags of a request to a record's member, if there are any.
func sentTags(k *call, to map[string]any) map[string]any {
	if list := k.list("Tags"); len(list) > 0 {
		to["tags"] = lowerNames(list)
	}
	return to
}

// withTags adds a thing's tags to its element.
func withTags(t *Thing, kids []el) []el {
	if len(t.Tags) > 0 {
		kids = append(kids, tagElements(t.Tags))
	}
	return kids
}

// Managed policies. A customer's are in the world's Managed like AWS's own, so
// that they can be attached and count.

func createPolicy(k *call) (reply, error) {
	doc, err := policy.Parse([]byte(k.str("PolicyDocument")), policy.ForIdentity)
	if err != nil {
		return reply{}, fail(400, "MalformedPolicyDocument", "%v", err)
	}
	t, err := iamPolicies.create(k)
	if err != nil {
		return reply{}, err
	}
	t.Attr["versions"], t.Attr["default"], t.Attr["latest"] = map[string]any{"v1": k.str("PolicyDocument")}, "v1", 1
	k.cloud.world.Managed[t.ARN] = doc
	// The shape is that of a record of October 2021 in a public repository.
	return reply{body: []el{node("Policy", withTags(t, k.policyElement(t))...)}, elements: map[string]any{"policy": sentTags(k, map[string]any{
		"policyName": t.text("name"), "policyId": t.text("id"), "arn": t.ARN, "path": t.text("path"), "defaultVersionId": "v1",
		"attachmentCount": 0, "permissionsBoundaryUsageCount": 0, "isAttachable": true,
		"createDate": recordedDate(t.text("created")), "updateDate": recordedDate(t.text("created")),
	})}}, nil
}

func (k *call) policyElement(t *Thing) []el {
	attached, bounds := k.uses(t.ARN)
	return []el{
		leaf("PolicyName", t.text("name")), leaf("PolicyId", t.text("id")), leaf("Arn", t.ARN), leaf("Path", t.text("path")),
		leaf("DefaultVersionId", t.text("default")), leaf("AttachmentCount", attached), leaf("PermissionsBoundaryUsageCount", bounds),
		leaf("IsAttachable", true), leaf("CreateDate", t.text("created")), leaf("UpdateDate", t.text("created")),
	}
}

// uses counts the roles and users that a policy is attached to, and bounds.
func (k *call) uses(arn string) (attached, bounds int) {
	for _, r := range k.account().Roles {
		if slices.Contains(r.Attached, arn) {
			attached++
		}
		if r.Boundary == arn {
			bounds++
		}
	}
	for _, u := range k.home().Things[iamUsers.kind] {
		if u.text("boundary") == arn {
			bounds++
		}
	}
	return attached, bounds
}

// versions of a policy, by id.
func (t *Thing) versions() map[string]any { v, _ := t.Attr["versions"].(map[string]any); return v }

func deletePolicy(k *call) (reply, error) {
	t, err := iamPolicies.thing(k)
	if err != nil {
		return reply{}, err
	}
	if attached, bounds := k.uses(t.ARN); attached+bounds > 0 {
		return reply{}, fail(409, "DeleteConflict", "Cannot delete a policy attached to entities.")
	}
	if len(t.versions()) > 1 {
		return reply{}, fail(409, "DeleteConflict", "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.")
	}
	delete(k.home().Things[iamPolicies.kind], t.ID)
	delete(k.cloud.world.Managed, t.ARN)
	return reply{}, nil
}

func createPolicyVersion(k *call) (reply, error) {
	t, err := iamPolicies.thing(k)
	if err != nil {
		return reply{}, err
	}
	doc, err := policy.Parse([]byte(k.str("PolicyDocument")), policy.ForIdentity)
	if err != nil {
		return reply{}, fail(400, "MalformedPolicyDocument", "%v", err)
	}
	if len(t.versions()) >= 5 {
		return reply{}, fail(409, "LimitExceeded", "A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing version.")
	}
	latest, _ := t.Attr["latest"].(int)
	id, isDefault := fmt.Sprintf("v%d", latest+1), k.str("SetAsDefault") == "true"
	t.versions()[id], t.Attr["latest"] = k.str("PolicyDocument"), latest+1
	if isDefault {
		t.Attr["default"], k.cloud.world.Managed[t.ARN] = id, doc
	}
	now := k.Time.Format(time.RFC3339)
	return reply{
		body:     []el{node("PolicyVersion", leaf("VersionId", id), leaf("IsDefaultVersion", isDefault), leaf("CreateDate", now))},
		elements: map[string]any{"policyVersion": map[string]any{"versionId": id, "isDefaultVersion": isDefault, "createDate": recordedDate(now)}},
	}, nil
}

// withSetAsDefault records the one truth value among IAM's parameters as what it is.
func withSetAsDefault(k *call) any {
	out, _ := lowerNames(k.Params).(map[string]any)
	if b, err := strconv.ParseBool(k.str("SetAsDefault")); err == nil {
		out["setAsDefault"] = b
	}
	return out
}

func deletePolicyVersion(k *call) (reply, error) {
	t, err := iamPolicies.thing(k)
	if err != nil {
		return reply{}, err
	}
	id := k.str("VersionId")
	switch _, there := t.versions()[id]; {
	case !there:
		return reply{}, fail(404, "NoSuchEntity", "Policy %s version %s does not exist or is not attachable.", t.ARN, id)
	case id == t.text("default"):
		return reply{}, fail(409, "DeleteConflict", "Cannot delete the default version of a policy.")
	}
	delete(t.versions(), id)
	return reply{}, nil
}

func listPolicies(k *call) (reply, error) {
	if scope := cmp.Or(k.str("Scope"), "All"); scope != "Local" {
		return reply{}, fail(501, "NotImplemented", "the sandbox lists policies of scope Local only, not %s", scope)
	}
	return iamPolicies.list(k, "Policies", func(t *Thing) el { return node("member", k.policyElement(t)...) })
}

func listPolicyVersions(k *call) (reply, error) {
	t, err := iamPolicies.thing(k)
	if err != nil {
		return reply{}, err
	}
	var members []el
	for _, id := range slices.Sorted(maps.Keys(t.versions())) {
		members = append(members, node("member", leaf("VersionId", id), leaf("IsDefaultVersion", id == t.text("default")), leaf("CreateDate", t.text("created"))))
	}
	return k.page("Versions", members)
}

// Users, beside those of the world that sign requests. The keys of these open
// nothing here: their secret is forgotten as soon as it is answered.

func createUser(k *call) (reply, error) {
	bound, err := k.boundary()
	if err != nil {
		return reply{}, err
	}
	if k.account().Users[k.str("UserName")] != nil {
		return reply{}, fail(409, "EntityAlreadyExists", "User with name %s already exists.", k.str("UserName"))
	}
	t, err := iamUsers.create(k)
	if err != nil {
		return reply{}, err
	}
	t.Attr["boundary"] = bound
	user := sentTags(k, map[string]any{
		"path": t.text("path"), "userName": t.ID, "userId": t.text("id"), "arn": t.ARN, "createDate": recordedDate(t.text("created")),
	})
	if bound != "" {
		user["permissionsBoundary"] = map[string]any{"permissionsBoundaryType": "Policy", "permissionsBoundaryArn": bound}
	}
	return reply{body: []el{node("User", withTags(t, userElement(t))...)}, elements: map[string]any{"user": user}}, nil
}

func userElement(t *Thing) []el {
	kids := []el{leaf("Path", t.text("path")), leaf("UserName", t.ID), leaf("UserId", t.text("id")), leaf("Arn", t.ARN), leaf("CreateDate", t.text("created"))}
	if b := t.text("boundary"); b != "" {
		kids = append(kids, node("PermissionsBoundary", leaf("PermissionsBoundaryType", "PermissionsBoundaryPolicy"), leaf("PermissionsBoundaryArn", b)))
	}
	return kids
}

func deleteUser(k *call) (reply, error) {
	t, err := iamUsers.thing(k)
	if err != nil {
		return reply{}, err
	}
	if len(k.keysOf(t.ID)) > 0 {
		return reply{}, fail(409, "DeleteConflict", "Cannot delete entity, must delete access keys first.")
	}
	delete(k.home().Things[iamUsers.kind], t.ID)
	return reply{}, nil
}

func listUsers(k *call) (reply, error) {
	return iamUsers.list(k, "Users", func(t *Thing) el { return node("member", userElement(t)...) })
}

// keysOf are the ids of a user's access keys, sorted.
func (k *call) keysOf(user string) []string {
	var ids []string
	for id, t := range k.home().Things[accessKeyKind] {
		if t.text("user") == user {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func createAccessKey(k *call) (reply, error) {
	u, err := iamUsers.thing(k)
	if err != nil {
		return reply{}, err
	}
	if len(k.keysOf(u.ID)) >= 2 {
		return reply{}, fail(409, "LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: 2")
	}
	t := &Thing{ID: "AKIA" + randomText(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
		Attr: map[string]any{"user": u.ID, "status": "Active", "created": k.Time.Format(time.RFC3339)}}
	k.home().Put(accessKeyKind, t)
	secret := randomText(40, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
	return reply{
		body: []el{node("AccessKey", append(accessKeyElement(t), leaf("SecretAccessKey", secret))...)},
		// Never the secret.
		elements: map[string]any{"accessKey": map[string]any{
			"userName": u.ID, "accessKeyId": t.ID, "status": "Active", "createDate": recordedDate(t.text("created")),
		}},
	}, nil
}

func accessKeyElement(t *Thing) []el {
	return []el{leaf("UserName", t.text("user")), leaf("AccessKeyId", t.ID), leaf("Status", t.text("status")), leaf("CreateDate", t.text("created"))}
}

// key is the access key that a request names, of the user that it names.
func (k *call) accessKey() (*Thing, error) {
	u, err := iamUsers.thing(k)
	if err != nil {
		return nil, err
	}
	id := k.str("AccessKeyId")
	if !slices.Contains(k.keysOf(u.ID), id) {
		return nil, fail(404, "NoSuchEntity", "The Access Key with id %s cannot be found.", id)
	}
	return k.home().Things[accessKeyKind][id], nil
}

func updateAccessKey(k *call) (reply, error) {
	t, err := k.accessKey()
	if err != nil {
		return reply{}, err
	}
	status := k.str("Status")
	if status != "Active" && status != "Inactive" {
		return reply{}, fail(400, "ValidationError", "1 validation error detected: Value '%s' at 'status' failed to satisfy constraint", status)
	}
	t.Attr["status"] = status
	return reply{}, nil
}

func deleteAccessKey(k *call) (reply, error) {
	t, err := k.accessKey()
	if err != nil {
		return reply{}, err
	}
	delete(k.home().Things[accessKeyKind], t.ID)
	return reply{}, nil
}

func listAccessKeys(k *call) (reply, error) {
	u, err := iamUsers.thing(k)
	if err != nil {
		return reply{}, err
	}
	var members []el
	for _, id := range k.keysOf(u.ID) {
		members = append(members, node("member", accessKeyElement(k.home().Things[accessKeyKind][id])...))
	}
	return k.page("AccessKeyMetadata", members)
}

// Instance profiles. The members of the record's instanceProfile are inferred
// from the reply, as IAM's other records are made.

func createInstanceProfile(k *call) (reply, error) {
	t, err := iamProfiles.create(k)
	if err != nil {
		return reply{}, err
	}
	return reply{body: []el{node("InstanceProfile", withTags(t, profileElement(t))...)}, elements: map[string]any{"instanceProfile": sentTags(k, map[string]any{
		"path": t.text("path"), "instanceProfileName": t.ID, "instanceProfileId": t.text("id"), "arn": t.ARN,
		"createDate": recordedDate(t.text("created")), "roles": []any{},
	})}}, nil
}

func profileElement(t *Thing) []el {
	return []el{leaf("Path", t.text("path")), leaf("InstanceProfileName", t.ID), leaf("InstanceProfileId", t.text("id")),
		leaf("Arn", t.ARN), leaf("CreateDate", t.text("created")), node("Roles")}
}

func deleteInstanceProfile(k *call) (reply, error) {
	t, err := iamProfiles.thing(k)
	if err != nil {
		return reply{}, err
	}
	delete(k.home().Things[iamProfiles.kind], t.ID)
	return reply{}, nil
}

func listInstanceProfiles(k *call) (reply, error) {
	return iamProfiles.list(k, "InstanceProfiles", func(t *Thing) el { return node("member", profileElement(t)...) })
}

// OIDC providers. The names in the record (openIDConnectProviderArn, clientIDList)
// are inferred from the API's, as all of IAM's are.

func createProvider(k *call) (reply, error) {
	for _, print := range k.list("ThumbprintList") {
		if s, _ := print.(string); len(s) != 40 {
			return reply{}, fail(400, "ValidationError", "1 validation error detected: Value '%s' at 'thumbprintList' failed to satisfy constraint", s)
		}
	}
	if len(k.list("ThumbprintList")) == 0 { // IAM would ask the host for its certificate
		return reply{}, fail(400, "OpenIdIdpCommunicationError", "the sandbox asks no host: give the thumbprint list")
	}
	t, err := iamProviders.create(k)
	if err != nil {
		return reply{}, err
	}
	t.Attr["clients"], t.Attr["thumbprints"] = k.list("ClientIDList"), k.list("ThumbprintList")
	return reply{
		body:     withTags(t, []el{leaf("OpenIDConnectProviderArn", t.ARN)}),
		elements: sentTags(k, map[string]any{"openIDConnectProviderArn": t.ARN}),
	}, nil
}

// deleteProvider succeeds where there is none (API reference).
func deleteProvider(k *call) (reply, error) {
	delete(k.home().Things[iamProviders.kind], k.str("OpenIDConnectProviderArn"))
	return reply{}, nil
}

func listProviders(k *call) (reply, error) {
	var members []el
	for _, arn := range slices.Sorted(maps.Keys(k.home().Things[iamProviders.kind])) {
		members = append(members, node("member", leaf("Arn", arn)))
	}
	return reply{body: []el{node("OpenIDConnectProviderList", members...)}}, nil
}
