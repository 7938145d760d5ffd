package integration

import (
	"context"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"idp/oauth"
	"idp/storage"
)

// TestASignInCanStartAtTheListOfApps runs a strict relying party: it begins a flow for the issuer
// that it knows, asked for exactly once, and for no other (OpenID Connect Core, 4).
func TestASignInCanStartAtTheListOfApps(t *testing.T) {
	t.Parallel()
	w := start(t)
	ada, b := w.person(t, "ada"), w.browser(t)
	ctx := oidc.ClientContext(context.Background(), &http.Client{Transport: w.transport})
	provider, err := oidc.NewProvider(ctx, w.issuer)
	if err != nil {
		t.Fatal(err)
	}
	var config oauth2.Config
	verifier, state := oauth2.GenerateVerifier(), randomText(20)
	rp := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		switch r.URL.Path {
		case "/start":
			if len(q["iss"]) != 1 || q.Get("iss") != w.issuer || q.Get("tenant") != "a b" || len(q) != 2 {
				http.Error(rw, "not our issuer", http.StatusBadRequest)
				return
			}
			http.Redirect(rw, r, config.AuthCodeURL(state, oauth2.S256ChallengeOption(verifier)), http.StatusFound)
		case "/cb":
			if q.Get("state") != state || q.Get("iss") != w.issuer {
				http.Error(rw, "not our answer", http.StatusBadRequest)
				return
			}
			token, err := config.Exchange(ctx, q.Get("code"), oauth2.VerifierOption(verifier))
			if err != nil {
				http.Error(rw, err.Error(), http.StatusBadGateway)
				return
			}
			raw, _ := token.Extra("id_token").(string)
			id, err := provider.Verifier(&oidc.Config{ClientID: config.ClientID}).Verify(ctx, raw)
			if err != nil {
				http.Error(rw, err.Error(), http.StatusBadGateway)
				return
			}
			fmt.Fprint(rw, id.Subject)
		}
	}))
	t.Cleanup(rp.Close)
	a := w.app(t, storage.ClientWeb, func(c *storage.Client) {
		c.RedirectURIs, c.InitiateLoginURI = []string{rp.URL + "/cb"}, rp.URL+"/start?tenant=a%20b"
	})
	config = oauth2.Config{ClientID: a.ID, ClientSecret: a.secret, Endpoint: provider.Endpoint(), RedirectURL: rp.URL + "/cb", Scopes: []string{"openid", "profile", "email", "offline_access"}}
	a.signIn(b, ada)

	p := b.get("/account/apps")
	link := regexp.MustCompile(`id="open-0"[^>]* href="([^"]+)"`).FindStringSubmatch(p.body)
	if link == nil {
		t.Fatalf("no app can be opened:\n%s", p.body)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Get(html.UnescapeString(link[1]))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusFound {
		t.Fatalf("the relying party does not start for %s: %s", link[1], resp.Status)
	}
	back := b.get(resp.Header.Get("Location"))
	if back.left == nil {
		t.Fatalf("still at %s, want to be back at the app without a page", back.url)
	}
	resp, err = client.Get(back.left.String())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var sub string
	fmt.Fscan(resp.Body, &sub)
	if resp.StatusCode != http.StatusOK || sub != ada.ID {
		t.Errorf("the relying party says %s %q, want ada's subject", resp.Status, sub)
	}
	plain := w.app(t, storage.ClientWeb)
	plain.signIn(b, ada)
	if p := b.get("/account/apps"); strings.Count(p.body, `id="remove-`) != 2 || strings.Count(p.body, `id="open-`) != 1 {
		t.Error("an app without the address can be opened")
	}
}

func TestWhereASignInStartsIsAnAddressOfItsOwn(t *testing.T) { // conformance 25
	t.Parallel()
	for uri, good := range map[string]bool{
		"https://rp.test/start": true, "https://rp.test/start?tenant=1": true, "http://127.0.0.1:8080/start": true, "http://localhost/start": true, "http://[::1]/start": true,
		"http://rp.test/start": false, "http://localhost.rp.test/start": false, "https:///start": false, "/start": false, "javascript:alert(1)": false, "com.app:/start": false,
		"https://rp.test/start#x": false, "https://rp.test/start#": false, "https://u:p@rp.test/start": false, "https://rp.test/?iss=x": false, "https://rp.test/" + strings.Repeat("x", 2048): false,
	} {
		c := &storage.Client{Source: "admin", ClientMetadata: storage.ClientMetadata{
			Name: "Wiki", Type: storage.ClientWeb, AuthMethod: "client_secret_basic", IDTokenAlg: "RS256", AccessTokenFormat: "opaque",
			RedirectURIs: []string{callback}, GrantTypes: []string{"authorization_code"}, Scopes: []string{"openid"}, InitiateLoginURI: uri,
		}}
		if err := oauth.CheckClient(c); (err == nil) != good {
			t.Errorf("%.80s: %v, want accepted: %v", uri, err, good)
		}
	}
}
