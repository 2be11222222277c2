package cloud

import (
	"encoding/base64"
	"maps"
	"slices"
	"strings"
	"time"
)

func cloudtrailService() service {
	return service{
		source: "cloudtrail.amazonaws.com", wire: json11{},
		ops: map[string]operation{
			"StopLogging":       {needs: onTrail("cloudtrail:StopLogging", "Name"), do: setLogging(false)},
			"StartLogging":      {needs: onTrail("cloudtrail:StartLogging", "Name"), do: setLogging(true)},
			"PutEventSelectors": {needs: onTrail("cloudtrail:PutEventSelectors", "TrailName"), do: putEventSelectors},
			"UpdateTrail":       {needs: onTrail("cloudtrail:UpdateTrail", "Name"), do: updateTrail},
			"DeleteTrail":       {needs: onTrail("cloudtrail:DeleteTrail", "Name"), do: deleteTrail},
			"GetEventSelectors": {readOnly: true, needs: onTrail("cloudtrail:GetEventSelectors", "TrailName"), do: getEventSelectors},
			"GetTrailStatus":    {readOnly: true, needs: onTrail("cloudtrail:GetTrailStatus", "Name"), do: getTrailStatus},
			"GetTrail":          {readOnly: true, needs: onTrail("cloudtrail:GetTrail", "Name"), do: getTrail},
			"DescribeTrails":    {readOnly: true, needs: anyOf("cloudtrail:DescribeTrails"), do: describeTrails},
			"ListPublicKeys":    {readOnly: true, needs: anyOf("cloudtrail:ListPublicKeys"), do: listPublicKeys},
			"LookupEvents":      {readOnly: true, needs: anyOf("cloudtrail:LookupEvents"), do: lookupEvents},
		},
		seed: seedSelectors,
		fixtures: func(account, region string) map[string]string {
			if region == "*" {
				return map[string]string{"organization_trail_arn": orgTrailARN}
			}
			return map[string]string{"selector_trail": selectorTrail, "multi_region_trail_arn": multiRegionTrailARN(account, region)}
		},
	}
}

const (
	selectorTrail = "auditcanary-selector"
	// eventSelectors are things of a trail's region, by the trail's name.
	eventSelectors = "trail selectors"
)

// seedSelectors deploys the trail whose selectors a canary sets, and gives all
// fixture trails the selectors of one that records nothing.
func seedSelectors(w *Seed, account, region string) {
	r := w.Accounts[account].Regions[region]
	decoy := *r.Trails["auditcanary-decoy"]
	decoy.Name = selectorTrail
	r.Trails[selectorTrail] = &decoy
	multi := decoy
	multi.Name, multi.MultiRegion = multiRegionTrail+region, true
	r.Trails[multi.Name] = &multi
	for name := range r.Trails {
		r.Put(eventSelectors, &Thing{ID: name, Attr: map[string]any{"AdvancedEventSelectors": []any{
			map[string]any{"Name": "auditcanary-nothing", "FieldSelectors": []any{
				map[string]any{"Field": "eventCategory", "Equals": []any{"Data"}},
				map[string]any{"Field": "resources.type", "Equals": []any{"AWS::Lambda::Function"}},
				map[string]any{"Field": "resources.ARN", "Equals": []any{"arn:aws:lambda:" + region + ":" + account + ":function:auditcanary-none"}},
			}},
		}}})
	}
}

// trailARN is the ARN a parameter stands for: itself, or a trail of this account and region.
func (k *call) trailARN(param string) string {
	name := k.str(param)
	if strings.HasPrefix(name, "arn:") {
		return name
	}
	return "arn:aws:cloudtrail:" + k.Region + ":" + k.Principal.Account + ":trail/" + name
}

func onTrail(action, param string) func(*call) []need {
	return func(k *call) []need { return []need{{action: action, resource: k.trailARN(param)}} }
}

// visible are the trails an account sees in a region: its own there, the
// multi-region ones, and the organisation's.
func (k *call) visible() map[string]*Trail {
	out := map[string]*Trail{}
	for id, a := range k.cloud.world.Accounts {
		for name, r := range a.Regions {
			for _, t := range r.Trails {
				mine, here := id == k.Principal.Account || t.Organization, name == k.Region || t.MultiRegion
				if mine && here {
					out["arn:aws:cloudtrail:"+name+":"+id+":trail/"+t.Name] = t
				}
			}
		}
	}
	return out
}

// trail finds the trail a parameter stands for among the visible ones.
func (k *call) trail(param string) (string, *Trail, error) {
	if k.str(param) == "" {
		return "", nil, fail(400, "InvalidTrailNameException", "Trail name cannot be blank!")
	}
	arn, trails := k.trailARN(param), k.visible()
	if t := trails[arn]; t != nil {
		return arn, t, nil
	}
	for a, t := range trails { // the short name of a trail that shadows one of another region
		if t.Name == k.str(param) && strings.Contains(a, ":"+k.Principal.Account+":") {
			return a, t, nil
		}
	}
	return "", nil, fail(400, "TrailNotFoundException", "Unknown trail: %s for the user: %s", arn, k.Principal.Account)
}

