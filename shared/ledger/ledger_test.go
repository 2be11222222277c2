package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const origin = "ledger.example/2026-11"

// memory is a Store that counts and can be told to misbehave.
type memory struct {
	mu      sync.Mutex
	objects map[string][]byte
	puts    int
	gets    int
	bytes   int64 // put
	// before is called with each Put, and may do more than the Put, or refuse it.
	before func(path string, n int) error
}

func newMemory() *memory { return &memory{objects: map[string][]byte{}} }

func (m *memory) Get(ctx context.Context, path string) ([]byte, Version, error) {
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gets++
	data, ok := m.objects[path]
	if !ok {
		return nil, "", fmt.Errorf("memory %s: %w", path, ErrNotFound)
	}
	return bytes.Clone(data), contentVersion(data), nil
}

func (m *memory) Put(ctx context.Context, path string, data []byte, old Version) (Version, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	m.mu.Lock()
	m.puts++
	n, before := m.puts, m.before
	m.mu.Unlock()
	if before != nil {
		if err := before(path, n); err != nil {
			return "", err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var now Version
	if have, ok := m.objects[path]; ok {
		now = contentVersion(have)
	}
	if now != old {
		return "", fmt.Errorf("memory %s: %w", path, ErrConflict)
	}
	m.objects[path] = bytes.Clone(data)
	m.bytes += int64(len(data))
	return contentVersion(data), nil
}

func (m *memory) clone() *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memory{objects: maps.Clone(m.objects)}
}

func testKeys(t testing.TB) (note.Signer, note.Verifier) {
	t.Helper()
	skey, vkey, err := GenerateKey("ledger.example")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return signer, verifier
}

func mustOpen(t testing.TB, s Store, signer note.Signer, verifier note.Verifier) *Log {
	t.Helper()
	l, err := Open(t.Context(), s, origin, signer, verifier)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustAppend(t testing.TB, l *Log, leaves ...[]byte) int64 {
	t.Helper()
	first, err := l.Append(t.Context(), leaves...)
	if err != nil {
		t.Fatal(err)
	}
	return first
}

// leavesFrom makes n leaves that name their index, of varying length.
func leavesFrom(first, n int) [][]byte {
	var leaves [][]byte
	for i := first; i < first+n; i++ {
		leaves = append(leaves, fmt.Appendf(nil, "leaf %d %s", i, strings.Repeat("·", i%7)))
	}
	return leaves
}

func all(t testing.TB, l *Log) []string {
	t.Helper()
	c, err := l.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for e, err := range l.Entries(t.Context(), 0, c.Size) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Index != int64(len(got)) {
			t.Fatalf("entry %d came as %d", e.Index, len(got))
		}
		got = append(got, string(e.Data))
	}
	return got
}

func toStrings(leaves [][]byte) []string {
	var s []string
	for _, l := range leaves {
		s = append(s, string(l))
	}
	return s
}

func TestTreeIsTheOneOfRFC6962(t *testing.T) {
	signer, verifier := testKeys(t)
	for _, n := range []int{0, 1, 2, 3, 255, 256, 257, 511, 512, 513, 1000} {
		leaves := leavesFrom(0, n)
		m := newMemory()
		l := mustOpen(t, m, signer, verifier)
		for rest := leaves; len(rest) > 0; { // in uneven batches
			k := min(len(rest), 1+len(rest)*2/3)
			mustAppend(t, l, rest[:k]...)
			rest = rest[k:]
		}
		// tlog's own way to the root, from a flat list of stored hashes.
		var stored []tlog.Hash
		reader := tlog.HashReaderFunc(func(ix []int64) ([]tlog.Hash, error) {
			var hs []tlog.Hash
			for _, i := range ix {
				hs = append(hs, stored[i])
			}
			return hs, nil
		})
		for i, leaf := range leaves {
			hs, err := tlog.StoredHashes(int64(i), leaf, reader)
			if err != nil {
				t.Fatal(err)
			}
			stored = append(stored, hs...)
		}
		want, err := tlog.TreeHash(int64(n), reader)
		if err != nil {
			t.Fatal(err)
		}
		c, err := l.Checkpoint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if c.Size != int64(n) || c.Root != want || c.Origin != origin {
			t.Errorf("%d leaves: checkpoint is of %d leaves with root %v, want %v", n, c.Size, c.Root, want)
		}
		r, err := Verify(t.Context(), m, verifier, origin, nil)
		if err != nil || r.Size != int64(n) || r.Root != want {
			t.Errorf("%d leaves: Verify = %+v, %v", n, r, err)
		}
		if got := all(t, l); !slices.Equal(got, toStrings(leaves)) {
			t.Errorf("%d leaves: entries differ", n)
		}
	}
}

func TestProofsHold(t *testing.T) {
	signer, verifier := testKeys(t)
	m := newMemory()
	l := mustOpen(t, m, signer, verifier)
	leaves := leavesFrom(0, 600)
	roots := map[int64]tlog.Hash{}
	for _, size := range []int{1, 2, 255, 256, 300, 512, 600} {
		c, err := l.Checkpoint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		mustAppend(t, l, leaves[c.Size:size]...)
		if c, err = l.Checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
		roots[c.Size] = c.Root
	}
	for size, root := range roots {
		for _, index := range []int64{0, size / 2, size - 1} {
			p, err := l.InclusionProof(t.Context(), index, size)
			if err != nil {
				t.Fatal(err)
			}
			if err := tlog.CheckRecord(p, size, root, index, tlog.RecordHash(leaves[index])); err != nil {
				t.Errorf("leaf %d in %d: %v", index, size, err)
			}
			if err := tlog.CheckRecord(p, size, root, index, tlog.RecordHash([]byte("another"))); err == nil {
				t.Errorf("leaf %d in %d: the proof holds for another leaf", index, size)
			}
		}
		for old, oldRoot := range roots {
			if old > size {
				continue
			}
			p, err := l.ConsistencyProof(t.Context(), old, size)
			if err != nil {
				t.Fatal(err)
			}
			if err := tlog.CheckTree(p, size, root, old, oldRoot); err != nil {
				t.Errorf("%d in %d: %v", old, size, err)
			}
			if old < size {
				if err := tlog.CheckTree(p, size, root, old, tlog.RecordHash(nil)); err == nil {
					t.Errorf("%d in %d: the proof holds for another tree", old, size)
				}
			}
		}
	}
	for _, bad := range [][2]int64{{-1, 5}, {5, 5}, {0, 601}, {0, 0}} {
		if _, err := l.InclusionProof(t.Context(), bad[0], bad[1]); err == nil {
			t.Errorf("InclusionProof(%d, %d) succeeded", bad[0], bad[1])
		}
	}
	for _, bad := range [][2]int64{{-1, 5}, {6, 5}, {0, 601}} {
		if _, err := l.ConsistencyProof(t.Context(), bad[0], bad[1]); err == nil {
			t.Errorf("ConsistencyProof(%d, %d) succeeded", bad[0], bad[1])
		}
	}
}

func TestAppendRefusesWhatTheLayoutCannotHold(t *testing.T) {
	signer, verifier := testKeys(t)
	l := mustOpen(t, newMemory(), signer, verifier)
	big := make([]byte, MaxLeaf)
	if first := mustAppend(t, l, big, nil); first != 0 {
		t.Errorf("first = %d", first)
	}
	_, err := l.Append(t.Context(), []byte("small"), append(big, 0))
	if err == nil || !strings.Contains(err.Error(), "leaf 1 of 2 to append has 65536 bytes, at most 65535") {
		t.Errorf("a leaf of 65,536 bytes: %v", err)
	}
	_, err = l.Append(t.Context(), slices.Repeat([][]byte{big}, 513)...)
	if err == nil || !strings.Contains(err.Error(), "513 leaves to append have 33620481 bytes") {
		t.Errorf("33 MB: %v", err)
	}
	if got := len(all(t, l)); got != 2 {
		t.Errorf("%d entries after refusals, want 2", got)
	}
}

func TestAppendOfNothingWritesNothing(t *testing.T) {
	signer, verifier := testKeys(t)
	m := newMemory()
	l := mustOpen(t, m, signer, verifier)
	mustAppend(t, l, []byte("a"))
	before := m.puts
	if first, err := l.Append(t.Context()); first != 1 || err != nil {
		t.Errorf("Append() = %d, %v", first, err)
	}
	if first, err := l.AppendAt(t.Context(), 1); first != 1 || err != nil {
		t.Errorf("AppendAt(1) = %d, %v", first, err)
	}
	if m.puts != before {
		t.Errorf("%d writes", m.puts-before)
	}
}

func TestAppendAtSeesThatTheTreeMoved(t *testing.T) {
	signer, verifier := testKeys(t)
	m := newMemory()
	a, b := mustOpen(t, m, signer, verifier), mustOpen(t, m, signer, verifier)
	if first, err := a.AppendAt(t.Context(), 0, []byte("a0"), []byte("a1")); first != 0 || err != nil {
		t.Fatalf("AppendAt(0) = %d, %v", first, err)
	}
	if _, err := b.AppendAt(t.Context(), 0, []byte("b")); !errors.Is(err, ErrMoved) {
		t.Errorf("AppendAt(0) of a log of 2: %v", err)
	}
	if _, err := b.AppendAt(t.Context(), 3, []byte("b")); !errors.Is(err, ErrMoved) {
		t.Errorf("AppendAt(3) of a log of 2: %v", err)
	}
	if first, err := b.AppendAt(t.Context(), 2, []byte("b")); first != 2 || err != nil {
		t.Errorf("AppendAt(2) = %d, %v", first, err)
	}
	if got, want := all(t, a), []string{"a0", "a1", "b"}; !slices.Equal(got, want) {
		t.Errorf("entries %q, want %q", got, want)
	}
}

func TestConcurrentCallersShareOneSetOfWrites(t *testing.T) {
	signer, verifier := testKeys(t)
	m := newMemory()
	l := mustOpen(t, m, signer, verifier)
	l.writing <- struct{}{} // as if a batch were being written
	var wg sync.WaitGroup
	firsts := make([]int64, 100)
	for i := range firsts {
		wg.Go(func() {
			first, err := l.Append(t.Context(), fmt.Appendf(nil, "%d", i), fmt.Appendf(nil, "%d again", i))
			if err != nil {
				t.Error(err)
			}
			firsts[i] = first
		})
	}
	for n := 0; n < 200; { // until all are in the batch
		l.mu.Lock()
		if l.open != nil {
			n = len(l.open.leaves)
		}
		l.mu.Unlock()
	}
	before := m.puts
	<-l.writing
	wg.Wait()
	if got := m.puts - before; got != 4 {
		t.Errorf("%d writes for 100 callers, want 4: claim, bundle, tile, checkpoint", got)
	}
	entries := all(t, l)
	for i, first := range firsts {
		if entries[first] != fmt.Sprint(i) || entries[first+1] != fmt.Sprint(i, " again") {
			t.Errorf("caller %d was told %d, there is %q, %q", i, first, entries[first], entries[first+1])
		}
	}
}

func TestACallerThatLeavesDoesNotTakeTheOthersAlong(t *testing.T) {
	signer, verifier := testKeys(t)
	m := newMemory()
	l := mustOpen(t, m, signer, verifier)
	l.writing <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := l.Append(ctx, []byte("leaves"))
		left <- err
	}()
	waitFor(t, l, 1)
	stayed := make(chan error)
	go func() {
		_, err := l.Append(t.Context(), []byte("stays"))
		stayed <- err
	}()
	waitFor(t, l, 2)
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "outcome unknown") {
		t.Errorf("the one that left: %v", err)
	}
	<-l.writing
	if err := <-stayed; err != nil {
		t.Errorf("the one that stayed: %v", err)
	}

	// When all have left, nothing is written, and the next caller is served.
	l.writing <- struct{}{}
	ctx, cancel = context.WithCancel(t.Context())
	go func() {
		_, err := l.Append(ctx, []byte("gone"))
		left <- err
	}()
	waitFor(t, l, 1)
	cancel()
	<-left
	<-l.writing
	mustAppend(t, l, []byte("next"))
	if got := all(t, l); slices.Contains(got, "gone") || !slices.Contains(got, "next") || !slices.Contains(got, "stays") {
		t.Errorf("entries %q", got)
	}
}

