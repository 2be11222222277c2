package trail

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	kgzip "github.com/klauspost/compress/gzip"
)

func TestParseDigestKeyReadsEveryLayout(t *testing.T) {
	stamp := time.Date(2023, 7, 10, 12, 0, 31, 0, time.UTC)
	const dir = "111122223333/CloudTrail-Digest/us-gov-west-1/2023/07/10/111122223333_CloudTrail-Digest_us-gov-west-1_"
	for _, c := range []struct {
		name, key string
		want      DigestKey
	}{
		{"plain", "AWSLogs/" + dir + "t-1_us-east-1_20230710T120031Z.json.gz", DigestKey{Trail: "t-1", HomeRegion: "us-east-1"}},
		{"backfill", "AWSLogs/" + dir + "t-1_us-east-1_20230710T120031Z_backfill.json.gz", DigestKey{Trail: "t-1", HomeRegion: "us-east-1", Backfill: true}},
		{"organisation and prefix", "a//b/AWSLogs/o-exampleorg/" + dir + "t-1_us-east-1_20230710T120031Z.json.gz",
			DigestKey{Prefix: "a//b", OrganizationID: "o-exampleorg", Trail: "t-1", HomeRegion: "us-east-1"}},
		{"a trail with underscores", "AWSLogs/" + dir + "all_of.it_eu-west-1_us-east-1_20230710T120031Z.json.gz", DigestKey{Trail: "all_of.it_eu-west-1", HomeRegion: "us-east-1"}},
		{"a trail that ends like a backfill", "AWSLogs/" + dir + "x_20230710T120031Z_backfill_us-east-1_20230710T120031Z.json.gz",
			DigestKey{Trail: "x_20230710T120031Z_backfill", HomeRegion: "us-east-1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.Account, c.want.Region, c.want.Stamp = "111122223333", "us-gov-west-1", stamp
			got, err := ParseDigestKey(c.key)
			if err != nil || got != c.want {
				t.Fatalf("got %+v, %v, want %+v", got, err, c.want)
			}
			if got.String() != c.key {
				t.Errorf("back to %s", got)
			}
		})
	}
}

func TestParseDigestKeyRefusesWhatIsNoDigest(t *testing.T) {
	const dir, name = "AWSLogs/111122223333/CloudTrail-Digest/us-east-1/2023/07/10/", "111122223333_CloudTrail-Digest_us-east-1_trail_us-east-1_20230710T120031Z.json.gz"
	for _, c := range []struct{ what, key, err string }{
		{"nothing", "", "has 1 parts"},
		{"log file", "AWSLogs/111122223333/CloudTrail/us-east-1/2023/07/10/111122223333_CloudTrail_us-east-1_20230710T1205Z_SjF3IkuNXJkoHyar.json.gz", `folder "CloudTrail"`},
		{"account of another folder", dir + strings.Replace(name, "111122223333", "999999999999", 1), "account and region of its folder"},
		{"day of another folder", dir + strings.Replace(name, "20230710", "20230711", 1), "does not belong"},
		{"no seconds", dir + strings.Replace(name, "T120031Z", "T1200Z", 1), "not a time"},
		{"a fraction", dir + strings.Replace(name, "T120031Z", "T120031.5Z", 1), "not a time"},
		{"no home region", dir + strings.Replace(name, "_us-east-1_2023", "_2023", 1), "no home region"},
		{"no trail", dir + strings.Replace(name, "_trail_", "__", 1), "not the name of a trail"},
		{"a trail with a space", dir + strings.Replace(name, "_trail_", "_a b_", 1), "not the name of a trail"},
		{"a long trail", dir + strings.Replace(name, "_trail_", "_"+strings.Repeat("a", 129)+"_", 1), "not the name of a trail"},
		{"only a time", dir + "111122223333_CloudTrail-Digest_us-east-1_20230710T120031Z.json.gz", "no trail, home region and time"},
		{"backfill twice", dir + strings.Replace(name, ".json", "_backfill_backfill.json", 1), "not a time"},
		{"more after it", dir + name + ".part", "does not end with .json.gz"},
	} {
		t.Run(c.what, func(t *testing.T) {
			k, err := ParseDigestKey(c.key)
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %+v, %v, want an error with %q", k, err, c.err)
			}
		})
	}
}

