package dtls

import (
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// packetInfo4 and packetInfo6 are packetInfo for sockets of either family (ip(7), ipv6(7)). A socket of IPv6 that takes
// IPv4 too uses IPV6_PKTINFO with mapped addresses for both.
type (
	packetInfo4 struct{}
	packetInfo6 struct{}
)

// newPacketInfo makes the kernel tell the destination of each datagram.
func newPacketInfo(udp *net.UDPConn) (packetInfo, error) {
	raw, err := udp.SyscallConn()
	if err != nil {
		return nil, err
	}
	var info packetInfo
	var failed error
	err = raw.Control(func(fd uintptr) {
		var domain int
		if domain, failed = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN); failed != nil {
			return
		}
		if domain == unix.AF_INET {
			info = packetInfo4{}
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
			return
		}
		info = packetInfo6{}
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	})
	if err == nil {
		err = failed
	}
	return info, err
}

// Offsets in struct in_pktinfo and struct in6_pktinfo.
const (
	specDst4, end4 = 4, 8 // behind the interface's index: the local address that answers, also to a broadcast
	addr6, end6    = 0, 16
)

func (packetInfo4) local(control []byte) netip.Addr {
	data := controlData(control, unix.IPPROTO_IP, unix.IP_PKTINFO)
	if len(data) < end4 {
		return netip.Addr{}
	}
	return host(netip.AddrFrom4([4]byte(data[specDst4:end4])))
}

func (packetInfo6) local(control []byte) netip.Addr {
	data := controlData(control, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO)
	if len(data) < end6 {
		return netip.Addr{}
	}
	return host(netip.AddrFrom16([16]byte(data[addr6:end6])))
}

// controlData returns the data of one kind of control message.
func controlData(control []byte, level, kind int32) []byte {
	for len(control) > 0 {
		header, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return nil
		}
		if header.Level == level && header.Type == kind {
			return data
		}
		control = rest
	}
	return nil
}

// host returns an address from which a host can send, or none.
func host(addr netip.Addr) netip.Addr {
	plain := addr.Unmap()
	if plain.IsMulticast() || plain.IsUnspecified() || plain == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return netip.Addr{}
	}
	return addr
}

func (packetInfo4) control(local netip.Addr) []byte {
	return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: local.As4()})
}

func (packetInfo6) control(local netip.Addr) []byte {
	return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: local.As16()})
}
