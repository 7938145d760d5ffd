package selftest

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

const mendToken = "Let POST requests to the token endpoint through once and unchanged: nothing between may repeat or cache them (proxy_next_upstream)."

// exchanging are what every redeemed code needs.
var exchanging = needs("consent.allow", "errors.json", "proxy.authorization")

var codeChecks = []Check{
	{"code.verifier", "A stolen code is worth nothing without its verifier.", "Redeem one with a wrong code_verifier.", mendRequest, exchanging,
		refusedCode(func(r *run) (*reply, error) {
			return r.first.redeem(r.firstCode, r.web.credentials, "code_verifier", strings.Repeat("x", 43))
		})},
	{"code.client", "A code counts for its own app only.", "Redeem it as another app.", mendRequest, exchanging,
		refusedCode(func(r *run) (*reply, error) { return r.first.redeem(r.firstCode, r.other.credentials) })},
	{"code.redirect", "A code counts at its own redirect URI only.", "Redeem it with another redirect_uri.", mendRequest, exchanging,
		refusedCode(func(r *run) (*reply, error) {
			return r.first.redeem(r.firstCode, r.web.credentials, "redirect_uri", r.other.redirectURI)
		})},
	{"code.exchange", "A code gives tokens.", "Redeem it as its app does.", mendToken, exchanging,
		func(r *run) (err error) {
			if r.tokens, err = r.first.redeem(r.firstCode, r.web.credentials); err != nil {
				return err
			}
			if err := r.tokens.want(http.StatusOK, ""); err != nil {
				return err
			}
			for _, name := range []string{"access_token", "refresh_token", "id_token", "token_type"} {
				if r.tokens.text(name) == "" {
					return fmt.Errorf("there is no %s", name)
				}
			}
			return nil
		}},
	{"token.store", "Nobody keeps copies of tokens.", "Look at Cache-Control of the answer.", "Do not set or remove Cache-Control in the proxy.", []string{"code.exchange"},
		func(r *run) error { return noStore(r.tokens.header) }},
	{"id_token.strict", "ID tokens stand up to strict apps.", "Sign in, and verify signature, key, issuer, audience, times, nonce and at_hash with go-oidc and go-jose.",
		"Empty caches of jwks_uri on the way, run idp keys list, and keep the clocks together.", []string{"code.exchange", "consent.once"},
		func(r *run) error {
			rp := &RelyingParty{Issuer: r.issuer, ClientID: r.web.id, Secret: r.web.secret, AuthMethod: r.web.method, RedirectURI: r.web.redirectURI, Scopes: []string{"openid", "email"}, HTTP: r.http}
			s, err := rp.Begin(r.ctx, nil)
			if err != nil {
				return err
			}
			p, err := r.browser.get(s.URL)
			if err != nil {
				return err
			}
			params, err := p.answer()
			if err != nil {
				return err
			}
			outcome := s.Finish(r.ctx, params)
			var errs []error
			for _, f := range outcome.Failed() { // the rest has checks of its own
				if strings.HasPrefix(f.Check, "id_token.") {
					errs = append(errs, fmt.Errorf("%s: %s", f.Check, f.Why))
				}
			}
			if outcome.IDToken == nil {
				return errors.New("there is none")
			}
			return errors.Join(errs...)
		}},
	{"code.replay", "A code that comes twice ends what it gave.", "Redeem a code again, then use its tokens.", mendRequest, []string{"code.exchange", "consent.once"},
		func(r *run) error {
			f := r.begin(r.web)
			code, err := f.code(r.browser)
			if err != nil {
				return err
			}
			tokens, err := f.redeem(code, r.web.credentials)
			if err != nil {
				return err
			}
			again, err := f.redeem(code, r.web.credentials)
			if err != nil {
				return err
			}
			if err := errors.Join(tokens.want(http.StatusOK, ""), again.want(http.StatusBadRequest, "invalid_grant")); err != nil {
				return err
			}
			return r.counts(r.web, tokens.text("access_token"), false)
		}},
}

// refusedCode is for attempts that must give invalid_grant, and leave the code as it is.
func refusedCode(attempt func(*run) (*reply, error)) func(*run) error {
	return func(r *run) error {
		got, err := attempt(r)
		if err != nil {
			return err
		}
		return got.want(http.StatusBadRequest, "invalid_grant")
	}
}

