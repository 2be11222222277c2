package cloud

import (
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

const ec2Namespace = "http://ec2.amazonaws.com/doc/2016-11-15/"

func ec2Service() service {
	ops := groupOps()
	for _, more := range []map[string]operation{networkOps(), flowLogOps(), hostOps()} {
		maps.Copy(ops, more)
	}
	return service{
		source: "ec2.amazonaws.com", wire: ec2Query{}, deniedKeepsParams: true, ops: ops,
		seed: func(w *Seed, account, region string) {
			seedNetwork(w, account, region)
			seedFlowLogs(w, account)
			seedSnapshot(w, account, region)
		},
		fixtures: func(account, region string) map[string]string {
			if region == "*" {
				return map[string]string{"flow_log_role": flowLogRole}
			}
			return map[string]string{"vpc": vpcID(account, region), "snapshot": snapshotID(account, region)}
		},
	}
}

func groupOps() map[string]operation {
	return map[string]operation{
		"AuthorizeSecurityGroupIngress": {needs: authorizeNeeds, do: dryRunnable(authorizeRules(false)), params: ruleParams},
		"RevokeSecurityGroupIngress":    {needs: revokeNeeds, do: dryRunnable(revokeRules(false)), params: ruleParams},
		"AuthorizeSecurityGroupEgress":  {needs: authorizeNeeds, do: dryRunnable(authorizeRules(true)), params: ruleParams},
		"RevokeSecurityGroupEgress":     {needs: revokeNeeds, do: dryRunnable(revokeRules(true)), params: ruleParams},
		"DescribeSecurityGroups":        {readOnly: true, needs: anyOf("ec2:DescribeSecurityGroups"), do: dryRunnable(describeGroups), params: describeGroupsParams},
		"DescribeSecurityGroupRules":    {readOnly: true, needs: anyOf("ec2:DescribeSecurityGroupRules"), do: dryRunnable(describeRules), params: wrappedParams},
	}
}

// dryRunnable answers DryRun: the caller's rights have been decided by then, and
// nothing is done.
func dryRunnable(do func(*call) (reply, error)) func(*call) (reply, error) {
	return func(k *call) (reply, error) {
		if k.str("DryRun") == "true" {
			return reply{}, fail(412, "DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
		}
		return do(k)
	}
}

func (k *call) ec2ARN(kind, id string) string {
	return "arn:aws:ec2:" + k.Region + ":" + k.Principal.Account + ":" + kind + "/" + id
}

// groupNeed is the need of an action on the security group GroupId names.
func (k *call) groupNeed(action string) need {
	id := k.str("GroupId")
	n := need{action: action, resource: k.ec2ARN("security-group", id), context: policy.Context{}}
	if g := k.region().Groups[id]; g != nil {
		tagKeys(n.context, "aws:ResourceTag/", g.Tags)
		tagKeys(n.context, "ec2:ResourceTag/", g.Tags)
	}
	return n
}

// authorizeNeeds: tags belong to the rule, not to the group.
func authorizeNeeds(k *call) []need {
	out := []need{k.groupNeed("ec2:" + k.Operation)}
	if len(k.specifiedTags("security-group-rule")) == 0 {
		return out
	}
	return append(out, k.taggedNeeds("ec2:"+k.Operation, "security-group-rule", "*")...)
}

func revokeNeeds(k *call) []need {
	return []need{k.groupNeed("ec2:" + k.Operation)}
}

// specifiedTags are the tags that new things of a resource type get.
func (k *call) specifiedTags(resourceType string) map[string]string {
	for _, spec := range k.list("TagSpecification") {
		if field(spec, "ResourceType") == resourceType {
			m, _ := spec.(map[string]any)
			list, _ := m["Tag"].([]any)
			return tags(list)
		}
	}
	return nil
}

func (k *call) group() (*Group, error) {
	id := k.str("GroupId")
	if id == "" {
		return nil, fail(400, "MissingParameter", "The request must contain the parameter groupId")
	}
	g := k.region().Groups[id]
	if g == nil {
		return nil, fail(400, "InvalidGroup.NotFound", "The security group '%s' does not exist", id)
	}
	return g, nil
}

// permissions reads IpPermissions into rules, one per address range.
func (k *call) permissions(egress bool) ([]*Rule, error) {
	var out []*Rule
	for _, p := range k.list("IpPermissions") {
		m, _ := p.(map[string]any)
		r := Rule{Egress: egress, Protocol: field(p, "IpProtocol"), From: -1, To: -1}
		if r.Protocol == "" {
			return nil, fail(400, "MissingParameter", "The request must contain the parameter ipProtocol")
		}
		if r.Protocol != "-1" {
			var errFrom, errTo error
			r.From, errFrom = strconv.Atoi(field(p, "FromPort"))
			r.To, errTo = strconv.Atoi(field(p, "ToPort"))
			if errFrom != nil || errTo != nil || r.From < -1 || r.To > 65535 || r.From > r.To {
				return nil, fail(400, "InvalidParameterValue", "Invalid port range %s to %s", field(p, "FromPort"), field(p, "ToPort"))
			}
		}
		if m["Groups"] != nil || m["PrefixListIds"] != nil {
			return nil, fail(400, "UnsupportedOperation", "the sandbox knows rules with address ranges only")
		}
		for _, family := range []struct {
			list, cidr string
			v6         bool
		}{{"IpRanges", "CidrIp", false}, {"Ipv6Ranges", "CidrIpv6", true}} {
			ranges, _ := m[family.list].([]any)
			for _, x := range ranges {
				one := r
				prefix, err := netip.ParsePrefix(field(x, family.cidr))
				if err != nil || prefix.Addr().Is6() != family.v6 {
					return nil, fail(400, "InvalidParameterValue", "CIDR block %s is malformed", field(x, family.cidr))
				}
				one.CIDR, one.Description, one.V6 = prefix.Masked().String(), field(x, "Description"), family.v6
				out = append(out, &one)
			}
		}
	}
	if out == nil {
		return nil, fail(400, "MissingParameter", "Either 'ipPermissions' or 'securityGroupRuleIds' should be provided.")
	}
	return out, nil
}

func (r *Rule) same(o *Rule) bool {
	return r.Egress == o.Egress && r.Protocol == o.Protocol && r.From == o.From && r.To == o.To && r.CIDR == o.CIDR
}

func authorizeRules(egress bool) func(*call) (reply, error) {
	return func(k *call) (reply, error) { return k.authorizeRules(egress) }
}

func revokeRules(egress bool) func(*call) (reply, error) {
	return func(k *call) (reply, error) { return k.revokeRules(egress) }
}

func (k *call) authorizeRules(egress bool) (reply, error) {
	g, err := k.group()
	if err != nil {
		return reply{}, err
	}
	rules, err := k.permissions(egress)
	if err != nil {
		return reply{}, err
	}
	for i, r := range rules {
		if slices.ContainsFunc(append(g.Rules[:len(g.Rules):len(g.Rules)], rules[:i]...), r.same) {
			return reply{}, fail(400, "InvalidPermission.Duplicate", "the specified rule %q already exists",
				fmt.Sprintf("peer: %s, %s, from port: %d, to port: %d, ALLOW", r.CIDR, strings.ToUpper(r.Protocol), r.From, r.To))
		}
	}
	var items []el
	var recorded []any
	for _, r := range rules {
		r.ID = "sgr-0" + randomText(16, "0123456789abcdef")
		r.Tags = k.specifiedTags("security-group-rule")
		g.Rules = append(g.Rules, r)
		items = append(items, node("item", k.ruleElement(g, r)...))
		recorded = append(recorded, k.recordedRule(g, r))
	}
	return reply{
		body: []el{leaf("return", true), node("securityGroupRuleSet", items...)},
		elements: map[string]any{
			"requestId": k.RequestID, "_return": true, "securityGroupRuleSet": map[string]any{"items": recorded},
		},
	}, nil
}

func (k *call) revokeRules(egress bool) (reply, error) {
	g, err := k.group()
	if err != nil {
		return reply{}, err
	}
	var gone []*Rule
	if ids := k.list("SecurityGroupRuleId"); len(ids) > 0 {
		for _, id := range ids {
			i := slices.IndexFunc(g.Rules, func(r *Rule) bool { return r.ID == id && r.Egress == egress })
			if i < 0 {
				return reply{}, fail(400, "InvalidSecurityGroupRuleId.NotFound", "The security group rule ID '%s' does not exist", id)
			}
			gone = append(gone, g.Rules[i])
		}
	} else {
		rules, err := k.permissions(egress)
		if err != nil {
			return reply{}, err
		}
		for _, want := range rules {
			i := slices.IndexFunc(g.Rules, want.same)
			if i < 0 {
				return reply{}, fail(400, "InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
			}
			gone = append(gone, g.Rules[i])
		}
	}
	g.Rules = slices.DeleteFunc(g.Rules, func(r *Rule) bool { return slices.Contains(gone, r) })
	var items []el
	var recorded []any
	for _, r := range gone {
		items = append(items, node("item", leaves(
			leaf("securityGroupRuleId", r.ID), leaf("groupId", g.ID), leaf("isEgress", r.Egress), leaf("ipProtocol", r.Protocol),
			leaf("fromPort", r.From), leaf("toPort", r.To), leaf(r.cidrName(), r.CIDR), leaf("description", r.Description))...))
		m := k.recordedRule(g, r)
		delete(m, "groupOwnerId")
		delete(m, "tags")
		recorded = append(recorded, m)
	}
	return reply{
		body: []el{leaf("return", true), node("revokedSecurityGroupRuleSet", items...)},
		elements: map[string]any{
			"requestId": k.RequestID, "_return": true, "revokedSecurityGroupRuleSet": map[string]any{"items": recorded},
		},
	}, nil
}

func (r *Rule) cidrName() string {
	if r.V6 {
		return "cidrIpv6"
	}
	return "cidrIpv4"
}

func (k *call) ruleElement(g *Group, r *Rule) []el {
	out := leaves(
		leaf("groupOwnerId", k.Principal.Account), leaf("groupId", g.ID), leaf("securityGroupRuleId", r.ID),
		leaf("securityGroupRuleArn", k.ec2ARN("security-group-rule", r.ID)), leaf("isEgress", r.Egress), leaf("ipProtocol", r.Protocol),
		leaf("fromPort", r.From), leaf("toPort", r.To), leaf(r.cidrName(), r.CIDR), leaf("description", r.Description),
	)
	return append(out, tagSet(r.Tags)...)
}

func (k *call) recordedRule(g *Group, r *Rule) map[string]any {
	m := map[string]any{
		"groupOwnerId": k.Principal.Account, "groupId": g.ID, "securityGroupRuleId": r.ID,
		"isEgress": r.Egress, "ipProtocol": r.Protocol, "fromPort": r.From, "toPort": r.To, r.cidrName(): r.CIDR,
	}
	if r.Description != "" {
		m["description"] = r.Description
	}
	if len(r.Tags) > 0 {
		m["tags"] = recordedTags(r.Tags)
	}
	return m
}

func recordedTags(tags map[string]string) (out []any) {
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, map[string]any{"key": key, "value": tags[key]})
	}
	return out
}

func tagSet(tags map[string]string) []el {
	if len(tags) == 0 {
		return nil
	}
	var items []el
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		items = append(items, node("item", leaf("key", key), leaf("value", tags[key])))
	}
	return []el{node("tagSet", items...)}
}

