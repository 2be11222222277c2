package cloud

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

// Real records of CreateLogGroup (requestParameters as sent, responseElements
// null) and of a denied DeleteLogStream were at hand; that the other calls leave
// the same is inferred. The refusal of PutRetentionPolicy names the resource
// "<the group's ARN>:log-stream:", as this service's errors do.
func logsService() service {
	op := func(action string, do func(*call) (reply, error)) operation {
		return operation{needs: onLogGroup("logs:" + action), do: do, params: asSent}
	}
	return service{
		source: "logs.amazonaws.com", wire: json11{}, apiVersion: "20140328",
		ops: map[string]operation{
			"CreateLogGroup":                {needs: newLogGroup, do: createLogGroup, params: asSent},
			"DeleteLogGroup":                op("DeleteLogGroup", deleteLogGroup),
			"PutRetentionPolicy":            op("PutRetentionPolicy", putRetentionPolicy),
			"PutMetricFilter":               op("PutMetricFilter", putMetricFilter),
			"DeleteMetricFilter":            op("DeleteMetricFilter", deleteMetricFilter),
			"DescribeMetricFilters":         {readOnly: true, needs: onLogGroup("logs:DescribeMetricFilters"), do: describeMetricFilters, params: asSent},
			"DescribeLogGroups":             {readOnly: true, needs: anyOf("logs:DescribeLogGroups"), do: describeLogGroups, params: asSent},
			"ListTagsForResource":           {readOnly: true, needs: onLogGroupTags, do: listLogGroupTags, params: asSent},
			"CreateLogStream":               op("CreateLogStream", createLogStream),
			"PutLogEvents":                  {data: true, needs: onLogGroup("logs:PutLogEvents"), do: putLogEvents, params: asSent},
			"FilterLogEvents":               {readOnly: true, data: true, needs: onLogGroup("logs:FilterLogEvents"), do: filterLogEvents, params: asSent},
			"PutLogGroupDeletionProtection": {needs: onLogGroupIdentifier("logs:PutLogGroupDeletionProtection"), do: protectLogGroup, params: asSent},
		},
		seed: func(w *Seed, account, region string) {
			r := w.Accounts[account].Regions[region]
			r.Put(logGroups, &Thing{
				ID: retentionGroup, ARN: logGroupARN(account, region, retentionGroup), Tags: map[string]string{"auditcanary": "fixture"},
				Attr: map[string]any{"retentionInDays": 365.0},
			})
			r.Put(logGroups, &Thing{
				ID: protectedGroup, ARN: logGroupARN(account, region, protectedGroup), Tags: map[string]string{"auditcanary": "fixture"},
				Attr: map[string]any{"deletionProtectionEnabled": true},
			})
		},
		fixtures: func(_, region string) map[string]string {
			if region == "*" {
				return nil
			}
			return map[string]string{"log_group": retentionGroup, "protected_log_group": protectedGroup}
		},
	}
}

// Kinds of things. A metric filter's id is its log group's name, a colon, its own.
const (
	logGroups     = "log group"
	metricFilters = "metric filter"

	retentionGroup = "auditcanary-retention"
	protectedGroup = "auditcanary-protected"
)

func logGroupARN(account, region, name string) string {
	return "arn:aws:logs:" + region + ":" + account + ":log-group:" + name
}

// asSent: parameters are recorded under the names they were sent with: where those
// begin with small letters already, and hold maps whose keys are no names of the API.
func asSent(k *call) any {
	if len(k.Params) == 0 {
		return nil
	}
	return k.Params
}

func (k *call) logGroup() *Thing { return k.region().Things[logGroups][k.str("logGroupName")] }

func (k *call) logGroupARN() string {
	return logGroupARN(k.Principal.Account, k.Region, k.str("logGroupName"))
}

func onLogGroup(action string) func(*call) []need {
	return func(k *call) []need {
		n := need{action: action, resource: k.logGroupARN() + ":log-stream:", context: policy.Context{}}
		if g := k.logGroup(); g != nil {
			tagKeys(n.context, "aws:ResourceTag/", g.Tags)
		}
		return []need{n}
	}
}

