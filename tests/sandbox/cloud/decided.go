package cloud

import (
	"cmp"
	"slices"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

// Decision is what policies decided of one action on one resource, for whoever asked with
// one role, and how often.
type Decision struct {
	// Role is the ARN of the role behind the session, or of the principal itself.
	Role     string `json:"role"`
	Action   string `json:"action"`
	Resource string `json:"resource"`
	Allowed  bool   `json:"allowed"`
	// Why not.
	Why   string `json:"why,omitempty"`
	Count int    `json:"count"`
}

// decided counts decisions. The lock of the world is held.
type decided map[Decision]int

func (d *decided) note(p Principal, n need, is policy.Decision) {
	if *d == nil {
		*d = decided{}
	}
	if len(*d) > 100_000 {
		return
	}
	(*d)[Decision{Role: cmp.Or(p.RoleARN, p.ARN), Action: n.action, Resource: n.resource, Allowed: is.Allowed, Why: is.Reason}]++
}

// Decided returns what was decided since the start, sorted.
func (c *Cloud) Decided() []Decision {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := []Decision{}
	for d, n := range c.decided {
		d.Count = n
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b Decision) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Action, b.Action), cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Why, b.Why))
	})
	return out
}
