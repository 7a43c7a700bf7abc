package bridge

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
)

// Observe for plain devices (RFC 7641). Who observes a container of its AE is told of each new contentInstance: the bridge
// subscribes for it at the CSE, in the name of the device's AE and with that AE as notification target, once for all observers
// of one container, and ends the subscription when the last of them has gone.

// watches are the containers that are observed.
type watches struct {
	makers keyedMutex // one maker or remover of a watch's subscription at a time

	mu      sync.Mutex // guards the following fields, and those of the watches
	all     map[watchKey]*watch
	named   map[subscriptionKey]*watch // by each address of its subscription
	devices map[string]int             // observers, by device
	total   int                        // of them
	stale   map[subscriptionKey]bool   // subscriptions that are being removed because nobody knows them
}

// watchKey is a container of a device's AE. to is CSE-relative and structured.
type watchKey struct{ device, cse, to string }

// subscriptionKey is an address of a subscription, in the form of CSE.relative.
type subscriptionKey struct{ cse, to string }

// watch is one observed container.
type watch struct {
	key  watchKey
	up   Upstream
	cse  *CSE
	from string // AE-ID

	// Guarded by watches.mu:
	making    bool      // the subscription's CREATE is on its way
	checked   time.Time // when it was made, or seen
	gone      bool      // its container was deleted meanwhile
	made      bool
	addresses []subscriptionKey // of the subscription: structured, and its resource ID where the CSE told it
	observers map[*observer]bool
	attempts  int // to remove the subscription
	leaving   bool

	sequence uint64   // of the latest event
	queue    []*event // not yet handed to anybody
	last     *event   // handed to everybody who was there; kept while somebody enters
	sending  bool     // somebody hands events on
	catchUp  bool     // somebody new may have missed last
}

// event is a new contentInstance.
type event struct {
	sequence uint64
	instance reading
}

// observer is one observation of a watch. It counts from the moment its request is read at the CSE.
type observer struct {
	watch *watch
	job   *job // of the registration; its exchange is answered
	// Guarded by watches.mu:
	observation *coap.Observation // nil: not registered yet
	format      int               // Content-Format of the first answer
	seen        uint64            // sequence of what it was told last
	ended       bool
}

func newWatches() *watches {
	return &watches{
		all: map[watchKey]*watch{}, named: map[subscriptionKey]*watch{}, devices: map[string]int{}, stale: map[subscriptionKey]bool{},
	}
}

// size returns the numbers of observers and of watches.
func (ws *watches) size() (observers, all int) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return ws.total, len(ws.all)
}

// newObserver is the observer that j's request asks to become, with a place that is taken; nil when it asks for nothing, or can
// have nothing: then it is answered as a GET without Observe (RFC 7641, Section 4.1).
func (b *Bridge) newObserver(j *job, from string) *observer {
	if j.cse.Downlink == DownlinkOff || !j.x.Observes() {
		return nil
	}
	key := watchKey{j.dev.Name, j.cse.Name, j.container(len(j.path))}
	ws := b.watches
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.devices[key.device] >= b.cfg.Limits.Observations || ws.total >= b.cfg.Limits.ObservationsTotal {
		b.stats.observed(ObserveLimited)
		return nil
	}
	w := ws.all[key]
	if w == nil {
		w = &watch{
			key: key, up: Upstream{CSE: j.cse.Name, Client: j.dev.Client}, cse: j.cse, from: from, observers: map[*observer]bool{},
		}
		ws.all[key] = w
	}
	o := &observer{watch: w, job: j, seen: w.sequence}
	w.observers[o] = true
	ws.devices[key.device]++
	ws.total++
	return o
}

