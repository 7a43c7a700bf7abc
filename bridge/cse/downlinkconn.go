package cse

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"coapbridge/bridge/onem2m"
)

// downConn is one authenticated connection of a CSE.
type downConn struct {
	tls        *tls.Conn
	raw        net.Conn
	peer       *downPeer
	in         inbound
	restored   restored
	reader     *bufio.Reader
	expires    time.Time // the certificate ends
	generation int       // of the Downlink

	whole     bool // has read a request that is not answered; this and the next two guarded by Downlink.mu
	idle      bool // waits for a request
	idleSince time.Time
}

// restored reads what was put back before what the connection brings.
type restored struct {
	back []byte
	in   *inbound
}

// Read implements io.Reader.
func (r *restored) Read(p []byte) (int, error) {
	if len(r.back) == 0 {
		return r.in.Read(p)
	}
	n := copy(p, r.back)
	r.back = r.back[n:]
	return n, nil
}

// serve authenticates and serves one connection.
func (d *Downlink) serve(h *downHandshake) {
	raw := h.raw
	d.mu.Lock()
	generation := d.generation // before the handshake: what changes during it makes the connection old
	d.mu.Unlock()
	c, p, err := d.handshake(raw)
	d.mu.Lock()
	d.endHandshakeLocked(h)
	gone := h.gone
	d.mu.Unlock()
	if gone { // counted, and closed
		return
	}
	if err != nil {
		reason := DownlinkHandshake
		var refused *certificateError
		if errors.As(err, &refused) {
			reason = refused.reason
		}
		d.stats.refuse(reason)
		d.cfg.Log.Debug("downlink connection refused", "err", string(reason)) // a peer's bytes may stand in err (S46)
		_ = raw.Close()                                                       // the handshake's error says more
		return
	}
	cn := &downConn{tls: c, raw: raw, peer: p, in: inbound{from: c}, generation: generation, expires: expiryOf(c.ConnectionState())}
	cn.restored.in = &cn.in
	cn.reader = bufio.NewReaderSize(&cn.restored, maxHead)
	if !d.enter(cn) {
		d.stats.refuse(DownlinkFull)
		cn.close()
		return
	}
	p.stats.connect()
	for d.await(cn) && d.answerOne(cn) {
	}
	d.leave(cn)
	cn.close()
}

func (cn *downConn) close() {
	_ = cn.raw.SetWriteDeadline(time.Now().Add(closeGrace))
	_ = cn.tls.Close() // there is nothing left to lose on it
}

// enter counts the connection in. Where its CSE has as many as it may, one of those that wait for a request gives way:
// the CSE may have forgotten them.
func (d *Downlink) enter(cn *downConn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	if cn.peer.conns >= cn.peer.MaxConns || len(d.open) >= d.cfg.MaxConns {
		oldest := d.oldestIdleLocked(cn.peer)
		if oldest == nil {
			return false
		}
		oldest.generation = -1
		_ = oldest.raw.SetDeadline(time.Unix(1, 0))
		d.leaveLocked(oldest)
	}
	d.open[cn] = struct{}{}
	cn.peer.conns++
	return true
}

func (d *Downlink) oldestIdleLocked(p *downPeer) *downConn {
	var oldest *downConn
	for cn := range d.open {
		if cn.peer == p && cn.idle && (oldest == nil || cn.idleSince.Before(oldest.idleSince)) {
			oldest = cn
		}
	}
	return oldest
}

func (d *Downlink) leave(cn *downConn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leaveLocked(cn)
}

func (d *Downlink) leaveLocked(cn *downConn) {
	if _, there := d.open[cn]; there {
		delete(d.open, cn)
		cn.peer.conns--
	}
}

// await waits for a request's first byte; false when there comes none that is to be served.
func (d *Downlink) await(cn *downConn) bool {
	if !d.setIdle(cn, true) {
		return false
	}
	cn.in.begin(maxHead)
	_, err := cn.reader.Peek(1)
	return d.setIdle(cn, false) && err == nil
}

// setIdle begins or ends the time in which the connection may be ended without loss; false: it is to end.
func (d *Downlink) setIdle(cn *downConn, idle bool) bool {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || cn.generation != d.generation || !now.Before(cn.expires) {
		return false
	}
	cn.idle, cn.idleSince, cn.whole = idle, now, false
	limit := downHeadTimeout
	if idle {
		limit = downIdleTimeout
	}
	return cn.raw.SetDeadline(now.Add(limit)) == nil // reading writes as well, where the client has keys updated
}

