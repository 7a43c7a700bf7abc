package dtls

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	pion "github.com/pion/dtls/v3"
)

// Why a handshake's context ends. None leaves the package but inside a *HandshakeError.
var (
	errNoCookie   = errors.New("the cookie did not come back")
	errDeadline   = errors.New("the handshake took too long")
	errSuperseded = errors.New("a newer hello took its place")
	errEvicted    = errors.New("its place was needed before the cookie came back")
	errPSKFailed  = errors.New("the peer's Finished did not verify")
	errGivenUp    = errors.New("nobody waits for it any more")
	errEnding     = errors.New("the endpoint closes")
)

// handshake is one handshake under way, in either role, with pion inside.
type handshake struct {
	ep     *Endpoint
	key    pathKey
	pipe   *pipe
	role   Role        // of the peer
	hello  clientHello // the peer's; zero when we dial
	site   netip.Prefix
	cancel context.CancelCauseFunc
	dial   *dialing    // nil when the peer began it
	expiry *time.Timer // cancels at Limits.HandshakeTimeout

	answered atomic.Bool  // the cookie came back (RFC 6347, Section 4.2.1); true from the start when we dial
	verified atomic.Bool  // the peer's Finished was authenticated, or when we dial: its certificate
	admitted time.Time    // when the tables took it; guarded by Endpoint.mu, as is held
	held     bool         // it counts against Limits.HalfOpen
	moved    atomic.Int64 // when it last went forward, as Endpoint.elapsed
	live     atomic.Pointer[Conn]

	bytes, records int // spent of the budget; the socket's goroutine alone

	repeat pskRepeat // pion's reading goroutine alone

	mu         sync.Mutex // guards the following fields
	peer       PeerID     // claimed until verified
	query      PSKQuery
	key0       []byte     // the PSK that was used
	chain      *PeerChain // that Config.Verify accepted
	names      []Name
	failure    error // of Config.Verify or Config.Certificate
	ownFault   bool  // failure is Config.Certificate's
	presented  bool  // the server asked for our certificate
	generation uint64
	alertIn    int // description of the alert in the clear that the peer sent, -1 for none
	alertOut   int // that pion sent
}

func (ep *Endpoint) newHandshake(key pathKey, role Role) *handshake {
	h := &handshake{ep: ep, key: key, role: role, pipe: newPipe(key.sock, key.addr), alertIn: -1, alertOut: -1}
	h.pipe.watch = h
	h.moved.Store(int64(h.ep.elapsed()))
	return h
}

// expects reports whether a record in the clear is legal in this handshake: message types by role (S15), alerts, and
// ChangeCipherSpec. An alert is remembered for the counters.
func (h *handshake) expects(r record) bool {
	switch r.typ {
	case typeAlert:
		if len(r.payload) != 2 {
			return false
		}
		h.mu.Lock()
		h.alertIn = int(r.payload[1])
		h.mu.Unlock()
		return true
	case typeChangeCipherSpec:
		return h.answered.Load()
	case typeHandshake:
		legal := []uint8{
			msgHelloVerifyRequest, msgServerHello, msgCertificate, msgServerKeyExchange, msgCertificateRequest,
			msgServerHelloDone,
		}
		if h.role == RoleClient {
			legal = []uint8{msgCertificate, msgClientKeyExchange, msgCertificateVerify}
		}
		return h.answered.Load() && messages(r.payload, func(m message) bool { return slices.Contains(legal, m.typ) })
	}
	return false
}

// spend takes n bytes and a record from the budget of the handshake (S17).
func (h *handshake) spend(n int) bool {
	h.bytes += n
	h.records++
	return h.bytes <= maxHandshakeBytes && h.records <= maxHandshakeRecords
}

// givesWay reports whether a new hello of the same address may take this handshake's place: before the cookie came back
// nobody proved anything, and after it a device may have restarted in the middle.
func (h *handshake) givesWay() bool {
	return !h.answered.Load() || h.ep.elapsed()-time.Duration(h.moved.Load()) > staleHandshake
}

// settled implements watcher.
func (h *handshake) settled() {
	if h.live.Load() == nil && h.repeat.failed() && !h.verified.Load() {
		// S5: one decrypt_error to a peer that repeated its flight, the same for an unknown identity and for a wrong key.
		const pastAllSequenceNumbers, fatal, decryptError = 1 << 20, 2, 51
		_, _ = h.pipe.WriteTo(appendAlert(nil, pastAllSequenceNumbers, fatal, decryptError), nil)
		h.cancel(errPSKFailed)
	}
}

