package coap

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// malformed are datagrams that are no messages (RFC 7252, Section 3 and 4), and how each is met inside a session (C01).
var malformed = []struct {
	name   string
	in     []byte
	err    error
	reject bool // with a Reset
}{
	{"nothing", nil, ErrShort, false},
	{"three bytes", []byte{0x40, 1, 0}, ErrShort, false},
	{"version 0", []byte{0x00, 1, 0, 1}, ErrVersion, false},
	{"version 2", []byte{0x80, 1, 0, 1}, ErrVersion, false},
	{"version 3", []byte{0xc0, 1, 0, 1}, ErrVersion, false},
	{"token length 9", append([]byte{0x49, 1, 0, 1}, make([]byte, 9)...), ErrTokenLength, true},
	{"token length 15", append([]byte{0x4f, 1, 0, 1}, make([]byte, 15)...), ErrTokenLength, true},
	{"token cut", []byte{0x48, 1, 0, 1, 1, 2}, ErrShort, true},
	{"NON with token cut", []byte{0x58, 1, 0, 1, 1, 2}, ErrShort, false},
	{"empty with token", []byte{0x41, 0, 0, 1, 9}, ErrEmptyContent, true},
	{"empty with option", []byte{0x40, 0, 0, 1, 0xb0}, ErrEmptyContent, true},
	{"empty with payload", []byte{0x40, 0, 0, 1, 0xff, 1}, ErrEmptyContent, true},
	{"empty ACK with payload", []byte{0x60, 0, 0, 1, 0xff, 1}, ErrEmptyContent, false},
	{"empty RST with token", []byte{0x71, 0, 0, 1, 9}, ErrEmptyContent, false},
	{"empty NON", []byte{0x50, 0, 0, 1}, ErrTypeCode, false},
	{"RST with code", []byte{0x70, 0x80, 0, 1}, ErrTypeCode, false},
	{"ACK with request", []byte{0x60, 1, 0, 1}, ErrTypeCode, false},
	{"code 1.00", []byte{0x40, 0x20, 0, 1}, ErrReservedCode, true},
	{"code 6.00", []byte{0x40, 0xc0, 0, 1}, ErrReservedCode, true},
	{"code 7.01", []byte{0x40, 0xe1, 0, 1}, ErrReservedCode, true},
	{"NON with code 7.31", []byte{0x50, 0xff, 0, 1}, ErrReservedCode, false},
	{"payload marker without payload", []byte{0x40, 1, 0, 1, 0xff}, ErrPayloadMarker, true},
	{"option delta 15", []byte{0x40, 1, 0, 1, 0xf0, 0}, ErrOption, true},
	{"option length 15", []byte{0x40, 1, 0, 1, 0xbf, 0}, ErrOption, true},
	{"option cut", []byte{0x40, 1, 0, 1, 0xb5, 'a'}, ErrOption, true},
	{"extended delta cut", []byte{0x40, 1, 0, 1, 0xe0, 0}, ErrOption, true},
	{"extended length cut", []byte{0x40, 1, 0, 1, 0xbd}, ErrOption, true},
	{"option number beyond 65535", []byte{0x40, 1, 0, 1, 0xe0, 0xff, 0xff}, ErrOption, true},
	{"sum of deltas beyond 65535", []byte{0x40, 1, 0, 1, 0xe0, 0xfe, 0, 0xe0, 1, 0}, ErrOption, true},
	{"length beyond the datagram", []byte{0x40, 1, 0, 1, 0xbe, 0xff, 0xff, 0}, ErrOption, true},
}

func TestC01ParseMalformed(t *testing.T) {
	t.Parallel()
	for _, tt := range malformed {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse(tt.in)
			require.ErrorIs(t, err, tt.err)
			var format *FormatError
			require.ErrorAs(t, err, &format)
			require.Equal(t, tt.reject, format.Reject())
			if format.Known {
				require.EqualValues(t, 1, format.MessageID)
			}
		})
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	in := []byte{0x42, 2, 0x12, 0x34, 0xaa, 0xbb, 0xb1, 'a', 0x01, 'b', 0x11, 50, 0xff, 'x', 'y'}
	m, err := Parse(in)
	require.NoError(t, err)
	require.Equal(t, Message{
		Type: Confirmable, Code: POST, MessageID: 0x1234, Token: []byte{0xaa, 0xbb},
		Options: path("a", "b").AddUint(ContentFormat, 50), Payload: []byte("xy"),
	}, m)
	// What the caller appends to a part must not overwrite the next one.
	for _, part := range [][]byte{m.Token, m.Options[0].Value, m.Options[2].Value, m.Payload} {
		require.Equal(t, len(part), cap(part))
	}
	// C01: option values of any length and number survive; nothing is dropped but number 0.
	long := Message{Code: GET, Options: Options{
		{ID: ETag, Value: nil}, {ID: ETag, Value: make([]byte, 9)}, {ID: 267, Value: make([]byte, 300)},
		{ID: 65535, Value: make([]byte, 1000)},
	}}
	got, err := Parse(wire(t, long))
	require.NoError(t, err)
	require.Len(t, got.Options, 4)
	require.Len(t, got.Options[3].Value, 1000)
}

