package integration

import (
	"encoding/base64"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"idp/storage"
)

// Each artefact at every other endpoint: whatever somebody holds of us counts where it is meant for,
// and nowhere else. A new kind is one row of artefacts, a new place one row of places.

// vault is what one kind of artefact is made from and presented with: everything belongs to the same
// client and the same person, so that nothing but the kind can be the reason of a refusal.
type vault struct {
	*scene
	a       *app      // authenticates with a key, and may do everything
	secret  *app      // authenticates with a secret
	browser *browser  // alice is signed in here
	bobs    *browser  // and bob here; both have consented
	f       *flow     // of the last code
	kept    *page     // a request that waits in a third browser, which has this page
	both    *browser  // alice and bob are signed in here, once two has been asked for it
	job     *app      // a workload of the platform, which trusts our own tokens as well; once work has been asked for
	p       *platform // it runs there
	api     *app      // exchanges tokens for userinfo; once exchanger has been asked for it
}

// work is a client that a platform speaks for. An operator has made the mistake to trust the provider
// itself for it too.
func (v *vault) work() (*app, *platform) {
	v.Helper()
	if v.job == nil {
		v.job, v.p = v.workload(v), v.platform(v)
		v.trust(v, v.job, v.p.URL)
		for _, subject := range []string{"usr_*", "cli_*", "sub_*"} {
			v.trust(v, v.job, v.issuer, func(t *storage.Trust) { t.Subject, t.Reusable = subject, true })
		}
	}
	return v.job, v.p
}

// exchanger is a client that is sent tokens as if it were our userinfo endpoint, and exchanges them.
func (v *vault) exchanger() *app {
	v.Helper()
	if v.api == nil {
		v.api = v.world.app(v, storage.ClientMachine, func(c *storage.Client) {
			c.GrantTypes, c.Scopes = []string{exchangeGrant}, []string{"openid"}
		})
		v.updateClient(v, v.api, func(c *storage.Client) { c.Audience = []string{v.issuer} })
		v.allow(v, v.api, v.issuer, v.issuer, "openid")
	}
	return v.api
}

// two is a browser with a session put aside.
func (v *vault) two() *browser {
	v.Helper()
	if v.both == nil {
		v.both = v.scene.browser(v)
		v.both.signInAs(v.arena.alice)
		v.both.signInAs(v.arena.bob)
	}
	return v.both
}

func newVault(s *scene) *vault {
	v := &vault{scene: s, browser: s.browser(s), bobs: s.browser(s), secret: s.m2m1()}
	v.a, _ = s.jwt1()
	s.updateClient(s, v.a, func(c *storage.Client) { c.PostLogoutRedirectURIs = []string{"https://jwt1.test/bye"} })
	s.works(v.a, v.bobs, s.arena.bob)
	v.f, _ = s.works(v.a, v.browser, s.arena.alice)
	v.kept = s.browser(s).get(v.a.begin().url()).at("/login")
	return v
}

// tokens are new ones of alice's.
func (v *vault) tokens(change ...func(*storage.Client)) reply {
	v.Helper()
	for _, f := range change {
		v.updateClient(v, v.a, f)
	}
	v.f = v.a.begin()
	return v.f.exchange(v.browser.get(v.f.url()).answer().Get("code")).ok()
}

// device is one that waits.
func (v *vault) device() reply { return v.a.device("openid") }

// artefact is one kind of thing that somebody holds.
type artefact struct {
	name string
	home []string // names of the places where it counts
	make func(v *vault) string
	// works uses it where it is at home, after it was shown everywhere else.
	works func(v *vault, value string) bool
}

