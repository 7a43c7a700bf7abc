package cse_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/cse"
	"coapbridge/bridge/onem2m"
)

// hostileRequest is one thing that a listed CSE may send, and what becomes of it.
type hostileRequest struct {
	name, bytes string
	status      int // 0: the connection ends without an answer
	reason      cse.DownlinkReason
}

func hostileRequests() []hostileRequest {
	good := notification("/"+token, "evil")
	const length = "Content-Length: 23\r\n"
	body := `{"m2m:sgn":{"sur":"x"}}`
	with := func(old, new string) string {
		if !strings.Contains(good, old) {
			panic("the request has no " + old)
		}
		return strings.Replace(good, old, new, 1)
	}
	chunked := func(chunks string) string {
		return with(length+"\r\n"+body, "Transfer-Encoding: chunked\r\n\r\n"+chunks)
	}
	malformed, large := cse.DownlinkMalformed, cse.DownlinkTooLarge
	return []hostileRequest{
		{"two lengths", with(length, length+"Content-Length: 24\r\n"), 400, malformed},
		{"two equal lengths", with(length, length+length), 400, malformed},
		{"a list of lengths", with(length, "Content-Length: 23, 23\r\n"), 400, malformed},
		{"negative length", with(length, "Content-Length: -1\r\n"), 400, malformed},
		{"signed length", with(length, "Content-Length: +23\r\n"), 400, malformed},
		{"length and chunks", with(length, length+"Transfer-Encoding: chunked\r\n"), 400, malformed},
		{"length and an unknown coding", with(length, length+"Transfer-Encoding: x\r\n"), 400, malformed},
		{"an unknown coding", with(length, "Transfer-Encoding: gzip, chunked\r\n"), 400, malformed},
		{"chunks in HTTP/1.0", strings.Replace(chunked("0\r\n\r\n"), "HTTP/1.1", "HTTP/1.0", 1), 400, malformed},
		{"blank before the colon", with("Content-Length:", "Content-Length :"), 400, malformed},
		{"bare LF ends the head", strings.ReplaceAll(good, "\r\n", "\n"), 400, malformed},
		{"bare LF in the head", with("X-M2M-RVI: 3\r\n", "X-M2M-RVI: 3\n"), 400, malformed},
		{"CR LF in a header", with("X-M2M-RVI: 3", "X-M2M-RVI: 3\r\n evil"), 400, malformed},
		{"header folded", with("X-M2M-RVI: 3", "X-M2M-RVI:\r\n\t3"), 400, malformed},
		{"CR in a header", with("X-M2M-RVI: 3", "X-M2M-RVI: 3\rX: y"), 400, malformed},
		{"NUL in a header", with("X-M2M-RVI: 3", "X-M2M-RVI: 3\x00"), 400, malformed},
		{"line without a colon", with("X-M2M-RVI: 3", "X-M2M-RVI 3"), 400, malformed},
		{"two hosts", with("Host", "Host: other\r\nHost"), 400, malformed},
		{"no target", with(" /"+token, ""), 400, malformed},
		{"blank in the target", with("/"+token, "/a b"), 400, malformed},
		{"not HTTP", "SSH-2.0-x\r\n\r\n", 400, malformed},
		{"empty lines", "\r\n\r\n", 400, malformed},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\n", 505, cse.DownlinkHTTP},
		{"CONNECT", "CONNECT gateway:1 HTTP/1.1\r\n\r\n", 405, cse.DownlinkHTTP},
		{"expectation", with("X-M2M-RVI", "Expect: miracle\r\nX-M2M-RVI"), 417, cse.DownlinkHTTP},
		{"bare LF in a chunk's line", chunked("17\n" + body + "\r\n0\r\n\r\n"), 400, malformed},
		{"chunk's length is wrong", chunked("16\r\n" + body + "\r\n0\r\n\r\n"), 400, malformed},
		{"endless chunk extensions", chunked(strings.Repeat("1;"+strings.Repeat("x", 3000)+"\r\nx\r\n", 1000)), 400, malformed},
		{"100 MB announced", with(length, "Content-Length: 104857600\r\n"), 413, large},
		{"100 MB of chunks", chunked("6400000\r\n" + flood), 413, large},
		{"100 MB of header", with(length, "X-Y: "+flood), 431, large},
		{"100 MB of request line", "POST /" + flood, 431, large},
		{"many headers", with(length, strings.Repeat("X-Y: z\r\n", 10_000)), 431, large},
	}
}

