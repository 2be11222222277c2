package inventory

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// reach is which management events are recorded: of those that read, and of those
// that write.
type reach struct{ read, write half }

// half is one of the two. It is complete if all is set and except is empty.
type half struct {
	// all: every source but except.
	all    bool
	except map[string]bool
	// only these sources, where all is not set.
	only map[string]bool
	// narrowed names the fields by which a selector leaves out more than sources.
	narrowed map[string]bool
}

func (h half) complete() bool { return h.all && len(h.except) == 0 }
func (h half) none() bool     { return !h.all && len(h.only) == 0 && len(h.narrowed) == 0 }

// has reports whether all of a source is recorded.
func (h half) has(source string) bool { return h.all && !h.except[source] || h.only[source] }

func (r reach) complete() bool { return r.read.complete() && r.write.complete() }
func (r reach) none() bool     { return r.read.none() && r.write.none() }

// or is what either records.
func (h half) or(o half) half {
	out := half{all: h.all || o.all, except: map[string]bool{}, only: map[string]bool{}, narrowed: map[string]bool{}}
	maps.Copy(out.only, h.only)
	maps.Copy(out.only, o.only)
	maps.Copy(out.narrowed, h.narrowed)
	maps.Copy(out.narrowed, o.narrowed)
	for source := range h.except {
		out.except[source] = !o.all || o.except[source]
	}
	for source := range o.except {
		out.except[source] = !h.all || h.except[source]
	}
	maps.DeleteFunc(out.except, func(source string, left bool) bool { return !left || out.only[source] })
	return out
}

func (r reach) or(o reach) reach { return reach{r.read.or(o.read), r.write.or(o.write)} }

// management is which management events the selectors record. What is not
// understood narrows: it never adds.
func (s *Selectors) management() reach {
	var r reach
	for _, b := range s.Basic {
		if b.Management {
			r = r.or(b.reach())
		}
	}
	for _, a := range s.Advanced {
		r = r.or(a.reach())
	}
	return r
}

// Management reports whether the selectors record any management events.
func (s *Selectors) Management() bool { return !s.management().none() }

func (b BasicSelector) reach() reach { return b.halves(half{all: true, except: set(b.Excluded)}) }

// halves is h of what reads, of what writes or of both, as the selector asks.
func (b BasicSelector) halves(h half) reach {
	switch b.ReadWrite {
	case "All":
		return reach{h, h}
	case "ReadOnly":
		return reach{read: h}
	case "WriteOnly":
		return reach{write: h}
	}
	h = half{narrowed: set([]string{"ReadWriteType " + b.ReadWrite})}
	return reach{h, h}
}

func (a AdvancedSelector) reach() reach {
	if !a.category("Management") {
		return reach{}
	}
	h, read, write := half{all: true, except: map[string]bool{}}, true, true
	narrowed := map[string]bool{}
	for _, c := range a.Fields {
		switch {
		case c.Field == "eventCategory":
		case len(c.Other) > 0:
			narrowed[c.Field] = true
		case c.Field == "readOnly" && len(c.NotEquals) == 0:
			read, write = read && slices.Contains(c.Equals, "true"), write && slices.Contains(c.Equals, "false")
		case c.Field == "eventSource":
			maps.Copy(h.except, set(c.NotEquals))
			if len(c.Equals) > 0 && h.all {
				h.all, h.only = false, set(c.Equals)
			} else if len(c.Equals) > 0 { // twice: both must hold
				maps.DeleteFunc(h.only, func(source string, _ bool) bool { return !slices.Contains(c.Equals, source) })
			}
		default:
			narrowed[c.Field] = true
		}
	}
	if !h.all {
		maps.DeleteFunc(h.only, func(source string, _ bool) bool { return h.except[source] })
		h.except = nil
	}
	if len(narrowed) > 0 {
		h = half{narrowed: narrowed}
	}
	var r reach
	if read {
		r.read = h
	}
	if write {
		r.write = h
	}
	return r
}

