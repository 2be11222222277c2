package aws

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// operations is everything this program may ever do in an account, by subject.
// What is not on it cannot be planned or sent; what a scenario's undo calls is on
// it too. (What it may read in order to sweep is in kinds, leftovers.go.)
//
// A further operation is one line in its subject's file. An undo of "" means that
// the call itself leaves nothing to undo, or restores.
//
// It is a function, as the subjects' lists are, because the linker keeps what a package's
// variables name: so a program that plans, sends and sweeps nothing links no client for it.
func operations() map[string]operation {
	table.Do(func() {
		table.all = union(
			identityOperations(),
			networkOperations(),
			securityOperations(),
			keyOperations(),
			storageOperations(),
			systemsOperations(),
			loggingOperations(),
			monitoringOperations(),
			dataOperations(),
		)
	})
	return table.all
}

// table is the list of operations, made when it is first asked for.
var table struct {
	sync.Once
	all map[string]operation
}

// union joins the subjects' lists; an operation that stands on two is a mistake
// that must not wait for a call to be seen.
func union(lists ...map[string]operation) map[string]operation {
	all := map[string]operation{}
	for _, list := range lists {
		for name, op := range list {
			if _, twice := all[name]; twice {
				panic("operation listed twice: " + name)
			}
			all[name] = op
		}
	}
	return all
}

// Names and templates the table is written in. In a template {Param} stands for
// a parameter of the call (each of its values, if it is a list), and lower-case
// names for the place: {partition}, {account}, {region}, {run}, {name}. Where a
// parameter that is an ARN already fills the end of an ARN template, it stands
// for the whole.
const (
	rolePath = "/auditcanary/"
	denyAll  = "arn:{partition}:iam::aws:policy/AWSDenyAll"

	canaryRole        = "arn:{partition}:iam::{account}:role/auditcanary/{RoleName}"
	securityGroup     = "arn:{partition}:ec2:{region}:{account}:security-group/{GroupId}"
	securityGroupRule = "arn:{partition}:ec2:{region}:{account}:security-group-rule/*"
	key               = "arn:{partition}:kms:{region}:{account}:key/{KeyId}"
	bucket            = "arn:{partition}:s3:::{Bucket}"
	trail             = "arn:{partition}:cloudtrail:{region}:{account}:trail/{Name}"

	// Tags: tagFixture=fixture is on what infrastructure code deployed for
	// canaries to act on; tagRun and tagCanary on what a canary itself made.
	tagFixture    = "auditcanary"
	tagRun        = "auditcanary:run"
	tagCanary     = "auditcanary:canary"
	fixtureTag    = "aws:ResourceTag/" + tagFixture
	requestTagRun = "aws:RequestTag/" + tagRun

	// sourceIdentity is set on every session this program opens.
	sourceIdentity = "auditcanary"
)

// operation is one line of the list.
type operation struct {
	call method
	// global services are called and recorded in the partition's home region.
	global bool
	// readOnly as the provider classifies it: a write-only trail drops the record.
	readOnly bool
	// dataEvent: recorded only where a trail selects the data events of the thing.
	dataEvent bool
	// subject says how an undo must name what the call acts on: "X", both have
	// the same X; "X=Y", the undo's Y is, or as an ARN ends in, the call's X (of a
	// URL, its last part); "=Y", the undo's Y is a reference to this very call's reply.
	subject []string
	// undo is the operation that reverses it.
	undo string
	// restores marks what a sweep may call.
	restores bool
	// guards refuse parameters that are not provably harmless; undone those of an
	// undo, beyond its own guards, that would not bring back what was.
	guards, undone guards
	// idle are guards of an attempt: where they agree, it would come to nothing even if
	// nobody denied it, and needs no undo.
	idle guards
	// grants are what the caller must be allowed, and no more.
	grants grants
}

type (
	guards []guard
	grants []grant
	when   map[string]string // condition key -> template, compared with StringLike; or notGiven
)

// notGiven: the request must not have that condition key.
const notGiven = ""

// grant is one IAM permission an operation needs.
type grant struct {
	actions  []string
	resource string // template
	when     when
}

func allow(resource string, cond when, actions ...string) grant {
	return grant{actions, resource, cond}
}

func on(params ...string) []string { return params }

// method is one SDK operation with its types hidden.
type method struct {
	// in is the SDK's input type.
	in reflect.Type
	// decode reads parameters strictly into the SDK's input.
	decode func(params map[string]any) (any, error)
	// send makes the call with a client of that configuration.
	send func(ctx context.Context, cfg aws.Config, in any) (out any, err error)
}

// call ties an SDK operation to its client.
func call[Client, In, Out, Option any](
	client func(aws.Config, ...func(*Option)) *Client,
	op func(*Client, context.Context, *In, ...func(*Option)) (*Out, error),
) method {
	return method{
		in:     reflect.TypeFor[In](),
		decode: func(params map[string]any) (any, error) { return decode[In](params) },
		send: func(ctx context.Context, cfg aws.Config, in any) (any, error) {
			return op(client(cfg), ctx, in.(*In))
		},
	}
}

// newS3 addresses buckets by path wherever an endpoint was configured: names
// of buckets do not resolve there.
func newS3(cfg aws.Config, opts ...func(*s3.Options)) *s3.Client {
	return s3.NewFromConfig(cfg, append(opts, func(o *s3.Options) { o.UsePathStyle = o.BaseEndpoint != nil })...)
}

