package bridge

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
)

// The bridge observes resources of plain devices, where their entries say so: each new state becomes a contentInstance.

// relays are the observations of devices' resources: one of each, on the newest session.
type relays struct {
	mu  sync.Mutex // guards the following fields
	now map[relayKey]*relay
	// calls are the devices that the bridge dials for their resources' sake, while they have no session.
	calls map[string]*call
	// visiting are the devices that are being asked, each with what it is to be asked next: one question to one device at a time, so
	// that one which doesn't answer keeps none of the others waiting.
	visiting map[string][]*relay
}

// relayKey is a resource of a device.
type relayKey struct {
	device string
	path   ObservedPath
}

// call is when a device is dialled again.
type call struct {
	failures int
	busy     bool
	due      time.Time
}

// relay is one observed resource of a device, on one session.
type relay struct {
	bridge *Bridge
	peer   *coap.Peer
	s      *session
	device string
	path   ObservedPath

	mu       sync.Mutex         // guards the following fields
	stop     context.CancelFunc // of the registration under way, or of one before
	observed *coap.Observed
	asking   bool            // for the first state, behind which
	early    []*coap.Message // what the device tells meanwhile waits
	failures int
	queue    []*coap.Message // states that became no contentInstance yet, oldest first
	busy     bool            // a job of it is under way, or one will be
}

// observeDevice begins to observe the resources of dev that its entry names, on its new session.
func (b *Bridge) observeDevice(dev *Device, s *session, p *coap.Peer) {
	if dev.Entity || dev.Profile == ProfileOneM2M {
		return
	}
	for _, path := range dev.Observe {
		if _, ok := observedSegments(path.Path); !ok {
			continue // the devices file is checked when it is read
		}
		r := &relay{bridge: b, peer: p, s: s, device: dev.Name, path: path}
		s.relays = append(s.relays, r)
		if before := b.relays.enter(r); before != nil {
			before.cancel()
		}
		b.visit(r)
	}
}

// visit has r registered after what is to be asked of its device before. What an older session was to be asked for is dropped.
func (b *Bridge) visit(r *relay) {
	l := &b.relays
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.visiting == nil {
		l.visiting = make(map[string][]*relay)
	}
	next, busy := l.visiting[r.device]
	next = slices.DeleteFunc(next, func(other *relay) bool { return l.now[relayKey{r.device, other.path}] != other })
	if busy || b.visits.add(func(ctx context.Context) { b.visitAll(ctx, r.device) }) {
		l.visiting[r.device] = append(next, r)
	}
}

// visitAll registers what is to be registered at a device.
func (b *Bridge) visitAll(ctx context.Context, device string) {
	l := &b.relays
	for {
		l.mu.Lock()
		next := l.visiting[device]
		if len(next) == 0 {
			delete(l.visiting, device)
			l.mu.Unlock()
			return
		}
		r := next[0]
		l.visiting[device] = next[1:]
		l.mu.Unlock()
		r.register(ctx)
	}
}

// enter makes r the one relay of its resource, and returns the one before.
func (l *relays) enter(r *relay) (before *relay) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now == nil {
		l.now, l.calls = make(map[relayKey]*relay), make(map[string]*call)
	}
	key := relayKey{r.device, r.path}
	before = l.now[key]
	l.now[key] = r
	delete(l.calls, r.device)
	return before
}

// leave forgets r.
func (l *relays) leave(r *relay) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if key := (relayKey{r.device, r.path}); l.now[key] == r {
		delete(l.now, key)
	}
}

// is reports whether r is the relay of its resource.
func (l *relays) is(r *relay) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now[relayKey{r.device, r.path}] == r
}

// endRelays forgets what was observed on a session that is over.
func (b *Bridge) endRelays(p *coap.Peer) {
	if s, ok := p.Owner().(*session); ok {
		for _, r := range s.relays {
			b.relays.leave(r)
		}
	}
}

// cancel ends the observation, or the wait for one.
func (r *relay) cancel() {
	r.mu.Lock()
	observed, stop := r.observed, r.stop
	r.observed = nil
	r.mu.Unlock()
	if stop != nil {
		stop()
	}
	if observed != nil {
		observed.Cancel()
		r.bridge.stats.observed(RelayEnded)
	}
}

// observedSegments splits a configured path; false when it can't be one of a plain device's.
func observedSegments(path string) ([]string, bool) {
	path = strings.TrimPrefix(path, "/")
	return strings.Split(path, "/"), IsPlainPath(path)
}

// container is where the states go.
func (r *relay) container() []string {
	to := r.path.Container
	if to == "" {
		to = r.path.Path
	}
	segments, ok := observedSegments(to)
	if !ok {
		return nil
	}
	return segments
}

