package record

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// model is RFC 6347, Section 4.1.2.6 in the plainest way: everything that came, and the greatest.
type model struct {
	came map[uint64]bool
	top  uint64
}

func (m *model) check(seq uint64) Verdict {
	switch {
	case m.came[seq] && seq+windowWidth > m.top:
		return Replayed
	case seq+windowWidth <= m.top:
		return TooOld
	}
	return Fresh
}

func (m *model) mark(seq uint64) bool {
	newest := len(m.came) == 0 || seq > m.top
	if m.came == nil {
		m.came = map[uint64]bool{}
	}
	m.came[seq], m.top = true, max(m.top, seq)
	return newest
}

// checkWindow compares window and model over numbers, of which every seventh isn't marked, as if it had not opened.
func checkWindow(t *testing.T, numbers []uint64) {
	t.Helper()
	var w Window
	var m model
	for i, seq := range numbers {
		seq &= MaxSeq
		want := m.check(seq)
		require.Equal(t, want, w.Check(seq), "%d, after %d", seq, m.top)
		if i%7 == 6 {
			continue
		}
		if want != Fresh {
			before := w
			require.False(t, w.Mark(seq))
			require.Equal(t, before, w, "marked once more, or below the window")
			continue
		}
		require.Equal(t, m.mark(seq), w.Mark(seq), "newest of %d", seq)
	}
}

func TestD01WindowAgainstModel(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		numbers := make([]uint64, 300)
		at := rnd.Uint64N(200)
		for i := range numbers {
			at += rnd.Uint64N(6)
			if rnd.IntN(40) == 0 {
				at += rnd.Uint64N(400)
			}
			numbers[i] = at - min(at, rnd.Uint64N(160))
		}
		checkWindow(t, numbers)
	}
}

func TestD01Window(t *testing.T) {
	t.Parallel()
	var w Window
	require.Equal(t, Fresh, w.Check(0))
	require.True(t, w.Mark(0))
	require.Equal(t, Replayed, w.Check(0))
	require.False(t, w.Mark(0))
	require.True(t, w.Mark(127))
	require.Equal(t, Replayed, w.Check(0), "128 wide")
	require.Equal(t, Fresh, w.Check(1))
	require.True(t, w.Mark(128))
	require.Equal(t, TooOld, w.Check(0))
	require.Equal(t, Replayed, w.Check(128))
	require.False(t, w.Mark(1))
	require.Equal(t, Replayed, w.Check(1))
	require.True(t, w.Mark(MaxSeq))
	require.Equal(t, TooOld, w.Check(128))
	require.Equal(t, Fresh, w.Check(MaxSeq-127))
	require.Equal(t, TooOld, w.Check(MaxSeq-128))
	require.Equal(t, []string{"fresh", "replayed", "too old"}, []string{Fresh.String(), Replayed.String(), TooOld.String()})
}

// TestD02ForgedNumber: looking a number up leaves no trace; a forged record of a far higher one shuts nobody out.
func TestD02ForgedNumber(t *testing.T) {
	t.Parallel()
	c := NewCipher(testKey(AES128CCM8))
	var w Window
	for seq := range uint64(300) {
		datagram := c.Seal(nil, TypeApplicationData, 1, seq, nil, []byte("honest"))
		forged := append([]byte{}, datagram...)
		forged[5] = 0xff // the number's most significant byte
		for _, d := range [][]byte{forged, datagram} {
			r, _, ok := Parse(d, 0)
			require.True(t, ok)
			require.Equal(t, Fresh, w.Check(r.Seq))
			_, plaintext, ok := c.Open(r)
			require.Equal(t, r.Seq == seq, ok)
			if ok {
				require.Equal(t, "honest", string(plaintext))
				require.True(t, w.Mark(r.Seq))
			}
		}
	}
}
