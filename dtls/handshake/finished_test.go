package handshake

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/dtls/record"
)

// TestForgedFinished: who has the keys must still have seen what we saw (RFC 5246, Section 7.4.9), and says so in the message
// that is due, in its own role's words.
func TestForgedFinished(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		forge  func(message, own []byte) []byte // own: our verify_data
		reason Reason
		alert  uint8
	}{
		"first bit": {func(m, _ []byte) []byte { m[headerLen] ^= 0x80; return m }, ReasonProtocol, alertDecryptError},
		"last bit":  {func(m, _ []byte) []byte { m[len(m)-1] ^= 1; return m }, ReasonProtocol, alertDecryptError},
		"zeros":     {func(m, _ []byte) []byte { clear(m[headerLen:]); return m }, ReasonProtocol, alertDecryptError},
		"ours":      {func(m, own []byte) []byte { copy(m[headerLen:], own); return m }, ReasonProtocol, alertDecryptError},
		"short": {func(m, _ []byte) []byte {
			m = m[:len(m)-1]
			closeMessage(m, 0)
			return m
		}, ReasonProtocol, alertDecodeError},
		"empty": {func(m, _ []byte) []byte {
			m = m[:headerLen]
			closeMessage(m, 0)
			return m
		}, ReasonProtocol, alertDecodeError},
		"half of it":       {func(m, _ []byte) []byte { m[11] = 6; return m[:len(m)-6] }, ReasonProtocol, alertDecodeError},
		"something behind": {func(m, _ []byte) []byte { return append(m, 0) }, ReasonProtocol, alertDecodeError},
		"next number":      {func(m, _ []byte) []byte { m[5]++; return m }, ReasonProtocol, alertUnexpectedMessage},
		"last number":      {func(m, _ []byte) []byte { m[5]--; return m }, ReasonProtocol, alertUnexpectedMessage},
		"another type":     {func(m, _ []byte) []byte { m[0] = typeCertificateVerify; return m }, ReasonProtocol, alertUnexpectedMessage},
	} {
		for _, id := range []uint16{pskSuite, 0xd003, certSuite, 0xc02c} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				forged := func(key *record.Key, message, own []byte) record.Record {
					b := tc.forge(bytes.Clone(message), own)
					r, _, ok := record.Parse(record.NewCipher(key).Seal(nil, record.TypeHandshake, 1, 9, nil, b), 0)
					require.True(t, ok)
					return r
				}
				last := func(m *Machine) []byte {
					i := m.script.flight[len(m.script.flight)-1]
					return m.script.text[i.start:i.end]
				}
				s := newScene(t, suite(t, id))
				flight := s.flight()
				n := len(flight)
				s.toServer(flight[:n-1]...)
				m := s.server.m
				own := m.keys.master.verifyData(m.suite.Hash, false, m.script.text)
				s.toServer(forged(&s.client.write, last(s.client), own[:]))
				requireFailed(t, m, tc.reason, tc.alert)

				s = newScene(t, suite(t, id))
				s.toServer(s.flight()...)
				res, err := s.server.m.Done()
				require.NoError(t, err)
				require.Equal(t, record.Replayed, res.Window.Check(0), "the client's Finished")
				answer := cut(s.server.output(), 0)
				require.Equal(t, record.TypeChangeCipherSpec, answer[0].Type)
				s.toClient(answer[0], forged(&res.Write, res.LastFinished, last(s.client)[headerLen:]))
				requireFailed(t, s.client, tc.reason, tc.alert)
			})
		}
	}
}

// TestRefusedServerHellos: what a server may not choose or say.
func TestRefusedServerHellos(t *testing.T) {
	t.Parallel()
	const version, session = headerLen, headerLen + 2 + 32
	for name, tc := range map[string]struct {
		change func(b []byte) []byte
		reason Reason
		alert  uint8
	}{
		"DTLS 1.0":          {func(b []byte) []byte { b[version+1] = 0xff; return b }, ReasonVersion, alertProtocolVersion},
		"TLS 1.2":           {func(b []byte) []byte { b[version], b[version+1] = 3, 3; return b }, ReasonVersion, alertProtocolVersion},
		"another suite":     {func(b []byte) []byte { b[session+1], b[session+2] = 0, 0xa8; return b }, ReasonProtocol, alertIllegalParameter},
		"NULL":              {func(b []byte) []byte { b[session+1], b[session+2] = 0, 0; return b }, ReasonProtocol, alertIllegalParameter},
		"compression":       {func(b []byte) []byte { b[session+3] = 1; return b }, ReasonProtocol, alertIllegalParameter},
		"renegotiation":     {func(b []byte) []byte { b[len(b)-1] = 1; return b }, ReasonProtocol, alertDecodeError},
		"session id of 33":  {func(b []byte) []byte { b[session] = 33; return slices.Insert(b, session+1, make([]byte, 33)...) }, ReasonProtocol, alertDecodeError},
		"something behind":  {func(b []byte) []byte { return append(b, 0) }, ReasonProtocol, alertDecodeError},
		"random is cut off": {func(b []byte) []byte { return b[:session-1] }, ReasonProtocol, alertDecodeError},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, suite(t, pskSuite))
			hello := s.begin()[0]
			require.True(t, bytes.HasSuffix(hello.Payload, []byte{0xff, 1, 0, 1, 0}))
			hello.Payload = tc.change(bytes.Clone(hello.Payload))
			closeMessage(hello.Payload, 0)
			s.toClient(hello)
			requireFailed(t, s.client, tc.reason, tc.alert)
		})
	}
	t.Run("ServerHelloDone with a body", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, suite(t, pskSuite))
		flight := s.begin()
		done := &flight[len(flight)-1]
		done.Payload = append(bytes.Clone(done.Payload), 0)
		closeMessage(done.Payload, 0)
		s.toClient(flight...)
		requireFailed(t, s.client, ReasonProtocol, alertDecodeError)
	})
	t.Run("an empty Certificate", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, suite(t, certSuite))
		for _, m := range whole(s.begin()) {
			if m[0] == typeCertificate {
				m = append(m[:headerLen], 0, 0, 0)
				closeMessage(m, 0)
			}
			s.toClient(piece(m, 0, len(m)-headerLen))
		}
		requireFailed(t, s.client, ReasonNoCertificate, alertHandshakeFailure)
	})
	t.Run("a certificate instead of the key", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, suite(t, pskSuite))
		s.client = NewClient(bothKinds(), s.mine, Timers{}, paramsFor(suite(t, pskSuite)), s.now)
		hello := s.begin()[0]
		hello.Payload[session+1], hello.Payload[session+2] = certSuite>>8, certSuite&0xff
		s.toClient(hello)
		requireFailed(t, s.client, ReasonProtocol, alertIllegalParameter)
	})
}

// TestS5IdentityLengths: identities of up to 128 bytes, the empty one included, are looked up; longer ones are refused before
// that, all alike (RFC 4279, Section 5.3).
func TestS5IdentityLengths(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, maxIdentity, maxIdentity + 1, 4000} {
		s := newScene(t, suite(t, pskSuite))
		s.flight()
		body := appendIdentity(nil, bytes.Repeat([]byte{'x'}, n))
		m := append(appendHeader(nil, typeClientKeyExchange, uint16(s.server.m.recvSeq), len(body)), body...)
		s.toServer(piece(m, 0, len(body)))
		if n > maxIdentity {
			requireFailed(t, s.server.m, ReasonProtocol, alertDecodeError)
			continue
		}
		requireUndone(t, s.server.m)
		require.Equal(t, stateChangeCipherSpec, s.server.m.state)
		require.Nil(t, s.server.m.Output())
	}
}
