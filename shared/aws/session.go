package aws

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/event"
	"github.com/auditcanary/auditcanary/shared/run"
)

// appID is in the user agent of every call, as "app/auditcanary".
const appID = canary.Marker

// sessionLife is the shortest STS gives: what a lost session could do, it can
// do for no longer.
const sessionLife = 15 * time.Minute

// Open implements run.Cloud: it assumes the target's role under the canary's
// name, with the plan's session policy.
func (c *Cloud) Open(ctx context.Context, p run.Plan) (run.Prober, error) {
	cn := p.Canary
	t, err := c.target(cn.Target)
	if err != nil {
		return nil, err
	}
	if len(p.SessionPolicy) == 0 {
		return nil, fmt.Errorf("canary %s has no session policy", cn.ID)
	}
	id, err := c.assume(ctx, t, cn.Target.Region, cn.Name(), string(p.SessionPolicy))
	if err != nil {
		return nil, err
	}
	return &session{cloud: c, id: id, target: t, scene: t.scene(cn.Target.Region, cn.Run, cn.Name())}, nil
}

// OpenSweep implements run.Sweeper: a session that may only call what restores,
// and only on what is canary-marked. Each call has a session of its own, whose
// policy allows that one call.
func (c *Cloud) OpenSweep(_ context.Context, at canary.Target) (run.Session, error) {
	t, err := c.target(at)
	if err != nil {
		return nil, err
	}
	return &sweep{cloud: c, at: at, target: t}, nil
}

// sweep implements run.Session. It is not safe for concurrent use.
type sweep struct {
	cloud  *Cloud
	at     canary.Target
	target Target
	// id is the latest session, under policy.
	id     identity
	policy string
}

// Do assumes the role for that one call, and makes it.
func (w *sweep) Do(ctx context.Context, call canary.Call, refs []string) canary.Receipt {
	s := &session{cloud: w.cloud, target: w.target, scene: w.target.scene(w.at.Region, "*", canary.Marker), restoresOnly: true}
	_, _, err := s.admit(call)
	if doc := string(policy(s.scene.statements(call))); err == nil && doc != w.policy {
		if w.id, err = w.cloud.assume(ctx, w.target, w.at.Region, sweepName, doc); err == nil {
			w.policy = doc
		}
	}
	if err != nil {
		now := w.cloud.clock().UTC()
		return canary.Receipt{Call: call, Started: now, Ended: now, RequestIDs: []string{}, Want: s.want(call, false, nil, canary.Outcome{}),
			Outcome: canary.Outcome{Result: canary.Failed, Code: codeNotSent, Message: s.clean(err.Error())}}
	}
	s.id = w.id
	return s.Do(ctx, call, refs)
}

// sweepName and readName are the names of the sessions that belong to no canary.
const (
	sweepName = canary.Marker + "-sweep"
	readName  = canary.Marker + "-read"
)

const noCredentials = "no usable credentials (set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"

// identity is an assumed role.
type identity struct {
	creds    aws.Credentials
	arn, uid string // AssumedRoleUser
	name     string
}

