// Package cloud is the sandbox's control plane: one HTTP handler that answers,
// enforces and records AWS API calls as the real services do.
//
// A request goes the way it goes at AWS: signature -> principal -> operation ->
// policy decision -> effect -> record. Service and region come from the
// signature's credential scope, so one loopback address serves all services of
// all accounts and regions. State is kept (what was created is there, what was
// deleted is gone), policies are enforced (package policy), and every
// management call, denied ones too, leaves a CloudTrail record at the Sink and
// in the event history.
//
// A further service is one file and one line in services. A further operation
// is one line in its service's table.
//
// What differs from AWS on purpose: the listener speaks plain HTTP but stands
// for a TLS one (records carry tlsDetails, aws:SecureTransport is true); effects
// are consistent at once; the event history shows an event at once.
package cloud

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/auditcanary/auditcanary/tests/sandbox/fault"
)

// Faults says what goes wrong with a call or a record; *fault.Set is one.
type Faults interface {
	Fire(at string, it map[string]any) []fault.Action
}

// Options of New.
type Options struct {
	// Clock is the sandbox's time. Required.
	Clock Clock
	// Sink takes the records. Required.
	Sink Sink
	// Faults may be nil.
	Faults Faults
	// S3 answers the authorised S3 requests that the control plane does not
	// answer itself (all but the bucket policy and location calls). Without it
	// they get NotImplemented.
	S3 http.Handler
	// PublicKeys answers ListPublicKeys: the keys that were valid between start
	// and end. Nil means none.
	PublicKeys func(region string, start, end time.Time) []PublicKey
	// Delivered says when the organisation trail delivered its latest log file and
	// digest from a place, zero if it never did; may be nil.
	Delivered func(account, region string) (file, digest time.Time)
	// World is the seed; nil means World(Clock).
	World *Seed
	// Real is the time of the machine, for signatures and session expiry; nil
	// means time.Now.
	Real func() time.Time
}

// PublicKey is one key that digests were signed with.
type PublicKey struct {
	DER         []byte // PKCS#1
	Fingerprint string // lower-case hex
	Start, End  time.Time
}

// Cloud is the control plane. It is safe for concurrent use.
type Cloud struct {
	opts     Options
	services map[string]service

	mu       sync.Mutex // guards all below
	world    *Seed
	sessions map[string]*session // by access key id
	forgetAt int                 // when there are so many, those that have expired are forgotten
	faults   Faults
	calls    []CallLog
	changed  map[string]int // changing calls among them, by principal
	history  history
	later    later
	messages map[string][]*message    // by the ARN of their queue
	patterns map[string]*eventPattern // as compiled
	filters  map[string]filterPattern // as parsed
	watched  watched
	careless map[string]bool // buckets whose conditions of writes are ignored
	decided  decided
	logged   logged
	started  map[string]bool // executions of state machines, by ARN
}

// services is every API the sandbox answers, by signing name.
func services() map[string]service {
	return map[string]service{
		"sts":            stsService(),
		"sns":            snsService(),
		"monitoring":     cloudwatchService(),
		"iam":            iamService(),
		"ec2":            ec2Service(),
		"kms":            kmsService(),
		"cloudtrail":     cloudtrailService(),
		"config":         configService(),
		"events":         eventsService(),
		"logs":           logsService(),
		"organizations":  organizationsService(),
		"rds":            rdsService(),
		"backup":         backupService(),
		"eks":            eksService(),
		"s3":             s3Service(),
		"guardduty":      guarddutyService(),
		"securityhub":    securityhubService(),
		"wafv2":          wafv2Service(),
		"secretsmanager": secretsmanagerService(),
		"ssm":            ssmService(),
		"sqs":            sqsService(),
		"states":         statesService(),
	}
}

// service is one API.
type service struct {
	source string // event source, "iam.amazonaws.com"
	// global services are recorded in us-east-1 wherever the call was sent.
	global bool
	wire   wire
	ops    map[string]operation
	// apiVersion that records of calls it read have, in services that write one.
	apiVersion string
	// deniedKeepsParams: the record of a denied call still has its parameters
	// (EC2, S3); elsewhere they are null, because authorisation comes before the
	// request is read.
	deniedKeepsParams bool
	// seed puts into a target account's region what infrastructure code would have
	// deployed there for canaries to act on. May be nil.
	seed func(w *Seed, account, region string)
	// fixtures names that, for the product's configuration. Region "*" asks for
	// what an account has once. May be nil.
	fixtures func(account, region string) map[string]string
}

// operation is one line of a service's table.
type operation struct {
	// readOnly as CloudTrail classifies it.
	readOnly bool
	// data events are not management events: recorded only where the organisation's
	// trail selects them, and never in the history.
	data bool
	// deniedAnswersSuccess: who may not is answered with an empty success all the same.
	deniedAnswersSuccess bool
	// event is the event's name where it differs from the operation's.
	event string
	// needs says what the caller must be allowed; nil means nothing.
	needs func(*call) []need
	// do makes the effect. It runs under the lock of the world.
	do func(*call) (reply, error)
	// params are the recorded requestParameters; nil means the parameters as
	// sent, names with a small first letter.
	params func(*call) any
}