// TestW03HostileRequests: whatever a listed CSE sends ends its connection at worst. It is counted, never delivered, and what
// stands behind it on the connection is no request; another CSE's connection goes on.
func TestW03HostileRequests(t *testing.T) {
	t.Parallel()
	d := startDownlink(t, newPKI(t), nil, nil)
	witness := d.connect(t, d.foreign)
	require.Equal(t, "4004", witness.ask(t, notification("/x", "r")).rsc())
	counts := make(map[cse.DownlinkReason]int)
	for n, tt := range hostileRequests() {
		c := d.connect(t, d.up)
		require.Equal(t, "2000", c.ask(t, notification("/"+token, "honest")).rsc(), tt.name)
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			c.say(tt.bytes + notification("/"+token, "smuggled"))
		}()
		a, err := c.listen()
		if err == nil { // a reset may take the answer away from who sends 100 MB and doesn't listen
			require.Equal(t, tt.status, a.StatusCode, tt.name)
			require.True(t, a.Close, tt.name)
			require.Empty(t, a.body, tt.name)
		} else {
			require.Contains(t, tt.bytes, flood, tt.name)
		}
		c.closed(t)
		_ = c.Close()
		<-sent
		counts[tt.reason]++
		require.Equal(t, counts[tt.reason], d.refused(tt.reason), tt.name)
		require.Len(t, d.device.requests(), n+2, "%s: the honest ones and the witness's first alone", tt.name)
	}
	require.Equal(t, "4004", witness.ask(t, notification("/x", "r")).rsc(), "on the connection from before")
}

// TestW03Cut: a connection that ends within a request is no request.
func TestW03Cut(t *testing.T) {
	t.Parallel()
	d := startDownlink(t, newPKI(t), nil, nil)
	whole := notification("/"+token, "cut")
	for n, length := range []int{1, 20, len(whole) - 24, len(whole) - 1} {
		c := d.connect(t, d.up)
		c.say(whole[:length])
		require.NoError(t, c.CloseWrite())
		c.closed(t)
		require.Equal(t, n+1, d.refused(cse.DownlinkTruncated))
	}
	require.Empty(t, d.device.requests())
}

// TestW03SlowDrip: a request of a byte now and then, in head or content, ends by its deadline, however it goes on; so do a
// handshake and an answer that nobody reads.
func TestW03SlowDrip(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, at string // bytes that are sent at once
		status   int
		within   time.Duration
	}{
		{"head", "P", 408, 10 * time.Second},
		{"content", "POST /" + token + " HTTP/1.1\r\nX-M2M-RI: r\r\nContent-Length: 1000\r\n\r\n", 408, 20 * time.Second},
		{"chunks", "POST /" + token + " HTTP/1.1\r\nX-M2M-RI: r\r\nTransfer-Encoding: chunked\r\n\r\n", 408, 20 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := startDownlink(t, newPKI(t), newPipeListener(), nil)
				c := d.connect(t, d.up)
				start := time.Now()
				var drip sync.WaitGroup
				drip.Go(func() {
					for ok := write(c, tt.at); ok; ok = write(c, "1") {
						<-time.After(time.Second)
					}
				})
				a := c.hear(t)
				require.Equal(t, tt.status, a.StatusCode)
				require.LessOrEqual(t, time.Since(start), tt.within)
				require.Equal(t, 1, d.refused(cse.DownlinkSlow))
				_ = c.raw.Close()
				drip.Wait()
			})
		})
	}
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			d := startDownlink(t, newPKI(t), newPipeListener(), nil)
			c := d.connect(t, d.up)
			start := time.Now()
			_, err := c.r.ReadByte()
			require.Error(t, err)
			require.Equal(t, 2*time.Minute, time.Since(start))
			require.Empty(t, d.Stats().Refused, "nothing wrong with it")
		})
	})
	t.Run("handshake", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			d := startDownlink(t, newPKI(t), newPipeListener(), nil)
			raw, err := d.dial()
			require.NoError(t, err)
			start := time.Now()
			_, err = raw.Read(make([]byte, 1))
			require.Error(t, err)
			require.Equal(t, 5*time.Second, time.Since(start))
			synctest.Wait()
			require.Equal(t, 1, d.refused(cse.DownlinkHandshake))
			require.Zero(t, d.Stats().Handshaking)
		})
	})
	t.Run("answer", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			d := startDownlink(t, newPKI(t), newPipeListener(), nil)
			c := d.connect(t, d.up)
			c.say(notification("/"+token, "r"))
			<-time.After(11 * time.Second) // of which the answer waits for a reader in vain
			synctest.Wait()
			require.Zero(t, d.Stats().CSEs[0].Open)
			_ = c.raw.Close()
		})
	})
}

