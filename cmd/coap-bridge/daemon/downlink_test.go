package daemon

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/cse/csetest"
	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
	"coapbridge/dtls"
)

// calls is an edit of start: the CSE calls the bridge.
func calls(_ *fixture, text string) string {
	text = strings.Replace(text, "cses:\n", "downlink: {listen: [\"127.0.0.1:0\"], url: \"https://127.0.0.1:0\"}\ncses:\n", 1)
	return strings.Replace(text, "    timeout: 3s\n", "    timeout: 3s\n    downlink: {certificates: [\"uri:urn:test:cse\"]}\n", 1)
}

// other makes an AE, a container and a subscription for it, all as the device "other".
func (f *fixture) other(c *client) {
	f.t.Helper()
	for _, step := range []struct {
		to, content string
		kind        onem2m.ResourceType
	}{
		{"cse-in", `{"m2m:ae":{"rn":"other","api":"Ntest","rr":true,"poa":["coap://device.example:5684/in"],"srv":["3"]}}`, onem2m.TypeAE},
		{"cse-in/other", `{"m2m:cnt":{"rn":"c"}}`, onem2m.TypeContainer},
		{"cse-in/other/c", `{"m2m:sub":{"rn":"s","nu":["Cother1"],"enc":{"net":[3]},"nct":1}}`, onem2m.TypeSubscription},
	} {
		_, resp := c.do(&onem2m.Request{Operation: onem2m.Create, ResourceType: step.kind, To: step.to, From: "Cother1",
			Content: []byte(step.content), MediaType: "application/json"})
		require.Equal(f.t, onem2m.StatusCreated, resp.Status, "%s", resp.Content)
	}
}

// post makes a contentInstance as somebody who has nothing to do with the bridge.
func (f *fixture) post(value string) {
	f.t.Helper()
	own := f.cseCA.Client(f.t).TLS()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: f.cseCA.Pool(), Certificates: []tls.Certificate{own}}, DisableKeepAlives: true}
	r, err := http.NewRequest(http.MethodPost, "https://"+f.cseAt+"/cse-in/other/c", strings.NewReader(fmt.Sprintf(`{"m2m:cin":{"con":%q}}`, value)))
	require.NoError(f.t, err)
	r.Header = http.Header{"X-M2M-Origin": {"CAdmin"}, "X-M2M-RI": {"p" + value}, "X-M2M-RVI": {"3"}, "Content-Type": {"application/json;ty=4"}}
	resp, err := (&http.Client{Transport: transport}).Do(r)
	require.NoError(f.t, err)
	require.NoError(f.t, resp.Body.Close())
	require.Equal(f.t, http.StatusCreated, resp.StatusCode)
}

// counts waits until a line of /metrics has a value: what was counted is counted after the other end heard of it.
func (f *fixture) counts(line, want string) {
	f.t.Helper()
	require.Eventually(f.t, func() bool { return f.metric(line) == want }, 10*time.Second, 10*time.Millisecond, line)
}

// told waits for a notification with the value.
func (c *client) told(value string) {
	c.t.Helper()
	select {
	case r := <-c.asked:
		require.Equal(c.t, onem2m.Notify, r.Operation)
		require.Contains(c.t, string(r.Content), value)
	case <-time.After(10 * time.Second):
		require.FailNow(c.t, "no notification")
	}
}

// TestDownlink: a CSE's notification reaches the device on its live session; what the device wrote of itself reaches no CSE,
// and it sees nothing else; after a restart of the bridge the same address leads to the device.
func TestDownlink(t *testing.T) {
	t.Parallel()
	f := start(t, calls)
	c := connect(t, f.addr(), "other", otherKey)
	f.other(c)
	f.post("21.5")
	c.told("21.5")

	at := fmt.Sprintf("https://127.0.0.1:%d/", f.d.DownlinkAddresses()[0].Port())
	ae, held := f.cse.Resource("cse-in/other")
	require.True(t, held)
	require.Contains(t, string(ae), at)
	require.NotContains(t, string(ae), "device.example", "S42")
	_, resp := c.do(&onem2m.Request{Operation: onem2m.Retrieve, To: "cse-in/other", From: "Cother1"})
	require.Contains(t, string(resp.Content), "coap://device.example:5684/in")
	require.NotContains(t, string(resp.Content), at)
	f.counts(`coapbridge_bridge_deliveries_total{outcome="answered"}`, "1")
	f.counts(`coapbridge_downlink_answers_total{class="2",cse="in"}`, "1")
	f.counts(`coapbridge_admin_check_state{check="downlink",state="ok"}`, "1")
	bindings, err := os.ReadFile(f.path("bindings.jsonl"))
	require.NoError(t, err)
	_, token, _ := strings.Cut(string(ae), at)
	token, _, _ = strings.Cut(token, `"`)
	require.Contains(t, string(bindings), token)
	require.NotContains(t, f.log.String(), token, "S46")
}

