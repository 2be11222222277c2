package trail

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// vector is one of the digest chains in testdata.
type vector struct {
	Name         string
	Start, End   time.Time
	Region       string
	ExtraArgs    []string `json:"extra_args"`
	Strict       string   `json:"strict_expectation"`
	AWSExit      int      `json:"awscli_exit_code"`
	account, org string
	store        *fakeStore
	keys         fixedKeys
}

// fixedKeys lists the same keys for every region and time.
type fixedKeys []PublicKey

func (k fixedKeys) PublicKeys(context.Context, string, time.Time, time.Time) ([]PublicKey, error) {
	return k, nil
}

const vectors = "testdata/digest_vectors"

func readJSON(t testing.TB, name string, v any) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func readVector(t testing.TB, name string) vector {
	t.Helper()
	v := vector{account: "218007301253"}
	dir := filepath.Join(vectors, name)
	readJSON(t, filepath.Join(dir, "scenario.json"), &v)
	var trail struct {
		Org string `json:"_org"`
	}
	readJSON(t, filepath.Join(dir, "trail.json"), &trail)
	v.org = trail.Org
	if i := slices.Index(v.ExtraArgs, "--account-id"); i >= 0 {
		v.account = v.ExtraArgs[i+1]
	}
	var keys []struct {
		Value, Fingerprint                 string
		ValidityStartTime, ValidityEndTime int64
	}
	readJSON(t, filepath.Join(dir, "keys.json"), &keys)
	for _, k := range keys {
		der, err := base64.StdEncoding.DecodeString(k.Value)
		if err != nil {
			t.Fatal(err)
		}
		v.keys = append(v.keys, PublicKey{k.Fingerprint, der, time.Unix(k.ValidityStartTime, 0), time.Unix(k.ValidityEndTime, 0)})
	}
	v.store = newStore(v.End)
	v.store.name = "central-logs-bucket"
	root := filepath.Join(dir, "s3", v.store.name)
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, ".meta.json") {
			return err
		}
		key, _ := filepath.Rel(root, path)
		body, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		o := fakeObject{body: body, version: "v1"}
		if k, err := ParseKey(key); err == nil {
			o.stored = k.Stamp
		} else if k, err := ParseDigestKey(key); err == nil {
			o.stored = k.Stamp
			readJSON(t, path+".meta.json", &o.meta)
		}
		v.store.objects[key] = o
		return nil
	})
	if err != nil || len(v.store.objects) == 0 {
		t.Fatalf("%s: %d objects, %v", root, len(v.store.objects), err)
	}
	return v
}

// validated is what a validation says of everything, by object.
type validatedChains struct {
	Validated
	results []Result
	checked map[string]Checked
}

