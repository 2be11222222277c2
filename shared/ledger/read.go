package ledger

import (
	"context"
	"fmt"
	"iter"

	"golang.org/x/mod/sumdb/tlog"
)

// Entry is one leaf of the log.
type Entry struct {
	Index int64
	Data  []byte
}

// Entries returns the leaves with from <= index < to, in order. Every bundle is
// verified against the signed tree before an entry of it is given out; one bundle
// is held at a time. An error ends the iteration: a *Fault names the bundle or
// tile, and the leaf. Asking for more than the log has is an error.
func (l *Log) Entries(ctx context.Context, from, to int64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		c, err := l.covering(ctx, to)
		if err == nil && (from < 0 || from > to) {
			err = fmt.Errorf("ledger %q: no entries from %d to %d", l.origin, from, to)
		}
		if err != nil {
			yield(Entry{}, err)
			return
		}
		proven := hashReader(ctx, l.store, c)
		for from < to {
			entries, err := l.bundle(ctx, c, proven, from/tileWidth)
			if err != nil {
				yield(Entry{}, err)
				return
			}
			base := from / tileWidth * tileWidth
			for ; from < min(to, base+int64(len(entries))); from++ {
				if !yield(Entry{Index: from, Data: entries[from-base]}, nil) {
					return
				}
			}
		}
	}
}

// bundle reads and verifies the n-th bundle of the tree of c.
func (l *Log) bundle(ctx context.Context, c Checkpoint, proven tlog.HashReader, n int64) ([][]byte, error) {
	base := n * tileWidth
	width := int(min(tileWidth, c.Size-base))
	path := tilePath(-1, n, width)
	data, _, err := get(ctx, l.store, path)
	if err != nil {
		return nil, err
	}
	entries, err := ReadBundle(data, width)
	if err != nil {
		return nil, broken(path, -1, "%w", err)
	}
	indexes := make([]int64, width)
	for i := range indexes {
		indexes[i] = tlog.StoredHashIndex(0, base+int64(i))
	}
	hashes, err := proven.ReadHashes(indexes)
	if err != nil {
		return nil, err
	}
	for i, e := range entries {
		if got := tlog.RecordHash(e); got != hashes[i] {
			return nil, broken(path, base+int64(i), "entry hashes to %v, the signed tree has %v", got, hashes[i])
		}
	}
	return entries, nil
}

// Hashes returns hashes of the tree that a verified checkpoint of this log
// describes, by tlog.StoredHashIndex; each is proven to be in it. What one call
// asks for is read from each tile once.
func (l *Log) Hashes(ctx context.Context, c Checkpoint) tlog.HashReader {
	return hashReader(ctx, l.store, c)
}

// covering returns a verified checkpoint of at least the given size.
func (l *Log) covering(ctx context.Context, size int64) (Checkpoint, error) {
	if c := l.lastSeen(); size <= c.Size {
		return c, nil
	}
	c, _, err := l.read(ctx)
	if err == nil && size > c.Size {
		err = fmt.Errorf("ledger %q has %d leaves, asked for %d", l.origin, c.Size, size)
	}
	return c, err
}

// InclusionProof proves that the leaf at index is in the tree of the first size
// leaves; check it with tlog.CheckRecord.
func (l *Log) InclusionProof(ctx context.Context, index, size int64) (tlog.RecordProof, error) {
	c, err := l.covering(ctx, size)
	if err != nil {
		return nil, err
	}
	if index < 0 || index >= size {
		return nil, fmt.Errorf("ledger %q: no leaf %d in a tree of %d", l.origin, index, size)
	}
	p, err := tlog.ProveRecord(size, index, hashReader(ctx, l.store, c))
	if err != nil {
		return nil, fmt.Errorf("ledger %q: prove leaf %d in the tree of %d: %w", l.origin, index, size, err)
	}
	return p, nil
}

// ConsistencyProof proves that the tree of the first size leaves begins with that
// of the first old; check it with tlog.CheckTree. Every tree begins with the empty
// one: for old = 0 the proof is empty and there is nothing to check.
func (l *Log) ConsistencyProof(ctx context.Context, old, size int64) (tlog.TreeProof, error) {
	c, err := l.covering(ctx, size)
	if err != nil {
		return nil, err
	}
	if old < 0 || old > size {
		return nil, fmt.Errorf("ledger %q: the tree of %d does not begin with one of %d", l.origin, size, old)
	}
	if old == 0 {
		return tlog.TreeProof{}, nil
	}
	p, err := tlog.ProveTree(size, old, hashReader(ctx, l.store, c))
	if err != nil {
		return nil, fmt.Errorf("ledger %q: prove that the tree of %d begins with that of %d: %w", l.origin, size, old, err)
	}
	return p, nil
}
