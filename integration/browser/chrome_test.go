package browser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience bounds every wait for a page. It is long, because it only matters
// when something is broken.
const patience = 20 * time.Second

// findBrowser returns the path of a Chromium, or "".
func findBrowser() string {
	for _, name := range []string{"chromium-headless-shell", "headless_shell", "chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// launch starts the browser. Every test gets a profile of its own in it.
func launch(path string) (context.Context, error) {
	flags := []chromedp.ExecAllocatorOption{chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WindowSize(1280, 900)}
	for _, flag := range []string{"headless", "disable-gpu", "disable-quic", "no-first-run", "no-default-browser-check", "hide-scrollbars",
		"disable-background-networking", "disable-component-update", "disable-sync", "disable-extensions", "disable-dev-shm-usage"} {
		flags = append(flags, chromedp.Flag(flag, true))
	}
	allocator, _ := chromedp.NewExecAllocator(context.Background(), flags...)
	ctx, _ := chromedp.NewContext(allocator)
	if err := chromedp.Do(ctx); err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return ctx, nil
}

// tab is a tab of a browser, and what a person can do in it. What the page
// complains of in the console fails the test: an error of a script, a file
// that is not there, a violation of the content security policy.
type tab struct {
	t   testing.TB
	ctx context.Context

	mu         sync.Mutex
	complaints []complaint
	documents  map[string]bool // URLs of pages; their own status is no complaint
	allowed    []string
}

type complaint struct{ source, text, url string }

// look is how a person sees the page. Zero values mean a desktop in light mode.
type look struct {
	noScript bool
	dark     bool
	width    int64 // 0 is 1280; phones are below 500
}

// newTab opens a tab in a new profile.
func newTab(t testing.TB, l look) *tab {
	t.Helper()
	return openTab(t, chrome(t), l, chromedp.WithNewBrowserContext())
}

// another opens a second tab in the same profile.
func (b *tab) another(l look) *tab {
	b.t.Helper()
	return openTab(b.t, b.ctx, l)
}

func openTab(t testing.TB, parent context.Context, l look, options ...chromedp.ContextOption) *tab {
	t.Helper()
	ctx, _ := chromedp.NewContext(parent, options...)
	b := &tab{t: t, ctx: ctx, documents: map[string]bool{}}
	if err := chromedp.Listen(ctx, b.hear); err != nil {
		t.Fatalf("open a tab: %v", err)
	}
	t.Cleanup(b.close)
	b.look(l)
	return b
}

// look changes how the page is seen, from now on.
func (b *tab) look(l look) {
	b.t.Helper()
	scheme := "light"
	if l.dark {
		scheme = "dark"
	}
	width, height := l.width, int64(900)
	var phone []chromedp.EmulateViewportOption
	if width == 0 {
		width = 1280
	} else if width < 500 {
		height, phone = 844, append(phone, chromedp.EmulateMobile, chromedp.EmulateTouch, chromedp.EmulatePortrait)
	}
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: l.noScript})
	call(b, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
	b.do("change the view", chromedp.EmulateViewport(width, height, phone...))
}

func (b *tab) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventResponseReceived:
		if e.Type == network.ResourceTypeDocument {
			b.documents[e.Response.URL] = true
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			b.complaints = append(b.complaints, complaint{string(e.Entry.Source), e.Entry.Text, e.Entry.URL})
		}
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
		b.complaints = append(b.complaints, complaint{"exception", text, e.ExceptionDetails.URL})
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			var words []string
			for _, arg := range e.Args {
				words = append(words, string(arg.Value)+arg.Description)
			}
			b.complaints = append(b.complaints, complaint{"console", strings.Join(words, " "), ""})
		}
	}
}

// allow says that the page will complain with this text, and may.
func (b *tab) allow(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.allowed = append(b.allowed, text)
}

// complaintsLeft are those that nobody allowed.
func (b *tab) complaintsLeft() []complaint {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(b.complaints), func(c complaint) bool {
		expected := slices.ContainsFunc(b.allowed, func(text string) bool { return strings.Contains(c.text, text) })
		return expected || c.source == string(log.EntrySourceNetwork) && b.documents[c.url]
	})
}

func (b *tab) close() {
	for _, c := range b.complaintsLeft() {
		b.t.Errorf("the page complains (%s): %s %s", c.source, c.text, c.url)
	}
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Cancel(ctx); err != nil && !errors.Is(err, context.Canceled) {
		b.t.Logf("close the tab: %v", err)
	}
}

func (b *tab) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
}

