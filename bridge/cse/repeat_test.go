package cse_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge"
	"coapbridge/bridge/cse"
	"coapbridge/bridge/onem2m"
)

// TestNothingIsExecutedTwice: the CSE reads a request and hangs up without a word. Only what may be repeated is, once, on
// a new connection and with the same Request Identifier.
func TestNothingIsExecutedTwice(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	for _, tt := range []struct {
		name         string
		op           onem2m.Operation
		kept         bool // the connection had served before
		deduplicates bool
		sent         int
	}{
		{"CREATE, kept", onem2m.Create, true, false, 1},
		{"UPDATE, kept", onem2m.Update, true, false, 1},
		{"DELETE, kept", onem2m.Delete, true, false, 1},
		{"NOTIFY, kept", onem2m.Notify, true, false, 1},
		{"RETRIEVE, kept", onem2m.Retrieve, true, false, 2},
		{"CREATE, new", onem2m.Create, false, false, 1},
		{"RETRIEVE, new", onem2m.Retrieve, false, false, 1},
		{"CREATE, kept, de-duplicating", onem2m.Create, true, true, 2},
		{"DELETE, new, de-duplicating", onem2m.Delete, false, true, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var hang atomic.Bool
			srv := newRawServer(t, p.serverTLS(), func(w io.Writer, r received) bool {
				if r.header("X-M2M-RI") == "hang" && hang.CompareAndSwap(true, false) {
					return false
				}
				return write(w, r.good("200 OK", "2000", ""))
			})
			c := newClient(t, p, srv.url, func(conf *cse.CSE) { conf.Deduplicates = tt.deduplicates })
			if tt.kept {
				_, err := do(t, c, retrieve("warm"))
				require.NoError(t, err)
			}
			hang.Store(true)
			r := create("hang")
			if r.Operation = tt.op; tt.op != onem2m.Create {
				r.ResourceType = 0
			}
			if tt.op == onem2m.Retrieve || tt.op == onem2m.Delete {
				r.Content, r.MediaType = nil, ""
			}
			_, err := do(t, c, r)
			if tt.sent == 1 {
				requireFailure(t, err, bridge.ErrTimeout, cse.ReasonBroken)
			} else {
				require.NoError(t, err)
			}
			var sent []received
			for _, s := range srv.seen() {
				if s.header("X-M2M-RI") == "hang" {
					sent = append(sent, s)
				}
			}
			require.Len(t, sent, tt.sent)
			require.Equal(t, sent[0].head+sent[0].body, sent[len(sent)-1].head+sent[len(sent)-1].body)
			require.EqualValues(t, tt.sent-1, c.Stats()[0].Repeated)
		})
	}
}

// TestRepeatedOnlyOnce: a CSE that always hangs up gets a RETRIEVE twice, not for ever.
func TestRepeatedOnlyOnce(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	srv := newRawServer(t, p.serverTLS(), func(w io.Writer, r received) bool {
		return r.header("X-M2M-RI") == "warm" && write(w, r.good("200 OK", "2000", ""))
	})
	c := newClient(t, p, srv.url, func(conf *cse.CSE) { conf.Deduplicates = true })
	_, err := do(t, c, retrieve("warm"))
	require.NoError(t, err)
	_, err = do(t, c, retrieve("r"))
	requireFailure(t, err, bridge.ErrTimeout, cse.ReasonBroken)
	require.Len(t, srv.seen(), 3)
}

// TestBrokenWithinAnAnswer: once a byte of the answer came, not even a RETRIEVE is repeated.
func TestBrokenWithinAnAnswer(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	srv := newRawServer(t, p.serverTLS(), func(w io.Writer, r received) bool {
		if r.header("X-M2M-RI") == "warm" {
			return write(w, r.good("200 OK", "2000", ""))
		}
		write(w, "HTTP/1.1 2")
		return false
	})
	c := newClient(t, p, srv.url, nil)
	_, err := do(t, c, retrieve("warm"))
	require.NoError(t, err)
	_, err = do(t, c, retrieve("r"))
	requireFailure(t, err, bridge.ErrBadAnswer, cse.ReasonTruncated)
	require.Len(t, srv.seen(), 2)
}

// TestKeptConnectionClosedByServer: a server that closes after each answer without announcing it costs no request, since
// the end is seen before the next one leaves.
func TestKeptConnectionClosedByServer(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	closed := make(chan int, 1) // the client's port
	srv := newRawServer(t, p.serverTLS(), func(w io.Writer, r received) bool {
		conn := w.(*tls.Conn)
		write(w, r.good("200 OK", "2000", ""))
		_ = conn.Close()
		closed <- conn.RemoteAddr().(*net.TCPAddr).Port
		return false
	})
	c := newClient(t, p, srv.url, nil)
	for n := range 20 {
		_, err := do(t, c, create(rqi(n)))
		require.NoError(t, err)
		port := <-closed
		require.Eventually(t, func() bool { return heardEnd(t, port) }, patience, time.Millisecond)
	}
	require.Zero(t, c.Stats()[0].Repeated)
	require.Len(t, srv.seen(), 20)
}

// heardEnd reports whether the FIN of the other side has reached the socket of that local port: it is in CLOSE_WAIT, or no
// more there.
func heardEnd(t *testing.T, port int) bool {
	table, err := os.ReadFile("/proc/net/tcp")
	require.NoError(t, err)
	for line := range strings.SplitSeq(string(table), "\n") {
		fields := strings.Fields(line) // sl local_address rem_address st ...
		if len(fields) > 3 && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) {
			return fields[3] == "08"
		}
	}
	return true
}

// TestIdleConnectionsEnd: by IdleTimeout, and before the server's own announced Keep-Alive.
func TestIdleConnectionsEnd(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	srv := newRawServer(t, p.serverTLS(), func(w io.Writer, r received) bool {
		answer := r.good("200 OK", "2000", "")
		if r.header("X-M2M-RI") == "short" {
			answer = answer[:len(answer)-2] + "Keep-Alive: max=5, timeout=1\r\n\r\n"
		}
		return write(w, answer)
	})
	c := newClient(t, p, srv.url, func(conf *cse.CSE) { conf.IdleTimeout = 50 * time.Millisecond })
	_, err := do(t, c, retrieve("r"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return c.Stats()[0].Open == 0 }, patience, 5*time.Millisecond, "without a request's help")
	c = newClient(t, p, srv.url, nil)
	_, err = do(t, c, retrieve("short"))
	require.NoError(t, err)
	require.Zero(t, c.Stats()[0].Open, "a second of Keep-Alive is too little to use the connection again")
}
