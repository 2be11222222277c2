package aws

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// shelf answers as S3 and KMS do for one locked object; tests change its answers.
type shelf struct {
	status map[string]int    // by operation; 0 = 200
	code   map[string]string // the error's code
	body   map[string]string
	head   http.Header
	asked  map[string]int
}

func lockedShelf() *shelf {
	h := http.Header{}
	h.Set("X-Amz-Object-Lock-Mode", "COMPLIANCE")
	h.Set("X-Amz-Object-Lock-Retain-Until-Date", "2027-11-22T10:00:00Z")
	h.Set("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", "arn:aws:kms:us-east-1:999999999999:key/k1")
	return &shelf{
		status: map[string]int{"lifecycle": 404}, code: map[string]string{"lifecycle": "NoSuchLifecycleConfiguration"},
		body: map[string]string{
			"versioning":  `<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>`,
			"object-lock": `<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Years>1</Years></DefaultRetention></Rule></ObjectLockConfiguration>`,
			"key":         `{"KeyMetadata":{"KeyId":"k1","KeyState":"Enabled","Origin":"AWS_KMS"}}`,
		},
		head: h, asked: map[string]int{},
	}
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	op := "head"
	for _, sub := range []string{"versioning", "object-lock", "lifecycle", "retention"} {
		if r.URL.Query().Has(sub) {
			op = sub
		}
	}
	if strings.HasPrefix(r.Header.Get("X-Amz-Target"), "TrentService.") {
		op = "key"
	}
	s.asked[op]++
	status := s.status[op]
	if op == "head" {
		if q := r.URL.Query().Get("versionId"); q != "v1" {
			http.Error(w, "asked for version "+q, http.StatusTeapot)
			return
		}
		for k, v := range s.head {
			w.Header()[k] = v
		}
	}
	if status != 0 {
		w.WriteHeader(status)
		if op == "key" {
			fmt.Fprintf(w, `{"__type":%q,"message":"no"}`, s.code[op])
		} else if op != "head" {
			fmt.Fprintf(w, `<Error><Code>%s</Code><Message>no</Message></Error>`, s.code[op])
		}
		return
	}
	io.WriteString(w, s.body[op])
}

func (s *shelf) keeper(t *testing.T) *Keeper {
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	creds := credentials.NewStaticCredentialsProvider("AKIAEXAMPLE", "secret", "")
	return NewKeeper(
		s3.New(s3.Options{Region: "us-east-1", BaseEndpoint: &srv.URL, UsePathStyle: true, Credentials: creds, Retryer: awssdk.NopRetryer{}}),
		func(region string) *kms.Client {
			return kms.New(kms.Options{Region: region, BaseEndpoint: &srv.URL, Credentials: creds, Retryer: awssdk.NopRetryer{}})
		}, "central-logs")
}

