package dtls

import "time"

// moving is what a session has beside others because of Connection IDs. Conn.mu guards trial; the rest is not changed.
type moving struct {
	remote []byte // goes into our records
	local  uint64 // is in theirs, where has
	has    bool
	trial  *trial
}

// cid returns the Connection ID that goes into our records.
func (m *moving) cid() []byte {
	if m == nil {
		return nil
	}
	return m.remote
}

// trial is a new address that a session with a Connection ID took up and that is not proven to be reachable yet: anybody on
// the path can send a captured record from an address of his own before the original arrives. The old address is kept, and
// what goes to the new one is limited (RFC 9146, Section 6; S28).
type trial struct {
	at     pathKey
	local  localAddr
	until  time.Duration
	credit int // bytes that may still go there

	challenge [8]byte
}

// followLocked lets the session's address follow an authentic record: only one that is newer than all before moves it.
func (c *Conn) followLocked(p *packet, newest bool, size int, now time.Duration) {
	c.revertLocked() // else the answer would find that the trial is over, and go to the old address
	same := p.from == c.at
	switch {
	case same && c.moving.trial != nil:
		c.moving.trial.credit += trialFactor * size
	case same || !newest:
	case c.moving.trial != nil && p.from == c.moving.trial.at: // the old address again
		c.backLocked()
	default:
		if c.moving.trial == nil {
			c.moving.trial = &trial{at: c.at, local: c.local}
		}
		c.moving.trial.until, c.moving.trial.credit, c.moving.trial.challenge = now+maxTrial, trialFactor*size, randomBytes[[8]byte]()
		c.at = p.from
		c.ep.count.moves.Add(1)
	}
	if p.from == c.at {
		c.local = p.local
	}
}

func (c *Conn) onTrialLocked() bool { return c.moving != nil && c.moving.trial != nil }

// backLocked returns to the old address.
func (c *Conn) backLocked() {
	c.at, c.local = c.moving.trial.at, c.moving.trial.local
	c.moving.trial = nil
	c.ep.count.reverts.Add(1)
}

// revertLocked ends a trial that took too long.
func (c *Conn) revertLocked() {
	if c.onTrialLocked() && c.ep.elapsed() > c.moving.trial.until {
		c.backLocked()
	}
}

// afford takes a record of n bytes of plaintext from what an address on trial may get, and reports whether it was enough.
func (c *Conn) afford(n int) bool {
	if !c.onTrialLocked() {
		return true
	}
	size := c.ep.conf.Limits.payload() - c.MaxPlaintext() + n
	if size > c.moving.trial.credit {
		return false
	}
	c.moving.trial.credit -= size
	return true
}

// Unproven reports whether the peer's address is on trial: it changed, and nothing shows yet that the peer gets what is sent
// there. Until Prove is called it gets at most three times the bytes that came from it.
func (c *Conn) Unproven() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revertLocked()
	return c.onTrialLocked()
}

// Challenge returns 8 unpredictable bytes that belong to the trial that the peer's address is on; false: there is none.
func (c *Conn) Challenge() (challenge [8]byte, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revertLocked()
	if !c.onTrialLocked() {
		return challenge, false
	}
	return c.moving.trial.challenge, true
}

// Prove ends the trial to which a challenge belongs. It is for a caller who got back, in a record of the session, 8
// unpredictable bytes that were sent after Challenge returned it: the challenge itself in an Echo option (RFC 9175), or the
// token of a request of ours.
func (c *Conn) Prove(challenge [8]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.onTrialLocked() && c.moving.trial.challenge == challenge {
		c.moving.trial = nil
	}
}
