package oauth

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"idp/storage"
)

func TestNextStep(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	factors := func(ago time.Duration, methods ...string) *storage.Session {
		return &storage.Session{UserID: "usr_a", AuthTime: now.Add(-ago), Methods: methods}
	}
	signedIn := func(ago time.Duration) *storage.Session { return factors(ago, "pwd") }
	this, other := uuid.Nil.String(), uuid.Max.String()
	seconds := func(n int) *int { return &n }
	for _, tc := range []struct {
		name    string
		q       question
		step    step
		refusal string
	}{
		{"nobody is signed in", question{}, stepLogin, "login_required"},
		{"nobody is signed in, no page allowed", question{Prompt: []string{"none"}}, stepRefuse, "login_required"},
		{"signed in, not asked before", question{Session: signedIn(time.Minute)}, stepConsent, "consent_required"},
		{"signed in, not asked before, no page allowed", question{Session: signedIn(time.Minute), Prompt: []string{"none"}}, stepRefuse, "consent_required"},
		{"signed in and consented", question{Session: signedIn(time.Minute), Remembered: true}, stepGrant, ""},
		{"signed in and consented, no page allowed", question{Session: signedIn(time.Minute), Remembered: true, Prompt: []string{"none"}}, stepGrant, ""},
		{"first party", question{Session: signedIn(time.Minute), FirstParty: true}, stepGrant, ""},
		{"first party with prompt=consent", question{Session: signedIn(time.Minute), FirstParty: true, Prompt: []string{"consent"}}, stepConsent, "consent_required"},
		{"native app, remembered, still asked", question{Session: signedIn(time.Minute), Remembered: true, MustAskAlways: true}, stepConsent, "consent_required"},
		{"native app of the house", question{Session: signedIn(time.Minute), FirstParty: true, MustAskAlways: true}, stepGrant, ""},
		{"prompt=login with a session", question{Session: signedIn(time.Minute), Remembered: true, Prompt: []string{"login"}}, stepLogin, "login_required"},
		{"prompt=login after signing in for it", question{Session: signedIn(time.Second), Arrived: now.Add(-time.Minute), Remembered: true, Prompt: []string{"login"}}, stepGrant, ""},
		{"prompt=consent though remembered", question{Session: signedIn(time.Minute), Remembered: true, Prompt: []string{"consent"}}, stepConsent, "consent_required"},
		{"prompt=consent, given", question{Session: signedIn(time.Minute), ConsentGiven: true, Prompt: []string{"consent"}}, stepGrant, ""},
		{"prompt=login consent, signed in for it", question{Session: signedIn(time.Second), Arrived: now.Add(-time.Minute), Remembered: true, Prompt: []string{"login", "consent"}}, stepConsent, "consent_required"},
		{"prompt=select_account", question{Session: signedIn(time.Minute), Remembered: true, Prompt: []string{"select_account"}}, stepSelect, "account_selection_required"},
		{"prompt=select_account, nobody is signed in", question{Prompt: []string{"select_account"}}, stepSelect, "account_selection_required"},
		{"prompt=select_account, chosen", question{Session: signedIn(time.Minute), Remembered: true, Prompt: []string{"select_account"}, Chosen: this}, stepGrant, ""},
		{"prompt=select_account, another one chosen", question{Session: signedIn(time.Minute), Remembered: true, Prompt: []string{"select_account"}, Chosen: other}, stepSelect, "account_selection_required"},
		{"prompt=select_account, signed in for another request meanwhile", question{Session: signedIn(time.Second), Arrived: now.Add(-time.Minute), Remembered: true, Prompt: []string{"select_account"}}, stepSelect, "account_selection_required"},
		{"chosen, and signed out since", question{Session: signedIn(time.Minute), Remembered: true, Chosen: other}, stepSelect, "account_selection_required"},
		{"prompt=login select_account", question{Session: signedIn(time.Minute), Remembered: true, Prompt: []string{"login", "select_account"}}, stepSelect, "account_selection_required"},
		{"prompt=login select_account, chosen", question{Session: signedIn(time.Minute), Remembered: true, Prompt: []string{"login", "select_account"}, Chosen: this}, stepLogin, "login_required"},
		{"prompt=consent select_account, chosen", question{Session: signedIn(time.Minute), Remembered: true, Prompt: []string{"consent", "select_account"}, Chosen: this}, stepConsent, "consent_required"},
		{"chosen, but too long ago signed in", question{Session: signedIn(2 * time.Minute), Remembered: true, Prompt: []string{"select_account"}, Chosen: this, MaxAge: seconds(60)}, stepLogin, "login_required"},
		{"chosen, but another person is hinted", question{Session: signedIn(time.Minute), Remembered: true, Prompt: []string{"select_account"}, Chosen: this, HintUserID: "usr_b"}, stepRefuse, "login_required"},
		{"prompt=create", question{Session: signedIn(time.Minute), Remembered: true, Prompt: []string{"create"}, SignUp: true}, stepSignUp, "login_required"},
		{"prompt=create, nobody is signed in", question{Prompt: []string{"create"}, SignUp: true}, stepSignUp, "login_required"},
		{"prompt=create, created", question{Session: signedIn(time.Second), Prompt: []string{"create"}, SignUp: true, Chosen: this}, stepConsent, "consent_required"},
		{"prompt=select_account create", question{Session: signedIn(time.Minute), Prompt: []string{"select_account", "create"}, SignUp: true}, stepSignUp, "login_required"},
		{"prompt=create where nobody may", question{Session: signedIn(time.Minute), Remembered: true, Prompt: []string{"create"}}, stepGrant, ""},
		{"max_age passed", question{Session: signedIn(2 * time.Minute), Remembered: true, MaxAge: seconds(60)}, stepLogin, "login_required"},
		{"max_age passed, no page allowed", question{Session: signedIn(2 * time.Minute), Remembered: true, MaxAge: seconds(60), Prompt: []string{"none"}}, stepRefuse, "login_required"},
		{"max_age kept", question{Session: signedIn(time.Minute), Remembered: true, MaxAge: seconds(10000)}, stepGrant, ""},
		{"max_age=0 asks always", question{Session: signedIn(time.Millisecond), Remembered: true, MaxAge: seconds(0)}, stepLogin, "login_required"},
		{"max_age=0 after signing in for it", question{Session: signedIn(time.Second), Arrived: now.Add(-time.Minute), Remembered: true, MaxAge: seconds(0)}, stepGrant, ""},
		{"the hinted person", question{Session: signedIn(time.Minute), Remembered: true, HintUserID: "usr_a"}, stepGrant, ""},
		{"another person than hinted", question{Session: signedIn(time.Minute), Remembered: true, HintUserID: "usr_b"}, stepLogin, "login_required"},
		{"another person than hinted, no page allowed", question{Session: signedIn(time.Minute), Remembered: true, HintUserID: "usr_b", Prompt: []string{"none"}}, stepRefuse, "login_required"},
		{"another person than hinted signed in for it", question{Session: signedIn(time.Second), Arrived: now.Add(-time.Minute), Remembered: true, HintUserID: "usr_b"}, stepRefuse, "login_required"},
		{"a level nobody reaches here", question{Session: signedIn(time.Minute), Remembered: true, ACR: []string{"urn:idp:acr:mfa"}}, stepRefuse, "unmet_authentication_requirements"},
		{"a level nobody reaches here, nobody signed in", question{ACR: []string{"urn:idp:acr:mfa"}}, stepRefuse, "unmet_authentication_requirements"},
		{"an essential level that nobody knows", question{Session: signedIn(time.Minute), Remembered: true, ACR: []string{"urn:x"}}, stepRefuse, "unmet_authentication_requirements"},
		{"a level reached", question{Session: factors(time.Minute, "pwd", "otp"), Remembered: true, ACR: []string{"urn:idp:acr:mfa"}}, stepGrant, ""},
		{"one of two levels reached", question{Session: signedIn(time.Minute), Remembered: true, ACR: []string{"urn:idp:acr:mfa", "urn:idp:acr:1fa"}}, stepGrant, ""},
		{"a level that a new sign-in reaches", question{Session: factors(time.Minute), Remembered: true, ACR: []string{"urn:idp:acr:1fa"}}, stepLogin, "interaction_required"},
		{"the same, no page allowed", question{Session: factors(time.Minute), Remembered: true, ACR: []string{"urn:idp:acr:1fa"}, Prompt: []string{"none"}}, stepRefuse, "interaction_required"},
		{"a level that the new sign-in did not reach", question{Session: factors(time.Second), Arrived: now.Add(-time.Minute), Remembered: true, ACR: []string{"urn:idp:acr:1fa"}}, stepRefuse, "unmet_authentication_requirements"},
		{"somebody whom the claims parameter does not name", question{Session: signedIn(time.Minute), Remembered: true, NotNamed: true}, stepLogin, "login_required"},
		{"the same, no page allowed", question{Session: signedIn(time.Minute), Remembered: true, NotNamed: true, Prompt: []string{"none"}}, stepRefuse, "login_required"},
		{"the same, signed in for it", question{Session: signedIn(time.Second), Arrived: now.Add(-time.Minute), Remembered: true, NotNamed: true}, stepRefuse, "login_required"},
		{"may not use the client", question{Session: signedIn(time.Minute), Remembered: true, Barred: true}, stepBarred, "access_denied"},
		{"may not use the client, no page allowed", question{Session: signedIn(time.Minute), Remembered: true, Barred: true, Prompt: []string{"none"}}, stepRefuse, "access_denied"},
		{"may not use the client of the house", question{Session: signedIn(time.Minute), FirstParty: true, Barred: true}, stepBarred, "access_denied"},
		{"may not use the client, and is not asked for consent", question{Session: signedIn(time.Minute), Barred: true, Prompt: []string{"consent"}, ConsentGiven: true}, stepBarred, "access_denied"},
		{"may not use the client, but wants to sign in as somebody else", question{Session: signedIn(time.Minute), Barred: true, Prompt: []string{"select_account"}}, stepSelect, "account_selection_required"},
		{"unknown prompt", question{Session: signedIn(time.Minute), Remembered: true, Prompt: []string{"sing"}}, stepGrant, ""},
	} {
		tc.q.Now = now
		if tc.q.Arrived.IsZero() {
			tc.q.Arrived = now
		}
		if s, refusal := nextStep(tc.q); s != tc.step || refusal != tc.refusal {
			t.Errorf("%s: nextStep = %v, %q; want %v, %q", tc.name, s, refusal, tc.step, tc.refusal)
		}
	}
}
