package cloud

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

func iamService() service {
	return service{
		source: "iam.amazonaws.com", global: true, wire: query{"https://iam.amazonaws.com/doc/2010-05-08/"},
		seed: seedLockedRole, fixtures: lockedRoleFixture,
		ops: map[string]operation{
			"CreateRole":                    {needs: createRoleNeeds, do: createRole},
			"DeleteRole":                    {needs: onRole("iam:DeleteRole"), do: deleteRole},
			"AttachRolePolicy":              {needs: onRole("iam:AttachRolePolicy"), do: attachRolePolicy},
			"DetachRolePolicy":              {needs: onRole("iam:DetachRolePolicy"), do: detachRolePolicy},
			"PutRolePolicy":                 {needs: onRole("iam:PutRolePolicy"), do: putRolePolicy},
			"DeleteRolePolicy":              {needs: onRole("iam:DeleteRolePolicy"), do: deleteRolePolicy},
			"UpdateAssumeRolePolicy":        {needs: onRole("iam:UpdateAssumeRolePolicy"), do: updateAssumeRolePolicy},
			"PutRolePermissionsBoundary":    {needs: onRole("iam:PutRolePermissionsBoundary"), do: putRolePermissionsBoundary},
			"DeleteRolePermissionsBoundary": {needs: onRole("iam:DeleteRolePermissionsBoundary"), do: deleteRolePermissionsBoundary},
			"GetRole":                       {readOnly: true, needs: onRole("iam:GetRole"), do: getRole},
			"ListRoles":                     {readOnly: true, needs: listRolesNeeds, do: listRoles},
			"ListRoleTags":                  {readOnly: true, needs: onRole("iam:ListRoleTags"), do: listRoleTags},
			"ListAttachedRolePolicies":      {readOnly: true, needs: onRole("iam:ListAttachedRolePolicies"), do: listAttachedRolePolicies},
			"ListRolePolicies":              {readOnly: true, needs: onRole("iam:ListRolePolicies"), do: listRolePolicies},

			"GetAccountAuthorizationDetails": {readOnly: true, needs: anyOf("iam:GetAccountAuthorizationDetails"), do: accountAuthorizationDetails},

			"CreatePolicy":        {needs: iamPolicies.creates("iam:CreatePolicy", "iam:TagPolicy"), do: createPolicy},
			"DeletePolicy":        {needs: iamPolicies.on("iam:DeletePolicy"), do: deletePolicy},
			"CreatePolicyVersion": {needs: iamPolicies.on("iam:CreatePolicyVersion"), do: createPolicyVersion, params: withSetAsDefault},
			"DeletePolicyVersion": {needs: iamPolicies.on("iam:DeletePolicyVersion"), do: deletePolicyVersion},
			"ListPolicies":        {readOnly: true, needs: anyOf("iam:ListPolicies"), do: listPolicies},
			"ListPolicyTags":      {readOnly: true, needs: iamPolicies.on("iam:ListPolicyTags"), do: iamPolicies.listTags},
			"ListPolicyVersions":  {readOnly: true, needs: iamPolicies.on("iam:ListPolicyVersions"), do: listPolicyVersions},

			"CreateUser":      {needs: iamUsers.creates("iam:CreateUser", "iam:TagUser"), do: createUser},
			"DeleteUser":      {needs: iamUsers.on("iam:DeleteUser"), do: deleteUser},
			"ListUsers":       {readOnly: true, needs: anyOf("iam:ListUsers"), do: listUsers},
			"ListUserTags":    {readOnly: true, needs: iamUsers.on("iam:ListUserTags"), do: iamUsers.listTags},
			"CreateAccessKey": {needs: iamUsers.on("iam:CreateAccessKey"), do: createAccessKey},
			"UpdateAccessKey": {needs: iamUsers.on("iam:UpdateAccessKey"), do: updateAccessKey},
			"DeleteAccessKey": {needs: iamUsers.on("iam:DeleteAccessKey"), do: deleteAccessKey},
			"ListAccessKeys":  {readOnly: true, needs: iamUsers.on("iam:ListAccessKeys"), do: listAccessKeys},

			"CreateInstanceProfile":   {needs: iamProfiles.creates("iam:CreateInstanceProfile", "iam:TagInstanceProfile"), do: createInstanceProfile},
			"DeleteInstanceProfile":   {needs: iamProfiles.on("iam:DeleteInstanceProfile"), do: deleteInstanceProfile},
			"ListInstanceProfiles":    {readOnly: true, needs: anyOf("iam:ListInstanceProfiles"), do: listInstanceProfiles},
			"ListInstanceProfileTags": {readOnly: true, needs: iamProfiles.on("iam:ListInstanceProfileTags"), do: iamProfiles.listTags},

			"CreateOpenIDConnectProvider":   {needs: iamProviders.creates("iam:CreateOpenIDConnectProvider", "iam:TagOpenIDConnectProvider"), do: createProvider},
			"DeleteOpenIDConnectProvider":   {needs: iamProviders.on("iam:DeleteOpenIDConnectProvider"), do: deleteProvider},
			"ListOpenIDConnectProviders":    {readOnly: true, needs: anyOf("iam:ListOpenIDConnectProviders"), do: listProviders},
			"ListOpenIDConnectProviderTags": {readOnly: true, needs: iamProviders.on("iam:ListOpenIDConnectProviderTags"), do: iamProviders.listTags},
		},
	}
}

