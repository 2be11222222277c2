package archive_test

import (
	"crypto/sha256"
	"encoding/base64"
)

func sha256base64(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}
