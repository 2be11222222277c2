// Package logstore_test holds every central log store to the contract of the port:
// what is there is found, what is not there is not, and what could not be seen is said.
package logstore_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// settled is how long the tests let a store settle. The product's default is longer: a
// test only asks again.
const settled = 2 * time.Second

// subject is a log store under test.
type subject struct {
	name string
	// open makes a new, empty store, or skips.
	open func(t *testing.T) place
}

// place is one of them.
type place interface {
	// store is the store as a process sees it that has just begun.
	store(t *testing.T) run.LogStore
	// target is where a cluster's or account's records are said to be of, n from 0.
	target(n int) canary.Target
	// put ships some records of a target, each an entry or file of its own, filed under
	// a time.
	put(t *testing.T, to canary.Target, at time.Time, records ...string)
	// now by the store's clock.
	now() time.Time
	// record is a record of a request, in the format of the store.
	record(r made) string
	// base is the URL at which the store is asked, and at the same store asked elsewhere.
	base() string
	at(url string) place
}

// made is what a record is to say.
type made struct {
	id, actor, agent, session string
	at                        time.Time
	to                        canary.Target
}

var subjects = []subject{
	{"S3 archive", openArchive},
	{"VictoriaLogs", openVictoriaLogs},
	{"Loki", openLoki},
	{"CloudWatch", openCloudWatch},
}

// each runs a test on every store; all of them run at the same time.
func each(t *testing.T, test func(t *testing.T, p place)) {
	t.Parallel()
	for _, s := range subjects {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			test(t, s.open(t))
		})
	}
}

const agent = "auditcanary/1 app/auditcanary"

// id is one of ours, n from 0.
func id(n int) string { return fmt.Sprintf("8c8a6b3e-6b5c-4d8e-9a38-%012x", n+1) }

// ours is a record of a canary.
func ours(p place, to canary.Target, n int, at time.Time) string {
	return p.record(made{id: id(n), actor: "injector", agent: agent, at: at, to: to})
}

// watch for the first n ids at some targets.
func watch(since time.Time, n int, at ...canary.Target) *run.Watch {
	w := &run.Watch{RequestIDs: map[string]bool{}, Places: at, Since: since}
	for i := range n {
		w.RequestIDs[id(i)] = true
	}
	return w
}

// until polls until something holds of all that was seen, or fails.
func until(t *testing.T, s run.LogStore, w *run.Watch, what string, holds func(run.Seen) bool) run.Seen {
	t.Helper()
	var all run.Seen
	for begun := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		seen, err := s.Poll(t.Context(), w)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		seen.Sightings = append(all.Sightings, seen.Sightings...)
		if all = seen; holds(all) {
			return all
		}
		if time.Since(begun) > 15*time.Second {
			t.Fatalf("%s: not seen in time; %d sightings %v, problems %v", what, len(all.Sightings), idsOf(all), all.Problems)
		}
	}
}

func idsOf(s run.Seen) (ids []string) {
	for _, si := range s.Sightings {
		ids = append(ids, si.Event.API.RequestUID)
	}
	slices.Sort(ids)
	return ids
}

func has(n int) func(run.Seen) bool {
	return func(s run.Seen) bool { return len(s.Sightings) >= n }
}