// call is one request being served.
type call struct {
	Request
	cloud *Cloud
	op    operation
	svc   service
	who   caller
	body  []byte        // the whole body, except where S3 streams it
	skew  time.Duration // of the service's clock
	began time.Time     // by the sandbox's clock
}

// reply is the outcome of a successful operation.
type reply struct {
	body       any            // []el for XML services, a JSON value for the others
	elements   map[string]any // responseElements, nil = null
	resources  []resource
	additional map[string]any
	// owner is the account that owns what was touched, when it is not the
	// caller's and gets a copy of the record (AssumeRole across accounts).
	owner string
	// status of the answer, 0 = 200.
	status int
	// forward: the S3 backend answers.
	forward bool
	// until, when not zero: there is nothing yet, and the caller waits so long for it.
	until time.Time
}

type resource struct{ ARN, Type, Account string }

// apiError is an error reply of a service.
type apiError struct {
	code, message string
	status        int
	denied        bool
	header        map[string]string
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

func fail(status int, code, format string, args ...any) error {
	return &apiError{code: code, message: fmt.Sprintf(format, args...), status: status}
}

// New returns the control plane of opts.World.
func New(opts Options) (*Cloud, error) {
	if opts.Clock == nil || opts.Sink == nil {
		return nil, errors.New("cloud.New: Clock and Sink are required")
	}
	if opts.Real == nil {
		opts.Real = time.Now
	}
	if opts.World == nil {
		opts.World = World(opts.Clock)
	}
	return &Cloud{
		opts: opts, services: services(), world: opts.World,
		sessions: map[string]*session{}, changed: map[string]int{}, faults: opts.Faults, messages: map[string][]*message{},
	}, nil
}

// SetFaults replaces the faults and starts the count of calls (n) anew.
func (c *Cloud) SetFaults(f Faults) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults, c.calls, c.changed = f, nil, map[string]int{}
}

// maxBody bounds a request of any service but S3's object uploads.
const maxBody = 1 << 20

// ServeHTTP answers one request.
func (c *Cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := c.opts.Clock.Now()
	now := began.UTC().Truncate(time.Second)
	w.Header()["Date"] = []string{now.Format(http.TimeFormat)}
	k := &call{cloud: c, began: began, Request: Request{HTTP: r, Time: now, RequestID: newUUID()}}

	auth, err := parseAuthorization(r)
	if err == nil {
		k.Service, k.Region = auth.service, auth.region
		var known bool
		if k.svc, known = c.services[auth.service]; !known {
			err = fail(501, "NotImplemented", "the sandbox has no service %q", auth.service)
		}
	}
	if k.svc.wire == nil {
		k.svc.wire = restXML{}
	}
	if _, s3 := k.svc.wire.(restXML); s3 {
		k.RequestID = newS3RequestID()
	}
	if err == nil {
		err = k.readBody()
	}
	if err == nil {
		k.who, err = c.authenticate(r, auth, k.payloadHash())
	}
	if err == nil {
		k.Principal = k.who.Principal
		k.Operation, k.Params, err = k.svc.wire.decode(k)
	}
	if err == nil {
		var known bool
		if k.op, known = k.svc.ops[k.Operation]; !known {
			err = fail(501, "NotImplemented", "the sandbox has no operation %s:%s", k.Service, k.Operation)
		}
	}
	if err != nil { // Nothing that is not an authenticated call of a known operation leaves a record.
		k.svc.wire.fail(w, k, asAPIError(err))
		return
	}
	if k.svc.global {
		k.Region = "us-east-1"
	}
	c.serve(w, k)
}

// serve does an authenticated call: faults before, the effect, its record,
// faults after, the answer.
func (c *Cloud) serve(w http.ResponseWriter, k *call) {
	n, actions := c.log(k)
	for _, a := range actions {
		if a.Do.Skew != 0 {
			k.Time, k.skew = k.Time.Add(a.Do.Skew), k.skew+a.Do.Skew
			w.Header()["Date"] = []string{k.Time.Format(http.TimeFormat)}
		}
		if a.Do.Expire {
			err := c.expire(k.Principal.AccessKeyID)
			c.note(n, k, err, "expired: "+a.Name)
			k.svc.wire.fail(w, k, err)
			return
		}
	}
	if f := find(actions, fault.Before); f != nil {
		if f.Do.Hang != nil {
			c.note(n, k, nil, "hang before: "+f.Name)
			hang(k.HTTP.Context(), f.Do.Hang.For)
		}
		err := &apiError{code: f.Do.Error.Code, message: f.Do.Error.Message, status: f.Do.Error.Status}
		c.note(n, k, err, "")
		c.emit(k, reply{}, err)
		k.svc.wire.fail(w, k, err)
		return
	}

	rep, err := c.act(k)
	for more := true; more && err == nil && !rep.until.IsZero(); {
		more = c.await(k.HTTP.Context(), rep.until)
		rep, err = c.act(k)
	}
	after := find(actions, fault.After)
	if err == nil && rep.forward {
		out := w
		if after != nil {
			out = discard{http.Header{}}
		}
		rep, err = c.forward(out, k, rep)
	}
	aerr := asAPIError(err)
	c.note(n, k, aerr, "")
	c.emit(k, rep, aerr)
	switch {
	case after != nil && after.Do.Hang != nil:
		hang(k.HTTP.Context(), after.Do.Hang.For)
	case after != nil:
		k.svc.wire.fail(w, k, &apiError{code: after.Do.Error.Code, message: after.Do.Error.Message, status: after.Do.Error.Status})
	case rep.forward: // answered by the backend
	case aerr != nil && aerr.denied && k.op.deniedAnswersSuccess:
		k.svc.wire.reply(w, k, reply{})
	case aerr != nil:
		k.svc.wire.fail(w, k, aerr)
	default:
		k.svc.wire.reply(w, k, rep)
	}
}

