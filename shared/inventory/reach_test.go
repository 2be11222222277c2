package inventory

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// One more trail or selector never makes anything less recorded, and what is
// recorded together is what each event's own rule says.
func TestWhatIsRecordedTogetherIsWhatAnyRecords(t *testing.T) {
	sources := []string{"iam", "kms", "sts"}
	some := rapid.SliceOfDistinct(rapid.SampledFrom(sources), rapid.ID)
	selector := rapid.Custom(func(t *rapid.T) AdvancedSelector {
		a := management()
		if rapid.Bool().Draw(t, "by access") {
			a.Fields = append(a.Fields, Condition{Field: "readOnly", Equals: rapid.SliceOfDistinct(rapid.SampledFrom([]string{"true", "false"}), rapid.ID).Draw(t, "readOnly")})
		}
		for range rapid.IntRange(0, 2).Draw(t, "conditions on the source") {
			c := Condition{Field: "eventSource", NotEquals: some.Draw(t, "not")}
			if rapid.Bool().Draw(t, "some only") {
				c.Equals = append([]string{rapid.SampledFrom(sources).Draw(t, "one")}, some.Draw(t, "is")...)
			}
			a.Fields = append(a.Fields, c)
		}
		return a
	})
	// records is the selector's rule for one event, as the provider states it.
	records := func(a AdvancedSelector, source, readOnly string) bool {
		for _, c := range a.Fields {
			value := map[string]string{"eventCategory": "Management", "readOnly": readOnly, "eventSource": source}[c.Field]
			if c.Field == "readOnly" && !slices.Contains(c.Equals, value) || len(c.Equals) > 0 && !slices.Contains(c.Equals, value) || slices.Contains(c.NotEquals, value) {
				return false
			}
		}
		return true
	}
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(selector, 0, 4).Draw(t, "selectors")
		got := (&Selectors{Advanced: all}).management()
		complete := true
		// "other" stands for the sources that nobody names.
		for _, source := range append(slices.Clone(sources), "other") {
			for readOnly, h := range map[string]half{"true": got.read, "false": got.write} {
				want := slices.ContainsFunc(all, func(a AdvancedSelector) bool { return records(a, source, readOnly) })
				if is := h.all && !h.except[source] || h.only[source]; is != want {
					t.Fatalf("%s, readOnly %s: recorded %v, want %v", source, readOnly, is, want)
				}
				complete = complete && want
			}
		}
		if got.complete() != complete {
			t.Fatalf("complete %v, want %v", got.complete(), complete)
		}
	})
}
