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
