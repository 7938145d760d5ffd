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

// budgets bound how often a password may be tried, the narrowest first. Who is the account, or
// what was typed when it is nobody's: the shape must not tell which.
func budgets(who, ip string) []storage.Budget {
	return []storage.Budget{
		{Key: "login:account:" + who + ":" + ip, Every: time.Minute, Burst: 10},
		{Key: "login:ip:" + ip, Every: 20 * time.Second, Burst: 100},
		{Key: "login:account:" + who, Every: 15 * time.Minute, Burst: 100},
	}
}

// whoever names the owner of a budget.
func whoever(p storage.Password, identifier string) string {
	if p.User.ID != "" {
		return p.User.ID
	}
	return hex.EncodeToString(storage.HashSecret(storage.CanonicalIdentifier(identifier)))
}

// network is the part of an address that one subscriber commands: all of IPv4, /64 of IPv6.
func network(ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return ip
	}
	if addr = addr.Unmap().WithZone(""); addr.Is6() {
		return netip.PrefixFrom(addr, 64).Masked().String()
	}
	return addr.String()
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
// cost. It is errWrongPassword, a *web.Error for the person (429, 503), or the database's error.
func (l *Login) prove(ctx context.Context, who string, p storage.Password, password string) error {
	if tooLong(password) {
		return errWrongPassword // as no password this long was ever set
	}
	budgets := budgets(who, network(web.ClientIP(ctx)))
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
// sign-in. It gives a *web.Error for the person: 422 for a wrong password, 429, 503.
func (l *Login) Confirm(ctx context.Context, userID, password string) error {
	p, err := l.DB.PasswordByUser(ctx, userID)
	if err != nil {
		return err
	}
	err = l.prove(ctx, userID, p, password)
	if errors.Is(err, errWrongPassword) {
		return &web.Error{Status: http.StatusUnprocessableEntity, Message: "That is not your current password. Please check it.", Err: err}
	}
	return err
}
