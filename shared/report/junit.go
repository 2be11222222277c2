package report

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"strconv"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// The parts of JUnit's XML that build servers read.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Skipped  int          `xml:"skipped,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name      string      `xml:"name,attr"`
		Tests     int         `xml:"tests,attr"`
		Failures  int         `xml:"failures,attr"`
		Errors    int         `xml:"errors,attr"`
		Skipped   int         `xml:"skipped,attr"`
		Time      string      `xml:"time,attr"`
		Timestamp string      `xml:"timestamp,attr"`
		Cases     []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name    string       `xml:"name,attr"`
		Class   string       `xml:"classname,attr"`
		Time    string       `xml:"time,attr"`
		Failure *junitReason `xml:"failure"`
		Error   *junitReason `xml:"error"`
		Skipped *junitReason `xml:"skipped"`
	}
	junitReason struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",chardata"`
	}
)

// WriteJUnit writes JUnit XML: a suite for each of the latest canaries, a case for
// each check. What failed or was late is a failure, what could not be found out an
// error, and what was not run or is excepted is skipped.
func WriteJUnit(w io.Writer, r Report) error {
	all := junitSuites{Name: "auditcanary"}
	for _, c := range r.Latest() {
		s := junitSuite{Name: line(c.Scenario+" at "+c.place(), maxText), Timestamp: stamp(c.At, r.At)}
		var total float64
		for _, k := range c.Checks {
			one := junitCase{Name: line(string(k.Check), maxText), Class: line(c.Scenario+"."+c.place(), maxText), Time: "0"}
			if k.LatencySeconds != nil && k.Check == canary.Timely {
				one.Time, total = seconds(*k.LatencySeconds), *k.LatencySeconds
			}
			s.Tests++
			why := &junitReason{Message: line(cmp.Or(k.Detail, string(k.Status)), maxText), Type: line(string(k.Status), maxText)}
			switch k.Status {
			case canary.Pass:
			case canary.Fail, canary.Late:
				s.Failures++
				one.Failure, why.Text = why, c.tell(k)
			case canary.NotRun, canary.Excepted:
				s.Skipped++
				one.Skipped, why.Type = why, ""
			default:
				s.Errors++
				one.Error, why.Text = why, c.tell(k)
			}
			s.Cases = append(s.Cases, one)
		}
		s.Time = seconds(total)
		all.Tests, all.Failures, all.Errors, all.Skipped = all.Tests+s.Tests, all.Failures+s.Failures, all.Errors+s.Errors, all.Skipped+s.Skipped
		all.Suites = append(all.Suites, s)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return fmt.Errorf("write JUnit: %w", err)
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(all); err != nil {
		return fmt.Errorf("write JUnit: %w", err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// tell is what is known of a check that did not pass, a line each.
func (c Canary) tell(k Check) string {
	s := "canary " + line(c.ID, maxText)
	if k.Hop != "" {
		s += ", hop " + line(string(k.Hop), maxText)
	}
	if k.Step != "" {
		s += ", step " + line(k.Step, maxText)
	}
	for _, f := range k.Fields {
		s += "\n" + line(fmt.Sprintf("%s: expected %q, found %q", f.Field, f.Expected, f.Found), maxText)
	}
	for _, e := range k.Evidence {
		s += "\n" + line(string(e.Source)+": "+e.Found+" "+e.Object, maxText)
	}
	return s
}

func seconds(s float64) string { return strconv.FormatFloat(s, 'f', 3, 64) }
