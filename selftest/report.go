package selftest

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// Text writes the report for people: one line a check, and for each that failed why and the mend.
// Checks that rest on one that failed have no line: they would hide it.
func (r *Report) Text(w io.Writer) {
	marks := map[Status]string{Passed: "ok  ", Failed: "FAIL", Skipped: "-   "}
	resting := 0
	for _, c := range r.Results {
		if c.Status == Skipped && c.needed {
			resting++
			continue
		}
		fmt.Fprintf(w, "%s  %-20s  %s\n", marks[c.Status], c.ID, c.Promise)
		if c.Status == Failed {
			fmt.Fprintf(w, "      Tried: %s\n      Found: %s\n      Mend:  %s\n", c.How, oneLine(c.Why), c.Mend)
		}
		if c.Status == Skipped {
			fmt.Fprintf(w, "      Not tried: %s.\n", c.Why)
		}
	}
	if resting > 0 {
		fmt.Fprintf(w, "\nNot tried, as they rest on what failed: %d more. Mend that and run this again.\n", resting)
	}
	fmt.Fprintf(w, "\n%s: %d passed, %d failed, %d not tried, in %.1f s\n", r.Issuer, r.Passed, r.Failed, r.Skipped, r.Seconds)
}

// oneLine keeps what a server sent from moving the cursor.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return ';'
		case r < ' ' || r >= 0x7f && r < 0xa0:
			return '?'
		}
		return r
	}, s)
}

type junitSuite struct {
	XMLName   xml.Name    `xml:"testsuite"`
	Name      string      `xml:"name,attr"`
	Tests     int         `xml:"tests,attr"`
	Failures  int         `xml:"failures,attr"`
	Skipped   int         `xml:"skipped,attr"`
	Time      string      `xml:"time,attr"`
	Timestamp string      `xml:"timestamp,attr"`
	Hostname  string      `xml:"hostname,attr"`
	Cases     []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitFailure `xml:"failure,omitempty"`
	Skipped *junitMessage `xml:"skipped,omitempty"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// JUnit writes the report as CI servers read it.
func (r *Report) JUnit(w io.Writer) error {
	suite := junitSuite{
		Name: "idp selftest", Tests: len(r.Results), Failures: r.Failed, Skipped: r.Skipped, Hostname: r.Issuer,
		Time: fmt.Sprintf("%.3f", r.Seconds), Timestamp: r.Started.Format("2006-01-02T15:04:05"),
	}
	for _, c := range r.Results {
		group, _, _ := strings.Cut(c.ID, ".")
		t := junitCase{Class: "selftest." + group, Name: c.ID + ": " + c.Promise, Time: fmt.Sprintf("%.3f", c.Seconds)}
		switch c.Status {
		case Failed:
			t.Failure = &junitFailure{oneLine(c.Why), "Tried: " + c.How + "\nMend: " + c.Mend}
		case Skipped:
			t.Skipped = &junitMessage{oneLine(c.Why)}
		}
		suite.Cases = append(suite.Cases, t)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	if err := encoder.Encode(suite); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
