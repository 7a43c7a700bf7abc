package handshake

import (
	"crypto/elliptic"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEverySuite(t *testing.T) {
	t.Parallel()
	for _, s := range Suites() {
		for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384()} {
			t.Run(s.Name+curve.Params().Name, func(t *testing.T) {
				t.Parallel()
				mine, theirs := newSides(t, curve)
				server := &front{conf: bothKinds(), cb: theirs}
				client := NewClient(only(s), mine, Timers{}, paramsFor(s), start0)
				shake(client, server, start0)
				c, r := requireSame(t, client, server.m)
				require.Equal(t, s, c.Suite)
				require.True(t, c.EMS && r.EMS)
				require.Equal(t, testName, r.ServerName)
				require.Equal(t, testName, theirs.name)
				if s.PSK {
					require.Equal(t, testIdentity, r.Identity)
					return
				}
				require.True(t, c.Asked)
				require.Equal(t, mine.chain, r.Chain)
				require.Equal(t, theirs.chain, c.Chain)
			})
		}
	}
}
