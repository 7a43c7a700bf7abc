package daemon

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Garbage is collected at a size, within bounds of what lives.
func TestCollectAt(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for _, tt := range []struct {
		live    uint64
		percent int
	}{
		{0, 400}, {1, 400}, {4 * mib, 400}, {8 * mib, 200}, {16 * mib, 100}, {32 * mib, 50}, {1 << 40, 50},
	} {
		require.Equal(t, tt.percent, collectAt(tt.live), "%d bytes live", tt.live)
	}
}
