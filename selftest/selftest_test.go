package selftest

import (
	"bytes"
	"encoding/xml"
	"slices"
	"strings"
	"testing"
)

func TestEveryCheckSaysWhatItIsAboutAndRestsOnEarlierOnes(t *testing.T) {
	t.Parallel()
	var before []string
	for _, c := range Checks() {
		if c.ID == "" || !strings.Contains(c.ID, ".") || c.Promise == "" || c.How == "" || c.Mend == "" || c.try == nil {
			t.Errorf("the check %q (%s) lacks something", c.ID, c.Promise)
		}
		if slices.Contains(before, c.ID) {
			t.Errorf("there are two checks %s", c.ID)
		}
		for _, need := range c.Needs {
			if !slices.Contains(before, need) {
				t.Errorf("%s needs %s, which is not tried before it", c.ID, need)
			}
		}
		before = append(before, c.ID)
	}
}

func sample() *Report {
	r := &Report{Issuer: "https://id.example.com"}
	r.add(Result{ID: "a.good", Promise: "It is good.", Status: Passed})
	r.add(Result{ID: "a.bad", Promise: "It is <b>good</b>.", How: "Look.", Status: Failed, Why: "it said \x1b[2J\nno", Mend: "Mend it."})
	r.add(Result{ID: "a.plain", Promise: "It is secure.", Status: Skipped, Why: "the issuer is plain http"})
	r.add(Result{ID: "a.more", Promise: "There is more.", Status: Skipped, Why: "a.bad did not pass", needed: true})
	return r
}

func TestTheReportShowsWhatFailedAndHidesWhatRestsOnIt(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	sample().Text(&out)
	for _, want := range []string{"ok    a.good", "FAIL  a.bad", "Found: it said ?[2J;no", "Mend:  Mend it.", "-     a.plain", "rest on what failed: 1 more", "1 passed, 1 failed, 2 not tried"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "a.more") || strings.Contains(out.String(), "\x1b") {
		t.Errorf("the report shows what it should not:\n%q", out.String())
	}
}

func TestJUnitIsWellFormed(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := sample().JUnit(&out); err != nil {
		t.Fatal(err)
	}
	var suite struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Skipped  int `xml:"skipped,attr"`
		Cases    []struct {
			Name    string `xml:"name,attr"`
			Failure *struct {
				Message string `xml:"message,attr"`
			} `xml:"failure"`
		} `xml:"testcase"`
	}
	if err := xml.Unmarshal(out.Bytes(), &suite); err != nil {
		t.Fatalf("%v in\n%s", err, out.String())
	}
	if suite.Tests != 4 || suite.Failures != 1 || suite.Skipped != 2 || len(suite.Cases) != 4 || suite.Cases[1].Name != "a.bad: It is <b>good</b>." || suite.Cases[1].Failure == nil || suite.Cases[0].Failure != nil {
		t.Errorf("%+v in\n%s", suite, out.String())
	}
}