// ownTrail is the trail a parameter stands for, if the caller may change it here.
func (k *call) ownTrail(param string) (string, *Trail, error) {
	arn, t, err := k.trail(param)
	switch {
	case err != nil:
		return "", nil, err
	case !strings.Contains(arn, ":"+k.Principal.Account+":"):
		return "", nil, fail(400, "NotOrganizationMasterAccountException", "The trail %s belongs to the organization's management account", arn)
	case t.Home != k.Region:
		return "", nil, fail(400, "InvalidHomeRegionException", "Trail %s must be updated from %s region.", t.Name, t.Home)
	}
	return arn, t, nil
}

func setLogging(on bool) func(*call) (reply, error) {
	return func(k *call) (reply, error) {
		_, t, err := k.ownTrail("Name")
		if err != nil {
			return reply{}, err
		}
		if t.Logging != on {
			t.Logging = on
			if on {
				t.Started = k.Time
			} else {
				t.Stopped = k.Time
			}
		}
		return reply{}, nil
	}
}

func putEventSelectors(k *call) (reply, error) {
	arn, t, err := k.ownTrail("TrailName")
	if err != nil {
		return reply{}, err
	}
	basic, advanced := k.list("EventSelectors"), k.list("AdvancedEventSelectors")
	given := "AdvancedEventSelectors"
	switch {
	case len(basic) > 0 == (len(advanced) > 0):
		return reply{}, fail(400, "InvalidEventSelectorsException", "Specify either EventSelectors or AdvancedEventSelectors, and at least one of them")
	case len(basic) > 5:
		return reply{}, fail(400, "InvalidEventSelectorsException", "A trail takes at most 5 event selectors")
	case len(basic) > 0:
		given = "EventSelectors"
	default:
		if err := checkAdvanced(advanced); err != nil {
			return reply{}, err
		}
	}
	t.CustomSelectors = true
	k.region().Put(eventSelectors, &Thing{ID: t.Name, Attr: map[string]any{given: k.Params[given]}})
	body := map[string]any{"TrailARN": arn, given: k.Params[given]}
	elements, _ := lowerNames(body).(map[string]any)
	return reply{body: body, elements: elements}, nil
}

// checkAdvanced: every selector says of which category it is, and all of them
// together have at most 500 values.
func checkAdvanced(selectors []any) error {
	values := 0
	for _, s := range selectors {
		m, _ := s.(map[string]any)
		fields, _ := m["FieldSelectors"].([]any)
		category := false
		for _, f := range fields {
			category = category || field(f, "Field") == "eventCategory"
			of, _ := f.(map[string]any)
			for operator, v := range of {
				if list, ok := v.([]any); ok && operator != "Field" {
					values += len(list)
				}
			}
		}
		if !category {
			return fail(400, "InvalidEventSelectorsException", "Advanced event selector %q has no field eventCategory", field(s, "Name"))
		}
	}
	if values > 500 {
		return fail(400, "InvalidEventSelectorsException", "%d values in all conditions, more than 500", values)
	}
	return nil
}

func getEventSelectors(k *call) (reply, error) {
	arn, t, err := k.trail("TrailName")
	if err != nil {
		return reply{}, err
	}
	body := map[string]any{"TrailARN": arn}
	if s := k.trailRegion(arn, t).Things[eventSelectors][t.Name]; s != nil {
		maps.Copy(body, s.Attr)
	} else { // what a trail has that nobody gave any
		body["EventSelectors"] = []any{map[string]any{
			"ReadWriteType": "All", "IncludeManagementEvents": true, "DataResources": []any{}, "ExcludeManagementEventSources": []any{},
		}}
	}
	return reply{body: body}, nil
}

func getTrailStatus(k *call) (reply, error) {
	arn, t, err := k.trail("Name")
	if err != nil {
		return reply{}, err
	}
	body := map[string]any{"IsLogging": t.Logging}
	if delivered := k.cloud.opts.Delivered; delivered != nil && strings.HasSuffix(arn, ":trail/"+TrailName) {
		file, digest := delivered(k.Principal.Account, k.Region)
		if !file.IsZero() {
			body["LatestDeliveryTime"], body["LatestDeliveryAttemptTime"], body["LatestDeliveryAttemptSucceeded"] = file.Unix(), file.Format(time.RFC3339), file.Format(time.RFC3339)
		}
		if !digest.IsZero() {
			body["LatestDigestDeliveryTime"] = digest.Unix()
		}
	}
	if !t.Started.IsZero() {
		body["StartLoggingTime"], body["TimeLoggingStarted"] = t.Started.Unix(), t.Started.Format(time.RFC3339)
	}
	if !t.Stopped.IsZero() {
		body["StopLoggingTime"], body["TimeLoggingStopped"] = t.Stopped.Unix(), t.Stopped.Format(time.RFC3339)
	}
	return reply{body: body}, nil
}