var artefacts = []artefact{
	{"authorization code", []string{"code"}, func(v *vault) string {
		v.f = v.a.begin()
		return v.browser.get(v.f.url()).answer().Get("code")
	}, func(v *vault, value string) bool { return v.f.exchange(value).status == 200 }},
	{"refresh token", []string{"refresh_token", "introspection", "revocation"}, func(v *vault) string { return v.tokens().refresh() },
		func(v *vault, value string) bool { return v.a.refresh(value).status == 200 }},
	{"opaque access token", []string{"bearer", "posted bearer", "introspection", "revocation", "subject token"}, func(v *vault) string { return v.tokens().access() }, userinfoWorks},
	{"JWT access token", []string{"bearer", "posted bearer", "introspection", "revocation", "subject token"}, func(v *vault) string {
		return v.tokens(func(c *storage.Client) { c.AccessTokenFormat = "jwt" }).access()
	}, userinfoWorks},
	{"ID token", []string{"hint at authorize", "hint at logout"}, func(v *vault) string { return v.tokens().text("id_token") },
		func(v *vault, value string) bool { return places["hint at logout"](v, value) }},
	{"signed userinfo", nil, func(v *vault) string {
		tokens := v.tokens(func(c *storage.Client) { c.UserInfoAlg = "RS256" })
		return v.send(v, "GET", "/userinfo", bearerHeader(tokens.access()), "").ok().raw
	}, func(*vault, string) bool { return true }},
	{"signed introspection answer", nil, func(v *vault) string {
		header := v.secret.basicHeader()
		header.Set("Accept", "application/token-introspection+jwt")
		return v.post(v, "/introspect", header, url.Values{"token": {v.secret.token(clientCredentials).ok().access()}}).ok().raw
	}, func(*vault, string) bool { return true }},
	{"logout token", nil, func(v *vault) string {
		p, b := v.party(v, storage.ClientWeb), v.scene.browser(v)
		v.updateClient(v, v.a, func(c *storage.Client) { c.BackchannelLogoutURI = p.BackchannelLogoutURI })
		v.works(v.a, b, v.arena.alice)
		b.get("/logout").submit(nil).at("/logout/done")
		select {
		case token := <-p.arrived:
			return token
		case <-time.After(20 * time.Second):
			return ""
		}
	}, func(*vault, string) bool { return true }},
	{"cookie of sessions that ended", nil, func(v *vault) string {
		b := v.scene.browser(v)
		v.works(v.a, b, v.arena.alice)
		b.get("/logout").submit(nil).at("/logout/done")
		return b.cookies()["idp_ended"]
	}, func(*vault, string) bool { return true }},
	{"client assertion", []string{"client_assertion"}, func(v *vault) string { return v.a.key.assertion(v, v.a.ID, v.issuer, nil) },
		func(v *vault, value string) bool { return places["client_assertion"](v, value) }},
	{"assertion of a workload", []string{"assertion"}, func(v *vault) string {
		_, p := v.work()
		return p.tells(v, v.world, nil)
	}, func(v *vault, value string) bool { return places["assertion"](v, value) }},
	{"exchanged access token", []string{"bearer", "posted bearer", "subject token"}, func(v *vault) string {
		return v.exchanger().swap(v.tokens().access(), v.issuer).ok().access()
	}, userinfoWorks},
	{"client secret", []string{"client_secret"}, func(v *vault) string { return v.secret.secret },
		func(v *vault, value string) bool { return places["client_secret"](v, value) }},
	{"request object", []string{"request object"}, func(v *vault) string {
		v.f = v.a.begin()
		return v.a.key.object(v, v.f, nil)
	}, func(v *vault, value string) bool { return places["request object"](v, value) }},
	{"pushed request", []string{"request_uri"}, func(v *vault) string {
		v.f = v.a.begin()
		return v.a.call("/par", v.f.params).text("request_uri")
	}, func(v *vault, value string) bool { return places["request_uri"](v, value) }},
	{"id of a pushed request", nil, func(v *vault) string {
		v.f = v.a.begin()
		uri := v.a.call("/par", v.f.params).text("request_uri")
		return uri[strings.LastIndex(uri, ":")+1:]
	}, func(v *vault, value string) bool {
		return places["request_uri"](v, "urn:ietf:params:oauth:request_uri:"+value)
	}},
	{"device code", []string{"device_code"}, func(v *vault) string { return v.device().text("device_code") },
		func(v *vault, value string) bool { return places["device_code"](v, value) }},
	{"user code", []string{"user_code"}, func(v *vault) string { return v.device().text("user_code") },
		func(v *vault, value string) bool { return places["user_code"](v, value) }},
	{"kept request", []string{"kept request at authorize", "kept request at login", "kept request at consent"}, func(v *vault) string {
		return v.kept.url.Query().Get("request")
	}, func(v *vault, value string) bool { return v.kept.pass(v.arena.mallory).Get("code") != "" }},
	// A session that is put aside keeps its secret, so these two are one kind in two cookies.
	{"session cookie", []string{"session cookie", "cookie of further sessions"}, func(v *vault) string { return v.browser.cookies()["idp_sid"] },
		func(v *vault, value string) bool { return v.browser.signedIn() }},
	{"cookie of further sessions", []string{"session cookie", "cookie of further sessions"}, func(v *vault) string { return v.two().cookies()["idp_accounts"] },
		func(v *vault, value string) bool { return places["cookie of further sessions"](v, value) }},
	{"handle of an account", []string{"chosen account"}, func(v *vault) string {
		handle, _, _ := v.two().get(v.a.begin("prompt", "select_account").url()).row(v.arena.alice.Profile.Name)
		return handle
	}, func(v *vault, value string) bool { return places["chosen account"](v, value) }},
	{"flow cookie", []string{"flow cookie"}, func(v *vault) string { return v.kept.b.cookies()["idp_flow"] },
		func(v *vault, value string) bool { return v.kept.pass(v.arena.mallory).Get("code") != "" }},
	{"signed userinfo", nil, func(v *vault) string {
		tokens := v.tokens(func(c *storage.Client) { c.UserInfoAlg = c.IDTokenAlg })
		return v.send(v, "GET", "/userinfo", bearerHeader(tokens.access()), "").ok().raw
	}, isJWT},
	{"signed introspection", nil, func(v *vault) string {
		header := http.Header{"Accept": {"application/token-introspection+jwt"}}
		form := url.Values{"token": {v.tokens(func(c *storage.Client) { c.IntrospectionAlg = c.IDTokenAlg }).access()}}
		form.Set("client_assertion", v.a.key.assertion(v, v.a.ID, v.issuer, nil))
		form.Set("client_assertion_type", assertionForm("").Get("client_assertion_type"))
		return v.post(v, "/introspect", header, form).ok().raw
	}, isJWT},
	{"logout token", nil, logoutToken, isJWT},
	{"device cookie", nil, func(v *vault) string { return v.browser.cookies()["idp_dev"] }, func(*vault, string) bool { return true }},
	{"sub of a person", nil, func(v *vault) string { return v.arena.alice.ID }, func(*vault, string) bool { return true }},
	{"sid of a session", nil, func(v *vault) string {
		_, id := claims(v, v.tokens().text("id_token"))
		return id["sid"].(string)
	}, func(*vault, string) bool { return true }},
}