func waitFor(t *testing.T, l *Log, leaves int) {
	t.Helper()
	for t.Context().Err() == nil {
		l.mu.Lock()
		n := 0
		if l.open != nil {
			n = len(l.open.leaves)
		}
		l.mu.Unlock()
		if n == leaves {
			return
		}
	}
}

func TestReadOnly(t *testing.T) {
	signer, verifier := testKeys(t)
	m := newMemory()
	if _, err := Open(t.Context(), m, origin, nil, verifier); !errors.Is(err, ErrIncomplete) || !errors.Is(err, ErrNotFound) {
		t.Errorf("open nothing without a signer: %v", err)
	}
	mustAppend(t, mustOpen(t, m, signer, verifier), []byte("a"))
	l := mustOpen(t, m, nil, verifier)
	if _, err := l.Append(t.Context(), []byte("b")); !errors.Is(err, ErrReadOnly) {
		t.Errorf("Append: %v", err)
	}
	if _, err := l.AppendAt(t.Context(), 1, []byte("b")); !errors.Is(err, ErrReadOnly) {
		t.Errorf("AppendAt: %v", err)
	}
	if got := all(t, l); len(got) != 1 {
		t.Errorf("entries %q", got)
	}
}

func TestOpenRefusesWhatIsNotTheLog(t *testing.T) {
	signer, verifier := testKeys(t)
	otherSigner, otherVerifier := testKeys(t) // same name, other key
	m := newMemory()
	mustAppend(t, mustOpen(t, m, signer, verifier), []byte("a"))

	for _, c := range []struct {
		what     string
		origin   string
		signer   note.Signer
		verifier note.Verifier
		change   func(m *memory)
		kind     error
		text     string
	}{
		{what: "another key", origin: origin, signer: otherSigner, verifier: otherVerifier, kind: ErrUntrusted,
			text: `ledger is untrusted: checkpoint: signed by ["ledger.example+`},
		{what: "another origin", origin: "elsewhere", signer: signer, verifier: verifier, kind: ErrBroken,
			text: `ledger is broken: checkpoint: origin is "ledger.example/2026-11", want "elsewhere"`},
		{what: "an origin of two lines", origin: "a\nb", signer: signer, verifier: verifier, text: `checkpoint origin "a\nb" is not a line of text`},
		{what: "no origin", origin: "", signer: signer, verifier: verifier, text: `is not a line of text`},
		{what: "a checkpoint that is taken away", origin: origin, signer: signer, verifier: verifier, kind: ErrIncomplete,
			change: func(m *memory) { delete(m.objects, checkpointPath) },
			text:   "ledger is incomplete: checkpoint: not found, and yet the log has entries: not beginning it anew"},
		{what: "no note", origin: origin, signer: signer, verifier: verifier, kind: ErrBroken,
			change: func(m *memory) { m.objects[checkpointPath] = []byte("<html>") }, text: "ledger is broken: checkpoint: malformed note"},
	} {
		s := m.clone()
		if c.change != nil {
			c.change(s)
		}
		_, err := Open(t.Context(), s, c.origin, c.signer, c.verifier)
		if err == nil || !strings.Contains(err.Error(), c.text) || c.kind != nil && !errors.Is(err, c.kind) {
			t.Errorf("%s: %v", c.what, err)
		}
		if c.kind != nil {
			if _, err := Verify(t.Context(), s, c.verifier, c.origin, nil); !errors.Is(err, c.kind) {
				t.Errorf("%s: Verify: %v", c.what, err)
			}
		}
	}

	empty := newMemory()
	if _, err := Open(t.Context(), empty, origin, signer, otherVerifier); err == nil || !strings.Contains(err.Error(), "does not fit the verifier") {
		t.Errorf("a signer that does not fit: %v", err)
	}
	if len(empty.objects) != 0 {
		t.Error("a checkpoint was published that nobody can verify")
	}
}

