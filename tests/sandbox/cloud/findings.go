package cloud

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// A detection is one thing that GuardDuty finds in a record. The types are those
// that follow from one successful call; of AnomalousBehavior nothing is made, as
// that follows from what GuardDuty has learnt of the account.
type detection struct {
	kind     string // finding type
	asff     string // Security Hub's name for it ("Integrating with AWS Security Hub")
	severity float64
	title    string // with the resource
	// of names the resource's kind and name; "" = the record shows no such thing.
	of func(event string, params map[string]any) (kind, name string)
}

var detections = []detection{
	{"Stealth:IAMUser/CloudTrailLoggingDisabled", "TTPs/Defense Evasion/Stealth:IAMUser-CloudTrailLoggingDisabled", 2, "AWS CloudTrail trail %s was disabled.",
		func(event string, params map[string]any) (string, string) {
			switch event {
			case "StopLogging", "DeleteTrail", "UpdateTrail":
				return "AWS::CloudTrail::Trail", field(params, "name")
			}
			return "", ""
		}},
	{"Policy:S3/BucketBlockPublicAccessDisabled", "Effects/Data Exposure/Policy:S3-BucketBlockPublicAccessDisabled", 2, "Amazon S3 Block Public Access was disabled for S3 bucket %s.",
		func(event string, params map[string]any) (string, string) {
			config, _ := params["PublicAccessBlockConfiguration"].(map[string]any)
			off := false
			for _, v := range config {
				off = off || v == false
			}
			if event == "DeleteBucketPublicAccessBlock" || event == "PutBucketPublicAccessBlock" && off {
				return "AWS::S3::Bucket", field(params, "bucketName")
			}
			return "", ""
		}},
}

// detect lets the detector of a record's own account and region look at it.
func (c *Cloud) detect(at place, rec map[string]any, now time.Time) {
	if rec["errorCode"] != nil {
		return
	}
	params, _ := rec["requestParameters"].(map[string]any)
	for _, d := range detections {
		if kind, name := d.of(field(rec, "eventName"), params); name != "" {
			c.alertLater("guardduty", d.kind, at, rec, now.Add(findingDelay), func(now time.Time) { c.find(at, d, kind, name, rec, now) })
		}
	}
}

// find makes a finding, or folds the record into the one that there is of the same
// type, caller (a role's sessions are one) and resource. What GuardDuty takes for
// the same is its secret; that a finding shows the newest call's details, and that
// one which somebody archived is not taken up again, is inferred.
func (c *Cloud) find(at place, d detection, kind, name string, rec map[string]any, now time.Time) {
	things := map[string]map[string]*Thing{}
	if a := c.world.Accounts[at.account]; a != nil && a.Regions[at.region] != nil {
		things = a.Regions[at.region].Things
	}
	detector := ""
	for id, thing := range things[detectorKind] { // a region has one
		if thing.Attr["status"] == "ENABLED" {
			detector = id
		}
	}
	if detector == "" {
		return // nobody looks here
	}
	who, _ := rec["userIdentity"].(map[string]any)
	role, _, _ := strings.Cut(field(who, "principalId"), ":")
	id := digest(detector, d.kind, role, kind, name)[:32]
	all := c.watched.findings[at]
	if all == nil {
		all = map[string]any{}
		if c.watched.findings == nil {
			c.watched.findings = map[place]map[string]any{}
		}
		c.watched.findings[at] = all
	}
	for n := 2; all[id] != nil && inside(all[id], "service", "archived") == true && inside(all[id], "service", "suppressed") != true; n++ {
		id = digest(detector, d.kind, role, kind, name, fmt.Sprint(n))[:32]
	}
	title := fmt.Sprintf(d.title, name)
	f := map[string]any{
		"schemaVersion": "2.0", "accountId": at.account, "region": at.region, "partition": "aws", "id": id, "type": d.kind, "severity": d.severity, "title": title,
		"arn": detectorARN(at.account, at.region, detector) + "/finding/" + id, "createdAt": stamp(now), "updatedAt": stamp(now),
		"description": fmt.Sprintf("%s It was done by %s calling %s.", title, userName(who), field(rec, "eventName")),
		"resource": map[string]any{"resourceType": "AccessKey", "accessKeyDetails": map[string]any{
			"accessKeyId": who["accessKeyId"], "principalId": who["principalId"], "userName": userName(who), "userType": who["type"],
		}},
		"service": map[string]any{
			"serviceName": "guardduty", "detectorId": detector, "resourceRole": "TARGET", "featureName": "CloudTrail", "count": 1.0, "archived": false,
			"eventFirstSeen": rec["eventTime"], "eventLastSeen": rec["eventTime"], "additionalInfo": map[string]any{"value": "{}", "type": "default"},
			"action": map[string]any{"actionType": "AWS_API_CALL", "awsApiCallAction": map[string]any{
				"api": rec["eventName"], "serviceName": rec["eventSource"], "callerType": "Remote IP", "userAgent": rec["userAgent"],
				"remoteIpDetails": map[string]any{"ipAddressV4": rec["sourceIPAddress"]}, "affectedResources": map[string]any{kind: name},
			}},
		},
	}
	service := f["service"].(map[string]any)
	if old := all[id]; old != nil {
		was := inside(old, "service").(map[string]any)
		f["createdAt"], service["count"], service["eventFirstSeen"] = inside(old, "createdAt"), was["count"].(float64)+1, was["eventFirstSeen"]
	}
	if suppressing(things[filterKind], detector, f) {
		service["archived"], service["suppressed"] = true, true
	}
	all[id] = f
	if service["archived"] != true { // what is suppressed is sent nowhere ("Suppression rules")
		shown := shownFinding(f)
		c.alertLater("securityhub", d.kind, at, rec, now.Add(hubDelay), func(now time.Time) { c.importFinding(at, d, shown, now) })
	}
}