// newLogGroup: to tag what one makes is a permission of its own.
func newLogGroup(k *call) []need {
	tags := stringMap(k.Params["tags"])
	needs := []need{{action: "logs:CreateLogGroup", resource: k.logGroupARN() + ":log-stream:", context: requestTags(policy.Context{}, tags)}}
	if len(tags) > 0 {
		needs = append(needs, need{action: "logs:TagResource", resource: k.logGroupARN(), context: requestTags(policy.Context{}, tags)})
	}
	return needs
}

func onLogGroupTags(k *call) []need {
	return []need{{action: "logs:ListTagsForResource", resource: k.str("resourceArn")}}
}

// stringMap reads a map of strings, nil if there is none.
func stringMap(v any) map[string]string {
	m, _ := v.(map[string]any)
	if len(m) == 0 {
		return nil
	}
	out := map[string]string{}
	for name, x := range m {
		out[name], _ = x.(string)
	}
	return out
}

var logGroupName = regexp.MustCompile(`^[.\-_/#A-Za-z0-9]{1,512}$`)

func (k *call) knownLogGroup() (*Thing, error) {
	if !logGroupName.MatchString(k.str("logGroupName")) {
		return nil, fail(400, "InvalidParameterException", "1 validation error detected: Value at 'logGroupName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\.\\-_/#A-Za-z0-9]+")
	}
	if g := k.logGroup(); g != nil {
		return g, nil
	}
	return nil, fail(400, "ResourceNotFoundException", "The specified log group does not exist.")
}

func createLogGroup(k *call) (reply, error) {
	for _, unknown := range []string{"kmsKeyId", "logGroupClass", "deletionProtectionEnabled"} {
		if k.Params[unknown] != nil {
			return reply{}, fail(501, "NotImplemented", "the sandbox makes no log group with %s", unknown)
		}
	}
	g, err := k.knownLogGroup()
	if g != nil {
		return reply{}, fail(400, "ResourceAlreadyExistsException", "The specified log group already exists")
	}
	if e := asAPIError(err); e.code != "ResourceNotFoundException" {
		return reply{}, err
	}
	k.region().Put(logGroups, &Thing{ID: k.str("logGroupName"), ARN: k.logGroupARN(), Tags: stringMap(k.Params["tags"]), Attr: map[string]any{}})
	return reply{}, nil
}

// deleteLogGroup takes the group's metric filters with it.
func deleteLogGroup(k *call) (reply, error) {
	g, err := k.knownLogGroup()
	if err != nil {
		return reply{}, err
	}
	if g.Attr["deletionProtectionEnabled"] == true { // user guide, "Protecting log groups from deletion"
		return reply{}, fail(400, "ValidationException", "Cannot delete log group with deletion protection enabled. Disable deletion protection first.")
	}
	things := k.region().Things
	delete(things[logGroups], g.ID)
	maps.DeleteFunc(things[metricFilters], func(id string, _ *Thing) bool { return strings.HasPrefix(id, g.ID+":") })
	return reply{}, nil
}

var retentions = []int{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}

func putRetentionPolicy(k *call) (reply, error) {
	g, err := k.knownLogGroup()
	if err != nil {
		return reply{}, err
	}
	days, err := k.integer("retentionInDays", 0)
	if err != nil || !slices.Contains(retentions, days) {
		return reply{}, fail(400, "InvalidParameterException", "1 validation error detected: Value at 'retentionInDays' failed to satisfy constraint: Member must satisfy enum value set: %v", retentions)
	}
	g.Attr["retentionInDays"] = float64(days)
	return reply{}, nil
}

// maxMetricFilters is AWS's limit for a log group.
const maxMetricFilters = 100

func putMetricFilter(k *call) (reply, error) {
	g, err := k.knownLogGroup()
	if err != nil {
		return reply{}, err
	}
	name := k.str("filterName")
	if name == "" || strings.ContainsAny(name, ":*") || len(k.list("metricTransformations")) != 1 {
		return reply{}, fail(400, "InvalidParameterException", "A metric filter has a name without : and *, and one metric transformation")
	}
	filters := k.region().Things[metricFilters]
	id, n := g.ID+":"+name, 0
	for other := range filters {
		if strings.HasPrefix(other, g.ID+":") && other != id {
			n++
		}
	}
	if n >= maxMetricFilters {
		return reply{}, fail(400, "LimitExceededException", "Resource limit exceeded.")
	}
	k.region().Put(metricFilters, &Thing{ID: id, Attr: map[string]any{"filterPattern": k.str("filterPattern"), "metricTransformations": k.list("metricTransformations")}})
	return reply{}, nil
}

