package browser

import (
	"slices"
	"testing"

	"github.com/chromedp/chromedp/kb"
)

// tabTo presses Tab until the element has the focus, and returns the ids that
// had it on the way.
func (b *tab) tabTo(id string) []string {
	b.t.Helper()
	var way []string
	for range 30 {
		if b.focused() == id {
			return way
		}
		b.keys(kb.Tab)
		if at := b.focused(); at != "" {
			way = append(way, at)
		}
	}
	b.t.Fatalf("Tab never reached #%s; it went over %q at %s", id, way, b.url())
	return nil
}

// untilFocused waits for autofocus, which comes some time after the page.
func (b *tab) untilFocused(id string) {
	b.t.Helper()
	b.until("the focus on #"+id, `document.activeElement?.id === `+quote(id))
}

func TestTheKeyboardAloneIsEnough(t *testing.T) {
	t.Parallel()
	p := person(t)
	b := newTab(t, look{})
	b.open(server(t).DemoURL + "/")
	b.tabTo("log-in")
	b.leave("the sign-in page", func() { b.keys(kb.Enter) })

	b.untilFocused("username")
	way := b.tabTo("sign-in")
	if want := []string{"current-password", "remember", "sign-in"}; !slices.Equal(way, want) {
		t.Errorf("Tab goes over %q, want %q", way, want)
	}

	// Once more from the start: type, and let Enter send the form.
	b.open(b.url())
	b.untilFocused("username")
	b.keys(p.Username + kb.Tab + p.Password)
	b.leave("the consent page", func() { b.keys(kb.Enter) })

	b.wait("#allow")
	if got := b.focused(); got == "allow" {
		t.Error("Allow has the focus from the start, so a stray Enter gives consent")
	}
	b.tabTo("allow")
	outline := eval[string](b, `getComputedStyle(document.activeElement).outlineStyle + " " + getComputedStyle(document.activeElement).outlineWidth`)
	if outline == "none 0px" || outline == "none 3px" {
		t.Errorf("outline of the focused button = %q, want it visible", outline)
	}
	b.leave("the shop", func() { b.keys(kb.Enter) })
	b.wait("#display-name")
}

func TestTheFirstTabOffersToSkipToTheContent(t *testing.T) {
	t.Parallel()
	b := newTab(t, look{})
	b.open(server(t).Issuer + "/nowhere")
	eval[bool](b, `(document.activeElement.blur(), true)`)
	b.keys(kb.Tab)
	if got := eval[string](b, `document.activeElement.getAttribute("href") ?? ""`); got != "#main" {
		t.Fatalf("the first Tab leads to %q, want #main", got)
	}
	b.keys(kb.Enter)
	if got := b.focused(); got != "main" {
		t.Errorf("skipping puts the focus on %q, want main", got)
	}
}