// TestW03Pipelining: requests that come before the answers are served in their order, one at a time.
func TestW03Pipelining(t *testing.T) {
	t.Parallel()
	d := startDownlink(t, newPKI(t), nil, nil)
	now := make(chan struct{}, 1)
	d.device.answer = func(context.Context, *onem2m.Request) (*onem2m.Response, error) {
		select {
		case now <- struct{}{}:
		default:
			return nil, net.ErrClosed
		}
		<-now
		return &onem2m.Response{Status: onem2m.StatusOK}, nil
	}
	c := d.connect(t, d.up)
	var all strings.Builder
	const many = 500 // 100 KB: more than the reader holds
	for n := range many {
		target := "/" + token
		if n%2 == 1 {
			target = target[1:] // as tinyIoT: the slash goes in without loss of what stands behind
		}
		all.WriteString(notification(target, fmt.Sprint(n)))
	}
	go c.say(all.String())
	for n := range many {
		a := c.hear(t)
		require.Equal(t, "2000", a.rsc())
		require.Equal(t, fmt.Sprint(n), a.Header.Get("X-M2M-RI"))
	}
	require.Len(t, d.device.requests(), many)
}

// TestDownlinkExpects: a client that waits for 100 gets it before it sends (RFC 9110, Section 10.1.1), and not for a content
// that is too large.
func TestDownlinkExpects(t *testing.T) {
	t.Parallel()
	d := startDownlink(t, newPKI(t), nil, nil)
	c := d.connect(t, d.up)
	head, body, _ := strings.Cut(notification("/"+token, "r"), "\r\n\r\n")
	c.say(head + "\r\nExpect: 100-Continue\r\n\r\n")
	line, err := c.r.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 100 Continue\r\n", line)
	_, err = c.r.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "2000", c.ask(t, body).rsc())
	a := c.ask(t, strings.Replace(head, "Content-Length: 23", "Content-Length: 2000000", 1)+"\r\nExpect: 100-continue\r\n\r\n")
	require.Equal(t, 413, a.StatusCode)
	c.closed(t)
}

// TestDownlinkOldHTTP: a proxy may speak HTTP/1.0; its connection ends with the answer.
func TestDownlinkOldHTTP(t *testing.T) {
	t.Parallel()
	d := startDownlink(t, newPKI(t), nil, nil)
	for _, request := range []string{
		strings.Replace(notification("/"+token, "r"), "HTTP/1.1", "HTTP/1.0", 1),
		strings.Replace(notification("/"+token, "r"), "X-M2M-RVI", "Connection: close\r\nX-M2M-RVI", 1),
	} {
		c := d.connect(t, d.up)
		a := c.ask(t, request)
		require.Equal(t, "2000", a.rsc())
		require.True(t, a.Close)
		c.closed(t)
	}
}

