package coap

import "encoding/binary"

// problemDetails is the Content-Format application/concise-problem-details+cbor (RFC 9290, Section 6.3).
const problemDetails = 257

// Keys of a problem details data item (RFC 9290, Section 2), as CBOR writes them (RFC 8949, Section 3.1: major type 1 is -1-n).
const (
	problemTitle        = 1 << 5   // -1
	problemResponseCode = 1<<5 | 3 // -4
)

// ErrorMessage is an answer with an error code: problem details (RFC 9290) with the title where request accepts them, else
// the title as a diagnostic payload (RFC 7252, Section 5.5.2), which has no Content-Format. title is UTF-8; "" is no payload,
// or problem details with nothing but the code. request is only read, and may be nil.
func ErrorMessage(request *Message, code Code, title string) *Message {
	m := &Message{Code: code}
	if accept, ok := acceptOf(request); !ok || accept != problemDetails {
		if title != "" {
			m.Payload = []byte(title)
		}
		return m
	}
	m.Options = Options(nil).AddUint(ContentFormat, problemDetails)
	fields := byte(1)
	if title != "" {
		fields = 2
	}
	b := append(make([]byte, 0, 16+len(title)), 5<<5|fields) // a map
	if title != "" {
		b = append(appendHead(append(b, problemTitle), 3, uint64(len(title))), title...) // a text string
	}
	m.Payload = appendHead(append(b, problemResponseCode), 0, uint64(code)) // an unsigned integer
	return m
}

func acceptOf(request *Message) (uint32, bool) {
	if request == nil {
		return 0, false
	}
	return request.Options.Uint(Accept)
}

// appendHead appends the head of a CBOR data item in its shortest form (RFC 8949, Section 4.2.1).
func appendHead(b []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n < 1<<8:
		return append(b, major|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, major|27), n)
}
