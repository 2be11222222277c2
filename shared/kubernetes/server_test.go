package kubernetes

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/auditcanary/auditcanary/scenarios"
	"github.com/auditcanary/auditcanary/shared/canary"
)

// asked is one request as an API server got it.
type asked struct {
	method, uri, auth, agent, auditID, impersonated string
	groups                                          []string
	body                                            string
}

// answering is an API server of a few answers: the token of the canaries' account, a fence
// that stands, and what a test wants of the rest.
type answering struct {
	*httptest.Server
	mu    sync.Mutex
	asked []asked
	// token answers the request for one; fence that for what is none of a canary's.
	token, fence, rest http.HandlerFunc
}

const theJTI = "7f7e6a0c-0f3e-4b0f-9a56-3c2f1d0a9b8c"

func jwt(claims string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

func theToken() string {
	return jwt(`{"sub":"system:serviceaccount:auditcanary:auditcanary-canary","jti":"` + theJTI + `","exp":4102444800,"kubernetes.io":{"namespace":"auditcanary","serviceaccount":{"name":"auditcanary-canary","uid":"sa-uid-1"}}}`)
}

func answer(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, text)
}

func status(w http.ResponseWriter, code int, reason, message string) {
	text, _ := json.Marshal(map[string]any{"kind": "Status", "apiVersion": "v1", "metadata": map[string]any{}, "status": "Failure", "message": message, "reason": reason, "code": code})
	answer(w, code, string(text))
}

const fenceSays = `serviceaccounts "fence-auditcanary" is forbidden: ValidatingAdmissionPolicy 'auditcanary-fence' with binding 'auditcanary-fence' denied request: canaries touch only what is named as theirs`

func newAnswering(t *testing.T) *answering {
	a := &answering{
		token: func(w http.ResponseWriter, _ *http.Request) {
			answer(w, http.StatusCreated, `{"kind":"TokenRequest","apiVersion":"authentication.k8s.io/v1","status":{"token":"`+theToken()+`","expirationTimestamp":"2100-01-01T00:00:00Z"}}`)
		},
		fence: func(w http.ResponseWriter, _ *http.Request) { status(w, http.StatusForbidden, "Forbidden", fenceSays) },
		rest: func(w http.ResponseWriter, r *http.Request) {
			answer(w, http.StatusCreated, `{"kind":"Thing","apiVersion":"v1","metadata":{"name":"x","uid":"uid-1","resourceVersion":"7"},"data":{"password":"hunter2"},"status":{"token":"secret-token"}}`)
		},
	}
	a.Server = httptest.NewUnstartedServer(http.HandlerFunc(a.serve))
	a.Config.ErrorLog = log.New(io.Discard, "", 0) // of connections that tests cut
	a.StartTLS()
	t.Cleanup(a.Close)
	return a
}

func (a *answering) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	one := asked{
		method: r.Method, uri: r.URL.RequestURI(), auth: r.Header.Get("Authorization"), agent: r.UserAgent(), auditID: r.Header.Get("Audit-Id"),
		impersonated: r.Header.Get("Impersonate-User"), groups: r.Header.Values("Impersonate-Group"), body: string(body),
	}
	a.mu.Lock()
	a.asked = append(a.asked, one)
	a.mu.Unlock()
	w.Header().Set("Audit-Id", one.auditID)
	w.Header().Set("Date", "Thu, 26 Nov 2026 17:00:00 GMT")
	switch {
	case one.probes():
		a.fence(w, r)
	case r.URL.Path == "/api/v1/namespaces/auditcanary/serviceaccounts/auditcanary-canary/token":
		a.token(w, r)
	default:
		a.rest(w, r)
	}
}

// canaryCalls are the requests but those for tokens and for the fence.
func (a *answering) canaryCalls() []asked {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(a.asked), func(x asked) bool {
		return strings.HasSuffix(x.uri, "/auditcanary-canary/token") || x.probes()
	})
}

// probes reports whether a request asks for the fence.
func (x asked) probes() bool {
	return strings.Contains(x.uri, "?dryRun=All&fieldManager=auditcanary") && strings.Contains(x.uri, "/serviceaccounts") && strings.HasPrefix(x.auth, "Bearer e30.")
}

func (a *answering) connect() (*rest.Config, error) {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw})
	return &rest.Config{Host: a.URL, BearerToken: "injector-token", TLSClientConfig: rest.TLSClientConfig{CAData: ca}}, nil
}

var aTime = time.Date(2026, 11, 26, 17, 0, 0, 0, time.UTC)

// cloudOf is the driver of one cluster at that server, with the ids it calls its own.
func cloudOf(t *testing.T, a *answering, change func(*Cluster)) (*Cloud, *[]string) {
	t.Helper()
	cl := Cluster{Name: "prod", Namespace: "auditcanary", Egress: []string{"192.0.2.7"}, CallTimeout: 2 * time.Second,
		Fixtures: map[string]string{"log_shipper": "fluent-bit", "log_shipper_namespace": "kube-system"}}
	if a != nil {
		cl.Connect = a.connect
	}
	if change != nil {
		change(&cl)
	}
	var mu sync.Mutex
	var own []string
	c, err := New(Options{Clusters: []Cluster{cl}, Clock: func() time.Time { return aTime }, Own: func(id string) {
		mu.Lock()
		defer mu.Unlock()
		own = append(own, id)
	}})
	if err != nil {
		t.Fatal(err)
	}
	return c, &own
}

var theTarget = canary.Target{Provider: Provider, Account: "prod", Region: Region}

func aCanary(scenario string) canary.Canary {
	return canary.Canary{ID: "20261126-abcdef-01", Run: "20261126-abcdef", Scenario: scenario, Target: theTarget}
}

// checking checks calls as the driver does.
type checking struct{}

func (checking) CheckCall(op string, p map[string]any) error {
	if !strings.Contains(op, " ") {
		return nil // a cloud's
	}
	return CheckCall(op, p)
}
func (checking) CheckAttempt(string, map[string]any) error { return nil }
func (checking) CheckLook(string, map[string]any) error    { return nil }

// catalogue is the scenarios for clusters.
func catalogue(t *testing.T) []canary.Scenario {
	t.Helper()
	files, err := filepath.Glob("../../scenarios/kubernetes/*.yaml")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d scenarios: %v", len(files), err)
	}
	var all []canary.Scenario
	for _, f := range files {
		s, err := scenarios.ReadFile(f, checking{})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

func scenario(t *testing.T, id string) canary.Scenario {
	t.Helper()
	file := "../../scenarios/" + id + ".yaml"
	if _, err := os.Stat(file); err != nil {
		t.Fatal(err)
	}
	s, err := scenarios.ReadFile(file, checking{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func say(v any) string { return fmt.Sprintf("%+v", v) }
