package daemon

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/cse/csetest"
	"coapbridge/bridge/devices"
	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
	"coapbridge/dtls"
	"coapbridge/internal/testpki"
)

// TestLibcoap: both of libcoap's clients post and get with a key and with a certificate; the CSE holds what was sent.
func TestLibcoap(t *testing.T) {
	t.Parallel()
	for _, client := range []libcoap{openssl, gnutls} {
		t.Run(string(client), func(t *testing.T) {
			t.Parallel()
			f := start(t)
			certFile, keyFile := f.ca.Client(t, "urn:test:door").Write(t, f.dir, "door")
			door := []string{"-c", certFile, "-j", keyFile, "-C", f.path("ca.crt")}

			client.run(t, meter("-m", "post", "-t", "0", "-e", "21.5", f.uri+"/room/temperature")...)
			content, held := f.cse.Content("cse-in/meter1/room/temperature/la")
			require.True(t, held, "the CSE holds no contentInstance")
			require.Equal(t, `"21.5"`, string(content))
			out, _ := client.run(t, meter("-m", "get", f.uri+"/room/temperature")...)
			require.Equal(t, "21.5\n", out)

			client.run(t, append(door, "-m", "put", "-e", "open", f.uri+"/state")...)
			content, _ = f.cse.Content("cse-in/door/state/la")
			require.Equal(t, `"open"`, string(content))
			out, _ = client.run(t, append(door, "-m", "get", f.uri+"/state")...)
			require.Equal(t, "open\n", out)

			out, _ = client.run(t, meter("-m", "get", f.uri+"/.well-known/core")...)
			require.Contains(t, out, "</room/temperature>")
			client.run(t, meter("-m", "delete", f.uri+"/room/temperature")...)
			_, held = f.cse.Resource("cse-in/meter1/room/temperature")
			require.False(t, held)
		})
	}
}

// TestRefused: each wrong credential is refused, and counted under its own reason.
func TestRefused(t *testing.T) {
	t.Parallel()
	f := start(t)
	foreign := testpki.NewCA(t, "foreign")
	expired := f.ca.Issue(t, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
		c.URIs = f.ca.Client(t, "urn:test:door").Cert.URIs
	})
	leaf := func(name string, l *testpki.Leaf) []string {
		certFile, keyFile := l.Write(t, f.dir, name)
		return []string{"-c", certFile, "-j", keyFile, "-C", f.path("ca.crt")}
	}
	for name, c := range map[string]struct {
		args    []string
		outcome string
	}{
		"wrong key":                {[]string{"-u", "meter1", "-k", "not-the-key-of-this-device"}, "psk_failed"},
		"unknown identity":         {[]string{"-u", "nobody", "-k", meterKey}, "psk_failed"},
		"foreign CA":               {leaf("foreign", foreign.Client(t, "urn:test:door")), "certificate_untrusted"},
		"expired certificate":      {leaf("expired", expired), "certificate_expired"},
		"certificate of no device": {leaf("stranger", f.ca.Client(t, "urn:test:stranger")), "certificate_refused"},
		"no certificate":           {[]string{"-C", f.path("ca.crt")}, "no_certificate"},
	} {
		before := f.metric(handshakes(c.outcome))
		openssl.run(t, append(c.args, "-B", "6", "-m", "get", f.uri+"/x")...)
		require.Eventually(t, func() bool { return f.metric(handshakes(c.outcome)) != before }, 10*time.Second, 50*time.Millisecond,
			"%s is not counted as %s", name, c.outcome)
	}

	// plain CoAP on the port: silence
	plain, err := net.Dial("udp", f.addr().String())
	require.NoError(t, err)
	defer plain.Close()
	_, err = plain.Write([]byte{0x40, 0x01, 0x12, 0x34, 0xb1, 'x'})
	require.NoError(t, err)
	require.NoError(t, plain.SetReadDeadline(time.Now().Add(300*time.Millisecond)))
	_, err = plain.Read(make([]byte, 100))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "an answer came")
	require.Equal(t, "1", f.metric(handshakes("not_dtls")))
	require.Zero(t, f.cse.Count())
}

