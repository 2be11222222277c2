package ledger

import (
	"strings"
	"testing"
)

func TestTheVerifierKeyIsTheOneThatBelongsToTheSigningKey(t *testing.T) {
	for range 20 {
		skey, vkey, err := GenerateKey("example.com/log")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := VerifierKey(skey); err != nil || got != vkey {
			t.Fatalf("got %q, %v; want %q", got, err, vkey)
		}
	}
}

func TestABadSigningKeyIsRefusedWithoutBeingQuoted(t *testing.T) {
	for _, bad := range []string{"", "PRIVATE+KEY+", "PRIVATE+KEY+n+00000000+c2VjcmV0", "secret", "PRIVATE+KEY+n+secret"} {
		if _, err := VerifierKey(bad); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
