package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"idp/oauth"
	"idp/storage"
	"idp/storage/storagetest"
)

func TestErrorsAreOneJSONObjectWhenAsked(t *testing.T) {
	t.Parallel()
	o := newOperator(t, storagetest.URL(t))
	down := newOperator(t, "postgres://nobody@127.0.0.1:1/idp")
	nowhere := &operator{t: t}
	for _, tc := range []struct {
		o          *operator
		args       string
		code       int
		want, hint string
	}{
		{o, "client show nobody --json", 3, "There is no client nobody.", "idp client list"},
		{o, "user update nobody --json --name A", 3, "There is no user nobody.", "idp user list"},
		{o, "client create --json --name A", 2, "At least one redirect URI", ""},
		{o, "keys rotate --alg nonsense --json", 2, "There is no algorithm", ""},
		{nowhere, "--json nonsense", 2, "unexpected argument nonsense", "idp --help"},
		{nowhere, "client show --json", 2, "<id>", "idp client show --help"},
		{nowhere, "serve --json", 2, "IDP_ISSUER", ""},
		{down, "client list --json", 1, "cannot be reached", "IDP_DATABASE_URL"},
	} {
		code, out, errs := tc.o.run("", strings.Fields(tc.args)...)
		var e struct{ Error, Hint string }
		decoder := json.NewDecoder(strings.NewReader(errs))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&e); err != nil || decoder.More() {
			t.Errorf("idp %s: stderr %q is not one object: %v", tc.args, errs, err)
		}
		if code != tc.code || out != "" || !strings.Contains(e.Error, tc.want) || !strings.Contains(e.Hint, tc.hint) || (e.Hint == "") != (tc.hint == "") {
			t.Errorf("idp %s: %d, %+v, stdout %q; want %d, %q, hint %q", tc.args, code, e, out, tc.code, tc.want, tc.hint)
		}
	}
}

func TestANewSecretIsShownOnceBesideTheOld(t *testing.T) {
	t.Parallel()
	o := newOperator(t, storagetest.URL(t))
	type view struct {
		Secret  string `json:"client_secret"`
		Name    string `json:"client_name"`
		Count   int    `json:"secret_count"`
		Secrets []struct {
			CreatedAt time.Time  `json:"created_at"`
			ExpiresAt *time.Time `json:"expires_at"`
			Hash      string     `json:"hash"`
		}
	}
	var made, rotated, shown, again view
	o.json(&made, "", "client", "create", "--preset", "machine", "--id", "job", "--name", "Job")
	o.json(&rotated, "", "client", "update", "job", "--rotate-secret", "--name", "Night job")
	if rotated.Secret == "" || rotated.Secret == made.Secret || rotated.Name != "Night job" {
		t.Errorf("rotated: %+v", rotated)
	}
	o.json(&shown, "", "client", "show", "job")
	if shown.Secret != "" || shown.Count != 2 || len(shown.Secrets) != 2 || shown.Secrets[0].ExpiresAt != nil || shown.Secrets[1].ExpiresAt == nil || shown.Secrets[0].Hash != "" {
		t.Fatalf("shown: %+v", shown)
	}
	if left := time.Until(*shown.Secrets[1].ExpiresAt); left < 167*time.Hour || left > 168*time.Hour {
		t.Errorf("the old secret counts for %v, want 168h", left)
	}
	if code, out, _ := o.run("", "client", "show", "job"); code != 0 || strings.Count(out, "Secret  ") != 2 || !strings.Contains(out, "counts until") {
		t.Errorf("client show:\n%s", out)
	}
	if code, _, errs := o.run("", "client", "rotate-secret", "job"); code != exitConflict || !strings.Contains(errs, "--overlap 0s") {
		t.Errorf("a third secret: %d %s", code, errs)
	}
	o.json(&again, "", "client", "rotate-secret", "job", "--overlap", "0s")
	if again.Secret == "" || again.Count != 1 {
		t.Errorf("rotated at once: %+v", again)
	}
}

