package story

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/auditcanary/auditcanary/shared/wire"
	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

// TestALedgerInACellIsAppendedToAndNeverOverwritten: the ledger bucket's policy of infra/aws
// lets a cell replace its own checkpoint as it read it. Whoever has the function's role can
// write nothing over an entry, and no checkpoint over one that was not read.
func TestALedgerInACellIsAppendedToAndNeverOverwritten(t *testing.T) {
	d := deploy(t, nil)
	d.standard()
	d.configure(`include: ["aws/*"]`, `include: ["aws/kms-disable-key"]`, "  - account: \""+cloud.TargetAccounts()[0]+"\"\n", "  - account: \""+cloud.TargetAccounts()[0]+"\"\n    cell: first\n")
	data, err := os.ReadFile(d.sb.Config)
	if err != nil {
		t.Fatal(err)
	}
	// Alerts in queues need one for each cell: here are none.
	without := regexp.MustCompile(`(?m)^(alerts:|  - \{name: .*, sqs: .*)\n`).ReplaceAllString(string(data), "")
	without = strings.Replace(without, "trigger: {", "trigger: {cell: first, ", 1)
	if err := os.WriteFile(d.sb.Config, []byte(without), 0o600); err != nil {
		t.Fatal(err)
	}

	d.must("inject", wire.Input{Cell: "first"}) // many appends: each replaces the checkpoint
	d.as("inject")
	client := s3.NewFromConfig(aws.Config{Region: "us-east-1", BaseEndpoint: aws.String(d.sb.Env["AWS_ENDPOINT_URL"]),
		Credentials: credentials.NewStaticCredentialsProvider(os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), os.Getenv("AWS_SESSION_TOKEN"))}, func(o *s3.Options) { o.UsePathStyle = true })
	listed, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(cloud.LedgerBucket)})
	if err != nil {
		t.Fatal(err)
	}
	checkpoint, entries := false, 0
	for _, o := range listed.Contents {
		key := aws.ToString(o.Key)
		if !strings.HasPrefix(key, "ledger/first/") {
			t.Errorf("%s is outside the cell", key)
		}
		etag := aws.String(`"of nothing that was there"`)
		isCheckpoint := key == "ledger/first/checkpoint"
		for _, try := range []struct {
			how, want            string
			ifMatch, ifNoneMatch *string
		}{
			{"as it is", "AccessDenied", nil, nil},
			{"as if it were new", "PreconditionFailed", nil, aws.String("*")},
			{"as if it had been read", map[bool]string{true: "PreconditionFailed", false: "AccessDenied"}[isCheckpoint], etag, nil},
		} {
			_, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(cloud.LedgerBucket), Key: &key, Body: strings.NewReader("forged"), IfMatch: try.ifMatch, IfNoneMatch: try.ifNoneMatch})
			var refused smithy.APIError
			if !errors.As(err, &refused) || refused.ErrorCode() != try.want {
				t.Errorf("%s is written over, %s: got %v, want %s", key, try.how, err, try.want)
			}
		}
		if isCheckpoint {
			checkpoint = true
		} else {
			entries++
		}
	}
	if !checkpoint || entries < 3 {
		t.Fatalf("a checkpoint: %t; %d other objects: the cell's ledger is not there", checkpoint, entries)
	}
}
