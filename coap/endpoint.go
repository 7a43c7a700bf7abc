package coap

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// The errors of Do, Respond and Serve.
var (
	ErrClosed       = errors.New("coap: peer closed")
	ErrShutdown     = errors.New("coap: endpoint shut down")
	ErrTimeout      = errors.New("coap: no answer in time")                  // MAX_TRANSMIT_WAIT, RFC 7252, Section 4.8.2
	ErrReset        = errors.New("coap: peer answered with a Reset")         // RFC 7252, Section 4.2
	ErrResponded    = errors.New("coap: request already answered")           // second Respond
	ErrQueueFull    = errors.New("coap: too many requests to the peer wait") // Limits.MaxQueue
	ErrMessageIDs   = errors.New("coap: no Message ID is free")              // RFC 7252, Section 4.4
	ErrCode         = errors.New("coap: not a code of a request or response")
	ErrBodyTooLarge = errors.New("coap: body too large")
	ErrBlock        = errors.New("coap: peer broke the rules of block-wise transfer") // RFC 7959
	ErrBodyChanged  = errors.New("coap: body changed during its transfer")            // RFC 7959, Section 2.4
	ErrBadOption    = errors.New("coap: response with a critical option that is not understood")
)

// Conn carries datagrams to one peer. Both methods may be called from any goroutine.
type Conn interface {
	// Send sends one datagram and doesn't keep it. It must not block for longer than a socket's write does.
	Send(datagram []byte) error
	// MaxPlaintext is the largest datagram that Send takes without fragmentation, in bytes.
	MaxPlaintext() int
}

// Mover is a Conn whose peer may go on at another address. A new address is on trial until something shows that the peer gets
// what is sent there (S28). While it is, answers carry an Echo option (RFC 9175, Section 2.3), which a client that knows it
// repeats in its next request and any other ignores; and a response to a request of ours shows it as well.
type Mover interface {
	// Challenge returns 8 unpredictable bytes that belong to this trial; false: there is none.
	Challenge() (c [8]byte, ok bool)
	// Prove ends the trial to which the challenge belongs: the peer got what was sent to its new address after Challenge
	// returned it.
	Prove(c [8]byte)
}

// Handler takes the requests of peers.
type Handler interface {
	// ServeCoAP is called on the goroutine that called Receive and must not block. The request is whole: blocks are joined,
	// and its options checked as far as this package knows them.
	ServeCoAP(*Exchange)
}

// Config configures an Endpoint. It must not be changed after New.
type Config struct {
	// Handler takes the requests; nil: every request is answered with 4.04.
	Handler Handler
	Limits  Limits
	// Understands reports whether the Handler, or whoever calls Do, takes a critical option that this package doesn't take
	// itself (it takes Uri-Host, Uri-Port, Uri-Path, Uri-Query, Accept, Block1 and Block2; If-Match and If-None-Match it
	// knows, but only a Handler can obey them). nil: none. Options that this package doesn't know may then come several
	// times and with any length. It must not block.
	Understands func(*Peer, OptionID) bool
	// Host reports whether a Uri-Host names us; other hosts are answered with 5.05, for this is no proxy (S39). nil: every
	// host does. Uri-Port is not judged. It must not block, nor resolve the name.
	Host func(host string) bool
}

// Endpoint runs the exchanges of any number of peers. Create it with New.
type Endpoint struct {
	config    Config
	seed      maphash.Seed // of de-duplication and transfer keys; what it makes never leaves the process
	tagSeed   maphash.Seed // of ETags
	sched     scheduler
	count     counters
	scratches sync.Pool // of *scratch
	states    sync.Pool // of *state, empty
	profiles  profiles
	start     time.Time
	echoKey   [sha256.Size]byte

	draining atomic.Bool

	mu      sync.Mutex // guards the following fields
	serving bool
	over    bool // Shutdown has ended
	running int  // goroutines of ours
	work    sync.WaitGroup

	drained chan struct{} // buffered: exchanges became 0 while draining
	stop    chan struct{} // closed when Shutdown ends
	stopped chan struct{} // closed when Serve returned
}

// New returns an Endpoint. Timers fire only while Serve runs.
func New(c *Config) *Endpoint {
	e := &Endpoint{
		config:  *c,
		seed:    maphash.MakeSeed(),
		tagSeed: maphash.MakeSeed(),
		drained: make(chan struct{}, 1),
		stop:    make(chan struct{}),
		stopped: make(chan struct{}),
		sched:   scheduler{wake: make(chan struct{}, 1)},
		start:   time.Now(),
		echoKey: newEchoKey(),
	}
	e.config.Limits = c.Limits.withDefaults()
	e.scratches.New = func() any { return new(scratch) }
	e.states.New = func() any { return new(state) }
	return e
}

