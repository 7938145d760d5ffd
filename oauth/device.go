package oauth

import (
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"idp/storage"
	"idp/web"
)

const (
	deviceLife     = 10 * time.Minute // of a device code and its user code
	deviceInterval = 5 * time.Second  // between two polls

	// userCodeLetters makes no words, and has no letter that is taken for another one (RFC 8628, 6.1).
	userCodeLetters = "BCDFGHJKLMNPQRSTVWXZ"
	userCodeLength  = 8
)

// newUserCode draws a code out of 20^8, about 2^34.6.
func newUserCode() string {
	var code strings.Builder
	for code.Len() < userCodeLength {
		var b [1]byte
		rand.Read(b[:])
		if n := int(b[0]); n < 256/len(userCodeLetters)*len(userCodeLetters) { // each letter is equally likely
			code.WriteByte(userCodeLetters[n%len(userCodeLetters)])
		}
	}
	return code.String()
}

// readUserCode is a code as somebody typed it, in any case, with dashes and spaces anywhere; "" when
// it cannot be one.
func readUserCode(s string) string {
	if len(s) > 64 {
		return ""
	}
	s = strings.ToUpper(strings.NewReplacer("-", "", " ", "", "‐", "", "‑", "", "–", "", "—", "", "\u00a0", "").Replace(s))
	if len(s) != userCodeLength || strings.Trim(s, userCodeLetters) != "" {
		return ""
	}
	return s
}

// showUserCode is a code as people read it.
func showUserCode(code string) string {
	return code[:userCodeLength/2] + "-" + code[userCodeLength/2:]
}

// deviceAnswer is RFC 8628, 3.2.
type deviceAnswer struct {
	DeviceCode              string `json:"device_code"`
	UserCode                string `json:"user_code"`
	VerificationURI         string `json:"verification_uri"`
	VerificationURIComplete string `json:"verification_uri_complete"`
	ExpiresIn               int64  `json:"expires_in"`
	Interval                int64  `json:"interval"`
}

// DeviceAuthorization is the device authorization endpoint (RFC 8628, 3.1): a device that has no
// browser gets a code for itself, and one that a person types elsewhere.
func (o *OAuth) DeviceAuthorization(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(r)
	if err != nil {
		return err
	}
	client, err := o.authenticate(w, r, form)
	if err != nil {
		return err
	}
	key := web.ClientNetwork(r.Context())
	if !client.Public() { // it speaks for all its devices
		key = "client " + client.ID
	}
	if wait := o.devices.wait(key, o.Now()); wait > 0 {
		return &web.Error{Status: http.StatusTooManyRequests, Code: "temporarily_unavailable", RetryAfter: wait, Message: "Too many devices asked for a code in the last minute. Wait a little, then try again."}
	}
	o.devices.add(key, o.Now())
	answer, err := o.beginDevice(r, client, form)
	if err != nil && !storage.Unavailable(err) {
		// What is refused may have been allowed since this process last read the client.
		fresh, problem := o.refreshClient(w, r, form, client)
		if problem != nil {
			return problem
		}
		if fresh.Version != client.Version {
			answer, err = o.beginDevice(r, fresh, form)
		}
	}
	if err != nil {
		return o.machineError(err)
	}
	return web.JSON(w, http.StatusOK, answer)
}

func (o *OAuth) beginDevice(r *http.Request, client *storage.Client, form url.Values) (deviceAnswer, error) {
	if !slices.Contains(client.GrantTypes, grantDeviceCode) {
		return deviceAnswer{}, refuseDevices()
	}
	a := &authorization{client: client, params: form}
	if err := checkScope(a); err != nil {
		return deviceAnswer{}, err
	}
	if err := o.checkResources(r.Context(), a); err != nil {
		return deviceAnswer{}, err
	}
	ring, now := o.keys.Load(), o.now()
	key := ring.derive[ring.current]
	if key == nil {
		return deviceAnswer{}, errNoKey
	}
	d := storage.DeviceRequest{
		ID: storage.NewRowID(), ClientID: client.ID, UserCode: newUserCode(), Scopes: a.scopes, Resources: a.resources,
		Seed: storage.RandomBytes(16), TokenKey: ring.current, IP: web.ClientIP(r.Context()), Wait: deviceInterval,
		CreatedAt: now, ExpiresAt: now.Add(deviceLife),
	}
	err := o.DB.InsertDeviceRequest(r.Context(), d)
	for try := 0; try < 5 && errors.Is(err, storage.ErrConflict); try++ { // the code is another device's
		d.UserCode = newUserCode()
		err = o.DB.InsertDeviceRequest(r.Context(), d)
	}
	if err != nil {
		return deviceAnswer{}, err
	}
	shown := showUserCode(d.UserCode)
	return deviceAnswer{
		DeviceCode: token{kind: deviceCode, key: d.TokenKey, grant: d.ID}.derive(key, d.Seed),
		UserCode:   shown, VerificationURI: o.Issuer + "/device", VerificationURIComplete: o.Issuer + "/device?user_code=" + shown,
		ExpiresIn: int64(deviceLife / time.Second), Interval: int64(deviceInterval / time.Second),
	}, nil
}

// checkDevices checks the settings of the device grant.
func checkDevices(c *storage.Client, say func(format string, args ...any)) {
	if !slices.Contains(c.GrantTypes, grantDeviceCode) {
		return
	}
	switch c.Type {
	case storage.ClientMachine:
		say("A machine client has no person who could type a code: the device grant is for native and web apps.")
	case storage.ClientSPA:
		say("A browser app has a browser: it needs authorization_code, not the device grant.")
	}
}
