package main

import (
	"bytes"
	"strings"
	"testing"

	"rsc.io/qr"
)

func TestAQRCodeIsDrawnModuleByModule(t *testing.T) {
	t.Parallel()
	const address = "https://id.example.com/device?user_code=BCDF-GHJK"
	var out bytes.Buffer
	if !showQR(&out, address) {
		t.Fatal("nothing was drawn")
	}
	code, err := qr.Encode(address, qr.L)
	if err != nil {
		t.Fatal(err)
	}
	upper, lower := map[rune]bool{'█': true, '▀': true}, map[rune]bool{'█': true, '▄': true}
	lines := strings.Split(strings.TrimRight(out.String(), "\n"), "\n")
	for y := -2; y < code.Size+2; y++ {
		line := []rune(lines[(y+2)/2])[2:]
		if len(line) != code.Size+4 {
			t.Fatalf("line %d has %d characters, want %d", y, len(line), code.Size+4)
		}
		for x := -2; x < code.Size+2; x++ {
			half := upper
			if y%2 != 0 {
				half = lower
			}
			if half[line[x+2]] == code.Black(x, y) {
				t.Fatalf("module %d,%d is wrong", x, y)
			}
		}
	}
	if showQR(&out, strings.Repeat("x", 5000)) {
		t.Error("an address that is too long was drawn")
	}
}
