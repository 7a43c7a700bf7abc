package dtls

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Endpoint is every DTLS connection on a set of sockets. Its methods may be called from any goroutine.
type Endpoint struct {
	conf     *Config
	socks    []*socket
	secret   [32]byte
	order    []suite // best first
	count    counters
	logLimit *rate.Limiter
	began    time.Time     // the zero of elapsed
	done     chan struct{} // closed by halt: Serve returns
	halted   sync.Once
	running  sync.WaitGroup // handshakes and sessions

	mu         sync.Mutex // guards the following fields
	closing    bool
	paths      map[pathKey]*path
	conns      map[*Conn]struct{}
	peers      map[PeerID][]*Conn // oldest first
	pending    map[*handshake]struct{}
	dials      map[dialKey]*dialing
	open       halfOpen
	sites      map[netip.Prefix]*halfOpen
	generation uint64 // grows with CloseWhere
}

// New makes an endpoint of the sockets, which it owns from then on. Serve makes it work. On Linux a socket
// that is bound to no address answers from the address to which the peer wrote; elsewhere bind one to each address.
func New(c *Config, conns ...net.PacketConn) (*Endpoint, error) {
	conf, err := c.check()
	if err != nil {
		return nil, err
	}
	if len(conns) == 0 {
		return nil, errors.New("dtls: no socket")
	}
	ep := &Endpoint{
		conf:     conf,
		order:    suites(),
		logLimit: rate.NewLimiter(failureLogRate, failureLogBurst),
		began:    time.Now(),
		done:     make(chan struct{}),
		paths:    map[pathKey]*path{},
		conns:    map[*Conn]struct{}{},
		peers:    map[PeerID][]*Conn{},
		pending:  map[*handshake]struct{}{},
		dials:    map[dialKey]*dialing{},
		sites:    map[netip.Prefix]*halfOpen{},
	}
	_, _ = rand.Read(ep.secret[:]) // never fails (crypto/rand)
	for _, conn := range conns {
		sock, err := newSocket(conn)
		if err != nil {
			return nil, err
		}
		ep.socks = append(ep.socks, sock)
	}
	return ep, nil
}

// Serve reads the sockets and runs the clock of idle limits until Shutdown, when it returns nil, or until a socket was
// closed by somebody else, when it returns that error: nothing is read any more then, and Shutdown remains to be called. It
// is called once.
func (ep *Endpoint) Serve() error {
	errs := make(chan error, len(ep.socks))
	var loops sync.WaitGroup
	for _, sock := range ep.socks {
		loops.Go(func() {
			err := ep.read(sock)
			if err != nil {
				ep.halt()
			}
			errs <- err
		})
	}
	loops.Go(ep.sweep)
	loops.Wait()
	close(errs)
	var err error
	for e := range errs {
		err = errors.Join(err, e)
	}
	return err
}

// halt ends the loops of Serve. The sockets stay open for what is written.
func (ep *Endpoint) halt() {
	ep.halted.Do(func() {
		close(ep.done)
		for _, sock := range ep.socks {
			_ = sock.conn.SetReadDeadline(time.Now()) // fails on the socket that is closed
		}
	})
}

// read is the one goroutine that reads a socket.
func (ep *Endpoint) read(sock *socket) error {
	buf := make([]byte, maxDatagram+1)
	for {
		n, from, local, err := sock.read(buf)
		switch {
		case err == nil:
			ep.receive(pathKey{sock, from}, local, buf[:n])
		case ep.isDone():
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("dtls: socket %v was closed: %w", sock.conn.LocalAddr(), err)
		default: // an ICMP error, a long datagram on some systems: not the socket's end
			ep.count.readErrors.Add(1)
			select {
			case <-ep.done:
			case <-time.After(readErrorPause):
			}
		}
	}
}

func (ep *Endpoint) isDone() bool {
	select {
	case <-ep.done:
		return true
	default:
		return false
	}
}

// elapsed is the time since the endpoint's start. It does not follow steps of the system's clock, which must end nothing.
func (ep *Endpoint) elapsed() time.Duration { return time.Since(ep.began) }

