package kubernetes

import (
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/event"
)

// did makes the first call of a scenario against a server.
func did(t *testing.T, a *answering, id string, refs ...string) canary.Receipt {
	t.Helper()
	c, _ := cloudOf(t, a, nil)
	p, err := c.Plan(scenario(t, id), aCanary(id))
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Open(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return s.Do(t.Context(), p.Steps[0].Call, refs)
}

func TestAReceiptSaysAllThatTheRecordMust(t *testing.T) {
	a := newAnswering(t)
	r := did(t, a, "kubernetes/cluster-role", "metadata.uid", "data.password", "status.token")
	calls := a.canaryCalls()
	if len(calls) != 1 {
		t.Fatalf("%d calls", len(calls))
	}
	got := calls[0]
	if got.auth != "Bearer "+theToken() || got.agent != userAgent || !auditIDForm.MatchString(got.auditID) {
		t.Errorf("asked with %s, %s, %s", got.auth, got.agent, got.auditID)
	}
	if r.Outcome.Result != canary.Succeeded || !slices.Equal(r.RequestIDs, []string{got.auditID}) {
		t.Errorf("%+v, requests %q", r.Outcome, r.RequestIDs)
	}
	if want := map[string]string{"metadata.uid": "uid-1"}; !reflect.DeepEqual(r.Output, want) {
		t.Errorf("of the reply, %v is kept", r.Output)
	}
	var body map[string]any
	if err := json.Unmarshal([]byte(got.body), &body); err != nil {
		t.Fatal(err)
	}
	want := event.Event{
		Time:     aTime,
		Metadata: event.Metadata{EventCode: "ResponseComplete"},
		Cloud:    event.Cloud{Provider: "Kubernetes", Account: "prod", Region: "cluster"},
		Actor:    event.Actor{Type: "ServiceAccount", UID: "system:serviceaccount:auditcanary:auditcanary-canary", UIDAlt: "sa-uid-1", CredentialUID: "JTI=" + theJTI},
		API: event.API{Service: rbac, Operation: "create clusterroles", RequestUID: got.auditID, Request: map[string]any{
			"requestURI": got.uri, "apiGroup": rbac, "apiVersion": "v1", "resource": "clusterroles", "name": "auditcanary-20261126-abcdef-01", "body": body,
		}},
		SrcEndpoint: event.Endpoint{IP: "192.0.2.7"},
		HTTPRequest: event.HTTPRequest{UserAgent: got.agent},
	}
	if !reflect.DeepEqual(r.Want, want) {
		t.Errorf("got  %s\nwant %s", say(r.Want), say(want))
	}
	if got.uri != "/apis/rbac.authorization.k8s.io/v1/clusterroles?fieldManager=auditcanary&fieldValidation=Strict" {
		t.Errorf("asked %s", got.uri)
	}
}

func TestEachCanaryHasATokenOfItsOwnAndAsksForTheFence(t *testing.T) {
	a := newAnswering(t)
	c, own := cloudOf(t, a, nil)
	p, err := c.Plan(scenario(t, "kubernetes/role"), aCanary("kubernetes/role"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := c.Open(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	var kinds []string
	for _, x := range a.asked {
		kinds = append(kinds, x.method+" "+x.uri+" "+strings.SplitN(x.auth, " ", 2)[1][:8])
		if !slices.Contains(*own, x.auditID) {
			t.Errorf("%s is not known as our own call", x.uri)
		}
	}
	want := []string{
		"POST /api/v1/namespaces/auditcanary/serviceaccounts/auditcanary-canary/token injector",
		"POST /api/v1/namespaces/auditcanary/serviceaccounts?dryRun=All&fieldManager=auditcanary " + theToken()[:8],
		"POST /api/v1/namespaces/auditcanary/serviceaccounts?dryRun=All&fieldManager=auditcanary " + theToken()[:8],
		"POST /api/v1/namespaces/auditcanary/serviceaccounts/auditcanary-canary/token?dryRun=All&fieldManager=auditcanary " + theToken()[:8],
	}
	want = append(want, want...)
	if !slices.Equal(kinds, want) {
		t.Errorf("asked %q", kinds)
	}
}

func TestNothingIsDoneWithoutTheFence(t *testing.T) {
	for name, tc := range map[string]struct {
		token, fence http.HandlerFunc
		want         string
	}{
		"it does not stand": {fence: func(w http.ResponseWriter, _ *http.Request) {
			answer(w, 201, `{"kind":"ServiceAccount","apiVersion":"v1"}`)
		}, want: "does not keep canaries to their own names"},
		"another refuses": {fence: func(w http.ResponseWriter, _ *http.Request) {
			status(w, 403, "Forbidden", `User "x" cannot create resource "serviceaccounts"`)
		}, want: "could not be found out"},
		"it forgets labels": {fence: func(w http.ResponseWriter, r *http.Request) {
			if body, _ := io.ReadAll(r.Body); strings.Contains(string(body), `"name":"auditcanary-fence"`) {
				answer(w, 201, `{"kind":"ServiceAccount","apiVersion":"v1"}`)
				return
			}
			status(w, 403, "Forbidden", fenceSays)
		}, want: "does not keep canaries to what has their labels"},
		"it is older than its rule of tokens": {fence: func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/token") {
				answer(w, 201, `{"kind":"TokenRequest","apiVersion":"authentication.k8s.io/v1"}`)
				return
			}
			status(w, 403, "Forbidden", fenceSays)
		}, want: "does not keep canaries to worthless tokens"},
		"RBAC refuses what is not its to refuse": {fence: func(w http.ResponseWriter, _ *http.Request) {
			status(w, 403, "Forbidden", `User "x" cannot create resource "serviceaccounts/token" in API group ""`)
		}, want: "keeps canaries to their own names could not be found out"},
		"a server that is ill": {fence: func(w http.ResponseWriter, _ *http.Request) { status(w, 500, "InternalError", "no") }, want: "could not be found out"},
		"a proxy that says what the fence says": {fence: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(403)
			_, _ = w.Write([]byte("ValidatingAdmissionPolicy '" + fence + "'"))
		}, want: "could not be found out"},
		"no token":       {token: func(w http.ResponseWriter, _ *http.Request) { status(w, 403, "Forbidden", "no") }, want: "get a token"},
		"an empty token": {token: func(w http.ResponseWriter, _ *http.Request) { answer(w, 201, `{"kind":"TokenRequest","status":{}}`) }, want: "no token"},
		"a token of nobody": {token: func(w http.ResponseWriter, _ *http.Request) {
			answer(w, 201, `{"kind":"TokenRequest","status":{"token":"a.!.c"}}`)
		}, want: "not base64"},
		"a token of another's": {token: func(w http.ResponseWriter, _ *http.Request) {
			answer(w, 201, `{"kind":"TokenRequest","status":{"token":"`+jwt(`{"sub":"system:serviceaccount:kube-system:admin"}`)+`"}}`)
		}, want: "another identity"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAnswering(t)
			if tc.token != nil {
				a.token = tc.token
			}
			if tc.fence != nil {
				a.fence = tc.fence
			}
			c, _ := cloudOf(t, a, nil)
			p, err := c.Plan(scenario(t, "kubernetes/role"), aCanary("kubernetes/role"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err = c.Open(t.Context(), p); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("opened: %v", err)
			}
			if _, err = c.Leftovers(t.Context(), theTarget); err == nil {
				t.Error("listed")
			}
			if n := len(a.canaryCalls()); n != 0 {
				t.Errorf("%d calls were made", n)
			}
		})
	}
}

func TestImpersonationIsSentAndExpected(t *testing.T) {
	a := newAnswering(t)
	a.rest = func(w http.ResponseWriter, _ *http.Request) {
		status(w, 403, "Forbidden", `groups "system:masters" is forbidden: User "x" cannot impersonate resource "groups" in API group "" at the cluster scope`)
	}
	r := did(t, a, "kubernetes/impersonate-masters-denied")
	call := a.canaryCalls()[0]
	if call.impersonated != breakGlass || !slices.Equal(call.groups, []string{"system:masters"}) {
		t.Errorf("impersonated %q of %q", call.impersonated, call.groups)
	}
	if r.Outcome.Result != canary.Refused || r.Want.API.Error != "Forbidden" || r.Want.Actor.Session.Name != "" {
		t.Errorf("%+v, wants error %q, session %q", r.Outcome, r.Want.API.Error, r.Want.Actor.Session.Name)
	}
	for name, reply := range map[string]http.HandlerFunc{
		"done": func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, `{"kind":"Secret","apiVersion":"v1"}`) },
		"refused to whom is impersonated": func(w http.ResponseWriter, _ *http.Request) {
			status(w, 403, "Forbidden", `secrets "x" is forbidden: User "auditcanary-break-glass" cannot get resource "secrets"`)
		},
	} {
		a.rest = reply
		if r := did(t, a, "kubernetes/break-glass-secret"); r.Want.Actor.Session.Name != breakGlass || r.Want.Actor.UID != "system:serviceaccount:auditcanary:auditcanary-canary" {
			t.Errorf("%s: wants %q as %q", name, r.Want.Actor.UID, r.Want.Actor.Session.Name)
		}
	}
}