func TestOptionCount(t *testing.T) {
	t.Parallel()
	m := Message{Code: GET}
	for range maxOptions {
		m.Options = m.Options.Add(RequestTag, nil)
	}
	b := wire(t, m)
	_, err := Parse(b)
	require.NoError(t, err)
	_, err = Parse(append(b, 0)) // one more
	require.ErrorIs(t, err, ErrTooManyOptions)
}

func TestAppendBinaryRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		in   Message
		err  error
	}{
		{"type", Message{Type: 4, Code: GET}, ErrType},
		{"token", Message{Code: GET, Token: make([]byte, 9)}, ErrTokenLength},
		{"empty with payload", Message{Payload: []byte("x")}, ErrEmptyContent},
		{"empty with token", Message{Token: []byte("x")}, ErrEmptyContent},
		{"empty NON", Message{Type: NonConfirmable}, ErrTypeCode},
		{"reserved code", Message{Code: 0xe1}, ErrReservedCode},
		{"request in ACK", Message{Type: Acknowledgement, Code: GET}, ErrTypeCode},
		{"order", Message{Code: GET, Options: Options{{ID: 17}, {ID: 11}}}, ErrOptionOrder},
		{"option 0", Message{Code: GET, Options: Options{{ID: 0}}}, ErrOptionOrder},
		{"value", Message{Code: GET, Options: Options{{ID: 11, Value: make([]byte, maxOptionValue+1)}}}, ErrOptionValue},
		{"count", Message{Code: GET, Options: make(Options, maxOptions+1)}, ErrTooManyOptions},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b, err := tt.in.AppendBinary([]byte("kept"))
			require.ErrorIs(t, err, tt.err)
			require.Equal(t, "kept", string(b))
		})
	}
	b := wire(t, Message{Code: GET, Options: Options{{ID: 11, Value: make([]byte, maxOptionValue)}}})
	m, err := Parse(b)
	require.NoError(t, err)
	require.Len(t, m.Options[0].Value, maxOptionValue)
}

func TestBlockOption(t *testing.T) {
	t.Parallel()
	for _, b := range []block{{}, {num: 1, more: true, szx: 6}, {num: maxBlockNum, szx: 0}, {num: 4096, more: true, szx: 2}} {
		got, ok := Options(nil).AddUint(Block1, b.value()).block(Block1)
		require.True(t, ok)
		require.Equal(t, b, got)
	}
	_, ok := Options(nil).block(Block1)
	require.False(t, ok)
	for _, tt := range []struct {
		n   int
		szx uint8
		ok  bool
	}{{15, 0, false}, {16, 0, true}, {31, 0, true}, {1023, 5, true}, {1024, 6, true}, {9000, 6, true}, {-1, 0, false}} {
		szx, ok := fitSZX(tt.n)
		require.Equal(t, tt.ok, ok)
		require.Equal(t, tt.szx, szx)
	}
}

func FuzzParse(f *testing.F) {
	for _, m := range malformed {
		f.Add(m.in)
	}
	f.Add([]byte{0x42, 2, 0x12, 0x34, 0xaa, 0xbb, 0xb1, 'a', 0x01, 'b', 0x11, 50, 0xff, 'x', 'y'})
	f.Add([]byte{0x40, 1, 0, 1, 0xd0, 0xfe, 0xe0, 0, 0, 0, 0xff, 1})
	f.Fuzz(func(t *testing.T, in []byte) {
		before := bytes.Clone(in)
		m, err := Parse(in)
		require.Equal(t, before, in)
		if err != nil {
			var format *FormatError
			require.True(t, errors.As(err, &format))
			return
		}
		out, err := m.AppendBinary(nil)
		require.NoError(t, err)
		require.Len(t, out, m.size())
		again, err := Parse(out)
		require.NoError(t, err)
		require.Equal(t, m, again)
	})
}
