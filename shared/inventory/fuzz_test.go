package inventory

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// Whatever the provider's settings say, they are weighed without a panic, nothing of
// them steers a terminal, and what is unread is never passed over.
func FuzzTake(f *testing.F) {
	seed := func(in Input) {
		b, err := json.Marshal(in.Snapshot)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	seed(clean())
	narrowed := clean()
	narrowed.select1(management(Condition{Field: "eventSource", NotEquals: []string{"kms.amazonaws.com"}}))
	narrowed.Snapshot.Unread = []Unread{{east, "x", "\x1b[2J"}}
	seed(narrowed)
	data := clean()
	data.data("arn:aws:s3:::one/")
	data.trail().Selectors.Advanced = []AdvancedSelector{objects(Condition{Field: "resources.ARN", Other: []string{"StartsWith"}})}
	seed(data)
	f.Add(`{"Accounts":[{"id":""}],"Regions":["\u202e"],"Listed":[{}],"Recordings":[{"Trail":"x"}]}`)
	f.Fuzz(func(t *testing.T, doc string) {
		in := clean()
		in.Sources = append(in.Sources, Source{Class: DataEvents, Required: true}, Source{Class: NetworkActivity, Required: true})
		in.Snapshot = Snapshot{}
		if json.Unmarshal([]byte(doc), &in.Snapshot) != nil {
			return
		}
		r := Take(in)
		var b strings.Builder
		if err := r.WriteTable(&b); err != nil {
			t.Fatal(err)
		}
		if err := r.WriteCSV(&b); err != nil {
			t.Fatal(err)
		}
		if i := strings.IndexFunc(b.String(), func(c rune) bool { return c < ' ' && c != '\n' || c == 0x7f || c == 0x202e }); i >= 0 {
			t.Errorf("control character %q at %d", b.String()[i], i)
		}
		if len(in.Snapshot.Unread) > 0 && r.Status == canary.Pass {
			t.Error("something was not read, and it passed")
		}
		if len(in.Snapshot.Buckets) == 0 && r.Status == canary.Pass {
			t.Error("the archive was never seen, and it passed")
		}
	})
}
