package selftest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

const mendHeaders = "Do not set or remove security headers in the proxy: the provider sends its own, which fit its pages."

var headerChecks = []Check{
	{"headers.frames", "No other site can show the sign-in page in a frame.", "Look at X-Frame-Options and frame-ancestors of the page.", mendHeaders, issued,
		onSignInPage(func(h http.Header) error {
			if !strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") || h.Get("X-Frame-Options") != "DENY" {
				return fmt.Errorf("X-Frame-Options is %q, Content-Security-Policy is %q", h.Get("X-Frame-Options"), h.Get("Content-Security-Policy"))
			}
			return nil
		})},
	{"headers.scripts", "Pages run scripts of their own only.", "Look at default-src and script-src of the sign-in page.", mendHeaders, issued,
		onSignInPage(func(h http.Header) error {
			policy := h.Get("Content-Security-Policy")
			if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
				return fmt.Errorf("Content-Security-Policy is %q", policy)
			}
			return nil
		})},
	{"headers.sniffing", "Browsers take answers for what they are.", "Look at X-Content-Type-Options.", mendHeaders, issued,
		onSignInPage(func(h http.Header) error {
			return same("X-Content-Type-Options", h.Get("X-Content-Type-Options"), "nosniff")
		})},
	{"headers.referrer", "Other sites do not learn the addresses of pages.", "Look at Referrer-Policy.", mendHeaders, issued,
		onSignInPage(func(h http.Header) error { return same("Referrer-Policy", h.Get("Referrer-Policy"), "same-origin") })},
	{"headers.store", "Nobody keeps copies of pages.", "Look at Cache-Control of the sign-in page.", "Do not cache pages in a proxy or CDN.", issued,
		onSignInPage(func(h http.Header) error { return noStore(h) })},
	{"headers.hsts", "Browsers come back by https only.", "Look at Strict-Transport-Security.", mendHeaders, issued,
		func(r *run) error {
			if !r.secure() {
				return skip("the issuer is plain http")
			}
			return onSignInPage(func(h http.Header) error {
				if !strings.Contains(h.Get("Strict-Transport-Security"), "max-age=") {
					return errors.New("there is none")
				}
				return nil
			})(r)
		}},
}

func onSignInPage(look func(http.Header) error) func(*run) error {
	return func(r *run) error {
		p, err := r.get(r.issuer+"/login", http.Header{"Accept": {"text/html"}})
		if err != nil {
			return err
		}
		return look(p.header)
	}
}

func noStore(h http.Header) error {
	if !strings.Contains(h.Get("Cache-Control"), "no-store") {
		return fmt.Errorf("Cache-Control is %q", h.Get("Cache-Control"))
	}
	return nil
}

const mendErrors = "Let the provider's error answers through: switch off error pages of the proxy (proxy_intercept_errors, errorfile, custom error pages of the CDN) for this host."

var errorChecks = []Check{
	{"errors.json", "Programs get errors as JSON with the codes of the standards.", "Ask /token for nothing, and without a client.", mendErrors, issued,
		func(r *run) error {
			none, err := r.post("token_endpoint", credentials{}, url.Values{"grant_type": {"client_credentials"}})
			if err != nil {
				return err
			}
			if err := none.want(http.StatusUnauthorized, "invalid_client"); err != nil {
				return err
			}
			if none.text("error_description") == "" {
				return errors.New("the error has no error_description")
			}
			kind, err := r.post("token_endpoint", r.spa.credentials, url.Values{"grant_type": {"password"}})
			if err != nil {
				return err
			}
			return kind.want(http.StatusBadRequest, "unsupported_grant_type")
		}},
	{"errors.unknown", "What is not there is told so.", "GET an address that does not exist.",
		"The proxy must not answer unknown paths itself (try_files, single-page fallbacks): pass all of the host to the provider.", issued,
		func(r *run) error {
			p, err := r.get(r.issuer+"/selftest-"+rand.Text(), nil)
			if err != nil {
				return err
			}
			return p.want(http.StatusNotFound, "")
		}},
	{"errors.methods", "A wrong method is told so, with the right ones.", "GET the token endpoint.", "Let all methods and the Allow header through.", issued,
		func(r *run) error {
			p, err := r.get(r.endpoint("token_endpoint"), nil)
			if err != nil {
				return err
			}
			if p.status != http.StatusMethodNotAllowed || !strings.Contains(p.header.Get("Allow"), "POST") {
				return fmt.Errorf("status %d, Allow %q; want 405 and POST", p.status, p.header.Get("Allow"))
			}
			return nil
		}},
	{"proxy.authorization", "The Authorization header reaches the provider.", "Ask for a token with client_secret_basic.",
		"Pass the Authorization header on (Apache: CGIPassAuth or SetEnvIf; gateways: no authentication of their own on this host).", issued,
		func(r *run) error {
			token, err := r.post("token_endpoint", r.machine.credentials, url.Values{"grant_type": {"client_credentials"}})
			if err != nil {
				return err
			}
			if token.status == http.StatusUnauthorized {
				return fmt.Errorf("a right secret in it is refused: %w", token.unlike("200"))
			}
			return token.want(http.StatusOK, "")
		}},
	{"errors.challenge", "A refused token or secret is told with a challenge.", "Look at WWW-Authenticate of userinfo and token endpoint.",
		"Let WWW-Authenticate through: libraries tell an expired token from a broken provider by it.", needs("errors.json", "proxy.authorization"),
		func(r *run) error {
			info, err := r.get(r.endpoint("userinfo_endpoint"), bearer("x"))
			if err != nil {
				return err
			}
			if c := info.header.Get("WWW-Authenticate"); info.status != 401 || !strings.Contains(c, "Bearer") || !strings.Contains(c, `error="invalid_token"`) {
				return fmt.Errorf("userinfo answers %d with %q to a token that is none", info.status, c)
			}
			wrong := r.machine.credentials
			wrong.secret = "wrong"
			token, err := r.post("token_endpoint", wrong, url.Values{"grant_type": {"client_credentials"}})
			if err != nil {
				return err
			}
			if c := token.header.Get("WWW-Authenticate"); token.status != 401 || !strings.HasPrefix(c, "Basic ") {
				return fmt.Errorf("the token endpoint answers %d with %q to a wrong secret", token.status, c)
			}
			return nil
		}},
	{"errors.form", "The token endpoint takes a form in the body only.", "Send JSON, and a parameter twice.",
		"Run a released version of the provider, and let bodies through unchanged.", needs("errors.json"),
		func(r *run) error {
			json, err := fetch(r.ctx, r.http, http.MethodPost, r.endpoint("token_endpoint"), http.Header{"Content-Type": {"application/json"}}, `{"grant_type":"client_credentials"}`)
			if err != nil {
				return err
			}
			twice, err := r.post("token_endpoint", r.spa.credentials, url.Values{"grant_type": {"refresh_token", "refresh_token"}})
			if err != nil {
				return err
			}
			return errors.Join(json.want(http.StatusBadRequest, "invalid_request"), twice.want(http.StatusBadRequest, "invalid_request"))
		}},
}

