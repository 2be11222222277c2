package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// readBody reads an upload whole and decodes the SDKs' aws-chunked encoding.
// Trailing checksums become headers of r, so that the gateway checks them.
// Signatures of single chunks are not looked at. Errors are refusals.
func readBody(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return nil, refusal{http.StatusBadRequest, "IncompleteBody", fmt.Sprintf("The body could not be read: %v", err)}
	}
	if len(body) > maxBody {
		return nil, refusal{http.StatusBadRequest, "EntityTooLarge", fmt.Sprintf("Your proposed upload exceeds the maximum allowed size of %d bytes", maxBody)}
	}
	declared := r.Header.Get("X-Amz-Content-Sha256")
	if !strings.HasPrefix(declared, "STREAMING-") {
		sum := sha256.Sum256(body)
		if len(declared) == sha256.Size*2 && declared != hex.EncodeToString(sum[:]) {
			return nil, refusal{http.StatusBadRequest, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed."}
		}
		return body, nil
	}
	data, trailer, err := decodeChunks(body)
	if err != nil {
		return nil, refusal{http.StatusBadRequest, "IncompleteBody", err.Error()}
	}
	if want := r.Header.Get("X-Amz-Decoded-Content-Length"); want != strconv.Itoa(len(data)) {
		return nil, refusal{http.StatusBadRequest, "IncompleteBody", fmt.Sprintf("%d bytes came, %q were announced", len(data), want)}
	}
	for k, v := range trailer {
		if strings.HasPrefix(k, "X-Amz-Checksum-") {
			r.Header[k] = v
		}
	}
	return data, nil
}

var errChunks = errors.New("the body is not in aws-chunked encoding")

// decodeChunks decodes
//
//	size-in-hex[;chunk-signature=...] CRLF data CRLF ... 0[;...] CRLF [name:value CRLF]... CRLF
func decodeChunks(in []byte) (data []byte, trailer http.Header, err error) {
	for {
		line, rest, ok := bytes.Cut(in, []byte("\r\n"))
		if !ok {
			return nil, nil, errChunks
		}
		in = rest
		digits, _, _ := strings.Cut(string(line), ";")
		n, err := strconv.ParseUint(digits, 16, 31)
		if err != nil {
			return nil, nil, errChunks
		}
		if n == 0 {
			break
		}
		if uint64(len(in)) < n+2 || string(in[n:n+2]) != "\r\n" {
			return nil, nil, errChunks
		}
		data, in = append(data, in[:n]...), in[n+2:]
	}
	trailer = http.Header{}
	for len(in) > 0 {
		line, rest, ok := bytes.Cut(in, []byte("\r\n"))
		if !ok {
			return nil, nil, errChunks
		}
		in = rest
		if len(line) == 0 {
			break
		}
		k, v, ok := strings.Cut(string(line), ":")
		if !ok {
			return nil, nil, errChunks
		}
		trailer.Set(strings.TrimSpace(k), strings.TrimSpace(v))
	}
	return data, trailer, nil
}
