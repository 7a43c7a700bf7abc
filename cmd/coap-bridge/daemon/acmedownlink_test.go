//go:build interop

package daemon

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/onem2m"
	"coapbridge/dtls"
	"coapbridge/internal/acme"
	"coapbridge/internal/testpki"
)

// atACME is a bridge in front of ACME, and another party that speaks to ACME directly.
type atACME struct {
	*fixture
	cse    *acme.Instance
	others *http.Client
}

// startDownlink runs ACME and a bridge that it calls, or that polls it. edits change the bridge's files.
func startDownlink(t *testing.T, poll bool, edits ...func(*fixture, string) string) *atACME {
	t.Helper()
	ca := testpki.NewCA(t, "ACME")
	a := &atACME{cse: acme.Start(t, ca)}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{ca.Client(t).TLS()}}}
	t.Cleanup(transport.CloseIdleConnections)
	a.others = &http.Client{Transport: transport}
	var outward *acme.Outward
	a.fixture = start(t, append([]func(*fixture, string) string{func(f *fixture, text string) string {
		ca.WriteCert(t, f.dir, "cse-ca.crt")
		ca.Client(t).Write(t, f.dir, "cse-client")
		text = strings.Replace(text, "https://"+f.cseAt, a.cse.URL, 1)
		if poll {
			return strings.Replace(text, "    timeout: 3s\n", "    timeout: 3s\n    downlink: {mode: poll, pollTimeout: 4s}\n", 1)
		}
		outward = acme.NewOutward(t, f.ca, ca.Client(t, "urn:test:cse"))
		return strings.Replace(calls(f, text), `url: "https://127.0.0.1:0"`, fmt.Sprintf("url: %q", outward.URL), 1)
	}}, edits...)...)
	if !poll {
		outward.Connect(t, a.d.DownlinkAddresses()[0].String())
	}
	return a
}

// create makes a resource at ACME as another party.
func (a *atACME) create(to, from, ty, content string) string {
	a.t.Helper()
	r, err := http.NewRequest(http.MethodPost, a.cse.URL+"/"+to, strings.NewReader(content))
	require.NoError(a.t, err)
	r.Header = http.Header{"X-M2M-Origin": {from}, "X-M2M-RI": {"r" + time.Now().Format("150405.000000000")}, "X-M2M-RVI": {"3"},
		"Content-Type": {"application/json;ty=" + ty}}
	resp, err := a.others.Do(r)
	require.NoError(a.t, err)
	require.NoError(a.t, resp.Body.Close())
	return resp.Header.Get("X-M2M-RSC")
}

// arrives has another party create a contentInstance, and requires the device to be told within d.
func (a *atACME) arrives(c *client, value string, d time.Duration) {
	a.t.Helper()
	begin := time.Now()
	require.Equal(a.t, "2001", a.create("cse-in/other/c", a.cse.Admin, "4", fmt.Sprintf(`{"m2m:cin":{"con":%q}}`, value)))
	c.told(value)
	took := time.Since(begin)
	a.t.Logf("%s arrived after %v", value, took)
	require.Less(a.t, took, d)
}

// TestInteropACMEDownlink: AE, container and subscription made by a CoAP device through the bridge; what another party
// writes at ACME reaches it as CoAP NOTIFY within a second, on its live session. ACME's request to verify a subscription
// of another AE to it passes.
func TestInteropACMEDownlink(t *testing.T) {
	t.Parallel()
	a := startDownlink(t, false)
	c := connect(t, a.addr(), "other", otherKey)
	a.other(c)
	for _, value := range []string{"21.5", "22", "22.5"} {
		a.arrives(c, value, time.Second)
	}
	require.Equal(t, "2001", a.create("cse-in", "Cneighbour", "2", `{"m2m:ae":{"rn":"neighbour","api":"Ntest","rr":false,"srv":["3"]}}`))
	require.Equal(t, "2001", a.create("cse-in/neighbour", "Cneighbour", "3", `{"m2m:cnt":{"rn":"c"}}`))
	require.Equal(t, "2001", a.create("cse-in/neighbour/c", a.cse.Admin, "23", `{"m2m:sub":{"rn":"s","nu":["Cother1"],"enc":{"net":[3]}}}`))
	r := <-c.asked
	require.Contains(t, string(r.Content), "vrq")
	require.Equal(t, "2001", a.create("cse-in/neighbour/c", "Cneighbour", "4", `{"m2m:cin":{"con":"hello"}}`))
	c.told("hello")
}