const mendCORS = "Do not set or remove CORS headers in the proxy: the provider knows which origins may read what."

var corsChecks = []Check{
	{"cors.public", "Scripts of every origin read discovery document and keys.", "Ask with an Origin.", mendCORS, issued,
		func(r *run) error {
			for _, address := range []string{r.issuer + wellKnown, r.endpoint("jwks_uri")} {
				p, err := r.get(address, http.Header{"Origin": {r.spa.origin}})
				if err != nil {
					return err
				}
				if err := readable(p.header, "*"); err != nil {
					return fmt.Errorf("%s: %w", withoutQuery(address), err)
				}
			}
			return nil
		}},
	{"cors.preflight", "Browsers are told that scripts may call.", "OPTIONS to token endpoint and userinfo, as before a call with Authorization.",
		"Pass OPTIONS requests on to the provider; nothing between may refuse or answer them.", issued,
		func(r *run) error {
			for _, name := range []string{"token_endpoint", "userinfo_endpoint"} {
				p, err := fetch(r.ctx, r.http, http.MethodOptions, r.endpoint(name), http.Header{
					"Origin": {r.spa.origin}, "Access-Control-Request-Method": {"POST"}, "Access-Control-Request-Headers": {"authorization"}}, "")
				if err != nil {
					return err
				}
				if p.status >= 300 || p.header.Get("Access-Control-Allow-Origin") == "" || !strings.Contains(strings.ToLower(p.header.Get("Access-Control-Allow-Headers")), "authorization") {
					return fmt.Errorf("%s answers %d with Access-Control-Allow-Headers %q", name, p.status, p.header.Get("Access-Control-Allow-Headers"))
				}
			}
			return nil
		}},
	{"cors.client", "Scripts of an app read its answers, errors too.", "Ask the token endpoint with the app's Origin.", mendCORS, issued,
		func(r *run) error {
			p, err := fetchAs(r.ctx, r.http, r.endpoint("token_endpoint"), r.spa.credentials, http.Header{"Origin": {r.spa.origin}}, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}})
			if err != nil {
				return err
			}
			return readable(p.header, r.spa.origin)
		}},
	{"cors.strangers", "Scripts of other origins do not read an app's answers.", "Ask the token endpoint with an Origin of nobody's.", mendCORS, issued,
		func(r *run) error {
			p, err := fetchAs(r.ctx, r.http, r.endpoint("token_endpoint"), r.spa.credentials, http.Header{"Origin": {"https://stranger.selftest.invalid"}}, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}})
			if err != nil {
				return err
			}
			if allowed := p.header.Values("Access-Control-Allow-Origin"); len(allowed) > 0 {
				return fmt.Errorf("Access-Control-Allow-Origin is %q", allowed)
			}
			return nil
		}},
}

// readable says whether an origin may read an answer, as a browser decides it: one header, not two.
func readable(h http.Header, origin string) error {
	allowed := h.Values("Access-Control-Allow-Origin")
	if len(allowed) == 1 && (allowed[0] == origin || allowed[0] == "*") {
		return nil
	}
	return fmt.Errorf("Access-Control-Allow-Origin is %q, want %s once", allowed, origin)
}
