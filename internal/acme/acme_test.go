//go:build interop

package acme_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"coapbridge/internal/acme"
	"coapbridge/internal/testpki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestInteropMutualTLS shows what the other interoperability tests rest on: ACME is behind mutual TLS, and is a CSE.
func TestInteropMutualTLS(t *testing.T) {
	ca := testpki.NewCA(t, "test CA")
	in := acme.Start(t, ca)

	refused := map[string]*tls.Config{
		"without a certificate": {RootCAs: ca.Pool()},
		"of another CA": {RootCAs: ca.Pool(), Certificates: []tls.Certificate{
			testpki.NewCA(t, "other CA").Client(t).TLS(),
		}},
	}
	for name, config := range refused {
		t.Run(name, func(t *testing.T) {
			resp, err := client(t, config).Get(in.URL + "/" + in.CSEBase)
			if err == nil {
				resp.Body.Close()
			}
			require.ErrorContains(t, err, "remote error: tls:")
		})
	}

	t.Run("with a certificate", func(t *testing.T) {
		s := &session{t: t, in: in, client: client(t, &tls.Config{
			RootCAs: ca.Pool(), Certificates: []tls.Certificate{ca.Client(t).TLS()},
		})}
		require.Equal(t, "2001", s.do(http.MethodPost, in.CSEBase, "Cdevice", "2",
			`{"m2m:ae":{"rn":"device","api":"Ntest","rr":false,"srv":["3"]}}`, nil))
		require.Equal(t, "2001", s.do(http.MethodPost, in.CSEBase+"/device", "Cdevice", "3",
			`{"m2m:cnt":{"rn":"readings"}}`, nil))
		require.Equal(t, "2001", s.do(http.MethodPost, in.CSEBase+"/device/readings", "Cdevice", "4",
			`{"m2m:cin":{"con":"21.5 \u00b0C"}}`, nil))
		var got struct {
			Instance struct {
				Content string `json:"con"`
			} `json:"m2m:cin"`
		}
		require.Equal(t, "2000", s.do(http.MethodGet, in.CSEBase+"/device/readings/la", "Cdevice", "", "", &got))
		require.Equal(t, "21.5 °C", got.Instance.Content)
		require.Equal(t, "4103", s.do(http.MethodGet, in.CSEBase+"/device/readings/la", "Cstranger", "", "", nil),
			"ACME decides about access to its resources itself")
	})
	require.FileExists(t, in.LogFile)
}

// TestInteropStop shows that a stopped instance refuses connections, which tests of a failing CSE need.
func TestInteropStop(t *testing.T) {
	ca := testpki.NewCA(t, "test CA")
	in := acme.Start(t, ca)
	in.Stop(t)
	resp, err := client(t, &tls.Config{
		RootCAs: ca.Pool(), Certificates: []tls.Certificate{ca.Client(t).TLS()},
	}).Get(in.URL)
	if err == nil {
		resp.Body.Close()
	}
	require.ErrorContains(t, err, "connection refused")
}

func client(t *testing.T, config *tls.Config) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: config}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

type session struct {
	t      *testing.T
	in     *acme.Instance
	client *http.Client
}

// do sends one request primitive (TS-0009, 6.4) and returns the answer's X-M2M-RSC.
func (s *session) do(method, target, from, resourceType, body string, into any) string {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.in.URL+"/"+target, bytes.NewBufferString(body))
	require.NoError(s.t, err)
	req.Header["X-M2M-Origin"] = []string{from}
	req.Header["X-M2M-RI"] = []string{"r-" + target}
	req.Header["X-M2M-RVI"] = []string{"3"}
	if resourceType != "" {
		req.Header.Set("Content-Type", "application/json;ty="+resourceType)
	}
	resp, err := s.client.Do(req)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	require.Equal(s.t, "r-"+target, resp.Header.Get("X-M2M-RI"), "%s", answer)
	if into != nil {
		require.NoError(s.t, json.Unmarshal(answer, into), "%s", answer)
	}
	return resp.Header.Get("X-M2M-RSC")
}
