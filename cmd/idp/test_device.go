package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"rsc.io/qr"

	"idp/admin"
	"idp/storage"
)

type testDevice struct {
	testClient
	Timeout time.Duration `name:"timeout" default:"10m" placeholder:"TIME" help:"How long to wait for somebody to allow it."`
}

func (f *testDevice) Run(c *console, cmd *testCommand) error {
	rp, remove, err := f.party(c, cmd.Connection, storage.ClientNative, admin.ClientInput{Change: func(m *storage.ClientMetadata) {
		m.GrantTypes, m.RedirectURIs = []string{"urn:ietf:params:oauth:grant-type:device_code"}, nil
		if scopes := strings.Fields(f.Scope); len(scopes) > 0 {
			m.Scopes = scopes
		}
	}})
	if err != nil {
		return err
	}
	defer remove()
	ctx, cancel := context.WithTimeout(c.ctx, f.Timeout)
	defer cancel()
	device, err := rp.BeginDevice(ctx)
	if err != nil {
		return unhealthy{err}
	}
	fmt.Fprintf(c.err, "Open this address in a browser, on a phone for example:\n\n  %s\n\nEnter this code there:\n\n  %s\n\n", device.URL, device.UserCode)
	if address := cmp.Or(device.Complete, device.URL); showQR(c.err, address) {
		fmt.Fprintf(c.err, "The picture leads to\n\n  %s\n\n", address)
	}
	outcome, err := device.Wait(ctx)
	if err != nil {
		return unhealthy{err}
	}
	return tellOutcome(c, outcome, nil)
}

// showQR draws an address with half blocks, two modules in the height of a character. The light ones
// are drawn, for dark terminals; cameras read both. False when the address is too long for a picture.
func showQR(w io.Writer, address string) bool {
	code, err := qr.Encode(address, qr.L)
	if err != nil {
		return false
	}
	const quiet = 2 // modules around it
	light := func(x, y int) bool { return y < code.Size+quiet && !code.Black(x, y) }
	for y := -quiet; y < code.Size+quiet; y += 2 {
		line := "  "
		for x := -quiet; x < code.Size+quiet; x++ {
			line += map[[2]bool]string{{true, true}: "█", {true, false}: "▀", {false, true}: "▄", {false, false}: " "}[[2]bool{light(x, y), light(x, y+1)}]
		}
		fmt.Fprintln(w, line)
	}
	fmt.Fprintln(w)
	return true
}
