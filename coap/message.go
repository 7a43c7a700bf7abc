package coap

import (
	"fmt"
)

// Type is a message type (RFC 7252, Section 3).
type Type uint8

// The message types (RFC 7252, Section 4.2 and 4.3).
const (
	Confirmable     Type = 0
	NonConfirmable  Type = 1
	Acknowledgement Type = 2
	Reset           Type = 3
)

// String returns the specification's short name: CON, NON, ACK or RST.
func (t Type) String() string {
	switch t {
	case Confirmable:
		return "CON"
	case NonConfirmable:
		return "NON"
	case Acknowledgement:
		return "ACK"
	case Reset:
		return "RST"
	}
	return fmt.Sprintf("Type(%d)", uint8(t))
}

// Code is a method or response code: the class in the upper 3 bits, the detail in the lower 5 (RFC 7252, Section 3).
type Code uint8

// The codes that this package and its callers use (RFC 7252, Section 12.1; RFC 7959; RFC 8132; RFC 8516; RFC 8768).
const (
	Empty  Code = 0
	GET    Code = 1
	POST   Code = 2
	PUT    Code = 3
	DELETE Code = 4
	FETCH  Code = 5
	PATCH  Code = 6
	IPATCH Code = 7

	Created  Code = 2<<5 | 1
	Deleted  Code = 2<<5 | 2
	Valid    Code = 2<<5 | 3
	Changed  Code = 2<<5 | 4
	Content  Code = 2<<5 | 5
	Continue Code = 2<<5 | 31

	BadRequest               Code = 4 << 5
	Unauthorized             Code = 4<<5 | 1
	BadOption                Code = 4<<5 | 2
	Forbidden                Code = 4<<5 | 3
	NotFound                 Code = 4<<5 | 4
	MethodNotAllowed         Code = 4<<5 | 5
	NotAcceptable            Code = 4<<5 | 6
	RequestEntityIncomplete  Code = 4<<5 | 8
	Conflict                 Code = 4<<5 | 9
	PreconditionFailed       Code = 4<<5 | 12
	RequestEntityTooLarge    Code = 4<<5 | 13
	UnsupportedContentFormat Code = 4<<5 | 15
	UnprocessableEntity      Code = 4<<5 | 22
	TooManyRequests          Code = 4<<5 | 29

	InternalServerError  Code = 5 << 5
	NotImplemented       Code = 5<<5 | 1
	BadGateway           Code = 5<<5 | 2
	ServiceUnavailable   Code = 5<<5 | 3
	GatewayTimeout       Code = 5<<5 | 4
	ProxyingNotSupported Code = 5<<5 | 5
	HopLimitReached      Code = 5<<5 | 8
)

// Class is the code's class: 0 for methods, 2, 4 and 5 for responses.
func (c Code) Class() uint8 { return uint8(c) >> 5 }

// IsRequest reports whether c is a method (RFC 7252, Section 12.1.1); Empty is not.
func (c Code) IsRequest() bool { return c != Empty && c.Class() == 0 }

// IsResponse reports whether c is of a response class (RFC 7252, Section 12.1.2).
func (c Code) IsResponse() bool { return c.Class() == 2 || c.Class() == 4 || c.Class() == 5 }

// String returns c as c.dd (RFC 7252, Section 3).
func (c Code) String() string { return fmt.Sprintf("%d.%02d", c.Class(), uint8(c)&0x1f) }

// OptionID is an option number (RFC 7252, Section 5.4.6).
type OptionID uint16

// The option numbers that this package and its callers use (RFC 7252, Section 12.2; RFC 7641; RFC 7959; RFC 7967;
// RFC 8768; RFC 9175).
const (
	IfMatch       OptionID = 1
	URIHost       OptionID = 3
	ETag          OptionID = 4
	IfNoneMatch   OptionID = 5
	Observe       OptionID = 6
	URIPort       OptionID = 7
	LocationPath  OptionID = 8
	URIPath       OptionID = 11
	ContentFormat OptionID = 12
	MaxAge        OptionID = 14
	URIQuery      OptionID = 15
	HopLimit      OptionID = 16
	Accept        OptionID = 17
	LocationQuery OptionID = 20
	Block2        OptionID = 23
	Block1        OptionID = 27
	Size2         OptionID = 28
	ProxyURI      OptionID = 35
	ProxyScheme   OptionID = 39
	Size1         OptionID = 60
	Echo          OptionID = 252
	NoResponse    OptionID = 258
	RequestTag    OptionID = 292
)

// Critical reports whether an endpoint that does not understand the option must refuse the message (RFC 7252,
// Section 5.4.1).
func (id OptionID) Critical() bool { return id&1 == 1 }

// Option is one option instance. Value is the option's raw value.
type Option struct {
	ID    OptionID
	Value []byte
}

// Options are a message's options, in ascending order of their numbers and, for equal numbers, in the sender's order.
type Options []Option

// Find returns the value of the first instance of id.
func (o Options) Find(id OptionID) ([]byte, bool) {
	for i := range o {
		if o[i].ID == id {
			return o[i].Value, true
		}
	}
	return nil, false
}

// Uint returns the first instance of id as an unsigned integer (RFC 7252, Section 3.2). ok is false when there is none or
// its value is longer than 4 bytes.
func (o Options) Uint(id OptionID) (v uint32, ok bool) {
	b, found := o.Find(id)
	if !found || len(b) > 4 {
		return 0, false
	}
	for _, c := range b {
		v = v<<8 | uint32(c)
	}
	return v, true
}

// Add returns o with one more instance of id behind those of equal and lower numbers. The value is kept, not copied.
func (o Options) Add(id OptionID, value []byte) Options {
	i := len(o)
	for i > 0 && o[i-1].ID > id {
		i--
	}
	o = append(o, Option{})
	copy(o[i+1:], o[i:])
	o[i] = Option{ID: id, Value: value}
	return o
}

// AddString is Add with a string value.
func (o Options) AddString(id OptionID, value string) Options { return o.Add(id, []byte(value)) }

// AddUint is Add with an unsigned integer in its shortest form (RFC 7252, Section 3.2).
func (o Options) AddUint(id OptionID, v uint32) Options { return o.Add(id, AppendUint(nil, v)) }

// Remove returns o without any instance of id. It reuses o's array.
func (o Options) Remove(id OptionID) Options {
	kept := o[:0]
	for _, opt := range o {
		if opt.ID != id {
			kept = append(kept, opt)
		}
	}
	return kept
}

// AppendUint appends v in its shortest form: no byte for 0 (RFC 7252, Section 3.2).
func AppendUint(b []byte, v uint32) []byte {
	for shift := 24; shift >= 0; shift -= 8 {
		if v>>shift != 0 {
			b = append(b, byte(v>>shift))
		}
	}
	return b
}

// Message is one CoAP message. In a request or response handed to this package, Type, MessageID and Token are set by the
// Endpoint; a caller chooses Type only in a request of its own (zero value: Confirmable).
type Message struct {
	Type      Type
	Code      Code
	MessageID uint16
	Token     []byte
	Options   Options
	Payload   []byte
}
