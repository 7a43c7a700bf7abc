package report

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMarkdown(t *testing.T) {
	t.Parallel()
	table := Table{Header: []string{"figure", "a"}}
	table.Add("µs of one", "1")
	table.Add("short")
	var b strings.Builder
	require.NoError(t, table.Markdown(&b))
	require.Equal(t, "| figure    | a   |\n| --------- | --- |\n| µs of one | 1   |\n| short     |     |\n", b.String())
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	require.Equal(t, "512 B", Bytes(512))
	require.Equal(t, "-1.50 KiB", Bytes(-1536))
	require.Equal(t, "48.0 KiB", Bytes(48<<10))
	require.Equal(t, "212 MiB", Bytes(212<<20))
	require.Equal(t, "0.33", Digits(1.0/3))
	require.Equal(t, "45.7 µs", Micros(45_678))
	require.Equal(t, "31.2ms", Duration(31_234*time.Microsecond))
	require.Equal(t, 2.0, Median([]float64{3, math.NaN(), 1, 2}))
	require.Equal(t, 1.5, Median([]float64{2, 1}))
	require.True(t, math.IsInf(Median([]float64{math.Inf(1), math.Inf(1), 1}), 1))
	require.True(t, math.IsNaN(Median(nil)))
}
