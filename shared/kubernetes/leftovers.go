package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// kind is something canaries can leave behind.
type kind struct {
	name       string
	service    string // API group, "core"
	resource   string
	namespaced bool
}

// kinds are all of them: whatever an operation makes. (The decoy policy, which is
// changed and not made, is looked at besides.)
var kinds = []kind{
	{"cluster role binding", rbac, "clusterrolebindings", false},
	{"cluster role", rbac, "clusterroles", false},
	{"certificate signing request", certificates, "certificatesigningrequests", false},
	{"role binding", rbac, "rolebindings", true},
	{"role", rbac, "roles", true},
	{"service account", core, "serviceaccounts", true},
	{"network policy", networking, "networkpolicies", true},
}

func (k kind) group() string {
	if k.service == core {
		return ""
	}
	return k.service
}

func (k kind) remove() string { return k.service + ":delete " + k.resource }

const decoyKind = "validating admission policy"

// Bounds of a listing: objects a page, and pages of one kind.
const (
	pageSize = 500
	maxPages = 100
)

// labelForm is a run or canary id as a label.
var labelForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// Leftovers implements run.Sweeper. It asks for each kind by label, and returns what
// carries both labels and a name of ours; whatever a server says beside is not touched.
func (c *Cloud) Leftovers(ctx context.Context, t canary.Target) ([]run.Leftover, error) {
	cl, err := c.cluster(t)
	if err != nil {
		return nil, err
	}
	s, err := c.open(ctx, cl, cl.sweepScene(), true)
	if err != nil {
		return nil, err
	}
	var left []run.Leftover
	var errs []error
	note := func(name, undo string, found []run.Leftover, err error) {
		left = append(left, found...)
		if err != nil {
			errs = append(errs, &run.UnlistedError{Kind: name, Undo: []string{undo}, Err: err})
		}
	}
	for _, k := range kinds {
		found, err := s.list(ctx, k)
		note(k.name, k.remove(), found, err)
	}
	found, err := s.decoy(ctx)
	note(decoyKind, admission+":patch validatingadmissionpolicies", found, err)
	return left, errors.Join(errs...)
}

// object is as much of an object as the sweep looks at.
type object struct {
	Metadata struct {
		Name      string            `json:"name"`
		Namespace string            `json:"namespace"`
		Labels    map[string]string `json:"labels"`
	} `json:"metadata"`
	Spec struct {
		FailurePolicy string `json:"failurePolicy"`
	} `json:"spec"`
}

// ours reports whether an object is named and labelled as a canary's.
func (o object) ours() bool {
	return marked.MatchString(o.Metadata.Name) && labelForm.MatchString(o.Metadata.Labels[labelRun]) && labelForm.MatchString(o.Metadata.Labels[labelCanary])
}

// list asks for everything of one kind that carries the label.
func (s *session) list(ctx context.Context, k kind) ([]run.Leftover, error) {
	var left []run.Leftover
	next := ""
	for range maxPages {
		r := request{}
		if k.namespaced {
			r.Namespace = s.scene.namespace
		}
		at, err := locate(k.service+":list "+k.resource, operation{namespaced: k.namespaced}, r)
		if err != nil {
			return left, err
		}
		at.query = url.Values{"labelSelector": {labelRun}, "limit": {fmt.Sprint(pageSize)}}
		if next != "" {
			at.query.Set("continue", next)
		}
		var page struct {
			Kind     string `json:"kind"`
			Metadata struct {
				Continue string `json:"continue"`
			} `json:"metadata"`
			Items *[]object `json:"items"`
		}
		if err := s.read(ctx, at, &page); err != nil {
			return left, err
		}
		if !strings.HasSuffix(page.Kind, "List") || page.Items == nil {
			return left, fmt.Errorf("the reply is no list of %s", k.resource)
		}
		for _, o := range *page.Items {
			if !o.ours() || o.Metadata.Namespace != r.Namespace {
				continue
			}
			params := map[string]any{"name": o.Metadata.Name}
			id := o.Metadata.Name
			if k.namespaced {
				params["namespace"] = r.Namespace
				id = r.Namespace + "/" + id
			}
			left = append(left, run.Leftover{Kind: k.name, ID: id, Run: o.Metadata.Labels[labelRun], Canary: o.Metadata.Labels[labelCanary],
				Undo: []canary.Call{{Operation: k.remove(), Region: Region, Params: params, Gone: []string{"NotFound"}}}})
		}
		if next = page.Metadata.Continue; next == "" {
			return left, nil
		}
	}
	return left, fmt.Errorf("more than %d pages of %s", maxPages, k.resource)
}

// decoy looks whether the decoy policy is as it was set up.
func (s *session) decoy(ctx context.Context) ([]run.Leftover, error) {
	at, err := locate(admission+":get validatingadmissionpolicies", operation{}, request{Name: decoyPolicy})
	if err != nil {
		return nil, err
	}
	var o object
	if err := s.read(ctx, at, &o); err != nil {
		return nil, err
	}
	if o.Metadata.Name != decoyPolicy {
		return nil, fmt.Errorf("the reply is of another object, %.100q", o.Metadata.Name)
	}
	labels := o.Metadata.Labels
	if o.Spec.FailurePolicy == "Fail" && labels[labelRun] == "" && labels[labelCanary] == "" {
		return nil, nil
	}
	if !o.ours() {
		return nil, fmt.Errorf("%s was changed by somebody else (failurePolicy %.100q, no run): put it back with what `auditcanary plan` prints", decoyPolicy, o.Spec.FailurePolicy)
	}
	return []run.Leftover{{Kind: decoyKind, ID: decoyPolicy, Run: labels[labelRun], Canary: labels[labelCanary],
		Undo: []canary.Call{{Operation: admission + ":patch validatingadmissionpolicies", Region: Region, Params: map[string]any{
			"name": decoyPolicy,
			"body": map[string]any{
				"apiVersion": admission + "/v1", "kind": "ValidatingAdmissionPolicy",
				"metadata": map[string]any{"labels": map[string]any{labelRun: "", labelCanary: ""}},
				"spec":     map[string]any{"failurePolicy": "Fail"},
			},
		}}}}}, nil
}

// read makes one reading call for ourselves.
func (s *session) read(ctx context.Context, at endpoint, into any) error {
	at.method = http.MethodGet
	x, err := s.ask(ctx, message{endpoint: at, token: s.id.token})
	if o := x.outcome(err); o.Result != canary.Succeeded {
		return fmt.Errorf("%s: %s", o.Code, s.clean(o.Message))
	}
	if err := json.Unmarshal(x.body, into); err != nil {
		return fmt.Errorf("the reply cannot be read: %w", err)
	}
	return nil
}
