package deploy

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/wire"
	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

// archived lists the archive's keys.
func (s sandbox) archived(t *testing.T) []string {
	t.Helper()
	env := map[string]string{}
	for _, kv := range s.env {
		name, value, _ := strings.Cut(kv, "=")
		env[name] = value
	}
	cfg := aws.Config{
		Region: "us-east-1", BaseEndpoint: &s.url,
		Credentials: credentials.NewStaticCredentialsProvider(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], env["AWS_SESSION_TOKEN"]),
	}
	reader := cfg.Copy()
	reader.Credentials = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), cloud.ReaderRole(), func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = "auditcanary-tests"
		o.SourceIdentity = aws.String("auditcanary")
	}))
	client := s3.NewFromConfig(reader, func(o *s3.Options) { o.UsePathStyle = true })
	var out []string
	for pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: aws.String(cloud.ArchiveBucket), Prefix: aws.String("AWSLogs/")}); pages.HasMorePages(); {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Contents {
			out = append(out, *o.Key)
		}
	}
	return out
}

// The forms in which a file's arrival is told.
func ofS3(bucket, key string) string {
	return fmt.Sprintf(`{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{"bucket":{"name":%q},"object":{"key":%q,"size":1}}}]}`, bucket, url.QueryEscape(key))
}

func ofEventBridge(bucket, key string) string {
	return fmt.Sprintf(`{"version":"0","source":"aws.s3","detail-type":"Object Created","detail":{"bucket":{"name":%q},"object":{"key":%q,"size":1}}}`, bucket, key)
}

func ofSNS(message string) string {
	text, _ := json.Marshal(map[string]string{"Type": "Notification", "MessageId": "1", "Message": message})
	return string(text)
}

func ofCloudTrail(bucket, key string) string {
	return fmt.Sprintf(`{"s3Bucket":%q,"s3ObjectKey":[%q]}`, bucket, key)
}

// queueEvent is a batch as Lambda gets it.
func queueEvent(bodies ...string) string {
	var records []map[string]string
	for i, body := range bodies {
		records = append(records, map[string]string{"messageId": fmt.Sprintf("m%d", i+1), "body": body, "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:us-east-1:222222222222:auditcanary-test-files"})
	}
	text, _ := json.Marshal(map[string]any{"Records": records})
	return string(text)
}

func (p *platform) push(t *testing.T, bodies ...string) (r wire.PushResult) {
	t.Helper()
	answer, failed := p.invoke("confirm", queueEvent(bodies...))
	if failed != nil {
		t.Fatalf("%+v", failed)
	}
	if err := json.Unmarshal([]byte(answer), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestAFileIsJudgedAsItArrives, for all canaries that wait in its cell; nothing is missing
// by it, and poison fails alone.
func TestAFileIsJudgedAsItArrives(t *testing.T) {
	p := newPlatform(t)
	inject := func(runID string) {
		t.Helper()
		for _, cell := range []string{"a", "b"} {
			if _, failed := p.invoke("inject", fmt.Sprintf(`{"run":%q,"cell":%q}`, runID, cell)); failed != nil {
				t.Fatalf("%+v", failed)
			}
		}
	}
	inject("20261126-pushed")
	before := p.sandbox.archived(t)
	if err := p.sandbox.advance(30 * time.Minute); err != nil {
		t.Fatal(err)
	}
	files := slices.DeleteFunc(p.sandbox.archived(t), func(key string) bool {
		return slices.Contains(before, key) || !strings.Contains(key, "/CloudTrail/")
	})
	if len(files) < 4 {
		t.Fatalf("%d files", len(files))
	}

	// Whoever sends it: no verdict comes of poison, and none is missing by a file that is not there.
	known := files[0]
	absent := known[:strings.LastIndex(known, "_")+1] + "aaaaaaaaaaaaaaaa.json.gz"
	bad := p.push(t,
		"no JSON", `{"hello":"world"}`, ofS3("somebody-elses", known), ofEventBridge(cloud.ArchiveBucket, "AWSLogs/hello.txt"),
		strings.Replace(ofS3(cloud.ArchiveBucket, known), "ObjectCreated:Put", "ObjectRemoved:Delete", 1),
		ofS3(cloud.ArchiveBucket, absent), `{"Event":"s3:TestEvent"}`,
	)
	var failed []string
	for _, f := range bad.Failed {
		failed = append(failed, f.ID)
	}
	slices.Sort(failed)
	if !slices.Equal(failed, []string{"m1", "m2", "m3", "m4", "m5", "m6"}) || bad.Poison != 5 || bad.Decided != 0 || bad.Awaited != canariesOf {
		t.Errorf("%+v", bad)
	}
	for _, cell := range []string{"a", "b"} {
		for _, cs := range p.ledgerOf(t, cell).Canaries {
			if _, judged := cs.Verdict(); judged {
				t.Errorf("%s was judged by poison", cs.Plan.Canary.ID)
			}
		}
		for _, rs := range p.ledgerOf(t, cell).Runs {
			if len(rs.Forged) > 0 {
				t.Errorf("forged: %+v", rs.Forged)
			}
		}
	}

	// One file after the other, told in every form, the first of them twice at once.
	forms := []func(bucket, key string) string{ofS3, ofEventBridge, ofCloudTrail, func(b, k string) string { return ofSNS(ofS3(b, k)) }}
	decided, gets := 0, 0
	for i, key := range files {
		bodies := []string{forms[i%len(forms)](cloud.ArchiveBucket, key)}
		if i == 0 {
			bodies = append(bodies, bodies[0], "poison beside it")
		}
		r := p.push(t, bodies...)
		decided, gets = decided+r.Decided, gets+r.Gets
		if want := len(bodies) / 3; len(r.Failed) != want || r.Files+r.Ignored < 1 || r.Files > 1 {
			t.Errorf("%s: %+v", key, r)
		}
	}
	if decided != 2*canariesOf || gets > len(files) {
		t.Errorf("%d canaries decided, %d files read of %d", decided, gets, len(files))
	}
	for _, cell := range []string{"a", "b"} {
		for _, cs := range p.ledgerOf(t, cell).Canaries {
			if v, _ := cs.Verdict(); v.Checks[canary.Surfaced].Status != canary.Pass || v.Checks[canary.Timely].Status != canary.Pass {
				t.Errorf("%s: %+v", cs.Plan.Canary.ID, v.Checks)
			}
		}
	}
	// Nobody waits any more: nothing is read.
	if r := p.push(t, ofS3(cloud.ArchiveBucket, known)); r.Gets != 0 || len(r.Failed) != 0 {
		t.Errorf("%+v", r)
	}
	if left := p.sandbox.left(t); len(left) > 0 {
		t.Errorf("left in the accounts: %s", left)
	}
	// What is decided by a file is told once, by the call that was given it.
	warm := slices.Clone(p.idle["confirm"])
	p.stop()
	told := 0
	for _, in := range warm {
		told += strings.Count(in.stderr.String(), `"RunsCompleted":1`)
	}
	if told != 2 {
		t.Errorf("%d runs were told of; there was one in each of two cells", told)
	}
}