func TestAnEmptyValueClears(t *testing.T) {
	t.Parallel()
	o := newOperator(t, storagetest.URL(t))
	o.json(&struct{}{}, "", "resource", "create", "--uri", "https://api.test", "--name", "API")
	o.json(&struct{}{}, "", "client", "create", "--id", "app", "--name", "App", "--url", "https://app.test", "--allowed-origin", "https://a.test", "--allowed-origin", "https://b.test",
		"--resource", "https://api.test", "--audience", "https://api.test", "--policy-uri", "https://app.test/policy", "--default-max-age", "1h")
	settings := []string{"allowed_origins", "resources", "audience", "post_logout_redirect_uris", "policy_uri", "default_max_age", "client_uri"}
	var before, after map[string]any
	o.json(&before, "", "client", "show", "app")
	for _, name := range settings {
		if before[name] == nil {
			t.Errorf("%s is not set: %v", name, before)
		}
	}
	if before["default_max_age"] != 3600.0 {
		t.Errorf("default_max_age = %v, want 3600", before["default_max_age"])
	}
	o.json(&after, "", "client", "update", "app", "--allowed-origin", "", "--resource=", "--audience", "", "--post-logout-redirect-uri", "", "--policy-uri", "", "--default-max-age", "", "--url", "")
	for _, name := range settings {
		if after[name] != nil {
			t.Errorf("%s = %v, want it cleared", name, after[name])
		}
	}
	if uris, _ := after["redirect_uris"].([]any); len(uris) != 1 {
		t.Errorf("redirect_uris = %v, want those of before", uris)
	}
	if code, out, _ := o.run("", "client", "update", "--help"); code != 0 || !strings.Contains(out, "An empty value clears") || strings.Contains(out, "logo-uri") || strings.Contains(out, "require-auth-time") {
		t.Errorf("help: %d %s", code, out)
	}
}

func TestAPersonIsUpdated(t *testing.T) {
	t.Parallel()
	o := newOperator(t, storagetest.URL(t))
	type view struct {
		ID, Username, Email string
		Verified            string `json:"email_verified_at"`
		Profile             map[string]any
	}
	var made, u view
	o.json(&made, "", "user", "create", "--username", "ada", "--email", "ada@example.test", "--email-verified", "--no-password", "--given-name", "Ada")
	if made.Profile["given_name"] != "Ada" || made.Verified == "" {
		t.Errorf("created: %+v", made)
	}
	o.json(&u, "", "user", "update", "ada", "--username", "countess", "--email", "ada@two.test", "--name", "Ada King", "--family-name", "King", "--locale", "en-GB", "--zoneinfo", "Europe/London")
	want := view{ID: made.ID, Username: "countess", Email: "ada@two.test"}
	if u.ID != want.ID || u.Username != want.Username || u.Email != want.Email || u.Verified != "" || u.Profile["given_name"] != "Ada" || u.Profile["family_name"] != "King" || u.Profile["zoneinfo"] != "Europe/London" {
		t.Errorf("updated: %+v, want %+v", u, want)
	}
	u = view{}
	if o.json(&u, "", "user", "update", "countess", "--email-verified", "--given-name", ""); u.Verified == "" || u.Profile["given_name"] != nil || u.Profile["name"] != "Ada King" {
		t.Errorf("verified: %+v", u)
	}
	u = view{}
	if o.json(&u, `{"nickname": "Ada", "address": {"country": "England"}}`, "user", "update", "ada@two.test", "--profile", "-", "--no-email-verified"); u.Verified != "" || len(u.Profile) != 2 {
		t.Errorf("another profile: %+v", u)
	}
	o.json(&struct{}{}, "", "user", "create", "--username", "eve", "--no-password")
	if code, _, errs := o.run("", "user", "update", "eve", "--email", "ADA@two.test"); code != exitConflict || !strings.Contains(errs, "Choose another one") {
		t.Errorf("an address of somebody else: %d %s", code, errs)
	}
	if code, out, _ := o.run("", "user", "show", "eve"); code != 0 || strings.Contains(out, "two.test") {
		t.Errorf("after the refusal: %d %s", code, out)
	}
}

