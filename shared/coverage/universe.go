package coverage

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

//go:embed aws.tsv
var awsTSV []byte

//go:embed unprovable.tsv
var unprovableTSV []byte

// Operation is one privileged operation.
type Operation struct {
	// ID is "service:Operation" as a scenario's call names it.
	ID string
	// Category is one of the catalogue's.
	Category string
	// RuleSets is how many independent rule sets call it privileged; NamedBy are
	// their names (those that begin with cis_ are readings of one benchmark).
	RuleSets int
	NamedBy  []string
	// Access is read, write or permissions.
	Access string
	// Source is the class of log it is recorded in, an ID of Sources.
	Source string
	// Global: called, recorded and counted once per account.
	Global bool
	// Events are the names the rule sets use, where they are not the operation's.
	Events []string
}

// Unprovable is an operation that no canary can prove to be logged.
type Unprovable struct {
	ID string `json:"operation"`
	// Reason why not, and Origin of the fact.
	Reason string `json:"reason"`
	Origin string `json:"origin"`
}

// Operations returns the privileged operations of AWS (aws.tsv), sorted by ID.
func Operations() ([]Operation, error) { return readOperations("aws.tsv", awsTSV) }

// NotProvable returns the operations no canary can prove (unprovable.tsv), sorted by ID.
func NotProvable() ([]Unprovable, error) { return readUnprovable("unprovable.tsv", unprovableTSV) }

var (
	operationID = regexp.MustCompile(`^[a-z0-9-]+:[A-Z][A-Za-z0-9]*$`)
	name        = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
)

func readOperations(file string, data []byte) ([]Operation, error) {
	var ops []Operation
	columns := []string{"operation", "category", "rule_sets", "named_by", "access", "source", "recorded", "events"}
	err := readTable(file, data, columns, func(f []string) error {
		op := Operation{
			ID: f[0], Category: f[1], NamedBy: strings.Split(f[3], ","), Access: f[4], Source: f[5], Global: f[6] == "account",
		}
		if f[7] != "-" {
			op.Events = strings.Split(f[7], ",")
		}
		for _, n := range slices.Concat(op.NamedBy, op.Events, []string{op.Category}) {
			if !name.MatchString(n) {
				return fmt.Errorf("%q is not a name", n)
			}
		}
		n, err := strconv.Atoi(f[2])
		switch {
		case err != nil || n != independent(op.NamedBy):
			return fmt.Errorf("rule_sets is %q, and %d independent ones are named", f[2], independent(op.NamedBy))
		case !slices.Contains([]string{"read", "write", "permissions"}, op.Access):
			return fmt.Errorf("access %q is not read, write or permissions", op.Access)
		case !op.Global && f[6] != "region":
			return fmt.Errorf("recorded %q is neither region nor account", f[6])
		case !isSource(op.Source):
			return fmt.Errorf("source %q is not known; known: %s", op.Source, strings.Join(SourceIDs(), ", "))
		}
		op.RuleSets = n
		ops = append(ops, op)
		return nil
	})
	return ops, err
}

// independent counts rule sets; the readings of one benchmark count as one.
func independent(names []string) int {
	seen := map[string]bool{}
	for _, n := range names {
		if strings.HasPrefix(n, "cis_") {
			n = "cis"
		}
		seen[n] = true
	}
	return len(seen)
}

func readUnprovable(file string, data []byte) ([]Unprovable, error) {
	var out []Unprovable
	err := readTable(file, data, []string{"operation", "reason", "origin"}, func(f []string) error {
		out = append(out, Unprovable{f[0], f[1], f[2]})
		return nil
	})
	return out, err
}

// readTable reads lines of tab-separated fields, sorted by the first, which is
// an operation, after comments and a line that names the columns. It reports
// everything wrong, each with its line.
func readTable(file string, data []byte, columns []string, row func(fields []string) error) error {
	var errs []error
	head, last := true, ""
	for i, line := range bytes.Split(bytes.TrimSuffix(data, []byte("\n")), []byte("\n")) {
		bad := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("%s:%d: %s", file, i+1, fmt.Sprintf(format, args...)))
		}
		f := strings.Split(string(line), "\t")
		switch {
		case !utf8.Valid(line):
			bad("not UTF-8")
		case bytes.HasPrefix(line, []byte("#")):
		case head && !slices.Equal(f, columns):
			bad("the first line must name the columns: %s", strings.Join(columns, ", "))
			return errors.Join(errs...)
		case head:
			head = false
		case len(f) != len(columns):
			bad("%d fields, want %d", len(f), len(columns))
		case slices.Contains(f, ""):
			bad("%s is empty", columns[slices.Index(f, "")])
		case !operationID.MatchString(f[0]):
			bad("%q is not of the form service:Operation", f[0])
		case f[0] == last:
			bad("%s is listed twice", f[0])
		case f[0] < last:
			bad("%s must stand before %s: the list is sorted", f[0], last)
		default:
			last = f[0]
			if err := row(f); err != nil {
				bad("%s: %v", f[0], err)
			}
		}
	}
	if head && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("%s: no line names the columns", file))
	}
	return errors.Join(errs...)
}
