package cse_test

import (
	"crypto/tls"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge"
	"coapbridge/bridge/cse"
	"coapbridge/bridge/cse/csetest"
	"coapbridge/bridge/onem2m"
)

// prepare registers Cdev with the container data at an in-memory CSE.
func prepare(t testing.TB, c *cse.Client) {
	t.Helper()
	for _, r := range []*onem2m.Request{
		{To: "cse-in", ResourceType: onem2m.TypeAE, Content: []byte(`{"m2m:ae":{"rn":"dev","api":"N.a","rr":true}}`)},
		{To: "cse-in/dev", ResourceType: onem2m.TypeContainer, Content: []byte(`{"m2m:cnt":{"rn":"data"}}`)},
	} {
		r.Operation, r.From, r.RequestID, r.ReleaseVersion, r.MediaType = onem2m.Create, "Cdev", "prep", "3", "application/json"
		resp, err := do(t, c, r)
		require.NoError(t, err)
		require.Equal(t, onem2m.StatusCreated, resp.Status, string(resp.Content))
	}
}

// TestDoOperations goes through CREATE, RETRIEVE, UPDATE, DELETE and errors over one kept connection (TS-0009, 6.2, 6.3).
func TestDoOperations(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	peer, url := newCSE(t, p)
	c := newClient(t, p, url, nil)
	prepare(t, c)

	resp, err := do(t, c, create("rqi-c"))
	require.NoError(t, err)
	require.Equal(t, onem2m.StatusCreated, resp.Status)
	require.Equal(t, "rqi-c", resp.RequestID)
	require.Equal(t, "3", resp.ReleaseVersion)
	require.Equal(t, "application/json", resp.MediaType)
	con, has := peer.Content(resp.Created)
	require.True(t, has, resp.Created)
	require.Equal(t, `"1"`, string(con))

	for _, tt := range []struct {
		name string
		r    onem2m.Request
		want onem2m.StatusCode
		body string
	}{
		{"retrieve", onem2m.Request{Operation: onem2m.Retrieve, To: "/id-in/cse-in/dev/data/la"}, onem2m.StatusOK, `"con":"1"`},
		{"update", onem2m.Request{
			Operation: onem2m.Update, To: "cse-in/dev/data", Content: []byte(`{"m2m:cnt":{"mni":7}}`), MediaType: "application/json",
		}, onem2m.StatusUpdated, `"mni":7`},
		{"discovery", onem2m.Request{
			Operation: onem2m.Retrieve, To: "cse-in", Query: []onem2m.Parameter{{Key: "fu", Value: "1"}, {Key: "ty", Value: "2+3"}},
		}, onem2m.StatusOK, `{"m2m:uril":["cse-in/dev","cse-in/dev/data"]}`},
		{"not found", onem2m.Request{Operation: onem2m.Retrieve, To: "cse-in/none"}, onem2m.StatusNotFound, "m2m:dbg"},
		{"delete", onem2m.Request{Operation: onem2m.Delete, To: "cse-in/dev/data"}, onem2m.StatusDeleted, ""},
	} {
		tt.r.From, tt.r.RequestID, tt.r.ReleaseVersion = "Cdev", "rqi-"+tt.name[:1], "3"
		resp, err := do(t, c, &tt.r)
		require.NoError(t, err, tt.name)
		require.Equal(t, tt.want, resp.Status, tt.name)
		require.Contains(t, string(resp.Content), tt.body, tt.name)
	}

	first := peer.Requests()[0]
	require.Equal(t, "test leaf", first.Client, "the client's certificate")
	for _, r := range peer.Requests() {
		require.Equal(t, first.Remote, r.Remote, "one connection for all requests")
	}
	s := c.Stats()[0]
	require.EqualValues(t, 1, s.Dialled)
	require.EqualValues(t, 7, s.Reused)
	require.EqualValues(t, 8, s.Outcomes[cse.ReasonAnswered])
	require.EqualValues(t, 3, s.Statuses[onem2m.StatusCreated])
	require.EqualValues(t, 8, s.LatencyBuckets[len(s.LatencyBuckets)-1].Count)
	require.Positive(t, s.LatencySum)
	require.Equal(t, 1, s.Open)
	require.Zero(t, s.InFlight)
	require.NoError(t, c.Reachable(""))
}

// TestCSEGoesAndComesBack stops the CSE: unreachable at once, and the first request after its return succeeds, though the
// kept connection is stale.
func TestCSEGoesAndComesBack(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	peer, url := newCSEAt(t, p, csetest.Loopback)
	c := newClient(t, p, url, nil)
	prepare(t, c)
	for n := range 10 {
		peer.Stop()
		_, err := do(t, c, create(rqi(n)))
		requireFailure(t, err, bridge.ErrUnreachable, cse.ReasonConnect)
		require.ErrorIs(t, c.Reachable("up"), bridge.ErrUnreachable)

		_, err = peer.Start(url[len("https://"):])
		require.NoError(t, err)
		resp, err := do(t, c, create(rqi(n)))
		require.NoError(t, err)
		require.Equal(t, onem2m.StatusCreated, resp.Status)
		require.NoError(t, c.Reachable("up"))

		peer.Stop() // and again, without a request while it is gone: a CREATE must not meet the stale connection
		_, err = peer.Start(url[len("https://"):])
		require.NoError(t, err)
		_, err = do(t, c, create(rqi(n)))
		require.NoError(t, err)
	}
	require.Zero(t, c.Stats()[0].Repeated)
}

