package load

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"coapbridge/coap"
)

// Request is the CoAP request that is sent again and again, each time with its own Message ID, Token and, in a oneM2M
// request, Request Identifier.
type Request struct {
	Method  string // GET, POST, PUT, DELETE, FETCH
	Path    string
	Query   []string
	Payload []byte
	Format  int    // Content-Format; below 0 has none
	From    string // oneM2M Originator (TS-0008); "" is plain CoAP
	Host    string // Uri-Host; "" has none
	Proxy   string // Proxy-Scheme (RFC 7252, Section 5.10.2): the server is to ask another one; "" has none
}

const (
	tokenLength = 8
	tokenAt     = 4 // behind the header (RFC 7252, Section 3)
	identifier  = "0000000000000000"

	// oneM2M's options (TS-0008, 6.2.2.4).
	optionRVI  coap.OptionID = 271
	optionFrom coap.OptionID = 279
	optionRQI  coap.OptionID = 283
)

// template is a Request in its wire form.
type template struct {
	wire []byte
	rqi  int // where the Request Identifier stands; below 0 there is none
}

func (r *Request) template() (*template, error) {
	code, ok := map[string]coap.Code{
		"GET": coap.GET, "POST": coap.POST, "PUT": coap.PUT, "DELETE": coap.DELETE, "FETCH": coap.FETCH,
	}[strings.ToUpper(r.Method)]
	if !ok {
		return nil, fmt.Errorf("load: %q is no method: GET, POST, PUT, DELETE or FETCH", r.Method)
	}
	m := coap.Message{Type: coap.Confirmable, Code: code, Token: make([]byte, tokenLength), Payload: r.Payload}
	if r.Host != "" {
		m.Options = m.Options.AddString(coap.URIHost, r.Host)
	}
	if r.Proxy != "" {
		m.Options = m.Options.AddString(coap.ProxyScheme, r.Proxy)
	}
	for segment := range strings.SplitSeq(strings.Trim(r.Path, "/"), "/") {
		if segment != "" {
			m.Options = m.Options.AddString(coap.URIPath, segment)
		}
	}
	if r.Format >= 0 && len(r.Payload) > 0 {
		m.Options = m.Options.AddUint(coap.ContentFormat, uint32(r.Format))
	}
	for _, q := range r.Query {
		m.Options = m.Options.AddString(coap.URIQuery, q)
	}
	if r.From != "" {
		m.Options = m.Options.AddString(optionRVI, "3").AddString(optionFrom, r.From).AddString(optionRQI, identifier)
	}
	wire, err := m.AppendBinary(nil)
	if err != nil {
		return nil, err
	}
	t := &template{wire: wire, rqi: -1}
	if r.From != "" {
		t.rqi = bytes.Index(wire, []byte(identifier))
	}
	return t, nil
}

// appendTo appends the request with a Message ID and a Token.
func (t *template) appendTo(b []byte, mid uint16, token uint64) []byte {
	at := len(b)
	b = append(b, t.wire...)
	binary.BigEndian.PutUint16(b[at+2:], mid)
	binary.BigEndian.PutUint64(b[at+tokenAt:], token)
	if t.rqi >= 0 {
		var digits [20]byte
		text := strconv.AppendUint(digits[:0], token, 16)
		copy(b[at+t.rqi+len(identifier)-len(text):], text)
	}
	return b
}

// answer is what matters of a message from the server.
type answer struct {
	kind  coap.Type
	code  coap.Code
	mid   uint16
	token uint64
	ok    bool // token holds one of ours
}

// parseAnswer reads the header and the Token alone: what an answer costs here is not the server's.
func parseAnswer(b []byte) (a answer, ok bool) {
	if len(b) < 4 || b[0]>>6 != 1 || int(b[0]&15)+4 > len(b) { // RFC 7252, Section 3: version 1
		return a, false
	}
	a = answer{kind: coap.Type(b[0] >> 4 & 3), code: coap.Code(b[1]), mid: binary.BigEndian.Uint16(b[2:])}
	if b[0]&15 == tokenLength {
		a.token, a.ok = binary.BigEndian.Uint64(b[tokenAt:]), true
	}
	return a, true
}

// emptyAck is the acknowledgement of a separate response (RFC 7252, Section 5.2.2).
func emptyAck(mid uint16) []byte { return []byte{0x60, 0, byte(mid >> 8), byte(mid)} }