// TestB05Downlink: a certificate that is not the CSE's gets no connection, whoever issued it, and a token that is nobody's no
// answer but the one.
func TestB05Downlink(t *testing.T) {
	t.Parallel()
	f := start(t, calls)
	at := "https://" + f.d.DownlinkAddresses()[0].String()
	ask := func(leaf tls.Certificate) (*http.Response, error) {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: f.ca.Pool(), Certificates: []tls.Certificate{leaf}}, DisableKeepAlives: true}
		r, err := http.NewRequest(http.MethodPost, at+"/AAAAAAAAAAAAAAAAAAAAAA", strings.NewReader(`{"m2m:sgn":{"vrq":true}}`))
		require.NoError(t, err)
		r.Header = http.Header{"X-M2M-Origin": {"/id-in"}, "X-M2M-RI": {"1"}, "X-M2M-RVI": {"3"}, "Content-Type": {"application/json"}}
		return (&http.Client{Transport: transport}).Do(r)
	}
	for _, leaf := range []tls.Certificate{{}, f.cseCA.Client(t).TLS(), f.cseCA.Client(t, "urn:test:cse2").TLS(), f.ca.Client(t, "urn:test:cse").TLS()} {
		resp, err := ask(leaf)
		if err == nil {
			_ = resp.Body.Close()
		}
		require.Error(t, err)
	}
	resp, err := ask(f.cseCA.Client(t, "urn:test:cse").TLS())
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusNotFound, resp.StatusCode)
	f.counts(`coapbridge_downlink_refused_total{reason="no_access"}`, "1")
}

// TestDial: the bridge begins the session with a device that waits for one, with the key of that direction, and only at the
// address of its entry.
func TestDial(t *testing.T) {
	t.Parallel()
	const downKey = "down-key-of-the-tests-0003"
	listening, err := listenAs(t, dtls.Config{PSK: func(_ context.Context, q dtls.PSKQuery) ([]byte, error) {
		require.Equal(t, "other", q.Peer.ID)
		return []byte(downKey), nil
	}})
	require.NoError(t, err)
	f := start(t, calls, func(f *fixture, text string) string {
		entry := fmt.Sprintf("      up: text:%s\n      down: text:%s\n    address: %q\n", otherKey, downKey, listening.addr)
		f.write("devices.yaml", strings.Replace(devicesText, "      up: text:"+otherKey+"\n", entry, 1))
		return text
	})
	c := connect(t, f.addr(), "other", otherKey)
	f.other(c)
	c.end() // its session is gone; the device waits at its address
	f.post("7")
	listening.told("7")
	f.post("8")
	listening.told("8")
	require.Empty(t, c.asked)

	_, err = f.d.dial(t.Context(), f.addr(), dtls.PeerID{Kind: dtls.KindPSK, ID: "other"})
	require.ErrorIs(t, err, errNotEntry, "S42")
	_, err = f.d.dial(t.Context(), listening.addr, dtls.PeerID{Kind: dtls.KindPSK, ID: "meter1"})
	require.ErrorIs(t, err, errNotEntry, "S42")
}

// TestPolling: a CSE that can't reach the bridge is asked, and the device hears of it all the same.
func TestPolling(t *testing.T) {
	t.Parallel()
	f := start(t, func(_ *fixture, text string) string {
		return strings.Replace(text, "    timeout: 3s\n", "    timeout: 3s\n    downlink: {mode: poll, pollTimeout: 5s}\n", 1)
	})
	require.Empty(t, f.d.DownlinkAddresses())
	c := connect(t, f.addr(), "other", otherKey)
	f.other(c)
	require.Eventually(t, func() bool {
		return slices.ContainsFunc(f.cse.Requests(), func(r csetest.RecordedRequest) bool { return strings.Contains(r.Target, "/pcu") })
	}, 10*time.Second, 10*time.Millisecond, "before, a CSE has nowhere to put a notification")
	for _, value := range []string{"21.5", "22.5", "23.5"} {
		f.post(value)
		c.told(value)
	}
	require.Empty(t, c.asked)
	ae, held := f.cse.Resource("cse-in/other")
	require.True(t, held)
	require.NotContains(t, string(ae), "poa")
	f.counts(`coapbridge_bridge_deliveries_total{outcome="answered"}`, "3")
	f.counts(`coapbridge_poller_requests_total{cse="in"}`, "3")
}

