package compare

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/coap"
	"coapbridge/dtls"
)

// optionsOf are TS-0008, table 6.2.2.4.0-1: the option of each parameter by its short name.
func optionsOf() map[string]coap.OptionID {
	return map[string]coap.OptionID{
		"ot": 259, "nu": 263, "ty": 267, "rvi": 271, "asri": 275, "fr": 279, "rqi": 283, "rqet": 291, "rset": 295,
		"oet": 299, "ec": 303, "rsc": 307, "gid": 311, "cnot": 319, "cnst": 323, "ati": 327, "vsi": 331, "grtm": 335,
		"aus": 339,
		"omr": 343, "prpi": 347, "msu": 351,
	}
}

// isNumber reports whether a parameter is a uint option.
func isNumber(name string) bool {
	return map[string]bool{"ty": true, "ec": true, "rsc": true, "cnot": true, "cnst": true}[name]
}

// mediaNumbers are TS-0008, table 6.2.2.2-1, and text/plain, which is none of oneM2M's.
func mediaNumbers() map[string]uint32 {
	return map[string]uint32{
		"application/xml": 41, "application/json": 50, "application/cbor": 60, "text/plain": 0,
		"application/senml+json": 110, "application/vnd.onem2m-res+json": 10001, "application/vnd.onem2m-res+cbor": 10010,
	}
}

// device is a constrained device: one DTLS session, and CoAP on it.
type device struct {
	coap *coap.Endpoint
	dtls *dtls.Endpoint
	conn *dtls.Conn
	peer *coap.Peer
	ears ears

	mu    sync.Mutex // guards the following field
	ready *coap.Peer
}

// HandleConn implements dtls.Handler.
func (d *device) HandleConn(conn *dtls.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ready = d.coap.NewPeer(conn, coap.Profile{})
}

// HandleRecord implements dtls.Handler.
func (d *device) HandleRecord(_ *dtls.Conn, b []byte) {
	d.mu.Lock()
	p := d.ready
	d.mu.Unlock()
	d.coap.Receive(p, b)
}

// HandleClosed implements dtls.Handler.
func (d *device) HandleClosed(*dtls.Conn, dtls.Reason) {}

// endpoint is a CoAP endpoint that knows oneM2M's options, and answers as d.
func endpoint(d *device) *coap.Endpoint {
	known := map[coap.OptionID]bool{}
	for _, id := range optionsOf() {
		known[id] = true
	}
	return coap.New(&coap.Config{Handler: d, Understands: func(_ *coap.Peer, id coap.OptionID) bool { return known[id] }})
}

// connect dials the bridge with a pre-shared key.
func connect(t *testing.T, to netip.AddrPort, identity, key string) *device {
	t.Helper()
	d := &device{}
	d.coap = endpoint(d)
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	d.dtls, err = dtls.New(&dtls.Config{
		PSK:     func(context.Context, dtls.PSKQuery) ([]byte, error) { return []byte(key), nil },
		Handler: d,
	}, socket)
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() { _ = d.dtls.Serve() })
	running.Go(func() { _ = d.coap.Serve() })
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = d.dtls.Shutdown(ctx)
		_ = d.coap.Shutdown(ctx)
		running.Wait()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	d.conn, err = d.dtls.Dial(ctx, to, dtls.PeerID{Kind: dtls.KindPSK, ID: identity})
	require.NoError(t, err)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.peer = d.ready
	return d
}

// do sends r by TS-0008 and returns the answer.
func (d *device) do(t *testing.T, r *request) *answer {
	t.Helper()
	m := message(t, r)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	got, err := d.coap.Do(ctx, d.peer, m)
	require.NoError(t, err)
	return read(got)
}

