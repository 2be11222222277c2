package scenarios

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"

	"github.com/auditcanary/auditcanary/shared/event"
)

// Bounds of an expectation: its text, and what evaluating it may cost in CEL's
// own units (a comparison is one). Records come from outside and may be large.
const (
	maxExpectBytes = 2048
	maxExpectNodes = 500
	maxExpectDepth = 50
	maxExpectCost  = 100_000
)

// Expectation says whether an event, as the JSON object of event.Event, is as a
// scenario wants it. An error means that it could not be found out: a field that
// the event does not have (ask with has(...) first), values that cannot be
// compared, or a cost beyond the limit. It is safe for concurrent use.
type Expectation func(event map[string]any) (bool, error)

// Holds asks about an event.Event.
func (x Expectation) Holds(e event.Event) (bool, error) {
	data, err := json.Marshal(e)
	if err != nil {
		return false, fmt.Errorf("expectation: encode event %q: %w", e.Metadata.UID, err)
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		return false, fmt.Errorf("expectation: decode event %q: %w", e.Metadata.UID, err)
	}
	return x(fields)
}

// CompileExpect compiles a CEL expression over `event`. An expression that is not
// boolean or names a field that event.Event does not have is an error, which says
// where in the expression.
func CompileExpect(expr string) (Expectation, error) {
	eval, err := compile(expr, []string{"event"}, knownFields)
	if err != nil {
		return nil, err
	}
	return func(fields map[string]any) (bool, error) {
		return eval(map[string]any{"event": fields})
	}, nil
}

// ReplyExpectation says whether the reply of a look at a protection, as far as it is
// kept, is as a scenario wants it; params are those it was asked for with, and now when
// it was given. Errors and bounds are an Expectation's.
type ReplyExpectation func(reply, params map[string]any, now time.Time) (bool, error)

// CompileReply compiles a CEL expression over `reply`, `params` and `now`.
func CompileReply(expr string) (ReplyExpectation, error) {
	eval, err := compile(expr, []string{"reply", "params", "now"}, func(*ast.AST) error { return nil })
	if err != nil {
		return nil, err
	}
	return func(reply, params map[string]any, now time.Time) (bool, error) {
		return eval(map[string]any{"reply": reply, "params": params, "now": now})
	}, nil
}

// compile makes a bounded boolean expression over these variables ready. check may
// refuse it for what it is about.
func compile(expr string, variables []string, check func(*ast.AST) error) (func(map[string]any) (bool, error), error) {
	if len(expr) > maxExpectBytes {
		return nil, fmt.Errorf("expression is longer than %d bytes", maxExpectBytes)
	}
	options := []cel.EnvOption{cel.ParserRecursionLimit(maxExpectDepth), cel.ParserExpressionSizeLimit(maxExpectBytes)}
	for _, v := range variables {
		options = append(options, cel.Variable(v, cel.DynType))
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		return nil, fmt.Errorf("prepare CEL: %w", err)
	}
	compiled, issues := env.Compile(expr)
	if issues.Err() != nil {
		if all := issues.Errors(); len(all) > 0 {
			return nil, fmt.Errorf("%s%s", place(all[0].Location), firstLine(all[0].Message))
		}
		return nil, fmt.Errorf("compile: %w", issues.Err())
	}
	rep := compiled.NativeRep()
	if ast.NodeCount(rep) > maxExpectNodes {
		return nil, fmt.Errorf("expression has more than %d parts", maxExpectNodes)
	}
	if t := compiled.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("expression yields %s, not a boolean", t)
	}
	if err := check(rep); err != nil {
		return nil, err
	}
	prg, err := env.Program(compiled, cel.CostLimit(maxExpectCost))
	if err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}
	return func(values map[string]any) (bool, error) {
		out, _, err := prg.Eval(values)
		if err != nil {
			return false, fmt.Errorf("evaluate %s: %w", quote(expr), err)
		}
		b, ok := out.(types.Bool)
		if !ok {
			return false, fmt.Errorf("evaluate %s: it yields %s, not a boolean", quote(expr), out.Type().TypeName())
		}
		return bool(b), nil
	}, nil
}

// place says where in an expression, if that is known.
func place(l common.Location) string {
	switch {
	case l.Line() < 1 || l.Column() < 0:
		return ""
	case l.Line() == 1:
		return fmt.Sprintf("column %d: ", l.Column()+1)
	default:
		return fmt.Sprintf("line %d, column %d: ", l.Line(), l.Column()+1)
	}
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

// knownFields requires that every event.a.b of an expression exists: to CEL the
// event is dynamic, and a misspelt field would be noticed only in a run.
func knownFields(a *ast.AST) error {
	var bad error
	ast.PreOrderVisit(a.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		path, ok := selection(e)
		if bad != nil || !ok || len(path) == 0 {
			return
		}
		if t, ok := fieldType(reflect.TypeFor[event.Event](), path[:len(path)-1]); ok && t != nil {
			if _, ok := fieldType(t, path[len(path)-1:]); !ok {
				bad = fmt.Errorf("%san event has no field %s", place(a.SourceInfo().GetStartLocation(e.ID())), strings.Join(path, "."))
			}
		}
	}))
	return bad
}

// selection returns [a b] for event.a.b.
func selection(e ast.Expr) (path []string, ok bool) {
	switch e.Kind() {
	case ast.IdentKind:
		return nil, e.AsIdent() == "event"
	case ast.SelectKind:
		path, ok = selection(e.AsSelect().Operand())
		return append(path, e.AsSelect().FieldName()), ok
	default:
		return nil, false
	}
}

// fieldType follows JSON field names down from t. A nil type is one that may
// hold anything (parameters).
func fieldType(t reflect.Type, path []string) (reflect.Type, bool) {
	for _, name := range path {
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t.Kind() == reflect.Map {
			return nil, true
		}
		if t.Kind() != reflect.Struct {
			return nil, false
		}
		next, found := jsonField(t, name)
		if !found {
			return nil, false
		}
		t = next
	}
	return t, true
}

func jsonField(t reflect.Type, name string) (reflect.Type, bool) {
	for i := range t.NumField() {
		tag, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if tag != "" && tag == name {
			return t.Field(i).Type, true
		}
	}
	return nil, false
}
