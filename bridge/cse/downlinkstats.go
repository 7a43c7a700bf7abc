package cse

import (
	"maps"
	"sync"
)

// DownlinkReason says why the Downlink refused a connection or a request; it is a closed set, fit for a metric's label.
type DownlinkReason string

// The reasons. Those from DownlinkAccept to DownlinkFull are of connections that never carried a request, the others of
// requests that were handed to nobody; from DownlinkSlow to DownlinkHTTP the connection ends with them.
const (
	DownlinkAccept    DownlinkReason = "accept"    // the system gave no connection
	DownlinkFlood     DownlinkReason = "flood"     // its place was needed for a newer handshake, of its address or of all
	DownlinkHandshake DownlinkReason = "handshake" // TLS failed: no certificate, nothing in common, garbage, silence
	DownlinkUnlisted  DownlinkReason = "unlisted"  // a certificate that no CSE is configured with
	DownlinkAmbiguous DownlinkReason = "ambiguous" // a certificate with names of two CSEs
	DownlinkChain     DownlinkReason = "chain"     // a certificate of another CA, or past its dates
	DownlinkUsage     DownlinkReason = "usage"     // a certificate for another purpose
	DownlinkRevoked   DownlinkReason = "revoked"   // refused by DownlinkConfig.Verify
	DownlinkFull      DownlinkReason = "full"      // the CSE, or all of them, have too many connections

	DownlinkSlow      DownlinkReason = "slow"      // a request that was not whole by its deadline
	DownlinkTruncated DownlinkReason = "truncated" // the connection ended within a request
	DownlinkTooLarge  DownlinkReason = "too_large" // head or content beyond the limits
	DownlinkMalformed DownlinkReason = "malformed" // not HTTP/1.1 by the letter
	DownlinkHTTP      DownlinkReason = "http"      // HTTP that this server doesn't do: a version, an expectation, CONNECT

	DownlinkPrimitive DownlinkReason = "primitive" // no request primitive
	DownlinkNoAccess  DownlinkReason = "no_access" // an unknown token, one of another CSE, or none
)

// DownlinkReasons returns all of them.
func DownlinkReasons() []DownlinkReason {
	return []DownlinkReason{
		DownlinkAccept, DownlinkFlood, DownlinkHandshake, DownlinkUnlisted, DownlinkAmbiguous, DownlinkChain, DownlinkUsage,
		DownlinkRevoked, DownlinkFull, DownlinkSlow, DownlinkTruncated, DownlinkTooLarge, DownlinkMalformed, DownlinkHTTP,
		DownlinkPrimitive, DownlinkNoAccess,
	}
}

// DownlinkStats are the counts of a Downlink since it was made.
type DownlinkStats struct {
	Refused     map[DownlinkReason]uint64
	Handshaking int // connections that are not authenticated yet
	CSEs        []DownlinkCSEStats
}

// DownlinkCSEStats are the counts of one CSE.
type DownlinkCSEStats struct {
	CSE         string
	Connections uint64         // authenticated
	Requests    uint64         // request primitives, refused ones too
	Answers     map[int]uint64 // by class of the ResponseStatusCode: 1 for 1xxx, to 6; 0 for a code that is none
	Open        int            // connections now
	InProgress  int            // requests now
}

type downStats struct {
	mu      sync.Mutex // guards the following field
	refused map[DownlinkReason]uint64
}

func (s *downStats) refuse(reason DownlinkReason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refused == nil {
		s.refused = make(map[DownlinkReason]uint64)
	}
	s.refused[reason]++
}

type peerStats struct {
	mu                    sync.Mutex // guards the following fields
	connections, requests uint64
	answers               map[int]uint64
	inProgress            int
}

func (s *peerStats) connect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connections++
}

func (s *peerStats) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	s.inProgress++
}

func (s *peerStats) end(status int) {
	class := status / 1000
	if class < 1 || class > 6 {
		class = 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answers == nil {
		s.answers = make(map[int]uint64)
	}
	s.inProgress--
	s.answers[class]++
}

// Stats returns the counts, the CSEs in the order of their configuration.
func (d *Downlink) Stats() DownlinkStats {
	d.stats.mu.Lock()
	out := DownlinkStats{Refused: maps.Clone(d.stats.refused)}
	d.stats.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	out.Handshaking = len(d.handshakes)
	for _, p := range d.peers {
		p.stats.mu.Lock()
		out.CSEs = append(out.CSEs, DownlinkCSEStats{
			CSE: p.Name, Connections: p.stats.connections, Requests: p.stats.requests, Answers: maps.Clone(p.stats.answers),
			Open: p.conns, InProgress: p.stats.inProgress,
		})
		p.stats.mu.Unlock()
	}
	return out
}
