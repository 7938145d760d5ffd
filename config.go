package idp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"idp/oauth"
	"idp/outbound"
	"idp/storage"
)

// Connection is what every command needs to reach one provider's data.
type Connection struct {
	Issuer        string `name:"issuer" env:"IDP_ISSUER" placeholder:"URL" help:"Public base URL of the provider, as browsers and clients reach it; it never changes afterwards."`
	DatabaseURL   string `name:"database-url" env:"IDP_DATABASE_URL,DATABASE_URL" placeholder:"URL" help:"PostgreSQL to use; several hosts with target_session_attrs=read-write are possible."`
	MasterKeyFile string `name:"master-key-file" env:"IDP_MASTER_KEY_FILE" placeholder:"FILE" help:"File with the master keys, one base64 key of 32 bytes a line, the newest first."`
	MasterKey     string `kong:"-" env:"IDP_MASTER_KEY" help:"The master key itself, where a file is not possible."`
}

// Config is all configuration of a server. The tags are the command line's: each field is a flag,
// an environment variable and a line of the table in README.md.
type Config struct {
	Connection

	Listen         string   `name:"listen" env:"IDP_LISTEN" default:":8080" placeholder:"ADDR" help:"Address to serve on."`
	OpsListen      string   `name:"ops-listen" env:"IDP_OPS_LISTEN" default:"127.0.0.1:8081" placeholder:"ADDR" help:"Address for /livez, /readyz and /debug/pprof, never to be public; empty turns it off."`
	TLSCert        string   `name:"tls-cert" env:"IDP_TLS_CERT" placeholder:"FILE" help:"Certificate chain in PEM; without it, serve plain HTTP behind a proxy that speaks TLS."`
	TLSKey         string   `name:"tls-key" env:"IDP_TLS_KEY" placeholder:"FILE" help:"Private key of the certificate in PEM."`
	TrustedProxies []string `name:"trusted-proxies" env:"IDP_TRUSTED_PROXIES" placeholder:"CIDR" help:"Networks of the proxies whose X-Forwarded-For is believed."`
	OutboundAllow  []string `name:"outbound-allow" env:"IDP_OUTBOUND_ALLOW" placeholder:"HOST" help:"What clients may have us call although it is not a public https address: hosts, hosts with ports, or networks of an intranet."`

	Brand           string `name:"brand" env:"IDP_BRAND" default:"idp" placeholder:"NAME" help:"Name of the service on its pages."`
	SecurityContact string `name:"security-contact" env:"IDP_SECURITY_CONTACT" placeholder:"URI" help:"Where to report security problems (mailto: or https:), published in /.well-known/security.txt."`

	DataDir  string `name:"data-dir" env:"IDP_DATA_DIR" placeholder:"DIR" help:"Without a database URL: folder in which a private PostgreSQL keeps its data."`
	MaxConns int32  `name:"max-conns" env:"IDP_MAX_CONNS" default:"8" placeholder:"N" help:"Database connections of this process at most."`

	SessionIdle  time.Duration `name:"session-idle" env:"IDP_SESSION_IDLE" default:"8h" help:"A sign-in ends after this time without use."`
	SessionMax   time.Duration `name:"session-max" env:"IDP_SESSION_MAX" default:"24h" help:"A sign-in ends after this time in any case."`
	RememberIdle time.Duration `name:"remember-idle" env:"IDP_REMEMBER_IDLE" default:"336h" help:"The same without use, for people who chose to stay signed in."`
	RememberMax  time.Duration `name:"remember-max" env:"IDP_REMEMBER_MAX" default:"720h" help:"The same in any case, for people who chose to stay signed in."`

	SignUp string `name:"signup" env:"IDP_SIGNUP" default:"off" placeholder:"MODE" help:"Who makes accounts: off leaves it to operators, open lets everybody make one for themselves."`

	Registration string `name:"registration" env:"IDP_REGISTRATION" default:"off" placeholder:"MODE" help:"Who may register clients by the registration endpoint (RFC 7591): off leaves it to operators, token is for holders of an initial access token, open is for everybody."`

	ShutdownDelay time.Duration `name:"shutdown-delay" env:"IDP_SHUTDOWN_DELAY" default:"5s" help:"Time between /readyz turning 503 and the end of accepting, so that load balancers notice."`
	Migrate       bool          `name:"migrate" env:"IDP_MIGRATE" default:"true" negatable:"" help:"Bring the schema up to date at start; with --no-migrate, wait until idp migrate has done it."`
	LogFormat     string        `name:"log-format" env:"IDP_LOG_FORMAT" default:"json" help:"Format of the log: text or json."`
	LogLevel      string        `name:"log-level" env:"IDP_LOG_LEVEL" default:"info" help:"Least level that is logged: debug, info, warn or error."`
}

// Who makes accounts.
const (
	signUpOff  = "off"  // operators
	signUpOpen = "open" // everybody, for themselves
)

// ConfigError says what is wrong with the configuration and how to mend it.
type ConfigError string

