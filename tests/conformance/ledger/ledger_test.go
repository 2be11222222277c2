package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	awsdriver "github.com/auditcanary/auditcanary/shared/aws"
	"github.com/auditcanary/auditcanary/shared/ledger"
)

func TestStoreKeepsItsContract(t *testing.T) {
	each(t, func(t *testing.T, open func() ledger.Store) {
		ctx := t.Context()
		s := open()
		if _, _, err := s.Get(ctx, "tile/0/000"); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("Get of nothing: %v", err)
		}
		if _, err := s.Put(ctx, "checkpoint", []byte("x"), "no-such-version"); !errors.Is(err, ledger.ErrConflict) {
			t.Errorf("Put over nothing: %v", err)
		}
		v1, err := s.Put(ctx, "checkpoint", []byte("one"), "")
		if err != nil || v1 == "" {
			t.Fatalf("create: %q, %v", v1, err)
		}
		if _, err := s.Put(ctx, "checkpoint", []byte("two"), ""); !errors.Is(err, ledger.ErrConflict) {
			t.Errorf("create what exists: %v", err)
		}
		if _, err := s.Put(ctx, "checkpoint", []byte("one"), ""); !errors.Is(err, ledger.ErrConflict) {
			t.Errorf("create what exists, same bytes: %v", err)
		}
		v2, err := s.Put(ctx, "checkpoint", []byte("two"), v1)
		if err != nil || v2 == "" || v2 == v1 {
			t.Fatalf("replace: %q, %v", v2, err)
		}
		if _, err := s.Put(ctx, "checkpoint", []byte("three"), v1); !errors.Is(err, ledger.ErrConflict) {
			t.Errorf("replace a version that is gone: %v", err)
		}
		data, v, err := open().Get(ctx, "checkpoint") // as another process
		if err != nil || string(data) != "two" || v != v2 {
			t.Errorf("Get = %q, %q, %v, want %q", data, v, err, v2)
		}
		big := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
		if _, err := s.Put(ctx, "tile/entries/x001/x234/067.p/255", big, ""); err != nil {
			t.Errorf("16 MiB: %v", err)
		}
		if data, _, err := s.Get(ctx, "tile/entries/x001/x234/067.p/255"); err != nil || !bytes.Equal(data, big) {
			t.Errorf("16 MiB came back as %d bytes, %v", len(data), err)
		}
		if _, err := s.Put(ctx, "tile/entries/x001/x234/067", nil, ""); err != nil {
			t.Errorf("an empty object: %v", err)
		}
		if data, v, err := s.Get(ctx, "tile/entries/x001/x234/067"); err != nil || len(data) != 0 || v == "" {
			t.Errorf("an empty object came back as %q, %q, %v", data, v, err)
		}
		if _, err := s.Put(ctx, "huge", make([]byte, ledger.MaxObject+1), ""); err == nil || errors.Is(err, ledger.ErrConflict) {
			t.Errorf("an object above the limit: %v", err)
		}
		gone, cancel := context.WithCancel(ctx)
		cancel()
		if _, _, err := s.Get(gone, "checkpoint"); !errors.Is(err, context.Canceled) {
			t.Errorf("Get cancelled: %v", err)
		}
		if _, err := s.Put(gone, "cancelled", nil, ""); !errors.Is(err, context.Canceled) {
			t.Errorf("Put cancelled: %v", err)
		}
	})
}

