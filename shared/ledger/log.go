package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Log is an append-only log in a Store. It is safe for concurrent use, and any
// number of Logs may be open on one store at the same time, in any processes.
type Log struct {
	store    Store
	origin   string
	signer   note.Signer // nil = read only
	verifier note.Verifier

	writing chan struct{} // holds one token while a batch is being written
	head    *head         // where this writer believes the log ends; nil = not known. Guarded by writing.

	mu   sync.Mutex
	seen Checkpoint // largest verified so far
	open *batch     // takes more leaves until it is its turn; nil = none
}

// head is all a writer must know to append.
type head struct {
	tree   *tree
	bundle []byte // the entries of the partial bundle
}

// Open opens the log of the given origin. If there is none and signer is not nil,
// it begins one with a signed checkpoint of the empty tree. The origin is the
// log's unique name, one line; the verifier's key is the only thing trusted.
//
// Errors are a *Fault if the log is not what it should be; ErrIncomplete also if
// there is no checkpoint to be read, or entries but no checkpoint.
func Open(ctx context.Context, store Store, origin string, signer note.Signer, verifier note.Verifier) (*Log, error) {
	if err := checkOrigin(origin); err != nil {
		return nil, fmt.Errorf("ledger: open: %w", err)
	}
	l := &Log{store: store, origin: origin, signer: signer, verifier: verifier, writing: make(chan struct{}, 1)}
	_, _, err := l.read(ctx)
	if errors.Is(err, ErrIncomplete) && signer != nil {
		err = l.create(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("open ledger %q: %w", origin, err)
	}
	return l, nil
}

// create begins an empty log. A log that has a first claim but no checkpoint is
// one whose checkpoint was taken away, and must not begin anew.
func (l *Log) create(ctx context.Context) error {
	_, _, claimErr := l.store.Get(ctx, claimPath(0))
	if claimErr != nil && !errors.Is(claimErr, ErrNotFound) {
		return fmt.Errorf("ledger: get %s: %w", claimPath(0), claimErr)
	}
	// Another writer may have begun the log a moment ago and appended to it.
	_, _, err := l.read(ctx)
	if !errors.Is(err, ErrIncomplete) {
		return err
	}
	if claimErr == nil {
		return &Fault{Kind: ErrIncomplete, Path: checkpointPath, Leaf: -1,
			Err: fmt.Errorf("%w, and yet the log has entries: not beginning it anew", ErrNotFound)}
	}
	root, err := tlog.TreeHash(0, nil)
	if err != nil {
		return err
	}
	c, err := signCheckpoint(ctx, l.origin, 0, root, l.signer, l.verifier)
	if err != nil {
		return err
	}
	if _, err := l.store.Put(ctx, checkpointPath, c.Signed, ""); err != nil && !errors.Is(err, ErrConflict) {
		return fmt.Errorf("ledger: put %s: %w", checkpointPath, err)
	}
	_, _, err = l.read(ctx)
	return err
}

// Checkpoint reads the log's checkpoint from the store and verifies it, also that
// it extends the last one this Log has seen (ErrRolledBack if not).
func (l *Log) Checkpoint(ctx context.Context) (Checkpoint, error) {
	c, _, err := l.read(ctx)
	return c, err
}

func (l *Log) read(ctx context.Context) (Checkpoint, Version, error) {
	before := l.lastSeen() // before the store is asked, so that a later answer cannot look like an older one
	data, v, err := get(ctx, l.store, checkpointPath)
	if err != nil {
		return Checkpoint{}, "", err
	}
	c, err := ParseCheckpoint(data, l.origin, l.verifier)
	if err != nil {
		return Checkpoint{}, "", err
	}
	if before.Signed != nil {
		if err := l.extends(ctx, before, c); err != nil {
			return Checkpoint{}, "", err
		}
	}
	l.see(c)
	return c, v, nil
}

func (l *Log) lastSeen() Checkpoint {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen
}

func (l *Log) see(c Checkpoint) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen.Signed == nil || c.Size > l.seen.Size {
		l.seen = c
	}
}

