package kubernetes

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/event"
	"github.com/auditcanary/auditcanary/shared/run"
)

// tokenSeconds is the shortest life an API server gives a token: what a lost one could
// do, it can do for no longer.
const tokenSeconds = 600

// Open implements run.Cloud: it gets a token of the canaries' service account, and makes
// sure that the fence stands.
func (c *Cloud) Open(ctx context.Context, p run.Plan) (run.Prober, error) {
	cl, err := c.cluster(p.Canary.Target)
	if err != nil {
		return nil, err
	}
	return c.open(ctx, cl, cl.scene(p.Canary), false)
}

// OpenSweep implements run.Sweeper: a session that may only call what removes or
// restores, and only on what is canary-marked.
func (c *Cloud) OpenSweep(ctx context.Context, t canary.Target) (run.Session, error) {
	cl, err := c.cluster(t)
	if err != nil {
		return nil, err
	}
	return c.open(ctx, cl, cl.sweepScene(), true)
}

func (c *Cloud) open(ctx context.Context, cl *cluster, sc scene, restoresOnly bool) (*session, error) {
	srv, err := cl.connect()
	if err != nil {
		return nil, err
	}
	s := &session{cloud: c, server: srv, scene: sc, restoresOnly: restoresOnly}
	if s.id, err = s.token(ctx); err != nil {
		return nil, fmt.Errorf("cluster %s: %w", cl.Name, err)
	}
	if err := s.probeFence(ctx); err != nil {
		return nil, fmt.Errorf("cluster %s: %w", cl.Name, err)
	}
	return s, nil
}

// session implements run.Prober. It is safe for concurrent use.
type session struct {
	cloud        *Cloud
	server       *server
	scene        scene
	id           identity
	restoresOnly bool
}

// identity is one token, with what the audit log says of whoever has it.
type identity struct {
	token      string
	user, uid  string
	credential string // JTI=...
	notAfter   time.Time
}

// token asks for one, with the injector's own credentials.
func (s *session) token(ctx context.Context) (identity, error) {
	fail := func(format string, args ...any) (identity, error) {
		return identity{}, fmt.Errorf("get a token of service account %s/%s: %s; apply what `auditcanary plan` prints, and let the injector be in the group %s",
			s.scene.namespace, serviceAccount, clean(fmt.Sprintf(format, args...)), injectors)
	}
	seconds := int64(tokenSeconds)
	body, err := json.Marshal(authenticationv1.TokenRequest{
		TypeMeta: metav1.TypeMeta{APIVersion: auth + "/v1", Kind: "TokenRequest"},
		Spec:     authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds},
	})
	if err != nil {
		return fail("%v", err)
	}
	m := message{contentType: "application/json", body: body}
	m.method, m.path = http.MethodPost, "/api/v1/namespaces/"+s.scene.namespace+"/serviceaccounts/"+serviceAccount+"/token"
	x, err := s.ask(ctx, m)
	if o := x.outcome(err); o.Result != canary.Succeeded {
		return fail("%s: %s", o.Code, o.Message)
	}
	var reply authenticationv1.TokenRequest
	if err := json.Unmarshal(x.body, &reply); err != nil {
		return fail("the reply cannot be read: %v", err)
	}
	id, err := identityOf(reply.Status.Token)
	if err != nil {
		return fail("%v", err)
	}
	if want := s.scene.cluster.user(); id.user != want {
		return fail("the reply is of another identity, %q", id.user)
	}
	return id, nil
}

// identityOf reads what a token says of itself. The API server that gave it is believed:
// what it then writes into its log is held against this.
func identityOf(token string) (identity, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return identity{}, errors.New("the reply has no token")
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return identity{}, errors.New("the token's claims are not base64")
	}
	var claims struct {
		Subject    string `json:"sub"`
		JTI        string `json:"jti"`
		Expires    int64  `json:"exp"`
		Kubernetes struct {
			ServiceAccount struct {
				UID string `json:"uid"`
			} `json:"serviceaccount"`
		} `json:"kubernetes.io"`
	}
	if err := json.Unmarshal(raw, &claims); err != nil {
		return identity{}, errors.New("the token's claims are no JSON object")
	}
	id := identity{token: token, user: claims.Subject, uid: claims.Kubernetes.ServiceAccount.UID, notAfter: time.Unix(claims.Expires, 0)}
	if claims.JTI != "" {
		id.credential = "JTI=" + claims.JTI
	}
	return id, nil
}

// ask is a request for ourselves: no canary's, and told to Own.
func (s *session) ask(ctx context.Context, m message) (exchange, error) {
	ctx, cancel := context.WithTimeout(ctx, s.server.timeout)
	defer cancel()
	x, err := s.server.send(ctx, m)
	for _, id := range []string{x.sent, x.auditID} {
		if id != "" {
			s.cloud.own(id)
		}
	}
	return x, err
}

