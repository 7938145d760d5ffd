package integration

import (
	"context"
	"net/url"
	"os"
	"testing"
	"time"

	"idp/storage"
)

// TestCostInStatements pins what an operation asks of PostgreSQL. The counts are exact on a noisy
// machine; a number that grows is a change of design, not a flake.
func TestCostInStatements(t *testing.T) {
	w := start(t)
	ctx := context.Background()
	if _, err := w.db.Pool().Exec(ctx, `create extension pg_stat_statements`); err != nil {
		if os.Getenv("CI") == "" {
			t.Skipf("NOTHING IS COUNTED: pg_stat_statements is not part of this PostgreSQL (%v). Install PostgreSQL with its contrib modules.", err)
		}
		t.Fatalf("pg_stat_statements is needed to count: %v", err)
	}
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	f, tokens := a.signIn(b, ada)
	a.active(tokens.access())
	w.send(t, "GET", "/userinfo", bearerHeader(tokens.access()), "").ok()
	tokens = a.refresh(tokens.refresh()).ok()

	count := func(op func()) (statements, writing int) {
		t.Helper()
		if _, err := w.db.Pool().Exec(ctx, `select pg_stat_statements_reset()`); err != nil {
			t.Fatal(err)
		}
		op()
		err := w.db.Pool().QueryRow(ctx, `
			select coalesce(sum(calls), 0), coalesce(sum(calls) filter (where query ~* '^\s*(with|insert|update|delete)'), 0)
			from pg_stat_statements s join pg_database d on d.oid = s.dbid
			where d.datname = current_database() and query !~ 'pg_stat_statements'`).Scan(&statements, &writing)
		if err != nil {
			t.Fatal(err)
		}
		return statements, writing
	}
	api := w.withAPIs(t)
	one := w.pairwiseOn(t, "one.test", func(c *storage.Client) { c.SkipConsent = true })
	w.clock.advance(2 * time.Minute) // sessions that were not seen for a minute are touched
	tokens = a.refresh(tokens.refresh()).ok()
	api.signIn(b, ada, "scope", "openid notes:read offline_access", "resource", notes)
	w.browser(t).get(one.begin().url()).at("/login") // somebody else's; the client is known from then on
	shared, bob := w.browser(t), w.person(t, "bob")
	a.signIn(shared, bob)
	a.signIn(shared, ada, "prompt", "select_account") // puts bob aside
	var code, pushed string
	for _, tc := range []struct {
		name                string
		statements, commits int
		op                  func()
	}{
		{"authorize, signed in and consented", 2, 1, func() { f = a.begin(); code = b.get(f.url()).answer().Get("code") }},
		{"push", 1, 1, func() { pushed = a.begin().push() }},
		{"authorize, pushed", 3, 1, func() { b.get(pushed).answer() }},
		{"code exchange", 2, 1, func() { tokens = f.exchange(code).ok() }},
		{"refresh", 2, 1, func() { tokens = a.refresh(tokens.refresh()).ok() }},
		{"introspection", 1, 0, func() { a.active(tokens.access()) }},
		{"userinfo", 1, 0, func() { w.send(t, "GET", "/userinfo", bearerHeader(tokens.access()), "").ok() }},
		{"revocation", 2, 1, func() { a.call("/revoke", url.Values{"token": {tokens.access()}}).ok() }},
		{"authorize for a resource", 2, 1, func() {
			f = api.begin("scope", "openid notes:read", "resource", notes)
			code = b.get(f.url()).answer().Get("code")
		}},
		{"code exchange for a resource", 2, 1, func() { f.exchange(code, "resource", notes).ok() }},
		{"authorize, a sector meets a person", 3, 2, func() { b.get(one.begin().url()).answer() }},
		{"authorize, pairwise from then on", 2, 1, func() { b.get(one.begin().url()).answer() }},
		{"authorize, with others aside", 2, 1, func() { shared.get(a.begin().url()).answer() }},
		{"authorize, for one of them", 3, 1, func() { shared.get(a.begin("login_hint", bob.Email).url()).answer() }},
		{"discovery and keys", 0, 0, func() {
			w.send(t, "GET", "/.well-known/openid-configuration", nil, "").ok()
			w.send(t, "GET", "/jwks", nil, "").ok()
		}},
	} {
		statements, commits := count(tc.op)
		t.Logf("%-36s %d statements, %d writing commits", tc.name, statements, commits)
		if statements > tc.statements || commits > tc.commits {
			t.Errorf("%s: %d statements, %d writing commits; want at most %d, %d", tc.name, statements, commits, tc.statements, tc.commits)
		}
	}
}
