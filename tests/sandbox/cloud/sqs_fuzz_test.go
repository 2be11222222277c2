package cloud

import (
	"encoding/json"
	"net/http/httptest"
	"testing"
	"time"
)

// Whatever somebody asks of a queue is answered, and what is in it stays whole.
func FuzzQueue(f *testing.F) {
	url := AlertTapURL("keys-changed")
	f.Add("ReceiveMessage", `{"QueueUrl":"`+url+`","MaxNumberOfMessages":10,"VisibilityTimeout":1e9,"WaitTimeSeconds":-1,"AttributeNames":["All",1,null]}`)
	f.Add("ReceiveMessage", `{"QueueUrl":"`+url+`","MaxNumberOfMessages":"10","MessageSystemAttributeNames":{}}`)
	f.Add("DeleteMessageBatch", `{"QueueUrl":"`+url+`","Entries":[{"Id":"a","ReceiptHandle":"00000000-0000-4000-8000-000000000000"},5,null,{"Id":{}}]}`)
	f.Add("ChangeMessageVisibilityBatch", `{"QueueUrl":"`+url+`","Entries":[{"Id":"a","ReceiptHandle":"x","VisibilityTimeout":1e308}]}`)
	f.Add("ChangeMessageVisibility", `{"QueueUrl":"`+url+`","ReceiptHandle":5,"VisibilityTimeout":[]}`)
	f.Add("SendMessage", `{"QueueUrl":"`+url+`","MessageBody":"\u0000\ud800"}`)
	f.Add("GetQueueAttributes", `{"QueueUrl":"http://h/999999999999/../x","AttributeNames":["Policy","All",{}]}`)
	f.Add("GetQueueUrl", `{"QueueName":"auditcanary-alert-tap-keys-changed","QueueOwnerAWSAccountId":"999999999999"}`)
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	c, err := New(Options{Clock: stopped{now}, Sink: nowhere{}, World: World(stopped{now})})
	if err != nil {
		f.Fatal(err)
	}
	c.world.SCPs = nil
	f.Fuzz(func(t *testing.T, operation, params string) {
		c.messages = map[string][]*message{}
		svc := sqsService()
		op, known := svc.ops[operation]
		k := &call{cloud: c, op: op, svc: svc, Request: Request{
			HTTP: httptest.NewRequest("POST", "/", nil), Service: "sqs", Operation: operation, Region: "us-east-1", RequestID: "r", Time: now,
			Principal: Principal{Account: ArchiveAccount, Type: "Root", ARN: "arn:aws:iam::" + ArchiveAccount + ":root"},
		}}
		if !known || json.Unmarshal([]byte(params), &k.Params) != nil {
			return
		}
		q := c.world.Accounts[ArchiveAccount].Regions["us-east-1"].Things[queues][alertTap("keys-changed")]
		c.enqueue(now, q, "s", "kept")
		rep, err := c.act(k)
		aerr := asAPIError(err)
		if aerr != nil && aerr.status >= 500 {
			t.Errorf("%s %s: %v", operation, params, err)
		}
		w := httptest.NewRecorder()
		if aerr != nil {
			svc.wire.fail(w, k, aerr)
		} else {
			svc.wire.reply(w, k, rep)
		}
		if !json.Valid(w.Body.Bytes()) {
			t.Errorf("answer %q", w.Body)
		}
		if n := len(c.messages[q.ARN]); n < 1 { // nobody could guess its receipt
			t.Errorf("%s %s took the message away", operation, params)
		}
	})
}
