package oauth

import (
	"net/http"

	"idp/login"
)

// maxSubjects is how many of the people that a request names are looked for among those who were put
// aside; each may cost a statement. More are not wrong: whoever is present answers, if named.
const maxSubjects = 16

// chosen is the session that a person chose for the request, "" for none yet. Only our own pages
// write it down, in a request that is kept.
func (a *authorization) chosen() string {
	if a.keptID == "" {
		return ""
	}
	return a.sent.Get(login.KeptSession)
}

// sessionOf is the hash of the session that the request is decided on: of several people who are
// signed in in the browser, that of whom the person chose, else of whom the client names, else of
// who is present (OpenID Connect Core, 3.1.2.1: a person who is hinted at and signed in answers).
func (o *OAuth) sessionOf(r *http.Request, a *authorization) ([]byte, error) {
	if !o.Login.Several(r) {
		return o.Login.SessionHash(r), nil
	}
	want := login.Wanted{Session: a.chosen(), Name: a.params.Get("login_hint")}
	if a.hintUserID != "" {
		want.UserIDs = []string{a.hintUserID}
	}
	for _, sub := range a.claims.subjects[:min(len(a.claims.subjects), maxSubjects)] {
		user, err := o.subjectUser(r.Context(), a.client, sub)
		if err != nil {
			return nil, err
		}
		want.UserIDs = append(want.UserIDs, user)
	}
	return o.Login.SessionHashFor(r, want)
}
