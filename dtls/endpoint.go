package dtls

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/maphash"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"coapbridge/dtls/handshake"
)

// Endpoint is every DTLS connection on a set of sockets. Its methods may be called from any goroutine.
//
// One goroutine reads each socket, and does everything that needs no public-key operation and no look-up. Where one core is
// not enough for a socket, several sockets with SO_REUSEPORT would share its address: sessions are found in one table.
type Endpoint struct {
	conf       *Config
	handshakes *handshake.Config
	pskOnly    *handshake.Config // while the clock can't be trusted
	socks      []*socket
	macs       sync.Pool   // hash.Hash: HMAC-SHA256 under the endpoint's secret
	dialled    atomic.Bool // a hello of ours may come back
	count      counters
	logLimit   *rate.Limiter
	began      time.Time     // the zero of elapsed
	done       chan struct{} // closed by halt: Serve returns
	halted     sync.Once
	running    sync.WaitGroup // handshakes, their jobs, sessions
	crypto     pool
	chains     chains
	rates      rates

	clock          sync.Mutex // guards the following two fields
	handshakeTimes *wheel[negotiation, *negotiation]
	sessionTimes   *wheel[Conn, *Conn]
	wake           chan struct{} // the first handshake was scheduled

	busyMu sync.Mutex // guards the following field
	busy   []*Conn    // sessions whose ciphers are expanded, about oldest first

	mu sync.Mutex // guards the following fields
	tables
	closing    bool
	dials      map[dialKey]*dialing
	generation uint64  // grows with CloseWhere
	gone       []*Conn // closed, and the handler doesn't know yet
	reaping    bool
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
		conf:           conf,
		logLimit:       rate.NewLimiter(failureLogRate, failureLogBurst),
		began:          time.Now(),
		done:           make(chan struct{}),
		rates:          rates{perSecond: float64(conf.Limits.HandshakesPerPrefix), seed: maphash.MakeSeed()},
		handshakeTimes: newWheel[negotiation](handshakeTick, handshakeSlots),
		sessionTimes:   newWheel[Conn](sessionTick, sessionSlots),
		wake:           make(chan struct{}, 1),
		tables:         newTables(),
		dials:          map[dialKey]*dialing{},
	}
	secret := randomBytes[[32]byte]()
	ep.macs.New = func() any { return hmac.New(sha256.New, secret[:]) }
	ep.handshakes = &handshake.Config{
		PSK: conf.PSK != nil, Certificate: conf.Certificate != nil, MaxDatagram: conf.Limits.payload(), Random: ep.newRandom,
		Memory: handshake.NewBudget(maxFragmentMemory),
	}
	pskOnly := *ep.handshakes
	pskOnly.Certificate = false
	ep.pskOnly = &pskOnly
	for i, conn := range conns {
		sock, err := newSocket(conn, uint16(i), &ep.count)
		if err != nil {
			return nil, err
		}
		ep.socks = append(ep.socks, sock)
	}
	return ep, nil
}