// TestInteropACMENonBlocking: the later results of non-blocking requests reach the device: it fetches the one from the <request>
// whose address it was given, and is notified of the other (TS-0001, 8.2.2).
func TestInteropACMENonBlocking(t *testing.T) {
	t.Parallel()
	a := startDownlink(t, false)
	c := connect(t, a.addr(), "other", otherKey)
	a.other(c)
	_, resp := c.do(&onem2m.Request{Operation: onem2m.Retrieve, To: "cse-in/other/c", From: "Cother1", ResponseType: onem2m.NonBlockingSynch})
	require.EqualValues(t, 1001, resp.Status, "%s", resp.Content)
	_, uri, found := strings.Cut(string(resp.Content), `"m2m:uri": "`)
	if !found {
		_, uri, found = strings.Cut(string(resp.Content), `"m2m:uri":"`)
	}
	require.True(t, found, "%s", resp.Content)
	uri, _, _ = strings.Cut(uri, `"`)
	require.Eventually(t, func() bool {
		_, resp = c.do(&onem2m.Request{Operation: onem2m.Retrieve, To: uri, From: "Cother1"})
		return resp.Status == onem2m.StatusOK && strings.Contains(string(resp.Content), "m2m:cnt")
	}, 10*time.Second, 50*time.Millisecond, "%s: %s", uri, resp.Content)

	_, resp = c.do(&onem2m.Request{Operation: onem2m.Retrieve, To: "cse-in/other/c", From: "Cother1", RequestID: "later",
		ResponseType: onem2m.NonBlockingAsynch})
	require.EqualValues(t, 1002, resp.Status, "%s", resp.Content)
	select {
	case r := <-c.asked:
		require.Equal(t, onem2m.Notify, r.Operation)
		require.Contains(t, string(r.Content), "m2m:rsp")
		require.Contains(t, string(r.Content), "later")
		require.Contains(t, string(r.Content), "m2m:cnt")
	case <-time.After(10 * time.Second):
		require.FailNow(t, "no result")
	}
}

// TestInteropACMEDial: the same by a session that the bridge begins, when the device's own is gone.
func TestInteropACMEDial(t *testing.T) {
	t.Parallel()
	const downKey = "down-key-of-the-tests-0003"
	listening, err := listenAs(t, dtls.Config{PSK: func(context.Context, dtls.PSKQuery) ([]byte, error) { return []byte(downKey), nil }})
	require.NoError(t, err)
	a := startDownlink(t, false, func(f *fixture, text string) string {
		entry := fmt.Sprintf("      up: text:%s\n      down: text:%s\n    address: %q\n", otherKey, downKey, listening.addr)
		f.write("devices.yaml", strings.Replace(devicesText, "      up: text:"+otherKey+"\n", entry, 1))
		return text
	})
	c := connect(t, a.addr(), "other", otherKey)
	a.other(c)
	c.end()
	for _, value := range []string{"21.5", "22"} {
		a.arrives(listening, value, time.Second)
	}
}

// TestInteropACMEPolling: the same where ACME can't reach the bridge: by the AE's polling channel. The AE says that it can't be
// called (rr): of one that can ACME looks at the pointOfAccess alone.
func TestInteropACMEPolling(t *testing.T) {
	t.Parallel()
	a := startDownlink(t, true)
	c := connect(t, a.addr(), "other", otherKey)
	a.other(c)
	_, resp := c.do(&onem2m.Request{Operation: onem2m.Update, To: "cse-in/other", From: "Cother1",
		Content: []byte(`{"m2m:ae":{"rr":false}}`), MediaType: "application/json"})
	require.Equal(t, onem2m.StatusUpdated, resp.Status)
	require.Eventually(t, func() bool {
		return strings.Contains(a.retrieve("cse-in/other?fu=1&ty=15"), "cse-in/other/")
	}, 10*time.Second, 50*time.Millisecond)
	for _, value := range []string{"21.5", "22", "22.5"} {
		a.arrives(c, value, time.Second)
	}
	require.Equal(t, "2001", a.create("cse-in", "Cneighbour", "2", `{"m2m:ae":{"rn":"neighbour","api":"Ntest","rr":false,"srv":["3"]}}`))
	require.Equal(t, "2001", a.create("cse-in/neighbour", "Cneighbour", "3", `{"m2m:cnt":{"rn":"c"}}`))
	require.Equal(t, "2001", a.create("cse-in/neighbour/c", a.cse.Admin, "23", `{"m2m:sub":{"rn":"s","nu":["Cother1"],"enc":{"net":[3]}}}`))
	r := <-c.asked
	require.Equal(t, onem2m.Notify, r.Operation)
	require.Contains(t, string(r.Content), "vrq")
}

// retrieve returns what ACME shows its administrator.
func (a *atACME) retrieve(target string) string {
	a.t.Helper()
	r, err := http.NewRequest(http.MethodGet, a.cse.URL+"/"+target, http.NoBody)
	require.NoError(a.t, err)
	r.Header = http.Header{"X-M2M-Origin": {a.cse.Admin}, "X-M2M-RI": {"get"}, "X-M2M-RVI": {"3"}}
	resp, err := a.others.Do(r)
	require.NoError(a.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(a.t, err)
	return string(body)
}