// TestW03Shutdown: a request that never comes whole is none that Shutdown waits for.
func TestW03Shutdown(t *testing.T) {
	t.Parallel()
	for name, begun := range map[string]string{
		"head":    "POST /",
		"content": "POST /" + token + " HTTP/1.1\r\nX-M2M-RI: r\r\nContent-Length: 1000\r\n\r\n{",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := startDownlink(t, newPKI(t), newPipeListener(), nil)
				c := d.connect(t, d.up)
				c.say(begun)
				synctest.Wait()
				go c.closed(t)
				start := time.Now()
				require.NoError(t, d.Shutdown(t.Context()))
				require.Less(t, time.Since(start), time.Second)
				require.Empty(t, d.Stats().Refused)
			})
		})
	}
}

// TestW03Floods: connections without end, of strangers and of a listed CSE, are held to limits; another CSE is served.
func TestW03Floods(t *testing.T) {
	t.Parallel()
	d := startDownlink(t, newPKI(t), nil, func(conf *cse.DownlinkConfig) {
		conf.CSEs[0].MaxConns, conf.MaxConns = 4, 8
	})
	var conns []*client
	for range 20 { // each waits, so that the oldest gives way
		c := d.connect(t, d.up)
		require.Equal(t, "2000", c.ask(t, notification("/"+token, "r")).rsc())
		conns = append(conns, c)
		require.LessOrEqual(t, d.Stats().CSEs[0].Open, 4)
	}
	conns[0].closed(t)
	require.Equal(t, "2000", conns[19].ask(t, notification("/"+token, "r")).rsc())

	release := make(chan struct{})
	var begun sync.WaitGroup
	d.device.mu.Lock()
	d.device.answer = func(context.Context, *onem2m.Request) (*onem2m.Response, error) {
		begun.Done()
		<-release
		return &onem2m.Response{Status: onem2m.StatusOK}, nil
	}
	d.device.mu.Unlock()
	begun.Add(4)
	for _, c := range conns { // four are open, the last ones unless the machine is slow
		c.say(notification("/"+token, "held"))
	}
	begun.Wait()
	for range 3 {
		c, err := d.try(d.up)
		if err == nil {
			c.closed(t)
			_ = c.Close()
		}
	}
	require.Equal(t, 3, d.refused(cse.DownlinkFull))
	require.Equal(t, "4004", d.connect(t, d.foreign).ask(t, notification("/x", "r")).rsc(), "the other CSE's places are its own")
	close(release)
	answered := 0
	for _, c := range conns {
		if a, err := c.listen(); err == nil {
			require.Equal(t, "2000", a.rsc())
			answered++
		}
	}
	require.Equal(t, 4, answered)

	var strangers []net.Conn
	for range 100 {
		raw, err := d.dial()
		require.NoError(t, err)
		strangers = append(strangers, raw)
	}
	require.Eventually(t, func() bool { return d.refused(cse.DownlinkFlood) == 100-16 }, patience, time.Millisecond)
	require.Equal(t, 16, d.Stats().Handshaking, "what one address may hold")
	require.Equal(t, "4004", d.connect(t, d.foreign).ask(t, notification("/x", "r")).rsc(), "from the same address")
	for _, raw := range strangers {
		_ = raw.Close()
	}
	require.Eventually(t, func() bool { return d.Stats().Handshaking == 0 }, patience, time.Millisecond)
	require.Equal(t, "4004", d.connect(t, d.foreign).ask(t, notification("/x", "r")).rsc())
}

// TestW03NoStreams: HTTP/2, whose streams could be opened and reset without end, isn't spoken.
func TestW03NoStreams(t *testing.T) {
	t.Parallel()
	d := startDownlink(t, newPKI(t), nil, nil)
	raw, err := d.dial()
	require.NoError(t, err)
	c := tls.Client(raw, &tls.Config{RootCAs: d.roots, ServerName: "127.0.0.1", Certificates: []tls.Certificate{d.up}, NextProtos: []string{"h2"}})
	require.Error(t, c.Handshake())
	_ = raw.Close()
	require.Eventually(t, func() bool { return d.refused(cse.DownlinkHandshake) == 1 }, patience, time.Millisecond)
}