// assume begins a session on the target's role at the region's own STS
// endpoint. Errors say what to do.
func (c *Cloud) assume(ctx context.Context, t Target, region, name, sessionPolicy string) (identity, error) {
	fail := func(err error) (identity, error) {
		return identity{}, explain(err, "sts:AssumeRole of "+t.RoleARN, t.Account, region, assumeAdvice)
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if c.base.Credentials == nil {
		return fail(errors.New(noCredentials))
	}
	if _, err := c.base.Credentials.Retrieve(ctx); err != nil {
		return fail(fmt.Errorf("%s: %w", noCredentials, err))
	}
	in := &sts.AssumeRoleInput{
		RoleArn: &t.RoleARN, RoleSessionName: &name, SourceIdentity: aws.String(sourceIdentity),
		Policy: &sessionPolicy, DurationSeconds: aws.Int32(int32(sessionLife.Seconds())),
	}
	if t.ExternalID != "" {
		in.ExternalId = &t.ExternalID
	}
	out, err := sts.NewFromConfig(c.config(region)).AssumeRole(ctx, in)
	if err != nil {
		return fail(err)
	}
	cr, user := out.Credentials, out.AssumedRoleUser
	if cr == nil || user == nil || aws.ToString(cr.AccessKeyId) == "" || aws.ToString(cr.SecretAccessKey) == "" || aws.ToString(user.Arn) == "" {
		return fail(errors.New("the reply has no credentials"))
	}
	id := identity{
		creds: aws.Credentials{
			AccessKeyID: *cr.AccessKeyId, SecretAccessKey: *cr.SecretAccessKey, SessionToken: aws.ToString(cr.SessionToken),
			Source: "AssumeRole", CanExpire: cr.Expiration != nil, Expires: aws.ToTime(cr.Expiration),
		},
		arn: *user.Arn, uid: aws.ToString(user.AssumedRoleId), name: name,
	}
	if !strings.HasPrefix(id.arn, "arn:"+t.partition()+":sts::"+t.Account+":assumed-role/") || !strings.HasSuffix(id.arn, "/"+name) {
		return fail(fmt.Errorf("the reply is of another identity, %q", id.arn))
	}
	return id, nil
}

// config is the base configuration for a region, naming this program. Its
// APIOptions may be appended to.
func (c *Cloud) config(region string) aws.Config {
	cfg := c.base.Copy()
	cfg.Region, cfg.AppID, cfg.APIOptions = region, appID, slices.Clone(cfg.APIOptions)
	return cfg
}

// session implements run.Prober. It is safe for concurrent use.
type session struct {
	cloud        *Cloud
	id           identity
	target       Target
	scene        scene
	restoresOnly bool
}

// Codes of receipts that no service gave.
const (
	codeNotSent    = "NotSent"    // nothing left this machine
	codeTimeout    = "Timeout"    // no answer in time
	codeCancelled  = "Cancelled"  // the caller stopped waiting
	codeNoAnswer   = "NoAnswer"   // the connection was cut
	codeUnreadable = "Unreadable" // an answer that is not the service's
)

// Do implements run.Session: one attempt, whatever comes of it. refs that the
// reply does not have, or that would be secrets, are absent from Output.
func (s *session) Do(ctx context.Context, call canary.Call, refs []string) canary.Receipt {
	return s.make(ctx, call, refs, func() (operation, any, error) { return s.admit(call) })
}

// make is Do for a call that admit admits.
func (s *session) make(ctx context.Context, call canary.Call, refs []string, admit func() (operation, any, error)) (r canary.Receipt) {
	var op operation
	r = canary.Receipt{Call: call, Started: s.cloud.clock().UTC(), RequestIDs: []string{}}
	var xs []exchange
	defer func() {
		if p := recover(); p != nil {
			r.Outcome = canary.Outcome{Result: canary.Unknown, Code: codeUnreadable, Message: s.clean(fmt.Sprintf("%s: reading the reply: %v", call.Operation, p))}
			if len(xs) == 0 {
				r.Outcome.Result, r.Outcome.Code = canary.Failed, codeNotSent
			}
		}
		r.Ended = s.cloud.clock().UTC()
		for _, x := range xs {
			if x.requestID != "" {
				r.RequestIDs = append(r.RequestIDs, x.requestID)
			}
		}
		r.Want, r.DataEvent = s.want(call, op.readOnly, xs, r.Outcome), op.dataEvent
	}()

	op, in, err := admit()
	if err != nil {
		r.Outcome = canary.Outcome{Result: canary.Failed, Code: codeNotSent, Message: s.clean(err.Error())}
		return r
	}
	cfg := s.config(call.Region, func(x exchange) { xs = append(xs, x) })
	ctx, cancel := context.WithTimeout(ctx, s.cloud.timeout)
	defer cancel()
	out, err := op.call.send(ctx, cfg, in)
	r.Outcome = s.outcome(call, xs, err)
	if err == nil {
		r.Output = pick(out, refs)
	}
	return r
}

// admit checks a call once more as it is about to be sent.
func (s *session) admit(call canary.Call) (operation, any, error) {
	op, in, err := lookUp(call.Operation, call.Params)
	if err != nil {
		return op, nil, err
	}
	if s.restoresOnly && !op.restores {
		return op, nil, fmt.Errorf("%s does not restore: a sweep may not call it", call.Operation)
	}
	if refs := canary.References(call.Params); len(refs) > 0 {
		return op, nil, fmt.Errorf("%s: ${%s} is not resolved", call.Operation, refs[0])
	}
	if err := op.guards.check(s.scene, call.Operation, canary.Plain(call.Params)); err != nil {
		return op, nil, err
	}
	want := s.scene.region
	if op.global {
		want = homeRegion(s.scene.partition)
	}
	if call.Region != want {
		return op, nil, fmt.Errorf("%s must be sent to %s, not %q", call.Operation, want, call.Region)
	}
	return op, in, nil
}

// want is the record the call must have left.
func (s *session) want(call canary.Call, readOnly bool, xs []exchange, o canary.Outcome) event.Event {
	service, operation, _ := strings.Cut(call.Operation, ":")
	e := event.Event{
		Metadata: event.Metadata{EventCode: "AwsApiCall"},
		Cloud:    event.Cloud{Provider: "AWS", Account: s.target.Account, Region: call.Region},
		Actor: event.Actor{
			Type: "AssumedRole", UID: s.id.arn, UIDAlt: s.id.uid, Account: s.target.Account, CredentialUID: s.id.creds.AccessKeyID,
			Session: event.Session{Issuer: s.target.RoleARN, Name: s.id.name, SourceIdentity: sourceIdentity},
		},
		API: event.API{
			Service: service + ".amazonaws.com", Operation: operation,
			Request: canary.Plain(call.Params), ReadOnly: aws.Bool(readOnly),
		},
		SrcEndpoint: event.Endpoint{IP: strings.Join(s.target.Egress, ",")},
	}
	if o.Result == canary.Refused || o.Result == canary.Failed {
		e.API.Error = o.Code
	}
	if len(xs) > 0 {
		x := xs[len(xs)-1]
		e.Time, e.API.RequestUID, e.HTTPRequest.UserAgent = x.date, x.requestID, x.userAgent
	}
	return e
}

// refusals are the codes with which services say that the caller may not.
var refusals = []string{
	"AccessDenied", "AccessDeniedException", // most services
	"UnauthorizedOperation", "Client.UnauthorizedOperation", // EC2
	"NotAuthorized", "AuthorizationError", "UnauthorizedException", "ForbiddenException",
}

// outcome reads the error of a call that was admitted.
func (s *session) outcome(call canary.Call, xs []exchange, err error) canary.Outcome {
	if err == nil {
		return canary.Outcome{Result: canary.Succeeded}
	}
	say := func(result canary.Result, code, message string) canary.Outcome {
		return canary.Outcome{Result: result, Code: code, Message: s.clean(message)}
	}
	local := explain(err, call.Operation, s.target.Account, call.Region, nil).Error()
	if len(xs) == 0 || neverConnected(err) {
		return say(canary.Failed, codeNotSent, local)
	}
	var api smithy.APIError
	status := xs[len(xs)-1].status
	switch {
	case status == 0 && errors.Is(err, context.DeadlineExceeded):
		return say(canary.Unknown, codeTimeout, local)
	case status == 0 && errors.Is(err, context.Canceled):
		return say(canary.Unknown, codeCancelled, local)
	case status == 0:
		return say(canary.Unknown, codeNoAnswer, local)
	case status < 300 || !errors.As(err, &api) || api.ErrorCode() == "" || api.ErrorCode() == "UnknownError":
		return say(canary.Unknown, codeUnreadable, local)
	}
	switch code := api.ErrorCode(); {
	case status < 500 && slices.Contains(refusals, code):
		return say(canary.Refused, code, api.ErrorMessage())
	case status < 500 || isThrottle(code):
		return say(canary.Failed, code, api.ErrorMessage())
	default: // the service broke down: it may have acted before it did
		return say(canary.Unknown, code, api.ErrorMessage())
	}
}

func isThrottle(code string) bool {
	_, ok := retry.DefaultThrottleErrorCodes[code]
	return ok
}

// neverConnected: the request cannot have reached anybody.
func neverConnected(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	return errors.As(err, &op) && op.Op == "dial" || errors.As(err, &dns)
}

// clean cuts a message to 1 KB and takes the session's secrets out, should a
// server echo them.
func (s *session) clean(msg string) string {
	for _, secret := range []string{s.id.creds.SecretAccessKey, s.id.creds.SessionToken} {
		if secret != "" {
			msg = strings.ReplaceAll(msg, secret, "[secret]")
		}
	}
	return cut(strings.ToValidUTF8(msg, "\uFFFD"), 1024)
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// exchange is what one attempt showed on the wire.
type exchange struct {
	status    int // 0: no answer
	requestID string
	date      time.Time
	userAgent string
}

// requestIDHeaders in which services answer the request's id.
var requestIDHeaders = []string{"X-Amzn-Requestid", "X-Amz-Requestid", "X-Amz-Request-Id"}

// observe tells see of every attempt, answered or not.
func observe(see func(exchange)) func(*middleware.Stack) error {
	return func(stack *middleware.Stack) error {
		return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("Observe", func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
			var x exchange
			if req, ok := in.Request.(*smithyhttp.Request); ok {
				x.userAgent = req.Header.Get("User-Agent")
			}
			// Told also when reading the reply panics.
			defer func() { see(x) }()
			out, md, err := next.HandleDeserialize(ctx, in)
			if raw, ok := out.RawResponse.(*smithyhttp.Response); ok {
				x.status = raw.StatusCode
				if date, err := http.ParseTime(raw.Header.Get("Date")); err == nil {
					x.date = date.UTC()
				}
				for _, h := range requestIDHeaders {
					if x.requestID == "" {
						x.requestID = raw.Header.Get(h)
					}
				}
			}
			if id, ok := awsmiddleware.GetRequestIDMetadata(md); ok && x.requestID == "" {
				x.requestID = id // EC2 and IAM have it in the body
			}
			return out, md, err
		}), middleware.Before)
	}
}

