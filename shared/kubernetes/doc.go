// Package kubernetes acts as a canary through the API server of a Kubernetes cluster.
//
// What a canary may do is enforced by the cluster, three times over, and independently
// of this program (Manifests prints all of it, ready to apply):
//
//   - each canary acts under a token of its own, good for ten minutes, of one service
//     account; RBAC lets that do what the scenarios call for, by name where RBAC knows
//     names, and nothing else;
//   - RBAC lets nobody grant what he does not hold: the roles that canaries make allow
//     what the service account may do itself, which is to read a ConfigMap there is not;
//   - an admission policy, the fence, refuses whatever that account would make, change or
//     delete that is not named and labelled as a canary's, and any token or certificate
//     that is worth having. Before each canary, harmless requests ask whether it stands;
//     without it nothing is done.
//
// One call is one request: no retries, no informers, no discovery. The Audit-ID is ours
// to choose, and anybody else's too, so that it finds a record and proves nothing: the
// receipt says who, impersonating whom, did what to which object, by which token, from
// where, with which outcome, and when.
package kubernetes
