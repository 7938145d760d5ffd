package idp

import (
	"strings"
	"testing"
	"time"
)

// good is a configuration without a fault.
func good() Config {
	return Config{
		Connection: Connection{Issuer: "https://id.example.com", DatabaseURL: "postgres://db/idp", MasterKeyFile: "master.key"},
		Listen:     ":8080", OpsListen: "127.0.0.1:8081", Brand: "Example ID", MaxConns: 8,
		SessionIdle: time.Hour, SessionMax: 2 * time.Hour, RememberIdle: time.Hour, RememberMax: 2 * time.Hour,
		LogFormat: "json", LogLevel: "info",
	}
}

func TestAnIssuerHasOneSpelling(t *testing.T) {
	t.Parallel()
	for issuer, want := range map[string]string{ // part of the sentence; "" is fine
		"https://id.example.com":             "",
		"https://id.example.com:8443":        "",
		"https://id.example.com/tenant/a":    "",
		"http://localhost:8080":              "",
		"http://127.0.0.1:8080":              "",
		"http://[::1]:8080":                  "",
		"":                                   "IDP_ISSUER",
		"id.example.com":                     "https://id.example.com",
		"https://":                           "not a URL",
		"https:id.example.com":               "not a URL",
		"http://id.example.com":              "not https",
		"http://localhost.example.com":       "not https",
		"ftp://id.example.com":               "not https",
		"https://id.example.com/":            "slash",
		"https://id.example.com/a/":          "slash",
		"https://id.example.com?":            "query",
		"https://id.example.com?a=b":         "query",
		"https://id.example.com#":            "fragment",
		"https://id.example.com#a":           "fragment",
		"https://id.example.com:443":         "default port",
		"https://id.example.com:":            "default port",
		"http://localhost:80":                "default port",
		"https://ID.example.com":             "lower case",
		"HTTPS://id.example.com":             "lower case",
		"https://ada@id.example.com":         "user name",
		"https://id.example.com//a":          "path",
		"https://id.example.com/../a":        "path",
		"https://id.example.com/%61":         "path",
		"https://id.example.com/a b":         "path",
		"https://id.example.com/.well-known": "path",
	} {
		_, err := parseIssuer(issuer)
		switch {
		case want == "" && err != nil:
			t.Errorf("parseIssuer(%q) = %v, want no error", issuer, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("parseIssuer(%q) = %v, want a sentence with %q", issuer, err, want)
		}
	}
}

func TestEveryFaultOfTheConfigurationIsToldWithItsMend(t *testing.T) {
	t.Parallel()
	c := good()
	if err := c.Check(); err != nil {
		t.Fatalf("a good configuration: %v", err)
	}
	for want, spoil := range map[string]func(*Config){
		"Set IDP_ISSUER":                func(c *Config) { c.Issuer = "" },
		"Set IDP_DATABASE_URL":          func(c *Config) { c.DatabaseURL = "" },
		"openssl rand -base64 32":       func(c *Config) { c.MasterKeyFile = "" },
		"Keep one of them":              func(c *Config) { c.MasterKey = "x" },
		"Write it like :8080":           func(c *Config) { c.Listen = "8080" },
		"--ops-listen":                  func(c *Config) { c.OpsListen = "localhost" },
		"Set both":                      func(c *Config) { c.TLSCert = "cert.pem" },
		"Write it like 10.0.0.0/8":      func(c *Config) { c.TrustedProxies = []string{"10.0.0.0/8", "proxy"} },
		"wiki.intranet:8443":            func(c *Config) { c.OutboundAllow = []string{"wiki.intranet", "https://wiki"} },
		"Use 1 to 64":                   func(c *Config) { c.Brand = "" },
		"mailto:security@example.com":   func(c *Config) { c.SecurityContact = "security@example.com" },
		"no address to report to":       func(c *Config) { c.SecurityContact = "mailto:a@example.com\nExpires: x" },
		"is longer than --session-max":  func(c *Config) { c.SessionIdle = 3 * time.Hour },
		"is longer than --remember-max": func(c *Config) { c.RememberIdle = 3 * time.Hour },
		"9600h":                         func(c *Config) { c.RememberMax = 500 * 24 * time.Hour },
		"at least 1m":                   func(c *Config) { c.SessionIdle = 0 },
		"--max-conns":                   func(c *Config) { c.MaxConns = 0 },
		"--shutdown-delay":              func(c *Config) { c.ShutdownDelay = time.Hour },
		"Use text or json":              func(c *Config) { c.LogFormat = "xml" },
		"registration mode":             func(c *Config) { c.Registration = "closed" },
		"sign-up mode":                  func(c *Config) { c.SignUp = "invited" },
		"Use debug, info":               func(c *Config) { c.LogLevel = "loud" },
	} {
		c := good()
		spoil(&c)
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Check() = %v, want a sentence with %q", err, want)
		}
	}
}

func TestAllFaultsAreToldAtOnce(t *testing.T) {
	t.Parallel()
	c := good()
	c.Issuer, c.MaxConns, c.LogFormat = "", 0, ""
	if got := strings.Count(c.Check().Error(), "\n"); got != 2 {
		t.Errorf("Check() has %d lines, want 3:\n%v", got+1, c.Check())
	}
}

func TestAPrivateDatabaseNeedsNoMasterKeyConfigured(t *testing.T) {
	t.Parallel()
	c := good()
	c.DatabaseURL, c.MasterKeyFile, c.DataDir = "", "", "data"
	if err := c.Check(); err != nil {
		t.Errorf("Check() = %v, want no error", err)
	}
}
