package request

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"coapbridge/bridge/onem2m"
)

// Target is where a request goes: a server, and a resource on it.
type Target struct {
	Host    string     // name or address literal as it was written, without brackets
	Addr    netip.Addr // the literal; not valid when Host is a name
	Port    uint16
	escaped string // path and query as they were written, percent-encoded
}

// ParseTarget reads a URI of the form coaps://host[:port][/path][?query] (RFC 7252, Section 6.2).
func ParseTarget(uri string) (Target, error) {
	u, err := url.Parse(uri)
	if err != nil {
		var parse *url.Error
		if errors.As(err, &parse) {
			err = parse.Err // without repeating the whole URI
		}
		return Target{}, fmt.Errorf("URI %q: %w", uri, err)
	}
	switch {
	case u.Scheme == "coap":
		return Target{}, fmt.Errorf("URI %q: plain CoAP is not spoken; write coaps://", uri)
	case u.Scheme != "coaps":
		return Target{}, fmt.Errorf("URI %q: write coaps://HOST[:PORT]/PATH", uri)
	case u.Hostname() == "":
		return Target{}, fmt.Errorf("URI %q: there is no host", uri)
	case u.User != nil:
		return Target{}, fmt.Errorf("URI %q: a user has no place in it; use --psk-identity", uri)
	case u.Fragment != "":
		return Target{}, fmt.Errorf("URI %q: a fragment has no place in it", uri)
	}
	t := Target{Host: u.Hostname(), Port: defaultPort, escaped: u.EscapedPath()}
	if u.RawQuery != "" {
		t.escaped += "?" + u.RawQuery
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return Target{}, fmt.Errorf("URI %q: port %q is not between 1 and 65535", uri, p)
		}
		t.Port = uint16(n)
	}
	if addr, err := netip.ParseAddr(t.Host); err == nil {
		t.Addr = addr
	}
	return t, nil
}

// Resource is the oneM2M view of the target: To in its three forms (TS-0008, 6.2.2.3) and the query.
func (t Target) Resource() (to string, query []onem2m.Parameter, err error) {
	to, query, err = onem2m.ParseTarget(t.escaped)
	if err != nil {
		return "", nil, fmt.Errorf("path %q: %w", t.escaped, err)
	}
	if to == "" {
		return "", nil, errors.New("the URI names no resource; add the name of the CSEBase, such as /cse-in")
	}
	return to, query, nil
}

// Options is the plain CoAP view of the target: its decoded path segments and query arguments (RFC 7252, Section 6.4).
func (t Target) Options() (segments, arguments []string, err error) {
	path, query, hasQuery := strings.Cut(t.escaped, "?")
	if path = strings.TrimPrefix(path, "/"); path != "" {
		if segments, err = unescapeAll(strings.Split(path, "/"), url.PathUnescape); err != nil {
			return nil, nil, fmt.Errorf("path %q: %w", path, err)
		}
	}
	if hasQuery {
		// PathUnescape, since "+" is no blank in a CoAP URI.
		if arguments, err = unescapeAll(strings.Split(query, "&"), url.PathUnescape); err != nil {
			return nil, nil, fmt.Errorf("query %q: %w", query, err)
		}
	}
	return segments, arguments, nil
}

func unescapeAll(in []string, unescape func(string) (string, error)) ([]string, error) {
	out := make([]string, len(in))
	for i, s := range in {
		var err error
		if out[i], err = unescape(s); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// String is the server's address as a URI has it.
func (t Target) String() string {
	return "coaps://" + net.JoinHostPort(t.Host, strconv.Itoa(int(t.Port)))
}
