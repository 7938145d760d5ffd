package integration

import (
	"context"
	"net/http"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"idp/storage"
)

// A client that reads nothing but the discovery document, on coreos/go-oidc and x/oauth2.
func TestAnIndependentGoClientSignsIn(t *testing.T) {
	t.Parallel()
	w := start(t)
	ada := w.person(t, "ada")
	ctx := oidc.ClientContext(context.Background(), &http.Client{Transport: w.transport})
	provider, err := oidc.NewProvider(ctx, w.issuer)
	if err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"client_secret_basic", "client_secret_post", "none"} {
		kind := storage.ClientWeb
		if method == "none" {
			kind = storage.ClientSPA
		}
		a := w.app(t, kind, func(c *storage.Client) { c.AuthMethod = method })
		endpoint := provider.Endpoint()
		if method == "client_secret_basic" {
			endpoint.AuthStyle = oauth2.AuthStyleInHeader
		} else {
			endpoint.AuthStyle = oauth2.AuthStyleInParams
		}
		config := oauth2.Config{ClientID: a.ID, ClientSecret: a.secret, Endpoint: endpoint, RedirectURL: callback, Scopes: []string{oidc.ScopeOpenID, "email", oidc.ScopeOfflineAccess}}
		verifier := oauth2.GenerateVerifier()
		b := w.browser(t)
		answer := b.get(config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier), oidc.Nonce("nonce"))).pass(ada)
		tokens, err := config.Exchange(ctx, answer.Get("code"), oauth2.VerifierOption(verifier))
		if err != nil {
			t.Fatalf("%s: %v", method, err)
		}
		raw, _ := tokens.Extra("id_token").(string)
		id, err := provider.Verifier(&oidc.Config{ClientID: a.ID}).Verify(ctx, raw)
		if err != nil {
			t.Fatalf("%s: %v", method, err)
		}
		if id.Nonce != "nonce" || id.Subject != ada.ID {
			t.Errorf("%s: nonce %q, sub %q", method, id.Nonce, id.Subject)
		}
		if err := id.VerifyAccessToken(tokens.AccessToken); err != nil {
			t.Errorf("%s: %v", method, err)
		}
		old := *tokens
		tokens.Expiry = tokens.Expiry.AddDate(-1, 0, 0)
		fresh, err := config.TokenSource(ctx, tokens).Token()
		if err != nil {
			t.Fatalf("%s: %v", method, err)
		}
		if fresh.AccessToken == old.AccessToken || fresh.RefreshToken == old.RefreshToken {
			t.Errorf("%s: the refresh gave old tokens", method)
		}
		info, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(fresh))
		if err != nil {
			t.Fatalf("%s: %v", method, err)
		}
		if info.Email != ada.Email || !info.EmailVerified || info.Subject != ada.ID {
			t.Errorf("%s: userinfo %+v", method, info)
		}
	}
}
