package oauth

import (
	"slices"
	"time"

	"idp/login"
	"idp/storage"
)

// step is what has to happen before an authorization request can be answered.
type step int

const (
	stepGrant   step = iota // nothing: issue the code
	stepLogin               // the person has to sign in, or again
	stepSelect              // the person has to say which account
	stepSignUp              // the person wants a new account
	stepConsent             // the person has to be asked
	stepBarred              // the person may not use the client: another account may
	stepRefuse              // nothing can help: the client gets the refusal
)

// question is all that the next step depends on.
type question struct {
	Now     time.Time
	Arrived time.Time // when the request first came; a sign-in after that was made for it
	Session *storage.Session

	Prompt     []string
	MaxAge     *int   // seconds; nil when not asked
	HintUserID string // of whom a verified id_token_hint names
	NotNamed   bool   // the claims parameter names others, and only they may answer (OpenID Connect Core, 5.5.1)
	Barred     bool   // the person is in none of the groups that may use the client

	Chosen string // id of the session that a person chose or began for this request; "" for none yet
	SignUp bool   // people may make accounts for themselves

	ACR []string // classes of which the sign-in must reach one; empty when any will do

	ConsentGiven  bool // on the consent page, just now
	Remembered    bool // an earlier consent covers all that is asked
	FirstParty    bool // the client's setting: the person is not asked
	MustAskAlways bool // the client's identity is not assured (RFC 8252, 8.6)
}

func (q question) prompts(p string) bool { return slices.Contains(q.Prompt, p) }

// fresh says whether the person signed in for this very request.
func (q question) fresh() bool { return q.Session.AuthTime.After(q.Arrived) }

// chosen says whether this is the session that a person chose, or signed in to, for this request.
func (q question) chosen() bool { return q.Session != nil && q.Session.ID.String() == q.Chosen }

// undecided says that a person has to choose: they are asked to, or the account that they chose is
// signed out since, and nobody else may answer in its place without a word.
func (q question) undecided() bool {
	return !q.chosen() && (q.Chosen != "" || q.prompts("select_account"))
}

func (q question) tooOld() bool {
	return q.MaxAge != nil && !q.fresh() && q.Now.Sub(q.Session.AuthTime) > time.Duration(*q.MaxAge)*time.Second
}

func (q question) somebodyElse() bool {
	return q.NotNamed || q.HintUserID != "" && q.HintUserID != q.Session.UserID
}

// tooWeak says that the sign-in, if there is any, reaches none of the classes asked for.
func (q question) tooWeak() bool {
	return len(q.ACR) > 0 && (q.Session == nil || !slices.ContainsFunc(q.ACR, func(acr string) bool { return login.Reaches(q.Session.Methods, acr) }))
}

// unreachable says that no sign-in here can change that.
func (q question) unreachable() bool {
	return q.tooWeak() && !slices.ContainsFunc(q.ACR, login.Offered)
}

// rules are tried in order; the first that applies names the step, and the error that a request
// with prompt=none gets instead (OpenID Connect Core, 3.1.2.6).
var rules = []struct {
	step    step
	refusal string
	applies func(q question) bool
}{
	{stepRefuse, "unmet_authentication_requirements", question.unreachable},
	{stepSignUp, "login_required", func(q question) bool { return q.prompts("create") && q.SignUp && !q.chosen() }},
	{stepSelect, "account_selection_required", question.undecided},
	{stepLogin, "login_required", func(q question) bool { return q.Session == nil }},
	{stepRefuse, "login_required", func(q question) bool { return q.somebodyElse() && (q.fresh() || q.chosen()) }},
	{stepLogin, "login_required", func(q question) bool { return q.somebodyElse() }},
	{stepLogin, "login_required", func(q question) bool { return q.prompts("login") && !q.fresh() }},
	{stepLogin, "login_required", func(q question) bool { return q.tooOld() }},
	{stepBarred, "access_denied", func(q question) bool { return q.Barred }},
	{stepRefuse, "unmet_authentication_requirements", func(q question) bool { return q.tooWeak() && q.fresh() }},
	{stepLogin, "interaction_required", question.tooWeak},
	{stepConsent, "consent_required", func(q question) bool { return q.prompts("consent") && !q.ConsentGiven }},
	{stepConsent, "consent_required", func(q question) bool {
		return !q.ConsentGiven && !q.FirstParty && (!q.Remembered || q.MustAskAlways)
	}},
}

// nextStep decides what happens next to an authorization request.
func nextStep(q question) (step, string) {
	for _, rule := range rules {
		if !rule.applies(q) {
			continue
		}
		if q.prompts("none") {
			return stepRefuse, rule.refusal
		}
		return rule.step, rule.refusal
	}
	return stepGrant, ""
}
