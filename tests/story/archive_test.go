package story

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

// advanceCmd puts the sandbox's clock forward, and waits for what comes meanwhile.
func advanceCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: advance TIME")
	}
	resp, err := http.Post(ts.Getenv("AWS_ENDPOINT_URL")+"/_sandbox/time", "application/json", strings.NewReader(fmt.Sprintf(`{"advance": %q}`, args[0])))
	ts.Check(err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		ts.Fatalf("advance %s: %s", args[0], resp.Status)
	}
}

type wallClock struct{}

func (wallClock) Now() time.Time                  { return time.Now() }
func (wallClock) Until(t time.Time) time.Duration { return time.Until(t) }

func rootCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: root ACCOUNT")
	}
	a := cloud.World(wallClock{}).Accounts[args[0]]
	if a == nil {
		ts.Fatalf("root %s: no such account", args[0])
	}
	ts.Setenv("AWS_ACCESS_KEY_ID", a.RootKey.ID)
	ts.Setenv("AWS_SECRET_ACCESS_KEY", a.RootKey.Secret)
}

// archiveOwner is S3 as the root user of the archive's account sees it: the
// mightiest enemy that the archive has.
func archiveOwner(endpoint string) *s3.Client {
	root := cloud.World(wallClock{}).Accounts[cloud.ArchiveAccount].RootKey
	return s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: &endpoint, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(root.ID, root.Secret, ""),
	})
}

func archiveCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: archive lock MODE DAYS | hide TEXT N | forge KEY FILE")
	}
	ctx, client, bucket := context.Background(), archiveOwner(ts.Getenv("AWS_ENDPOINT_URL")), aws.String(cloud.ArchiveBucket)
	number := func() int {
		n, err := strconv.Atoi(args[2])
		ts.Check(err)
		return n
	}
	switch args[0] {
	case "lock":
		_, err := client.PutObjectLockConfiguration(ctx, &s3.PutObjectLockConfigurationInput{Bucket: bucket, ObjectLockConfiguration: &types.ObjectLockConfiguration{
			ObjectLockEnabled: types.ObjectLockEnabledEnabled,
			Rule:              &types.ObjectLockRule{DefaultRetention: &types.DefaultRetention{Mode: types.ObjectLockRetentionMode(args[1]), Days: aws.Int32(int32(number()))}},
		}})
		ts.Check(err)
	case "hide":
		var keys []string
		for pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: bucket}); pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			ts.Check(err)
			for _, o := range page.Contents {
				if strings.Contains(*o.Key, args[1]) {
					keys = append(keys, *o.Key)
				}
			}
		}
		slices.Sort(keys)
		if len(keys) < number() {
			ts.Fatalf("only %d objects have %q in their key", len(keys), args[1])
		}
		for _, key := range keys[len(keys)-number():] {
			_, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: &key})
			ts.Check(err)
			fmt.Fprintln(ts.Stdout(), key)
		}
	case "forge":
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		_, err := w.Write([]byte(ts.ReadFile(args[2])))
		ts.Check(err)
		ts.Check(w.Close())
		_, err = client.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: &args[1], Body: bytes.NewReader(packed.Bytes())})
		ts.Check(err)
	default:
		ts.Fatalf("archive %s: unknown", args[0])
	}
}