func isJWT(v *vault, value string) bool { return strings.Count(value, ".") == 2 }

// logoutToken is what the client is told when alice signs out of another browser.
func logoutToken(v *vault) string {
	arrived := make(chan string, 10)
	listener := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { arrived <- r.PostFormValue("logout_token") }))
	v.Cleanup(listener.Close)
	v.updateClient(v, v.a, func(c *storage.Client) { c.BackchannelLogoutURI = listener.URL })
	there := v.scene.browser(v)
	v.works(v.a, there, v.arena.alice)
	there.get("/logout").at("/logout").submit(nil).at("/logout/done")
	select {
	case token := <-arrived:
		return token
	case <-time.After(20 * time.Second):
		v.Fatal("no logout token came")
		return ""
	}
}

func userinfoWorks(v *vault, value string) bool { return places["bearer"](v, value) }

// places say whether a value was taken for what is expected there.
var places = map[string]func(v *vault, value string) bool{
	"code": func(v *vault, value string) bool { return v.f.exchange(value).status == 200 },
	// A device that waits is known by what it is told.
	"device_code": func(v *vault, value string) bool {
		r := v.a.token(url.Values{"grant_type": {deviceGrantType}, "device_code": {value}})
		return r.status == 200 || r.text("error") != "invalid_grant" && r.text("error") != "invalid_request"
	},
	"user_code": func(v *vault, value string) bool {
		return v.kept.b.post("/device", url.Values{"user_code": {value}}).status == 200
	},
	"refresh_token": func(v *vault, value string) bool { return v.a.refresh(value).status == 200 },
	"bearer": func(v *vault, value string) bool {
		return v.send(v, "GET", "/userinfo", bearerHeader(value), "").status == 200
	},
	"posted bearer": func(v *vault, value string) bool {
		return v.post(v, "/userinfo", nil, url.Values{"access_token": {value}}).status == 200
	},
	"introspection": func(v *vault, value string) bool {
		active := false
		for _, hint := range []string{"", "access_token", "refresh_token", "id_token"} {
			active = active || v.a.call("/introspect", url.Values{"token": {value}, "token_type_hint": {hint}}).body["active"] == true
		}
		return active
	},
	"revocation": func(v *vault, value string) bool { // it answers 200 whatever comes; that nothing happened, works tells
		for _, hint := range []string{"", "access_token", "refresh_token"} {
			v.a.call("/revoke", url.Values{"token": {value}, "token_type_hint": {hint}})
		}
		return false
	},
	"bearer at introspection": func(v *vault, value string) bool {
		return v.post(v, "/introspect", bearerHeader(value), url.Values{"token": {value}}).status == 200
	},
	"bearer at the token endpoint": func(v *vault, value string) bool {
		return v.post(v, "/token", bearerHeader(value), clientCredentials).status == 200
	},
	// Bob is signed in. Whoever takes the hint for alice's says login_required.
	"hint at authorize": func(v *vault, value string) bool {
		return v.bobs.get(v.a.begin("prompt", "none", "id_token_hint", value).url()).answer().Get("code") == ""
	},
	"hint at logout": func(v *vault, value string) bool {
		p := v.browser.get("/logout?" + url.Values{"id_token_hint": {value}, "post_logout_redirect_uri": {"https://jwt1.test/bye"}}.Encode())
		return p.left != nil || !v.browser.signedIn()
	},
	"client_assertion": func(v *vault, value string) bool {
		form := assertionForm(value)
		form.Set("client_id", v.a.ID)
		return v.post(v, "/token", nil, form).status == 200
	},
	"assertion": func(v *vault, value string) bool {
		job, _ := v.work()
		return job.bear(value).status == 200
	},
	"subject token": func(v *vault, value string) bool {
		return v.exchanger().swap(value, v.issuer).status == 200
	},
	"client_secret": func(v *vault, value string) bool {
		header := "Basic " + base64.StdEncoding.EncodeToString([]byte(v.secret.ID+":"+url.QueryEscape(value)))
		posted := url.Values{"grant_type": {"client_credentials"}, "client_id": {v.secret.ID}, "client_secret": {value}}
		return v.post(v, "/token", http.Header{"Authorization": {header}}, clientCredentials).status == 200 || v.post(v, "/token", nil, posted).status == 200
	},
	"request object": func(v *vault, value string) bool {
		return begun(v.browser.get("/authorize?" + url.Values{"client_id": {v.a.ID}, "request": {value}}.Encode()))
	},
	"request_uri": func(v *vault, value string) bool {
		return begun(v.browser.get("/authorize?" + url.Values{"client_id": {v.a.ID}, "request_uri": {value}}.Encode()))
	},
	"kept request at authorize": func(v *vault, value string) bool {
		return begun(v.kept.b.get("/authorize?" + url.Values{"request": {value}}.Encode()))
	},
	"kept request at login": func(v *vault, value string) bool {
		return begun(v.kept.b.get("/login?" + url.Values{"request": {value}}.Encode()))
	},
	"kept request at consent": func(v *vault, value string) bool {
		return begun(v.kept.b.get("/consent?" + url.Values{"request": {value}}.Encode()))
	},
	"session cookie": func(v *vault, value string) bool {
		b := v.scene.browser(v)
		b.plant("idp_sid", value)
		return b.signedIn()
	},
	"cookie of further sessions": func(v *vault, value string) bool {
		b := v.scene.browser(v)
		b.plant("idp_accounts", value)
		return b.signedIn() || strings.Contains(b.get(v.a.begin("prompt", "select_account").url()).body, "Signed in")
	},
	"chosen account": func(v *vault, value string) bool {
		p := v.two().get(v.a.begin("prompt", "select_account").url()).at("/login/accounts").submit(map[string]string{"account": value})
		return p.left != nil && p.answer().Get("code") != ""
	},
	"flow cookie": func(v *vault, value string) bool {
		b := v.scene.browser(v)
		b.plant("idp_flow", value)
		return begun(b.get("/login?" + v.kept.url.RawQuery))
	},
	"password": func(v *vault, value string) bool {
		return v.scene.browser(v).try(v.arena.alice.Username, value).url.Path != "/login"
	},
	"client_id": func(v *vault, value string) bool {
		return begun(v.browser.get(v.a.begin("client_id", value).url()))
	},
}

