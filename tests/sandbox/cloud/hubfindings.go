package cloud

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// importFinding brings a GuardDuty finding into the hub, as ASFF.
func (c *Cloud) importFinding(at place, d detection, f map[string]any, now time.Time) {
	key, _ := inside(f, "resource", "accessKeyDetails").(map[string]any)
	fields := map[string]any{
		"aws/securityhub/ProductName": "GuardDuty", "aws/securityhub/CompanyName": "Amazon",
		"aws/securityhub/FindingId": "arn:aws:securityhub:" + at.region + "::product/aws/guardduty/" + field(f, "arn"),
	}
	flatten("aws/guardduty/service", f["service"], fields)
	c.putFinding(at, map[string]any{
		"SchemaVersion": "2018-10-08", "Id": f["arn"], "ProductArn": "arn:aws:securityhub:" + at.region + "::product/aws/guardduty", "ProductName": "GuardDuty", "CompanyName": "Amazon",
		"GeneratorId": detectorARN(at.account, at.region, fmt.Sprint(inside(f, "service", "detectorId"))), "AwsAccountId": at.account, "Region": at.region,
		"Types": []any{d.asff}, "Title": f["title"], "Description": f["description"], "CreatedAt": f["createdAt"], "UpdatedAt": f["updatedAt"], "ProcessedAt": stamp(now),
		"FirstObservedAt": inside(f, "service", "eventFirstSeen"), "LastObservedAt": inside(f, "service", "eventLastSeen"),
		"Severity": map[string]any{"Label": "LOW", "Product": d.severity, "Normalized": 40.0}, "ProductFields": fields, "RecordState": "ACTIVE",
		"Resources": []any{map[string]any{
			"Type": "AwsIamAccessKey", "Id": "AWS::IAM::AccessKey:" + field(key, "accessKeyId"), "Partition": "aws", "Region": at.region,
			"Details": map[string]any{"AwsIamAccessKey": map[string]any{"PrincipalId": key["principalId"], "PrincipalType": key["userType"], "PrincipalName": key["userName"]}},
		}},
	})
}

// flatten writes a structure as ProductFields have it: one text for each leaf.
func flatten(name string, v any, into map[string]any) {
	if m, is := v.(map[string]any); is {
		for part, x := range m {
			flatten(name+"/"+part, x, into)
		}
		return
	}
	into[name] = fmt.Sprint(v)
}

// putFinding makes or updates a finding. The workflow of one that is there is left
// to people (BatchImportFindings).
func (c *Cloud) putFinding(at place, f map[string]any) {
	if a := c.world.Accounts[at.account]; a == nil || a.Regions[at.region] == nil || a.Regions[at.region].Things[hubKind]["default"] == nil {
		return
	}
	if c.watched.hub == nil {
		c.watched.hub = map[place]map[string]any{}
	}
	if c.watched.hub[at] == nil {
		c.watched.hub[at] = map[string]any{}
	}
	if old, _ := c.watched.hub[at][field(f, "Id")].(map[string]any); old != nil {
		f["Workflow"] = old["Workflow"]
	} else if f["Workflow"] == nil {
		f["Workflow"] = map[string]any{"Status": "NEW"}
	}
	c.watched.hub[at][field(f, "Id")] = f
}

func batchImportFindings(k *call) (reply, error) {
	if _, err := k.insights(); err != nil {
		return reply{}, err
	}
	all := k.list("Findings")
	if len(all) == 0 || len(all) > 100 {
		return reply{}, fail(400, "InvalidInputException", "Invalid parameter: Findings")
	}
	failed := []any{}
	for _, one := range all {
		f, _ := one.(map[string]any)
		missing := ""
		for _, name := range []string{"SchemaVersion", "Id", "ProductArn", "GeneratorId", "AwsAccountId", "CreatedAt", "UpdatedAt", "Title", "Description"} {
			if field(f, name) == "" {
				missing = name
			}
		}
		if missing != "" {
			failed = append(failed, map[string]any{"Id": field(f, "Id"), "ErrorCode": "InvalidInput", "ErrorMessage": "Finding does not adhere to Amazon Finding Format. data should have required property '" + missing + "'."})
			continue
		}
		k.cloud.putFinding(k.place(), maps.Clone(f))
	}
	return reply{body: map[string]any{"SuccessCount": len(all) - len(failed), "FailedCount": len(failed), "FailedFindings": failed}}, nil
}

