package oauth

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestStrangersOriginsCostNextToNothing(t *testing.T) {
	t.Parallel()
	now, asked := time.Now(), 0
	var down error
	l := newOrigins(func(_ context.Context, origin string) (bool, error) {
		asked++
		return origin == "https://rp.test", down
	}, func() time.Time { return now })
	known := func(origin string) bool { return l.anyClients(t.Context(), origin, false) }
	if !known("https://rp.test") {
		t.Fatal("a client's origin is a stranger's")
	}
	for i := range 20_000 {
		if known(fmt.Sprintf("https://evil%d.test", i)) {
			t.Fatal("a stranger's origin is a client's")
		}
	}
	if asked > 1+maxMisses || len(l.strangers) > maxOrigins {
		t.Errorf("20 000 strange origins made %d questions, and %d are remembered", asked, len(l.strangers))
	}
	asked = 0
	for range 20 {
		if !known("https://rp.test") || known("https://evil0.test") {
			t.Error("strangers changed what is known")
		}
	}
	for _, never := range []string{"", "null", "https://RP.test", "https://rp.test/", "https://rp.test:443", "rp.test", "file://", "https://rp.test\x00"} {
		if known(never) {
			t.Errorf("%q is no origin of a client", never)
		}
	}
	if asked > 0 {
		t.Errorf("what is known, or never one, made %d questions", asked)
	}

	now = now.Add(2 * originLife)
	down = errors.New("nobody there")
	if !known("https://rp.test") || known("https://evil0.test") || asked != 1 {
		t.Errorf("after an outage began: %d questions; want one, and what was true before", asked)
	}
}

func TestETagsAreComparedWeakly(t *testing.T) { // RFC 9110, 13.1.2
	t.Parallel()
	for _, tc := range []struct {
		lines []string
		want  bool
	}{
		{nil, false},
		{[]string{`"abc"`}, true},
		{[]string{`W/"abc"`}, true},
		{[]string{`*`}, true},
		{[]string{`"x", W/"abc" , "y"`}, true},
		{[]string{`"x"`, `"abc"`}, true},
		{[]string{`"abcd"`}, false},
		{[]string{`abc`}, false},
		{[]string{`"x"abc"`}, false},
	} {
		if got := hasETag(tc.lines, `"abc"`); got != tc.want {
			t.Errorf("hasETag(%q) = %v, want %v", tc.lines, got, tc.want)
		}
	}
}
