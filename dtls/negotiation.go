package dtls

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"coapbridge/dtls/handshake"
	"coapbridge/dtls/record"
)

// Why a handshake ends that its state machine would go on with. None leaves the package but inside a *HandshakeError.
var (
	errDeadline   = errors.New("the handshake took too long")
	errSuperseded = errors.New("a newer hello took its place")
	errEvicted    = errors.New("its place was needed")
	errOverload   = errors.New("too many public-key operations wait")
	errGivenUp    = errors.New("nobody waits for it any more")
	errEnding     = errors.New("the endpoint closes")
	errWithdrawn  = errors.New("the credential was withdrawn")
	errLookup     = errors.New("the key could not be looked up")
	errNotAsked   = errors.New("the server did not ask for our certificate")
)

// negotiation is one handshake under way: a state machine, who it is with, and what was looked up for it.
type negotiation struct {
	ep     *Endpoint
	at     pathKey
	local  localAddr
	role   Role               // of the peer
	hello  [32]byte           // the random of its ClientHello; zero when we dial
	cookie cookie             // of that hello
	first  uint16             // its message_seq
	site   [8]byte            // its source prefix
	dial   *dialing           // who waits for it; where the peer began it, guarded by Endpoint.mu, and nil when nobody does
	timer  links[negotiation] // guarded by Endpoint.clock
	cid    uint64             // ours, that the peer is offered

	older, newer *negotiation // of all that peers began, by age; guarded by Endpoint.mu
	held         bool         // it has a place among them; guarded by Endpoint.mu

	mu      sync.Mutex // guards the following fields
	machine *handshake.Machine
	over    bool
	ctx     context.Context // of what is looked up for it; nil as long as nothing was
	stop    context.CancelFunc
	expires time.Duration // when it has taken too long, as Endpoint.elapsed
	bytes   int           // spent of the budget
	records int
	keyed   bool // the PSK is in use: the peer named its identity or, as a server, answered our hello

	// What was found out for it.
	peer       PeerID // claimed until the end
	query      PSKQuery
	key        []byte // the PSK that was used
	chain      *knownChain
	failure    error // of Config.Verify, Config.PSK or Config.Certificate
	generation uint64
}

func (ep *Endpoint) newNegotiation(at pathKey, local localAddr, role Role) *negotiation {
	n := &negotiation{ep: ep, at: at, local: local, role: role}
	n.expires = ep.elapsed() + ep.conf.Limits.HandshakeTimeout
	return n
}

// Format implements fmt.Formatter: no verb prints a key (S46).
func (*negotiation) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "negotiation") }

func (n *negotiation) wheel() *links[negotiation] { return &n.timer }

// lookups returns the context of what is looked up for the handshake. It ends with the handshake.
func (n *negotiation) lookups() context.Context {
	if n.ep.conf.PSKInMemory {
		return context.Background()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ctx == nil {
		n.ctx, n.stop = context.WithCancel(context.Background())
		if n.over {
			n.stop()
		}
	}
	return n.ctx
}

// newCID makes a Connection ID that no session has.
func (ep *Endpoint) newCID() (uint64, []byte) {
	b := randomBytes[[cidLength]byte]()
	return binary.BigEndian.Uint64(b[:]), b[:]
}

// receive gives the state machine one record.
func (n *negotiation) receive(r record.Record, now time.Time) {
	n.mu.Lock()
	switch {
	case n.over || n.machine == nil: // it is over, or its key is being looked up
		n.mu.Unlock()
		n.ep.count.drop(DropNoSession)
		return
	case !n.spendLocked(len(r.Raw)):
		n.mu.Unlock()
		n.ep.count.drop(DropHandshakeBudget)
		return
	}
	n.machine.Receive(r, now)
	n.advance(now)
}

// spendLocked takes size bytes and a record from the budget of the handshake (S17).
func (n *negotiation) spendLocked(size int) bool {
	n.bytes += size
	n.records++
	return n.bytes <= maxHandshakeBytes && n.records <= maxHandshakeRecords
}

// tick is called when a time of the handshake has come.
func (n *negotiation) tick(now time.Time) {
	n.mu.Lock()
	if n.over {
		n.mu.Unlock()
		return
	}
	if n.ep.since(now) >= n.expires {
		n.mu.Unlock()
		n.cancel(errDeadline)
		return
	}
	if n.machine == nil {
		n.mu.Unlock()
		n.ep.schedule(n, n.expires)
		return
	}
	if at := n.machine.Deadline(); !at.IsZero() && !at.After(now) {
		n.machine.Tick(now)
	}
	n.advance(now)
}

// cancel ends the handshake for a reason of the endpoint's. The peer is not told: it may be another one by now.
func (n *negotiation) cancel(cause error) {
	n.mu.Lock()
	if n.over {
		if n.stop != nil {
			n.stop() // of recheck's look-up
		}
		n.mu.Unlock()
		return
	}
	n.over = true
	n.mu.Unlock()
	n.fail(cause)
}

// advance does what the state machine wants after it went forward. It is called with n.mu locked and unlocks it.
func (n *negotiation) advance(now time.Time) {
	out := n.machine.Output()
	job := n.machine.Job()
	result, err := n.machine.Done()
	n.over = result != nil || err != nil
	if !n.over { // under the lock: of two that advance at once the later one's deadline counts
		deadline := n.expires
		if at := n.machine.Deadline(); !at.IsZero() {
			deadline = min(deadline, n.ep.since(at))
		}
		n.ep.schedule(n, deadline)
	}
	n.mu.Unlock()
	switch {
	case err != nil:
		n.transmit(out)
		n.fail(err)
	case result != nil:
		n.ep.complete(n, result, out)
	default:
		n.transmit(out)
		if job != nil {
			n.ep.run(n, job)
		}
	}
}

func (n *negotiation) transmit(datagrams [][]byte) {
	sock := n.ep.socks[n.at.sock]
	for _, d := range datagrams {
		sock.send(n.at, n.local, d)
	}
}

// resume takes up the result of a job.
func (n *negotiation) resume(job *handshake.Job) {
	now := time.Now()
	n.mu.Lock()
	if n.over {
		n.mu.Unlock()
		return
	}
	n.machine.Resume(job, now)
	n.advance(now)
}

// hold counts something that goes on for the handshake, if it is not over.
func (n *negotiation) hold() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.over { // so it is counted itself, and Shutdown waits
		n.ep.running.Add(1)
	}
	return !n.over
}

