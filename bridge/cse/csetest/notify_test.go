package csetest_test

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/cse/csetest"
	"coapbridge/internal/testpki"
)

// notification is one NOTIFY that the receiver got.
type notification struct {
	target, from, rqi, media string
	body                     map[string]map[string]any
}

// newNotified returns a CSE that notifies, a mutually authenticated receiver's URL, and what arrives there. refuse lets the
// receiver answer 4.03.
func newNotified(t *testing.T) (*csetest.CSE, string, <-chan notification, *atomic.Bool) {
	t.Helper()
	ca := testpki.NewCA(t, "notify CA")
	arrived := make(chan notification, 16)
	refuse := new(atomic.Bool)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		n := notification{target: r.RequestURI, from: r.Header.Get("X-M2M-Origin"), rqi: r.Header.Get("X-M2M-RI"), media: r.Header.Get("Content-Type")}
		if json.Unmarshal(raw, &n.body) != nil {
			return
		}
		arrived <- n
		w.Header()["X-M2M-RSC"] = []string{"2000"}
		if refuse.Load() {
			w.Header()["X-M2M-RSC"] = []string{"4103"}
		}
	}))
	srv.TLS = &tls.Config{
		Certificates: []tls.Certificate{ca.Server(t, "127.0.0.1").TLS()}, ClientCAs: ca.Pool(),
		ClientAuth: tls.RequireAndVerifyClientCert,
	}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	c := csetest.New(csetest.Config{NotifyCertificate: ca.Client(t).TLS(), NotifyCAs: ca.Pool(), NotifyTimeout: 10 * time.Second})
	t.Cleanup(c.Close)
	for target, body := range map[string]string{
		"Cdev": `{"m2m:ae":{"rn":"dev","api":"N.a","rr":true,"poa":["https://127.0.0.1:1","` + srv.URL + `/token"]}}`,
	} {
		require.Equal(t, "2001", post(t, c, "/cse-in", target, "2", body).rsc)
	}
	require.Equal(t, "2001", post(t, c, "/cse-in/dev", "Cdev", "3", `{"m2m:cnt":{"rn":"data"}}`).rsc)
	return c, srv.URL, arrived, refuse
}

// TestSubscription: verification of a URL, then each event (TS-0001, 9.6.8 and 10.2.10).
func TestSubscription(t *testing.T) {
	t.Parallel()
	c, url, arrived, refuse := newNotified(t)
	sub := `{"m2m:sub":{"rn":"s","nu":["` + url + `/here?x=1"],"enc":{"net":[1,2,3,4]},"nct":1,"su":"` + url + `/gone"}}`
	refuse.Store(true)
	require.Equal(t, "5204", post(t, c, "/cse-in/dev/data", "Cdev", "23", sub).rsc)
	<-arrived
	refuse.Store(false)

	require.Equal(t, "2001", post(t, c, "/cse-in/dev/data", "Cdev", "23", sub).rsc)
	n := <-arrived
	require.Equal(t, "/here?x=1", n.target)
	require.Equal(t, "/id-in", n.from)
	require.NotEmpty(t, n.rqi)
	require.Equal(t, "application/json", n.media, "without ty")
	require.Equal(t, map[string]any{"vrq": true, "cr": "Cdev", "sur": "/id-in/cse-in/dev/data/s"}, n.body["m2m:sgn"])

	event := func() (net float64, rep map[string]any) {
		n := (<-arrived).body["m2m:sgn"]
		require.Equal(t, "/id-in/cse-in/dev/data/s", n["sur"])
		nev := n["nev"].(map[string]any)
		return nev["net"].(float64), nev["rep"].(map[string]any)
	}
	instance(t, c, `"v1"`)
	net, rep := event()
	require.EqualValues(t, 3, net)
	require.Equal(t, "v1", rep["m2m:cin"].(map[string]any)["con"])
	update(t, c, `{"m2m:cnt":{"mni":5}}`)
	net, rep = event()
	require.EqualValues(t, 1, net)
	require.EqualValues(t, 5, rep["m2m:cnt"].(map[string]any)["mni"])
	require.Equal(t, "2002", do(t, c, ask{method: "DELETE", target: "/cse-in/dev/data/la", from: "Cdev"}).rsc)
	net, _ = event()
	require.EqualValues(t, 4, net)
	require.Equal(t, "2002", do(t, c, ask{method: "DELETE", target: "/cse-in/dev/data", from: "Cdev"}).rsc)
	net, _ = event()
	require.EqualValues(t, 2, net)
	n = <-arrived
	require.Equal(t, "/gone", n.target)
	require.Equal(t, true, n.body["m2m:sgn"]["sud"])
	require.Eventually(t, func() bool { sent, failed := c.Notifications(); return sent == 6 && failed == 1 }, 10*time.Second, time.Millisecond)
}

// TestNotifyThroughPointOfAccess: the creator's AE needs no verification, its notifications and NOTIFYs of others go to
// its poa, the first one that answers.
func TestNotifyThroughPointOfAccess(t *testing.T) {
	t.Parallel()
	c, _, arrived, _ := newNotified(t)
	require.Equal(t, "2001", post(t, c, "/cse-in/dev/data", "Cdev", "23", `{"m2m:sub":{"nu":["Cdev"],"enc":{"net":[3]},"nct":3}}`).rsc)
	require.Empty(t, arrived)
	instance(t, c, `1`)
	n := <-arrived
	require.Equal(t, "/token/~/id-in/Cdev", n.target)
	nev := n.body["m2m:sgn"]["nev"].(map[string]any)
	require.True(t, strings.HasPrefix(nev["rep"].(map[string]any)["m2m:uri"].(string), "cse-in/dev/data/cin"))

	r := post(t, c, "/cse-in/dev", "CAdmin", "", `{"m2m:sgn":{"x":1}}`)
	require.Equal(t, "2000", r.rsc, r.body)
	n = <-arrived
	require.Equal(t, "/token/cse-in/dev", n.target)
	require.Equal(t, "/id-in/CAdmin", n.from)
	require.Equal(t, "rqi-1", n.rqi)
}

// TestNotifyTrust: nobody outside NotifyCAs and nothing but https is notified.
func TestNotifyTrust(t *testing.T) {
	t.Parallel()
	c, url, arrived, _ := newNotified(t)
	for _, nu := range []string{"http" + strings.TrimPrefix(url, "https"), "https://127.0.0.1:1", "coap://127.0.0.1"} {
		require.Equal(t, "5204", post(t, c, "/cse-in/dev/data", "Cdev", "23", `{"m2m:sub":{"nu":["`+nu+`"]}}`).rsc, nu)
	}
	require.Equal(t, "4000", post(t, c, "/cse-in/dev/data", "Cdev", "23", `{"m2m:sub":{"nu":["Cnobody"]}}`).rsc)
	require.Empty(t, arrived)
}
