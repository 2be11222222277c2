package packet

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/trail"
)

// custody verifies, with the keys and digests of a slice, what its "kept" entries
// say of how records are sealed.
type custody struct {
	keys  []trail.PublicKey
	room  *room
	blobs map[string]*blob // by SHA-256
	bytes int64            // in blobs
	limit int64            // of bytes
	// checked are verdicts of the last seals: "" is sound. Many records stand in one file.
	checked map[key]string
	checks  int
}

type blob struct {
	packed []block
	parts  int // so far
	of     int
	lost   string // why it is not here
}

const (
	// maxBlobs is how many bytes of digests, compressed, are held in scratch.
	maxBlobs = 256 << 20
	// maxDigest bounds one digest, inflated.
	maxDigest = trail.MaxDigest
	// maxChecked is how many seals are remembered: records of one file come together.
	maxChecked = 512
)

func newCustody(r *room) *custody {
	return &custody{limit: maxBlobs, room: r, blobs: map[string]*blob{}, checked: map[key]string{}}
}

// addBlob says what is wrong with it, and what with the scratch.
func (c *custody) addBlob(b run.Blob) (wrong, err error) {
	have := c.blobs[b.SHA256]
	if have == nil {
		have = &blob{of: b.Parts}
		c.blobs[b.SHA256] = have
	}
	if have.parts >= have.of {
		return nil, nil // a second time: the first was whole
	}
	if b.Part != have.parts+1 || b.Parts != have.of {
		return fmt.Errorf("part %d of %d of %.64s follows part %d of %d", b.Part, b.Parts, b.SHA256, have.parts, have.of), nil
	}
	have.parts++
	if c.bytes+int64(len(b.Data)) > c.limit {
		have.lost = fmt.Sprintf("the digests of the packet have more than %d bytes, and this program holds no more at once", c.limit)
		have.packed = nil
		return nil, nil
	}
	c.bytes += int64(len(b.Data))
	at, err := c.room.put(b.Data)
	have.packed = append(have.packed, at)
	return nil, err
}

// errNotHeld: the packet may prove it, but not to this program now.
var errNotHeld = errors.New("not verified")

// blobOf inflates the bytes that have a hash.
func (c *custody) blobOf(sum string) ([]byte, error) {
	b := c.blobs[sum]
	switch {
	case b == nil || b.parts < b.of:
		return nil, fmt.Errorf("the bytes of the digest (SHA-256 %s) are not in the packet", sum)
	case b.lost != "":
		return nil, fmt.Errorf("%w: %s", errNotHeld, b.lost)
	}
	var packed []byte
	for _, at := range b.packed {
		data, err := c.room.get(at, nil)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errScratch, err)
		}
		packed = append(packed, data...)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("digest %s: %w", sum, err)
	}
	plain, err := io.ReadAll(io.LimitReader(z, maxDigest+1))
	if err != nil {
		return nil, fmt.Errorf("digest %s: %w", sum, err)
	}
	if len(plain) > maxDigest {
		return nil, fmt.Errorf("digest %s has more than %d bytes", sum, maxDigest)
	}
	if got := sha256.Sum256(plain); hex.EncodeToString(got[:]) != sum {
		return nil, fmt.Errorf("the bytes kept as digest %s have SHA-256 %x", sum, got)
	}
	return plain, nil
}

// errScratch: what was put aside cannot be read again.
var errScratch = errors.New("scratch")

// keep checks one "kept" entry. A nil error means that what it claims is proven, or that
// it claims nothing; then it says of which seal, and whether the digest names the very
// bytes that the record was read from.
func (c *custody) keep(k run.Kept) (id key, same bool, err error) {
	if k.Digest == nil {
		if k.Seal.Digest != "" {
			return id, false, fmt.Errorf("the record at %s is said to be sealed by %s, and that digest is not given", k.At.Key, k.Seal.Digest)
		}
		return id, false, nil
	}
	if k.Seal.Digest != k.Digest.Key {
		return id, false, fmt.Errorf("the record at %s is said to be sealed by %q, and the digest given is %s", k.At.Key, k.Seal.Digest, k.Digest.Key)
	}
	if id, err = c.verify(k); err != nil {
		return id, false, err
	}
	return id, k.Seal.LogSHA256 == k.At.ObjectSHA256, nil
}

func sealKey(canaryID, step string, at canary.Location) key {
	return recordKey(canaryID, step, "", "", at)
}

func (c *custody) verify(k run.Kept) (key, error) {
	parts := []string{k.At.Key, k.Seal.LogSHA256}
	for _, l := range append([]trail.Link{*k.Digest}, k.Path...) {
		parts = append(parts, l.Bucket, l.Key, l.SHA256, l.PreviousSignature, l.Signature, l.Fingerprint, l.Start.String(), l.End.String())
	}
	id := keyOf(parts...)
	said, known := c.checked[id]
	if !known {
		plain, err := c.blobOf(k.Digest.SHA256)
		if err == nil {
			err = trail.VerifySeal(trail.Seal{LogKey: k.At.Key, LogSHA256: k.Seal.LogSHA256, Digest: *k.Digest, DigestBytes: plain, Path: k.Path}, c.keys)
		}
		if errors.Is(err, errNotHeld) || errors.Is(err, errScratch) {
			return id, err
		}
		if err != nil {
			said = err.Error()
		}
		if len(c.checked) >= maxChecked {
			clear(c.checked)
		}
		c.checked[id] = said
		c.checks++
	}
	if said != "" {
		return id, errors.New(said)
	}
	return id, nil
}
