package integration

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"idp/integration/dev"
)

// TestNodeClients runs the tests in integration/node: clients that somebody
// else wrote, in another language (openid-client, Auth.js), against a real
// `idp dev`. One command is all it takes:
//
//	go test ./integration -run TestNodeClients -v
func TestNodeClients(t *testing.T) {
	t.Parallel()
	folder, err := dev.NodeFolder(t.Context())
	if errors.Is(err, dev.ErrNoNode) {
		dev.Shout("NO NODE: the clients in Node were not tried: " + err.Error())
		dev.Missing(t, err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	server, err := dev.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	node := exec.CommandContext(ctx, "node", "--test", "--test-reporter=spec")
	node.Dir = folder
	node.Env = append(os.Environ(), server.Environ()...)
	out, err := node.CombinedOutput()
	t.Logf("node --test:\n%s", out)
	if err != nil {
		t.Errorf("the tests in Node: %v\nlast lines of the server:\n%s", err, server.Log())
	}
}
