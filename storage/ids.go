package storage

import (
	"crypto/rand"
	"encoding/base32"
	"strings"

	"github.com/google/uuid"
)

// crockford has no letters that are mistaken for one another.
var crockford = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// NewID returns a public id: the prefix (usr_, cli_) and 128 random bits, which tell nothing of
// the time they were made. Ids are never used twice.
func NewID(prefix string) string { return prefix + crockford.EncodeToString(RandomBytes(16)) }

// NewRowID returns an internal id. Its order is that of time, which keeps indexes small; it never
// leaves the server in readable form.
func NewRowID() uuid.UUID {
	id, err := uuid.NewV7()
	if err != nil {
		panic(err) // crypto/rand does not fail on supported systems
	}
	return id
}

// RandomBytes returns n bytes of the system's random source.
func RandomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails (crypto/rand, since Go 1.24)
	return b
}

// NewSecret returns a machine-made secret of 256 bits with a prefix that secret scanners can find,
// such as idp_cs_. Its alphabet is [A-Za-z0-9_], so that form encoding changes nothing in it.
func NewSecret(prefix string) string {
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	var b strings.Builder
	b.WriteString(prefix)
	for b.Len() < len(prefix)+43 {
		for _, c := range RandomBytes(48) {
			if c < 248 && b.Len() < len(prefix)+43 { // 248 = 4*62: no letter is likelier than another
				b.WriteByte(alphabet[c%62])
			}
		}
	}
	return b.String()
}