// counts asks whether a token counts, and says so when that is not as it should be.
func (r *run) counts(p party, token string, want bool) error {
	answer, err := r.post("introspection_endpoint", p.credentials, url.Values{"token": {token}})
	if err != nil {
		return err
	}
	if err := answer.want(http.StatusOK, ""); err != nil {
		return err
	}
	if answer.body["active"] != want {
		return fmt.Errorf("introspection says active %v of the token, want %v", answer.body["active"], want)
	}
	return nil
}

func (r *run) refresh(p party, token string, pairs ...string) (*reply, error) {
	return r.post("token_endpoint", p.credentials, with(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}, pairs...))
}

var refreshChecks = []Check{
	{"refresh.client", "A refresh token counts for its own app only.", "Use it as another app.", mendRequest, []string{"code.exchange"},
		refusedCode(func(r *run) (*reply, error) { return r.refresh(r.other, r.tokens.text("refresh_token")) })},
	{"refresh.scope", "A refresh does not get more than was allowed.", "Ask for a further scope.", mendRequest, []string{"code.exchange"},
		func(r *run) error {
			more, err := r.refresh(r.web, r.tokens.text("refresh_token"), "scope", "openid profile")
			if err != nil {
				return err
			}
			return more.want(http.StatusBadRequest, "invalid_scope")
		}},
	{"refresh.rotation", "Each refresh gives a new refresh token.", "Refresh once.", mendToken, []string{"code.exchange", "refresh.client"},
		func(r *run) (err error) {
			if r.refreshed, err = r.refresh(r.web, r.tokens.text("refresh_token")); err != nil {
				return err
			}
			if err := r.refreshed.want(http.StatusOK, ""); err != nil {
				return err
			}
			if next := r.refreshed.text("refresh_token"); next == "" || next == r.tokens.text("refresh_token") {
				return errors.New("the refresh token is the old one, or none")
			}
			return nil
		}},
	{"refresh.grace", "An app that lost the answer gets it again.", "Refresh again at once with the old token.",
		"Keep the clocks of all replicas together: the grace is 10 seconds.", []string{"refresh.rotation"},
		func(r *run) error {
			again, err := r.refresh(r.web, r.tokens.text("refresh_token"))
			if err != nil {
				return err
			}
			if err := again.want(http.StatusOK, ""); err != nil {
				return err
			}
			if again.text("refresh_token") != r.refreshed.text("refresh_token") {
				return errors.New("it gives another successor")
			}
			return nil
		}},
	{"refresh.theft", "An old refresh token ends all that came of it.", "Refresh twice, then use the first token.", mendRequest, []string{"refresh.rotation", "consent.once"},
		func(r *run) error {
			t, err := r.tokensOf(r.web)
			if err != nil {
				return err
			}
			first := t.text("refresh_token")
			for range 2 {
				if t, err = r.refresh(r.web, t.text("refresh_token")); err != nil {
					return err
				}
				if err := t.want(http.StatusOK, ""); err != nil {
					return err
				}
			}
			stolen, err := r.refresh(r.web, first)
			if err != nil {
				return err
			}
			if err := stolen.want(http.StatusBadRequest, "invalid_grant"); err != nil {
				return err
			}
			return r.counts(r.web, t.text("access_token"), false)
		}},
}