func (t *Trail) body(arn string) map[string]any {
	body := map[string]any{
		"Name": t.Name, "TrailARN": arn, "S3BucketName": t.Bucket, "HomeRegion": t.Home,
		"IsMultiRegionTrail": t.MultiRegion, "IncludeGlobalServiceEvents": t.MultiRegion && !t.NoGlobalEvents,
		"IsOrganizationTrail": t.Organization, "LogFileValidationEnabled": t.Validation,
		"HasCustomEventSelectors": t.CustomSelectors, "HasInsightSelectors": false,
	}
	if t.Prefix != "" {
		body["S3KeyPrefix"] = t.Prefix
	}
	if t.LogGroup != "" {
		body["CloudWatchLogsLogGroupArn"] = t.LogGroup
	}
	if t.Key != "" {
		body["KmsKeyId"] = t.Key
	}
	return body
}

func getTrail(k *call) (reply, error) {
	arn, t, err := k.trail("Name")
	if err != nil {
		return reply{}, err
	}
	return reply{body: map[string]any{"Trail": t.body(arn)}}, nil
}

func describeTrails(k *call) (reply, error) {
	var names []string
	for _, n := range k.list("trailNameList") {
		s, _ := n.(string)
		names = append(names, s)
	}
	shadows := k.Params["includeShadowTrails"] != false
	list, trails := []any{}, k.visible()
	for _, arn := range slices.Sorted(maps.Keys(trails)) {
		t := trails[arn]
		shadow := t.Home != k.Region || !strings.Contains(arn, ":"+k.Principal.Account+":")
		if shadow && !shadows || len(names) > 0 && !slices.Contains(names, t.Name) && !slices.Contains(names, arn) {
			continue
		}
		list = append(list, t.body(arn))
	}
	return reply{body: map[string]any{"trailList": list}}, nil
}

func listPublicKeys(k *call) (reply, error) {
	start, end, err := k.between("StartTime", "EndTime")
	if err != nil {
		return reply{}, err
	}
	if end.IsZero() {
		end = k.Time
	}
	if start.IsZero() {
		start = end
	}
	if end.Before(start) {
		return reply{}, fail(400, "InvalidTimeRangeException", "EndTime is before StartTime")
	}
	list := []any{}
	if keys := k.cloud.opts.PublicKeys; keys != nil {
		for _, key := range keys(k.Region, start, end) {
			list = append(list, map[string]any{
				"Value": base64.StdEncoding.EncodeToString(key.DER), "Fingerprint": key.Fingerprint,
				"ValidityStartTime": key.Start.Unix(), "ValidityEndTime": key.End.Unix(),
			})
		}
	}
	return reply{body: map[string]any{"PublicKeyList": list}}, nil
}

// trailRegion is the account's region that a trail is kept in.
func (k *call) trailRegion(arn string, t *Trail) *Region {
	if f := strings.Split(arn, ":"); len(f) > 4 {
		if a := k.cloud.world.Accounts[f[4]]; a != nil && a.Regions[t.Home] != nil {
			return a.Regions[t.Home]
		}
	}
	return k.region()
}

// updateTrail changes what the trail says of itself. The sandbox goes on
// delivering as it began: where to, is not decided here.
func updateTrail(k *call) (reply, error) {
	arn, t, err := k.ownTrail("Name")
	if err != nil {
		return reply{}, err
	}
	for param, at := range map[string]*string{"S3BucketName": &t.Bucket, "S3KeyPrefix": &t.Prefix, "KmsKeyId": &t.Key} {
		if v, given := k.Params[param].(string); given {
			*at = v
		}
	}
	for param, at := range map[string]*bool{"EnableLogFileValidation": &t.Validation, "IsMultiRegionTrail": &t.MultiRegion, "IsOrganizationTrail": &t.Organization} {
		if v, given := k.Params[param].(bool); given {
			*at = v
		}
	}
	if v, given := k.Params["IncludeGlobalServiceEvents"].(bool); given {
		t.NoGlobalEvents = !v
	}
	body := t.body(arn)
	elements, _ := lowerNames(body).(map[string]any)
	return reply{body: body, elements: elements}, nil
}

func deleteTrail(k *call) (reply, error) {
	_, t, err := k.ownTrail("Name")
	if err != nil {
		return reply{}, err
	}
	delete(k.region().Trails, t.Name)
	delete(k.region().Things[eventSelectors], t.Name)
	return reply{}, nil
}