func deleteMetricFilter(k *call) (reply, error) {
	g, err := k.knownLogGroup()
	if err != nil {
		return reply{}, err
	}
	id := g.ID + ":" + k.str("filterName")
	if k.region().Things[metricFilters][id] == nil {
		return reply{}, fail(400, "ResourceNotFoundException", "The specified metric filter does not exist.")
	}
	delete(k.region().Things[metricFilters], id)
	return reply{}, nil
}

func describeLogGroups(k *call) (reply, error) {
	size, err := k.integer("limit", 50)
	if err != nil || size < 1 || size > 50 {
		return reply{}, fail(400, "InvalidParameterException", "1 validation error detected: Value at 'limit' failed to satisfy constraint: Member must have value less than or equal to 50")
	}
	r := k.region()
	names, next := namesPage(slices.Sorted(maps.Keys(r.Things[logGroups])), k.str("logGroupNamePrefix"), k.str("nextToken"), size)
	list := []any{}
	for _, name := range names {
		g, filters := r.Things[logGroups][name], 0
		for id := range r.Things[metricFilters] {
			if strings.HasPrefix(id, name+":") {
				filters++
			}
		}
		one := map[string]any{
			"logGroupName": name, "arn": g.ARN + ":*", "logGroupArn": g.ARN, "creationTime": k.Time.UnixMilli(),
			"metricFilterCount": filters, "storedBytes": 0, "logGroupClass": "STANDARD",
		}
		one["deletionProtectionEnabled"] = g.Attr["deletionProtectionEnabled"] == true
		if days := g.Attr["retentionInDays"]; days != nil { // without one, events are kept for ever
			one["retentionInDays"] = days
		}
		if protected := g.Attr["deletionProtectionEnabled"]; protected != nil {
			one["deletionProtectionEnabled"] = protected
		}
		list = append(list, one)
	}
	body := map[string]any{"logGroups": list}
	if next != "" {
		body["nextToken"] = next
	}
	return reply{body: body}, nil
}

// namesPage is one page of the sorted names that begin with prefix. A token is the
// last name of the page before.
func namesPage(names []string, prefix, token string, size int) (page []string, next string) {
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, prefix) || token != "" && n <= token })
	if len(names) <= size {
		return names, ""
	}
	return names[:size], names[size-1]
}

func listLogGroupTags(k *call) (reply, error) {
	for _, g := range k.region().Things[logGroups] {
		if g.ARN == k.str("resourceArn") {
			tags := g.Tags
			if tags == nil {
				tags = map[string]string{}
			}
			return reply{body: map[string]any{"tags": tags}}, nil
		}
	}
	return reply{}, fail(400, "ResourceNotFoundException", "The specified resource does not exist.")
}

func describeMetricFilters(k *call) (reply, error) {
	g, err := k.knownLogGroup()
	if err != nil {
		return reply{}, err
	}
	size, err := k.integer("limit", 50)
	if err != nil || size < 1 || size > 50 {
		return reply{}, fail(400, "InvalidParameterException", "1 validation error detected: Value at 'limit' failed to satisfy constraint: Member must have value less than or equal to 50")
	}
	all := k.region().Things[metricFilters]
	prefix, token := g.ID+":"+k.str("filterNamePrefix"), k.str("nextToken")
	names, next := namesPage(slices.Sorted(maps.Keys(all)), prefix, token, size)
	list := []any{}
	for _, id := range names {
		one := maps.Clone(all[id].Attr)
		one["filterName"], one["logGroupName"], one["creationTime"] = strings.TrimPrefix(id, g.ID+":"), g.ID, k.Time.UnixMilli()
		list = append(list, one)
	}
	body := map[string]any{"metricFilters": list}
	if next != "" {
		body["nextToken"] = next
	}
	return reply{body: body}, nil
}
