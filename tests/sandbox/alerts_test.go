package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"go.yaml.in/yaml/v3"

	awsdriver "github.com/auditcanary/auditcanary/shared/aws"
	runs "github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/wire"
	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

// as opens a session of a role.
func (s *sandbox) as(t *testing.T, role, region string) aws.Config {
	t.Helper()
	out, err := sts.NewFromConfig(s.aws()).AssumeRole(t.Context(), &sts.AssumeRoleInput{
		RoleArn: &role, RoleSessionName: aws.String("auditcanary-c1"), SourceIdentity: aws.String("auditcanary"),
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.aws()
	cfg.Region = region
	cfg.Credentials = credentials.NewStaticCredentialsProvider(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken)
	return cfg
}

func (s *sandbox) advance(t *testing.T, by string) (now time.Time) {
	t.Helper()
	var at struct{ Now time.Time }
	s.admin(t, http.MethodPost, "time", fmt.Sprintf(`{"advance": %q}`, by), http.StatusOK, &at)
	return at.Now
}

// A call of a canary's, its record, the event, two buses, a rule, a topic, a queue, and
// the product's own driver at its end.
func TestTheProductHearsTheAlertOfACall(t *testing.T) {
	s := start(t, "-speed", "0")
	const account, region = "111122223333", "eu-west-1"
	injector := kms.NewFromConfig(s.as(t, cloud.InjectorRole(account), region))
	reader := s.as(t, cloud.ReaderRole(), homeRegion)
	url := cloud.AlertTapURL("keys-changed")
	queue := awsdriver.NewAlertQueue(reader, "keys-changed", url)
	listen := func(q *awsdriver.AlertQueue) runs.Arrived {
		t.Helper()
		got, err := q.Listen(t.Context(), time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := listen(queue); len(got.Alerts) > 0 || len(got.Problems) > 0 || got.AsOf.IsZero() {
		t.Fatalf("before anything: %+v", got)
	}
	key := aws.String(cloud.Fixtures(account, region)["kms_key"])
	called := s.advance(t, "1s")
	if _, err := injector.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: key}); err != nil {
		t.Fatal(err)
	}
	if got := listen(queue); len(got.Alerts) > 0 {
		t.Fatalf("it rang at once: %+v", got.Alerts)
	}
	now := s.advance(t, "2m")
	got := listen(queue)
	if len(got.Alerts) != 1 || len(got.Problems) > 0 || got.AsOf.Before(now.Add(-5*time.Second)) || got.AsOf.After(now) {
		t.Fatalf("at %s: %+v", now, got)
	}
	a := got.Alerts[0]
	if took := a.At.Sub(called); took < 3*time.Second || took > time.Minute {
		t.Errorf("it rang %s after the call", took)
	}
	var calls []cloud.CallLog
	s.admin(t, http.MethodGet, "calls", "", http.StatusOK, &calls)
	i := slices.IndexFunc(calls, func(c cloud.CallLog) bool { return c.Operation == "DisableKey" })
	if !slices.Contains(a.RequestIDs, calls[i].RequestID) || len(a.EventIDs) == 0 || !slices.Contains(a.Sessions, "auditcanary-c1") {
		t.Errorf("it names %v %v %v, the call was %s", a.RequestIDs, a.EventIDs, a.Sessions, calls[i].RequestID)
	}
	// What one process holds another does not see, and says so.
	other := awsdriver.NewAlertQueue(reader, "keys-changed", url)
	if got := listen(other); len(got.Alerts) > 0 || !got.AsOf.IsZero() || len(got.Problems) != 1 || !strings.Contains(got.Problems[0], "1 messages of queue "+url+" are held back") {
		t.Errorf("held by another: %+v", got)
	}
	// One that died with it gives it back.
	s.advance(t, "3m")
	again := listen(other)
	if len(again.Alerts) != 1 || again.Alerts[0].ID != a.ID || !again.Alerts[0].At.Equal(a.At) || again.AsOf.IsZero() {
		t.Fatalf("given again: %+v", again)
	}
	// What is not settled is there at once, what is settled never more.
	if err := other.Settle(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got := listen(other); len(got.Alerts) != 1 {
		t.Fatalf("not settled: %+v", got)
	}
	if err := other.Settle(t.Context(), []string{a.ID}); err != nil {
		t.Fatal(err)
	}
	s.advance(t, "1h")
	if got := listen(other); len(got.Alerts) > 0 || len(got.Problems) > 0 || got.AsOf.IsZero() {
		t.Errorf("settled: %+v", got)
	}
	// Its role gives nobody else's.
	if _, err := awsdriver.NewAlertQueue(s.aws(), "keys-changed", url).Listen(t.Context(), time.Time{}); err == nil || !strings.Contains(err.Error(), "the reader needs sqs:ReceiveMessage on the queue") {
		t.Errorf("without the role: %v", err)
	}
}

func TestTheProductReadsAnInbox(t *testing.T) {
	s := start(t, "-speed", "0")
	client := s3.NewFromConfig(s.aws(), func(o *s3.Options) { o.UsePathStyle = true })
	put := func(key, body string) {
		t.Helper()
		if _, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(cloud.LedgerBucket), Key: &key, Body: strings.NewReader(body)}); err != nil {
			t.Fatal(err)
		}
	}
	put("inbox/old.json", `{"requestID":"r-0"}`)
	since := s.advance(t, "1h")
	put("inbox/a.json", `{"text":"{\"requestID\":\"r-1\"}"}`)
	inbox := awsdriver.NewAlertInbox(client, "keys-changed", cloud.LedgerBucket, "inbox/", false)
	got, err := inbox.Listen(t.Context(), since)
	if err != nil || len(got.Alerts) != 1 || len(got.Problems) > 0 || got.AsOf.IsZero() || fmt.Sprint(got.Alerts[0].RequestIDs) != "[r-1]" || got.Alerts[0].At.Before(since.Add(-time.Second)) {
		t.Errorf("%+v, %v", got, err)
	}
}

// But for the rule of every call, of which no scenario promises an alert.
func TestTheConfigurationNamesEveryTap(t *testing.T) {
	var c struct {
		Alerts []struct {
			Name string
			SQS  struct {
				URL    string `yaml:"queue_url"`
				Region string
				Role   string `yaml:"role_arn"`
			}
			Within, Late string
		}
	}
	if err := yaml.Unmarshal([]byte(alerts()), &c); err != nil {
		t.Fatal(err)
	}
	names := slices.DeleteFunc(cloud.AlertNames(), func(name string) bool { return name == cloud.AlertRule })
	if len(c.Alerts) != len(names) || len(names) < 10 {
		t.Fatalf("%d alerts of %d", len(c.Alerts), len(names))
	}
	for i, name := range names {
		if a := c.Alerts[i]; a.Name != name || a.SQS.URL != "https://sqs.us-east-1.amazonaws.com/999999999999/auditcanary-alert-tap-"+name || a.SQS.Region != "us-east-1" || a.SQS.Role != cloud.ReaderRole() || a.Within != "5m" || a.Late != "30m" {
			t.Errorf("%+v", a)
		}
	}
	file, err := writeConfig(t.TempDir(), "http://127.0.0.1:1", "127.0.0.1/32", cloud.UsualExtent(), []string{"aws/*"})
	if err != nil {
		t.Fatal(err)
	}
	sound, err := wire.Load(file)
	if err == nil {
		err = wire.CheckAlerts(sound)
	}
	if err != nil {
		t.Error(err)
	}
}
