package coap

import "crypto/subtle"

// challenge returns the challenge of the trial that the peer's address is on.
func (p *Peer) challenge() (c [8]byte, ok bool) {
	if mover, is := p.conn.(Mover); is {
		return mover.Challenge()
	}
	return c, false
}

// takeEcho ends the trial of the peer's address when a request brings its challenge back (RFC 9175, Section 2.2.2), and takes
// an Echo option of ours out of the request: the Handler has no use for it (S33).
func (p *Peer) takeEcho(m *Message) {
	echo, ok := m.Options.Find(Echo)
	if !ok {
		return
	}
	if c, trial := p.challenge(); trial && subtle.ConstantTimeCompare(echo, c[:]) == 1 {
		p.conn.(Mover).Prove(c)
	}
	m.Options = m.Options.Remove(Echo)
}