// plainObserve answers a GET with Observe: with the latest value, and a place in the list of observers where there is a value.
func (b *Bridge) plainObserve(ctx context.Context, o *observer) {
	j, from := o.job, o.watch.from
	i, err := b.read(ctx, j, from)
	if err != nil { // RFC 7641, Section 4.1: an error registers nobody
		b.unobserve(o)
		b.endPlain(j, nil, err)
		return
	}
	answer := i.answer(j.x.Request())
	if !i.latest || answer.Code.Class() != 2 { // a contentInstance that is named itself never changes
		b.unobserve(o)
		b.respond(j.x, answer, 0)
		return
	}
	fresh, err := b.subscribe(ctx, j, o.watch)
	if err == nil && fresh { // what came between the look and the subscription would be told to nobody
		var again reading
		if again, err = b.read(ctx, j, from); err == nil {
			i, answer = again, again.answer(j.x.Request())
		}
	}
	if err != nil || answer.Code.Class() != 2 {
		b.stats.observed(ObserveFailed)
		b.unobserve(o)
		b.respond(j.x, answer, 0) // a GET without Observe is what can be had
		return
	}
	b.register(o, i, answer)
}

// register answers o's request and enters it into the list of observers.
func (b *Bridge) register(o *observer, i reading, answer *coap.Message) {
	answer.Options = toldMaxAge(answer.Options)
	observation, err := o.job.x.RespondObserve(answer, coap.ObserveOptions{
		ConfirmEvery: b.cfg.Limits.ConfirmEvery, ConfirmAfter: b.cfg.Limits.ConfirmAfter,
		Ended: func(_ *coap.Observation, why coap.EndReason) {
			b.stats.observed(endedBy(why))
			b.unobserve(o)
		},
	})
	b.stats.answer(Answer{Code: answer.Code}, err == nil)
	if observation == nil || err != nil {
		b.stats.observed(ObserveLimited)
		b.unobserve(o)
		return
	}
	b.stats.observed(ObserveRegistered)
	ws := b.watches
	ws.mu.Lock()
	o.observation, o.format = observation, formatOf(i.media)
	o.watch.catchUp = true
	gone := !o.watch.made // its container was deleted between the look and this
	var before *observer
	for other := range o.watch.observers {
		if other != o && other.observation == observation { // the same token registered again (RFC 7641, Section 4.1)
			before = other
		}
	}
	ws.mu.Unlock()
	if before != nil {
		b.unobserve(before)
	}
	if gone {
		b.end404(o)
		return
	}
	b.tell(o.watch)
}

// toldMaxAge is for the options of a representation whose next one will be told: it is fresh until then. A client that was told
// nothing for so long registers again (RFC 7641, Section 3.3.1), which mends what may have been lost.
func toldMaxAge(o coap.Options) coap.Options {
	return o.Remove(coap.MaxAge).AddUint(coap.MaxAge, uint32(toldFor.Seconds()))
}

// unobserve takes o from the list, and has the subscription removed when it was the last one.
func (b *Bridge) unobserve(o *observer) {
	ws, w := b.watches, o.watch
	ws.mu.Lock()
	if o.ended {
		ws.mu.Unlock()
		return
	}
	o.ended = true
	delete(w.observers, o)
	if ws.devices[w.key.device]--; ws.devices[w.key.device] == 0 {
		delete(ws.devices, w.key.device)
	}
	ws.total--
	remove := ws.idleLocked(w)
	ws.mu.Unlock()
	if remove {
		b.errand(func(ctx context.Context) { b.unsubscribe(ctx, w) }, func() { b.stats.observed(ObserveUnsubscribeFailed) })
	}
}

// idleLocked forgets w when nobody observes it, and reports whether its subscription has to be removed first.
func (ws *watches) idleLocked(w *watch) bool {
	switch {
	case len(w.observers) > 0 || w.leaving:
		return false
	case w.made, w.making:
		w.leaving = true
		return true
	}
	if ws.all[w.key] == w {
		delete(ws.all, w.key)
	}
	return false
}

// forgetLocked takes w out of every table: its subscription is gone.
func (ws *watches) forgetLocked(w *watch) {
	for _, a := range w.addresses {
		if ws.named[a] == w {
			delete(ws.named, a)
		}
	}
	w.made, w.addresses, w.attempts = false, nil, 0
	if ws.all[w.key] == w && len(w.observers) == 0 {
		delete(ws.all, w.key)
	}
}

