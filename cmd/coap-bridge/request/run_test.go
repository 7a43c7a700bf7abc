package request

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/onem2m"
	"coapbridge/cmd/coap-bridge/secret"
	"coapbridge/coap"
	"coapbridge/internal/testpki"
)

// TestRunPSK: each kind of request over a real session, authenticated by a key.
func TestRunPSK(t *testing.T) {
	t.Parallel()
	s := serve(t, nil, nil)

	j := s.job(t, onem2m.Create, "/cse-in")
	j.Spec.Primitive.ResourceType = onem2m.TypeAE
	j.Spec.Data = []byte(`{"m2m:ae":{"rn":"a"}}`)
	a, err := j.Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, onem2m.StatusCreated, a.Response.Status)
	require.Equal(t, coap.Created, a.Code)
	require.Equal(t, "cse-in/new", a.Response.Created)
	require.Equal(t, string(j.Spec.Data), string(a.Content))
	require.Len(t, a.Response.RequestID, 16)
	require.Positive(t, a.Elapsed)

	j = s.job(t, onem2m.Retrieve, "/cse-in/query?fu=1&ty=3+4")
	j.Spec.Primitive.Query = []onem2m.Parameter{{Key: "lbl", Value: "a b&c"}}
	j.Spec.NonConfirmable = true
	a, err = j.Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, `"fu=1 ty=3+4 lbl=a b&c "`, string(a.Content))

	for _, size := range []int{0, 64} { // block-wise in both directions
		j = s.job(t, onem2m.Retrieve, "/cse-in/large")
		j.BlockSize = size
		a, err = j.Run(t.Context())
		require.NoError(t, err)
		require.Len(t, a.Content, 5002)
		j = s.job(t, onem2m.Update, "/cse-in/a")
		j.BlockSize = size
		j.Spec.Data = []byte(`{"a":"` + strings.Repeat("y", 5000) + `"}`)
		a, err = j.Run(t.Context())
		require.NoError(t, err)
		require.True(t, bytes.Equal(j.Spec.Data, a.Content))
	}

	j = s.job(t, onem2m.Create, "/a/b?x=1")
	j.Spec.Plain, j.Spec.Data, j.Spec.ContentFormat = true, []byte{0xff, 0}, "binary"
	a, err = j.Run(t.Context())
	require.NoError(t, err)
	require.Nil(t, a.Response)
	require.Equal(t, []byte{0xff, 0}, a.Content)
}

// TestRunRefused: a refusal is an answer, and an error; an answer to something else is never taken for ours (S44).
func TestRunRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, nil, nil)
	a, err := s.job(t, onem2m.Delete, "/cse-in/refuse").Run(t.Context())
	require.ErrorAs(t, err, new(*RefusedError))
	require.EqualError(t, err, "request refused: 4103 ORIGINATOR_HAS_NO_PRIVILEGE")
	require.Equal(t, coap.Forbidden, a.Code)

	a, err = s.job(t, onem2m.Retrieve, "/cse-in/foreign").Run(t.Context())
	require.ErrorAs(t, err, new(*UntrustedError))
	require.NotNil(t, a)

	j := s.job(t, onem2m.Retrieve, "/cse-in")
	j.Spec.Extra = coap.Options{{ID: 65001, Value: []byte("x")}}
	_, err = j.Run(t.Context())
	require.EqualError(t, err, "request refused: 4.02 Bad Option")
}

// TestRunCertificate: both sides present a certificate; ours is asked for, and theirs must be for the name that was dialled.
func TestRunCertificate(t *testing.T) {
	t.Parallel()
	ca, other := testpki.NewCA(t, "ca"), testpki.NewCA(t, "other")
	s := serve(t, ca.Server(t, "127.0.0.1", "gw.example"), ca)
	with := func(leaf *testpki.Leaf, roots *testpki.CA, name string) error {
		j := s.job(t, onem2m.Retrieve, "/cse-in")
		j.Credential = Credential{Roots: roots.Pool(), ServerName: name}
		j.Credential.Certificate.Chain, j.Credential.Certificate.Key = leaf.Chain, leaf.Key
		_, err := j.Run(t.Context())
		return err
	}
	mine := ca.Client(t, "urn:dev")
	require.NoError(t, with(mine, ca, ""))
	require.NoError(t, with(mine, ca, "gw.example"))
	for want, err := range map[string]error{
		`is for "gw.example, 127.0.0.1", not for "other.example"`: with(mine, ca, "other.example"),
		"unknown authority":                             with(mine, other, ""),
		"Check that this client's certificate is valid": with(other.Client(t, "urn:dev"), ca, ""),
	} {
		require.ErrorAs(t, err, new(*ConnectError))
		require.ErrorContains(t, err, want)
	}
}

// TestS05WrongKey: a wrong key and an unknown identity fail alike, and the text says what to check.
func TestS05WrongKey(t *testing.T) {
	t.Parallel()
	s := serve(t, nil, nil)
	var texts []string
	for _, cred := range []Credential{
		{Identity: testIdentity, Key: secret.New([]byte("planted-wrong-key"))},
		{Identity: "planted-identity", Key: secret.New([]byte(testKey))},
	} {
		j := s.job(t, onem2m.Retrieve, "/cse-in")
		j.Credential = cred
		_, err := j.Run(t.Context())
		var connect *ConnectError
		require.ErrorAs(t, err, &connect)
		require.Contains(t, err.Error(), "wrong")
		require.NotContains(t, err.Error(), "planted")
		texts = append(texts, err.Error())
	}
	require.Equal(t, texts[0], texts[1])
}

// TestRunNobody: a port on which nothing listens is said at once, a silent server and a missing answer by the deadline.
func TestRunNobody(t *testing.T) {
	t.Parallel()
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	s := serve(t, nil, nil)
	j := s.job(t, onem2m.Retrieve, "/cse-in/silent")
	j.Timeout = 2 * time.Second
	_, err = j.Run(t.Context())
	require.ErrorAs(t, err, new(*ConnectError))
	require.ErrorContains(t, err, "the session was established, but no answer came")

	j.Spec.Target.Port = closed.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	j.Timeout = 500 * time.Millisecond
	_, err = j.Run(t.Context())
	require.ErrorContains(t, err, "the server stayed silent\nCheck that the bridge runs there, and that UDP port")

	require.NoError(t, closed.Close())
	j.Timeout = 20 * time.Second
	start := time.Now()
	_, err = j.Run(t.Context())
	require.ErrorContains(t, err, "nothing listens on that UDP port")
	require.Less(t, time.Since(start), 10*time.Second)
}

// TestRunName: a name is looked up in both families, and the one that answers is taken.
func TestRunName(t *testing.T) {
	t.Parallel()
	s := serve(t, nil, nil) // IPv4 alone
	j := s.job(t, onem2m.Retrieve, "/cse-in")
	j.Spec.Target.Host, j.Spec.Target.Addr = "localhost", netip.Addr{}
	_, err := j.Run(t.Context())
	require.NoError(t, err)
	j.Spec.Target.Host = "no-such-host.invalid"
	_, err = j.Run(t.Context())
	require.ErrorAs(t, err, new(*ConnectError))
	require.ErrorContains(t, err, "Check the name")
}