// message writes r as TS-0008, 6.2 has it.
func message(t *testing.T, r *request) *coap.Message {
	t.Helper()
	m := &coap.Message{Payload: []byte(r.body), Code: map[int]coap.Code{
		create: coap.POST, retrieve: coap.GET, update: coap.PUT, remove: coap.DELETE, notify: coap.POST,
	}[r.op]} // TS-0008, table 6.2.1-1
	to := r.to
	switch { // TS-0008, 6.2.2.3
	case strings.HasPrefix(to, "//"):
		to = "_/" + to[2:]
	case strings.HasPrefix(to, "/"):
		to = "~" + to
	}
	for segment := range strings.SplitSeq(to, "/") {
		m.Options = m.Options.AddString(coap.URIPath, segment)
	}
	if rt := r.queried("rt"); rt == "1" || rt == "2" || rt == "4" { // TS-0008, 6.3.2 to 6.3.4
		m.Code = coap.POST
		m.Options = m.Options.AddString(coap.URIQuery, "op="+strconv.Itoa(r.op))
	}
	for _, q := range r.query {
		m.Options = m.Options.AddString(coap.URIQuery, q)
	}
	if r.media != "" {
		m.Options = m.Options.AddUint(coap.ContentFormat, number(t, r.media))
	}
	if r.accept != "" {
		m.Options = m.Options.AddUint(coap.Accept, number(t, r.accept))
	}
	params := append([][2]string{{"fr", r.from}, {"rqi", r.rqi}, {"rvi", r.rvi}}, r.more...)
	if r.ty != 0 {
		params = append(params, [2]string{"ty", strconv.Itoa(r.ty)})
	}
	for _, p := range params {
		switch {
		case p[1] == absent:
		case p[0] == "tkns": // TS-0008, 6.2.2.3
			m.Options = m.Options.AddString(coap.URIQuery, "tkns="+p[1])
		case isNumber(p[0]):
			v, err := strconv.ParseUint(p[1], 10, 32)
			require.NoError(t, err)
			m.Options = m.Options.AddUint(optionsOf()[p[0]], uint32(v))
		default:
			m.Options = m.Options.AddString(optionsOf()[p[0]], p[1])
		}
	}
	return m
}

func number(t *testing.T, media string) uint32 {
	t.Helper()
	id, known := mediaNumbers()[media]
	if !known {
		return 65000 // in the range for experiments: nobody knows it either
	}
	return id
}

// unnamed is how an option is shown that none of the tables names.
func unnamed(id coap.OptionID) string { return fmt.Sprintf("option %d", id) }

// read takes an answer apart. An option that belongs neither to the hop nor to oneM2M is shown as it is.
func read(m *coap.Message) *answer {
	a := &answer{code: m.Code.String(), params: map[string]string{}, content: m.Payload}
	names := map[coap.OptionID]string{}
	for short, id := range optionsOf() {
		names[id] = short
	}
	var location []string
	for _, o := range m.Options {
		v, _ := m.Options.Uint(o.ID)
		switch short := names[o.ID]; {
		case o.ID == coap.Block2 || o.ID == coap.Size2 || o.ID == coap.Block1: // the transfer's
		case o.ID == coap.ETag:
			a.params["etag"] = fmt.Sprintf("<%d bytes>", len(o.Value))
		case o.ID == coap.MaxAge && v == 0: // TS-0008, 6.4; any other is shown
		case o.ID == coap.LocationPath:
			location = append(location, string(o.Value))
		case o.ID == coap.ContentFormat:
			a.media = fmt.Sprintf("Content-Format %d", v)
			for media, id := range mediaNumbers() {
				if id == v {
					a.media = media
				}
			}
		case short == "":
			a.params[unnamed(o.ID)] = fmt.Sprintf("%x", o.Value)
		case isNumber(short):
			a.params[short] = strconv.FormatUint(uint64(v), 10)
		default:
			a.params[short] = string(o.Value)
		}
	}
	if location != nil {
		switch path := strings.Join(location, "/"); {
		case strings.HasPrefix(path, "_/"):
			a.params["created"] = "/" + path[1:]
		case strings.HasPrefix(path, "~/"):
			a.params["created"] = path[1:]
		default:
			a.params["created"] = path
		}
	}
	return a
}