func handshakes(outcome string) string {
	return fmt.Sprintf("coapbridge_dtls_handshakes_total{outcome=%q}", outcome)
}

// TestD01Replay: a recorded application record sent again 1,000 times, in and out of order, from the same and from another
// address, is delivered once.
func TestD01Replay(t *testing.T) {
	t.Parallel()
	f := start(t)
	w := tap(t, f.addr())
	c := connect(t, w.addr(), "meter1", meterKey)
	var recorded [][]byte
	for i := range 4 {
		require.Equal(t, coap.Created, c.exchange(plain(coap.POST, "a", fmt.Sprint(i))).Code)
		recorded = append(recorded, w.last())
	}
	require.Equal(t, 4, f.instances())
	elsewhere, err := net.Dial("udp", f.addr().String())
	require.NoError(t, err)
	defer elsewhere.Close()
	for i := range 1000 {
		w.again(recorded[(i*7)%len(recorded)])
		_, err := elsewhere.Write(recorded[i%len(recorded)])
		require.NoError(t, err)
		if i%50 == 49 { // no faster than the socket is read: a datagram lost in the kernel would prove nothing
			c.exchange(plain(coap.GET, "a", ""))
		}
	}
	require.Eventually(t, func() bool { return f.metric(`coapbridge_dtls_dropped_total{reason="replay"}`) == "1000" },
		5*time.Second, 20*time.Millisecond)
	require.Equal(t, "1000", f.metric(`coapbridge_dtls_dropped_total{reason="no_session"}`))
	require.Equal(t, 4, f.instances())
}

// plain makes a request without oneM2M options.
func plain(code coap.Code, path, payload string) *coap.Message {
	m := &coap.Message{Code: code, Payload: []byte(payload)}
	for s := range strings.SplitSeq(path, "/") {
		m.Options = m.Options.AddString(coap.URIPath, s)
	}
	return m
}

// TestC06SameMessageThrice: the same CON three times creates one contentInstance, and is answered three times alike.
func TestC06SameMessageThrice(t *testing.T) {
	t.Parallel()
	f := start(t)
	c := connect(t, f.addr(), "meter1", meterKey)
	c.exchange(plain(coap.POST, "a", "first"))
	before := f.instances()
	send := func(mid uint16, payload string) {
		m := plain(coap.POST, "a", payload)
		m.MessageID, m.Token = mid, []byte("token-3x")
		datagram, err := m.AppendBinary(nil)
		require.NoError(t, err)
		require.NoError(t, c.conn.Send(datagram))
	}
	await := func(n int) {
		require.Eventually(t, func() bool { return len(c.records()) >= n }, 5*time.Second, 5*time.Millisecond)
	}

	seen := len(c.records())
	send(0x7a7a, "once")
	await(seen + 1)
	send(0x7a7a, "once")
	send(0x7a7a, "once")
	await(seen + 3)
	answers := c.records()[seen:]
	require.Equal(t, answers[0], answers[1])
	require.Equal(t, answers[0], answers[2])
	require.Equal(t, before+1, f.instances())

	release := make(chan struct{})
	f.cse.SetHook(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		<-release
		next.ServeHTTP(w, r)
	})
	seen = len(c.records())
	for range 3 {
		send(0x7a7b, "once, repeated on its way")
	}
	await(seen + 2) // each repetition is acknowledged
	close(release)
	await(seen + 3) // and the response comes separately
	require.Equal(t, before+2, f.instances())
}