func FuzzParseDigestKey(f *testing.F) {
	for _, key := range []string{
		"AWSLogs/111122223333/CloudTrail-Digest/us-east-1/2023/07/10/111122223333_CloudTrail-Digest_us-east-1_trail_us-east-1_20230710T120031Z.json.gz",
		"a/AWSLogs/o-exampleorg/111122223333/CloudTrail-Digest/us-east-1/2023/07/10/111122223333_CloudTrail-Digest_us-east-1_a_b_us-east-1_20230710T120031Z_backfill.json.gz",
	} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		k, err := ParseDigestKey(key)
		if err == nil && k.String() != key {
			t.Errorf("%q reads as %+v, which is %q", key, k, k)
		}
	})
}

// digests are the contents of the vectors' digests.
func digests(t testing.TB) (all [][]byte) {
	t.Helper()
	err := filepath.WalkDir(vectors, func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.Contains(path, "CloudTrail-Digest_") || !strings.HasSuffix(path, ".gz") {
			return err
		}
		packed, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		z, err := kgzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			return err
		}
		var plain bytes.Buffer
		_, err = plain.ReadFrom(z)
		all = append(all, plain.Bytes())
		return err
	})
	if err != nil || len(all) < 20 {
		t.Fatalf("%d digests, %v", len(all), err)
	}
	return all
}

func TestParseDigestRefusesWhatItCouldNotVerify(t *testing.T) {
	var good string
	for _, d := range digests(t) {
		if _, err := ParseDigest(d); err != nil {
			t.Fatalf("%v\n%s", err, d)
		}
		if bytes.Contains(d, []byte(`"hashValue"`)) && !bytes.Contains(d, []byte(`"previousDigestSignature":null`)) {
			good = string(d)
		}
	}
	for _, c := range []struct{ name, old, new, err string }{
		{"cut", good[len(good)-10:], "", "unexpected"},
		{"more after it", good[len(good)-1:], "} {}", "after"},
		{"a field twice", `"awsAccountId":`, `"awsAccountId":"1","awsAccountId":`, "duplicate"},
		{"a field twice within a log file", `"s3Object":`, `"s3Object":"x","s3Object":`, "duplicate"},
		{"a field in other letters", `"awsAccountId"`, `"awsaccountid"`, "no awsAccountId"},
		{"no UTF-8", `"awsAccountId":"`, "\"awsAccountId\":\"\xff", "UTF-8"},
		{"a null", `"digestS3Bucket":"`, `"digestS3Bucket":null,"x":"`, "no digestS3Bucket"},
		{"a number", `"digestS3Object":"`, `"digestS3Object":7,"x":"`, "digestS3Object"},
		{"another algorithm", `"SHA256withRSA"`, `"SHA1withRSA"`, "digestSignatureAlgorithm"},
		{"a time with a zone", `:31Z","digestEndTime"`, `:31+00:00","digestEndTime"`, "digestStartTime"},
		{"a time with a fraction", `:31Z","digestEndTime"`, `:31.0Z","digestEndTime"`, "digestStartTime"},
		{"it ends before it starts", `"digestStartTime":"2023`, `"digestStartTime":"2024`, "before its start"},
		{"no previous signature", `"previousDigestSignature"`, `"x"`, "no previousDigestSignature"},
		{"a previous signature that is a number", `"previousDigestSignature":"`, `"previousDigestSignature":7,"x":"`, "neither a string nor null"},
		{"half of the previous", `"previousDigestS3Bucket":"`, `"previousDigestS3Bucket":null,"x":"`, "some of previousDigest"},
		{"a weak previous hash", `"previousDigestHashAlgorithm":"SHA-256"`, `"previousDigestHashAlgorithm":"MD5"`, "previousDigestHashAlgorithm"},
		{"a previous hash that is none", `"previousDigestHashValue":"`, `"previousDigestHashValue":"G`, "no SHA-256"},
		{"no log files", `"logFiles"`, `"logfiles"`, "no logFiles"},
		{"log files null", `"logFiles":[`, `"logFiles":null,"x":[`, "no logFiles"},
		{"a log file without a key", `"s3Object":"`, `"s3Object":"","x":"`, "no s3Bucket or s3Object"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !strings.Contains(good, c.old) {
				t.Fatalf("no %s in %s", c.old, good)
			}
			i := strings.LastIndex(good, c.old)
			if c.name != "a field twice within a log file" && c.name != "a log file without a key" && c.name != "cut" && c.name != "more after it" {
				i = strings.Index(good, c.old)
			}
			d, err := ParseDigest([]byte(good[:i] + c.new + good[i+len(c.old):]))
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%+v, %v, want %q", d, err, c.err)
			}
		})
	}
	if _, err := ParseDigest(bytes.Repeat([]byte(" "), MaxDigest+1)); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a huge one: %v", err)
	}
	// Whatever CloudTrail may add.
	if _, err := ParseDigest([]byte(strings.Replace(good, `"logFiles"`, `"more":{"a":[1,2]},"logFiles"`, 1))); err != nil {
		t.Errorf("an unknown field: %v", err)
	}
	// One log file's odd hash does not hide the others.
	d, err := ParseDigest([]byte(strings.Replace(good, `"hashAlgorithm":"SHA-256"`, `"hashAlgorithm":"MD5"`, 1)))
	if err != nil || d.Logs[0].SHA256 != "" || d.Logs[0].Unchecked == "" || len(d.Logs) < 2 || d.Logs[1].SHA256 == "" {
		t.Errorf("%+v, %v", d.Logs, err)
	}
}

