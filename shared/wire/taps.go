package wire

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Limits of AWS.
const (
	maxResources    = 500 // of a template
	maxFilterValues = 150 // of a subscription
	maxQueueName    = 80
	keptMessages    = 14 * 24 * 3600 // seconds
	// FiltersOfATopic is how many of its subscriptions have a filter, unless AWS was asked for more.
	FiltersOfATopic = 200
)

// alertMark stands for an alert's name in the name of its topic.
const alertMark = "{alert}"

// TapsOptions are what a configuration does not say.
type TapsOptions struct {
	// Topic is the name of the topic that tells people of an alert, with {alert} for its
	// name; it is in the account and region of the queues.
	Topic string
}

// Taps are the queues in which the cells hear their alerts.
type Taps struct {
	Stacks []TapStack `json:"stacks"`
	// Filters is how many subscriptions with a filter the topic of each alert gets.
	Filters int `json:"filters"`
}

// TapStack is a CloudFormation template, for one account and region.
type TapStack struct {
	Name     string          `json:"name"`
	Account  string          `json:"account"`
	Region   string          `json:"region"`
	Cells    []string        `json:"cells"`
	Template json.RawMessage `json:"-"`
	// File it was written to, by whoever wrote it.
	File string `json:"file"`
}

// OfTaps makes, for each alert whose queue_url has {cell} in it, a queue for every cell
// with accounts, subscribed to the alert's topic for the events of these accounts alone.
// A stack has as many cells as fit, in the order of the configuration: a cell that is
// added at its end moves no other.
func OfTaps(c *Config, o TapsOptions) (Taps, error) {
	if !strings.Contains(o.Topic, alertMark) {
		return Taps{}, fmt.Errorf("topic %q: a name with %s in it, as auditcanary-%s is", o.Topic, alertMark, alertMark)
	}
	if c.cell != "" || len(c.Cells()) == 0 {
		return Taps{}, fmt.Errorf("%s has no cells: one queue for each alert is enough (infra/aws/alerts.yaml makes it)", c.file)
	}
	type place struct{ account, region string }
	alerts := map[place][]Alert{}
	var places []place
	for _, a := range c.Alerts {
		if a.SQS == nil || !strings.Contains(a.SQS.QueueURL, cellMark) {
			continue
		}
		account, _, err := queueOf(a.SQS.QueueURL)
		if err != nil {
			return Taps{}, fmt.Errorf("alert %s: %w", a.Name, err)
		}
		at := place{account, a.SQS.Region}
		if alerts[at] == nil {
			places = append(places, at)
		}
		alerts[at] = append(alerts[at], a)
	}
	if len(places) == 0 {
		return Taps{}, fmt.Errorf("%s: no alert arrives in a queue with %s in its queue_url", c.file, cellMark)
	}
	accounts := map[string][]string{}
	var cells []string
	for _, t := range c.Targets {
		if accounts[t.Cell] == nil {
			cells = append(cells, t.Cell)
		}
		accounts[t.Cell] = append(accounts[t.Cell], t.Account)
	}
	for cell, of := range accounts {
		if len(of) > maxFilterValues {
			return Taps{}, fmt.Errorf("cell %s has %d accounts: a subscription's filter takes %d", cell, len(of), maxFilterValues)
		}
	}
	out := Taps{Filters: len(cells)}
	for _, at := range places {
		n := (maxResources - len(alerts[at])) / (2 * len(alerts[at]))
		if n == 0 {
			return Taps{}, fmt.Errorf("%d alerts arrive in queues of account %s, %s: a template takes those of one cell at most if they are %d", len(alerts[at]), at.account, at.region, maxResources/3)
		}
		stack := 0
		for some := range slices.Chunk(cells, n) {
			stack++
			text, err := tapTemplate(alerts[at], some, accounts, o.Topic)
			if err != nil {
				return Taps{}, err
			}
			out.Stacks = append(out.Stacks, TapStack{Name: fmt.Sprintf("taps-%s-%s-%02d", at.account, at.region, stack), Account: at.account, Region: at.region, Cells: some, Template: text})
		}
	}
	return out, nil
}

// tapTemplate has a queue and a subscription for each cell and alert, and a policy for the
// queues of each alert.
func tapTemplate(alerts []Alert, cells []string, accounts map[string][]string, topic string) (json.RawMessage, error) {
	type object = map[string]any
	resources := object{}
	for _, a := range alerts {
		arn := object{"Fn::Sub": "arn:${AWS::Partition}:sns:${AWS::Region}:${AWS::AccountId}:" + strings.ReplaceAll(topic, alertMark, a.Name)}
		_, every, err := queueOf(a.inCell("*").SQS.QueueURL)
		if err != nil {
			return nil, fmt.Errorf("alert %s: %w", a.Name, err)
		}
		var refs []any
		for _, cell := range cells {
			_, name, err := queueOf(a.inCell(cell).SQS.QueueURL)
			if err == nil && len(name) > maxQueueName {
				err = fmt.Errorf("queue %s: a name has %d characters at most", name, maxQueueName)
			}
			if err != nil {
				return nil, fmt.Errorf("alert %s in cell %s: %w", a.Name, cell, err)
			}
			id := logicalID(name)
			refs = append(refs, object{"Ref": "Tap" + id})
			resources["Tap"+id] = object{"Type": "AWS::SQS::Queue", "Properties": object{
				"QueueName": name, "MessageRetentionPeriod": keptMessages, "SqsManagedSseEnabled": true,
				"Tags": []any{object{"Key": "auditcanary", "Value": "deployment"}},
			}}
			resources["Hears"+id] = object{"Type": "AWS::SNS::Subscription", "DependsOn": "May" + logicalID(a.Name), "Properties": object{
				"TopicArn": arn, "Protocol": "sqs", "Endpoint": object{"Fn::GetAtt": []string{"Tap" + id, "Arn"}},
				"FilterPolicyScope": "MessageBody", "FilterPolicy": object{"account": accounts[cell]},
			}}
		}
		resources["May"+logicalID(a.Name)] = object{"Type": "AWS::SQS::QueuePolicy", "Properties": object{
			"Queues": refs,
			"PolicyDocument": object{"Version": "2012-10-17", "Statement": []any{object{
				"Sid": "TheTopic", "Effect": "Allow", "Principal": object{"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage",
				"Resource":  object{"Fn::Sub": "arn:${AWS::Partition}:sqs:${AWS::Region}:${AWS::AccountId}:" + every}, // of the queue itself, by whatever name
				"Condition": object{"ArnEquals": object{"aws:SourceArn": arn}},
			}}},
		}}
	}
	return json.MarshalIndent(object{
		"AWSTemplateFormatVersion": "2010-09-09",
		"Description":              fmt.Sprintf("The queues in which auditcanary hears the alerts of cells %s to %s.", cells[0], cells[len(cells)-1]),
		"Resources":                resources,
	}, "", "  ")
}

// logicalID of a thing in a template: letters and digits, and the same whatever else is there.
func logicalID(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:8])
}

// queueOf reads the account and name of a queue from its URL.
func queueOf(queueURL string) (account, name string, err error) {
	u, err := url.Parse(queueURL)
	if err != nil {
		return "", "", err
	}
	account, name, ok := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if !ok || !accountID.MatchString(account) || name == "" || strings.Contains(name, "/") {
		return "", "", fmt.Errorf("queue_url %q does not end in /ACCOUNT/NAME", queueURL)
	}
	return account, name, nil
}