// TestBlockwise: a body of 40 KiB goes up and comes down in blocks of 256 bytes, byte for byte.
func TestBlockwise(t *testing.T) {
	t.Parallel()
	f := start(t)
	body := make([]byte, 40<<10)
	_, err := rand.Read(body)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(f.path("body"), body, 0o600))
	openssl.run(t, meter("-m", "put", "-b", "256", "-t", "42", "-f", f.path("body"), f.uri+"/firmware")...)
	openssl.run(t, meter("-m", "get", "-b", "256", "-o", f.path("back"), f.uri+"/firmware")...)
	back, err := os.ReadFile(f.path("back"))
	require.NoError(t, err)
	require.True(t, bytes.Equal(body, back), "%d bytes came back", len(back))

	require.NoError(t, os.WriteFile(f.path("body"), make([]byte, 65<<10), 0o600))
	_, errs := openssl.run(t, meter("-m", "put", "-b", "1024", "-f", f.path("body"), f.uri+"/firmware")...)
	require.Contains(t, errs, "4.13")
}

// TestB01ForeignOriginator: From of another device is 4.03 with RSC 4106, counted, and never reaches the CSE.
func TestB01ForeignOriginator(t *testing.T) {
	t.Parallel()
	f := start(t)
	c := connect(t, f.addr(), "meter1", meterKey)
	answer, resp := c.do(&onem2m.Request{Operation: onem2m.Retrieve, To: "cse-in", From: "Cother1"})
	require.Equal(t, coap.Forbidden, answer.Code)
	require.Equal(t, onem2m.StatusOriginatorNotAuthenticated, resp.Status)
	require.Zero(t, f.cse.Count())
	require.Equal(t, "1", f.metric(`coapbridge_bridge_refusals_total{reason="originator"}`))
}

// TestB02Squat: a wildcard takes no AE-ID that another device's entry names or its AE asks for, not even before that one
// was there.
func TestB02Squat(t *testing.T) {
	t.Parallel()
	f := start(t, func(f *fixture, text string) string {
		f.write("devices.yaml", strings.Replace(devicesText, `["Cother*"]`, `["C*"]`, 1))
		return text
	})
	squatter := connect(t, f.addr(), "other", otherKey)
	for _, aei := range []string{"Cmeter1", "Cdoor"} {
		_, resp := squatter.do(&onem2m.Request{Operation: onem2m.Create, ResourceType: onem2m.TypeAE, To: "cse-in", From: aei,
			Content: []byte(`{"m2m:ae":{"rn":"x","api":"N1","rr":false,"srv":["3"]}}`), MediaType: "application/json"})
		require.Equal(t, onem2m.StatusOriginatorNotAuthenticated, resp.Status, aei)
	}
	require.Zero(t, f.cse.Count())
	require.Equal(t, coap.Created, connect(t, f.addr(), "meter1", meterKey).exchange(plain(coap.POST, "a", "1")).Code)
	require.Equal(t, coap.Created, connectAs(t, f.addr(), f.ca.Client(t, "urn:test:door")).exchange(plain(coap.POST, "a", "1")).Code)
}