// lock takes the watch's subscription for a maker or remover.
func (ws *watches) lock(w *watch) (unlock func()) {
	return ws.makers.lock(w.key.device + "\x00" + w.key.cse + "\x00" + w.key.to)
}

// subscribe makes sure that w has a subscription. fresh: it was made now.
func (b *Bridge) subscribe(ctx context.Context, j *job, w *watch) (fresh bool, err error) {
	ws := b.watches
	defer ws.lock(w)()
	if b.subscribed(ctx, w) {
		return false, nil
	}
	ws.mu.Lock()
	w.making, w.gone = true, false
	ws.mu.Unlock()
	addresses, err := b.createSubscription(ctx, j, w)
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w.making = false
	if err == nil && w.gone {
		err = errNoInstance
	}
	if err != nil {
		return false, err
	}
	w.made, w.addresses, w.checked = true, addresses, time.Now()
	for _, a := range addresses {
		ws.named[a] = w
	}
	return true, nil
}

// subscribed reports whether w has a subscription. One that was not seen for a while is looked at: a CSE may have lost it.
func (b *Bridge) subscribed(ctx context.Context, w *watch) bool {
	ws := b.watches
	ws.mu.Lock()
	if !w.made || time.Since(w.checked) < checkSubscription {
		defer ws.mu.Unlock()
		return w.made
	}
	to := w.addresses[0].to
	ws.mu.Unlock()
	resp, err := b.cfg.ServiceLayer.Do(ctx, w.up, w.cse.upward(plainRequest(onem2m.Retrieve, w.from, to)))
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if err == nil && resp.Status == onem2m.StatusNotFound {
		ws.forgetLocked(w)
	} else {
		w.checked = time.Now()
	}
	return w.made
}

// createSubscription makes the <subscription> below w's container, and returns its addresses.
func (b *Bridge) createSubscription(ctx context.Context, j *job, w *watch) ([]subscriptionKey, error) {
	if err := b.becomeReachable(ctx, j, w); err != nil {
		return nil, err
	}
	name := observePrefix + strings.ToLower(newRequestID()[:16])
	r := plainRequest(onem2m.Create, w.from, w.key.to)
	r.ResourceType = onem2m.TypeSubscription
	var err error
	r.Content, err = onem2m.EncodeSubscription(onem2m.Subscription{
		Name: name, NotificationURIs: []string{w.cse.spRelative(w.from)},
		Events: []onem2m.NotificationEvent{onem2m.EventCreateChild}, ContentType: onem2m.ContentAllAttributes,
	})
	if err != nil {
		return nil, err
	}
	resp, err := b.cfg.ServiceLayer.Do(ctx, w.up, w.cse.upward(r))
	if err != nil { // one that was made all the same is removed with its first notification
		return nil, err
	}
	if resp.Status != onem2m.StatusCreated {
		return nil, &refusedByCSE{resp.Status}
	}
	addresses := []subscriptionKey{{w.key.cse, w.key.to + "/" + name}}
	if id := represented(resp.Content).ID; id != "" {
		addresses = append(addresses, subscriptionKey{w.key.cse, w.cse.relative(id)})
	}
	return addresses, nil
}

// unsubscribe removes w's subscription, unless somebody observes w again. It is repeated a few times; what is given up is
// counted, and removed at the CSE with its next notification.
func (b *Bridge) unsubscribe(ctx context.Context, w *watch) {
	ws := b.watches
	defer ws.lock(w)()
	ws.mu.Lock()
	w.leaving = false
	if len(w.observers) > 0 || !w.made {
		if len(w.observers) == 0 {
			ws.forgetLocked(w)
		}
		ws.mu.Unlock()
		return
	}
	to := w.addresses[0].to
	ws.mu.Unlock()
	err := b.deleteSubscription(ctx, w.up, w.cse, w.from, to)
	ws.mu.Lock()
	w.attempts++
	again := err != nil && w.attempts < maxUnsubscribe
	if !again {
		ws.forgetLocked(w)
	} else {
		w.leaving = true
	}
	wait := unsubscribeRetry << (2 * max(w.attempts-1, 0))
	ws.mu.Unlock()
	switch {
	case err == nil:
		b.stats.observed(ObserveUnsubscribed)
	case again:
		lost := func() { b.stats.observed(ObserveUnsubscribeFailed) }
		if !b.errands.after(wait, func(ctx context.Context) { b.unsubscribe(ctx, w) }, lost) {
			lost()
		}
	default:
		b.stats.observed(ObserveUnsubscribeFailed)
	}
}

