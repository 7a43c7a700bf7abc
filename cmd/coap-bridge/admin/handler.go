package admin

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// The endpoints, as the label "endpoint" has them; everything else is endpointOther.
const (
	endpointHealth  = "healthz"
	endpointReady   = "readyz"
	endpointMetrics = "metrics"
	endpointOther   = "other"
)

// result is how a request ended, as the label "result" has it.
type result string

const (
	resultServed        result = "served"
	resultBadMethod     result = "bad_method"
	resultForeignHost   result = "foreign_host"
	resultForeignOrigin result = "foreign_origin"
	resultBadToken      result = "bad_token"
	resultBody          result = "body"
	resultNotFound      result = "not_found"
)

func newRequestCounter() *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "coapbridge_admin_requests_total",
		Help: "Requests to the admin listener. endpoint: healthz, readyz, metrics, other. result: served, bad_method, " +
			"foreign_host, foreign_origin, bad_token, body, not_found.",
	}, []string{"endpoint", "result"})
	for _, r := range []result{resultServed, resultBadMethod, resultForeignHost, resultForeignOrigin, resultBadToken,
		resultBody, resultNotFound} {
		c.WithLabelValues(endpointOther, string(r)) // present from the start, so that an alert sees the first one
	}
	return c
}

// routes serves what was let in. The patterns are exact: no redirect, no cleaned path.
func (s *Server) routes(reg *prometheus.Registry) map[string]http.Handler {
	return map[string]http.Handler{
		"/" + endpointHealth: http.HandlerFunc(serveHealth),
		"/" + endpointReady:  &s.readyz,
		"/" + endpointMetrics: promhttp.HandlerFor(reg, promhttp.HandlerOpts{
			ErrorLog:            slog.NewLogLogger(s.log.Handler(), slog.LevelError),
			ErrorHandling:       promhttp.ContinueOnError, // one broken collector must not blind the operator to the rest
			MaxRequestsInFlight: maxScrapes,
		}),
	}
}

// serveHealth says that the process lives, and nothing else to anybody (S51).
func serveHealth(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "ok\n")
}

// guard lets requests through to routes, counts and audits them. The order matters: nothing of a request is looked at
// before its method, and no path exists for who has no token.
func (s *Server) guard(routes map[string]http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")

		handler, known := routes[r.URL.Path]
		endpoint := endpointOther
		if known {
			endpoint = r.URL.Path[1:]
		}
		why := s.judge(r, endpoint)
		if why == resultServed && !known {
			why = resultNotFound
		}
		s.requests.WithLabelValues(endpoint, string(why)).Inc()
		s.record(r, endpoint, why)
		if why == resultServed {
			handler.ServeHTTP(w, r)
			return
		}
		refuse(w, why)
	})
}

// judge says whether r may be served. /healthz needs neither token nor a known Host, for it says the same to everybody.
func (s *Server) judge(r *http.Request, endpoint string) result {
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return resultBadMethod
	case r.ContentLength != 0:
		return resultBody
	case endpoint == endpointHealth:
		return resultServed
	case !s.knownHost(r):
		return resultForeignHost // a page whose name was made to point here (DNS rebinding)
	case foreignOrigin(r):
		return resultForeignOrigin
	case !s.token.IsZero() && !s.bearer(r):
		return resultBadToken
	}
	return resultServed
}

func refuse(w http.ResponseWriter, why result) {
	status := http.StatusForbidden
	switch why {
	case resultBadMethod:
		w.Header().Set("Allow", "GET, HEAD")
		status = http.StatusMethodNotAllowed
	case resultBody:
		w.Header().Set("Connection", "close") // the body is not read
		status = http.StatusRequestEntityTooLarge
	case resultForeignHost:
		status = http.StatusMisdirectedRequest
	case resultBadToken:
		w.Header().Set("WWW-Authenticate", `Bearer realm="coap-bridge"`)
		status = http.StatusUnauthorized
	case resultNotFound:
		status = http.StatusNotFound
	}
	http.Error(w, http.StatusText(status), status)
}

// bearer compares the token of the Authorization header (RFC 6750, Section 2.1); a token in the query is not read.
func (s *Server) bearer(r *http.Request) bool {
	headers := r.Header.Values("Authorization")
	if len(headers) != 1 {
		return false
	}
	scheme, token, ok := strings.Cut(headers[0], " ")
	return ok && strings.EqualFold(scheme, "Bearer") && s.token.Equal([]byte(token))
}

// knownHosts returns the names that clients may use: those that the operator listed or listens on.
func knownHosts(c *Config) map[string]bool {
	hosts := map[string]bool{}
	for _, h := range c.Hosts {
		hosts[strings.ToLower(h)] = true
	}
	if host, _, err := net.SplitHostPort(c.Listen); err == nil && host != "" {
		hosts[strings.ToLower(host)] = true
	}
	return hosts
}

// knownHost reports whether r's Host is the listener's: a listed name, the very address that the connection came to, or a
// name of loopback where the listener is local.
func (s *Server) knownHost(r *http.Request) bool {
	host := strings.ToLower(hostOnly(r.Host))
	if s.hosts[host] {
		return true
	}
	addr, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	tcp, isTCP := addr.(*net.TCPAddr)
	ip, err := netip.ParseAddr(host)
	if isTCP && err == nil && tcp.AddrPort().Addr().Unmap() == ip.Unmap() {
		return true
	}
	local := s.unix || isTCP && tcp.IP.IsLoopback()
	return local && (host == "localhost" || err == nil && ip.IsLoopback())
}

// hostOnly is a Host header's name or address, without the port and the brackets.
func hostOnly(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}

// foreignOrigin reports whether a browser sent r for a page of another origin. No other client sends these headers.
func foreignOrigin(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
	default:
		return true
	}
	for _, origin := range r.Header.Values("Origin") {
		if u, err := url.Parse(origin); err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host) {
			return true // "null" is foreign, too
		}
	}
	return false
}

// record leaves one line a request: debug for what was served, info for what was refused, at a bounded rate.
func (s *Server) record(r *http.Request, endpoint string, why result) {
	level := slog.LevelDebug
	if why != resultServed {
		if !s.audit.Allow() {
			return
		}
		level = slog.LevelInfo
	}
	attrs := []slog.Attr{slog.String("endpoint", endpoint), slog.String("result", string(why))}
	if who, ok := r.Context().Value(peerKey{}).(localPeer); ok {
		attrs = append(attrs, slog.Int("uid", int(who.uid)), slog.Int("pid", int(who.pid)))
	} else if s.log.Enabled(r.Context(), slog.LevelDebug) {
		attrs = append(attrs, slog.String("remote", r.RemoteAddr)) // no address above debug
	}
	s.log.LogAttrs(r.Context(), level, "admin request", attrs...)
}

// peerKey is the context key of the localPeer of a connection on the Unix socket.
type peerKey struct{}

func connContext(ctx context.Context, c net.Conn) context.Context {
	if who, ok := c.RemoteAddr().(localPeer); ok {
		return context.WithValue(ctx, peerKey{}, who)
	}
	return ctx
}
