package integration

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"idp/oauth"
	"idp/storage"
)

func TestUserInfoAnswersEveryWayItIsAsked(t *testing.T) { // conformance 90, 91, 95
	t.Parallel()
	w := start(t)
	ada := w.person(t, "ada")
	plain, signed := w.app(t, storage.ClientWeb), w.app(t, storage.ClientWeb, func(c *storage.Client) { c.UserInfoAlg = "RS256" })
	for _, a := range []*app{plain, signed} {
		want := "application/json"
		if a.UserInfoAlg != "" {
			want = "application/jwt"
		}
		_, tokens := a.signIn(w.browser(t), ada)
		_, id := claims(t, tokens.text("id_token"))
		for _, accept := range []string{"", "*/*", "application/json", "application/json;charset=utf-8", "application/jwt", "text/html, application/json;q=0.9, */*;q=0.1"} {
			for _, scheme := range []string{"Bearer ", "bearer ", "BEARER "} {
				for _, method := range []string{"GET", "POST"} {
					h := http.Header{"Authorization": {scheme + tokens.access()}}
					if accept != "" {
						h.Set("Accept", accept)
					}
					r := w.send(t, method, "/userinfo", h, "").ok()
					body := r.body
					if want == "application/jwt" {
						_, body = claims(t, r.raw)
					}
					if r.header.Get("Content-Type") != want || body["sub"] != id["sub"] || r.header.Get("Date") == "" || r.header.Get("Cache-Control") != "no-store" {
						t.Errorf("%s, Accept %q: %v %s", method, accept, r.header, r.raw)
					}
				}
			}
			h := http.Header{"Content-Type": {"application/x-www-form-urlencoded;charset=UTF-8"}}
			if accept != "" {
				h.Set("Accept", accept)
			}
			w.send(t, "POST", "/userinfo", h, url.Values{"access_token": {tokens.access()}}.Encode()).ok()
		}
		for name, r := range map[string]reply{
			"in the URL":      w.send(t, "GET", "/userinfo?access_token="+url.QueryEscape(tokens.access()), nil, ""),
			"twice":           w.send(t, "POST", "/userinfo", http.Header{"Authorization": {"Bearer " + tokens.access()}, "Content-Type": {"application/x-www-form-urlencoded"}}, url.Values{"access_token": {tokens.access()}}.Encode()),
			"two headers":     w.send(t, "GET", "/userinfo", http.Header{"Authorization": {"Bearer " + tokens.access(), "Bearer " + tokens.access()}}, ""),
			"in a JSON body":  w.send(t, "POST", "/userinfo", http.Header{"Content-Type": {"application/json"}}, `{"access_token":"`+tokens.access()+`"}`),
			"with Basic":      w.send(t, "GET", "/userinfo", a.basicHeader(), ""),
			"of another kind": w.send(t, "GET", "/userinfo", bearerHeader(tokens.text("id_token")), ""),
			"cut short":       w.send(t, "GET", "/userinfo", bearerHeader(tokens.access()[:40]), ""),
			"with a space":    w.send(t, "GET", "/userinfo", bearerHeader(tokens.access()+" x"), ""),
			"nothing at all":  w.send(t, "GET", "/userinfo", nil, ""),
			"an empty one":    w.send(t, "GET", "/userinfo", bearerHeader(""), ""),
			"revoked, in full": func() reply {
				a.call("/revoke", url.Values{"token": {tokens.refresh()}}).ok()
				return w.send(t, "GET", "/userinfo", bearerHeader(tokens.access()), "")
			}(),
		} {
			challenge := r.header.Get("WWW-Authenticate")
			if r.status != 400 && r.status != 401 || !strings.HasPrefix(challenge, "Bearer ") || r.text("error") == "" || strings.Contains(r.raw, ada.ID) {
				t.Errorf("%s: %d, WWW-Authenticate %q, %s", name, r.status, challenge, r.raw)
			}
			without := name == "nothing at all" || name == "with Basic" || name == "an empty one" || name == "in a JSON body"
			if without != !strings.Contains(challenge, "error=") {
				t.Errorf("%s: WWW-Authenticate %q; an error code belongs to a token that was sent, and only to it", name, challenge)
			}
		}
	}
}

