package dtls

import (
	"bytes"
	"context"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/dtls/record"
	"coapbridge/internal/simnet"
)

// S5: a peer with the right key whose last flight is lost in part and reordered is not taken for one with a wrong key. The
// rows say which records of each flight arrive, one datagram each: k is ClientKeyExchange, c ChangeCipherSpec, f Finished.
func TestReorderedFlightIsNoWrongKey(t *testing.T) {
	t.Parallel()
	for _, flights := range [][]string{{"k", "kfc"}, {"kf", "kfc"}, {"kc", "kfc"}, {"kf", "kf", "kfc"}, {"fck"}, {"c", "f", "k", "fkc"}} {
		t.Run(flights[0]+flights[len(flights)-1], func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n, flight := &simnet.Net{}, 0
				n.Wire = func(p simnet.Packet) []simnet.Packet {
					records := map[byte][]byte{}
					for rest := p.Data; p.From.String() == clientAddr && len(rest) > 0; {
						r, next, ok := record.Parse(rest, cidLength)
						if !ok {
							break
						}
						name := byte('k')
						switch {
						case r.Epoch == 1:
							name = 'f'
						case r.Type == record.TypeChangeCipherSpec:
							name = 'c'
						}
						records[name] = r.Raw
						rest = next
					}
					if len(records) != 3 || flight == len(flights) {
						return []simnet.Packet{p}
					}
					flight++
					var out []simnet.Packet
					for _, name := range []byte(flights[flight-1]) {
						out = append(out, simnet.Packet{From: p.From, To: p.To, Data: bytes.Clone(records[name])})
					}
					return out
				}
				server, _ := startOn(t, &Config{PSK: testPSK, Handler: newRecorder(true)}, n.Listen(serverAddr))
				client, _ := startOn(t, &Config{PSK: testPSK, Handler: newRecorder(false)}, n.Listen(clientAddr))
				_, err := client.Dial(limited(t), netip.MustParseAddrPort(serverAddr), PeerID{Kind: KindPSK, ID: testIdentity})
				require.NoError(t, err)
				require.Zero(t, server.Stats().Handshakes[OutcomePSKFailed])
				require.NotZero(t, flight)
			})
		})
	}
}

// onlyRecords is a network that cuts a client's last flight into its records, and lets those through whose letters are in want: k is
// ClientKeyExchange, c ChangeCipherSpec, f Finished. Of repeated flights it lets none through when once is set.
func onlyRecords(want string, once bool) *simnet.Net {
	n, flights := &simnet.Net{}, 0
	n.Wire = func(p simnet.Packet) (out []simnet.Packet) {
		if p.From.String() != clientAddr {
			return []simnet.Packet{p}
		}
		for rest := p.Data; len(rest) > 0; {
			r, next, ok := record.Parse(rest, cidLength)
			if !ok {
				break
			}
			rest = next
			name := "k"
			switch {
			case isClientHello(r):
				return []simnet.Packet{p}
			case r.Epoch == 1:
				name = "f"
			case r.Type == record.TypeChangeCipherSpec:
				name = "c"
			default:
				flights++
			}
			if strings.Contains(want, name) && !(once && flights > 1) {
				out = append(out, simnet.Packet{From: p.From, To: p.To, Data: r.Raw})
			}
		}
		return out
	}
	return n
}

// A handshake that takes too long is held against the key only where something came that the key does not open.
func TestTimeoutIsNoWrongKey(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, passes, key string
		once              bool
		server, client    Outcome
	}{
		{"no ChangeCipherSpec", "kf", testKey, false, OutcomeTimeout, OutcomePSKFailed},
		{"no Finished", "kc", testKey, false, OutcomeTimeout, OutcomePSKFailed},
		{"no ClientKeyExchange", "cf", testKey, false, OutcomeTimeout, OutcomePSKFailed},
		{"wrong key", "kcf", "fedcba9876543210", false, OutcomePSKFailed, OutcomePSKFailed},
		{"wrong key, told never", "kcf", "fedcba9876543210", true, OutcomePSKFailed, OutcomePSKFailed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := onlyRecords(tt.passes, tt.once)
				server, addr := startOn(t, &Config{PSK: testPSK, Handler: newRecorder(false)}, n.Listen(serverAddr))
				client, _ := startOn(t, &Config{Handler: newRecorder(false), PSK: func(context.Context, PSKQuery) ([]byte, error) {
					return []byte(tt.key), nil
				}}, n.Listen(clientAddr))
				_, err := client.Dial(t.Context(), addr, PeerID{Kind: KindPSK, ID: testIdentity})
				var failed *HandshakeError
				require.ErrorAs(t, err, &failed)
				require.Equal(t, tt.client, failed.Outcome)
				<-time.After(time.Minute)
				require.EqualValues(t, 1, server.Stats().Handshakes[tt.server])
			})
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			client, _ := startOn(t, &Config{PSK: testPSK, Handler: newRecorder(false)}, (&simnet.Net{}).Listen(clientAddr))
			_, err := client.Dial(t.Context(), netip.MustParseAddrPort(serverAddr), PeerID{Kind: KindPSK, ID: testIdentity})
			var failed *HandshakeError
			require.ErrorAs(t, err, &failed)
			require.Equal(t, OutcomeTimeout, failed.Outcome)
		})
	})
}
