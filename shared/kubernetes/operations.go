package kubernetes

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// API groups, as audit events name them; the first has no name of its own there.
const (
	core         = "core"
	rbac         = "rbac.authorization.k8s.io"
	networking   = "networking.k8s.io"
	admission    = "admissionregistration.k8s.io"
	auth         = "authentication.k8s.io"
	certificates = "certificates.k8s.io"
	apps         = "apps"
)

// operations is everything this program may ever do in a cluster: what is not on it can
// be neither planned nor sent. A line's key is "group:verb resource[/subresource]", as `kubectl auth can-i` has it. (What
// is read in order to sweep is in kinds, leftovers.go.)
var operations = map[string]operation{
	// Who may do what. A role allows to read a ConfigMap that there is not; a binding
	// binds the canary's own role to a group, or an account, that nobody is in.
	rbac + ":create clusterroles":        {body: of[rbacv1.ClusterRole](rbac, "ClusterRole"), makes: true, undo: rbac + ":delete clusterroles", guards: guards{allowsNothing}},
	rbac + ":delete clusterroles":        {body: deleteOptions, removes: true},
	rbac + ":create clusterrolebindings": {body: of[rbacv1.ClusterRoleBinding](rbac, "ClusterRoleBinding"), makes: true, undo: rbac + ":delete clusterrolebindings", guards: guards{bindsNobody}},
	rbac + ":delete clusterrolebindings": {body: deleteOptions, removes: true},
	rbac + ":create roles":               {namespaced: true, body: of[rbacv1.Role](rbac, "Role"), makes: true, undo: rbac + ":delete roles", guards: guards{allowsNothing}},
	rbac + ":delete roles":               {namespaced: true, body: deleteOptions, removes: true},
	rbac + ":create rolebindings":        {namespaced: true, body: of[rbacv1.RoleBinding](rbac, "RoleBinding"), makes: true, undo: rbac + ":delete rolebindings", guards: guards{bindsNobody}},
	rbac + ":delete rolebindings":        {namespaced: true, body: deleteOptions, removes: true},

	// Accounts of workloads. A token is good for ten minutes, and for no API server.
	core + ":create serviceaccounts":       {namespaced: true, body: of[corev1.ServiceAccount]("", "ServiceAccount"), makes: true, undo: core + ":delete serviceaccounts", guards: guards{mountsNoToken}},
	core + ":delete serviceaccounts":       {namespaced: true, body: deleteOptions, removes: true},
	core + ":create serviceaccounts/token": {namespaced: true, body: of[authenticationv1.TokenRequest](auth, "TokenRequest"), guards: guards{ownName, worthlessToken}},

	// Secrets are only read, by one identity that may read one worthless one.
	core + ":get secrets": {namespaced: true, readOnly: true, byName: true, guards: guards{isFixture("name", "break_glass_secret"), impersonates("break_glass_user")}},

	// A request of a certificate that nobody signs: its signer does not exist.
	certificates + ":create certificatesigningrequests": {body: of[certificatesv1.CertificateSigningRequest](certificates, "CertificateSigningRequest"), makes: true, undo: certificates + ":delete certificatesigningrequests", guards: guards{nobodySigns}},
	certificates + ":delete certificatesigningrequests": {body: deleteOptions, removes: true},

	// Network policies that select the pods of the canary, of which there are none.
	networking + ":create networkpolicies": {namespaced: true, body: of[networkingv1.NetworkPolicy](networking, "NetworkPolicy"), makes: true, undo: networking + ":delete networkpolicies", guards: guards{selectsNothing}},
	networking + ":delete networkpolicies": {namespaced: true, body: deleteOptions, removes: true},

	// No admission policy can fence in admission policies (they are exempt): one policy,
	// by name, that nothing binds, may be changed, and none made or deleted.
	admission + ":patch validatingadmissionpolicies": {body: of[admissionregistrationv1.ValidatingAdmissionPolicy](admission, "ValidatingAdmissionPolicy"), byName: true, undo: admission + ":patch validatingadmissionpolicies", restores: true, guards: guards{isFixture("name", "decoy_policy"), togglesDecoy}},

	// To be told who one is, as somebody else.
	auth + ":create selfsubjectreviews": {body: of[authenticationv1.SelfSubjectReview](auth, "SelfSubjectReview"), guards: guards{impersonatesSomebody}},

	// What is only ever attempted, must be denied, and would come to nothing if it were
	// not: a pod that does not exist, a dry run of deleting what has another UID.
	core + ":create pods/exec":                              {namespaced: true, deniedOnly: true, guards: guards{ownName, runsTrue}},
	apps + ":delete daemonsets":                             {namespaced: true, elsewhere: true, deniedOnly: true, byName: true, body: deleteOptions, guards: guards{isFixture("namespace", "log_shipper_namespace"), isFixture("name", "log_shipper"), deletesNothing}},
	admission + ":delete validatingadmissionpolicybindings": {deniedOnly: true, byName: true, body: deleteOptions, guards: guards{isFixture("name", "fence_binding"), deletesNothing}},
}

