package dtls

import (
	"bytes"
	"context"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/internal/simnet"
)

// FuzzReceive gives the filter what it likes, with nothing, a handshake, and a session at the address: no panic, and a
// record that passes to a session is of epoch 1 and a known type.
func FuzzReceive(f *testing.F) {
	for _, d := range epoch0() {
		f.Add(d, uint8(0))
		f.Add(append(bytes.Clone(d), d...), uint8(1))
		f.Add(d, uint8(2))
	}
	n := &simnet.Net{}
	conf := &Config{PSK: func(context.Context, PSKQuery) ([]byte, error) { return nil, ErrUnknownIdentity }, Handler: newRecorder(false)}
	ep, err := New(conf, n.Listen(serverAddr))
	require.NoError(f, err)
	ep.conf.Limits.HalfOpen = 0 // nothing begins; what follows is only judged
	key := pathKey{ep.socks[0], netip.MustParseAddrPort(clientAddr)}
	f.Fuzz(func(t *testing.T, datagram []byte, state uint8) {
		p := &path{}
		if state&1 != 0 {
			p.pending = ep.newHandshake(key, Role(1+state>>2&1))
			p.pending.answered.Store(state&8 != 0)
		}
		if state&2 != 0 {
			p.live = &Conn{ep: ep, key: key, peer: &Peer{Role: RoleClient}, pipe: newPipe(key.sock, key.addr)}
		}
		ep.mu.Lock()
		ep.paths[key] = p
		ep.mu.Unlock()
		ep.receive(key, netip.Addr{}, datagram)
		if p.live == nil {
			return
		}
		for _, b := range p.live.pipe.queue {
			for rest := b; len(rest) > 0; {
				r, next, ok := parseRecord(rest)
				require.True(t, ok)
				require.EqualValues(t, 1, r.epoch)
				require.GreaterOrEqual(t, r.typ, uint8(typeAlert))
				require.LessOrEqual(t, r.typ, uint8(typeApplicationData))
				rest = next
			}
		}
	})
}

// FuzzRecord checks that parsing loses and invents nothing: the records of a datagram, put together, are its beginning.
func FuzzRecord(f *testing.F) {
	for _, d := range epoch0() {
		f.Add(d)
	}
	f.Fuzz(func(t *testing.T, datagram []byte) {
		var joined []byte
		for rest := datagram; ; {
			r, next, ok := parseRecord(rest)
			if !ok {
				break
			}
			require.Len(t, r.raw, recordHeader+len(r.payload))
			joined = append(joined, r.raw...)
			messages(r.payload, func(m message) bool {
				require.LessOrEqual(t, m.offset+len(m.body), m.length)
				return true
			})
			rest = next
		}
		require.True(t, bytes.HasPrefix(datagram, joined))
	})
}