// Operations lists the allow-list, sorted.
func Operations() []string { return slices.Sorted(maps.Keys(operations())) }

// CheckCall reports whether an operation is on the allow-list and its
// parameters are the SDK's: every name known (case matters), every value of its
// type, enumerations among them, nothing required left out. Strings may hold
// ${...} references. The error names the operation and the parameter, like
// "Tags[0].Kay".
func CheckCall(operation string, params map[string]any) error {
	_, _, err := lookUp(operation, params)
	return err
}

func lookUp(name string, params map[string]any) (operation, any, error) {
	op, ok := operations()[name]
	if !ok {
		return op, nil, fmt.Errorf("operation %q is not on the allow-list (%s)", name, strings.Join(Operations(), ", "))
	}
	in, err := op.call.decode(params)
	if err == nil {
		err = op.call.required(in)
	}
	if err != nil {
		return op, nil, fmt.Errorf("%s: %w", name, err)
	}
	return op, in, nil
}

// decode reads params into the SDK's input type as if they were JSON.
func decode[In any](params map[string]any) (*In, error) {
	if params == nil {
		params = map[string]any{}
	}
	raw, err := json.Marshal(params, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("parameters cannot be encoded: %w", err)
	}
	in := new(In)
	if err := json.Unmarshal(raw, in, json.RejectUnknownMembers(true)); err != nil {
		return nil, decodeError(err)
	}
	return in, checkEnums(reflect.ValueOf(in), "")
}

// decodeError says in the API's terms what the JSON decoder found.
func decodeError(err error) error {
	var sem *json.SemanticError
	if !errors.As(err, &sem) {
		return fmt.Errorf("parameters cannot be decoded: %w", err)
	}
	at := paramPath(string(sem.JSONPointer))
	if errors.Is(sem.Err, json.ErrUnknownName) {
		return fmt.Errorf("unknown parameter %s", at)
	}
	return fmt.Errorf("parameter %s: a JSON %s does not fit its type%s", at, kindName(sem.JSONKind), goTypeName(sem.GoType))
}

func kindName(k jsontext.Kind) string {
	switch k {
	case '{':
		return "object"
	case '[':
		return "list"
	default:
		return k.String()
	}
}

func goTypeName(t reflect.Type) string {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == nil:
		return ""
	case t.Name() != "":
		return " " + t.Name()
	case t.Kind() == reflect.Slice:
		return " list"
	default:
		return " " + t.Kind().String()
	}
}

// paramPath turns a JSON pointer ("/Tags/0/Key") into "Tags[0].Key".
func paramPath(pointer string) string {
	var b strings.Builder
	for _, tok := range strings.Split(strings.TrimPrefix(pointer, "/"), "/") {
		tok = strings.NewReplacer("~1", "/", "~0", "~").Replace(tok)
		if _, err := strconv.Atoi(tok); err == nil {
			b.WriteString("[" + tok + "]")
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(tok)
	}
	return b.String()
}

// checkEnums refuses values the SDK does not know for an enumeration. The SDK
// itself would send them.
func checkEnums(v reflect.Value, path string) error {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			return checkEnums(v.Elem(), path)
		}
	case reflect.Slice:
		for i := range v.Len() {
			if err := checkEnums(v.Index(i), fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			if err := checkEnums(v.MapIndex(k), fmt.Sprintf("%s.%v", path, k)); err != nil {
				return err
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				if err := checkEnums(v.Field(i), strings.TrimPrefix(path+"."+f.Name, ".")); err != nil {
					return err
				}
			}
		}
	case reflect.String:
		values := v.MethodByName("Values")
		s := v.String()
		if !values.IsValid() || s == "" || strings.Contains(s, "${") {
			return nil
		}
		known := values.Call(nil)[0]
		for i := range known.Len() {
			if known.Index(i).String() == s {
				return nil
			}
		}
		return fmt.Errorf("parameter %s: %q is not a value of %s", path, s, v.Type().Name())
	}
	return nil
}

// required runs the SDK's own validation, and stops before anything is sent.
func (m method) required(in any) error {
	stop := errors.New("stop before sending")
	cfg := aws.Config{
		Region:      "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("none", "none", ""),
		APIOptions: []func(*middleware.Stack) error{func(s *middleware.Stack) error {
			return s.Initialize.Add(middleware.InitializeMiddlewareFunc("StopBeforeSending",
				func(context.Context, middleware.InitializeInput, middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
					return middleware.InitializeOutput{}, middleware.Metadata{}, stop
				}), middleware.After)
		}},
	}
	_, err := m.send(context.Background(), cfg, in)
	if errors.Is(err, stop) {
		return nil
	}
	var invalid smithy.InvalidParamsError
	if errors.As(err, &invalid) {
		var absent []string
		for _, e := range invalid.Errs() {
			var param smithy.InvalidParamError
			if errors.As(e, &param) {
				absent = append(absent, strings.TrimPrefix(param.Field(), invalid.Context+"."))
			}
		}
		slices.Sort(absent)
		return fmt.Errorf("required parameter missing: %s", strings.Join(absent, ", "))
	}
	return fmt.Errorf("parameters were refused: %w", err)
}
