package integration

import (
	"errors"
	"html"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"idp/storage"
)

// The plan oidcc-3rdparty-init-login-certification-test-plan. In the suite the client registers itself
// and reads its registration again; here an operator does both by the command line, which is how static
// clients come to be. What the suite leaves out is tested too: that the address is used.
//
// The link has iss alone. target_link_uri is for a third party that knows where in the app the person
// wants to go, and login_hint for one that knows a name that the app understands; a list of apps knows
// neither (OpenID Connect Core, 4: both are optional).

func TestOIDFThirdPartyInitiatedLoginPlan(t *testing.T) {
	runPlan(t, false, []oidfModule{
		{"oidcc-3rd_party-init-login", initiateLogin},
		{"oidcc-3rd_party-init-login-nohttps", initiateLoginNoHTTPS},
	})
}

const oidfInitiate = "https://suite.test/test/a/idp/initiate_login?tenant=a%20b"

func initiateLogin(t *testing.T, s *oidf) {
	var registered, kept struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
		URI    string `json:"initiate_login_uri"`
	}
	s.w.idp(t, &registered, "client", "create", "--preset", "web", "--name", "OIDF conformance suite", "--redirect-uri", oidfCallback, "--initiate-login-uri", oidfInitiate, "--pkce-optional")
	s.w.idp(t, &kept, "client", "show", registered.ID)
	if kept.URI != oidfInitiate {
		t.Errorf("initiate_login_uri is kept as %q, want %q", kept.URI, oidfInitiate)
	}
	c, err := s.w.db.Client(t.Context(), registered.ID)
	if err != nil {
		t.Fatal(err)
	}
	a, b := &app{t: t, w: s.w, Client: c, secret: registered.Secret}, s.w.browser(t)
	s.request(t, a).signIn(b)
	link := regexp.MustCompile(`id="open-0"[^>]* href="([^"]+)"`).FindStringSubmatch(b.get("/account/apps").body)
	if link == nil {
		t.Fatal("the app cannot be started from the list of apps")
	}
	address := html.UnescapeString(link[1])
	to, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	q := to.Query()
	if !strings.HasPrefix(address, oidfInitiate) || !slices.Equal(q["iss"], []string{s.w.issuer}) || q.Get("tenant") != "a b" {
		t.Errorf("the sign-in starts at %s, want %s with the issuer", address, oidfInitiate)
	}
	onlyMembers(t, "the start of the sign-in", q, "tenant", "iss", "login_hint", "target_link_uri")
}

func initiateLoginNoHTTPS(t *testing.T, s *oidf) {
	name, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(name, "client", "create", "--preset", "web", "--name", "OIDF conformance suite", "--redirect-uri", oidfCallback,
		"--initiate-login-uri", strings.Replace(oidfInitiate, "https:", "http:", 1))
	cmd.Env = append(os.Environ(), "IDP_ISSUER="+s.w.issuer, "IDP_DATABASE_URL="+s.w.dbURL, "IDP_MASTER_KEY="+masterKey())
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() == 0 || !strings.Contains(string(out), "must be an https URL") {
		t.Errorf("%v: %s", err, out)
	}
	clients, err := s.w.db.Clients(t.Context(), "", 100)
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(clients, func(c storage.Client) bool { return strings.HasPrefix(c.InitiateLoginURI, "http:") }) {
		t.Error("it is registered all the same")
	}
}
