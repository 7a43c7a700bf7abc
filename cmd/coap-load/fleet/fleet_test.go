package fleet

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAddresses shows that a server sees each client at an address of its own, and that its answers find the way back.
func TestAddresses(t *testing.T) {
	t.Parallel()
	server, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	var reading sync.WaitGroup
	t.Cleanup(reading.Wait)
	t.Cleanup(func() { _ = server.Close() })
	reading.Go(func() {
		b := make([]byte, 100)
		for {
			_, from, err := server.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			_, _ = server.WriteToUDPAddrPort([]byte(from.Addr().Unmap().String()), from)
		}
	})
	f, err := Open(server.LocalAddr().(*net.UDPAddr).AddrPort(), 1)
	require.NoError(t, err)
	type arrival struct {
		at   Path
		text string
	}
	came := make(chan arrival, 1000)
	reading.Go(func() {
		f.Serve(context.Background(), func(_ *Batch, from Path, b []byte) { came <- arrival{from, string(b)} })
	})
	defer f.Close()

	want := map[Path]bool{}
	out := f.NewBatch()
	for i := range 300 {
		p := f.Path(i * 1000)
		if i%3 == 0 {
			p, err = f.Elsewhere(i)
			require.NoError(t, err)
		}
		require.False(t, want[p], "all addresses differ")
		want[p] = true
		out.Add(p, []byte("hello"))
		if i%30 < 29 { // no more at a time than the server's socket holds
			continue
		}
		out.Flush()
		for range 30 {
			a := <-came
			require.True(t, want[a.at])
			require.Equal(t, netip.AddrFrom4(a.at.source).String(), a.text)
		}
	}
	sent, received, failed := f.Counts()
	require.Equal(t, []uint64{300, 300, 0}, []uint64{sent, received, failed})
}

func TestPaths(t *testing.T) {
	t.Parallel()
	f := &Fleet{spread: true}
	require.Equal(t, "127.1.0.1#0", f.Path(0).String())
	require.Equal(t, "127.1.0.254#0", f.Path(253).String())
	require.Equal(t, "127.1.1.1#0", f.Path(254).String())
	require.Equal(t, "127.2.0.1#0", f.Path(254*256).String())
	other, err := f.Elsewhere(0)
	require.NoError(t, err)
	require.Equal(t, "127.129.0.1#0", other.String())

	_, err = Open(netip.MustParseAddrPort("[::1]:5684"), 1)
	require.Error(t, err)
	far := &Fleet{sockets: make([]*socket, 3)}
	require.Equal(t, Path{socket: 1}, far.Path(4))
	_, err = far.Elsewhere(0)
	require.Error(t, err)
}
