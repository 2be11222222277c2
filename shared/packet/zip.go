package packet

import (
	"archive/zip"
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path"
	"strings"
	"time"

	"github.com/klauspost/compress/flate"

	"github.com/auditcanary/auditcanary/shared/ledger"
)

// A packet is a zip file of the plainest kind: deflated files one after the other
// with nothing between them, ASCII names, one fixed date, no attributes,
// comments or zip64. Two programs that read zip files can disagree about
// anything beyond that, so the reader here refuses it, by name, before a byte is
// inflated.
const (
	maxMembers    = 64
	maxMemberName = 200
	// maxMember is where zip64 begins, which other tools read differently.
	maxMember = 1<<32 - 1
	// deflateRatio is the best that deflate can do; a larger claim is a lie.
	deflateRatio = 1032

	zipVersion    = 20
	zipFlags      = 0x8  // sizes follow the data, as a stream needs it
	zipDate       = 0x21 // 1 January 1980, and the same in seconds:
	zipExtra      = "UT\x05\x00\x01\x00\xa6\xce\x12"
	zipDeflate    = 8
	localLen      = 30
	descriptorLen = 16
	centralLen    = 46
	endLen        = 22
)

// Names of what is wrong with a zip file; see Fault.
const (
	NotZip       = "zip-not-one"
	ZipCut       = "zip-cut"
	ZipLayout    = "zip-layout"
	Zip64        = "zip-zip64"
	ZipEncrypted = "zip-encrypted"
	ZipMethod    = "zip-method"
	ZipPath      = "zip-path"
	ZipDuplicate = "zip-duplicate"
	ZipSymlink   = "zip-symlink"
	ZipBomb      = "zip-bomb"
	ZipTooMany   = "zip-too-many"
	ZipSize      = "zip-size"
	ZipData      = "zip-data"
)

// newZip writes a packet's zip file.
func newZip(w io.Writer) *zip.Writer {
	z := zip.NewWriter(w)
	var deflater *flate.Writer // files are written one after the other
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		if deflater != nil {
			deflater.Reset(w)
			return deflater, nil
		}
		var err error
		deflater, err = flate.NewWriter(w, flate.DefaultCompression)
		return deflater, err
	})
	return z
}

func zipTime() time.Time { return time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC) }

func createMember(z *zip.Writer, name string) (io.Writer, error) {
	return z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: zipTime()})
}

// archive is a packet's zip file whose layout has been checked.
type archive struct {
	r       io.ReaderAt
	members []member
}

// member is one file of it.
type member struct {
	name       string
	crc        uint32
	packed     int64
	size       int64 // uncompressed, as the zip file claims
	header     int64 // offset of its local header
	data       int64 // offset of its data
	descriptor int64
}

func (a *archive) find(name string) (member, bool) {
	for _, m := range a.members {
		if m.name == name {
			return m, true
		}
	}
	return member{}, false
}

func refuse(name, file, format string, args ...any) error {
	return &Fault{Name: name, Kind: ledger.ErrBroken, File: file, Leaf: -1, Err: fmt.Errorf(format, args...)}
}

