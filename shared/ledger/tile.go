package ledger

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// A full tile holds tileWidth hashes and a full bundle tileWidth entries, as
// tlog-tiles demands.
const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight
)

// tilePath is where tlog-tiles keeps a tile; level -1 is an entry bundle.
// (tlog.Tile.Path has the older layout of the Go checksum database.)
func tilePath(level int, n int64, width int) string {
	dir := "tile/entries/"
	if level >= 0 {
		dir = fmt.Sprintf("tile/%d/", level)
	}
	path := dir + indexPath(n)
	if width < tileWidth {
		path = fmt.Sprintf("%s.p/%d", path, width)
	}
	return path
}

func claimPath(size int64) string { return "claim/" + indexPath(size) }

// indexPath writes n in groups of three digits, all but the last with an x:
// 1234067 is x001/x234/067.
func indexPath(n int64) string {
	path := fmt.Sprintf("%03d", n%1000)
	for n >= 1000 {
		n /= 1000
		path = fmt.Sprintf("x%03d/%s", n%1000, path)
	}
	return path
}

// ReadTile parses a tile of the given width, 1 to 256 hashes.
func ReadTile(data []byte, width int) ([]tlog.Hash, error) {
	if width < 1 || width > tileWidth {
		return nil, fmt.Errorf("tile width %d is not from 1 to %d", width, tileWidth)
	}
	if len(data) != width*tlog.HashSize {
		return nil, fmt.Errorf("tile has %d bytes, want %d for %d hashes", len(data), width*tlog.HashSize, width)
	}
	hashes := make([]tlog.Hash, width)
	for i := range hashes {
		copy(hashes[i][:], data[i*tlog.HashSize:])
	}
	return hashes, nil
}

func encodeTile(hashes []tlog.Hash) []byte {
	data := make([]byte, 0, len(hashes)*tlog.HashSize)
	for i := range hashes {
		data = append(data, hashes[i][:]...)
	}
	return data
}

// ReadBundle parses an entry bundle of the given width, 1 to 256 entries, each a
// big-endian uint16 length and so many bytes. The entries share data's memory.
func ReadBundle(data []byte, width int) ([][]byte, error) {
	if width < 1 || width > tileWidth {
		return nil, fmt.Errorf("bundle width %d is not from 1 to %d", width, tileWidth)
	}
	entries := make([][]byte, 0, width)
	rest := data
	for i := range width {
		entry, r, err := cutEntry(rest)
		if err != nil {
			return nil, fmt.Errorf("bundle entry %d of %d at byte %d: %w", i, width, len(data)-len(rest), err)
		}
		entries, rest = append(entries, entry), r
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("bundle has %d bytes after its %d entries", len(rest), width)
	}
	return entries, nil
}

func appendEntry(data, entry []byte) []byte {
	return append(binary.BigEndian.AppendUint16(data, uint16(len(entry))), entry...)
}

func cutEntry(data []byte) (entry, rest []byte, err error) {
	if len(data) < 2 {
		return nil, nil, fmt.Errorf("cut off in the length (%d bytes left)", len(data))
	}
	n := int(binary.BigEndian.Uint16(data))
	if len(data) < 2+n {
		return nil, nil, fmt.Errorf("cut off: %d of %d bytes", len(data)-2, n)
	}
	return data[2 : 2+n : 2+n], data[2+n:], nil
}

// tree is the right edge of a Merkle tree: at each level the hashes of the tile
// that is not yet full. It is all one needs to append, and to know the root.
type tree struct {
	size   int64
	levels [][]tlog.Hash // each shorter than tileWidth
}

// full is told of each tile that has become full.
type full func(level int, n int64, hashes []tlog.Hash) error

func (t *tree) clone() *tree {
	c := &tree{size: t.size, levels: make([][]tlog.Hash, len(t.levels))}
	for i, hs := range t.levels {
		c.levels[i] = slices.Clone(hs)
	}
	return c
}

// add appends one hash at a level: a leaf's at 0, a full tile's root above.
// At a level above 0 all levels below must be empty.
func (t *tree) add(level int, h tlog.Hash, emit full) error {
	t.size += int64(1) << (tileHeight * level)
	for ; ; level++ {
		for level >= len(t.levels) {
			t.levels = append(t.levels, make([]tlog.Hash, 0, tileWidth))
		}
		t.levels[level] = append(t.levels[level], h)
		hs := t.levels[level]
		if len(hs) < tileWidth {
			return nil
		}
		if err := emit(level, (t.size-1)>>(tileHeight*(level+1)), hs); err != nil {
			return err
		}
		h = perfectRoot(hs)
		t.levels[level] = hs[:0]
	}
}

// partial calls emit for each tile of the right edge, from the leaves up.
func (t *tree) partial(emit full) error {
	for level, hs := range t.levels {
		if len(hs) == 0 {
			continue
		}
		if err := emit(level, t.size>>(tileHeight*(level+1)), hs); err != nil {
			return err
		}
	}
	return nil
}