// extends checks that the tree of c begins with that of before.
func (l *Log) extends(ctx context.Context, before, c Checkpoint) error {
	if c.Size < before.Size {
		return fmt.Errorf("ledger %q: %s has size %d, this process has seen %d: %w",
			l.origin, checkpointPath, c.Size, before.Size, ErrRolledBack)
	}
	root := c.Root
	if c.Size > before.Size {
		var err error
		if root, err = l.rootAt(ctx, before.Size, c); err != nil {
			return err
		}
	}
	if root != before.Root {
		return fmt.Errorf("ledger %q: %s of size %d has root %v at size %d, this process has seen %v: %w",
			l.origin, checkpointPath, c.Size, root, before.Size, before.Root, ErrRolledBack)
	}
	return nil
}

// rootAt is the root of the first size leaves of the tree of c.
func (l *Log) rootAt(ctx context.Context, size int64, c Checkpoint) (tlog.Hash, error) {
	return tlog.TreeHash(size, hashReader(ctx, l.store, c))
}

// Append adds leaves to the end of the log and returns the index of the first.
// They lie together, in order. It returns once they are durably in the store and
// under a signed checkpoint. Calls made at the same time share one set of writes.
//
// The leaves of one call are in the log all or none. After an error, including
// ctx's, they may nevertheless be or become part of it: what was not acknowledged
// may be in the log, what was acknowledged is, once. No leaves is no error.
func (l *Log) Append(ctx context.Context, leaves ...[]byte) (first int64, err error) {
	size, err := l.check(leaves)
	if err != nil {
		return 0, err
	}
	if len(leaves) == 0 {
		return l.lastSeen().Size, nil
	}
	b, offset := l.join(ctx, leaves, size)
	defer b.leave()
	select {
	case <-b.done:
	case <-ctx.Done():
		return 0, fmt.Errorf("ledger %q: append of %d leaves: outcome unknown: %w", l.origin, len(leaves), context.Cause(ctx))
	}
	if b.err != nil {
		return 0, b.err
	}
	return b.first + offset, nil
}

// AppendAt is Append on the condition that the log has exactly size leaves, so
// that what a caller decided after reading them still holds. If there are more,
// nothing is appended and the error wraps ErrMoved.
func (l *Log) AppendAt(ctx context.Context, size int64, leaves ...[]byte) (first int64, err error) {
	if _, err := l.check(leaves); err != nil {
		return 0, err
	}
	if len(leaves) == 0 {
		return size, nil
	}
	select {
	case l.writing <- struct{}{}:
		defer func() { <-l.writing }()
	case <-ctx.Done():
		return 0, fmt.Errorf("ledger %q: append of %d leaves at %d: %w", l.origin, len(leaves), size, context.Cause(ctx))
	}
	return l.commit(ctx, size, leaves)
}

// check refuses what the layout cannot hold and returns the encoded size in bytes.
func (l *Log) check(leaves [][]byte) (size int, err error) {
	if l.signer == nil {
		return 0, fmt.Errorf("ledger %q: append without a signer: %w", l.origin, ErrReadOnly)
	}
	for i, leaf := range leaves {
		if len(leaf) > MaxLeaf {
			return 0, fmt.Errorf("ledger %q: leaf %d of %d to append has %d bytes, at most %d are possible", l.origin, i, len(leaves), len(leaf), MaxLeaf)
		}
		size += 2 + len(leaf)
	}
	if size > MaxBatch {
		return 0, fmt.Errorf("ledger %q: %d leaves to append have %d bytes with their lengths, at most %d are possible at once", l.origin, len(leaves), size, MaxBatch)
	}
	return size, nil
}

// batch is what concurrent callers append together.
type batch struct {
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	callers int // still waiting

	leaves [][]byte // guarded by Log.mu until the batch is closed to newcomers
	size   int

	done  chan struct{} // closed once first and err are set
	first int64
	err   error
}

