package idp

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmittmann/tint"

	"idp/account"
	"idp/login"
	"idp/oauth"
	"idp/outbound"
	"idp/storage"
	"idp/storage/embedded"
	"idp/web"
)

// Options are what a server is given by the program around it, beside its configuration.
type Options struct {
	Log       *slog.Logger
	Now       func() time.Time // the clock of all decisions; nil is time.Now
	Dev       bool             // pages say that this is for development
	Listeners []net.Listener   // serve here instead of Config.Listen
}

// Server is one provider: everything between a listener and a database.
type Server struct {
	config Config
	log    *slog.Logger
	now    func() time.Time
	listen []net.Listener

	postgres *embedded.Postgres // nil when the database is somebody else's
	db       *storage.DB
	site     *web.Site
	login    *login.Login
	oauth    *oauth.OAuth
	account  *account.Account

	prepared atomic.Bool // schema and keys are there
	draining atomic.Bool // asked to stop
}

var (
	errStarting = errors.New("not prepared yet")
	errDraining = errors.New("stopping")
)

// New puts a server together. It does not wait for the database, unless it is a private one, which
// it starts. Whoever calls New calls Run or Close.
func New(ctx context.Context, c Config, o Options) (*Server, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	issuer, err := parseIssuer(c.Issuer)
	if err != nil {
		return nil, err
	}
	proxies, err := c.trustedProxies()
	if err != nil {
		return nil, err
	}
	s := &Server{config: c, log: o.Log, now: o.Now, listen: o.Listeners}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if c.DatabaseURL == "" {
		if err := s.startPostgres(ctx); err != nil {
			return nil, err
		}
	}
	if err := s.build(ctx, o.Dev, web.Config{
		Issuer: issuer, Log: s.log, TrustedProxies: proxies, Unavailable: storage.Unavailable,
	}); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// build makes the parts in the order in which they need one another.
func (s *Server) build(ctx context.Context, dev bool, site web.Config) error {
	c := s.config
	sealer, err := c.Sealer()
	if err != nil {
		return err
	}
	s.db, err = storage.Open(ctx, storage.Config{URL: c.DatabaseURL, MaxConns: c.MaxConns, Sealer: sealer, Now: s.now})
	if err != nil {
		return configErrorf("The database URL does not work: %v. Write it like postgres://idp@db.example.com/idp.", err)
	}
	pages, err := templates()
	if err != nil {
		return err
	}
	site.Pages, err = web.NewPages(web.PagesConfig{Files: pages, Brand: c.Brand, Base: site.Issuer.Path, Dev: dev, Log: s.log})
	if err != nil {
		return err
	}
	s.site = web.New(site)
	s.login = login.New(login.Config{
		DB: s.db, Site: s.site, Log: s.log, Now: s.now,
		Idle: c.SessionIdle, Absolute: c.SessionMax, RememberIdle: c.RememberIdle, RememberAbsolute: c.RememberMax,
		SignUpOpen: c.SignUp == signUpOpen, Brand: c.Brand,
	})
	allow, err := c.outboundAllow()
	if err != nil {
		return err
	}
	metadata, err := Metadata()
	if err != nil {
		return err
	}
	s.oauth, err = oauth.New(oauth.Config{
		DB: s.db, Site: s.site, Login: s.login, Log: s.log, Now: s.now, Issuer: c.Issuer, Brand: c.Brand, Metadata: metadata, Outbound: outbound.New(allow), Registration: c.Registration,
	})
	if err != nil {
		return err
	}
	s.account = account.New(account.Config{DB: s.db, Site: s.site, Login: s.login, Now: s.now, Brand: c.Brand})
	return nil
}

// startPostgres runs a private PostgreSQL for this machine alone. Its master key lies beside it,
// unless one is configured.
func (s *Server) startPostgres(ctx context.Context) error {
	if isDevFolder(s.config.DataDir) {
		return configErrorf("The folder %s belongs to idp dev: its accounts have passwords that everybody may know. Choose another folder with --data-dir (IDP_DATA_DIR).", s.config.DataDir)
	}
	var err error
	s.postgres, err = embedded.Start(ctx, embedded.Options{DataDir: s.config.DataDir, Log: progress{s.log}, Download: true})
	if err != nil {
		return err
	}
	s.config.DatabaseURL = s.postgres.URL("idp")
	if s.config.MasterKey == "" && s.config.MasterKeyFile == "" {
		s.config.MasterKeyFile = filepath.Join(s.config.DataDir, "master.key")
		if _, err := storage.LoadMasterKeyFile(s.config.MasterKeyFile, true); err != nil {
			return errors.Join(err, s.Close())
		}
	}
	return writeConnection(s.config.DataDir, s.config.Connection)
}

// progress turns the lines of the embedded PostgreSQL into log lines.
type progress struct{ log *slog.Logger }

func (p progress) Write(b []byte) (int, error) {
	p.log.Info(string(b[:max(0, len(b)-1)]))
	return len(b), nil
}

// DB is the server's database.
func (s *Server) DB() *storage.DB { return s.db }

// Prepare makes one try to bring the database into the state that serving needs: the schema and
// the keys. Requests are answered with 503 until it succeeded once.
func (s *Server) Prepare(ctx context.Context) error {
	ready, err := s.db.SchemaReady(ctx)
	if err != nil {
		return err
	}
	if !ready && !s.config.Migrate {
		return errors.New("the schema is older than this program: run idp migrate")
	}
	if !ready {
		done, err := storage.Migrate(ctx, s.config.DatabaseURL)
		if err != nil {
			return err
		}
		s.log.Info("migrated", "migrations", len(done))
	}
	if err := s.oauth.EnsureKeys(ctx); err != nil {
		return err
	}
	s.prepared.Store(true)
	return nil
}

// prepareUntilDone tries until it works or ctx ends, and complains every 5 s.
func (s *Server) prepareUntilDone(ctx context.Context) {
	const between, complain = 250 * time.Millisecond, 5 * time.Second
	var last time.Time
	for !s.prepared.Load() {
		err := s.Prepare(ctx)
		if err == nil {
			s.log.Info("ready", "issuer", s.config.Issuer)
			return
		}
		if ctx.Err() != nil {
			return
		}
		if time.Since(last) >= complain {
			last = time.Now()
			s.log.Warn("not ready yet, trying again", "error", err.Error())
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(between):
		}
	}
}

// Ready says why the server should get no requests; nil when it should.
func (s *Server) Ready(ctx context.Context) error {
	switch {
	case s.draining.Load():
		return errDraining
	case !s.prepared.Load():
		return errStarting
	}
	if err := s.oauth.Ready(); err != nil {
		return err
	}
	return s.db.Ping(ctx)
}

const (
	drain      = 25 * time.Second // how long running requests may take after the end of accepting
	headerSize = 32 << 10
)

// Run serves until ctx ends, then drains: /readyz turns 503, new connections are taken for
// ShutdownDelay more, running requests get 25 s to finish. It closes the server.
func (s *Server) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, s.Close()) }()
	listeners, tlsConfig, err := s.listeners()
	if err != nil {
		return err
	}
	public := s.httpServer(s.Handler())
	public.TLSConfig = tlsConfig
	ops := s.httpServer(s.opsHandler())
	ops.WriteTimeout = 2 * time.Minute // profiles take their time

	failed := make(chan error, len(listeners)+2)
	serve := func(server *http.Server, l net.Listener) {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("serve on %s: %w", l.Addr(), err)
		}
	}
	if s.config.OpsListen != "" {
		l, err := net.Listen("tcp", s.config.OpsListen)
		if err != nil {
			closeAll(listeners)
			return listenError("--ops-listen (IDP_OPS_LISTEN)", err)
		}
		go serve(ops, l)
	}
	for _, l := range listeners {
		if len(s.listen) == 0 { // else whoever opened it has told
			s.log.Info("listening", "address", l.Addr().String(), "tls", tlsConfig != nil)
		}
		go serve(public, l)
	}

	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var jobs sync.WaitGroup
	jobs.Go(func() {
		s.prepareUntilDone(ctx)
		if ctx.Err() == nil {
			s.runJobs(background)
		}
	})

	select {
	case <-ctx.Done():
		s.log.Info("stopping")
	case err = <-failed:
	case <-s.postgresEnded():
		err = errors.New("the private PostgreSQL has ended: see postgres.log in the data folder")
	}
	s.draining.Store(true)
	if err == nil {
		time.Sleep(s.config.ShutdownDelay)
	}
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if shut := public.Shutdown(patience); shut != nil {
		err = errors.Join(err, fmt.Errorf("wait for running requests: %w", shut), public.Close())
	}
	stop()
	jobs.Wait()
	last, cancelLast := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancelLast()
	if problem := s.oauth.NoteSecretUses(last); problem != nil {
		s.log.Warn("uses of secrets in the last minute are not noted", "error", problem.Error())
	}
	return errors.Join(err, ops.Close())
}

