package dtls

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"unique"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socketBuffer is what is asked of the kernel for each direction of a socket, in bytes: a second of 20,000 datagrams a second
// of 200 bytes. The kernel may grant less (net.core.rmem_max).
const socketBuffer = 4 << 20

// message is struct mmsghdr of recvmmsg(2).
type message struct {
	unix.Msghdr
	length uint32 // padded as a pointer demands: 4 bytes more where it has 8
}

// frame is what one message points to.
type frame struct {
	name    unix.RawSockaddrInet6 // large enough for IPv4's as well
	iov     unix.Iovec
	control [maxControl]byte
}

// batches is the transport of a UDP socket: recvmmsg and sendmmsg without an allocation for a datagram.
type batches struct {
	index   uint16
	raw     syscall.RawConn
	v6      bool // the socket's family
	info    bool // it has no address of its own: each datagram says to which it came, and is told from which to leave
	dropped atomic.Uint64

	in      vector
	buffers []byte
	packets []packet
	receive func(fd uintptr) bool
	locals  map[netip.Addr]localAddr // of this host; the reader alone

	free chan *sender
}

// vector is the argument of one system call.
type vector struct {
	messages []message
	frames   []frame
	n        int
	err      syscall.Errno
}

// sender is the writing half's scratch.
type sender struct {
	vector
	from, to int
	transmit func(fd uintptr) bool
}

func newVector(n int) vector {
	v := vector{messages: make([]message, n), frames: make([]frame, n)}
	for i := range v.messages {
		m, f := &v.messages[i], &v.frames[i]
		m.Name, m.Iov = (*byte)(unsafe.Pointer(&f.name)), &f.iov
		m.Control = &f.control[0]
		m.SetIovlen(1)
	}
	return v
}

// newBatches prepares a socket and the scratch of its two halves.
func newBatches(s *socket, udp *net.UDPConn) (transport, error) {
	raw, err := udp.SyscallConn()
	if err != nil {
		return nil, err
	}
	local, err := addrPort(udp.LocalAddr())
	if err != nil {
		return nil, err
	}
	b := &batches{
		index: s.index, raw: raw, info: local.Addr().IsUnspecified(), in: newVector(batchSize),
		buffers: make([]byte, batchSize*(maxDatagram+1)), packets: make([]packet, batchSize),
		locals: map[netip.Addr]localAddr{}, free: make(chan *sender, 4),
	}
	b.receive = b.recvmmsg
	var failed error
	err = raw.Control(func(fd uintptr) { failed = b.prepare(int(fd)) })
	if err == nil {
		err = failed
	}
	return b, err
}

// prepare sets the socket's options. Those that only help may fail.
func (b *batches) prepare(fd int) error {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return err
	}
	b.v6 = domain == unix.AF_INET6
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, socketBuffer)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, socketBuffer)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
	// An ICMP message can't be authenticated: no path MTU is learned from it, and what doesn't fit is fragmented.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_OMIT)
	if b.v6 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_OMIT)
	}
	switch {
	case !b.info:
		return nil
	case b.v6: // one that takes IPv4 too uses mapped addresses for it
		return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
}

// read implements transport.
func (b *batches) read() ([]packet, error) {
	for i := range b.in.messages {
		m, f := &b.in.messages[i], &b.in.frames[i]
		buf := b.buffers[i*(maxDatagram+1) : (i+1)*(maxDatagram+1)]
		f.iov.Base = &buf[0]
		f.iov.SetLen(len(buf))
		m.Namelen = uint32(unsafe.Sizeof(f.name))
		m.SetControllen(maxControl)
	}
	if err := b.raw.Read(b.receive); err != nil {
		return nil, err
	}
	if b.in.err != 0 {
		return nil, b.in.err
	}
	n := 0
	for i := range b.in.n {
		from, ok := b.address(&b.in.frames[i].name)
		if !ok {
			continue
		}
		m := &b.in.messages[i]
		start := i * (maxDatagram + 1)
		b.packets[n] = packet{
			from: from, local: b.control(b.in.frames[i].control[:m.Controllen]), data: b.buffers[start : start+int(m.length)],
		}
		n++
	}
	return b.packets[:n], nil
}

// recvmmsg is called by the runtime's poller when the socket is readable.
func (b *batches) recvmmsg(fd uintptr) bool {
	n, _, err := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.in.messages[0])), uintptr(len(b.in.messages)),
		unix.MSG_DONTWAIT, 0, 0)
	b.in.n, b.in.err = int(n), err
	if err == unix.EINTR {
		b.in.n, b.in.err = 0, 0 // nothing came; it is asked again
	}
	return err != unix.EAGAIN
}

// address reads where a datagram came from.
func (b *batches) address(name *unix.RawSockaddrInet6) (pathKey, bool) {
	switch name.Family {
	case unix.AF_INET6:
		return pathKey{ip: name.Addr, zone: name.Scope_id, port: swap(name.Port), sock: b.index}, true
	case unix.AF_INET:
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		return pathKey{ip: netip.AddrFrom4(v4.Addr).As16(), port: swap(v4.Port), sock: b.index}, true
	}
	return pathKey{}, false
}