// lockedRole is the fixture whose boundary a service control policy protects. It
// trusts nobody and holds no right.
const lockedRole = "auditcanary-locked"

func seedLockedRole(w *Seed, account, region string) {
	if region != "us-east-1" {
		return
	}
	w.role(account, Role{
		Path: "/auditcanary/", Name: lockedRole, Boundary: denyAll, Tags: map[string]string{"auditcanary": "fixture"},
		Trust:   `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}`,
		Created: w.Accounts[account].Roles["auditcanary-injector"].Created,
	}, `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`)
}

func lockedRoleFixture(_, region string) map[string]string {
	if region != "*" {
		return nil
	}
	return map[string]string{"locked_role": lockedRole}
}

var (
	roleName   = regexp.MustCompile(`^[\w+=,.@-]{1,64}$`)
	policyName = regexp.MustCompile(`^[\w+=,.@-]{1,128}$`)
	rolePath   = regexp.MustCompile(`^/([\x21-\x7e]*/)?$`)
)

func (k *call) account() *Account { return k.cloud.world.Accounts[k.Principal.Account] }

// The actions on a role for which AWS provides the two condition keys; for the
// others a condition on them meets an absent key.
var (
	knowBoundary = []string{"iam:AttachRolePolicy", "iam:DetachRolePolicy", "iam:PutRolePolicy", "iam:DeleteRolePolicy",
		"iam:UpdateAssumeRolePolicy", "iam:DeleteRolePermissionsBoundary", "iam:DeleteRole", "iam:GetRole"}
	knowPolicyARN = []string{"iam:AttachRolePolicy", "iam:DetachRolePolicy"}
)

// onRole is the need of an operation on the role RoleName names.
func onRole(action string) func(*call) []need {
	return func(k *call) []need {
		name, ctx := k.str("RoleName"), policy.Context{}
		arn := "arn:aws:iam::" + k.Principal.Account + ":role/" + name
		if r := k.account().Roles[name]; r != nil {
			arn = r.ARN(k.Principal.Account)
			tagKeys(ctx, "aws:ResourceTag/", r.Tags)
			tagKeys(ctx, "iam:ResourceTag/", r.Tags)
			if r.Boundary != "" && slices.Contains(knowBoundary, action) {
				ctx["iam:permissionsboundary"] = []string{r.Boundary}
			}
		}
		if b := k.str("PermissionsBoundary"); b != "" && action == "iam:PutRolePermissionsBoundary" { // the one that is to be
			ctx["iam:permissionsboundary"] = []string{b}
		}
		if p := k.str("PolicyArn"); p != "" && slices.Contains(knowPolicyARN, action) {
			ctx["iam:policyarn"] = []string{p}
		}
		return []need{{action: action, resource: arn, shown: "role " + name, context: ctx}}
	}
}

