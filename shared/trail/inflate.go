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

	"github.com/klauspost/compress/gzip"
)

// inflater reads gzip objects of one member and hashes what they hold. It is for
// one object at a time and worth keeping.
type inflater struct {
	gz  gzip.Reader
	in  *bufio.Reader
	buf []byte
	sum hash.Hash
}

func newInflater() *inflater {
	return &inflater{in: bufio.NewReaderSize(nil, 16<<10), buf: make([]byte, 32<<10), sum: sha256.New()}
}

// inflate reads an object to its very end. CloudTrail writes one gzip member and
// nothing after it; whatever else follows might be read by one reader and passed
// over by another, and is damage. keep > 0: the bytes are returned, and more
// than so many are an error (tooLarge).
func (f *inflater) inflate(ctx context.Context, r io.Reader, keep int64) (inflated, error) {
	src := &source{r: r, most: MaxCompressed}
	f.in.Reset(src)
	f.sum.Reset()
	var got inflated
	if err := f.gz.Reset(f.in); err != nil {
		return got, f.failed(src, 0, err)
	}
	f.gz.Multistream(false)
	most := int64(MaxPlain)
	var kept bytes.Buffer
	if keep > 0 {
		most = keep
	}
	for {
		n, err := f.gz.Read(f.buf)
		f.sum.Write(f.buf[:n])
		if got.n += int64(n); got.n > most {
			return got, tooLarge{most, "uncompressed"}
		}
		if keep > 0 {
			kept.Write(f.buf[:n])
		}
		if err == io.EOF {
			break
		}
		if err == nil {
			err = ctx.Err()
			if err == nil {
				continue
			}
			return got, err
		}
		return got, f.failed(src, got.n, err)
	}
	switch _, err := f.in.ReadByte(); {
	case err == nil:
		return got, damaged{LogTrailing, fmt.Sprintf("something follows the end of its gzip stream (%d bytes uncompressed)", got.n)}
	case err != io.EOF:
		return got, f.failed(src, got.n, err)
	}
	got.sum, got.plain = hex.EncodeToString(f.sum.Sum(nil)), kept.Bytes()
	return got, nil
}

// failed tells the reader's own errors from damage.
func (f *inflater) failed(src *source, n int64, err error) error {
	switch {
	case src.err != nil:
		return fmt.Errorf("read after %d bytes: %w", src.n, src.err)
	case errors.As(err, new(tooLarge)):
		return err
	case src.n == 0:
		return damaged{LogDamaged, errEmpty.Error()}
	case n == 0 && errors.Is(err, gzip.ErrHeader):
		return damaged{LogDamaged, "not a gzip stream"}
	}
	return damaged{LogDamaged, inflateError(err)}
}