// TestOneM2MSession: registration, storage, discovery and removal as a oneM2M device does it.
func TestOneM2MSession(t *testing.T) {
	t.Parallel()
	f := start(t)
	c := connect(t, f.addr(), "other", otherKey)
	step := func(want onem2m.StatusCode, r onem2m.Request) *onem2m.Response {
		r.From = "Cother1"
		if r.Content != nil {
			r.MediaType = "application/json"
		}
		_, resp := c.do(&r)
		require.Equal(t, want, resp.Status, "%s %s: %s", r.Operation, r.To, resp.Content)
		return resp
	}
	step(onem2m.StatusCreated, onem2m.Request{Operation: onem2m.Create, ResourceType: onem2m.TypeAE, To: "cse-in",
		Content: []byte(`{"m2m:ae":{"rn":"other","api":"Ntest","rr":false,"srv":["3"]}}`)})
	bindings, err := os.ReadFile(f.path("bindings.jsonl"))
	require.NoError(t, err)
	require.Contains(t, string(bindings), "Cother1", "the binding is on disk before the answer leaves")
	step(onem2m.StatusCreated, onem2m.Request{Operation: onem2m.Create, ResourceType: onem2m.TypeContainer, To: "cse-in/other",
		Content: []byte(`{"m2m:cnt":{"rn":"c","lbl":["kitchen"]}}`)})
	step(onem2m.StatusConflict, onem2m.Request{Operation: onem2m.Create, ResourceType: onem2m.TypeContainer, To: "cse-in/other",
		Content: []byte(`{"m2m:cnt":{"rn":"c"}}`)})
	step(onem2m.StatusCreated, onem2m.Request{Operation: onem2m.Create, ResourceType: onem2m.TypeContentInstance,
		To: "/id-in/cse-in/other/c", Content: []byte(`{"m2m:cin":{"con":"é \" {}"}}`)})
	got := step(onem2m.StatusOK, onem2m.Request{Operation: onem2m.Retrieve, To: "cse-in/other/c/la"})
	require.Contains(t, string(got.Content), `"con":"é \" {}"`)
	step(onem2m.StatusUpdated, onem2m.Request{Operation: onem2m.Update, To: "-/other/c", Content: []byte(`{"m2m:cnt":{"mni":5}}`)})
	found := step(onem2m.StatusOK, onem2m.Request{Operation: onem2m.Retrieve, To: "cse-in",
		Query: []onem2m.Parameter{{Key: "fu", Value: "1"}, {Key: "lbl", Value: "kitchen"}}})
	require.Contains(t, string(found.Content), "cse-in/other/c")
	step(onem2m.StatusDeleted, onem2m.Request{Operation: onem2m.Delete, To: "cse-in/other/c"})
	step(onem2m.StatusNotFound, onem2m.Request{Operation: onem2m.Retrieve, To: "cse-in/other/c"})
}

// TestCSEStopped: a device gets its answer within the deadline while the CSE is away, and the next request after the
// CSE's return succeeds.
func TestCSEStopped(t *testing.T) {
	t.Parallel()
	f := start(t)
	c := connect(t, f.addr(), "meter1", meterKey)
	require.Equal(t, coap.Created, c.exchange(plain(coap.POST, "a", "1")).Code)
	f.cse.Stop()
	began := time.Now()
	answer := c.exchange(plain(coap.POST, "a", "2"))
	require.Equal(t, coap.ServiceUnavailable, answer.Code)
	_, retry := answer.Options.Find(coap.MaxAge)
	require.True(t, retry)
	require.Less(t, time.Since(began), 4*time.Second)
	require.Contains(t, f.get("/readyz"), `"ready":false`)

	_, err := f.cse.Start(f.cseAt)
	require.NoError(t, err)
	require.Equal(t, coap.Created, c.exchange(plain(coap.POST, "a", "3")).Code)
	require.Contains(t, f.get("/readyz"), `"ready":true`)

	f.cse.SetHook(func(_ http.ResponseWriter, r *http.Request, _ http.Handler) { <-r.Context().Done() })
	began = time.Now()
	require.Equal(t, coap.GatewayTimeout, c.exchange(plain(coap.GET, "a", "")).Code)
	require.Less(t, time.Since(began), 5*time.Second)
	f.cse.SetHook(nil)
	require.Equal(t, coap.Content, c.exchange(plain(coap.GET, "a", "")).Code)
}

// TestO02DeviceRemoved: a device that is removed while its session lives is cut off within a second, and not let in again.
func TestO02DeviceRemoved(t *testing.T) {
	t.Parallel()
	f := start(t)
	c := connect(t, f.addr(), "meter1", meterKey)
	other := connect(t, f.addr(), "other", otherKey)
	require.Equal(t, coap.Created, c.exchange(plain(coap.POST, "a", "1")).Code)
	began := time.Now()
	require.NoError(t, devices.Remove(t.Context(), f.path("devices.yaml"), "meter1"))
	select {
	case why := <-c.closed:
		require.Equal(t, dtls.ReasonPeerClosed, why)
		require.Less(t, time.Since(began), time.Second)
	case <-time.After(5 * time.Second):
		t.Fatal("the session lives on")
	}
	_, err := tryConnect(t, f.addr(), "meter1", meterKey, time.Second)
	require.Error(t, err)
	require.Equal(t, coap.Created, other.exchange(plain(coap.POST, "a", "1")).Code, "the others are not touched")
	require.Equal(t, "1", f.metric(`coapbridge_dtls_closed_sessions_total{reason="revoked"}`))
}

