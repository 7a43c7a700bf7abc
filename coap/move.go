package coap

// challenge returns the challenge of the trial that the peer's address is on; zero and false: it is on none.
func (p *Peer) challenge() (c [8]byte, ok bool) {
	if mover, is := p.conn.(Mover); is {
		if c, ok = mover.Challenge(); ok {
			return c, true
		}
	}
	return [8]byte{}, false
}