// deleteSubscription removes a subscription at the CSE; that it was gone is as good.
func (b *Bridge) deleteSubscription(ctx context.Context, up Upstream, cse *CSE, from, to string) error {
	ctx, cancel := context.WithTimeout(ctx, b.timeout(cse))
	defer cancel()
	resp, err := b.cfg.ServiceLayer.Do(ctx, up, cse.upward(plainRequest(onem2m.Delete, from, to)))
	switch {
	case err != nil:
		return err
	case resp.Status != onem2m.StatusDeleted && resp.Status != onem2m.StatusNotFound:
		return &refusedByCSE{resp.Status}
	}
	return nil
}

// errand has f done, or lost called when the bridge is ending.
func (b *Bridge) errand(f func(context.Context), lost func()) {
	if !b.errands.add(f) {
		lost()
	}
}

// endWatches ends what observes containers that j's DELETE removed, with all below them: their subscriptions went with them.
func (b *Bridge) endWatches(j *job) {
	to := j.container(len(j.path))
	b.endWhere(func(w *watch) bool {
		_, below := cutSegment(w.key.to, to)
		return w.key.device == j.dev.Name && w.key.cse == j.cse.Name && (w.key.to == to || below)
	})
}

// endWhere ends the observations of the watches that gone picks, whose subscriptions are no more, with a 4.04 (RFC 7641,
// Section 4.2).
func (b *Bridge) endWhere(gone func(*watch) bool) {
	ws := b.watches
	var ending []*observer
	ws.mu.Lock()
	for _, w := range ws.all {
		if !gone(w) {
			continue
		}
		for o := range w.observers {
			ending = append(ending, o)
		}
		w.gone = true
		ws.forgetLocked(w)
	}
	ws.mu.Unlock()
	for _, o := range ending {
		b.end404(o)
	}
}

// end404 tells o that there is nothing to observe any more.
func (b *Bridge) end404(o *observer) {
	b.watches.mu.Lock()
	observation := o.observation
	b.watches.mu.Unlock()
	if observation == nil { // its registration ends as it may
		return
	}
	_ = observation.End(explained(o.job.x.Request(), coap.NotFound, "")) // its Ended is told, or the peer has gone
	b.unobserve(o)
}

// endedBy is the event of an end.
func endedBy(why coap.EndReason) ObserveEvent {
	switch why {
	case coap.EndReset:
		return ObserveReset
	case coap.EndTimeout:
		return ObserveTimeout
	case coap.EndClosed:
		return ObserveClosed
	case coap.EndReplaced:
		return ObserveReplaced
	case coap.EndCancelled:
		return ObserveCancelled
	}
	return ObserveNoRoom
}

var errNoDownlink = errors.New("bridge: the CSE can't reach the bridge")

// unsubscribeAll has every subscription removed, for the bridge is ending.
func (b *Bridge) unsubscribeAll() {
	ws := b.watches
	ws.mu.Lock()
	var observers []*observer
	for _, w := range ws.all {
		for o := range w.observers {
			observers = append(observers, o)
		}
	}
	ws.mu.Unlock()
	for _, o := range observers {
		b.unobserve(o)
	}
}

// observePrefix begins the names of the bridge's own subscriptions, so that those which it no longer knows are found out.
const observePrefix = "coap-bridge-observe-"