// act decides and does, under the world's lock.
func (c *Cloud) act(k *call) (reply, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.catchUp()
	if k.op.needs != nil {
		for _, n := range k.op.needs(k) {
			if err := c.authorize(k, n); err != nil {
				return reply{}, err
			}
		}
	}
	return k.op.do(k)
}

// find returns the first action that strikes before or after the effect.
func find(actions []fault.Action, when string) *fault.Action {
	for i, a := range actions {
		if a.Do.Error != nil && a.Do.Error.When == when || a.Do.Hang != nil && a.Do.Hang.When == when {
			return &actions[i]
		}
	}
	return nil
}

// hang holds the connection and then cuts it without an answer.
func hang(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	panic(http.ErrAbortHandler) // net/http's way to close a connection without a reply
}

type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

func asAPIError(err error) *apiError {
	var a *apiError
	if err == nil || errors.As(err, &a) {
		return a
	}
	return &apiError{code: "InternalFailure", message: err.Error(), status: 500}
}

// readBody reads what the signature covers: the whole body, except an S3 upload
// whose payload is not signed as one piece, which is streamed to the backend.
func (k *call) readBody() error {
	limit := int64(maxBody)
	if k.Service == "s3" {
		if !isHexHash(k.HTTP.Header.Get("X-Amz-Content-Sha256")) {
			return nil
		}
		limit = 64 << 20
	}
	b, err := io.ReadAll(io.LimitReader(k.HTTP.Body, limit+1))
	if err != nil {
		return fail(400, "IncompleteBody", "reading the body: %v", err)
	}
	if int64(len(b)) > limit {
		return fail(413, "RequestEntityTooLarge", "the body has more than %d bytes", limit)
	}
	k.body = b
	return nil
}

// CallLog is one authenticated call, as the control plane saw it.
type CallLog struct {
	N         int    `json:"n"` // ordinal since the start or the last SetFaults, from 1
	Service   string `json:"service"`
	Operation string `json:"operation"`
	// Account and Region the call acted in (the caller's account).
	Account   string         `json:"account"`
	Region    string         `json:"region"`
	Principal string         `json:"principal"`
	RequestID string         `json:"request_id"`
	Params    map[string]any `json:"params,omitempty"`
	// Mutating: not read-only, or an upload or deletion of an object.
	Mutating bool   `json:"mutating"`
	Error    string `json:"error,omitempty"` // code of the error the service gave
	Note     string `json:"note,omitempty"`
}

// Calls returns all calls since the start or the last SetFaults, in order of arrival.
func (c *Cloud) Calls() []CallLog {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]CallLog(nil), c.calls...)
}

// log counts the call and asks the faults.
func (c *Cloud) log(k *call) (n int, actions []fault.Action) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n = len(c.calls) + 1
	c.calls = append(c.calls, CallLog{
		N: n, Service: k.Service, Operation: k.Operation, Account: k.Principal.Account, Region: k.Region,
		Principal: k.Principal.ARN, RequestID: k.RequestID, Params: k.Params, Mutating: !k.op.readOnly,
	})
	nth := 0
	if !k.op.readOnly {
		c.changed[k.Principal.ARN]++
		nth = c.changed[k.Principal.ARN]
	}
	if c.faults == nil {
		return n, nil
	}
	params := maps.Clone(k.Params)
	if params == nil {
		params = map[string]any{}
	}
	return n, c.faults.Fire(fault.AtCall, map[string]any{
		"service": k.Service, "operation": k.Operation, "account": k.Principal.Account, "region": k.Region,
		"params": params, "principal": k.Principal.ARN, "n": n, "nth": nth,
	})
}

func (c *Cloud) note(n int, k *call, err *apiError, note string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n > len(c.calls) || c.calls[n-1].RequestID != k.RequestID {
		return // the log was started anew meanwhile
	}
	if err != nil {
		c.calls[n-1].Error = err.code
	}
	c.calls[n-1].Note = note
}

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// newS3RequestID is 16 characters, as S3's are.
func newS3RequestID() string { return randomText(16, "0123456789ABCDEFGHJKMNPQRSTVWXYZ") }

func randomText(n int, alphabet string) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	for i := range b {
		b[i] = alphabet[int(b[i])%len(alphabet)]
	}
	return string(b)
}
