// Package fleet sends and receives the datagrams of very many clients from one process, each client at an address of its own.
//
// Towards a server on loopback one socket is enough: it is bound to a port of all addresses, and each datagram leaves with
// the source address that IP_PKTINFO names (ip(7)), any of 127.0.0.0/8; the answer comes to the same socket, and IP_PKTINFO
// says to which of the addresses. To the server that is the same as a socket for each client, and for a source that must
// not be there at all it is the same as a forged one, for loopback has no path that could tell them apart. No file
// descriptor, no goroutine and no buffer is kept for a client. Towards any other server each client has a socket.
//
// A Fleet is safe for concurrent use; a Batch belongs to one goroutine. IPv4 only.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

const (
	batchSize   = 64      // datagrams a system call; beyond it the call's own cost has vanished (64 measured like 128)
	maxDatagram = 2048    // bytes of one datagram, of a server's longest flight on Ethernet
	bufferBytes = 4 << 20 // of a socket, each way: 100,000 answers a second are 40 ms of it

	offsetSource = 4 + cmsgHeader // of the source address (ipi_spec_dst) in an IP_PKTINFO message that is sent
	offsetHeader = 8 + cmsgHeader // of the address that a datagram came to (ipi_addr) in one that was received
	cmsgHeader   = 16
)

// Path is where one client is: its socket and its source address there.
type Path struct {
	socket uint16
	source [4]byte // zero: the kernel's choice
}

// String returns the source address.
func (p Path) String() string { return fmt.Sprintf("%s#%d", netip.AddrFrom4(p.source), p.socket) }

// Handler receives one datagram. It is called on the goroutine that read it; b is the Fleet's again on return. What it adds
// to out is sent when the datagrams that came together are done.
type Handler func(out *Batch, from Path, b []byte)

// Fleet is a set of sockets towards one server.
type Fleet struct {
	target  *net.UDPAddr
	spread  bool // one socket, many source addresses
	sockets []*socket
	spare   sync.Pool // of *Batch

	sent, received, failed atomic.Uint64
}

type socket struct {
	udp   *net.UDPConn
	batch *ipv4.PacketConn
}

// Open opens the sockets for n clients. Close closes them.
func Open(target netip.AddrPort, n int) (*Fleet, error) {
	target = netip.AddrPortFrom(target.Addr().Unmap(), target.Port())
	if !target.Addr().Is4() {
		return nil, fmt.Errorf("fleet: %s: only IPv4 servers can be measured", target)
	}
	f := &Fleet{target: net.UDPAddrFromAddrPort(target), spread: target.Addr().IsLoopback()}
	f.spare.New = func() any { return f.NewBatch() }
	count := 1
	if !f.spread {
		count = n
	}
	if count > 1<<16 {
		return nil, fmt.Errorf("fleet: %d clients; a server that is not on loopback can be measured with %d", n, 1<<16)
	}
	for range count {
		if err := f.open(); err != nil {
			f.Close()
			return nil, fmt.Errorf("fleet: socket %d of %d: %w", len(f.sockets)+1, count, err)
		}
	}
	return f, nil
}

func (f *Fleet) open() error {
	udp, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return err
	}
	s := &socket{udp, ipv4.NewPacketConn(udp)}
	f.sockets = append(f.sockets, s)
	if f.spread {
		// What the system doesn't allow is less; losses are counted by whoever waits.
		_ = udp.SetReadBuffer(bufferBytes)
		_ = udp.SetWriteBuffer(bufferBytes)
		return s.batch.SetControlMessage(ipv4.FlagDst, true)
	}
	return nil
}

// Close closes the sockets; Serve then returns.
func (f *Fleet) Close() {
	for _, s := range f.sockets {
		_ = s.udp.Close()
	}
}

// Path returns the place of client i, from 0. On loopback these are 127.1.0.1 and upwards, without those that end in 0 or 255.
func (f *Fleet) Path(i int) Path {
	if !f.spread {
		return Path{socket: uint16(i % len(f.sockets))}
	}
	last, rest := i%254+1, i/254
	return Path{source: [4]byte{127, byte(1 + rest>>8), byte(rest), byte(last)}}
}

// Elsewhere returns the i-th place that is no client's: 127.128.0.1 and upwards. Off loopback there is none.
func (f *Fleet) Elsewhere(i int) (Path, error) {
	if !f.spread {
		return Path{}, errors.New("fleet: other addresses than one's own can be taken on loopback only")
	}
	p := f.Path(i)
	p.source[1] |= 0x80
	return p, nil
}