func TestRollbackAndForkAreRefused(t *testing.T) {
	signer, verifier := testKeys(t)
	m := newMemory()
	l := mustOpen(t, m, signer, verifier)
	mustAppend(t, l, leavesFrom(0, 300)...)
	before := m.clone()
	mustAppend(t, l, leavesFrom(300, 300)...)

	forked := before.clone()
	mustAppend(t, mustOpen(t, forked, signer, verifier), []byte("another history"))
	longer := before.clone()
	mustAppend(t, mustOpen(t, longer, signer, verifier), leavesFrom(7, 500)...)
	same := before.clone()
	mustAppend(t, mustOpen(t, same, signer, verifier), leavesFrom(7, 300)...)

	for what, store := range map[string]*memory{"rolled back": before, "forked, shorter": forked, "forked, longer": longer, "forked, as long": same} {
		l.store = store
		if _, err := l.Checkpoint(t.Context()); !errors.Is(err, ErrRolledBack) {
			t.Errorf("%s: Checkpoint: %v", what, err)
		}
		puts := store.puts
		l.head = nil
		if _, err := l.Append(t.Context(), []byte("x")); !errors.Is(err, ErrRolledBack) {
			t.Errorf("%s: Append: %v", what, err)
		}
		if store.puts != puts {
			t.Errorf("%s: Append wrote something", what)
		}
	}
	// Only the checkpoint is put back: a writer that has not seen the later one
	// finds the claims, and brings back the same history.
	healed := m.clone()
	healed.objects[checkpointPath] = before.objects[checkpointPath]
	fresh := mustOpen(t, healed, signer, verifier)
	if first := mustAppend(t, fresh, []byte("on")); first != 600 {
		t.Errorf("after the checkpoint was put back the next leaf is %d, want 600", first)
	}
	if got := all(t, fresh); !slices.Equal(got[:600], toStrings(leavesFrom(0, 600))) {
		t.Error("history changed")
	}
}

