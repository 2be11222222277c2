package aws

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// Look implements run.Prober.
func (s *session) Look(ctx context.Context, call canary.Call) (r canary.Reading) {
	r = canary.Reading{Call: call, RequestIDs: []string{}}
	var xs []exchange
	defer func() {
		if p := recover(); p != nil {
			r.Err = s.clean(fmt.Sprintf("%s: reading the reply: %v", call.Operation, p))
		}
		r.Ended = s.cloud.clock().UTC()
		for _, x := range xs {
			if x.requestID != "" {
				r.RequestIDs = append(r.RequestIDs, x.requestID)
			}
		}
	}()
	if err := s.cloud.mayAttempt(ctx, s.target); err != nil {
		r.Err = s.clean(err.Error())
		return r
	}
	l, in, err := lookUpLook(call.Operation, call.Params)
	if err == nil {
		err = l.guards.check(s.scene, call.Operation, canary.Plain(call.Params))
	}
	if want := s.scene.regionOf(l.operation); err == nil && call.Region != want {
		err = fmt.Errorf("%s must be sent to %s, not %q", call.Operation, want, call.Region)
	}
	if err != nil {
		r.Outcome = canary.Outcome{Result: canary.Failed, Code: codeNotSent, Message: s.clean(err.Error())}
		return r
	}
	ctx, cancel := context.WithTimeout(ctx, s.cloud.timeout)
	defer cancel()
	out, err := l.call.send(ctx, s.config(call.Region, func(x exchange) { xs = append(xs, x) }), in)
	r.Outcome = s.outcome(call, xs, err)
	r.Gone = r.Outcome.Result == canary.Failed && slices.Contains(l.gone, r.Outcome.Code)
	if err != nil {
		return r
	}
	if r.Reply, err = kept(out, l.keeps); err != nil {
		r.Err = s.clean(fmt.Sprintf("%s: %v", call.Operation, err))
	}
	return r
}

// Attempt implements run.Prober: one attempt, as Do makes one call.
func (s *session) Attempt(ctx context.Context, call canary.Call, seen []canary.Reading) canary.Receipt {
	held := *s
	held.scene.seen = slices.Clip(append([]canary.Reading{}, seen...))
	return held.make(ctx, call, nil, func() (operation, any, error) {
		op, in, err := lookUpAttempt(call.Operation, call.Params)
		if err == nil && len(seen) == 0 {
			err = fmt.Errorf("%s: nothing was read of what protects the thing", call.Operation)
		}
		if err == nil {
			err = op.guards.check(held.scene, call.Operation, canary.Plain(call.Params))
		}
		if want := s.scene.regionOf(op); err == nil && call.Region != want {
			err = fmt.Errorf("%s must be sent to %s, not %q", call.Operation, want, call.Region)
		}
		return op, in, err
	})
}

// config is the configuration for one attempt at one call under the session.
func (s *session) config(region string, see func(exchange)) aws.Config {
	cfg := s.cloud.config(region)
	cfg.Credentials = credentials.StaticCredentialsProvider{Value: s.id.creds}
	cfg.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
	cfg.RetryMaxAttempts = 1
	cfg.APIOptions = append(cfg.APIOptions, observe(see))
	return cfg
}

// kept is the reply as a JSON object of these parts; what is not stated is left out.
func kept(out any, parts []string) ([]byte, error) {
	paths := make([][]string, len(parts))
	for i, part := range parts {
		paths[i] = strings.Split(part, ".")
	}
	some := stated(reflect.ValueOf(out), paths)
	if some == nil {
		some = map[string]any{}
	}
	text, err := json.Marshal(some) // as the ledger will have it, which it must fit
	if err != nil {
		return nil, fmt.Errorf("encode the reply: %w", err)
	}
	if len(text) > canary.MaxReply {
		return nil, fmt.Errorf("the reply has %d bytes, more than the %d that are kept", len(text), canary.MaxReply)
	}
	return text, nil
}

// stated is a value of the SDK's types as JSON has it, as far as it lies under one of
// the paths, which go through lists; all of it under one that has ended. nil: the
// service did not state it. (An enumeration that it did not state is "" to the SDK; a
// text that is empty, but stated, is a pointer to one.)
func stated(v reflect.Value, paths [][]string) any {
	all := slices.ContainsFunc(paths, func(p []string) bool { return len(p) == 0 })
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		if v.Elem().Kind() == reflect.String && all {
			return v.Elem().String()
		}
		return stated(v.Elem(), paths)
	case reflect.Struct:
		if at, ok := v.Interface().(time.Time); ok {
			return at.UTC().Format(time.RFC3339Nano)
		}
		out := map[string]any{}
		for i := range v.NumField() {
			f := v.Type().Field(i)
			under := below(paths, f.Name)
			if all {
				under = [][]string{{}}
			}
			if !f.IsExported() || len(under) == 0 || f.Name == "ResultMetadata" {
				continue
			}
			if x := stated(v.Field(i), under); x != nil {
				out[f.Name] = x
			}
		}
		return out
	case reflect.Slice:
		if v.IsNil() {
			return nil
		}
		out := []any{}
		for i := range v.Len() {
			out = append(out, stated(v.Index(i), paths))
		}
		return out
	case reflect.Map:
		out := map[string]any{}
		for _, k := range v.MapKeys() {
			out[fmt.Sprint(k)] = stated(v.MapIndex(k), paths)
		}
		return out
	case reflect.String:
		if v.Len() > 0 && all {
			return v.String()
		}
	case reflect.Bool, reflect.Int, reflect.Int32, reflect.Int64, reflect.Float32, reflect.Float64:
		if all {
			return v.Interface()
		}
	}
	return nil
}

// below are the rests of the paths that begin with name.
func below(paths [][]string, name string) (rests [][]string) {
	for _, p := range paths {
		if len(p) > 0 && p[0] == name {
			rests = append(rests, p[1:])
		}
	}
	return rests
}