var apiChecks = []Check{
	{"userinfo.claims", "Userinfo tells what the scopes allow, of the right person.", "Ask with the access token.", "Let the Authorization header through to userinfo.", []string{"code.exchange"},
		func(r *run) error {
			info, err := r.get(r.endpoint("userinfo_endpoint"), bearer(r.tokens.text("access_token")))
			if err != nil {
				return err
			}
			if err := info.want(http.StatusOK, ""); err != nil {
				return err
			}
			sub, _ := decoded(r.tokens.text("id_token")).Claims["sub"].(string)
			if err := same("sub", info.text("sub"), sub); err != nil {
				return err
			}
			if info.text("email") != r.person.Email || info.body["name"] != nil {
				return errors.New("it has other claims than those of openid and email")
			}
			return nil
		}},
	{"userinfo.store", "Nobody keeps copies of what userinfo tells.", "Look at Cache-Control.", "Do not set or remove Cache-Control in the proxy.", []string{"code.exchange"},
		func(r *run) error {
			info, err := r.get(r.endpoint("userinfo_endpoint"), bearer(r.tokens.text("access_token")))
			if err != nil {
				return err
			}
			return noStore(info.header)
		}},
	{"userinfo.query", "Tokens in addresses do not count.", "Ask with the token in the query.", mendRequest, []string{"code.exchange"},
		func(r *run) error {
			info, err := r.get(r.endpoint("userinfo_endpoint")+"?access_token="+url.QueryEscape(r.tokens.text("access_token")), nil)
			if err != nil {
				return err
			}
			if info.status < 400 || info.status >= 500 {
				return info.unlike("a refusal")
			}
			return nil
		}},
	{"introspect.own", "An app learns that its token counts.", "Introspect the access token.", mendRequest, []string{"code.exchange", "refresh.rotation"},
		func(r *run) error { return r.counts(r.web, r.refreshed.text("access_token"), true) }},
	{"introspect.others", "Other apps learn nothing of a token.", "Introspect it as another app.", mendRequest, []string{"code.exchange"},
		func(r *run) error {
			answer, err := r.post("introspection_endpoint", r.other.credentials, url.Values{"token": {r.tokens.text("access_token")}})
			if err != nil {
				return err
			}
			if answer.body["active"] != false || len(answer.body) != 1 {
				return answer.unlike(`{"active":false} alone`)
			}
			return nil
		}},
	{"introspect.nobody", "Strangers cannot introspect.", "Ask without a client.", mendRequest, []string{"code.exchange"},
		func(r *run) error {
			answer, err := r.post("introspection_endpoint", credentials{}, url.Values{"token": {r.tokens.text("access_token")}})
			if err != nil {
				return err
			}
			return answer.want(http.StatusUnauthorized, "invalid_client")
		}},
	{"machine.token", "A client that acts for itself gets an access token only.", "Ask by client_credentials.", mendToken, needs("errors.json", "proxy.authorization"),
		func(r *run) error {
			t, err := r.post("token_endpoint", r.machine.credentials, url.Values{"grant_type": {"client_credentials"}})
			if err != nil {
				return err
			}
			if err := t.want(http.StatusOK, ""); err != nil {
				return err
			}
			if t.text("access_token") == "" || t.text("refresh_token") != "" || t.text("id_token") != "" || t.text("scope") != "selftest:read" {
				return fmt.Errorf("it is for %q, or has more or less in it", t.text("scope"))
			}
			return r.counts(r.machine, t.text("access_token"), true)
		}},
	{"machine.scope", "It gets no more than it may have.", "Ask for a scope that it has not.", mendRequest, []string{"machine.token"},
		func(r *run) error {
			t, err := r.post("token_endpoint", r.machine.credentials, url.Values{"grant_type": {"client_credentials"}, "scope": {"selftest:write"}})
			if err != nil {
				return err
			}
			return t.want(http.StatusBadRequest, "invalid_scope")
		}},
	{"spa.token", "A browser app gets tokens without a secret.", "Sign in and redeem the code as one.", mendToken, []string{"code.exchange"},
		func(r *run) error {
			t, err := r.tokensOf(r.spa, "scope", "openid email")
			if err != nil {
				return err
			}
			if t.text("refresh_token") == "" {
				return errors.New("there is no refresh token, which its preset gives it")
			}
			return nil
		}},
	{"revoke.access", "A revoked access token does not count.", "Revoke one, and ask userinfo with it.", mendRequest, []string{"refresh.rotation", "userinfo.claims"},
		func(r *run) error {
			token := r.refreshed.text("access_token")
			done, err := r.post("revocation_endpoint", r.web.credentials, url.Values{"token": {token}})
			if err != nil {
				return err
			}
			if err := done.want(http.StatusOK, ""); err != nil {
				return err
			}
			info, err := r.get(r.endpoint("userinfo_endpoint"), bearer(token))
			if err != nil {
				return err
			}
			return info.want(http.StatusUnauthorized, "")
		}},
	{"revoke.refresh", "A revoked refresh token takes its access tokens along.", "Revoke one, then refresh and introspect.", mendRequest, []string{"refresh.rotation", "consent.once"},
		func(r *run) error {
			t, err := r.tokensOf(r.web)
			if err != nil {
				return err
			}
			done, err := r.post("revocation_endpoint", r.web.credentials, url.Values{"token": {t.text("refresh_token")}})
			if err != nil {
				return err
			}
			again, err := r.refresh(r.web, t.text("refresh_token"))
			if err != nil {
				return err
			}
			if err := errors.Join(done.want(http.StatusOK, ""), again.want(http.StatusBadRequest, "invalid_grant")); err != nil {
				return err
			}
			return r.counts(r.web, t.text("access_token"), false)
		}},
	{"revoke.others", "Other apps cannot revoke.", "Revoke a token as another app; it counts as before.", mendRequest, []string{"refresh.rotation", "consent.once"},
		func(r *run) error {
			t, err := r.tokensOf(r.web)
			if err != nil {
				return err
			}
			if _, err := r.post("revocation_endpoint", r.other.credentials, url.Values{"token": {t.text("access_token")}}); err != nil {
				return err
			}
			return r.counts(r.web, t.text("access_token"), true)
		}},
	{"revoke.unknown", "Revoking what is no token is no error.", "Revoke some text.", mendRequest, needs("errors.json", "proxy.authorization"),
		func(r *run) error {
			done, err := r.post("revocation_endpoint", r.web.credentials, url.Values{"token": {"x"}})
			if err != nil {
				return err
			}
			return done.want(http.StatusOK, "")
		}},
}