// swap turns a port between the order of the network and that of this machine.
func swap(port uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], port)
	return binary.BigEndian.Uint16(b[:])
}

// Offsets in struct in_pktinfo and struct in6_pktinfo.
const (
	specDst4, end4 = 4, 8 // behind the interface's index: the local address that answers, also to a broadcast
	end6           = 16
)

// control reads what the kernel says beside a datagram: its destination, and how many were dropped so far.
func (b *batches) control(data []byte) (local localAddr) {
	for len(data) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&data[0]))
		length := int(h.Len)
		if length < unix.SizeofCmsghdr || length > len(data) {
			break
		}
		body := data[unix.CmsgLen(0):length]
		switch {
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_RXQ_OVFL && len(body) >= 4:
			b.dropped.Store(uint64(binary.NativeEndian.Uint32(body)))
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(body) >= end4:
			local = b.intern(netip.AddrFrom4([4]byte(body[specDst4:end4])))
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(body) >= end6:
			local = b.intern(netip.AddrFrom16([16]byte(body[:end6])))
		}
		data = data[min(unix.CmsgSpace(length-unix.CmsgLen(0)), len(data)):]
	}
	return local
}

// intern makes a local address small. One from which a host can't send is none.
func (b *batches) intern(addr netip.Addr) localAddr {
	if h, ok := b.locals[addr]; ok {
		return h
	}
	plain := addr.Unmap()
	if plain.IsMulticast() || plain.IsUnspecified() || plain == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return localAddr{}
	}
	h := unique.Make(addr)
	b.locals[addr] = h
	return h
}

// kernelDrops implements transport.
func (b *batches) kernelDrops() uint64 { return b.dropped.Load() }

// write implements transport.
func (b *batches) write(datagrams []outgoing) (lost int) {
	var s *sender
	select {
	case s = <-b.free:
	default:
		s = &sender{vector: newVector(batchSize)}
		s.transmit = s.sendmmsg
	}
	for len(datagrams) > 0 {
		n := min(len(datagrams), len(s.messages))
		for i := range n {
			b.fill(&s.messages[i], &s.frames[i], &datagrams[i])
		}
		lost += s.send(b.raw, n)
		datagrams = datagrams[n:]
	}
	for i := range s.frames {
		s.frames[i].iov.Base = nil // the caller's
	}
	select {
	case b.free <- s:
	default:
	}
	return lost
}

// fill points a message to a datagram.
func (b *batches) fill(m *message, f *frame, o *outgoing) {
	f.iov.Base = &o.data[0]
	f.iov.SetLen(len(o.data))
	if b.v6 {
		f.name = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: swap(o.to.port), Addr: o.to.ip, Scope_id: o.to.zone}
		m.Namelen = unix.SizeofSockaddrInet6
	} else {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&f.name))
		*v4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: swap(o.to.port), Addr: [4]byte(o.to.ip[12:])}
		m.Namelen = unix.SizeofSockaddrInet4
	}
	m.SetControllen(0)
	m.Control = nil
	if b.info && o.local != (localAddr{}) {
		m.Control = &f.control[0]
		m.SetControllen(b.source(f.control[:], o.local.Value()))
	}
}

// source writes the control message with which a datagram leaves from a local address, and returns its length.
func (b *batches) source(control []byte, local netip.Addr) int {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	size := unix.SizeofInet4Pktinfo
	h.Level, h.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
	if b.v6 {
		size = unix.SizeofInet6Pktinfo
		h.Level, h.Type = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO
	}
	h.SetLen(unix.CmsgLen(size))
	body := control[unix.CmsgLen(0):unix.CmsgSpace(size)]
	clear(body)
	if b.v6 {
		ip := local.As16()
		copy(body, ip[:])
	} else {
		ip := local.As4()
		copy(body[specDst4:], ip[:])
	}
	return unix.CmsgSpace(size)
}

// send writes the first n messages and returns how many the system refused: each on its own account, so that one bad
// destination costs no other its datagram.
func (s *sender) send(raw syscall.RawConn, n int) (lost int) {
	for s.from, s.to = 0, n; s.from < s.to; {
		if err := raw.Write(s.transmit); err != nil {
			return lost + s.to - s.from
		}
		switch {
		case s.err == unix.EINTR:
		case s.err != 0:
			lost++
			s.from++
		default:
			s.from += s.n
		}
	}
	return lost
}

// sendmmsg is called by the runtime's poller when the socket is writable.
func (s *sender) sendmmsg(fd uintptr) bool {
	n, _, err := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&s.messages[s.from])), uintptr(s.to-s.from),
		unix.MSG_DONTWAIT, 0, 0)
	s.n, s.err = int(n), err
	return err != unix.EAGAIN
}
