// Package cfn reads CloudFormation templates, as far as those of infra/aws go.
package cfn

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Template is one template, with its functions in the long form ({"Ref": …}).
type Template struct {
	File       string
	Parameters map[string]map[string]any
	Conditions map[string]any
	Resources  map[string]Resource
	Outputs    map[string]map[string]any
}

// Resource as the template has it, or resolved.
type Resource struct {
	Type       string
	Condition  string
	DependsOn  any
	Properties map[string]any
}

// Load reads a template. Unknown functions are errors.
func Load(file string) (*Template, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var root yaml.Node
	if err := yaml.Unmarshal(data, &root); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	v, err := plain(root.Content[0])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	top, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s: no template", file)
	}
	t := &Template{File: file, Parameters: map[string]map[string]any{}, Resources: map[string]Resource{}, Outputs: map[string]map[string]any{}}
	for name, p := range object(top["Parameters"]) {
		t.Parameters[name] = object(p)
	}
	t.Conditions = object(top["Conditions"])
	for name, r := range object(top["Resources"]) {
		o := object(r)
		kind, _ := o["Type"].(string)
		condition, _ := o["Condition"].(string)
		t.Resources[name] = Resource{kind, condition, o["DependsOn"], object(o["Properties"])}
	}
	for name, o := range object(top["Outputs"]) {
		t.Outputs[name] = object(o)
	}
	return t, nil
}

func object(v any) map[string]any {
	o, _ := v.(map[string]any)
	return o
}

// functions by their short form.
var functions = map[string]string{
	"!Ref": "Ref", "!Sub": "Fn::Sub", "!GetAtt": "Fn::GetAtt", "!If": "Fn::If", "!Equals": "Fn::Equals", "!And": "Fn::And", "!Or": "Fn::Or", "!Not": "Fn::Not", "!Condition": "Condition",
}

// plain is a node without tags. Aliases, which CloudFormation does not know, are errors.
func plain(n *yaml.Node) (any, error) {
	if n.Kind == yaml.AliasNode {
		return nil, fmt.Errorf("line %d: CloudFormation knows no aliases", n.Line)
	}
	var v any
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if _, twice := m[key.Value]; twice {
				return nil, fmt.Errorf("line %d: %s twice", key.Line, key.Value)
			}
			if key.Tag != "!!str" {
				return nil, fmt.Errorf("line %d: key %q is no text: put it in quotes", key.Line, key.Value)
			}
			inner, err := plain(n.Content[i+1])
			if err != nil {
				return nil, err
			}
			m[key.Value] = inner
		}
		v = m
	case yaml.SequenceNode:
		list := []any{}
		for _, c := range n.Content {
			inner, err := plain(c)
			if err != nil {
				return nil, err
			}
			list = append(list, inner)
		}
		v = list
	default:
		v = n.Value
		if !strings.HasPrefix(n.Tag, "!") || strings.HasPrefix(n.Tag, "!!") {
			if err := n.Decode(&v); err != nil {
				return nil, fmt.Errorf("line %d: %w", n.Line, err)
			}
		}
	}
	if !strings.HasPrefix(n.Tag, "!") || strings.HasPrefix(n.Tag, "!!") {
		return v, nil
	}
	long, known := functions[n.Tag]
	if !known {
		return nil, fmt.Errorf("line %d: function %s is not known here", n.Line, n.Tag)
	}
	if text, ok := v.(string); ok && long == "Fn::GetAtt" {
		resource, attribute, _ := strings.Cut(text, ".")
		v = []any{resource, attribute}
	}
	return map[string]any{long: v}, nil
}

// Pseudo are the pseudo parameters that templates here may use.
var Pseudo = []string{"AWS::AccountId", "AWS::Partition", "AWS::Region"}

var reference = regexp.MustCompile(`\$\{([^!}][^}]*)\}`)

