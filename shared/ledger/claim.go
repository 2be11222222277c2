package ledger

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// claim is the batch that follows a tree: what claim/N holds.
//
//	claimMagic | 16 random bytes | uint32 length of the note | signed checkpoint | entries
//
// The random bytes make every claim differ from every other, so that a store can
// tell by reading back whether a write whose answer was lost was ours, also when
// two writers append equal leaves.
type claim struct {
	next   Checkpoint // of the tree once the batch is in
	leaves [][]byte
}

const (
	claimMagic = "auditcanary ledger claim v1\n"
	claimNonce = 16
	maxNote    = 1 << 14
)

func encodeClaim(c claim) ([]byte, error) {
	size := len(claimMagic) + claimNonce + 4 + len(c.next.Signed)
	for _, leaf := range c.leaves {
		size += 2 + len(leaf)
	}
	data := make([]byte, 0, size)
	data = append(data, claimMagic...)
	data = data[:len(data)+claimNonce]
	rand.Read(data[len(claimMagic):])
	if len(c.next.Signed) > maxNote {
		return nil, fmt.Errorf("ledger: signed checkpoint has %d bytes, more than %d", len(c.next.Signed), maxNote)
	}
	data = binary.BigEndian.AppendUint32(data, uint32(len(c.next.Signed)))
	data = append(data, c.next.Signed...)
	for _, leaf := range c.leaves {
		data = appendEntry(data, leaf)
	}
	return data, nil
}

// readClaim parses the claim that follows the tree of the given size, and
// verifies its signature. Whether its leaves lead to the signed root is for the
// one who has the tree.
func readClaim(data []byte, size int64, origin string, verifier note.Verifier) (claim, error) {
	path := claimPath(size)
	rest, ok := bytes.CutPrefix(data, []byte(claimMagic))
	if !ok || len(rest) < claimNonce+4 {
		return claim{}, broken(path, -1, "not a claim")
	}
	rest = rest[claimNonce:]
	n := binary.BigEndian.Uint32(rest)
	rest = rest[4:]
	if n > maxNote || int(n) > len(rest) {
		return claim{}, broken(path, -1, "claim's checkpoint of %d bytes is cut off or too long", n)
	}
	next, err := parseCheckpoint(path, bytes.Clone(rest[:n]), origin, verifier)
	if err != nil {
		return claim{}, err
	}
	rest = rest[n:]
	c := claim{next: next}
	for len(rest) > 0 {
		var leaf []byte
		leaf, rest, err = cutEntry(rest)
		if err != nil {
			return claim{}, broken(path, size+int64(len(c.leaves)), "%w", err)
		}
		c.leaves = append(c.leaves, leaf)
	}
	if len(c.leaves) == 0 || next.Size != size+int64(len(c.leaves)) {
		return claim{}, broken(path, -1, "claim has %d leaves after %d, its checkpoint is of %d", len(c.leaves), size, next.Size)
	}
	return c, nil
}

// object is one write of a batch.
type object struct {
	path string
	data []byte
}

// step is what a batch makes of a tree. It follows from the two alone.
type step struct {
	tree    *tree     // with the batch
	root    tlog.Hash // of that tree
	bundle  []byte    // its partial bundle
	objects []object  // bundles and tiles to be written
}

// extend works out what becomes of the head once the leaves are in.
func extend(h *head, leaves [][]byte) (step, error) {
	s := step{tree: h.tree.clone(), bundle: bytes.Clone(h.bundle)}
	emit := func(level int, n int64, hashes []tlog.Hash) error {
		if level == 0 {
			s.objects = append(s.objects, object{tilePath(-1, n, len(hashes)), s.bundle})
			if len(hashes) == tileWidth {
				s.bundle = nil
			}
		}
		s.objects = append(s.objects, object{tilePath(level, n, len(hashes)), encodeTile(hashes)})
		return nil
	}
	for _, leaf := range leaves {
		s.bundle = appendEntry(s.bundle, leaf)
		if err := s.tree.add(0, tlog.RecordHash(leaf), emit); err != nil {
			return step{}, err
		}
	}
	err := s.tree.partial(func(level int, n int64, hashes []tlog.Hash) error {
		if h.tree.size>>(tileHeight*level) == s.tree.size>>(tileHeight*level) {
			return nil // as it was
		}
		return emit(level, n, hashes)
	})
	if err != nil {
		return step{}, err
	}
	s.root, err = s.tree.root()
	return s, err
}
