package archive_test

import (
	"crypto"
	"crypto/md5"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/auditcanary/auditcanary/tests/sandbox/archive"
)

// verifyChain checks the digests at keys, oldest first, and the log files they
// name, as AWS documents it. It shares no code with what writes them.
func verifyChain(keys []string, get func(string) (object, error), public map[string]*rsa.PublicKey) (logs int, err error) {
	sum := func(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }
	previous, previousKey, previousHash := "", "", ""
	for _, key := range keys {
		o, err := get(key)
		if err != nil {
			return 0, err
		}
		plain, err := unpack(o.body)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", key, err)
		}
		var d struct {
			DigestS3Bucket, DigestS3Object, DigestEndTime, DigestPublicKeyFingerprint string
			PreviousDigestS3Object, PreviousDigestHashValue, PreviousDigestSignature  *string
			LogFiles                                                                  []struct{ S3Object, HashValue string }
		}
		if err := json.Unmarshal(plain, &d); err != nil {
			return 0, fmt.Errorf("%s: %w", key, err)
		}
		before := "null"
		if d.PreviousDigestSignature != nil {
			before = *d.PreviousDigestSignature
			if before != previous || *d.PreviousDigestS3Object != previousKey || *d.PreviousDigestHashValue != previousHash {
				return 0, fmt.Errorf("%s: does not follow %s", key, previousKey)
			}
		}
		if d.DigestS3Object != key {
			return 0, fmt.Errorf("%s: says it is %s", key, d.DigestS3Object)
		}
		hashed := sha256.Sum256([]byte(d.DigestEndTime + "\n" + d.DigestS3Bucket + "/" + key + "\n" + sum(plain) + "\n" + before))
		signature, err := hex.DecodeString(o.meta["signature"])
		if err != nil {
			return 0, fmt.Errorf("%s: signature: %w", key, err)
		}
		k := public[d.DigestPublicKeyFingerprint]
		if k == nil {
			return 0, fmt.Errorf("%s: no key %s", key, d.DigestPublicKeyFingerprint)
		}
		if err := rsa.VerifyPKCS1v15(k, crypto.SHA256, hashed[:], signature); err != nil {
			return 0, fmt.Errorf("%s: %w", key, err)
		}
		for _, l := range d.LogFiles {
			logs++
			o, err := get(l.S3Object)
			if err != nil {
				return 0, err
			}
			plain, err := unpack(o.body)
			if err != nil {
				return 0, fmt.Errorf("log file %s: %w", l.S3Object, err)
			}
			if sum(plain) != l.HashValue {
				return 0, fmt.Errorf("log file %s: its hash is another", l.S3Object)
			}
		}
		previous, previousKey, previousHash = o.meta["signature"], key, sum(plain)
	}
	return logs, nil
}

// verify checks the digests of a scope with the keys of keysOf.
func (b *bucket) verify(t *testing.T, s archive.Scope) error {
	t.Helper()
	keys := slices.DeleteFunc(b.keys("CloudTrail-Digest"), func(k string) bool {
		return !strings.Contains(k, "/"+s.Account+"/CloudTrail-Digest/"+s.Region+"/")
	})
	if len(keys) == 0 {
		t.Fatal("no digests")
	}
	_, err := verifyChain(keys, b.get, publicKeys(t, b.delivery.PublicKeys(s.Region, time.Time{}, time.Now().AddDate(10, 0, 0))))
	return err
}

func publicKeys(t *testing.T, keys []archive.PublicKey) map[string]*rsa.PublicKey {
	t.Helper()
	out := map[string]*rsa.PublicKey{}
	for _, k := range keys {
		p, err := x509.ParsePKCS1PublicKey(k.DER)
		if err != nil {
			t.Fatal(err)
		}
		out[k.Fingerprint] = p
	}
	return out
}

