package awscli_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/trail"
	"github.com/auditcanary/auditcanary/tests/chains"
	"github.com/auditcanary/auditcanary/tests/sandbox/archive"
)

var update = flag.Bool("update", false, "write the golden file anew")

// debians is the version of the AWS CLI that the golden file speaks of.
const debians = "aws-cli/2.9.19"

// asked is one archive that both validators are asked about.
type asked struct {
	name     string
	endpoint string
	args     []string                   // of validate-logs
	object   func(object string) string // a short name

	store  *chains.Bucket
	config trail.Config
	keys   trail.PublicKeys
	query  trail.Validation
	exit   int // that the vector's scenario wants of the AWS CLI; -1: none is known
}

// answered is what the AWS CLI said.
type answered struct {
	Exit    int
	Out     string
	objects map[string]string // "valid" or "INVALID", by "s3://bucket/key"
}

// TestStricterThanAWS asks AWS's own validator and ours about the same archives,
// the vectors and those made here: wherever AWS's calls an object invalid so do we,
// and the golden file lists where we say more.
func TestStricterThanAWS(t *testing.T) {
	version, err := exec.Command("/usr/bin/aws", "--version").CombinedOutput()
	if err != nil {
		t.Skipf("AWS's validator is not here: Debian's awscli is not installed (apt-get install awscli): %v %s", err, version)
	}
	script, err := filepath.Abs("aws") // the archive changes the working directory
	if err != nil {
		t.Fatal(err)
	}
	golden, err := filepath.Abs("testdata/stricter.golden")
	if err != nil {
		t.Fatal(err)
	}
	all := append(vectors(t), generated(t)...)
	serve(t, all)
	answers := askAWS(t, script, all)

	var list strings.Builder
	for i, a := range all {
		t.Run(a.name, func(t *testing.T) {
			theirs := answers[i]
			ours, err := findings(a)
			if err != nil {
				t.Fatal(err)
			}
			if a.exit >= 0 && theirs.Exit != a.exit {
				t.Errorf("the AWS CLI exits with %d, the scenario says %d\n%s", theirs.Exit, a.exit, theirs.Out)
			}
			for object, said := range theirs.objects {
				if said == "INVALID" && len(ours[object]) == 0 {
					t.Errorf("the AWS CLI calls %s invalid, we do not\n%s", a.object(object), theirs.Out)
				}
			}
			if theirs.Exit != 0 && len(ours) == 0 {
				t.Errorf("the AWS CLI exits with %d, we find nothing\n%s", theirs.Exit, theirs.Out)
			}
			var more []string
			for object, found := range ours {
				if said := theirs.objects[object]; said != "INVALID" {
					if said == "" {
						said = "nothing"
					}
					for _, f := range found {
						more = append(more, fmt.Sprintf("   %-8s %s; the AWS CLI says %s", a.object(object), f, said))
					}
				}
			}
			slices.Sort(more)
			if len(more) > 0 {
				fmt.Fprintf(&list, "%s: the AWS CLI exits with %d\n%s\n", a.name, theirs.Exit, strings.Join(more, "\n"))
			}
		})
	}
	if t.Failed() {
		return
	}
	if !strings.HasPrefix(string(version), debians) {
		t.Logf("where we are stricter is not compared: the golden file is of %s, and here is %s", debians, version)
		return
	}
	if *update {
		if err := os.WriteFile(golden, []byte(list.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(golden); err != nil || string(want) != list.String() {
		t.Errorf("where we are stricter is not as in %s (go test -update writes it anew): %v\n%s", golden, err, list.String())
	}
}

// findings are ours, by object.
func findings(a asked) (map[string][]string, error) {
	found := map[string][]string{}
	_, err := trail.NewArchive(a.config, a.store).Validate(context.Background(), a.keys, a.query, func(r trail.Result) {
		for _, f := range r.Findings {
			if f.Status != trail.Pending {
				found[f.Object] = append(found[f.Object], fmt.Sprint(f.Kind, " ", f.Status))
			}
		}
	})
	return found, err
}

// vectors are the digest chains that nobody here made.
func vectors(t *testing.T) (all []asked) {
	t.Helper()
	const root = "../../../shared/trail/testdata/digest_vectors"
	dirs, err := filepath.Glob(filepath.Join(root, "*/scenario.json"))
	if err != nil || len(dirs) != 6 {
		t.Fatalf("%d vectors, %v", len(dirs), err)
	}
	for _, file := range dirs {
		dir := filepath.Dir(file)
		var s struct {
			Trail      string `json:"trail_arn"`
			Start, End time.Time
			Region     string
			Args       []string `json:"extra_args"`
			Exit       int      `json:"awscli_exit_code"`
		}
		readJSON(t, file, &s)
		var described map[string]any
		readJSON(t, filepath.Join(dir, "trail.json"), &described)
		var keys []struct {
			Value, Fingerprint                 string
			ValidityStartTime, ValidityEndTime int64
		}
		readJSON(t, filepath.Join(dir, "keys.json"), &keys)

		bucket, _ := described["S3BucketName"].(string)
		organization, _ := described["_org"].(string)
		e := &chains.Endpoint{Trail: described, Organization: organization}
		for _, k := range keys {
			der, err := base64.StdEncoding.DecodeString(k.Value)
			if err != nil {
				t.Fatal(err)
			}
			e.Keys = append(e.Keys, trail.PublicKey{Fingerprint: k.Fingerprint, DER: der, From: time.Unix(k.ValidityStartTime, 0), Until: time.Unix(k.ValidityEndTime, 0)})
		}
		b := &chains.Bucket{Bucket: bucket, Now: s.End, Objects: map[string]chains.Object{}}
		objects := os.DirFS(filepath.Join(dir, "s3", bucket))
		err := fs.WalkDir(objects, ".", func(key string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasSuffix(key, ".meta.json") {
				return err
			}
			body, err := fs.ReadFile(objects, key)
			if err != nil {
				return err
			}
			o := chains.Object{Body: body, Stored: s.Start}
			if meta, err := fs.ReadFile(objects, key+".meta.json"); err == nil {
				if err := json.Unmarshal(meta, &o.Meta); err != nil {
					return err
				}
			}
			b.Objects[key] = o
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		account := strings.Split(s.Trail, ":")[4]
		if i := slices.Index(s.Args, "--account-id"); i >= 0 {
			account = s.Args[i+1]
		}
		name := filepath.Base(dir)
		e.Rename = map[string]string{bucket: "vector-" + strings.ReplaceAll(name, "_", "-")}
		all = append(all, asked{
			name: name, exit: s.Exit, store: b, config: trail.Config{Name: name, OrganizationID: organization}, keys: listed(e.Keys),
			args:     append([]string{"--trail-arn", s.Trail, "--start-time", s.Start.Format(time.RFC3339), "--end-time", s.End.Format(time.RFC3339), "--region", s.Region}, s.Args...),
			query:    trail.Validation{From: s.Start, Until: s.End, Places: []canary.Target{{Account: account, Region: s.Region}}},
			endpoint: start(t, e),
			object:   func(o string) string { return o[strings.LastIndexByte(o, '_')+1:] },
		})
	}
	return all
}

// generated are those of the cases that the AWS CLI can be asked about.
func generated(t *testing.T) (all []asked) {
	t.Helper()
	keys, err := chains.NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	e := &chains.Endpoint{}
	for _, k := range []*chains.Key{keys.First, keys.Second, keys.SPKI} {
		e.Keys = append(e.Keys, k.Public)
	}
	endpoint := start(t, e)
	left := map[string][]string{}
	for i, c := range chains.Cases {
		if c.NotAWS != "" {
			left[c.NotAWS] = append(left[c.NotAWS], c.Name)
			continue
		}
		w := c.Build(i, keys)
		q := w.Validation()
		args := []string{"--trail-arn", "arn:aws:cloudtrail:" + w.Home + ":" + w.Account + ":trail/" + w.Trail, "--region", w.Region, "--s3-bucket", w.Bucket.Bucket,
			"--start-time", w.Start.Format(time.RFC3339), "--end-time", w.Bucket.Now.Format(time.RFC3339)}
		if !q.Until.IsZero() {
			args[len(args)-1] = q.Until.Format(time.RFC3339)
		}
		if w.Prefix != "" {
			args = append(args, "--s3-prefix", w.Prefix)
		}
		all = append(all, asked{name: c.Name, exit: -1, endpoint: endpoint, args: args, object: w.Name, store: w.Bucket,
			config: trail.Config{Name: c.Name, Prefix: w.Prefix}, keys: w, query: q})
	}
	for _, why := range slices.Sorted(maps.Keys(left)) {
		t.Logf("not asked, as %s: %s", why, strings.Join(left[why], ", "))
	}
	return all
}

type listed []trail.PublicKey

func (l listed) PublicKeys(context.Context, string, time.Time, time.Time) ([]trail.PublicKey, error) {
	return l, nil
}

func readJSON(t *testing.T, name string, v any) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// endpoints by URL; they get their S3 server when everything is known.
var endpoints = map[string]*chains.Endpoint{}

func start(t *testing.T, e *chains.Endpoint) (url string) {
	t.Helper()
	srv := httptest.NewServer(e)
	t.Cleanup(srv.Close)
	endpoints[srv.URL] = e
	return srv.URL
}

// serve puts every archive into one real S3 server.
func serve(t *testing.T, all []asked) {
	t.Helper()
	ctx := t.Context()
	clock := &handClock{now: time.Now().UTC().Truncate(time.Second)}
	a, err := archive.Open(ctx, archive.Config{Dir: t.TempDir(), Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	made := map[string]bool{}
	for _, q := range all {
		e := endpoints[q.endpoint]
		e.S3 = a
		bucket := q.store.Bucket
		if to := e.Rename[bucket]; to != "" {
			bucket = to
		}
		if !made[bucket] {
			made[bucket] = true
			if err := a.CreateBucket(ctx, archive.Bucket{Name: bucket, Account: "218007301253", Region: "us-east-1"}); err != nil {
				t.Fatal(err)
			}
		}
		for key, o := range q.store.Objects {
			if _, err := a.Put(ctx, archive.Object{Bucket: bucket, Key: key, Body: o.Body, Metadata: o.Meta}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

var spoken = regexp.MustCompile(`(?m)(s3://\S+)\t(valid|INVALID)`)

// askAWS asks about all, two at a time, each in a process that is started once.
func askAWS(t *testing.T, script string, all []asked) []answered {
	t.Helper()
	const processes = 2
	answers := make([]answered, len(all))
	var wg sync.WaitGroup
	for p := range processes {
		wg.Go(func() {
			cmd := exec.CommandContext(t.Context(), script, "--batch")
			cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret", "AWS_SESSION_TOKEN=", "AWS_CONFIG_FILE=/dev/null",
				"AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true", "AWS_ENDPOINT_URL=")
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Error(err)
				return
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Error(err)
				return
			}
			var failed strings.Builder
			cmd.Stderr = &failed
			if err := cmd.Start(); err != nil {
				t.Error(err)
				return
			}
			replies := bufio.NewScanner(out)
			replies.Buffer(nil, 1<<20)
			for i := p; i < len(all); i += processes {
				args := append([]string{"cloudtrail", "validate-logs", "--verbose"}, all[i].args...)
				line, err := json.Marshal(map[string]any{"endpoint": all[i].endpoint, "args": args})
				if err == nil {
					_, err = in.Write(append(line, '\n'))
				}
				if err != nil || !replies.Scan() {
					t.Errorf("%s %q: %v %v\n%s", script, args, err, replies.Err(), failed.String())
					break
				}
				if err := json.Unmarshal(replies.Bytes(), &answers[i]); err != nil {
					t.Errorf("%s: %v", all[i].name, err)
				}
				answers[i].objects = map[string]string{}
				for _, m := range spoken.FindAllStringSubmatch(answers[i].Out, -1) {
					answers[i].objects[m[1]] = m[2]
				}
			}
			_ = in.Close()
			if err := cmd.Wait(); err != nil {
				t.Errorf("%s: %v\n%s", script, err, failed.String())
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return answers
}
