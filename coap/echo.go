package coap

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"time"
)

// Parts of an Echo value of ours: the time since New in ms, which is enough for 8,900 years, and a truncated HMAC-SHA256.
// Whoever can't make one can't be fresh without having been told lately; it needs to hold for a few minutes, and each guess
// costs a message (RFC 9175, Section 5).
const (
	echoTimeLen = 6
	echoMACLen  = 10
	echoLen     = echoTimeLen + echoMACLen // RFC 9175, Section 2.2.1: 1 to 40 bytes
)

// Fresh reports whether x carries an Echo value that this Endpoint gave to this peer not longer than within ago (RFC 9175,
// Section 2.3). It compares with now, so that the time in which the Handler held x counts as well. A request that came in
// blocks is as fresh as its last one.
func (x *Exchange) Fresh(within time.Duration) bool {
	return x.echoed && time.Since(x.peer.endpoint.start)-x.echoAt <= within
}

// Challenge answers x with 4.01 and an Echo value, which the peer has to repeat the request with (RFC 9175, Section 2.3). It
// is Respond for the rest.
func (x *Exchange) Challenge() error {
	p := x.peer
	trial, _ := p.challenge()
	value := p.echoValue(time.Since(p.endpoint.start), trial)
	_, err := x.respond(&Message{Code: Unauthorized, Options: Options{{ID: Echo, Value: value[:]}}}, nil)
	return err
}

// echoValue is what proves that p was told it at the given time, which is counted from New. trial is the challenge of the
// trial that its address was on then, or zero: so the value proves that address too.
func (p *Peer) echoValue(at time.Duration, trial [8]byte) (v [echoLen]byte) {
	binary.BigEndian.PutUint64(v[:8], uint64(at/time.Millisecond)<<16)
	mac := hmac.New(sha256.New, p.endpoint.echoKey[:])
	mac.Write(v[:echoTimeLen])
	mac.Write(trial[:])
	mac.Write(binary.BigEndian.AppendUint64(nil, p.id))
	copy(v[echoTimeLen:], mac.Sum(nil))
	return v
}

// takeEcho takes an Echo option of ours out of the request, for the Handler has no use for it (S33), and returns when its value
// was given to p, counted from New; false when it is none of ours. A value that was given during the trial of the address that
// still goes on ends that one (RFC 9175, Section 2.2.2).
func (p *Peer) takeEcho(m *Message) (at time.Duration, ok bool) {
	value, is := m.Options.Find(Echo)
	if !is {
		return 0, false
	}
	m.Options = m.Options.Remove(Echo)
	trial, tried := p.challenge()
	if tried && subtle.ConstantTimeCompare(value, trial[:]) == 1 {
		p.conn.(Mover).Prove(trial)
		return 0, false
	}
	if len(value) != echoLen {
		return 0, false
	}
	at = time.Duration(binary.BigEndian.Uint64(value)>>16) * time.Millisecond
	if want := p.echoValue(at, trial); subtle.ConstantTimeCompare(value, want[:]) == 1 {
		if tried {
			p.conn.(Mover).Prove(trial)
		}
		return at, true
	}
	if want := p.echoValue(at, [8]byte{}); tried && subtle.ConstantTimeCompare(value, want[:]) == 1 {
		return at, true
	}
	return 0, false
}

// newEchoKey returns a key for an Endpoint's Echo values.
func newEchoKey() (key [sha256.Size]byte) {
	rand.Read(key[:]) // never fails
	return key
}
