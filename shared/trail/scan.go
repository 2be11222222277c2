package trail

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/klauspost/compress/gzip"
)

// What a log file may be. CloudTrail's own limits are lower, so what goes beyond
// these was not written by CloudTrail, or is no log file.
const (
	// MaxRecord is CloudTrail's limit for one event (quotas: 256 KB from
	// eventVersion 1.05 on). A larger record is a Defect and is not returned.
	MaxRecord = 256 << 10
	// MaxDepth of nesting within one record. A deeper record is a Defect.
	MaxDepth = 256
	// MaxCompressed bytes of one object (CloudTrail: 50 MB).
	MaxCompressed = 256 << 20
	// MaxPlain bytes of one object uncompressed: what stops a gzip bomb.
	MaxPlain = 2 << 30
	// MaxClaims is how many bytes of records a scan keeps that merely claim to
	// be ours (they carry the marker, which anybody can write). Records asked
	// for by request id never count against it: a flood cannot hide them.
	MaxClaims = 1 << 20
	// MaxAsked bytes of records asked for by request id.
	MaxAsked = 16 << 20
	// maxDefects of one file that are kept; the rest are counted.
	maxDefects = 20
)

// Record is one record found by a scan.
type Record struct {
	// Offset of its first byte in the uncompressed file.
	Offset int64
	// Raw is a copy of its bytes, as they stand in the file.
	Raw []byte
	// Asked says that its requestID, or its addendum's originalRequestID, was
	// asked for; otherwise it only carries the marker.
	Asked bool
}

// Defect is something in a file that could not be read. What is missing may
// have been there.
type Defect struct {
	Offset int64 // in the uncompressed file
	Err    string
}

func (d Defect) String() string { return fmt.Sprintf("at byte %d: %s", d.Offset, d.Err) }

// File is what a scan found in one file.
type File struct {
	// Records counts the elements of "Records", wanted or not.
	Records int
	// Bytes is the size uncompressed.
	Bytes int64
	// SHA256 of the uncompressed bytes, hex: the same bytes the records were
	// found in. "" when the file could not be inflated to its very end.
	SHA256 string
	// Found records in file order.
	Found []Record
	// Defects in file order. Records before a defect are still in Found, and
	// those after it too where the boundaries between records remain certain.
	Defects []Defect
}

// Scanner finds records in log files. It is for one Scan at a time and worth
// keeping: it holds about 1.7 MB of buffers.
type Scanner struct {
	gz     gzip.Reader
	buf    *bufio.Reader
	blocks [][]byte
	sum    hash.Hash
	marker marker
	parse  parser

	maxCompressed, maxPlain int64 // what they say, lower in tests
}

const (
	// blockSize is what is inflated at a time: small enough to stay in the
	// second-level cache until it is scanned.
	blockSize = 256 << 10
	// headroom lies before each block; the unfinished record at the end of one
	// block is moved there, so that every record is parsed in one piece.
	headroom = MaxRecord
)

// NewScanner returns a Scanner that looks for canary.Marker.
func NewScanner() *Scanner {
	s := &Scanner{
		buf:    bufio.NewReaderSize(nil, 64<<10),
		sum:    sha256.New(),
		marker: newMarker(canary.Marker),

		maxCompressed: MaxCompressed, maxPlain: MaxPlain,
	}
	for range 3 { // one being inflated, one being scanned, one between them
		s.blocks = append(s.blocks, make([]byte, headroom+blockSize))
	}
	return s
}

// Scan reads one gzip-compressed log file from r, all members, to its end, and
// returns the records whose request id is in requestIDs, or that carry the
// marker anywhere in their bytes. (JSON could spell the marker with escapes, but
// CloudTrail's writer does not escape letters, and nobody else chooses how it spells.)
//
// The error is that of r or ctx; the file may be well, and what was found before
// it is returned too. Whatever is wrong with the file itself is in File.Defects.
func (s *Scanner) Scan(ctx context.Context, r io.Reader, requestIDs map[string]bool) (File, error) {
	return s.scan(ctx, r, requestIDs, true)
}

// ScanBytes is Scan of a file that is in memory. It computes File.SHA256 only if
// there is something in Found: most files hold nothing of ours, and without SHA
// instructions in the processor hashing takes longer than all else together.
func (s *Scanner) ScanBytes(ctx context.Context, gz []byte, requestIDs map[string]bool) (File, error) {
	f, err := s.scan(ctx, bytes.NewReader(gz), requestIDs, false)
	if err != nil || len(f.Found) == 0 {
		return f, err
	}
	s.sum.Reset()
	if err := s.gz.Reset(bytes.NewReader(gz)); err != nil {
		return f, nil // a Defect already
	}
	if n, err := io.Copy(s.sum, &s.gz); err != nil || n != f.Bytes {
		return f, nil
	}
	f.SHA256 = hex.EncodeToString(s.sum.Sum(nil))
	return f, ctx.Err()
}

