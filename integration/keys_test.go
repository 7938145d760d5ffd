package integration

import (
	"context"
	"slices"
	"testing"
	"time"

	"idp/oauth"
	"idp/storage"
)

func (w *world) kids(t testing.TB) []string {
	t.Helper()
	var kids []string
	for _, k := range w.send(t, "GET", "/jwks", nil, "").ok().body["keys"].([]any) {
		kids = append(kids, k.(map[string]any)["kid"].(string))
	}
	return kids
}

func TestAKeyIsPublishedBeforeItSignsAndStaysUntilItsLastTokenIsDead(t *testing.T) { // conformance 17; A-067
	t.Parallel()
	w, maintain := startWithJobs(t)
	ctx := context.Background()
	a, ada, b := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.IDTokenAlg = "ES256" }), w.person(t, "ada"), w.browser(t)
	_, tokens := a.signIn(b, ada)
	kid := func(r reply) string { h, _ := claims(t, r.text("id_token")); return h["kid"].(string) }
	old := kid(tokens)
	rotate := func(emergency bool) oauth.Rotation {
		t.Helper()
		done, err := oauth.RotateKeys(ctx, w.db, oauth.RotateOptions{Alg: "ES256", Emergency: emergency, Now: w.now()})
		if err != nil || len(done) != 1 {
			t.Fatalf("RotateKeys = %v, %v", done, err)
		}
		return done[0]
	}
	r := rotate(false)
	if r.Done || r.Old != old || !slices.Contains(w.kids(t), r.New) {
		t.Fatalf("rotation %+v; want one that is scheduled, with the new key published", r)
	}
	maintain()
	tokens = a.refresh(tokens.refresh()).ok()
	if kid(tokens) != old {
		t.Error("the new key signs before it was published long enough")
	}
	w.clock.advance(49 * time.Hour)
	maintain()
	tokens = a.refresh(tokens.refresh()).ok()
	if kid(tokens) != r.New {
		t.Errorf("signed with %s, want the new key %s", kid(tokens), r.New)
	}
	if !slices.Contains(w.kids(t), old) {
		t.Error("the retired key is not published any more")
	}
	w.verifyIDToken(t, a, tokens)
	w.clock.advance(31 * 24 * time.Hour)
	maintain()
	if slices.Contains(w.kids(t), old) {
		t.Error("the retired key is still published after its last token is dead")
	}
	if r := rotate(true); !r.Done {
		t.Errorf("emergency rotation %+v, want it done", r)
	}
}

func TestANewTokenKeyLeavesOldTokensValid(t *testing.T) {
	t.Parallel()
	w, maintain := startWithJobs(t)
	a, ada := w.app(t, storage.ClientWeb), w.person(t, "ada")
	_, tokens := a.signIn(w.browser(t), ada)
	if _, err := oauth.RotateKeys(context.Background(), w.db, oauth.RotateOptions{Alg: "token", Now: w.now()}); err != nil {
		t.Fatal(err)
	}
	maintain()
	if !a.active(tokens.access()) {
		t.Error("an access token of the old key is not active")
	}
	first := a.refresh(tokens.refresh()).ok()
	if again := a.refresh(tokens.refresh()).ok(); again.refresh() != first.refresh() {
		t.Error("the grace window gave another successor after the key changed")
	}
	a.refresh(first.refresh()).ok()
}

// startWithJobs is start, and gives the job that maintains keys to run when the test wants it.
func startWithJobs(t testing.TB) (*world, func()) {
	t.Helper()
	w := start(t)
	return w, func() {
		t.Helper()
		if err := w.servers[0].RunJobs(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAReplicaThatDoesNotKnowANewTokenKeyRefusesNobody(t *testing.T) {
	t.Parallel()
	w := startReplicas(t, 2)
	a, ada := w.app(t, storage.ClientSPA), w.person(t, "ada")
	_, tokens := a.signIn(w.browser(t), ada)
	if _, err := oauth.RotateKeys(context.Background(), w.db, oauth.RotateOptions{Alg: "token", Now: w.now()}); err != nil {
		t.Fatal(err)
	}
	if err := w.servers[0].RunJobs(context.Background()); err != nil { // only this one knows it
		t.Fatal(err)
	}
	only := func(i int) { w.transport.CloseIdleConnections(); w.only.Store(int64(i + 1)) }
	only(0)
	tokens = a.refresh(tokens.refresh()).ok()
	only(1)
	replies := make([]reply, 8)
	together(8, func(i int) { replies[i] = a.refresh(tokens.refresh()) })
	for _, r := range replies {
		r.ok()
	}
}
