package infra

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/auditcanary/auditcanary/shared/wire"
	"github.com/auditcanary/auditcanary/tests/cfn"
)

// TestTapsOfCellsHangOnTheTopicsOfTheTemplate: what `auditcanary taps` writes, for queues
// that are named as alerts.yaml and the functions' policy have them.
func TestTapsOfCellsHangOnTheTopicsOfTheTemplate(t *testing.T) {
	alerts, err := cfn.Load(filepath.Join(dir, "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	v := values("us-east-1")
	v["AWS::Partition"] = "aws"
	made, err := alerts.Resolve(v)
	if err != nil {
		t.Fatal(err)
	}
	var topics []string
	for _, r := range made {
		if r.Type == "AWS::SNS::Topic" {
			topics = append(topics, r.Properties["TopicName"].(string))
		}
	}
	text := "version: 1\nledger: {origin: auditcanary.example/test, dir: ledger}\nsigning: {key_file: signing.key}\n" +
		"log_stores:\n  - {name: central, type: cloudtrail-s3, bucket: archive, region: us-east-1}\n" +
		"targets:\n  - {account: \"111122223333\", cell: a, regions: [us-east-1], role_arn: \"arn:aws:iam::111122223333:role/auditcanary-injector\"}\n" +
		"  - {account: \"444455556666\", cell: b-2, regions: [us-east-1], role_arn: \"arn:aws:iam::444455556666:role/auditcanary-injector\"}\nalerts:\n"
	for _, topic := range topics {
		name := strings.TrimPrefix(topic, "auditcanary-")
		text += "  - {name: " + name + ", sqs: {queue_url: \"https://sqs.us-east-1.amazonaws.com/222222222222/auditcanary-alert-tap-{cell}-" + name + "\", region: us-east-1}}\n"
	}
	c, err := wire.Parse(filepath.Join(t.TempDir(), "auditcanary.yaml"), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	taps, err := wire.OfTaps(c, wire.TapsOptions{Topic: "auditcanary-{alert}"})
	if err != nil || len(taps.Stacks) != 1 || len(topics) < 10 {
		t.Fatalf("%d stacks for %d topics, %v", len(taps.Stacks), len(topics), err)
	}
	file := filepath.Join(t.TempDir(), "taps.json")
	if err := os.WriteFile(file, taps.Stacks[0].Template, 0o600); err != nil {
		t.Fatal(err)
	}
	template, err := cfn.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if dangling := template.Dangling(); len(dangling) > 0 {
		t.Errorf("dangling: %q", dangling)
	}
	stack, err := template.Resolve(map[string]string{"AWS::Partition": "aws", "AWS::Region": "us-east-1", "AWS::AccountId": "222222222222"})
	if err != nil {
		t.Fatal(err)
	}
	heard := map[string]int{}
	for _, r := range stack {
		switch r.Type {
		case "AWS::SQS::Queue":
			if name := r.Properties["QueueName"].(string); !strings.HasPrefix(name, "auditcanary-alert-tap-") {
				t.Errorf("the functions may not read %s (AlertTapArn)", name)
			}
		case "AWS::SNS::Subscription":
			arn := r.Properties["TopicArn"].(string)
			heard[arn[strings.LastIndexByte(arn, ':')+1:]]++
		}
	}
	for _, topic := range topics {
		if heard[topic] != 2 {
			t.Errorf("%s tells %d cells of 2", topic, heard[topic])
		}
	}
	for topic := range heard {
		if !slices.Contains(topics, topic) {
			t.Errorf("no such topic: %s", topic)
		}
	}
}