func validate(t testing.TB, a *Archive, keys PublicKeys, q Validation) validatedChains {
	t.Helper()
	out := validatedChains{checked: map[string]Checked{}}
	var mu sync.Mutex
	q.Checked = func(c Checked) {
		mu.Lock()
		defer mu.Unlock()
		out.checked[c.Object] = c
	}
	var err error
	out.Validated, err = a.Validate(context.Background(), keys, q, func(r Result) { out.results = append(out.results, r) })
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// findings are all, "kind status object: detail" without the folders of the object.
func (v validatedChains) findings() []string {
	var all []string
	for _, r := range v.results {
		for _, f := range r.Findings {
			all = append(all, fmt.Sprintf("%s %s %s: %s", f.Kind, f.Status, f.Object[strings.LastIndexByte(f.Object, '/')+1:], f.Detail))
		}
	}
	return all
}

func TestDigestVectors(t *testing.T) {
	const digest, log = "218007301253_CloudTrail-Digest_us-east-1_canary-trail_us-east-1_20230710T", "218007301253_CloudTrail_us-east-1_20230710T"
	for _, c := range []struct {
		name                          string
		digests, logs, missing, wrong int
		findings                      []string
	}{
		{name: "01_happy", digests: 4, logs: 5},
		{name: "02_log_byte_changed", digests: 4, logs: 4, wrong: 1, findings: []string{
			"log-changed fail " + log + "1240Z"}},
		{name: "04_log_deleted", digests: 4, logs: 4, missing: 1, findings: []string{
			"log-missing fail " + log + "1440Z_95c00542b1ac81b4"}},
		{name: "09_digest_missing_middle", digests: 3, logs: 3, missing: 1, findings: []string{
			"digest-missing fail " + digest + "130031Z"}},
		{name: "16_gap_two_chains", digests: 4, logs: 4, findings: []string{
			"chain-restarted fail " + digest + "190031Z",
			"gap fail " + digest + "190031Z.json.gz: no digest covers the 5h0m0s from 2023-07-10T13:00:31Z to 2023-07-10T18:00:31Z"}},
		{name: "21_org_trail", digests: 4, logs: 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := readVector(t, c.name)
			a := NewArchive(Config{Name: "central", OrganizationID: v.org}, v.store)
			got := validate(t, a, v.keys, Validation{From: v.Start, Until: v.End, Places: []canary.Target{{Account: v.account, Region: v.Region}}})
			var n Counts
			for _, r := range got.results {
				n.Digests += r.Counts.Digests
				n.Logs += r.Counts.Logs
				n.DigestsMissing += r.Counts.DigestsMissing + r.Counts.LogsMissing
				n.LogsInvalid += r.Counts.LogsInvalid
			}
			if n.Digests != c.digests || n.Logs != c.logs || n.DigestsMissing != c.missing || n.LogsInvalid != c.wrong {
				t.Errorf("%+v", n)
			}
			found := got.findings()
			t.Log(strings.Join(found, "\n"))
			for i, want := range c.findings {
				if i >= len(found) || !strings.HasPrefix(found[i], want) {
					t.Errorf("finding %d is not %s", i, want)
				}
			}
			bad := slices.ContainsFunc(found, func(f string) bool { return strings.Contains(f, " fail ") })
			if (len(c.findings) > 0) != bad || v.AWSExit != 0 && !bad {
				t.Errorf("the AWS CLI exits with %d, we find %q", v.AWSExit, found)
			}
		})
	}
}

// chain01 is a sound chain, its archive and where it is.
func chain01(t *testing.T) (vector, *Archive, Validation) {
	t.Helper()
	v := readVector(t, "01_happy")
	return v, NewArchive(Config{Name: "central"}, v.store), Validation{From: v.Start, Places: []canary.Target{{Account: v.account, Region: v.Region}}}
}

func TestABrokenConnectionIsTriedOnceMore(t *testing.T) {
	v, a, q := chain01(t)
	key, _ := v.log(t, "1140Z")
	once := &breaking{fakeStore: v.store, key: key, times: 1}
	a.store = once
	if found := validate(t, a, v.keys, q).findings(); len(found) > 0 || once.times != 0 {
		t.Errorf("found %q", found)
	}
	once.times = 2
	got := validate(t, a, v.keys, q)
	if found := got.findings(); len(found) != 1 || !strings.HasPrefix(found[0], "log-unread inconclusive ") || !strings.Contains(found[0], "read after 10 bytes") {
		t.Errorf("found %q", found)
	}
	if c := got.results[0].Counts; c.Logs != 4 || c.LogsUnknown != 1 || c.Digests != 4 {
		t.Errorf("%+v", c)
	}
}

// breaking is a store whose connection breaks off, some times, while a key is read.
type breaking struct {
	*fakeStore
	key   string
	mu    sync.Mutex
	times int
}

func (b *breaking) Open(ctx context.Context, key string) (Opened, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if key == b.key {
		delete(b.fakeStore.cut, key)
		if b.times > 0 {
			b.times--
			b.fakeStore.cut[key] = 10
		}
	}
	return b.fakeStore.Open(ctx, key)
}

