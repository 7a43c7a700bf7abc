package coap

// challenge returns the challenge of the trial that the peer's address is on.
func (p *Peer) challenge() (c [8]byte, ok bool) {
	if mover, is := p.conn.(Mover); is {
		return mover.Challenge()
	}
	return c, false
}
