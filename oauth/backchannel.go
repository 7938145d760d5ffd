package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"idp/outbound"
	"idp/storage"
)

// Back-channel logout (OpenID Connect Back-Channel Logout 1.0): when a session has ended, each client
// of it that asked for that gets a logout token. The message lies in the outbox since the moment
// the session ended (storage/outbox.go); whichever process takes it signs a token and posts it.

const (
	logoutTokenLife = 2 * time.Minute
	deliveryTime    = 5 * time.Second  // of one attempt
	deliveryLease   = 10 * time.Second // how long a process has a message: longer than an attempt
	deliveries      = 8                // of this process at once

	// Tries come 5 s after the first, 10 s after the second and so on, an hour apart in the end. The
	// last of them is about a day after the first.
	firstWait, longestWait = 5 * time.Second, time.Hour
	maxTries               = 33
)

const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// logoutClaims are those of a logout token (2.4). There is no nonce, so that it never passes for an
// ID token.
type logoutClaims struct {
	Issuer   string              `json:"iss"`
	Subject  string              `json:"sub"`
	Audience string              `json:"aud"`
	IssuedAt int64               `json:"iat"`
	Expires  int64               `json:"exp"`
	ID       string              `json:"jti"`
	SID      string              `json:"sid"`
	Events   map[string]struct{} `json:"events"`
}

// DeliverLogouts is the background job of back-channel logout: it sends what is due until nothing is
// left, several at once. It begins no more when ctx ends, and finishes what it has begun.
func (o *OAuth) DeliverLogouts(ctx context.Context) error {
	finished := make(chan string, deliveries)
	busy := map[string]int{} // attempts that run, by client
	running := 0
	var problem error
	for {
		if running < deliveries && ctx.Err() == nil && problem == nil {
			now, over := o.now(), time.Now().Add(deliveryLease-time.Second)
			var taken []storage.Message
			taken, problem = o.DB.TakeMessages(ctx, deliveries-running, slices.Collect(maps.Keys(busy)), now, now.Add(deliveryLease))
			for _, m := range taken {
				running++
				busy[m.ClientID]++
				go func() {
					defer func() { finished <- m.ClientID }()
					o.deliver(context.WithoutCancel(ctx), m, over)
				}()
			}
		}
		if running == 0 {
			return problem
		}
		select {
		case client := <-finished:
			running--
			if busy[client]--; busy[client] == 0 {
				delete(busy, client)
			}
		case <-o.DB.OutboxWritten(): // what is new need not wait for who is slow
		}
	}
}

// deliver makes one attempt, which ends before somebody else may have the message, and writes down
// what became of it. When that is not possible, the message is due again soon: a client may be told
// twice, and never not at all.
func (o *OAuth) deliver(ctx context.Context, m storage.Message, over time.Time) {
	defer func() {
		if p := recover(); p != nil {
			o.Log.Error("panic", "message", m.ID, "panic", fmt.Sprint(p))
		}
	}()
	attempt, cancel := context.WithDeadline(ctx, over)
	defer cancel()
	client, err := o.DB.Client(attempt, m.ClientID) // as it is at this moment
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		o.Log.Warn("sign-out is not told", "message", m.ID, "client_id", m.ClientID, "error", err.Error())
		return
	}
	err = o.tellLogout(attempt, client, m)
	now := o.now()
	outcome := storage.Outcome{Delivered: err == nil}
	kind := "backchannel.delivered"
	if err != nil {
		outcome.Error, kind = short(err.Error()), "backchannel.failed"
		if !errors.Is(err, errForGood) && m.Attempts < maxTries {
			next, none := now.Add(nextWait(m.Attempts)), ""
			outcome.Next, kind = &next, none
		}
	}
	if kind != "" {
		outcome.Event = storage.Event{At: now, Kind: kind, UserID: m.UserID, ClientID: m.ClientID, Actor: "system", Details: map[string]any{"attempts": m.Attempts}}
		if err != nil {
			outcome.Event.Details["error"] = outcome.Error
		}
	}
	problem := o.DB.SettleMessage(ctx, m, outcome, now)
	o.Log.Debug("sign-out told", "message", m.ID, "client_id", m.ClientID, "attempt", m.Attempts, "delivered", outcome.Delivered, "error", outcome.Error)
	if problem != nil {
		o.Log.Warn("outcome of a sign-out is not kept", "message", m.ID, "client_id", m.ClientID, "error", problem.Error())
	}
}

// nextWait is the time after an attempt, with up to a fifth more or less so that clients which were
// away for all are not told by all at once.
func nextWait(attempts int) time.Duration {
	wait := longestWait
	if attempts < 12 {
		wait = min(firstWait<<(attempts-1), longestWait)
	}
	return wait + time.Duration((rand.Float64()-0.5)*0.4*float64(wait))
}

// errForGood is wrapped by what no further attempt can mend.
var errForGood = errors.New("not tried again")

// tellLogout posts a logout token to the client of a message, which is nil when it was deleted.
func (o *OAuth) tellLogout(ctx context.Context, client *storage.Client, m storage.Message) error {
	switch {
	case m.Moot:
		return fmt.Errorf("%w: the app has signed the person in again since", errForGood)
	case client == nil:
		return fmt.Errorf("%w: the client is deleted", errForGood)
	case client.DisabledAt != nil:
		return fmt.Errorf("%w: the client is disabled", errForGood)
	case client.BackchannelLogoutURI == "":
		return fmt.Errorf("%w: the client has no back-channel logout URI any more", errForGood)
	}
	token, err := o.logoutToken(client, m)
	if err != nil {
		return err
	}
	answer, err := o.Outbound.Do(ctx, outbound.Request{
		Method: http.MethodPost, URL: client.BackchannelLogoutURI, Form: url.Values{"logout_token": {token}}, Timeout: deliveryTime,
	})
	switch {
	case err != nil:
		return err
	case answer.Status >= 200 && answer.Status < 300:
		return nil
	case answer.Status == http.StatusBadRequest: // 2.8: it has understood, and cannot
		return fmt.Errorf("%w: status 400%s", errForGood, errorCode(answer))
	}
	return fmt.Errorf("status %d%s", answer.Status, errorCode(answer))
}

// logoutToken makes a token that the client has not seen before, even if it is told again.
func (o *OAuth) logoutToken(client *storage.Client, m storage.Message) (string, error) {
	now := o.now()
	return o.sign(o.keys.Load(), client.IDTokenAlg, typLogoutToken, logoutClaims{
		Issuer: o.Issuer, Subject: m.Subject, Audience: client.ID, IssuedAt: now.Unix(), Expires: now.Add(logoutTokenLife).Unix(),
		ID: storage.NewID(""), SID: sessionID(m.SessionID, client.ID), Events: map[string]struct{}{logoutEvent: {}},
	})
}

// errorCode is what an answer says of the reason (RFC 6749, 5.2), for operators.
func errorCode(a outbound.Answer) string {
	var body struct{ Error string }
	if a.MediaType != "application/json" || json.Unmarshal(a.Body, &body) != nil || body.Error == "" || len(body.Error) > 64 {
		return ""
	}
	return " " + body.Error
}

// short is a text for one column of a row: printable, and not long.
func short(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}
