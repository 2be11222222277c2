package kubernetes

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// Manifests is all that a cluster needs for the plans, as one List for `kubectl apply`:
// the canaries' namespace and service account with the rights that the plans need and
// no more, the fence, what canaries act on, and the injector's one right. It is
// deterministic.
func Manifests(cl Cluster, plans []run.Plan) (json.RawMessage, error) {
	need := rights{Cluster: slices.Clone(sweepRights.Cluster), Namespace: slices.Clone(sweepRights.Namespace)}
	for _, p := range plans {
		if p.NotRun != "" {
			continue
		}
		var n rights
		if err := json.Unmarshal(p.Permissions, &n); err != nil {
			return nil, fmt.Errorf("permissions of canary %s: %w", p.Canary.ID, err)
		}
		need.Cluster, need.Namespace = append(need.Cluster, n.Cluster...), append(need.Namespace, n.Namespace...)
	}
	ns := cl.Namespace
	named := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }
	inside := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name, Namespace: ns} }
	canaries := rbacv1.Subject{Kind: "ServiceAccount", Name: serviceAccount, Namespace: ns}
	group := rbacv1.Subject{Kind: "Group", APIGroup: rbac, Name: injectors}
	emergency := rbacv1.Subject{Kind: "User", APIGroup: rbac, Name: breakGlass}
	role := func(name string, rules ...rbacv1.PolicyRule) rbacv1.Role {
		return rbacv1.Role{TypeMeta: typed(rbac, "Role"), ObjectMeta: inside(name), Rules: rules}
	}
	bind := func(name string, to rbacv1.Subject) rbacv1.RoleBinding {
		return rbacv1.RoleBinding{TypeMeta: typed(rbac, "RoleBinding"), ObjectMeta: inside(name),
			RoleRef: rbacv1.RoleRef{APIGroup: rbac, Kind: "Role", Name: name}, Subjects: []rbacv1.Subject{to}}
	}
	no := false
	return json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": []any{
		corev1.Namespace{TypeMeta: typed("", "Namespace"), ObjectMeta: named(ns)},
		corev1.ServiceAccount{TypeMeta: typed("", "ServiceAccount"), ObjectMeta: inside(serviceAccount), AutomountServiceAccountToken: &no},

		// The fence before the rights.
		fencePolicy(cl),
		admissionregistrationv1.ValidatingAdmissionPolicyBinding{TypeMeta: typed(admission, "ValidatingAdmissionPolicyBinding"), ObjectMeta: named(fence),
			Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: fence, ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny}}},

		rbacv1.ClusterRole{TypeMeta: typed(rbac, "ClusterRole"), ObjectMeta: named(serviceAccount), Rules: merge(need.Cluster)},
		rbacv1.ClusterRoleBinding{TypeMeta: typed(rbac, "ClusterRoleBinding"), ObjectMeta: named(serviceAccount),
			RoleRef: rbacv1.RoleRef{APIGroup: rbac, Kind: "ClusterRole", Name: serviceAccount}, Subjects: []rbacv1.Subject{canaries}},
		role(serviceAccount, merge(need.Namespace)...),
		bind(serviceAccount, canaries),

		// The injector may get the canaries' tokens, and do nothing else.
		role(injectors, rbacv1.PolicyRule{Verbs: []string{"create"}, APIGroups: []string{""}, Resources: []string{"serviceaccounts/token"}, ResourceNames: []string{serviceAccount}}),
		bind(injectors, group),

		// What canaries act on: a secret that is none, and a policy that nothing binds.
		corev1.Secret{TypeMeta: typed("", "Secret"), ObjectMeta: inside(breakGlass), StringData: map[string]string{"note": "This is no secret: it is there so that reading it can be seen."}},
		role(breakGlass, rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{breakGlass}}),
		bind(breakGlass, emergency),
		decoy(),
	}})
}

func typed(group, kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: strings.TrimPrefix(group+"/v1", "/"), Kind: kind}
}

// decoy is an admission policy that nothing binds, so that it decides nothing.
func decoy() admissionregistrationv1.ValidatingAdmissionPolicy {
	policy := admissionregistrationv1.Fail
	return admissionregistrationv1.ValidatingAdmissionPolicy{TypeMeta: typed(admission, "ValidatingAdmissionPolicy"), ObjectMeta: metav1.ObjectMeta{Name: decoyPolicy},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			FailurePolicy: &policy,
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
				ResourceNames: []string{noConfigMap},
				RuleWithOperations: admissionregistrationv1.RuleWithOperations{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
				},
			}}},
			Validations: []admissionregistrationv1.Validation{{Expression: "true"}},
		}}
}

