package web_test

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"idp/web"
)

func TestAFormIsReadInOneWayOrRefused(t *testing.T) {
	t.Parallel()
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			b.WriteString("&f" + strconv.Itoa(i) + "=1")
		}
		return b.String()[1:]
	}
	const form = "application/x-www-form-urlencoded"
	for name, row := range map[string]struct {
		method, query, kind, body string
		want                      int // status of the refusal; 0 for none
		field                     string
	}{
		"GET":                        {"GET", "a=1&b=2", "", "", 0, "1"},
		"HEAD":                       {"HEAD", "a=1", "", "", 0, "1"},
		"POST":                       {"POST", "", form, "a=1&b=2", 0, "1"},
		"POST with charset":          {"POST", "", form + "; charset=UTF-8", "a=1", 0, "1"},
		"POST, query not mixed in":   {"POST", "a=2&z=3", form, "b=1", 0, ""},
		"POST, body wins":            {"POST", "a=2", form, "a=1", 0, "1"},
		"GET, body not read":         {"GET", "a=1", form, "a=2", 0, "1"},
		"field twice":                {"POST", "", form, "a=1&a=1", 400, ""},
		"query field twice":          {"GET", "a=1&a=2", "", "", 400, ""},
		"multipart":                  {"POST", "", "multipart/form-data; boundary=x", "--x--", 415, ""},
		"JSON":                       {"POST", "", "application/json", `{"a":"1"}`, 415, ""},
		"plain text":                 {"POST", "", "text/plain", "a=1", 415, ""},
		"no type":                    {"POST", "", "", "a=1", 415, ""},
		"nonsense type":              {"POST", "", ";;;", "a=1", 415, ""},
		"NUL":                        {"POST", "", form, "a=%00", 400, ""},
		"NUL in a name":              {"GET", "%00=a", "", "", 400, ""},
		"bad UTF-8":                  {"POST", "", form, "a=%ff", 400, ""},
		"bad UTF-8 in the query":     {"GET", "a=%ff", "", "", 400, ""},
		"bad escape":                 {"POST", "", form, "a=%zz", 400, ""},
		"bad escape in the query":    {"GET", "a=%zz", "", "", 400, ""},
		"semicolon":                  {"GET", "a=1;b=2", "", "", 400, ""},
		"100 fields":                 {"POST", "", form, many(99) + "&a=1", 0, "1"},
		"101 fields":                 {"POST", "", form, many(101), 400, ""},
		"empty":                      {"POST", "", form, "", 0, ""},
		"umlauts and line breaks":    {"POST", "", form, "a=%C3%BC%0D%0A", 0, "ü\r\n"},
		"plus is a space":            {"POST", "", form, "a=x+y%2B", 0, "x y+"},
		"query of a POST unreadable": {"POST", "a=%zz", form, "a=1", 400, ""},
	} {
		r := post("/?"+row.query, row.body)
		r.Method = row.method
		r.Header.Set("Content-Type", row.kind)
		values, err := web.Form(r)
		if row.want == 0 {
			if err != nil || values.Get("a") != row.field || values.Has("z") {
				t.Errorf("%s: %v, %v; want a = %q", name, values, err, row.field)
			}
			continue
		}
		e, ok := errors.AsType[*web.Error](err)
		if !ok || e.Status != row.want || e.Message == "" || values != nil {
			t.Errorf("%s: %v, %v; want a refusal with %d", name, values, err, row.want)
		}
	}
}

func TestARefusedFormIsAnsweredOnce(t *testing.T) {
	t.Parallel()
	site, _ := newSite(t, nil)
	r := ask(site, true, post("/", "a=1&a=2"), func(_ http.ResponseWriter, r *http.Request) error {
		_, err := web.Form(r)
		return err
	})
	if r.status != 400 || strings.Count(r.body, "<html") != 1 || !strings.Contains(r.body, "sent twice") {
		t.Errorf("%d %s; want one page with 400", r.status, r.body)
	}
}
