package integration

import (
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"idp/storage"
)

// suiteConfig is a configuration of the suite, as far as its browser reads it.
type suiteConfig struct {
	Server struct {
		Allowed []string `json:"allow_unexpected_metadata_fields"`
	} `json:"server"`
	Client, Client2 suiteClient
	Post            suiteClient  `json:"client_secret_post"`
	Browser         []suiteVisit `json:"browser"`
	Override        map[string]struct {
		Browser []suiteVisit `json:"browser"`
	} `json:"override"`
}

type suiteClient struct {
	ID string `json:"client_id"`
}

type suiteVisit struct {
	Match string
	Tasks []struct {
		Task, Match string
		Commands    [][]any
	}
}

// A run of the suite itself is described in doc/conformance/suite.md. Here its commands are run, and the
// suite's browser steps are held against our pages: whatever they look for is there.
func TestTheConformanceSuiteFindsItsWay(t *testing.T) {
	t.Parallel()
	s := openOIDF(t)
	page, err := os.ReadFile("../doc/conformance/suite.md")
	if err != nil {
		t.Fatal(err)
	}
	script := regexp.MustCompile("(?s)```sh\n(.*?)```").FindStringSubmatch(string(page))
	name, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-ec", strings.ReplaceAll(script[1], "\n   ", "\n"))
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(name)+":"+os.Getenv("PATH"), "IDP_ISSUER="+s.w.issuer, "IDP_DATABASE_URL="+s.w.dbURL, "IDP_MASTER_KEY="+masterKey())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	password := regexp.MustCompile(`Password +(\S+)`).FindSubmatch(out)
	if password == nil {
		t.Fatalf("no password was printed:\n%s", out)
	}
	s.who = &person{User: storage.User{Username: "oidf"}, Password: string(password[1])}
	raw, err := os.ReadFile("../doc/conformance/suite.json")
	if err != nil {
		t.Fatal(err)
	}
	var config suiteConfig
	if err := json.Unmarshal(raw, &config); err != nil {
		t.Fatal(err)
	}
	if strings.Join(config.Server.Allowed, " ") != strings.Join(draftMetadata, " ") {
		t.Errorf("the suite is told of the members %v, the metadata's are %v", config.Server.Allowed, draftMetadata)
	}
	a := s.client(t) // as the document's, but with a secret that we know
	for _, id := range []string{config.Client.ID, config.Client2.ID, config.Post.ID} {
		c, err := s.w.db.Client(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		method := "client_secret_basic"
		if id == config.Post.ID {
			method = "client_secret_post"
		}
		if c.AuthMethod != method || !c.PKCEOptional || c.BackchannelLogoutURI == "" || len(c.PostLogoutRedirectURIs) != 1 || !strings.HasSuffix(c.RedirectURIs[0], "/test/a/idp/callback") {
			t.Errorf("client %s: %+v", id, c.ClientMetadata)
		}
	}
	s.request(t, a, "scope", "openid profile email address phone").signIn(s.w.browser(t)) // the person has every claim
	pages := suitePages(t, s)
	visits := config.Browser
	modules := strings.Fields("oidcc-server oidcc-backchannel-rp-initiated-logout")
	for _, m := range basicModules {
		modules = append(modules, m.name)
	}
	for _, m := range rpLogoutModules {
		modules = append(modules, m.name)
	}
	for module, o := range config.Override {
		if !strings.Contains(" "+strings.Join(modules, " ")+" ", " "+module+" ") {
			t.Errorf("there is no module %s", module)
		}
		visits = append(visits, o.Browser...)
	}
	for _, v := range visits {
		for _, task := range v.Tasks {
			path, ours := strings.CutPrefix(task.Match, "https://id.example.com")
			for _, command := range task.Commands {
				kind, by, target := command[0], command[1].(string), command[2].(string)
				found := !ours || by == "match" // on the suite's own pages, or only waiting to be there
				for at, text := range pages {
					if !strings.HasPrefix(at, strings.TrimSuffix(path, "*")) || found {
						continue
					}
					switch {
					case by == "id":
						found = strings.Contains(text, `id="`+target+`"`)
					case kind == "wait":
						found = regexp.MustCompile(command[4].(string)).MatchString(html.UnescapeString(text))
					}
				}
				if !found {
					t.Errorf("%s, %s: no page has what %v looks for", v.Match, task.Task, command)
				}
			}
		}
	}
}

// suitePages are the pages that the suite's browser meets, by their paths.
func suitePages(t *testing.T, s *oidf) map[string]string {
	t.Helper()
	a, b, pages := s.client(t), s.w.browser(t), map[string]string{}
	keep := func(p *page) *page { pages[p.url.Path] += p.body; return p }
	request := func(overrides ...string) *page { return keep(b.get(s.request(t, a, overrides...).url())) }
	keep(request().submit(map[string]string{"username": s.who.Username, "password": s.who.Password})).submit(map[string]string{"decision": "allow"})
	request("prompt", "login")
	request("redirect_uri", "https://suite.test/other")
	keep(keep(b.get("/logout?" + url.Values{"state": {"x"}}.Encode())).submit(nil))
	return pages
}
