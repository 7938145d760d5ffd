package login

import (
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"idp/web"
)

// endedLife is how long the page after a sign-out can tell what became of it.
const endedLife = 10 * time.Minute

// NoteEnded lets the browser's next pages know which sessions have just ended in it. The cookie
// holds their secrets, which nothing can be done with any more.
func (l *Login) NoteEnded(w http.ResponseWriter, ended []SignedIn) {
	var secrets []string
	for _, s := range ended {
		secrets = append(secrets, s.secret)
	}
	l.Site.Cookies.Set(w, web.EndedCookie, strings.Join(secrets, "."), endedLife)
}

// JustEnded are the sessions that ended in the browser a moment ago.
func (l *Login) JustEnded(r *http.Request) ([]uuid.UUID, error) {
	secrets := l.secrets(r, web.EndedCookie, 1+maxAside)
	if len(secrets) == 0 {
		return nil, nil
	}
	return l.DB.EndedSessions(r.Context(), hashes(secrets), l.now().Add(-endedLife))
}
