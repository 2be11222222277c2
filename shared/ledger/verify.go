package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Report says what Verify has verified.
type Report struct {
	Origin string    `json:"origin"`
	Size   int64     `json:"size"` // leaves
	Root   tlog.Hash `json:"root"`
	Key    string    `json:"key"`   // name and hash of the key that signed
	Tiles  int64     `json:"tiles"` // tiles of hashes, each compared with what the leaves give
	Bytes  int64     `json:"bytes"` // of bundles and tiles read
}

// String says it in a sentence.
func (r Report) String() string {
	return fmt.Sprintf("%s holds %d entries, every one as its checkpoint says: root %s, signed by %s; %d tiles of hashes compared, %d bytes read",
		r.Origin, r.Size, r.Root, r.Key, r.Tiles, r.Bytes)
}

// Verify reads a whole log and derives it anew: the checkpoint's signature, every
// leaf's hash, every tile, and the root from the leaves up. It trusts nothing but
// the verifier's key, needs no Log and writes nothing. progress, if not nil, is
// called from one goroutine as leaves are done.
//
// If the log is not what its checkpoint says, the error is a *Fault, which is
// ErrBroken, ErrIncomplete or ErrUntrusted and names the object and, where it is
// about one, the leaf. Any other error means that the log could not be read, and
// says nothing about it.
func Verify(ctx context.Context, store Store, verifier note.Verifier, origin string, progress func(done, total int64)) (Report, error) {
	r, err := verify(ctx, store, verifier, origin, progress)
	if err != nil {
		return Report{}, fmt.Errorf("verify ledger %q: %w", origin, err)
	}
	return r, nil
}

func verify(ctx context.Context, store Store, verifier note.Verifier, origin string, progress func(done, total int64)) (Report, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	data, _, err := get(ctx, store, checkpointPath)
	if err != nil {
		return Report{}, err
	}
	c, err := ParseCheckpoint(data, origin, verifier)
	if err != nil {
		return Report{}, err
	}
	r := Report{Origin: origin, Size: c.Size, Root: c.Root, Key: fmt.Sprintf("%s+%08x", verifier.Name(), verifier.KeyHash())}
	v := &verification{store: store, c: c}

	// Full bundles with their tiles are verified some at a time and taken in order.
	t := &tree{}
	inner := func(level int, n int64, hashes []tlog.Hash) error {
		read, err := v.tile(ctx, level, n, hashes)
		r.Tiles, r.Bytes = r.Tiles+1, r.Bytes+read
		return err
	}
	for b := range v.ahead(ctx, c.Size/tileWidth) {
		if b.err != nil {
			return Report{}, b.err
		}
		r.Tiles, r.Bytes = r.Tiles+1, r.Bytes+b.read
		if err := t.add(1, b.root, inner); err != nil {
			return Report{}, err
		}
		if progress != nil {
			progress(t.size, c.Size)
		}
	}
	if err := ctx.Err(); err != nil {
		return Report{}, context.Cause(ctx)
	}

	// What is left is the partial bundle and the right edge.
	if width := int(c.Size % tileWidth); width > 0 {
		leaves, read, err := v.leaves(ctx, c.Size/tileWidth, width)
		if err != nil {
			return Report{}, err
		}
		r.Bytes += read
		if len(t.levels) == 0 {
			t.levels = append(t.levels, nil)
		}
		t.levels[0] = leaves
		t.size += int64(width)
	}
	root, err := t.root()
	if err != nil {
		return Report{}, err
	}
	v.derived = root == c.Root
	if err := t.partial(inner); err != nil {
		return Report{}, err
	}
	if !v.derived {
		return Report{}, broken(checkpointPath, -1, "the signed root is %v, the %d leaves hash to %v", c.Root, c.Size, root)
	}
	if progress != nil {
		progress(c.Size, c.Size)
	}
	return r, nil
}

type verification struct {
	store   Store
	c       Checkpoint
	derived bool // the leaves are known to give the signed root: only tiles can be wrong
}

// verified is a full bundle that agrees with its tile.
type verified struct {
	root tlog.Hash // of the 256 leaves
	read int64
	err  error
}

// ahead verifies the bundles 0 to n-1 and gives them out in order.
func (v *verification) ahead(ctx context.Context, n int64) func(yield func(verified) bool) {
	return func(yield func(verified) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		queue := make(chan chan verified, writers)
		go func() {
			defer close(queue)
			for i := range n {
				one := make(chan verified, 1)
				select {
				case queue <- one:
					go func() { one <- v.bundle(ctx, i) }()
				case <-ctx.Done():
					return
				}
			}
		}()
		for one := range queue {
			if !yield(<-one) {
				return
			}
		}
	}
}

func (v *verification) bundle(ctx context.Context, n int64) verified {
	hashes, read, err := v.leaves(ctx, n, tileWidth)
	if err != nil {
		return verified{err: err}
	}
	tileRead, err := v.tile(ctx, 0, n, hashes)
	return verified{root: perfectRoot(hashes), read: read + tileRead, err: err}
}

// leaves reads a bundle and hashes its entries.
func (v *verification) leaves(ctx context.Context, n int64, width int) (hashes []tlog.Hash, read int64, err error) {
	path := tilePath(-1, n, width)
	data, _, err := get(ctx, v.store, path)
	if err != nil {
		return nil, 0, err
	}
	entries, err := ReadBundle(data, width)
	if err != nil {
		return nil, 0, broken(path, -1, "%w", err)
	}
	hashes = make([]tlog.Hash, 0, tileWidth)
	h := sha256.New()
	for _, e := range entries {
		// tlog.RecordHash, without an allocation for each
		h.Reset()
		h.Write([]byte{0})
		h.Write(e)
		hashes = append(hashes, tlog.Hash(h.Sum(nil)))
	}
	return hashes, int64(len(data)), nil
}

// tile compares a tile with the hashes that the leaves give.
func (v *verification) tile(ctx context.Context, level int, n int64, hashes []tlog.Hash) (read int64, err error) {
	path := tilePath(level, n, len(hashes))
	data, _, err := get(ctx, v.store, path)
	if err != nil {
		return 0, err
	}
	if bytes.Equal(data, encodeTile(hashes)) {
		return int64(len(data)), nil
	}
	have, err := ReadTile(data, len(hashes))
	if err != nil {
		return 0, broken(path, -1, "%w", err)
	}
	if v.derived {
		return 0, broken(path, -1, "is not what the leaves give, which do have the signed root")
	}
	// Either the tile is wrong or what is below it; the signed tree knows which.
	indexes := make([]int64, len(hashes))
	for i := range indexes {
		indexes[i] = tlog.StoredHashIndex(tileHeight*level, n*tileWidth+int64(i))
	}
	proven, err := hashReader(ctx, v.store, v.c).ReadHashes(indexes)
	if err != nil {
		return 0, err
	}
	if !slices.Equal(have, proven) {
		return 0, broken(path, -1, "read twice, with other contents each time")
	}
	i := 0
	for hashes[i] == proven[i] {
		i++
	}
	child := n*tileWidth + int64(i)
	if level == 0 {
		return 0, broken(tilePath(-1, n, len(hashes)), child, "entry hashes to %v, the signed tree has %v", hashes[i], proven[i])
	}
	return 0, broken(tilePath(level-1, child, tileWidth), -1, "the leaves below and this tile hash to %v, the signed tree has %v", hashes[i], proven[i])
}
