package login

import (
	"errors"
	"net/http"
	"time"

	"github.com/google/uuid"

	"idp/storage"
	"idp/web"
)

// A browser in which somebody signed in carries a cookie that says so, new after every sign-in. It
// lets nobody in. It gives the owner of an account tries of their own, so that strangers who
// spend those of everybody else cannot lock them out.

const (
	deviceBytes = 16                   // random bytes of the device cookie
	deviceLife  = 180 * 24 * time.Hour // after the last sign-in
)

// knownDevice is the id of the request's browser if that person has signed in there; "" if not.
func (l *Login) knownDevice(r *http.Request, userID string) (string, error) {
	hash := l.cookie(r, web.DeviceCookie, deviceBytes)
	if hash == nil {
		return "", nil
	}
	id, err := l.DB.KnownDevice(r.Context(), hash, userID, l.now())
	if errors.Is(err, storage.ErrNotFound) {
		return "", nil
	}
	return id, err
}

// rememberDevice makes the browser one that knows a person who has just signed in. It is a comfort
// of later: where it does not work, the sign-in stands.
func (l *Login) rememberDevice(w http.ResponseWriter, r *http.Request, userID string, session uuid.UUID) {
	now, secret := l.now(), newCookie(deviceBytes)
	err := l.DB.RememberDevice(r.Context(), storage.DeviceUse{
		OldHash: l.cookie(r, web.DeviceCookie, deviceBytes), NewHash: storage.HashSecret(secret),
		UserID: userID, SessionID: session, Now: now, ExpiresAt: now.Add(deviceLife),
	})
	if err != nil {
		web.Note(r.Context(), "device", err.Error())
		return
	}
	l.Site.Cookies.Set(w, web.DeviceCookie, secret, deviceLife)
}
