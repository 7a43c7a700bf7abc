package dtls

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
)

// lookup returns the key for the identity that a client named. An identity without a key, and one whose look-up failed,
// gets a key that nobody has, so that the handshake fails as one with a wrong key does (S5; RFC 4279, Section 2).
func (h *handshake) lookup(ctx context.Context, identity []byte) []byte {
	query := PSKQuery{
		Peer: PeerID{Kind: KindPSK, ID: string(identity)}, ServerName: h.hello.serverName, Remote: h.key.addr, Role: h.role,
	}
	derived := h.ep.mac("unknown identity", identity)
	generation := h.ep.currentGeneration() // before the look-up, so that a withdrawal during it is noticed
	var key []byte
	err := ErrUnknownIdentity
	if len(identity) > 0 && len(identity) <= maxIdentity {
		key, err = h.ep.conf.PSK(ctx, query)
	}
	if err == nil && len(key) == 0 {
		err = ErrUnknownIdentity
	}
	if err != nil {
		key = derived
		if !errors.Is(err, ErrUnknownIdentity) && ctx.Err() == nil {
			h.ep.logLookup(query.Peer, err)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.peer, h.query, h.key0, h.generation = query.Peer, query, key, generation
	h.repeat.keyed = ctx.Err() == nil // a look-up that took too long says nothing about the key
	return key
}

// pskRepeat notices that a peer repeats its last flight although all of it was processed: its Finished doesn't verify. It
// wants the first flight whole, in whatever order and however often its records came, and after that the same
// ClientKeyExchange again, followed by a sealed Finished. Thus neither loss nor reordering is a failure, and a forger off the
// path has nothing to copy. It is used on pion's reading goroutine alone; pion looks the key up there while this goroutine
// waits.
type pskRepeat struct {
	keyed    bool // the key was looked up
	seen     bool // a ClientKeyExchange passed
	first    [sha256.Size]byte
	changed  bool // a ChangeCipherSpec passed
	sealed   bool // a sealed handshake record passed; pion keeps one that comes before the ChangeCipherSpec
	repeated bool // the ClientKeyExchange passed again after all of these
	finished bool // a sealed handshake record followed the repeat
}

// see takes one record that pion is given.
func (p *pskRepeat) see(r record) {
	switch {
	case r.typ == typeChangeCipherSpec:
		p.changed = true
	case r.typ != typeHandshake:
	case r.epoch == 1:
		p.sealed = true
		p.finished = p.finished || p.repeated
	case len(r.payload) > 0 && r.payload[0] == msgClientKeyExchange:
		sum := sha256.Sum256(r.payload)
		switch {
		case !p.seen:
			p.seen, p.first = true, sum
		case p.keyed && p.changed && p.sealed && sum == p.first:
			p.repeated = true
		}
	}
}

func (p *pskRepeat) failed() bool { return p.finished }

func equalKeys(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