func TestWhatIsStoredIsFound(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		at, to := p.now(), p.target(0)
		s, w := p.store(t), watch(at, 3, to)

		// Asked before anything came: what a store remembers of that must not hide what comes.
		first, err := s.Poll(t.Context(), w)
		if err != nil || len(first.Sightings) > 0 || len(first.Problems) > 0 {
			t.Fatalf("an empty store: %+v, %v", first, err)
		}
		if now := p.now(); first.AsOf.IsZero() || first.AsOf.After(now) || first.AsOf.Before(now.Add(-5*time.Second)) {
			t.Errorf("as of %s, and the store's clock is %s", first.AsOf, now)
		}

		raw := ours(p, to, 0, at)
		p.put(t, to, at, raw, ours(p, to, 1, at))
		p.put(t, to, at, p.record(made{id: id(1000), actor: "somebody", agent: "kubectl", at: at, to: to}))
		seen := until(t, s, w, "two records", has(2))
		if got := idsOf(seen); !slices.Equal(got, []string{id(0), id(1)}) {
			t.Fatalf("found %v", got)
		}
		i := slices.IndexFunc(seen.Sightings, func(si canary.Sighting) bool { return si.Event.API.RequestUID == id(0) })
		si := seen.Sightings[i]
		if string(si.Raw) != raw || si.At.Length != int64(len(raw)) || si.At.Store == "" || si.At.Key == "" || si.At.ObjectSHA256 == "" {
			t.Errorf("it stands at %+v, and is\n%s, not\n%s", si.At, si.Raw, raw)
		}
		if late := si.Stored.Sub(at); late < -2*time.Second || late > 20*time.Second {
			t.Errorf("it was shipped at %s, and stored at %s", at, si.Stored)
		}
		if c := si.Event.Cloud; c.Account != to.Account || c.Region != to.Region {
			t.Errorf("it is of %+v", c)
		}
		if a, b := seen.Sightings[0].At, seen.Sightings[1].At; a == b {
			t.Errorf("two records stand at one place: %+v", a)
		}
		// A store is asked how much it has before it is asked for records, which may come in between.
		looked := seen.Looked
		for end := time.Now().Add(10 * time.Second); len(looked) == 1 && looked[0].Records < 1 && time.Now().Before(end); {
			again, err := s.Poll(t.Context(), w)
			if err != nil || len(again.Sightings) > 0 {
				t.Fatalf("looking again: %+v, %v", again, err)
			}
			looked = again.Looked
		}
		if l := looked; len(l) != 1 || l[0].Account != to.Account || l[0].Records < 1 || l[0].Objects < 1 || l[0].First.IsZero() {
			t.Errorf("looked at %+v", l)
		}

		// Again: nothing is returned twice to one who has it, and all to one who has not.
		if again, err := s.Poll(t.Context(), w); err != nil || len(again.Sightings) > 0 || again.AsOf.Before(seen.AsOf) {
			t.Errorf("again: %v, as of %s after %s, %v", idsOf(again), again.AsOf, seen.AsOf, err)
		}
		fresh, err := p.store(t).Poll(t.Context(), watch(at, 3, to))
		if err != nil || len(fresh.Sightings) != 2 || fresh.Sightings[0].At != si.At && fresh.Sightings[1].At != si.At {
			t.Errorf("anew: %+v, %v", fresh.Sightings, err)
		}
	})
}

func TestWhatIsOfAnotherPlaceIsNotFound(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		at, here, there := p.now(), p.target(0), p.target(1)
		p.put(t, there, at, ours(p, there, 0, at))
		s := p.store(t)
		until(t, s, watch(at, 1, there), "the record where it is", has(1))
		seen, err := s.Poll(t.Context(), watch(at, 1, here))
		if err != nil || len(seen.Sightings) > 0 || seen.AsOf.IsZero() {
			t.Errorf("found where it is not: %+v, %v", seen, err)
		}
		if l := seen.Looked; len(l) > 1 || len(l) == 1 && (l[0].Account != here.Account || l[0].Records > 0) {
			t.Errorf("where nothing is, looked at %+v", l)
		}
		both := until(t, s, watch(at, 1, here, there), "the record among two places", has(1))
		if both.Sightings[0].Event.Cloud.Account != there.Account {
			t.Errorf("it is said to be of %+v", both.Sightings[0].Event.Cloud)
		}
	})
}

func TestWhatComesLateIsFoundLate(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		to := p.target(0)
		at := p.now().Add(-50 * time.Minute) // when it was done, and is filed under
		s, w := p.store(t), watch(at, 2, to)
		p.put(t, to, at, ours(p, to, 0, at))
		until(t, s, w, "the first", has(1))
		p.put(t, to, at, ours(p, to, 1, at))
		second := until(t, s, w, "the late one", has(1))
		si := second.Sightings[0]
		if si.Event.API.RequestUID != id(1) {
			t.Fatalf("found %v", idsOf(second))
		}
		if took := si.Stored.Sub(at); took < 49*time.Minute || took > 51*time.Minute {
			t.Errorf("stored %s after it was done", took)
		}
	})
}

func TestARecordIsFoundAmongThousands(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		at, to := p.now(), p.target(0)
		var noise []string
		for i := range 3000 {
			noise = append(noise, p.record(made{id: fmt.Sprintf("00000000-0000-4000-8000-%012x", i), actor: "somebody", agent: "kubectl", at: at, to: to}))
		}
		p.put(t, to, at, noise...)
		var mine []string
		const n = 230 // several queries of ids
		for i := range n {
			mine = append(mine, ours(p, to, i, at.Add(time.Duration(i)*time.Millisecond)))
		}
		p.put(t, to, at, mine...)
		seen := until(t, p.store(t), watch(at, n, to), "all", has(n))
		ids := idsOf(seen)
		if len(slices.Compact(ids)) != n || len(seen.Problems) > 0 {
			t.Errorf("%d sightings of %d ids, problems %v", len(seen.Sightings), len(slices.Compact(ids)), seen.Problems)
		}
	})
}