// postgresEnded is closed when the private PostgreSQL ends; it never is when there is none.
func (s *Server) postgresEnded() <-chan struct{} {
	if s.postgres == nil {
		return nil
	}
	return s.postgres.Done()
}

// Close ends the connections, and the private PostgreSQL.
func (s *Server) Close() error {
	if s.db != nil {
		s.db.Close()
	}
	if s.postgres != nil {
		return s.postgres.Stop()
	}
	return nil
}

func (s *Server) httpServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    headerSize,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 100},
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// listeners opens what the server serves on, with TLS where it is configured.
func (s *Server) listeners() ([]net.Listener, *tls.Config, error) {
	list := s.listen
	if len(list) == 0 {
		l, err := net.Listen("tcp", s.config.Listen)
		if err != nil {
			return nil, nil, listenError("--listen (IDP_LISTEN)", err)
		}
		list = []net.Listener{l}
	}
	if s.config.TLSCert == "" {
		return list, nil, nil
	}
	certificate, err := newCertificate(s.config.TLSCert, s.config.TLSKey)
	if err != nil {
		closeAll(list)
		return nil, nil, err
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS12,
		CipherSuites: []uint16{ // of TLS 1.2; those of 1.3 are all good
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: certificate.current,
	}
	for i, l := range list {
		list[i] = tls.NewListener(l, config)
	}
	return list, config, nil
}

func closeAll(list []net.Listener) {
	for _, l := range list {
		l.Close()
	}
}

func listenError(setting string, err error) error {
	return configErrorf("The address of %s cannot be used: %v. Stop what uses it, or choose another address.", setting, err)
}

// certificate is a key pair from files, read again after it was renewed there.
type certificate struct {
	cert, key string
	mu        sync.Mutex
	pair      *tls.Certificate
	looked    time.Time
	changed   time.Time
}

func newCertificate(cert, key string) (*certificate, error) {
	c := &certificate{cert: cert, key: key}
	if err := c.load(); err != nil {
		return nil, configErrorf("The certificate does not work: %v. Check --tls-cert (IDP_TLS_CERT) and --tls-key (IDP_TLS_KEY).", err)
	}
	return c, nil
}

func (c *certificate) load() error {
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return err
	}
	c.pair, c.looked, c.changed = &pair, time.Now(), c.modified()
	return nil
}