// begun says that a page of the sign-in is shown, or the client has its code.
func begun(p *page) bool {
	if p.left != nil {
		return p.answer().Get("code") != ""
	}
	return p.status == 200
}

func TestEachArtefactAtEveryOtherEndpoint(t *testing.T) {
	t.Parallel()
	arena := newArena(t)
	for _, kind := range artefacts {
		t.Run("A-042 "+kind.name, func(t *testing.T) {
			t.Parallel()
			v := newVault(&scene{T: t, world: arena.b.from(t, arena.world, nextAddress()), arena: arena})
			value := kind.make(v)
			if value == "" {
				t.Fatal("the fixture has no such artefact")
			}
			for _, place := range slices.Sorted(maps.Keys(places)) {
				if slices.Contains(kind.home, place) {
					continue
				}
				before := v.issued()
				if places[place](v, value) {
					t.Errorf("it was taken for: %s", place)
				}
				if place != "hint at authorize" && v.issued() != before { // there, bob gets a code of his own
					t.Errorf("something was issued for it at: %s", place)
				}
			}
			if !kind.works(v, value) {
				t.Error("it does not work any more where it is at home")
			}
		})
	}
}

// TestEveryPlaceTakesItsOwn is the control: a place that takes nothing at all would refuse everything.
func TestEveryPlaceTakesItsOwn(t *testing.T) {
	t.Parallel()
	arena := newArena(t)
	for _, kind := range artefacts {
		for _, place := range kind.home {
			if place == "revocation" {
				continue
			}
			t.Run(kind.name+" as "+place, func(t *testing.T) {
				t.Parallel()
				v := newVault(&scene{T: t, world: arena.b.from(t, arena.world, nextAddress()), arena: arena})
				if value := kind.make(v); !places[place](v, value) {
					t.Error("it is not taken where it is at home")
				}
			})
		}
	}
}
