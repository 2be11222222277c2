package cloud

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

// ec2Kind is something that lives in a region under an id EC2 gives it, carries
// tags, and is made, listed and deleted by three calls of one form.
type ec2Kind struct {
	kind   string // as Changes shows it, and as a Thing's kind
	noun   string // in ARNs and tag specifications: "network-acl"
	prefix string // of its ids: "acl-"
	idName string // parameter and, with a small first letter, member: "NetworkAclId"
	member string // of the reply to its making: "networkAcl"
	// notFound is the code for an id nobody has, with the message's words.
	notFound, shown string
	limit           int // how many a region may have, or a VPC where it is in one
	limitCode       string
	inVPC           bool
	// describe is the state of a new one, beyond its id, VPC, owner and tags, in the
	// form of CloudTrail's older EC2 records: lists are {"items": [...]}.
	describe func(id string) map[string]any
}

var (
	networkACL = ec2Kind{
		kind: "network acl", noun: "network-acl", prefix: "acl-", idName: "NetworkAclId", member: "networkAcl",
		notFound: "InvalidNetworkAclID.NotFound", shown: "The networkAcl ID '%s' does not exist",
		limit: 200, limitCode: "NetworkAclLimitExceeded", inVPC: true,
		describe: func(string) map[string]any {
			return map[string]any{"default": false, "associationSet": map[string]any{}, "entrySet": itemsOf([]any{
				lastEntry(true), lastEntry(false),
			})}
		},
	}
	routeTable = ec2Kind{
		kind: "route table", noun: "route-table", prefix: "rtb-", idName: "RouteTableId", member: "routeTable",
		notFound: "InvalidRouteTableID.NotFound", shown: "The routeTable ID '%s' does not exist",
		limit: 200, limitCode: "RouteTableLimitExceeded", inVPC: true,
		describe: func(string) map[string]any {
			return map[string]any{"associationSet": map[string]any{}, "propagatingVgwSet": map[string]any{}, "routeSet": itemsOf([]any{
				map[string]any{"destinationCidrBlock": vpcCIDR, "gatewayId": "local", "state": "active", "origin": "CreateRouteTable"},
			})}
		},
	}
	internetGateway = ec2Kind{
		kind: "internet gateway", noun: "internet-gateway", prefix: "igw-", idName: "InternetGatewayId", member: "internetGateway",
		notFound: "InvalidInternetGatewayID.NotFound", shown: "The internetGateway ID '%s' does not exist",
		limit: 5, limitCode: "InternetGatewayLimitExceeded",
		describe: func(string) map[string]any { return map[string]any{"attachmentSet": map[string]any{}} },
	}
)

// networkOps: records of CreateRouteTable and CreateNetworkAclEntry are known
// (testdata/records); those of the others are written by the same pattern, which all
// EC2 operations of their age share.
func networkOps() map[string]operation {
	return map[string]operation{
		"CreateNetworkAcl":         {needs: networkACL.makingNeeds, do: dryRunnable(networkACL.make), params: olderParams},
		"CreateNetworkAclEntry":    {needs: networkACL.needs, do: dryRunnable(createNetworkACLEntry), params: entryParams},
		"DeleteNetworkAcl":         {needs: networkACL.needs, do: dryRunnable(networkACL.remove), params: olderParams},
		"DescribeNetworkAcls":      {readOnly: true, needs: anyOf("ec2:DescribeNetworkAcls"), do: dryRunnable(networkACL.list("networkAclSet", 1000)), params: olderParams},
		"CreateRouteTable":         {needs: routeTable.makingNeeds, do: dryRunnable(routeTable.make), params: olderParams},
		"DeleteRouteTable":         {needs: routeTable.needs, do: dryRunnable(routeTable.remove), params: olderParams},
		"DescribeRouteTables":      {readOnly: true, needs: anyOf("ec2:DescribeRouteTables"), do: dryRunnable(routeTable.list("routeTableSet", 100)), params: olderParams},
		"CreateInternetGateway":    {needs: internetGateway.makingNeeds, do: dryRunnable(internetGateway.make), params: olderParams},
		"DeleteInternetGateway":    {needs: internetGateway.needs, do: dryRunnable(internetGateway.remove), params: olderParams},
		"DescribeInternetGateways": {readOnly: true, needs: anyOf("ec2:DescribeInternetGateways"), do: dryRunnable(internetGateway.list("internetGatewaySet", 1000)), params: olderParams},
	}
}

// vpcCIDR is the address range of the fixture VPC, in which nothing runs.
const vpcCIDR = "10.255.255.0/24"

func vpcID(account, region string) string { return "vpc-0" + digest(account, region, "vpc")[:16] }