func TestDigestEveryHourEvenWhenNothingHappened(t *testing.T) {
	trail := archive.WorldTrail(target, other)
	bubble(t, archive.DeliveryConfig{Trail: trail}, func(t *testing.T, d *archive.Delivery, b *bucket) {
		start := time.Now().UTC()
		// Hour 1: records. Hours 2, 3: silence. Hour 4: records.
		for i := range 10 {
			d.Emit(target.Account, target.Region, record(i))
			time.Sleep(time.Minute)
		}
		time.Sleep(3 * time.Hour)
		for i := range 10 {
			d.Emit(target.Account, target.Region, record(100+i))
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()

		for _, s := range []archive.Scope{target, other} {
			if err := b.verify(t, s); err != nil {
				t.Error(err)
			}
		}
		keys := b.keys("CloudTrail-Digest")
		if len(keys) != 10 {
			t.Fatalf("%d digests of two scopes in five hours, want 10:\n%s", len(keys), strings.Join(keys, "\n"))
		}
		want := "AWSLogs/o-exampleorg1/111122223333/CloudTrail-Digest/eu-west-1/2000/01/01/" +
			"111122223333_CloudTrail-Digest_eu-west-1_org-trail_us-east-1_" + start.Add(time.Hour).Format("20060102T150405Z") + ".json.gz"
		if keys[0] != want {
			t.Errorf("first digest %s, want %s", keys[0], want)
		}
		// The other account was silent: hours follow each other, and logFiles is [] not null.
		for i, key := range keys[5:] {
			d := readDigest(t, b, key)
			at := start.Add(time.Duration(i) * time.Hour)
			if d["digestStartTime"] != at.Format(time.RFC3339) || d["digestEndTime"] != at.Add(time.Hour).Format(time.RFC3339) {
				t.Errorf("%s: from %s to %s", key, d["digestStartTime"], d["digestEndTime"])
			}
			if files, ok := d["logFiles"].([]any); !ok || len(files) != 0 || d["newestEventTime"] != nil {
				t.Errorf("%s: files %v, newest %v", key, d["logFiles"], d["newestEventTime"])
			}
			if starting := d["previousDigestSignature"] == nil; starting != (i == 0) {
				t.Errorf("%s: starting = %t", key, starting)
			}
		}
		// Every file is in one digest.
		named := 0
		for _, key := range keys {
			named += len(readDigest(t, b, key)["logFiles"].([]any))
		}
		if files := b.keys("CloudTrail"); named != len(files) {
			t.Errorf("%d files, digests name %d", len(files), named)
		}
	})
}

func readDigest(t *testing.T, b *bucket, key string) map[string]any {
	t.Helper()
	o, err := b.get(key)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := unpack(o.body)
	if err != nil {
		t.Fatal(err)
	}
	var d map[string]any
	if err := json.Unmarshal(plain, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestVerificationCatchesTampering(t *testing.T) {
	for name, tamper := range map[string]func(b *bucket){
		"log file replaced": func(b *bucket) {
			key := b.keys("CloudTrail")[0]
			b.objects[key] = object{body: gz(`{"Records":[]}`)}
		},
		"log file deleted": func(b *bucket) { delete(b.objects, b.keys("CloudTrail")[0]) },
		"digest in the middle deleted": func(b *bucket) {
			delete(b.objects, b.keys("CloudTrail-Digest")[1])
		},
		"digest changed": func(b *bucket) {
			key := b.keys("CloudTrail-Digest")[0]
			o := b.objects[key]
			plain, _ := unpack(o.body)
			o.body = gz(strings.Replace(string(plain), "111122223333", "111122223334", 1))
			b.objects[key] = o
		},
		"signature of another digest": func(b *bucket) {
			keys := b.keys("CloudTrail-Digest")
			o := b.objects[keys[0]]
			o.meta = b.objects[keys[1]].meta
			b.objects[keys[0]] = o
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, archive.DeliveryConfig{}, func(t *testing.T, d *archive.Delivery, b *bucket) {
				d.Emit(target.Account, target.Region, record(1))
				time.Sleep(4 * time.Hour)
				synctest.Wait()
				if err := b.verify(t, target); err != nil {
					t.Fatal(err)
				}
				tamper(b)
				if err := b.verify(t, target); err == nil {
					t.Error("not noticed")
				}
			})
		})
	}
}

func TestDigestNowEndsWithAShorterWindow(t *testing.T) {
	bubble(t, archive.DeliveryConfig{}, func(t *testing.T, d *archive.Delivery, b *bucket) {
		start := time.Now()
		d.Emit(target.Account, target.Region, record(1))
		time.Sleep(20 * time.Minute)
		if err := d.DigestNow(t.Context(), start.Add(20*time.Minute)); err != nil {
			t.Fatal(err)
		}
		keys := b.keys("CloudTrail-Digest")
		if len(keys) != 1 || len(readDigest(t, b, keys[0])["logFiles"].([]any)) != 1 {
			t.Fatalf("digests %q", keys)
		}
		if err := d.DigestNow(t.Context(), start.Add(20*time.Minute)); err != nil || len(b.keys("CloudTrail-Digest")) != 1 {
			t.Errorf("a second call made another, or %v", err)
		}
		time.Sleep(time.Hour + 5*time.Minute) // the chain goes on by itself
		if err := b.verify(t, target); err != nil || len(b.keys("CloudTrail-Digest")) != 2 {
			t.Errorf("%d digests, %v", len(b.keys("CloudTrail-Digest")), err)
		}
	})
}

func TestHalfFailedDigestsAreMadeOnce(t *testing.T) {
	failures := 1
	b := &bucket{fail: func(key string) error {
		if failures > 0 && strings.Contains(key, "/"+other.Account+"/CloudTrail-Digest/") {
			failures--
			return fmt.Errorf("no")
		}
		return nil
	}}
	c := archive.DeliveryConfig{Bucket: b, Trail: archive.WorldTrail(target, other), Report: func(error) {}}
	bubble(t, c, func(t *testing.T, d *archive.Delivery, b *bucket) {
		time.Sleep(3*time.Hour + 30*time.Minute)
		for _, s := range []archive.Scope{target, other} {
			if err := b.verify(t, s); err != nil {
				t.Error(err)
			}
		}
		if n := len(b.keys("CloudTrail-Digest")); n != 6 {
			t.Errorf("%d digests, want 6", n)
		}
	})
}

// vectors is a folder of objects as the fixtures have them.
type vectors struct{ dir string }

func (v vectors) get(key string) (object, error) {
	body, err := os.ReadFile(filepath.Join(v.dir, filepath.FromSlash(key)))
	if err != nil {
		return object{}, err
	}
	o := object{body: body}
	if meta, err := os.ReadFile(filepath.Join(v.dir, filepath.FromSlash(key)+".meta.json")); err == nil {
		if err := json.Unmarshal(meta, &o.meta); err != nil {
			return o, err
		}
	}
	return o, nil
}

func (v vectors) digests(t *testing.T) (keys []string) {
	t.Helper()
	err := filepath.WalkDir(v.dir, func(path string, _ fs.DirEntry, err error) error {
		if strings.Contains(path, "CloudTrail-Digest_") && strings.HasSuffix(path, ".json.gz") {
			key, _ := filepath.Rel(v.dir, path)
			keys = append(keys, filepath.ToSlash(key))
		}
		return err
	})
	if err != nil || len(keys) == 0 {
		t.Fatalf("%d digests, %v", len(keys), err)
	}
	return keys
}

// The same checks that hold for ours hold for digests that AWS's validator
// accepts, and both have the same members of the same types.
func TestDigestsAreLikeTheVectors(t *testing.T) {
	v := vectors{filepath.Join(testdata, "digest_vectors/16_gap_two_chains/s3/central-logs-bucket")}
	keys := v.digests(t)
	logs, err := verifyChain(keys, v.get, vectorKeys(t))
	if err != nil || logs == 0 {
		t.Fatalf("vectors: %d log files, %v", logs, err)
	}
	want := map[string]map[string]string{"starting": {}, "chained": {}}
	for _, key := range keys {
		o, _ := v.get(key)
		shape(t, o.body, want)
	}
	bubble(t, archive.DeliveryConfig{}, func(t *testing.T, d *archive.Delivery, b *bucket) {
		d.Emit(target.Account, target.Region, record(1))
		time.Sleep(70 * time.Minute)
		d.Emit(target.Account, target.Region, record(2))
		time.Sleep(70 * time.Minute)
		got := map[string]map[string]string{"starting": {}, "chained": {}}
		for _, key := range b.keys("CloudTrail-Digest") {
			o, _ := b.get(key)
			shape(t, o.body, got)
		}
		for kind, members := range want {
			for path, typ := range members {
				if g := got[kind][path]; g != typ {
					t.Errorf("%s digest: %s is %q, want %q", kind, path, g, typ)
				}
			}
			for path := range got[kind] {
				if _, ok := members[path]; !ok {
					t.Errorf("%s digest: %s is not in the vectors", kind, path)
				}
			}
		}
	})
}

// shape collects the types of a digest's members; a member that is null in an
// empty digest has the type it has elsewhere.
func shape(t *testing.T, packed []byte, into map[string]map[string]string) {
	t.Helper()
	plain, err := unpack(packed)
	if err != nil {
		t.Fatal(err)
	}
	var d map[string]any
	if err := json.Unmarshal(plain, &d); err != nil {
		t.Fatal(err)
	}
	kind := "chained"
	if d["previousDigestSignature"] == nil {
		kind = "starting"
	}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, x := range v {
				walk(path+"."+k, x)
			}
		case []any:
			for _, x := range v {
				walk(path+"[]", x)
			}
		case nil:
			if into[kind][path] == "" {
				into[kind][path] = "null"
			}
		default:
			into[kind][path] = fmt.Sprintf("%T", v)
		}
	}
	walk("", d)
}