// sweep ends sessions that are idle or whose peer's certificate ran out.
func (ep *Endpoint) sweep() {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ep.done:
			return
		case now := <-ticker.C:
			ep.closeEach(func(c *Conn) (Reason, bool) {
				if end := c.peer.NotAfter; !end.IsZero() && now.After(end) && ep.conf.ClockOK() {
					return ReasonExpired, true
				}
				return ReasonIdle, ep.elapsed()-time.Duration(c.lastSeen.Load()) > c.idle
			})
		}
	}
}

// closeEach closes the sessions for which f returns true and returns how many there were. It calls f outside the lock.
func (ep *Endpoint) closeEach(f func(*Conn) (Reason, bool)) int {
	ep.mu.Lock()
	conns := slices.Collect(maps.Keys(ep.conns))
	ep.mu.Unlock()
	n := 0
	for _, c := range conns {
		if r, ok := f(c); ok && c.open() {
			c.Close(r)
			n++
		}
	}
	return n
}

// CloseWhere closes the sessions for whose peer f returns true and returns their number. A handshake that completes after
// it, with a credential looked up before it, has its credential looked up again: what was withdrawn doesn't slip in.
func (ep *Endpoint) CloseWhere(f func(*Peer) bool, r Reason) int {
	ep.mu.Lock()
	ep.generation++
	ep.mu.Unlock()
	return ep.closeEach(func(c *Conn) (Reason, bool) { return r, f(c.peer) })
}

func (ep *Endpoint) currentGeneration() uint64 {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	return ep.generation
}

// Shutdown ends every handshake, closes every session with close_notify, waits until their goroutines are gone, and closes
// the sockets. When ctx ends first it closes the sockets at once and returns ctx's error.
func (ep *Endpoint) Shutdown(ctx context.Context) error {
	ep.mu.Lock()
	first := !ep.closing
	ep.closing = true
	for h := range ep.pending {
		h.cancel(errEnding)
	}
	ep.mu.Unlock()
	ep.closeEach(func(*Conn) (Reason, bool) { return ReasonShutdown, true })
	idle := make(chan struct{})
	go func() {
		ep.running.Wait()
		close(idle)
	}()
	var err error
	select {
	case <-idle:
	case <-ctx.Done():
		err = fmt.Errorf("dtls: shutdown: %w", context.Cause(ctx))
	}
	if first {
		ep.halt()
		for _, sock := range ep.socks {
			err = errors.Join(err, sock.conn.Close())
		}
	}
	return err
}

// remove takes an ended session out of the tables.
func (ep *Endpoint) remove(c *Conn) {
	ep.count.closed[c.reason.Load()-1].Add(1)
	ep.mu.Lock()
	defer ep.mu.Unlock()
	delete(ep.conns, c)
	if p := ep.paths[c.key]; p != nil && p.live == c {
		p.live = nil
		ep.tidyLocked(c.key, p)
	}
	same := ep.peers[c.peer.ID]
	for i := range same {
		if same[i] == c {
			same = append(same[:i:i], same[i+1:]...)
			break
		}
	}
	if len(same) == 0 {
		delete(ep.peers, c.peer.ID)
		return
	}
	ep.peers[c.peer.ID] = same
}

// tidyLocked forgets a path on which nothing goes on.
func (ep *Endpoint) tidyLocked(key pathKey, p *path) {
	if p.live == nil && p.pending == nil {
		delete(ep.paths, key)
	}
}

// Stats returns a snapshot of the endpoint's counters.
func (ep *Endpoint) Stats() Stats {
	s := ep.count.snapshot()
	ep.mu.Lock()
	defer ep.mu.Unlock()
	s.Sessions, s.HalfOpen = len(ep.conns), len(ep.pending)
	return s
}

// Addrs returns the local addresses of the sockets.
func (ep *Endpoint) Addrs() []net.Addr {
	addrs := make([]net.Addr, 0, len(ep.socks))
	for _, sock := range ep.socks {
		addrs = append(addrs, sock.conn.LocalAddr())
	}
	return addrs
}