func TestStoreLetsExactlyOneOfManyWritersWin(t *testing.T) {
	each(t, func(t *testing.T, open func() ledger.Store) {
		var old ledger.Version
		for round := range 10 {
			var wins atomic.Int64
			var won ledger.Version
			var wg sync.WaitGroup
			for w := range 4 {
				s := open()
				wg.Go(func() {
					v, err := s.Put(t.Context(), "checkpoint", fmt.Appendf(nil, "round %d writer %d", round, w), old)
					switch {
					case err == nil:
						wins.Add(1)
						won = v
					case !errors.Is(err, ledger.ErrConflict):
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if wins.Load() != 1 {
				t.Fatalf("round %d: %d writers won", round, wins.Load())
			}
			old = won
		}
	})
}

// Acknowledged leaves are in the log, once and at the index that was told; the log
// verifies, and the checkpoints all writers ever saw lie on one line.
func TestRacingWritersLoseAndForkNothing(t *testing.T) {
	for _, writers := range []int{2, 4} {
		t.Run(fmt.Sprint(writers), func(t *testing.T) {
			each(t, func(t *testing.T, open func() ledger.Store) {
				signer, verifier := keys(t)
				const appends = 12
				var mu sync.Mutex
				acked := map[int64]string{}
				var seen []ledger.Checkpoint
				var wg sync.WaitGroup
				for w := range writers {
					wg.Go(func() {
						l, err := ledger.Open(t.Context(), open(), origin, signer, verifier)
						if err != nil {
							t.Error(err)
							return
						}
						for i := range appends {
							var leaves [][]byte
							for k := range 1 + (w+i*7)%90 { // crosses tiles
								leaves = append(leaves, fmt.Appendf(nil, "writer %d append %d leaf %d", w, i, k))
							}
							first, err := l.Append(t.Context(), leaves...)
							if err != nil {
								t.Error(err)
								return
							}
							c, err := l.Checkpoint(t.Context())
							if err != nil {
								t.Error(err)
								return
							}
							mu.Lock()
							for k, leaf := range leaves {
								if had, ok := acked[first+int64(k)]; ok {
									t.Errorf("index %d was told twice: %q, %q", first+int64(k), had, leaf)
								}
								acked[first+int64(k)] = string(leaf)
							}
							seen = append(seen, c)
							mu.Unlock()
						}
					})
				}
				wg.Wait()
				l := verified(t, open(), verifier)
				c, got := entries(t, l)
				if len(got) != len(acked) {
					t.Errorf("%d leaves in the log, %d acknowledged", len(got), len(acked))
				}
				for i, leaf := range acked {
					if got[i] != leaf {
						t.Errorf("leaf %d is %q, acknowledged was %q", i, got[i], leaf)
					}
				}
				onOneLine(t, l, c, seen)
				fsckAccepts(t, open(), verifier)
			})
		})
	}
}

// With AppendAt, two who decide on the same state do not both succeed: a counter
// in the log is never lost.
func TestAppendAtSerialisesDecisions(t *testing.T) {
	each(t, func(t *testing.T, open func() ledger.Store) {
		signer, verifier := keys(t)
		const each = 5
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				l, err := ledger.Open(t.Context(), open(), origin, signer, verifier)
				if err != nil {
					t.Error(err)
					return
				}
				for done := 0; done < each; {
					c, err := l.Checkpoint(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					_, err = l.AppendAt(t.Context(), c.Size, fmt.Appendf(nil, "%d", c.Size))
					switch {
					case err == nil:
						done++
					case !errors.Is(err, ledger.ErrMoved):
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		_, got := entries(t, verified(t, open(), verifier))
		for i, leaf := range got {
			if leaf != fmt.Sprint(i) {
				t.Errorf("leaf %d was decided on a log of %s", i, leaf)
			}
		}
		if len(got) != 4*each {
			t.Errorf("%d leaves, want %d", len(got), 4*each)
		}
	})
}

// A writer is killed at its n-th write, for every n, before or after the write's
// effect; another goes on; then a third opens what is there.
func TestWriterKilledBetweenAnyTwoWrites(t *testing.T) {
	signer, verifier := keys(t)
	for _, s := range stores {
		t.Run(s.name, func(t *testing.T) {
			// What a writer that lives writes, the last number being one too many.
			writes := int64(1)
			for !killedAt(t, newMemoryStore(), signer, verifier, writes, false) {
				writes++
			}
			if writes < 20 {
				t.Fatalf("the whole takes %d writes only: nothing was tried", writes-1)
			}
			for _, after := range []bool{false, true} {
				for n := range writes {
					t.Run(fmt.Sprintf("%d,after=%v", n+1, after), func(t *testing.T) {
						t.Parallel()
						if finished := killedAt(t, s.open(t), signer, verifier, n+1, after); finished != (n+1 == writes) {
							t.Errorf("finished: %v, of %d writes", finished, writes-1)
						}
					})
				}
			}
		})
	}
}

func newMemoryStore() func() ledger.Store {
	m := newMemory()
	return func() ledger.Store { return m }
}

// batches are the sizes a killed writer appends: within a tile, over its end, one more.
var batches = []int{1, 2, 300, 1}

func killedAt(t *testing.T, open func() ledger.Store, signer note.Signer, verifier note.Verifier, n int64, after bool) (finished bool) {
	t.Helper()
	what := fmt.Sprintf("killed at write %d, after its effect: %v", n, after)
	victim := &mortal{Store: open(), n: n, after: after}
	acked := map[string]int64{}
	killed := false
	var lost []string // of the batch that was not acknowledged
	l, err := ledger.Open(t.Context(), victim, origin, signer, verifier)
	if err != nil {
		killed = true
	}
	for b := 0; b < len(batches) && !killed; b++ {
		leaves := batchOf("victim", b, batches[b])
		first, err := l.Append(t.Context(), leaves...)
		if err != nil {
			if !errors.Is(err, errKilled) {
				t.Fatalf("%s: %v", what, err)
			}
			killed = true
			for _, leaf := range leaves {
				lost = append(lost, string(leaf))
			}
			break
		}
		for i, leaf := range leaves {
			acked[string(leaf)] = first + int64(i)
		}
	}

	heir, err := ledger.Open(t.Context(), open(), origin, signer, verifier)
	if err != nil {
		t.Fatalf("%s: the next writer cannot open the log: %v", what, err)
	}
	c, before := entries(t, heir)
	for b, size := range batches {
		leaves := batchOf("heir", b, size)
		first, err := heir.Append(t.Context(), leaves...)
		if err != nil {
			t.Fatalf("%s: the next writer cannot go on: %v", what, err)
		}
		for i, leaf := range leaves {
			acked[string(leaf)] = first + int64(i)
		}
	}

	l2 := verified(t, open(), verifier)
	c2, got := entries(t, l2)
	if !slices.Equal(got[:len(before)], before) {
		t.Errorf("%s: what was committed has changed", what)
	}
	onOneLine(t, l2, c2, []ledger.Checkpoint{c})
	count := map[string]int{}
	for i, leaf := range got {
		count[leaf]++
		if at, ok := acked[leaf]; ok && at != int64(i) {
			t.Errorf("%s: %q was acknowledged at %d, is at %d", what, leaf, at, i)
		}
	}
	for leaf := range acked {
		if count[leaf] != 1 {
			t.Errorf("%s: %q, acknowledged, is there %d times", what, leaf, count[leaf])
		}
	}
	in := 0
	for _, leaf := range lost {
		if count[leaf] > 1 {
			t.Errorf("%s: %q is there %d times", what, leaf, count[leaf])
		}
		in += count[leaf]
	}
	if in != 0 && in != len(lost) {
		t.Errorf("%s: %d of the %d leaves of the last batch are there", what, in, len(lost))
	}
	if want := len(acked) + in; len(got) != want {
		t.Errorf("%s: %d leaves, want %d", what, len(got), want)
	}
	return !killed
}

func batchOf(who string, b, n int) [][]byte {
	var leaves [][]byte
	for i := range n {
		leaves = append(leaves, fmt.Appendf(nil, "%s batch %d leaf %d", who, b, i))
	}
	return leaves
}

// Several writers, each killed somewhere, and appends of any size, held against a
// list: what is acknowledged is in the list, what is not may follow later, whole.
func TestLogBehavesLikeAList(t *testing.T) {
	signer, verifier := keys(t)
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		m := newMemory()
		if _, err := ledger.Open(ctx, m, origin, signer, verifier); err != nil {
			t.Fatal(err)
		}
		type writer struct {
			log   *ledger.Log
			store *mortal
		}
		start := func(label string) *writer {
			s := &mortal{Store: m, n: 1 << 40}
			l, err := ledger.Open(ctx, s, origin, signer, verifier)
			if err != nil {
				t.Fatal(err)
			}
			if rapid.Bool().Draw(t, label+" dies") {
				s.n = rapid.Int64Range(1, 12).Draw(t, "at write")
				s.after = rapid.Bool().Draw(t, "after the effect")
			}
			return &writer{l, s}
		}
		writers := []*writer{start("0"), start("1"), start("2")}
		var list []string  // what the log holds
		var loose []string // the batch that was not acknowledged and may come in
		batch := 0
		settle := func(c ledger.Checkpoint) {
			if c.Size > int64(len(list)) && len(loose) > 0 {
				list = append(list, loose...)
				loose = nil
			}
		}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			i := rapid.IntRange(0, 2).Draw(t, "writer")
			w := writers[i]
			n := rapid.SampledFrom([]int{0, 1, 1, 2, 5, 100, 255, 256, 257, 600}).Draw(t, "leaves")
			leaves := batchOf(fmt.Sprint("writer ", i), batch, n)
			if n > 0 && rapid.Bool().Draw(t, "alike") { // leaves need not differ
				for k := range leaves {
					leaves[k] = []byte("the same")
				}
			}
			batch++
			at := int64(-1)
			if rapid.Bool().Draw(t, "AppendAt") {
				at = int64(len(list)) - rapid.SampledFrom([]int64{0, 0, 1}).Draw(t, "behind")
			}
			var first int64
			var err error
			if at >= 0 {
				first, err = w.log.AppendAt(ctx, at, leaves...)
			} else {
				first, err = w.log.Append(ctx, leaves...)
			}
			switch {
			case n == 0:
				if err != nil {
					t.Fatalf("append of nothing: %v", err)
				}
			case err == nil:
				if first != int64(len(list)) && len(loose) > 0 {
					list = append(list, loose...) // the loose batch came in first
				}
				loose = nil // or never will: its place is taken
				if first != int64(len(list)) {
					t.Fatalf("first = %d, the list has %d", first, len(list))
				}
				for _, leaf := range leaves {
					list = append(list, string(leaf))
				}
			case errors.Is(err, ledger.ErrMoved):
				if at == int64(len(list)) && len(loose) == 0 {
					t.Fatalf("AppendAt(%d): %v", at, err)
				}
			case errors.Is(err, errKilled):
				r, rerr := ledger.Open(ctx, m, origin, nil, verifier)
				if rerr != nil {
					t.Fatal(rerr)
				}
				c, rerr := r.Checkpoint(ctx)
				if rerr != nil {
					t.Fatal(rerr)
				}
				settle(c)
				var mine []string
				for _, leaf := range leaves {
					mine = append(mine, string(leaf))
				}
				switch {
				case c.Size == int64(len(list)+n) && len(loose) == 0: // killed after the last write
					list = append(list, mine...)
				case c.Size != int64(len(list)):
					t.Fatalf("size %d, the list has %d", c.Size, len(list))
				case len(loose) == 0 && claimed(m, c.Size):
					loose = mine
				}
				writers[i] = start("successor")
			default:
				t.Fatal(err)
			}
		}
		r, err := ledger.Open(ctx, m, origin, nil, verifier)
		if err != nil {
			t.Fatal(err)
		}
		c, err := r.Checkpoint(ctx)
		if err != nil {
			t.Fatal(err)
		}
		settle(c)
		var got []string
		for e, err := range r.Entries(ctx, 0, c.Size) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(e.Data))
		}
		if !slices.Equal(got, list) {
			t.Fatalf("the log has %d leaves, the list %d, and they differ", len(got), len(list))
		}
		if _, err := ledger.Verify(ctx, m, verifier, origin, nil); err != nil {
			t.Fatal(err)
		}
	})
}

func claimed(m *memory, size int64) bool {
	_, _, err := m.Get(context.Background(), "claim/"+layout.NWithSuffix(0, uint64(size), 0))
	return err == nil
}

// What stands in a store is changed by every kind of hand that can write to it.
func TestTamperedStoreIsFoundAndNamed(t *testing.T) {
	signer, verifier := keys(t)
	m := newMemory()
	l, err := ledger.Open(t.Context(), m, origin, signer, verifier)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), batchOf("x", 0, 600)...); err != nil {
		t.Fatal(err)
	}
	paths := []string{"checkpoint",
		"tile/entries/000", "tile/entries/001", "tile/entries/002.p/88",
		"tile/0/000", "tile/0/001", "tile/0/002.p/88", "tile/1/000.p/2"}
	check := func(what string, s ledger.Store, kind error, paths ...string) {
		t.Helper()
		_, err := ledger.Verify(t.Context(), s, verifier, origin, nil)
		var f *ledger.Fault
		if !errors.As(err, &f) || !errors.Is(err, kind) || !slices.Contains(paths, f.Path) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for i, path := range paths {
		for at := range m.objects[path].data {
			if len(m.objects[path].data) > 1000 && at%101 != 0 {
				continue
			}
			s := m.clone()
			o := s.objects[path]
			o.data = bytes.Clone(o.data)
			o.data[at] ^= 1 << (at % 8)
			s.objects[path] = o
			if path == "checkpoint" { // a flip in the key's name or hash makes it another key's
				if _, err := ledger.Verify(t.Context(), s, verifier, origin, nil); !errors.Is(err, ledger.ErrBroken) && !errors.Is(err, ledger.ErrUntrusted) {
					t.Errorf("byte %d of the checkpoint: %v", at, err)
				}
				continue
			}
			check(fmt.Sprintf("byte %d of %s", at, path), s, ledger.ErrBroken, path)
		}
		s := m.clone()
		delete(s.objects, path)
		check("without "+path, s, ledger.ErrIncomplete, path)
		s = m.clone()
		o := s.objects[path]
		o.data = o.data[:len(o.data)/2]
		s.objects[path] = o
		check("half of "+path, s, ledger.ErrBroken, path)
		for _, other := range paths[i+1:] {
			s = m.clone()
			s.objects[path], s.objects[other] = s.objects[other], s.objects[path]
			check(path+" and "+other+" swapped", s, ledger.ErrBroken, path, other)
		}
	}
	_, stranger := keys(t)
	if _, err := ledger.Verify(t.Context(), m, stranger, origin, nil); !errors.Is(err, ledger.ErrUntrusted) {
		t.Errorf("with another key: %v", err)
	}
}

// An S3 whose answers get lost, at random but repeatably: whatever the log says is
// in, is in once.
func TestS3AnswersLost(t *testing.T) {
	if s3Socket == "" {
		t.Skip("no S3 server: its file system would need extended attributes")
	}
	signer, verifier := keys(t)
	prefix := fmt.Sprintf("ledger-%d/", places.Add(1))
	lossy := &lossyTransport{to: s3Transport()}
	s := awsdriver.NewLedgerStore(s3Client(lossy), bucket, prefix)
	l, err := ledger.Open(t.Context(), s, origin, signer, verifier)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ledger.Open(t.Context(), s, origin, signer, verifier)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		w := l
		if i%3 == 0 {
			w = other
		}
		first, err := w.Append(t.Context(), []byte("the same"))
		if err != nil || first != int64(i) {
			t.Fatalf("append %d = %d, %v", i, first, err)
		}
	}
	if lossy.lost.Load() < 20 {
		t.Errorf("only %d answers were lost", lossy.lost.Load())
	}
	_, got := entries(t, verified(t, s, verifier))
	if len(got) != 20 {
		t.Errorf("%d leaves, want 20", len(got))
	}
}