// join puts leaves into the batch that is open, or opens one.
func (l *Log) join(ctx context.Context, leaves [][]byte, size int) (b *batch, offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b = l.open
	if b == nil || b.size+size > MaxBatch || !b.enter() {
		b = &batch{done: make(chan struct{}), callers: 1}
		// The batch outlives its first caller, not its last.
		b.ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
		l.open = b
		go l.write(b)
	}
	offset = int64(len(b.leaves))
	for _, leaf := range leaves {
		b.leaves = append(b.leaves, bytes.Clone(leaf)) // the caller may leave first
	}
	b.size += size
	return b, offset
}

// enter counts a caller in, unless all have left and the batch is being given up.
func (b *batch) enter() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.callers == 0 {
		return false
	}
	b.callers++
	return true
}

func (b *batch) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.callers--; b.callers == 0 {
		b.cancel()
	}
}

// write waits for the batch's turn, closes it to newcomers and commits it.
func (l *Log) write(b *batch) {
	defer close(b.done)
	select {
	case l.writing <- struct{}{}:
		defer func() { <-l.writing }()
	case <-b.ctx.Done():
	}
	l.mu.Lock()
	if l.open == b {
		l.open = nil
	}
	l.mu.Unlock()
	if err := b.ctx.Err(); err != nil {
		b.err = fmt.Errorf("ledger %q: append of %d leaves: %w", l.origin, len(b.leaves), err)
		return
	}
	b.first, b.err = l.commit(b.ctx, -1, b.leaves)
}

// commit appends a batch; with at >= 0 only to the tree of that size.
// The caller holds the token of l.writing.
func (l *Log) commit(ctx context.Context, at int64, leaves [][]byte) (first int64, err error) {
	defer func() {
		if err != nil {
			l.head = nil // whatever it was, look again next time
			if !errors.Is(err, ErrMoved) {
				err = fmt.Errorf("ledger %q: append of %d leaves: %w", l.origin, len(leaves), err)
			}
		}
	}()
	for range maxTurns {
		if l.head == nil || at >= 0 && l.head.tree.size != at {
			if err := l.load(ctx); err != nil {
				return 0, err
			}
		}
		h := l.head
		if at >= 0 && h.tree.size != at {
			return 0, fmt.Errorf("ledger %q: append of %d leaves at %d: size is %d: %w", l.origin, len(leaves), at, h.tree.size, ErrMoved)
		}
		s, err := extend(h, leaves)
		if err != nil {
			return 0, err
		}
		next, err := l.claim(ctx, h, s, leaves)
		if errors.Is(err, ErrConflict) {
			// Another batch follows this tree. See that it is in, then take the next turn.
			if err := l.help(ctx, h); err != nil {
				return 0, err
			}
			continue
		}
		if err != nil {
			return 0, err
		}
		in, err := l.finish(ctx, h, s, next)
		if err != nil {
			return 0, err
		}
		if in {
			return h.tree.size, nil
		}
		// The tree had moved on before we claimed: the claim that once stood there
		// has expired, and ours is void.
	}
	return 0, fmt.Errorf("other writers were first %d times: %w", maxTurns, ErrConflict)
}

// maxTurns bounds how often an append gives way, against a store that answers
// every Put with a conflict.
const maxTurns = 1000

// load reads where the log ends.
func (l *Log) load(ctx context.Context) error {
	l.head = nil
	c, _, err := l.read(ctx)
	if err != nil {
		return err
	}
	t, err := readTree(ctx, l.store, c)
	if err != nil {
		return err
	}
	h := &head{tree: t}
	if c.Size%tileWidth > 0 {
		path := tilePath(-1, c.Size/tileWidth, int(c.Size%tileWidth))
		if h.bundle, _, err = get(ctx, l.store, path); err != nil {
			return err
		}
		entries, err := ReadBundle(h.bundle, int(c.Size%tileWidth))
		if err != nil {
			return broken(path, -1, "%w", err)
		}
		for i, e := range entries {
			if tlog.RecordHash(e) != t.levels[0][i] {
				return broken(path, c.Size/tileWidth*tileWidth+int64(i), "entry does not have the hash in the tree")
			}
		}
	}
	l.head = h
	return nil
}