// underWay reports whether the peer did more than begin.
func (n *negotiation) underWay() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.records > 0 || n.role == RoleServer
}

// offered reports whether a Connection ID is the one that the peer was offered.
func (n *negotiation) offered(cid []byte) bool {
	return len(cid) == cidLength && binary.BigEndian.Uint64(cid) == n.cid
}

// yields reports whether our dialling gives way to a hello of the peer's own, where both sides began at once. As long as nothing
// came from the peer, it has no hello with a cookie of ours, and can't have given way itself. After that the greater random
// stays the client, and both come to the same conclusion.
func (n *negotiation) yields(random *[32]byte) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.machine == nil || n.records == 0 {
		return true
	}
	own := n.machine.ClientRandom()
	return bytes.Compare(random[:], own[:]) > 0
}

// PSK implements handshake.Callbacks. An identity without a key, and one whose look-up failed, gets a key that nobody has,
// so that the handshake fails as one with a wrong key does (S5; RFC 4279, Section 2).
func (n *negotiation) PSK(ctx context.Context, identity []byte, serverName string) []byte {
	if n.role == RoleServer {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.keyed = true
		return n.key // it was looked up before the hello
	}
	query := PSKQuery{
		Peer: PeerID{Kind: KindPSK, ID: string(identity)}, ServerName: serverName, Remote: n.at.addr(), Role: n.role,
	}
	derived := n.ep.mac("unknown identity", identity)
	generation := n.ep.currentGeneration() // before the look-up, so that a withdrawal during it is noticed
	var key []byte
	err := ErrUnknownIdentity
	if len(identity) > 0 && len(identity) <= maxIdentity {
		key, err = n.ep.conf.PSK(ctx, query)
	}
	if err == nil && len(key) == 0 {
		err = ErrUnknownIdentity
	}
	if err != nil {
		key = derived
		if !errors.Is(err, ErrUnknownIdentity) && ctx.Err() == nil {
			n.ep.logLookup(query.Peer, err)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.peer, n.query, n.key, n.generation = query.Peer, query, key, generation
	n.keyed = ctx.Err() == nil // a look-up that took too long says nothing about the key
	return key
}

// Certificate implements handshake.Callbacks.
func (n *negotiation) Certificate(serverName string) ([][]byte, crypto.Signer, error) {
	if n.role == RoleServer {
		serverName = n.dial.key.serverName
	}
	own, err := n.ep.conf.Certificate(serverName)
	if err == nil {
		err = own.check()
	}
	if err != nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.failure = err
		return nil, nil, err
	}
	return own.Chain, own.Key, nil
}

// Verify implements handshake.Callbacks.
func (n *negotiation) Verify(chain [][]byte, serverName string) (*ecdsa.PublicKey, error) {
	generation := n.ep.currentGeneration() // before the judgement, so that a withdrawal during it is noticed
	known, err := n.ep.chains.judge(n, chain, serverName, generation)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil {
		n.failure = err
		return nil, err
	}
	n.peer, n.chain, n.generation = known.id, known, generation
	return known.key, nil
}

// NoEMS implements handshake.Callbacks.
func (n *negotiation) NoEMS([]byte, [][]byte) bool {
	n.mu.Lock()
	peer := n.peer // PSK or Verify came before
	n.mu.Unlock()
	return n.ep.conf.Policy(peer).NoExtendedMasterSecret
}

// recheck asks again whether the credential that authenticated the peer is good. The answer may take until the handshake would
// have taken too long.
func (n *negotiation) recheck() error {
	if n.chain != nil {
		if _, err := n.ep.conf.Verify(n.chain.parsed); err != nil {
			return errWithdrawn
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(n.lookups(), n.expires-n.ep.elapsed())
	defer cancel()
	key, err := n.ep.conf.PSK(ctx, n.query)
	if err != nil || subtle.ConstantTimeCompare(key, n.key) != 1 {
		return errWithdrawn
	}
	return nil
}

// fail ends a handshake without a session: once, after over was set.
func (n *negotiation) fail(err error) {
	ep := n.ep
	outcome := n.outcome(err)
	ep.count.handshakes[outcome].Add(1) // before release: what is under way no more is counted
	ep.release(n)
	ep.failed(n, outcome)
}