func TestCopiesAreBothReturned(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		at, to := p.now(), p.target(0)
		raw := ours(p, to, 0, at)
		p.put(t, to, at, raw)
		p.put(t, to, at.Add(time.Second), raw)
		s, w := p.store(t), watch(at, 1, to)
		seen := until(t, s, w, "both copies", has(2))
		if len(seen.Sightings) != 2 || seen.Sightings[0].At == seen.Sightings[1].At || string(seen.Sightings[0].Raw) != string(seen.Sightings[1].Raw) {
			t.Errorf("%+v", seen.Sightings)
		}
		if again, err := s.Poll(t.Context(), w); err != nil || len(again.Sightings) > 0 {
			t.Errorf("again: %+v, %v", again.Sightings, err)
		}
	})
}

func TestWhatImitatesACanaryIsFound(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		at, to := p.now(), p.target(0)
		p.put(t, to, at,
			p.record(made{id: id(500), actor: "mallory", agent: agent, at: at, to: to}),
			p.record(made{id: id(501), actor: "mallory", agent: "curl", session: "auditcanary-0123", at: at, to: to}),
			p.record(made{id: id(502), actor: "mallory", agent: "curl", at: at, to: to}))
		seen := until(t, p.store(t), watch(at, 1, to), "the forgeries", has(2))
		forged := canary.Forged(seen.Sightings, func(string) bool { return false })
		if len(forged) != 2 || len(seen.Sightings) != 2 {
			t.Errorf("%d forged of %v", len(forged), idsOf(seen))
		}
	})
}

func TestWhatCannotBeReadIsSaid(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		at, to := p.now(), p.target(0)
		raw := ours(p, to, 0, at)
		cut := raw[:len(raw)-20]
		p.put(t, to, at, cut, ours(p, to, 1, at))
		seen := until(t, p.store(t), watch(at, 2, to), "the whole one", has(1))
		if got := idsOf(seen); !slices.Equal(got, []string{id(1)}) {
			t.Errorf("found %v", got)
		}
		if i := slices.IndexFunc(seen.Problems, func(pr canary.Problem) bool { return pr.Hop == canary.Parsed && pr.Object != "" }); i < 0 || seen.AsOf.IsZero() {
			t.Errorf("problems %+v, as of %s", seen.Problems, seen.AsOf)
		}
		// Whoever judges by that does not say that the record is missing.
		v := judge(to, at, seen)
		if a := v.Checks[canary.Surfaced]; a.Status != canary.Inconclusive || a.Hop != canary.Parsed {
			t.Errorf("judged %+v", a)
		}
	})
}

// judge the first id as a record that must be there, an hour after its deadline.
func judge(to canary.Target, at time.Time, seen run.Seen) canary.Verdict {
	s := canary.Scenario{ID: "x", Kind: canary.DoneAndUndone, Steps: []canary.Step{{ID: "create", Call: "x:y", NoUndo: "-"}}}
	r := canary.Receipt{Step: "create", Phase: canary.PhaseDo, Attempt: 1, Call: canary.Call{Operation: "x:y"}, Started: at, Ended: at, RequestIDs: []string{id(0)}, Outcome: canary.Outcome{Result: canary.Succeeded}}
	r.Want.Time, r.Want.Cloud.Account, r.Want.Cloud.Region = at, to.Account, to.Region
	ev := canary.Evidence{Intents: []canary.Intent{{Step: "create", Phase: canary.PhaseDo, Attempt: 1}}, Receipts: []canary.Receipt{r}}
	return canary.Judge(s, canary.Canary{ID: "c"}, ev, canary.Seen{AsOf: seen.AsOf.Add(2 * time.Hour), Sightings: seen.Sightings, Problems: seen.Problems, Looked: seen.Looked},
		canary.SLO{Pass: 15 * time.Minute, Late: time.Hour, Clock: 2 * time.Minute})
}

// kubernetesRecord is a line of an API server's audit log.
func kubernetesRecord(r made) string {
	m := map[string]any{
		"kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": r.id, "stage": "ResponseComplete",
		"requestURI": "/apis/rbac.authorization.k8s.io/v1/clusterroles", "verb": "create",
		"user":      map[string]any{"username": r.actor, "groups": []string{"system:authenticated"}},
		"sourceIPs": []string{"127.0.0.1"}, "userAgent": r.agent,
		"objectRef":                map[string]any{"resource": "clusterroles", "name": "x", "apiGroup": "rbac.authorization.k8s.io", "apiVersion": "v1"},
		"responseStatus":           map[string]any{"metadata": map[string]any{}, "code": 201},
		"requestReceivedTimestamp": r.at.UTC().Format("2006-01-02T15:04:05.000000Z"), "stageTimestamp": r.at.UTC().Format("2006-01-02T15:04:05.000000Z"),
	}
	if r.session != "" {
		m["impersonatedUser"] = map[string]any{"username": r.session}
	}
	raw, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return strings.TrimSpace(string(raw))
}

func cluster(n int) canary.Target {
	return canary.Target{Provider: "kubernetes", Account: fmt.Sprintf("cluster-%d", n), Region: "cluster"}
}
