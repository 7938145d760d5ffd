package outbound

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Allow lists what may be called although it is not public: hosts of an intranet, or of a test.
type Allow struct{ entries []entry }

// entry is one line of the list: a name or a network, on one port or on all.
type entry struct {
	host    string // in lower case; "" when it is a network
	network netip.Prefix
	port    uint16 // 0 is any
}

// ParseAllow reads a list of hosts ("wiki.intranet"), hosts with ports ("localhost:5555"),
// addresses and networks ("10.0.0.0/8").
func ParseAllow(list []string) (Allow, error) {
	var a Allow
	for _, s := range list {
		e, ok := parseEntry(s)
		if !ok {
			return a, fmt.Errorf("%q is no host, no host with a port, and no network such as 10.0.0.0/8", s)
		}
		a.entries = append(a.entries, e)
	}
	return a, nil
}

func parseEntry(s string) (entry, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return entry{network: p.Masked()}, !p.Addr().Is4In6()
	}
	var e entry
	host := strings.ToLower(s)
	if h, port, err := net.SplitHostPort(host); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return e, false
		}
		host, e.port = h, uint16(n)
	}
	if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		e.network = netip.PrefixFrom(addr, addr.BitLen())
		return e, true
	}
	e.host = host
	return e, host != "" && len(host) <= 253 && !strings.ContainsFunc(host, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_'
	})
}

// has says whether the host, or the address it has led to, is in the list.
func (a Allow) has(host string, to netip.AddrPort) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	for _, e := range a.entries {
		named := e.host != "" && e.host == host || e.host == "" && e.network.Contains(to.Addr())
		if named && (e.port == 0 || e.port == to.Port()) {
			return true
		}
	}
	return false
}

// Loopback says that a host's name is one of this machine alone: localhost, or a loopback address.
func Loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.Unmap().IsLoopback()
}

// special are the networks of the IANA registries of special-purpose addresses that no public server
// has (RFC 6890). Of IPv6, only what is given out as global unicast is public at all.
var special = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
	"192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
)

var global = netip.MustParsePrefix("2000::/3")

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// public says that an address is one of the public internet.
func public(addr netip.Addr) bool {
	if addr.Zone() != "" || addr.Is6() && !global.Contains(addr) {
		return false
	}
	for _, p := range special {
		if p.Contains(addr) {
			return false
		}
	}
	return true
}

// own says that an address is one of this machine, behind whatever guards its other side. When that
// cannot be told, it might be.
func own(addr netip.Addr) bool {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Unmap() == addr {
			return true
		}
	}
	return false
}
