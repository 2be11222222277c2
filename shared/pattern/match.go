package pattern

import (
	"fmt"
	"strings"
)

// Match says whether an event matches. The event is a document (see Unknown).
func (p *EventPattern) Match(event any) Answer {
	if p.doubt != "" {
		return Answer{Truth: Undecided, Reason: p.doubt}
	}
	leaves := flatten(event)
	if leaves.overflow {
		return Answer{Truth: Undecided, Reason: fmt.Sprintf("the event has more than %d fields", maxLeaves)}
	}
	m := &matcher{leaves: leaves, budget: maxMatching}
	var answers []Answer
	for _, rule := range p.rules {
		answers = append(answers, m.match(rule))
	}
	if m.budget <= 0 {
		return Answer{Truth: Undecided, Reason: "its lists can be combined in too many ways"}
	}
	return either(answers)
}

// leaf is a value of an event with the path of names that leads to it. Lists have no
// names: which element of each list it is in is in at.
type leaf struct {
	value any
	at    []element
	// sure: it is there, whatever is not known.
	sure bool
}

type element struct{ list, index int }

// leaves of an event, by path.
type leaves struct {
	known map[string][]leaf
	// open are the paths of which, or below which, more may be there.
	open     []opening
	lists, n int
	overflow bool
}

type opening struct {
	path string
	at   []element
	// members are the names that are known below it; nil: nothing is known.
	members map[string]any
}

const maxLeaves = 10000

func flatten(event any) *leaves {
	out := &leaves{known: map[string][]leaf{}}
	out.add("", event, nil, 0)
	return out
}

func (l *leaves) add(path string, v any, at []element, depth int) {
	if l.n++; l.n > maxLeaves || depth > maxDepth {
		l.overflow = true
		return
	}
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			l.add(join(path, name), inner, at, depth+1)
		}
	case Open:
		for name, inner := range v {
			l.add(join(path, name), inner, at, depth+1)
		}
		l.open = append(l.open, opening{path, at, v})
	case []any:
		l.lists++
		list := l.lists
		for i, inner := range v {
			l.add(path, inner, append(at[:len(at):len(at)], element{list, i}), depth+1)
		}
	case Unknown:
		l.open = append(l.open, opening{path: path, at: at})
	case Absent:
	case OneOf:
		sure := true
		for _, one := range v {
			if _, absent := one.(Absent); absent {
				sure = false
			}
		}
		l.known[path] = append(l.known[path], leaf{v, at, sure})
	default:
		l.known[path] = append(l.known[path], leaf{v, at, true})
	}
}

// below are the values of a path: those that are known, and one that is not for
// each place where one may be.
func (l *leaves) below(path string) []leaf {
	out := l.known[path]
	for _, o := range l.open {
		if o.mayHold(path) {
			out = append(out[:len(out):len(out)], leaf{Unknown{}, o.at, false})
		}
	}
	return out
}

func (o opening) mayHold(path string) bool {
	rest, below := path, true
	if o.path != "" {
		if path == o.path {
			return o.members == nil
		}
		rest, below = strings.CutPrefix(path, o.path+".")
	}
	if !below {
		return false
	}
	if o.members == nil {
		return true
	}
	for i, r := range rest + "." {
		if _, known := o.members[rest[:i]]; known && r == '.' {
			return false
		}
	}
	return true
}

// match: each field must match in one and the same element of every list.
func (m *matcher) match(c conjunction) Answer {
	truth := m.from(c, nil)
	if truth == Yes {
		return Answer{Truth: Yes}
	}
	// The field that decides: the first that by itself is no better than the whole.
	for _, f := range c {
		if m.from(conjunction{f}, nil) == truth {
			return Answer{Truth: truth, Field: f.path, Reason: f.reason(m.leaves, truth)}
		}
	}
	return Answer{Truth: truth, Reason: "no element of a list satisfies the pattern in all fields"}
}

// maxMatching is how many values are looked at for one event.
const maxMatching = 200000

type matcher struct {
	leaves *leaves
	budget int
}

// from is the truth of the fields, where elements of some lists have been chosen.
// Fields are taken in the order of their paths and absence is judged by the elements
// chosen so far, as EventBridge's own matcher does.
func (m *matcher) from(fields []field, chosen []element) Truth {
	if len(fields) == 0 {
		return Yes
	}
	f, best, absent := fields[0], No, Yes
	m.budget -= 1 + len(m.leaves.open)
	for _, one := range m.leaves.below(f.path) {
		if m.budget--; m.budget <= 0 {
			return Undecided
		}
		at, consistent := choose(chosen, one.at)
		if !consistent {
			continue
		}
		if one.sure {
			absent = No
		} else {
			absent = min(absent, Undecided)
		}
		if t := f.of(one.value); t > best {
			if !one.sure {
				t = min(t, Undecided)
			}
			best = max(best, min(t, m.from(fields[1:], at)))
		}
		if best == Yes {
			return Yes
		}
	}
	for _, t := range f.tests {
		without := No // where the field is not there
		if t.absence {
			without = absent
		} else if t.unknown != "" {
			without = Undecided
		}
		if without > best {
			best = max(best, min(without, m.from(fields[1:], chosen)))
		}
	}
	return best
}

// choose adds elements to those chosen, unless another of the same list has been.
func choose(chosen, more []element) ([]element, bool) {
	out := chosen[:len(chosen):len(chosen)]
next:
	for _, e := range more {
		for _, c := range chosen {
			if c.list == e.list {
				if c.index != e.index {
					return nil, false
				}
				continue next
			}
		}
		out = append(out, e)
	}
	return out, true
}

// of is the truth of a field for one value of it.
func (f field) of(v any) Truth {
	return each(v, func(v any) Truth {
		out := No
		for _, t := range f.tests {
			if t.unknown != "" {
				out = max(out, Undecided)
			} else {
				out = max(out, t.of(v))
			}
		}
		return out
	})
}

// each is the truth of a test for a value of which several are possible.
func each(v any, test func(any) Truth) Truth {
	list, several := v.(OneOf)
	if !several {
		return test(v)
	}
	all, any := Yes, No
	for _, one := range list {
		if _, absent := one.(Absent); absent {
			continue // then there is no value: what that means is the caller's affair
		}
		t := test(one)
		all, any = min(all, t), max(any, t)
	}
	if all == Yes || any == No {
		return all
	}
	return Undecided
}

// reason why a field is not matched, or may not be.
func (f field) reason(l *leaves, truth Truth) string {
	for _, t := range f.tests {
		if t.unknown != "" && truth == Undecided {
			return fmt.Sprintf("%s is compared by %s, which is not understood here", f.path, t.unknown)
		}
	}
	must := "must be " + cut(f.raw)
	if len(f.tests) == 1 && f.tests[0].absence {
		must = "must not exist"
	} else if f.raw == `[{"exists":true}]` {
		must = "must exist"
	}
	found := l.below(f.path)
	is := "is not there"
	switch {
	case len(found) == 1:
		is = "is " + show(found[0].value)
	case len(found) > 1:
		is = fmt.Sprintf("has %d values", len(found))
	}
	return fmt.Sprintf("%s %s, and %s", f.path, must, is)
}