// filter is one Filter of a Describe call.
type filter struct {
	name   string
	values []string
}

func (k *call) filters() (out []filter) {
	for _, f := range k.list("Filter") {
		m, _ := f.(map[string]any)
		list, _ := m["Value"].([]any)
		one := filter{name: field(f, "Name")}
		for _, v := range list {
			one.values = append(one.values, fmt.Sprint(v))
		}
		out = append(out, one)
	}
	return out
}

// passes says whether something with these fields and tags passes all filters;
// a filter the sandbox does not know is an error, never ignored.
func passes(filters []filter, fields, tags map[string]string) (bool, error) {
	for _, f := range filters {
		have, known := fields[f.name]
		if key, ok := strings.CutPrefix(f.name, "tag:"); ok {
			if have, known = tags[key]; !known {
				return false, nil
			}
		}
		if f.name == "tag-key" {
			if !slices.ContainsFunc(f.values, func(v string) bool { _, ok := tags[v]; return ok }) {
				return false, nil
			}
			continue
		}
		if !known {
			return false, fail(400, "InvalidParameterValue", "The filter '%s' is invalid", f.name)
		}
		if !slices.ContainsFunc(f.values, func(pattern string) bool { return filterMatch(pattern, have) }) {
			return false, nil
		}
	}
	return true, nil
}

