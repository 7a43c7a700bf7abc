package cse_test

import (
	"context"
	"crypto/x509"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/cse"
	"coapbridge/bridge/onem2m"
)

// TestDownlinkCarriesRequests: a request under a token reaches the device with what stands behind the token as To, and its
// answer goes back under the request's identifiers (TS-0009, 6.2 to 6.4).
func TestDownlinkCarriesRequests(t *testing.T) {
	t.Parallel()
	d := startDownlink(t, newPKI(t), nil, nil)
	d.device.answer = func(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) {
		return &onem2m.Response{Status: onem2m.StatusOK, RequestID: "another", Content: r.Content, MediaType: r.MediaType}, nil
	}
	c := d.connect(t, d.up)
	for _, tt := range []struct {
		name, line string
		op         onem2m.Operation
		to         string
		query      []onem2m.Parameter
	}{
		{"notification to poa", "POST /" + token + " HTTP/1.1", onem2m.Notify, "", nil},
		{"slash behind", "POST /" + token + "/ HTTP/1.1", onem2m.Notify, "", nil},
		{"AE-ID, as ACME", "POST /" + token + "/~/id-in/Cdev HTTP/1.1", onem2m.Notify, "/id-in/Cdev", nil},
		{"retargeted, as ACME", "POST /" + token + "/cse-in/dev HTTP/1.1", onem2m.Notify, "cse-in/dev", nil},
		{"query", "GET /" + token + "/x?fu=1&ty=2+3 HTTP/1.1", onem2m.Retrieve, "x", []onem2m.Parameter{{Key: "fu", Value: "1"}, {Key: "ty", Value: "2+3"}}},
		{"query alone", "DELETE /" + token + "?rcn=0 HTTP/1.1", onem2m.Delete, "", []onem2m.Parameter{{Key: "rcn", Value: "0"}}},
		{"absolute form", "PUT https://gateway.example:8443/" + token + "/x HTTP/1.1", onem2m.Update, "x", nil},
		{"no slash, as tinyIoT", "POST " + token + "/tt/c HTTP/1.1", onem2m.Notify, "tt/c", nil},
		{"query with a URL", "GET /" + token + "?x=a://b/c HTTP/1.1", onem2m.Retrieve, "", []onem2m.Parameter{{Key: "x", Value: "a://b/c"}}},
	} {
		body := `{"m2m:sgn":{"net":3.0,"x":1e400}}`
		if tt.op == onem2m.Retrieve || tt.op == onem2m.Delete {
			body = ""
		}
		a := c.ask(t, httpMessage(tt.line, "rqi "+tt.name, body))
		require.Equal(t, 200, a.StatusCode, tt.name)
		require.Equal(t, "2000", a.rsc(), tt.name)
		require.Equal(t, "rqi "+tt.name, a.Header.Get("X-M2M-RI"))
		require.Equal(t, "3", a.Header.Get("X-M2M-RVI"))
		require.NotEmpty(t, a.Header.Get("Date"))
		require.Equal(t, body, a.body, "content goes byte for byte")
		all := d.device.requests()
		r := all[len(all)-1]
		require.Equal(t, tt.op, r.Operation, tt.name)
		require.Equal(t, tt.to, r.To, tt.name)
		require.Equal(t, tt.query, r.Query, tt.name)
		require.Equal(t, "/id-in", r.From)
		require.Equal(t, body, string(r.Content))
	}
	s := d.Stats()
	require.EqualValues(t, 1, s.CSEs[0].Connections)
	require.EqualValues(t, 9, s.CSEs[0].Requests)
	require.EqualValues(t, 9, s.CSEs[0].Answers[2])
	require.Equal(t, 1, s.CSEs[0].Open)
	require.Zero(t, s.CSEs[0].InProgress)
	require.Empty(t, s.Refused)
}