// Target returns the server's address.
func (f *Fleet) Target() *net.UDPAddr { return f.target }

// Counts returns how many datagrams left, came, and could not leave.
func (f *Fleet) Counts() (sent, received, failed uint64) {
	return f.sent.Load(), f.received.Load(), f.failed.Load()
}

// Serve hands what comes to h until ctx is done or Close is called. It returns when no h runs any more.
func (f *Fleet) Serve(ctx context.Context, h Handler) {
	var readers sync.WaitGroup
	for i, s := range f.sockets {
		readers.Go(func() { f.read(s, uint16(i), h) })
	}
	stop := context.AfterFunc(ctx, f.Close)
	defer stop()
	readers.Wait()
}

func (f *Fleet) read(s *socket, index uint16, h Handler) {
	size := batchSize
	if !f.spread {
		size = 4 // thousands of sockets, each with its buffers
	}
	in := make([]ipv4.Message, size)
	for i := range in {
		in[i].Buffers = [][]byte{make([]byte, maxDatagram)}
		in[i].OOB = make([]byte, unix.CmsgSpace(unix.SizeofInet4Pktinfo))
	}
	out := f.NewBatch()
	for {
		n, err := s.batch.ReadBatch(in, 0)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		for _, m := range in[:max(n, 0)] {
			from, _ := m.Addr.(*net.UDPAddr)
			if from == nil || from.Port != f.target.Port || !from.IP.Equal(f.target.IP) {
				continue
			}
			p := Path{socket: index}
			if f.spread {
				if m.NN < offsetHeader+4 {
					continue
				}
				copy(p.source[:], m.OOB[offsetHeader:])
			}
			f.received.Add(1)
			h(out, p, m.Buffers[0][:m.N])
		}
		out.Flush()
	}
}

// Batch collects datagrams that are sent with one system call.
type Batch struct {
	fleet    *Fleet
	messages []ipv4.Message
	socket   uint16
	n        int
}

// NewBatch returns an empty batch.
func (f *Fleet) NewBatch() *Batch {
	b := &Batch{fleet: f, messages: make([]ipv4.Message, batchSize)}
	for i := range b.messages {
		m := &b.messages[i]
		m.Buffers = [][]byte{make([]byte, 0, maxDatagram)}
		m.Addr = f.target
		if f.spread {
			m.OOB = unix.PktInfo4(&unix.Inet4Pktinfo{})
		}
	}
	return b
}

// Room returns an empty slice of capacity for any datagram, to be filled by append and then passed to Add. It spares a copy.
func (b *Batch) Room() []byte {
	if b.n == len(b.messages) {
		b.Flush()
	}
	return b.messages[b.n].Buffers[0][:0]
}

// Add adds a datagram that leaves from p; data is the caller's again, unless it is Room's.
func (b *Batch) Add(p Path, data []byte) {
	if b.n == len(b.messages) || b.n > 0 && b.socket != p.socket {
		own := append([]byte(nil), data...)
		b.Flush()
		data = own
	}
	b.socket = p.socket
	m := &b.messages[b.n]
	m.Buffers[0] = append(m.Buffers[0][:0], data...)
	if m.OOB != nil {
		copy(m.OOB[offsetSource:], p.source[:])
	}
	b.n++
}

// Flush sends what was added. What the kernel refuses is counted, and is lost as on any network.
func (b *Batch) Flush() {
	s := b.fleet.sockets[b.socket]
	for done := 0; done < b.n; {
		n, err := s.batch.WriteBatch(b.messages[done:b.n], 0)
		if err != nil || n <= 0 {
			n = 1 // the first of them was refused
			b.fleet.failed.Add(1)
		} else {
			b.fleet.sent.Add(uint64(n))
		}
		done += n
	}
	b.n = 0
}

// Send sends one datagram.
func (f *Fleet) Send(p Path, data []byte) {
	b := f.Borrow()
	b.Add(p, data)
	f.Return(b)
}

// Borrow returns an empty batch for the moment.
func (f *Fleet) Borrow() *Batch { return f.spare.Get().(*Batch) }

// Return flushes a borrowed batch and takes it back.
func (f *Fleet) Return(b *Batch) {
	b.Flush()
	f.spare.Put(b)
}
