package bridge

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/coap"
)

// TestTimings: docs/operations.md tells operators these numbers.
func TestTimings(t *testing.T) {
	t.Parallel()
	require.Equal(t, coap.Profile{MaxBody: 7}, TimingDefault.profile(7), "RFC 7252's own")
	cases := []struct {
		timing   Timing
		givenUp  time.Duration // MAX_TRANSMIT_WAIT, RFC 7252, Section 4.8.2
		patience time.Duration
	}{
		{TimingLAN, 46500 * time.Millisecond, 20 * time.Second},
		{TimingNBIoT, 225 * time.Second, time.Minute},
		{TimingSatellite, 630 * time.Second, 5 * time.Minute},
	}
	for _, c := range cases {
		p := c.timing.profile(7)
		require.Equal(t, 7, p.MaxBody)
		require.GreaterOrEqual(t, p.AckTimeout, time.Second, "RFC 7252, Section 4.8.1")
		require.Equal(t, c.givenUp, p.AckTimeout*3/2*(2<<p.MaxRetransmit-1))
		require.Equal(t, c.patience, c.timing.patience(20*time.Second))
		flight, whole := c.timing.Handshake()
		require.Equal(t, flight == 0, whole == 0)
		require.GreaterOrEqual(t, whole, 7*flight, "a flight can be lost twice")
	}
	require.Equal(t, 5*time.Minute, MaxPatience(20*time.Second))
	require.Equal(t, time.Hour, MaxPatience(time.Hour))
}
