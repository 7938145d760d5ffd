// Package selftest asks a provider that runs whether it keeps its promises, through its public
// address as apps and browsers reach it: what a proxy in between spoils is found too.
//
// Each promise is a Check: a row of a table with what is promised, how it is tried, and what to do
// when it does not hold. A check names the checks that it rests on. When one of these fails it is
// skipped, so that one fault turns one line red and not fifty.
//
// RelyingParty is the other half: one strict client, for an operator who wants to see one sign-in.
package selftest
