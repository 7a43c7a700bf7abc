package cse_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge"
	"coapbridge/bridge/cse"
	"coapbridge/bridge/onem2m"
)

// flood stands for 100 MB in a script's answer.
const flood = "{100 MB}"

// write sends a script's answer; a client that has hung up on it is expected.
func write(w io.Writer, s string) bool {
	if before, after, is := strings.Cut(s, flood); is {
		for ok, n := write(w, before), 0; n < 100; n++ {
			if ok = ok && write(w, strings.Repeat("x", 1<<20)); !ok {
				return false
			}
		}
		s = after
	}
	_, err := io.WriteString(w, s)
	return err == nil
}

// misbehave answers the request rqi-1 by s and all others well.
func misbehave(s script) script {
	return func(w io.Writer, r received) bool {
		if r.header("X-M2M-RI") == "rqi-1" {
			return s(w, r)
		}
		return write(w, r.good("200 OK", "2000", `{"m2m:ae":{}}`))
	}
}

// hostileAnswer is one thing that a CSE may send, and what Do makes of it.
type hostileAnswer struct {
	name   string
	answer func(r received) string
	open   bool // the server leaves the connection open
	kind   error
	reason cse.Reason
}

// with returns a good answer with old replaced by new.
func with(old, new string) func(received) string {
	return func(r received) string {
		return strings.Replace(r.good("200 OK", "2000", `{"m2m:ae":{}}`), old, new, 1)
	}
}

func hostileAnswers() []hostileAnswer {
	const length = "Content-Length: 13\r\n"
	chunked := func(body string) func(received) string {
		return with(length+"\r\n{\"m2m:ae\":{}}", "Transfer-Encoding: chunked\r\n\r\n"+body)
	}
	bad := bridge.ErrBadAnswer
	return []hostileAnswer{
		{"two lengths", with(length, length+"Content-Length: 14\r\n"), true, bad, cse.ReasonMalformed},
		{"negative length", with(length, "Content-Length: -1\r\n"), true, bad, cse.ReasonMalformed},
		{"100 MB announced", with(length, "Content-Length: 104857600\r\n"), true, bad, cse.ReasonTooLarge},
		{"100 MB without length", func(r received) string {
			return strings.Replace(r.good("200 OK", "2000", ""), "Content-Length: 0\r\n", "Content-Type: application/json\r\n", 1) + flood
		}, false, bad, cse.ReasonTooLarge},
		{"100 MB of header", with(length, "X-Y: "+flood), false, bad, cse.ReasonTooLarge},
		{"header without end", with(length, strings.Repeat("X-Y: z\r\n", 10_000)), true, bad, cse.ReasonTooLarge},
		{"1xx without end", func(received) string { return strings.Repeat("HTTP/1.1 103 x\r\n\r\n", 1000) }, true, bad, cse.ReasonRedirect},
		{"bare LF in a chunk's line", chunked("d\n{\"m2m:ae\":{}}\r\n0\r\n\r\n"), true, bad, cse.ReasonMalformed},
		{"chunk's length is wrong", chunked("c\r\n{\"m2m:ae\":{}}\r\n0\r\n\r\n"), true, bad, cse.ReasonMalformed},
		{"endless chunk extensions", chunked(strings.Repeat("1;"+strings.Repeat("x", 3000)+"\r\nx\r\n", 1000)), false, bad, cse.ReasonMalformed},
		{"header folded over CR LF", with("\r\nX-M2M-RVI", "\r\n evil: 1\r\nX-M2M-RVI"), true, bad, cse.ReasonPrimitive},
		{"CR in a header", with("X-M2M-RVI: 3", "X-M2M-RVI: 3\rX: y"), true, bad, cse.ReasonMalformed},
		{"NUL in a header", with("X-M2M-RVI: 3", "X-M2M-RVI: 3\x00"), true, bad, cse.ReasonMalformed},
		{"foreign Request Identifier", with("X-M2M-RI: rqi-1", "X-M2M-RI: rqi-2"), true, bad, cse.ReasonPrimitive},
		{"no Request Identifier", with("X-M2M-RI: rqi-1\r\n", ""), true, bad, cse.ReasonRequestID},
		{"two Request Identifiers", with("X-M2M-RI", "X-M2M-RI: rqi-2\r\nX-M2M-RI"), true, bad, cse.ReasonPrimitive},
		{"RSC is no number", with("RSC: 2000", "RSC: 2000x"), true, bad, cse.ReasonPrimitive},
		{"release version", with("RVI: 3", "RVI: <script>"), true, bad, cse.ReasonVersion},
		{"media type", with("application/json", "text/html"), true, bad, cse.ReasonPrimitive},
		{"redirect", with("200 OK", "302 Found\r\nLocation: https://127.0.0.1:1/"), true, bad, cse.ReasonRedirect},
		{"not modified, unasked", with("200 OK", "304 Not Modified"), true, bad, cse.ReasonRedirect},
		{"upgrade", with("200 OK", "101 Switching Protocols\r\nUpgrade: x"), true, bad, cse.ReasonRedirect},
		{"not HTTP", func(received) string { return "SSH-2.0-x\r\n\r\n" }, true, bad, cse.ReasonMalformed},
		{"HTTP/2", with("HTTP/1.1", "HTTP/2.0"), true, bad, cse.ReasonMalformed},
		{"a second answer behind the first", func(r received) string {
			return r.good("200 OK", "2000", "{}") + r.good("200 OK", "2000", "{}")
		}, true, bad, cse.ReasonSurplus},
		{"cut in the header", func(received) string { return "HTTP/1.1 200 OK\r\nX-M2M-RSC: 2000\r\n" }, false, bad, cse.ReasonTruncated},
		{"cut in the content", with(`{}}`, ""), false, bad, cse.ReasonTruncated},
		{"cut before the answer", func(received) string { return "" }, false, bridge.ErrTimeout, cse.ReasonBroken},
		{"silence", func(received) string { return "" }, true, bridge.ErrTimeout, cse.ReasonTimeout},
		{"silence within the header", func(received) string { return "HTTP/1.1 200 OK\r\n" }, true, bridge.ErrTimeout, cse.ReasonTimeout},
		{"silence within the content", with(`{}}`, ""), true, bridge.ErrTimeout, cse.ReasonTimeout},
	}
}

