// Package simnet is a datagram network in memory for tests: sockets that satisfy net.PacketConn, joined by a wire on which
// a test sees, drops, repeats, changes and injects datagrams. It takes its time from package time, so that it works in a
// testing/synctest bubble. Its methods may be called from any goroutine. It is test support only.
package simnet

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// queueDepth is how many datagrams wait at a socket; further ones are lost, as in a kernel's buffer.
const queueDepth = 1024

// Packet is one datagram on the wire.
type Packet struct {
	From, To netip.AddrPort
	Data     []byte
}

// Net is a network. The zero value is ready to use.
type Net struct {
	// Wire decides what becomes of a datagram: what it returns is delivered, in that order. Nil delivers it once. It is
	// called from the sender's goroutine, one call at a time, and must not use the network. Set it before the first socket.
	Wire func(Packet) []Packet

	wire sync.Mutex // one call of Wire at a time; guards the following field
	calm bool

	mu    sync.Mutex // guards the following field
	socks map[netip.AddrPort]*Socket
}

// Listen opens a socket at an address such as "192.0.2.1:5684". It panics when the address is malformed or taken.
func (n *Net) Listen(addr string) *Socket {
	s := &Socket{net: n, addr: netip.MustParseAddrPort(addr), wake: make(chan struct{}, 1)}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.socks == nil {
		n.socks = map[netip.AddrPort]*Socket{}
	}
	if n.socks[s.addr] != nil {
		panic("simnet: address in use: " + addr)
	}
	n.socks[s.addr] = s
	return s
}

// Inject delivers a datagram past Wire, from whatever address it claims. It reports whether a socket took it.
func (n *Net) Inject(p Packet) bool {
	n.mu.Lock()
	to := n.socks[p.To]
	n.mu.Unlock()
	return to != nil && to.put(Packet{From: p.From, To: p.To, Data: bytes.Clone(p.Data)})
}

// Socket is one end of the network; it implements net.PacketConn.
type Socket struct {
	net  *Net
	addr netip.AddrPort
	wake chan struct{}

	mu       sync.Mutex // guards the following fields
	queue    []Packet
	deadline time.Time
	timer    *time.Timer
	closed   bool
}

func (s *Socket) put(p Packet) bool {
	s.mu.Lock()
	ok := !s.closed && len(s.queue) < queueDepth
	if ok {
		s.queue = append(s.queue, p)
	}
	s.mu.Unlock()
	s.signal()
	return ok
}

func (s *Socket) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take returns the first datagram, or an error, or neither yet.
func (s *Socket) take() (Packet, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return Packet{}, false, net.ErrClosed
	case !s.deadline.IsZero() && time.Until(s.deadline) <= 0:
		return Packet{}, false, os.ErrDeadlineExceeded
	case len(s.queue) == 0:
		return Packet{}, false, nil
	}
	p := s.queue[0]
	s.queue = s.queue[1:]
	return p, true, nil
}

// ReadFrom implements net.PacketConn.
func (s *Socket) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		p, ok, err := s.take()
		if err != nil {
			return 0, nil, err
		}
		if ok {
			return copy(b, p.Data), net.UDPAddrFromAddrPort(p.From), nil
		}
		<-s.wake
	}
}

// WriteTo implements net.PacketConn. A datagram to nobody is lost.
func (s *Socket) WriteTo(b []byte, addr net.Addr) (int, error) {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return 0, net.ErrClosed
	}
	to, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return 0, err
	}
	p := Packet{From: s.addr, To: to, Data: bytes.Clone(b)}
	out := []Packet{p}
	if s.net.Wire != nil {
		s.net.wire.Lock()
		if !s.net.calm {
			out = s.net.Wire(p)
		}
		s.net.wire.Unlock()
	}
	for _, p := range out {
		s.net.Inject(p)
	}
	return len(b), nil
}

// Close implements net.PacketConn.
func (s *Socket) Close() error {
	s.net.mu.Lock()
	delete(s.net.socks, s.addr)
	s.net.mu.Unlock()
	s.mu.Lock()
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Unlock()
	s.signal()
	return nil
}

// LocalAddr implements net.PacketConn.
func (s *Socket) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(s.addr) }

// SetDeadline implements net.PacketConn.
func (s *Socket) SetDeadline(t time.Time) error { return s.SetReadDeadline(t) }

// SetReadDeadline implements net.PacketConn.
func (s *Socket) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	s.deadline = t
	if !t.IsZero() {
		s.timer = time.AfterFunc(time.Until(t), s.signal)
	}
	return nil
}

// SetWriteDeadline implements net.PacketConn. Writes never wait.
func (*Socket) SetWriteDeadline(time.Time) error { return nil }

// Calm makes the wire deliver every datagram once from now on.
func (n *Net) Calm() {
	n.wire.Lock()
	defer n.wire.Unlock()
	n.calm = true
}
