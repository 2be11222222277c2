package packet

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/bits"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// A proof of a slice covers the whole tree from left to right: stretches of leaves
// that are in the packet, and between them the hashes of subtrees that are not.
// Whoever hashes the leaves can so compute the tree's root, and where it is the
// signed one every leaf stands where the proof says: one inclusion proof for all.
//
//	auditcanary slice proof v1
//	leaves <index of the first> <how many, the next lines of leaves.jsonl>
//	node <level> <number> <base64>      2^level leaves from number * 2^level on
const proofMagic = "auditcanary slice proof v1"

// stretch is a part of a proof: count leaves from first on, or one node.
type stretch struct {
	first, count int64
	level        int
	node         tlog.Hash
}

// stretches lists, for leaves given by their ranges, what a proof consists of;
// nodes are still without hash.
func stretches(ranges iter.Seq[span], size int64) iter.Seq[stretch] {
	return func(yield func(stretch) bool) {
		at := int64(0)
		gap := func(to int64) bool {
			for at < to {
				level := bits.Len64(uint64(to-at)) - 1
				if at > 0 {
					level = min(level, bits.TrailingZeros64(uint64(at)))
				}
				if !yield(stretch{first: at, level: level}) {
					return false
				}
				at += 1 << level
			}
			return true
		}
		for r := range ranges {
			if !gap(r.first) || !yield(stretch{first: r.first, count: r.end - r.first}) {
				return
			}
			at = r.end
		}
		gap(size)
	}
}

// span is the leaves with first <= index < end.
type span struct{ first, end int64 }

// writeProof writes the proof, with hashes from the tree: some at a time, so that
// each tile is read once for many.
func writeProof(w io.Writer, all iter.Seq[stretch], tree tlog.HashReader) error {
	out := bufio.NewWriter(w)
	fmt.Fprintln(out, proofMagic)
	const atOnce = 4096
	var some []stretch
	write := func() error {
		var indexes []int64
		for _, p := range some {
			if p.count == 0 {
				indexes = append(indexes, tlog.StoredHashIndex(p.level, p.first>>p.level))
			}
		}
		hashes, err := tree.ReadHashes(indexes)
		if err != nil {
			return fmt.Errorf("prove the slice: %w", err)
		}
		for _, p := range some {
			if p.count > 0 {
				fmt.Fprintf(out, "leaves %d %d\n", p.first, p.count)
				continue
			}
			fmt.Fprintf(out, "node %d %d %s\n", p.level, p.first>>p.level, base64.StdEncoding.EncodeToString(hashes[0][:]))
			hashes = hashes[1:]
		}
		some = some[:0]
		return nil
	}
	for s := range all {
		if some = append(some, s); len(some) == atOnce {
			if err := write(); err != nil {
				return err
			}
		}
	}
	if err := write(); err != nil {
		return err
	}
	return out.Flush()
}

// proofReader reads a proof, strictly: it covers a tree without gap or overlap.
type proofReader struct {
	in   *bufio.Reader
	line int
	next int64
}

// maxProofLine bounds a line of a proof, in bytes.
const maxProofLine = 128

func (p *proofReader) read() (stretch, error) {
	line, err := p.text()
	if err != nil {
		return stretch{}, err
	}
	if p.line == 1 {
		if line != proofMagic {
			return stretch{}, fmt.Errorf("it begins with %.60q, want %q", line, proofMagic)
		}
		if line, err = p.text(); err != nil {
			return stretch{}, err
		}
	}
	bad := fmt.Errorf("line %d: %.80q is neither leaves nor a node that go on from leaf %d", p.line, line, p.next)
	fields := strings.Split(line, " ")
	var s stretch
	switch {
	case fields[0] == "leaves" && len(fields) == 3:
		first, count := number(fields[1]), number(fields[2])
		if first != p.next || count < 1 || count > maxLeaves {
			return s, bad
		}
		s = stretch{first: first, count: count}
		p.next += count
	case fields[0] == "node" && len(fields) == 4:
		level, n := number(fields[1]), number(fields[2])
		hash, err := base64.StdEncoding.Strict().DecodeString(fields[3])
		if level < 0 || level > 47 || n < 0 || n > maxLeaves>>level || n<<level != p.next || err != nil || len(hash) != tlog.HashSize {
			return s, bad
		}
		s = stretch{first: p.next, level: int(level), node: tlog.Hash(hash)}
		p.next += 1 << level
	default:
		return s, bad
	}
	if p.next > maxLeaves {
		return s, bad
	}
	return s, nil
}

// maxLeaves is far above any ledger and far below where arithmetic overflows.
const maxLeaves = 1 << 48

func (p *proofReader) text() (string, error) {
	p.line++
	line, err := p.in.ReadSlice('\n')
	switch {
	case errors.Is(err, io.EOF) && len(line) == 0:
		return "", io.EOF
	case errors.Is(err, bufio.ErrBufferFull), err == nil && len(line) > maxProofLine:
		return "", fmt.Errorf("line %d has more than %d bytes", p.line, maxProofLine)
	case errors.Is(err, io.EOF):
		return "", fmt.Errorf("line %d is cut off", p.line)
	case err != nil:
		return "", err
	}
	return string(line[:len(line)-1]), nil
}

// number reads a decimal number in its one spelling; -1 for anything else.
func number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != s {
		return -1
	}
	return n
}

// growing is the right edge of a tree that is built from the left: the perfect
// subtrees it consists of, largest first.
type growing struct {
	size  int64
	edges []subtree
}

type subtree struct {
	level int
	hash  tlog.Hash
}

// add appends a perfect subtree of 2^level leaves, whose place is a multiple of
// that.
func (g *growing) add(level int, h tlog.Hash) {
	g.size += 1 << level
	for n := len(g.edges); n > 0 && g.edges[n-1].level == level; n = len(g.edges) {
		h = tlog.NodeHash(g.edges[n-1].hash, h)
		g.edges = g.edges[:n-1]
		level++
	}
	g.edges = append(g.edges, subtree{level, h})
}

func (g *growing) root() (tlog.Hash, error) {
	if len(g.edges) == 0 {
		return tlog.TreeHash(0, nil)
	}
	h := g.edges[len(g.edges)-1].hash
	for i := len(g.edges) - 2; i >= 0; i-- {
		h = tlog.NodeHash(g.edges[i].hash, h)
	}
	return h, nil
}

// consistency proofs are a hash a line.

func writeHashes(w io.Writer, hashes []tlog.Hash) error {
	out := bufio.NewWriter(w)
	for _, h := range hashes {
		fmt.Fprintln(out, base64.StdEncoding.EncodeToString(h[:]))
	}
	return out.Flush()
}

// readHashes reads at most as many as a proof can have.
func readHashes(data []byte) ([]tlog.Hash, error) {
	hashes := []tlog.Hash{}
	for i, line := range strings.SplitAfter(string(data), "\n") {
		if line == "" {
			continue
		}
		h, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSuffix(line, "\n"))
		if err != nil || len(h) != tlog.HashSize || !strings.HasSuffix(line, "\n") || len(hashes) >= 100 {
			return nil, fmt.Errorf("line %d: %.80q is not a hash of the proof", i+1, line)
		}
		hashes = append(hashes, tlog.Hash(h))
	}
	return hashes, nil
}