// goOn says how much of a request is here: its head, for the content of which there is time then, or all of it. False: it comes
// too late, for Shutdown has begun.
func (d *Downlink) goOn(cn *downConn, whole bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	cn.whole = whole
	return cn.raw.SetDeadline(time.Now().Add(downBodyTimeout)) == nil
}

// httpRefusal is a message that is answered below the level of primitives, and ends its connection.
type httpRefusal struct {
	status int
	reason DownlinkReason
}

// Error implements error.
func (e *httpRefusal) Error() string { return "cse: downlink: request refused: " + string(e.reason) }

func malformed() error { return &httpRefusal{http.StatusBadRequest, DownlinkMalformed} }

// answerOne reads one request and answers it; false when the connection is to end.
func (d *Downlink) answerOne(cn *downConn) bool {
	r, err := cn.readHead()
	var body []byte
	if err == nil && d.goOn(cn, false) {
		body, err = cn.readBody(r, d.cfg.MaxBody)
	}
	if !d.goOn(cn, err == nil) {
		return false
	}
	if err != nil {
		d.refuse(cn, err)
		return false
	}
	answer := d.perform(cn.peer, r, body)
	keep := !r.Close && r.ProtoAtLeast(1, 1)
	return cn.write(answer, keep) == nil && keep
}

// refuse counts why there is no request, says so if the peer can be told, and lets it read that.
func (d *Downlink) refuse(cn *downConn, err error) {
	refusal := &httpRefusal{}
	end := cn.in.end
	switch {
	case errors.As(err, &refusal):
	case errors.Is(err, errTooLarge) || cn.in.over:
		refusal = &httpRefusal{http.StatusRequestEntityTooLarge, DownlinkTooLarge}
	case end == nil: // net/http's parser; its text would quote the request (S46)
		refusal = &httpRefusal{http.StatusBadRequest, DownlinkMalformed}
	case isTimeout(end):
		refusal = &httpRefusal{http.StatusRequestTimeout, DownlinkSlow}
	default:
		refusal = &httpRefusal{0, DownlinkTruncated}
	}
	d.stats.refuse(refusal.reason)
	d.cfg.Log.Debug("downlink request refused", "err", string(refusal.reason))
	if refusal.status == 0 || cn.write(&onem2m.HTTPResponse{Status: refusal.status}, false) != nil {
		return
	}
	// A close with bytes unread would be a reset, which takes the answer away from who hasn't read it (RFC 9112, Section 9.6).
	_ = cn.tls.CloseWrite()
	_ = cn.raw.SetReadDeadline(time.Now().Add(downLinger))
	_, _ = io.CopyN(io.Discard, cn.raw, maxLinger)
}

// readHead reads request line and headers. What Go's parser forgives and another server on the way may read differently is
// refused before it (S44): nothing else stands between us and a request that is two.
func (cn *downConn) readHead() (*http.Request, error) {
	head, err := cn.peekHead()
	if err != nil {
		return nil, err
	}
	slashAt, err := checkHead(head)
	if err != nil {
		return nil, err
	}
	if slashAt > 0 {
		cn.insertSlash(slashAt)
	}
	r, err := http.ReadRequest(cn.reader)
	switch {
	case err != nil:
		return nil, malformed() // the whole head was there
	case r.ProtoMajor != 1:
		return nil, &httpRefusal{http.StatusHTTPVersionNotSupported, DownlinkHTTP}
	case r.Method == http.MethodConnect:
		return nil, &httpRefusal{http.StatusMethodNotAllowed, DownlinkHTTP}
	}
	return r, nil
}

// peekHead waits until the head is in the reader's buffer, and leaves it there.
func (cn *downConn) peekHead() ([]byte, error) {
	for seen := 0; ; {
		b, err := cn.reader.Peek(max(cn.reader.Buffered(), seen+1))
		if end := headEnd(b, max(0, seen-2)); end > 0 {
			return b[:end], nil
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull) || len(b) >= maxHead:
			return nil, &httpRefusal{http.StatusRequestHeaderFieldsTooLarge, DownlinkTooLarge}
		case err != nil:
			return nil, err
		}
		seen = len(b)
	}
}

// headEnd returns where the head ends that an empty line closes, looking from the byte at from; 0: not yet. Bare line feeds
// count, so that such a head is refused and not waited for.
func headEnd(b []byte, from int) int {
	for {
		i := bytes.IndexByte(b[from:], '\n')
		if i < 0 {
			return 0
		}
		from += i + 1
		switch rest := b[from:]; {
		case bytes.HasPrefix(rest, []byte("\n")):
			return from + 1
		case bytes.HasPrefix(rest, []byte("\r\n")):
			return from + 2
		}
	}
}

