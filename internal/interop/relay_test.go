//go:build interop

package interop

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// typeCID is the content type of a record with a Connection ID (RFC 9146, Section 3).
const typeCID = 25

// relay stands between a client and its server, as a NAT does. It sees whether Connection IDs are used, and can give the
// client another address.
type relay struct {
	addr  netip.AddrPort // where the client writes to
	to    netip.AddrPort // the server
	front *net.UDPConn
	loops sync.WaitGroup

	mu       sync.Mutex // guards the following fields
	client   netip.AddrPort
	back     *net.UDPConn // the client as the server sees it
	up, down bool         // records with a Connection ID went there
}

func startRelay(t *testing.T, to netip.AddrPort) *relay {
	t.Helper()
	front, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	r := &relay{addr: front.LocalAddr().(*net.UDPAddr).AddrPort(), to: to, front: front}
	require.NoError(t, r.move())
	r.loops.Go(r.forward)
	t.Cleanup(func() {
		_ = front.Close()
		r.mu.Lock()
		_ = r.back.Close()
		r.mu.Unlock()
		r.loops.Wait()
	})
	return r
}

// move gives the client another address. What is under way to the old one is lost.
func (r *relay) move() error {
	back, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(r.to))
	if err != nil {
		return err
	}
	r.mu.Lock()
	old := r.back
	r.back = back
	r.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
	r.loops.Go(func() { r.answer(back) })
	return nil
}

// forward carries what the client sends.
func (r *relay) forward() {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := r.front.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.client, r.up = from, r.up || n > 0 && buf[0] == typeCID
		back := r.back
		r.mu.Unlock()
		_, _ = back.Write(buf[:n]) // it may have been closed, or nobody listens yet: lost, as a network loses
	}
}

// answer carries what the server sends to one of the client's addresses.
func (r *relay) answer(back *net.UDPConn) {
	buf := make([]byte, 1<<16)
	for {
		n, err := back.Read(buf)
		r.mu.Lock()
		gone := r.back != back
		if err == nil {
			r.down = r.down || n > 0 && buf[0] == typeCID
		}
		client := r.client
		r.mu.Unlock()
		switch {
		case err == nil:
			_, _ = r.front.WriteToUDPAddrPort(buf[:n], client)
		case gone || errors.Is(err, net.ErrClosed):
			return
		}
	}
}

// withCID reports whether records with a Connection ID went up and down.
func (r *relay) withCID() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.up && r.down
}