// busyPerson gives ada two sessions, one of which has idled out, and a grant of an app.
func busyPerson(t *testing.T, o *operator, db *storage.DB) string {
	t.Helper()
	var ada struct{ ID string }
	o.json(&ada, "", "user", "create", "--username", "ada")
	o.json(&struct{}{}, "", "client", "create", "--id", "wiki", "--name", "Wiki", "--url", "https://wiki.test")
	now := time.Now().UTC().Truncate(time.Microsecond)
	password, err := db.PasswordByUser(t.Context(), ada.ID)
	if err != nil {
		t.Fatal(err)
	}
	for secret, idle := range map[string]time.Duration{"live secret": time.Hour, "idle secret": -time.Minute} {
		s := &storage.Session{
			ID: storage.NewRowID(), UserID: ada.ID, AuthTime: now, Methods: []string{"pwd"}, ACR: "1", IP: "192.0.2.7", UserAgent: "Browser/1 " + secret[:4] + "\x1b[31m",
			CreatedAt: now.Add(-time.Hour), SeenAt: now, IdleExpiresAt: now.Add(idle), ExpiresAt: now.Add(24 * time.Hour),
		}
		if err := db.CreateSession(t.Context(), s, storage.SignIn{SecretHash: storage.HashSecret(secret), PasswordSetAt: password.SetAt}); err != nil {
			t.Fatal(err)
		}
	}
	for _, held := range []struct{ client, state string }{{"wiki", storage.GrantActive}, {"gone", storage.GrantActive}, {"wiki", storage.GrantRevoked}} {
		idle := now.Add(time.Hour)
		g := &storage.Grant{
			ID: storage.NewRowID(), Kind: "code", ClientID: held.client, UserID: ada.ID, Subject: ada.ID, Scopes: []string{"openid", "email"}, Seed: []byte("seed that nobody may see"),
			Offline: true, State: held.state, Generation: 2, TokenKey: 1, IdleExpiresAt: &idle, ExpiresAt: now.Add(48 * time.Hour), CreatedAt: now,
		}
		if err := db.InsertGrant(t.Context(), g, "", storage.Touch{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Pool().Exec(t.Context(), `update grants set rotated_at = $1`, now); err != nil {
		t.Fatal(err)
	}
	return ada.ID
}

func TestOperatorsSeeWhereAPersonIsSignedInAndWhatAppsHoldAndCanEndIt(t *testing.T) {
	t.Parallel()
	url := storagetest.URL(t)
	o := newOperator(t, url)
	db := openDB(t, url)
	id := busyPerson(t, o, db)

	var sessions, grants []map[string]any
	o.json(&sessions, "", "user", "sessions", "ada")
	if len(sessions) != 1 || sessions[0]["ip"] != "192.0.2.7" || !strings.HasPrefix(sessions[0]["user_agent"].(string), "Browser/1 live") || sessions[0]["signed_in_at"] == nil || sessions[0]["last_seen_at"] == nil {
		t.Errorf("sessions = %v, want the one that is live", sessions)
	}
	o.json(&grants, "", "user", "grants", "ada")
	if len(grants) != 1 || grants[0]["client_id"] != "wiki" || grants[0]["client_name"] != "Wiki" || len(grants[0]["scopes"].([]any)) != 2 || grants[0]["refreshed_at"] == nil {
		t.Errorf("grants = %v, want the one that counts", grants)
	}
	for _, command := range []string{"sessions", "grants"} {
		for _, args := range [][]string{{"user", command, "ada"}, {"user", command, "ada", "--json"}} {
			code, out, errs := o.run("", args...)
			if code != 0 || strings.Contains(out, "hash") || strings.Contains(out, "secret") || strings.Contains(out, "seed") || strings.Contains(out, "\x1b") {
				t.Errorf("%v: %d %s %s", args, code, out, errs)
			}
		}
	}

	var ended struct {
		State string
		Ended struct{ Sessions, Grants int }
	}
	o.json(&ended, "", "user", "revoke", "ada")
	if ended.State != "active" || ended.Ended.Sessions != 2 || ended.Ended.Grants != 2 {
		t.Errorf("revoked: %+v, want 2 sessions and 2 grants of an active account", ended)
	}
	for _, command := range []string{"sessions", "grants"} {
		var left []any
		if o.json(&left, "", "user", command, "ada"); left == nil || len(left) != 0 {
			t.Errorf("%s after the revocation: %v, want []", command, left)
		}
	}

	var events []struct{ Kind, Actor string }
	o.json(&events, "", "events", "--user", "ada")
	if len(events) != 2 || events[0].Kind != "user.revoked" || events[1].Kind != "user.created" {
		t.Errorf("events of ada = %v", events)
	}
	if o.json(&events, "", "events", "--limit", "1"); len(events) != 1 || events[0].Kind != "user.revoked" {
		t.Errorf("the newest event = %v", events)
	}
	o.json(&struct{}{}, "", "user", "delete", "ada")
	if o.json(&events, "", "events", "--user", id); len(events) != 3 || events[0].Kind != "user.deleted" {
		t.Errorf("events of a deleted account = %v", events)
	}
	if code, out, _ := o.run("", "events"); code != 0 || !strings.Contains(out, "client.created") || !strings.Contains(out, "operator") {
		t.Errorf("events: %d\n%s", code, out)
	}
}

// openDB opens the database that an operator works on.
func openDB(t *testing.T, url string) *storage.DB {
	t.Helper()
	sealer, err := storage.NewSealer(storagetest.MasterKey())
	if err != nil {
		t.Fatal(err)
	}
	db, err := storage.Open(t.Context(), storage.Config{URL: url, MaxConns: 2, Sealer: sealer})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

type listedKey struct{ KID, Use, Alg, State string }

func (o *operator) keys() []listedKey {
	o.t.Helper()
	var keys []listedKey
	o.json(&keys, "", "keys", "list")
	return keys
}

func keyOf(t *testing.T, keys []listedKey, alg, state string) string {
	t.Helper()
	i := slices.IndexFunc(keys, func(k listedKey) bool { return k.Alg == alg && k.State == state })
	if i < 0 {
		t.Fatalf("no %s key of %s in %v", state, alg, keys)
	}
	return keys[i].KID
}

func TestARevokedKeyIsErasedAndAnotherTakesItsPlace(t *testing.T) {
	t.Parallel()
	url := storagetest.URL(t)
	o := newOperator(t, url)
	db := openDB(t, url)
	o.json(&[]any{}, "", "keys", "rotate", "--alg", "ES256", "--emergency")
	for _, tc := range []struct {
		alg, state string
		want       string
	}{
		{"ES256", "current", "ID tokens and JWT access tokens"},
		{"ES256", "retired", "ID tokens and JWT access tokens"},
		{"EdDSA", "next", "nothing breaks"},
		{"HS256", "current", "sign in again"},
	} {
		before := o.keys()
		kid := keyOf(t, before, tc.alg, tc.state)
		code, out, errs := o.runOn(kid, "keys", "revoke") // key ids may begin with a hyphen
		if code != 0 || !strings.Contains(out, tc.want) || !strings.Contains(out, kid) {
			t.Errorf("%s %s: %d %s %s", tc.state, tc.alg, code, out, errs)
		}
		after := o.keys()
		if slices.ContainsFunc(after, func(k listedKey) bool { return k.KID == kid }) {
			t.Errorf("the revoked %s key of %s is still there", tc.state, tc.alg)
		}
		if tc.state == "current" {
			if now := keyOf(t, after, tc.alg, "current"); !strings.Contains(out, now) {
				t.Errorf("the new key %s is not named: %s", now, out)
			}
			if tc.alg != "HS256" && keyOf(t, after, tc.alg, "current") != keyOf(t, before, tc.alg, "next") {
				t.Errorf("%s: another key than the next one took the place", tc.alg)
			}
		}
		if tc.alg != "HS256" {
			keyOf(t, after, tc.alg, "next")
		}
		var private []byte
		if err := db.Pool().QueryRow(t.Context(), `select private from keys where kid = $1`, kid).Scan(&private); err != nil || private != nil {
			t.Errorf("the private half of %s is still stored (%v)", kid, err)
		}
	}
}

// runOn runs a command on something whose name may begin with a hyphen.
func (o *operator) runOn(what string, args ...string) (int, string, string) {
	o.t.Helper()
	return (&operator{t: o.t}).run("", slices.Concat(args, o.flags, []string{"--", what})...)
}

func TestARotationOfTheTokenKeyThatEndedHalfwayIsFinishedByTheNext(t *testing.T) {
	t.Parallel()
	url := storagetest.URL(t)
	o := newOperator(t, url)
	db := openDB(t, url)
	type rotation struct{ Alg, Old, New string }
	var first, second []rotation
	o.json(&first, "", "keys", "rotate", "--alg", "token")
	// The first half of a rotation: the key is made, and then the process ends.
	left := storage.Key{KID: "token-left", Use: "token", Alg: "HS256", State: storage.KeyNext, Private: storage.RandomBytes(32), CreatedAt: time.Now()}
	if err := db.AddKey(t.Context(), left, storage.Event{}); err != nil {
		t.Fatal(err)
	}
	o.json(&second, "", "keys", "rotate", "--alg", "token")
	if len(second) != 1 || second[0].New != "token-left" || second[0].Old != first[0].New {
		t.Errorf("rotation %+v, want from %s to token-left", second, first[0].New)
	}
	if now := keyOf(t, o.keys(), "HS256", "current"); now != "token-left" {
		t.Errorf("current is %s, want token-left", now)
	}
	o.json(&second, "", "keys", "rotate", "--alg", "token")
	if second[0].Old != "token-left" || second[0].New == "token-left" {
		t.Errorf("the rotation after it: %+v", second)
	}
}

func TestRotationsOfTheTokenKeyAtTheSameTimeLeaveOneCurrentKey(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	now := time.Now().UTC()
	errs := make(chan error)
	for range 4 {
		go func() {
			_, err := oauth.RotateKeys(t.Context(), db, oauth.RotateOptions{Alg: "token", Now: now})
			errs <- err
		}()
	}
	for range 4 {
		if err := <-errs; err != nil && exitCode(err) != exitConflict {
			t.Error(err)
		}
	}
	keys, err := db.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]int{}
	for _, k := range keys {
		if k.Use == "token" {
			states[k.State]++
		}
	}
	if states[storage.KeyCurrent] != 1 || states[storage.KeyNext] > 1 {
		t.Errorf("token keys by state: %v, want one current", states)
	}
}