// pick reads the referenced parts of a reply ("SecurityGroupRules.0.GroupId").
func pick(out any, refs []string) map[string]string {
	var picked map[string]string
	for _, ref := range refs {
		v, ok := at(reflect.ValueOf(out), strings.Split(ref, "."))
		if !ok {
			continue
		}
		if picked == nil {
			picked = map[string]string{}
		}
		picked[ref] = cut(v, 2048)
	}
	return picked
}

// secretParts are what no reply's part may be called to be kept, but for
// notSecret: WAF's lock token names a version of a set, and CloudTrail records it.
var (
	secretParts = []string{"credential", "secret", "token", "password", "private"}
	notSecret   = "LockToken"
)

func at(v reflect.Value, path []string) (string, bool) {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return "", false
		}
		v = v.Elem()
	}
	if len(path) == 0 {
		switch v.Kind() {
		case reflect.String:
			return v.String(), true
		case reflect.Bool, reflect.Int, reflect.Int32, reflect.Int64:
			return fmt.Sprint(v.Interface()), true
		}
		return "", false
	}
	lower := strings.ToLower(path[0])
	if path[0] != notSecret && slices.ContainsFunc(secretParts, func(p string) bool { return strings.Contains(lower, p) }) {
		return "", false
	}
	switch v.Kind() {
	case reflect.Struct:
		if f, ok := v.Type().FieldByName(path[0]); ok && f.IsExported() && !f.Anonymous {
			return at(v.FieldByIndex(f.Index), path[1:])
		}
	case reflect.Slice:
		if i, err := strconv.Atoi(path[0]); err == nil && i >= 0 && i < v.Len() {
			return at(v.Index(i), path[1:])
		}
	}
	return "", false
}