// passed implements watcher.
func (h *handshake) passed(datagram []byte) {
	if h.live.Load() != nil || h.role != RoleClient {
		return
	}
	for rest := datagram; len(rest) > 0; {
		r, next, ok := parseRecord(rest)
		if !ok {
			return
		}
		h.repeat.see(r)
		rest = next
	}
}

// sent implements watcher: what pion answers is the one sign of how far it is.
func (h *handshake) sent(datagram []byte) {
	if c := h.live.Load(); c != nil {
		if len(datagram) > 0 && datagram[0] == typeAlert {
			c.alerted.Store(true)
		}
		return
	}
	r, _, ok := parseRecord(datagram)
	if !ok || r.epoch != 0 {
		return
	}
	switch {
	case r.typ == typeHandshake && len(r.payload) > 0 && r.payload[0] == msgServerHello:
		h.answered.Store(true)
		h.moved.Store(int64(h.ep.elapsed()))
	case r.typ == typeAlert && len(r.payload) == 2:
		h.mu.Lock()
		h.alertOut = int(r.payload[1])
		h.mu.Unlock()
	}
}

// accept begins the handshake of a ClientHello, or drops it at a limit.
func (ep *Endpoint) accept(key pathKey, local netip.Addr, hello clientHello, n int) *handshake {
	clock := ep.conf.ClockOK()
	chosen, ok := choose(ep.order, hello.suites, ep.conf.PSK != nil, ep.conf.Certificate != nil && clock)
	if !ok && !clock && ep.conf.Certificate != nil {
		if _, waits := choose(ep.order, hello.suites, false, true); waits {
			ep.count.handshakes[OutcomeClock].Add(1)
			return nil
		}
	}
	h := ep.newHandshake(key, RoleClient)
	h.pipe.control = key.sock.from(local)
	h.hello, h.site = hello, prefix(key.addr.Addr())
	ctx, cancel := context.WithCancelCause(context.Background())
	h.cancel = cancel
	if !ep.admit(h) {
		cancel(nil)
		ep.count.handshakes[OutcomeLimit].Add(1)
		return nil
	}
	h.spend(n)
	go ep.serve(ctx, h, chosen)
	return h
}

// serve runs a handshake that a peer began, and its session.
func (ep *Endpoint) serve(ctx context.Context, h *handshake, chosen suite) {
	defer ep.running.Done()
	h.expire()
	ids := suiteIDs(ep.conf.PSK != nil) // none in common: pion says so, after the cookie
	if chosen.id != 0 {
		ids = []pion.CipherSuiteID{chosen.id} // the server's order decides: pion takes the client's first otherwise
	}
	psk := chosen.psk || chosen.id == 0 && ep.conf.PSK != nil
	conn, err := pion.ServerWithOptions(h.pipe, net.UDPAddrFromAddrPort(h.key.addr), h.serverOptions(ctx, ids, psk)...)
	timer := time.AfterFunc(cookieTimeout, func() {
		if !h.answered.Load() {
			h.cancel(errNoCookie)
		}
	})
	defer timer.Stop()
	ep.run(ctx, h, conn, err)
}

// expire starts the time that the handshake has. It ends what hangs on the handshake's context too, Config.PSK above all.
func (h *handshake) expire() {
	h.expiry = time.AfterFunc(h.ep.conf.Limits.HandshakeTimeout, func() { h.cancel(errDeadline) })
}

// run completes a handshake and then serves its session until the end.
func (ep *Endpoint) run(ctx context.Context, h *handshake, conn *pion.Conn, err error) {
	var c *Conn
	if err == nil {
		c, err = ep.complete(ctx, h, conn)
	}
	h.expiry.Stop()
	cause := context.Cause(ctx)
	h.cancel(nil)
	if err != nil {
		_ = h.pipe.Close()
		outcome := h.outcome(err, cause)
		ep.count.handshakes[outcome].Add(1) // before release: what is under way no more is counted
		ep.release(h)
		ep.failed(h, outcome, err)
		return
	}
	ep.count.handshakes[completed(h)].Add(1)
	ep.release(h)
	c.serve(h.dial)
}

// complete runs the handshake and makes it a session.
func (ep *Endpoint) complete(ctx context.Context, h *handshake, conn *pion.Conn) (*Conn, error) {
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	c, err := ep.promote(ctx, h, conn)
	if err != nil {
		if errors.Is(err, errSuperseded) {
			h.pipe.muted.Store(true)
		}
		_ = conn.Close()
	}
	return c, err
}

