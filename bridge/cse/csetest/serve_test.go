package csetest_test

import (
	"crypto/tls"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/cse/csetest"
	"coapbridge/internal/testpki"
)

// TestServeMutualTLS: a client without a certificate, or with a foreign one, sends no request; the resources survive Stop.
func TestServeMutualTLS(t *testing.T) {
	t.Parallel()
	ca := testpki.NewCA(t, "ca")
	c := csetest.New(csetest.Config{Certificate: ca.Server(t, csetest.Loopback).TLS(), ClientCAs: ca.Pool()})
	t.Cleanup(c.Close)
	url, err := c.Start(csetest.Loopback + ":0")
	require.NoError(t, err)
	_, err = c.Start("127.0.0.1:0")
	require.Error(t, err, "already serving")

	ask := func(certs ...tls.Certificate) (*http.Response, error) {
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), Certificates: certs}}
		defer tr.CloseIdleConnections()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/cse-in", nil)
		require.NoError(t, err)
		r.Header["X-M2M-RI"], r.Header["X-M2M-Origin"] = []string{"r"}, []string{"CAdmin"}
		resp, err := tr.RoundTrip(r)
		if err == nil {
			require.NoError(t, resp.Body.Close())
		}
		return resp, err
	}
	_, err = ask()
	require.Error(t, err)
	_, err = ask(testpki.NewCA(t, "foreign").Client(t).TLS())
	require.Error(t, err)
	require.Zero(t, c.Count())
	good := ca.Client(t).TLS()
	resp, err := ask(good)
	require.NoError(t, err)
	require.Equal(t, "2000", resp.Header.Get("X-M2M-RSC"))

	require.Equal(t, "2001", post(t, c, "/cse-in", "Cx", "2", `{"m2m:ae":{"rn":"x","api":"N.a","rr":true}}`).rsc)
	c.Stop()
	_, err = ask(good)
	require.Error(t, err)
	_, err = c.Start(url[len("https://"):])
	require.NoError(t, err)
	_, err = ask(good)
	require.NoError(t, err)
	_, has := c.Resource("cse-in/x")
	require.True(t, has)
	c.Close()
	_, err = c.Start("127.0.0.1:0")
	require.Error(t, err, "closed for good")
}

// TestNoClientCAs: a CSE without ClientCAs doesn't fall back to the system's trust store.
func TestNoClientCAs(t *testing.T) {
	t.Parallel()
	c := csetest.New(csetest.Config{})
	t.Cleanup(c.Close)
	_, err := c.Start("127.0.0.1:0")
	require.ErrorContains(t, err, "ClientCAs")
}

// TestHook delays, answers, and cuts after execution.
func TestHook(t *testing.T) {
	t.Parallel()
	c := newCSE(t)
	c.SetHook(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(w, r)
		panic(http.ErrAbortHandler)
	})
	require.PanicsWithValue(t, http.ErrAbortHandler, func() { post(t, c, "/cse-in/dev", "Cdev", "3", `{"m2m:cnt":{"rn":"x"}}`) })
	_, has := c.Resource("cse-in/dev/x")
	require.True(t, has, "executed")
	c.SetHook(nil)
	require.Equal(t, "4105", post(t, c, "/cse-in/dev", "Cdev", "3", `{"m2m:cnt":{"rn":"x"}}`).rsc)
}