// batchUpdateFindings is what people do: here, to the workflow.
func batchUpdateFindings(k *call) (reply, error) {
	if _, err := k.insights(); err != nil {
		return reply{}, err
	}
	workflow, _ := k.Params["Workflow"].(map[string]any)
	if !slices.Contains([]string{"NEW", "NOTIFIED", "RESOLVED", "SUPPRESSED"}, field(workflow, "Status")) {
		return reply{}, fail(501, "NotImplemented", "the sandbox updates the workflow of findings, and nothing else")
	}
	done, not := []any{}, []any{}
	for _, id := range k.list("FindingIdentifiers") {
		f, _ := k.cloud.watched.hub[k.place()][field(id, "Id")].(map[string]any)
		if f == nil || f["ProductArn"] != field(id, "ProductArn") {
			not = append(not, map[string]any{"FindingIdentifier": id, "ErrorCode": "FindingNotFound", "ErrorMessage": "Finding Not Found"})
			continue
		}
		f["Workflow"] = workflow
		done = append(done, id)
	}
	return reply{body: map[string]any{"ProcessedFindings": done, "UnprocessedFindings": not}}, nil
}

func getHubFindings(k *call) (reply, error) {
	if _, err := k.insights(); err != nil {
		return reply{}, err
	}
	size, err := k.integer("MaxResults", 10)
	if err != nil || size < 1 || size > 100 {
		return reply{}, fail(400, "InvalidInputException", "Invalid parameter: MaxResults")
	}
	filters, _ := k.Params["Filters"].(map[string]any)
	all, ids := k.cloud.watched.hub[k.place()], []string{}
	for id, f := range all {
		ok := true
		for name, want := range filters {
			one, err := hubFilter(f.(map[string]any), name, want)
			if err != nil {
				return reply{}, err
			}
			ok = ok && one
		}
		if ok {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	these, next := page(ids, k.str("NextToken"), size)
	list := []any{}
	for _, id := range these {
		list = append(list, all[id])
	}
	body := map[string]any{"Findings": list}
	if next != "" {
		body["NextToken"] = next
	}
	return reply{body: body}, nil
}

// hubFilter says whether a finding passes the filter on one attribute: any of the
// values that are asked for, and none of those that are excluded.
func hubFilter(f map[string]any, name string, want any) (bool, error) {
	values := []string{}
	switch name {
	case "UpdatedAt", "CreatedAt", "ProductName", "GeneratorId", "Id", "RecordState", "AwsAccountId":
		values = append(values, field(f, name))
	case "WorkflowStatus":
		values = append(values, field(f["Workflow"], "Status"))
	case "Type":
		types, _ := f["Types"].([]any)
		for _, t := range types {
			values = append(values, fmt.Sprint(t))
		}
	default:
		return false, fail(501, "NotImplemented", "the sandbox filters no findings by %s", name)
	}
	list, _ := want.([]any)
	some, asked := false, false
	for _, w := range list {
		value, comparison := field(w, "Value"), field(w, "Comparison")
		is := slices.ContainsFunc(values, func(v string) bool {
			switch {
			case strings.HasPrefix(comparison, "PREFIX"):
				return strings.HasPrefix(v, value)
			case comparison == "":
				t, err := time.Parse(time.RFC3339, v)
				from, noStart := time.Parse(time.RFC3339, field(w, "Start"))
				to, noEnd := time.Parse(time.RFC3339, field(w, "End"))
				return err == nil && (noStart != nil || !t.Before(from)) && (noEnd != nil || !t.After(to))
			default:
				return v == value
			}
		})
		if strings.Contains(comparison, "NOT") {
			if is {
				return false, nil
			}
			continue
		}
		asked, some = true, some || is
	}
	return some || !asked, nil
}
