package main

import (
	"strings"
	"testing"

	"idp/storage/storagetest"
)

func TestASignOutPageOfAnotherSiteIsSaidToBeUseless(t *testing.T) {
	t.Parallel()
	o := newOperator(t, storagetest.URL(t))
	for host, loads := range map[string]bool{"wiki.example.com": true, "wiki.test": false} {
		_, _, made := o.run("", "client", "create", "--id", host, "--name", "Wiki", "--url", "https://"+host, "--frontchannel-logout-uri", "https://"+host+"/out")
		_, _, shown := o.run("", "client", "show", host)
		for _, errs := range []string{made, shown} {
			if strings.Contains(errs, "--backchannel-logout-uri") == loads {
				t.Errorf("a page of %s, which the provider loads: %v: %s", host, loads, errs)
			}
		}
	}
}

func TestEveryRelaxationIsShownAsAWeakness(t *testing.T) {
	t.Parallel()
	o := newOperator(t, storagetest.URL(t))
	o.json(&struct{}{}, "", "client", "create", "--id", "old", "--name", "Old", "--url", "https://old.test")
	var before, after clientView
	o.json(&before, "", "client", "show", "old")
	if len(before.Weaknesses) != 0 {
		t.Errorf("a new client has weaknesses: %v", before.Weaknesses)
	}
	flags := []string{"--pkce-optional", "--legacy-assertion-audience", "--id-token-claims", "--introspect-all"}
	for i, flag := range flags {
		o.json(&after, "", "client", "update", "old", flag)
		if len(after.Weaknesses) != i+1 {
			t.Errorf("after %s: %v", flag, after.Weaknesses)
		}
	}
	if _, out, _ := o.run("", "client", "show", "old"); strings.Count(out, "Weakness  ") != len(flags) {
		t.Errorf("client show:\n%s", out)
	}
}
