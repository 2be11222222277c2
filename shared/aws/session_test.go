package aws

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/event"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

const (
	serviceDate   = "Sun, 22 Nov 2026 12:34:56 GMT"
	sessionKey    = "ASIACANARYSESSION001"
	sessionSecret = "sEcReTsEcReTsEcReTsEcReTsEcReTsEcReTsEcR"
	sessionToken  = "ToKeNToKeNToKeNToKeN"
)

// wire is a server that speaks the services' wire formats as far as a test says.
type wire struct {
	*httptest.Server
	t  *testing.T
	mu sync.Mutex
	// answer a call, by "service:Operation"; sts:AssumeRole has a default for
	// the injector's role.
	answer map[string]func(http.ResponseWriter, *called)
	calls  []*called
}

// called is one request as it came.
type called struct {
	name, region, keyID, userAgent string
	form                           url.Values
	body                           []byte
	req                            *http.Request
}

var scopeForm = regexp.MustCompile(`Credential=([^/]+)/[0-9]{8}/([^/]+)/([^/]+)/aws4_request`)

func newWire(t *testing.T) *wire {
	w := &wire{t: t, answer: map[string]func(http.ResponseWriter, *called){}}
	w.answer["sts:AssumeRole"] = func(rw http.ResponseWriter, c *called) { assumed(rw, c, testAccount) }
	w.Server = httptest.NewServer(w)
	t.Cleanup(func() { w.CloseClientConnections(); w.Close() })
	return w
}

func (w *wire) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	m := scopeForm.FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil {
		http.Error(rw, "not signed", 400)
		return
	}
	c := &called{keyID: m[1], region: m[2], userAgent: r.Header.Get("User-Agent"), req: r}
	c.body, _ = io.ReadAll(r.Body)
	service := m[3]
	switch {
	case r.Header.Get("X-Amz-Target") != "":
		_, op, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		if i := strings.LastIndex(op, "."); i >= 0 {
			op = op[i+1:]
		}
		c.name = service + ":" + op
	case service == "s3":
		c.name = "s3:" + map[string]string{"GET": "Get", "PUT": "Put", "DELETE": "Delete"}[r.Method] + bucketSetting(r.URL.Query())
	default:
		c.form, _ = url.ParseQuery(string(c.body))
		c.name = service + ":" + c.form.Get("Action")
		if c.form.Get("Action") == "" { // REST-JSON: method and path are the operation
			c.name = service + ":" + r.Method + " " + r.URL.EscapedPath()
		}
	}
	w.mu.Lock()
	w.calls = append(w.calls, c)
	n := len(w.calls)
	f := w.answer[c.name]
	w.mu.Unlock()
	rw.Header().Set("Date", serviceDate)
	rw.Header().Set("X-Amzn-Requestid", fmt.Sprintf("request-%d", n))
	if f == nil {
		w.t.Errorf("unexpected call %s", c.name)
		http.Error(rw, "?", 500)
		return
	}
	f(rw, c)
}

func (w *wire) of(name string) []*called {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []*called
	for _, c := range w.calls {
		if c.name == name {
			out = append(out, c)
		}
	}
	return out
}

func (w *wire) config() aws.Config {
	return aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String(w.URL), RetryMaxAttempts: 3,
		Credentials: credentials.NewStaticCredentialsProvider("AKIARUNNER", "runner-secret", ""),
	}
}