// fencePolicy keeps the canaries' service account to what is a canary's, whatever RBAC
// would allow it. It looks at nobody else's requests: an error in it concerns nobody else.
func fencePolicy(cl Cluster) admissionregistrationv1.ValidatingAdmissionPolicy {
	policy, forbids := admissionregistrationv1.Fail, metav1.StatusReasonForbidden
	prefix := "'" + canary.Marker + "-'"
	labelled := func(object string) string {
		return fmt.Sprintf("has(%[1]s.metadata.labels) && '%[2]s' in %[1]s.metadata.labels && '%[3]s' in %[1]s.metadata.labels", object, labelRun, labelCanary)
	}
	// A review is about nothing that there is, and has no name.
	const review = "request.resource.group in ['authentication.k8s.io', 'authorization.k8s.io']"
	const sub = "has(request.subResource) && request.subResource != ''"
	validation := func(message, expression string) admissionregistrationv1.Validation {
		return admissionregistrationv1.Validation{Expression: expression, Message: "canaries " + message, Reason: &forbids}
	}
	return admissionregistrationv1.ValidatingAdmissionPolicy{TypeMeta: typed(admission, "ValidatingAdmissionPolicy"), ObjectMeta: metav1.ObjectMeta{Name: fence},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			FailurePolicy: &policy,
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionregistrationv1.RuleWithOperations{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.OperationAll},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*/*"}},
				},
			}}},
			MatchConditions: []admissionregistrationv1.MatchCondition{{Name: "canaries", Expression: "request.userInfo.username == '" + cl.user() + "'"}},
			Validations: []admissionregistrationv1.Validation{
				validation("touch only what is named as theirs",
					review+" || has(request.name) && request.name.startsWith("+prefix+") || request.operation == 'CREATE' && has(object.metadata) && has(object.metadata.name) && object.metadata.name.startsWith("+prefix+")"),
				validation("act in their own namespace only",
					"!has(request.namespace) || request.namespace in ['', '"+cl.Namespace+"']"),
				validation("label what they make",
					"request.operation != 'CREATE' || "+review+" || "+sub+" || "+labelled("object")),
				validation("change and delete only what is labelled as theirs",
					"!(request.operation in ['UPDATE', 'DELETE']) || "+labelled("oldObject")),
				validation("bind nobody, and only their own roles",
					"request.operation != 'CREATE' || !(request.resource.resource in ['rolebindings', 'clusterrolebindings']) || "+
						"object.roleRef.name.startsWith("+prefix+") && (!has(object.subjects) || object.subjects.all(s, s.kind == 'Group' && s.name.startsWith('"+nobody+"')))"),
				// Of their own account too: a token that is lost would else outlive itself.
				validation("ask for worthless tokens only",
					"request.resource.resource != 'serviceaccounts' || !("+sub+" && request.subResource == 'token') || "+
						fmt.Sprintf("has(object.spec.audiences) && object.spec.audiences == ['%s'] && has(object.spec.expirationSeconds) && object.spec.expirationSeconds == %d", worthlessAudience, tokenSeconds)),
				validation("ask nobody for certificates who signs",
					"request.operation != 'CREATE' || request.resource.resource != 'certificatesigningrequests' || object.spec.signerName == '"+nobodysSigner+"'"),
			},
		}}
}

// sweepRights are what finding leftovers needs, with what asking for the fence does.
var sweepRights = func() (n rights) {
	for _, k := range kinds {
		rule := rbacv1.PolicyRule{Verbs: []string{"list"}, APIGroups: []string{k.group()}, Resources: []string{k.resource}}
		if k.namespaced {
			n.Namespace = append(n.Namespace, rule)
		} else {
			n.Cluster = append(n.Cluster, rule)
		}
	}
	n.Cluster = append(n.Cluster, rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{admission}, Resources: []string{"validatingadmissionpolicies"}, ResourceNames: []string{decoyPolicy}})
	n.Namespace = append(n.Namespace, rbacv1.PolicyRule{Verbs: []string{"create"}, APIGroups: []string{""}, Resources: []string{"serviceaccounts"}})
	return n
}()

// json is the rights merged.
func (n rights) json() json.RawMessage {
	n.Cluster, n.Namespace = merge(n.Cluster), merge(n.Namespace)
	doc, err := json.Marshal(n)
	if err != nil {
		panic(err) // lists of strings only
	}
	return doc
}

// merge unites the rules that differ in their verbs only, then those that differ in
// their resources only. Sorted.
func merge(rules []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	rules = join(rules, func(r *rbacv1.PolicyRule) *[]string { return &r.Verbs })
	return join(rules, func(r *rbacv1.PolicyRule) *[]string { return &r.Resources })
}

func join(rules []rbacv1.PolicyRule, grow func(*rbacv1.PolicyRule) *[]string) []rbacv1.PolicyRule {
	var out []rbacv1.PolicyRule
	for _, r := range rules {
		rest := r
		*grow(&rest) = nil
		i := slices.IndexFunc(out, func(o rbacv1.PolicyRule) bool {
			*grow(&o) = nil
			return reflect.DeepEqual(o, rest)
		})
		if i < 0 {
			*grow(&r) = slices.Clone(*grow(&r))
			out = append(out, r)
			continue
		}
		into := grow(&out[i])
		*into = slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(*into), *grow(&r)...))))
	}
	slices.SortFunc(out, func(a, b rbacv1.PolicyRule) int {
		return cmp.Or(slices.Compare(a.APIGroups, b.APIGroups), slices.Compare(a.Resources, b.Resources), slices.Compare(a.Verbs, b.Verbs), slices.Compare(a.ResourceNames, b.ResourceNames))
	})
	return out
}