func createRoleNeeds(k *call) []need {
	ctx := requestTags(policy.Context{}, tags(k.list("Tags")))
	if b := k.str("PermissionsBoundary"); b != "" {
		ctx["iam:permissionsboundary"] = []string{b}
	}
	path := cmp.Or(k.str("Path"), "/")
	arn := "arn:aws:iam::" + k.Principal.Account + ":role" + path + k.str("RoleName")
	out := []need{{action: "iam:CreateRole", resource: arn, shown: arn, context: ctx}}
	if len(k.list("Tags")) > 0 {
		out = append(out, need{action: "iam:TagRole", resource: arn, shown: arn, context: requestTags(policy.Context{}, tags(k.list("Tags")))})
	}
	return out
}

func (k *call) role() (*Role, error) {
	name := k.str("RoleName")
	r := k.account().Roles[name]
	if r == nil {
		return nil, fail(404, "NoSuchEntity", "The role with name %s cannot be found.", name)
	}
	return r, nil
}

func createRole(k *call) (reply, error) {
	r := &Role{
		Name: k.str("RoleName"), Path: cmp.Or(k.str("Path"), "/"), Description: k.str("Description"),
		Trust: k.str("AssumeRolePolicyDocument"), Boundary: k.str("PermissionsBoundary"),
		Tags: tags(k.list("Tags")), Created: k.Time,
		ID: "AROA" + randomText(17, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
	}
	if !roleName.MatchString(r.Name) || !rolePath.MatchString(r.Path) {
		return reply{}, fail(400, "ValidationError", "1 validation error detected: Value '%s%s' at 'roleName' failed to satisfy constraint", r.Path, r.Name)
	}
	seconds, err := k.integer("MaxSessionDuration", 3600)
	if err != nil {
		return reply{}, err
	}
	if r.MaxSession = time.Duration(seconds) * time.Second; r.MaxSession < time.Hour || r.MaxSession > 12*time.Hour {
		return reply{}, fail(400, "ValidationError", "1 validation error detected: Value '%d' at 'maxSessionDuration' failed to satisfy constraint", seconds)
	}
	if len(r.Tags) > 50 {
		return reply{}, fail(409, "LimitExceeded", "a role has at most 50 tags")
	}
	if r.trust, err = policy.Parse([]byte(r.Trust), policy.ForTrust); err != nil {
		return reply{}, fail(400, "MalformedPolicyDocument", "%v", err)
	}
	if _, err := k.boundary(); err != nil {
		return reply{}, err
	}
	if k.account().Roles[r.Name] != nil {
		return reply{}, fail(409, "EntityAlreadyExists", "Role with name %s already exists.", r.Name)
	}
	k.account().Roles[r.Name] = r

	role := map[string]any{
		"path": r.Path, "roleName": r.Name, "roleId": r.ID, "arn": r.ARN(k.Principal.Account),
		"createDate":               r.Created.Format("Jan 2, 2006 3:04:05 PM"),
		"assumeRolePolicyDocument": policy.Encode(r.Trust),
	}
	if r.Boundary != "" {
		role["permissionsBoundary"] = map[string]any{"permissionsBoundaryType": "Policy", "permissionsBoundaryArn": r.Boundary}
	}
	if list := k.list("Tags"); len(list) > 0 {
		role["tags"] = lowerNames(list)
	}
	return reply{body: []el{node("Role", r.element(k.Principal.Account, true)...)}, elements: map[string]any{"role": role}}, nil
}

// element is a role as IAM's replies hold it.
func (r *Role) element(account string, full bool) []el {
	kids := leaves(
		leaf("Path", r.Path), leaf("RoleName", r.Name), leaf("RoleId", r.ID), leaf("Arn", r.ARN(account)),
		leaf("CreateDate", r.Created.Format(time.RFC3339)), leaf("AssumeRolePolicyDocument", policy.Encode(r.Trust)),
		leaf("Description", r.Description), leaf("MaxSessionDuration", int(r.MaxSession.Seconds())),
	)
	if full && r.Boundary != "" {
		kids = append(kids, node("PermissionsBoundary", leaf("PermissionsBoundaryType", "PermissionsBoundaryPolicy"), leaf("PermissionsBoundaryArn", r.Boundary)))
	}
	if full && len(r.Tags) > 0 {
		kids = append(kids, tagElements(r.Tags))
	}
	return kids
}

func tagElements(tags map[string]string) el {
	var members []el
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		members = append(members, node("member", leaf("Key", key), leaf("Value", tags[key])))
	}
	return node("Tags", members...)
}

