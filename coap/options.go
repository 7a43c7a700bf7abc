package coap

import (
	"fmt"
	"hash/maphash"
	"unicode/utf8"
)

// definition is what a standard says of an option's value and number of instances.
type definition struct {
	min, max   int // length of the value in bytes
	repeatable bool
	text       bool // UTF-8 (RFC 7252, Section 3.2)
	request    bool // critical: this package takes it in a request
	response   bool // critical: this package takes it in a response
}

// define returns the definition of id (RFC 7252, Table 4; RFC 7641; RFC 7959; RFC 7967; RFC 8768; RFC 9175).
//
// If-Match and If-None-Match are not taken on our own account: a Handler that ignored them would change what must not be
// changed, so that Config.Understands has to say that it does not.
func define(id OptionID) (definition, bool) {
	switch id {
	case IfMatch:
		return definition{max: 8, repeatable: true}, true
	case URIHost:
		return definition{min: 1, max: 255, text: true, request: true}, true
	case ETag:
		return definition{min: 1, max: 8, repeatable: true}, true
	case IfNoneMatch:
		return definition{}, true
	case Observe, Block1, Block2:
		critical := id != Observe
		return definition{max: 3, request: critical, response: critical}, true
	case URIPort, ContentFormat, Accept:
		return definition{max: 2, request: id.Critical()}, true
	case LocationPath, LocationQuery:
		return definition{max: 255, repeatable: true, text: true}, true
	case URIPath, URIQuery:
		return definition{max: 255, repeatable: true, text: true, request: true}, true
	case MaxAge, Size1, Size2:
		return definition{max: 4}, true
	case HopLimit:
		return definition{min: 1, max: 1}, true
	case Echo:
		return definition{min: 1, max: 40}, true
	case NoResponse:
		return definition{max: 1}, true
	case RequestTag:
		return definition{max: 8, repeatable: true}, true
	}
	return definition{}, false
}

// refusal is an answer that needs neither state nor a Handler.
type refusal struct {
	code   Code
	reason Reason
	text   string  // fixed diagnostic payload (S36)
	more   Options // further options of the answer
	drop   bool    // a Non-confirmable message is dropped instead
}

// checkRequest decides what can be decided from the options alone, and removes those that are to be ignored from
// m.Options. nil means that the request may go on.
func (e *Endpoint) checkRequest(p *Peer, m *Message) *refusal {
	for i := range m.Options { // S39; before anything else, for these are critical as well
		if id := m.Options[i].ID; id == ProxyURI || id == ProxyScheme { // RFC 7252, Section 5.10.2
			return &refusal{code: ProxyingNotSupported, reason: ReasonProxy, text: "this is not a proxy"}
		}
	}
	if bad, ok := e.sift(p, m, true); !ok {
		// RFC 7252, Section 5.4.1: 4.02 for a Confirmable request, a Non-confirmable one is rejected, that is dropped.
		return &refusal{code: BadOption, reason: ReasonBadOption, drop: true,
			text: fmt.Sprintf("option %d not supported here", bad)}
	}
	if limit, ok := m.Options.Uint(HopLimit); ok && limit == 0 { // RFC 8768, Section 3
		return &refusal{code: BadRequest, reason: ReasonHopLimit, text: "Hop-Limit is 0"}
	}
	segments := 0
	for i := range m.Options {
		if id := m.Options[i].ID; id == URIPath || id == URIQuery {
			segments++
		}
	}
	if segments > maxSegments { // S38
		return &refusal{code: BadRequest, reason: ReasonTooManySegments,
			text: fmt.Sprintf("more than %d path and query segments", maxSegments)}
	}
	if host, ok := m.Options.Find(URIHost); ok && e.config.Host != nil && !e.config.Host(string(host)) {
		return &refusal{code: ProxyingNotSupported, reason: ReasonForeignHost, text: "this is not a proxy"} // S39
	}
	if m.Code > IPATCH { // RFC 7252, Section 5.8: an unrecognized method
		return &refusal{code: MethodNotAllowed, reason: ReasonMethod, text: "unknown method"}
	}
	return nil
}

// sift removes the elective options that are to be ignored and finds the first critical one that can't be:
// unrecognised ones (RFC 7252, Section 5.4.1), those of an illegal length (5.4.3) and supernumerary ones (5.4.5).
func (e *Endpoint) sift(p *Peer, m *Message, request bool) (bad OptionID, ok bool) {
	kept := m.Options[:0]
	prev := OptionID(0)
	for _, o := range m.Options {
		d, known := define(o.ID)
		legal := !known || len(o.Value) >= d.min && len(o.Value) <= d.max && (d.repeatable || o.ID != prev) &&
			(!d.text || utf8.Valid(o.Value))
		prev = o.ID
		if !o.ID.Critical() {
			if legal {
				kept = append(kept, o)
			}
			continue
		}
		taken := request && d.request || !request && d.response
		if request && o.ID == Block1 && (m.Code == GET || m.Code == DELETE) {
			taken = false // RFC 7252, Section 5.4: an option that the method does not define is unrecognised
		}
		if !legal || !taken && (e.config.Understands == nil || !e.config.Understands(p, o.ID)) {
			return o.ID, false
		}
		kept = append(kept, o)
	}
	m.Options = kept
	return 0, true
}

// transferKey identifies a request over the blocks of its transfer: method and cache key (RFC 7252, Section 5.6), without
// what differs from block to block (S34; RFC 9175, Section 3.3). Request-Tag is part of it, the token is not. The result is
// keyed with the Endpoint's secret seed.
func (e *Endpoint) transferKey(m *Message) uint64 {
	var h maphash.Hash
	h.SetSeed(e.seed)
	h.WriteByte(byte(m.Code))
	for i := range m.Options {
		o := &m.Options[i]
		switch {
		case o.ID == Block1, o.ID == Block2, o.ID == NoResponse:
			continue
		case o.ID == Observe: // RFC 7959, Section 2.6: not in the requests for later blocks
			continue
		case o.ID&0x1e == 0x1c: // NoCacheKey (RFC 7252, Section 5.4.2): Size1, Size2, Echo among them
			continue
		}
		n := len(o.Value)
		h.Write([]byte{byte(o.ID >> 8), byte(o.ID), byte(n >> 16), byte(n >> 8), byte(n)})
		h.Write(o.Value)
	}
	return h.Sum64()
}

// suppressed reports whether the request's No-Response option asks not to be sent a response of c's class (RFC 7967,
// Section 2.1). An intermediate 2.31 is part of the transfer and always sent.
func suppressed(noResponse uint8, c Code) bool {
	return c != Continue && noResponse&(1<<(c.Class()-1)) != 0
}
