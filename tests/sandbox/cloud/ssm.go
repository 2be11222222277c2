package cloud

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

// Kinds under which a region keeps what Systems Manager knows, by name.
const (
	ssmParameters = "ssm parameter"
	ssmDocuments  = "ssm document"
)

func ssmService() service {
	return service{
		source: "ssm.amazonaws.com", wire: json11{},
		ops: map[string]operation{
			"PutParameter":        {needs: makeSSM("ssm:PutParameter", "parameter"), do: putParameter, params: putParameterParams},
			"DeleteParameter":     {needs: onSSM("ssm:DeleteParameter", "parameter", ssmParameters), do: deleteParameter},
			"DescribeParameters":  {readOnly: true, needs: anyOf("ssm:DescribeParameters"), do: describeParameters},
			"CreateDocument":      {needs: makeSSM("ssm:CreateDocument", "document"), do: createDocument},
			"DeleteDocument":      {needs: onSSM("ssm:DeleteDocument", "document", ssmDocuments), do: deleteDocument},
			"ListDocuments":       {readOnly: true, needs: anyOf("ssm:ListDocuments"), do: listDocuments},
			"ListTagsForResource": {readOnly: true, needs: listTagsNeeds, do: listTagsForResource},
		},
	}
}

// ssmARN of a parameter or document; the slash that may begin a name is not repeated.
func (k *call) ssmARN(kind, name string) string {
	return "arn:aws:ssm:" + k.Region + ":" + k.Principal.Account + ":" + kind + "/" + strings.TrimPrefix(name, "/")
}

// ssmResource in records has no type.
func (k *call) ssmResource(arn string) []resource {
	return []resource{{ARN: arn, Account: k.Principal.Account}}
}

func onSSM(action, kind, things string) func(*call) []need {
	return func(k *call) []need {
		n := need{action: action, resource: k.ssmARN(kind, k.str("Name")), context: policy.Context{}}
		if t := k.region().Things[things][k.str("Name")]; t != nil {
			tagKeys(n.context, "aws:ResourceTag/", t.Tags)
		}
		return []need{n}
	}
}

// makeSSM: what is born with tags needs the right to tag.
func makeSSM(action, kind string) func(*call) []need {
	return func(k *call) []need {
		given := tags(k.list("Tags"))
		n := need{action: action, resource: k.ssmARN(kind, k.str("Name")), context: requestTags(policy.Context{}, given)}
		if overwrite, ok := k.Params["Overwrite"].(bool); ok && kind == "parameter" {
			n.context["ssm:overwrite"] = []string{map[bool]string{true: "true", false: "false"}[overwrite]}
		}
		if len(given) == 0 {
			return []need{n}
		}
		return []need{n, {action: "ssm:AddTagsToResource", resource: n.resource, context: requestTags(policy.Context{}, given)}}
	}
}

func putParameter(k *call) (reply, error) {
	name, region := k.str("Name"), k.region()
	before := region.Things[ssmParameters][name]
	overwrite, tagged := k.Params["Overwrite"] == true, len(k.list("Tags")) > 0
	switch {
	case name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_.-") != "":
		return reply{}, fail(400, "ValidationException", "Parameter name: can't be prefixed with \"ssm\" (case-insensitive). If formed as a path, it can consist of sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, numbers and the following 3 symbols .-_")
	case strings.HasPrefix(strings.ToLower(name), "aws") || strings.HasPrefix(strings.ToLower(name), "ssm"):
		return reply{}, fail(400, "AccessDeniedException", "No access to reserved parameter name: %s.", name)
	case overwrite && tagged:
		return reply{}, fail(400, "ValidationException", "Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please remove overwrite flag. To update tags for an existing parameter, please use AddTagsToResource or RemoveTagsFromResource.")
	case before != nil && !overwrite:
		return reply{}, fail(400, "ParameterAlreadyExists", "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.")
	case before == nil && k.str("Type") == "":
		return reply{}, fail(400, "ValidationException", "A parameter type is required when you create a parameter.")
	case k.str("Type") == "SecureString":
		return reply{}, fail(501, "NotImplemented", "the sandbox has no encrypted parameters")
	}
	t := &Thing{ID: name, ARN: k.ssmARN("parameter", name), Tags: tags(k.list("Tags")), Attr: map[string]any{"type": k.str("Type"), "version": 1}}
	if before != nil {
		version, _ := before.Attr["version"].(int)
		t.Tags, t.Attr["version"] = before.Tags, version+1
	}
	region.Put(ssmParameters, t)
	return reply{
		body:     map[string]any{"Version": t.Attr["version"], "Tier": "Standard"},
		elements: map[string]any{"version": t.Attr["version"], "tier": "Standard"},
		// That PutParameter lists it as DeleteParameter does is inferred.
		resources: k.ssmResource(t.ARN),
	}, nil
}

