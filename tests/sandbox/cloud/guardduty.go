package cloud

import (
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

// GuardDuty: one detector in every region in use, its findings, and the filters of these.
func guarddutyService() service {
	return service{
		source: "guardduty.amazonaws.com",
		wire: restJSON{routes: []jsonRoute{
			{"GET", "/detector", "ListDetectors"},
			{"GET", "/detector/{detectorId}", "GetDetector"},
			{"POST", "/detector/{detectorId}", "UpdateDetector"},
			{"DELETE", "/detector/{detectorId}", "DeleteDetector"},
			{"POST", "/detector/{detectorId}/findings", "ListFindings"},
			{"POST", "/detector/{detectorId}/findings/get", "GetFindings"},
			{"POST", "/detector/{detectorId}/findings/archive", "ArchiveFindings"},
			{"POST", "/detector/{detectorId}/filter", "CreateFilter"},
			{"GET", "/detector/{detectorId}/filter", "ListFilters"},
			{"GET", "/detector/{detectorId}/filter/{filterName}", "GetFilter"},
			{"DELETE", "/detector/{detectorId}/filter/{filterName}", "DeleteFilter"},
		}},
		ops: map[string]operation{
			"ListDetectors":   {readOnly: true, params: asSent, needs: anyOf("guardduty:ListDetectors"), do: listDetectors},
			"GetDetector":     {readOnly: true, params: asSent, needs: onDetector("guardduty:GetDetector"), do: getDetector},
			"UpdateDetector":  {params: asSent, needs: onDetector("guardduty:UpdateDetector"), do: updateDetector},
			"DeleteDetector":  {params: asSent, needs: onDetector("guardduty:DeleteDetector"), do: deleteDetector},
			"ListFindings":    {readOnly: true, params: asSent, needs: anyOf("guardduty:ListFindings"), do: listFindings},
			"GetFindings":     {readOnly: true, params: asSent, needs: anyOf("guardduty:GetFindings"), do: getFindings},
			"ArchiveFindings": {params: asSent, needs: anyOf("guardduty:ArchiveFindings"), do: archiveFindings},
			"CreateFilter":    {params: asSent, needs: onNewFilter, do: createFilter},
			"ListFilters":     {readOnly: true, params: asSent, needs: anyOf("guardduty:ListFilters"), do: listFilters},
			"GetFilter":       {readOnly: true, params: asSent, needs: onFilter("guardduty:GetFilter"), do: getFilter},
			"DeleteFilter":    {params: asSent, needs: onFilter("guardduty:DeleteFilter"), do: deleteFilter},
		},
		seed: func(w *Seed, account, region string) {
			id := detectorID(account, region)
			w.Accounts[account].Regions[region].Put(detectorKind, &Thing{ID: id, ARN: detectorARN(account, region, id), Tags: map[string]string{"auditcanary": "fixture"},
				Attr: map[string]any{"status": "ENABLED", "findingPublishingFrequency": "SIX_HOURS"}})
		},
		fixtures: func(account, region string) map[string]string {
			if region == "*" {
				return nil
			}
			return map[string]string{"guardduty_detector": detectorID(account, region)}
		},
	}
}

const (
	detectorKind = "guardduty detector"
	filterKind   = "guardduty filter"
	maxFilters   = 100
)

func detectorID(account, region string) string { return digest(account, region, "detector")[:32] }

func detectorARN(account, region, id string) string {
	return "arn:aws:guardduty:" + region + ":" + account + ":detector/" + id
}

func (k *call) detectorARN() string {
	return detectorARN(k.Principal.Account, k.Region, k.str("detectorId"))
}

func onDetector(action string) func(*call) []need {
	return func(k *call) []need {
		n := need{action: action, resource: k.detectorARN(), context: policy.Context{}}
		if d := k.region().Things[detectorKind][k.str("detectorId")]; d != nil {
			tagKeys(n.context, "aws:ResourceTag/", d.Tags)
		}
		return []need{n}
	}
}

func (k *call) filterID() string {
	name := k.str("filterName")
	if name == "" {
		name = k.str("name") // CreateFilter's
	}
	return k.str("detectorId") + "/filter/" + name
}

func (k *call) filterARN() string {
	return detectorARN(k.Principal.Account, k.Region, "") + k.filterID()
}

// onNewFilter: the service authorization reference lists CreateFilter on the
// filter's ARN. That tags on creation need TagResource too is inferred from how
// AWS does it elsewhere.
func onNewFilter(k *call) []need {
	ctx := requestTags(policy.Context{}, mapTags(k.Params["tags"]))
	needs := []need{{action: "guardduty:CreateFilter", resource: k.filterARN(), context: ctx}}
	if len(mapTags(k.Params["tags"])) > 0 {
		needs = append(needs, need{action: "guardduty:TagResource", resource: k.filterARN(), context: ctx})
	}
	return needs
}

func onFilter(action string) func(*call) []need {
	return func(k *call) []need {
		n := need{action: action, resource: k.filterARN(), context: policy.Context{}}
		if f := k.region().Things[filterKind][k.filterID()]; f != nil {
			tagKeys(n.context, "aws:ResourceTag/", f.Tags)
		}
		return []need{n}
	}
}

// GuardDuty has one code for whatever is wrong with a request, and says what in
// the message.
func badRequest(message string) error { return fail(400, "BadRequestException", "%s", message) }

var (
	errNotOwned  = badRequest("The request is rejected because the input detectorId is not owned by the current account.")
	errNoSuch    = badRequest("The request is rejected since no such resource found.")
	errBadParams = badRequest("The request is rejected because an invalid or out-of-range value is specified as an input parameter.")
)

func (k *call) detector() (*Thing, error) {
	if d := k.region().Things[detectorKind][k.str("detectorId")]; d != nil {
		return d, nil
	}
	return nil, errNotOwned
}

func listDetectors(k *call) (reply, error) {
	size, err := k.integer("maxResults", 50)
	if err != nil || size < 1 || size > 50 {
		return reply{}, errBadParams
	}
	ids, next := page(slices.Sorted(maps.Keys(k.region().Things[detectorKind])), k.str("nextToken"), size)
	return reply{body: listing("detectorIds", ids, next)}, nil
}

// listing is a page of a list; what there is none of is left out.
func listing(name string, list any, next string) map[string]any {
	body := map[string]any{name: list}
	if next != "" {
		body["nextToken"] = next
	}
	return body
}

func getDetector(k *call) (reply, error) {
	d, err := k.detector()
	if err != nil {
		return reply{}, err
	}
	body := maps.Clone(d.Attr)
	body["tags"] = d.Tags
	body["serviceRole"] = "arn:aws:iam::" + k.Principal.Account + ":role/aws-service-role/guardduty.amazonaws.com/AWSServiceRoleForAmazonGuardDuty"
	return reply{body: body}, nil
}

func updateDetector(k *call) (reply, error) {
	d, err := k.detector()
	if err != nil {
		return reply{}, err
	}
	switch enable := k.Params["enable"].(type) {
	case nil:
	case bool:
		d.Attr["status"] = map[bool]string{true: "ENABLED", false: "DISABLED"}[enable]
	default:
		return reply{}, errBadParams
	}
	switch f := k.str("findingPublishingFrequency"); f {
	case "":
	case "FIFTEEN_MINUTES", "ONE_HOUR", "SIX_HOURS":
		d.Attr["findingPublishingFrequency"] = f
	default:
		return reply{}, errBadParams
	}
	return reply{}, nil
}

func deleteDetector(k *call) (reply, error) {
	d, err := k.detector()
	if err != nil {
		return reply{}, err
	}
	things := k.region().Things
	delete(things[detectorKind], d.ID)
	maps.DeleteFunc(things[filterKind], func(_ string, f *Thing) bool { return f.Attr["detector"] == d.ID })
	return reply{}, nil
}

var filterName = regexp.MustCompile(`^[a-zA-Z0-9._-]{3,64}$`)

func createFilter(k *call) (reply, error) {
	d, err := k.detector()
	if err != nil {
		return reply{}, err
	}
	name, action := k.str("name"), k.str("action")
	if action == "" {
		action = "NOOP"
	}
	criteria, _ := k.Params["findingCriteria"].(map[string]any)
	criterion, _ := criteria["criterion"].(map[string]any)
	rank, err := k.integer("rank", 1)
	filters := k.region().Things[filterKind]
	mine := 0
	for _, f := range filters {
		if f.Attr["detector"] == d.ID {
			mine++
		}
	}
	switch {
	case err != nil || rank < 1 || rank > 100 || !filterName.MatchString(name) || len(criterion) == 0 || action != "NOOP" && action != "ARCHIVE":
		return reply{}, errBadParams
	case filters[k.filterID()] != nil:
		return reply{}, badRequest("The request is rejected because a filter with the given name already exists.")
	case mine >= maxFilters:
		return reply{}, badRequest("The request is rejected because the maximum number of filters has been reached.")
	}
	k.region().Put(filterKind, &Thing{ID: k.filterID(), ARN: k.filterARN(), Tags: mapTags(k.Params["tags"]), Attr: map[string]any{
		"detector": d.ID, "name": name, "action": action, "description": k.str("description"), "rank": rank, "findingCriteria": criteria,
		"created": k.Time.Format(time.RFC3339),
	}})
	return reply{body: map[string]any{"name": name}, elements: map[string]any{"name": name}}, nil
}

func (k *call) filter() (*Thing, error) {
	if _, err := k.detector(); err != nil {
		return nil, err
	}
	if f := k.region().Things[filterKind][k.filterID()]; f != nil {
		return f, nil
	}
	return nil, errNoSuch
}

func listFilters(k *call) (reply, error) {
	d, err := k.detector()
	if err != nil {
		return reply{}, err
	}
	size, err := k.integer("maxResults", 50)
	if err != nil || size < 1 || size > 50 {
		return reply{}, errBadParams
	}
	var names []string
	for _, f := range k.region().Things[filterKind] {
		if f.Attr["detector"] == d.ID {
			names = append(names, f.Attr["name"].(string))
		}
	}
	slices.Sort(names)
	these, next := page(names, k.str("nextToken"), size)
	return reply{body: listing("filterNames", append([]string{}, these...), next)}, nil
}

func getFilter(k *call) (reply, error) {
	f, err := k.filter()
	if err != nil {
		return reply{}, err
	}
	return reply{body: map[string]any{
		"name": f.Attr["name"], "action": f.Attr["action"], "description": f.Attr["description"],
		"rank": f.Attr["rank"], "findingCriteria": f.Attr["findingCriteria"], "tags": f.Tags,
	}}, nil
}

func deleteFilter(k *call) (reply, error) {
	f, err := k.filter()
	if err != nil {
		return reply{}, err
	}
	delete(k.region().Things[filterKind], f.ID)
	return reply{}, nil
}
