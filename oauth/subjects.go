package oauth

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"idp/storage"
)

// Pairwise subjects (OpenID Connect Core, 8). A pairwise client knows a person by a name that only
// the clients of its sector share, so that others cannot tell that they know the same person.

const (
	subjectPublic   = "public"
	subjectPairwise = "pairwise"
)

// nobody is whom a subject names that the client knows nobody by. It is no person's id, so that a
// request for it is never answered with somebody else.
const nobody = "nobody"

func pairwise(c *storage.Client) bool { return c.SubjectType == subjectPairwise }

// subject is how a client knows the person of these facts. It costs a statement the first time
// that a sector meets a person.
func (o *OAuth) subject(ctx context.Context, c *storage.Client, f storage.Facts) (string, error) {
	switch {
	case !pairwise(c):
		return f.User.ID, nil
	case f.Subject != "":
		return f.Subject, nil
	case c.Sector == "":
		return "", fmt.Errorf("the pairwise client %s has no sector", c.ID)
	}
	return o.DB.Subject(ctx, c.Sector, f.User.ID, o.now())
}

// subjectUser gives the id of the person whom a client names by sub, or nobody. A pairwise client
// names people by the subjects of its own sector alone: could it name them by those of others, it
// could find out who is the same person there.
func (o *OAuth) subjectUser(ctx context.Context, c *storage.Client, sub string) (string, error) {
	if c.Sector != "" { // also of a client that was pairwise once
		user, err := o.DB.SubjectUser(ctx, c.Sector, sub)
		if !errors.Is(err, storage.ErrNotFound) {
			return user, err
		}
	}
	if pairwise(c) || !strings.HasPrefix(sub, "usr_") {
		return nobody, nil
	}
	return sub, nil
}

// hintUser gives the id of the person whom an id_token_hint names to a client: "" when it is no ID
// token of ours, nobody when the client knows nobody by its subject.
func (o *OAuth) hintUser(ctx context.Context, c *storage.Client, s string) (string, error) {
	h, ok := o.hint(s)
	if !ok {
		return "", nil
	}
	if h.Audience[0] == c.ID && strings.HasPrefix(h.Subject, "usr_") {
		return h.Subject, nil // its own, from before it was pairwise
	}
	return o.subjectUser(ctx, c, h.Subject)
}
