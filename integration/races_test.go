package integration

import (
	"net/url"
	"sync"
	"testing"

	"idp/storage"
)

// together runs f n times at once, all past one barrier.
func together(n int, f func(i int)) {
	var ready, done sync.WaitGroup
	ready.Add(n)
	for i := range n {
		done.Go(func() {
			ready.Done()
			ready.Wait()
			f(i)
		})
	}
	done.Wait()
}

func TestParallelRedemptionsHaveOneWinnerAndParallelRefreshesOneSuccessor(t *testing.T) { // traps P2, P3, P4
	w := startProcesses(t, 2)
	rounds := 100
	if testing.Short() {
		rounds = 10
	}
	a, ada, b := w.app(t, storage.ClientSPA, func(c *storage.Client) { c.IDTokenAlg = "ES256" }), w.person(t, "ada"), w.browser(t)
	a.signIn(b, ada)
	for round := range rounds {
		f := a.begin()
		code := b.get(f.url()).answer().Get("code")
		form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "code_verifier": {f.verifier}, "redirect_uri": {callback}, "client_id": {a.ID}}
		replies := make([]reply, 8)
		w.atOnce(t, replies, form)
		var won []reply
		for _, r := range replies {
			switch {
			case r.status == 200:
				won = append(won, r)
			case r.status != 400 || r.text("error") != "invalid_grant":
				t.Errorf("round %d: a loser got %d %s, want invalid_grant", round, r.status, r.raw)
			}
		}
		if len(won) != 1 {
			t.Fatalf("round %d: %d redemptions succeeded, want 1", round, len(won))
		}
		// No loser has ended the grant: its refresh token works, eight times at once.
		token := won[0].refresh()
		together(8, func(i int) { replies[i] = a.refresh(token) })
		successors := map[string]bool{}
		for _, r := range replies {
			successors[r.ok().refresh()] = true
		}
		if len(successors) != 1 {
			t.Fatalf("round %d: %d successors, want 1", round, len(successors))
		}
		for next := range successors {
			a.refresh(next).ok()
		}
	}
}

func TestAnAssertionIsAcceptedOnce(t *testing.T) { // A-045; trap F18
	w := startProcesses(t, 2)
	a, key := w.assertionApp(t)
	for round := range 5 {
		assertion := key.assertion(t, a.ID, w.issuer, nil)
		statuses := make([]int, 8)
		together(8, func(i int) { statuses[i] = w.post(t, "/token", nil, assertionForm(assertion)).status })
		accepted := 0
		for _, s := range statuses {
			switch s {
			case 200:
				accepted++
			case 401:
			default:
				t.Errorf("round %d: status %d, want 200 or 401", round, s)
			}
		}
		if accepted != 1 {
			t.Errorf("round %d: the assertion was accepted %d times, want once", round, accepted)
		}
	}
}
