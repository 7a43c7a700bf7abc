package coap

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/plgd-dev/go-coap/v3/message"
)

// What is wrong with a message that can't be parsed or written. They are found inside a [FormatError].
var (
	ErrShort          = errors.New("shorter than a header and its token")
	ErrVersion        = errors.New("unknown version")
	ErrTokenLength    = errors.New("token longer than 8 bytes")
	ErrReservedCode   = errors.New("code of a reserved class")
	ErrTypeCode       = errors.New("type and code do not go together")
	ErrEmptyContent   = errors.New("empty message with token, options or payload")
	ErrOption         = errors.New("malformed option")
	ErrPayloadMarker  = errors.New("payload marker without payload")
	ErrTooManyOptions = fmt.Errorf("more than %d options", maxOptions)
	ErrOptionOrder    = errors.New("options not in ascending order, or number 0")
	ErrOptionValue    = errors.New("option value too long")
	ErrType           = errors.New("unknown message type")
)

// FormatError says why a datagram is no CoAP message.
type FormatError struct {
	Err error // one of the errors above
	// Known: the header was readable, and Type, Code, MessageID and, as far as it was there, Token are the message's.
	// Otherwise the datagram must be ignored (RFC 7252, Section 3).
	Known     bool
	Type      Type
	Code      Code
	MessageID uint16
	Token     []byte // aliases the datagram
}

// Error implements error. It holds nothing of the datagram's content.
func (e *FormatError) Error() string { return "coap: parse message: " + e.Err.Error() }

// Unwrap returns what is wrong.
func (e *FormatError) Unwrap() error { return e.Err }

// Reject reports whether the message is to be rejected with a Reset: a Confirmable one is, all others are ignored
// (RFC 7252, Sections 4.2 and 4.3).
func (e *FormatError) Reject() bool { return e.Known && e.Type == Confirmable }

// Parse reads one datagram. Token, option values and payload alias b, clipped to their lengths. Errors are *FormatError.
//
// It checks the format (RFC 7252, Section 3), reserved codes, and that type and code go together (Sections 4.2 and 4.3);
// it says nothing of the meaning of options. Option number 0, which is reserved and elective, is left out.
func Parse(b []byte) (Message, error) {
	var s scratch
	m, err := s.parse(b)
	if err != nil {
		return Message{}, err
	}
	m.Options = append(Options(nil), m.Options...)
	return m, nil
}

// scratch holds the options of the message that is being read, so that reading allocates nothing.
type scratch struct {
	wire    [maxOptions]message.Option
	options [maxOptions]Option
}

// parse is Parse; the options lie in s.
func (s *scratch) parse(b []byte) (m Message, err error) {
	if len(b) < headerLen {
		return m, &FormatError{Err: ErrShort}
	}
	if b[0]>>6 != 1 { // RFC 7252, Section 3: unknown versions MUST be silently ignored
		return m, &FormatError{Err: ErrVersion}
	}
	m.Type, m.Code, m.MessageID = Type(b[0]>>4&3), Code(b[1]), binary.BigEndian.Uint16(b[2:])
	fail := func(err error) (Message, error) {
		return Message{}, &FormatError{
			Err: err, Known: true, Type: m.Type, Code: m.Code, MessageID: m.MessageID, Token: m.Token,
		}
	}
	tkl := int(b[0] & 0xf)
	switch {
	case tkl > maxTokenLen: // RFC 7252, Section 3: lengths 9-15 MUST be processed as a message format error
		return fail(ErrTokenLength)
	case len(b) < headerLen+tkl:
		return fail(ErrShort)
	}
	if tkl > 0 {
		m.Token = b[headerLen : headerLen+tkl : headerLen+tkl]
	}
	if err := checkHeader(m.Type, m.Code); err != nil {
		return fail(err)
	}
	if m.Code == Empty && len(b) != headerLen { // RFC 7252, Section 4.1
		return fail(ErrEmptyContent)
	}
	rest := b[headerLen+tkl:]
	n, err := s.parseOptions(rest, &m)
	if err != nil {
		return fail(err)
	}
	if n < len(rest) {
		m.Payload = rest[n:len(rest):len(rest)]
	}
	return m, nil
}

// parseOptions reads the options and the payload marker and returns their length.
func (s *scratch) parseOptions(b []byte, m *Message) (int, error) {
	// With nil definitions the codec keeps elective options of any length; what to make of them is not the format's matter.
	// It never grows the slice: the capacity is the bound on their number.
	wire := message.Options(s.wire[:0])
	n, err := wire.Unmarshal(b, nil)
	switch {
	case errors.Is(err, message.ErrOptionsTooSmall):
		return 0, ErrTooManyOptions
	case errors.Is(err, message.ErrPayloadMarkerWithoutPayload): // RFC 7252, Section 3
		return 0, ErrPayloadMarker
	case err != nil:
		return 0, ErrOption
	}
	for i := range wire {
		v := wire[i].Value
		// The codec's values reach to the end of the datagram; an append to one must not overwrite what follows it.
		s.options[i] = Option{ID: OptionID(wire[i].ID), Value: v[:len(v):len(v)]}
	}
	m.Options = s.options[:len(wire):len(wire)]
	return n, nil
}

