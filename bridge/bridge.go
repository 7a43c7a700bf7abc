package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
	"coapbridge/dtls"
)

// Config is checked once by New and not changed afterwards.
type Config struct {
	Directory    Directory
	ServiceLayer ServiceLayer
	CSEs         []CSE
	Hosts        func(host string) bool // whether a Uri-Host names this gateway; nil: every name does
	Limits       Limits                 // zero value: the defaults
	CoAP         coap.Limits            // zero value: the defaults
	// Dial reaches a device at its entry's address; *dtls.Endpoint has it. nil: no device is dialled.
	Dial func(ctx context.Context, to netip.AddrPort, id dtls.PeerID) (*dtls.Conn, error)
	// Poller is needed by CSEs with DownlinkPoll.
	Poller    Poller
	Log       *slog.Logger             // nil: nothing is logged
	Pseudonym func(dtls.PeerID) string // names a device in the log; nil: no name at all
}

// Bridge joins sessions, exchanges and the Service Layer. It is a dtls.Handler and a coap.Handler.
type Bridge struct {
	cfg    Config
	coap   *coap.Endpoint
	cses   map[string]*CSE        // by name; "" is the default
	cores  map[*CSE]*coap.Message // what is answered to a GET of /.well-known/core without asking; of nil: nothing is there
	stats  *counters
	audit  *rate.Limiter
	replay *replayMemory
	homes  keyedMutex // one maker of a plain device's AE and containers at a time

	invited     invitations
	live        liveSessions
	results     results
	lanes       lanes
	downReplays downReplays

	jobs    chan *job
	active  atomic.Int32
	workers sync.WaitGroup
	ctx     context.Context // of the requests at the Service Layer; ends with Shutdown's patience
	cancel  context.CancelFunc

	mu      sync.RWMutex // guards the following field
	stopped bool

	busyMu sync.Mutex     // guards the following field
	busy   map[string]int // requests in progress, by device

	named sync.Map // of address{}: which AE-ID the CSE gave to the AE there, while this process runs

	watches   *watches
	reachable sync.Map // of subscriptionKey{}: AEs that were told to be reachable while this process runs
	errands   *errands // at the CSE
	visits    *errands // at devices
	dialling  *errands // on the way to devices
	relays    relays

	changed changed
}

// address is where a device made an AE.
type address struct{ device, cse, to string }

// session is what the bridge keeps of one DTLS session.
type session struct {
	peer   *dtls.Peer
	closed atomic.Bool
	listed atomic.Bool // in Bridge.live
	relays []*relay    // set before anything is received
}

