package oauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"idp/web"
)

// Limits of single parameters, in bytes; the whole body or URL is bounded elsewhere.
var paramLimits = map[string]int{
	"client_id": 256, "redirect_uri": 2048, "state": 2048, "nonce": 512, "scope": 8192, "login_hint": 320,
	"code_challenge": 128, "code_challenge_method": 32, "code_verifier": 128, "response_type": 128, "response_mode": 64, "prompt": 128,
	"max_age": 16, "acr_values": 1024, "ui_locales": 1024, "claims_locales": 1024, "display": 64, "id_token_hint": maxJWT,
	"code": 512, "device_code": 512, "user_code": 64, "refresh_token": 512, "grant_type": 128, "client_secret": 1024, "client_assertion": maxJWT,
	"client_assertion_type": 128, "token": maxJWT, "token_type_hint": 64, "resource": 2048,
	"post_logout_redirect_uri": 2048, "logout_hint": 320, "request": maxJWT, "request_uri": 2048, "registration": 2048,
	"access_token": maxJWT, "assertion": maxJWT,
	"subject_token": maxJWT, "subject_token_type": 128, "actor_token": maxJWT, "actor_token_type": 128, "requested_token_type": 128, "audience": 2048, "claims": 8192,
}

// repeatable parameters may stand several times (RFC 8707, 2; RFC 8693, 2.1).
var repeatable = map[string]bool{"resource": true, "audience": true}

const maxFields = 100

// clean checks what every endpoint must: a known parameter stands once (RFC 6749, 3.1), none is
// longer than it can mean, and one without a value counts as absent.
func clean(form url.Values) error {
	fields := 0
	for name, values := range form {
		fields += len(values)
		limit, known := paramLimits[name]
		if !known {
			continue
		}
		values = slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == "" })
		if len(values) == 0 && !repeated(form[name]) {
			delete(form, name)
			continue
		}
		if !repeatable[name] && repeated(form[name]) {
			return invalidRequest("The parameter " + name + " stands more than once.")
		}
		for _, v := range values {
			if len(v) > limit {
				return invalidRequest("The parameter " + name + " is too long.")
			}
			if name == "claims" { // JSON may stand on several lines
				v = strings.NewReplacer("\t", " ", "\r", " ", "\n", " ").Replace(v)
			}
			if !plainText(v) {
				return invalidRequest("The parameter " + name + " has bytes that are no text.")
			}
		}
		form[name] = values
	}
	if fields > maxFields {
		return invalidRequest("There are too many parameters.")
	}
	return nil
}

// plainText is UTF-8 without control characters: what a database can store and a page can show.
func plainText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

func repeated(values []string) bool { return len(values) > 1 }

// readForm reads the body of a machine endpoint: a form, and nothing that matters in the URL.
func readForm(r *http.Request) (url.Values, error) {
	if err := isForm(r); err != nil {
		return nil, err
	}
	if err := r.ParseForm(); err != nil {
		return nil, badForm(err)
	}
	for name := range r.URL.Query() {
		if _, known := paramLimits[name]; known {
			return nil, invalidRequest("Parameters belong in the body, not in the URL.")
		}
	}
	return r.PostForm, clean(r.PostForm)
}

func isForm(r *http.Request) error {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return invalidRequest("Send the parameters as application/x-www-form-urlencoded.")
	}
	if c := params["charset"]; c != "" && !strings.EqualFold(c, "utf-8") {
		return invalidRequest("Send the parameters in UTF-8.")
	}
	return nil
}

// badForm is about a body that did not arrive whole. The cause is told as text only: a connection
// that breaks here is the client's, and must not be taken for the database's.
func badForm(err error) error {
	if _, tooBig := asTooBig(err); tooBig {
		return err
	}
	cause := errors.New("read body: " + err.Error())
	if slow, ok := errors.AsType[net.Error](err); ok && slow.Timeout() {
		return &web.Error{Status: http.StatusRequestTimeout, Code: "invalid_request", Message: "The request took too long to arrive.", Err: cause}
	}
	return &web.Error{Status: http.StatusBadRequest, Code: "invalid_request", Message: "The parameters cannot be read.", Err: cause}
}

func asTooBig(err error) (*http.MaxBytesError, bool) {
	big, ok := err.(*http.MaxBytesError)
	return big, ok
}

// readParams reads an authorization or logout request: the query of a GET, the form of a POST.
func readParams(r *http.Request) (url.Values, error) {
	if len(r.URL.RawQuery) > 16<<10 {
		return nil, refuse(http.StatusRequestURITooLong, "invalid_request", "The address is too long.", nil)
	}
	if r.Method == http.MethodPost {
		if err := isForm(r); err != nil {
			return nil, err
		}
	}
	if err := r.ParseForm(); err != nil {
		return nil, badForm(err)
	}
	form := r.Form // of both: a parameter in the URL and in the body stands twice
	if err := clean(form); err != nil {
		return nil, err
	}
	maps.DeleteFunc(form, func(name string, _ []string) bool {
		_, known := paramLimits[name]
		return !known && name != "confirm"
	})
	return form, nil
}

// words splits a space-separated list.
func words(s string) []string { return strings.Fields(s) }

// scopeToken is the grammar of RFC 6749, 3.3.
func scopeToken(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c < 0x21 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// scopes reads a scope parameter: each scope once, in its order. False when it breaks the grammar.
func scopes(s string) ([]string, bool) {
	var list []string
	if strings.ContainsAny(s, "\t\r\n") {
		return nil, false
	}
	for _, w := range words(s) {
		if !scopeToken(w) || len(list) > 100 {
			return nil, false
		}
		if !slices.Contains(list, w) {
			list = append(list, w)
		}
	}
	return list, true
}

// within keeps those of asked that are allowed, in the order asked.
func within(asked, allowed []string) []string {
	return slices.DeleteFunc(slices.Clone(asked), func(s string) bool { return !slices.Contains(allowed, s) })
}

// covers says whether every asked is in allowed.
func covers(allowed, asked []string) bool { return len(within(asked, allowed)) == len(asked) }

// decodeStrict reads one JSON value and nothing after it. The cause is told as text only: a text that
// ends too early is the sender's, and must not be taken for a database connection that does.
func decodeStrict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(v); err != nil {
		return errors.New("read JSON: " + err.Error())
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something after the JSON value")
	}
	return nil
}