// TestHostileReplies: whatever answers, a receipt says what is known, and no more.
func TestHostileReplies(t *testing.T) {
	for name, tc := range map[string]struct {
		reply  http.HandlerFunc
		result canary.Result
		code   string
		noID   bool
	}{
		"a refusal":                      {func(w http.ResponseWriter, _ *http.Request) { status(w, 403, "Forbidden", "no") }, canary.Refused, "Forbidden", false},
		"a conflict":                     {func(w http.ResponseWriter, _ *http.Request) { status(w, 409, "AlreadyExists", "no") }, canary.Failed, "AlreadyExists", false},
		"too many requests":              {func(w http.ResponseWriter, _ *http.Request) { status(w, 429, "TooManyRequests", "no") }, canary.Failed, "TooManyRequests", false},
		"a credential that is not taken": {func(w http.ResponseWriter, _ *http.Request) { status(w, 401, "Unauthorized", "no") }, canary.Failed, "Unauthorized", false},
		"a server that broke down":       {func(w http.ResponseWriter, _ *http.Request) { status(w, 500, "InternalError", "no") }, canary.Unknown, "InternalError", false},
		"a refusal by a proxy": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(403)
			_, _ = w.Write([]byte("<html>no</html>"))
		}, canary.Unknown, codeUnreadable, false},
		"a refusal that says another code": {func(w http.ResponseWriter, _ *http.Request) {
			answer(w, 403, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":200}`)
		}, canary.Unknown, codeUnreadable, false},
		"a failure with success": {func(w http.ResponseWriter, _ *http.Request) {
			answer(w, 201, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}`)
		}, canary.Unknown, codeUnreadable, false},
		"a success that is no object": {func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, `[1,2]`) }, canary.Unknown, codeUnreadable, false},
		"a success of nothing":        {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) }, canary.Unknown, codeUnreadable, false},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://192.0.2.1/", http.StatusTemporaryRedirect)
		}, canary.Unknown, codeUnreadable, false},
		"a reason that is none": {func(w http.ResponseWriter, _ *http.Request) { status(w, 422, "Bad\nReason: x", "no") }, canary.Failed, "422", false},
		"a reply without end":   {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, maxReply+10)) }, canary.Unknown, codeUnreadable, false},
		"a reply that is cut": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte(`{"kind"`))
		}, canary.Unknown, codeUnreadable, false},
		"an audit id that is none": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Audit-Id", "x\"; drop")
			answer(w, 201, `{"kind":"X"}`)
		}, canary.Succeeded, "", true},
		"no audit id": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Del("Audit-Id")
			answer(w, 201, `{"kind":"X"}`)
		}, canary.Succeeded, "", true},
		"no answer":                            {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, canary.Unknown, codeNoAnswer, true},
		"an answer that does not come in time": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, canary.Unknown, codeTimeout, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAnswering(t)
			a.rest = tc.reply
			c, own := cloudOf(t, a, func(cl *Cluster) { cl.CallTimeout = 300 * time.Millisecond })
			p, err := c.Plan(scenario(t, "kubernetes/cluster-role"), aCanary("kubernetes/cluster-role"))
			if err != nil {
				t.Fatal(err)
			}
			s, err := c.Open(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			r := s.Do(t.Context(), p.Steps[0].Call, []string{"metadata.uid"})
			if r.Outcome.Result != tc.result || r.Outcome.Code != tc.code {
				t.Errorf("%+v, want %s %s", r.Outcome, tc.result, tc.code)
			}
			if (len(r.RequestIDs) == 0) != tc.noID || r.RequestIDs == nil {
				t.Errorf("requests %q", r.RequestIDs)
			}
			calls := a.canaryCalls()
			if len(calls) != 1 {
				t.Fatalf("%d calls were made, want 1: nothing is sent twice", len(calls))
			}
			if known := slices.Contains(*own, calls[0].auditID); known != tc.noID {
				t.Errorf("the id that was sent is known as our own: %v", known)
			}
			if len(r.Outcome.Message) > 1024 || strings.Contains(r.Outcome.Message, theToken()) {
				t.Errorf("message of %d bytes: %.200q", len(r.Outcome.Message), r.Outcome.Message)
			}
		})
	}
}

func TestATokenThatIsEchoedIsNotKept(t *testing.T) {
	a := newAnswering(t)
	a.rest = func(w http.ResponseWriter, r *http.Request) {
		status(w, 403, "Forbidden", "no: "+r.Header.Get("Authorization"))
	}
	if r := did(t, a, "kubernetes/role"); strings.Contains(r.Outcome.Message, "e30.") || !strings.Contains(r.Outcome.Message, "[secret]") {
		t.Errorf("message %q", r.Outcome.Message)
	}
}

func TestAServerThatCannotBeTrustedIsNotAsked(t *testing.T) {
	a := newAnswering(t)
	good, err := a.connect()
	if err != nil {
		t.Fatal(err)
	}
	plain, insecure, unknown := *good, *good, *good
	plain.Host = "http://127.0.0.1:1"
	insecure.Insecure, insecure.CAData = true, nil
	unknown.CAData = nil
	if _, err := newServer(&plain, time.Second); err == nil || !strings.Contains(err.Error(), "not https") {
		t.Errorf("plain: %v", err)
	}
	if _, err := newServer(&insecure, time.Second); err == nil || !strings.Contains(err.Error(), "insecure") {
		t.Errorf("insecure: %v", err)
	}
	s, err := newServer(&unknown, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	x, err := s.send(t.Context(), message{endpoint: endpoint{method: "GET", path: "/version"}})
	if err == nil || x.status != 0 {
		t.Errorf("asked a server of an unknown authority: %+v, %v", x, err)
	}
}

func TestACallIsHeldAgainstItsCanaryOnceMore(t *testing.T) {
	a := newAnswering(t)
	c, _ := cloudOf(t, a, nil)
	p, err := c.Plan(scenario(t, "kubernetes/cluster-role"), aCanary("kubernetes/cluster-role"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Open(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(*canary.Call)) canary.Call {
		call := *p.Steps[0].Undo
		call.Params = map[string]any{"name": call.Params["name"]}
		f(&call)
		return call
	}
	for name, call := range map[string]canary.Call{
		"another's name":        change(func(c *canary.Call) { c.Params["name"] = "cluster-admin" }),
		"another canary's name": change(func(c *canary.Call) { c.Params["name"] = "auditcanary-20261126-abcdef-02" }),
		"a longer id":           change(func(c *canary.Call) { c.Params["name"] = "auditcanary-20261126-abcdef-011" }),
		"a path":                change(func(c *canary.Call) { c.Params["name"] = "auditcanary-20261126-abcdef-01/../../x" }),
		"no name":               change(func(c *canary.Call) { delete(c.Params, "name") }),
		"an open reference":     change(func(c *canary.Call) { c.Params["name"] = "${steps.create.metadata.name}" }),
		"another place":         change(func(c *canary.Call) { c.Region = "us-east-1" }),
		"off the list":          change(func(c *canary.Call) { c.Operation = "core:delete namespaces" }),
		"a verb off the list":   change(func(c *canary.Call) { c.Operation = rbac + ":deletecollection clusterroles" }),
		"options of its own":    change(func(c *canary.Call) { c.Params["body"] = map[string]any{"gracePeriodSeconds": 0.0} }),
	} {
		if r := s.Do(t.Context(), call, nil); r.Outcome.Result != canary.Failed || r.Outcome.Code != codeNotSent {
			t.Errorf("%s: %+v", name, r.Outcome)
		}
	}
	if n := len(a.canaryCalls()); n != 0 {
		t.Errorf("%d calls were made", n)
	}
	if r := s.Do(t.Context(), change(func(*canary.Call) {}), nil); r.Outcome.Result != canary.Succeeded {
		t.Errorf("its own: %+v", r.Outcome)
	}
	if r := s.Attempt(t.Context(), p.Steps[0].Call, nil); r.Outcome.Code != codeNotSent {
		t.Errorf("attempted: %+v", r.Outcome)
	}
	if r := s.Look(t.Context(), p.Steps[0].Call); r.Err == "" {
		t.Errorf("looked: %+v", r)
	}
}
