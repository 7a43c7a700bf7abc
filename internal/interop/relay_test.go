//go:build interop

package interop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Content types of records: with data (RFC 6347, Section 4.1), and of any kind with a Connection ID (RFC 9146, Section 3).
const (
	typeData = 23
	typeCID  = 25
)

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
	count    [2]int       // of records with data since lose: down, up
	loses    [2]int       // which one of them is lost; 0: none
	lost     chan struct{}
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
		back, lost := r.back, r.losesLocked(buf[:n], 1)
		r.mu.Unlock()
		if !lost {
			_, _ = back.Write(buf[:n]) // it may have been closed, or nobody listens yet: lost, as a network loses
		}
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
		client, lost := r.client, err == nil && r.losesLocked(buf[:n], 0)
		r.mu.Unlock()
		switch {
		case lost:
		case err == nil:
			_, _ = r.front.WriteToUDPAddrPort(buf[:n], client)
		case gone || errors.Is(err, net.ErrClosed):
			return
		}
	}
}

// lose has the relay lose one datagram with data: the nth from now on that goes up, or down.
func (r *relay) lose(up bool, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count, r.loses, r.lost = [2]int{}, [2]int{}, make(chan struct{})
	if up {
		r.loses[1] = n
	} else {
		r.loses[0] = n
	}
}

func (r *relay) losesLocked(b []byte, way int) bool {
	if len(b) == 0 || b[0] != typeData && b[0] != typeCID || r.loses[way] == 0 {
		return false
	}
	if r.count[way]++; r.count[way] != r.loses[way] {
		return false
	}
	r.loses[way] = 0
	close(r.lost)
	return true
}

// waitLost returns when what is to be lost is lost.
func (r *relay) waitLost(ctx context.Context) error {
	r.mu.Lock()
	lost := r.lost
	r.mu.Unlock()
	select {
	case <-lost:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("nothing was lost: %w", context.Cause(ctx))
	}
}

// withCID reports whether records with a Connection ID went up and down.
func (r *relay) withCID() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.up && r.down
}
