package dtls

import (
	"bytes"
	"net/netip"
	"testing"
	"testing/synctest"

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
