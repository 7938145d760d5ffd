package admin

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"idp/outbound"
	"idp/storage"
)

func TestPublishedKeysAreTriedWhenTheyAreTold(t *testing.T) {
	t.Parallel()
	a := testAdmin(t)
	allow, err := outbound.ParseAllow([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	a.Fetch = outbound.New(allow).JSON
	const key = `{"kty":"EC","crv":"P-256","kid":"1","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, map[string]string{"/good": `{"keys":[` + key + `]}`, "/none": `{"keys":[]}`}[r.URL.Path])
	}))
	t.Cleanup(server.Close)
	for uri, want := range map[string]string{"": "", server.URL + "/good": "", server.URL + "/none": "no public key", "http://127.0.0.2:1/jwks": "IDP_OUTBOUND_ALLOW"} {
		var c storage.Client
		c.JWKSURI = uri
		if err := a.TryKeys(t.Context(), c); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", uri, err, want)
		}
	}
}
