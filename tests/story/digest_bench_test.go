package story

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/trail"
	"github.com/auditcanary/auditcanary/tests/chains"
	"github.com/auditcanary/auditcanary/tests/sandbox/archive"
)

// BenchmarkValidate validates one trail of 2,000 log files with the program and
// with `aws cloudtrail validate-logs`, each as a process of its own against the
// same S3 server, and ours of 200 log files too: memory must not grow with them.
//
// A server on the same two cores answers at once and takes most of the time
// itself. From afar each answer takes its time: Amazon says 100 to 200 ms for small
// objects; in "s3" it is 50.
func BenchmarkValidate(b *testing.B) {
	dir := b.TempDir()
	theirs, err := filepath.Abs("../sandbox/awscli/aws")
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	now := realClock{}
	a, err := archive.Open(ctx, archive.Config{Dir: filepath.Join(dir, "data"), Clock: now, Buckets: []archive.Bucket{{Name: "bench", Account: "300000000000", Region: "us-east-1"}}})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := a.Close(ctx); err != nil {
			b.Error(err)
		}
	}()
	end := now.Now().UTC().Truncate(time.Hour)
	key, err := chains.NewKey(end.AddDate(0, 0, -30), end.AddDate(0, 0, 30), false)
	if err != nil {
		b.Fatal(err)
	}
	endpoint := &chains.Endpoint{S3: a, Keys: []trail.PublicKey{key.Public}}
	srv := httptest.NewServer(endpoint)
	defer srv.Close()

	const perHour = 10
	few, many := 200, 2000
	deliver := func(account string, files int) (start time.Time) {
		start = end.Add(-time.Duration(files/perHour) * time.Hour)
		bucket := &chains.Bucket{Bucket: "bench", Objects: map[string]chains.Object{}}
		c := &chains.Chain{Bucket: bucket, Account: account, Region: "eu-west-1", Trail: "bench", Home: "us-east-1", Key: key, Time: start, Records: 25}
		for range files / perHour {
			for i := range perHour {
				c.Log(c.Time.Add(time.Duration(5*i+1) * time.Minute))
			}
			c.Digest(chains.Odd{})
		}
		for key, o := range bucket.Objects {
			if _, err := a.Put(ctx, archive.Object{Bucket: "bench", Key: key, Body: o.Body, Metadata: o.Meta}); err != nil {
				b.Fatal(err)
			}
		}
		return start
	}
	accounts := map[int]string{few: "300000000001", many: "300000000002"}
	starts := map[int]time.Time{}
	for n, account := range accounts {
		starts[n] = deliver(account, n)
	}
	time.Sleep(2 * time.Second) // what is as new as a validation itself, it leaves to the next one
	environ := append(os.Environ(), "AWS_ENDPOINT_URL="+srv.URL, "AWS_ACCESS_KEY_ID=AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret", "AWS_SESSION_TOKEN=",
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true")
	us := func(files int) process {
		cmd := exec.Command(filepath.Join(bin, "auditcanary"), "integrity", "--s3-bucket", "bench", "--account-id", accounts[files], "--region", "eu-west-1",
			"--start-time", starts[files].Format(time.RFC3339), "--end-time", end.Format(time.RFC3339))
		cmd.Env = environ
		p := takes(b, cmd)
		if want := fmt.Sprintf("%d digests and %d log files valid", files/perHour, files); !strings.Contains(p.out, want) {
			b.Fatalf("it does not say %q:\n%s", want, p.out)
		}
		return p
	}
	them := func(files int) (process, bool) {
		if _, err := os.Stat("/usr/bin/aws"); err != nil {
			b.Log("Debian's awscli is not installed: nothing to compare with")
			return process{}, false
		}
		cmd := exec.Command(theirs, "cloudtrail", "validate-logs", "--trail-arn", "arn:aws:cloudtrail:us-east-1:"+accounts[files]+":trail/bench",
			"--region", "eu-west-1", "--s3-bucket", "bench", "--start-time", starts[files].Format(time.RFC3339), "--end-time", end.Format(time.RFC3339))
		cmd.Env = environ
		p := takes(b, cmd)
		if want := fmt.Sprintf("%d/%d log files valid", files, files); !strings.Contains(p.out, want) {
			b.Fatalf("the AWS CLI does not say %q:\n%s", want, p.out)
		}
		return p, true
	}
	for _, at := range []struct {
		name    string
		latency time.Duration
	}{{"loopback", 0}, {"s3", 50 * time.Millisecond}} {
		b.Run(at.name, func(b *testing.B) {
			endpoint.Latency = at.latency
			for b.Loop() {
				small, large := us(few), us(many)
				b.ReportMetric(large.took.Seconds(), "s")
				b.ReportMetric(large.cpu.Seconds(), "cpu-s")
				b.ReportMetric(small.peakMB, "peak-MB-of-200")
				b.ReportMetric(large.peakMB, "peak-MB-of-2000")
				if aws, ok := them(many); ok {
					b.ReportMetric(aws.took.Seconds(), "awscli-s")
					b.ReportMetric(aws.cpu.Seconds(), "awscli-cpu-s")
					b.ReportMetric(aws.peakMB, "awscli-peak-MB")
					b.ReportMetric(aws.took.Seconds()/large.took.Seconds(), "x-faster")
				}
				b.ReportMetric(0, "ns/op")
			}
		})
	}
}

type realClock struct{}

func (realClock) Now() time.Time                  { return time.Now() }
func (realClock) Until(t time.Time) time.Duration { return time.Until(t) }

// process is what a process took.
type process struct {
	took, cpu time.Duration
	peakMB    float64 // its resident set at most
	out       string
}

// takes runs a command. Its peak is read while it runs: what the kernel reports
// in the end includes that of the process which started it.
func takes(b *testing.B, cmd *exec.Cmd) process {
	b.Helper()
	var out, failed strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &failed
	began := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	ended, sampled := make(chan struct{}), make(chan float64)
	go func() {
		var peak float64
		for {
			if mb := highWater(cmd.Process.Pid); mb > 0 {
				peak = mb
			}
			select {
			case <-ended:
				sampled <- peak
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	err := cmd.Wait()
	p := process{took: time.Since(began), cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	close(ended)
	p.peakMB, p.out = <-sampled, out.String()
	if err != nil {
		b.Fatalf("%s: %v\n%s%s", cmd, err, p.out, failed.String())
	}
	return p
}

// highWater is the largest resident set of a process so far, in MB; 0: not known.
func highWater(pid int) float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kb float64
	if _, err := fmt.Sscan(rest, &kb); err != nil {
		return 0
	}
	return kb / 1024
}
