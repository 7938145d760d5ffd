package login

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"time"

	"idp/storage"
	"idp/web"
)

// strangersBudgets bound how often a password may be tried from a browser that the account's owner
// never signed in with, the narrowest first. What a refusal shows depends on the text that was
// typed and on where it came from, and not on whose account that is: somebody who spends the tries
// of a user name must not learn from it which address belongs to it. The last budget joins the
// names of one account; it is wide enough that the ones before it are always spent first.
func strangersBudgets(identifier, userID, ip string) []storage.Budget {
	typed := hex.EncodeToString(storage.HashSecret(storage.CanonicalIdentifier(identifier)))
	account := userID
	if account == "" {
		account = typed
	}
	address, around := networks(ip)
	return []storage.Budget{
		{Key: "login:typed:" + typed + ":" + address, Every: time.Minute, Burst: 10},
		{Key: "login:ip:" + address, Every: 20 * time.Second, Burst: 100},
		{Key: "login:net:" + around, Every: 2 * time.Second, Burst: 300},
		{Key: "login:typed:" + typed, Every: 15 * time.Minute, Burst: 100},
		{Key: "login:account:" + account, Every: 5 * time.Minute, Burst: 250},
	}
}

// budgets are what a try costs. In a browser that the owner of the account has signed in with
// before, that is one budget of their own, whatever strangers do meanwhile.
func (l *Login) budgets(r *http.Request, identifier, userID string) ([]storage.Budget, error) {
	device, err := l.knownDevice(r, userID)
	if err != nil {
		return nil, err
	}
	if device != "" {
		return []storage.Budget{{Key: "login:device:" + device + ":" + userID, Every: 90 * time.Second, Burst: 10}}, nil
	}
	return strangersBudgets(identifier, userID, web.ClientIP(r.Context())), nil
}

// networks are the part of an address that one subscriber commands (all of IPv4, /64 of IPv6), and
// the one that a site or a provider commands (/24, /48).
func networks(ip string) (address, around string) {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return ip, ip
	}
	if addr = addr.Unmap().WithZone(""); addr.Is6() {
		return netip.PrefixFrom(addr, 64).Masked().String(), netip.PrefixFrom(addr, 48).Masked().String()
	}
	return addr.String(), netip.PrefixFrom(addr, 24).Masked().String()
}

// spend takes one try from every budget. It stops at the first that is empty, so that a stranger
// whom a narrow budget stops cannot empty the wide ones for everybody.
func (l *Login) spend(ctx context.Context, budgets []storage.Budget) error {
	for _, b := range budgets {
		wait, err := l.DB.Spend(ctx, l.now(), b)
		if err != nil {
			return err
		}
		if wait > 0 {
			return tooMany(wait)
		}
	}
	return nil
}

func tooMany(wait time.Duration) error {
	minutes := int(math.Ceil(wait.Minutes()))
	unit := "minutes"
	if minutes == 1 {
		unit = "minute"
	}
	return &web.Error{Status: http.StatusTooManyRequests, RetryAfter: wait, Err: errors.New("password tries: budget spent"),
		Message: fmt.Sprintf("Too many attempts. Try again in %d %s.", minutes, unit)}
}

// errWrongPassword says that a password is not the account's, or that there is no such account.
var errWrongPassword = errors.New("wrong password")

// prove checks a password against what is stored for the account, or against nothing at the same
// cost. Identifier is what was typed to name the account. It is errWrongPassword, a *web.Error for the person (429, 503), or the database's error.
func (l *Login) prove(r *http.Request, identifier string, p storage.Password, password string) error {
	ctx := r.Context()
	if tooLong(password) {
		return errWrongPassword // as no password this long was ever set
	}
	budgets, err := l.budgets(r, identifier, p.User.ID)
	if err != nil {
		return err
	}
	if err := l.spend(ctx, budgets); err != nil {
		return err
	}
	right, stale, err := l.hashes.verify(ctx, p.Hash, password)
	if err != nil {
		// The try never reached the hash. The error that matters is the one before.
		_ = l.DB.Refund(context.WithoutCancel(ctx), budgets...)
		return err
	}
	if !right {
		return errWrongPassword
	}
	if p.User.State != storage.UserActive {
		return nil
	}
	if err := l.DB.Refund(ctx, budgets...); err != nil {
		return err
	}
	if stale {
		l.rehash(ctx, p, password)
	}
	return nil
}

// rehash replaces a hash of older parameters. It is a kindness to the future: where it does not
// work, the next sign-in does it.
func (l *Login) rehash(ctx context.Context, p storage.Password, password string) {
	hash, err := l.hashes.hash(ctx, password)
	if err == nil {
		err = l.DB.RehashPassword(ctx, p.User.ID, hash, p.SetAt)
	}
	if err != nil {
		web.Note(ctx, "rehash", err.Error())
	}
}

// Confirm checks the password of somebody who is signed in already, under the same limits as a
// sign-in, and returns what was proved. It gives a *web.Error for the person: 422 for a wrong
// password, 429, 503.
func (l *Login) Confirm(r *http.Request, user *storage.User, password string) (storage.Password, error) {
	p, err := l.DB.PasswordByUser(r.Context(), user.ID)
	if err != nil {
		return p, err
	}
	err = l.prove(r, user.Username, p, password)
	if errors.Is(err, errWrongPassword) {
		return p, &web.Error{Status: http.StatusUnprocessableEntity, Message: "That is not your current password. Please check it.", Err: err}
	}
	return p, err
}