// checkHead refuses a head that is not by the letter of RFC 9112, Sections 2.2, 5 and 6.3: a bare CR or LF, another control,
// a folded line, more than one length, host or expectation, a length beside a transfer coding. slashAt is where the target
// lacks its slash, 0 where it has one: a CSE is known to leave it out (onem2m.ParseTarget).
func checkHead(head []byte) (slashAt int, err error) {
	lines := strings.Split(string(head), "\r\n")
	if !bytes.HasSuffix(head, []byte("\r\n\r\n")) || strings.Contains(lines[0], "\t") {
		return 0, malformed()
	}
	counts := make(map[string]int)
	for i, line := range lines[:len(lines)-2] {
		if strings.ContainsFunc(line, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
			return 0, malformed()
		}
		if i == 0 {
			continue
		}
		name, _, has := strings.Cut(line, ":")
		if !has || name == "" || strings.ContainsAny(name, " \t") {
			return 0, malformed()
		}
		counts[strings.ToLower(name)]++
	}
	for _, name := range []string{"content-length", "transfer-encoding", "host", "expect"} {
		if counts[name] > 1 {
			return 0, malformed()
		}
	}
	old := strings.HasSuffix(lines[0], " HTTP/1.0")
	if counts["transfer-encoding"] > 0 && (old || counts["content-length"] > 0) { // RFC 9112, Section 6.1
		return 0, malformed()
	}
	method, rest, _ := strings.Cut(lines[0], " ")
	target, _, has := strings.Cut(rest, " ")
	if !has || target == "" || method == "" {
		return 0, malformed()
	}
	if target[0] == '/' || target == "*" || method == http.MethodConnect || strings.Contains(target, "://") {
		return 0, nil
	}
	return len(method) + 1, nil
}

// insertSlash puts a slash before the byte at of what the reader holds.
func (cn *downConn) insertSlash(at int) {
	held, _ := cn.reader.Peek(cn.reader.Buffered()) // can't fail
	cn.restored.back = slices.Concat(held[:at], []byte("/"), held[at:], cn.restored.back)
	cn.reader.Reset(&cn.restored)
}

// readBody reads the content, after the interim answer that the client may wait for (RFC 9110, Section 10.1.1).
func (cn *downConn) readBody(r *http.Request, limit int) ([]byte, error) {
	if r.ContentLength > int64(limit) {
		return nil, errTooLarge
	}
	if expect := r.Header.Get("Expect"); expect != "" {
		if !strings.EqualFold(expect, "100-continue") {
			return nil, &httpRefusal{http.StatusExpectationFailed, DownlinkHTTP}
		}
		if r.ContentLength != 0 && r.ProtoAtLeast(1, 1) && cn.reader.Buffered() == 0 {
			_ = cn.raw.SetWriteDeadline(time.Now().Add(downWriteTimeout))
			if _, err := io.WriteString(cn.tls, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
				return nil, err
			}
		}
	}
	cn.in.begin(2*limit + maxHead) // chunks and trailers included
	body, err := readBody(r.Body, r.ContentLength, limit)
	if err != nil {
		return nil, err
	}
	return body, r.Body.Close()
}

// write sends an answer (RFC 9112, Section 4).
func (cn *downConn) write(h *onem2m.HTTPResponse, keep bool) error {
	var b []byte
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(h.Status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(h.Status)...)
	b = append(b, "\r\nDate: "...) // RFC 9110, Section 6.6.1
	b = time.Now().UTC().AppendFormat(b, http.TimeFormat)
	for _, f := range h.Header {
		b = append(b, "\r\n"...)
		b = append(b, f.Name...)
		b = append(b, ": "...)
		b = append(b, f.Value...)
	}
	if !keep {
		b = append(b, "\r\nConnection: close"...)
	}
	bodiless := h.Status == http.StatusNoContent || h.Status == http.StatusNotModified // RFC 9110, Section 8.6
	if !bodiless {
		b = append(b, "\r\nContent-Length: "...)
		b = strconv.AppendInt(b, int64(len(h.Body)), 10)
	}
	b = append(b, "\r\n\r\n"...)
	if !bodiless {
		b = append(b, h.Body...)
	}
	if err := cn.raw.SetWriteDeadline(time.Now().Add(downWriteTimeout)); err != nil {
		return err
	}
	_, err := cn.tls.Write(b)
	return err
}