// Dangling lists the references that lead nowhere: to neither a parameter, a pseudo
// parameter, a resource nor a condition; and resources that refer to one that is made under
// another condition.
func (t *Template) Dangling() (out []string) {
	named := func(at, name string) {
		_, parameter := t.Parameters[name]
		_, resource := t.Resources[name]
		if !parameter && !resource && !slices.Contains(Pseudo, name) {
			out = append(out, fmt.Sprintf("%s: there is no %s", at, name))
		}
	}
	condition := func(at string, name any) {
		if text, _ := name.(string); t.Conditions[text] == nil {
			out = append(out, fmt.Sprintf("%s: there is no condition %v", at, name))
		}
	}
	var walk func(at, under string, v any)
	refer := func(at, under, name string) {
		named(at, name)
		if r, ok := t.Resources[name]; ok && r.Condition != "" && r.Condition != under && !t.implies(under, r.Condition) {
			out = append(out, fmt.Sprintf("%s: %s is made only if %s", at, name, r.Condition))
		}
	}
	walk = func(at, under string, v any) {
		switch v := v.(type) {
		case []any:
			for i, x := range v {
				walk(fmt.Sprintf("%s.%d", at, i), under, x)
			}
		case map[string]any:
			for _, key := range slices.Sorted(maps.Keys(v)) {
				x := v[key]
				switch {
				case key == "Ref":
					refer(at, under, fmt.Sprint(x))
				case key == "Fn::GetAtt":
					if list, ok := x.([]any); ok && len(list) == 2 {
						refer(at, under, fmt.Sprint(list[0]))
						if _, resource := t.Resources[fmt.Sprint(list[0])]; !resource {
							out = append(out, fmt.Sprintf("%s: %v is no resource", at, list[0]))
						}
					}
				case key == "Fn::Sub":
					text, ok := x.(string)
					if !ok {
						out = append(out, at+": Fn::Sub with a list is not known here")
					}
					for _, m := range reference.FindAllStringSubmatch(text, -1) {
						name, _, _ := strings.Cut(m[1], ".")
						refer(at, under, name)
					}
				case key == "Fn::If":
					if list, ok := x.([]any); ok && len(list) == 3 {
						condition(at, list[0])
						walk(at, under, list[1:])
					}
				case key == "Condition" && len(v) == 1:
					if _, text := x.(string); text {
						condition(at, x)
						continue
					}
					walk(at+"."+key, under, x)
				case strings.HasPrefix(key, "Fn::") && !slices.Contains([]string{"Fn::Equals", "Fn::And", "Fn::Or", "Fn::Not"}, key):
					out = append(out, fmt.Sprintf("%s: function %s is not known here", at, key))
				default:
					walk(at+"."+key, under, x)
				}
			}
		}
	}
	walk("Conditions", "", map[string]any(t.Conditions))
	for _, name := range slices.Sorted(maps.Keys(t.Resources)) {
		r := t.Resources[name]
		if r.Condition != "" {
			condition(name, r.Condition)
		}
		on, _ := r.DependsOn.([]any)
		if one, ok := r.DependsOn.(string); ok {
			on = []any{one}
		}
		for _, d := range on {
			if _, ok := t.Resources[fmt.Sprint(d)]; !ok {
				out = append(out, fmt.Sprintf("%s.DependsOn: there is no %v", name, d))
			}
		}
		walk(name, r.Condition, r.Properties)
	}
	for _, name := range slices.Sorted(maps.Keys(t.Outputs)) {
		under, _ := t.Outputs[name]["Condition"].(string)
		if under != "" {
			condition("Outputs."+name, under)
		}
		o := maps.Clone(t.Outputs[name])
		delete(o, "Condition")
		walk("Outputs."+name, under, o)
	}
	return out
}

// implies: wherever the one condition holds, the other does: it is one of those joined.
func (t *Template) implies(one, other string) bool {
	list, _ := object(t.Conditions[one])["Fn::And"].([]any)
	return slices.ContainsFunc(list, func(c any) bool { return object(c)["Condition"] == other })
}

// Resolve gives the resources that are made with these values, with nothing left to
// resolve. Values are those of parameters (which have defaults), pseudo parameters and, as
// "Resource" and "Resource.Attribute", of what CloudFormation would give; names and ARNs
// that follow from properties need none, and other ids get a stand-in.
func (t *Template) Resolve(values map[string]string) (map[string]Resource, error) {
	r := &resolver{t: t, values: maps.Clone(values)}
	for name, p := range t.Parameters {
		if _, given := r.values[name]; !given && p["Default"] != nil {
			r.values[name] = fmt.Sprint(p["Default"])
		}
	}
	out := map[string]Resource{}
	for name, res := range t.Resources {
		if res.Condition != "" && !r.holds(map[string]any{"Condition": res.Condition}) {
			continue
		}
		v := r.value(name, res.Properties)
		res.Properties = object(v)
		out[name] = res
	}
	return out, errors.Join(r.errs...)
}

type resolver struct {
	t      *Template
	values map[string]string
	errs   []error
}

func (r *resolver) holds(v any) bool {
	o := object(v)
	for key, x := range o {
		list, _ := x.([]any)
		switch key {
		case "Condition":
			return r.holds(r.t.Conditions[fmt.Sprint(x)])
		case "Fn::Equals":
			return len(list) == 2 && fmt.Sprint(r.value("", list[0])) == fmt.Sprint(r.value("", list[1]))
		case "Fn::Not":
			return len(list) == 1 && !r.holds(list[0])
		case "Fn::And":
			return !slices.ContainsFunc(list, func(c any) bool { return !r.holds(c) })
		case "Fn::Or":
			return slices.ContainsFunc(list, r.holds)
		}
	}
	r.errs = append(r.errs, fmt.Errorf("condition %v is not known", v))
	return false
}

