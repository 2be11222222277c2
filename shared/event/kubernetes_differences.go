package event

import "strings"

// There is no rule for who acted, for what was asked but for its name, or for what
// came of it: there an audit event is right or wrong.
var kubernetesDifferences = [...]NamedDifference{
	{
		Name: "no-name-on-refused-create",
		Why: "The name of what is to be created stands in the body of the request only. One that is refused before the " +
			"body is read is recorded without it.",
		Source: "k8s.io/apiserver v0.37.2: pkg/audit/request.go fills it in from the body, endpoints/filters/authorization.go refuses before",
		explains: func(want, got *Event, m mismatch) bool {
			return m.field == "api.request.name" && m.absent && strings.HasPrefix(want.API.Operation, "create ") &&
				want.API.Error == "Forbidden" && got.API.Error == "Forbidden" && got.API.Request["name"] == nil
		},
	},
	{
		Name: "no-body-at-level-metadata",
		Why: "At level Metadata no body of a request is recorded; that of one that is refused is recorded at no level, " +
			"since it is refused before it is read. A scenario that wants the body says so in expect.",
		Source: "k8s.io/apiserver v0.37.2: pkg/audit/request.go LogRequestObject and LogRequestPatch, endpoints/filters/authorization.go",
		explains: func(want, got *Event, m mismatch) bool {
			return m.field == "api.request.body" && m.absent && got.API.Request["body"] == nil &&
				(got.Metadata.Category == "Metadata" || want.API.Error == "Forbidden" && got.API.Error == "Forbidden")
		},
	},
	{
		Name:   "user-agent-cut",
		Why:    "The API server cuts a user agent at 1,024 bytes and says so.",
		Source: "k8s.io/apiserver v0.37.2, pkg/audit/request.go: maybeTruncateUserAgent",
		explains: func(want, got *Event, m mismatch) bool {
			return m.field == "http_request.user_agent" && len(m.expected) > 1024 && m.found == m.expected[:1024]+"...TRUNCATED"
		},
	},
}
