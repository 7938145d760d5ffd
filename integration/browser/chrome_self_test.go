package browser

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// These tests try the instrument itself: a browser test that cannot fail
// proves nothing.

func serve(t *testing.T, policy, page string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", policy)
		w.WriteHeader(http.StatusUnprocessableEntity) // as pages with a wrong field have it
		w.Write([]byte("<!doctype html><title>t</title>" + page))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestComplaintsOfAPageAreHeard(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ policy, page, want string }{
		"a calm page with a 4xx status": {"default-src 'none'", `<h1>calm</h1>`, ""},
		"an inline style":               {"default-src 'none'", `<p style="color: red">x</p>`, "Content Security Policy"},
		"an error in a script":          {"script-src 'unsafe-inline'", `<script>nothing.there()</script>`, "nothing is not defined"},
		"an error in the console":       {"script-src 'unsafe-inline'", `<script>console.error("oh " + 1)</script>`, "oh 1"},
		"a picture that is not there":   {"img-src *", `<img src="/other">`, "422"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newTab(t, look{})
			address := serve(t, tc.policy, tc.page)
			b.open(address + "/")
			var got []string
			for _, c := range b.complaintsLeft() {
				got = append(got, c.text)
			}
			b.allow("") // all of them
			heard := strings.Join(got, "\n")
			if tc.want == "" && heard != "" || !strings.Contains(heard, tc.want) {
				t.Errorf("complaints = %q, want one with %q", got, tc.want)
			}
		})
	}
}

func TestScriptsCanBeSwitchedOff(t *testing.T) {
	t.Parallel()
	b := newTab(t, look{noScript: true})
	b.open(serve(t, "script-src 'unsafe-inline'", `<noscript><h1 id="without">x</h1></noscript><script>document.title = "ran"</script><form action="/next"><button id="go">Go</button></form>`))
	b.wait("#without")
	if title := eval[string](b, "document.title"); title != "t" {
		t.Errorf("title = %q, want t: the script ran", title)
	}
	b.follow("#go")
	if !strings.HasSuffix(b.url(), "/next?") {
		t.Errorf("the button led to %s, want /next", b.url())
	}
}

func TestAnInaccessiblePageIsNoticed(t *testing.T) {
	t.Parallel()
	b := newTab(t, look{})
	b.open(serve(t, "default-src 'none'", `<html lang="en"><main><h1>t</h1><input type="text"></main>`))
	heard := &listener{TB: t}
	b.t = heard
	b.mustBeAccessible(look{})
	b.t = t
	if !strings.Contains(heard.text, "label") {
		t.Errorf("a field without a label gives %q, want a complaint about it", heard.text)
	}
}

// listener takes note of errors instead of failing.
type listener struct {
	testing.TB
	text string
}

func (l *listener) Errorf(format string, args ...any) { l.text += fmt.Sprintf(format, args...) }
