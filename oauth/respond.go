package oauth

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"idp/login"
	"idp/storage"
	"idp/web"
)

// destination is where a client takes its answer, known good.
type destination struct {
	uri   string
	mode  string // query, fragment or form_post
	state string
}

// answer sends the client its answer: state as it came, and always who speaks (RFC 9207).
func (o *OAuth) answer(w http.ResponseWriter, r *http.Request, a *authorization, params url.Values) error {
	if a.dest.state != "" {
		params.Set("state", a.dest.state)
	}
	params.Set("iss", o.Issuer)
	if a.dest.mode == "form_post" {
		return o.formPost(w, r, a, params)
	}
	if a.dest.mode == "fragment" {
		return web.See(w, r, a.dest.uri+"#"+params.Encode())
	}
	return web.See(w, r, withQuery(a.dest.uri, params))
}

// withQuery appends to a registered URI without touching a byte of it.
func withQuery(uri string, params url.Values) string {
	sep := "?"
	if strings.Contains(uri, "?") {
		sep = "&"
		if strings.HasSuffix(uri, "?") || strings.HasSuffix(uri, "&") {
			sep = ""
		}
	}
	return uri + sep + params.Encode()
}

// FormPostPage is the data of form_post.html.
type FormPostPage struct {
	Action string
	Fields [][2]string
	Client string
}

// formPost is the Form Post Response Mode: a page that posts itself, and has a button.
func (o *OAuth) formPost(w http.ResponseWriter, r *http.Request, a *authorization, params url.Values) error {
	page := FormPostPage{Action: a.dest.uri, Client: a.client.Name, Fields: formFields(params)}
	return o.Site.Pages.Show(w, r, web.View{Name: "form_post.html", Data: page, FormAction: login.FormActionFor(a.dest.uri)})
}

func formFields(params url.Values) (fields [][2]string) {
	for _, name := range []string{"code", "error", "error_description", "state", "iss"} {
		if params.Has(name) {
			fields = append(fields, [2]string{name, params.Get(name)})
		}
	}
	return fields
}

// answerError sends a protocol error to the client. What is not one is the person's to see: our
// trouble must not look like a refusal.
func (o *OAuth) answerError(w http.ResponseWriter, r *http.Request, a *authorization, err error) error {
	var e *web.Error
	if storage.Unavailable(err) && slices.Contains(a.prompt, "none") {
		// Nobody looks: the client's script has to hear of it.
		e = refuse(0, "temporarily_unavailable", "The provider cannot answer at the moment. Try again later.", err)
	} else if !errors.As(err, &e) || storage.Unavailable(err) || e.Status != 0 {
		return err
	}
	web.Note(r.Context(), "error", e.Code)
	if unseen(r, a) {
		return o.unverified(w, r, a, e)
	}
	return o.answer(w, r, a, url.Values{"error": {e.Code}, "error_description": {e.Message}})
}
