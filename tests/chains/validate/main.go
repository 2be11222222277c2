// Command validate validates one account and region through the product's own
// drivers, for the benchmark: what it takes is a process's, as the AWS CLI's is.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/auditcanary/auditcanary/shared/aws"
	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/trail"
)

func main() {
	if err := validate(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

func validate() error {
	endpoint := flag.String("endpoint", "", "of S3 and CloudTrail")
	bucket := flag.String("bucket", "", "that holds the archive")
	account := flag.String("account", "", "to validate")
	region := flag.String("region", "", "to validate")
	start := flag.String("start", "", "RFC 3339")
	end := flag.String("end", "", "RFC 3339")
	concurrency := flag.Int("concurrency", 0, "objects at a time")
	flag.Parse()
	from, err := time.Parse(time.RFC3339, *start)
	if err != nil {
		return err
	}
	until, err := time.Parse(time.RFC3339, *end)
	if err != nil {
		return err
	}
	cfg := awssdk.Config{Region: "us-east-1", BaseEndpoint: endpoint, Credentials: credentials.NewStaticCredentialsProvider("AKIAEXAMPLE", "secret", "")}
	client := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true })
	archive := trail.NewArchive(trail.Config{Name: "bench"}, aws.NewArchiveStore(client, *bucket))
	var sum trail.Counts
	var findings []trail.Finding
	_, err = archive.Validate(context.Background(), aws.NewDigestKeys(cfg), trail.Validation{
		From: from, Until: until, Places: []canary.Target{{Account: *account, Region: *region}}, Concurrency: *concurrency,
	}, func(r trail.Result) {
		sum.Digests += r.Counts.Digests
		sum.Logs += r.Counts.Logs
		findings = append(findings, r.Findings...)
	})
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"digests": sum.Digests, "logs": sum.Logs, "findings": findings})
}
