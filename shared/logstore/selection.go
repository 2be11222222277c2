package logstore

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
)

// Selection is which entries of a store are audit records.
type Selection struct {
	// Selector of streams, {job="kube-audit"}.
	Selector string
	// ClusterField names the cluster that an entry is of; "" if none does.
	ClusterField string
	// RecordField holds the record as text, whole. VictoriaLogs only; _msg if empty.
	RecordField string
}

// selector is one of streams, without braces within.
var selector = regexp.MustCompile(`^\{[^{}]*[^{}, ][^{}]*\}$`)

// CheckSelector says what is wrong with a selector of streams.
func CheckSelector(text string) error {
	if !selector.MatchString(text) {
		return fmt.Errorf("selector %.80q is not of the form {label=\"value\", ...}: without one all that is stored would count as audit records", text)
	}
	return nil
}

// and is a selector with one matcher more.
func and(selector, matcher string) string {
	return strings.TrimRight(strings.TrimSuffix(selector, "}"), ", ") + "," + matcher + "}"
}

func quoted(words []string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = strconv.Quote(w)
	}
	return out
}

// looks numbers questions, so that no two are alike, not even those of two processes: what
// a server remembers of the answer to one must not be the answer to the next.
type looks struct{ n atomic.Uint64 }

func newLooks() *looks {
	var begin [8]byte
	_, _ = rand.Read(begin[:]) // it never fails
	l := &looks{}
	l.n.Store(binary.BigEndian.Uint64(begin[:]))
	return l
}

func (l *looks) next() string { return strconv.FormatUint(l.n.Add(1), 16) }
