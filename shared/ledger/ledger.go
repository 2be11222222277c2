// Package ledger is an append-only, signed Merkle log over a small object store.
//
// The log is laid out as C2SP tlog-tiles with C2SP signed checkpoints, so that
// anybody's tools for transparency logs can read and verify it:
//
//	checkpoint                signed note: origin, size, root hash
//	tile/<L>/<N>[.p/<W>]      hashes, 256 to a full tile
//	tile/entries/<N>[.p/<W>]  entries, 256 to a full bundle
//	claim/<N>                 the batch that follows the tree of size N (ours, not C2SP)
//
// # How a batch is committed
//
// A writer that holds the tree of size N first creates claim/N: the batch's
// leaves together with the signed checkpoint of the tree of size M they lead to.
// Creating is conditional, so exactly one batch ever follows the tree of size N.
// Then it creates the bundles and tiles, all of which follow from the tree and
// the claim, and last it moves the checkpoint from N to M by compare-and-swap.
//
// Whoever finds a claim at the tree's size, left by a writer that is slow or
// dead, finishes it: it checks the claim's signature and that its leaves really
// lead from the tree to the signed root, then makes the same writes, byte for
// byte. So a writer may stop between any two writes and any other can go on, a
// batch is in the log as a whole or not at all, and nothing is ever superseded.
// Since what is finished must carry the log's own signature over its root, a
// planted claim is refused and not signed.
//
// Claims below the checkpoint are never read again. They may be expired, but no
// sooner than a day after they were written: a writer that slept longer than that
// in the middle of an append is the only one who could still be misled.
//
// # What is trusted
//
// Nothing but the verifier's key. Every byte read from the store is checked
// against a signed checkpoint before it is used or returned, and a Log refuses a
// checkpoint that is not an extension of one it has already seen. What a Log
// cannot notice is a whole store put back to an earlier state before the process
// began: that takes a witness, or a checkpoint kept elsewhere.
package ledger

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"
)

// Version identifies what stands at a path of a Store. It is opaque, never empty
// for an object that exists, and equal contents may have equal versions.
type Version string

// Store keeps a log's objects by slash-separated relative path.
//
// Both methods are safe for concurrent use, also from several processes, and
// every operation on one path is linearizable: a Get that begins after a Put has
// returned sees that Put or a later one.
type Store interface {
	// Get returns a whole object with its version. The error wraps ErrNotFound if
	// there is none, and only then. Objects above MaxObject are an error.
	Get(ctx context.Context, path string) (data []byte, v Version, err error)
	// Put writes a whole object, atomically and durably: once it has returned nil
	// the object survives a crash, and no reader ever sees a part of it.
	//
	// With old == "" the object must not exist yet; otherwise it must still be at
	// version old. If it is not so, nothing is written and the error wraps
	// ErrConflict. A store that lost the answer to a write and finds that the object
	// has been replaced since cannot know better and says ErrConflict too: look at
	// what is there. Any other error leaves open whether the object was written, now
	// or a little later.
	Put(ctx context.Context, path string, data []byte, old Version) (Version, error)
}

// Sizes in bytes.
const (
	// MaxLeaf is the largest leaf that a tlog-tiles entry bundle can hold.
	MaxLeaf = 1<<16 - 1
	// MaxBatch bounds the leaves of one append, each with its two-byte length.
	MaxBatch = 32 << 20
	// MaxObject bounds every object of a log; stores refuse larger ones.
	MaxObject = MaxBatch + 1<<16
)

var (
	// ErrNotFound says that there is no object at a path.
	ErrNotFound = errors.New("not found")
	// ErrConflict says that an object is not what a Put expected to replace.
	ErrConflict = errors.New("conflict")
	// ErrMoved says that the tree is no longer of the size an append was decided on.
	ErrMoved = errors.New("the tree has moved on")
	// ErrReadOnly says that the log or its store cannot be written.
	ErrReadOnly = errors.New("read only")
	// ErrRolledBack says that the store shows a tree older than, or not an
	// extension of, one that this process has already seen signed.
	ErrRolledBack = errors.New("the checkpoint is not an extension of the one seen before")

	// ErrBroken says that something stands in the store that contradicts the signed tree.
	ErrBroken = errors.New("broken")
	// ErrIncomplete says that something the signed tree needs is not in the store.
	ErrIncomplete = errors.New("incomplete")
	// ErrUntrusted says that the checkpoint is not signed by the given key.
	ErrUntrusted = errors.New("untrusted")
)

// Fault says what is wrong with a log and where. Kind is one of ErrBroken,
// ErrIncomplete and ErrUntrusted, for errors.Is.
type Fault struct {
	Kind error
	Path string // the object that is wrong or missing
	Leaf int64  // index of the leaf that is wrong, -1 if it is not about one leaf
	Err  error  // what is wrong with it
}

func (f *Fault) Error() string {
	if f.Leaf >= 0 {
		return fmt.Sprintf("ledger is %v: %s: leaf %d: %v", f.Kind, f.Path, f.Leaf, f.Err)
	}
	return fmt.Sprintf("ledger is %v: %s: %v", f.Kind, f.Path, f.Err)
}

// Unwrap gives the kind and the cause.
func (f *Fault) Unwrap() []error { return []error{f.Kind, f.Err} }

func broken(path string, leaf int64, format string, args ...any) error {
	return &Fault{Kind: ErrBroken, Path: path, Leaf: leaf, Err: fmt.Errorf(format, args...)}
}

// get reads an object that the signed tree says must be there.
func get(ctx context.Context, s Store, path string) ([]byte, Version, error) {
	data, v, err := s.Get(ctx, path)
	if errors.Is(err, ErrNotFound) {
		return nil, "", &Fault{Kind: ErrIncomplete, Path: path, Leaf: -1, Err: err}
	}
	if err != nil {
		return nil, "", fmt.Errorf("ledger: get %s: %w", path, err)
	}
	return data, v, nil
}

// GenerateKey makes an Ed25519 key pair for signing checkpoints, encoded for
// note.NewSigner and note.NewVerifier. The name is shown in every signature; it
// must be non-empty without spaces or plus signs, by habit the log's host name.
func GenerateKey(name string) (skey, vkey string, err error) {
	skey, vkey, err = note.GenerateKey(rand.Reader, name)
	if err != nil {
		return "", "", fmt.Errorf("ledger: generate key %q: %w", name, err)
	}
	// GenerateKey does not look at the name, and a key that nothing can read back
	// is worse than an error.
	if _, err := note.NewVerifier(vkey); err != nil {
		return "", "", fmt.Errorf("ledger: generate key: name %q: %w", name, err)
	}
	return skey, vkey, nil
}
