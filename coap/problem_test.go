package coap

import (
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"
)

// TestErrorMessage: problem details for who accepts them (RFC 9290, Section 2), else a diagnostic payload (RFC 7252, Section 5.5.2).
func TestErrorMessage(t *testing.T) {
	t.Parallel()
	accepts := &Message{Options: Options(nil).AddUint(Accept, 257)}
	for _, title := range []string{"", "no such resource", strings.Repeat("x", 23), strings.Repeat("x", 24), strings.Repeat("é", 300)} {
		m := ErrorMessage(accepts, NotFound, title)
		require.Equal(t, NotFound, m.Code)
		require.Equal(t, Options(nil).AddUint(ContentFormat, 257), m.Options)
		var got map[int]any
		require.NoError(t, cbor.Unmarshal(m.Payload, &got))
		want := map[int]any{-4: uint64(4<<5 | 4)}
		if title != "" {
			want[-1] = title
		}
		require.Equal(t, want, got)
		for _, other := range []*Message{nil, {}, {Options: Options(nil).AddUint(Accept, 50)}} {
			m := ErrorMessage(other, Forbidden, title)
			require.Equal(t, title, string(m.Payload))
			require.Empty(t, m.Options)
		}
	}
}

// TestOwnRefusalsAsProblem: refusals of this package come as problem details too, beside their own options.
func TestOwnRefusalsAsProblem(t *testing.T) {
	t.Parallel()
	s := newSession(t, New(&Config{}), Profile{})
	for _, tt := range []struct {
		in    Message
		title string
	}{
		{Message{Code: GET, Options: Options{{ID: Accept, Value: []byte{1, 1}}, {ID: ProxyURI, Value: []byte("coap://a")}}}, "this is not a proxy"},
		{part(5, false, "x", uintOption(Accept, 257)), "earlier blocks are missing"},
	} {
		m := s.ask(tt.in)
		var got map[int]any
		require.NoError(t, cbor.Unmarshal(m.Payload, &got))
		require.Equal(t, map[int]any{-1: tt.title, -4: uint64(m.Code)}, got)
		format, _ := m.Options.Uint(ContentFormat)
		require.EqualValues(t, 257, format)
	}
}

// TestHopLimit: 0 is refused (RFC 8768, Section 3), another value is the Handler's.
func TestHopLimit(t *testing.T) {
	t.Parallel()
	s := newSession(t, New(&Config{Handler: handlerFunc(func(x *Exchange) {
		limit, _ := x.Request().Options.Find(HopLimit)
		_ = x.Respond(&Message{Code: Content, Payload: limit})
	})}), Profile{})
	require.Equal(t, BadRequest, s.ask(Message{Code: GET, Options: Options{{ID: HopLimit, Value: []byte{0}}}}).Code)
	require.Equal(t, []byte{7}, s.ask(Message{Code: GET, Options: Options{{ID: HopLimit, Value: []byte{7}}}}).Payload)
	require.Equal(t, Content, s.ask(Message{Code: GET, Options: Options{{ID: HopLimit}}}).Code, "of illegal length: ignored")
}