func (s *Scanner) scan(ctx context.Context, r io.Reader, requestIDs map[string]bool, hash bool) (File, error) {
	src := &source{r: r, most: s.maxCompressed}
	s.sum.Reset()
	s.parse = parser{want: requestIDs, marker: &s.marker}
	p := &s.parse

	// Inflating takes most of the time, so it has a goroutine of its own, and
	// hashing and scanning happen beside it. It ends with the block that has an
	// error (io.EOF at best), which this loop always waits for.
	free, full := make(chan []byte, len(s.blocks)), make(chan block, len(s.blocks))
	for _, b := range s.blocks {
		free <- b
	}
	go s.inflate(ctx, src, free, full)

	var tail []byte // the unfinished end of the last block, still in prev
	var prev []byte
	var end error
	for end == nil {
		b := <-full
		end = b.err
		if hash {
			s.sum.Write(b.buf[headroom : headroom+b.n])
		}
		start := headroom - len(tail)
		copy(b.buf[start:headroom], tail)
		if prev != nil {
			free <- prev
		}
		window := b.buf[start : headroom+b.n]
		used := p.feed(window)
		tail, prev = window[used:], b.buf
		p.file.Bytes += int64(b.n)
	}

	if src.err != nil {
		return p.file, fmt.Errorf("read after %d bytes: %w", src.n, src.err)
	}
	if err := ctx.Err(); err != nil && errors.Is(end, err) {
		return p.file, err
	}
	if !errors.Is(end, io.EOF) {
		p.defect(p.file.Bytes, inflateError(end))
	} else {
		if hash {
			p.file.SHA256 = hex.EncodeToString(s.sum.Sum(nil))
		}
		p.finish()
	}
	if p.dropped > 0 {
		p.file.Defects = append(p.file.Defects, Defect{p.file.Bytes, fmt.Sprintf("and %d more defects", p.dropped)})
	}
	return p.file, nil
}

// block is a filled buffer: n bytes after the headroom.
type block struct {
	buf []byte
	n   int
	err error // io.EOF: the file ended well
}

func (s *Scanner) inflate(ctx context.Context, src *source, free <-chan []byte, full chan<- block) {
	s.buf.Reset(src)
	err := s.gz.Reset(s.buf)
	if err == io.EOF {
		err = errEmpty
	}
	var total int64
	for {
		buf, n := <-free, 0
		for n < blockSize && err == nil {
			var m int
			m, err = s.gz.Read(buf[headroom+n:])
			n += m
		}
		if total += int64(n); total > s.maxPlain {
			err = tooLarge{s.maxPlain, "uncompressed"}
		}
		if err == nil {
			err = ctx.Err()
		}
		full <- block{buf, n, err}
		if err != nil {
			return
		}
	}
}

var errEmpty = errors.New("object is empty")

// tooLarge: the object goes beyond one of the limits.
type tooLarge struct {
	most int64
	what string
}

func (e tooLarge) Error() string {
	return fmt.Sprintf("more than %d bytes %s; not read further", e.most, e.what)
}

// inflateError says in words what the gzip reader ended with.
func inflateError(err error) string {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "gzip stream is cut off"
	case errors.Is(err, gzip.ErrHeader):
		return "not a gzip stream, or bytes after its end that are none"
	case errors.Is(err, gzip.ErrChecksum):
		return "gzip checksum does not match"
	case errors.Is(err, errEmpty), errors.As(err, new(tooLarge)):
		return err.Error()
	}
	return "gzip stream is damaged: " + err.Error()
}

// source keeps the reader's own errors apart from what is wrong with its bytes.
type source struct {
	r    io.Reader
	n    int64
	most int64
	err  error
}

func (s *source) Read(p []byte) (int, error) {
	if s.n > s.most {
		return 0, tooLarge{s.most, "compressed"}
	}
	n, err := s.r.Read(p)
	s.n += int64(n)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// marker finds one short string in long ones. Reading four bytes at every
// stride-th position is enough to touch every occurrence, so most bytes are
// never looked at.
type marker struct {
	text   []byte
	stride int
	maybe  [1 << 10]bool // by hash4 of each four bytes of text
}

func newMarker(text string) marker {
	m := marker{text: []byte(text), stride: len(text) - 3}
	for i := range m.stride {
		m.maybe[hash4(m.text[i:])] = true
	}
	return m
}

func hash4(b []byte) uint32 {
	_ = b[3]
	v := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
	return v * 0x9E3779B1 >> 22
}

func (m *marker) in(b []byte) bool {
	for i := 0; i+4 <= len(b); i += m.stride {
		if !m.maybe[hash4(b[i:i+4])] {
			continue
		}
		from, to := max(0, i-m.stride+1), min(len(b), i+len(m.text))
		if bytes.Contains(b[from:to], m.text) {
			return true
		}
	}
	return false
}