// putParameterParams: the value is masked, of plain strings too (record of
// PutParameter in a public report of 2026).
func putParameterParams(k *call) any {
	shown := maps.Clone(k.Params)
	shown["Value"] = "HIDDEN_DUE_TO_SECURITY_REASONS"
	return lowerNames(shown)
}

func deleteParameter(k *call) (reply, error) {
	t := k.region().Things[ssmParameters][k.str("Name")]
	if t == nil {
		return reply{}, fail(400, "ParameterNotFound", "")
	}
	delete(k.region().Things[ssmParameters], t.ID)
	return reply{resources: k.ssmResource(t.ARN)}, nil
}

func describeParameters(k *call) (reply, error) {
	prefix := ""
	for _, f := range k.list("ParameterFilters") {
		m, _ := f.(map[string]any)
		values := asList(m["Values"])
		if m["Key"] != "Name" || m["Option"] != "BeginsWith" || len(values) != 1 {
			return reply{}, fail(501, "NotImplemented", "the sandbox filters parameters by the beginning of the name only")
		}
		prefix = values[0]
	}
	page, next, err := pageOf(k, k.named(ssmParameters, prefix), 50, fail(400, "InvalidNextToken", ""))
	if err != nil {
		return reply{}, err
	}
	list := []any{}
	for _, t := range page {
		list = append(list, map[string]any{"Name": t.ID, "ARN": t.ARN, "Type": t.Attr["type"], "Version": t.Attr["version"], "Tier": "Standard", "DataType": "text"})
	}
	return reply{body: withNext(map[string]any{"Parameters": list}, next)}, nil
}

// named are the region's things of a kind whose ids begin so, sorted.
func (k *call) named(kind, prefix string) (out []*Thing) {
	all := k.region().Things[kind]
	for _, id := range slices.Sorted(maps.Keys(all)) {
		if strings.HasPrefix(id, prefix) {
			out = append(out, all[id])
		}
	}
	return out
}

// createDocument: that the record holds the content as it was sent is inferred from
// the API's model, which does not mark it as sensitive; the rest of the record from
// the other operations on documents.
func createDocument(k *call) (reply, error) {
	name, format := k.str("Name"), k.str("DocumentFormat")
	if format == "" {
		format = "JSON"
	}
	var content struct {
		SchemaVersion string           `json:"schemaVersion"`
		MainSteps     []map[string]any `json:"mainSteps"`
	}
	switch {
	case len(name) < 3 || len(name) > 128 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") != "":
		return reply{}, fail(400, "ValidationException", "1 validation error detected: Value '%s' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9_\\-.]{3,128}$", name)
	case k.region().Things[ssmDocuments][name] != nil:
		return reply{}, fail(400, "DocumentAlreadyExists", "Document with same name %s already exists", name)
	case format != "JSON" || k.str("DocumentType") != "Command":
		return reply{}, fail(501, "NotImplemented", "the sandbox has documents of type Command in JSON only")
	case json.Unmarshal([]byte(k.str("Content")), &content) != nil || content.SchemaVersion != "2.2" || len(content.MainSteps) == 0:
		return reply{}, fail(400, "InvalidDocumentContent", "JSON not well-formed, or not of schemaVersion 2.2 with mainSteps.")
	}
	t := &Thing{ID: name, ARN: k.ssmARN("document", name), Tags: tags(k.list("Tags")), Attr: map[string]any{"content": k.str("Content"), "created": k.Time.Unix()}}
	k.region().Put(ssmDocuments, t)
	description := map[string]any{
		"Name": name, "Owner": k.Principal.Account, "CreatedDate": k.Time.Unix(), "Status": "Creating", "DocumentVersion": "1", "LatestVersion": "1", "DefaultVersion": "1",
		"PlatformTypes": []string{"Linux", "MacOS"}, "DocumentType": "Command", "SchemaVersion": "2.2", "DocumentFormat": "JSON", "HashType": "Sha256", "Hash": digest(k.str("Content")),
	}
	recorded := maps.Clone(description)
	recorded["CreatedDate"] = k.Time.Format("Jan 2, 2006 3:04:05 PM")
	return reply{
		body:      map[string]any{"DocumentDescription": description},
		elements:  map[string]any{"documentDescription": lowerNames(recorded)},
		resources: k.ssmResource(t.ARN),
	}, nil
}

