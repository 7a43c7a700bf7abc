package bridge

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
)

// The bridge observes resources of plain devices, where their entries say so: each new state becomes a contentInstance.

// relay is one observed resource of a device, on one session.
type relay struct {
	bridge *Bridge
	peer   *coap.Peer
	s      *session
	device string
	path   ObservedPath

	mu       sync.Mutex // guards the following fields
	observed *coap.Observed
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
		if segments, ok := observedSegments(path.Path); !ok || len(segments) == 0 {
			continue // the devices file is checked when it is read
		}
		r := &relay{bridge: b, peer: p, s: s, device: dev.Name, path: path}
		b.visits.add(r.register)
	}
}

// observedSegments splits a configured path; false when it can't be one of a plain device's.
func observedSegments(path string) ([]string, bool) {
	path = strings.Trim(path, "/")
	return strings.Split(path, "/"), isPlainPath(path)
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

// wanted returns the device's entry, as long as it asks for the observation.
func (r *relay) wanted() (*Device, bool) {
	dev, ok := r.bridge.cfg.Directory.Device(r.s.peer)
	return dev, ok && dev.Name == r.device && slices.Contains(dev.Observe, r.path)
}

// register asks the device to be told (RFC 7641, Section 3.1). It waits for the answer.
func (r *relay) register(ctx context.Context) {
	b := r.bridge
	if _, ok := r.wanted(); !ok {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	m := &coap.Message{Code: coap.GET}
	segments, _ := observedSegments(r.path.Path)
	for _, s := range segments {
		m.Options = m.Options.AddString(coap.URIPath, s)
	}
	answer, observed, err := b.coap.Observe(ctx, r.peer, m, r.notify)
	switch {
	case errors.Is(err, coap.ErrClosed), errors.Is(err, coap.ErrShutdown):
		return // the next session begins anew
	case err != nil:
		b.stats.observed(RelayFailed)
		r.again()
		return
	case answer.Code.Class() != 2:
		b.stats.observed(RelayFailed)
		r.again()
		return
	}
	r.mu.Lock()
	r.observed, r.failures = observed, 0
	r.mu.Unlock()
	r.take(answer)
	if observed == nil {
		b.stats.observed(RelayUnobservable)
		r.mu.Lock()
		r.failures = maxRelayFailures // it may be observable after an update of its firmware, not soon
		r.mu.Unlock()
		r.again()
		return
	}
	b.stats.observed(RelayStarted)
}

// again registers once more later, while the session lives.
func (r *relay) again() {
	r.mu.Lock()
	wait := min(observeRetry<<min(r.failures, maxRelayFailures), maxObserveRetry)
	r.failures++
	r.observed = nil
	r.mu.Unlock()
	r.bridge.visits.after(wait, r.register, func() {})
}

// notify takes what the device tells: a state, or an error, which is the end of the observation (RFC 7641, Section 3.2).
func (r *relay) notify(m *coap.Message) {
	if m.Code.Class() != 2 {
		r.bridge.stats.observed(RelayEnded)
		r.again()
		return
	}
	if _, ok := r.wanted(); !ok {
		r.mu.Lock()
		observed := r.observed
		r.observed = nil
		r.mu.Unlock()
		if observed != nil {
			observed.Cancel()
			r.bridge.stats.observed(RelayEnded)
		}
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
	b.visits.close()
	b.visits.cancel()
}
