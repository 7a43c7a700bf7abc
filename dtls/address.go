package dtls

import (
	"net"
	"net/netip"
	"strconv"
)

// pathKey names a 5-tuple: the remote address as one socket sees it. A socket that has several local addresses does not
// tell sessions apart by them: a peer that goes on at another of them from the same port is a peer that began again. It is
// smaller than a netip.AddrPort, and there is one in a table for each session.
type pathKey struct {
	ip   [16]byte // IPv4 in IPv6 clothing
	zone uint32   // interface of a link-local address
	port uint16
	sock uint16 // index in Endpoint.socks
}

func (s *socket) key(addr netip.AddrPort) pathKey {
	return pathKey{ip: addr.Addr().As16(), zone: zoneIndex(addr.Addr().Zone()), port: addr.Port(), sock: s.index}
}

// addr is the remote address. IPv4 is IPv4, so that an address has one spelling.
func (k pathKey) addr() netip.AddrPort {
	ip := netip.AddrFrom16(k.ip).Unmap()
	if k.zone != 0 {
		ip = ip.WithZone(strconv.FormatUint(uint64(k.zone), 10))
	}
	return netip.AddrPortFrom(ip, k.port)
}

// zoneIndex reads a zone, which package net writes as the interface's name where it has one.
func zoneIndex(zone string) uint32 {
	if zone == "" {
		return 0
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	if ifi, err := net.InterfaceByName(zone); err == nil {
		return uint32(ifi.Index)
	}
	return 0
}

// addrPort reads a net.Addr as an address and a port.
func addrPort(addr net.Addr) (netip.AddrPort, error) {
	if udp, ok := addr.(*net.UDPAddr); ok {
		return unmap(udp.AddrPort()), nil
	}
	ap, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return netip.AddrPort{}, &net.AddrError{Err: "not an IP address and port", Addr: addr.String()}
	}
	return unmap(ap), nil
}

func unmap(ap netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()) }

// prefix is the part of an address that one site shares: IPv4 /24, IPv6 /56 (S50).
func (k pathKey) prefix() [8]byte {
	var p [8]byte
	if netip.AddrFrom16(k.ip).Is4In6() {
		copy(p[:], k.ip[12:15])
		p[7] = 4
		return p
	}
	copy(p[:7], k.ip[:7])
	return p
}