// filterMatch: filters know * and ?.
func filterMatch(pattern, s string) bool {
	re := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(pattern))
	ok, err := regexp.MatchString("(?s)^"+re+"$", s)
	return err == nil && ok
}

func describeGroups(k *call) (reply, error) {
	groups, filters, items := k.region().Groups, k.filters(), []el{}
	ids := k.list("GroupId")
	for _, id := range ids {
		if groups[fmt.Sprint(id)] == nil {
			return reply{}, fail(400, "InvalidGroup.NotFound", "The security group '%v' does not exist", id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(groups)) {
		g := groups[id]
		ok, err := passes(filters, map[string]string{"group-id": g.ID, "group-name": g.Name, "vpc-id": g.VPC, "owner-id": k.Principal.Account}, g.Tags)
		if err != nil {
			return reply{}, err
		}
		if !ok || len(ids) > 0 && !slices.Contains(ids, any(g.ID)) {
			continue
		}
		var in, out []el
		for _, r := range g.Rules {
			list, cidr := "ipRanges", "cidrIp"
			if r.V6 {
				list, cidr = "ipv6Ranges", "cidrIpv6"
			}
			one := node("item", leaf("ipProtocol", r.Protocol), leaf("fromPort", r.From), leaf("toPort", r.To),
				node(list, node("item", leaves(leaf(cidr, r.CIDR), leaf("description", r.Description))...)))
			if r.Egress {
				out = append(out, one)
			} else {
				in = append(in, one)
			}
		}
		items = append(items, node("item", append([]el{
			leaf("ownerId", k.Principal.Account), leaf("groupId", g.ID), leaf("groupName", g.Name), leaf("groupDescription", g.Description),
			leaf("vpcId", g.VPC), leaf("securityGroupArn", k.ec2ARN("security-group", g.ID)), node("ipPermissions", in...), node("ipPermissionsEgress", out...),
		}, tagSet(g.Tags)...)...))
	}
	return k.pageOf("securityGroupInfo", items)
}

func describeRules(k *call) (reply, error) {
	filters, items := k.filters(), []el{}
	ids := k.list("SecurityGroupRuleId")
	groups := k.region().Groups
	for _, id := range slices.Sorted(maps.Keys(groups)) {
		for _, r := range groups[id].Rules {
			ok, err := passes(filters, map[string]string{"group-id": id, "security-group-rule-id": r.ID}, r.Tags)
			if err != nil {
				return reply{}, err
			}
			if ok && (len(ids) == 0 || slices.Contains(ids, any(r.ID))) {
				items = append(items, node("item", k.ruleElement(groups[id], r)...))
			}
		}
	}
	for _, f := range filters { // an unknown filter is an error even when there is nothing to filter
		if _, err := passes([]filter{f}, map[string]string{"group-id": "", "security-group-rule-id": ""}, nil); err != nil {
			return reply{}, err
		}
	}
	return k.pageOf("securityGroupRuleSet", items)
}

// pageOf answers a listing with EC2's paging: MaxResults (5 to 1000), NextToken.
func (k *call) pageOf(name string, items []el) (reply, error) { return k.pageUpTo(1000, name, items) }

func (k *call) pageUpTo(most int, name string, items []el) (reply, error) {
	size, err := k.integer("MaxResults", most)
	if err != nil || size < 5 || size > most {
		return reply{}, fail(400, "InvalidMaxResults", "Value (%d) for parameter MaxResults is invalid. Expecting a value from 5 to %d.", size, most)
	}
	from := 0
	if t := k.str("NextToken"); t != "" {
		if from, err = strconv.Atoi(t); err != nil || from < 0 || from > len(items) {
			return reply{}, fail(400, "InvalidNextToken", "The token '%s' is invalid.", t)
		}
	}
	to := min(from+size, len(items))
	body := []el{node(name, items[from:to]...)}
	if to < len(items) {
		body = append(body, leaf("nextToken", to))
	}
	return reply{body: body}, nil
}

// ruleParams: an old EC2 operation's parameters, lists as {"items": [...]}.
func ruleParams(k *call) any {
	out := map[string]any{}
	if id := k.str("GroupId"); id != "" {
		out["groupId"] = id
	}
	if k.str("DryRun") == "true" {
		out["dryRun"] = true
	}
	var permissions []any
	for _, p := range k.list("IpPermissions") {
		m, _ := p.(map[string]any)
		one := map[string]any{"groups": map[string]any{}, "ipRanges": map[string]any{}, "ipv6Ranges": map[string]any{}, "prefixListIds": map[string]any{}}
		for name, v := range m {
			if list, ok := v.([]any); ok {
				one[lowerFirst(name)] = map[string]any{"items": lowerNames(list)}
			} else if s, ok := v.(string); ok {
				one[lowerFirst(name)] = typed(name, s)
			}
		}
		permissions = append(permissions, one)
	}
	out["ipPermissions"] = itemsOf(permissions)
	if ids := k.list("SecurityGroupRuleId"); len(ids) > 0 {
		var list []any
		for _, id := range ids {
			list = append(list, map[string]any{"securityGroupRuleId": id})
		}
		out["securityGroupRuleIdSet"] = itemsOf(list)
	}
	if specs := k.recordedTagSpecifications(); specs != nil {
		out["tagSpecificationSet"] = itemsOf(specs)
	}
	return out
}

func (k *call) recordedTagSpecifications() (specs []any) {
	for _, spec := range k.list("TagSpecification") {
		m, _ := spec.(map[string]any)
		list, _ := m["Tag"].([]any)
		specs = append(specs, map[string]any{"resourceType": field(spec, "ResourceType"), "tags": lowerNames(list)})
	}
	return specs
}

func (k *call) recordedFilters() (filters []any) {
	for _, f := range k.filters() {
		var values []any
		for _, v := range f.values {
			values = append(values, map[string]any{"value": v})
		}
		filters = append(filters, map[string]any{"name": f.name, "valueSet": itemsOf(values)})
	}
	return filters
}

func describeGroupsParams(k *call) any {
	var ids []any
	for _, id := range k.list("GroupId") {
		ids = append(ids, map[string]any{"groupId": id})
	}
	out := map[string]any{"securityGroupSet": map[string]any{}, "securityGroupIdSet": itemsOf(ids), "filterSet": itemsOf(k.recordedFilters())}
	if k.Params["MaxResults"] != nil {
		out["maxResults"] = typed("MaxResults", k.str("MaxResults"))
	}
	return out
}

func itemsOf(list []any) map[string]any {
	if len(list) == 0 {
		return map[string]any{}
	}
	return map[string]any{"items": list}
}

// wrappedParams: a newer EC2 operation's parameters, the request's XML as an
// object: {"DeleteFlowLogsRequest": {"FlowLogId": {"tag": 1, "content": "fl-..."}}}.
func wrappedParams(k *call) any {
	inner := map[string]any{}
	for name, v := range k.Params {
		inner[name] = tagged(name, v)
	}
	return map[string]any{k.Operation + "Request": inner}
}

func tagged(name string, v any) any {
	switch v := v.(type) {
	case []any:
		var out []any
		for i, x := range v {
			switch x := x.(type) {
			case map[string]any:
				one := map[string]any{"tag": i + 1}
				for n, y := range x {
					one[n] = tagged(n, y)
				}
				out = append(out, one)
			default:
				out = append(out, map[string]any{"tag": i + 1, "content": x})
			}
		}
		return single(out)
	case string:
		return typed(name, v)
	}
	return v
}

// single: one element stands alone, several are a list, none is "".
func single(list []any) any {
	switch len(list) {
	case 0:
		return ""
	case 1:
		return list[0]
	}
	return list
}
