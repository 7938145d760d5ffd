package oauth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"slices"
	"time"

	"github.com/ory/fosite"
	foauth "github.com/ory/fosite/handler/oauth2"

	"idp/storage"
)

// codeGrant is the authorization_code grant (RFC 6749, 4.1.3; PKCE, RFC 7636). fosite's handler runs
// after everything that decides was decided here.
type codeGrant struct {
	o *OAuth
	*foauth.AuthorizeExplicitGrantHandler
}

// errStale means that the client changed since this process cached it: the request starts anew.
var errStale = errors.New("the cached client is out of date")

func (h *codeGrant) HandleTokenEndpointRequest(ctx context.Context, r fosite.AccessRequester) error {
	u := unitOf(ctx)
	if err := h.o.loadCode(ctx, u); err != nil {
		return err
	}
	return h.AuthorizeExplicitGrantHandler.HandleTokenEndpointRequest(ctx, r)
}

// loadCode reads the grant of a code and decides whether the client gets it. A failed attempt does
// not consume the code; the fifth ends it. A replay counts as one only if everything else about it
// is right, so that a stranger with an old code cannot end anybody's grant (OAuth 2.1, 7.5).
func (o *OAuth) loadCode(ctx context.Context, u *unit) error {
	if !slices.Contains(u.client.GrantTypes, "authorization_code") {
		return refuse(400, "unauthorized_client", "This client may not use the authorization_code grant.", nil)
	}
	t, err := parseToken(codeToken, u.form.Get("code"))
	if u.form.Get("code") == "" {
		return invalidRequest("The parameter code is missing.")
	}
	if err != nil {
		return invalidGrant("the code is not one of ours")
	}
	g, err := o.readGrant(ctx, t, "")
	if err != nil {
		return err
	}
	if g == nil || g.Kind != "code" {
		return invalidGrant("the code is forged, or its grant is gone")
	}
	if problem := wrongAttempt(u, &g.Grant); problem != "" {
		if g.State == storage.GrantIssued {
			if err := o.DB.CountCodeFailure(ctx, g.ID); err != nil {
				return err
			}
		}
		return invalidGrant(problem)
	}
	if g.ClientVersion != u.client.Version {
		return errStale
	}
	if g.State == storage.GrantActive {
		return o.codeReplayed(ctx, u, g)
	}
	if !g.Redeemable(o.now()) {
		return invalidGrant("the code is expired or dead, or its person, session or client is")
	}
	catalog, err := o.DB.CatalogAt(ctx, g.CatalogVersion)
	if err != nil {
		return err
	}
	u.grant, u.facts, u.firstID = &g.Grant, g, true
	u.scopes = within(g.Scopes, u.client.Scopes)
	if err := o.aim(u, catalog, g.Resources); err != nil {
		return err
	}
	if g.IdleExpiresAt != nil {
		u.idleExpires = idleExpiry(u.client, &g.Grant, o.now())
	}
	return nil
}

// wrongAttempt says what does not fit between a genuine code and the request that presents it.
func wrongAttempt(u *unit, g *storage.Grant) string {
	verifier := u.form.Get("code_verifier")
	switch {
	case g.ClientID != u.client.ID:
		return "the code belongs to another client"
	case g.RedirectURI != "" && g.RedirectURI != u.form.Get("redirect_uri"):
		return "redirect_uri is not the one of the authorization request"
	case g.RedirectURI == "" && u.form.Has("redirect_uri") && !slices.Contains(u.client.RedirectURIs, u.form.Get("redirect_uri")):
		return "redirect_uri is not registered"
	case g.CodeChallenge == "" && verifier != "":
		return "a code_verifier came, but no code_challenge had"
	case g.CodeChallenge != "" && !provesChallenge(verifier, g.CodeChallenge):
		return "code_verifier is missing or wrong"
	}
	return ""
}

// provesChallenge is S256 (RFC 7636, 4.6).
func provesChallenge(verifier, challenge string) bool {
	if len(verifier) < 43 || len(verifier) > 128 || !unreserved(verifier) {
		return false
	}
	sum := sha256.Sum256([]byte(verifier))
	return subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(challenge)) == 1
}

func unreserved(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~') {
			return false
		}
	}
	return true
}

// codeReplayed is the verdict on a code that was redeemed before. A request that had begun before
// the redemption was settled lost a race and ends nothing; a later one is a replay and ends the
// grant (RFC 6749, 4.1.2).
func (o *OAuth) codeReplayed(ctx context.Context, u *unit, g *storage.GrantFacts) error {
	if g.RotatedAt != nil && u.arrived.Before(*g.RotatedAt) {
		return invalidGrant("another request redeemed the code first")
	}
	err := o.DB.RevokeGrant(ctx, &g.Grant, "code_replayed", false, o.now(), o.event(ctx, "code.replayed", &g.Grant))
	if err != nil {
		return err
	}
	return invalidGrant("the code was used before; its grant is revoked")
}

// idleExpiry is how long a refresh token may lie unused, never past the grant's own end.
func idleExpiry(c *storage.Client, g *storage.Grant, now time.Time) *time.Time {
	idle, _ := refreshLife(c)
	t := now.Add(idle)
	if t.After(g.ExpiresAt) {
		t = g.ExpiresAt
	}
	return &t
}
