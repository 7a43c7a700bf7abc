package simnet_test

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/internal/simnet"
)

func TestWireDropsAndRepeats(t *testing.T) {
	t.Parallel()
	n := &simnet.Net{Wire: func(p simnet.Packet) []simnet.Packet {
		if string(p.Data) == "lost" {
			return nil
		}
		return []simnet.Packet{p, p}
	}}
	a, b := n.Listen("192.0.2.1:1"), n.Listen("192.0.2.2:2")
	for _, s := range []string{"lost", "twice"} {
		_, err := a.WriteTo([]byte(s), b.LocalAddr())
		require.NoError(t, err)
	}
	buf := make([]byte, 10)
	for range 2 {
		got, from, err := b.ReadFrom(buf)
		require.NoError(t, err)
		require.Equal(t, "twice", string(buf[:got]))
		require.Equal(t, a.LocalAddr().String(), from.String())
	}
	require.True(t, n.Inject(simnet.Packet{From: netip.MustParseAddrPort("198.51.100.1:9"), To: netip.MustParseAddrPort("192.0.2.2:2")}))
	require.False(t, n.Inject(simnet.Packet{To: netip.MustParseAddrPort("192.0.2.3:3")}), "nobody is there")
}

func TestReadEndsAtDeadlineAndClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := (&simnet.Net{}).Listen("192.0.2.1:1")
		require.NoError(t, s.SetReadDeadline(time.Now().Add(time.Minute)))
		start := time.Now()
		_, _, err := s.ReadFrom(nil)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, time.Minute, time.Since(start))
		require.NoError(t, s.SetDeadline(time.Time{}))
		go func() { _ = s.Close() }()
		_, _, err = s.ReadFrom(nil)
		require.ErrorIs(t, err, net.ErrClosed)
		_, err = s.WriteTo(nil, s.LocalAddr())
		require.ErrorIs(t, err, net.ErrClosed)
	})
}