var logoutChecks = []Check{
	{"logout.asks", "No other site signs people out without their saying so.", "Sign out without an ID token.", mendRequest, []string{"code.exchange", "consent.once"},
		func(r *run) error {
			p, err := r.browser.get(r.endpoint("end_session_endpoint"))
			if err != nil {
				return err
			}
			if !p.has("sign-out") {
				return p.unlike("the question")
			}
			_, err = r.begin(r.web, "prompt", "none").code(r.browser)
			return err
		}},
	{"logout.return", "An app signs its person out and gets them back.", "Sign out with the ID token and state.", mendRequest, []string{"logout.asks"},
		func(r *run) error {
			bound, err := r.tokensOf(r.web, "scope", "openid email")
			if err != nil {
				return err
			}
			r.tokens = bound
			q := url.Values{"id_token_hint": {bound.text("id_token")}, "post_logout_redirect_uri": {r.web.signedOutURI}, "state": {"of the app"}}
			p, err := r.browser.get(r.endpoint("end_session_endpoint") + "?" + q.Encode())
			if err != nil {
				return err
			}
			if p.left == nil || withoutQuery(p.left.String()) != r.web.signedOutURI {
				return p.unlike("the app again")
			}
			r.signedOut = p.left.Query()
			return nil
		}},
	{"logout.state", "The app gets its state back then.", "Look at the address that it is returned to.", "Nothing between may change the query of a Location.", []string{"logout.return"},
		func(r *run) error { return same("state", r.signedOut.Get("state"), "of the app") }},
	{"logout.session", "After that nobody is signed in.", "Ask with prompt=none.", "Let Set-Cookie through.", []string{"logout.return"},
		func(r *run) error { return r.begin(r.web, "prompt", "none").refused(r.browser, "login_required") }},
	{"logout.tokens", "Access that was for the session ends with it.", "Ask userinfo with its token.", mendRequest, []string{"logout.return"},
		func(r *run) error {
			info, err := r.get(r.endpoint("userinfo_endpoint"), bearer(r.tokens.text("access_token")))
			if err != nil {
				return err
			}
			return info.want(http.StatusUnauthorized, "")
		}},
	{"logout.open", "Sign-out leads to registered addresses only.", "Sign out to an address of nobody's.", mendRequest, []string{"logout.return"},
		func(r *run) error {
			q := url.Values{"id_token_hint": {r.tokens.text("id_token")}, "post_logout_redirect_uri": {"https://stranger.selftest.invalid/"}}
			p, err := r.browser.get(r.endpoint("end_session_endpoint") + "?" + q.Encode())
			if err != nil {
				return err
			}
			if p.left != nil {
				return fmt.Errorf("it leads to %s", withoutQuery(p.left.String()))
			}
			return nil
		}},
}