// operation is one line of the list.
type operation struct {
	// namespaced: the object is in a namespace, the canaries' own unless elsewhere.
	namespaced, elsewhere bool
	// body is the type of what is sent; the zero value: nothing is.
	body body
	// makes leaves an object behind, which must be named and labelled as the canary's;
	// removes takes such an object away.
	makes, removes bool
	// byName: RBAC can, and does, name the one object.
	byName bool
	// readOnly: the verb only reads.
	readOnly bool
	// deniedOnly: only what must be denied may call it.
	deniedOnly bool
	// undo is the operation that reverses it; "": it leaves nothing to undo.
	undo string
	// restores marks, beside what removes, what a sweep may call.
	restores bool
	// guards refuse parameters that are not provably harmless.
	guards guards
}

// body is what is sent with a call.
type body struct {
	apiVersion, kind string // as it must state them; "": it need not
	new              func() any
}

func of[T any](group, kind string) body {
	return body{apiVersion: strings.TrimPrefix(group+"/v1", "/"), kind: kind, new: func() any { return new(T) }}
}

var deleteOptions = body{new: func() any { return new(metav1.DeleteOptions) }}

// request is the parameters of a call, by the names that the API's description of
// itself (OpenAPI) has for them.
type request struct {
	Name      string          `json:"name,omitempty"`
	Namespace string          `json:"namespace,omitempty"`
	Body      json.RawMessage `json:"body,omitempty"`
	// Command to execute in a pod.
	Command []string `json:"command,omitempty"`
	// Impersonate is the one thing that is no parameter but headers.
	Impersonate *impersonation `json:"impersonate,omitempty"`

	object any            // Body, as the type of the API
	plain  map[string]any // Body, as it was given
}

// impersonation is the headers Impersonate-User and Impersonate-Group.
type impersonation struct {
	User   string   `json:"user"`
	Groups []string `json:"groups,omitempty"`
}

// endpoint is where a call goes.
type endpoint struct {
	group, version        string // group "" is core
	resource, subresource string
	verb, method, path    string
	query                 url.Values
}

// Operations lists the allow-list, sorted.
func Operations() []string { return slices.Sorted(maps.Keys(operations)) }

// CheckCall reports whether an operation is on the allow-list and its parameters are
// those of the API: every field known (case matters), every value of its type. Strings
// may hold ${...} references. The error names the operation and the field.
func CheckCall(operation string, params map[string]any) error {
	_, _, err := lookUp(operation, params)
	return err
}

// CheckAttempt refuses: of what canaries attempt here, no protection is looked at.
func CheckAttempt(operation string, _ map[string]any) error {
	return fmt.Errorf("%s: a protection cannot be looked at in a cluster: leave protection out", operation)
}

// CheckLook refuses likewise.
func CheckLook(operation string, params map[string]any) error { return CheckAttempt(operation, params) }

// ParamError is a parameter that is wrong.
type ParamError struct {
	Operation string
	Path      []string // "body", "rules", "0", "verb"
	Problem   string
}

func (e *ParamError) Error() string       { return e.Operation + ": " + e.Problem }
func (e *ParamError) ParamPath() []string { return e.Path }

func lookUp(name string, params map[string]any) (operation, request, error) {
	op, ok := operations[name]
	if !ok {
		return op, request{}, fmt.Errorf("operation %q is not on the allow-list (%s)", name, strings.Join(Operations(), ", "))
	}
	r, errs := decode(op, params)
	for i, err := range errs {
		var p *ParamError
		if errors.As(err, &p) {
			p.Operation = name
			continue
		}
		errs[i] = fmt.Errorf("%s: %w", name, err)
	}
	return op, r, errors.Join(errs...)
}