func vectorKeys(t *testing.T) map[string]*rsa.PublicKey {
	t.Helper()
	var list []struct {
		Value       []byte
		Fingerprint string
	}
	readJSON(t, "digest_vectors/16_gap_two_chains/keys.json", &list)
	var keys []archive.PublicKey
	for _, k := range list {
		keys = append(keys, archive.PublicKey{DER: k.Value, Fingerprint: k.Fingerprint})
	}
	return publicKeys(t, keys)
}

func readJSON(t *testing.T, name string, into any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(testdata, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatal(err)
	}
}

func TestFingerprintIsMadeAsAWSDoes(t *testing.T) {
	var published []struct{ Value, Fingerprint string }
	readJSON(t, "digest_vectors/aws_published_public_keys.json", &published)
	if len(published) == 0 {
		t.Fatal("no published keys")
	}
	for _, p := range published {
		der, err := base64.StdEncoding.DecodeString(p.Value)
		if err != nil {
			t.Fatal(err)
		}
		if sum := md5.Sum(der); hex.EncodeToString(sum[:]) != p.Fingerprint {
			t.Errorf("the rule does not give AWS's fingerprint %s", p.Fingerprint)
		}
	}
	bubble(t, archive.DeliveryConfig{}, func(t *testing.T, d *archive.Delivery, _ *bucket) {
		now := time.Now()
		keys := d.PublicKeys("eu-west-1", now, now.Add(2*time.Hour))
		if len(keys) != 1 {
			t.Fatalf("%d keys", len(keys))
		}
		if sum := md5.Sum(keys[0].DER); hex.EncodeToString(sum[:]) != keys[0].Fingerprint {
			t.Errorf("fingerprint %s", keys[0].Fingerprint)
		}
		if _, err := x509.ParsePKCS1PublicKey(keys[0].DER); err != nil {
			t.Error(err)
		}
		if other := d.PublicKeys("us-east-1", now, now); other[0].Fingerprint == keys[0].Fingerprint {
			t.Error("two regions have one key")
		}
		if old := d.PublicKeys("eu-west-1", now.AddDate(-1, 0, 0), now.AddDate(0, -1, 0)); len(old) != 0 {
			t.Error("a key is listed outside its validity")
		}
	})
}
