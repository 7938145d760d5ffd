// Package selftest asks a provider that runs whether it keeps its promises, through its public
// address as apps and browsers reach it: what a proxy in between spoils is found too.
package selftest