func seedNetwork(w *Seed, account, region string) {
	id := vpcID(account, region)
	w.Accounts[account].Regions[region].Put("vpc", &Thing{
		ID: id, ARN: "arn:aws:ec2:" + region + ":" + account + ":vpc/" + id,
		Tags: map[string]string{"auditcanary": "fixture"},
	})
}

// makingNeeds: the right to make one, in that VPC, and to tag it while doing so.
func (t ec2Kind) makingNeeds(k *call) []need {
	action := "ec2:" + k.Operation
	out := k.taggedNeeds(action, t.noun, "*")
	if t.inVPC {
		out = append([]need{k.thingNeed(action, "vpc", k.str("VpcId"), k.thing("vpc", k.str("VpcId")))}, out...)
	}
	return out
}

// taggedNeeds: the right to make something, and to tag it if tags are given.
func (k *call) taggedNeeds(action, noun, id string) []need {
	given, arn := k.specifiedTags(noun), k.ec2ARN(noun, id)
	out := []need{{action: action, resource: arn, context: requestTags(policy.Context{}, given)}}
	if len(given) > 0 { // tagging on creation is a permission of its own
		out = append(out, need{action: "ec2:CreateTags", resource: arn, context: requestTags(policy.Context{"ec2:createaction": {k.Operation}}, given)})
	}
	return out
}

// needs of an operation on the one its id names.
func (t ec2Kind) needs(k *call) []need {
	id := k.str(t.idName)
	return []need{k.thingNeed("ec2:"+k.Operation, t.noun, id, k.thing(t.kind, id))}
}

func (k *call) thing(kind, id string) *Thing { return k.region().Things[kind][id] }

// thingNeed knows the tags of what is there; what is not there has none.
func (k *call) thingNeed(action, noun, id string, t *Thing) need {
	n := need{action: action, resource: k.ec2ARN(noun, id), context: policy.Context{}}
	if t != nil {
		tagKeys(n.context, "aws:ResourceTag/", t.Tags)
		tagKeys(n.context, "ec2:ResourceTag/", t.Tags)
	}
	return n
}

func (t ec2Kind) make(k *call) (reply, error) {
	vpc := k.str("VpcId")
	if t.inVPC && vpc == "" {
		return reply{}, fail(400, "MissingParameter", "The request must contain the parameter vpcId")
	}
	if t.inVPC && k.thing("vpc", vpc) == nil {
		return reply{}, fail(400, "InvalidVpcID.NotFound", "The vpc ID '%s' does not exist", vpc)
	}
	count := 0
	for _, other := range k.region().Things[t.kind] {
		if !t.inVPC || other.Attr["vpcId"] == vpc {
			count++
		}
	}
	if count >= t.limit {
		return reply{}, fail(400, t.limitCode, "The maximum number of %ss has been reached.", t.kind)
	}
	id := t.prefix + "0" + randomText(16, "0123456789abcdef")
	thing := &Thing{ID: id, ARN: k.ec2ARN(t.noun, id), Tags: k.specifiedTags(t.noun), Attr: t.describe(id)}
	if t.inVPC {
		thing.Attr["vpcId"] = vpc
	}
	k.region().Put(t.kind, thing)
	shown := t.shows(k, thing)
	return reply{
		body:     []el{ec2XML(t.member, shown)},
		elements: map[string]any{"requestId": k.RequestID, t.member: shown},
	}, nil
}

// shows is all there is to say of one.
func (t ec2Kind) shows(k *call, thing *Thing) map[string]any {
	out := maps.Clone(thing.Attr)
	out[lowerFirst(t.idName)], out["ownerId"] = thing.ID, k.Principal.Account
	out["tagSet"] = itemsOf(recordedTags(thing.Tags))
	return out
}

func (t ec2Kind) known(k *call) (*Thing, error) {
	id := k.str(t.idName)
	if id == "" {
		return nil, fail(400, "MissingParameter", "The request must contain the parameter %s", lowerFirst(t.idName))
	}
	thing := k.thing(t.kind, id)
	if thing == nil {
		return nil, fail(400, t.notFound, t.shown, id)
	}
	return thing, nil
}

func (t ec2Kind) remove(k *call) (reply, error) {
	thing, err := t.known(k)
	if err != nil {
		return reply{}, err
	}
	delete(k.region().Things[t.kind], thing.ID)
	return k.returnsTrue(), nil
}

func (k *call) returnsTrue() reply {
	return reply{body: []el{leaf("return", true)}, elements: map[string]any{"requestId": k.RequestID, "_return": true}}
}