// root is the RFC 6962 tree head: the perfect subtrees of the right edge, folded
// from the smallest up.
func (t *tree) root() (tlog.Hash, error) {
	var root tlog.Hash
	have := false
	for _, hs := range t.levels {
		for end := len(hs); end > 0; {
			n := end & -end // the smallest perfect subtree is the last
			h := perfectRoot(hs[end-n : end])
			if have {
				h = tlog.NodeHash(h, root)
			}
			root, have = h, true
			end -= n
		}
	}
	if !have {
		return tlog.TreeHash(0, nil)
	}
	return root, nil
}

// perfectRoot is the root over hashes whose number is a power of two.
func perfectRoot(hashes []tlog.Hash) tlog.Hash {
	var buf [tileWidth]tlog.Hash
	n := copy(buf[:], hashes)
	for ; n > 1; n /= 2 {
		for i := range n / 2 {
			buf[i] = tlog.NodeHash(buf[2*i], buf[2*i+1])
		}
	}
	return buf[0]
}

// edge lists the widths of a tree's partial tiles, by level.
func edge(size int64) []int {
	var widths []int
	for s := size; s > 0; s >>= tileHeight {
		widths = append(widths, int(s&(tileWidth-1)))
	}
	return widths
}

// readTree reads the right edge of the tree that a verified checkpoint describes.
func readTree(ctx context.Context, s Store, c Checkpoint) (*tree, error) {
	t := &tree{size: c.Size}
	paths := []string{checkpointPath}
	for level, width := range edge(c.Size) {
		t.levels = append(t.levels, make([]tlog.Hash, 0, tileWidth))
		if width == 0 {
			continue
		}
		path := tilePath(level, c.Size>>(tileHeight*(level+1)), width)
		data, _, err := get(ctx, s, path)
		if err != nil {
			return nil, err
		}
		hashes, err := ReadTile(data, width)
		if err != nil {
			return nil, broken(path, -1, "%w", err)
		}
		t.levels[level] = append(t.levels[level], hashes...)
		paths = append(paths, path)
	}
	root, err := t.root()
	if err != nil {
		return nil, err
	}
	if root != c.Root {
		if len(paths) > 1 {
			paths = paths[1:] // the checkpoint is signed: it is one of the tiles
		}
		return nil, broken(strings.Join(paths, " or "), -1,
			"the right edge of the tree of %d leaves hashes to %v, the signed root is %v", c.Size, root, c.Root)
	}
	return t, nil
}

// tiles reads a signed tree's tiles for tlog.TileHashReader, which checks them
// all against the root. It keeps the upper ones, which a scan needs over and over.
type tiles struct {
	ctx   context.Context
	store Store
	kept  map[tlog.Tile][]byte

	lastWant []tlog.Tile // parents before children
	lastData [][]byte
}

// hashReader returns hashes proven to be in the tree of a verified checkpoint.
func hashReader(ctx context.Context, s Store, c Checkpoint) tlog.HashReader {
	r := &tiles{ctx: ctx, store: s, kept: map[tlog.Tile][]byte{}}
	verified := tlog.TileHashReader(tlog.Tree{N: c.Size, Hash: c.Root}, r)
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		if len(indexes) == 0 {
			return nil, nil
		}
		if c.Size == 0 { // TileHashReader panics on an empty tree
			return nil, fmt.Errorf("ledger: the tree of %q is empty", c.Origin)
		}
		r.lastWant, r.lastData = nil, nil
		hashes, err := verified.ReadHashes(indexes)
		if err != nil && r.lastData != nil {
			return nil, r.locate(c, err)
		}
		return hashes, err
	})
}

func (r *tiles) Height() int { return tileHeight }

func (r *tiles) ReadTiles(want []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(want))
	for i, t := range want {
		if data[i] = r.kept[t]; data[i] != nil {
			continue
		}
		path := tilePath(t.L, t.N, t.W)
		b, _, err := get(r.ctx, r.store, path)
		if err != nil {
			return nil, err
		}
		if _, err := ReadTile(b, t.W); err != nil {
			return nil, broken(path, -1, "%w", err)
		}
		data[i] = b
	}
	r.lastWant, r.lastData = want, data
	return data, nil
}

// SaveTiles is called with tiles that have been verified.
func (r *tiles) SaveTiles(read []tlog.Tile, data [][]byte) {
	if len(r.kept) > 64 { // half a megabyte; the edge and the path above a scan are a dozen
		clear(r.kept)
	}
	for i, t := range read {
		if t.L > 0 || t.W < tileWidth {
			r.kept[t] = data[i]
		}
	}
}

// locate finds which of the tiles just read is wrong: tlog only says that one is.
func (r *tiles) locate(c Checkpoint, cause error) error {
	want, data := r.lastWant, r.lastData
	if _, err := readTree(r.ctx, r.store, c); err != nil {
		return err
	}
	for i, t := range want {
		if t.W < tileWidth {
			continue // of the right edge, which is right
		}
		parent := tlog.StoredHashIndex(tileHeight*(t.L+1), t.N)
		proven, err := hashReader(r.ctx, r.store, c).ReadHashes([]int64{parent})
		if err != nil {
			return err
		}
		hashes, err := ReadTile(data[i], t.W)
		if err != nil {
			return err
		}
		if got := perfectRoot(hashes); got != proven[0] {
			return broken(tilePath(t.L, t.N, t.W), -1, "tile hashes to %v, its parent says %v", got, proven[0])
		}
	}
	return broken(checkpointPath, -1, "tiles contradict each other: %w", cause)
}
