package exception

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Label marks the issues of a project that are exceptions.
const Label = "auditcanary-exception"

// Issue is what of an issue makes an exception.
type Issue struct {
	Key string
	// Description as plain text or wiki markup. The exception stands in it as YAML, between
	// lines of three backquotes or {code}, as one item of a register's file, without id,
	// risk.requester, risk.approver and risk.ticket: these are the issue's own.
	Description string
	Labels      []string
	// Reporter asked for it. ApprovedBy moved the issue to its approved state, as the
	// issue's history says; "" while nobody has.
	Reporter, ApprovedBy string
}

// FromIssues makes a register of the issues of a project that have the label and are
// approved. One that cannot be read is not in it: the errors say of each why, with the
// line of its YAML.
func FromIssues(source string, issues []Issue) (Register, Errors) {
	r := Register{Exceptions: []Exception{}, Source: source}
	var errs Errors
	issues = slices.DeleteFunc(slices.Clone(issues), func(i Issue) bool { return !slices.Contains(i.Labels, Label) || i.ApprovedBy == "" })
	slices.SortStableFunc(issues, func(a, b Issue) int { return strings.Compare(a.Key, b.Key) })
	for n, is := range issues {
		if n > 0 && issues[n-1].Key == is.Key {
			continue // the same issue on two pages of a list that moved
		}
		if len(r.Exceptions) == maxExceptions {
			errs = append(errs, Error{is.Key, 1, fmt.Sprintf("more than %d exceptions", maxExceptions)})
			break
		}
		es, wrong := is.read()
		errs = append(errs, wrong...)
		if len(wrong) == 0 {
			r.Exceptions = append(r.Exceptions, es...)
		}
	}
	text, err := json.Marshal(r.Exceptions)
	if err != nil {
		errs = append(errs, Error{source, 1, err.Error()})
	}
	sum := sha256.Sum256(text)
	r.SHA256 = hex.EncodeToString(sum[:])
	return r, errs
}

// before is what stands before the YAML of one issue to make it a register's file.
const before = "version: 1\nexceptions:\n  -\n"

func (is Issue) read() ([]Exception, Errors) {
	block, ok := fenced(is.Description)
	if !ok {
		return nil, Errors{{is.Key, 1, "the description has no YAML between two lines of ``` or {code}"}}
	}
	d := &document{file: is.Key, amend: func(e *Exception) (string, string) {
		if e.ID != "" || e.Risk.Requester != "" || e.Risk.Approver != "" || e.Risk.Ticket != "" {
			return "risk", "id, requester, approver and ticket are those of the issue: the text must not state them"
		}
		e.ID, e.Risk.Ticket, e.Risk.Requester, e.Risk.Approver = is.Key, is.Key, is.Reporter, is.ApprovedBy
		return "", ""
	}}
	es, errs := d.read([]byte(before + "    " + strings.ReplaceAll(block, "\n", "\n    ") + "\n"))
	for i := range errs {
		errs[i].Line = max(1, errs[i].Line-strings.Count(before, "\n"))
	}
	if len(errs) == 0 && len(es) != 1 {
		errs = Errors{{is.Key, 1, "the YAML must be one exception"}}
	}
	return es, errs
}

// fenced is what stands between the first two fences of a text.
func fenced(text string) (string, bool) {
	var block []string
	inside := false
	for l := range strings.Lines(text) {
		l = strings.TrimRight(l, "\r\n")
		fence := strings.HasPrefix(strings.TrimSpace(l), "```") || strings.HasPrefix(strings.TrimSpace(l), "{code")
		switch {
		case fence && inside:
			return strings.Join(block, "\n"), true
		case fence:
			inside = true
		case inside:
			block = append(block, l)
		}
	}
	return "", false
}
