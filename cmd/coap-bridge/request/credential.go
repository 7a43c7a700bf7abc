package request

import (
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"coapbridge/bridge/devices/privatefile"
	"coapbridge/cmd/coap-bridge/secret"
	"coapbridge/dtls"
)

// Credential is what the client authenticates with, and whom it trusts: a pre-shared key, which does both, or a
// certificate with a CA for the server's.
type Credential struct {
	Identity string // PSK identity; "" when Certificate is used
	Key      secret.Bytes

	Certificate dtls.Certificate
	Roots       *x509.CertPool // who may have issued the server's certificate
	ServerName  string         // name that must stand in it, a DNS name or an address; "" is the URI's host
}

// ParseKey reads a pre-shared key as it is written on a line: "hex:", "base64:" or "text:" says how, as in the devices
// file; without them the key is the characters themselves, as libcoap takes them.
func ParseKey(line secret.Bytes) (secret.Bytes, error) {
	raw := line.Reveal()
	form, value, _ := strings.Cut(string(raw), ":")
	var err error
	switch form {
	case "text":
		raw = []byte(value)
	case "hex":
		raw, err = hex.DecodeString(value)
	case "base64":
		raw, err = base64.StdEncoding.DecodeString(value)
	}
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("the key is no %s; correct it, or write text: before a key that is these characters", form)
	}
	if len(raw) == 0 {
		return secret.Bytes{}, errors.New("the key is empty")
	}
	return secret.New(raw), nil
}

// LoadCertificate reads the client's certificate chain (PEM, leaf first), its private key (PEM, mode 0600) and the CAs
// (PEM) that the server's certificate may come from.
func LoadCertificate(certFile, keyFile, caFile string) (Credential, error) {
	var c Credential
	chain, err := readCertificates(certFile)
	if err != nil {
		return c, err
	}
	key, err := readKey(keyFile)
	if err != nil {
		return c, err
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(chain[0].PublicKey) {
		return c, fmt.Errorf("%s: the key does not belong to the certificate in %s", keyFile, certFile)
	}
	roots, err := readCertificates(caFile)
	if err != nil {
		return c, err
	}
	c.Certificate.Key = key
	for _, cert := range chain {
		c.Certificate.Chain = append(c.Certificate.Chain, cert.Raw)
	}
	c.Roots = x509.NewCertPool()
	for _, ca := range roots {
		c.Roots.AddCert(ca)
	}
	return c, nil
}

func readCertificates(file string) ([]*x509.Certificate, error) {
	b, err := privatefile.ReadPublic(file, maxPEMBytes)
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%s: there is no certificate (PEM) in it", file)
	}
	return certs, nil
}

func readKey(file string) (crypto.Signer, error) {
	b, err := privatefile.Read(file, maxPEMBytes)
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		var key any
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			return nil, fmt.Errorf("%s: the key is encrypted; decrypt it first (openssl pkey)", file)
		default:
			continue // EC PARAMETERS stand before a key that openssl ecparam made
		}
		if err != nil {
			return nil, fmt.Errorf("%s: the private key can't be read", file) // the cause may quote the key
		}
		if signer, ok := key.(crypto.Signer); ok {
			return signer, nil
		}
	}
	return nil, fmt.Errorf("%s: there is no private key (PEM) in it", file)
}

// verifyServer judges the server's chain: issued by a trusted CA for a server, in its time, and for the name that was
// dialled, which must stand in it exactly, with no wildcard and no common name (S8, S9).
func (c *Credential) verifyServer(chain dtls.PeerChain) (*x509.Certificate, error) {
	trust := dtls.Trust{Roots: c.Roots}
	anchor, err := trust.Verify(chain)
	var judged *dtls.CertificateError
	if errors.As(err, &judged) && judged.Outcome == dtls.OutcomeCertificateNoName {
		return nil, &nameError{want: chain.ServerName, has: namesOf(chain.Leaf), err: err}
	}
	return anchor, err
}

// nameError says that the server's certificate is for another name.
type nameError struct {
	want string
	has  []string
	err  error // dtls's verdict
}

// Error implements error.
func (e *nameError) Error() string {
	if len(e.has) == 0 {
		return fmt.Sprintf("the server's certificate names no host, so it can't be %q", e.want)
	}
	return fmt.Sprintf("the server's certificate is for %q, not for %q", strings.Join(e.has, ", "), e.want)
}

// Unwrap returns dtls's verdict.
func (e *nameError) Unwrap() error { return e.err }

func namesOf(cert *x509.Certificate) []string {
	names := append([]string(nil), cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}
