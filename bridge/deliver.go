package bridge

import (
	"context"
	"errors"
	"time"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
	"coapbridge/dtls"
)

// Downstream says where a request of a Service Layer came from, and for whom.
type Downstream struct {
	CSE   string // name in the configuration: whose certificate came, or who was polled
	Token string // of the point of access that was called; "" where AEI says whose polling channel it was
	AEI   string
}

// ErrNoAccess is returned by Deliver for a token or an AE-ID that leads nowhere, or is of another CSE.
var ErrNoAccess = errors.New("bridge: no such point of access")

// destination is whom a request of a CSE is for.
type destination struct {
	dev    *Device
	cse    *CSE
	aei    string // "": the CSE is about to give it
	access Access
	peer   *coap.Peer // of a registration under way; nil: whichever session there is
}

// Deliver carries a request of a CSE down to the device that from leads to and brings its answer back: on its live session,
// or on one that the bridge begins (TS-0003, 8.2.1). Requests to one device are carried one after the other, in the order of
// the calls; a request that is equal to one under way, or to one answered not long ago, gets the same answer (see
// downReplays). Failures of the device are a Response with their status (its silence 4008); the only errors are ErrNoAccess
// and, for a request that can't be carried, *onem2m.Error. r is not changed and shares nothing with what is kept.
func (b *Bridge) Deliver(ctx context.Context, from Downstream, r *onem2m.Request) (*onem2m.Response, error) {
	now := time.Now()
	d, ok := b.destination(from)
	if !ok {
		b.stats.deliver(DeliveryNoAccess)
		return nil, ErrNoAccess
	}
	deadline, err := r.Deadline(now, now.Add(d.dev.Timing.patience(b.cfg.Limits.DownlinkTimeout)))
	if err != nil {
		b.stats.deliver(DeliveryMalformed)
		return nil, err
	}
	if !deadline.After(now) { // TS-0004, 7.3.2.1
		return b.undelivered(r, DeliveryExpired, onem2m.StatusRequestTimeout), nil
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	defer context.AfterFunc(b.ctx, cancel)()

	e, isNew := b.downReplays.begin(downKey(d, r), now)
	if !isNew {
		b.stats.deliver(DeliveryRepeated)
		select {
		case <-e.done:
			return e.answerTo(r), e.err
		case <-ctx.Done():
			return b.undelivered(r, DeliverySilent, onem2m.StatusRequestTimeout), nil
		}
	}
	out := b.carry(ctx, from, d, r, deadline)
	if out.why != "" {
		b.fault(d.dev, "request of a CSE not delivered", string(out.why))
	}
	b.downReplays.finish(e, out, time.Now())
	return out.resp, out.err
}

// delivery is how a request to a device ended.
type delivery struct {
	resp *onem2m.Response
	err  error    // *onem2m.Error, or ErrNoAccess
	kept bool     // the device may have executed it: a repeat must not be
	why  Delivery // "": the device, or the bridge for it, answered
}

// destination finds whom from leads to. An unknown token, and one of another CSE, can't be told apart.
func (b *Bridge) destination(from Downstream) (destination, bool) {
	cse := b.cses[from.CSE]
	if cse == nil {
		return destination{}, false
	}
	if from.Token == "" {
		known, ok := b.cfg.Directory.Bound(cse.Name, from.AEI)
		return destination{dev: known.Device, cse: cse, aei: known.AEI, access: known.Access}, ok && b.cses[known.CSE] == cse
	}
	pending := b.invited.find(from.Token) // both are asked, whatever the first one says (S43)
	known, ok := b.cfg.Directory.Reachable(from.Token)
	switch {
	case ok && b.cses[known.CSE] == cse:
		return destination{dev: known.Device, cse: cse, aei: known.AEI, access: known.Access}, true
	case pending != nil && pending.cse == cse:
		return destination{dev: pending.dev, cse: cse, aei: pending.aei, access: pending.access, peer: pending.peer}, true
	}
	return destination{}, false
}

// undelivered is the answer to a request that the bridge ends itself.
func (b *Bridge) undelivered(r *onem2m.Request, why Delivery, status onem2m.StatusCode) *onem2m.Response {
	b.stats.deliver(why)
	return &onem2m.Response{Status: status, RequestID: r.RequestID, ReleaseVersion: r.ReleaseVersion}
}

// fails is undelivered for a request that was certainly not executed.
func (b *Bridge) fails(r *onem2m.Request, why Delivery, status onem2m.StatusCode) delivery {
	return delivery{resp: b.undelivered(r, why, status), why: why}
}

// mayBeDone is fails for a request that the device may have executed.
func (b *Bridge) mayBeDone(r *onem2m.Request, why Delivery, status onem2m.StatusCode) delivery {
	return delivery{resp: b.undelivered(r, why, status), why: why, kept: true}
}

// carry delivers r in its turn, to whom from leads to then: a reload or an AE's end may have taken d's place meanwhile.
func (b *Bridge) carry(ctx context.Context, from Downstream, d destination, r *onem2m.Request, deadline time.Time) delivery {
	if b.namesOthers(d, r) { // B06
		return b.fails(r, DeliveryTarget, onem2m.StatusNotFound)
	}
	t := b.lanes.enter(d.dev.Name)
	if t == nil {
		return b.fails(r, DeliveryBusy, onem2m.StatusTargetNotReachable)
	}
	defer t.leave()
	if !t.wait(ctx) {
		return b.fails(r, DeliverySilent, onem2m.StatusRequestTimeout)
	}
	now, ok := b.destination(from)
	if !ok || now.dev.Name != d.dev.Name {
		b.stats.deliver(DeliveryNoAccess)
		return delivery{err: ErrNoAccess}
	}
	d = now
	if r.Operation == onem2m.Notify {
		if resp, taken := b.takeNotification(d.dev, d.cse, d.aei, r); taken {
			b.stats.deliver(DeliveryTaken)
			return delivery{resp: resp, kept: true}
		}
	}
	if d.dev.Profile == ProfilePlain {
		return b.fails(r, DeliveryPlain, onem2m.StatusOperationNotAllowed)
	}
	m, err := b.downMessage(d, r, deadline)
	if err != nil {
		b.stats.deliver(DeliveryMalformed)
		return delivery{err: err, why: DeliveryMalformed}
	}
	peer := d.peer
	if peer == nil {
		if peer, err = b.reach(ctx, d.dev); err != nil {
			return b.unreached(ctx, r, err)
		}
	}
	return b.exchange(ctx, d, peer, r, m)
}

// unreached maps what reach returned. Deviation: TS-0004 leaves open which status a device has that is not reachable.
func (b *Bridge) unreached(ctx context.Context, r *onem2m.Request, err error) delivery {
	switch {
	case errors.Is(err, errWrongPeer):
		return b.fails(r, DeliveryWrongPeer, onem2m.StatusTargetNotReachable)
	case errors.Is(err, errNoSession):
		return b.fails(r, DeliveryNoSession, onem2m.StatusTargetNotReachable)
	case ctx.Err() != nil: // no handshake in time
		return b.fails(r, DeliveryNotDialled, onem2m.StatusRequestTimeout)
	}
	return b.fails(r, DeliveryNotDialled, onem2m.StatusTargetNotReachable)
}

// exchange has the device answer. What may have been executed is not sent again, on no other session either.
func (b *Bridge) exchange(ctx context.Context, d destination, peer *coap.Peer, r *onem2m.Request, m *coap.Message) delivery {
	began := time.Now()
	answer, err := b.coap.Do(ctx, peer, m)
	switch {
	case err == nil:
	case errors.Is(err, coap.ErrReset): // RFC 7252, Section 4.2: it was not taken
		return b.fails(r, DeliveryReset, onem2m.StatusTargetNotReachable)
	case errors.Is(err, coap.ErrQueueFull), errors.Is(err, coap.ErrMessageIDs):
		return b.fails(r, DeliveryBusy, onem2m.StatusTargetNotReachable)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, coap.ErrTimeout):
		b.suspect(d.dev, peer, began)
		return b.mayBeDone(r, DeliverySilent, onem2m.StatusRequestTimeout)
	case errors.Is(err, coap.ErrClosed), errors.Is(err, coap.ErrShutdown), errors.Is(err, dtls.ErrClosed), errors.Is(err, dtls.ErrUnproven):
		return b.mayBeDone(r, DeliveryClosed, onem2m.StatusRequestTimeout)
	default:
		return b.mayBeDone(r, DeliveryBadAnswer, onem2m.StatusInternalServerError)
	}
	if _, hasFormat := answer.Options.Find(coap.ContentFormat); !hasFormat && answer.Code.Class() > 2 {
		answer.Payload = nil // for people (RFC 7252, Section 5.5.2)
	}
	resp, err := onem2m.ResponseFromCoAP(answer, r, d.profile())
	if err != nil || !b.mayAnswerAs(d, resp.From) {
		return b.mayBeDone(r, DeliveryBadAnswer, onem2m.StatusInternalServerError)
	}
	if resp.ReleaseVersion == "" {
		resp.ReleaseVersion = r.ReleaseVersion
	}
	b.stats.deliver(DeliveryAnswered)
	return delivery{resp: resp, kept: true}
}

// mayAnswerAs reports whether the device may call itself from in an answer (S41).
func (b *Bridge) mayAnswerAs(d destination, from string) bool {
	return from == "" || from == d.aei || d.cse.stem(from) == d.aei || b.isOriginator(d.dev, d.cse, from)
}