// deleteDocument's record: Systems Manager user guide, log entry of DeleteDocument.
func deleteDocument(k *call) (reply, error) {
	t := k.region().Things[ssmDocuments][k.str("Name")]
	if t == nil {
		return reply{}, fail(400, "InvalidDocument", "Document with name %s does not exist.", k.str("Name"))
	}
	delete(k.region().Things[ssmDocuments], t.ID)
	return reply{resources: k.ssmResource(t.ARN)}, nil
}

// listDocuments lists the account's own. (AWS's would be among those of any owner.)
func listDocuments(k *call) (reply, error) {
	prefix, self := "", false
	for _, f := range k.list("Filters") {
		m, _ := f.(map[string]any)
		values := asList(m["Values"])
		switch {
		case m["Key"] == "Owner" && slices.Equal(values, []string{"Self"}):
			self = true
		case m["Key"] == "Name" && len(values) == 1:
			prefix = values[0]
		default:
			return reply{}, fail(400, "InvalidFilterKey", "")
		}
	}
	if !self {
		return reply{}, fail(501, "NotImplemented", "the sandbox lists documents of the owner Self only")
	}
	page, next, err := pageOf(k, k.named(ssmDocuments, prefix), 50, fail(400, "InvalidNextToken", ""))
	if err != nil {
		return reply{}, err
	}
	list := []any{}
	for _, t := range page {
		list = append(list, map[string]any{"Name": t.ID, "Owner": k.Principal.Account, "DocumentVersion": "1", "DocumentType": "Command", "SchemaVersion": "2.2", "DocumentFormat": "JSON", "Tags": tagList(t.Tags)})
	}
	return reply{body: withNext(map[string]any{"DocumentIdentifiers": list}, next)}, nil
}

// tagged is what ListTagsForResource names: its ARN, and it if it is there.
func (k *call) tagged() (arn string, t *Thing) {
	id := k.str("ResourceId")
	switch k.str("ResourceType") {
	case "Document":
		return k.ssmARN("document", id), k.region().Things[ssmDocuments][id]
	default:
		return k.ssmARN("parameter", id), k.region().Things[ssmParameters][id]
	}
}

func listTagsNeeds(k *call) []need {
	arn, t := k.tagged()
	n := need{action: "ssm:ListTagsForResource", resource: arn, context: policy.Context{}}
	if t != nil {
		tagKeys(n.context, "aws:ResourceTag/", t.Tags)
	}
	return []need{n}
}

func listTagsForResource(k *call) (reply, error) {
	if kind := k.str("ResourceType"); kind != "Document" && kind != "Parameter" {
		return reply{}, fail(400, "InvalidResourceType", "%s is not a valid resource type.", kind)
	}
	_, t := k.tagged()
	if t == nil {
		return reply{}, fail(400, "InvalidResourceId", "")
	}
	return reply{body: map[string]any{"TagList": tagList(t.Tags)}}, nil
}

func tagList(tags map[string]string) []any {
	list := []any{}
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, map[string]any{"Key": name, "Value": tags[name]})
	}
	return list
}