// decode reads parameters strictly.
func decode(op operation, params map[string]any) (request, []error) {
	var r request
	raw, err := json.Marshal(params)
	if err != nil {
		return r, []error{fmt.Errorf("parameters cannot be encoded: %w", err)}
	}
	errs := strict(raw, &r, nil)
	if len(errs) > 0 {
		return r, errs
	}
	switch {
	case op.body.new == nil && r.Body != nil:
		return r, []error{&ParamError{Path: []string{"body"}, Problem: "takes no body"}}
	case op.body.kind != "" && r.Body == nil:
		return r, []error{errors.New("has no body")}
	case r.Body == nil:
		return r, nil
	}
	r.object = op.body.new()
	if errs := strict(r.Body, r.object, []string{"body"}); len(errs) > 0 {
		return r, errs
	}
	if err := json.Unmarshal(r.Body, &r.plain); err != nil || r.plain == nil {
		return r, []error{&ParamError{Path: []string{"body"}, Problem: "body must be an object"}}
	}
	for field, want := range map[string]string{"apiVersion": op.body.apiVersion, "kind": op.body.kind} {
		if got, _ := r.plain[field].(string); got != want {
			errs = append(errs, &ParamError{Path: []string{"body"}, Problem: fmt.Sprintf("body.%s must be %q, not %q", field, want, got)})
		}
	}
	return r, errs
}

var unknownField = regexp.MustCompile(`^(unknown|duplicate) field "(.*)"$`)

// strict reads JSON into v, with names known and in their own case, none twice.
func strict(data []byte, v any, at []string) []error {
	unknown, err := kjson.UnmarshalStrict(data, v)
	if err != nil {
		problem := strings.TrimPrefix(err.Error(), "json: ")
		if len(at) > 0 {
			return []error{&ParamError{Path: at, Problem: problem}}
		}
		return []error{errors.New(problem)}
	}
	var errs []error
	for _, u := range unknown {
		m := unknownField.FindStringSubmatch(u.Error())
		if m == nil {
			errs = append(errs, u)
			continue
		}
		path := append(slices.Clone(at), strings.FieldsFunc(m[2], func(r rune) bool { return r == '.' || r == '[' || r == ']' })...)
		errs = append(errs, &ParamError{Path: path, Problem: fmt.Sprintf("%s field %q", m[1], strings.Join(append(slices.Clone(at), m[2]), "."))})
	}
	return errs
}

// objectName is the name of what a call is about, "" if it has none.
func (r request) objectName() string {
	if r.Name != "" {
		return r.Name
	}
	name, _ := lookAt(r.plain, "metadata", "name").(string)
	return name
}

// verbs of the API, with the method that asks for each and what a body is.
var verbs = map[string]struct{ method, contentType string }{
	"create": {http.MethodPost, "application/json"},
	"delete": {http.MethodDelete, "application/json"},
	"get":    {http.MethodGet, ""},
	"list":   {http.MethodGet, ""},
	"patch":  {http.MethodPatch, "application/merge-patch+json"},
}

// locate finds where a call goes. The names in it have been checked: none has a slash.
func locate(name string, op operation, r request) (endpoint, error) {
	group, asked, _ := strings.Cut(name, ":")
	verb, resource, _ := strings.Cut(asked, " ")
	resource, sub, _ := strings.Cut(resource, "/")
	e := endpoint{group: group, version: "v1", resource: resource, subresource: sub, verb: verb, query: url.Values{}}
	v, ok := verbs[e.verb]
	if !ok {
		return e, fmt.Errorf("%s: %q is no verb", name, e.verb)
	}
	e.method = v.method
	e.path = "/apis/" + group + "/v1"
	if group == core {
		e.group, e.path = "", "/api/v1"
	}
	if op.namespaced {
		e.path += "/namespaces/" + url.PathEscape(r.Namespace)
	}
	e.path += "/" + e.resource
	if e.verb != "create" && e.verb != "list" || e.subresource != "" {
		e.path += "/" + url.PathEscape(r.Name)
	}
	if e.subresource != "" {
		e.path += "/" + e.subresource
	}
	switch {
	case e.subresource == "exec":
		e.query["command"] = r.Command
		e.query.Set("stdout", "true")
	case e.verb == "create" || e.verb == "patch":
		e.query.Set("fieldManager", canary.Marker)
		e.query.Set("fieldValidation", "Strict")
	}
	return e, nil
}

// uri is the request's target as it stands on the wire and in the audit log.
func (e endpoint) uri() string {
	if len(e.query) == 0 {
		return e.path
	}
	return e.path + "?" + e.query.Encode()
}

type (
	guard  func(s scene, r request) error
	guards []guard
)