func TestTheDocumentTellsWhatClaimsCanBeHad(t *testing.T) { // conformance 6-8, 13
	t.Parallel()
	w := start(t)
	doc := w.send(t, "GET", "/.well-known/openid-configuration", nil, "").ok()
	for _, name := range []string{"claims_parameter_supported", "request_parameter_supported", "request_uri_parameter_supported"} {
		if _, ok := doc.body[name].(bool); !ok {
			t.Errorf("%s = %v, want true or false said", name, doc.body[name])
		}
	}
	if doc.body["claims_parameter_supported"] != true {
		t.Error("claims_parameter_supported is not true")
	}
	for name, setting := range map[string]func(*storage.Client, string){
		"userinfo_signing_alg_values_supported":      func(c *storage.Client, alg string) { c.UserInfoAlg = alg },
		"introspection_signing_alg_values_supported": func(c *storage.Client, alg string) { c.IntrospectionAlg = alg },
		"id_token_signing_alg_values_supported":      func(c *storage.Client, alg string) { c.IDTokenAlg = alg },
	} {
		advertised := map[string]bool{}
		for _, alg := range doc.body[name].([]any) {
			advertised[alg.(string)] = true
		}
		for _, alg := range []string{"RS256", "ES256", "PS256", "EdDSA", "RS384", "RS512", "ES384", "ES512", "HS256", "none"} {
			c := *w.app(t, storage.ClientWeb).Client
			setting(&c, alg)
			if accepted := oauth.CheckClient(&c) == nil; accepted != advertised[alg] {
				t.Errorf("%s: %s is accepted: %v, advertised: %v", name, alg, accepted, advertised[alg])
			}
		}
	}
	ada := w.person(t, "ada")
	a := w.app(t, storage.ClientWeb)
	_, tokens := a.signIn(w.browser(t), ada)
	expires := map[string]bool{"authorization": tokens.body["authorization_expires_in"] != nil, "credential": tokens.body["refresh_token_timeout"] != nil}
	for _, kind := range doc.body["refresh_token_expiration_types_supported"].([]any) {
		if !expires[kind.(string)] {
			t.Errorf("refresh tokens of the type %s are advertised and not told", kind)
		}
		delete(expires, kind.(string))
	}
	if len(expires) > 0 {
		t.Errorf("not advertised: %v", expires)
	}
}

func TestAPairwiseClientAsksForPeopleByItsOwnSubjects(t *testing.T) { // OpenID Connect Core, 5.5.1 and 8
	t.Parallel()
	w := start(t)
	ada := w.person(t, "ada")
	a := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.SubjectType, c.Sector, c.UserInfoAlg = "pairwise", "rp.test", "RS256" })
	b := w.browser(t)
	_, tokens := a.signIn(b, ada)
	_, id := claims(t, tokens.text("id_token"))
	_, info := claims(t, w.send(t, "GET", "/userinfo", bearerHeader(tokens.access()), "").ok().raw)
	if id["sub"] == ada.ID || info["sub"] != id["sub"] {
		t.Fatalf("sub = %v and %v, want the same name of the sector", id["sub"], info["sub"])
	}
	for sub, want := range map[string]string{id["sub"].(string): "", ada.ID: "login_required"} {
		answer := b.get(a.begin("prompt", "none", "claims", `{"id_token":{"sub":{"value":"`+sub+`"}}}`).url()).answer()
		if answer.Get("error") != want {
			t.Errorf("sub %s: %v, want %q", sub, answer, want)
		}
	}
}

func TestAPushedRequestOfSomebodyWhoMayNotUseTheClientIsAPageToo(t *testing.T) {
	t.Parallel()
	w := start(t)
	bob := w.person(t, "bob")
	staff := w.group(t, "staff")
	a := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.AccessGroups = []string{staff.ID} })
	b := w.browser(t)
	w.app(t, storage.ClientWeb).signIn(b, bob)
	uri := a.call("/par", a.begin().params).text("request_uri")
	if uri == "" {
		t.Fatal("nothing was pushed")
	}
	p := b.get("/authorize?" + url.Values{"client_id": {a.ID}, "request_uri": {uri}}.Encode()).at("/authorize")
	if p.status != 403 || !strings.Contains(p.body, bob.Email) {
		t.Errorf("%d\n%s", p.status, p.body)
	}
	if back := b.get("/authorize?request=" + p.url.Query().Get("request") + "&cancel=1").answer(); back.Get("error") != "access_denied" {
		t.Errorf("back to the app: %v", back)
	}
}