// open goes to an address, as if it had been typed.
func (b *tab) open(address string) {
	b.t.Helper()
	b.do("open "+address, chromedp.Navigate(address))
	b.wait("body")
}

// try evaluates an expression on the page; it works with scripts switched off, too.
func try[T any](b *tab, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// eval is try where failing ends the test.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	v, err := try[T](b, expression)
	if err != nil {
		b.t.Fatalf("evaluate %.200s: %v", expression, err)
	}
	return v
}

// until waits for the expression to become true. A page that is just being
// left counts as not yet.
func (b *tab) until(what, expression string) {
	b.t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := try[bool](b, expression)
		if ok && err == nil {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("%s did not come (%v); the browser is at %s and shows:\n%s", what, err, b.url(), b.text("body"))
		}
		<-tick.C
	}
}

// wait waits until the page is loaded and has such an element on display.
func (b *tab) wait(selector string) {
	b.t.Helper()
	b.until(selector, fmt.Sprintf(`document.readyState === "complete" && [...document.querySelectorAll(%s)].some((e) => e.checkVisibility())`, quote(selector)))
}

// press clicks on the element where it is on the screen. It is an error when
// something lies over it.
func (b *tab) press(selector string) {
	b.t.Helper()
	b.wait(selector)
	at := eval[[]float64](b, fmt.Sprintf(`(() => {
		const e = document.querySelector(%s);
		e.scrollIntoView({block: "center", behavior: "instant"});
		const r = e.getClientRects()[0], x = r.left + r.width / 2, y = r.top + r.height / 2;
		return e.contains(document.elementFromPoint(x, y)) ? [x, y] : [];
	})()`, quote(selector)))
	if len(at) != 2 {
		b.t.Fatalf("%s cannot be clicked at %s: something lies over it", selector, b.url())
	}
	b.do("click on "+selector, chromedp.MouseClickXY(at[0], at[1]))
}

// follow clicks on a link or button that leads to another page, and waits for
// that page.
func (b *tab) follow(selector string) {
	b.t.Helper()
	b.wait(selector)
	b.leave("the page after "+selector, func() { b.press(selector) })
}

// leave waits until what act does has led to another document.
func (b *tab) leave(what string, act func()) {
	b.t.Helper()
	eval[bool](b, `document.left = true`)
	act()
	b.until(what, `!document.left && document.readyState === "complete"`)
}

// enter replaces the text of a field, key by key.
func (b *tab) enter(selector, text string) {
	b.t.Helper()
	b.wait(selector)
	eval[bool](b, fmt.Sprintf(`(() => { const e = document.querySelector(%s); e.focus(); e.select(); return true })()`, quote(selector)))
	b.keys(text)
}

func (b *tab) keys(keys string) {
	b.t.Helper()
	b.do("type", chromedp.KeyEvent(keys))
}

func (b *tab) url() string {
	address, _ := try[string](b, `location.href`)
	return address
}

// text is what a person reads in the element.
func (b *tab) text(selector string) string {
	text, _ := try[string](b, fmt.Sprintf(`document.querySelector(%s)?.innerText ?? ""`, quote(selector)))
	return strings.TrimSpace(text)
}

func (b *tab) has(selector string) bool {
	b.t.Helper()
	return eval[bool](b, fmt.Sprintf(`document.querySelector(%s) !== null`, quote(selector)))
}

// focused is the id of the element that has the focus.
func (b *tab) focused() string {
	b.t.Helper()
	return eval[string](b, `document.activeElement?.id ?? ""`)
}

func (b *tab) cookies(address string) map[string]*network.Cookie {
	b.t.Helper()
	got := call(b, network.GetCookies, network.GetCookiesParams{URLs: []string{address}})
	cookies := map[string]*network.Cookie{}
	for _, c := range got.Cookies {
		cookies[c.Name] = c
	}
	return cookies
}

// screenshot writes the whole page as a picture into the folder that
// IDP_SCREENSHOTS names, if it names one.
func (b *tab) screenshot(name string) {
	b.t.Helper()
	folder := os.Getenv("IDP_SCREENSHOTS")
	if folder == "" {
		return
	}
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = errors.Join(os.MkdirAll(folder, 0o755), os.WriteFile(filepath.Join(folder, name+".png"), picture, 0o644))
	}
	if err != nil {
		b.t.Errorf("screenshot %s: %v", name, err)
	}
}

func quote(s string) string {
	q, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string always has a JSON form
	}
	return string(q)
}

func call[P, R any](b *tab, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	result, err := chromedp.Call(ctx, command, params)
	if err != nil {
		b.t.Fatalf("%s: %v", command.Method, err)
	}
	return result
}
