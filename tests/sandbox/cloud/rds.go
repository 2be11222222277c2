package cloud

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

// No real record of a parameter group was at hand: names, types and the reply in
// responseElements follow the real records of CreateDBInstance (dBInstanceIdentifier,
// tags, dBInstanceArn).
func rdsService() service {
	return service{
		source: "rds.amazonaws.com", wire: rdsQuery{query{"http://rds.amazonaws.com/doc/2014-10-31/"}},
		ops: map[string]operation{
			"CreateDBParameterGroup":    {needs: createParameterGroupNeeds, do: createParameterGroup},
			"DeleteDBParameterGroup":    {needs: onParameterGroup("rds:DeleteDBParameterGroup"), do: deleteParameterGroup},
			"DescribeDBParameterGroups": {readOnly: true, needs: describeParameterGroupsNeeds, do: describeParameterGroups},
			"ListTagsForResource":       {readOnly: true, needs: rdsTagsNeeds, do: rdsListTags},
			// There are no databases here, and so no snapshots.
			"ModifyDBSnapshotAttribute":        {needs: onSnapshot("rds:ModifyDBSnapshotAttribute", "snapshot", "DBSnapshotIdentifier"), do: noSnapshot("DBSnapshotNotFound", "DBSnapshotIdentifier")},
			"ModifyDBClusterSnapshotAttribute": {needs: onSnapshot("rds:ModifyDBClusterSnapshotAttribute", "cluster-snapshot", "DBClusterSnapshotIdentifier"), do: noSnapshot("DBClusterSnapshotNotFoundFault", "DBClusterSnapshotIdentifier")},
		},
	}
}

// rdsQuery is the Query protocol whose lists name their members after what they
// are: Tags.Tag.1.Key.
type rdsQuery struct{ query }

func (rdsQuery) decode(k *call) (string, map[string]any, error) {
	op, params, err := decodeForm(k.body)
	for name, member := range map[string]string{"Tags": "Tag", "Filters": "Filter", "ValuesToAdd": "AttributeValue", "ValuesToRemove": "AttributeValue"} {
		if list, ok := params[name].(map[string]any); ok && len(list) == 1 {
			if inner, ok := list[member].([]any); ok {
				params[name] = inner
			}
		}
	}
	return op, params, err
}

const (
	parameterGroups = "rds parameter group"
	maxGroups       = 50 // the default quota of a region
)

var (
	groupName = regexp.MustCompile(`^[a-z]([a-z0-9]|-[a-z0-9]){0,254}$`)
	// groupFamilies are some of the engines that can be had.
	groupFamilies = []string{"aurora-mysql8.0", "aurora-postgresql16", "aurora-postgresql17", "mariadb11.4", "mysql8.0", "mysql8.4", "postgres16", "postgres17", "postgres18"}
)

// groupName of a request; RDS keeps names in lower case.
func (k *call) groupName() string { return strings.ToLower(k.str("DBParameterGroupName")) }

func (k *call) groupARN(name string) string {
	return "arn:aws:rds:" + k.Region + ":" + k.Principal.Account + ":pg:" + name
}

// onParameterGroup is the need of an operation on the group the request names.
func onParameterGroup(action string) func(*call) []need {
	return func(k *call) []need {
		ctx := policy.Context{}
		if g := k.region().Things[parameterGroups][k.groupName()]; g != nil {
			tagKeys(ctx, "aws:ResourceTag/", g.Tags)
		}
		return []need{{action: action, resource: k.groupARN(k.groupName()), context: ctx}}
	}
}

func createParameterGroupNeeds(k *call) []need {
	arn, given := k.groupARN(k.groupName()), tags(k.list("Tags"))
	out := []need{{action: "rds:CreateDBParameterGroup", resource: arn, context: requestTags(policy.Context{}, given)}}
	if len(given) > 0 {
		out = append(out, need{action: "rds:AddTagsToResource", resource: arn, context: requestTags(policy.Context{}, given)})
	}
	return out
}

func describeParameterGroupsNeeds(k *call) []need {
	name := k.groupName()
	if name == "" {
		name = "*"
	}
	return []need{{action: "rds:DescribeDBParameterGroups", resource: k.groupARN(name)}}
}

func rdsTagsNeeds(k *call) []need {
	return []need{{action: "rds:ListTagsForResource", resource: k.str("ResourceName")}}
}