// wanted returns the device's entry, as long as it asks for the observation and no newer session has it.
func (r *relay) wanted() (*Device, bool) {
	dev, ok := r.bridge.cfg.Directory.Device(r.s.peer)
	return dev, ok && dev.Name == r.device && slices.Contains(dev.Observe, r.path) && r.bridge.relays.is(r)
}

// register asks the device to be told (RFC 7641, Section 3.1). It waits for the answer.
func (r *relay) register(ctx context.Context) {
	b := r.bridge
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	r.mu.Lock()
	r.stop = cancel
	r.mu.Unlock()
	dev, ok := r.wanted()
	if !ok {
		return
	}
	m := &coap.Message{Code: coap.GET}
	segments, _ := observedSegments(r.path.Path)
	for _, s := range segments {
		m.Options = m.Options.AddString(coap.URIPath, s)
	}
	r.mu.Lock()
	r.asking = true
	r.mu.Unlock()
	defer r.asked()
	answer, observed, err := b.coap.Observe(ctx, r.peer, m, r.notify)
	switch {
	case errors.Is(err, coap.ErrClosed), errors.Is(err, coap.ErrShutdown):
		return // the next session begins anew
	case err != nil && !r.bridge.relays.is(r): // and has begun
		return
	case err != nil, answer.Code.Class() != 2:
		r.fault(dev, RelayFailed)
		r.again()
		return
	}
	r.mu.Lock()
	r.observed, r.failures = observed, 0
	r.mu.Unlock()
	if _, ok := r.wanted(); !ok { // a newer session came meanwhile
		r.cancel()
		return
	}
	r.take(answer)
	if observed == nil {
		r.fault(dev, RelayUnobservable)
		r.mu.Lock()
		r.failures = maxRelayFailures // it may be observable after an update of its firmware, not soon
		r.mu.Unlock()
		r.again()
		return
	}
	b.stats.observed(RelayStarted)
}

// fault counts and logs why there is no observation.
func (r *relay) fault(dev *Device, why ObserveEvent) {
	r.bridge.stats.observed(why)
	r.bridge.fault(dev, "resource of a device not observed", string(why))
}

// again registers once more later, while the session lives.
func (r *relay) again() {
	r.mu.Lock()
	wait := min(observeRetry<<min(r.failures, maxRelayFailures), maxObserveRetry)
	r.failures++
	r.observed = nil
	r.mu.Unlock()
	r.bridge.visits.after(wait, func(context.Context) { r.bridge.visit(r) }, func() {})
}

// asked takes what came behind the first state.
func (r *relay) asked() {
	for {
		r.mu.Lock()
		if len(r.early) == 0 {
			r.asking = false
			r.mu.Unlock()
			return
		}
		m := r.early[0]
		r.early = r.early[1:]
		r.mu.Unlock()
		r.told(m)
	}
}

// notify takes what the device tells. It may be called before register has the answer that came first.
func (r *relay) notify(m *coap.Message) {
	r.mu.Lock()
	wait := r.asking
	if wait {
		if len(r.early) == maxRelayed {
			r.early = r.early[1:]
			r.bridge.stats.observed(RelayOvertaken)
		}
		r.early = append(r.early, m)
	}
	r.mu.Unlock()
	if !wait {
		r.told(m)
	}
}

// told takes a state, or an error, which is the end of the observation (RFC 7641, Section 3.2).
func (r *relay) told(m *coap.Message) {
	if m.Code.Class() != 2 {
		r.bridge.stats.observed(RelayEnded)
		r.again()
		return
	}
	if _, ok := r.wanted(); !ok {
		r.cancel()
		return
	}
	r.take(m)
}

// take puts a state into the queue, out of which the oldest gives way.
func (r *relay) take(m *coap.Message) {
	if m.Code != coap.Content {
		return // a 2.03 has no state
	}
	r.mu.Lock()
	if len(r.queue) == maxRelayed {
		r.queue = r.queue[1:]
		r.bridge.stats.observed(RelayOvertaken)
	}
	r.queue = append(r.queue, &coap.Message{Code: coap.PUT, Options: slices.Clone(m.Options), Payload: slices.Clone(m.Payload)})
	begin := !r.busy
	r.busy = true
	r.mu.Unlock()
	if begin {
		r.send()
	}
}