// TestO01NothingLeaks: after good and bad requests no key, identity, payload or address stands in the log, the metrics or
// the bindings file. Of the CSE's address that is said of log and metrics: /readyz is for the operator.
func TestO01NothingLeaks(t *testing.T) {
	t.Parallel()
	const payload = "planted-payload-4711"
	f := start(t)
	c := connect(t, f.addr(), "meter1", meterKey)
	c.exchange(plain(coap.POST, "planted-path", payload))
	c.do(&onem2m.Request{Operation: onem2m.Retrieve, To: "cse-in", From: "Cplanted-originator"})
	_, err := tryConnect(t, f.addr(), "planted-identity", meterKey, 2*time.Second)
	require.Error(t, err)
	require.Eventually(t, func() bool { return f.metric(handshakes("psk_failed")) == "1" }, 10*time.Second, 50*time.Millisecond)
	f.cse.Stop()
	c.exchange(plain(coap.POST, "planted-path", payload))
	bindings, err := os.ReadFile(f.path("bindings.jsonl"))
	require.NoError(t, err)
	everything := f.log.String() + f.get("/metrics") + f.get("/readyz") + string(bindings)
	require.Contains(t, f.log.String(), f.names.Device(dtls.PeerID{Kind: dtls.KindPSK, ID: "meter1"}), "the log names the device by its pseudonym")
	require.Contains(t, f.log.String(), `"cse_unreachable"`)
	for _, planted := range []string{meterKey, otherKey, payload, "planted-path", "planted-identity", "planted-originator",
		"127.0.0.1:" + fmt.Sprint(c.conn.RemoteAddr().Port())} {
		require.NotContains(t, everything, planted)
	}
	for _, planted := range []string{"meter1", f.cseAt, strings.TrimPrefix(f.cseAt, csetest.Loopback)} {
		require.NotContains(t, f.log.String()+f.get("/metrics"), planted)
	}
}

// TestW01CraftedRequest: what a device puts into path and query never changes the request's target or headers: it is
// refused, or stands there encoded.
func TestW01CraftedRequest(t *testing.T) {
	t.Parallel()
	f := start(t)
	c := connect(t, f.addr(), "other", otherKey)
	for _, crafted := range []string{"..", ".", "%2f", "%2e%2e", "%252e", "a\r\nX-M2M-Origin: CAdmin", "a\x00", "\xff", `a\b`} {
		m, err := (&onem2m.Request{Operation: onem2m.Retrieve, To: "cse-in", From: "Cother1", RequestID: "1", ReleaseVersion: "3"}).CoAP(onem2m.CoAPProfile{})
		require.NoError(t, err)
		m.Options = m.Options.AddString(coap.URIPath, crafted)
		require.Contains(t, []coap.Code{coap.BadRequest, coap.BadOption}, c.exchange(m).Code, "%q", crafted)
	}
	require.Zero(t, f.cse.Count())
	_, resp := c.do(&onem2m.Request{Operation: onem2m.Retrieve, To: "cse-in/a?b#c d", From: "Cother1", RequestID: "2",
		Query: []onem2m.Parameter{{Key: "lbl", Value: "x y?z=1#\"ü"}}})
	require.NotZero(t, resp.Status)
	requests := f.cse.Requests()
	require.Len(t, requests, 1)
	require.Equal(t, `/cse-in/a%3Fb%23c%20d?lbl=x%20y%3Fz%3D1%23%22%C3%BC`, requests[0].Target)
	require.Equal(t, []string{"Cother1"}, requests[0].Header.Values("X-M2M-Origin"))
}