// New checks cfg and makes a Bridge. Nothing is carried before Serve runs.
func New(cfg Config) (*Bridge, error) {
	if cfg.Directory == nil || cfg.ServiceLayer == nil {
		return nil, errors.New("bridge: a Directory and a ServiceLayer are needed")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Pseudonym == nil {
		cfg.Pseudonym = func(dtls.PeerID) string { return "" }
	}
	cfg.Limits = cfg.Limits.withDefaults()
	b := &Bridge{
		cfg:    cfg,
		cses:   make(map[string]*CSE),
		cores:  map[*CSE]*coap.Message{nil: coreAnswer(nil, nil)},
		busy:   make(map[string]int),
		stats:  newCounters(),
		replay: newReplayMemory(cfg.Limits),
		audit:  rate.NewLimiter(rate.Every(auditEvery), auditBurst),
		jobs:   make(chan *job, cfg.Limits.Queue),

		lanes:       lanes{perDevice: cfg.Limits.DownlinkPerDevice, all: cfg.Limits.DownlinkConcurrent},
		downReplays: downReplays{limits: cfg.Limits},
		watches:     newWatches(),
	}
	for i := range cfg.CSEs {
		c := &cfg.CSEs[i]
		if _, ok := b.cses[c.Name]; ok || c.Name == "" {
			return nil, fmt.Errorf("bridge: CSE name %q is empty or given twice", c.Name)
		}
		b.cses[c.Name] = c
		b.cores[c] = coreAnswer(c.links(nil), nil)
		if c.Default {
			b.cses[""] = c
		}
	}
	if b.cses[""] == nil {
		return nil, errors.New("bridge: no default CSE")
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.errands, b.visits, b.dialling = newErrands(b.ctx), newErrands(b.ctx), newErrands(b.ctx)
	b.coap = coap.New(&coap.Config{Handler: b, Limits: cfg.CoAP, Understands: b.understands, Host: cfg.Hosts})
	return b, nil
}

// Serve carries requests until Shutdown; it owns the workers and package coap's scheduler.
func (b *Bridge) Serve() error {
	b.mu.Lock()
	if b.stopped {
		b.mu.Unlock()
		return nil
	}
	for range b.cfg.Limits.Workers {
		b.workers.Go(b.work)
	}
	for range errandRunners {
		b.workers.Go(b.errands.run)
		b.workers.Go(b.visits.run)
		b.workers.Go(b.dialling.run)
	}
	b.mu.Unlock()
	b.watchDialled()
	b.dialling.add(b.dialObserved)
	return b.coap.Serve()
}

// work carries queued requests until the queue is closed and empty.
func (b *Bridge) work() {
	for j := range b.jobs {
		b.active.Add(1)
		j.work(b)
		b.active.Add(-1)
	}
}

// Shutdown refuses new requests, lets those in progress end until ctx does, cancels the rest (they are answered with
// 5.04 then), and ends Serve.
func (b *Bridge) Shutdown(ctx context.Context) error {
	b.mu.Lock()
	if !b.stopped {
		b.stopped = true
		close(b.jobs)
	}
	b.mu.Unlock()
	b.endVisits()
	b.unsubscribeAll()
	b.errands.close()
	done := make(chan struct{})
	go func() {
		b.workers.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		b.cancel()
		<-done
	}
	b.cancel()
	return b.coap.Shutdown(ctx)
}

// Stats returns what was counted so far.
func (b *Bridge) Stats() Stats {
	s := b.stats.snapshot()
	s.Queued = len(b.jobs)
	s.Replays = b.replay.size()
	s.Active = int(b.active.Load())
	s.Delivering, s.DownReplays = b.lanes.size(), b.downReplays.size()
	s.Observers, s.Subscriptions = b.watches.size()
	return s
}

// CoAPStats returns what package coap counted.
func (b *Bridge) CoAPStats() coap.Stats { return b.coap.Stats() }

// HandleConn implements dtls.Handler.
func (b *Bridge) HandleConn(c *dtls.Conn) {
	peer, ok := b.open(c, c.Peer())
	if !ok {
		c.Close(dtls.ReasonRevoked)
		return
	}
	c.SetOwner(peer)
}

// HandleRecord implements dtls.Handler.
func (b *Bridge) HandleRecord(c *dtls.Conn, plaintext []byte) {
	if peer, ok := c.Owner().(*coap.Peer); ok {
		b.coap.Receive(peer, plaintext)
	}
}

// HandleClosed implements dtls.Handler.
func (b *Bridge) HandleClosed(c *dtls.Conn, _ dtls.Reason) {
	if peer, ok := c.Owner().(*coap.Peer); ok {
		b.ended(peer)
		b.coap.ClosePeer(peer)
		b.endRelays(peer)
	}
}

// open makes the CoAP peer of a new session; false when the credential has no entry any more.
func (b *Bridge) open(conn coap.Conn, who *dtls.Peer) (*coap.Peer, bool) {
	dev, ok := b.cfg.Directory.Device(who)
	if !ok {
		b.stats.refuse(RefusedUnknown)
		return nil, false
	}
	peer := b.coap.NewPeer(conn, dev.Timing.profile(b.maxPayload(dev)))
	s := &session{peer: who}
	peer.SetOwner(s)
	b.began(dev, peer)
	b.observeDevice(dev, s, peer)
	return peer, true
}

func (b *Bridge) maxPayload(dev *Device) int {
	if dev.MaxPayload > 0 {
		return dev.MaxPayload
	}
	return b.cfg.Limits.MaxPayload
}

// understands tells package coap which critical options are oneM2M's, and that those of conditional requests are obeyed
// (RFC 7252, Sections 5.4.1 and 5.10.8).
func (b *Bridge) understands(p *coap.Peer, id coap.OptionID) bool {
	if onem2m.IsOption(id, onem2m.CoAPProfile{}) || id == coap.IfMatch || id == coap.IfNoneMatch {
		return true
	}
	s, ok := p.Owner().(*session)
	if !ok {
		return false
	}
	dev, ok := b.cfg.Directory.Device(s.peer)
	return ok && dev.LegacyOptions && onem2m.IsOption(id, onem2m.CoAPProfile{Legacy: true})
}

// ServeCoAP implements coap.Handler: it finds who is asking, decides in which profile, and refuses or queues.
func (b *Bridge) ServeCoAP(x *coap.Exchange) {
	s, ok := x.Peer().Owner().(*session)
	if !ok { // open sets the owner before anything is received
		b.respond(x, &coap.Message{Code: coap.InternalServerError}, 0)
		return
	}
	dev, ok := b.cfg.Directory.Device(s.peer)
	if !ok {
		b.refusePlain(x, s, RefusedUnknown, coap.Forbidden)
		return
	}
	cse, ok := b.cses[dev.CSE]
	if !ok {
		b.refusePlain(x, s, FailedUnreachable, coap.ServiceUnavailable)
		return
	}
	if len(dev.Bound) > 0 && !s.listed.Load() { // its AE was registered on another session
		b.began(dev, x.Peer())
	}
	if m := x.Request(); isWellKnownCore(m) && !onem2m.UsesOptions(m) && !conditional(m) {
		if answer := b.coreHere(dev, cse, m); answer != nil {
			b.stats.request(ProfilePlain)
			b.respond(x, answer, 0)
			return
		}
	}
	x.Detach()
	j := &job{x: x, peer: x.Peer(), s: s, dev: dev, cse: cse, deadline: time.Now().Add(b.timeout(cse))}
	if m := x.Request(); hopLimitReached(m) && !isWellKnownCore(m) {
		b.refusePlain(x, s, RefusedHopLimit, coap.HopLimitReached)
		return
	}
	if dev.speaksOneM2M(x.Request()) {
		b.serveOneM2M(j)
		return
	}
	b.servePlain(j)
}

// speaksOneM2M decides for one request. A plain device's oneM2M option is refused as one.
func (d *Device) speaksOneM2M(m *coap.Message) bool {
	switch d.Profile {
	case ProfileOneM2M:
		return onem2m.UsesOptions(m) || !isWellKnownCore(m)
	case ProfilePlain:
		return onem2m.UsesOptions(m)
	}
	return onem2m.UsesOptions(m) || onem2m.FetchesPrimitive(m)
}

func (b *Bridge) timeout(cse *CSE) time.Duration {
	if cse.Timeout > 0 {
		return cse.Timeout
	}
	return b.cfg.Limits.RequestTimeout
}
