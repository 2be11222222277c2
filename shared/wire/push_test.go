package wire

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestNotificationsAreReadWhoeverSentThem(t *testing.T) {
	const s3 = `{"Records":[{"eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"b"},"object":{"key":"a%2Fb+c","size":7}}}]}`
	nested := s3
	for range 4 {
		text, _ := json.Marshal(map[string]string{"Type": "Notification", "Message": nested})
		nested = string(text)
	}
	for _, tc := range []struct {
		name, body string
		want       []arrived
		err        string
	}{
		{"S3", s3, []arrived{{"b", "a/b c"}}, ""},
		{"EventBridge, whose keys are not encoded", `{"detail-type":"Object Created","detail":{"bucket":{"name":"b"},"object":{"key":"a%2Fb"}}}`, []arrived{{"b", "a%2Fb"}}, ""},
		{"CloudTrail", `{"s3Bucket":"b","s3ObjectKey":["k1","k2"]}`, []arrived{{"b", "k1"}, {"b", "k2"}}, ""},
		{"SNS around S3", `{"Type":"Notification","Message":` + quote(s3) + `}`, []arrived{{"b", "a/b c"}}, ""},
		{"S3's test", `{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"b"}`, nil, ""},
		{"no JSON", `hello`, nil, "it is no notification that names objects: invalid character"},
		{"another's", `{"hello":1}`, nil, "it is no notification that names objects"},
		{"something was deleted", strings.Replace(s3, "Created:Put", "Removed:Delete", 1), nil, `it tells of "ObjectRemoved:Delete"`},
		{"a key that cannot be", strings.Replace(s3, "a%2Fb+c", "%zz", 1), nil, `key "%zz"`},
		{"no bucket", `{"detail-type":"Object Created","detail":{"object":{"key":"k"}}}`, nil, "without its bucket or key"},
		{"envelopes without end", nested, nil, "more than 3 envelopes"},
		{"too many", `{"s3Bucket":"b","s3ObjectKey":[` + strings.Repeat(`"k",`, 1000) + `"k"]}`, nil, "more than 1000 objects"},
	} {
		got, err := objectsOf([]byte(tc.body))
		if !slices.Equal(got, tc.want) || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%s: %+v, %v", tc.name, got, err)
		}
	}
}

func quote(s string) string {
	text, _ := json.Marshal(s)
	return string(text)
}

// FuzzObjectsOf: anybody who may send to the queue chooses its bytes.
func FuzzObjectsOf(f *testing.F) {
	f.Add([]byte(`{"Records":[{"eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"b"},"object":{"key":"k"}}}]}`))
	f.Add([]byte(`{"Type":"Notification","Message":"{\"s3Bucket\":\"b\",\"s3ObjectKey\":[\"k\"]}"}`))
	f.Add([]byte(`{"detail-type":"Object Created","detail":{"bucket":{"name":"b"},"object":{"key":"k"}}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		objects, err := objectsOf(body)
		if err != nil && len(objects) > 0 {
			t.Errorf("%d objects with an error", len(objects))
		}
		for _, o := range objects {
			if o.bucket == "" || o.key == "" {
				t.Errorf("%+v", o)
			}
		}
	})
}

// Where records do not come as files, no message is poison: the function is one too many.
func TestNotificationsAreRefusedWhereThereIsNoArchive(t *testing.T) {
	c := clustersIn(t, t.TempDir())
	p := newPush()
	p.loaded = c
	out, err := p.take(t.Context(), []Message{{ID: "1", Source: "aws:sqs", Body: `{"detail-type":"Object Created","detail":{"bucket":{"name":"b"},"object":{"key":"k"}}}`}})
	if err == nil || !strings.Contains(err.Error(), "log store central is of type victorialogs") || out.Poison > 0 || len(out.Failed) > 0 {
		t.Errorf("%+v, %v", out, err)
	}
}