// Serve reads the sockets and runs the clock until Shutdown, when it returns nil, or until a socket was
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
	loops.Go(ep.tick)
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
	g := &greeter{cookies: handshake.NewCookies()}
	for {
		packets, err := sock.read()
		switch {
		case err == nil:
			ep.receiveAll(sock, g, packets)
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

// receiveAll works on what one system call brought; what is sent meanwhile leaves with one call as well.
func (ep *Endpoint) receiveAll(sock *socket, g *greeter, packets []packet) {
	now := time.Now()
	g.cookies.Rotate(now)
	sock.collect()
	for i := range packets {
		ep.receive(g, &packets[i], now)
	}
	sock.flush()
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

func (ep *Endpoint) since(now time.Time) time.Duration { return now.Sub(ep.began) }

// tick is the clock: it retransmits and ends what has taken too long. It runs slowly while no handshake is under way.
func (ep *Endpoint) tick() {
	timer := time.NewTimer(sessionTick)
	defer timer.Stop()
	var conns []*Conn
	var handshakes []*negotiation
	for {
		select {
		case <-ep.done:
			return
		case <-ep.wake:
		case <-timer.C:
		}
		now := time.Now()
		ep.clock.Lock()
		handshakes = ep.handshakeTimes.due(handshakes[:0], ep.since(now))
		conns = ep.sessionTimes.due(conns[:0], ep.since(now))
		ep.clock.Unlock()
		for _, n := range handshakes {
			n.tick(now)
		}
		for _, c := range conns {
			ep.inspect(c, now)
		}
		clear(handshakes)
		clear(conns)
		ep.rest(ep.since(now))
		ep.clock.Lock()
		next := sessionTick
		if ep.handshakeTimes.count > 0 {
			next = handshakeTick
		}
		ep.clock.Unlock()
		timer.Reset(next)
	}
}

// keepBusy remembers a session whose ciphers were expanded, and drops those of the one that was expanded first when there are
// too many.
func (ep *Endpoint) keepBusy(c *Conn) {
	ep.busyMu.Lock()
	defer ep.busyMu.Unlock()
	if len(ep.busy) >= maxBusy {
		ep.busy[0].busy.Store(nil)
		ep.busy[0] = nil
		ep.busy = ep.busy[1:]
	}
	ep.busy = append(ep.busy, c)
}

// rest drops the ciphers of sessions that are not busy any more.
func (ep *Endpoint) rest(now time.Duration) {
	ep.busyMu.Lock()
	defer ep.busyMu.Unlock()
	kept := ep.busy[:0]
	for _, c := range ep.busy {
		switch {
		case !c.isOpen():
		case now-time.Duration(c.lastSeen.Load())*time.Second > busyTime:
			c.busy.Store(nil)
		default:
			kept = append(kept, c)
		}
	}
	clear(ep.busy[len(kept):])
	ep.busy = kept
	if len(kept) == 0 {
		ep.busy = nil
	}
}

// closeEach closes the sessions for which f returns true and returns how many there were. It calls f outside the lock.
func (ep *Endpoint) closeEach(f func(*Conn) bool, r Reason) int {
	ep.mu.Lock()
	conns := make([]*Conn, 0, ep.sessions)
	for _, newest := range ep.peers {
		for c := newest; c != nil; c = c.older {
			conns = append(conns, c)
		}
	}
	ep.mu.Unlock()
	n := 0
	for _, c := range conns {
		if c.isOpen() && f(c) {
			c.Close(r)
			n++
		}
	}
	return n
}

// CloseWhere closes the sessions for whose peer f returns true and returns their number. A handshake that completes after
// it, with a credential looked up before it, has its credential looked up again: what was withdrawn doesn't slip in. Chains
// that were verified before it are verified again.
func (ep *Endpoint) CloseWhere(f func(*Peer) bool, r Reason) int {
	ep.mu.Lock()
	ep.generation++
	ep.mu.Unlock()
	return ep.closeEach(func(c *Conn) bool { return f(&c.peer) }, r)
}

func (ep *Endpoint) currentGeneration() uint64 {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	return ep.generation
}

// Shutdown ends every handshake, closes every session with close_notify, waits until the handler knows, and closes the
// sockets. When ctx ends first it closes the sockets at once and returns ctx's error.
func (ep *Endpoint) Shutdown(ctx context.Context) error {
	ep.mu.Lock()
	first := !ep.closing
	ep.closing = true
	pending := make([]*negotiation, 0, len(ep.pending))
	for _, n := range ep.pending {
		pending = append(pending, n)
	}
	ep.mu.Unlock()
	for _, n := range pending {
		n.cancel(errEnding)
	}
	ep.closeEach(func(*Conn) bool { return true }, ReasonShutdown)
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

// Stats returns a snapshot of the endpoint's counters.
func (ep *Endpoint) Stats() Stats {
	s := ep.count.snapshot()
	for _, sock := range ep.socks {
		s.KernelDrops += sock.kernelDrops()
	}
	ep.mu.Lock()
	defer ep.mu.Unlock()
	s.Sessions, s.HalfOpen = ep.sessions, len(ep.pending)
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