func (e ConfigError) Error() string { return string(e) }

func configErrorf(format string, args ...any) error { return ConfigError(fmt.Sprintf(format, args...)) }

// Check returns every problem of a server's configuration, each as a ConfigError.
func (c *Config) Check() error {
	_, issuer := parseIssuer(c.Issuer)
	_, proxies := c.trustedProxies()
	_, allow := c.outboundAllow()
	return errors.Join(
		issuer,
		c.Connection.checkMasterKey(),
		c.checkDatabase(),
		checkAddress("--listen (IDP_LISTEN)", c.Listen),
		checkAddress("--ops-listen (IDP_OPS_LISTEN)", cmp.Or(c.OpsListen, ":0")),
		c.checkTLS(),
		proxies,
		allow,
		c.checkBrand(),
		checkContact(c.SecurityContact),
		checkLives("--session-idle", c.SessionIdle, "--session-max", c.SessionMax),
		checkLives("--remember-idle", c.RememberIdle, "--remember-max", c.RememberMax),
		c.checkRest(),
	)
}

// parseIssuer checks the issuer identifier (OpenID Connect Discovery, 3). Clients compare it letter
// by letter, so it has one spelling only.
func parseIssuer(s string) (*url.URL, error) {
	if s == "" {
		return nil, configErrorf("No issuer is set. Set IDP_ISSUER to the address people will use, such as https://id.example.com.")
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "" {
		return nil, configErrorf("The issuer %q is not a URL. Write it like https://id.example.com.", s)
	}
	mend := func(problem, mend string) (*url.URL, error) {
		return nil, configErrorf("The issuer %q %s. %s", s, problem, mend)
	}
	port := u.Port()
	switch {
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return mend("is not https", "Use https; plain http is possible on localhost only.")
	case u.Scheme != "https" && u.Scheme != "http":
		return mend("is not https", "Write it like https://id.example.com.")
	case u.User != nil:
		return mend("carries a user name", "Leave out everything before the @.")
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#"):
		return mend("has a query or a fragment", "Leave out everything from the ? or # on.")
	case strings.HasSuffix(s, "/"):
		return mend("ends with a slash", "Leave the slash out.")
	case port == "443" && u.Scheme == "https", port == "80" && u.Scheme == "http", strings.HasSuffix(u.Host, ":"):
		return mend("names the default port", "Leave the port out.")
	case u.Scheme+"://"+u.Host != strings.ToLower(u.Scheme+"://"+u.Host), !strings.HasPrefix(s, u.Scheme+"://"):
		return mend("has upper-case letters in its host", "Write scheme and host in lower case.")
	case u.Path != "" && !plainPath(u):
		return mend("has a path that can be written in several ways", "Use a path of letters, digits and -._~ such as /id.")
	}
	return u, nil
}

func plainPath(u *url.URL) bool {
	for part := range strings.SplitSeq(strings.TrimPrefix(u.EscapedPath(), "/"), "/") {
		plain := strings.IndexFunc(part, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._~", r))
		}) < 0
		if part == "" || part == "." || part == ".." || part == ".well-known" || !plain {
			return false
		}
	}
	return true
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

func (c *Connection) checkMasterKey() error {
	if c.MasterKey != "" && c.MasterKeyFile != "" {
		return configErrorf("Both IDP_MASTER_KEY and IDP_MASTER_KEY_FILE are set. Keep one of them.")
	}
	return nil
}

func (c *Config) checkDatabase() error {
	if c.DatabaseURL == "" && c.DataDir == "" {
		return configErrorf("No database is set. Set IDP_DATABASE_URL to a PostgreSQL, such as postgres://idp@db.example.com/idp, or IDP_DATA_DIR to a folder for a private one. To try things out, run: idp dev")
	}
	if c.DatabaseURL != "" && c.MasterKey == "" && c.MasterKeyFile == "" {
		return configErrorf("No master key is set. Make one with: openssl rand -base64 32 > master.key, keep a copy apart from the database, and set IDP_MASTER_KEY_FILE=master.key.")
	}
	return nil
}

func checkAddress(name, address string) error {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return configErrorf("The address of %s, %q, has no port. Write it like :8080 or 127.0.0.1:8080.", name, address)
	}
	return nil
}

func (c *Config) checkTLS() error {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return configErrorf("Only one of --tls-cert (IDP_TLS_CERT) and --tls-key (IDP_TLS_KEY) is set. Set both, or none to serve behind a proxy that speaks TLS.")
	}
	return nil
}

// trustedProxies gives the networks; a single address stands for itself.
func (c *Config) trustedProxies() ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, s := range c.TrustedProxies {
		p, err := netip.ParsePrefix(s)
		if addr, aerr := netip.ParseAddr(s); aerr == nil {
			p, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			return nil, configErrorf("The trusted proxy %q is no network. Write it like 10.0.0.0/8 or fd00::1.", s)
		}
		list = append(list, p.Masked())
	}
	return list, nil
}

