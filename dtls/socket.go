package dtls

import (
	"fmt"
	"net"
	"net/netip"
)

// socket is one net.PacketConn of an endpoint, with the calls of *net.UDPConn that don't allocate where it is one.
//
// One that is bound to an unspecified address answers from the address to which the peer wrote, where the system can do
// that (packetInfo): a host has several, and a peer's connected socket takes answers from no other.
type socket struct {
	conn net.PacketConn
	udp  *net.UDPConn // conn, or nil
	info packetInfo   // nil: the kernel chooses the source
	oob  []byte       // for info; the reading goroutine alone
}

func newSocket(conn net.PacketConn) (*socket, error) {
	s := &socket{conn: conn}
	s.udp, _ = conn.(*net.UDPConn)
	if s.udp == nil {
		return s, nil
	}
	local, err := addrPort(conn.LocalAddr())
	if err != nil || !local.Addr().IsUnspecified() {
		return s, err
	}
	if s.info, err = newPacketInfo(s.udp); err != nil {
		return nil, fmt.Errorf("dtls: ask for the destination of datagrams: %w", err)
	}
	if s.info != nil {
		s.oob = make([]byte, maxControl)
	}
	return s, nil
}

// packetInfo is what a system tells about the local address of datagrams, as control messages (RFC 3542, Section 6).
type packetInfo interface {
	local(control []byte) netip.Addr // to which a datagram came; zero when unknown or not one host's
	control(local netip.Addr) []byte // makes a datagram leave from there
}

// read reads one datagram, and the local address to which it came where that is known. IPv4 addresses in IPv6 clothing
// become IPv4, so that an address has one spelling.
func (s *socket) read(b []byte) (n int, from netip.AddrPort, local netip.Addr, err error) {
	switch {
	case s.info != nil:
		var control int
		n, control, _, from, err = s.udp.ReadMsgUDPAddrPort(b, s.oob)
		if err == nil {
			local = s.info.local(s.oob[:control])
		}
		return n, unmap(from), local, err
	case s.udp != nil:
		n, from, err = s.udp.ReadFromUDPAddrPort(b)
		return n, unmap(from), local, err
	}
	n, addr, err := s.conn.ReadFrom(b)
	if err == nil {
		from, err = addrPort(addr)
	}
	return n, from, local, err
}

// from returns the control message with which datagrams leave from a local address, or nil.
func (s *socket) from(local netip.Addr) []byte {
	if s.info == nil || !local.IsValid() {
		return nil
	}
	return s.info.control(local)
}

// write writes one datagram. control is what from returned.
func (s *socket) write(b []byte, to netip.AddrPort, control []byte) error {
	var err error
	switch {
	case control != nil:
		_, _, err = s.udp.WriteMsgUDPAddrPort(b, control, to)
	case s.udp != nil:
		_, err = s.udp.WriteToUDPAddrPort(b, to)
	default:
		_, err = s.conn.WriteTo(b, net.UDPAddrFromAddrPort(to))
	}
	return err
}

// reaches reports whether the socket's address family fits to; exact is true when it needs no IPv4-mapped address.
func (s *socket) reaches(to netip.Addr) (fits, exact bool) {
	local, err := addrPort(s.conn.LocalAddr())
	if err != nil {
		return true, false
	}
	if local.Addr().Is4() == to.Is4() {
		return true, true
	}
	return local.Addr() == netip.IPv6Unspecified(), false
}

// addrPort reads a net.Addr as an address and a port.
func addrPort(addr net.Addr) (netip.AddrPort, error) {
	if udp, ok := addr.(*net.UDPAddr); ok {
		return unmap(udp.AddrPort()), nil
	}
	ap, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("dtls: not an IP address and port: %w", err)
	}
	return unmap(ap), nil
}

func unmap(ap netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()) }

// prefix is the part of an address that one site shares: IPv4 /24, IPv6 /56 (S50).
func prefix(addr netip.Addr) netip.Prefix {
	bits := 56
	if addr.Is4() {
		bits = 24
	}
	p, err := addr.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
