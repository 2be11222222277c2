package cloud

import (
	"maps"
	"slices"
	"strings"
)

// Security Hub: the hub of every region in use, its findings, and custom insights.
func securityhubService() service {
	return service{
		source: "securityhub.amazonaws.com",
		wire: restJSON{routes: []jsonRoute{
			{"POST", "/findings", "GetFindings"},
			{"GET", "/accounts", "DescribeHub"},
			{"POST", "/findings/import", "BatchImportFindings"},
			{"PATCH", "/findings/batchupdate", "BatchUpdateFindings"},
			{"POST", "/insights", "CreateInsight"},
			{"POST", "/insights/get", "GetInsights"},
			{"DELETE", "/insights/{InsightArn+}", "DeleteInsight"},
		}},
		// The hub is the one resource that these operations have in policies: neither
		// ARNs nor tags of insights can be asked for (service authorization reference).
		ops: map[string]operation{
			"DescribeHub":         {readOnly: true, params: asSent, needs: onHub("securityhub:DescribeHub"), do: describeHub},
			"GetFindings":         {readOnly: true, params: asSent, needs: onHub("securityhub:GetFindings"), do: getHubFindings},
			"BatchImportFindings": {params: asSent, needs: onProduct, do: batchImportFindings},
			"BatchUpdateFindings": {params: asSent, needs: onHub("securityhub:BatchUpdateFindings"), do: batchUpdateFindings},
			"CreateInsight":       {params: asSent, needs: onHub("securityhub:CreateInsight"), do: createInsight},
			"DeleteInsight":       {params: asSent, needs: onHub("securityhub:DeleteInsight"), do: deleteInsight},
			"GetInsights":         {readOnly: true, params: asSent, needs: onHub("securityhub:GetInsights"), do: getInsights},
		},
		seed: func(w *Seed, account, region string) {
			arn := hubARN(account, region)
			w.Accounts[account].Regions[region].Put(hubKind, &Thing{ID: "default", ARN: arn})
		},
		fixtures: func(account, region string) map[string]string {
			if region == "*" {
				return nil
			}
			return map[string]string{"security_hub": hubARN(account, region)}
		},
	}
}

const (
	hubKind     = "securityhub hub"
	insightKind = "securityhub insight"
	maxInsights = 100
)

func hubARN(account, region string) string {
	return "arn:aws:securityhub:" + region + ":" + account + ":hub/default"
}

func onHub(action string) func(*call) []need {
	return func(k *call) []need {
		return []need{{action: action, resource: hubARN(k.Principal.Account, k.Region)}}
	}
}

// onProduct: findings are imported as a product's, of which an account has one.
func onProduct(k *call) []need {
	account := k.Principal.Account
	return []need{{action: "securityhub:BatchImportFindings", resource: "arn:aws:securityhub:" + k.Region + ":" + account + ":product/" + account + "/default"}}
}

// insights are the region's, if Security Hub is switched on there.
func (k *call) insights() (map[string]*Thing, error) {
	if k.region().Things[hubKind]["default"] == nil {
		return nil, fail(401, "InvalidAccessException", "Account %s is not subscribed to AWS Security Hub", k.Principal.Account)
	}
	return k.region().Things[insightKind], nil
}

func createInsight(k *call) (reply, error) {
	insights, err := k.insights()
	if err != nil {
		return reply{}, err
	}
	filters, isFilters := k.Params["Filters"].(map[string]any)
	switch {
	case strings.TrimSpace(k.str("Name")) == "" || k.str("GroupByAttribute") == "" || !isFilters:
		return reply{}, fail(400, "InvalidInputException", "Invalid parameter(s): Name, Filters and GroupByAttribute are required")
	case len(insights) >= maxInsights:
		return reply{}, fail(429, "LimitExceededException", "Maximum number of custom insights (%d) has been reached", maxInsights)
	}
	id := "arn:aws:securityhub:" + k.Region + ":" + k.Principal.Account + ":insight/" + k.Principal.Account + "/custom/" + newUUID()
	k.region().Put(insightKind, &Thing{ID: id, ARN: id, Attr: map[string]any{
		"Name": k.str("Name"), "GroupByAttribute": k.str("GroupByAttribute"), "Filters": filters,
	}})
	out := map[string]any{"InsightArn": id}
	return reply{body: out, elements: out}, nil
}

func deleteInsight(k *call) (reply, error) {
	insights, err := k.insights()
	if err != nil {
		return reply{}, err
	}
	id := k.str("InsightArn")
	if insights[id] == nil {
		return reply{}, fail(404, "ResourceNotFoundException", "Insight not found for ARN %s", id)
	}
	delete(insights, id)
	out := map[string]any{"InsightArn": id}
	return reply{body: out, elements: out}, nil
}

// getInsights describes the insights asked for, or all.
func getInsights(k *call) (reply, error) {
	insights, err := k.insights()
	if err != nil {
		return reply{}, err
	}
	size, err := k.integer("MaxResults", 100)
	if err != nil || size < 1 || size > 100 {
		return reply{}, fail(400, "InvalidInputException", "Invalid parameter: MaxResults")
	}
	ids := slices.Sorted(maps.Keys(insights))
	if asked := k.list("InsightArns"); len(asked) > 0 {
		ids = slices.DeleteFunc(ids, func(id string) bool { return !slices.Contains(asked, any(id)) })
		if len(ids) < len(asked) {
			return reply{}, fail(404, "ResourceNotFoundException", "Insight not found")
		}
	}
	these, next := page(ids, k.str("NextToken"), size)
	list := []any{}
	for _, id := range these {
		insight := maps.Clone(insights[id].Attr)
		insight["InsightArn"] = id
		list = append(list, insight)
	}
	body := map[string]any{"Insights": list}
	if next != "" {
		body["NextToken"] = next
	}
	return reply{body: body}, nil
}
