package dtls

import (
	"bytes"
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/dtls/handshake"
	"coapbridge/dtls/record"
	"coapbridge/internal/simnet"
)

// FuzzReceive gives the reader what it likes, with nothing, a handshake, a session, and one with a Connection ID at the address:
// no panic, nothing is delivered, and no session ends.
func FuzzReceive(f *testing.F) {
	for _, d := range epoch0() {
		f.Add(d, uint8(0))
		f.Add(append(bytes.Clone(d), d...), uint8(1))
		f.Add(d, uint8(2))
		f.Add(append(bytes.Clone(d), d...), uint8(7))
	}
	n := &simnet.Net{}
	seen := newRecorder(false)
	conf := &Config{PSK: func(context.Context, PSKQuery) ([]byte, error) { return nil, ErrUnknownIdentity }, Handler: seen}
	ep, err := New(conf, n.Listen(serverAddr))
	require.NoError(f, err)
	at := ep.socks[0].key(netip.MustParseAddrPort(clientAddr))
	key := record.Key{AEAD: record.AES128CCM8}
	f.Fuzz(func(t *testing.T, datagram []byte, state uint8) {
		var n *negotiation
		if state&1 != 0 {
			n = ep.newNegotiation(at, localAddr{}, RoleServer)
			params := handshake.ClientParams{PSKIdentity: []byte("x")}
			n.machine = handshake.NewClient(ep.handshakes, n, handshake.Timers{}, params, time.Now())
			require.True(t, ep.admit(n))
		}
		c := &Conn{ep: ep, peer: Peer{Role: RoleClient}, aead: key.AEAD, read: key, write: key, at: at, moving: &moving{has: state&4 != 0}}
		ep.mu.Lock()
		clear(ep.live)
		clear(ep.cids)
		switch {
		case state&6 == 6:
			ep.cids[0] = c
		case state&2 != 0:
			ep.live[at] = c
		}
		ep.mu.Unlock()
		ep.receive(&greeter{cookies: handshake.NewCookies()}, &packet{from: at, data: datagram}, time.Now())
		require.True(t, c.isOpen())
		if n != nil {
			n.cancel(errGivenUp)
		}
	})
}
