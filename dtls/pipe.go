package dtls

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// pipe is the net.PacketConn that one pion Conn reads from and writes to: a bounded queue of datagrams that passed the
// filter, and the socket in the other direction. Its Close leaves the socket open.
type pipe struct {
	sock    *socket
	to      netip.AddrPort
	control []byte // makes datagrams leave from the address to which the peer wrote, or nil
	watch   watcher
	muted   atomic.Bool // writes go nowhere: another session has the address
	wake    chan struct{}

	mu      sync.Mutex // guards the following fields
	queue   [][]byte
	expired bool // a read deadline in the past is set
	closed  bool
}

// watcher sees what passes a pipe. Its methods but sent are called on the goroutine on which pion reads.
type watcher interface {
	settled()      // pion has processed everything that it read so far
	passed([]byte) // pion is given this datagram
	sent([]byte)   // pion writes this datagram
}

func newPipe(sock *socket, to netip.AddrPort) *pipe {
	return &pipe{sock: sock, to: to, wake: make(chan struct{}, 1)}
}

// push queues a datagram, which the pipe keeps. It reports false when the queue is full.
func (p *pipe) push(b []byte) bool {
	p.mu.Lock()
	if p.closed || len(p.queue) >= pipeDepth {
		full := !p.closed
		p.mu.Unlock()
		return !full
	}
	p.queue = append(p.queue, b)
	p.mu.Unlock()
	p.signal()
	return true
}

func (p *pipe) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// next takes the first datagram; ok is false when there is none yet.
func (p *pipe) next() (b []byte, ok bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return nil, false, net.ErrClosed
	case p.expired:
		return nil, false, os.ErrDeadlineExceeded
	case len(p.queue) == 0:
		p.queue = nil // an idle session keeps no array
		return nil, false, nil
	}
	b = p.queue[0]
	p.queue[0] = nil
	p.queue = p.queue[1:]
	return b, true, nil
}

// ReadFrom implements net.PacketConn.
func (p *pipe) ReadFrom(b []byte) (int, net.Addr, error) {
	p.watch.settled()
	for {
		datagram, ok, err := p.next()
		if err != nil {
			return 0, nil, err
		}
		if ok {
			p.watch.passed(datagram)
			return copy(b, datagram), net.UDPAddrFromAddrPort(p.to), nil
		}
		<-p.wake
	}
}

// WriteTo implements net.PacketConn. The address is the pipe's, whatever addr says.
func (p *pipe) WriteTo(b []byte, _ net.Addr) (int, error) {
	p.watch.sent(b)
	if p.muted.Load() {
		return len(b), nil
	}
	if err := p.sock.write(b, p.to, p.control); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Close implements net.PacketConn.
func (p *pipe) Close() error {
	p.mu.Lock()
	p.closed = true
	p.queue = nil
	p.mu.Unlock()
	p.signal()
	return nil
}

func (p *pipe) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// LocalAddr implements net.PacketConn.
func (p *pipe) LocalAddr() net.Addr { return p.sock.conn.LocalAddr() }

// SetReadDeadline implements net.PacketConn. pion sets a time long past to end a read, and none to go on.
func (p *pipe) SetReadDeadline(t time.Time) error {
	if !t.IsZero() && time.Until(t) > 0 {
		return os.ErrNoDeadline
	}
	p.mu.Lock()
	p.expired = !t.IsZero()
	p.mu.Unlock()
	p.signal()
	return nil
}

// SetWriteDeadline implements net.PacketConn. A datagram is written at once or lost.
func (*pipe) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline implements net.PacketConn.
func (p *pipe) SetDeadline(t time.Time) error { return p.SetReadDeadline(t) }