func assumed(rw http.ResponseWriter, c *called, account string) {
	fmt.Fprintf(rw, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<AssumedRoleUser><AssumedRoleId>AROAINJECTOR:%[1]s</AssumedRoleId><Arn>arn:aws:sts::%[2]s:assumed-role/auditcanary-injector/%[1]s</Arn></AssumedRoleUser>
<Credentials><AccessKeyId>%[3]s</AccessKeyId><SecretAccessKey>%[4]s</SecretAccessKey><SessionToken>%[5]s</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>
<SourceIdentity>auditcanary</SourceIdentity></AssumeRoleResult></AssumeRoleResponse>`, c.form.Get("RoleSessionName"), account, sessionKey, sessionSecret, sessionToken)
}

func xmlError(status int, code, message string) func(http.ResponseWriter, *called) {
	return func(rw http.ResponseWriter, _ *called) {
		rw.WriteHeader(status)
		fmt.Fprintf(rw, `<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>in-body</RequestId></ErrorResponse>`, code, message)
	}
}

func ec2Error(status int, code, message string) func(http.ResponseWriter, *called) {
	return func(rw http.ResponseWriter, _ *called) {
		rw.Header().Del("X-Amzn-Requestid")
		rw.WriteHeader(status)
		fmt.Fprintf(rw, `<Response><Errors><Error><Code>%s</Code><Message>%s</Message></Error></Errors><RequestID>ec2-in-body</RequestID></Response>`, code, message)
	}
}

func jsonError(status int, code, message string) func(http.ResponseWriter, *called) {
	return func(rw http.ResponseWriter, _ *called) {
		rw.Header().Set("Content-Type", "application/x-amz-json-1.1")
		rw.WriteHeader(status)
		_ = json.NewEncoder(rw).Encode(map[string]string{"__type": code, "message": message})
	}
}

func text(body string) func(http.ResponseWriter, *called) {
	return func(rw http.ResponseWriter, _ *called) { _, _ = io.WriteString(rw, body) }
}

const roleCreated = `<CreateRoleResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><CreateRoleResult><Role><Path>/auditcanary/</Path><RoleName>r</RoleName><Arn>arn:aws:iam::111122223333:role/auditcanary/r</Arn><RoleId>AROANEW</RoleId><MaxSessionDuration>3600</MaxSessionDuration></Role></CreateRoleResult></CreateRoleResponse>`

// open plans a catalogue scenario and opens its session at the wire.
func open(t *testing.T, w *wire, id string, change ...func(*Options)) (run.Session, run.Plan) {
	t.Helper()
	o := Options{Base: w.config(), Targets: []Target{testTarget()}, Clock: time.Now}
	for _, f := range change {
		f(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	p := planOf(t, c, scenario(t, c, id))
	sess, err := c.Open(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	return sess, p
}

func TestOpenAssumesTheRoleForThisCanaryAlone(t *testing.T) {
	w := newWire(t)
	_, p := open(t, w, "aws/ec2-security-group-ingress", func(o *Options) { o.Targets[0].ExternalID = "external" })
	got := w.of("sts:AssumeRole")[0]
	for field, want := range map[string]string{
		"RoleArn": testTarget().RoleARN, "RoleSessionName": "auditcanary-20261122-abcdef-01", "SourceIdentity": "auditcanary",
		"ExternalId": "external", "DurationSeconds": "900", "Policy": string(p.SessionPolicy),
	} {
		if got.form.Get(field) != want {
			t.Errorf("%s = %q, want %q", field, got.form.Get(field), want)
		}
	}
	if got.region != "eu-west-1" || got.keyID != "AKIARUNNER" || !strings.Contains(got.userAgent, "app/auditcanary") {
		t.Errorf("assumed in %s by %s as %q", got.region, got.keyID, got.userAgent)
	}
}

func TestOpenSaysWhatToDoNext(t *testing.T) {
	for name, tt := range map[string]struct {
		answer func(http.ResponseWriter, *called)
		base   func(*aws.Config)
		want   []string
	}{
		"trust refused":    {answer: xmlError(403, "AccessDenied", "User: x is not authorized"), want: []string{"AccessDenied", "its trust policy must allow"}},
		"expired":          {answer: xmlError(403, "ExpiredToken", "The security token included in the request is expired"), want: []string{"renew them"}},
		"unknown key":      {answer: xmlError(403, "InvalidClientTokenId", "The security token included in the request is invalid."), want: []string{"not valid at this endpoint"}},
		"region off":       {answer: xmlError(403, "RegionDisabledException", "STS is not activated in this region"), want: []string{"enable it"}},
		"other identity":   {answer: func(rw http.ResponseWriter, c *called) { assumed(rw, c, "999999999999") }, want: []string{"another identity", "999999999999"}},
		"empty reply":      {answer: text(`<AssumeRoleResponse><AssumeRoleResult></AssumeRoleResult></AssumeRoleResponse>`), want: []string{"no credentials"}},
		"no credentials":   {base: func(c *aws.Config) { c.Credentials = nil }, want: []string{"set AWS_PROFILE"}},
		"nobody listening": {base: func(c *aws.Config) { c.BaseEndpoint = aws.String("http://127.0.0.1:1"); c.RetryMaxAttempts = 1 }, want: []string{"nobody answers there"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t)
			if tt.answer != nil {
				w.answer["sts:AssumeRole"] = tt.answer
			}
			base := w.config()
			if tt.base != nil {
				tt.base(&base)
			}
			c := testCloud(t, base)
			sess, err := c.Open(context.Background(), planOf(t, c, scenario(t, c, "aws/kms-disable-key")))
			if err == nil || sess != nil {
				t.Fatalf("opened: %v", sess)
			}
			for _, want := range append(tt.want, "sts:AssumeRole of arn:aws:iam::111122223333:role/auditcanary/auditcanary-injector in account 111122223333, eu-west-1") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v\nlacks %q", err, want)
				}
			}
			for _, secret := range []string{sessionSecret, sessionToken, "runner-secret"} {
				if strings.Contains(err.Error(), secret) {
					t.Error("the error holds a secret")
				}
			}
		})
	}
}

func TestDoReceiptsWhatWasDone(t *testing.T) {
	w := newWire(t)
	w.answer["iam:CreateRole"] = text(roleCreated)
	sess, p := open(t, w, "aws/iam-temporary-admin-role")
	r := sess.Do(context.Background(), p.Steps[0].Call, []string{"Role.Arn", "Role.MaxSessionDuration", "Role.Nothing", "Role", "ResultMetadata"})

	sent := w.of("iam:CreateRole")[0]
	if sent.form.Get("RoleName") != "auditcanary-20261122-abcdef-01" || sent.form.Get("Tags.member.2.Value") != "20261122-abcdef-01" {
		t.Errorf("sent %v", sent.form)
	}
	if sent.keyID != sessionKey || sent.region != "us-east-1" {
		t.Errorf("sent as %s to %s", sent.keyID, sent.region)
	}
	if r.Outcome != (canary.Outcome{Result: canary.Succeeded}) || !reflect.DeepEqual(r.RequestIDs, []string{"request-2"}) || r.Started.IsZero() || r.Ended.IsZero() {
		t.Errorf("receipt %+v", r)
	}
	if want := map[string]string{"Role.Arn": "arn:aws:iam::111122223333:role/auditcanary/r", "Role.MaxSessionDuration": "3600"}; !reflect.DeepEqual(r.Output, want) {
		t.Errorf("output %v", r.Output)
	}
	readOnly := false
	want := event.Event{
		Time:     time.Date(2026, 11, 22, 12, 34, 56, 0, time.UTC),
		Metadata: event.Metadata{EventCode: "AwsApiCall"},
		Cloud:    event.Cloud{Provider: "AWS", Account: testAccount, Region: "us-east-1"},
		Actor: event.Actor{
			Type: "AssumedRole", UID: "arn:aws:sts::111122223333:assumed-role/auditcanary-injector/auditcanary-20261122-abcdef-01",
			UIDAlt: "AROAINJECTOR:auditcanary-20261122-abcdef-01", Account: testAccount, CredentialUID: sessionKey,
			Session: event.Session{Issuer: testTarget().RoleARN, Name: "auditcanary-20261122-abcdef-01", SourceIdentity: "auditcanary"},
		},
		API:         event.API{Service: "iam.amazonaws.com", Operation: "CreateRole", RequestUID: "request-2", Request: p.Steps[0].Call.Params, ReadOnly: &readOnly},
		SrcEndpoint: event.Endpoint{IP: "127.0.0.1/32,203.0.113.7"},
		HTTPRequest: event.HTTPRequest{UserAgent: sent.userAgent},
	}
	if !reflect.DeepEqual(r.Want, want) {
		t.Errorf("want event\n%+v\ngot\n%+v", want, r.Want)
	}
	if !strings.Contains(sent.userAgent, "app/auditcanary") {
		t.Errorf("user agent %q", sent.userAgent)
	}
}

func TestDoReadsEveryOutcome(t *testing.T) {
	const role = "aws/iam-temporary-admin-role"
	cut := func(rw http.ResponseWriter, _ *called) {
		conn, _, err := rw.(http.Hijacker).Hijack()
		if err == nil {
			conn.Close()
		}
	}
	halfway := func(rw http.ResponseWriter, _ *called) {
		rw.Header().Set("Content-Length", "5000")
		_, _ = io.WriteString(rw, roleCreated[:60])
	}
	for name, tt := range map[string]struct {
		scenario  string // default: role
		call      string
		answer    func(http.ResponseWriter, *called)
		result    canary.Result
		code      string
		requestID string // "" = none; "request-2" by default
		none      bool
	}{
		"denied":              {answer: xmlError(403, "AccessDenied", "no"), result: canary.Refused, code: "AccessDenied"},
		"denied as JSON":      {scenario: "aws/cloudtrail-stop-logging-denied", call: "cloudtrail:StopLogging", answer: jsonError(400, "AccessDeniedException", "with an explicit deny in a service control policy"), result: canary.Refused, code: "AccessDeniedException"},
		"denied by EC2":       {scenario: "aws/ec2-delete-flow-logs-dry-run", call: "ec2:DeleteFlowLogs", answer: ec2Error(403, "UnauthorizedOperation", "Encoded authorization failure message: abc"), result: canary.Refused, code: "UnauthorizedOperation", requestID: "ec2-in-body"},
		"dry run":             {scenario: "aws/ec2-delete-flow-logs-dry-run", call: "ec2:DeleteFlowLogs", answer: ec2Error(412, "DryRunOperation", "Request would have succeeded, but DryRun flag is set."), result: canary.Failed, code: "DryRunOperation", requestID: "ec2-in-body"},
		"throttled":           {answer: xmlError(400, "Throttling", "Rate exceeded"), result: canary.Failed, code: "Throttling"},
		"throttled with 503":  {answer: xmlError(503, "SlowDown", "Reduce your request rate"), result: canary.Failed, code: "SlowDown"},
		"already there":       {answer: xmlError(409, "EntityAlreadyExists", "exists"), result: canary.Failed, code: "EntityAlreadyExists"},
		"session expired":     {answer: xmlError(403, "ExpiredToken", "expired"), result: canary.Failed, code: "ExpiredToken"},
		"service broke down":  {answer: xmlError(500, "InternalFailure", "oops"), result: canary.Unknown, code: "InternalFailure"},
		"denial out of a 500": {answer: xmlError(500, "AccessDenied", "?"), result: canary.Unknown, code: "AccessDenied"},
		"a gateway's page": {answer: func(rw http.ResponseWriter, _ *called) {
			http.Error(rw, "<html>Bad gateway</html>", http.StatusBadGateway)
		}, result: canary.Unknown, code: codeUnreadable},
		"a proxy's 403 page":     {answer: func(rw http.ResponseWriter, _ *called) { http.Error(rw, "blocked by policy", http.StatusForbidden) }, result: canary.Unknown, code: codeUnreadable},
		"an error without code":  {scenario: "aws/kms-disable-key", call: "kms:DisableKey", answer: func(rw http.ResponseWriter, _ *called) { rw.WriteHeader(403); _, _ = io.WriteString(rw, `{}`) }, result: canary.Unknown, code: codeUnreadable},
		"success cut halfway":    {answer: halfway, result: canary.Unknown, code: codeUnreadable},
		"success that is no XML": {answer: text("{}<"), result: canary.Unknown, code: codeUnreadable},
		"connection cut":         {answer: cut, result: canary.Unknown, code: codeNoAnswer, none: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t)
			if tt.scenario == "" {
				tt.scenario, tt.call = role, "iam:CreateRole"
			}
			if tt.requestID == "" && !tt.none {
				tt.requestID = "request-2"
			}
			w.answer[tt.call] = tt.answer
			sess, p := open(t, w, tt.scenario)
			r := sess.Do(context.Background(), p.Steps[0].Call, []string{"Role.Arn"})
			if r.Outcome.Result != tt.result || r.Outcome.Code != tt.code {
				t.Errorf("outcome %+v, want %s %s", r.Outcome, tt.result, tt.code)
			}
			if got := strings.Join(r.RequestIDs, ","); got != tt.requestID || r.Want.API.RequestUID != tt.requestID {
				t.Errorf("request ids %q (want event %q), want %q", got, r.Want.API.RequestUID, tt.requestID)
			}
			if n := len(w.of(tt.call)); n != 1 {
				t.Errorf("called %d times: a canary's call must never be retried", n)
			}
			if (r.Want.API.Error != "") != (tt.result == canary.Refused || tt.result == canary.Failed) {
				t.Errorf("want event has error %q", r.Want.API.Error)
			}
			if tt.none != r.Want.Time.IsZero() {
				t.Errorf("want event has time %v", r.Want.Time)
			}
			if r.Output != nil {
				t.Errorf("output %v", r.Output)
			}
		})
	}
}

func TestDoGivesUpOnAServiceThatHangsAfterTheEffect(t *testing.T) {
	w := newWire(t)
	release := make(chan struct{})
	w.answer["kms:DisableKey"] = func(rw http.ResponseWriter, c *called) {
		select {
		case <-release:
		case <-c.req.Context().Done():
		}
	}
	defer close(release)
	sess, p := open(t, w, "aws/kms-disable-key", func(o *Options) { o.CallTimeout = 300 * time.Millisecond })
	r := sess.Do(context.Background(), p.Steps[0].Call, nil)
	if r.Outcome.Result != canary.Unknown || r.Outcome.Code != codeTimeout || len(r.RequestIDs) != 0 {
		t.Errorf("outcome %+v, request ids %v", r.Outcome, r.RequestIDs)
	}
	if !strings.Contains(r.Outcome.Message, "kms:DisableKey in account 111122223333, eu-west-1") || !strings.Contains(r.Outcome.Message, "no answer in time") {
		t.Errorf("message %q", r.Outcome.Message)
	}
	if n := len(w.of("kms:DisableKey")); n != 1 {
		t.Errorf("called %d times", n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.answer["kms:DisableKey"] = func(rw http.ResponseWriter, c *called) { cancel(); <-c.req.Context().Done() }
	if r := sess.Do(ctx, p.Steps[0].Call, nil); r.Outcome.Result != canary.Unknown || r.Outcome.Code != codeCancelled {
		t.Errorf("outcome %+v", r.Outcome)
	}
}

func TestDoKnowsWhatNeverLeft(t *testing.T) {
	w := newWire(t)
	sess, p := open(t, w, "aws/kms-disable-key")
	w.CloseClientConnections()
	w.Close()
	r := sess.Do(context.Background(), p.Steps[0].Call, nil)
	if r.Outcome.Result != canary.Failed || r.Outcome.Code != codeNotSent || r.Outcome.MayHaveActed() {
		t.Errorf("outcome %+v", r.Outcome)
	}
}

func TestDoRefusesBeforeSending(t *testing.T) {
	w := newWire(t)
	sess, p := open(t, w, "aws/ec2-delete-flow-logs-dry-run")
	ok := p.Steps[0].Call
	for want, change := range map[string]func(*canary.Call){
		"not on the allow-list":               func(c *canary.Call) { c.Operation = "ec2:DeleteVpc" },
		"DryRun must be true":                 func(c *canary.Call) { delete(c.Params, "DryRun") },
		"unknown parameter Dryrun":            func(c *canary.Call) { c.Params["Dryrun"] = true },
		"must be sent to eu-west-1":           func(c *canary.Call) { c.Region = "us-west-2" },
		"${steps.a.X} is not resolved":        func(c *canary.Call) { c.Params["FlowLogIds"] = []any{"${steps.a.X}"} },
		"only fl-00000000000000000":           func(c *canary.Call) { c.Params["FlowLogIds"] = []any{"fl-1"} },
		"required parameter missing: FlowLog": func(c *canary.Call) { delete(c.Params, "FlowLogIds") },
	} {
		call := ok
		call.Params = map[string]any{}
		for k, v := range ok.Params {
			call.Params[k] = v
		}
		change(&call)
		r := sess.Do(context.Background(), call, nil)
		if r.Outcome.Result != canary.Failed || r.Outcome.Code != codeNotSent || !strings.Contains(r.Outcome.Message, want) || len(r.RequestIDs) != 0 {
			t.Errorf("outcome %+v, want ...%s...", r.Outcome, want)
		}
	}
	if n := len(w.calls); n != 1 { // AssumeRole
		t.Errorf("%d calls were sent", n)
	}
}

func TestSweepSessionOnlyRestores(t *testing.T) {
	w := newWire(t)
	w.answer["kms:EnableKey"] = func(rw http.ResponseWriter, _ *called) { _, _ = io.WriteString(rw, "{}") }
	w.answer["iam:DeleteRole"] = xmlError(404, "NoSuchEntity", "gone")
	c := testCloud(t, w.config())
	at := canary.Target{Provider: "aws", Account: testAccount, Region: "eu-west-1"}
	sess, err := c.OpenSweep(context.Background(), at)
	if err != nil {
		t.Fatal(err)
	}
	key := map[string]any{"KeyId": testTarget().Fixtures["eu-west-1"]["kms_key"]}
	for _, tt := range []struct {
		call canary.Call
		want canary.Outcome
	}{
		{canary.Call{Operation: "kms:EnableKey", Region: "eu-west-1", Params: key}, canary.Outcome{Result: canary.Succeeded}},
		{canary.Call{Operation: "kms:DisableKey", Region: "eu-west-1", Params: key}, canary.Outcome{Result: canary.Failed, Code: codeNotSent, Message: "kms:DisableKey does not restore: a sweep may not call it"}},
		{canary.Call{Operation: "kms:EnableKey", Region: "eu-west-1", Params: map[string]any{"KeyId": "alias/prod"}}, canary.Outcome{Result: canary.Failed, Code: codeNotSent, Message: `kms:EnableKey: KeyId "alias/prod" is no configured fixture of 111122223333/eu-west-1: an id cannot be canary-marked by its name`}},
		{canary.Call{Operation: "iam:DeleteRole", Region: "us-east-1", Params: map[string]any{"RoleName": "admin"}}, canary.Outcome{Result: canary.Failed, Code: codeNotSent, Message: `iam:DeleteRole: RoleName "admin" is not canary-marked: it must begin with "auditcanary-"`}},
		{canary.Call{Operation: "iam:DeleteRole", Region: "us-east-1", Params: map[string]any{"RoleName": "auditcanary-x-01"}}, canary.Outcome{Result: canary.Failed, Code: "NoSuchEntity", Message: "gone"}},
	} {
		if r := sess.Do(context.Background(), tt.call, nil); r.Outcome != tt.want {
			t.Errorf("%s %v: %+v, want %+v", tt.call.Operation, tt.call.Params, r.Outcome, tt.want)
		}
	}
	assumed := w.of("sts:AssumeRole")
	if len(assumed) != 2 {
		t.Fatalf("%d sessions for two calls that may be made", len(assumed))
	}
	for i, action := range []string{"kms:EnableKey", "iam:DeleteRole"} {
		got := assumed[i].form
		if policy := got.Get("Policy"); got.Get("RoleSessionName") != "auditcanary-sweep" || strings.Count(policy, `"Action"`) != 1 || !strings.Contains(policy, action) {
			t.Errorf("%s was called under %v", action, got)
		}
	}
}

func TestReceiptsHoldNoSecrets(t *testing.T) {
	w := newWire(t)
	sess, p := open(t, w, "aws/sts-break-glass-assume-role")
	w.answer["sts:AssumeRole"] = func(rw http.ResponseWriter, c *called) {
		assumed(rw, c, testAccount)
	}
	r := sess.Do(context.Background(), p.Steps[0].Call, []string{"Credentials.SecretAccessKey", "Credentials.SessionToken", "Credentials.AccessKeyId", "Credentials", "AssumedRoleUser.Arn"})
	if r.Outcome.Result != canary.Succeeded || len(r.Output) != 1 || r.Output["AssumedRoleUser.Arn"] == "" {
		t.Errorf("%+v output %v", r.Outcome, r.Output)
	}
	if r.Want.API.ReadOnly == nil || !*r.Want.API.ReadOnly || r.Want.Cloud.Region != "eu-west-1" {
		t.Errorf("want event %+v", r.Want)
	}
	// A server that echoes the request's secrets, at length.
	w.answer["sts:AssumeRole"] = xmlError(400, "ValidationError", "token "+sessionToken+" key "+sessionSecret+strings.Repeat("ü", 2000))
	failed := sess.Do(context.Background(), p.Steps[0].Call, nil)
	if len(failed.Outcome.Message) > 1024 || !strings.Contains(failed.Outcome.Message, "[secret]") {
		t.Errorf("message of %d bytes: %.60q", len(failed.Outcome.Message), failed.Outcome.Message)
	}
	for _, rec := range []canary.Receipt{r, failed} {
		b, err := json.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{sessionSecret, sessionToken, "runner-secret"} {
			if strings.Contains(string(b), secret) {
				t.Errorf("receipt holds a secret: %s", b)
			}
		}
	}
}

func TestS3IsAddressedByPathAndKnownByItsOwnRequestID(t *testing.T) {
	w := newWire(t)
	w.answer["s3:PutBucketPolicy"] = func(rw http.ResponseWriter, c *called) {
		rw.Header().Del("X-Amzn-Requestid")
		rw.Header().Set("X-Amz-Request-Id", "S3REQUEST0000001")
		rw.WriteHeader(204)
	}
	w.answer["s3:DeleteBucketPolicy"] = func(rw http.ResponseWriter, c *called) {
		rw.Header().Del("X-Amzn-Requestid")
		rw.Header().Set("X-Amz-Request-Id", "S3REQUEST0000002")
		rw.WriteHeader(404)
		_, _ = io.WriteString(rw, `<Error><Code>NoSuchBucketPolicy</Code><Message>The bucket policy does not exist</Message><RequestId>S3REQUEST0000002</RequestId></Error>`)
	}
	sess, p := open(t, w, "aws/s3-bucket-policy")
	r := sess.Do(context.Background(), p.Steps[0].Call, nil)
	if r.Outcome.Result != canary.Succeeded || !reflect.DeepEqual(r.RequestIDs, []string{"S3REQUEST0000001"}) {
		t.Errorf("%+v %v", r.Outcome, r.RequestIDs)
	}
	got := w.of("s3:PutBucketPolicy")[0]
	if got.req.URL.Path != "/auditcanary-111122223333-eu-west-1" || got.region != "eu-west-1" || string(got.body) != p.Steps[0].Call.Params["Policy"] {
		t.Errorf("sent to %s: %s", got.req.URL, got.body)
	}
	r = sess.Do(context.Background(), *p.Steps[0].Undo, nil)
	if r.Outcome.Code != "NoSuchBucketPolicy" || !r.Undone() || !reflect.DeepEqual(r.RequestIDs, []string{"S3REQUEST0000002"}) {
		t.Errorf("%+v %v", r.Outcome, r.RequestIDs)
	}
}
