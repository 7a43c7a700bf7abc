package cse

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"coapbridge/bridge"
	"coapbridge/bridge/onem2m"
)

// conn is one connection, used by one request at a time.
type conn struct {
	tls    *tls.Conn
	raw    net.Conn
	in     inbound
	reader *bufio.Reader
	out    []byte // the request under way; kept for the next

	uses       int
	generation int           // of the endpoint's identity
	idleLimit  time.Duration // that the server announced; 0: none
	expires    time.Time     // while idle
	keep       bool          // the last answer leaves the connection in step
}

func newConn(c *tls.Conn, raw net.Conn) *conn {
	cn := &conn{tls: c, raw: raw, in: inbound{from: c}}
	cn.reader = bufio.NewReader(&cn.in)
	return cn
}

// inbound bounds what one answer may bring.
type inbound struct {
	from io.Reader
	left int
	read int
	over bool  // left was too little
	end  error // of the connection; nil while it lives
}

// begin allows n bytes of a new answer.
func (in *inbound) begin(n int) { in.left, in.read, in.over, in.end = n, 0, false, nil }

func (in *inbound) Read(p []byte) (int, error) {
	if in.left <= 0 {
		in.over = true
		return 0, errTooLarge
	}
	n, err := in.from.Read(p[:min(len(p), in.left)])
	in.left -= n
	in.read += n
	in.end = err
	return n, err
}

// failure says how far a request got.
type failure struct {
	sent   bool // a whole TLS record at least: the CSE may have it
	begun  bool // a byte of an answer came
	reason Reason
	cause  error
}

// repeatable reports whether the request may go out again, on a new connection. kept says that the connection had served
// before, so that it may simply have been closed for idleness.
func (f *failure) repeatable(kept bool, op onem2m.Operation, deduplicates bool) bool {
	switch {
	case f.begun || f.reason != ReasonBroken:
		return false
	case !f.sent:
		return kept
	}
	return deduplicates || (kept && op == onem2m.Retrieve)
}

// report turns the failure into the error of Do.
func (f *failure) report(name string) *Error {
	e := &Error{CSE: name, Reason: f.reason, cause: f.cause}
	switch {
	case !f.sent:
		e.kind = bridge.ErrUnreachable
		switch f.reason {
		case ReasonBroken:
			e.Reason = ReasonConnect
		case ReasonTimeout, ReasonCancelled:
			e.Reason = ReasonClosed
		}
	case f.reason == ReasonTimeout || f.reason == ReasonCancelled || f.reason == ReasonBroken:
		e.kind = bridge.ErrTimeout
	default:
		e.kind = bridge.ErrBadAnswer
	}
	return e
}

// exchange sends the request and reads one answer. Cancelling ctx cuts the connection.
func (cn *conn) exchange(ctx context.Context, deadline time.Time, h *onem2m.HTTPRequest, t *target) (*onem2m.HTTPResponse, *failure) {
	cn.keep = false
	cn.uses++
	stop := context.AfterFunc(ctx, func() { _ = cn.raw.SetDeadline(time.Unix(1, 0)) })
	answer, f := cn.roundTrip(deadline, h, t)
	if !stop() {
		cn.keep = false // the deadline may still be written
		if f != nil && f.reason == ReasonTimeout && errors.Is(ctx.Err(), context.Canceled) {
			f.reason, f.cause = ReasonCancelled, context.Canceled
		}
	}
	return answer, f
}

func (cn *conn) roundTrip(deadline time.Time, h *onem2m.HTTPRequest, t *target) (*onem2m.HTTPResponse, *failure) {
	if err := cn.tls.SetDeadline(deadline); err != nil {
		return nil, &failure{reason: ReasonBroken, cause: err}
	}
	cn.out = appendRequest(cn.out[:0], h, t.header)
	n, err := cn.tls.Write(cn.out)
	if cap(cn.out) > maxKeptBuffer {
		cn.out = nil
	}
	switch {
	case err != nil && isTimeout(err):
		return nil, &failure{sent: n > 0, reason: ReasonTimeout, cause: err}
	case err != nil && n == 0: // not one whole record: the peer can't have opened anything
		return nil, &failure{reason: ReasonBroken, cause: err}
	}
	// After a write that failed midway the server may have said why before it closed.
	cn.in.begin(maxHeader)
	answer, err := cn.readAnswer(h, t.MaxAnswer)
	if err == nil {
		return answer, nil
	}
	return nil, cn.readFailure(err)
}

// readFailure says why there is no answer. What the connection did comes first: net/http's parser calls an answer that was
// cut short malformed.
func (cn *conn) readFailure(err error) *failure {
	f := &failure{sent: true, begun: cn.in.read > 0}
	end := cn.in.end
	var verdict *verdictError
	switch {
	case errors.As(err, &verdict):
		f.reason = verdict.reason
	case errors.Is(err, errTooLarge) || cn.in.over:
		f.reason = ReasonTooLarge
	case end == nil:
		f.reason = ReasonMalformed // the error's text would quote the answer (S46)
	case isTimeout(end):
		f.reason, f.cause = ReasonTimeout, end
	case f.begun:
		f.reason = ReasonTruncated
	case cn.uses == 1 && refusedCertificate(end):
		// The server never finished the handshake, so it read no request.
		f.sent, f.reason, f.cause = false, ReasonTLS, end
	default:
		f.reason, f.cause = ReasonBroken, end
	}
	return f
}