// clear drops the references into the last datagram.
func (s *scratch) clear(n int) {
	clear(s.wire[:n])
	clear(s.options[:n])
}

// checkHeader checks that a type may carry a code.
func checkHeader(t Type, c Code) error {
	switch {
	case c.Class() == 1 || c.Class() > 5: // RFC 7252, Section 4.2: reserved classes 1, 6 and 7
		return ErrReservedCode
	case t == Reset && c != Empty, // RFC 7252, Section 4.2: Reset MUST be Empty
		t == NonConfirmable && c == Empty,     // RFC 7252, Section 4.3
		t == Acknowledgement && c.IsRequest(): // RFC 7252, Section 4.2: ACK carries a response or is Empty
		return ErrTypeCode
	}
	return nil
}

// isResponse reports whether c is of classes 2 to 5 (RFC 7252, Section 12.1). Class 3 has no codes so far; a response of it
// is passed on as any unknown code is.
func (c Code) isResponse() bool { return c.Class() >= 2 && c.Class() <= 5 }

// AppendBinary appends m's wire form to b. It refuses, with an error that wraps one of ErrType, ErrTypeCode,
// ErrReservedCode, ErrTokenLength, ErrEmptyContent, ErrTooManyOptions, ErrOptionOrder and ErrOptionValue, whatever Parse
// would refuse, and options that are not in ascending order; b is returned unchanged then.
func (m Message) AppendBinary(b []byte) ([]byte, error) {
	if err := m.check(); err != nil {
		return b, fmt.Errorf("coap: write message: %w", err)
	}
	size := m.size()
	start := len(b)
	if cap(b)-start < size {
		b = append(make([]byte, 0, start+size), b...)
	}
	b = append(b, 1<<6|byte(m.Type)<<4|byte(len(m.Token)), byte(m.Code), byte(m.MessageID>>8), byte(m.MessageID))
	b = append(b, m.Token...)
	var wire [maxOptions]message.Option
	for i, o := range m.Options {
		wire[i] = message.Option{ID: message.OptionID(o.ID), Value: o.Value}
	}
	n, err := message.Options(wire[:len(m.Options)]).Marshal(b[len(b) : start+size])
	if err != nil {
		return b[:start], fmt.Errorf("coap: write message: %w", err)
	}
	b = b[:len(b)+n]
	if len(m.Payload) > 0 {
		b = append(append(b, payloadMarker), m.Payload...)
	}
	return b, nil
}

// check guards what the codec would write without complaint.
func (m *Message) check() error {
	switch {
	case m.Type > Reset:
		return ErrType
	case len(m.Token) > maxTokenLen:
		return ErrTokenLength
	case len(m.Options) > maxOptions:
		return ErrTooManyOptions
	case m.Code == Empty && len(m.Token)+len(m.Options)+len(m.Payload) > 0:
		return ErrEmptyContent
	}
	if err := checkHeader(m.Type, m.Code); err != nil {
		return err
	}
	prev := OptionID(1) // 0 is reserved
	for _, o := range m.Options {
		if o.ID < prev {
			return ErrOptionOrder
		}
		if len(o.Value) > maxOptionValue {
			return ErrOptionValue
		}
		prev = o.ID
	}
	return nil
}

// size is the exact length of m's wire form, for options in ascending order.
func (m *Message) size() int {
	n := headerLen + len(m.Token) + m.Options.size()
	if len(m.Payload) > 0 {
		n += 1 + len(m.Payload)
	}
	return n
}

// size is the length of the options' wire form (RFC 7252, Section 3.1).
func (o Options) size() (n int) {
	prev := OptionID(0)
	for i := range o {
		n += 1 + extended(int(o[i].ID-prev)) + extended(len(o[i].Value)) + len(o[i].Value)
		prev = o[i].ID
	}
	return n
}

// extended is how many bytes follow an option's first one to express v (RFC 7252, Section 3.1).
func extended(v int) int {
	switch {
	case v < 13:
		return 0
	case v < 269:
		return 1
	}
	return 2
}

// clone returns a copy of m that shares nothing with it. A payload that is m's own already is kept as it is.
func (m *Message) clone(ownPayload bool) Message {
	n := len(m.Token)
	if !ownPayload {
		n += len(m.Payload)
	}
	for i := range m.Options {
		n += len(m.Options[i].Value)
	}
	buf := make([]byte, 0, n)
	keep := func(v []byte) []byte {
		if len(v) == 0 {
			return nil
		}
		at := len(buf)
		buf = append(buf, v...)
		return buf[at:len(buf):len(buf)]
	}
	c := *m
	c.Token = keep(m.Token)
	c.Options = make(Options, len(m.Options))
	for i, o := range m.Options {
		c.Options[i] = Option{ID: o.ID, Value: keep(o.Value)}
	}
	if !ownPayload {
		c.Payload = keep(m.Payload)
	}
	return c
}
