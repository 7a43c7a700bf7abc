package cse

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"coapbridge/bridge"
	"coapbridge/bridge/onem2m"
)

// perform answers a request of p.
func (d *Downlink) perform(p *downPeer, r *http.Request, body []byte) *onem2m.HTTPResponse {
	p.stats.begin()
	token, rest := cutToken(r.RequestURI)
	h := &onem2m.HTTPRequest{Method: r.Method, Target: rest, Body: body, Header: make([]onem2m.HeaderField, 0, len(r.Header))}
	for name, values := range r.Header {
		for _, v := range values {
			h.Header = append(h.Header, onem2m.HeaderField{Name: name, Value: v})
		}
	}
	req, err := onem2m.RequestFromHTTP(h)
	var resp *onem2m.Response
	if err == nil {
		resp = d.deliver(p, token, r.RequestURI, req)
	} else {
		// No token was looked at: a malformed request learns nothing of them (S43).
		d.stats.refuse(DownlinkPrimitive)
		req = &onem2m.Request{RequestID: r.Header.Get("X-M2M-RI"), ReleaseVersion: r.Header.Get("X-M2M-RVI")}
		resp = &onem2m.Response{Status: statusOf(err)}
	}
	answer, status := answerTo(resp, req)
	p.stats.end(int(status))
	return answer
}

// answerTo is the response with the Request Identifier and the release of its request (TS-0009, 6.4), whatever the device
// said of them.
func answerTo(resp *onem2m.Response, req *onem2m.Request) (*onem2m.HTTPResponse, onem2m.StatusCode) {
	whole := *resp
	whole.RequestID, whole.ReleaseVersion = req.RequestID, req.ReleaseVersion
	if whole.Status >= minStatus && whole.Status <= maxStatus {
		if answer, err := whole.HTTP(req); err == nil {
			return answer, whole.Status
		}
	}
	// The device's answer can't be carried, or the request's own identifiers can't be repeated.
	failed := onem2m.Response{Status: onem2m.StatusInternalServerError, RequestID: req.RequestID, ReleaseVersion: req.ReleaseVersion}
	if answer, err := failed.HTTP(req); err == nil {
		return answer, failed.Status
	}
	failed = onem2m.Response{Status: onem2m.StatusBadRequest}
	answer, err := failed.HTTP(nil)
	if err != nil {
		return &onem2m.HTTPResponse{Status: http.StatusBadRequest}, failed.Status
	}
	return answer, failed.Status
}

// The range of ResponseStatusCodes (TS-0004, 6.6.3).
const minStatus, maxStatus = 1000, 6999

// statusOf is the ResponseStatusCode that an error of onem2m stands for.
func statusOf(err error) onem2m.StatusCode {
	var e *onem2m.Error
	if errors.As(err, &e) {
		return e.Status
	}
	return onem2m.StatusInternalServerError
}

// deliver hands the request on. Whatever leads nowhere takes the same way to the same answer (S43).
func (d *Downlink) deliver(p *downPeer, token, target string, r *onem2m.Request) *onem2m.Response {
	ctx, cancel, err := within(d.life, d.cfg.Timeout, r)
	if err != nil {
		d.stats.refuse(DownlinkPrimitive)
		return &onem2m.Response{Status: statusOf(err)}
	}
	defer cancel()
	resp, err := d.cfg.Deliver.Deliver(ctx, bridge.Downstream{CSE: p.Name, Token: token}, r)
	if p.NoToken && errors.Is(err, bridge.ErrNoAccess) {
		resp, err = d.deliverWithoutToken(ctx, p, target, r)
	}
	if errors.Is(err, bridge.ErrNoAccess) {
		d.stats.refuse(DownlinkNoAccess)
	}
	return delivered(resp, err)
}

// within is the time for a request of a CSE: until its rqet, or for timeout where that is earlier.
func within(parent context.Context, timeout time.Duration, r *onem2m.Request) (context.Context, context.CancelFunc, error) {
	now := time.Now()
	deadline, err := r.Deadline(now, now.Add(timeout))
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithDeadline(parent, deadline)
	return ctx, cancel, nil
}

// delivered is the response for what a Deliverer returned.
func delivered(resp *onem2m.Response, err error) *onem2m.Response {
	switch {
	case errors.Is(err, bridge.ErrNoAccess):
		return &onem2m.Response{Status: onem2m.StatusNotFound}
	case err == nil && resp != nil:
		return resp
	case errors.Is(err, context.DeadlineExceeded):
		return &onem2m.Response{Status: onem2m.StatusRequestTimeout}
	}
	return &onem2m.Response{Status: statusOf(err)}
}

// deliverWithoutToken takes To for the AE-ID of the AE that is meant: the quirk "no-token".
func (d *Downlink) deliverWithoutToken(ctx context.Context, p *downPeer, target string, r *onem2m.Request) (*onem2m.Response, error) {
	to, _, err := onem2m.ParseTarget(originForm(target))
	if err != nil {
		return nil, bridge.ErrNoAccess
	}
	aei := to
	if rest, is := strings.CutPrefix(to, "/"); is { // SP-relative: the CSE's own ID before it
		_, aei, _ = strings.Cut(rest, "/")
	}
	if aei == "" || strings.Contains(aei, "/") {
		return nil, bridge.ErrNoAccess
	}
	whole := *r
	whole.To = to
	return d.cfg.Deliver.Deliver(ctx, bridge.Downstream{CSE: p.Name, AEI: aei}, &whole)
}

// cutToken returns the first segment of the request-target, the token of a point of access, and the target after it.
func cutToken(target string) (token, rest string) {
	target = strings.TrimPrefix(originForm(target), "/")
	if i := strings.IndexAny(target, "/?#"); i >= 0 {
		return target[:i], target[i:]
	}
	return target, ""
}

// originForm cuts scheme and authority of a target in absolute form, which every server must take (RFC 9112, Section
// 3.2.2). Nobody looks at them: whom a request is for stands in its token.
func originForm(target string) string {
	path, query, has := strings.Cut(target, "?")
	i := strings.Index(path, "://")
	if i < 0 || strings.HasPrefix(path, "/") {
		return target
	}
	_, path, _ = strings.Cut(path[i+3:], "/")
	if has {
		return "/" + path + "?" + query
	}
	return "/" + path
}