func (c *certificate) modified() time.Time {
	info, err := os.Stat(c.cert)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// current looks for a new file once a minute. A pair that does not load, because only one of its
// files was replaced yet, leaves the one before in use.
func (c *certificate) current(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) > time.Minute {
		c.looked = time.Now()
		if !c.modified().Equal(c.changed) {
			c.load()
		}
	}
	return c.pair, nil
}

// opsHandler is for operators and load balancers only; it has no place on a public address.
func (s *Server) opsHandler() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	ready := func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		if err := s.Ready(ctx); err != nil {
			http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		io.WriteString(w, "ok\n")
	}
	m.HandleFunc("GET /readyz", ready)
	m.HandleFunc("GET /healthz", ready)
	m.HandleFunc("/debug/pprof/", pprof.Index)
	m.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	m.HandleFunc("/debug/pprof/profile", pprof.Profile)
	m.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	m.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return m
}

// Logger writes to w as configured; colour is for terminals.
func (c *Config) Logger(w io.Writer, colour bool) *slog.Logger {
	level, err := c.level()
	if err != nil {
		level = slog.LevelInfo // Check tells
	}
	if cmp.Or(c.LogFormat, "json") == "json" {
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
	}
	return slog.New(tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: time.TimeOnly, NoColor: !colour}))
}
