package event

import (
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
)

// compareRequest holds the parameters that were sent, in the API's names, against
// those recorded. Logs spell and nest them differently; what follows from a
// service's wire format alone is the same parameter and no difference:
//
//   - the name in another case, in the singular or as a set ("RoleName" roleName,
//     "FlowLogIds" FlowLogId, "TagSpecifications" tagSpecificationSet), or listed
//     in recordedNames;
//   - all of them under "<Operation>Request" (EC2's newer operations);
//   - a list as {"items": [...]}, as {"item": ...}, as one bare element, with
//     elements {"instanceId": "i-1"} for "i-1", or with {"tag": 1, "content": "x"}
//     for "x" (EC2); as {"Rule": ...} (S3's XML);
//   - a number or truth value as text;
//   - a JSON document (a policy) as text with other spacing or order of names,
//     URL-encoded, or as a JSON value.
//
// Every value must still be there and equal.
func compareRequest(field string, want, got *Event, _ Tolerance) []mismatch {
	if !states(want.API.Request) {
		return nil
	}
	if got.API.Request == nil {
		return []mismatch{{field: field, expected: show(want.API.Request), absent: true}}
	}
	recorded, wrapper := got.API.Request, want.API.Operation+"Request"
	if inner, ok := recorded[wrapper].(map[string]any); ok && len(recorded) == 1 && want.API.Request[wrapper] == nil {
		recorded = inner
	}
	p := params{service: want.API.Service}
	return p.object(field, want.API.Request, recorded)
}

// recordedName is a parameter that a service records under a name of its own.
// Path has several segments where the value is also nested differently.
type recordedName struct {
	service, param string
	path           []string
	source         string
}

var recordedNames = [...]recordedName{
	{"s3.amazonaws.com", "Bucket", []string{"bucketName"}, "testdata/invictus: CreateBucket, GetBucketAcl"},
	{"s3.amazonaws.com", "Policy", []string{"bucketPolicy"}, "CloudTrail records of PutBucketPolicy in public rule tests; \"policy\" is the query string's marker"},
	{"s3.amazonaws.com", "ACL", []string{"x-amz-acl"}, "testdata/invictus: CreateBucket"},
	{"ec2.amazonaws.com", "InstanceIds", []string{"instancesSet"}, "testdata/umccr: StartInstances"},
	{"ec2.amazonaws.com", "VolumeIds", []string{"volumeSet"}, "testdata/invictus: DescribeVolumes"},
	{"ec2.amazonaws.com", "VpcIds", []string{"vpcSet"}, "testdata/invictus: DescribeVpcs"},
	{"ec2.amazonaws.com", "GroupIds", []string{"securityGroupIdSet"}, "testdata/invictus: DescribeSecurityGroups"},
	{"ec2.amazonaws.com", "UserIdGroupPairs", []string{"groups"}, "CloudTrail records of AuthorizeSecurityGroupIngress in public rule tests"},
	{"ec2.amazonaws.com", "Protocol", []string{"aclProtocol"}, "testdata/panther: CreateNetworkAclEntry"},
	{"ec2.amazonaws.com", "ImageId", []string{"instancesSet", "imageId"}, "testdata/invictus: RunInstances"},
	{"ec2.amazonaws.com", "MinCount", []string{"instancesSet", "minCount"}, "testdata/invictus: RunInstances"},
	{"ec2.amazonaws.com", "MaxCount", []string{"instancesSet", "maxCount"}, "testdata/invictus: RunInstances"},
	{"eks.amazonaws.com", "ClusterName", []string{"name"}, "CloudTrail samples of CreateAccessEntry and AssociateAccessPolicy in DataDog/stratus-red-team's documentation"},
}

// params compares parameters of one service.
type params struct{ service string }

func (p params) object(path string, want, got map[string]any) []mismatch {
	var out []mismatch
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if !states(want[name]) {
			continue
		}
		field := path + "." + name
		candidates := p.members(got, name)
		if len(candidates) == 0 {
			out = append(out, mismatch{field: field, expected: show(want[name]), absent: true})
			continue
		}
		// A record that says one thing twice must say it right twice: else a forged
		// "RoleName" could hide behind the true "roleName".
		for _, c := range candidates {
			if found := p.value(field, want[name], c); len(found) > 0 {
				out = append(out, found...)
				break
			}
		}
	}
	return out
}

func (p params) value(path string, want, got any) []mismatch {
	switch want := want.(type) {
	case map[string]any:
		if got, ok := got.(map[string]any); ok {
			return p.object(path, want, got)
		}
		return []mismatch{{field: path, expected: show(want), found: show(got), absent: got == nil}}
	case []any:
		return p.list(path, want, got)
	}
	if sameScalar(want, got) {
		return nil
	}
	return []mismatch{{field: path, expected: show(want), found: show(got), absent: got == nil}}
}

func (p params) list(path string, want []any, got any) []mismatch {
	var fewest []mismatch
	for i, elements := range listForms(got) {
		var found []mismatch
		if len(elements) != len(want) {
			found = []mismatch{{field: path, expected: show(want), found: show(elements)}}
		} else {
			for j, w := range want {
				found = append(found, p.value(fmt.Sprintf("%s[%d]", path, j), w, element(w, elements[j]))...)
			}
		}
		if len(found) == 0 {
			return nil
		}
		if i == 0 || len(found) < len(fewest) {
			fewest = found
		}
	}
	return fewest
}

