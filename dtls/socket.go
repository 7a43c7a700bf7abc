package dtls

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"unique"
)

// localAddr is the local address to which a datagram came and from which its answers leave. The zero value leaves the choice
// to the kernel. It is as small as a pointer.
type localAddr = unique.Handle[netip.Addr]

// packet is one datagram that was read. What it holds is overwritten by the next read.
type packet struct {
	from  pathKey
	local localAddr
	data  []byte // longer than maxDatagram: it was cut off
}

// outgoing is one datagram that is written. It is filled between socket.begin and socket.end.
type outgoing struct {
	to    pathKey
	local localAddr
	data  []byte       // its capacity is enough for any datagram of ours
	alone *[1]outgoing // what it is part of; nil: the batch
}

// transport reads and writes the datagrams of one socket. Its reading half has one user, its writing half any number.
type transport interface {
	// read waits for datagrams and returns them. They are valid until the next call.
	read() ([]packet, error)
	// write writes datagrams. What the system doesn't take is lost, as on the network; it returns how many were.
	write([]outgoing) (lost int)
	// kernelDrops is how many datagrams the kernel dropped so far because the buffer was full.
	kernelDrops() uint64
}

// socket is one net.PacketConn of an endpoint. While its reader works on what one system call brought, everything that is
// written waits and leaves with one call as well.
type socket struct {
	conn  net.PacketConn
	index uint16
	transport
	count *counters
	free  sync.Pool // *[1]outgoing

	mu       sync.Mutex // guards the following fields
	batching bool
	queue    []outgoing // of the batch; used[:n] are filled
	n        int
}

func newSocket(conn net.PacketConn, index uint16, count *counters) (*socket, error) {
	s := &socket{conn: conn, index: index, count: count, queue: make([]outgoing, batchSize)}
	for i := range s.queue {
		s.queue[i].data = make([]byte, 0, maxMTU)
	}
	s.free.New = func() any {
		alone := &[1]outgoing{{data: make([]byte, 0, maxMTU)}}
		alone[0].alone = alone
		return alone
	}
	var err error
	if udp, ok := conn.(*net.UDPConn); ok {
		if s.transport, err = newBatches(s, udp); err != nil {
			return nil, fmt.Errorf("dtls: prepare the socket %v: %w", conn.LocalAddr(), err)
		}
	}
	if s.transport == nil {
		s.transport = &single{sock: s, buf: make([]byte, maxDatagram+1), packets: make([]packet, 1)}
	}
	return s, nil
}

// begin returns a datagram to be filled and given to end. In between the caller must not block.
func (s *socket) begin() *outgoing {
	s.mu.Lock()
	if s.batching && s.n < len(s.queue) {
		o := &s.queue[s.n]
		o.data = o.data[:0]
		return o // end unlocks
	}
	s.mu.Unlock()
	o := &s.free.Get().(*[1]outgoing)[0]
	o.data = o.data[:0]
	return o
}

// end sends what begin returned, or drops it when nothing was put into it.
func (s *socket) end(o *outgoing) {
	if o.alone == nil {
		if len(o.data) > 0 {
			s.n++
		}
		s.mu.Unlock()
		return
	}
	if len(o.data) > 0 {
		s.lose(s.write(o.alone[:]))
	}
	s.free.Put(o.alone)
}

// send sends one datagram.
func (s *socket) send(to pathKey, local localAddr, datagram []byte) {
	o := s.begin()
	o.to, o.local = to, local
	o.data = append(o.data, datagram...)
	s.end(o)
}

// collect makes what is sent wait for flush. The reader calls both.
func (s *socket) collect() {
	s.mu.Lock()
	s.batching = true
	s.mu.Unlock()
}

// flush writes what was collected. Senders write on their own meanwhile.
func (s *socket) flush() {
	s.mu.Lock()
	s.batching = false
	n := s.n
	s.mu.Unlock()
	if n > 0 {
		s.lose(s.write(s.queue[:n]))
		s.mu.Lock()
		s.n = 0
		s.mu.Unlock()
	}
}

func (s *socket) lose(n int) {
	if n > 0 {
		s.count.dropped[DropNotSent].Add(uint64(n))
	}
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

// single is the transport of any net.PacketConn: one datagram at a time.
type single struct {
	sock    *socket
	buf     []byte
	packets []packet
}

func (s *single) read() ([]packet, error) {
	n, addr, err := s.sock.conn.ReadFrom(s.buf)
	if err != nil {
		return nil, err
	}
	from, err := addrPort(addr)
	if err != nil {
		return nil, err
	}
	s.packets[0] = packet{from: s.sock.key(from), data: s.buf[:n]}
	return s.packets, nil
}

func (s *single) write(datagrams []outgoing) (lost int) {
	for i := range datagrams {
		if _, err := s.sock.conn.WriteTo(datagrams[i].data, net.UDPAddrFromAddrPort(datagrams[i].to.addr())); err != nil {
			lost++
		}
	}
	return lost
}

func (*single) kernelDrops() uint64 { return 0 }
