package cloud

import (
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

// AWS WAF: IP sets, of the region and, in us-east-1, of CloudFront. There are no
// web ACLs, so that no set is ever in use.
func wafv2Service() service {
	return service{
		source: "wafv2.amazonaws.com", wire: json11{}, apiVersion: "2019-04-23",
		ops: map[string]operation{
			"CreateIPSet":         {needs: onNewIPSet, do: createIPSet},
			"UpdateIPSet":         {needs: onIPSet("wafv2:UpdateIPSet"), do: updateIPSet},
			"DeleteIPSet":         {needs: onIPSet("wafv2:DeleteIPSet"), do: deleteIPSet},
			"ListIPSets":          {readOnly: true, needs: anyOf("wafv2:ListIPSets"), do: listIPSets},
			"ListTagsForResource": {readOnly: true, needs: onTaggedIPSet, do: listIPSetTags},
		},
	}
}

const (
	ipSetKind = "wafv2 ip set"
	maxIPSets = 100
)

// ipSetARN of a set of the call's name and scope.
func (k *call) ipSetARN(id string) string {
	scope := map[string]string{"REGIONAL": "regional", "CLOUDFRONT": "global"}[k.str("Scope")]
	return "arn:aws:wafv2:" + k.Region + ":" + k.Principal.Account + ":" + scope + "/ipset/" + k.str("Name") + "/" + id
}

// onNewIPSet: the id is not known yet, and any will do. Tags on creation need
// TagResource too (service authorization reference, API operations).
func onNewIPSet(k *call) []need {
	given := tags(k.list("Tags"))
	ctx := requestTags(policy.Context{}, given)
	needs := []need{{action: "wafv2:CreateIPSet", resource: k.ipSetARN("*"), context: ctx}}
	if len(given) > 0 {
		needs = append(needs, need{action: "wafv2:TagResource", resource: k.ipSetARN("*"), context: ctx})
	}
	return needs
}

func onIPSet(action string) func(*call) []need {
	return func(k *call) []need { return []need{k.needOn(action, k.ipSetARN(k.str("Id")))} }
}

func onTaggedIPSet(k *call) []need {
	return []need{k.needOn("wafv2:ListTagsForResource", k.str("ResourceARN"))}
}

func (k *call) needOn(action, arn string) need {
	n := need{action: action, resource: arn, context: policy.Context{}}
	if set := k.region().Things[ipSetKind][arn]; set != nil {
		tagKeys(n.context, "aws:ResourceTag/", set.Tags)
	}
	return n
}

func badWAFParam(field, parameter string) error {
	return fail(400, "WAFInvalidParameterException", "Error reason: The parameter contains formatting that is not valid., field: %s, parameter: %s", field, parameter)
}

// scope checks where the call was sent.
func (k *call) scope() error {
	if s := k.str("Scope"); s != "REGIONAL" && (s != "CLOUDFRONT" || k.Region != "us-east-1") {
		return fail(400, "WAFInvalidParameterException", "Error reason: The scope is not valid., field: SCOPE_VALUE, parameter: %s", s)
	}
	if k.account().Regions[k.Region] == nil {
		return fail(400, "WAFUnavailableEntityException", "AWS WAF is not available in %s", k.Region)
	}
	return nil
}

// addresses reads the networks, all of the set's family.
func (k *call) addresses(version string) ([]any, error) {
	list := k.list("Addresses")
	for _, a := range list {
		s, _ := a.(string)
		net, err := netip.ParsePrefix(s)
		if err != nil || net.Bits() == 0 || net.Addr().Is4() != (version == "IPV4") {
			return nil, badWAFParam("IP_ADDRESS", s)
		}
	}
	return append([]any{}, list...), nil
}

var entityName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

func createIPSet(k *call) (reply, error) {
	if err := k.scope(); err != nil {
		return reply{}, err
	}
	name, version := k.str("Name"), k.str("IPAddressVersion")
	if !entityName.MatchString(name) {
		return reply{}, badWAFParam("NAME", name)
	}
	if version != "IPV4" && version != "IPV6" {
		return reply{}, badWAFParam("IP_ADDRESS_VERSION", version)
	}
	addresses, err := k.addresses(version)
	if err != nil {
		return reply{}, err
	}
	scope := k.str("Scope")
	ofScope := 0
	for _, set := range k.region().Things[ipSetKind] {
		if set.Attr["Scope"] != scope {
			continue
		}
		if ofScope++; set.Attr["Name"] == name {
			return reply{}, fail(400, "WAFDuplicateItemException", "AWS WAF couldn’t perform the operation because some resource in your request is a duplicate of an existing one.")
		}
	}
	if ofScope >= maxIPSets {
		return reply{}, fail(400, "WAFLimitsExceededException", "AWS WAF couldn’t perform the operation because you exceeded your resource limit.")
	}
	id := newUUID()
	set := &Thing{ID: k.ipSetARN(id), ARN: k.ipSetARN(id), Tags: tags(k.list("Tags")), Attr: map[string]any{
		"Id": id, "Name": name, "Scope": scope, "Description": k.str("Description"), "IPAddressVersion": version, "Addresses": addresses, "LockToken": newUUID(),
	}}
	k.region().Put(ipSetKind, set)
	out := map[string]any{"Summary": summary(set)}
	elements, _ := lowerNames(out).(map[string]any)
	return reply{body: out, elements: elements}, nil
}

func summary(set *Thing) map[string]any {
	return map[string]any{
		"ARN": set.ARN, "Id": set.Attr["Id"], "Name": set.Attr["Name"], "Description": set.Attr["Description"], "LockToken": set.Attr["LockToken"],
	}
}

// ipSet finds the set a call names and holds its lock token against it.
func (k *call) ipSet() (*Thing, error) {
	if err := k.scope(); err != nil {
		return nil, err
	}
	set := k.region().Things[ipSetKind][k.ipSetARN(k.str("Id"))]
	switch {
	case set == nil:
		return nil, fail(400, "WAFNonexistentItemException", "AWS WAF couldn’t perform the operation because your resource doesn’t exist.")
	case set.Attr["LockToken"] != k.str("LockToken"):
		return nil, fail(400, "WAFOptimisticLockException", "AWS WAF couldn’t save your changes because someone changed the resource after you started to edit it. Reapply your changes.")
	}
	return set, nil
}

func updateIPSet(k *call) (reply, error) {
	set, err := k.ipSet()
	if err != nil {
		return reply{}, err
	}
	version, _ := set.Attr["IPAddressVersion"].(string)
	addresses, err := k.addresses(version)
	if err != nil {
		return reply{}, err
	}
	next := newUUID()
	set.Attr["Addresses"], set.Attr["Description"], set.Attr["LockToken"] = addresses, k.str("Description"), next
	return reply{body: map[string]any{"NextLockToken": next}, elements: map[string]any{"nextLockToken": next}}, nil
}

func deleteIPSet(k *call) (reply, error) {
	set, err := k.ipSet()
	if err != nil {
		return reply{}, err
	}
	delete(k.region().Things[ipSetKind], set.ID)
	return reply{}, nil
}

func listIPSets(k *call) (reply, error) {
	if err := k.scope(); err != nil {
		return reply{}, err
	}
	size, err := k.integer("Limit", 100)
	if err != nil || size < 1 || size > 100 {
		return reply{}, badWAFParam("LIMIT", k.str("Limit"))
	}
	sets := k.region().Things[ipSetKind]
	ids := slices.DeleteFunc(slices.Sorted(maps.Keys(sets)), func(id string) bool { return sets[id].Attr["Scope"] != k.str("Scope") })
	these, next := page(ids, k.str("NextMarker"), size)
	list := []any{}
	for _, id := range these {
		list = append(list, summary(sets[id]))
	}
	return reply{body: marked(map[string]any{"IPSets": list}, next)}, nil
}

func marked(body map[string]any, next string) map[string]any {
	if next != "" {
		body["NextMarker"] = next
	}
	return body
}

func listIPSetTags(k *call) (reply, error) {
	arn := k.str("ResourceARN")
	set := k.region().Things[ipSetKind][arn]
	if set == nil || !strings.Contains(arn, ":"+k.Principal.Account+":") {
		return reply{}, fail(400, "WAFNonexistentItemException", "AWS WAF couldn’t perform the operation because your resource doesn’t exist.")
	}
	size, err := k.integer("Limit", 100)
	if err != nil || size < 1 || size > 100 {
		return reply{}, badWAFParam("LIMIT", k.str("Limit"))
	}
	these, next := page(slices.Sorted(maps.Keys(set.Tags)), k.str("NextMarker"), size)
	list := []any{}
	for _, key := range these {
		list = append(list, map[string]any{"Key": key, "Value": set.Tags[key]})
	}
	return reply{body: marked(map[string]any{"TagInfoForResource": map[string]any{"ResourceARN": arn, "TagList": list}}, next)}, nil
}