// TestDownlinkPortTaken: an address that is in use stops the start, with what to do about it, and nothing is left open.
func TestDownlinkPortTaken(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	f := start(t, calls)
	free := f.d.DownlinkAddresses()[0].String()
	require.NoError(t, f.stop(t.Context()))
	o := f.d.options
	c := *o.Config
	c.Downlink.Listen = []string{free, taken.Addr().String()}
	o.Config = &c
	_, err = Start(o)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.ErrorContains(t, err, "listen on TCP "+taken.Addr().String())
	require.ErrorContains(t, err, "end the process that uses it")
	c.Downlink.Listen = c.Downlink.Listen[:1]
	d, err := Start(o)
	require.NoError(t, err, "nothing was left open")
	require.NoError(t, d.Shutdown(t.Context()))
}

// TestDownlinkRenewed: a renewed certificate is what the CSE sees from then on.
func TestDownlinkRenewed(t *testing.T) {
	t.Parallel()
	f := start(t, calls)
	connect := func() *tls.Conn {
		own := f.cseCA.Client(t, "urn:test:cse").TLS()
		conn, err := tls.Dial("tcp", f.d.DownlinkAddresses()[0].String(), &tls.Config{RootCAs: f.ca.Pool(), Certificates: []tls.Certificate{own}})
		require.NoError(t, err)
		return conn
	}
	shown := func() []byte {
		conn := connect()
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].Raw
	}
	before := shown()
	old := connect()
	defer old.Close()
	require.Eventually(t, func() bool { // it is taken at this end, too
		return f.metric(`coapbridge_downlink_open_connections{cse="in"}`) != "0"
	}, 5*time.Second, 10*time.Millisecond)
	next := f.ca.Server(t, "localhost", "127.0.0.1")
	next.Write(t, f.dir, "bridge")
	require.NoError(t, f.d.Reload())
	require.NotEqual(t, before, shown())
	require.Equal(t, next.Cert.Raw, shown())
	require.NoError(t, old.SetReadDeadline(time.Now().Add(5*time.Second)))
	_, err := old.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF, "a connection of before ends")
	require.Contains(t, f.get("/metrics"), `coapbridge_certificate_expiry_timestamp_seconds{certificate="downlink_server"}`)
}

// TestDownlinkShutdown: what a CSE asked is answered before the bridge ends, and nothing more is taken.
func TestDownlinkShutdown(t *testing.T) {
	t.Parallel()
	f := start(t, calls)
	c := connect(t, f.addr(), "other", otherKey)
	c.hold = make(chan struct{})
	f.other(c)
	at := f.d.DownlinkAddresses()[0].String()
	f.post("1")
	<-c.asked // it is at the device
	ended := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		ended <- f.stop(ctx)
	}()
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", at)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	}, 10*time.Second, 10*time.Millisecond, "nothing more is taken")
	select {
	case err := <-ended:
		require.FailNow(t, "it ended before the answer", "%v", err)
	default:
	}
	close(c.hold)
	require.NoError(t, <-ended)
	require.Eventually(t, func() bool {
		sent, _ := f.cse.Notifications()
		return sent == 1
	}, 10*time.Second, 10*time.Millisecond)
}

// TestDownlinkShutdownHanging: a CSE's request to a device that says nothing takes not all of the time there is. The bridge still
// ends its subscriptions, which would have the CSE notify nobody.
func TestDownlinkShutdownHanging(t *testing.T) {
	t.Parallel()
	f := start(t, calls)
	meter := connect(t, f.addr(), "meter1", meterKey)
	require.Equal(t, coap.Changed, meter.exchange(plain(coap.PUT, "room", "1")).Code)
	_, observed, err := meter.coap.Observe(t.Context(), meter.peer, plain(coap.GET, "room", ""), func(*coap.Message) {})
	require.NoError(t, err)
	require.NotNil(t, observed)
	c := connect(t, f.addr(), "other", otherKey)
	c.hold = make(chan struct{})
	f.other(c)
	f.post("1")
	<-c.asked
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	require.ErrorIs(t, f.stop(ctx), context.DeadlineExceeded)
	close(c.hold)
	require.True(t, slices.ContainsFunc(f.cse.Requests(), func(r csetest.RecordedRequest) bool {
		return r.Method == http.MethodDelete && strings.Contains(r.Target, "room")
	}))
}
