package dtls

import "time"

// spent knows the cookies that made a session, so that a late copy of a ClientHello begins nothing beside or behind it: not once
// data came, not where a Connection ID finds the session, and not when it is closed. The client would not answer, and if a copy
// of its next flight came late as well, that flight would be held against other keys. Endpoint.mu guards it.
//
// A client that restarted has another random, so another cookie. One that begins twice with the same random gets its session
// when the secret of the cookies was rotated.
type spent struct {
	newer, older map[cookie]struct{}
	since        time.Duration // of newer, as Endpoint.elapsed
}

// cookie is the part of a cookie of ours by which it is known again: an HMAC over address and hello.
type cookie [8]byte

func cookieOf(b []byte) (c cookie) {
	copy(c[:], b)
	return c
}

func (s *spent) add(c cookie, now time.Duration) {
	s.rotate(now)
	if len(s.newer) >= maxSpent {
		s.newer, s.older, s.since = nil, s.newer, now
	}
	if s.newer == nil {
		s.newer = map[cookie]struct{}{}
	}
	s.newer[c] = struct{}{}
}

func (s *spent) has(c cookie, now time.Duration) bool {
	s.rotate(now)
	_, newer := s.newer[c]
	_, older := s.older[c]
	return newer || older
}

// rotate forgets what is older than any good cookie.
func (s *spent) rotate(now time.Duration) {
	switch age := now - s.since; {
	case age >= 2*spentLifetime:
		s.newer, s.older, s.since = nil, nil, now
	case age >= spentLifetime:
		s.newer, s.older, s.since = nil, s.newer, now
	}
}

func (ep *Endpoint) isSpent(c cookie, now time.Duration) bool {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	return ep.spent.has(c, now)
}
