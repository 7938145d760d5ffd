package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"idp/storage"
	"idp/web"
)

// UserInfo tells the claims that an access token was given for (OpenID Connect Core, 5.3).
func (o *OAuth) UserInfo(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodPost && isForm(r) == nil {
		if err := r.ParseForm(); err != nil {
			return badForm(err)
		}
	}
	s, problem := bearer(r)
	if problem != "" {
		return o.challenge(w, 400, "invalid_request", problem, "")
	}
	if s == "" {
		return o.challenge(w, 401, "", "Send an access token.", "")
	}
	t, err := o.readAccessToken(r.Context(), s, "")
	if err != nil {
		return err
	}
	if t != nil {
		web.Note(r.Context(), "client_id", t.ClientID)
		if client, err := o.DB.CachedClient(r.Context(), t.ClientID); err == nil {
			o.allowClientOrigin(w, r, client)
		}
	}
	if !t.live(o.now()) || t.User == nil || !o.forUs(t) {
		return o.challenge(w, 401, "invalid_token", "The access token is not valid: it is wrong, expired or revoked, or meant for another API.", "")
	}
	if !slices.Contains(t.scopes, "openid") {
		return o.challenge(w, 403, "insufficient_scope", "The access token was not given for openid.", "openid")
	}
	client, err := o.clientOf(r.Context(), t.GrantFacts)
	if errors.Is(err, storage.ErrNotFound) {
		return o.challenge(w, 401, "invalid_token", "The access token is not valid: its client is gone.", "")
	}
	if err != nil {
		return err
	}
	claims := with(accountOf(client, t.GrantFacts, t.scopes).userInfo(), o.userInfoClaims(client, t.Subject))
	if client.UserInfoAlg == "" {
		return web.JSON(w, http.StatusOK, claims)
	}
	return o.answerJWT(w, "application/jwt", client.UserInfoAlg, typUserInfo, claims)
}

// userInfoClaims are userinfo's own: sub always, the others where it is signed (OpenID Connect Core,
// 5.3.2).
type userInfoClaims struct {
	Issuer   string `json:"iss,omitempty"`
	Audience string `json:"aud,omitempty"`
	Subject  string `json:"sub"`
}

func (o *OAuth) userInfoClaims(c *storage.Client, subject string) userInfoClaims {
	if c.UserInfoAlg == "" {
		return userInfoClaims{Subject: subject}
	}
	return userInfoClaims{Issuer: o.Issuer, Audience: c.ID, Subject: subject}
}

// clientOf is the client of a grant as it was when the grant was read, or newer.
func (o *OAuth) clientOf(ctx context.Context, g *storage.GrantFacts) (*storage.Client, error) {
	client, err := o.DB.CachedClient(ctx, g.ClientID)
	if err == nil && client.Version < g.ClientVersion {
		client, err = o.DB.Client(ctx, g.ClientID)
	}
	return client, err
}

// answerJWT writes a signed answer, with the headers of a machine endpoint.
func (o *OAuth) answerJWT(w http.ResponseWriter, contentType, alg, typ string, claims any) error {
	signed, err := o.sign(o.keys.Load(), alg, typ, claims)
	if err != nil {
		return o.protocolError(err)
	}
	return web.Plain(w, contentType, signed)
}

// forUs says whether the provider itself is in the token's audience.
func (o *OAuth) forUs(t *presented) bool { return slices.Contains(t.resources, o.Issuer) }

// bearer finds the access token of a request (RFC 6750, 2): in the header, or in a posted form;
// never in the URL. A problem is a sentence for the client's developer.
func bearer(r *http.Request) (token, problem string) {
	if r.URL.Query().Has("access_token") {
		return "", "The access token must not stand in the URL."
	}
	headers := r.Header.Values("Authorization")
	if len(headers) > 1 {
		return "", "There is more than one Authorization header."
	}
	if len(headers) == 1 {
		scheme, value, _ := strings.Cut(headers[0], " ")
		if strings.EqualFold(scheme, "Bearer") {
			token = strings.TrimSpace(value)
		}
	}
	if r.Method == http.MethodPost && isForm(r) == nil {
		posted := r.PostForm["access_token"]
		if len(posted) > 1 || len(posted) == 1 && len(headers) > 0 {
			return "", "The access token stands more than once."
		}
		if len(posted) == 1 {
			token = posted[0]
		}
	}
	if len(token) > maxJWT {
		return "", "The access token is too long."
	}
	return token, ""
}

// challenge refuses at a protected resource (RFC 6750, 3), and says where it is described: without
// credentials, there is no error code.
func (o *OAuth) challenge(w http.ResponseWriter, status int, code, message, scope string) error {
	header := `Bearer realm="userinfo"`
	if code != "" {
		header += fmt.Sprintf(`, error="%s", error_description="%s"`, code, message)
	}
	if scope != "" {
		header += fmt.Sprintf(`, scope="%s"`, scope)
	}
	w.Header().Set("WWW-Authenticate", header+fmt.Sprintf(`, resource_metadata="%s"`, protectedResourceURL(o.Issuer))) // RFC 9728, 5.1
	if code == "" {
		code = "invalid_token"
	}
	return refuse(status, code, message, nil)
}