// claim makes the batch the one that follows the tree, or fails with ErrConflict
// if there is one already. It returns the checkpoint the batch leads to.
func (l *Log) claim(ctx context.Context, h *head, s step, leaves [][]byte) (Checkpoint, error) {
	next, err := signCheckpoint(ctx, l.origin, s.tree.size, s.root, l.signer, l.verifier)
	if err != nil {
		return Checkpoint{}, err
	}
	data, err := encodeClaim(claim{next: next, leaves: leaves})
	if err != nil {
		return Checkpoint{}, err
	}
	path := claimPath(h.tree.size)
	if _, err := l.store.Put(ctx, path, data, ""); err != nil {
		return Checkpoint{}, fmt.Errorf("put %s: %w", path, err)
	}
	return next, nil
}

// help brings in the batch that another writer claimed the tree for.
func (l *Log) help(ctx context.Context, h *head) error {
	now, _, err := l.read(ctx)
	if err != nil {
		return err
	}
	if now.Size > h.tree.size {
		return l.load(ctx) // it is in
	}
	path := claimPath(h.tree.size)
	data, _, err := l.store.Get(ctx, path)
	if errors.Is(err, ErrNotFound) {
		return nil // the other write came to nothing: claim again
	}
	if err != nil {
		return fmt.Errorf("get %s: %w", path, err)
	}
	theirs, err := readClaim(data, h.tree.size, l.origin, l.verifier)
	if err != nil {
		return err
	}
	s, err := extend(h, theirs.leaves)
	if err != nil {
		return err
	}
	if s.root != theirs.next.Root {
		return broken(path, -1, "the leaves lead to root %v, the claim's checkpoint says %v", s.root, theirs.next.Root)
	}
	_, err = l.finish(ctx, h, s, theirs.next)
	return err
}

// finish writes what a claim on the tree of h still lacks and moves the
// checkpoint to next. It returns whether the claim's batch is in the log; l.head
// is then the tree after it, or nil if the log has moved on further.
func (l *Log) finish(ctx context.Context, h *head, s step, next Checkpoint) (in bool, err error) {
	l.head = nil
	now, v, err := l.read(ctx)
	if err != nil {
		return false, err
	}
	for tries := 0; now.Size == h.tree.size; tries++ {
		if tries == maxTurns {
			return false, fmt.Errorf("put %s: nobody else moves it, and still: %w", checkpointPath, ErrConflict)
		}
		// Only now is it sure that the claim follows the log's last tree, and that
		// these paths are its and no other batch's.
		if err := l.writeOnce(ctx, s.objects); err != nil {
			return false, err
		}
		_, err := l.store.Put(ctx, checkpointPath, next.Signed, v)
		if err == nil {
			l.see(next)
			l.head = &head{tree: s.tree, bundle: s.bundle}
			return true, nil
		}
		if !errors.Is(err, ErrConflict) {
			return false, fmt.Errorf("put %s: %w", checkpointPath, err)
		}
		if now, v, err = l.read(ctx); err != nil {
			return false, err
		}
	}
	// Somebody else has moved the checkpoint. With this batch, unless the claim was void.
	if now.Size < next.Size {
		return false, nil
	}
	got, err := l.rootAt(ctx, next.Size, now)
	return err == nil && got == next.Root, err
}

// writeOnce writes objects that whoever brings in this batch writes alike.
func (l *Log) writeOnce(ctx context.Context, objects []object) error {
	return inParallel(ctx, len(objects), func(ctx context.Context, i int) error {
		o := objects[i]
		_, err := l.store.Put(ctx, o.path, o.data, "")
		if !errors.Is(err, ErrConflict) {
			if err != nil {
				return fmt.Errorf("put %s: %w", o.path, err)
			}
			return nil
		}
		there, _, err := get(ctx, l.store, o.path)
		if err != nil {
			return err
		}
		if !bytes.Equal(there, o.data) {
			return broken(o.path, -1, "stands there already, with other contents than the claimed batch has")
		}
		return nil
	})
}

// writers bounds the requests one append has under way.
const writers = 8

// inParallel calls f for 0 to n-1, some at a time, and returns the first error,
// after which it begins no more.
func inParallel(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	slots := make(chan struct{}, writers)
	for i := range n {
		slots <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := f(ctx, i); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}