// probeFence asks for what each of three rules of the fence must refuse. It does so for
// each session, since nobody says when a policy is changed or its binding taken away.
//
// Two are dry runs. No token can be asked for in one: that one is for nobody's audience,
// and asks for a second more than is allowed. Where RBAC refuses it already, no scenario
// needs it, and there is nothing to fence.
func (s *session) probeFence(ctx context.Context) error {
	account := func(name string, labels map[string]string) any {
		return corev1.ServiceAccount{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.scene.namespace, Labels: labels},
		}
	}
	seconds := int64(tokenSeconds + 1)
	token := authenticationv1.TokenRequest{
		TypeMeta: metav1.TypeMeta{APIVersion: auth + "/v1", Kind: "TokenRequest"},
		Spec:     authenticationv1.TokenRequestSpec{Audiences: []string{worthlessAudience}, ExpirationSeconds: &seconds},
	}
	accounts := "/api/v1/namespaces/" + s.scene.namespace + "/serviceaccounts"
	for _, p := range []struct {
		rule, path string
		object     any
		orRBAC     string
	}{
		// Not the marker's prefix.
		{rule: "to their own names", path: accounts, object: account("fence-"+canary.Marker, map[string]string{labelRun: "none", labelCanary: "none"})},
		{rule: "to what has their labels", path: accounts, object: account(canary.Marker+"-fence", nil)},
		{rule: "to worthless tokens", path: accounts + "/" + serviceAccount + "/token", object: token, orRBAC: `cannot create resource "serviceaccounts/token"`},
	} {
		body, err := json.Marshal(p.object)
		if err != nil {
			return err
		}
		m := message{contentType: "application/json", body: body, token: s.id.token}
		m.method, m.path = http.MethodPost, p.path
		m.query = map[string][]string{"dryRun": {metav1.DryRunAll}, "fieldManager": {canary.Marker}}
		x, err := s.ask(ctx, m)
		const advice = "nothing is done without it; apply what `auditcanary plan` prints"
		switch o := x.outcome(err); {
		case o.Result == canary.Refused && strings.Contains(o.Message, "ValidatingAdmissionPolicy '"+fence+"'"):
		case o.Result == canary.Refused && p.orRBAC != "" && strings.Contains(o.Message, p.orRBAC):
		case o.Result == canary.Succeeded:
			return fmt.Errorf("the admission policy %s does not keep canaries %s: %s", fence, p.rule, advice)
		default:
			return fmt.Errorf("whether the admission policy %s keeps canaries %s could not be found out (%s: %s): %s", fence, p.rule, o.Code, s.clean(o.Message), advice)
		}
	}
	return nil
}

// Do implements run.Session: one attempt, whatever comes of it. refs that the reply does
// not have, or that would be secrets, are absent from Output.
func (s *session) Do(ctx context.Context, call canary.Call, refs []string) (r canary.Receipt) {
	r = canary.Receipt{Call: call, Started: s.cloud.clock().UTC(), RequestIDs: []string{}}
	var x exchange
	defer func() {
		if p := recover(); p != nil {
			r.Outcome = canary.Outcome{Result: canary.Unknown, Code: codeUnreadable, Message: clean(fmt.Sprintf("%s: reading the reply: %v", call.Operation, p))}
			if x.sent == "" {
				r.Outcome.Result, r.Outcome.Code = canary.Failed, codeNotSent
			}
		}
		r.Ended = s.cloud.clock().UTC()
		r.Outcome.Message = s.clean(r.Outcome.Message)
	}()
	req, at, err := s.admit(call)
	if err != nil {
		r.Outcome = canary.Outcome{Result: canary.Failed, Code: codeNotSent, Message: err.Error()}
		r.Want = s.want(req, at, x, r.Outcome)
		return r
	}
	m := message{endpoint: at, contentType: verbs[at.verb].contentType, token: s.id.token, impersonate: req.Impersonate}
	if req.Body != nil {
		m.body = req.Body
	}
	ctx, cancel := context.WithTimeout(ctx, s.server.timeout)
	defer cancel()
	x, err = s.server.send(ctx, m)
	r.Outcome = x.outcome(err)
	if x.auditID != "" {
		r.RequestIDs = append(r.RequestIDs, x.auditID)
	}
	if x.sent != "" && x.sent != x.auditID {
		s.cloud.own(x.sent) // unanswered, or answered under another: its record is none of a forger's
	}
	if r.Outcome.Result == canary.Succeeded {
		r.Output = pick(x.body, refs)
	}
	r.Want = s.want(req, at, x, r.Outcome)
	return r
}

