package admin

import (
	"strings"
	"testing"
	"time"

	"idp/storage"
)

func TestAnOldSecretCountsForTheOverlapBesideTheNewOne(t *testing.T) {
	t.Parallel()
	a := testAdmin(t)
	now := time.Now().UTC().Truncate(time.Microsecond)
	a.Now = func() time.Time { return now }
	c, first, err := a.CreateClient(t.Context(), ClientInput{Preset: "machine", Name: "Job"})
	if err != nil {
		t.Fatal(err)
	}
	rotate := func(overlap time.Duration) string {
		t.Helper()
		_, secret, err := a.RotateSecret(t.Context(), c.ID, overlap, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		return secret
	}
	want := func(what, secret string, at time.Time, want bool) {
		t.Helper()
		stored, err := a.Client(t.Context(), c.ID)
		if err != nil {
			t.Fatal(err)
		}
		if got := stored.SecretIs(secret, at); got != want {
			t.Errorf("%s counts: %v, want %v", what, got, want)
		}
	}
	second := rotate(DefaultSecretOverlap)
	want("the new secret", second, now, true)
	want("the old secret in the overlap", first, now.Add(DefaultSecretOverlap-time.Second), true)
	want("the old secret after the overlap", first, now.Add(DefaultSecretOverlap), false)
	want("the new secret after the overlap", second, now.Add(365*24*time.Hour), true)

	if _, _, err := a.RotateSecret(t.Context(), c.ID, time.Hour, nil, nil); status(err) != 409 || !strings.Contains(err.Error(), "--overlap 0s") {
		t.Errorf("a third live secret: %v, want 409", err)
	}
	now = now.Add(DefaultSecretOverlap)
	third := rotate(time.Hour)
	if stored, _ := a.Client(t.Context(), c.ID); len(stored.Secrets) != 2 {
		t.Errorf("%d secrets are kept, want 2", len(stored.Secrets))
	}
	fourth := rotate(0)
	for what, secret := range map[string]string{"the first secret": first, "the second secret": second, "the third secret": third} {
		want(what, secret, now, false)
	}
	want("the secret of a rotation without overlap", fourth, now, true)

	events, err := a.DB.Events(t.Context(), "", 1)
	if err != nil || events[0].Kind != "client.secret_rotated" || events[0].ClientID != c.ID {
		t.Errorf("events = %+v, %v", events, err)
	}
}

func TestRotationsThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	a := testAdmin(t)
	job, secret, err := a.CreateClient(t.Context(), ClientInput{Preset: "machine", Name: "Job"})
	if err != nil {
		t.Fatal(err)
	}
	app, _, err := a.CreateClient(t.Context(), ClientInput{Preset: "native", Name: "App"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		id      string
		overlap time.Duration
		status  int
		want    string
	}{
		{job.ID, -time.Second, 422, "overlap"},
		{job.ID, MaxSecretOverlap + time.Second, 422, "overlap"},
		{app.ID, 0, 422, "has no secret"},
		{"nobody", 0, 404, "no client"},
	} {
		if _, _, err := a.RotateSecret(t.Context(), tc.id, tc.overlap, nil, nil); status(err) != tc.status || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("RotateSecret(%s, %v) = %v, want %d with %q", tc.id, tc.overlap, err, tc.status, tc.want)
		}
	}
	if c, _ := a.Client(t.Context(), job.ID); !c.SecretIs(secret, time.Now()) || c.Version != 1 {
		t.Errorf("a refused rotation changed the client: %+v", c)
	}
}

func TestASecretCanBeRotatedWithOtherChanges(t *testing.T) {
	t.Parallel()
	a := testAdmin(t)
	job, _, err := a.CreateClient(t.Context(), ClientInput{Preset: "machine", Name: "Job"})
	if err != nil {
		t.Fatal(err)
	}
	c, secret, err := a.RotateSecret(t.Context(), job.ID, 0, nil, func(c *storage.Client) { c.Name = "Night job" })
	if err != nil || c.Name != "Night job" || !c.SecretIs(secret, time.Now()) {
		t.Errorf("RotateSecret() = %+v, %v", c, err)
	}
}

func TestClientIDsThatMeanSomethingElseAreRefused(t *testing.T) {
	t.Parallel()
	a := testAdmin(t)
	for _, id := range []string{"usr_ada", "USR_1", "http:x", "https://app.test/id"} {
		if _, _, err := a.CreateClient(t.Context(), ClientInput{ID: id, Preset: "machine", Name: "A"}); status(err) != 422 || !strings.Contains(err.Error(), "cannot begin with") {
			t.Errorf("id %q: %v, want 422", id, err)
		}
	}
	if _, _, err := a.CreateClient(t.Context(), ClientInput{ID: "https", Preset: "machine", Name: "A"}); err != nil {
		t.Errorf("id https: %v", err)
	}
}

func TestASecretMayEnd(t *testing.T) {
	t.Parallel()
	a := testAdmin(t)
	now := time.Now().UTC().Truncate(time.Microsecond)
	a.Now = func() time.Time { return now }
	const life = 90 * 24 * time.Hour
	c, first, err := a.CreateClient(t.Context(), ClientInput{Preset: "machine", Name: "Job", SecretLife: life})
	if err != nil {
		t.Fatal(err)
	}
	if !c.SecretIs(first, now.Add(life-time.Second)) || c.SecretIs(first, now.Add(life)) {
		t.Errorf("the secret ends at %v, want in 90 days", c.Secrets[0].ExpiresAt)
	}
	// Its successor lives as long, and the overlap makes no secret live longer.
	now = now.Add(life - time.Hour)
	c, second, err := a.RotateSecret(t.Context(), c.ID, DefaultSecretOverlap, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !c.SecretIs(second, now.Add(life-time.Second)) || c.SecretIs(second, now.Add(life)) {
		t.Errorf("the new secret: %+v", c.Secrets)
	}
	if !c.SecretIs(first, now.Add(time.Hour-time.Second)) || c.SecretIs(first, now.Add(time.Hour)) {
		t.Errorf("the old secret: %+v, want its own end", c.Secrets)
	}
	forever := time.Duration(0)
	c, third, err := a.RotateSecret(t.Context(), c.ID, 0, &forever, nil)
	if err != nil || !c.SecretIs(third, now.Add(100*life)) || len(c.Secrets) != 1 {
		t.Errorf("for ever: %+v, %v", c.Secrets, err)
	}

	for name, in := range map[string]ClientInput{
		"too short":       {Preset: "machine", Name: "Job", SecretLife: time.Minute},
		"negative":        {Preset: "machine", Name: "Job", SecretLife: -life},
		"too long":        {Preset: "machine", Name: "Job", SecretLife: 100 * 365 * 24 * time.Hour},
		"of a public app": {Preset: "native", Name: "App", SecretLife: life},
	} {
		if _, _, err := a.CreateClient(t.Context(), in); status(err) != 422 {
			t.Errorf("%s: %v, want 422", name, err)
		}
	}
	short := time.Minute
	if _, _, err := a.RotateSecret(t.Context(), c.ID, 0, &short, nil); status(err) != 422 {
		t.Errorf("rotated to a short life: %v, want 422", err)
	}
}
