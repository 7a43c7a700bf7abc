package coap

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReasonLabels: every reason has a label of its own, fit for a metric.
func TestReasonLabels(t *testing.T) {
	t.Parallel()
	label := regexp.MustCompile(`^[a-z_]+$`)
	seen := make(map[string]bool)
	for _, r := range Reasons() {
		require.Regexp(t, label, r.String())
		require.False(t, seen[r.String()], "%s twice", r)
		require.NotEqual(t, "unknown", r.String())
		seen[r.String()] = true
	}
	require.Len(t, seen, int(reasons))
	require.Equal(t, "unknown", reasons.String())
}

func TestNames(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]string{
		"CON": Confirmable.String(), "NON": NonConfirmable.String(), "ACK": Acknowledgement.String(), "RST": Reset.String(),
		"Type(4)": Type(4).String(), "4.04": NotFound.String(), "2.31": Continue.String(), "0.01": GET.String(),
		"5.08": HopLimitReached.String(), "4.00": BadRequest.String(),
	} {
		require.Equal(t, want, got)
	}
	require.True(t, GET.IsRequest())
	require.False(t, Empty.IsRequest())
	require.True(t, Content.IsResponse())
	require.False(t, Code(3<<5).IsResponse())
}