func deleteRole(k *call) (reply, error) {
	r, err := k.role()
	if err != nil {
		return reply{}, err
	}
	if len(r.Attached) > 0 {
		return reply{}, fail(409, "DeleteConflict", "Cannot delete entity, must detach all policies first.")
	}
	if len(r.Policies)+len(r.Inline) > 0 {
		return reply{}, fail(409, "DeleteConflict", "Cannot delete entity, must delete policies first.")
	}
	delete(k.account().Roles, r.Name)
	return reply{}, nil
}

func attachRolePolicy(k *call) (reply, error) {
	r, err := k.role()
	if err != nil {
		return reply{}, err
	}
	arn := k.str("PolicyArn")
	if _, ok := k.cloud.world.Managed[arn]; !ok {
		return reply{}, fail(404, "NoSuchEntity", "Policy %s does not exist or is not attachable.", arn)
	}
	if !slices.Contains(r.Attached, arn) { // attaching twice is a success, as at AWS
		r.Attached = append(r.Attached, arn)
	}
	return reply{}, nil
}

func detachRolePolicy(k *call) (reply, error) {
	r, err := k.role()
	if err != nil {
		return reply{}, err
	}
	arn := k.str("PolicyArn")
	i := slices.Index(r.Attached, arn)
	if i < 0 {
		return reply{}, fail(404, "NoSuchEntity", "Policy %s was not found.", arn)
	}
	r.Attached = slices.Delete(r.Attached, i, i+1)
	return reply{}, nil
}

func putRolePolicy(k *call) (reply, error) {
	r, err := k.role()
	if err != nil {
		return reply{}, err
	}
	doc, err := policy.Parse([]byte(k.str("PolicyDocument")), policy.ForIdentity)
	if err != nil {
		return reply{}, fail(400, "MalformedPolicyDocument", "%v", err)
	}
	name := k.str("PolicyName")
	if !policyName.MatchString(name) {
		return reply{}, fail(400, "ValidationError", "1 validation error detected: Value '%s' at 'policyName' failed to satisfy constraint", name)
	}
	if r.Inline == nil {
		r.Inline = map[string]policy.Document{}
	}
	r.Inline[name] = doc // putting twice replaces
	return reply{}, nil
}

func deleteRolePolicy(k *call) (reply, error) {
	r, err := k.role()
	if err != nil {
		return reply{}, err
	}
	name := k.str("PolicyName")
	if _, there := r.Inline[name]; !there {
		return reply{}, fail(404, "NoSuchEntity", "The role policy with name %s cannot be found.", name)
	}
	delete(r.Inline, name)
	return reply{}, nil
}

func updateAssumeRolePolicy(k *call) (reply, error) {
	r, err := k.role()
	if err != nil {
		return reply{}, err
	}
	text := k.str("PolicyDocument")
	doc, err := policy.Parse([]byte(text), policy.ForTrust)
	if err != nil {
		return reply{}, fail(400, "MalformedPolicyDocument", "%v", err)
	}
	r.Trust, r.trust = text, doc
	return reply{}, nil
}