// members are the values recorded under any spelling of a parameter's name.
func (p params) members(got map[string]any, name string) []any {
	for _, r := range recordedNames {
		if r.service == p.service && r.param == name {
			if out := follow(got, r.path); len(out) > 0 {
				return out
			}
		}
	}
	out := named(got, func(key string) bool { return strings.EqualFold(key, name) })
	if len(out) == 0 {
		out = named(got, func(key string) bool { return stem(key) == stem(name) && !isPosition(key, got[key]) })
	}
	return out
}

// follow descends along path, through lists of one element.
func follow(got map[string]any, path []string) []any {
	found := named(got, func(key string) bool { return strings.EqualFold(key, path[0]) })
	if len(path) == 1 {
		return found
	}
	var out []any
	for _, f := range found {
		for _, elements := range listForms(f) {
			if len(elements) != 1 {
				continue
			}
			if m, ok := elements[0].(map[string]any); ok {
				out = append(out, follow(m, path[1:])...)
				break
			}
		}
	}
	return out
}

// named are the values whose names match. Beside the value itself S3 records the
// query string's marker, an empty "tagging" beside "Tagging": the marker counts
// only if there is nothing else.
func named(got map[string]any, match func(key string) bool) []any {
	var keys []string
	for key, v := range got {
		if v != nil && match(key) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	var out, markers []any
	for _, key := range keys {
		if v := got[key]; isMarker(v) {
			markers = append(markers, v)
		} else {
			out = append(out, v)
		}
	}
	if out == nil {
		return markers
	}
	return out
}

// isPosition tells the position of an element that came from XML, {"tag": 1}, from
// tags: beside it may stand "Tag", which is what "Tags" became.
func isPosition(key string, v any) bool {
	_, number := v.(float64)
	return key == "tag" && number
}

func isMarker(v any) bool {
	if list, ok := v.([]any); ok && len(list) == 1 {
		v = list[0]
	}
	return v == ""
}

// stem is what the spellings of a list's name have in common:
// "Filters" filterSet, "FlowLogIds" FlowLogId, "Rules" Rule, "TagsList" tagsList.
func stem(name string) string {
	s := strings.ToLower(name)
	s = strings.TrimSuffix(s, "set")
	s = strings.TrimSuffix(s, "list")
	if y, ok := strings.CutSuffix(s, "ies"); ok {
		return y + "y"
	}
	return strings.TrimSuffix(s, "s")
}

// listForms are the lists that a recorded value may stand for, likeliest first.
func listForms(v any) [][]any {
	switch v := v.(type) {
	case []any:
		return [][]any{v}
	case map[string]any:
		var forms [][]any
		if len(v) == 0 {
			forms = append(forms, nil)
		}
		if inner, ok := onlyMember(v); ok {
			if list, ok := inner.([]any); ok {
				forms = append(forms, list)
			} else {
				forms = append(forms, []any{inner})
			}
		}
		return append(forms, []any{v})
	case nil:
		return [][]any{nil}
	default:
		return [][]any{{v}}
	}
}

// element unwraps a list's element as far as what was sent there asks for it.
func element(want, got any) any {
	m, ok := got.(map[string]any)
	if !ok {
		return got
	}
	if _, isObject := want.(map[string]any); isObject {
		return got
	}
	if inner, ok := onlyMember(m); ok {
		return inner
	}
	return got
}

// onlyMember is the value of the one member that is no artefact of the log's
// conversion from XML ("xmlns", the element's position as "tag").
func onlyMember(m map[string]any) (any, bool) {
	var only any
	n := 0
	for key, v := range m {
		if key == "xmlns" || key == "tag" {
			continue
		}
		only = v
		n++
	}
	return only, n == 1
}

// sameScalar compares text, numbers and truth values by their text, and JSON
// documents by their meaning.
func sameScalar(want, got any) bool {
	w, wantOK := scalar(want)
	g, gotOK := scalar(got)
	if wantOK && gotOK && w == g {
		return true
	}
	sent, isText := want.(string)
	if !isText {
		return false
	}
	wantDoc, ok := document(sent)
	if !ok {
		return false
	}
	switch got := got.(type) {
	case map[string]any, []any:
		return reflect.DeepEqual(wantDoc, got)
	case string:
		gotDoc, ok := document(got)
		return ok && reflect.DeepEqual(wantDoc, gotDoc)
	}
	return false
}

// document reads a JSON object or array, plain or URL-encoded, strictly: a
// document with a name twice means different things to different readers and
// equals nothing.
func document(s string) (any, bool) {
	if strings.HasPrefix(s, "%7B") || strings.HasPrefix(s, "%7b") {
		decoded, err := url.PathUnescape(s)
		if err != nil {
			return nil, false
		}
		s = decoded
	}
	if trimmed := strings.TrimLeft(s, " \t\r\n"); trimmed == "" || trimmed[0] != '{' && trimmed[0] != '[' {
		return nil, false
	}
	var doc any
	if err := json.Unmarshal([]byte(s), &doc); err != nil {
		return nil, false
	}
	return doc, true
}

func scalar(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64:
		return fmt.Sprint(v), true
	case float32:
		return strconv.FormatFloat(float64(v), 'f', -1, 32), true
	}
	return "", false
}

// states says whether v holds any leaf: an empty object or list, or one of empty
// ones, says nothing that a record could leave out.
func states(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case map[string]any:
		for _, x := range v {
			if states(x) {
				return true
			}
		}
		return false
	case []any:
		return slices.ContainsFunc(v, states)
	}
	return true
}

// show gives a value as text: scalars as they are, anything else as JSON.
func show(v any) string {
	if v == nil {
		return ""
	}
	if s, ok := scalar(v); ok {
		return s
	}
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return fmt.Sprintf("(%T that is not JSON)", v)
	}
	return string(b)
}