func completed(h *handshake) Outcome {
	if h.peer.Kind == KindPSK {
		return OutcomeCompletedPSK
	}
	return OutcomeCompletedCertificate
}

// promote makes a session of a completed handshake. A credential that was withdrawn since it was looked up (CloseWhere)
// is looked up again, so that no session slips through between the look-up and the table.
func (ep *Endpoint) promote(ctx context.Context, h *handshake, conn *pion.Conn) (*Conn, error) {
	c, err := ep.newConn(h, conn)
	if err != nil {
		return nil, err
	}
	ep.mu.Lock()
	for ep.generation != h.generation {
		h.generation = ep.generation
		ep.mu.Unlock()
		if err := h.recheck(ctx); err != nil {
			return nil, err
		}
		ep.mu.Lock()
	}
	p := ep.paths[h.key]
	switch {
	case ep.closing:
		ep.mu.Unlock()
		return nil, errEnding
	case p == nil || p.pending != h:
		ep.mu.Unlock()
		return nil, errSuperseded
	}
	old := p.live
	p.live, p.pending = c, nil // RFC 6347, Section 4.2.8: only now
	h.live.Store(c)
	ep.conns[c] = struct{}{}
	same := append(ep.peers[c.peer.ID], c)
	ep.peers[c.peer.ID] = same
	surplus := ep.surplusLocked(same, old)
	ep.mu.Unlock()
	if old != nil {
		old.pipe.muted.Store(true) // its peer is gone; the address belongs to the new session
		old.Close(ReasonReplaced)
	}
	if surplus != nil {
		surplus.Close(ReasonReplaced)
	}
	return c, nil
}

// surplusLocked returns the oldest of a peer's sessions if it has more than it may have. Those that are ending don't count,
// nor does the one that was just replaced.
func (ep *Endpoint) surplusLocked(same []*Conn, replaced *Conn) *Conn {
	var oldest *Conn
	open := 0
	for _, c := range same {
		if c == replaced || !c.open() {
			continue
		}
		if oldest == nil {
			oldest = c
		}
		open++
	}
	if open > ep.conf.Limits.SessionsPerPeer {
		return oldest
	}
	return nil
}

// recheck asks again whether the credential that authenticated the peer is good.
func (h *handshake) recheck(ctx context.Context) error {
	if h.chain != nil {
		if err := h.ep.conf.Verify(*h.chain); err != nil {
			return errWithdrawn
		}
		return nil
	}
	key, err := h.ep.conf.PSK(ctx, h.query)
	if err != nil || !equalKeys(key, h.key0) {
		return errWithdrawn
	}
	return nil
}

var errWithdrawn = errors.New("the credential was withdrawn")

// verifyChain is called by pion once possession of the leaf's key is proved.
func (h *handshake) verifyChain(raw [][]byte) error {
	chain, err := h.parseChain(raw)
	if err == nil {
		h.mu.Lock()
		h.generation = h.ep.currentGeneration()
		h.peer = PeerIDOf(chain.Leaf)
		h.mu.Unlock()
		err = h.ep.conf.Verify(*chain)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		h.failure = err
		return err
	}
	h.chain, h.names = chain, NamesOf(chain.Leaf)
	return nil
}

// parseChain reads what the peer presented and refuses what only costs (H17), and a peer other than the one we dialled.
func (h *handshake) parseChain(raw [][]byte) (*PeerChain, error) {
	size := 0
	for _, der := range raw {
		size += len(der)
	}
	if len(raw) == 0 || len(raw) > maxChain || size > maxChainBytes {
		return nil, &CertificateError{OutcomeCertificateUntrusted, errors.New("the chain is empty or too long")}
	}
	certs := make([]*x509.Certificate, 0, len(raw))
	for _, der := range raw {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, &CertificateError{OutcomeCertificateUntrusted, err}
		}
		certs = append(certs, cert)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	chain := &PeerChain{Leaf: certs[0], Intermediates: certs[1:], Role: h.role, ServerName: h.hello.serverName}
	if h.dial != nil {
		chain.ServerName = h.dial.key.serverName
		if want := h.dial.key.id; want.ID != "" {
			chain.Expected = want
			if PeerIDOf(chain.Leaf) != want {
				return nil, &CertificateError{OutcomeCertificateRefused, errors.New("not the certificate that was dialled")}
			}
		}
	}
	return chain, nil
}
