package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
)

// serveOneM2M takes a request of a device that speaks TS-0008 itself.
func (b *Bridge) serveOneM2M(j *job) {
	b.stats.request(ProfileOneM2M)
	if j.dev.Profile == ProfilePlain { // it never gets a oneM2M option, so it may not send one either
		b.refusePlain(j.x, j.s, RefusedProfile, coap.BadOption)
		return
	}
	r, err := onem2m.RequestFromCoAP(j.x.Request(), j.coapProfile())
	if err != nil {
		status := statusOf(err)
		j.request = b.salvage(j)
		b.refuseOneM2M(j, refusal(RefusedMalformed, status), err)
		return
	}
	j.request = r
	if len(r.Content) > b.maxPayload(j.dev) {
		b.refuseOneM2M(j, outcome{why: RefusedSize, code: coap.RequestEntityTooLarge, status: onem2m.StatusBadRequest}, nil)
		return
	}
	if why, status := b.admit(j.dev, j.cse, r); why != "" {
		b.refuseOneM2M(j, refusal(why, status), nil)
		return
	}
	if out, ok := j.expire(time.Now()); !ok {
		b.refuseOneM2M(j, out, nil)
		return
	}
	if changes(r) && (!b.fresh(j) || !b.remember(j)) {
		return
	}
	j.run = (*Bridge).forward
	if why, ok := b.submit(j); !ok {
		b.refuseOneM2M(j, overload(why), nil)
	}
}

func (j *job) coapProfile() onem2m.CoAPProfile {
	return onem2m.CoAPProfile{Legacy: j.dev.LegacyOptions, StrictTimestamps: j.dev.StrictTimestamps}
}

// expire brings the deadline forward to the Request Expiration Timestamp. One in the past is 4008 (TS-0004, 7.3.2.1).
func (j *job) expire(now time.Time) (outcome, bool) {
	deadline, err := j.request.Deadline(now, j.deadline)
	if err != nil {
		return refusal(RefusedMalformed, onem2m.StatusBadRequest), false
	}
	if !deadline.After(now) {
		return refusal(RefusedExpired, onem2m.StatusRequestTimeout), false
	}
	j.deadline = deadline
	return outcome{}, true
}

// forward runs on a worker.
func (b *Bridge) forward(ctx context.Context, j *job) {
	defer func() { b.withdraw(j.invited) }()
	up, err := b.outgoing(ctx, j)
	if err != nil { // nothing was changed
		out := failure(err)
		out.done = false
		b.refuseOneM2M(j, out, err)
		return
	}
	resp, err := b.do(ctx, j, up)
	if err != nil {
		out := failure(err)
		if out.done { // the CSE may have it, and would call a token that nobody knows
			err = errors.Join(err, b.keepAccess(j))
		}
		b.refuseOneM2M(j, out, err)
		return
	}
	m, err := b.answer(j, resp)
	if err == nil {
		err = b.follow(j, resp)
	}
	if err != nil {
		out := failure(err)
		out.done = true // the CSE has answered
		b.refuseOneM2M(j, out, err)
		return
	}
	b.end(j, m, resp.Status, true)
}

// answer is a CSE's answer as j's device gets it.
func (b *Bridge) answer(j *job, resp *onem2m.Response) (*coap.Message, error) {
	shown, err := b.showAnswer(j, resp)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadAnswer, err)
	}
	m, err := shown.CoAP(j.request, j.coapProfile())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadAnswer, err)
	}
	return m, nil
}

// remember enters j into the replay memory; false when j was answered, or waits for the answer to its equal.
func (b *Bridge) remember(j *job) bool {
	now := time.Now()
	expires := b.rememberUntil(j.request.RequestExpiration, now)
	e, verdict := b.replay.begin(j.s.peer.ID, j.request, j.x, now, expires)
	switch verdict {
	case replayAnswered:
		b.stats.repeat()
		m, status := b.replay.answerOf(e)
		b.respond(j.x, m, status)
	case replayWaiting:
		b.stats.repeat()
	case replayMismatch:
		b.refuseOneM2M(j, refusal(RefusedReuse, onem2m.StatusBadRequest), nil)
	case replayFull:
		b.refuseOneM2M(j, overload(RefusedReplayFull), nil)
	case replayNew:
		j.replay = e
		return true
	}
	return false
}

// rememberUntil is when a changing request may be forgotten: at its Request Expiration Timestamp, after which it is refused
// by its own word. A relative one, or none, says nothing of a repeat that comes later.
func (b *Bridge) rememberUntil(rqet string, now time.Time) time.Time {
	at, err := onem2m.ParseTimestamp(rqet, now)
	if err != nil || onem2m.IsRelative(rqet) {
		return now.Add(b.cfg.Limits.ReplayLifetime)
	}
	if latest := now.Add(maxReplayLifetime); at.After(latest) {
		return latest
	}
	return at
}

