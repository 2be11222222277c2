package cloud

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

// flowLogOps: records of both writing calls are real ones' (DeleteFlowLogs in
// testdata/records; CreateFlowLogs in the data dictionary of a public hunting
// project, without tags: their form is that of launch templates, {"tag": 1,
// "ResourceType": ..., "Tag": [...]}).
func flowLogOps() map[string]operation {
	return map[string]operation{
		"CreateFlowLogs":   {needs: createFlowLogsNeeds, do: dryRunnable(createFlowLogs), params: wrappedParams},
		"DeleteFlowLogs":   {needs: deleteFlowLogsNeeds, do: dryRunnable(deleteFlowLogs), params: wrappedParams},
		"DescribeFlowLogs": {readOnly: true, needs: anyOf("ec2:DescribeFlowLogs"), do: dryRunnable(describeFlowLogs), params: wrappedParams},
	}
}

// flowLogs is their kind, as Changes shows it.
const flowLogs = "flow log"

const flowLogRole = "auditcanary-flow-logs"

// seedFlowLogs: the role that would deliver flow logs, and may do nothing.
func seedFlowLogs(w *Seed, account string) {
	if w.Accounts[account].Roles[flowLogRole] != nil {
		return
	}
	w.role(account, Role{Path: "/auditcanary/", Name: flowLogRole, Tags: map[string]string{"auditcanary": "fixture"},
		Trust: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"vpc-flow-logs.amazonaws.com"},"Action":"sts:AssumeRole"}]}`},
		`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`)
}

func createFlowLogsNeeds(k *call) []need {
	var out []need
	for _, id := range k.list("ResourceId") {
		id := fmt.Sprint(id)
		out = append(out, k.thingNeed("ec2:CreateFlowLogs", "vpc", id, k.thing("vpc", id)))
	}
	out = append(out, k.taggedNeeds("ec2:CreateFlowLogs", "vpc-flow-log", "*")...)
	if role := k.str("DeliverLogsPermissionArn"); role != "" {
		out = append(out, need{action: "iam:PassRole", resource: role, context: policy.Context{"iam:passedtoservice": {"vpc-flow-logs.amazonaws.com"}}})
	}
	return out
}

// createFlowLogs knows flow logs of VPCs into log groups.
func createFlowLogs(k *call) (reply, error) {
	group, role := k.str("LogGroupName"), k.str("DeliverLogsPermissionArn")
	switch {
	case len(k.list("ResourceId")) == 0 || k.str("ResourceType") == "":
		return reply{}, fail(400, "MissingParameter", "The request must contain the parameters ResourceIds and ResourceType")
	case k.str("ResourceType") != "VPC" || k.str("LogDestination") != "" || k.str("LogDestinationType") == "s3":
		return reply{}, fail(400, "UnsupportedOperation", "the sandbox knows flow logs of VPCs into log groups only")
	case k.str("TrafficType") == "":
		return reply{}, fail(400, "MissingParameter", "The request must contain the parameter TrafficType")
	case group == "":
		return reply{}, fail(400, "InvalidParameter", "LogDestination can't be empty if LogGroupName is not provided.")
	case role == "":
		return reply{}, fail(400, "InvalidParameter", "DeliverLogsPermissionArn can't be empty if LogDestinationType is cloud-watch-logs.")
	}
	var made, recorded, failed []any
	var items, unsuccessful []el
	for _, x := range k.list("ResourceId") {
		resource := fmt.Sprint(x)
		if k.thing("vpc", resource) == nil { // reported, and the others are made
			code, message := "InvalidVpcId.NotFound", "The vpc ID '"+resource+"' does not exist"
			unsuccessful = append(unsuccessful, node("item", node("error", leaf("code", code), leaf("message", message)), leaf("resourceId", resource)))
			failed = append(failed, map[string]any{"error": map[string]any{"code": code, "message": message}, "resourceId": resource})
			continue
		}
		for _, other := range k.region().Things[flowLogs] {
			if other.Attr["resourceId"] == resource && other.Attr["logGroupName"] == group {
				return reply{}, fail(400, "FlowLogAlreadyExists", "Error. There is an existing Flow Log with the same configuration and log destination.")
			}
		}
		id := "fl-0" + randomText(16, "0123456789abcdef")
		made = append(made, &Thing{ID: id, ARN: k.ec2ARN("vpc-flow-log", id), Tags: k.specifiedTags("vpc-flow-log"), Attr: map[string]any{
			"resourceId": resource, "trafficType": k.str("TrafficType"), "logGroupName": group, "deliverLogsPermissionArn": role,
		}})
		items, recorded = append(items, leaf("item", id)), append(recorded, id)
	}
	for _, t := range made {
		k.region().Put(flowLogs, t.(*Thing))
	}
	response := map[string]any{"xmlns": ec2Namespace, "requestId": k.RequestID, "unsuccessful": wrappedSet(failed), "flowLogIdSet": wrappedSet(recorded)}
	if token := k.str("ClientToken"); token != "" {
		response["clientToken"] = token
	}
	return reply{
		body:     []el{leaf("clientToken", k.str("ClientToken")), node("flowLogIdSet", items...), node("unsuccessful", unsuccessful...)},
		elements: map[string]any{"CreateFlowLogsResponse": response},
	}, nil
}

// wrappedSet is a list in the record of a newer operation: "" if there is nothing.
func wrappedSet(list []any) any {
	if len(list) == 0 {
		return ""
	}
	return map[string]any{"item": single(list)}
}

func deleteFlowLogsNeeds(k *call) []need {
	var out []need
	for _, id := range k.list("FlowLogId") {
		id := fmt.Sprint(id)
		out = append(out, k.thingNeed("ec2:DeleteFlowLogs", "vpc-flow-log", id, k.thing(flowLogs, id)))
	}
	if out == nil {
		out = anyOf("ec2:DeleteFlowLogs")(k)
	}
	return out
}

var flowLogID = regexp.MustCompile(`^fl-([0-9a-f]{8}|[0-9a-f]{17})$`)

func deleteFlowLogs(k *call) (reply, error) {
	ids := k.list("FlowLogId")
	if len(ids) == 0 {
		return reply{}, fail(400, "MissingParameter", "The request must contain the parameter FlowLogId")
	}
	for _, id := range ids {
		if !flowLogID.MatchString(fmt.Sprint(id)) {
			return reply{}, fail(400, "InvalidParameterValue", "1 validation error detected: Value '%v' at 'flowLogId' has an invalid format", ids)
		}
	}
	// What is not there is reported, and the others are deleted.
	var items []el
	var recorded []any
	for _, id := range ids {
		if all := k.region().Things[flowLogs]; all[fmt.Sprint(id)] != nil {
			delete(all, fmt.Sprint(id))
			continue
		}
		msg := fmt.Sprintf("Unable to find flow log with id %v", id)
		items = append(items, node("item", node("error", leaf("code", "InvalidFlowLogId.NotFound"), leaf("message", msg)), leaf("resourceId", id)))
		recorded = append(recorded, map[string]any{"error": map[string]any{"code": "InvalidFlowLogId.NotFound", "message": msg}, "resourceId": id})
	}
	return reply{
		body: []el{node("unsuccessful", items...)},
		elements: map[string]any{"DeleteFlowLogsResponse": map[string]any{
			"xmlns": ec2Namespace, "requestId": k.RequestID, "unsuccessful": wrappedSet(recorded),
		}},
	}, nil
}

func describeFlowLogs(k *call) (reply, error) {
	all, filters, items := k.region().Things[flowLogs], k.filters(), []el{}
	for _, id := range slices.Sorted(maps.Keys(all)) {
		t := all[id]
		ok, err := passes(filters, map[string]string{"resource-id": fmt.Sprint(t.Attr["resourceId"])}, t.Tags)
		if err != nil {
			return reply{}, err
		}
		if !ok {
			continue
		}
		items = append(items, node("item", append([]el{
			leaf("flowLogId", id), leaf("flowLogStatus", "ACTIVE"), leaf("logDestinationType", "cloud-watch-logs"), leaf("logGroupName", t.Attr["logGroupName"]),
			leaf("resourceId", t.Attr["resourceId"]), leaf("trafficType", t.Attr["trafficType"]), leaf("deliverLogsPermissionArn", t.Attr["deliverLogsPermissionArn"]),
		}, tagSet(t.Tags)...)...))
	}
	return k.pageOf("flowLogSet", items)
}
