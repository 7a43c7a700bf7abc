package request

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/onem2m"
	"coapbridge/cmd/coap-bridge/secret"
	"coapbridge/coap"
	"coapbridge/dtls"
	"coapbridge/internal/testpki"
)

const (
	testIdentity = "request-test"
	testKey      = "0123456789abcdef"
)

// server is a oneM2M server over our own dtls and coap: it answers by the last segment of the path.
type server struct {
	handler
	dtls *dtls.Endpoint
	addr netip.AddrPort
}

// serve starts a server on loopback; it takes testIdentity, and certificates of clients where client is there.
func serve(t *testing.T, cert *testpki.Leaf, client *testpki.CA) *server {
	t.Helper()
	s := &server{}
	s.coap = coap.New(&coap.Config{Handler: s, Understands: func(_ *coap.Peer, id coap.OptionID) bool {
		return onem2m.IsOption(id, onem2m.CoAPProfile{})
	}})
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	s.addr = socket.LocalAddr().(*net.UDPAddr).AddrPort()
	conf := &dtls.Config{Handler: s, PSK: func(_ context.Context, q dtls.PSKQuery) ([]byte, error) {
		if q.Peer.ID != testIdentity || q.Role != dtls.RoleClient {
			return nil, dtls.ErrUnknownIdentity
		}
		return []byte(testKey), nil
	}}
	if cert != nil {
		conf.Certificate = func(string) (dtls.Certificate, error) {
			return dtls.Certificate{Chain: cert.Chain, Key: cert.Key}, nil
		}
		conf.Verify = func(chain dtls.PeerChain) (*x509.Certificate, error) {
			return client.Cert, chain.Leaf.CheckSignatureFrom(client.Cert)
		}
	}
	s.dtls, err = dtls.New(conf, socket)
	require.NoError(t, err)
	done := make(chan error, 2)
	go func() { done <- s.dtls.Serve() }()
	go func() { done <- s.coap.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = s.dtls.Shutdown(ctx)
		_ = s.coap.Shutdown(ctx)
		<-done
		<-done
	})
	return s
}

// ServeCoAP implements coap.Handler.
func (s *server) ServeCoAP(x *coap.Exchange) {
	m := x.Request()
	if !onem2m.UsesOptions(m) {
		_ = x.Respond(&coap.Message{Code: coap.Content, Options: m.Options.Remove(coap.URIHost).Remove(coap.URIPath).Remove(coap.URIQuery), Payload: m.Payload})
		return
	}
	r, err := onem2m.RequestFromCoAP(m, onem2m.CoAPProfile{})
	if err != nil {
		var refusal *onem2m.Error
		errors.As(err, &refusal)
		_ = x.Respond(&coap.Message{Code: refusal.Status.CoAP()})
		return
	}
	answer := &onem2m.Response{RequestID: r.RequestID, ReleaseVersion: r.ReleaseVersion, Status: onem2m.StatusOK,
		Content: r.Content, MediaType: r.MediaType}
	switch r.To {
	case "cse-in/refuse":
		answer.Status = onem2m.StatusOriginatorHasNoPrivilege
	case "cse-in/foreign":
		answer.RequestID = "foreign"
	case "cse-in/silent":
		x.Detach()
		return
	case "cse-in/large":
		answer.Content, answer.MediaType = []byte(`"`+string(bytes.Repeat([]byte("x"), 5000))+`"`), "application/json"
	case "cse-in/query":
		text := ""
		for _, q := range r.Query {
			text += q.Key + "=" + q.Value + " "
		}
		answer.Content, answer.MediaType = []byte(strconv.Quote(text)), "application/json"
	default:
		if r.Operation == onem2m.Create {
			answer.Status, answer.Created = onem2m.StatusCreated, r.To+"/new"
		}
	}
	out, err := answer.CoAP(&onem2m.Request{Operation: r.Operation, RequestID: answer.RequestID}, onem2m.CoAPProfile{})
	if err != nil {
		out = &coap.Message{Code: coap.InternalServerError}
	}
	_ = x.Respond(out)
}

// job returns a request to the server with the right key.
func (s *server) job(t *testing.T, op onem2m.Operation, path string) *Job {
	t.Helper()
	return &Job{
		Spec:       Spec{Operation: op, Target: s.target(t, path), Primitive: onem2m.Request{From: "Ctest"}},
		Credential: Credential{Identity: testIdentity, Key: secret.New([]byte(testKey))},
		Timeout:    20 * time.Second,
	}
}

func (s *server) target(t *testing.T, path string) Target {
	t.Helper()
	target, err := ParseTarget("coaps://" + s.addr.String() + path)
	require.NoError(t, err)
	return target
}
