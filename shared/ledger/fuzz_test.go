package ledger

import (
	"bytes"
	"context"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// believing verifies everything, so that the fuzzer gets past the signature.
type believing struct{}

func (believing) Name() string                { return "ledger.example" }
func (believing) KeyHash() uint32             { return 0x01020304 }
func (believing) Verify(msg, sig []byte) bool { return true }
func (believing) Sign(msg []byte) ([]byte, error) {
	return []byte("signature"), nil
}

var (
	_ note.Verifier = believing{}
	_ note.Signer   = believing{}
)

func FuzzParseCheckpoint(f *testing.F) {
	root, err := tlog.TreeHash(0, nil)
	if err != nil {
		f.Fatal(err)
	}
	for _, size := range []int64{0, 1, 1 << 40} {
		c, err := signCheckpoint(context.Background(), origin, size, root, believing{}, believing{})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(c.Signed)
		f.Add(bytes.Replace(c.Signed, []byte("\n\n"), []byte("\nextension\n\n"), 1))
		f.Add(bytes.Replace(c.Signed, []byte("\n"), []byte("\n-"), 1))
		f.Add(bytes.Replace(c.Signed, []byte("\n"), []byte("\n0"), 1))
		f.Add(bytes.Replace(c.Signed, []byte("\n"), []byte("\n99999999999999999999"), 1))
	}
	f.Add([]byte("a\n1\n\n\n— ledger.example AQIDBHNpZw==\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseCheckpoint(data, origin, believing{})
		if err != nil {
			return
		}
		if c.Origin != origin || c.Size < 0 || c.Size > maxSize || !bytes.Equal(c.Signed, data) {
			t.Errorf("ParseCheckpoint(%q) = %+v", data, c)
		}
		again, err := signCheckpoint(context.Background(), c.Origin, c.Size, c.Root, believing{}, believing{})
		if err != nil || again.Size != c.Size || again.Root != c.Root {
			t.Errorf("signed again: %+v, %v", again, err)
		}
	})
}

func FuzzReadTile(f *testing.F) {
	f.Add([]byte{}, 0)
	f.Add(make([]byte, 32), 1)
	f.Add(make([]byte, 33), 1)
	f.Add(make([]byte, 256*32), 256)
	f.Add(make([]byte, 257*32), 257)
	f.Add([]byte{1}, -1)
	f.Fuzz(func(t *testing.T, data []byte, width int) {
		hashes, err := ReadTile(data, width)
		if err != nil {
			return
		}
		if len(hashes) != width || !bytes.Equal(encodeTile(hashes), data) {
			t.Errorf("ReadTile(%x, %d) = %v", data, width, hashes)
		}
	})
}

func FuzzReadBundle(f *testing.F) {
	f.Add([]byte{}, 0)
	f.Add([]byte{0, 0}, 1)
	f.Add([]byte{0, 3, 'a', 'b'}, 1)
	f.Add([]byte{0, 1, 'a', 0, 0, 0, 2, 'b', 'c'}, 3)
	f.Add([]byte{0xff, 0xff}, 1)
	f.Add(make([]byte, 512), 256)
	f.Add([]byte{0}, -1)
	f.Fuzz(func(t *testing.T, data []byte, width int) {
		entries, err := ReadBundle(data, width)
		if err != nil {
			return
		}
		var again []byte
		for _, e := range entries {
			again = appendEntry(again, e)
		}
		if len(entries) != width || !bytes.Equal(again, data) {
			t.Errorf("ReadBundle(%x, %d) = %q", data, width, entries)
		}
	})
}

func FuzzReadClaim(f *testing.F) {
	h := &head{tree: &tree{}}
	leaves := [][]byte{[]byte("a"), nil, []byte("longer")}
	s, err := extend(h, leaves)
	if err != nil {
		f.Fatal(err)
	}
	next, err := signCheckpoint(context.Background(), origin, 3, s.root, believing{}, believing{})
	if err != nil {
		f.Fatal(err)
	}
	data, err := encodeClaim(claim{next: next, leaves: leaves})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data, int64(0))
	f.Add(data, int64(1))
	f.Add(data[:len(data)-3], int64(0))
	f.Add(data[:60], int64(0))
	f.Add([]byte(claimMagic), int64(0))
	f.Add(append([]byte(claimMagic), bytes.Repeat([]byte{0xff}, 20)...), int64(0))
	f.Fuzz(func(t *testing.T, data []byte, size int64) {
		c, err := readClaim(data, size, origin, believing{})
		if err != nil {
			return
		}
		if len(c.leaves) == 0 || c.next.Size != size+int64(len(c.leaves)) {
			t.Errorf("readClaim(%x, %d) = %d leaves to %d", data, size, len(c.leaves), c.next.Size)
		}
	})
}