// TestIdentityPerDevice: requests go up with the client certificate that the device's entry names, and as the bridge's own
// for a device that names none; a CSE that wants one for each device refuses to start without.
func TestIdentityPerDevice(t *testing.T) {
	t.Parallel()
	f := start(t, func(f *fixture, text string) string {
		leaf := f.cseCA.Issue(t, func(c *x509.Certificate) {
			c.Subject.CommonName, c.ExtKeyUsage = "meter1 at the CSE", []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		})
		leaf.Write(t, f.dir, "meter1-client")
		f.write("devices.yaml", strings.Replace(devicesText, "  - name: meter1\n", "  - name: meter1\n    client: one\n", 1))
		return strings.Replace(text, "    cseID:", "    clients: {one: {certificate: meter1-client.crt, key: meter1-client.key}}\n    cseID:", 1)
	})
	connect(t, f.addr(), "meter1", meterKey).exchange(plain(coap.POST, "a", "1"))
	first := f.cse.Requests()
	require.NotEmpty(t, first)
	for _, r := range first {
		require.Equal(t, "meter1 at the CSE", r.Client)
	}
	connect(t, f.addr(), "other", otherKey).exchange(plain(coap.POST, "a", "1"))
	for _, r := range f.cse.Requests()[len(first):] {
		require.Equal(t, "test leaf", r.Client)
	}

	text, err := os.ReadFile(f.path("coap-bridge.yaml"))
	require.NoError(t, err)
	f.write("coap-bridge.yaml", strings.Replace(string(text), "    cseID:", "    identity: perDevice\n    cseID:", 1))
	err = f.d.Reload()
	require.ErrorContains(t, err, "devices[1].client")
	require.ErrorContains(t, err, "devices[2].client")
}

// TestServerName: the CSE's certificate has the name that the configuration says, and not the URL's host.
func TestServerName(t *testing.T) {
	t.Parallel()
	f := start(t, func(f *fixture, text string) string {
		second := csetest.New(csetest.Config{Certificate: f.cseCA.Server(t, "cse.internal").TLS(), ClientCAs: f.cseCA.Pool()})
		t.Cleanup(second.Close)
		url, err := second.Start("127.0.0.1:0")
		require.NoError(t, err)
		return strings.Replace(text, "https://"+f.cseAt, url+"\n    serverName: cse.internal", 1)
	})
	require.Equal(t, coap.Created, connect(t, f.addr(), "meter1", meterKey).exchange(plain(coap.POST, "a", "1")).Code)
}

// TestDrain: Shutdown answers what is in progress, and tells the devices.
func TestDrain(t *testing.T) {
	t.Parallel()
	f := start(t)
	c := connect(t, f.addr(), "meter1", meterKey)
	c.exchange(plain(coap.POST, "a", "1"))
	entered, release := make(chan struct{}), make(chan struct{})
	f.cse.SetHook(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		close(entered)
		<-release
		next.ServeHTTP(w, r)
	})
	codes := make(chan coap.Code, 1)
	go func() {
		m, err := c.coap.Do(context.Background(), c.peer, plain(coap.POST, "a", "2"))
		if err != nil {
			codes <- 0
			return
		}
		codes <- m.Code
	}()
	<-entered
	ended := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		ended <- f.stop(ctx)
	}()
	close(release)
	require.Equal(t, coap.Created, <-codes)
	require.NoError(t, <-ended)
}

// TestReadyz: the checks have names and say what they look at.
func TestReadyz(t *testing.T) {
	t.Parallel()
	f := start(t)
	var answer struct {
		Ready  bool
		Checks []struct{ Name, State string }
	}
	require.NoError(t, json.Unmarshal([]byte(f.get("/readyz")), &answer))
	var names []string
	for _, c := range answer.Checks {
		names = append(names, c.Name)
	}
	require.Equal(t, []string{"clock", "certificates", "files", "cse_in"}, names)
	require.Equal(t, "ok\n", f.get("/healthz"))
}
