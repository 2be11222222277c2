package chains

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/trail"
)

// headOf the chain among heads; "": there is none.
func headOf(w *World, heads []trail.Head) string {
	for _, h := range heads {
		if h.Trail != "" {
			return w.Name("s3://" + h.Bucket + "/" + h.Key)
		}
	}
	return ""
}

// The head goes past what is wrong, and not past what could not be found out.
func TestTheHeadStaysBeforeWhatCouldNotBeRead(t *testing.T) {
	keys, err := NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	refuse := func(name string) func(*World) {
		return func(w *World) { w.Bucket.Refused[w.KeyOf(name)] = true }
	}
	for name, c := range map[string]struct {
		then func(*World)
		want string
	}{
		"nothing":                   {func(*World) {}, "d6"},
		"a log file unread":         {refuse("l3a"), "d2"},
		"a digest unread":           {refuse("d3"), "d2"},
		"the first log file unread": {refuse("l1a"), ""},
		"the first digest unread":   {refuse("d1"), ""},
		"the last log file unread":  {refuse("l6b"), "d5"},
		"a digest and a log file":   {func(w *World) { refuse("l5a")(w); refuse("d2")(w) }, "d1"},
		"a digest unsigned": {func(w *World) {
			w.ChangeMeta("d3", func(m map[string]string) { clear(m) })
		}, "d2"},
		"a log file changed": {func(w *World) { w.Change("l3a", flip) }, "d6"},
		"a log file gone":    {func(w *World) { w.Delete("l3a") }, "d6"},
		"a digest changed":   {func(w *World) { w.Change("d3", rot) }, "d6"},
		"a digest gone":      {func(w *World) { w.Delete("d3") }, "d6"},
	} {
		t.Run(name, func(t *testing.T) {
			w := Case{Then: c.then}.Build(0, keys)
			if got := headOf(w, w.Heads()); got != c.want {
				t.Errorf("the head is %q, want %q", got, c.want)
			}
		})
	}
}

// What looks at a part does not say that the rest is settled.
func TestAPartMovesNoHead(t *testing.T) {
	keys, err := NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	w := Case{Deliver: func(w *World) { w.Hours(3) }}.Build(0, keys)
	heads := w.Heads()
	w.Hours(3)
	w.Bucket.Now = w.Time.Add(5 * time.Minute)
	w.Query.Heads, w.Query.Until = heads, w.Start.Add(5*time.Hour)
	for _, from := range []time.Time{{}, w.Start} {
		w.Query.From = from
		for _, h := range w.Heads() {
			i := slices.IndexFunc(heads, func(o trail.Head) bool { return o.Chain == h.Chain })
			if h.Link != heads[i].Link || h.Trail == "" && !reflect.DeepEqual(h, heads[i]) {
				t.Errorf("from %s: the head of %s was %+v and is %+v", from, h.Chain, heads[i], h)
			}
		}
	}
	w.Query.Heads = nil
	if got := w.Heads(); len(got) > 0 {
		t.Errorf("without a head before: %+v", got)
	}
	w.Query = trail.Validation{OnlyWanted: true, Wanted: map[string]string{w.KeyOf("l2a"): ""}}
	if got := headOf(w, w.Heads()); got != "" {
		t.Errorf("after one log file was asked for: %s", got)
	}
}

// Files that were pending and not remembered stay unknown until their time is read anew.
func TestWhatCouldNotBeRememberedIsSaidUntilItIsRead(t *testing.T) {
	keys, err := NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	w := Case{Deliver: func(w *World) { w.Hours(6) }}.Build(0, keys)
	w.Query.Heads = w.Heads()
	for i := range w.Query.Heads {
		if w.Query.Heads[i].Trail == "" {
			w.Query.Heads[i].PendingMore = 3
		}
	}
	for n := range 3 {
		w.Hours(1)
		w.Bucket.Now = w.Time.Add(5 * time.Minute)
		if got := ask(t, w); len(got.findings) != 1 || !strings.HasSuffix(got.findings[0], " log-unreferenced inconclusive") {
			t.Errorf("validation %d found %q", n, got.findings)
		}
		w.Query.Heads = w.Heads()
	}
	w.Query.From = w.Start.Add(-24 * time.Hour)
	if got := ask(t, w); len(got.findings) > 0 {
		t.Errorf("found %q", got.findings)
	}
	w.Query.Heads, w.Query.From = w.Heads(), time.Time{}
	if got := ask(t, w); len(got.findings) > 0 {
		t.Errorf("afterwards found %q", got.findings)
	}
}
