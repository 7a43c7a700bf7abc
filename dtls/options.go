package dtls

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"errors"

	pion "github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/clientcertificate"
	curves "github.com/pion/dtls/v3/pkg/crypto/elliptic"
	messages12 "github.com/pion/dtls/v3/pkg/protocol/handshake"
)

// common returns what pion is told in both roles.
func (h *handshake) common(ids []pion.CipherSuiteID) []pion.Option {
	return []pion.Option{
		pion.WithCipherSuites(ids...),
		pion.WithExtendedMasterSecret(pion.RequireExtendedMasterSecret), // S3
		pion.WithReplayProtectionWindow(replayWindow),
		pion.WithFlightInterval(flightInterval),
		pion.WithMTU(h.ep.conf.Limits.payload() - recordHeader - handshakeHeader), // pion counts a fragment's body only
		pion.WithEllipticCurves(curves.P256, curves.X25519, curves.P384),
		pion.WithSignatureSchemes(tls.ECDSAWithP256AndSHA256, tls.ECDSAWithP384AndSHA384, tls.ECDSAWithP521AndSHA512),
		pion.WithLoggerFactory(pionLog{h}),
		pion.WithVerifyPeerCertificate(func(raw [][]byte, _ [][]*x509.Certificate) error { return h.verifyChain(raw) }),
		pion.WithVerifyConnection(func(*pion.State) error {
			h.verified.Store(true)
			return nil
		}),
	}
}

// serverOptions returns what pion is told as a server, for suites of one kind.
func (h *handshake) serverOptions(ctx context.Context, ids []pion.CipherSuiteID, psk bool) []pion.ServerOption {
	var opts []pion.ServerOption
	for _, o := range h.common(ids) {
		opts = append(opts, o)
	}
	if psk {
		return append(opts, pion.WithPSK(func(identity []byte) ([]byte, error) { return h.lookup(ctx, identity), nil }))
	}
	return append(opts,
		pion.WithGetCertificate(func(info *pion.ClientHelloInfo) (*tls.Certificate, error) {
			return h.ownCertificate(info.ServerName)
		}),
		// The chain is ours to verify (verifyChain), after pion has verified the proof of possession.
		pion.WithClientAuth(pion.RequireAnyClientCert),
		pion.WithCertificateRequestMessageHook(func(m messages12.MessageCertificateRequest) messages12.Message {
			m.CertificateTypes = []clientcertificate.Type{clientcertificate.ECDSASign}
			return &m
		}),
	)
}

// clientOptions returns what pion is told as a client. key is the PSK, nil for certificates.
func (h *handshake) clientOptions(key []byte) []pion.ClientOption {
	var opts []pion.ClientOption
	for _, o := range h.common(suiteIDs(key != nil)) {
		opts = append(opts, o)
	}
	opts = append(opts, pion.WithHelloRandomBytesGenerator(h.ep.newRandom))
	if key != nil {
		return append(opts,
			pion.WithPSK(func([]byte) ([]byte, error) { return key, nil }), // whatever hint the server gave
			pion.WithPSKIdentityHint([]byte(h.dial.key.id.ID)),
		)
	}
	return append(opts,
		pion.WithServerName(h.dial.key.serverName),
		pion.WithGetClientCertificate(func(*pion.CertificateRequestInfo) (*tls.Certificate, error) {
			h.mu.Lock()
			h.presented = true
			h.mu.Unlock()
			return h.ownCertificate(h.dial.key.serverName)
		}),
		// pion's own check would use the system's roots and a name's wildcards; verifyChain stands in its place.
		pion.WithInsecureSkipVerify(true),
	)
}

// ownCertificate returns what this endpoint presents.
func (h *handshake) ownCertificate(serverName string) (*tls.Certificate, error) {
	own, err := h.ep.conf.Certificate(serverName)
	if err == nil {
		err = own.check()
	}
	if err != nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.failure, h.ownFault = err, true
		return nil, err
	}
	return &tls.Certificate{Certificate: own.Chain, PrivateKey: own.Key}, nil
}

// check refuses a certificate that no suite of ours can use.
func (c Certificate) check() error {
	if len(c.Chain) == 0 || c.Key == nil {
		return errors.New("dtls: the certificate has no chain or no key")
	}
	if !ecdsaKey(c.Key.Public()) {
		return errors.New("dtls: the certificate's key is not ECDSA on P-256 or P-384")
	}
	return nil
}

// ecdsaKey reports whether a public key is ECDSA on P-256 or P-384.
func ecdsaKey(key crypto.PublicKey) bool {
	k, ok := key.(*ecdsa.PublicKey)
	return ok && (k.Curve == elliptic.P256() || k.Curve == elliptic.P384())
}