// TestW02HostileAnswers: whatever the CSE sends is a mapped error by the deadline, nothing of it gets into the error's
// text, and the next request works.
func TestW02HostileAnswers(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	for _, tt := range hostileAnswers() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			srv := newRawServer(t, p.serverTLS(), misbehave(func(w io.Writer, r received) bool {
				return write(w, tt.answer(r)) && tt.open
			}))
			c := newClient(t, p, srv.url, nil)
			_, err := do(t, c, create("rqi-0")) // so that no handshake eats up the deadline
			require.NoError(t, err)
			limit := patience
			if tt.reason == cse.ReasonTimeout {
				limit = 200 * time.Millisecond
			}
			start := time.Now()
			_, err = c.Do(within(t, limit), bridge.Upstream{}, create("rqi-1"))
			requireFailure(t, err, tt.kind, tt.reason)
			require.NotErrorIs(t, err, bridge.ErrUnreachable, "it may have been executed")
			require.Less(t, time.Since(start), limit+5*time.Second)
			for _, secret := range []string{"m2m:ae", "X-M2M", "SSH", "evil", "script", "xxx"} {
				require.NotContains(t, err.Error(), secret, "S46")
			}

			resp, err := do(t, c, create("rqi-3"))
			require.NoError(t, err)
			require.Equal(t, onem2m.StatusOK, resp.Status)
			seen := srv.seen()
			require.Len(t, seen, 3, "nothing is sent twice")
			require.Equal(t, 1, seen[1].connection)
			require.Equal(t, 2, seen[2].connection, "on a new connection, for the old one can't be trusted")
		})
	}
}

// TestAnswersOfOtherThanCSEs: without X-M2M-RSC the HTTP status counts, and without an answer's content none is made up.
func TestAnswersOfOtherThanCSEs(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	for _, tt := range []struct {
		name, answer string
		want         onem2m.StatusCode
		content      string
	}{
		{"proxy's 502", "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>", 5107, ""},
		{"404 without RSC", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 4004, ""},
		{"interim answer first", "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n", 4004, ""},
		{"RSC against the status", "HTTP/1.1 200 OK\r\nX-M2M-RSC: 4103\r\nX-M2M-RI: r\r\nContent-Length: 0\r\n\r\n", 4103, ""},
		{"any case of names", "HTTP/1.1 200 OK\r\nx-m2m-rsc: 2002\r\nX-M2M-ri: r\r\ncontent-length: 0\r\n\r\n", 2002, ""},
		{"chunks", "HTTP/1.1 200 OK\r\nX-M2M-RSC: 2002\r\nX-M2M-RI: r\r\nContent-Type: application/json\r\n" +
			"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", 2002, "{}"},
		{"until the end", "HTTP/1.0 200 OK\r\nX-M2M-RSC: 2002\r\nX-M2M-RI: r\r\nContent-Type: application/json\r\n\r\n{}", 2002, "{}"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			srv := newRawServer(t, p.serverTLS(), func(w io.Writer, _ received) bool {
				return write(w, tt.answer) && !strings.Contains(tt.answer, "1.0")
			})
			c := newClient(t, p, srv.url, nil)
			r := retrieve("r")
			r.Operation = onem2m.Delete
			for range 2 {
				resp, err := do(t, c, r)
				require.NoError(t, err)
				require.Equal(t, tt.want, resp.Status)
				require.Equal(t, tt.content, string(resp.Content))
				require.Equal(t, "r", resp.RequestID)
			}
		})
	}
}

