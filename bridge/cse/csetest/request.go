package csetest

import (
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Operations, with the values of TS-0004, table 6.3.4.2.5-1.
const (
	opCreate   = 1
	opRetrieve = 2
	opUpdate   = 3
	opDelete   = 4
	opNotify   = 5
)

// request is one request primitive.
type request struct {
	op     int
	to     []string // path segments, decoded
	from   string
	rqi    string
	rvi    string
	ty     int // 0: absent
	query  map[string][]string
	rqet   string
	rtu    []string // X-M2M-RTU; nil: absent
	body   []byte
	format format // of body
	accept format // of the answer
}

// parseRequest reads an HTTP request by TS-0009, 6.2 to 6.4. The returned request is never nil: what was read before the
// fault says how to answer.
func (c *CSE) parseRequest(r *http.Request) (*request, error) {
	q := &request{from: r.Header.Get("X-M2M-Origin"), rqi: r.Header.Get("X-M2M-RI"), rvi: r.Header.Get("X-M2M-RVI"),
		rqet: r.Header.Get("X-M2M-RET"), rtu: r.Header["X-M2m-Rtu"]}
	var err error
	if q.accept, err = parseAccept(r.Header.Values("Accept")); err != nil {
		return q, err
	}
	if q.rqi == "" { // TS-0009, 6.4: mandatory
		return q, refuse(badRequest, "X-M2M-RI is missing")
	}
	if err := c.checkVersion(q.rvi); err != nil {
		return q, err
	}
	if err := checkExpiration(q.rqet); err != nil {
		return q, err
	}
	if q.body, err = io.ReadAll(r.Body); err != nil {
		return q, refuse(badRequest, "request body cut off")
	}
	if err := q.parseContentType(r.Header.Get("Content-Type")); err != nil {
		return q, err
	}
	if err := q.parseMethod(r.Method); err != nil {
		return q, err
	}
	if err := q.parseTarget(r.RequestURI); err != nil {
		return q, err
	}
	return q, q.checkQuery()
}

func (c *CSE) checkVersion(rvi string) error {
	if rvi == "" && c.cfg.RequireRVI {
		return refuse(versionNotSupported, "X-M2M-RVI is missing: Release 1 is not supported")
	}
	if rvi != "" && !slices.Contains([]string{"2a", "3", "4"}, rvi) {
		return refuse(versionNotSupported, "release version is not supported")
	}
	return nil
}

// checkExpiration refuses a request whose rqet has passed: an absolute timestamp, or milliseconds (TS-0004, 6.3.3).
func checkExpiration(rqet string) error {
	if rqet == "" {
		return nil
	}
	if _, err := strconv.ParseUint(rqet, 10, 63); err == nil && len(rqet) < len(stampShort) {
		return nil
	}
	at, err := parseStamp(rqet)
	if err != nil {
		return refuse(badRequest, "X-M2M-RET is not a timestamp")
	}
	if at.Before(time.Now()) {
		return refuse(requestTimeout, "request has expired")
	}
	return nil
}

func (q *request) parseMethod(method string) error {
	switch method {
	case http.MethodPost: // TS-0009, 6.2.1: ty tells CREATE from NOTIFY
		q.op = opNotify
		if q.ty != 0 {
			q.op = opCreate
		}
	case http.MethodGet:
		q.op = opRetrieve
	case http.MethodPut:
		q.op = opUpdate
	case http.MethodDelete:
		q.op = opDelete
	default:
		return refuse(operationNotAllowed, "HTTP method has no operation")
	}
	if (q.op == opRetrieve || q.op == opDelete) && len(q.body) > 0 {
		return refuse(badRequest, "RETRIEVE and DELETE have no content")
	}
	if q.op != opRetrieve && q.op != opDelete && len(q.body) == 0 {
		return refuse(badRequest, "content is missing")
	}
	return nil
}

func (q *request) parseContentType(value string) error {
	if value == "" {
		if len(q.body) > 0 {
			return refuse(unsupportedMedia, "Content-Type is missing")
		}
		return nil
	}
	media, params, err := mime.ParseMediaType(value)
	if err != nil {
		return refuse(badRequest, "Content-Type can't be read")
	}
	if q.format = formatOf(media); q.format == noFormat {
		return refuse(unsupportedMedia, "media type is not supported")
	}
	if ty, has := params["ty"]; has {
		if q.ty, err = strconv.Atoi(ty); err != nil || q.ty <= 0 {
			return refuse(badRequest, "ty is not a resource type")
		}
	}
	return nil
}

// parseTarget splits the request target by hand: in a oneM2M query "+" separates a list's members and is no space, and
// an encoded slash is no separator.
func (q *request) parseTarget(target string) error {
	if len(target) > maxTarget {
		return refuse(badRequest, "request target is too long")
	}
	path, query, _ := strings.Cut(target, "?")
	path, hasSlash := strings.CutPrefix(path, "/")
	if !hasSlash {
		return refuse(badRequest, "request target is not a path")
	}
	for _, s := range strings.Split(strings.TrimSuffix(path, "/"), "/") {
		decoded, err := url.PathUnescape(s)
		if err != nil || !utf8.ValidString(decoded) {
			return refuse(badRequest, "path is not well encoded")
		}
		q.to = append(q.to, decoded)
	}
	if len(q.to) > maxSegments {
		return refuse(badRequest, "path has too many segments")
	}
	q.query = make(map[string][]string)
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		for member := range strings.SplitSeq(value, "+") {
			decoded, err := url.PathUnescape(member)
			if err != nil || !utf8.ValidString(decoded) {
				return refuse(badRequest, "query is not well encoded")
			}
			q.query[key] = append(q.query[key], decoded)
		}
	}
	return nil
}

// checkQuery refuses what this CSE doesn't do, rather than leave it out silently.
func (q *request) checkQuery() error {
	switch rt := q.first("rt"); rt {
	case "", "1", "2", "3", "4": // 4 is the receiver's choice: blocking
	default:
		return refuse(badRequest, "response type is not supported")
	}
	if q.op == opCreate { // TS-0001, 8.1.2: no filter criteria in CREATE
		for key := range q.query {
			if !slices.Contains([]string{"rcn", "rt", "rp", "drt", "da"}, key) {
				return refuse(badRequest, "CREATE takes no filter criteria")
			}
		}
	}
	return nil
}

func (q *request) first(key string) string {
	if v := q.query[key]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// number returns the query's unsigned number key; missing is what an absent one means.
func (q *request) number(key string, missing int) (int, error) {
	s := q.first(key)
	if s == "" {
		return missing, nil
	}
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0, refuse(badRequest, key+" is not a number")
	}
	return int(n), nil
}

// The forms of a timestamp (TS-0004, 6.3.3); on output with a fraction, as ACME sends it.
const (
	stampShort = "20060102T150405"
	stampLong  = "20060102T150405,000000"
)

// parseStamp reads a basic-format timestamp in UTC, with or without a fraction of a second.
func parseStamp(s string) (time.Time, error) { return time.Parse(stampShort, s) }