// outboundAllow gives what clients may have us call beside public addresses.
func (c *Config) outboundAllow() (outbound.Allow, error) {
	allow, err := outbound.ParseAllow(c.OutboundAllow)
	if err != nil {
		return allow, configErrorf("--outbound-allow (IDP_OUTBOUND_ALLOW) does not work: %v. Write it like wiki.intranet, wiki.intranet:8443 or 10.0.0.0/8.", err)
	}
	return allow, nil
}

// Fetch gets JSON documents from addresses that clients name, by the rules of the server's own calls.
// Allow is what IDP_OUTBOUND_ALLOW names.
func Fetch(allow []string) (func(ctx context.Context, address string) ([]byte, error), error) {
	c := Config{OutboundAllow: allow}
	may, err := c.outboundAllow()
	if err != nil {
		return nil, err
	}
	return outbound.New(may).JSON, nil
}

func (c *Config) checkBrand() error {
	if n := utf8.RuneCountInString(c.Brand); n < 1 || n > 64 || !utf8.ValidString(c.Brand) {
		return configErrorf("The brand has %d characters. Use 1 to 64.", n)
	}
	return nil
}

func checkContact(contact string) error {
	u, err := url.Parse(contact)
	if contact == "" || err == nil && (u.Scheme == "mailto" && u.Opaque != "" || u.Scheme == "https" && u.Host != "" || u.Scheme == "tel" && u.Opaque != "") && !strings.ContainsAny(contact, "\r\n ") {
		return nil
	}
	return configErrorf("The security contact %q is no address to report to. Write it like mailto:security@example.com or https://example.com/security.", contact)
}

func checkLives(idleName string, idle time.Duration, maxName string, most time.Duration) error {
	switch {
	case idle < time.Minute || most < time.Minute:
		return configErrorf("%s and %s must be at least 1m.", idleName, maxName)
	case idle > most:
		return configErrorf("%s (%s) is longer than %s (%s). Shorten the first or lengthen the second.", idleName, idle, maxName, most)
	case most > 400*24*time.Hour:
		return configErrorf("%s is longer than 9600h (400 days), the longest that browsers keep a cookie.", maxName)
	}
	return nil
}

func (c *Config) checkRest() error {
	var problems []error
	if c.MaxConns < 1 || c.MaxConns > 1000 {
		problems = append(problems, configErrorf("--max-conns is %d. Use 1 to 1000; 4 to 8 a processor is right for most.", c.MaxConns))
	}
	if c.ShutdownDelay < 0 || c.ShutdownDelay > time.Minute {
		problems = append(problems, configErrorf("--shutdown-delay is %s. Use 0s to 1m.", c.ShutdownDelay))
	}
	if !slices.Contains([]string{"text", "json"}, c.LogFormat) {
		problems = append(problems, configErrorf("The log format %q is not known. Use text or json.", c.LogFormat))
	}
	if _, err := c.level(); err != nil {
		problems = append(problems, err)
	}
	if !slices.Contains([]string{"", signUpOff, signUpOpen}, c.SignUp) {
		problems = append(problems, configErrorf("The sign-up mode %q is not known. Use off or open.", c.SignUp))
	}
	if !slices.Contains([]string{"", oauth.RegistrationOff, oauth.RegistrationToken, oauth.RegistrationOpen}, c.Registration) {
		problems = append(problems, configErrorf("The registration mode %q is not known. Use off, token or open.", c.Registration))
	}
	return errors.Join(problems...)
}

func (c *Config) level() (slog.Level, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return l, configErrorf("The log level %q is not known. Use debug, info, warn or error.", c.LogLevel)
	}
	return l, nil
}

// Sealer reads the master keys. Without any set, it gives nil and no error.
func (c *Connection) Sealer() (*storage.Sealer, error) {
	switch {
	case c.MasterKey != "":
		s, err := storage.ReadMasterKeys(c.MasterKey)
		if err != nil {
			return nil, configErrorf("IDP_MASTER_KEY does not work: %v.", err)
		}
		return s, nil
	case c.MasterKeyFile != "":
		s, err := storage.LoadMasterKeyFile(c.MasterKeyFile, false)
		if err != nil {
			return nil, configErrorf("The master key of IDP_MASTER_KEY_FILE does not work: %v. Make one with: openssl rand -base64 32 > %s", err, filepath.Clean(c.MasterKeyFile))
		}
		return s, nil
	}
	return nil, nil
}

// ConfigTable describes every setting, as the Markdown table of README.md.
func ConfigTable() string {
	var b strings.Builder
	b.WriteString("| Setting | Flag | Default | Meaning |\n|---|---|---|---|\n")
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		env, _, _ := strings.Cut(f.Tag.Get("env"), ",")
		if env == "" {
			continue
		}
		flag := "-"
		if name := f.Tag.Get("name"); name != "" {
			flag = "`--" + name + "`"
		}
		fallback := "-"
		if d := f.Tag.Get("default"); d != "" {
			fallback = "`" + d + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", env, flag, fallback, f.Tag.Get("help"))
	}
	return b.String()
}