// From the head on only what follows it is read, and the head itself.
func TestAValidationGoesOnFromItsHead(t *testing.T) {
	v, a, q := chain01(t)
	q.Until = time.Time{}
	newest := map[string]fakeObject{}
	for key, o := range v.store.objects {
		if strings.Contains(key, "150031Z") || strings.Contains(key, "1440Z") {
			newest[key] = o
			delete(v.store.objects, key)
		}
	}
	v.store.now = v.End.Add(-115 * time.Minute)
	var heads []Head
	for _, r := range validate(t, a, v.keys, q).results {
		if len(r.Findings) > 0 {
			t.Errorf("%+v", r.Findings)
		}
		heads = append(heads, *r.Head)
	}
	// They go through the ledger.
	kept, err := json.Marshal(heads)
	if err != nil {
		t.Fatal(err)
	}
	heads = nil
	if err := json.Unmarshal(kept, &heads); err != nil {
		t.Fatal(err)
	}
	for key, o := range newest {
		v.store.objects[key] = o
	}
	v.store.now, v.store.gets = v.End, nil
	got := validate(t, a, v.keys, Validation{Places: q.Places, Heads: heads})
	slices.Sort(v.store.gets)
	if len(v.store.gets) != 4 || !strings.Contains(v.store.gets[0], "140031Z") || !strings.Contains(v.store.gets[1], "150031Z") || !strings.Contains(v.store.gets[2], "1440Z") {
		t.Errorf("read %q", v.store.gets)
	}
	for _, r := range got.results {
		if len(r.Findings) > 0 {
			t.Errorf("%+v", r.Findings)
		}
		if r.Chain.Trail != "" && (r.Counts.Digests != 1 || r.Counts.Logs != 2 || !r.Head.End.After(heads[0].End)) {
			t.Errorf("%+v, head %+v", r.Counts, r.Head)
		}
	}
	// And once more, with nothing new.
	heads = nil
	for _, r := range got.results {
		heads = append(heads, *r.Head)
	}
	v.store.gets = nil
	again := validate(t, a, v.keys, Validation{Places: q.Places, Heads: heads})
	if len(again.findings()) > 0 || len(v.store.gets) != 1 {
		t.Errorf("found %q, read %q", again.findings(), v.store.gets)
	}
}

func TestAPlaceThatRefusesDoesNotEndTheOthers(t *testing.T) {
	v, a, q := chain01(t)
	refused := "222222222222"
	q.Places = append([]canary.Target{{Account: refused, Region: "us-east-1"}}, q.Places...)
	v.store.fail["AWSLogs/"+refused+"/CloudTrail-Digest/us-east-1/2023/07/10/"] = fmt.Errorf("AccessDenied")
	got := validate(t, a, v.keys, q)
	if found := got.findings(); len(found) != 1 || !strings.HasPrefix(found[0], "unlisted inconclusive ") || !strings.Contains(found[0], "AccessDenied") {
		t.Errorf("found %q", found)
	}
	if len(got.checked) != 9 {
		t.Errorf("%d objects were checked", len(got.checked))
	}
	// Where all do there is nothing to report but that.
	q.Places = q.Places[:1]
	v.store.fail["AWSLogs/"+refused+"/CloudTrail/us-east-1/2023/07/10/"] = fmt.Errorf("AccessDenied")
	if _, err := a.Validate(context.Background(), v.keys, q, func(Result) {}); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("got %v", err)
	}
}

func TestAValidationThatMakesNoSense(t *testing.T) {
	v, a, good := chain01(t)
	for name, change := range map[string]func(q *Validation){
		"no place":                   func(q *Validation) { q.Places = nil },
		"not a place":                func(q *Validation) { q.Places = []canary.Target{{Account: "1", Region: "us-east-1"}} },
		"before its start":           func(q *Validation) { q.Until = q.From.Add(-time.Hour) },
		"parse log file key \"key\"": func(q *Validation) { q.Wanted = map[string]string{"key": ""} },
	} {
		q := good
		change(&q)
		if _, err := a.Validate(context.Background(), v.keys, q, nil); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want %q", err, name)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := a.Validate(ctx, v.keys, good, func(Result) {}); err == nil || !strings.Contains(err.Error(), "canceled") {
		t.Errorf("cancelled: %v", err)
	}
}

