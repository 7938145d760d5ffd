package web_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"idp/storage"
	"idp/web"
)

// journal is a log that tests read.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

const issuer = "https://id.example.com"

// newSite is a site with the real templates, after change (may be nil) has been at its settings.
func newSite(t testing.TB, change func(*web.Config)) (*web.Site, *journal) {
	t.Helper()
	log := &journal{}
	logger := slog.New(slog.NewTextHandler(log, nil))
	pages, err := web.NewPages(web.PagesConfig{Files: os.DirFS("../templates"), Brand: "Example ID", Log: logger})
	if err != nil {
		t.Fatal(err)
	}
	at, err := url.Parse(issuer)
	if err != nil {
		t.Fatal(err)
	}
	c := web.Config{Issuer: at, Pages: pages, Log: logger, Unavailable: storage.Unavailable}
	if change != nil {
		change(&c)
	}
	return web.New(c), log
}

// reply is an answer, read.
type reply struct {
	status int
	header http.Header
	body   string
}

// ask sends r through the whole surface of the site to one handler.
func ask(s *web.Site, page bool, r *http.Request, h web.Handler) reply {
	w := httptest.NewRecorder()
	s.Root(s.Route("test", page, h)).ServeHTTP(w, r)
	return reply{w.Code, w.Result().Header, w.Body.String()}
}

func get(path string) *http.Request { return httptest.NewRequest(http.MethodGet, issuer+path, nil) }

func post(path, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, issuer+path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

func fails(err error) web.Handler {
	return func(http.ResponseWriter, *http.Request) error { return err }
}

func greets(w http.ResponseWriter, _ *http.Request) error {
	return web.JSON(w, http.StatusOK, map[string]string{"hello": "world"})
}

func wantHeaders(t *testing.T, what string, h http.Header, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got := h.Get(name); got != value {
			t.Errorf("%s: %s = %q, want %q", what, name, got, value)
		}
	}
}
