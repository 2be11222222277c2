package trail

import (
	"strings"
	"testing"

	"github.com/auditcanary/auditcanary/shared/canary"
)

func TestReadLooksIntoWhatIsNamedAndSaysNothingOfTheRest(t *testing.T) {
	store := newStore(noon)
	first, second := logKey("", region, noon, 1), logKey("", region, noon, 2)
	store.put(first, zip(t, file(record("req-1", "e1", ""), record("req-9", "e9", ""))))
	store.put(second, zip(t, file(record("req-2", "e2", ""))))
	a := NewArchive(Config{Name: "central"}, store)
	wanted := ids("req-1", "req-2")
	found, err := a.Read(t.Context(), []string{first}, wanted)
	if err != nil || len(found.Sightings) != 1 || found.Sightings[0].Event.API.RequestUID != "req-1" || !found.AsOf.IsZero() || found.Gets != 1 || found.Records != 2 || len(found.Problems) != 0 {
		t.Errorf("%+v, %v", found, err)
	}
	absent := logKey("", region, noon, 3)
	if found, err = a.Read(t.Context(), []string{second, absent}, wanted); err != nil || len(found.Sightings) != 1 || len(found.Problems) != 1 || found.Problems[0].Hop != canary.Stored || !strings.HasSuffix(found.Problems[0].Object, absent) {
		t.Errorf("%+v, %v", found, err)
	}
	for _, key := range []string{"AWSLogs/hello", "prefix/" + first, logKey("o-another", region, noon, 1)} {
		if _, err := a.Read(t.Context(), []string{key}, wanted); err == nil {
			t.Errorf("%s was read", key)
		}
	}
}