// openArchive reads the directory of a zip file and checks its layout, every byte
// of it that is not data.
func openArchive(r io.ReaderAt, size int64) (*archive, error) {
	head := make([]byte, 4)
	if n, err := r.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the packet: %w", err)
	} else if n < 4 || !bytes.Equal(head, []byte("PK\x03\x04")) {
		return nil, refuse(NotZip, "", "it does not begin as a zip file does")
	}
	cut := &Fault{Name: ZipCut, Kind: ledger.ErrIncomplete, Leaf: -1, Err: errors.New("it does not end as a packet's zip file does: its end is missing, or something was appended")}
	end := make([]byte, endLen)
	if size < endLen {
		return nil, cut
	}
	if _, err := r.ReadAt(end, size-endLen); err != nil {
		return nil, fmt.Errorf("read the packet's end: %w", err)
	}
	le := binary.LittleEndian
	if le.Uint32(end) != 0x06054b50 || le.Uint16(end[20:]) != 0 {
		return nil, cut
	}
	count, dirSize, dirAt := int(le.Uint16(end[10:])), int64(le.Uint32(end[12:])), int64(le.Uint32(end[16:]))
	switch {
	case count == 0xffff || dirSize == maxMember || dirAt == maxMember:
		return nil, refuse(Zip64, "", "it claims to be larger than 4 GB (zip64)")
	case le.Uint16(end[4:]) != 0 || le.Uint16(end[6:]) != 0 || le.Uint16(end[8:]) != uint16(count):
		return nil, refuse(ZipLayout, "", "it claims to be a part of several disks")
	case count > maxMembers:
		return nil, refuse(ZipTooMany, "", "%d files, a packet has at most %d", count, maxMembers)
	case dirAt+dirSize != size-endLen:
		return nil, refuse(ZipLayout, "", "its directory is not where it says")
	case dirSize > int64(count)*int64(centralLen+maxMemberName+len(zipExtra)):
		return nil, refuse(ZipLayout, "", "its directory has %d bytes for %d files", dirSize, count)
	}
	dir := make([]byte, dirSize)
	if _, err := r.ReadAt(dir, dirAt); err != nil {
		return nil, fmt.Errorf("read the packet's directory: %w", err)
	}
	a := &archive{r: r}
	seen := map[string]bool{}
	at := int64(0)
	for range count {
		var m member
		var err error
		if m, dir, err = readCentral(dir); err != nil {
			return nil, err
		}
		if seen[strings.ToLower(m.name)] {
			return nil, refuse(ZipDuplicate, m.name, "two files of that name")
		}
		seen[strings.ToLower(m.name)] = true
		if m.header != at {
			return nil, refuse(ZipLayout, m.name, "it begins at byte %d, where the files before it end at %d", m.header, at)
		}
		if err := a.checkLocal(m); err != nil {
			return nil, err
		}
		at = m.descriptor + descriptorLen
		if at > dirAt {
			return nil, refuse(ZipLayout, m.name, "it reaches into the directory")
		}
		a.members = append(a.members, m)
	}
	if len(dir) != 0 || at != dirAt {
		return nil, refuse(ZipLayout, "", "there is something between the files that no directory entry is of")
	}
	return a, nil
}

// readCentral reads one entry of the directory.
func readCentral(dir []byte) (m member, rest []byte, err error) {
	le := binary.LittleEndian
	if len(dir) < centralLen || le.Uint32(dir) != 0x02014b50 {
		return m, nil, refuse(ZipLayout, "", "its directory has fewer entries than it says")
	}
	nameLen, extra, comment := int(le.Uint16(dir[28:])), int(le.Uint16(dir[30:])), int(le.Uint16(dir[32:]))
	if nameLen > maxMemberName || len(dir) < centralLen+nameLen {
		return m, nil, refuse(ZipPath, "", "a name of %d bytes", nameLen)
	}
	rest = dir[centralLen+nameLen:]
	m = member{
		name: string(dir[centralLen : centralLen+nameLen]), crc: le.Uint32(dir[16:]), packed: int64(le.Uint32(dir[20:])),
		size: int64(le.Uint32(dir[24:])), header: int64(le.Uint32(dir[42:])),
	}
	m.data = m.header + localLen + int64(nameLen+len(zipExtra))
	m.descriptor = m.data + m.packed
	flags, method := le.Uint16(dir[8:]), le.Uint16(dir[10:])
	attributes := le.Uint32(dir[38:])
	bad := func(name, format string, args ...any) (member, []byte, error) {
		return m, nil, refuse(name, m.name, format, args...)
	}
	switch {
	case !soundName(m.name):
		return bad(ZipPath, "a name that no file of a packet has")
	case m.packed == maxMember || m.size == maxMember || m.header == maxMember:
		return bad(Zip64, "it claims to be larger than 4 GB (zip64)")
	case flags&0x2041 != 0:
		return bad(ZipEncrypted, "it is encrypted")
	case method != zipDeflate:
		return bad(ZipMethod, "compression method %d; a packet's files are deflated (8)", method)
	case attributes>>16&0o170000 == 0o120000:
		return bad(ZipSymlink, "it is a symbolic link")
	case m.size > m.packed*deflateRatio:
		return bad(ZipBomb, "it claims %d bytes from %d: no deflated file can grow so", m.size, m.packed)
	case flags != zipFlags || attributes != 0 || extra != len(zipExtra) || comment != 0 || !bytes.HasPrefix(rest, []byte(zipExtra)) || le.Uint16(dir[4:]) != zipVersion || le.Uint16(dir[6:]) != zipVersion ||
		le.Uint16(dir[12:]) != 0 || le.Uint16(dir[14:]) != zipDate || le.Uint16(dir[34:]) != 0 || le.Uint16(dir[36:]) != 0:
		return bad(ZipLayout, "its directory entry has a date, attributes or fields that a packet's files do not have")
	}
	return m, rest[len(zipExtra):], nil
}