// TestDownlinkAnswers: what a Deliverer says is mapped, and a request that is none gets its status without being delivered.
func TestDownlinkAnswers(t *testing.T) {
	t.Parallel()
	d := startDownlink(t, newPKI(t), nil, nil)
	answers := map[string]struct {
		resp *onem2m.Response
		err  error
	}{
		"fine":     {&onem2m.Response{Status: onem2m.StatusNotFound}, nil},
		"refused":  {nil, &onem2m.Error{Status: onem2m.StatusNotImplemented}},
		"broken":   {nil, net.ErrClosed},
		"nothing":  {nil, nil},
		"no media": {&onem2m.Response{Status: onem2m.StatusOK, Content: []byte("x"), MediaType: "text/html"}, nil},
		"no code":  {&onem2m.Response{}, nil},
	}
	d.device.answer = func(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) {
		a := answers[r.RequestID]
		return a.resp, a.err
	}
	c := d.connect(t, d.up)
	for rqi, want := range map[string]string{
		"fine": "4004", "refused": "5001", "broken": "5000", "nothing": "5000", "no media": "5000", "no code": "5000",
	} {
		a := c.ask(t, notification("/"+token, rqi))
		require.Equal(t, want, a.rsc(), rqi)
		require.Equal(t, rqi, a.Header.Get("X-M2M-RI"))
		require.Empty(t, a.body)
	}
	n := len(d.device.requests())
	for _, tt := range []struct{ name, request, status, rqi string }{
		{"method", httpMessage("PATCH /"+token+" HTTP/1.1", "r", "{}"), "4005", "r"},
		{"OPTIONS *", httpMessage("OPTIONS * HTTP/1.1", "r", ""), "4005", "r"},
		{"release", "GET /x HTTP/1.1\r\nX-M2M-Origin: /a\r\nX-M2M-RI: r\r\nX-M2M-RVI: 9\r\n\r\n", "4001", "r"},
		{"no Request Identifier", "GET /x HTTP/1.1\r\nX-M2M-Origin: /a\r\nX-M2M-RVI: 3\r\n\r\n", "4000", ""},
		{"no From", "GET /x HTTP/1.1\r\nX-M2M-RI: r\r\nX-M2M-RVI: 3\r\n\r\n", "4000", "r"},
		{"rqet is nonsense", "GET /x HTTP/1.1\r\nX-M2M-Origin: /a\r\nX-M2M-RI: r\r\nX-M2M-RET: soon\r\n\r\n", "4000", "r"},
		{"CR LF that makes a header", "GET /x HTTP/1.1\r\nX-M2M-Origin: /a\r\nX-M2M-RI: r\r\nX-M2M-RI: s\r\n\r\n", "4000", "r"},
		{"path above", "GET /" + token + "/%2e%2e/x HTTP/1.1\r\nX-M2M-Origin: /a\r\nX-M2M-RI: r\r\n\r\n", "4000", "r"},
		{"media type", "POST /x HTTP/1.1\r\nX-M2M-Origin: /a\r\nX-M2M-RI: r\r\nContent-Length: 1\r\n\r\nx", "4015", "r"},
	} {
		a := c.ask(t, tt.request)
		require.Equal(t, tt.status, a.rsc(), tt.name)
		require.Equal(t, tt.rqi, a.Header.Get("X-M2M-RI"), tt.name)
	}
	require.Len(t, d.device.requests(), n, "none is delivered")
	require.Equal(t, 9, d.refused(cse.DownlinkPrimitive))
}

// TestDownlinkDeadline: the request's rqet, or the configured time, ends a delivery with 4008 (TS-0004, 7.3.2).
func TestDownlinkDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := startDownlink(t, newPKI(t), newPipeListener(), nil)
		d.device.answer = func(ctx context.Context, _ *onem2m.Request) (*onem2m.Response, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		c := d.connect(t, d.up)
		for header, want := range map[string]time.Duration{
			"X-M2M-RET: 3000":                      3 * time.Second,
			"X-M2M-RET: 90000":                     20 * time.Second,
			"X-M2M-OT: 20261123T083531":            20 * time.Second,
			"X-M2M-RET: 19991231T235959,5":         0,
			"X-M2M-RET: 20000101T000000\r\nX-Y: z": 0,
		} {
			start := time.Now()
			a := c.ask(t, "POST /"+token+" HTTP/1.1\r\nX-M2M-Origin: /id-in\r\nX-M2M-RI: r\r\n"+header+"\r\n\r\n")
			require.Equal(t, 504, a.StatusCode)
			require.Equal(t, "4008", a.rsc())
			require.Empty(t, a.Header.Get("X-M2M-RVI"), "Mobius4 sends none")
			require.Equal(t, want, time.Since(start), header)
		}
		_ = c.Close()
	})
}

// TestDownlinkRenew: connections that wait end, one that is busy ends with its answer, and new ones take the new certificate.
func TestDownlinkRenew(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	d := startDownlink(t, p, nil, nil)
	begun, release := make(chan struct{}), make(chan struct{})
	d.device.answer = func(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) {
		if r.RequestID == "held" {
			close(begun)
			<-release
		}
		return &onem2m.Response{Status: onem2m.StatusOK}, nil
	}
	idle, busy := d.connect(t, d.up), d.connect(t, d.up)
	require.Equal(t, "2000", idle.ask(t, notification("/"+token, "r")).rsc())
	busy.say(notification("/"+token, "held"))
	<-begun
	d.Renew()
	idle.closed(t)
	close(release)
	require.Equal(t, "2000", busy.hear(t).rsc())
	busy.closed(t)
	require.Equal(t, "2000", d.connect(t, d.up).ask(t, notification("/"+token, "r")).rsc())
}

// TestDownlinkExpiry: a kept connection ends with the certificate that opened it.
func TestDownlinkExpiry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPKI(t)
		d := startDownlink(t, p, newPipeListener(), nil)
		short := p.ca.Issue(t, func(c *x509.Certificate) {
			c.DNSNames, c.ExtKeyUsage = []string{"cse.example"}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
			c.NotAfter = time.Now().Add(time.Minute)
		}).TLS()
		c := d.connect(t, short)
		require.Equal(t, "2000", c.ask(t, notification("/"+token, "r")).rsc())
		<-time.After(61 * time.Second)
		go c.say(notification("/"+token, "late"))
		_, err := c.listen()
		require.Error(t, err)
		require.Len(t, d.device.requests(), 1)
		_ = c.raw.Close()
	})
}

