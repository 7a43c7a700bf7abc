package csetest

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"sync"
)

// RecordedRequest is one request as it came.
type RecordedRequest struct {
	Method string
	Target string      // the request line's, undecoded
	Header http.Header // in net/http's spelling of the names; a copy
	Body   []byte
	Remote string // address and port: two requests with the same came over one connection
	Client string // common name of the client's certificate; "" without TLS
}

// recorder keeps the newest requests, bounded in number and bytes.
type recorder struct {
	limit int

	mu    sync.Mutex // guards the following fields
	kept  []RecordedRequest
	bytes int
	count int
}

// take reads the body, keeps the request and puts the body back for the handlers behind.
func (rec *recorder) take(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return refuse(badRequest, "request body cut off or too large")
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	e := RecordedRequest{
		Method: r.Method, Target: r.RequestURI, Header: r.Header.Clone(), Body: body, Remote: r.RemoteAddr,
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		e.Client = r.TLS.PeerCertificates[0].Subject.CommonName
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.count++
	if rec.limit < 0 {
		return nil
	}
	rec.kept = append(rec.kept, e)
	rec.bytes += len(body)
	for len(rec.kept) > rec.limit || rec.bytes > maxRecordBytes {
		rec.bytes -= len(rec.kept[0].Body)
		rec.kept[0] = RecordedRequest{}
		rec.kept = rec.kept[1:]
	}
	return nil
}

func (rec *recorder) reset() {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.kept, rec.bytes, rec.count = nil, 0, 0
}

// Requests returns the newest requests, oldest first: as many as Config.Record, and of bodies at most 16 MiB.
func (c *CSE) Requests() []RecordedRequest {
	c.record.mu.Lock()
	defer c.record.mu.Unlock()
	return slices.Clone(c.record.kept)
}

// Count returns how many requests came since New or Reset.
func (c *CSE) Count() int {
	c.record.mu.Lock()
	defer c.record.mu.Unlock()
	return c.record.count
}
