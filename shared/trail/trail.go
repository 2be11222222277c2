// Package trail reads CloudTrail files as they lie in an archive.
//
// An Archive lists the places where records may be, opens each new object once,
// and hands it to a Scanner, which inflates it, hashes it and finds the records
// asked for without decoding the others. What is hashed is what is parsed.
//
// Validate walks the signed digests, in which CloudTrail lists hour by hour what
// it delivered, and says what of the archive is not as it was delivered.
//
// Every byte of an archive may have been chosen by somebody hostile. What cannot
// be read is therefore never skipped in silence: it becomes a Defect of the file
// and a canary.Problem of the look, and memory stays bounded whatever the input.
package trail

import (
	"context"
	"io"
	"time"
)

// Object is one object of the archive, as listed.
type Object struct {
	Key          string
	Size         int64
	LastModified time.Time
}

// Opened is an object being read. Body must be closed.
type Opened struct {
	Body         io.ReadCloser
	VersionID    string
	LastModified time.Time
	// Metadata that its writer gave it, names in lower case ("signature").
	Metadata map[string]string
}

// Store is the archive's bucket. Both methods are safe for concurrent use.
// Errors name the bucket and key and wrap the cause.
type Store interface {
	// List calls each for every object whose key begins with prefix and sorts
	// after startAfter, in key order, and returns the store's own time at the
	// first page: everything that existed then was listed.
	List(ctx context.Context, prefix, startAfter string, each func(Object) error) (asOf time.Time, err error)
	// Open gets one object with one request. Its error wraps fs.ErrNotExist where
	// there is certainly no such object.
	Open(ctx context.Context, key string) (Opened, error)
	// Name of the bucket.
	Name() string
}