// send has a worker store the oldest state of the queue. r is busy.
func (r *relay) send() {
	b := r.bridge
	dev, ok := r.wanted()
	cse := (*CSE)(nil)
	if ok {
		cse = b.cses[dev.CSE]
	}
	path := r.container()
	if cse == nil || path == nil {
		r.drop()
		return
	}
	j := &job{peer: r.peer, s: r.s, dev: dev, cse: cse, path: path, operation: onem2m.Create, deadline: time.Now().Add(b.timeout(cse)),
		run: r.store, failed: r.stored}
	if why, allowed := b.allowsPlain(j); !allowed {
		b.note(r.s, why, nil)
		r.drop()
		return
	}
	if _, ok := b.submit(j); !ok {
		r.later()
	}
}

// store is what a worker does: the oldest state becomes a contentInstance.
func (r *relay) store(b *Bridge, ctx context.Context, j *job) {
	r.mu.Lock()
	m := r.queue[0]
	r.mu.Unlock()
	if len(m.Payload) > b.maxPayload(j.dev) {
		r.stored(outcome{why: RefusedSize, done: true}, nil)
		return
	}
	resp, err := b.addInstance(ctx, j, m)
	switch {
	case err != nil:
		r.stored(failure(err), err)
	case resp.Status != onem2m.StatusCreated:
		r.stored(outcome{done: true}, nil)
	default:
		b.stats.observed(RelayStored)
		r.next(m)
	}
}

// stored is the end of a state that became no contentInstance, unless it can be tried again: then the CSE was not reached.
func (r *relay) stored(out outcome, err error) {
	if out.why != "" {
		r.bridge.note(r.s, out.why, err)
	}
	if out.why == FailedUnreachable {
		r.later()
		return
	}
	r.mu.Lock()
	m := r.queue[0]
	r.mu.Unlock()
	r.bridge.stats.observed(RelayLost)
	r.next(m)
}

// next goes on after the state m, which a newer one may have pushed out meanwhile.
func (r *relay) next(m *coap.Message) {
	r.mu.Lock()
	if len(r.queue) > 0 && r.queue[0] == m {
		r.queue = r.queue[1:]
	}
	r.busy = len(r.queue) > 0
	more := r.busy
	r.mu.Unlock()
	if more {
		r.send()
	}
}

// later tries again in a while. What comes meanwhile waits behind, and pushes the oldest out.
func (r *relay) later() {
	if !r.bridge.visits.after(busyRetry, func(context.Context) { r.send() }, r.drop) {
		r.drop()
	}
}

// drop gives up what waits.
func (r *relay) drop() {
	r.mu.Lock()
	n := len(r.queue)
	r.queue, r.busy = nil, false
	r.mu.Unlock()
	for range n {
		r.bridge.stats.observed(RelayLost)
	}
}

// endVisits begins no more observations of devices, and waits for no answer.
func (b *Bridge) endVisits() {
	for _, e := range []*errands{b.visits, b.dialling} {
		e.close()
		e.cancel()
	}
}

// dialObserved begins sessions with devices that have none and whose resources are to be observed, where the Directory can tell
// them, and looks again in a while.
func (b *Bridge) dialObserved(context.Context) {
	known, ok := b.cfg.Directory.(interface{ EachObserved() iter.Seq[*Device] })
	if !ok || b.cfg.Dial == nil {
		return
	}
	now := time.Now()
	for dev := range known.EachObserved() {
		if b.dials(dev) && !dev.Entity && dev.Profile != ProfileOneM2M && b.relays.mayCall(dev.Name, dev.Observe, now) {
			b.dialling.add(func(ctx context.Context) { b.call(ctx, dev) })
		}
	}
	b.dialling.after(observeRetry, b.dialObserved, func() {})
}

// mayCall reports whether it is time to dial the device, whose resources nobody observes, and notes that it is done.
func (l *relays) mayCall(device string, paths []ObservedPath, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now == nil {
		l.now, l.calls = make(map[relayKey]*relay), make(map[string]*call)
	}
	for _, path := range paths {
		if l.now[relayKey{device, path}] != nil {
			return false
		}
	}
	c := l.calls[device]
	if c == nil {
		c = &call{}
		l.calls[device] = c
	}
	if c.busy || now.Before(c.due) {
		return false
	}
	c.busy = true
	return true
}

// call dials dev. Its session is observed like any other (open).
func (b *Bridge) call(ctx context.Context, dev *Device) {
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	_, err := b.reach(ctx, dev)
	if err != nil {
		b.stats.observed(RelayUnreached)
	}
	l := &b.relays
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.calls[dev.Name]; c != nil { // else it has a session now
		c.busy, c.due = false, time.Now().Add(min(observeRetry<<min(c.failures, maxRelayFailures), maxObserveRetry))
		c.failures++
	}
}
