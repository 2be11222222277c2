package logstore_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	driver "github.com/auditcanary/auditcanary/shared/aws"
	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/logstore"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

// cwPlace is a log group of the sandbox, as EKS writes into one: a cluster has a group.
type cwPlace struct {
	client      *cloudwatchlogs.Client
	url, groups string
	of          func(url string) *cloudwatchlogs.Client
}

const cwAccount = "111122223333"

func openCloudWatch(t *testing.T) place {
	c, err := cloud.New(cloud.Options{Clock: realClock{}, Sink: noSink{}, Real: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	key := c.RootKey(cwAccount)
	of := func(url string) *cloudwatchlogs.Client {
		return cloudwatchlogs.NewFromConfig(aws.Config{
			Region: "eu-west-1", BaseEndpoint: aws.String(url), Credentials: credentials.NewStaticCredentialsProvider(key.ID, key.Secret, ""),
			Retryer: func() aws.Retryer { return aws.NopRetryer{} },
		})
	}
	p := cwPlace{of(server.URL), server.URL, "/aws/eks/" + strings.ReplaceAll(t.Name(), "#", "-"), of}
	for n := range 2 {
		if _, err := p.client.CreateLogGroup(t.Context(), &cloudwatchlogs.CreateLogGroupInput{LogGroupName: aws.String(p.group(p.target(n)))}); err != nil {
			t.Fatal(err)
		}
		for _, stream := range []string{"kube-apiserver-audit-1", "kube-apiserver-1"} {
			if _, err := p.client.CreateLogStream(t.Context(), &cloudwatchlogs.CreateLogStreamInput{LogGroupName: aws.String(p.group(p.target(n))), LogStreamName: &stream}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return p
}

func (p cwPlace) group(t canary.Target) string { return p.groups + "/" + t.Account }

// store of both groups: of each what it holds.
func (p cwPlace) store(t *testing.T) run.LogStore {
	all := byCluster{}
	for n := range 2 {
		s, err := logstore.New(logstore.Config{Name: "audit", Type: "cloudwatch-logs", Format: "kubernetes", Settle: settled},
			driver.NewLogGroup(p.client, p.group(p.target(n)), "kube-apiserver-audit-"))
		if err != nil {
			t.Fatal(err)
		}
		all[p.target(n)] = s
	}
	return all
}

func (p cwPlace) target(n int) canary.Target { return cluster(n) }
func (p cwPlace) now() time.Time             { return time.Now() }
func (p cwPlace) base() string               { return p.url }
func (p cwPlace) at(url string) place        { p.url, p.client = url, p.of(url); return p }
func (p cwPlace) record(r made) string       { return kubernetesRecord(r) }

func (p cwPlace) put(t *testing.T, to canary.Target, at time.Time, records ...string) {
	if most := 1000; len(records) > most { // of one call, and of 1 MB
		p.put(t, to, at, records[most:]...)
		records = records[:most]
	}
	var events []types.InputLogEvent
	for _, r := range records {
		events = append(events, types.InputLogEvent{Message: &r, Timestamp: aws.Int64(at.UnixMilli())})
	}
	for _, stream := range []string{"kube-apiserver-audit-1", "kube-apiserver-1"} {
		if _, err := p.client.PutLogEvents(t.Context(), &cloudwatchlogs.PutLogEventsInput{LogGroupName: aws.String(p.group(to)), LogStreamName: &stream, LogEvents: events}); err != nil {
			t.Fatal(err)
		}
		// The server's own log repeats what it likes, and is no record of anything.
		events = []types.InputLogEvent{{Message: aws.String("I1126 auditcanary " + id(0)), Timestamp: aws.Int64(at.UnixMilli())}}
	}
}

// byCluster asks the store of each target. The product has one log store: a log group of
// EKS is of one cluster.
type byCluster map[canary.Target]run.LogStore

func (b byCluster) Poll(ctx context.Context, w *run.Watch) (run.Seen, error) {
	states, _ := w.State.(map[canary.Target]any)
	if states == nil {
		states = map[canary.Target]any{}
		w.State = states
	}
	var out run.Seen
	for _, t := range w.Places {
		one := *w
		one.Places, one.State = []canary.Target{t}, states[t]
		seen, err := b[t].Poll(ctx, &one)
		states[t] = one.State
		if err != nil {
			return out, err
		}
		seen.Sightings = append(out.Sightings, seen.Sightings...)
		seen.Problems = append(out.Problems, seen.Problems...)
		seen.Looked = append(out.Looked, seen.Looked...)
		out = seen
	}
	return out, nil
}

type realClock struct{}

func (realClock) Now() time.Time                  { return time.Now() }
func (realClock) Until(t time.Time) time.Duration { return time.Until(t) }

type noSink struct{}

func (noSink) Emit(string, string, cloud.Record)                     {}
func (noSink) EmitAfter(string, string, cloud.Record, time.Duration) {}