// admit checks a call once more as it is about to be sent.
func (s *session) admit(call canary.Call) (request, endpoint, error) {
	op, req, err := lookUp(call.Operation, call.Params)
	if err != nil {
		return req, endpoint{}, err
	}
	at, err := locate(call.Operation, op, req)
	switch {
	case err != nil:
	case s.restoresOnly && !op.removes && !op.restores:
		err = fmt.Errorf("%s does not restore: a sweep may not call it", call.Operation)
	case len(canary.References(call.Params)) > 0:
		err = fmt.Errorf("%s: ${%s} is not resolved", call.Operation, canary.References(call.Params)[0])
	case call.Region != Region:
		err = fmt.Errorf("%s must be sent to the cluster, not %q", call.Operation, call.Region)
	default:
		if err = op.check(s.scene, req); err != nil {
			err = fmt.Errorf("%s: %w", call.Operation, err)
		}
	}
	return req, at, err
}

// Look implements run.Prober: there is none.
func (s *session) Look(_ context.Context, call canary.Call) canary.Reading {
	return canary.Reading{Call: call, Ended: s.cloud.clock().UTC(), RequestIDs: []string{}, Err: CheckLook(call.Operation, nil).Error()}
}

// Attempt implements run.Prober: there is none.
func (s *session) Attempt(_ context.Context, call canary.Call, _ []canary.Reading) canary.Receipt {
	now := s.cloud.clock().UTC()
	return canary.Receipt{Call: call, Started: now, Ended: now, RequestIDs: []string{},
		Outcome: canary.Outcome{Result: canary.Failed, Code: codeNotSent, Message: CheckAttempt(call.Operation, nil).Error()}}
}

// want is the record the call must have left: all of it in the audit log's own terms.
func (s *session) want(r request, at endpoint, x exchange, o canary.Outcome) event.Event {
	e := event.Event{
		Time:        x.date,
		Metadata:    event.Metadata{EventCode: event.StageResponseComplete},
		Cloud:       event.Cloud{Provider: "Kubernetes", Account: s.scene.cluster.Name, Region: Region},
		Actor:       event.Actor{Type: "ServiceAccount", UID: s.id.user, UIDAlt: s.id.uid, CredentialUID: s.id.credential},
		API:         event.API{Service: cmp.Or(at.group, core), Operation: at.operation(), RequestUID: x.auditID},
		SrcEndpoint: event.Endpoint{IP: strings.Join(s.scene.cluster.Egress, ",")},
		HTTPRequest: event.HTTPRequest{UserAgent: userAgent},
	}
	// Whose impersonation is refused acts as nobody else, and is recorded so.
	if r.Impersonate != nil && !(o.Result == canary.Refused && strings.Contains(o.Message, "cannot impersonate")) {
		e.Actor.Session.Name = r.Impersonate.User
	}
	if o.Result == canary.Refused || o.Result == canary.Failed {
		e.API.Error = o.Code
	}
	if at.resource == "" {
		return e
	}
	e.API.Request = map[string]any{"requestURI": at.uri()}
	for name, v := range map[string]string{
		"apiGroup": at.group, "apiVersion": at.version, "resource": at.resource, "subresource": at.subresource,
		"namespace": r.Namespace, "name": r.objectName(),
	} {
		if v != "" {
			e.API.Request[name] = v
		}
	}
	if r.plain != nil {
		e.API.Request["body"] = r.plain
	}
	return e
}

// operation is event.API.Operation: "verb resource[/subresource]".
func (e endpoint) operation() string {
	if e.resource == "" {
		return ""
	}
	return e.verb + " " + e.kind()
}

// kind is the resource with its subresource, as RBAC names them.
func (e endpoint) kind() string {
	if e.subresource != "" {
		return e.resource + "/" + e.subresource
	}
	return e.resource
}

// clean cuts a message to 1 KB and takes the token out, should a server echo it.
func (s *session) clean(msg string) string {
	if s.id.token != "" {
		msg = strings.ReplaceAll(msg, s.id.token, "[secret]")
	}
	return clean(msg)
}

func clean(msg string) string { return cut(strings.ToValidUTF8(msg, "\uFFFD"), 1024) }

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// kept are the parts of a reply that may be referred to: none that could hold a secret.
var kept = []string{"metadata.name", "metadata.uid", "metadata.resourceVersion"}

// pick reads the referenced parts of a reply.
func pick(reply []byte, refs []string) map[string]string {
	var object any
	if len(refs) == 0 || json.Unmarshal(reply, &object) != nil {
		return nil
	}
	var picked map[string]string
	for _, ref := range refs {
		if !slices.Contains(kept, ref) {
			continue
		}
		var text string
		switch v := lookAt(object, strings.Split(ref, ".")...).(type) {
		case string:
			text = v
		case float64:
			text = strconv.FormatFloat(v, 'f', -1, 64)
		default:
			continue
		}
		if picked == nil {
			picked = map[string]string{}
		}
		picked[ref] = cut(text, 2048)
	}
	return picked
}
