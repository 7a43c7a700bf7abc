package bridge

import (
	"sync"
	"time"

	"coapbridge/coap"
)

// Freshness (S33): the record layer stops what comes twice, not what comes late. A request that changes something and that may
// have been held back is answered with 4.01 and an Echo option (RFC 9175, Section 2.3), and taken when it comes again with it.

// echoGrain is how exactly an Echo value says when it was given.
const echoGrain = time.Millisecond

// changed remembers when an actuator's latest change was taken. There are as many as devices with that word in their entry.
type changed struct {
	mu sync.Mutex // guards the following field
	at map[string]time.Time
}

// fresh reports whether j's request, which changes something, may be taken now; else it is answered.
//
// In doubt is a request that comes from an address which nothing proves yet, and every one of an actuator. The Echo value of the
// latter has to be not older than Limits.FreshFor, or what a round trip takes on its network, and given after the device's latest change was taken, on whichever session:
// so neither of two requests that were swapped on their way undoes the other. Clients that don't know Echo can't change anything
// then.
func (b *Bridge) fresh(j *job) bool {
	if mover, ok := j.peer.Conn().(coap.Mover); ok {
		if _, trial := mover.Challenge(); trial {
			b.challenge(j)
			return false
		}
	}
	if !j.dev.Actuator {
		return true
	}
	if !b.changed.take(j.dev.Name, j.dev.Timing.patience(b.cfg.Limits.FreshFor), j.x.Fresh) {
		b.challenge(j)
		return false
	}
	return true
}

// take notes a change of the device's as taken, when it is fresh within the given time and since the latest one.
func (c *changed) take(device string, within time.Duration, fresh func(time.Duration) bool) bool {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if last, ok := c.at[device]; ok {
		within = min(within, now.Sub(last)+echoGrain)
	}
	if !fresh(within) {
		return false
	}
	if c.at == nil {
		c.at = make(map[string]time.Time)
	}
	c.at[device] = now
	return true
}

// challenge answers j with an Echo value.
func (b *Bridge) challenge(j *job) {
	b.note(j.s, RefusedFreshness, nil)
	err := j.x.Challenge()
	b.stats.answer(Answer{Code: coap.Unauthorized}, err == nil)
}

// hopLimitReached reports whether m may not be forwarded: its Hop-Limit would be 0 behind the bridge (RFC 8768, Section 3). HTTP
// has no such field, so that a larger one ends here.
func hopLimitReached(m *coap.Message) bool {
	limit, ok := m.Options.Uint(coap.HopLimit)
	return ok && limit <= 1
}