// TestW02SuccessOfAnother: what stands before a CSE may answer 200 to anything; a device must not take that for its
// request's success.
func TestW02SuccessOfAnother(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	for _, answer := range []string{
		"HTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
		"HTTP/1.1 201 Created\r\nX-M2M-RI: r\r\nContent-Length: 0\r\n\r\n",
	} {
		srv := newRawServer(t, p.serverTLS(), func(w io.Writer, _ received) bool { return write(w, answer) })
		_, err := do(t, newClient(t, p, srv.url, nil), retrieve("r"))
		requireFailure(t, err, bridge.ErrBadAnswer, cse.ReasonPrimitive)
	}
}

// TestW02DripUntilDeadline: an answer of a byte now and then lasts as long as the deadline, not longer.
func TestW02DripUntilDeadline(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	srv := newRawServer(t, p.serverTLS(), misbehave(func(w io.Writer, r received) bool {
		for _, b := range r.good("200 OK", "2000", strings.Repeat("x", 1000)) {
			select {
			case <-done:
				return false
			case <-time.After(10 * time.Millisecond):
			}
			if !write(w, string(b)) {
				return false
			}
		}
		return true
	}))
	c := newClient(t, p, srv.url, nil)
	_, err := do(t, c, create("rqi-0"))
	require.NoError(t, err)
	start := time.Now()
	_, err = c.Do(within(t, 300*time.Millisecond), bridge.Upstream{}, create("rqi-1"))
	requireFailure(t, err, bridge.ErrTimeout, cse.ReasonTimeout)
	require.Less(t, time.Since(start), 5*time.Second)
	_, err = do(t, c, create("rqi-2"))
	require.NoError(t, err)
}

// TestTimeoutBeforeSending: a request that never left is unreachable, not timed out: it was certainly not executed.
func TestTimeoutBeforeSending(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	release := make(chan struct{})
	taken := make(chan struct{}, 1)
	srv := newRawServer(t, p.serverTLS(), func(w io.Writer, r received) bool {
		taken <- struct{}{}
		<-release
		return write(w, r.good("200 OK", "2000", ""))
	})
	t.Cleanup(func() { close(release) }) // before the server's, which waits for the script
	c := newClient(t, p, srv.url, func(conf *cse.CSE) { conf.MaxConns = 1 })
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := c.Do(ctx, bridge.Upstream{}, create("first"))
		first <- err
	}()
	<-taken
	_, err := c.Do(within(t, 50*time.Millisecond), bridge.Upstream{}, create("second"))
	requireFailure(t, err, bridge.ErrUnreachable, cse.ReasonBusy)
	require.Len(t, srv.seen(), 1)
	cancel()
	err = <-first
	requireFailure(t, err, bridge.ErrTimeout, cse.ReasonCancelled)
	require.ErrorIs(t, err, context.Canceled)
	_, err = c.Do(ctx, bridge.Upstream{}, create("third"))
	requireFailure(t, err, bridge.ErrUnreachable, cse.ReasonClosed)
	require.Len(t, srv.seen(), 1)
}

// TestCloseCutsRequests: Close ends a request under way, and later ones don't leave.
func TestCloseCutsRequests(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	release := make(chan struct{})
	taken := make(chan struct{}, 1)
	srv := newRawServer(t, p.serverTLS(), func(io.Writer, received) bool {
		taken <- struct{}{}
		<-release
		return false
	})
	t.Cleanup(func() { close(release) }) // before the server's, which waits for the script
	c := newClient(t, p, srv.url, nil)
	first := make(chan error, 1)
	go func() {
		_, err := c.Do(t.Context(), bridge.Upstream{}, create("first"))
		first <- err
	}()
	<-taken
	require.NoError(t, c.Close())
	requireFailure(t, <-first, bridge.ErrTimeout, cse.ReasonBroken)
	_, err := do(t, c, create("second"))
	requireFailure(t, err, bridge.ErrUnreachable, cse.ReasonClosed)
}