// At most Concurrency objects are read at a time, however many places there are.
func TestReadingIsBounded(t *testing.T) {
	v, a, q := chain01(t)
	counting := &counting{fakeStore: v.store}
	a.store = counting
	for i := range 30 {
		q.Places = append(q.Places, canary.Target{Account: fmt.Sprintf("%012d", i), Region: v.Region})
	}
	q.Concurrency = 3
	validate(t, a, v.keys, q)
	if counting.most > 3 || counting.most < 2 {
		t.Errorf("%d at a time", counting.most)
	}
}

type counting struct {
	*fakeStore
	mu        sync.Mutex
	now, most int
}

func (c *counting) Open(ctx context.Context, key string) (Opened, error) {
	c.mu.Lock()
	c.now++
	c.most = max(c.most, c.now)
	c.mu.Unlock()
	time.Sleep(time.Millisecond)
	o, err := c.fakeStore.Open(ctx, key)
	c.mu.Lock()
	c.now--
	c.mu.Unlock()
	return o, err
}

// Anybody who may write could make a validation endless: it stays bounded, and says
// what it did not look at.
func TestAFloodOfObjectsIsBoundedAndNamed(t *testing.T) {
	v, a, q := chain01(t)
	digests, logs := "", ""
	for key := range v.store.objects {
		if k, err := ParseDigestKey(key); err == nil {
			digests = key[:strings.LastIndexByte(key, '/')+1]
			_ = k
		} else {
			logs = key[:strings.LastIndexByte(key, '/')+1]
		}
	}
	for i := range 2 * maxFindings {
		v.store.objects[fmt.Sprintf("%sstray%d", logs, i)] = fakeObject{stored: v.Start}
	}
	for i := range 3 * maxChains {
		v.store.objects[fmt.Sprintf("%s218007301253_CloudTrail-Digest_us-east-1_trail-%d_us-east-1_20230710T120031Z.json.gz", digests, i)] = fakeObject{stored: v.Start}
	}
	got := validate(t, a, v.keys, q)
	for _, r := range got.results {
		if len(r.Findings) > maxFindings {
			t.Errorf("%d findings are kept", len(r.Findings))
		}
		if r.Chain.Trail == "" && (r.More[Inconclusive] != maxFindings+1 || r.Counts.Strays != 2*maxFindings) {
			t.Errorf("%v more, %+v", r.More, r.Counts)
		}
		if r.Head != nil {
			t.Errorf("%s: not everything was looked at, and the head is at %s", r.Chain, r.Head.Key)
		}
	}
	// A key from before CloudTrail, or from no day at all, costs no walk through all the days.
	v, a, _ = chain01(t)
	for _, day := range []string{"0001/01/01", "9999/12/31", "x"} {
		v.store.objects[strings.Replace(digests, "2023/07/10", day, 1)+"stray"] = fakeObject{stored: v.Start}
	}
	got = validate(t, a, v.keys, Validation{Places: q.Places})
	if len(v.store.lists) > 12 || len(got.checked) != 9 {
		t.Errorf("%d lists, %d objects checked", len(v.store.lists), len(got.checked))
	}
}

// Of more findings than are kept it is those that failed.
func TestFailuresAreKeptBeforeOthers(t *testing.T) {
	var r Result
	for range maxFindings + 10 {
		r.find(Finding{Status: Inconclusive})
	}
	for range maxFindings - 5 {
		r.find(Finding{Status: Fail})
	}
	failed := 0
	for _, f := range r.Findings {
		if f.Status == Fail {
			failed++
		}
	}
	if failed != maxFindings-5 || r.More[Inconclusive] != maxFindings+5 || r.More[Fail] != 0 {
		t.Errorf("%d failed, more %v", failed, r.More)
	}
	for range 10 {
		r.find(Finding{Status: Fail})
	}
	if r.More[Inconclusive] != maxFindings+10 || r.More[Fail] != 5 {
		t.Errorf("more %v", r.More)
	}
}
