package jira

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// transition is a way out of the status that an issue has.
type transition struct {
	ID     string           `json:"id"`
	Name   string           `json:"name"`
	To     status           `json:"to"`
	Fields map[string]field `json:"fields"`
}

func (t transition) String() string { return fmt.Sprintf("%q (to %q)", t.Name, t.To.Name) }

// move brings an issue into a status that is resolved, or open, unless it is in one.
func (d *Desk) move(ctx context.Context, op, key, to string) error {
	i, err := d.get(ctx, op, key, "status")
	if err != nil {
		return err
	}
	if err := d.categorised(op, i.Fields.Status); err != nil {
		return err
	}
	if d.resolved(i.Fields.Status) == (to == "resolved") {
		return nil
	}
	var all struct {
		Transitions []transition `json:"transitions"`
	}
	path := d.api("issue/%s/transitions", key)
	if err := d.call(ctx, op, reads, http.MethodGet, path+"?expand=transitions.fields", nil, &all); err != nil {
		return err
	}
	t, err := d.way(op, i.Fields.Status, all.Transitions, to)
	if err != nil {
		return err
	}
	request := map[string]any{"transition": map[string]string{"id": t.ID}}
	fields, err := d.screen(op, t, to)
	if err != nil {
		return err
	}
	if len(fields) > 0 {
		request["fields"] = fields
	}
	return d.call(ctx, op, adds, http.MethodPost, path, request, nil)
}

// categorised: without a category, whether a status is open is not known.
func (d *Desk) categorised(op string, s status) error {
	if s.Category.Key == "" {
		return fmt.Errorf("jira: %s: the status %q has no category, so whether it is open is not known", op, d.inert(s.Name))
	}
	return nil
}

// way chooses a transition: the configured one, or else the likeliest of those that
// lead there.
func (d *Desk) way(op string, from status, all []transition, to string) (transition, error) {
	name, likely := d.cfg.Resolve, []string{"Resolved", "Done", "Closed"}
	if to == "open" {
		name, likely = d.cfg.Reopen, []string{"Reopened", "Open", "To Do"}
	}
	if name != "" {
		for _, t := range all {
			if strings.EqualFold(t.Name, name) || strings.EqualFold(t.To.Name, name) {
				return t, nil
			}
		}
		return transition{}, d.refuse(op, "out of the status %q no transition %q leads, nor one to a status of that name; there is %s",
			from.Name, name, list(all, transition.String))
	}
	var fit []transition
	for _, t := range all {
		if d.resolved(t.To) == (to == "resolved") {
			fit = append(fit, t)
		}
	}
	if len(fit) == 0 {
		return transition{}, d.refuse(op, "out of the status %q no transition leads to a status that is %s; there is %s", from.Name, to, list(all, transition.String))
	}
	for _, want := range likely {
		for _, t := range fit {
			if strings.EqualFold(t.To.Name, want) {
				return t, nil
			}
		}
	}
	return fit[0], nil
}

// screen fills in what a transition asks for.
func (d *Desk) screen(op string, t transition, to string) (map[string]any, error) {
	out := map[string]any{}
	byID := form{}
	for _, id := range slices.Sorted(maps.Keys(t.Fields)) {
		x := t.Fields[id]
		x.ID = id
		byID.fields = append(byID.fields, x)
	}
	if x, err := byID.field("resolution"); err == nil && to == "resolved" {
		r, err := d.resolution(op, x)
		if err != nil {
			return nil, err
		}
		out["resolution"] = map[string]string{"name": r}
	}
	for _, name := range slices.Sorted(maps.Keys(d.cfg.Fields)) {
		x, err := byID.field(name)
		if err != nil || !x.Required {
			continue
		}
		value, err := d.value(x, d.cfg.Fields[name])
		if err != nil {
			return nil, d.refuse(op, "field %q: %v", name, err)
		}
		out[x.ID] = value
	}
	for _, x := range byID.fields {
		if _, filled := out[x.ID]; x.Required && !x.HasDefault && !filled {
			return nil, d.refuse(op, "transition %q wants the field %q (%s), which the configuration does not fill in", t.Name, x.Name, x.ID)
		}
	}
	return out, nil
}

func (d *Desk) resolution(op string, x field) (string, error) {
	want := d.cfg.Resolution
	for _, a := range x.Allowed {
		if a.Name == want || want == "" && a.Name == "Done" {
			return a.Name, nil
		}
	}
	switch {
	case want != "" && len(x.Allowed) > 0:
		return "", d.refuse(op, "there is no resolution %q; there is %s", want, list(x.Allowed, allowed.String))
	case want != "":
		return want, nil
	case len(x.Allowed) > 0:
		return x.Allowed[0].Name, nil
	}
	return "Done", nil
}