func putRolePermissionsBoundary(k *call) (reply, error) {
	r, err := k.role()
	if err != nil {
		return reply{}, err
	}
	if r.Boundary, err = k.boundary(); err != nil {
		return reply{}, err
	}
	return reply{}, nil
}

// deleteRolePermissionsBoundary: that a role without one answers NoSuchEntity is
// inferred; the API reference lists the code without saying when.
func deleteRolePermissionsBoundary(k *call) (reply, error) {
	r, err := k.role()
	if err != nil {
		return reply{}, err
	}
	if r.Boundary == "" {
		return reply{}, fail(404, "NoSuchEntity", "Role %s does not have a permissions boundary.", r.Name)
	}
	r.Boundary = ""
	return reply{}, nil
}

// boundary is the managed policy that a request names as a boundary.
func (k *call) boundary() (string, error) {
	arn := k.str("PermissionsBoundary")
	if _, ok := k.cloud.world.Managed[arn]; arn != "" && !ok {
		return "", fail(404, "NoSuchEntity", "Scope ARN: %s does not exist or is not attachable.", arn)
	}
	return arn, nil
}

func getRole(k *call) (reply, error) {
	r, err := k.role()
	if err != nil {
		return reply{}, err
	}
	return reply{body: []el{node("Role", r.element(k.Principal.Account, true)...)}}, nil
}

func listRolesNeeds(k *call) []need {
	return []need{{action: "iam:ListRoles", resource: "arn:aws:iam::" + k.Principal.Account + ":role" + cmp.Or(k.str("PathPrefix"), "/")}}
}

func listRoles(k *call) (reply, error) {
	prefix := cmp.Or(k.str("PathPrefix"), "/")
	var members []el
	roles := k.account().Roles
	for _, name := range slices.Sorted(maps.Keys(roles)) {
		if strings.HasPrefix(roles[name].Path, prefix) {
			members = append(members, node("member", roles[name].element(k.Principal.Account, false)...))
		}
	}
	return k.page("Roles", members)
}

func listRoleTags(k *call) (reply, error) {
	r, err := k.role()
	if err != nil {
		return reply{}, err
	}
	return k.page("Tags", tagElements(r.Tags).kids)
}

func listAttachedRolePolicies(k *call) (reply, error) {
	r, err := k.role()
	if err != nil {
		return reply{}, err
	}
	var members []el
	for _, arn := range r.Attached {
		members = append(members, node("member", leaf("PolicyName", arn[strings.LastIndexByte(arn, '/')+1:]), leaf("PolicyArn", arn)))
	}
	return k.page("AttachedPolicies", members)
}

func listRolePolicies(k *call) (reply, error) {
	r, err := k.role()
	if err != nil {
		return reply{}, err
	}
	var members []el
	for i := range r.Policies {
		members = append(members, leaf("member", fmt.Sprintf("inline-%d", i+1)))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Inline)) {
		members = append(members, leaf("member", name))
	}
	return k.page("PolicyNames", members)
}

// page answers a listing with IAM's paging: MaxItems, Marker, IsTruncated.
func (k *call) page(name string, members []el) (reply, error) {
	size, err := k.integer("MaxItems", 100)
	if err != nil || size < 1 || size > 1000 {
		return reply{}, fail(400, "ValidationError", "1 validation error detected: Value '%d' at 'maxItems' failed to satisfy constraint", size)
	}
	from := 0
	if m := k.str("Marker"); m != "" {
		if _, err := fmt.Sscanf(m, "marker-%d", &from); err != nil || from < 0 || from > len(members) {
			return reply{}, fail(400, "ValidationError", "Invalid Marker.")
		}
	}
	to := min(from+size, len(members))
	body := []el{node(name, members[from:to]...), leaf("IsTruncated", to < len(members))}
	if to < len(members) {
		body = append(body, leaf("Marker", fmt.Sprintf("marker-%d", to)))
	}
	return reply{body: body}, nil
}
