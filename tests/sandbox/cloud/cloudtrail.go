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
			"StopLogging":    {needs: onTrail("cloudtrail:StopLogging"), do: setLogging(false)},
			"StartLogging":   {needs: onTrail("cloudtrail:StartLogging"), do: setLogging(true)},
			"GetTrailStatus": {readOnly: true, needs: onTrail("cloudtrail:GetTrailStatus"), do: getTrailStatus},
			"GetTrail":       {readOnly: true, needs: onTrail("cloudtrail:GetTrail"), do: getTrail},
			"DescribeTrails": {readOnly: true, needs: anyOf("cloudtrail:DescribeTrails"), do: describeTrails},
			"ListPublicKeys": {readOnly: true, needs: anyOf("cloudtrail:ListPublicKeys"), do: listPublicKeys},
			"LookupEvents":   {readOnly: true, needs: anyOf("cloudtrail:LookupEvents"), do: lookupEvents},
		},
	}
}

// trailARN is the ARN Name stands for: itself, or a trail of this account and region.
func (k *call) trailARN() string {
	name := k.str("Name")
	if strings.HasPrefix(name, "arn:") {
		return name
	}
	return "arn:aws:cloudtrail:" + k.Region + ":" + k.Principal.Account + ":trail/" + name
}

func onTrail(action string) func(*call) []need {
	return func(k *call) []need { return []need{{action: action, resource: k.trailARN()}} }
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

// trail finds the trail Name stands for among the visible ones.
func (k *call) trail() (string, *Trail, error) {
	if k.str("Name") == "" {
		return "", nil, fail(400, "InvalidTrailNameException", "Trail name cannot be blank!")
	}
	arn, trails := k.trailARN(), k.visible()
	if t := trails[arn]; t != nil {
		return arn, t, nil
	}
	for a, t := range trails { // the short name of a trail that shadows one of another region
		if t.Name == k.str("Name") && strings.Contains(a, ":"+k.Principal.Account+":") {
			return a, t, nil
		}
	}
	return "", nil, fail(400, "TrailNotFoundException", "Unknown trail: %s for the user: %s", arn, k.Principal.Account)
}

func setLogging(on bool) func(*call) (reply, error) {
	return func(k *call) (reply, error) {
		arn, t, err := k.trail()
		switch {
		case err != nil:
			return reply{}, err
		case !strings.Contains(arn, ":"+k.Principal.Account+":"):
			return reply{}, fail(400, "NotOrganizationMasterAccountException", "The trail %s belongs to the organization's management account", arn)
		case t.Home != k.Region:
			return reply{}, fail(400, "InvalidHomeRegionException", "Trail %s must be updated from %s region.", t.Name, t.Home)
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

func getTrailStatus(k *call) (reply, error) {
	_, t, err := k.trail()
	if err != nil {
		return reply{}, err
	}
	body := map[string]any{"IsLogging": t.Logging}
	if !t.Started.IsZero() {
		body["StartLoggingTime"], body["TimeLoggingStarted"] = t.Started.Unix(), t.Started.Format(time.RFC3339)
	}
	if !t.Stopped.IsZero() {
		body["StopLoggingTime"], body["TimeLoggingStopped"] = t.Stopped.Unix(), t.Stopped.Format(time.RFC3339)
	}
	return reply{body: body}, nil
}

func (t *Trail) body(arn string) map[string]any {
	return map[string]any{
		"Name": t.Name, "TrailARN": arn, "S3BucketName": t.Bucket, "HomeRegion": t.Home,
		"IsMultiRegionTrail": t.MultiRegion, "IncludeGlobalServiceEvents": t.MultiRegion,
		"IsOrganizationTrail": t.Organization, "LogFileValidationEnabled": t.Validation,
		"HasCustomEventSelectors": t.CustomSelectors, "HasInsightSelectors": false,
	}
}

func getTrail(k *call) (reply, error) {
	arn, t, err := k.trail()
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