// check holds a call against what every call must be, and against its own guards.
func (op operation) check(s scene, r request) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if r.Name != "" && !thingForm.MatchString(r.Name) {
		bad("name %q cannot be the name of an object", r.Name)
	}
	switch {
	case !op.namespaced && r.Namespace != "":
		bad("namespace %q: the object is in none", r.Namespace)
	case op.namespaced && !op.elsewhere && r.Namespace != s.namespace:
		bad("namespace %q must be %q, the canaries' own (${fixture.namespace})", r.Namespace, s.namespace)
	}
	if r.Impersonate != nil && r.Impersonate.User == "" {
		bad("impersonate names no user")
	}
	if op.makes {
		errs = append(errs, s.labelled(r)...)
		if r.Name != "" {
			bad("name is that of the body: leave name out")
		}
		if ns := lookAt(r.plain, "metadata", "namespace"); ns != nil && ns != r.Namespace {
			bad("body.metadata.namespace %v is not namespace %q", ns, r.Namespace)
		}
		if lookAt(r.plain, "metadata", "generateName") != nil || lookAt(r.plain, "metadata", "ownerReferences") != nil || lookAt(r.plain, "metadata", "finalizers") != nil {
			bad("body.metadata has more than name, labels and annotations: the sweep could not take it away")
		}
	}
	if op.removes && !s.mine(r.Name) {
		bad("name %q is not this canary's", r.Name)
	}
	if op.removes && r.Body != nil {
		bad("takes no body: what is deleted is deleted")
	}
	for _, g := range op.guards {
		if err := g(s, r); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// labelled: named and labelled as this canary's.
func (s scene) labelled(r request) (errs []error) {
	if name := r.objectName(); !s.mine(name) {
		errs = append(errs, fmt.Errorf("body.metadata.name %q is not this canary's: it must begin with ${name}", name))
	}
	for label, want := range map[string]string{labelRun: s.run, labelCanary: s.canary} {
		if got, _ := lookAt(r.plain, "metadata", "labels", label).(string); got == "" || want != "" && got != want {
			errs = append(errs, fmt.Errorf("body.metadata.labels must have %s: %q, not %q", label, want, got))
		}
	}
	return errs
}

// lookAt follows names into an object.
func lookAt(v any, path ...string) any {
	for _, name := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

// ownName: the name is this canary's.
func ownName(s scene, r request) error {
	if !s.mine(r.Name) {
		return fmt.Errorf("name %q is not this canary's: it must begin with ${name}", r.Name)
	}
	return nil
}

// isFixture: the parameter is exactly what the configuration calls so.
func isFixture(param, fixture string) guard {
	return func(s scene, r request) error {
		got := map[string]string{"name": r.Name, "namespace": r.Namespace}[param]
		if want, ok := s.cluster.fixture(fixture); !ok || got == "" || got != want {
			return fmt.Errorf("%s %q must be the fixture %s", param, got, fixture)
		}
		return nil
	}
}

// harmlessRule is the one rule that canaries' roles have: to read a ConfigMap there is not.
var harmlessRule = rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{noConfigMap}}

func allowsNothing(_ scene, r request) error {
	rules, aggregates := []rbacv1.PolicyRule(nil), false
	switch o := r.object.(type) {
	case *rbacv1.ClusterRole:
		rules, aggregates = o.Rules, o.AggregationRule != nil
	case *rbacv1.Role:
		rules = o.Rules
	}
	if aggregates || slices.ContainsFunc(rules, func(rule rbacv1.PolicyRule) bool { return !reflect.DeepEqual(rule, harmlessRule) }) {
		return fmt.Errorf("body.rules may only be to get the configmap %s, which there is not", noConfigMap)
	}
	return nil
}

// nobody: groups of that prefix have no members.
const nobody = canary.Marker + ":"

func bindsNobody(s scene, r request) error {
	var ref rbacv1.RoleRef
	var subjects []rbacv1.Subject
	want := "ClusterRole"
	switch o := r.object.(type) {
	case *rbacv1.ClusterRoleBinding:
		ref, subjects = o.RoleRef, o.Subjects
	case *rbacv1.RoleBinding:
		ref, subjects, want = o.RoleRef, o.Subjects, "Role"
	}
	if ref.APIGroup != rbac || ref.Kind != want || !s.mine(ref.Name) {
		return fmt.Errorf("body.roleRef must be a %s of this canary, not %s %q", want, ref.Kind, ref.Name)
	}
	for _, sub := range subjects {
		if sub.Kind != "Group" || sub.APIGroup != rbac || sub.Namespace != "" || !strings.HasPrefix(sub.Name, nobody) {
			return fmt.Errorf("body.subjects may only be groups whose names begin with %q, not %s %q", nobody, sub.Kind, sub.Name)
		}
	}
	return nil
}

func mountsNoToken(_ scene, r request) error {
	o, _ := r.object.(*corev1.ServiceAccount)
	if o == nil || o.AutomountServiceAccountToken == nil || *o.AutomountServiceAccountToken || len(o.Secrets)+len(o.ImagePullSecrets) > 0 {
		return errors.New("body.automountServiceAccountToken must be false, and no secrets may be named")
	}
	return nil
}

// worthlessAudience is nobody's: no API server takes a token for it.
const worthlessAudience = canary.Marker + ".invalid"

func worthlessToken(_ scene, r request) error {
	o, _ := r.object.(*authenticationv1.TokenRequest)
	if o == nil || !slices.Equal(o.Spec.Audiences, []string{worthlessAudience}) || o.Spec.ExpirationSeconds == nil || *o.Spec.ExpirationSeconds != tokenSeconds {
		return fmt.Errorf("body.spec must ask for audiences [%s] and expirationSeconds %d", worthlessAudience, tokenSeconds)
	}
	return nil
}

// impersonates: as the user of that fixture, with no groups.
func impersonates(fixture string) guard {
	return func(s scene, r request) error {
		want, _ := s.cluster.fixture(fixture)
		if r.Impersonate == nil || r.Impersonate.User != want || len(r.Impersonate.Groups) > 0 {
			return fmt.Errorf("impersonate must be the user %q alone (${fixture.%s})", want, fixture)
		}
		return nil
	}
}

func impersonatesSomebody(s scene, r request) error {
	if r.Impersonate == nil || !marked.MatchString(r.Impersonate.User) {
		return fmt.Errorf("impersonate must name a user that begins with %s-", canary.Marker)
	}
	return nil
}

const nobodysSigner = "auditcanary.dev/nobody"

func nobodySigns(_ scene, r request) error {
	o, _ := r.object.(*certificatesv1.CertificateSigningRequest)
	if o == nil || o.Spec.SignerName != nobodysSigner {
		return fmt.Errorf("body.spec.signerName must be %s, which nobody is", nobodysSigner)
	}
	return nil
}

func selectsNothing(s scene, r request) error {
	o, _ := r.object.(*networkingv1.NetworkPolicy)
	if o == nil || o.Spec.PodSelector.MatchLabels[labelCanary] == "" || s.canary != "" && o.Spec.PodSelector.MatchLabels[labelCanary] != s.canary {
		return fmt.Errorf("body.spec.podSelector.matchLabels must have %s: ${canary}, which no pod has", labelCanary)
	}
	return nil
}

// togglesDecoy: nothing but our labels and what should become of errors may be changed.
func togglesDecoy(s scene, r request) error {
	labels, _ := lookAt(r.plain, "metadata", "labels").(map[string]any)
	policy, _ := lookAt(r.plain, "spec", "failurePolicy").(string)
	run, _ := labels[labelRun].(string)
	id, _ := labels[labelCanary].(string)
	exact := map[string]any{
		"apiVersion": admission + "/v1", "kind": "ValidatingAdmissionPolicy",
		"metadata": map[string]any{"labels": map[string]any{labelRun: run, labelCanary: id}},
		"spec":     map[string]any{"failurePolicy": policy},
	}
	restored := policy == "Fail" && run == "" && id == ""
	changed := policy == "Ignore" && run != "" && id != "" && (s.run == "" || s.run == run) && (s.canary == "" || s.canary == id)
	if !reflect.DeepEqual(r.plain, exact) || !restored && !changed {
		return fmt.Errorf("body may only set spec.failurePolicy to Ignore with the labels %s and %s, or to Fail with both empty", labelRun, labelCanary)
	}
	return nil
}

func runsTrue(_ scene, r request) error {
	if !slices.Equal(r.Command, []string{"true"}) {
		return fmt.Errorf("command %q must be [true]", r.Command)
	}
	return nil
}

// noUID is the UID of no object.
const noUID = "00000000-0000-0000-0000-000000000000"

func deletesNothing(_ scene, r request) error {
	o, _ := r.object.(*metav1.DeleteOptions)
	if o == nil || !slices.Equal(o.DryRun, []string{metav1.DryRunAll}) || o.Preconditions == nil || o.Preconditions.UID == nil || *o.Preconditions.UID != noUID {
		return fmt.Errorf("body must be a dry run (dryRun: [All]) with preconditions.uid %s, which no object has", noUID)
	}
	return nil
}