func (r *resolver) value(at string, v any) any {
	switch v := v.(type) {
	case []any:
		out := []any{}
		for i, x := range v {
			out = append(out, r.value(fmt.Sprintf("%s.%d", at, i), x))
		}
		return out
	case map[string]any:
		if len(v) == 1 {
			for key, x := range v {
				switch key {
				case "Ref":
					return r.name(at, fmt.Sprint(x))
				case "Fn::GetAtt":
					list := x.([]any)
					return r.name(at, fmt.Sprintf("%v.%v", list[0], list[1]))
				case "Fn::Sub":
					text, own := x, map[string]any(nil)
					if list, ok := x.([]any); ok && len(list) == 2 {
						text, own = list[0], object(list[1])
					}
					return reference.ReplaceAllStringFunc(fmt.Sprint(text), func(m string) string {
						name := m[2 : len(m)-1]
						if v, ok := own[name]; ok {
							return fmt.Sprint(r.value(at, v))
						}
						return r.name(at, name)
					})
				case "Fn::If":
					list := x.([]any)
					if r.holds(map[string]any{"Condition": list[0]}) {
						return r.value(at, list[1])
					}
					return r.value(at, list[2])
				}
			}
		}
		out := map[string]any{}
		for key, x := range v {
			out[key] = r.value(at+"."+key, x)
		}
		return out
	}
	return v
}

// names of resources that are given by a property, by type.
var names = map[string]string{
	"AWS::S3::Bucket": "BucketName", "AWS::IAM::Role": "RoleName", "AWS::CloudTrail::Trail": "TrailName", "AWS::Logs::LogGroup": "LogGroupName",
	"AWS::Events::Rule": "Name", "AWS::Events::EventBus": "Name", "AWS::Backup::BackupVault": "BackupVaultName",
}

// arns by type.
var arns = map[string]string{
	"AWS::S3::Bucket": "arn:PARTITION:s3:::NAME", "AWS::IAM::Role": "arn:PARTITION:iam::ACCOUNT:rolePATHNAME", "AWS::CloudTrail::Trail": "arn:PARTITION:cloudtrail:REGION:ACCOUNT:trail/NAME",
	"AWS::IAM::ManagedPolicy": "arn:PARTITION:iam::ACCOUNT:policyPATHNAME", "AWS::Events::EventBus": "arn:PARTITION:events:REGION:ACCOUNT:event-bus/NAME",
	"AWS::Events::Rule": "arn:PARTITION:events:REGION:ACCOUNT:rule/BUSNAME", "AWS::SNS::Topic": "arn:PARTITION:sns:REGION:ACCOUNT:NAME", "AWS::SQS::Queue": "arn:PARTITION:sqs:REGION:ACCOUNT:NAME",
}

func (r *resolver) name(at, name string) string {
	if v, ok := r.values[name]; ok {
		return v
	}
	logical, attribute, _ := strings.Cut(name, ".")
	res, ok := r.t.Resources[logical]
	property := names[res.Type]
	byARN := attribute == "Arn" || attribute == "" && (res.Type == "AWS::IAM::ManagedPolicy" || res.Type == "AWS::SNS::Topic")
	switch {
	case ok && byARN && arns[res.Type] != "":
		named := map[string]string{"AWS::IAM::ManagedPolicy": "ManagedPolicyName", "AWS::SNS::Topic": "TopicName", "AWS::SQS::Queue": "QueueName"}[res.Type]
		if named == "" {
			named = property
		}
		bus := ""
		if b := res.Properties["EventBusName"]; b != nil {
			bus = fmt.Sprint(r.value(at, b)) + "/"
		}
		path, _ := res.Properties["Path"].(string)
		if path == "" {
			path = "/"
		}
		return strings.NewReplacer("PARTITION", r.values["AWS::Partition"], "ACCOUNT", r.values["AWS::AccountId"], "REGION", r.values["AWS::Region"],
			"PATH", path, "BUS", bus, "NAME", fmt.Sprint(r.value(at, res.Properties[named]))).Replace(arns[res.Type])
	case ok && attribute == "" && property != "":
		return fmt.Sprint(r.value(at, res.Properties[property]))
	case ok:
		return "id-of-" + name // which only the cloud knows
	}
	r.errs = append(r.errs, fmt.Errorf("%s: %s is not known: give it", at, name))
	return "UNKNOWN"
}
