package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"idp/storage/storagetest"
)

func TestMain(m *testing.M) {
	// The surroundings of whoever runs the tests are none of theirs.
	for _, name := range []string{"IDP_DATABASE_URL", "DATABASE_URL", "IDP_ISSUER", "IDP_MASTER_KEY", "IDP_MASTER_KEY_FILE", "IDP_DATA_DIR", "IDP_OPS_LISTEN"} {
		os.Unsetenv(name)
	}
	storagetest.Main(m)
}

// operator runs commands against a database of the test's own.
type operator struct {
	t     *testing.T
	flags []string
}

func newOperator(t *testing.T, url string) *operator {
	t.Helper()
	key := filepath.Join(t.TempDir(), "master.key")
	if err := os.WriteFile(key, []byte("c3RvcmFnZXRlc3Q6IDMyIGJ5dGVzLCBubyBzZWNyZXQ=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &operator{t, []string{"--database-url", url, "--master-key-file", key, "--issuer", "https://id.example.com"}}
}

// run gives the exit code and both outputs.
func (o *operator) run(stdin string, args ...string) (int, string, string) {
	o.t.Helper()
	var out, errs bytes.Buffer
	code := run(o.t.Context(), append(args, o.flags...), strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

// json runs a command that must work and reads its result.
func (o *operator) json(v any, stdin string, args ...string) {
	o.t.Helper()
	code, out, errs := o.run(stdin, append(args, "--json")...)
	if code != exitOK {
		o.t.Fatalf("idp %s: exit code %d\n%s", strings.Join(args, " "), code, errs)
	}
	if err := json.Unmarshal([]byte(out), v); err != nil {
		o.t.Fatalf("idp %s printed no JSON: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestExitCodesAndErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	o := newOperator(t, storagetest.URL(t))
	empty := newOperator(t, storagetest.EmptyURL(t))
	down := newOperator(t, "postgres://nobody@127.0.0.1:1/idp")
	nowhere := &operator{t: t}
	o.json(&struct{}{}, "", "client", "create", "--id", "taken", "--name", "A", "--preset", "machine")
	for _, tc := range []struct {
		o    *operator
		args string
		code int
		want string // on stderr
	}{
		{o, "client list", 0, ""},
		{nowhere, "--help", 0, ""},
		{nowhere, "client create --help", 0, ""},
		{nowhere, "nonsense", 2, "idp --help"},
		{nowhere, "client show", 2, "idp client show --help"},
		{nowhere, "client create --nonsense", 2, "idp client create --help"},
		{nowhere, "client list", 2, "Set IDP_DATABASE_URL"},
		{nowhere, "selftest", 2, "Set IDP_DATABASE_URL"},
		{nowhere, "test login", 2, "Set IDP_DATABASE_URL"},
		{nowhere, "test token --client x", 2, "Set IDP_ISSUER"},
		{o, "test login --redirect-uri https://app.test/cb", 2, "not on this machine"},
		{o, "test token --client x --auth-method private_key_jwt", 2, "client_secret_basic"},
		{o, "test token --client x --secret-file /nowhere", 2, "The secret cannot be read"},
		{nowhere, "serve", 2, "IDP_ISSUER"},
		{nowhere, "keys list --database-url postgres://db/idp", 2, "IDP_MASTER_KEY_FILE"},
		{o, "client create --preset web", 2, "--name"},
		{o, "client create --preset web --name A", 2, "At least one redirect URI"},
		{o, "client show nobody", 3, "idp client list"},
		{o, "client update nobody --name A", 3, "idp client list"},
		{o, "client delete nobody", 3, "idp client list"},
		{o, "client create --id taken --name A --preset machine", 4, "Choose another id"},
		{o, "user show nobody", 3, "idp user list"},
		{o, "user create --username a --password-stdin", 2, "no password"},
		{o, "keys rotate --alg nonsense", 2, "use one of"},
		{o, "keys revoke nobody", 3, "idp keys list"},
		{o, "client create --id usr_x --name A --preset machine", 2, "cannot begin with"},
		{o, "client update nobody --rotate-secret", 3, "idp client list"},
		{o, "client rotate-secret nobody", 3, "idp client list"},
		{o, "client update taken --overlap 1h", 2, "--rotate-secret"},
		{o, "client update taken --rotate-secret --overlap 721h", 2, "720h"},
		{o, "client update taken --default-max-age=-1s", 2, "negative"},
		{o, "client update taken --default-max-age soon", 2, "no time"},
		{o, "client update taken --refresh-idle 2h --refresh-max 1h", 2, "cannot be longer"},
		{o, "client update taken --logo-uri https://a.test/logo", 2, "unknown flag"},
		{o, "user update nobody --name A", 3, "idp user list"},
		{o, "user sessions nobody", 3, "idp user list"},
		{o, "user grants nobody", 3, "idp user list"},
		{o, "user revoke nobody", 3, "idp user list"},
		{o, "events --user nobody", 3, "idp user list"},
		{o, "events --limit 0", 2, "can be listed"},
		{empty, "client list", 2, "idp migrate"},
		{down, "client list", 1, "cannot be reached"},
		{nowhere, "healthcheck --ops-listen 127.0.0.1:1", 5, "does not answer"},
	} {
		code, out, errs := tc.o.run("", strings.Fields(tc.args)...)
		if code != tc.code || !strings.Contains(errs, tc.want) {
			t.Errorf("idp %s: exit code %d, want %d; stderr %q, want %q in it", tc.args, code, tc.code, errs, tc.want)
		}
		if code != 0 && out != "" {
			t.Errorf("idp %s failed and printed %q", tc.args, out)
		}
	}
}

func TestANewClientComesWithAllThatItsDeveloperNeeds(t *testing.T) {
	t.Parallel()
	o := newOperator(t, storagetest.URL(t))
	for preset, wants := range map[string][]string{
		"web":     {"OIDC_ISSUER=https://id.example.com\n", "OIDC_CLIENT_SECRET=idp_cs_", "OIDC_REDIRECT_URI=https://app.test/callback\n", "/.well-known/openid-configuration"},
		"spa":     {"oidc-client-ts", `authority: "https://id.example.com"`, `redirect_uri: "https://app.test/callback"`, `post_logout_redirect_uri: "https://app.test/"`},
		"native":  {"http://127.0.0.1/callback"},
		"machine": {"curl --user 'cli_", "https://id.example.com/token"},
	} {
		code, out, errs := o.run("", "client", "create", "--preset", preset, "--name", "My app", "--url", "https://app.test")
		if code != 0 {
			t.Errorf("%s: exit code %d: %s", preset, code, errs)
		}
		for _, want := range append(wants, "cli_", "My app", "https://id.example.com/token") {
			if !strings.Contains(out, want) {
				t.Errorf("%s lacks %q:\n%s", preset, want, out)
			}
		}
	}
}

func TestEverySettingOfAClientCanBeChangedAndBack(t *testing.T) {
	t.Parallel()
	o := newOperator(t, storagetest.URL(t))
	type view struct {
		ID                string   `json:"client_id"`
		Secret            string   `json:"client_secret"`
		Name              string   `json:"client_name"`
		RedirectURIs      []string `json:"redirect_uris"`
		Scopes            []string `json:"scopes"`
		AccessTokenFormat string   `json:"access_token_format"`
		SkipConsent       bool     `json:"skip_consent"`
		DisabledAt        string   `json:"disabled_at"`
		Lifetimes         struct {
			AccessToken int `json:"access_token"`
		} `json:"lifetimes"`
	}
	var made view
	o.json(&made, "", "client", "create", "--name", "A", "--redirect-uri", "https://a.test/1?x=1,2", "--redirect-uri", "https://a.test/2")
	if len(made.RedirectURIs) != 2 || made.Secret == "" {
		t.Fatalf("created %+v", made)
	}
	update := func(args ...string) (v view) {
		t.Helper()
		o.json(&v, "", append([]string{"client", "update", made.ID}, args...)...)
		return v
	}
	if v := update("--name", "B", "--add-redirect-uri", "https://a.test/3", "--remove-redirect-uri", "https://a.test/2"); v.Name != "B" || strings.Join(v.RedirectURIs, " ") != "https://a.test/1?x=1,2 https://a.test/3" || v.Secret != "" {
		t.Errorf("renamed: %+v", v)
	}
	if v := update("--skip-consent", "--access-token-format", "jwt", "--access-token-life", "5m", "--scope", "openid email"); !v.SkipConsent || v.AccessTokenFormat != "jwt" || v.Lifetimes.AccessToken != 300 || len(v.Scopes) != 2 {
		t.Errorf("changed: %+v", v)
	}
	if v := update("--no-skip-consent", "--disable"); v.SkipConsent || v.DisabledAt == "" || v.AccessTokenFormat != "jwt" {
		t.Errorf("disabled: %+v", v)
	}
	if v := update("--enable"); v.DisabledAt != "" {
		t.Errorf("enabled: %+v", v)
	}
	jwks := `{"keys":[{"kty":"EC","crv":"P-256","kid":"1","alg":"ES256","use":"sig","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`
	code, out, errs := o.run(jwks, "client", "update", made.ID, "--auth-method", "private_key_jwt", "--jwks", "-")
	if code != 0 || !strings.Contains(out, "private_key_jwt") {
		t.Errorf("JWKS from standard input: %d %s %s", code, out, errs)
	}
	if code, _, errs := o.run("", "client", "update", made.ID, "--jwks-uri", "https://wiki.test/jwks"); code != exitUsage || !strings.Contains(errs, "clear one of them") {
		t.Errorf("keys in two places: %d %s", code, errs)
	}
	code, out, errs = o.run("", "client", "update", made.ID, "--jwks", "", "--jwks-uri", "https://wiki.test/jwks")
	if code != 0 || !strings.Contains(out, "https://wiki.test/jwks") || !strings.Contains(errs, "No keys could be read at https://wiki.test/jwks") {
		t.Errorf("keys that are published: %d %s %s", code, out, errs)
	}
	if code, out, _ := o.run("", "client", "show", made.ID, "--json"); code != 0 || strings.Contains(out, `"hash"`) {
		t.Errorf("show: %d %s", code, out)
	}
}

func TestPasswordsArePrintedOnceOrNever(t *testing.T) {
	t.Parallel()
	o := newOperator(t, storagetest.URL(t))
	type view struct{ ID, Username, Password, State string }
	var made view
	o.json(&made, "", "user", "create", "--username", "ada", "--email", "ada@example.test")
	if !regexp.MustCompile(`^[0-9a-z]{5}(-[0-9a-z]{5}){3}$`).MatchString(made.Password) {
		t.Errorf("made the password %q", made.Password)
	}
	var shown view
	o.json(&shown, "", "user", "show", "ada")
	if shown.ID != made.ID || shown.Password != "" {
		t.Errorf("shown: %+v", shown)
	}
	const chosen = "seven violet trams sing"
	code, out, errs := o.run(chosen+"\n", "user", "set-password", "ada", "--password-stdin")
	if code != 0 || strings.Contains(out+errs, chosen) {
		t.Errorf("set-password: %d %s %s", code, out, errs)
	}
	if code, _, errs := o.run("short\n", "user", "set-password", "ada", "--password-stdin"); code != exitUsage || !strings.Contains(errs, "at least") {
		t.Errorf("a weak password: %d %s", code, errs)
	}
	for _, step := range [][2]string{{"suspend", "suspended"}, {"activate", "active"}, {"delete", "deleted"}} {
		var v view
		if o.json(&v, "", "user", step[0], "ada@example.test"); v.State != step[1] {
			t.Errorf("%s: state %s, want %s", step[0], v.State, step[1])
		}
	}
	var list []view
	if o.json(&list, "", "user", "list"); list == nil || len(list) != 0 {
		t.Errorf("list = %v, want []", list)
	}
}

func TestKeysAreListedAndRotated(t *testing.T) {
	t.Parallel()
	o := newOperator(t, storagetest.URL(t))
	var rotations []struct {
		Alg, Old, New string
		Done          bool
	}
	o.json(&rotations, "", "keys", "rotate", "--alg", "ES256") // makes the first keys, too
	if len(rotations) != 1 || rotations[0].Done {
		t.Errorf("a new key signs before it was published: %+v", rotations)
	}
	o.json(&rotations, "", "keys", "rotate", "--emergency")
	for _, r := range rotations {
		if !r.Done {
			t.Errorf("an emergency waits: %+v", r)
		}
	}
	code, out, _ := o.run("", "keys", "list", "--json")
	if code != 0 || strings.Contains(strings.ToLower(out), "private") || !strings.Contains(out, rotations[0].New) {
		t.Errorf("keys list: %d %s", code, out)
	}
}

func TestMigrateTellsWhatItDid(t *testing.T) {
	t.Parallel()
	o := newOperator(t, storagetest.EmptyURL(t))
	var status []struct {
		Name    string
		Applied bool
	}
	if o.json(&status, "", "migrate", "status"); len(status) == 0 || status[0].Applied {
		t.Errorf("before: %+v", status)
	}
	var done struct{ Applied []struct{ Name string } }
	if o.json(&done, "", "migrate"); len(done.Applied) != len(status) {
		t.Errorf("applied %+v, want all of %+v", done, status)
	}
	if o.json(&done, "", "migrate", "up"); done.Applied == nil || len(done.Applied) != 0 {
		t.Errorf("applied again: %+v", done)
	}
}

func TestHealthcheckAsksTheProvider(t *testing.T) {
	t.Parallel()
	answer := http.StatusOK
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.WriteHeader(answer)
	}))
	defer s.Close()
	o := &operator{t: t, flags: []string{"--ops-listen", s.Listener.Addr().String()}}
	if code, _, errs := o.run("", "healthcheck"); code != exitOK {
		t.Errorf("ready: exit code %d %s", code, errs)
	}
	answer = http.StatusServiceUnavailable
	if code, _, _ := o.run("", "healthcheck"); code != exitUnhealthy {
		t.Errorf("not ready: exit code %d, want %d", code, exitUnhealthy)
	}
}

func TestVersionAndConfigDocsNeedNothing(t *testing.T) {
	t.Parallel()
	o := &operator{t: t}
	if code, out, _ := o.run("", "version"); code != 0 || !strings.HasPrefix(out, "idp ") {
		t.Errorf("version: %d %s", code, out)
	}
	if code, out, _ := o.run("", "config", "docs"); code != 0 || !strings.Contains(out, "| `IDP_ISSUER` | `--issuer` |") {
		t.Errorf("config docs: %d %s", code, out)
	}
}
