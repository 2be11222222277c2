package trail

import (
	"strings"
	"testing"
	"time"
)

func TestParseKeyReadsEveryLayout(t *testing.T) {
	stamp := time.Date(2023, 7, 10, 12, 5, 0, 0, time.UTC)
	const file = "111122223333/CloudTrail/us-gov-west-1/2023/07/10/111122223333_CloudTrail_us-gov-west-1_20230710T1205Z_SjF3IkuNXJkoHyar.json.gz"
	for _, c := range []struct {
		name, key           string
		prefix, organzation string
	}{
		{"plain", "AWSLogs/" + file, "", ""},
		{"organisation trail", "AWSLogs/o-exampleorg/" + file, "", "o-exampleorg"},
		{"prefix", "central/AWSLogs/" + file, "central", ""},
		{"prefix with slashes, and organisation", "a/b//c/AWSLogs/o-exampleorg/" + file, "a/b//c", "o-exampleorg"},
		{"prefix that looks like a layout", "AWSLogs/o-other/AWSLogs/" + file, "AWSLogs/o-other", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseKey(c.key)
			want := Key{c.prefix, c.organzation, "111122223333", "us-gov-west-1", stamp, "SjF3IkuNXJkoHyar"}
			if err != nil || got != want {
				t.Fatalf("got %+v, %v, want %+v", got, err, want)
			}
			if got.String() != c.key {
				t.Errorf("back to %s", got)
			}
		})
	}
}

func TestParseKeyOfRealFiles(t *testing.T) {
	for _, name := range realFiles(t, "invictus") {
		key := strings.TrimPrefix(name, "testdata/invictus/")
		if k, err := ParseKey(key); err != nil || k.String() != key {
			t.Errorf("%s: %+v, %v", key, k, err)
		}
	}
}

func TestParseKeyRefusesWhatIsNoLogFile(t *testing.T) {
	const dir, name = "AWSLogs/111122223333/CloudTrail/us-east-1/2023/07/10/", "111122223333_CloudTrail_us-east-1_20230710T1205Z_SjF3IkuNXJkoHyar.json.gz"
	for _, c := range []struct{ what, key, err string }{
		{"nothing", "", "has 1 parts"},
		{"digest", "AWSLogs/111122223333/CloudTrail-Digest/us-east-1/2023/07/10/111122223333_CloudTrail-Digest_us-east-1_t_us-east-1_20230710T120031Z.json.gz", `folder "CloudTrail-Digest"`},
		{"insight", "AWSLogs/111122223333/CloudTrail-Insight/us-east-1/2023/07/10/111122223333_CloudTrail-Insight_us-east-1_20230710T1205Z_SjF3IkuNXJkoHyar.json.gz", `folder "CloudTrail-Insight"`},
		{"network activity", "AWSLogs/111122223333/CloudTrail-NetworkActivity/us-east-1/2023/07/10/" + name, `folder "CloudTrail-NetworkActivity"`},
		{"other service", "AWSLogs/111122223333/Config/us-east-1/2023/07/10/" + name, `folder "Config"`},
		{"no AWSLogs", "Logs/111122223333/CloudTrail/us-east-1/2023/07/10/" + name, "does not follow AWSLogs/"},
		{"organisation without AWSLogs", "o-exampleorg/111122223333/CloudTrail/us-east-1/2023/07/10/" + name, "does not follow AWSLogs/"},
		{"organisation id in capitals", "AWSLogs/O-EXAMPLE/111122223333/CloudTrail/us-east-1/2023/07/10/" + name, "does not follow AWSLogs/"},
		{"leading slash", "/" + dir + name, "begins with a slash"},
		{"short account", "AWSLogs/1111/CloudTrail/us-east-1/2023/07/10/1111_CloudTrail_us-east-1_20230710T1205Z_SjF3IkuNXJkoHyar.json.gz", "not 12 digits"},
		{"region of capitals", strings.ReplaceAll(dir+name, "us-east-1", "US-EAST-1"), "not a region"},
		{"account of another folder", dir + strings.Replace(name, "111122223333", "999999999999", 1), "account and region of its folder"},
		{"region of another folder", dir + strings.Replace(name, "us-east-1", "us-east-2", 1), "account and region of its folder"},
		{"day of another folder", dir + strings.Replace(name, "20230710", "20230711", 1), "does not belong"},
		{"no such day", strings.ReplaceAll(strings.ReplaceAll(dir+name, "07/10", "02/30"), "20230710", "20230230"), "not a time"},
		{"no Z", dir + strings.Replace(name, "T1205Z", "T1205", 1), "not a time"},
		{"seconds", dir + strings.Replace(name, "T1205Z", "T120531Z", 1), "not a time"},
		{"unique too short", dir + strings.Replace(name, "yar.json", ".json", 1), "16 letters and digits"},
		{"unique with a dot", dir + strings.Replace(name, "yar.json", "y.r.json", 1), "16 letters and digits"},
		{"not compressed", dir + strings.TrimSuffix(name, ".gz"), "does not end with .json.gz"},
		{"more after it", dir + name + ".part", "does not end with .json.gz"},
		{"hand-made", "AWSLogs/o-abcd/811596193553/CloudTrail/us-east-1/2020/10/01/811596193553_CloudTrail_us-east-1-20201001T0000.json.gz", "account and region of its folder"},
	} {
		t.Run(c.what, func(t *testing.T) {
			k, err := ParseKey(c.key)
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %+v, %v, want an error with %q", k, err, c.err)
			}
		})
	}
}

func FuzzParseKey(f *testing.F) {
	for _, name := range append(realFiles(f, "invictus"), realFiles(f, "umccr")...) {
		_, key, _ := strings.Cut(name, "testdata/")
		f.Add(key)
	}
	f.Add("a/b//AWSLogs/o-exampleorg/111122223333/CloudTrail/us-east-1/2023/07/10/111122223333_CloudTrail_us-east-1_20230710T1205Z_SjF3IkuNXJkoHyar.json.gz")
	f.Fuzz(func(t *testing.T, key string) {
		k, err := ParseKey(key)
		if err == nil && k.String() != key {
			t.Errorf("%q reads as %+v, which is %q", key, k, k)
		}
	})
}