func onSnapshot(action, kind, param string) func(*call) []need {
	return func(k *call) []need {
		return []need{{action: action, resource: "arn:aws:rds:" + k.Region + ":" + k.Principal.Account + ":" + kind + ":" + strings.ToLower(k.str(param))}}
	}
}

func noSnapshot(code, param string) func(*call) (reply, error) {
	return func(k *call) (reply, error) {
		return reply{}, fail(404, code, "%s not found: %s", strings.TrimSuffix(param, "Identifier"), strings.ToLower(k.str(param)))
	}
}

func noGroup(name string) error {
	return fail(404, "DBParameterGroupNotFound", "DBParameterGroup not found: %s", name)
}

func createParameterGroup(k *call) (reply, error) {
	name, family := k.groupName(), k.str("DBParameterGroupFamily")
	all := k.region().Things[parameterGroups]
	switch {
	case !groupName.MatchString(name):
		return reply{}, fail(400, "InvalidParameterValue", "The parameter DBParameterGroupName is not a valid identifier. Identifiers must begin with a letter; must contain only ASCII letters, digits, and hyphens; and must not end with a hyphen or contain two consecutive hyphens.")
	case !slices.Contains(groupFamilies, family):
		return reply{}, fail(400, "InvalidParameterValue", "ParameterGroupFamily %s is not a valid parameter group family", family)
	case k.str("Description") == "":
		return reply{}, fail(400, "MissingParameter", "The request must contain the parameter Description")
	case all[name] != nil:
		return reply{}, fail(400, "DBParameterGroupAlreadyExists", "Parameter group %s already exists", name)
	case len(all) >= maxGroups:
		return reply{}, fail(400, "DBParameterGroupQuotaExceeded", "Can't create another parameter group: %d is the most", maxGroups)
	}
	g := &Thing{ID: name, ARN: k.groupARN(name), Tags: tags(k.list("Tags")), Attr: map[string]any{"family": family, "description": k.str("Description")}}
	k.region().Put(parameterGroups, g)
	return reply{
		body: []el{node("DBParameterGroup", groupElement(g)...)},
		elements: map[string]any{
			"dBParameterGroupName": name, "dBParameterGroupFamily": family, "description": k.str("Description"), "dBParameterGroupArn": g.ARN,
		},
	}, nil
}

func groupElement(g *Thing) []el {
	return []el{
		leaf("DBParameterGroupName", g.ID), leaf("DBParameterGroupFamily", g.Attr["family"]),
		leaf("Description", g.Attr["description"]), leaf("DBParameterGroupArn", g.ARN),
	}
}

func deleteParameterGroup(k *call) (reply, error) {
	name := k.groupName()
	switch {
	case strings.HasPrefix(name, "default."):
		return reply{}, fail(400, "InvalidParameterValue", "The parameter DBParameterGroupName is not a valid identifier: default groups cannot be deleted")
	case k.region().Things[parameterGroups][name] == nil:
		return reply{}, noGroup(name)
	}
	delete(k.region().Things[parameterGroups], name)
	return reply{}, nil
}

func describeParameterGroups(k *call) (reply, error) {
	all := k.region().Things[parameterGroups]
	if name := k.groupName(); name != "" {
		if all[name] == nil {
			return reply{}, noGroup(name)
		}
		all = map[string]*Thing{name: all[name]}
	}
	size, err := k.integer("MaxRecords", 100)
	if err != nil || size < 20 || size > 100 {
		return reply{}, fail(400, "InvalidParameterValue", "Invalid value %v for MaxRecords. Must be between 20 and 100", k.Params["MaxRecords"])
	}
	these, next := page(slices.Sorted(maps.Keys(all)), k.str("Marker"), size)
	var members []el
	for _, name := range these {
		members = append(members, node("DBParameterGroup", groupElement(all[name])...))
	}
	return reply{body: append([]el{node("DBParameterGroups", members...)}, leaves(leaf("Marker", next))...)}, nil
}

func rdsListTags(k *call) (reply, error) {
	name, ours := strings.CutPrefix(k.str("ResourceName"), k.groupARN(""))
	g := k.region().Things[parameterGroups][name]
	if !ours {
		return reply{}, fail(400, "InvalidParameterValue", "The specified resource name does not match an RDS resource in this region.")
	}
	if g == nil {
		return reply{}, noGroup(name)
	}
	var members []el
	for _, key := range slices.Sorted(maps.Keys(g.Tags)) {
		members = append(members, node("Tag", leaf("Key", key), leaf("Value", g.Tags[key])))
	}
	return reply{body: []el{node("TagList", members...)}}, nil
}
