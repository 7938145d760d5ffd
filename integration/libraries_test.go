package integration

import (
	"context"
	"errors"
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

// The whole life of a sign-in with coreos/go-oidc and x/oauth2: go test ./integration -run IndependentGoClient
func TestAnIndependentGoClientSeesReplaysRefusedAndTheSessionEnd(t *testing.T) {
	t.Parallel()
	w, deliver := startWithJobs(t)
	ada, b := w.person(t, "ada"), w.browser(t)
	ctx := oidc.ClientContext(context.Background(), &http.Client{Transport: w.transport})
	provider, err := oidc.NewProvider(ctx, w.issuer)
	if err != nil {
		t.Fatal(err)
	}
	p := w.party(t, storage.ClientWeb, func(c *storage.Client) { c.AuthMethod, c.SessionRefresh = "client_secret_post", true })
	// x/oauth2 finds out by trying how the client authenticates: Basic first, which fails here.
	config := oauth2.Config{ClientID: p.ID, ClientSecret: p.secret, Endpoint: provider.Endpoint(), RedirectURL: callback, Scopes: []string{oidc.ScopeOpenID, "email"}}
	verifier := provider.Verifier(&oidc.Config{ClientID: p.ID, Now: w.clock.now})
	signIn := func() (code, secret string, tokens *oauth2.Token, id *oidc.IDToken) {
		t.Helper()
		secret = oauth2.GenerateVerifier()
		answer := b.get(config.AuthCodeURL("state", oauth2.S256ChallengeOption(secret))).pass(ada)
		code = answer.Get("code")
		tokens, err := config.Exchange(ctx, code, oauth2.VerifierOption(secret))
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := tokens.Extra("id_token").(string)
		if id, err = verifier.Verify(ctx, raw); err != nil {
			t.Fatal(err)
		}
		return code, secret, tokens, id
	}
	refused := func(what string, err error) {
		t.Helper()
		if e, ok := errors.AsType[*oauth2.RetrieveError](err); !ok || e.ErrorCode != "invalid_grant" || e.Response.StatusCode != 400 {
			t.Errorf("%s: %v, want invalid_grant", what, err)
		}
	}
	refresh := func(token string) (*oauth2.Token, error) {
		return config.TokenSource(ctx, &oauth2.Token{RefreshToken: token}).Token()
	}

	code, secret, tokens, _ := signIn()
	_, err = config.Exchange(ctx, code, oauth2.VerifierOption(secret))
	refused("the code once more", err)
	_, err = refresh(tokens.RefreshToken)
	refused("the refresh token of a replayed code", err)

	_, _, tokens, _ = signIn()
	second, err := refresh(tokens.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	third, err := refresh(second.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	_, err = refresh(tokens.RefreshToken)
	refused("a refresh token of long ago", err)
	_, err = refresh(third.RefreshToken)
	refused("the newest one, after that", err)

	_, _, tokens, id := signIn()
	if third, err = refresh(tokens.RefreshToken); err != nil {
		t.Fatal(err)
	}
	b.get("/logout").at("/logout").submit(nil).at("/logout/done")
	deliver()
	raw := p.one(t, "sign-out")
	logout, err := verifier.VerifyLogout(ctx, raw)
	if err != nil {
		t.Fatal(err)
	}
	var own struct{ SID string }
	if err := id.Claims(&own); err != nil {
		t.Fatal(err)
	}
	if logout.Subject != ada.ID || logout.SessionID != own.SID || own.SID == "" || logout.TokenID == "" {
		t.Errorf("logout token %+v, want it for %s and sid %q", logout, ada.ID, own.SID)
	}
	idToken, _ := tokens.Extra("id_token").(string)
	if _, err := verifier.VerifyLogout(ctx, idToken); err == nil {
		t.Error("an ID token passes for a logout token")
	}
	_, err = refresh(third.RefreshToken)
	refused("a refresh token after the sign-out", err)
	if _, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(third)); err == nil {
		t.Error("userinfo answers after the sign-out")
	}
}