// soundName: relative, clean, ASCII, and a file's.
func soundName(name string) bool {
	if name == "" || !strings.ContainsFunc(name, func(r rune) bool { return r != '.' && r != '/' }) {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if c != '.' && c != '/' && c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return path.Clean(name) == name && !path.IsAbs(name) && name != ".." && !strings.HasPrefix(name, "../")
}

// checkLocal holds what stands before and after a file's data against the directory.
func (a *archive) checkLocal(m member) error {
	le := binary.LittleEndian
	want := make([]byte, localLen, localLen+len(m.name)+len(zipExtra))
	le.PutUint32(want, 0x04034b50)
	le.PutUint16(want[4:], zipVersion)
	le.PutUint16(want[6:], zipFlags)
	le.PutUint16(want[8:], zipDeflate)
	le.PutUint16(want[12:], zipDate)
	le.PutUint16(want[26:], uint16(len(m.name)))
	le.PutUint16(want[28:], uint16(len(zipExtra)))
	want = append(append(want, m.name...), zipExtra...)
	after := make([]byte, descriptorLen)
	le.PutUint32(after, 0x08074b50)
	le.PutUint32(after[4:], m.crc)
	le.PutUint32(after[8:], uint32(m.packed))
	le.PutUint32(after[12:], uint32(m.size))
	for _, part := range []struct {
		at   int64
		want []byte
	}{{m.header, want}, {m.descriptor, after}} {
		have := make([]byte, len(part.want))
		if _, err := a.r.ReadAt(have, part.at); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read the packet at byte %d: %w", part.at, err)
		}
		if !bytes.Equal(have, part.want) {
			return refuse(ZipLayout, m.name, "what stands beside its data (at byte %d) is not what the directory says", part.at)
		}
	}
	return nil
}

// open inflates a file. The reader ends with an error unless the data are exactly
// as long as claimed and have the checksum claimed.
func (a *archive) open(m member) io.Reader {
	packed := bufio.NewReaderSize(io.NewSectionReader(a.r, m.data, m.packed), 64<<10)
	return &inflating{m: m, packed: packed, plain: flate.NewReader(packed), crc: crc32.NewIEEE()}
}

type inflating struct {
	m      member
	packed *bufio.Reader
	plain  io.Reader
	crc    interface {
		io.Writer
		Sum32() uint32
	}
	n   int64
	err error
}

func (f *inflating) Read(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	n, err := f.plain.Read(p)
	if f.n += int64(n); f.n > f.m.size {
		f.err = refuse(ZipSize, f.m.name, "it has more bytes than the %d that the directory says", f.m.size)
		return 0, f.err
	}
	_, _ = f.crc.Write(p[:n])
	switch {
	case err == nil:
		return n, nil
	case !errors.Is(err, io.EOF):
		f.err = refuse(ZipData, f.m.name, "it cannot be inflated: %w", err)
	case f.n != f.m.size:
		f.err = refuse(ZipSize, f.m.name, "it has %d bytes, the directory says %d", f.n, f.m.size)
	case f.crc.Sum32() != f.m.crc:
		f.err = refuse(ZipData, f.m.name, "its bytes do not have the checksum of the directory")
	default:
		if _, more := f.packed.ReadByte(); more == nil {
			f.err = refuse(ZipData, f.m.name, "there is something after its data")
		} else {
			f.err = io.EOF
		}
	}
	return n, f.err
}
