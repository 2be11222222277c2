package cloud

import (
	"cmp"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

// Records are as the two that DataDog/stratus-red-team publishes (CreateAccessEntry,
// AssociateAccessPolicy; cut samples): the cluster is "name", and what stands in
// the path is recorded as it stood there, percent-encoded. The rest of the reply in
// responseElements follows the API.
func eksService() service {
	return service{
		source: "eks.amazonaws.com", wire: eksWire, seed: seedCluster, fixtures: clusterFixtures,
		ops: map[string]operation{
			"CreateAccessEntry":   {needs: createAccessEntryNeeds, do: createAccessEntry, params: accessEntryParams},
			"DeleteAccessEntry":   {needs: onAccessEntry("eks:DeleteAccessEntry"), do: deleteAccessEntry, params: accessEntryParams},
			"DescribeAccessEntry": {readOnly: true, needs: onAccessEntry("eks:DescribeAccessEntry"), do: describeAccessEntry, params: accessEntryParams},
			"DescribeCluster":     {readOnly: true, needs: onCluster("eks:DescribeCluster"), do: describeCluster},
			"ListAccessEntries":   {readOnly: true, needs: onCluster("eks:ListAccessEntries"), do: listAccessEntries},
		},
	}
}

var eksWire = restJSON{routes: []jsonRoute{
	{"POST", "/clusters/{name}/access-entries", "CreateAccessEntry"},
	{"GET", "/clusters/{name}/access-entries", "ListAccessEntries"},
	{"GET", "/clusters/{name}", "DescribeCluster"},
	{"GET", "/clusters/{name}/access-entries/{principalArn}", "DescribeAccessEntry"},
	{"DELETE", "/clusters/{name}/access-entries/{principalArn}", "DeleteAccessEntry"},
}}

const (
	clusters      = "eks cluster"
	accessEntries = "eks access entry"

	fixtureCluster = "auditcanary-fixture"
	nobodyRole     = "auditcanary-nobody"
)

// seedCluster: a cluster whose access is managed by entries, and the role that
// nobody can assume and that may do nothing.
func seedCluster(w *Seed, account, region string) {
	a := w.Accounts[account]
	fixture := map[string]string{"auditcanary": "fixture"}
	a.Regions[region].Put(clusters, &Thing{ID: fixtureCluster, ARN: "arn:aws:eks:" + region + ":" + account + ":cluster/" + fixtureCluster, Tags: fixture})
	if a.Roles[nobodyRole] == nil {
		w.role(account, Role{
			Path: "/", Name: nobodyRole, Created: a.Roles["auditcanary-injector"].Created, Tags: fixture,
			Trust: `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}`,
		}, `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`)
	}
}

func clusterFixtures(_, region string) map[string]string {
	if region == "*" {
		return map[string]string{"eks_principal": nobodyRole}
	}
	return map[string]string{"eks_cluster": fixtureCluster}
}

func (k *call) clusterARN() string {
	return "arn:aws:eks:" + k.Region + ":" + k.Principal.Account + ":cluster/" + k.str("name")
}

// accessEntry finds the entry of the request's cluster and principal.
func (k *call) accessEntry() *Thing {
	return k.region().Things[accessEntries][k.str("name")+" "+k.str("principalArn")]
}

// accessEntryARN: cluster, kind, account and name of the principal, and, once
// there is one, the entry's own id.
func (k *call) accessEntryARN(id string) string {
	parts := strings.SplitN(k.str("principalArn"), ":", 6)
	account, kind, name := "", "", ""
	if len(parts) == 6 {
		account = parts[4]
		kind, _, _ = strings.Cut(parts[5], "/")
		name = parts[5][strings.LastIndexByte(parts[5], '/')+1:]
	}
	return "arn:aws:eks:" + k.Region + ":" + k.Principal.Account + ":access-entry/" + k.str("name") + "/" + kind + "/" + account + "/" + name + "/" + id
}

func onCluster(action string) func(*call) []need {
	return func(k *call) []need {
		ctx := policy.Context{}
		if c := k.region().Things[clusters][k.str("name")]; c != nil {
			tagKeys(ctx, "aws:ResourceTag/", c.Tags)
		}
		return []need{{action: action, resource: k.clusterARN(), context: ctx}}
	}
}

func createAccessEntryNeeds(k *call) []need {
	given := mapTags(k.Params["tags"])
	n := onCluster("eks:CreateAccessEntry")(k)[0]
	requestTags(n.context, given)
	n.context["eks:principalarn"] = []string{k.str("principalArn")}
	n.context["eks:accessentrytype"] = []string{cmp.Or(k.str("type"), "STANDARD")}
	if groups := k.texts("kubernetesGroups"); len(groups) > 0 {
		n.context["eks:kubernetesgroups"] = groups
	}
	if user := k.str("username"); user != "" {
		n.context["eks:username"] = []string{user}
	}
	out := []need{n}
	if len(given) > 0 {
		out = append(out, need{action: "eks:TagResource", resource: k.accessEntryARN("*"), context: requestTags(policy.Context{}, given)})
	}
	return out
}

func onAccessEntry(action string) func(*call) []need {
	return func(k *call) []need {
		arn, ctx := k.accessEntryARN("*"), policy.Context{}
		if e := k.accessEntry(); e != nil {
			arn = e.ARN
			tagKeys(ctx, "aws:ResourceTag/", e.Tags)
			ctx["eks:principalarn"] = []string{k.str("principalArn")}
			ctx["eks:accessentrytype"] = []string{e.Attr["type"].(string)}
			ctx["eks:clustername"] = []string{k.str("name")}
		}
		return []need{{action: action, resource: arn, context: ctx}}
	}
}

// texts returns the strings of the list parameter name.
func (k *call) texts(name string) (out []string) {
	for _, v := range k.list(name) {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// accessEntryParams are the parameters as the service records them: names as sent,
// and a principal out of the path with its encoding.
func accessEntryParams(k *call) any {
	p := maps.Clone(k.Params)
	if k.op.readOnly || k.HTTP.Method == "DELETE" {
		p["principalArn"] = url.QueryEscape(k.str("principalArn"))
	}
	return p
}

func (k *call) knownCluster() error {
	if k.region().Things[clusters][k.str("name")] == nil {
		return fail(404, "ResourceNotFoundException", "No cluster found for name: %s.", k.str("name"))
	}
	return nil
}

func createAccessEntry(k *call) (reply, error) {
	if err := k.knownCluster(); err != nil {
		return reply{}, err
	}
	principal, kind := k.str("principalArn"), cmp.Or(k.str("type"), "STANDARD")
	role := principal[strings.LastIndexByte(principal, '/')+1:]
	known := k.account().Roles[role]
	switch {
	case known == nil || known.ARN(k.Principal.Account) != principal:
		return reply{}, fail(400, "InvalidParameterException", "The specified principalArn is invalid: invalid principal.")
	case !slices.Contains([]string{"STANDARD", "EC2", "EC2_LINUX", "EC2_WINDOWS", "FARGATE_LINUX", "HYBRID_LINUX", "HYPERPOD_LINUX"}, kind):
		return reply{}, fail(400, "InvalidParameterException", "The specified type is invalid: %s", kind)
	case slices.ContainsFunc(k.texts("kubernetesGroups"), func(g string) bool { return strings.HasPrefix(g, "system:") }):
		return reply{}, fail(400, "InvalidParameterException", "The kubernetes group name is invalid, it cannot start with system:")
	case k.accessEntry() != nil:
		return reply{}, fail(409, "ResourceInUseException", "The specified access entry resource is already in use on this cluster.")
	}
	user := cmp.Or(k.str("username"), "arn:aws:sts::"+k.Principal.Account+":assumed-role/"+role+"/{{SessionName}}")
	e := &Thing{
		ID: k.str("name") + " " + principal, ARN: k.accessEntryARN(newUUID()), Tags: mapTags(k.Params["tags"]),
		Attr: map[string]any{"type": kind, "groups": k.list("kubernetesGroups"), "username": user, "created": k.Time.Unix()},
	}
	k.region().Put(accessEntries, e)
	body := map[string]any{"accessEntry": k.entryBody(e)}
	return reply{body: body, elements: body}, nil
}

// entryBody is an entry as replies and records hold it.
func (k *call) entryBody(e *Thing) map[string]any {
	groups, _ := e.Attr["groups"].([]any)
	if groups == nil {
		groups = []any{}
	}
	return map[string]any{
		"clusterName": k.str("name"), "principalArn": k.str("principalArn"), "accessEntryArn": e.ARN, "tags": e.Tags,
		"kubernetesGroups": groups, "type": e.Attr["type"], "username": e.Attr["username"],
		"createdAt": e.Attr["created"], "modifiedAt": e.Attr["created"],
	}
}

func (k *call) knownEntry() (*Thing, error) {
	if err := k.knownCluster(); err != nil {
		return nil, err
	}
	e := k.accessEntry()
	if e == nil {
		return nil, fail(404, "ResourceNotFoundException", "The specified principalArn could not be found. You can view your available access entries with 'list-access-entries'.")
	}
	return e, nil
}

func deleteAccessEntry(k *call) (reply, error) {
	e, err := k.knownEntry()
	if err != nil {
		return reply{}, err
	}
	delete(k.region().Things[accessEntries], e.ID)
	return reply{}, nil
}

func describeAccessEntry(k *call) (reply, error) {
	e, err := k.knownEntry()
	if err != nil {
		return reply{}, err
	}
	return reply{body: map[string]any{"accessEntry": k.entryBody(e)}}, nil
}

func listAccessEntries(k *call) (reply, error) {
	if err := k.knownCluster(); err != nil {
		return reply{}, err
	}
	size, err := k.integer("maxResults", 100)
	if err != nil || size < 1 || size > 100 {
		return reply{}, fail(400, "InvalidParameterException", "maxResults must be between 1 and 100")
	}
	var principals []string
	for id := range k.region().Things[accessEntries] {
		if principal, ok := strings.CutPrefix(id, k.str("name")+" "); ok {
			principals = append(principals, principal)
		}
	}
	slices.Sort(principals)
	these, next := page(principals, k.str("nextToken"), size)
	if these == nil {
		these = []string{}
	}
	body := map[string]any{"accessEntries": these}
	if next != "" {
		body["nextToken"] = next
	}
	return reply{body: body}, nil
}
