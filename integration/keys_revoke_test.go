package integration

import (
	"context"
	"slices"
	"testing"

	"idp/oauth"
	"idp/storage"
)

func TestARevokedSigningKeyLeavesTheJWKSAndWhatItSignedFails(t *testing.T) {
	t.Parallel()
	w, maintain := startWithJobs(t)
	a, ada := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.IDTokenAlg, c.AccessTokenFormat = "RS256", "jwt" }), w.person(t, "ada")
	_, tokens := a.signIn(w.browser(t), ada)
	header, _ := claims(t, tokens.text("id_token"))
	kid := header["kid"].(string)
	if !a.active(tokens.access()) {
		t.Fatal("the access token is not active before")
	}
	r, err := oauth.RevokeKey(context.Background(), w.db, kid, w.now())
	if err != nil || r.State != storage.KeyCurrent || r.Successor == "" {
		t.Fatalf("RevokeKey() = %+v, %v", r, err)
	}
	maintain()
	if kids := w.kids(t); slices.Contains(kids, kid) || !slices.Contains(kids, r.Successor) {
		t.Errorf("published are %v, want %s and not %s", kids, r.Successor, kid)
	}
	if a.active(tokens.access()) {
		t.Error("an access token of the revoked key is active")
	}
	tokens = a.refresh(tokens.refresh()).ok()
	if header, _ := claims(t, tokens.text("id_token")); header["kid"] != r.Successor {
		t.Errorf("signed with %v, want %s", header["kid"], r.Successor)
	}
	w.verifyIDToken(t, a, tokens)
	if !a.active(tokens.access()) {
		t.Error("an access token of the new key is not active")
	}
}