func userName(who map[string]any) string {
	if issuer, _ := inside(who, "sessionContext", "sessionIssuer", "userName").(string); issuer != "" {
		return issuer
	}
	return field(who, "userName")
}

func inside(v any, path ...string) any { v, _ = selected(v, path); return v }

// shownFinding is a finding without what only the sandbox knows of it: the service
// does not say why one is archived.
func shownFinding(f map[string]any) map[string]any {
	f = maps.Clone(f)
	service := maps.Clone(f["service"].(map[string]any))
	delete(service, "suppressed")
	f["service"] = service
	return f
}

func suppressing(filters map[string]*Thing, detector string, f map[string]any) bool {
	for _, filter := range filters {
		criteria, _ := filter.Attr["findingCriteria"].(map[string]any)
		if ok, err := meets(f, criteria); ok && err == nil && filter.Attr["detector"] == detector && filter.Attr["action"] == "ARCHIVE" {
			return true
		}
	}
	return false
}

// meets says whether a finding is among those that criteria ask for.
func meets(f map[string]any, criteria map[string]any) (bool, error) {
	criterion, _ := criteria["criterion"].(map[string]any)
	for name, c := range criterion {
		conditions, _ := c.(map[string]any)
		v, _ := selected(f, strings.Split(name, "."))
		for op, want := range conditions {
			var ok bool
			switch op {
			case "eq", "equals":
				ok = amongValues(want, v)
			case "neq", "notEquals":
				ok = !amongValues(want, v)
			case "gt", "gte", "lt", "lte", "greaterThan", "greaterThanOrEqual", "lessThan", "lessThanOrEqual":
				n, isNumber := v.(float64)
				if t, err := time.Parse(time.RFC3339, fmt.Sprint(v)); err == nil {
					n, isNumber = float64(t.UnixMilli()), true
				}
				limit, limited := want.(float64)
				greater, orEqual := strings.HasPrefix(op, "g"), strings.HasSuffix(op, "te") || strings.HasSuffix(op, "Equal")
				ok = isNumber && limited && (greater && n > limit || !greater && n < limit || orEqual && n == limit)
			default:
				return false, errBadParams
			}
			if !ok {
				return false, nil
			}
		}
	}
	return true, nil
}

func amongValues(list, v any) bool {
	values, _ := list.([]any)
	return slices.Contains(values, any(fmt.Sprint(v)))
}

func listFindings(k *call) (reply, error) {
	d, err := k.detector()
	if err != nil {
		return reply{}, err
	}
	size, err := k.integer("maxResults", 50)
	if err != nil || size < 1 || size > 50 {
		return reply{}, errBadParams
	}
	criteria, _ := k.Params["findingCriteria"].(map[string]any)
	ids := []string{}
	for id, f := range k.cloud.watched.findings[k.place()] {
		ok, err := meets(f.(map[string]any), criteria)
		if err != nil {
			return reply{}, err
		}
		if ok && inside(f, "service", "detectorId") == d.ID {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	these, next := page(ids, k.str("nextToken"), size)
	return reply{body: listing("findingIds", these, next)}, nil
}

func (k *call) place() place { return place{k.Principal.Account, k.Region} }

func getFindings(k *call) (reply, error) {
	d, err := k.detector()
	if err != nil {
		return reply{}, err
	}
	if n := len(k.list("findingIds")); n == 0 || n > 50 {
		return reply{}, errBadParams
	}
	list := []any{}
	for _, id := range k.list("findingIds") {
		f, _ := k.cloud.watched.findings[k.place()][fmt.Sprint(id)].(map[string]any)
		if f != nil && inside(f, "service", "detectorId") == d.ID {
			list = append(list, shownFinding(f))
		}
	}
	return reply{body: map[string]any{"findings": list}}, nil
}

// archiveFindings is what a person does with findings that are dealt with.
func archiveFindings(k *call) (reply, error) {
	if _, err := k.detector(); err != nil {
		return reply{}, err
	}
	for _, id := range k.list("findingIds") {
		f, _ := k.cloud.watched.findings[k.place()][fmt.Sprint(id)].(map[string]any)
		if f == nil {
			return reply{}, errNoSuch
		}
		f["service"].(map[string]any)["archived"] = true
		if hub, _ := k.cloud.watched.hub[k.place()][fmt.Sprint(f["arn"])].(map[string]any); hub != nil {
			hub["RecordState"] = "ARCHIVED"
		}
	}
	return reply{}, nil
}
