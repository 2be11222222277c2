package story

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

type wallClock struct{}

func (wallClock) Now() time.Time                  { return time.Now() }
func (wallClock) Until(t time.Time) time.Duration { return time.Until(t) }

func asCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: as ACCOUNT")
	}
	a := cloud.World(wallClock{}).Accounts[args[0]]
	if a == nil {
		ts.Fatalf("as %s: no such account", args[0])
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

// hideCmd deletes as far as Object Lock lets anybody: a marker hides each object.
func hideCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: hide TEXT N")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	ctx, client, bucket := context.Background(), archiveOwner(ts.Getenv("AWS_ENDPOINT_URL")), aws.String(cloud.ArchiveBucket)
	var keys []string
	for pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: bucket}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		ts.Check(err)
		for _, o := range page.Contents {
			if strings.Contains(*o.Key, args[0]) {
				keys = append(keys, *o.Key)
			}
		}
	}
	slices.Sort(keys)
	if len(keys) < n {
		ts.Fatalf("only %d objects have %q in their key", len(keys), args[0])
	}
	for _, key := range keys[len(keys)-n:] {
		_, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: &key})
		ts.Check(err)
		fmt.Fprintln(ts.Stdout(), key)
	}
}
