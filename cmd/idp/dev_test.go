package main

import (
	"strings"
	"testing"

	"idp"
)

func TestWhatDevPrintsCanBePastedWhereverItsDataIs(t *testing.T) {
	t.Parallel()
	world := idp.DevWorld{DataDir: "/srv/it's here", People: []idp.DevPerson{{Username: "ada"}}}
	for folder, want := range map[string][2]string{
		idp.DefaultDevFolder: {"  Connect your app  " + self() + " client create ", self() + " dev --reset "},
		"here":               {`  Connect your app  IDP_DATA_DIR='/srv/it'\''s here' ` + self() + " client create ", self() + ` dev --data-dir '/srv/it'\''s here' --reset `},
	} {
		var out strings.Builder
		printWorld(&out, world, folder, false)
		for _, line := range want {
			if !strings.Contains(out.String(), line) {
				t.Errorf("with the data in %s:\n%s\nwant %q in it", folder, out.String(), line)
			}
		}
	}
}
