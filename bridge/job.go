package bridge

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
)

// job is one request on its way up: what the read path found out, and what a worker does with it.
type job struct {
	x         *coap.Exchange // nil in a job of the bridge's own
	peer      *coap.Peer
	s         *session
	dev       *Device
	cse       *CSE
	deadline  time.Time
	request   *onem2m.Request  // oneM2M profile
	replay    *replayEntry     // oneM2M profile, of a request that changes something
	invited   *invitation      // of a request that tells the CSE how an AE is reached
	asked     int              // how many names in its content the CSE was asked about
	path      []string         // plain profile: the decoded Uri-Path; nil for /.well-known/core
	operation onem2m.Operation // plain profile: what the request is for the CSE
	run       func(*Bridge, context.Context, *job)
	failed    func(outcome, error) // what a job of the bridge's own ends with instead of an answer
}

func (j *job) work(b *Bridge) {
	defer b.leave(j.dev.Name)
	if out, ok := b.still(j); !ok { // certainly not executed
		b.fail(j, out, nil)
		return
	}
	ctx, cancel := context.WithDeadline(b.ctx, j.deadline)
	defer cancel()
	j.run(b, ctx, j)
}

// still reports whether what the read path allowed is allowed now: j may have waited, and its device may have lost its
// entry or some of its rights meanwhile.
func (b *Bridge) still(j *job) (outcome, bool) {
	if !time.Now().Before(j.deadline) {
		return refusal(RefusedExpired, onem2m.StatusRequestTimeout), false
	}
	dev, ok := b.cfg.Directory.Device(j.s.peer)
	if !ok || dev.Name != j.dev.Name || dev.CSE != j.dev.CSE {
		return refusal(RefusedUnknown, onem2m.StatusOriginatorNotAuthenticated), false
	}
	j.dev = dev
	if j.request == nil {
		why, allowed := b.allowsPlain(j)
		return outcome{why: why, code: coap.NotFound}, allowed
	}
	why, status := b.admit(dev, j.cse, j.request)
	return refusal(why, status), why == ""
}

// fail answers j with out, in its profile.
func (b *Bridge) fail(j *job, out outcome, err error) {
	if j.failed != nil {
		j.failed(out, err)
		return
	}
	if j.request != nil {
		b.refuseOneM2M(j, out, err)
		return
	}
	b.failPlain(j, out, err)
}

// submit puts j into the queue, or says why it can't.
func (b *Bridge) submit(j *job) (Refusal, bool) {
	if !b.enter(j.dev.Name) {
		return RefusedDevice, false
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	why := RefusedShutdown
	if !b.stopped {
		select {
		case b.jobs <- j:
			return "", true
		default:
			why = RefusedBusy
		}
	}
	b.leave(j.dev.Name)
	return why, false
}

// enter counts a request of a device, whichever of its sessions it came on; false when it has as many as it may.
func (b *Bridge) enter(device string) bool {
	b.busyMu.Lock()
	defer b.busyMu.Unlock()
	if b.busy[device] >= b.cfg.Limits.PerDevice {
		return false
	}
	b.busy[device]++
	return true
}

func (b *Bridge) leave(device string) {
	b.busyMu.Lock()
	defer b.busyMu.Unlock()
	if b.busy[device]--; b.busy[device] <= 0 {
		delete(b.busy, device)
	}
}

// do sends r to the job's CSE.
func (b *Bridge) do(ctx context.Context, j *job, r *onem2m.Request) (*onem2m.Response, error) {
	return b.cfg.ServiceLayer.Do(ctx, Upstream{CSE: j.cse.Name, Client: j.dev.Client}, j.cse.upward(r))
}

// outcome is how a failure of ours or of the CSE is answered in both profiles.
type outcome struct {
	why    Refusal
	code   coap.Code
	status onem2m.StatusCode
	retry  time.Duration // Max-Age of the answer; 0: none
	done   bool          // the CSE may have executed the request: a repeat must not be
}

// refusal is the outcome of a request that was not executed, with the code of its status.
func refusal(why Refusal, status onem2m.StatusCode) outcome {
	return outcome{why: why, code: status.CoAP(), status: status}
}

// failure maps what ServiceLayer.Do returned.
//
// Deviation: TS-0008, table 6.2.4-1 maps 5107 to 4.04, which would tell firmware that its resource is gone; the answer is
// 5.03 with Max-Age, as a CoAP proxy gives it.
func failure(err error) outcome {
	var refused *onem2m.Error
	var content *refusedContent
	switch {
	case errors.Is(err, ErrUnreachable):
		return outcome{FailedUnreachable, coap.ServiceUnavailable, onem2m.StatusRemoteEntityNotReachable, busyRetry, false}
	case errors.Is(err, ErrTimeout), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return outcome{FailedTimeout, coap.GatewayTimeout, onem2m.StatusRequestTimeout, 0, true}
	case errors.Is(err, ErrBadAnswer): // before what it may wrap: an answer that can't be read is no fault of the request
		return outcome{FailedAnswer, coap.BadGateway, onem2m.StatusInternalServerError, 0, true}
	case errors.Is(err, ErrBound):
		return outcome{RefusedBinding, coap.Forbidden, onem2m.StatusOriginatorNotAuthenticated, 0, false}
	case errors.Is(err, errBindingWrite):
		return outcome{FailedBindingWrite, coap.InternalServerError, onem2m.StatusInternalServerError, 0, false}
	case errors.As(err, &content):
		return refusal(content.why, onem2m.StatusBadRequest)
	case errors.As(err, &refused): // what can't be carried is refused with its own code
		return outcome{RefusedMalformed, refused.Status.CoAP(), refused.Status, 0, false}
	}
	return outcome{FailedAnswer, coap.BadGateway, onem2m.StatusInternalServerError, 0, true}
}

// overload is how a request that found no place is answered.
func overload(why Refusal) outcome {
	code := coap.ServiceUnavailable
	if why == RefusedDevice {
		code = coap.TooManyRequests
	}
	return outcome{why, code, onem2m.StatusTargetNotReachable, busyRetry, false}
}

// errBindingWrite is wrapped around a failure to record an AE-ID: the answer may not leave before the binding is on disk.
var errBindingWrite = errors.New("bridge: binding not written")

// statusOf is the status of a primitive's error, 4000 where it names none.
func statusOf(err error) onem2m.StatusCode {
	var e *onem2m.Error
	if errors.As(err, &e) {
		return e.Status
	}
	return onem2m.StatusBadRequest
}

// note counts a refusal and leaves one rate-limited line of it in the log, so that an operator finds the device without
// a packet being able to fill the disk.
func (b *Bridge) note(s *session, why Refusal, err error) {
	b.stats.refuse(why)
	level := slog.LevelInfo
	if why == RefusedFreshness { // each change of an actuator begins so, and nobody is to blame
		level = slog.LevelDebug
	} else if !b.audit.Allow() {
		return
	}
	device := slog.String("device", b.cfg.Pseudonym(s.peer.ID))
	b.cfg.Log.Log(context.Background(), level, "request refused", device, slog.String("reason", string(why)))
	if err != nil { // it may name the CSE's address
		b.cfg.Log.Debug("request refused", device, slog.Any("err", err))
	}
}

// respond sends m and counts it. status is 0 in the plain profile.
func (b *Bridge) respond(x *coap.Exchange, m *coap.Message, status onem2m.StatusCode) {
	err := x.Respond(m)
	b.stats.answer(Answer{Code: m.Code, Status: status}, err == nil)
}
