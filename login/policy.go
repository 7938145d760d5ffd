package login

import (
	_ "embed"
	"fmt"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"idp/web"
)

// MinPasswordLength is the least number of characters (code points) of a password that a person
// chooses, where the password is the only factor (NIST SP 800-63B-4, 3.1.1.2).
const MinPasswordLength = 15

// minFree is how many characters must be left of a password when each known word, run and row of
// keys counts as one.
const minFree = 8

//go:embed common_passwords.txt
var commonPasswords string

// keyRows are what fingers type without thinking.
var keyRows = [...]string{"abcdefghijklmnopqrstuvwxyz", "01234567890", "qwertyuiop", "qwertzuiop", "azertyuiop", "asdfghjkl", "zxcvbnm", "1qaz2wsx3edc4rfv5tgb6yhn7ujm"}

func errTooLong() error {
	return weak(fmt.Sprintf("This password is too long. Use at most %d characters.", maxPasswordLength))
}

func weak(message string) error {
	return &web.Error{Status: http.StatusUnprocessableEntity, Message: message}
}

// CheckPassword is the policy for passwords that people choose: length, and no password that is
// guessed early. There is no rule on kinds of characters. Context are words that a guesser tries
// first for this person: user name, e-mail address, names, the site. The error is a *web.Error
// with status 422 whose message says how to mend it. Passwords made by a machine need no check.
func CheckPassword(password string, context ...string) error {
	if tooLong(password) {
		return errTooLong()
	}
	if !utf8.ValidString(password) || strings.ContainsFunc(password, unicode.IsControl) {
		return weak("This password holds characters that cannot be typed everywhere. Leave out control characters.")
	}
	folded := strings.ToLower(norm.NFKC.String(password))
	switch {
	case utf8.RuneCountInString(norm.NFKC.String(password)) < MinPasswordLength:
		return weak(fmt.Sprintf("Use at least %d characters. A few words that only you would put together are easy to remember.", MinPasswordLength))
	case repeats(folded):
		return weak("This password repeats itself, so it is guessed early. Choose one that does not.")
	case common(folded):
		return weak("Many people use this password, so it is guessed early. Choose another one.")
	case free(folded, contextWords(context)) < minFree:
		return weak("This password is made of your name, your address, this site or rows of keys, so it is guessed early. Choose another one.")
	}
	return nil
}

// repeats says that s is one part written over and over, or made of very few characters.
func repeats(s string) bool {
	letters := map[rune]bool{}
	for _, c := range s {
		letters[c] = true
	}
	// A string that is its own rotation is periodic.
	return len(letters) < 5 || strings.Contains((s + s)[1:2*len(s)-1], s)
}

// common says that s is a well-known password, dressed up with digits and signs around it or
// between two of its kind.
func common(s string) bool {
	core := strings.TrimFunc(s, func(c rune) bool { return !unicode.IsLetter(c) })
	word := strings.Map(func(c rune) rune {
		if !unicode.IsLetter(c) {
			return -1
		}
		return c
	}, s)
	if listed(s) || listed(core) || listed(word) || listed(unleet(core)) {
		return true
	}
	for i := range word {
		if listed(word[:i]) && listed(word[i:]) {
			return true
		}
	}
	return false
}

// unleet takes back the usual replacements of letters.
func unleet(s string) string {
	return strings.NewReplacer("0", "o", "1", "i", "3", "e", "4", "a", "@", "a", "5", "s", "$", "s", "7", "t").Replace(s)
}

func listed(s string) bool {
	return len(s) > 3 && !strings.ContainsAny(s, "\n#") && strings.Contains(commonPasswords, "\n"+s+"\n")
}

// contextWords splits what is known of a person and a site into words worth trying.
func contextWords(context []string) []string {
	var words []string
	for _, s := range context {
		s = strings.ToLower(norm.NFKC.String(s))
		parts := append(strings.FieldsFunc(s, func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) }), s)
		for _, w := range parts {
			if utf8.RuneCountInString(w) > 2 {
				words = append(words, w)
			}
		}
	}
	return words
}

// free counts the characters of s that somebody had to think of: a known word, a run of one
// character or of neighbours on the keyboard or in the alphabet counts as one.
func free(s string, words []string) int {
	n := 0
	for s != "" {
		length := run(s)
		for _, w := range words {
			if strings.HasPrefix(s, w) {
				length = max(length, len(w))
			}
		}
		s = s[length:]
		n++
	}
	return n
}

// run is the length in bytes of the run that s begins with: of at least four characters, or of one.
func run(s string) int {
	first, size := utf8.DecodeRuneInString(s)
	same := len(s) - len(strings.TrimLeft(s, string(first)))
	if same >= 4*size {
		return same
	}
	for _, row := range keyRows {
		if n := max(follows(s, row), follows(s, reversed(row))); n >= 4 {
			return n
		}
	}
	return size
}

// follows is how many bytes of s are consecutive in row, which is ASCII.
func follows(s, row string) int {
	start := strings.IndexByte(row, s[0])
	if start < 0 {
		return 0
	}
	n := 0
	for n < len(s) && start+n < len(row) && s[n] == row[start+n] {
		n++
	}
	return n
}

func reversed(s string) string {
	b := []byte(s)
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return string(b)
}
