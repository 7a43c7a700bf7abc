package bridge

import (
	"context"
	"encoding/json"
	"strings"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
)

// takeNotification hands a notification to the observations of a plain device that it is for; false: r is for the device itself.
// aei is the AE that it came for. It doesn't wait for the device: a notification was handed over when it stands in a queue.
func (b *Bridge) takeNotification(dev *Device, cse *CSE, aei string, r *onem2m.Request) (*onem2m.Response, bool) {
	if r.Operation != onem2m.Notify || dev.Entity || dev.Profile == ProfileOneM2M {
		return nil, false
	}
	n, ok := onem2m.DecodeNotification(r.Content, r.MediaType)
	if !ok {
		return nil, false
	}
	status := onem2m.StatusOK
	key := subscriptionKey{cse.Name, cse.relative(n.Subscription)}
	w, making := b.watched(dev, cse, aei, key)
	if dev.Profile != ProfilePlain && strings.HasPrefix(key.to, cse.Base+"/") && !strings.Contains(key.to, "/"+observePrefix) {
		making = false // it tells its name, which is none of the bridge's
	}
	switch {
	case w == nil && !making && dev.Profile != ProfilePlain && !strings.Contains(key.to, "/"+observePrefix):
		return nil, false // of a subscription that the device made itself
	case n.Deleted:
		if w != nil {
			b.endWhere(func(other *watch) bool { return other == w })
		}
	case n.Verification:
		if w == nil && !making {
			status = onem2m.StatusNotFound
		}
	case w == nil && making: // its CREATE isn't answered; the value is read after that (plainObserve)
	case w == nil:
		b.removeStale(dev, cse, aei, key)
		status = onem2m.StatusNotFound
	default:
		status = b.takeEvent(w, n)
	}
	return &onem2m.Response{Status: status, RequestID: r.RequestID, ReleaseVersion: r.ReleaseVersion}, true
}

// watched finds the watch of the subscription that key addresses, when it is aei's. making: one of aei's is being made, whose
// resource ID isn't known yet.
func (b *Bridge) watched(dev *Device, cse *CSE, aei string, key subscriptionKey) (w *watch, making bool) {
	ws := b.watches
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w = ws.named[key]; w != nil && w.key.device == dev.Name && w.from == aei {
		return w, false
	}
	if ws.devices[dev.Name] == 0 {
		return nil, false
	}
	for _, other := range ws.all {
		if other.making && other.key.device == dev.Name && other.key.cse == cse.Name && other.from == aei {
			return nil, true
		}
	}
	return nil, false
}

// takeEvent puts what n tells into w's queue, out of which the oldest gives way: each observer learns the latest state, not
// each one that there was (RFC 7641, Section 1.3).
func (b *Bridge) takeEvent(w *watch, n onem2m.Notification) onem2m.StatusCode {
	i, ok := decodeInstance(n.Representation)
	if !ok {
		b.stats.observed(ObserveUnreadable)
		return onem2m.StatusUnsupportedMediaType
	}
	ws := b.watches
	ws.mu.Lock()
	if len(w.queue) == maxEvents {
		w.queue = w.queue[1:]
		b.stats.observed(ObserveOvertaken)
	}
	w.sequence++
	w.queue = append(w.queue, &event{sequence: w.sequence, instance: i})
	ws.mu.Unlock()
	b.tell(w)
	return onem2m.StatusOK
}

// tell hands w's events to its observers, in order. One goroutine at a time does it; what comes meanwhile it takes along.
func (b *Bridge) tell(w *watch) {
	ws := b.watches
	for first := true; ; first = false {
		ws.mu.Lock()
		if first && w.sending {
			ws.mu.Unlock()
			return
		}
		e := w.nextLocked()
		w.sending = e != nil
		if e == nil {
			ws.mu.Unlock()
			return
		}
		var to []*observer
		entering := false
		for o := range w.observers {
			switch {
			case o.observation == nil:
				entering = true
			case o.seen < e.sequence:
				o.seen = e.sequence
				to = append(to, o)
			}
		}
		if !entering { // nobody is left who could have missed it
			w.last = nil
		}
		ws.mu.Unlock()
		for _, o := range to {
			b.notify(o, e)
		}
	}
}

// nextLocked is the event to hand on next; nil: there is none.
func (w *watch) nextLocked() *event {
	catchUp := w.catchUp
	w.catchUp = false
	if len(w.queue) > 0 && !(catchUp && w.last != nil) {
		w.last = w.queue[0]
		w.queue[0] = nil
		w.queue = w.queue[1:]
		return w.last
	}
	if catchUp {
		return w.last
	}
	return nil
}

