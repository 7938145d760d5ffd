package main

import (
	"slices"
	"strings"
	"testing"

	"idp/storage"
	"idp/storage/storagetest"
)

func TestTrustsAreLookedAfterFromTheCommandLine(t *testing.T) {
	t.Parallel()
	o := newOperator(t, storagetest.URL(t))
	const bearer = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	if code, out, _ := o.run("", "client", "create", "--preset", "machine", "--id", "job", "--name", "Job", "--auth-method", "none", "--grant-type", bearer, "--scope", "api:read"); code != exitOK || !strings.Contains(out, "idp trust create --client job") {
		t.Errorf("what a workload's client needs next is not said: %d\n%s", code, out)
	}
	o.json(&struct{}{}, "", "client", "create", "--preset", "machine", "--id", "other", "--name", "Other")
	var list []storage.Trust
	o.json(&list, "", "trust", "list")
	if list == nil || len(list) != 0 {
		t.Errorf("an empty list is %v", list)
	}
	create := []string{"trust", "create", "--client", "job", "--iss", "https://ci.test", "--subject", "repo:acme/site:*"}
	var made, shown storage.Trust
	o.json(&made, "", append(slices.Clone(create), "--claim", "environment=live", "--scope", "api:read", "--token-life", "2m")...)
	if !strings.HasPrefix(made.ID, "trs_") || made.ClientID != "job" || made.Claims["environment"] != "live" || made.TokenLife != 120 || made.Reusable {
		t.Errorf("made %+v", made)
	}
	o.json(&shown, "", "trust", "update", made.ID, "--reusable", "--subject", "repo:acme/site:ref:refs/heads/main", "--jwks-uri", "https://ci.test/keys")
	if !shown.Reusable || shown.JWKSURI != "https://ci.test/keys" || shown.Claims["environment"] != "live" || shown.Version != 2 {
		t.Errorf("updated %+v", shown)
	}
	if code, out, _ := o.run("", "trust", "show", made.ID); code != exitOK || !strings.Contains(out, "environment = live") || !strings.Contains(out, "not once") {
		t.Errorf("for people: %d\n%s", code, out)
	}
	for _, tc := range []struct {
		code int
		says string
		args []string
	}{
		{exitNotFound, "no client nobody", []string{"create", "--client", "nobody", "--iss", "https://ci.test", "--subject", "a"}},
		{exitUsage, "idp client update other --grant-type", []string{"create", "--client", "other", "--iss", "https://ci.test", "--subject", "a"}},
		{exitUsage, "--jwks-uri", []string{"create", "--client", "job", "--iss", "kubernetes", "--subject", "a"}},
		{exitUsage, "repo:acme/site", []string{"create", "--client", "job", "--iss", "https://ci.test", "--subject", "*"}},
		{exitUsage, "repo:acme/site", []string{"create", "--client", "job", "--iss", "https://ci.test", "--subject", "a*b"}},
		{exitUsage, "cannot be asked for", []string{"create", "--client", "job", "--iss", "https://ci.test", "--subject", "a", "--claim", "aud=x"}},
		{exitUsage, "not one of the client", []string{"create", "--client", "job", "--iss", "https://ci.test", "--subject", "a", "--scope", "api:write"}},
		{exitUsage, "60 to 3600", []string{"create", "--client", "job", "--iss", "https://ci.test", "--subject", "a", "--token-life", "2h"}},
		{exitUsage, "JWK set", []string{"create", "--client", "job", "--iss", "https://ci.test", "--subject", "a", "--jwks", "-"}},
		{exitNotFound, "idp trust list", []string{"show", "trs_x"}},
		{exitNotFound, "idp trust list", []string{"delete", "trs_x"}},
	} {
		if code, _, errs := o.run(`{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}`, append([]string{"trust"}, tc.args...)...); code != tc.code || !strings.Contains(errs, tc.says) {
			t.Errorf("idp trust %v: %d %s; want %d and %q", tc.args, code, errs, tc.code, tc.says)
		}
	}
	var deleted map[string]string
	o.json(&deleted, "", "trust", "delete", made.ID)
	o.json(&list, "", "trust", "list")
	if deleted["deleted"] != made.ID || len(list) != 0 {
		t.Errorf("deleted %v, left %v", deleted, list)
	}
	o.json(&made, "", create...)
	o.json(&struct{}{}, "", "client", "delete", "job")
	o.json(&list, "", "trust", "list")
	if len(list) != 0 {
		t.Errorf("a trust is left of a client that is gone: %v", list)
	}
}
