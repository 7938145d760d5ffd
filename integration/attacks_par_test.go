package integration

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"idp/storage"
)

func TestAttacksOnPushedRequests(t *testing.T) {
	t.Parallel()
	newArena(t).play(t, []attack{
		{"A-021 parameters beside a pushed request", besideAPush},
		{"A-022 a pushed request in the wrong hands, or again", misusedPushes},
		{"A-046 assertions for somebody else, pushed", pushedAssertions},
	})
}

func besideAPush(s *scene) {
	a := s.web1()
	who := s.arena.alice
	f := a.begin()
	f.exchange(s.browser(s).get(f.push()).pass(who).Get("code")).ok()
	f = a.begin("nonce", "-", "scope", "openid")
	address := f.push("nonce", "attacker", "prompt", "none", "max_age", "999999", "scope", "openid email", "code_challenge", "x", "code_challenge_method", "plain",
		"redirect_uri", "https://evil1.test/cb", "state", "attacker", "response_type", "token", "response_mode", "form_post", "acr_values", "x", "claims", "{", "resource", "https://evil1.test", "request", "x.y.z")
	p := s.browser(s).get(address).at("/login") // and not login_required: prompt is not the pushed one
	answer := p.pass(who)
	if answer.Get("state") != f.params.Get("state") {
		s.Errorf("state = %q, want the pushed one", answer.Get("state"))
	}
	tokens := f.exchange(answer.Get("code")).ok()
	if _, id := claims(s, tokens.text("id_token")); id["nonce"] != nil || tokens.text("scope") != "openid" {
		s.Errorf("nonce %v, scope %q; want none, and openid", id["nonce"], tokens.text("scope"))
	}
}

func misusedPushes(s *scene) { // the end of its 90 seconds: TestAttacksThatTakeTime
	a, evil, who := s.web1(), s.evil1(), s.arena.alice
	b := s.browser(s)
	f := a.begin()
	address := f.push()
	replace := func(old, new string) string { return strings.Replace(address, old, new, 1) }
	s.nothing(func() {
		s.refusedPage("evil1's name", b.get(replace("client_id="+a.ID, "client_id="+evil.ID)))
		s.refusedPage("an unknown name", b.get(replace("client_id="+a.ID, "client_id=nope")))
		if p := b.get(replace("urn%3Aietf", "urn%3Aevil")); p.left != nil && (p.left.Host != "rp1.test" || p.answer().Get("error") != "request_uri_not_supported") {
			s.Errorf("another kind of address: left to %v, want the client's one address with the error, or a page", p.left)
		}
		s.refusedPage("twice", b.get(address+"&request_uri=x"))
		b.get(address).at("/login")
		b.get(address).at("/login") // again, and nothing is lost
		s.refusedPage("another browser's, by now", s.browser(s).get(address))
	})
	f.exchange(b.get(address).pass(who).Get("code")).ok()
	s.nothing(func() {
		for range s.replicas {
			s.refusedPage("after the code", b.get(address))
		}
		pushed := url.Values{}
		for name, values := range a.begin("request_uri", "urn:ietf:params:oauth:request_uri:x").params {
			pushed[name] = values
		}
		s.refused("a request_uri within", a.call("/par", pushed), 400, "invalid_request")
		s.refused("no client", s.post(s, "/par", nil, a.begin().params), 401, "invalid_client")
		s.refused("the wrong secret", s.post(s, "/par", http.Header{"Authorization": {"Basic eDp5"}}, a.begin().params), 401, "invalid_client")
		form := a.begin().params
		form.Set("client_id", evil.ID)
		s.refused("in another's name", s.post(s, "/par", a.basicHeader(), form), 401, "invalid_client")
		s.refused("an address of nobody's", a.call("/par", a.begin("redirect_uri", "https://evil1.test/cb").params), 400, "invalid_request")
		s.refused("in the URL", s.post(s, "/par?"+a.begin().params.Encode(), a.basicHeader(), url.Values{}), 400, "invalid_request")
		for _, method := range []string{"GET", "PUT"} {
			if r := s.send(s, method, "/par", nil, ""); r.status != 405 {
				s.Errorf("%s /par: %d, want 405", method, r.status)
			}
		}
	})
	must := s.client(storage.ClientWeb, "https://rp1.test/cb", func(c *storage.Client) { c.RequirePushed = true })
	s.nothing(func() {
		f := must.begin()
		s.sentBack("not pushed, by a client that must", b.get(f.url()), f, "invalid_request")
	})
	s.works(a, b, who)
}

func pushedAssertions(s *scene) {
	a, key := s.jwt1()
	push := func(assertion string) reply {
		form := a.begin().params
		for name, values := range assertionForm(assertion) {
			if name != "grant_type" {
				form[name] = values
			}
		}
		return s.post(s, "/par", nil, form)
	}
	once := key.assertion(s, a.ID, s.issuer, nil)
	if r := push(once); r.status != 201 {
		s.Fatalf("the control: %d %s", r.status, r.raw)
	}
	s.refused("again", push(once), 401, "invalid_client")
	s.refused("again, at the token endpoint", s.post(s, "/token", nil, assertionForm(once)), 401, "invalid_client")
	for _, aud := range []any{s.issuer + "/par", s.issuer + "/token", s.issuer + "/", []string{s.issuer, s.issuer + "/par"}, "https://evil1.test", nil} {
		s.refused("aud "+mustJSON(s, aud), push(key.assertion(s, a.ID, "", map[string]any{"aud": aud})), 401, "invalid_client")
	}
}