// category reports whether the selector is for events of a category: every
// condition on it must allow it, and there must be one.
func (a AdvancedSelector) category(name string) bool {
	found := false
	for _, c := range a.Fields {
		if c.Field != "eventCategory" {
			continue
		}
		if !slices.Contains(c.Equals, name) || slices.Contains(c.NotEquals, name) || len(c.Other) > 0 {
			return false
		}
		found = true
	}
	return found
}

// leaves says in words what is not recorded.
func (r reach) leaves() string {
	var parts []string
	read, write := r.read.leaves(), r.write.leaves()
	switch {
	case read == write && read != "":
		parts = append(parts, read)
	default:
		if read != "" {
			parts = append(parts, "of what reads, "+read)
		}
		if write != "" {
			parts = append(parts, "of what writes, "+write)
		}
	}
	return strings.Join(parts, "; ")
}

func (h half) leaves() string {
	sources := func(m map[string]bool) string { return strings.Join(slices.Sorted(maps.Keys(m)), ", ") }
	switch {
	case h.complete():
		return ""
	case h.all:
		return "all but " + sources(h.except) + " is recorded"
	case len(h.only) > 0:
		return "only " + sources(h.only) + " is recorded"
	case len(h.narrowed) > 0:
		return fmt.Sprintf("only a part is recorded, by conditions on %s", sources(h.narrowed))
	}
	return "nothing is recorded"
}

// kinds is how much is recorded of each type of resources whose data events, or of
// each source whose network activity, the selectors ask for. known is false where
// that was not read of all of them: what was not read adds nothing.
func (s *Selectors) kinds(category string) (found map[string]reach, known bool) {
	found, known = map[string]reach{}, true
	for _, b := range s.Basic {
		if category != "Data" {
			break
		}
		for _, kind := range b.Data {
			arns, read := b.Resources[kind]
			known = known && read
			h := half{all: slices.ContainsFunc(arns, wholeService)}
			if !h.all {
				h.narrowed = set([]string{"resources.ARN"})
			}
			found[kind] = found[kind].or(b.halves(h))
		}
	}
	field := map[string]string{"Data": "resources.type", "NetworkActivity": "eventSource"}[category]
	for _, a := range s.Advanced {
		if a.category(category) {
			for kind, r := range a.kinds(field) {
				found[kind] = found[kind].or(r)
			}
		}
	}
	return found, known
}

// kinds of one selector: a condition on anything but the kind, and on whether it
// reads or writes, narrows all of them.
func (a AdvancedSelector) kinds(field string) map[string]reach {
	var named map[string]bool
	h, read, write := half{all: true}, true, true
	narrowed := map[string]bool{}
	for _, c := range a.Fields {
		switch {
		case c.Field == "eventCategory":
		case c.Field == field && len(c.Equals) > 0:
			if named == nil {
				named = set(c.Equals)
			}
			// twice: both must hold
			maps.DeleteFunc(named, func(kind string, _ bool) bool { return !slices.Contains(c.Equals, kind) })
			if len(c.Other)+len(c.NotEquals) > 0 {
				narrowed[field] = true
			}
		case c.Field == "readOnly" && len(c.NotEquals)+len(c.Other) == 0:
			read, write = read && slices.Contains(c.Equals, "true"), write && slices.Contains(c.Equals, "false")
		default:
			narrowed[c.Field] = true
		}
	}
	if len(narrowed) > 0 {
		h = half{narrowed: narrowed}
	}
	var r reach
	if read {
		r.read = h
	}
	if write {
		r.write = h
	}
	found := map[string]reach{}
	for kind := range named {
		found[kind] = r
	}
	return found
}

// wholeService reports whether an ARN that a basic selector names stands for all
// resources of a service: "arn:aws:s3" does, and "arn:aws:s3:::", but no bucket.
func wholeService(arn string) bool {
	parts := strings.SplitN(arn, ":", 4)
	return len(parts) >= 3 && parts[0] == "arn" && parts[1] != "" && parts[2] != "" && (len(parts) == 3 || strings.Trim(parts[3], ":") == "")
}

func set(list []string) map[string]bool {
	m := map[string]bool{}
	for _, s := range list {
		m[s] = true
	}
	return m
}
