package ledger

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const checkpointPath = "checkpoint"

// maxSize is far above any log we can write and far below where index
// arithmetic would overflow.
const maxSize = 1 << 48

// Checkpoint is a signed statement of what a log held at one time
// (https://c2sp.org/tlog-checkpoint).
type Checkpoint struct {
	Origin string    // the log's unique name
	Size   int64     // number of leaves
	Root   tlog.Hash // RFC 6962 tree head over them
	Signed []byte    // the note as it stands in the store
}

// ParseCheckpoint reads a signed checkpoint and verifies it.
// The error is a *Fault: ErrUntrusted if the verifier's key has not signed it,
// ErrBroken if the signature is wrong, the text is malformed or the origin is
// another log's.
func ParseCheckpoint(signed []byte, origin string, verifier note.Verifier) (Checkpoint, error) {
	return parseCheckpoint(checkpointPath, signed, origin, verifier)
}

func parseCheckpoint(path string, signed []byte, origin string, verifier note.Verifier) (Checkpoint, error) {
	n, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		var unverified *note.UnverifiedNoteError
		if errors.As(err, &unverified) {
			var names []string
			for _, s := range unverified.Note.UnverifiedSigs {
				names = append(names, fmt.Sprintf("%s+%08x", s.Name, s.Hash))
			}
			err = fmt.Errorf("signed by %q and not by %s+%08x: %w", names, verifier.Name(), verifier.KeyHash(), err)
			return Checkpoint{}, &Fault{Kind: ErrUntrusted, Path: path, Leaf: -1, Err: err}
		}
		return Checkpoint{}, broken(path, -1, "%w", err)
	}
	for _, s := range n.Sigs {
		// note.Open overlooks stray bits at the end of base64: another text, alike in meaning.
		if _, err := base64.StdEncoding.Strict().DecodeString(s.Base64); err != nil {
			return Checkpoint{}, broken(path, -1, "signature of %s: %w", s.Name, err)
		}
	}
	c, err := parseCheckpointText(n.Text)
	if err != nil {
		return Checkpoint{}, broken(path, -1, "%w", err)
	}
	if c.Origin != origin {
		return Checkpoint{}, broken(path, -1, "origin is %q, want %q", c.Origin, origin)
	}
	c.Signed = signed
	return c, nil
}

// parseCheckpointText reads the unsigned text of a checkpoint. Lines after the
// third are extensions, which say nothing to us.
func parseCheckpointText(text string) (Checkpoint, error) {
	lines := strings.SplitN(text, "\n", 4)
	if len(lines) < 4 {
		return Checkpoint{}, fmt.Errorf("checkpoint has %d lines, want origin, size and root hash", strings.Count(text, "\n"))
	}
	if err := checkOrigin(lines[0]); err != nil {
		return Checkpoint{}, err
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || strconv.FormatInt(size, 10) != lines[1] || size < 0 || size > maxSize {
		return Checkpoint{}, fmt.Errorf("checkpoint size %.40q is not a size from 0 to %d", lines[1], int64(maxSize))
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return Checkpoint{}, fmt.Errorf("checkpoint root %.60q is not a base64 SHA-256 hash", lines[2])
	}
	return Checkpoint{Origin: lines[0], Size: size, Root: tlog.Hash(root)}, nil
}

func checkOrigin(origin string) error {
	if origin == "" || strings.ContainsFunc(origin, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }) {
		return fmt.Errorf("checkpoint origin %.80q is not a line of text", origin)
	}
	return nil
}

// signCheckpoint signs the tree and verifies what it signed: a signer that does
// not fit the verifier must not lock everybody out of the log.
func signCheckpoint(ctx context.Context, origin string, size int64, root tlog.Hash, signer note.Signer, verifier note.Verifier) (Checkpoint, error) {
	text := fmt.Sprintf("%s\n%d\n%s\n", origin, size, base64.StdEncoding.EncodeToString(root[:]))
	signed, err := note.Sign(&note.Note{Text: text}, onBehalf(ctx, signer))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("ledger: sign checkpoint of %q at size %d as %s: %w", origin, size, signer.Name(), err)
	}
	c, err := ParseCheckpoint(signed, origin, verifier)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("ledger: the signer %s+%08x does not fit the verifier %s+%08x: %w",
			signer.Name(), signer.KeyHash(), verifier.Name(), verifier.KeyHash(), err)
	}
	return c, nil
}

// ContextSigner is a signer that has to ask somebody else, who may be slow or silent:
// it signs on behalf of a context, and gives up when that ends. A Log uses it so
// wherever its signer is one.
type ContextSigner interface {
	note.Signer
	SignContext(ctx context.Context, msg []byte) ([]byte, error)
}

// onBehalf is a signer that gives up when ctx ends, if it knows how to.
func onBehalf(ctx context.Context, signer note.Signer) note.Signer {
	if s, ok := signer.(ContextSigner); ok {
		return bound{s, ctx}
	}
	return signer
}

// bound is a signer for one signature.
type bound struct {
	ContextSigner
	ctx context.Context
}

// Sign implements note.Signer.
func (b bound) Sign(msg []byte) ([]byte, error) { return b.SignContext(b.ctx, msg) }