// TestRenewTakesTheNewCertificate replaces a certificate under a live Client.
func TestRenewTakesTheNewCertificate(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	peer, url := newCSE(t, p)
	var current atomic.Pointer[tls.Certificate]
	named := func(name string) *tls.Certificate {
		cert := p.ca.Issue(t, clientNamed(name)).TLS()
		return &cert
	}
	current.Store(named("first"))
	other := named("other")
	c := newClient(t, p, url, func(conf *cse.CSE) {
		conf.Certificate = func() (*tls.Certificate, error) { return current.Load(), nil }
		conf.Clients = map[string]cse.Identity{"tenant": cse.Static(*other)}
	})
	ask := func(client string) string {
		_, err := c.Do(t.Context(), bridge.Upstream{Client: client}, retrieve("r"))
		require.NoError(t, err)
		all := peer.Requests()
		return all[len(all)-1].Client
	}
	require.Equal(t, "first", ask(""))
	require.Equal(t, "other", ask("tenant"), "another client's connection is never used")
	current.Store(named("second"))
	require.Equal(t, "first", ask(""), "still on the kept connection")
	c.Renew()
	require.Equal(t, "second", ask(""))
	require.Equal(t, "other", ask("tenant"))
	_, err := c.Do(t.Context(), bridge.Upstream{Client: "nobody"}, retrieve("r"))
	requireFailure(t, err, bridge.ErrUnreachable, cse.ReasonUnknown)
}

// TestMaxConns holds many requests to two connections.
func TestMaxConns(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	peer, url := newCSE(t, p)
	var now, most atomic.Int32
	peer.SetHook(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		next.ServeHTTP(w, r)
		now.Add(-1)
	})
	c := newClient(t, p, url, func(conf *cse.CSE) { conf.MaxConns = 2 })
	var all sync.WaitGroup
	for n := range 40 {
		all.Go(func() {
			resp, err := c.Do(t.Context(), bridge.Upstream{}, retrieve(rqi(n)))
			if err != nil || resp.Status != onem2m.StatusNotFound || resp.RequestID != rqi(n) {
				t.Errorf("request %d: %v %v", n, resp, err)
			}
		})
	}
	all.Wait()
	require.LessOrEqual(t, most.Load(), int32(2))
	require.LessOrEqual(t, c.Stats()[0].Open, 2)
	require.EqualValues(t, 40, c.Stats()[0].Dialled+c.Stats()[0].Reused)
}

func TestNewNamesEveryFault(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	whole := cse.CSE{Name: "a", URL: "https://cse.example:8443", CA: p.ca.Pool(), Certificate: cse.Static(p.client.TLS())}
	edited := func(edit func(*cse.CSE)) cse.CSE {
		c := whole
		edit(&c)
		return c
	}
	for _, tt := range []struct {
		name string
		cses []cse.CSE
		want string
	}{
		{"none", nil, "no CSE is configured"},
		{"plain HTTP", []cse.CSE{edited(func(c *cse.CSE) { c.URL = "http://cse.example" })}, "https"},
		{"path", []cse.CSE{edited(func(c *cse.CSE) { c.URL += "/x" })}, "must end after host and port"},
		{"no CA", []cse.CSE{edited(func(c *cse.CSE) { c.CA = nil })}, "CA is missing"},
		{"no certificate", []cse.CSE{edited(func(c *cse.CSE) { c.Certificate = nil })}, "client certificate is missing"},
		{"no name", []cse.CSE{edited(func(c *cse.CSE) { c.Name = "" })}, "name is missing"},
		{"negative", []cse.CSE{edited(func(c *cse.CSE) { c.MaxConns = -1 })}, "negative"},
		{"twice", []cse.CSE{whole, whole}, "used twice"},
		{"two defaults", []cse.CSE{
			edited(func(c *cse.CSE) { c.Default = true }), edited(func(c *cse.CSE) { c.Name, c.Default = "b", true }),
		}, "second default"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := cse.New(cse.Config{CSEs: tt.cses})
			require.ErrorContains(t, err, tt.want)
		})
	}
	_, err := cse.New(cse.Config{CSEs: []cse.CSE{
		edited(func(c *cse.CSE) { c.CA = nil }), edited(func(c *cse.CSE) { c.Name, c.URL = "b", "http://x" }),
	}})
	require.ErrorContains(t, err, `"a"`)
	require.ErrorContains(t, err, `"b"`)
}