// end answers j and every repeat of it that waits. executed says whether the CSE may have done what was asked: if it
// certainly has not, a later repeat is a new request.
func (b *Bridge) end(j *job, m *coap.Message, status onem2m.StatusCode, executed bool) {
	var waiting []*coap.Exchange
	switch {
	case j.replay == nil:
	case executed:
		waiting = b.replay.finish(j.replay, m, status)
	default:
		waiting = b.replay.forget(j.replay)
	}
	for _, x := range append(waiting, j.x) {
		answer := *m
		b.respond(x, &answer, status)
	}
}

// follow keeps the bindings of AE-IDs in step with what the CSE answered, before the answer leaves.
func (b *Bridge) follow(j *job, resp *onem2m.Response) error {
	r := j.request
	switch {
	case registers(r) && resp.Status == onem2m.StatusCreated:
		return b.bind(j, resp, r.To)
	case r.Operation == onem2m.Delete && resp.Status == onem2m.StatusDeleted:
		if aei, ok := b.deleted(j); ok {
			b.forget(j.dev, j.cse, aei)
			b.reachable.Delete(subscriptionKey{j.cse.Name, aei}) // the next one of the same ID may not be
			return wrapBinding(b.cfg.Directory.Unbind(j.s.peer.ID, j.cse.Name, aei))
		}
	case accepted(resp.Status):
		b.results.add(j.dev, j.cse, resp)
		return b.keepAccess(j) // the CSE will have it
	case resp.Status == onem2m.StatusUpdated:
		return b.keepAccess(j)
	}
	return nil
}

// deleted returns the AE-ID of the AE that j's request has just deleted: by the address that it was made at, or by its ID.
func (b *Bridge) deleted(j *job) (aei string, ok bool) {
	aei = b.addressed(j)
	b.named.Range(func(at, known any) bool { // also when it was deleted by its ID: the name is free for others
		if at := at.(address); known == aei && at.device == j.dev.Name && at.cse == j.cse.Name {
			b.named.Delete(at)
		}
		return true
	})
	return aei, slices.Contains(j.dev.Bound, aei)
}

// bind records the AE-ID of a 2001 answer (TS-0003, 8.2.1). One that the CSE gave away twice, or that another device's entry
// names, stays that one's.
func (b *Bridge) bind(j *job, resp *onem2m.Response, parent string) error {
	aei, err := onem2m.CreatedAEID(resp)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBadAnswer, err)
	}
	if !slices.Contains(j.dev.Originators, aei) && b.cfg.Directory.BelongsToOther(j.dev, aei) {
		return ErrBound
	}
	var access Access
	if j.invited != nil {
		access = j.invited.access
	}
	if err := b.bindAE(j, aei, access); err != nil {
		return err
	}
	if name := createdName(resp); name != "" && name != aei {
		b.named.Store(address{j.dev.Name, j.cse.Name, j.cse.relative(parent) + "/" + name}, aei)
	}
	return nil
}

func wrapBinding(err error) error {
	if err == nil || errors.Is(err, ErrBound) {
		return err
	}
	return fmt.Errorf("%w: %w", errBindingWrite, err)
}

// salvage makes just enough of a request that could not be read to answer it: its Request Identifier and its Release Version
// Indicator, where there are such.
func (b *Bridge) salvage(j *job) *onem2m.Request {
	m, p := j.x.Request(), j.coapProfile()
	return &onem2m.Request{RequestID: onem2m.RequestIDFromCoAP(m, p), ReleaseVersion: onem2m.ReleaseVersionFromCoAP(m, p)}
}

// refuseOneM2M answers j.request with out.
func (b *Bridge) refuseOneM2M(j *job, out outcome, err error) {
	b.note(j.s, out.why, err)
	resp := &onem2m.Response{Status: out.status, RequestID: j.request.RequestID, ReleaseVersion: j.request.ReleaseVersion}
	m, cerr := resp.CoAP(j.request, j.coapProfile())
	if cerr != nil { // its Request Identifier can't be sent back
		m = &coap.Message{}
	}
	m.Code = out.code
	if out.retry > 0 {
		m.Options = m.Options.Remove(coap.MaxAge).AddUint(coap.MaxAge, uint32(out.retry/time.Second))
	}
	if out.why == RefusedSize {
		m.Options = m.Options.AddUint(coap.Size1, uint32(b.maxPayload(j.dev))) // RFC 7959, Section 4
	}
	b.end(j, m, out.status, out.done)
}
