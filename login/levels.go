package login

import "slices"

// Level is one class of authentication (OpenID Connect Core, 2: acr), told by what a person really
// proved.
type Level struct {
	ACR     string
	Aliases []string // other names that clients ask for it by
	Offered bool     // whether people can reach it by signing in here

	reached func(methods []string) bool // by the methods of a session (RFC 8176)
}

// Levels is the one table of classes, the weakest first. Each stronger one includes those before it.
var Levels = []Level{
	{ACR: ACRPassword, Offered: true, reached: func(m []string) bool { return len(m) > 0 }},
	{ACR: "urn:idp:acr:mfa", Aliases: []string{"http://schemas.openid.net/pape/policies/2007/06/multi-factor"},
		reached: func(m []string) bool {
			return has(m, "pwd") && has(m, "otp", "sms", "swk", "hwk") || phishingResistant(m)
		}},
	{ACR: "urn:idp:acr:phr", Aliases: []string{"phr"}, reached: phishingResistant},
}

// phishingResistant is a key that knows the site, and a person who unlocked it (RFC 8176: swk, hwk;
// user).
func phishingResistant(m []string) bool { return has(m, "swk", "hwk") && has(m, "user") }

func has(methods []string, any ...string) bool {
	return slices.ContainsFunc(any, func(m string) bool { return slices.Contains(methods, m) })
}

func levelOf(acr string) *Level {
	for i := range Levels {
		if l := &Levels[i]; l.ACR == acr || slices.Contains(l.Aliases, acr) {
			return l
		}
	}
	return nil
}

// ACR is the strongest class that the methods of a session reach; "" for no method.
func ACR(methods []string) string {
	acr := ""
	for _, l := range Levels {
		if l.reached(methods) {
			acr = l.ACR
		}
	}
	return acr
}

// KnownACR says whether a class stands in the table, by whatever name.
func KnownACR(acr string) bool { return levelOf(acr) != nil }

// Reaches says whether the methods of a session are enough for a class.
func Reaches(methods []string, acr string) bool {
	l := levelOf(acr)
	return l != nil && l.reached(methods)
}

// Offered says whether a person can reach a class by signing in here.
func Offered(acr string) bool {
	l := levelOf(acr)
	return l != nil && l.Offered
}
