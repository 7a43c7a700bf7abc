package load

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/coap"
	"coapbridge/dtls/handshake"
	"coapbridge/dtls/record"
)

func TestRequest(t *testing.T) {
	t.Parallel()
	r := Request{Method: "post", Path: "/a/b", Query: []string{"x=1"}, Payload: []byte("21.5"), Format: 0, From: "CAdmin"}
	made, err := r.template()
	require.NoError(t, err)
	for _, token := range []uint64{1, 0xfedcba9876543210} {
		m, err := coap.Parse(made.appendTo([]byte("before"), 0x1234, token)[len("before"):])
		require.NoError(t, err)
		require.Equal(t, coap.POST, m.Code)
		require.EqualValues(t, 0x1234, m.MessageID)
		require.Equal(t, token, binary.BigEndian.Uint64(m.Token))
		require.Equal(t, "21.5", string(m.Payload))
		rqi, ok := m.Options.Find(optionRQI)
		require.True(t, ok)
		require.Len(t, rqi, len(identifier))
		from, _ := m.Options.Find(optionFrom)
		require.Equal(t, "CAdmin", string(from))
	}
	_, err = (&Request{Method: "BREW"}).template()
	require.Error(t, err)
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	wire, err := coap.Message{Type: coap.Acknowledgement, Code: coap.Content, MessageID: 7, Token: []byte{0, 0, 0, 0, 0, 0, 0, 9}}.AppendBinary(nil)
	require.NoError(t, err)
	a, ok := parseAnswer(wire)
	require.True(t, ok)
	require.Equal(t, answer{kind: coap.Acknowledgement, code: coap.Content, mid: 7, token: 9, ok: true}, a)
	for _, bad := range [][]byte{nil, {0x60}, {0xa0, 0, 0, 0}, {0x68, 0x45, 0, 0, 1}} {
		_, ok := parseAnswer(bad)
		require.False(t, ok)
	}
}

// TestHello shows that a forged ClientHello is one that a server takes.
func TestHello(t *testing.T) {
	t.Parallel()
	datagram, random := clientHello()
	r, rest, ok := record.Parse(datagram, 0)
	require.True(t, ok)
	require.Empty(t, rest)
	h, ok := handshake.ParseHello(r.Payload)
	require.True(t, ok)
	require.True(t, h.EMS())
	require.Equal(t, datagram[random:random+randomLength], h.Random[:])
}

// FuzzAnswer holds the short way against the whole parser: what that takes, this reads alike.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte{0x68, 0x45, 0, 7, 0, 0, 0, 0, 0, 0, 0, 9, 0xff, '1'})
	f.Add([]byte{0x60, 0, 0, 7})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := parseAnswer(b)
		m, err := coap.Parse(b)
		if err != nil {
			return
		}
		require.True(t, ok)
		require.Equal(t, m.Type, a.kind)
		require.Equal(t, m.Code, a.code)
		require.Equal(t, m.MessageID, a.mid)
		require.Equal(t, len(m.Token) == tokenLength, a.ok)
	})
}
