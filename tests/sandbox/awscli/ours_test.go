package awscli_test

import (
	"testing"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/auditcanary/auditcanary/shared/aws"
	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/trail"
	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

// Our own validator reads the sandbox's digests through its drivers, and finds
// what is done to them.
func TestWeAcceptTheDigestsAndSeeWhatIsWrong(t *testing.T) {
	_, client := sandbox(t)
	o := client.Options()
	keys := aws.NewDigestKeys(awssdk.Config{Credentials: o.Credentials, BaseEndpoint: o.BaseEndpoint})
	validate := func(bucket, organization string, q trail.Validation) (sum trail.Counts, found []trail.Finding, heads []trail.Head) {
		t.Helper()
		a := trail.NewArchive(trail.Config{Name: "sandbox", OrganizationID: organization}, aws.NewArchiveStore(client, bucket))
		_, err := a.Validate(t.Context(), keys, q, func(r trail.Result) {
			sum.Digests += r.Counts.Digests
			sum.Logs += r.Counts.Logs
			found = append(found, r.Findings...)
			if r.Head != nil {
				heads = append(heads, *r.Head)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		return sum, found, heads
	}
	org := trail.Validation{Places: []canary.Target{{Account: member, Region: region}, {Account: member, Region: "us-east-1"}}}
	if n, found, _ := validate(cloud.ArchiveBucket, cloud.Organization, org); n.Digests != 8 || n.Logs != 4 || len(found) > 0 {
		t.Errorf("%+v, found %+v", n, found)
	}
	plain := trail.Validation{Places: []canary.Target{{Account: cloud.ManagementAccount, Region: "us-east-1"}}}
	n, found, heads := validate(plainBucket, "", plain)
	if n.Digests != 4 || n.Logs != 4 || len(found) > 0 || len(heads) == 0 {
		t.Fatalf("%+v, found %+v, heads %+v", n, found, heads)
	}
	// The newest digest goes, which AWS's validator does not see.
	head := heads[0].Key
	if head == "" {
		head = heads[1].Key
	}
	if _, err := client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: awssdk.String(plainBucket), Key: &head}); err != nil {
		t.Fatal(err)
	}
	plain.Heads = heads
	if _, found, _ := validate(plainBucket, "", plain); len(found) != 1 || found[0].Kind != trail.HeadMissing || found[0].Status != trail.Fail {
		t.Errorf("found %+v", found)
	}
	// A bucket that is not there is no archive without findings.
	a := trail.NewArchive(trail.Config{Name: "sandbox"}, aws.NewArchiveStore(client, "no-such-bucket"))
	if _, err := a.Validate(t.Context(), keys, plain, func(trail.Result) {}); err == nil {
		t.Error("no error")
	}
}