// verdictError is an answer that is well-formed and still refused.
type verdictError struct{ reason Reason }

func (v *verdictError) Error() string { return "cse: answer refused: " + string(v.reason) }

// readAnswer reads the final response to the request, and sets cn.keep.
func (cn *conn) readAnswer(h *onem2m.HTTPRequest, maxAnswer int) (*onem2m.HTTPResponse, error) {
	req := &http.Request{Method: h.Method}
	resp, err := http.ReadResponse(cn.reader, req)
	for interim := 0; err == nil && resp.StatusCode < 200; interim++ {
		if resp.StatusCode == http.StatusSwitchingProtocols || interim == maxInterim {
			return nil, &verdictError{ReasonRedirect}
		}
		resp, err = http.ReadResponse(cn.reader, req)
	}
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 && resp.StatusCode < 400 && !(resp.StatusCode == http.StatusNotModified && conditional(h)) {
		return nil, &verdictError{ReasonRedirect}
	}
	if resp.ProtoMajor != 1 {
		return nil, &verdictError{ReasonMalformed}
	}
	cn.in.left = 2*maxAnswer + maxHeader // chunks and trailers included
	body, err := readBody(resp.Body, resp.ContentLength, maxAnswer)
	if err != nil {
		return nil, err
	}
	if cn.reader.Buffered() > 0 && !resp.Close {
		// The surplus can only be meant for somebody else's request: nothing on this connection is to be believed.
		return nil, &verdictError{ReasonSurplus}
	}
	cn.keep = !resp.Close
	cn.idleLimit, cn.keep = announcedIdle(resp.Header, cn.keep)
	answer := &onem2m.HTTPResponse{Status: resp.StatusCode, Body: body, Header: make([]onem2m.HeaderField, 0, len(resp.Header))}
	for name, values := range resp.Header {
		for _, v := range values {
			answer.Header = append(answer.Header, onem2m.HeaderField{Name: name, Value: v})
		}
	}
	return answer, nil
}

// conditional reports whether the request may be answered with 304 (RFC 9110, Section 15.4.5).
func conditional(h *onem2m.HTTPRequest) bool {
	return h.Method == http.MethodGet &&
		slices.ContainsFunc(h.Header, func(f onem2m.HeaderField) bool { return strings.EqualFold(f.Name, "If-None-Match") })
}

// readBody reads a content of up to limit bytes; length is what was announced, below 0 when nothing was.
func readBody(from io.Reader, length int64, limit int) ([]byte, error) {
	switch {
	case length > int64(limit):
		return nil, errTooLarge
	case length == 0:
		return nil, nil
	case length > 0:
		body := make([]byte, length)
		_, err := io.ReadFull(from, body)
		return body, err
	}
	var body bytes.Buffer
	n, err := body.ReadFrom(io.LimitReader(from, int64(limit)+1))
	if err == nil && n > int64(limit) {
		err = errTooLarge
	}
	return body.Bytes(), err
}

// announcedIdle reads the timeout of a Keep-Alive header, as Node's servers send it (RFC 2068, Section 19.7.1.1): a second
// before it the connection counts as closed, so that no request meets the server's FIN.
func announcedIdle(h http.Header, keep bool) (time.Duration, bool) {
	for part := range strings.SplitSeq(h.Get("Keep-Alive"), ",") {
		value, is := strings.CutPrefix(strings.TrimSpace(part), "timeout=")
		if !is {
			continue
		}
		if s, err := strconv.ParseUint(value, 10, 16); err == nil {
			return time.Duration(s)*time.Second - time.Second, keep && s > 1
		}
	}
	return 0, keep
}

// appendRequest writes the message (RFC 9112, Section 3): the target as it is, header names in their own spelling.
func appendRequest(dst []byte, h *onem2m.HTTPRequest, host string) []byte {
	dst = append(dst, h.Method...)
	dst = append(dst, ' ')
	dst = append(dst, h.Target...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, host...)
	dst = append(dst, "\r\n"...)
	for _, f := range h.Header {
		dst = append(dst, f.Name...)
		dst = append(dst, ": "...)
		dst = append(dst, f.Value...)
		dst = append(dst, "\r\n"...)
	}
	if len(h.Body) > 0 || h.Method == http.MethodPost || h.Method == http.MethodPut { // RFC 9110, Section 8.6
		dst = append(dst, "Content-Length: "...)
		dst = strconv.AppendInt(dst, int64(len(h.Body)), 10)
		dst = append(dst, "\r\n"...)
	}
	dst = append(dst, "\r\n"...)
	return append(dst, h.Body...)
}
