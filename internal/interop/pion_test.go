//go:build interop

package interop

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"

	pion "github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/ciphersuite"
	"github.com/pion/dtls/v3/pkg/crypto/clientcertificate"
	"github.com/pion/dtls/v3/pkg/crypto/prf"
	"github.com/pion/dtls/v3/pkg/protocol/recordlayer"
	"github.com/stretchr/testify/require"

	"coapbridge/internal/testpki"
)

// pionPeer is pion's DTLS, in this process.
func pionPeer() *peer {
	return &peer{
		name: "pion", how: "in the test's process", dialect: echoes,
		version: func(t *testing.T) string {
			info, _ := debug.ReadBuildInfo()
			for _, m := range info.Deps {
				if m.Path == "github.com/pion/dtls/v3" {
					return m.Version
				}
			}
			return "as in go.mod" // a test binary that was built without module information
		},
		named:  func(suite) bool { return true },
		client: pionClient,
		server: pionServer,
	}
}

// pionCommon returns what pion is told in both roles.
func pionCommon(a *attempt, own *testpki.Leaf) []pion.Option {
	var ids []pion.CipherSuiteID
	custom := false
	for _, s := range a.suites {
		if s.id == idECDHEPSK8 {
			custom = true
			continue
		}
		ids = append(ids, pion.CipherSuiteID(s.id))
	}
	opts := []pion.Option{pion.WithExtendedMasterSecret(pion.RequireExtendedMasterSecret)}
	if custom {
		opts = append(opts, pion.WithCustomCipherSuites(func() []pion.CipherSuite { return []pion.CipherSuite{&ecdhePSK8{}} }))
	}
	if len(ids) == 0 { // pion wants one of its own beside ours; it leaves this one out, for it has no certificate
		ids = append(ids, pion.TLS_ECDHE_ECDSA_WITH_AES_128_CCM)
	}
	opts = append(opts, pion.WithCipherSuites(ids...))
	if a.cid {
		opts = append(opts, pion.WithConnectionIDGenerator(pion.RandomCIDGenerator(5))) // any length but ours
	}
	if a.psk {
		return append(opts,
			pion.WithPSK(func([]byte) ([]byte, error) { return []byte(key), nil }),
			pion.WithPSKIdentityHint([]byte(identity)))
	}
	return append(opts, pion.WithRootCAs(a.creds.ca.Pool()), pion.WithCertificates(own.TLS()))
}

func pionClient(t *testing.T, a *attempt) *running {
	var opts []pion.ClientOption
	for _, o := range pionCommon(a, a.creds.client) {
		opts = append(opts, o)
	}
	if !a.psk {
		opts = append(opts, pion.WithServerName(bridgeName))
	}
	conn, err := pion.DialWithOptions("udp4", net.UDPAddrFromAddrPort(a.at), opts...)
	require.NoError(t, err)
	read, write := io.Pipe()
	r := newRunning(write)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(r.done)
		if err := conn.HandshakeContext(ctx); err != nil {
			r.print(err.Error())
			return
		}
		var sender sync.WaitGroup
		sender.Go(func() { _, _ = io.Copy(conn, read) })
		r.read(conn)
		_ = read.Close()
		sender.Wait()
	}()
	r.stop = func() {
		cancel()
		_ = conn.Close()
		<-r.done
	}
	return r
}

func pionServer(t *testing.T, a *attempt) *running {
	var opts []pion.ServerOption
	for _, o := range pionCommon(a, a.creds.server) {
		opts = append(opts, o)
	}
	if !a.psk {
		opts = append(opts, pion.WithClientAuth(pion.RequireAndVerifyClientCert), pion.WithClientCAs(a.creds.ca.Pool()))
	}
	listener, err := pion.ListenWithOptions("udp4", net.UDPAddrFromAddrPort(a.at), opts...)
	require.NoError(t, err)
	r := newRunning(nil)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(r.done)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
		if err := conn.(*pion.Conn).HandshakeContext(ctx); err != nil {
			r.print(err.Error())
			return
		}
		_, err = io.Copy(struct{ io.Writer }{conn}, conn) // every record back
		r.print(errors.Join(errEnded, err).Error())
	}()
	r.stop = func() {
		cancel()
		_ = listener.Close()
		<-r.done
	}
	return r
}

// idECDHEPSK8 is TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256 (RFC 8442), which pion doesn't have.
const idECDHEPSK8 = 0xd003

// ecdhePSK8 gives it to pion, which has all of its parts.
type ecdhePSK8 struct {
	ccm atomic.Pointer[ciphersuite.CCM]
}

func (*ecdhePSK8) String() string                          { return "TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256" }
func (*ecdhePSK8) ID() pion.CipherSuiteID                  { return idECDHEPSK8 }
func (*ecdhePSK8) CertificateType() clientcertificate.Type { return 0 }
func (*ecdhePSK8) HashFunc() func() hash.Hash              { return sha256.New }
func (*ecdhePSK8) ECC() bool                               { return true }
func (s *ecdhePSK8) IsInitialized() bool                   { return s.ccm.Load() != nil }

func (*ecdhePSK8) AuthenticationType() pion.CipherSuiteAuthenticationType {
	return pion.CipherSuiteAuthenticationTypePreSharedKey
}

func (*ecdhePSK8) KeyExchangeAlgorithm() pion.CipherSuiteKeyExchangeAlgorithm {
	return pion.CipherSuiteKeyExchangeAlgorithmPsk | pion.CipherSuiteKeyExchangeAlgorithmEcdhe
}

func (s *ecdhePSK8) Init(masterSecret, clientRandom, serverRandom []byte, isClient bool) error {
	const keyLength, ivLength = 16, 4 // RFC 6655, Section 3
	k, err := prf.GenerateEncryptionKeys(masterSecret, clientRandom, serverRandom, 0, keyLength, ivLength, s.HashFunc())
	if err != nil {
		return err
	}
	var ccm *ciphersuite.CCM
	if isClient {
		ccm, err = ciphersuite.NewCCM(ciphersuite.CCMTagLength8, k.ClientWriteKey, k.ClientWriteIV, k.ServerWriteKey, k.ServerWriteIV)
	} else {
		ccm, err = ciphersuite.NewCCM(ciphersuite.CCMTagLength8, k.ServerWriteKey, k.ServerWriteIV, k.ClientWriteKey, k.ClientWriteIV)
	}
	s.ccm.Store(ccm)
	return err
}

func (s *ecdhePSK8) Encrypt(pkt *recordlayer.RecordLayer, raw []byte) ([]byte, error) {
	return s.ccm.Load().Encrypt(pkt, raw)
}

func (s *ecdhePSK8) Decrypt(h recordlayer.Header, raw []byte) ([]byte, error) {
	return s.ccm.Load().Decrypt(h, raw)
}
