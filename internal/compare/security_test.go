package compare

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	pion "github.com/pion/dtls/v3"
	"github.com/stretchr/testify/require"

	"coapbridge/bridge/cse/csetest"
	"coapbridge/bridge/devices"
	"coapbridge/coap"
	"coapbridge/internal/testpki"
)

// The values of TS-0013, 8.4.1.1, TD_M2M_SE_01, and a key of the same credential that can't be guessed.
const (
	seIdentity = "test@onem2m.com"
	seShortKey = "123456"
	seLongKey  = "7d0b1c2f9e8a4635b7c6d5e4f3a2918077"
	seAEID     = "CAE01"
)

// TestTDM2MSE01 is TS-0013, TD_M2M_SE_01 on the DTLS side: a security association by TLS_PSK_WITH_AES_128_CCM_8 (TS-0003,
// 10.2.3), then an AE CREATE whose Originator is checked against what the credential may be. The test's own key has 6 bytes,
// which the devices file refuses (S6), so the scenario goes on with a longer one.
func TestTDM2MSE01(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "devices.yaml")
	importLine := func(key string) (devices.Imported, error) {
		return devices.Import(t.Context(), file, []devices.CSE{{Name: "in", Default: true}},
			strings.NewReader(","+seIdentity+","+key+"\n"), devices.Entry{Originators: []string{seAEID}}, false)
	}
	done, err := importLine(seShortKey)
	require.ErrorIs(t, err, devices.ErrRefused)
	require.Len(t, done.Refused, 1)
	require.Equal(t, 1, done.Refused[0].Line)
	require.Contains(t, done.Refused[0].Reason, "6 bytes")
	require.NotContains(t, done.Refused[0].Reason, seShortKey)

	done, err = importLine(seLongKey)
	require.NoError(t, err)
	require.Len(t, done.Added, 1)
	text, err := os.ReadFile(file)
	require.NoError(t, err)

	ca := testpki.NewCA(t, "CSE")
	cse := csetest.New(csetest.Config{Certificate: ca.Server(t, "127.0.0.1").TLS(), ClientCAs: ca.Pool()})
	url, err := cse.Start("127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(cse.Close)
	bridge := startBridge(t, url, ca, testpki.NewCA(t, "bridge"), false, string(text))

	for _, key := range []string{seShortKey, strings.ToUpper(seLongKey)} {
		_, err = handshake(t, bridge, seIdentity, key)
		require.Error(t, err, "another key")
	}
	_, err = handshake(t, bridge, "other@onem2m.com", seLongKey)
	require.Error(t, err, "another identity")
	require.Empty(t, cse.Requests())

	conn, err := handshake(t, bridge, seIdentity, seLongKey)
	require.NoError(t, err)
	state, ok := conn.ConnectionState()
	require.True(t, ok)
	require.Equal(t, pion.TLS_PSK_WITH_AES_128_CCM_8, state.CipherSuiteID)
	d := over(t, conn)
	register := func(from string) *answer {
		return d.do(t, &request{op: create, to: "cse-in", ty: 2, from: from, rqi: "rqi-" + from, rvi: "3", media: "application/json",
			body: `{"m2m:ae":{"rn":"APP01","api":"NAPP01","rr":false,"srv":["3"]}}`})
	}
	for _, from := range []string{"CAE02", "CAE011", "cAE01", "C", "S", absent} {
		refused := register(from)
		require.Equal(t, "4.03", refused.code, from)
		require.Equal(t, "4106", refused.params["rsc"], from) // TS-0004, 7.3.2.1
	}
	require.Empty(t, cse.Requests(), "what the rule refuses must not reach the CSE")

	created := register(seAEID)
	require.Equal(t, "2.01", created.code)
	require.Equal(t, "2001", created.params["rsc"])
	require.Contains(t, string(created.content), `"aei":"`+seAEID+`"`)
	require.Len(t, cse.Requests(), 1)
	require.Equal(t, http.MethodPost, cse.Requests()[0].Method)
}

// handshake dials the bridge with another DTLS implementation than ours, which offers the one suite.
func handshake(t *testing.T, to netip.AddrPort, identity, key string) (*pion.Conn, error) {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	conn, err := pion.ClientWithOptions(socket, net.UDPAddrFromAddrPort(to),
		pion.WithPSK(func([]byte) ([]byte, error) { return []byte(key), nil }),
		pion.WithPSKIdentityHint([]byte(identity)),
		pion.WithCipherSuites(pion.TLS_PSK_WITH_AES_128_CCM_8),
		pion.WithExtendedMasterSecret(pion.RequireExtendedMasterSecret),
	)
	if err != nil {
		_ = socket.Close()
		return nil, err
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// pipe is the datagrams of a pion.Conn.
type pipe struct{ *pion.Conn }

// Send implements coap.Conn.
func (p pipe) Send(datagram []byte) error { _, err := p.Write(datagram); return err }

// MaxPlaintext implements coap.Conn.
func (pipe) MaxPlaintext() int { return 1152 }

// over puts CoAP onto conn.
func over(t *testing.T, conn *pion.Conn) *device {
	t.Helper()
	d := &device{}
	d.coap = endpoint(d)
	d.peer = d.coap.NewPeer(pipe{conn}, coap.Profile{})
	var running sync.WaitGroup
	running.Go(func() { _ = d.coap.Serve() })
	running.Go(func() {
		b := make([]byte, 2048)
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			d.coap.Receive(d.peer, b[:n])
		}
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = conn.Close()
		_ = d.coap.Shutdown(ctx)
		running.Wait()
	})
	return d
}
