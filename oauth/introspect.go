package oauth

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"idp/storage"
	"idp/web"
)

// introspection is RFC 7662, 2.2. An inactive token has no other member.
type introspection struct {
	Active    bool     `json:"active"`
	Issuer    string   `json:"iss,omitempty"`
	Subject   string   `json:"sub,omitempty"`
	Audience  audience `json:"aud,omitempty"`
	ClientID  string   `json:"client_id,omitempty"`
	Username  string   `json:"username,omitempty"`
	Scope     string   `json:"scope,omitempty"`
	TokenType string   `json:"token_type,omitempty"`
	Expires   int64    `json:"exp,omitempty"`
	IssuedAt  int64    `json:"iat,omitempty"`
	ID        string   `json:"jti,omitempty"`
	AuthTime  int64    `json:"auth_time,omitempty"`
	ACR       string   `json:"acr,omitempty"`
}

// Introspect tells a client that authenticates whether a token counts (RFC 7662): its own, those
// for the API it is, or all if an operator said so. Everybody else's token is simply not active.
func (o *OAuth) Introspect(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(r)
	if err != nil {
		return err
	}
	client, err := o.authenticate(w, r, form)
	if err != nil {
		return err
	}
	if client.Public() {
		return invalidClient(w, credentials{}, errors.New("a public client cannot introspect"))
	}
	if form.Get("token") == "" {
		return invalidRequest("The parameter token is missing.")
	}
	answer, err := o.introspect(r.Context(), client, form.Get("token"))
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, answer)
}

func (o *OAuth) introspect(ctx context.Context, client *storage.Client, s string) (introspection, error) {
	none := introspection{}
	if strings.HasPrefix(s, string(refreshToken)) {
		g, err := o.readRefreshToken(ctx, s)
		if err != nil || g == nil || g.ClientID != client.ID || g.IdleExpiresAt == nil || !o.now().Before(*g.IdleExpiresAt) || !g.Alive(o.now()) {
			return none, err
		}
		a := o.describeGrant(g, g.Scopes)
		a.Expires = g.IdleExpiresAt.Unix()
		return a, nil
	}
	t, err := o.readAccessToken(ctx, s)
	if err != nil || !t.live(o.now()) || !o.mayIntrospect(client, t) {
		return none, err
	}
	a := o.describeGrant(t.GrantFacts, t.scopes)
	a.TokenType, a.Expires, a.Audience, a.ID = "Bearer", t.expires.Unix(), t.resources, tokenID(t.ID, t.number)
	if len(a.Audience) == 0 {
		a.Audience = audience{o.Issuer}
	}
	return a, nil
}

// mayIntrospect: the token's own client, an API in its audience, or one with the right to all.
func (o *OAuth) mayIntrospect(c *storage.Client, t *presented) bool {
	return t.ClientID == c.ID || c.IntrospectAll || slices.ContainsFunc(c.Audience, func(a string) bool { return slices.Contains(t.resources, a) })
}

func (o *OAuth) describeGrant(g *storage.GrantFacts, scopes []string) introspection {
	a := introspection{Active: true, Issuer: o.Issuer, Subject: g.Subject, ClientID: g.ClientID, Scope: joinScopes(scopes), IssuedAt: g.CreatedAt.Unix(), ACR: g.ACR}
	if g.RotatedAt != nil {
		a.IssuedAt = g.RotatedAt.Unix()
	}
	if g.User != nil {
		a.Username = g.User.Username
	}
	if g.AuthTime != nil {
		a.AuthTime = g.AuthTime.Unix()
	}
	return a
}

// readRefreshToken gives the grant of a genuine refresh token of the present generation; nil when
// it is none.
func (o *OAuth) readRefreshToken(ctx context.Context, s string) (*storage.GrantFacts, error) {
	t, err := parseToken(refreshToken, s)
	if err != nil {
		return nil, nil
	}
	g, err := o.DB.GrantFacts(ctx, t.grant, 0, o.now())
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil || !o.genuine(ctx, t, g.Seed) || int64(t.number) != int64(g.Generation) {
		return nil, err
	}
	return g, nil
}

// Revoke ends a token (RFC 7009). The answer is 200 whether there was anything to end or not;
// tokens of other clients stay as they are.
func (o *OAuth) Revoke(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(r)
	o.allowOrigin(w, r, form)
	if err != nil {
		return err
	}
	client, err := o.authenticate(w, r, form)
	if err != nil {
		return err
	}
	if form.Get("token") == "" {
		return invalidRequest("The parameter token is missing.")
	}
	if err := o.revoke(r.Context(), client, form.Get("token")); err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return nil
}

func (o *OAuth) revoke(ctx context.Context, client *storage.Client, s string) error {
	if strings.HasPrefix(s, string(refreshToken)) {
		return o.revokeRefresh(ctx, client, s)
	}
	t, err := o.readAccessToken(ctx, s)
	if err != nil || !t.live(o.now()) || t.ClientID != client.ID {
		return err
	}
	return o.DB.RevokeToken(ctx, t.ID, int64(t.number), t.expires)
}

// revokeRefresh ends the grant, and so every token from it. A refresh token that was rotated away
// counts too: whoever revokes it means the whole.
func (o *OAuth) revokeRefresh(ctx context.Context, client *storage.Client, s string) error {
	t, err := parseToken(refreshToken, s)
	if err != nil {
		return nil
	}
	g, err := o.DB.GrantFacts(ctx, t.grant, 0, o.now())
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil || !o.genuine(ctx, t, g.Seed) || g.ClientID != client.ID {
		return err
	}
	return o.DB.RevokeGrant(ctx, &g.Grant, "revoked_by_client", false, o.now(), o.event(ctx, "token.revoked", &g.Grant))
}