func FuzzParseDigest(f *testing.F) {
	for _, d := range digests(f)[:6] {
		f.Add(d)
	}
	f.Add([]byte(`{"previousDigestSignature":null,"logFiles":[{}]}`))
	f.Fuzz(func(t *testing.T, plain []byte) {
		d, err := ParseDigest(plain)
		if err != nil {
			return
		}
		// What is signed is the text: it must be what was parsed.
		l := d.link("", "")
		if want := fmt.Appendf(nil, `"digestEndTime"`); !bytes.Contains(plain, want) && !bytes.Contains(plain, []byte(`\u`)) {
			t.Errorf("no digestEndTime in %s", plain)
		}
		if d.End.Before(d.Start) || d.Key == "" || d.Bucket == "" || d.SHA256 != sum(plain) || len(l.signed()) == 0 {
			t.Errorf("%+v", d)
		}
		for _, log := range d.Logs {
			if log.SHA256 != "" && !isSum(log.SHA256) || (log.SHA256 == "") != (log.Unchecked != "") {
				t.Errorf("%+v", log)
			}
		}
	})
}

func TestPublishedKeysAreRead(t *testing.T) {
	var published []struct{ Value, Fingerprint, Source string }
	readJSON(t, filepath.Join(vectors, "aws_published_public_keys.json"), &published)
	spki := 0
	for _, p := range published {
		der, err := base64.StdEncoding.DecodeString(p.Value)
		if err != nil {
			t.Fatal(err)
		}
		key := PublicKey{Fingerprint: p.Fingerprint, DER: der}
		got, err := key.rsa()
		if err != nil || got.N.BitLen() != 2048 {
			t.Errorf("%s (%s): %v", p.Fingerprint, p.Source, err)
		}
		if der[4] == 0x30 {
			spki++
		}
		key.Fingerprint = strings.Repeat("0", 32)
		if _, err := key.rsa(); err == nil {
			t.Errorf("%s is taken for another key", p.Fingerprint)
		}
	}
	if len(published) < 4 || spki != 1 {
		t.Errorf("%d keys, %d SPKI", len(published), spki)
	}
}