func TestKeeperSaysHowAnObjectIsHeld(t *testing.T) {
	denied := func(op string) func(*shelf) {
		return func(s *shelf) { s.status[op], s.code[op] = 403, "AccessDenied" }
	}
	noLock := func(s *shelf) {
		s.head.Del("X-Amz-Object-Lock-Mode")
		s.head.Del("X-Amz-Object-Lock-Retain-Until-Date")
		s.status["retention"], s.code["retention"] = 404, "NoSuchObjectLockConfiguration"
	}
	tests := []struct {
		claim  string
		change func(*shelf)
		want   func(canary.Held) bool
		unread string // begins one entry of Unread; "" = there is none
	}{
		{"a locked object, as it is", func(*shelf) {}, func(h canary.Held) bool {
			return h.Mode == "COMPLIANCE" && h.Until.Equal(time.Date(2027, 11, 22, 10, 0, 0, 0, time.UTC)) && h.Key.State == "Enabled" && h.Key.Origin == "AWS_KMS" &&
				h.Bucket.Versioning == "Enabled" && h.Bucket.DefaultMode == "COMPLIANCE" && h.Bucket.DefaultDays == 365 && len(h.Bucket.Expiring) == 0 && !h.Gone && !h.LegalHold && !h.EventHold
		}, ""},
		{"a legal hold", func(s *shelf) { s.head.Set("X-Amz-Object-Lock-Legal-Hold", "ON") }, func(h canary.Held) bool { return h.LegalHold }, ""},
		{"a legal hold taken off", func(s *shelf) { s.head.Set("X-Amz-Object-Lock-Legal-Hold", "OFF") }, func(h canary.Held) bool { return !h.LegalHold }, ""},
		{"no lock, and S3 says so", noLock, func(h canary.Held) bool { return h.Mode == "" && !h.Gone }, ""},
		{"headers left out for want of a right are not the same as no lock", func(s *shelf) { noLock(s); denied("retention")(s) }, func(h canary.Held) bool { return h.Mode == "" }, "retention: GetObjectRetention s3://central-logs/k"},
		{"headers left out, and the retention is there", func(s *shelf) {
			noLock(s)
			delete(s.status, "retention")
			s.body["retention"] = `<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2027-01-01T00:00:00Z</RetainUntilDate></Retention>`
		}, func(h canary.Held) bool { return h.Mode == "GOVERNANCE" && h.Until.Year() == 2027 }, ""},
		{"the version is gone", func(s *shelf) { s.status["head"] = 404 }, func(h canary.Held) bool { return h.Gone }, ""},
		{"the object may not be looked at", func(s *shelf) { s.status["head"] = 403 }, func(h canary.Held) bool { return !h.Gone }, "retention: HeadObject s3://central-logs/k"},
		{"versioning may not be read", denied("versioning"), func(h canary.Held) bool { return h.Bucket.Versioning == "" }, "versioning: GetBucketVersioning s3://central-logs"},
		{"the lock configuration may not be read", denied("object-lock"), func(h canary.Held) bool { return h.Bucket.DefaultMode == "" }, "default retention: GetObjectLockConfiguration"},
		{"there is no lock configuration", func(s *shelf) {
			s.status["object-lock"], s.code["object-lock"] = 404, "ObjectLockConfigurationNotFoundError"
		}, func(h canary.Held) bool { return h.Bucket.DefaultMode == "" }, ""},
		{"a lock without a default", func(s *shelf) {
			s.body["object-lock"] = `<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>`
		}, func(h canary.Held) bool { return h.Bucket.DefaultMode == "" }, ""},
		{"the lifecycle may not be read", denied("lifecycle"), func(h canary.Held) bool { return true }, "lifecycle: GetBucketLifecycleConfiguration"},
		{"rules that hide the object, and rules that do not", func(s *shelf) {
			delete(s.status, "lifecycle")
			s.body["lifecycle"] = `<LifecycleConfiguration>
				<Rule><ID>all</ID><Status>Enabled</Status><Filter><Prefix></Prefix></Filter><Expiration><Days>30</Days></Expiration></Rule>
				<Rule><ID>off</ID><Status>Disabled</Status><Filter><Prefix></Prefix></Filter><Expiration><Days>1</Days></Expiration></Rule>
				<Rule><ID>elsewhere</ID><Status>Enabled</Status><Filter><Prefix>other/</Prefix></Filter><Expiration><Days>1</Days></Expiration></Rule>
				<Rule><ID>old</ID><Status>Enabled</Status><Filter><And><Prefix>k</Prefix></And></Filter><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration></Rule>
				<Rule><ID>dated</ID><Status>Enabled</Status><Prefix>k</Prefix><Expiration><Date>2026-12-01T00:00:00Z</Date></Expiration></Rule>
			</LifecycleConfiguration>`
		}, func(h canary.Held) bool { return fmt.Sprint(h.Bucket.Expiring) == "[{dated 0} {all 30}]" }, ""},
		{"as many rules as a bucket may have", func(s *shelf) {
			delete(s.status, "lifecycle")
			var rules strings.Builder
			for n := range 1000 {
				fmt.Fprintf(&rules, "<Rule><ID>%s%d</ID><Status>Enabled</Status><Filter><Prefix></Prefix></Filter><Expiration><Days>%d</Days></Expiration></Rule>", strings.Repeat("x", 250), n, 1000-n)
			}
			s.body["lifecycle"] = "<LifecycleConfiguration>" + rules.String() + "</LifecycleConfiguration>"
		}, func(h canary.Held) bool {
			return len(h.Bucket.Expiring) == canary.MaxExpiring && h.Bucket.Expiring[0].Days == 1 && h.Bucket.More == 1000-canary.MaxExpiring
		}, ""},
		{"the key may not be looked at", func(s *shelf) { s.status["key"], s.code["key"] = 400, "AccessDeniedException" }, func(h canary.Held) bool { return h.Key.State == "" }, "key: DescribeKey arn:aws:kms"},
		{"the key will be deleted", func(s *shelf) {
			s.body["key"] = `{"KeyMetadata":{"KeyId":"k1","KeyState":"PendingDeletion","Origin":"EXTERNAL","DeletionDate":1797000000}}`
		}, func(h canary.Held) bool {
			return h.Key.State == "PendingDeletion" && h.Key.Origin == "EXTERNAL" && h.Key.Deletion.Unix() == 1797000000
		}, ""},
		{"what is named as a key is none", func(s *shelf) { s.head.Set("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", "k1") }, func(h canary.Held) bool { return h.Key.State == "" }, `key: "k1" is not the ARN`},
		{"no key of the customer's", func(s *shelf) { s.head.Del("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id") }, func(h canary.Held) bool { return h.Key == nil }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.claim, func(t *testing.T) {
			s := lockedShelf()
			tt.change(s)
			h, err := s.keeper(t).Held(context.Background(), "k", "v1")
			if err != nil {
				t.Fatal(err)
			}
			if !tt.want(h) {
				t.Errorf("%+v", h)
			}
			found := false
			for _, u := range h.Unread {
				found = found || tt.unread != "" && strings.HasPrefix(u, tt.unread)
			}
			if found != (tt.unread != "") || tt.unread == "" && len(h.Unread) > 0 {
				t.Errorf("unread %q, want one that begins %q", h.Unread, tt.unread)
			}
		})
	}
}

func TestKeeperAsksOnceForWhatIsTheSameForAll(t *testing.T) {
	s := lockedShelf()
	k := s.keeper(t)
	for range 3 {
		if _, err := k.Held(context.Background(), "k", "v1"); err != nil {
			t.Fatal(err)
		}
	}
	if got := fmt.Sprint(s.asked); got != "map[head:3 key:1 lifecycle:1 object-lock:1 versioning:1]" {
		t.Error(got)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.keeper(t).Held(ctx, "k", "v1"); err == nil {
		t.Error("a context that has ended is no answer")
	}
}