// notify tells o of e, or ends it where its device has lost the right (S35) or the Content-Format is another one (RFC 7641,
// Section 4.2).
func (b *Bridge) notify(o *observer, e *event) {
	if !b.mayStill(o) {
		b.stats.observed(ObserveForbidden)
		b.end404(o)
		return
	}
	if formatOf(e.instance.media) != o.format {
		b.stats.observed(ObserveFormat)
		_ = o.observation.End(explained(o.job.x.Request(), coap.NotAcceptable, ""))
		b.unobserve(o)
		return
	}
	m := e.instance.message()
	m.Options = toldMaxAge(m.Options)
	if err := o.observation.Notify(m); err != nil {
		b.stats.observed(ObserveUnsent)
		return
	}
	b.stats.observed(ObserveNotified)
}

// mayStill reports whether what o was registered with is allowed now.
func (b *Bridge) mayStill(o *observer) bool {
	now := *o.job
	dev, ok := b.cfg.Directory.Device(now.s.peer)
	if !ok || dev.Name != now.dev.Name || dev.CSE != now.dev.CSE {
		return false
	}
	now.dev = dev
	_, allowed := b.allowsPlain(&now)
	return allowed
}

// removeStale removes a subscription that notifies and that nobody knows: of the bridge before it was started again, or one
// whose removal failed. The CSE may name it by its resource ID alone, so that it is looked at first: only one of the bridge's
// making, and this AE's, is removed.
func (b *Bridge) removeStale(dev *Device, cse *CSE, aei string, key subscriptionKey) {
	ws := b.watches
	ws.mu.Lock()
	if ws.stale[key] || len(ws.stale) >= maxStale || key.to == "" {
		ws.mu.Unlock()
		return
	}
	ws.stale[key] = true
	ws.mu.Unlock()
	b.stats.observed(ObserveStale)
	done := func() {
		ws.mu.Lock()
		delete(ws.stale, key)
		ws.mu.Unlock()
	}
	up := Upstream{CSE: cse.Name, Client: dev.Client}
	b.errand(func(ctx context.Context) {
		defer done()
		look, cancel := context.WithTimeout(ctx, b.timeout(cse))
		defer cancel()
		resp, err := b.cfg.ServiceLayer.Do(look, up, cse.upward(plainRequest(onem2m.Retrieve, aei, key.to)))
		if err != nil || resp.Status != onem2m.StatusOK || !strings.HasPrefix(represented(resp.Content).Name, observePrefix) {
			return
		}
		if b.deleteSubscription(ctx, up, cse, aei, key.to) != nil {
			b.stats.observed(ObserveUnsubscribeFailed)
		}
	}, done)
}

// becomeReachable makes sure that w's AE can be sent notifications (TS-0001, 9.6.5: requestReachability, pointOfAccess). It is
// told to the CSE with the first observation, once for each AE while the process runs: the AE may have been registered by an
// older release, for another URL of the bridge, or when its CSE was reached the other way.
func (b *Bridge) becomeReachable(ctx context.Context, j *job, w *watch) error {
	key := subscriptionKey{w.key.cse, w.from}
	defer b.homes.lock(w.key.device)() // two tokens on their way at once would leave the CSE with one and the bindings with the other
	if _, done := b.reachable.Load(key); done {
		return nil
	}
	listens := w.cse.Downlink == DownlinkListen
	ae := map[string]any{"rr": listens} // with rr false a CSE looks into the polling channel (TS-0001, 10.2.5.16)
	access, bound := b.cfg.Directory.Access(w.key.cse, w.from)
	if listens {
		if !bound || w.cse.POA == "" {
			return errNoDownlink
		}
		if access.Token == "" {
			access.Token = newToken()
		}
		ae["poa"] = []string{w.cse.POA + "/" + access.Token}
	}
	r := plainRequest(onem2m.Update, w.from, w.aeAddress())
	r.MediaType = jsonMedia
	var err error
	if r.Content, err = json.Marshal(map[string]any{"m2m:ae": ae}); err != nil {
		return err
	}
	resp, err := b.cfg.ServiceLayer.Do(ctx, w.up, w.cse.upward(r))
	switch {
	case err != nil:
		return err
	case resp.Status != onem2m.StatusUpdated:
		return &refusedByCSE{resp.Status}
	}
	if listens {
		if err := b.bindAE(j, w.from, access); err != nil {
			return err
		}
	}
	b.reachable.Store(key, true)
	return nil
}

// aeAddress is the structured address of the AE that w's container lies in.
func (w *watch) aeAddress() string {
	base := w.cse.Base + "/"
	name, _, _ := strings.Cut(strings.TrimPrefix(w.key.to, base), "/")
	return base + name
}