// TestDownlinkShutdown: requests under way are answered, unless patience ends first.
func TestDownlinkShutdown(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	for _, patient := range []bool{true, false} {
		d := startDownlink(t, p, nil, nil)
		begun, release := make(chan struct{}), make(chan struct{})
		d.device.answer = func(ctx context.Context, _ *onem2m.Request) (*onem2m.Response, error) {
			close(begun)
			select {
			case <-release:
			case <-ctx.Done():
			}
			return &onem2m.Response{Status: onem2m.StatusOK}, nil
		}
		idle, busy := d.connect(t, d.up), d.connect(t, d.up)
		raw, err := d.dial() // a handshake that never ends
		require.NoError(t, err)
		busy.say(notification("/"+token, "held"))
		<-begun
		ctx, cancel := context.WithCancel(t.Context())
		down := make(chan error, 1)
		go func() { down <- d.Shutdown(ctx) }()
		idle.closed(t)
		_, err = raw.Read(make([]byte, 1))
		require.Error(t, err)
		_, err = d.dial()
		require.Error(t, err)
		if patient {
			close(release)
			require.Equal(t, "2000", busy.hear(t).rsc())
			require.NoError(t, <-down)
		} else {
			cancel()
			require.ErrorIs(t, <-down, context.Canceled)
			busy.closed(t)
		}
		cancel()
		require.ErrorIs(t, d.Serve(), cse.ErrDownlinkClosed)
	}
}

// TestDownlinkNoToken: the quirk lets To name the AE, and nothing else does.
func TestDownlinkNoToken(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	for _, quirk := range []bool{false, true} {
		d := startDownlink(t, p, nil, func(conf *cse.DownlinkConfig) { conf.CSEs[0].NoToken = quirk })
		c := d.connect(t, d.up)
		for target, known := range map[string]bool{
			"/Cdev": true, "/~/id-in/Cdev": true, "Cdev": true, "/": false, "/cse-in/Cdev": false, "/Cother": false, "/_/sp/id-in/Cdev": false,
			"/Cdev/x": false,
		} {
			want := "4004"
			if known && quirk {
				want = "2000"
			}
			require.Equal(t, want, c.ask(t, notification(target, "r")).rsc(), target)
		}
	}
}

func TestNewDownlinkNamesEveryFault(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	good := cse.DownlinkCSE{Name: "a", CA: p.ca.Pool(), Certificates: []string{"dns:a.example"}}
	for _, tt := range []struct {
		name string
		edit func(*cse.DownlinkConfig)
		want string
	}{
		{"no CSE", func(c *cse.DownlinkConfig) { c.CSEs = nil }, "no CSE is configured"},
		{"no certificate", func(c *cse.DownlinkConfig) { c.Certificate = nil }, "certificate is missing"},
		{"nobody", func(c *cse.DownlinkConfig) { c.Deliver = nil }, "nobody delivers"},
		{"negative", func(c *cse.DownlinkConfig) { c.MaxBody = -1 }, "negative"},
		{"negative of one", func(c *cse.DownlinkConfig) { c.CSEs[0].MaxConns = -1 }, "negative"},
		{"no name", func(c *cse.DownlinkConfig) { c.CSEs[0].Name = "" }, "name is missing"},
		{"no CA", func(c *cse.DownlinkConfig) { c.CSEs[0].CA = nil }, "CA of its client certificates is missing"},
		{"any certificate", func(c *cse.DownlinkConfig) { c.CSEs[0].Certificates = nil }, "no certificate is named"},
		{"wildcard", func(c *cse.DownlinkConfig) { c.CSEs[0].Certificates = []string{"dns:*.example"} }, "without wildcard"},
		{"kind", func(c *cse.DownlinkConfig) { c.CSEs[0].Certificates = []string{"cn:a"} }, "begin with dns:"},
		{"empty", func(c *cse.DownlinkConfig) { c.CSEs[0].Certificates = []string{"uri:"} }, "nothing follows"},
		{"digest", func(c *cse.DownlinkConfig) { c.CSEs[0].Certificates = []string{"sha256:aa"} }, "64 hexadecimal"},
		{"twice", func(c *cse.DownlinkConfig) { c.CSEs = append(c.CSEs, good) }, "name is used twice"},
		{"shared", func(c *cse.DownlinkConfig) {
			c.CSEs = append(c.CSEs, cse.DownlinkCSE{Name: "b", CA: p.ca.Pool(), Certificates: []string{"dns:A.example"}})
		}, `that of CSE "a" too`},
	} {
		conf := cse.DownlinkConfig{CSEs: []cse.DownlinkCSE{good}, Certificate: cse.Static(p.server.TLS()), Deliver: &device{}}
		tt.edit(&conf)
		_, err := cse.NewDownlink(conf, newPipeListener())
		require.ErrorContains(t, err, tt.want, tt.name)
	}
	_, err := cse.NewDownlink(cse.DownlinkConfig{})
	require.ErrorContains(t, err, "there is no listener")
	require.ErrorContains(t, err, "nobody delivers")
}
