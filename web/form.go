package web

import (
	"errors"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// maxFields is the largest number of fields in a form of ours.
const maxFields = 100

// Form reads what a page of ours was asked: the query of a GET, the body of a POST and never
// both. Each field stands once, in text that a database can hold; anything else is no form of
// ours and gets 400, so that two readers of one request cannot understand it differently.
func Form(r *http.Request) (url.Values, error) {
	form, err := readForm(r)
	if err != nil {
		return nil, err
	}
	if len(form) > maxFields {
		return nil, unreadable(errors.New("too many fields"))
	}
	for name, values := range form {
		if len(values) > 1 {
			return nil, &Error{Status: http.StatusBadRequest, Message: "A field of this form was sent twice, so nothing was done. Please go back and try again.",
				Err: errors.New("field sent twice")}
		}
		for _, s := range append(values, name) {
			if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
				return nil, unreadable(errors.New("field is not text"))
			}
		}
	}
	return form, nil
}

func readForm(r *http.Request) (url.Values, error) {
	if r.Method != http.MethodPost {
		form, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			return nil, unreadable(err)
		}
		return form, nil
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, &Error{Status: http.StatusUnsupportedMediaType, Message: "This form was sent in a way we don't understand. Please open the page again and send it from there."}
	}
	err = r.ParseForm()
	if big, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, big
	}
	if err != nil {
		return nil, unreadable(err)
	}
	return r.PostForm, nil
}

// unreadable tells its cause as text only: a connection that breaks here is the browser's, and must
// not be taken for the database's.
func unreadable(cause error) error {
	err := errors.New("read form: " + cause.Error())
	return &Error{Status: http.StatusBadRequest, Message: "This form cannot be read, so nothing was done. Please go back and try again.", Err: err}
}
