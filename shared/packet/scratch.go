package packet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"

	"github.com/klauspost/compress/s2"
)

// Scratch is room outside of memory for what the entries say of each canary: written
// from its beginning on, and read wherever it was written. A temporary file is one. It
// takes about twice as much as the packet, and is not needed afterwards.
type Scratch interface {
	io.Writer
	io.ReaderAt
}

// inMemory is scratch for who has none.
type inMemory struct{ data []byte }

func (m *inMemory) Write(p []byte) (int, error) {
	m.data = append(m.data, p...)
	return len(p), nil
}

func (m *inMemory) ReadAt(p []byte, at int64) (int, error) {
	return bytes.NewReader(m.data).ReadAt(p, at)
}

// room writes blocks to a scratch, one after the other, and finds them again.
type room struct {
	scratch Scratch
	at      int64
	packed  []byte // used again and again
}

type block struct {
	at     int64
	packed int32 // bytes there
}

func newRoom(s Scratch) *room {
	if s == nil {
		s = &inMemory{}
	}
	return &room{scratch: s}
}

func (r *room) put(data []byte) (block, error) {
	r.packed = s2.Encode(r.packed[:cap(r.packed)], data)
	if _, err := r.scratch.Write(r.packed); err != nil {
		return block{}, fmt.Errorf("write %d bytes to scratch after %d: %w", len(r.packed), r.at, err)
	}
	b := block{r.at, int32(len(r.packed))}
	r.at += int64(len(r.packed))
	return b, nil
}

// get reads a block; the bytes of into may be used for it.
func (r *room) get(b block, into []byte) ([]byte, error) {
	if cap(r.packed) < int(b.packed) {
		r.packed = make([]byte, b.packed)
	}
	packed := r.packed[:b.packed]
	if n, err := r.scratch.ReadAt(packed, b.at); n < len(packed) {
		return nil, fmt.Errorf("read %d bytes of scratch at %d: %w", len(packed), b.at, err)
	}
	data, err := s2.Decode(into[:cap(into)], packed)
	if err != nil {
		return nil, fmt.Errorf("read %d bytes of scratch at %d: %w", len(packed), b.at, err)
	}
	return data, nil
}

// piles keep records apart by their keys: all records of a key are in one pile, in the
// order in which they were added, and piles are read one by one. So whatever must be seen
// together can be, while only a part of all is in memory.
type piles struct {
	room *room
	size int // of a block, in bytes
	all  []pile
}

type pile struct {
	open []byte // the block under way
	// index says where the blocks are, each after the one before; full are indexes that
	// were put aside themselves.
	index []byte
	last  int64
	full  []block
}

// maxIndex is how many bytes an index may have.
const maxIndex = 256

// partCount is how many piles there are: of a million canaries, which is the most that a
// packet may have, there are some 4,000 in each.
const partCount = 256

func newPiles(r *room, count, size int) *piles {
	return &piles{room: r, size: size, all: make([]pile, count)}
}

// of is the pile of a key.
func (p *piles) of(k key) int { return int(binary.BigEndian.Uint32(k[:4]) % uint32(len(p.all))) }

// add adds a record to a pile.
func (p *piles) add(i int, record ...[]byte) error {
	q := &p.all[i]
	n := 0
	for _, piece := range record {
		n += len(piece)
	}
	if len(q.open) > 0 && len(q.open)+n+binary.MaxVarintLen32 > p.size {
		if err := p.flush(q); err != nil {
			return err
		}
		if q.open = q.open[:0]; cap(q.open) > 2*p.size {
			q.open = nil
		}
	}
	if q.open == nil {
		q.open = make([]byte, 0, p.size)
	}
	q.open = binary.AppendUvarint(q.open, uint64(n))
	for _, piece := range record {
		q.open = append(q.open, piece...)
	}
	return nil
}

// flush puts the block under way aside.
func (p *piles) flush(q *pile) error {
	b, err := p.room.put(q.open)
	if err != nil {
		return err
	}
	q.index = binary.AppendUvarint(binary.AppendUvarint(q.index, uint64(b.at-q.last)), uint64(b.packed))
	if q.last = b.at; len(q.index) < maxIndex {
		return nil
	}
	if b, err = p.room.put(q.index); err != nil {
		return err
	}
	q.full, q.index, q.last = append(q.full, b), q.index[:0], 0
	return nil
}

// blocks gives a pile's blocks that were put aside.
func (p *piles) blocks(q *pile) iter.Seq2[block, error] {
	return func(yield func(block, error) bool) {
		for n := 0; n <= len(q.full); n++ {
			index := q.index
			if n < len(q.full) {
				var err error
				if index, err = p.room.get(q.full[n], nil); err != nil {
					yield(block{}, err)
					return
				}
			}
			var b block
			for len(index) > 0 {
				by, i := binary.Uvarint(index)
				packed, j := binary.Uvarint(index[max(i, 0):])
				if i <= 0 || j <= 0 || packed > math.MaxInt32 {
					yield(block{}, errGarbled)
					return
				}
				index = index[i+j:]
				b.at, b.packed = b.at+int64(by), int32(packed)
				if !yield(b, nil) {
					return
				}
			}
		}
	}
}

var errGarbled = errors.New("scratch is not what was written to it")

// read gives the records of a pile; each is good until the next one is asked for.
func (p *piles) read(i int) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		q := &p.all[i]
		var buf []byte
		for b, err := range p.blocks(q) {
			if err == nil {
				buf, err = p.room.get(b, buf)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !records(buf, yield) {
				return
			}
		}
		records(q.open, yield)
	}
}

// records gives those of a block, and reports whether to go on.
func records(block []byte, yield func([]byte, error) bool) bool {
	for len(block) > 0 {
		size, head := binary.Uvarint(block)
		if head <= 0 || size > uint64(len(block)-head) {
			yield(nil, errGarbled)
			return false
		}
		if !yield(block[head:head+int(size)], nil) {
			return false
		}
		block = block[head+int(size):]
	}
	return true
}

// drop lets go of a pile that nobody reads any more.
func (p *piles) drop(i int) { p.all[i] = pile{} }

// merged gives all records in the order of their bytes, in which those of each pile are.
func (p *piles) merged() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		heads := make([][]byte, len(p.all)) // nil: no more
		next := make([]func() ([]byte, error, bool), len(p.all))
		for i := range p.all {
			var stop func()
			next[i], stop = iter.Pull2(p.read(i))
			defer stop()
		}
		advance := func(i int) error {
			record, err, ok := next[i]()
			if heads[i] = record; !ok {
				heads[i] = nil
			}
			return err
		}
		for i := range p.all {
			if err := advance(i); err != nil {
				yield(nil, err)
				return
			}
		}
		for {
			first := -1
			for i, h := range heads {
				if h != nil && (first < 0 || bytes.Compare(h, heads[first]) < 0) {
					first = i
				}
			}
			if first < 0 || !yield(heads[first], nil) {
				return
			}
			if err := advance(first); err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

// distinct counts how many keys of each group there are that are not equal.
func (p *piles) distinct(count map[uint32]int) error {
	for i := range p.all {
		seen := map[[4 + len(key{})]byte]bool{}
		for record, err := range p.read(i) {
			if err != nil {
				return err
			}
			seen[[4 + len(key{})]byte(record)] = true
		}
		for k := range seen {
			count[binary.BigEndian.Uint32(k[:4])]++
		}
	}
	return nil
}

// addDistinct adds a key of a group, for distinct.
func (p *piles) addDistinct(group uint32, k key) error {
	return p.add(p.of(k), binary.BigEndian.AppendUint32(nil, group), k[:])
}