// Serve runs the Endpoint's timers until Shutdown; it returns nil then, and ErrShutdown when it was called before.
func (e *Endpoint) Serve() error {
	e.mu.Lock()
	again := e.serving
	e.serving = true
	e.mu.Unlock()
	if again {
		return ErrShutdown
	}
	defer close(e.stopped)
	e.sched.run(e.stop)
	return nil
}

// Shutdown refuses new requests with 5.03 and waits until those in progress are answered and their answers acknowledged,
// or ctx is done; requests of ours, which answering may need, go on meanwhile. Then every Do returns ErrShutdown, and
// Shutdown waits for Serve, and whatever fetches notifications, to return. It returns ctx's error when not everything was answered.
func (e *Endpoint) Shutdown(ctx context.Context) error {
	e.mu.Lock()
	serving := e.serving
	e.serving = true // Serve must not start any more
	e.mu.Unlock()
	if !e.draining.CompareAndSwap(false, true) {
		return ErrShutdown
	}
	var err error
	for err == nil && e.count.exchanges.Load() > 0 {
		select {
		case <-e.drained:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	e.mu.Lock()
	e.over = true // no goroutine of ours begins any more
	e.mu.Unlock()
	close(e.stop)
	e.work.Wait()
	if serving {
		<-e.stopped
	}
	return err
}

// isStopped reports whether Shutdown has ended what waits.
func (e *Endpoint) isStopped() bool {
	select {
	case <-e.stop:
		return true
	default:
		return false
	}
}

// exchangesDone counts n exchanges as over and wakes Shutdown.
func (e *Endpoint) exchangesDone(n int) {
	if e.count.exchanges.Add(int64(-n)) > 0 {
		return
	}
	select {
	case e.drained <- struct{}{}:
	default:
	}
}

// NewPeer returns a peer that is reached through c.
func (e *Endpoint) NewPeer(c Conn, prof Profile) *Peer {
	p := &Peer{endpoint: e, conn: c, profile: e.profiles.of(prof, e.config.Limits.AckDelay)}
	var random [10]byte
	rand.Read(random[:])                           // never fails
	p.nextMID = binary.BigEndian.Uint16(random[:]) // RFC 7252, Section 4.4: random initial value; S12
	p.id = binary.BigEndian.Uint64(random[2:])
	return p
}

// Receive takes one datagram of p. It calls the Handler when the datagram completes a request. b is the caller's again on
// return. Calls for one peer may run at once; a reader that wants the order kept calls it from one goroutine.
func (e *Endpoint) Receive(p *Peer, b []byte) {
	s := e.scratches.Get().(*scratch)
	m, err := s.parse(b)
	if err != nil {
		e.receiveMalformed(p, err)
		s.clear(maxOptions)
		e.scratches.Put(s)
		return
	}
	e.count.in[m.Type].Add(1)
	n := len(m.Options)
	switch {
	case m.Code == Empty:
		e.receiveEmpty(p, &m)
	case m.Code.IsRequest():
		e.receiveRequest(p, &m, b)
	default:
		e.receiveResponse(p, &m, b)
	}
	s.clear(n)
	e.scratches.Put(s)
}

// receiveMalformed rejects what is no message.
func (e *Endpoint) receiveMalformed(p *Peer, err error) {
	var format *FormatError
	if !errors.As(err, &format) {
		return
	}
	if format.Known {
		e.count.in[format.Type].Add(1)
	}
	tooMany := errors.Is(err, ErrTooManyOptions)
	reason := ReasonFormat
	if tooMany {
		reason = ReasonTooManyOptions
	}
	e.count.refuse(reason)
	switch {
	case !format.Reject():
	case tooMany && format.Code.IsRequest():
		// The format is right, and the sender better served with an answer that says why.
		p.answer(&Message{Type: format.Type, MessageID: format.MessageID, Token: format.Token},
			&refusal{code: BadRequest, text: ErrTooManyOptions.Error()})
	default: // RFC 7252, Section 4.2: a Confirmable message that can't be processed is rejected with a Reset
		p.sendEmpty(Reset, format.MessageID)
	}
}

// receiveEmpty takes pings, and acknowledgements and resets without content.
func (e *Endpoint) receiveEmpty(p *Peer, m *Message) {
	switch m.Type {
	case Confirmable: // RFC 7252, Section 4.3: "CoAP ping"
		p.sendEmpty(Reset, m.MessageID)
	case Acknowledgement:
		p.receiveACK(m.MessageID)
	case Reset:
		p.receiveReset(m.MessageID)
	}
}

// seconds is the time since New on the monotonic clock, plus one: a moment in 4 bytes that is never 0.
func (e *Endpoint) seconds(now time.Time) uint32 { return uint32(now.Sub(e.start)/time.Second) + 1 }