// lossyTransport loses every third answer to a PUT after it took effect.
type lossyTransport struct {
	to         http.RoundTripper
	puts, lost atomic.Int64
}

func (l *lossyTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := l.to.RoundTrip(r)
	if err == nil && r.Method == http.MethodPut && l.puts.Add(1)%3 == 0 {
		l.lost.Add(1)
		_, err := io.Copy(io.Discard, res.Body)
		return nil, errors.Join(io.ErrUnexpectedEOF, err, res.Body.Close())
	}
	return res, err
}

// fsckAccepts has Tessera's own checker for tlog-tiles logs look at the log.
func fsckAccepts(t *testing.T, s ledger.Store, verifier note.Verifier) {
	t.Helper()
	if err := runFsck(t.Context(), s, verifier); err != nil {
		t.Errorf("tessera fsck: %v", err)
	}
}

func runFsck(ctx context.Context, s ledger.Store, verifier note.Verifier) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	hasher := func(data []byte) ([][]byte, error) {
		var b api.EntryBundle
		if err := b.UnmarshalText(data); err != nil {
			return nil, err
		}
		var hashes [][]byte
		for _, e := range b.Entries {
			hashes = append(hashes, rfc6962.DefaultHasher.HashLeaf(e))
		}
		return hashes, nil
	}
	done := make(chan error, 1) // it may hang on a bad log
	go func() {
		done <- fsck.New(origin, verifier, fetcher{s}, hasher, fsck.Opts{N: 8}).Check(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fetcher finds the objects where Tessera's layout package says they are.
type fetcher struct{ s ledger.Store }

func (f fetcher) ReadCheckpoint(ctx context.Context) ([]byte, error) {
	data, _, err := f.s.Get(ctx, layout.CheckpointPath)
	return data, err
}

func (f fetcher) ReadTile(ctx context.Context, l, i uint64, p uint8) ([]byte, error) {
	data, _, err := f.s.Get(ctx, layout.TilePath(l, i, p))
	return data, err
}

func (f fetcher) ReadEntryBundle(ctx context.Context, i uint64, p uint8) ([]byte, error) {
	data, _, err := f.s.Get(ctx, layout.EntriesPath(i, p))
	return data, err
}

func TestTesseraFsckAcceptsOurLogs(t *testing.T) {
	signer, verifier := keys(t)
	for _, size := range []int{1, 2, 255, 256, 257, 1000, 66_000} {
		m := newMemory()
		l, err := ledger.Open(t.Context(), m, origin, signer, verifier)
		if err != nil {
			t.Fatal(err)
		}
		for i, done := 0, 0; done < size; i++ {
			n := min(size-done, 1+size*2/3)
			if _, err := l.Append(t.Context(), batchOf("x", i, n)...); err != nil {
				t.Fatal(err)
			}
			done += n
		}
		fsckAccepts(t, m, verifier)
		// And the checker would have said so if it were not so.
		o := m.objects["tile/0/"+layout.NWithSuffix(0, 0, uint8(min(size, 256)%256))]
		o.data[0] ^= 1
		if err := runFsck(t.Context(), m, verifier); err == nil {
			t.Errorf("%d leaves: fsck accepts a tile that is wrong", size)
		}
	}
}

// verified opens the log read-only after verifying all of it.
func verified(t *testing.T, s ledger.Store, verifier note.Verifier) *ledger.Log {
	t.Helper()
	if _, err := ledger.Verify(t.Context(), s, verifier, origin, nil); err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(t.Context(), s, origin, nil, verifier)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func entries(t *testing.T, l *ledger.Log) (ledger.Checkpoint, []string) {
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
		got = append(got, string(e.Data))
	}
	return c, got
}

// onOneLine proves that the log extends every checkpoint that was seen.
func onOneLine(t *testing.T, l *ledger.Log, c ledger.Checkpoint, seen []ledger.Checkpoint) {
	t.Helper()
	for _, s := range seen {
		if s.Size == 0 {
			continue
		}
		p, err := l.ConsistencyProof(t.Context(), s.Size, c.Size)
		if err == nil {
			err = tlog.CheckTree(p, c.Size, c.Root, s.Size, s.Root)
		}
		if err != nil {
			t.Errorf("the log of %d is not an extension of the one of %d: %v", c.Size, s.Size, err)
		}
	}
}