func TestAPlantedClaimIsNeitherSignedNorFinished(t *testing.T) {
	signer, verifier := testKeys(t)
	otherSigner, otherVerifier := testKeys(t)
	m := newMemory()
	l := mustOpen(t, m, signer, verifier)
	mustAppend(t, l, []byte("a"))
	h := l.head

	claimOf := func(signer note.Signer, verifier note.Verifier, size int64, signed, stored [][]byte) []byte {
		s, err := extend(h, signed)
		if err != nil {
			t.Fatal(err)
		}
		next, err := signCheckpoint(t.Context(), origin, size, s.root, signer, verifier)
		if err != nil {
			t.Fatal(err)
		}
		data, err := encodeClaim(claim{next: next, leaves: stored})
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	x := [][]byte{[]byte("x")}
	good := claimOf(signer, verifier, 2, x, x)
	for what, c := range map[string]struct {
		data []byte
		kind error
	}{
		"another key":        {claimOf(otherSigner, otherVerifier, 2, x, x), ErrUntrusted},
		"other leaves":       {claimOf(signer, verifier, 2, x, [][]byte{[]byte("y")}), ErrBroken},
		"more leaves":        {claimOf(signer, verifier, 2, x, [][]byte{[]byte("x"), []byte("y")}), ErrBroken},
		"another size":       {claimOf(signer, verifier, 3, x, x), ErrBroken},
		"no leaves":          {claimOf(signer, verifier, 1, nil, nil), ErrBroken},
		"empty":              {nil, ErrBroken},
		"cut in the entry":   {good[:len(good)-1], ErrBroken},
		"cut in the note":    {good[:100], ErrBroken},
		"cut in the nonce":   {good[:30], ErrBroken},
		"something after it": {append(bytes.Clone(good), 0), ErrBroken},
	} {
		s := m.clone()
		s.objects[claimPath(1)] = c.data
		_, err := mustOpen(t, s, signer, verifier).Append(t.Context(), []byte("b"))
		var f *Fault
		if !errors.As(err, &f) || !errors.Is(err, c.kind) || f.Path != "claim/001" {
			t.Errorf("%s: %v", what, err)
		}
		if r, err := Verify(t.Context(), s, verifier, origin, nil); err != nil || r.Size != 1 {
			t.Errorf("%s: the log is now %+v, %v", what, r, err)
		}
	}
	s := m.clone()
	s.objects[claimPath(1)] = good
	l2 := mustOpen(t, s, signer, verifier)
	mustAppend(t, l2, []byte("b"))
	if got, want := all(t, l2), []string{"a", "x", "b"}; !slices.Equal(got, want) {
		t.Errorf("a good claim: %q, want %q", got, want)
	}
}

// A writer takes nothing from the store for granted: what it would build on must
// be what was signed, and what it would write must not be there in another form.
func TestAWriterBuildsOnNothingThatIsTampered(t *testing.T) {
	signer, verifier := testKeys(t)
	m := newMemory()
	mustAppend(t, mustOpen(t, m, signer, verifier), leavesFrom(0, 300)...)
	for what, c := range map[string]struct {
		change func(m *memory)
		path   string
		leaf   int64
	}{
		"an entry of the bundle it extends": {func(m *memory) {
			m.objects["tile/entries/001.p/44"][5] ^= 1
		}, "tile/entries/001.p/44", 256},
		"a hash of the tile it extends": {func(m *memory) {
			m.objects["tile/0/001.p/44"][32] ^= 1
		}, "tile/0/001.p/44 or tile/1/000.p/1", -1},
		"a planted bundle": {func(m *memory) {
			m.objects["tile/entries/001.p/45"] = []byte("planted")
		}, "tile/entries/001.p/45", -1},
		"a planted tile": {func(m *memory) {
			m.objects["tile/0/001.p/45"] = nil
		}, "tile/0/001.p/45", -1},
	} {
		s := m.clone()
		for path, data := range s.objects {
			s.objects[path] = bytes.Clone(data)
		}
		c.change(s)
		before := string(s.objects[checkpointPath])
		_, err := mustOpen(t, s, signer, verifier).Append(t.Context(), []byte("next"))
		var f *Fault
		if !errors.As(err, &f) || f.Kind != ErrBroken || f.Path != c.path || f.Leaf != c.leaf {
			t.Errorf("%s: %v", what, err)
		}
		if string(s.objects[checkpointPath]) != before {
			t.Errorf("%s: the checkpoint was moved", what)
		}
	}
}

// With claims expired, a writer with an old view can create one that is void. It
// must notice and neither harm the log nor believe its batch to be in.
func TestAVoidClaimIsNoticed(t *testing.T) {
	signer, verifier := testKeys(t)
	for _, later := range []int{1, 2, 300} {
		m := newMemory()
		slow := mustOpen(t, m, signer, verifier)
		mustAppend(t, slow, []byte("first"))
		fast := mustOpen(t, m, signer, verifier)
		for _, leaf := range leavesFrom(0, later) {
			mustAppend(t, fast, leaf)
		}
		for path := range m.objects {
			if strings.HasPrefix(path, "claim/") {
				delete(m.objects, path)
			}
		}
		if first := mustAppend(t, slow, []byte("slow")); first != int64(1+later) {
			t.Errorf("%d later: first = %d", later, first)
		}
		if _, err := Verify(t.Context(), m, verifier, origin, nil); err != nil {
			t.Error(err)
		}
		if got := all(t, fast); got[len(got)-1] != "slow" || len(got) != later+2 {
			t.Errorf("%d later: entries %q", later, got)
		}
	}
}

func TestASpuriousConflictDuplicatesNothing(t *testing.T) {
	signer, verifier := testKeys(t)
	for _, path := range []string{"claim/", "checkpoint"} {
		m := newMemory()
		l := mustOpen(t, m, signer, verifier)
		refused := 0
		m.before = func(p string, _ int) error {
			if strings.HasPrefix(p, path) && refused < 3 {
				refused++
				return fmt.Errorf("busy: %w", ErrConflict)
			}
			return nil
		}
		mustAppend(t, l, []byte("once"))
		if got := all(t, l); len(got) != 1 || refused != 3 {
			t.Errorf("%s: %q after %d refusals", path, got, refused)
		}
		m.before = func(string, int) error { return ErrConflict }
		if _, err := l.Append(t.Context(), []byte("never")); !errors.Is(err, ErrConflict) {
			t.Errorf("%s: a store that always refuses: %v", path, err)
		}
	}
}

func TestEveryTamperedByteIsFoundAndNamed(t *testing.T) {
	signer, verifier := testKeys(t)
	for _, n := range []int{3, 258} {
		m := newMemory()
		l := mustOpen(t, m, signer, verifier)
		mustAppend(t, l, []byte("a"))
		mustAppend(t, l, leavesFrom(1, n-1)...)
		for _, path := range live(int64(n)) {
			step := 1
			if n > 3 {
				step = 37 // every byte of every kind of file is done above
			}
			for i := 0; i < len(m.objects[path]); i += step {
				s := m.clone()
				s.objects[path] = bytes.Clone(s.objects[path])
				s.objects[path][i] ^= 0x01
				checkTampered(t, s, verifier, int64(n), path, fmt.Sprintf("%d leaves: byte %d of %s flipped", n, i, path))
			}
			if len(m.objects[path]) == 0 {
				t.Fatalf("%s is not there", path)
			}
			for what, change := range map[string]func(data []byte) []byte{
				"cut by one":  func(data []byte) []byte { return data[:len(data)-1] },
				"emptied":     func([]byte) []byte { return nil },
				"lengthened":  func(data []byte) []byte { return append(bytes.Clone(data), 0) },
				"taken away":  nil,
				"another's":   func([]byte) []byte { return m.objects["claim/000"] },
				"cut in half": func(data []byte) []byte { return data[:len(data)/2] },
			} {
				s := m.clone()
				if change == nil {
					delete(s.objects, path)
				} else {
					s.objects[path] = change(s.objects[path])
				}
				checkTampered(t, s, verifier, int64(n), path, fmt.Sprintf("%d leaves: %s %s", n, path, what))
			}
		}
	}
}

// live lists the objects that a tree of n < 65,536 leaves consists of.
func live(n int64) []string {
	paths := []string{checkpointPath}
	for i := int64(0); i*tileWidth < n; i++ {
		w := int(min(tileWidth, n-i*tileWidth))
		paths = append(paths, tilePath(-1, i, w), tilePath(0, i, w))
	}
	if n >= tileWidth {
		paths = append(paths, tilePath(1, 0, int(n/tileWidth)))
	}
	return paths
}

func checkTampered(t *testing.T, s *memory, verifier note.Verifier, n int64, path, what string) {
	t.Helper()
	r, err := Verify(t.Context(), s, verifier, origin, nil)
	var f *Fault
	if !errors.As(err, &f) || f.Path != path {
		t.Errorf("%s: Verify = %+v, %v", what, r, err)
	}
	if _, gone := s.objects[path]; gone == errors.Is(err, ErrIncomplete) {
		t.Errorf("%s: Verify has the wrong kind: %v", what, err)
	}
	// Reading is refused too, or gives what was written.
	l, err := Open(t.Context(), s, origin, nil, verifier)
	if err != nil {
		return
	}
	if path == checkpointPath {
		t.Errorf("%s: opened", what)
	}
	var entry error
	for e, err := range l.Entries(t.Context(), 0, n) {
		want := []byte("a")
		if e.Index > 0 {
			want = leavesFrom(int(e.Index), 1)[0]
		}
		if err != nil {
			entry = err
		} else if !bytes.Equal(e.Data, want) {
			t.Errorf("%s: Entries gave out a forged entry %d %q", what, e.Index, e.Data)
		}
	}
	if !errors.As(entry, &f) || !strings.Contains(f.Path, path) {
		t.Errorf("%s: Entries: %v", what, entry)
	}
}

func TestForgedLeafWithItsTileIsFound(t *testing.T) {
	signer, verifier := testKeys(t)
	m := newMemory()
	l := mustOpen(t, m, signer, verifier)
	mustAppend(t, l, leavesFrom(0, 700)...)

	// The bundle and its tile agree with each other; the tile's parent does not.
	leaves := leavesFrom(256, 256)
	leaves[44] = []byte("forged")
	var bundle []byte
	var hashes []tlog.Hash
	for _, leaf := range leaves {
		bundle = appendEntry(bundle, leaf)
		hashes = append(hashes, tlog.RecordHash(leaf))
	}
	s := m.clone()
	s.objects["tile/entries/001"] = bundle
	var f *Fault
	_, err := Verify(t.Context(), s, verifier, origin, nil)
	if !errors.As(err, &f) || f.Path != "tile/entries/001" || f.Leaf != 300 {
		t.Errorf("bundle alone: %v", err)
	}
	s.objects["tile/0/001"] = encodeTile(hashes)
	_, err = Verify(t.Context(), s, verifier, origin, nil)
	if !errors.As(err, &f) || f.Path != "tile/0/001" {
		t.Errorf("bundle and tile: %v", err)
	}
	// Everything agrees but the signature's root.
	other := newMemory()
	mustAppend(t, mustOpen(t, other, signer, verifier), append(leavesFrom(0, 256), append(leaves, leavesFrom(512, 188)...)...)...)
	other.objects[checkpointPath] = m.objects[checkpointPath]
	if _, err = Verify(t.Context(), other, verifier, origin, nil); !errors.Is(err, ErrBroken) {
		t.Errorf("a whole other log under the checkpoint: %v", err)
	}
}

func TestVerifyReportsProgressAndHeedsCancelling(t *testing.T) {
	signer, verifier := testKeys(t)
	m := newMemory()
	mustAppend(t, mustOpen(t, m, signer, verifier), leavesFrom(0, 1000)...)
	var steps []int64
	r, err := Verify(t.Context(), m, verifier, origin, func(done, total int64) {
		if total != 1000 {
			t.Errorf("total = %d", total)
		}
		steps = append(steps, done)
	})
	if err != nil || r.Tiles != 5 {
		t.Errorf("Verify = %+v, %v", r, err)
	}
	if !slices.IsSorted(steps) || steps[len(steps)-1] != 1000 {
		t.Errorf("progress %v", steps)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = Verify(ctx, m, verifier, origin, func(int64, int64) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestStoreFailureIsNotCalledATamperedLog(t *testing.T) {
	signer, verifier := testKeys(t)
	m := newMemory()
	mustAppend(t, mustOpen(t, m, signer, verifier), leavesFrom(0, 300)...)
	s := failingGets{m, "tile/entries/000"}
	_, err := Verify(t.Context(), s, verifier, origin, nil)
	var f *Fault
	if err == nil || errors.As(err, &f) || !strings.Contains(err.Error(), "get tile/entries/000: access denied") {
		t.Errorf("Verify: %v", err)
	}
}

type failingGets struct {
	*memory
	path string
}

func (f failingGets) Get(ctx context.Context, path string) ([]byte, Version, error) {
	if path == f.path {
		return nil, "", errors.New("access denied")
	}
	return f.memory.Get(ctx, path)
}

func TestPathsAreThoseOfTlogTiles(t *testing.T) {
	for _, c := range []struct {
		level int
		n     int64
		width int
		want  string
	}{
		{0, 0, 256, "tile/0/000"},
		{-1, 0, 1, "tile/entries/000.p/1"},
		{2, 1234067, 256, "tile/2/x001/x234/067"},
		{1, 999, 255, "tile/1/999.p/255"},
		{0, 1000, 256, "tile/0/x001/000"},
	} {
		if got := tilePath(c.level, c.n, c.width); got != c.want {
			t.Errorf("tilePath(%d, %d, %d) = %s, want %s", c.level, c.n, c.width, got, c.want)
		}
	}
}

func TestGenerateKeyRefusesANameThatCannotBeReadBack(t *testing.T) {
	for _, name := range []string{"", "a b", "a+b", "a\n"} {
		if _, _, err := GenerateKey(name); err == nil {
			t.Errorf("GenerateKey(%q) succeeded", name)
		}
	}
}

func TestDirRefusesPathsThatLeaveIt(t *testing.T) {
	outer := t.TempDir()
	if err := os.WriteFile(filepath.Join(outer, "secret"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := NewDir(filepath.Join(outer, "log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"../secret", "/etc/passwd", "tile/../../secret", "", ".lock", ".tmp/x", "a//b"} {
		if _, _, err := d.Get(t.Context(), path); err == nil || errors.Is(err, ErrNotFound) {
			t.Errorf("Get(%q): %v", path, err)
		}
		if _, err := d.Put(t.Context(), path, nil, ""); err == nil || errors.Is(err, ErrConflict) {
			t.Errorf("Put(%q): %v", path, err)
		}
	}
	if _, err := NewDir(filepath.Join(outer, "secret")); err == nil {
		t.Error("NewDir of a file succeeded")
	}
	if _, err := os.Stat(filepath.Join(outer, "log")); err == nil {
		t.Error("the directory was made though nothing was written")
	}
}

func TestDirTellsAProblemFromAnObjectThatIsNotThere(t *testing.T) {
	dir := t.TempDir()
	d, err := NewDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "checkpoint"), 0o750); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Get(t.Context(), "checkpoint"); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("a directory where an object should be: %v", err)
	}
	big, err := os.Create(filepath.Join(dir, "big"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(big.Truncate(MaxObject+1), big.Close()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Get(t.Context(), "big"); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("an object that is too large: %v", err)
	}
	if _, err := d.Put(t.Context(), "bigger", make([]byte, MaxObject+1), ""); err == nil {
		t.Error("Put of too large an object succeeded")
	}
}

func TestHTTPReadsWhatIsPublished(t *testing.T) {
	signer, verifier := testKeys(t)
	dir := t.TempDir()
	d, err := NewDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, mustOpen(t, d, signer, verifier), leavesFrom(0, 300)...)
	files := http.FileServer(http.Dir(dir))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/denied") {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		http.StripPrefix("/ledgers/one", files).ServeHTTP(w, r)
	}))
	defer srv.Close()
	s := NewHTTP(srv.URL+"/ledgers/one/?token=secret", srv.Client())
	r, err := Verify(t.Context(), s, verifier, origin, nil)
	if err != nil || r.Size != 300 {
		t.Errorf("Verify = %+v, %v", r, err)
	}
	if _, _, err := s.Get(t.Context(), "tile/9/000"); !errors.Is(err, ErrNotFound) || strings.Contains(err.Error(), "secret") {
		t.Errorf("404: %v", err)
	}
	if _, _, err := s.Get(t.Context(), "denied"); err == nil || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "403") {
		t.Errorf("403: %v", err)
	}
	if _, err := s.Put(t.Context(), "x", nil, ""); !errors.Is(err, ErrReadOnly) {
		t.Errorf("Put: %v", err)
	}
	srv.Close()
	if _, _, err := s.Get(t.Context(), "checkpoint"); err == nil || errors.Is(err, ErrNotFound) || strings.Contains(err.Error(), "secret") {
		t.Errorf("server gone: %v", err)
	}
	for _, bad := range []string{"", "not a url", "file:///etc", "http://"} {
		if _, _, err := NewHTTP(bad, srv.Client()).Get(t.Context(), "checkpoint"); err == nil {
			t.Errorf("NewHTTP(%q) can be read", bad)
		}
	}
}

func TestAppendWritesGrowWithTheLogarithm(t *testing.T) {
	signer, verifier := testKeys(t)
	m := newMemory()
	l := mustOpen(t, m, signer, verifier)
	rng := rand.New(rand.NewPCG(1, 2))
	mustAppend(t, l, leavesFrom(0, 1)...) // finds out where the log ends
	size := 1
	for size < 70_000 { // past the third level
		n := 1 + rng.IntN(40)
		if rng.IntN(30) == 0 {
			n = 5000
		}
		puts, gets := m.puts, m.gets
		mustAppend(t, l, leavesFrom(size, n)...)
		full := (size+n)/tileWidth - size/tileWidth
		// claim, checkpoint; partial and full bundles and tiles; one tile for each upper level
		if most := 2 + 2*(full+1) + (full/tileWidth + 3); m.puts-puts > most {
			t.Fatalf("%d writes to append %d to %d, want at most %d", m.puts-puts, n, size, most)
		}
		if m.gets-gets != 1 {
			t.Fatalf("%d reads to append %d to %d, want the checkpoint alone", m.gets-gets, n, size)
		}
		size += n
	}
	gets := m.gets
	mustAppend(t, mustOpen(t, m, signer, verifier), []byte("cold"))
	if got := m.gets - gets; got > 7 {
		t.Errorf("%d reads to open a log of %d and append, want at most 7", got, size)
	}
	if _, err := Verify(t.Context(), m, verifier, origin, nil); err != nil {
		t.Error(err)
	}
}
