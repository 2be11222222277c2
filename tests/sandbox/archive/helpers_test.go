package archive_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
)

func sha256base64(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func gz(s string) []byte {
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	_, _ = z.Write([]byte(s)) // to a buffer
	_ = z.Close()
	return buf.Bytes()
}
