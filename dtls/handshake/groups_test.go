package handshake

import (
	"bytes"
	"crypto/elliptic"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	pion "github.com/pion/dtls/v3"
	pioncurves "github.com/pion/dtls/v3/pkg/crypto/elliptic"
	"github.com/stretchr/testify/require"

	"coapbridge/dtls/record"
)

// TestEveryGroupWithPion: key exchange on each of our curves (RFC 8422, Section 5.1.1), in both roles, in the premaster secret
// of ECDHE_PSK and of ECDHE_ECDSA, with keys of certificates on both of their curves.
func TestEveryGroupWithPion(t *testing.T) {
	t.Parallel()
	for _, group := range groups() {
		for _, id := range []uint16{0xd003, certSuite, 0xc02c} {
			s := suite(t, id)
			curves := pion.WithEllipticCurves(pioncurves.Curve(group))
			own := elliptic.P256()
			if group == groupP384 {
				own = elliptic.P384()
			}
			t.Run(fmt.Sprintf("serves %s %d", s.Name, group), func(t *testing.T) {
				t.Parallel()
				mine, theirs := newSides(t, own)
				synctest.Test(t, func(t *testing.T) {
					f := &front{conf: bothKinds(), cb: mine}
					run, conn, err := pionClient(f, perfect, append(pionOptions(s, theirs, testKey), curves)...)
					require.NoError(t, err)
					defer conn.Close()
					res, err := f.m.Done()
					require.NoError(t, err)
					require.Equal(t, group, f.m.group)
					requirePionTalk(t, run, conn, res)
				})
			})
			t.Run(fmt.Sprintf("dials %s %d", s.Name, group), func(t *testing.T) {
				t.Parallel()
				mine, theirs := newSides(t, own)
				synctest.Test(t, func(t *testing.T) {
					m := NewClient(only(s), mine, Timers{}, paramsFor(s), time.Now())
					run, conn, err := pionServer(m, perfect, pionServerOptions(s, theirs, curves)...)
					require.NoError(t, err)
					defer conn.Close()
					res, err := m.Done()
					require.NoError(t, err)
					requirePionTalk(t, run, conn, res)
				})
			})
		}
	}
}

// TestBadPoints: X25519's all-zero secret (RFC 7748, Section 6.1), points off the curve, compressed ones (RFC 8422,
// Section 5.4) and those of another group end the handshake, from either side.
func TestBadPoints(t *testing.T) {
	t.Parallel()
	compressed := append([]byte{2}, make([]byte, 32)...)
	off := append([]byte{4}, bytes.Repeat([]byte{1}, 64)...)
	for name, tc := range map[string]struct {
		group uint16
		point []byte
	}{
		"zero":          {groupX25519, make([]byte, 32)},
		"order 2":       {groupX25519, append([]byte{1}, make([]byte, 31)...)},
		"short":         {groupX25519, make([]byte, 31)},
		"compressed":    {groupP256, compressed},
		"off the curve": {groupP256, off},
		"infinity":      {groupP256, []byte{0}},
		"another group": {groupP384, off},
		"unknown group": {25, off},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, suite(t, 0xd003))
			for _, m := range whole(s.begin()) {
				if m[0] == typeServerKeyExchange {
					m = append(m[:headerLen], 0, 0, curveTypeNamed, 0, byte(tc.group), byte(len(tc.point)))
					m = append(m, tc.point...)
					closeMessage(m, 0)
				}
				s.toClient(piece(m, 0, len(m)-headerLen))
			}
			requireFailed(t, s.client, ReasonProtocol, alertIllegalParameter)

			if tc.group != groupP256 {
				return
			}
			s = newScene(t, suite(t, 0xd003))
			m := whole(s.flight())[0]
			m = append(m[:headerLen+2+len(testIdentity)], byte(len(tc.point)))
			m = append(m, tc.point...)
			closeMessage(m, 0)
			s.toServer(piece(m, 0, len(m)-headerLen))
			requireFailed(t, s.server.m, ReasonProtocol, alertIllegalParameter)
		})
	}
}

// TestServerExtensionsNotOffered: a ServerHello may answer what was asked, once, and nothing else (RFC 5246, Section 7.4.1.4).
func TestServerExtensionsNotOffered(t *testing.T) {
	t.Parallel()
	const unsupported = alertUnsupportedExtension
	for name, tc := range map[string]struct {
		suite     uint16
		extension []byte
		alert     uint8
	}{
		"point formats without ECDHE": {pskSuite, []byte{0, extPointFormats, 0, 2, 1, 0}, unsupported},
		"Connection ID":               {0xd003, []byte{0, extConnectionID, 0, 1, 0}, unsupported},
		"session ticket":              {0xd003, []byte{0, 35, 0, 0}, unsupported},
		"encrypt then MAC":            {0xd003, []byte{0, 22, 0, 0}, unsupported},
		"groups":                      {0xd003, []byte{0, extGroups, 0, 4, 0, 2, 0, 23}, unsupported},
		"EMS twice":                   {0xd003, []byte{0, extEMS, 0, 0}, alertDecodeError},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, suite(t, tc.suite))
			hello := s.begin()[0]
			hello.Payload = slices.Concat(hello.Payload, tc.extension)
			closeUint16(hello.Payload, headerLen+2+32+1+2+1)
			closeMessage(hello.Payload, 0)
			s.toClient(hello)
			requireFailed(t, s.client, ReasonProtocol, tc.alert)
		})
	}
}

// TestH20HeldBeforeHelloVerify: what was held of a server before its HelloVerifyRequest goes with all else of it.
func TestH20HeldBeforeHelloVerify(t *testing.T) {
	t.Parallel()
	s := newScene(t, suite(t, 0xd003))
	memory := NewBudget(1 << 20)
	s.client.fragments.memory = memory
	first := s.client.Output()
	junk := record.Record{Type: record.TypeHandshake, Version: versionDTLS12, Epoch: 1, Payload: make([]byte, 500)}
	for range maxHeldSealed {
		s.toClient(junk)
	}
	require.Equal(t, maxHeldSealed*500, memory.Taken())
	s.server.receive(first[0], s.now)
	s.toClient(cut(s.server.output(), 0)...)
	require.Zero(t, len(s.client.held))
	flight := s.flight()
	require.Zero(t, memory.Taken())
	s.toClient(record.Record{Type: record.TypeChangeCipherSpec, Version: versionDTLS12, Payload: []byte{1}})
	require.Zero(t, memory.Taken())
	s.requireAlive(flight...)
	require.Zero(t, memory.Taken())
}
