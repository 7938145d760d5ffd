package integration

import (
	"context"
	"net/url"
	"slices"
	"syscall"
	"testing"
	"time"

	"idp/storage"
)

// used tells when each secret of an app was last used, in the order they are kept.
func (w *world) used(t testing.TB, a *app) []*time.Time {
	t.Helper()
	c, err := w.db.Client(context.Background(), a.ID)
	if err != nil {
		t.Fatal(err)
	}
	found := []storage.Client{*c}
	if err := w.db.FindSecretUses(context.Background(), found); err != nil {
		t.Fatal(err)
	}
	var list []*time.Time
	for _, s := range found[0].Secrets {
		list = append(list, s.LastUsedAt)
	}
	return list
}

func (w *world) runJobs(t testing.TB) {
	t.Helper()
	for _, s := range w.servers {
		if err := s.RunJobs(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnOperatorSeesWhichSecretIsStillUsed(t *testing.T) {
	t.Parallel()
	w := startReplicas(t, 2)
	a := w.app(t, storage.ClientMachine)
	token := func() reply { return a.token(url.Values{"grant_type": {"client_credentials"}}) }
	first, second := a.secret, storage.NewSecret("idp_cs_")
	w.updateClient(t, a, func(c *storage.Client) {
		c.Secrets = append(slices.Clone(c.Secrets), storage.ClientSecret{Hash: storage.HashSecret(second), CreatedAt: w.now()})
	})
	near := func(at *time.Time, want time.Time) bool {
		return at != nil && at.Sub(want).Abs() < time.Minute
	}

	a.secret = "wrong"
	token().fails(401, "invalid_client")
	w.runJobs(t)
	if at := w.used(t, a); at[0] != nil || at[1] != nil {
		t.Errorf("after a wrong secret: %v", at)
	}
	begun := w.now()
	a.secret = first
	for range 4 { // both replicas
		token().ok()
	}
	if at := w.used(t, a); at[0] != nil {
		t.Error("a request has noted the use itself")
	}
	w.runJobs(t)
	if at := w.used(t, a); !near(at[0], begun) || at[1] != nil {
		t.Errorf("the first is used: %v", at)
	}

	w.clock.advance(30 * time.Minute)
	a.secret = second
	token().ok()
	a.secret = first
	token().ok()
	w.runJobs(t)
	if at := w.used(t, a); !near(at[0], begun) || !near(at[1], begun.Add(30*time.Minute)) {
		t.Errorf("within the hour: %v, want the use before, and that of the second", at)
	}
	w.clock.advance(31 * time.Minute)
	for range 2 {
		token().ok()
	}
	w.runJobs(t)
	if at := w.used(t, a); !near(at[0], begun.Add(61*time.Minute)) {
		t.Errorf("after the hour: %v", at)
	}
}

func TestUsesOfSecretsSurviveTheEndOfAServer(t *testing.T) {
	t.Parallel()
	w := &world{clock: &clock{}}
	address := freeAddress(t)
	w.replicas, w.issuer = []string{address}, "http://"+address
	w.open(t)
	cmd := w.startProcess(t, address)
	w.dialReplicas(t)
	a := w.app(t, storage.ClientMachine)
	a.token(url.Values{"grant_type": {"client_credentials"}}).ok()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if at := w.used(t, a); at[0] == nil {
		t.Error("the use was not noted")
	}
}
