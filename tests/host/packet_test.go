package host

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/auditcanary/auditcanary/shared/packet"
	"github.com/auditcanary/auditcanary/shared/wire"
	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

// TestPacketsAreLockedAway: the function builds a period's packet into the bucket
// with Object Lock, once, and the next one goes on from it.
func TestPacketsAreLockedAway(t *testing.T) {
	sb := startSandbox(t)
	env := map[string]string{}
	for _, kv := range sb.env {
		name, value, _ := strings.Cut(kv, "=")
		env[name] = value
	}
	config := env["AUDITCANARY_CONFIG"]
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte(`include: ["aws/*"]`), []byte(`include: ["aws/kms-disable-key"]`), 1)
	if err := os.WriteFile(config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(function, in string) (out []byte) {
		t.Helper()
		p := start(t, binary(t, function), []string{in}, sb.env...)
		if code := p.wait(t); code != 0 && function == "packet" {
			t.Fatalf("%s %s: exit code %d\n%s", function, in, code, p.stderr.String())
		}
		return []byte(p.stdout.String())
	}
	store := func(from, to string) (s wire.Stored) {
		t.Helper()
		in, _ := json.Marshal(map[string]string{"from": from, "to": to})
		if err := json.Unmarshal(run("packet", string(in)), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	run("inject", `{"run":"20261126-locked"}`)
	if out := run("packet", `{}`); !bytes.Contains(out, []byte(`"empty"`)) {
		t.Errorf("a day on which nothing was done: %s", out)
	}
	first := store("2020-01-01T00:00:00Z", "2100-01-01T00:00:00Z")
	if first.Existed || first.Previous != "" || first.Leaves == 0 || first.Object != "s3://auditcanary-evidence/packets/packet-20200101T000000Z-21000101T000000Z.zip" {
		t.Errorf("the first: %+v", first)
	}
	if again := store("2020-01-01T00:00:00Z", "2100-01-01T00:00:00Z"); !again.Existed {
		t.Errorf("the first once more: %+v", again)
	}
	second := store("2020-01-02T00:00:00Z", "2100-01-01T00:00:00Z")
	if second.Previous != first.Object {
		t.Errorf("the second: %+v", second)
	}

	client := evidenceClient(sb.url, env)
	get := func(object string) ([]byte, string) {
		t.Helper()
		key := strings.TrimPrefix(object, "s3://auditcanary-evidence/")
		out, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(cloud.EvidenceBucket), Key: &key})
		if err != nil {
			t.Fatal(err)
		}
		defer out.Body.Close()
		data, err := io.ReadAll(out.Body)
		if err != nil {
			t.Fatal(err)
		}
		held, err := client.GetObjectRetention(t.Context(), &s3.GetObjectRetentionInput{Bucket: aws.String(cloud.EvidenceBucket), Key: &key})
		if err != nil || held.Retention.Mode != types.ObjectLockRetentionModeCompliance || held.Retention.RetainUntilDate.Before(time.Now().AddDate(0, 0, 399)) {
			t.Errorf("%s is held by %+v, %v", object, held, err)
		}
		return data, aws.ToString(out.VersionId)
	}
	vkey, err := os.ReadFile(filepath.Join(filepath.Dir(config), "signing.key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	pin, _ := get(strings.TrimSuffix(first.Object, ".zip") + ".checkpoint")
	data, version := get(second.Object)
	r, err := packet.Verify(t.Context(), bytes.NewReader(data), int64(len(data)), packet.Trust{Keys: []string{string(vkey)}, Pin: pin}, packet.VerifyOptions{Rejudge: true})
	if err != nil || r.Err() != nil {
		t.Errorf("the second packet does not verify: %v, %v", err, r.Err())
	}
	// One that died before it wrote the checkpoint is finished by whoever comes next.
	orphan := "packets/packet-20200103T000000Z-21000101T000000Z"
	if _, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(cloud.EvidenceBucket), Key: aws.String(orphan + ".zip"), Body: bytes.NewReader(data)}); err != nil {
		t.Fatal(err)
	}
	if s := store("2020-01-03T00:00:00Z", "2100-01-01T00:00:00Z"); !s.Existed {
		t.Errorf("half of one: %+v", s)
	}
	mine, _ := get(strings.TrimSuffix(second.Object, ".zip") + ".checkpoint")
	if signed, _ := get("s3://auditcanary-evidence/" + orphan + ".checkpoint"); !bytes.Equal(signed, mine) {
		t.Errorf("its checkpoint is %q", signed)
	}
	// Neither deleted nor written anew by its own writer.
	key := strings.TrimPrefix(second.Object, "s3://auditcanary-evidence/")
	if _, err := client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(cloud.EvidenceBucket), Key: &key, VersionId: &version}); err == nil {
		t.Error("the role that writes packets can delete one")
	}
	if _, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(cloud.EvidenceBucket), Key: &key, Body: strings.NewReader("x"), IfNoneMatch: aws.String("*")}); err == nil {
		t.Error("a packet can be written a second time")
	}
}

// evidenceClient acts as the role that keeps packets.
func evidenceClient(url string, env map[string]string) *s3.Client {
	cfg := aws.Config{
		Region: "us-east-1", BaseEndpoint: &url,
		Credentials: credentials.NewStaticCredentialsProvider(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], env["AWS_SESSION_TOKEN"]),
	}
	role := stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), cloud.EvidenceRole(), func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = "auditcanary-auditor"
	})
	cfg.Credentials = aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) { return role.Retrieve(ctx) })
	return s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true })
}
