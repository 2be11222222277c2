package packet

import (
	"bytes"
	"compress/gzip"
	"errors"
	"strings"
	"testing"

	"github.com/auditcanary/auditcanary/shared/run"
)

func TestDigestsThatAreTooManyAreNotCalledGood(t *testing.T) {
	b := newMemoryBook(t)
	var blobs []run.Entry
	var kept []run.Kept
	var keys []run.Entry
	kept, keys, blobs = b.seal(t, "run", b.files("run", [][]byte{[]byte(`{}`)}))
	for _, tc := range []struct {
		name  string
		limit int64
		parts []run.Entry
		held  bool // the problem is ours, not the packet's
		want  string
	}{
		{"as it must be", maxBlobs, blobs, false, ""},
		{"more than is held", 100, blobs, true, "holds no more at once"},
		{"half of it", maxBlobs, blobs[:1], false, "are not in the packet"},
		{"none of it", maxBlobs, nil, false, "are not in the packet"},
	} {
		c := newCustody(newRoom(nil))
		c.limit = tc.limit
		c.keys = append(c.keys, *keys[0].PublicKey)
		for _, e := range tc.parts {
			if wrong, err := c.addBlob(*e.Blob); err != nil || wrong != nil {
				t.Fatal(wrong, err)
			}
		}
		k := kept[0]
		k.At.Key, k.At.ObjectSHA256 = b.files("run", [][]byte{[]byte(`{}`)})[0].key, k.Seal.LogSHA256
		_, same, err := c.keep(k)
		if errors.Is(err, errNotHeld) != tc.held || (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
		if same != (tc.want == "") {
			t.Errorf("%s: sealed is %t", tc.name, tc.want != "")
		}
	}
	c := newCustody(newRoom(nil))
	if wrong, err := c.addBlob(run.Blob{SHA256: "a", Part: 2, Parts: 2}); err != nil || wrong == nil {
		t.Error("a second part without a first")
	}
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(make([]byte, maxDigest+1))
	_ = z.Close()
	if wrong, err := c.addBlob(run.Blob{SHA256: "b", Part: 1, Parts: 1, Data: bomb.Bytes()}); err != nil || wrong != nil {
		t.Fatal(wrong, err)
	}
	if _, err := c.blobOf("b"); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a digest without an end: %v", err)
	}
}
