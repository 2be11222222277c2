package jira

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/auditcanary/auditcanary/shared/ticket"
)

// Check asks, without changing anything, whether tickets of every kind and severity
// could be made, and returns what would be in the way.
func (d *Desk) Check(ctx context.Context) []error {
	op := "check"
	if err := d.call(ctx, op, reads, http.MethodGet, d.api("myself"), nil, nil); err != nil {
		return []error{err}
	}
	var errs []error
	seen := map[string]bool{}
	for _, kind := range []ticket.Kind{ticket.Failure, ticket.Group, ticket.Exception} {
		if name := d.typeOf(kind); seen[name] {
			continue
		} else {
			seen[name] = true
		}
		f, err := d.form(ctx, op, d.typeOf(kind))
		if err != nil {
			errs = append(errs, fmt.Errorf("tickets of the kind %s: %w", kind, err))
			continue
		}
		for _, severity := range append(slices.Sorted(maps.Keys(d.cfg.Priority)), "") {
			if _, err := d.fill(op, f, ticket.Draft{Mark: "check", Kind: kind, Summary: "check", Severity: severity}); err != nil {
				errs = append(errs, fmt.Errorf("tickets of the kind %s, severity %q: %w", kind, severity, err))
				break
			}
		}
	}
	return errs
}