// list answers a Describe call. The sandbox knows the filters on tags and on the id.
func (t ec2Kind) list(set string, most int) func(*call) (reply, error) {
	return func(k *call) (reply, error) {
		ids, filters, items := k.list(t.idName), k.filters(), []el{}
		all := k.region().Things[t.kind]
		for _, id := range ids {
			if all[fmt.Sprint(id)] == nil {
				return reply{}, fail(400, t.notFound, t.shown, id)
			}
		}
		for _, id := range slices.Sorted(maps.Keys(all)) {
			ok, err := passes(filters, map[string]string{t.noun + "-id": id, "owner-id": k.Principal.Account}, all[id].Tags)
			if err != nil {
				return reply{}, err
			}
			if ok && (len(ids) == 0 || slices.Contains(ids, any(id))) {
				items = append(items, ec2XML("item", t.shows(k, all[id])))
			}
		}
		return k.pageUpTo(most, set, items)
	}
}

// lastEntry is the rule that every network ACL ends with.
func lastEntry(egress bool) map[string]any {
	return aclEntry(32767, egress, "-1", "deny", "0.0.0.0/0")
}

func aclEntry(number int, egress bool, protocol, action, cidr string) map[string]any {
	return map[string]any{
		"ruleNumber": number, "egress": egress, "aclProtocol": protocol, "ruleAction": action, "cidrBlock": cidr,
		"icmpTypeCode": map[string]any{}, "portRange": map[string]any{},
	}
}

// createNetworkACLEntry knows rules for all protocols of an IPv4 range.
func createNetworkACLEntry(k *call) (reply, error) {
	acl, err := networkACL.known(k)
	if err != nil {
		return reply{}, err
	}
	number, err := k.integer("RuleNumber", 0)
	egress, action := k.str("Egress") == "true", k.str("RuleAction")
	switch {
	case err != nil || number < 1 || number > 32766:
		return reply{}, fail(400, "InvalidParameterValue", "Value (%s) for parameter ruleNumber is invalid.", k.str("RuleNumber"))
	case action != "allow" && action != "deny":
		return reply{}, fail(400, "InvalidParameterValue", "Value (%s) for parameter ruleAction is invalid.", action)
	case k.str("Protocol") != "-1" || k.str("CidrBlock") == "":
		return reply{}, fail(400, "UnsupportedOperation", "the sandbox knows rules for all protocols of an IPv4 range only")
	}
	entries, _ := acl.Attr["entrySet"].(map[string]any)["items"].([]any)
	for _, e := range entries {
		if m, _ := e.(map[string]any); m["ruleNumber"] == number && m["egress"] == egress {
			return reply{}, fail(400, "NetworkAclEntryAlreadyExists", "The network acl entry identified by %d already exists.", number)
		}
	}
	acl.Attr["entrySet"] = itemsOf(append(slices.Clone(entries), aclEntry(number, egress, "-1", action, k.str("CidrBlock"))))
	return k.returnsTrue(), nil
}

// entryParams are as in testdata/records: the protocol under another name, and what
// was not given as an empty object.
func entryParams(k *call) any {
	out, _ := olderParams(k).(map[string]any)
	for _, name := range []string{"icmpTypeCode", "portRange"} {
		if out[name] == nil {
			out[name] = map[string]any{}
		}
	}
	if v, ok := out["protocol"]; ok {
		out["aclProtocol"] = v
		delete(out, "protocol")
	}
	return out
}

// olderParams are the parameters of an EC2 operation of the first generation: names
// with a small first letter, lists as {"items": [...]}, tags beside them, and not the
// DryRun flag.
func olderParams(k *call) any {
	out := map[string]any{}
	for name, v := range k.Params {
		switch v := v.(type) {
		case string:
			if name != "DryRun" {
				out[lowerFirst(name)] = older(name, v)
			}
		case []any:
			if name == "Filter" || name == "TagSpecification" {
				continue
			}
			var items []any
			for _, x := range v {
				items = append(items, map[string]any{lowerFirst(name): x})
			}
			out[lowerFirst(name)+"Set"] = itemsOf(items)
		}
	}
	if filters := k.recordedFilters(); filters != nil {
		out["filterSet"] = itemsOf(filters)
	}
	if specs := k.recordedTagSpecifications(); specs != nil {
		out["tagSpecificationSet"] = itemsOf(specs)
	}
	return out
}

// older gives a value the type it has in a record.
func older(name, v string) any {
	switch name {
	case "RuleNumber":
		if n, err := strconv.Atoi(v); err == nil {
			return n
		}
	case "Egress":
		return v == "true"
	}
	return typed(name, v)
}

// ec2XML writes what a record of the first generation says as the reply said it.
func ec2XML(name string, v any) el {
	if name == "aclProtocol" {
		name = "protocol"
	}
	m, ok := v.(map[string]any)
	if !ok {
		return leaf(name, v)
	}
	if items, ok := m["items"].([]any); ok && len(m) == 1 {
		out := node(name)
		for _, x := range items {
			out.kids = append(out.kids, ec2XML("item", x))
		}
		return out
	}
	out := node(name)
	for _, key := range slices.Sorted(maps.Keys(m)) {
		out.kids = append(out.kids, ec2XML(key, m[key]))
	}
	return out
}
