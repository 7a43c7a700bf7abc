package config

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"coapbridge/bridge/devices/privatefile"
)

// Credential is a certificate chain with its private key.
type Credential struct {
	Chain [][]byte // DER, leaf first
	Leaf  *x509.Certificate
	Key   crypto.Signer
}

// LoadKeyPair reads a chain (PEM, leaf first) and its key (PEM, mode 0600), and checks that they belong together. Errors
// are a Problem that names the file at fault; they never show the key.
func LoadKeyPair(k KeyPair) (*Credential, error) {
	chain, err := LoadCAs(k.Chain)
	if err != nil {
		return nil, err
	}
	key, err := readKey(k.Key)
	if err != nil {
		return nil, err
	}
	c := &Credential{Leaf: chain[0], Key: key}
	for _, cert := range chain {
		c.Chain = append(c.Chain, cert.Raw)
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(c.Leaf.PublicKey) {
		return nil, Problem{File: k.Key, Message: "is not the key of " + k.Chain, Remedy: "name the key that the certificate was made for; the leaf comes first in the chain"}
	}
	return c, nil
}

// LoadCAs reads the certificates of a PEM file that nobody but this user and root can have written (S47). Which of them can
// be trusted at a time is for the caller.
func LoadCAs(path string) ([]*x509.Certificate, error) {
	data, err := privatefile.ReadTrusted(path, maxPEM)
	if err != nil {
		return nil, *asProblem(path, err)
	}
	return parseCertificates(path, data)
}

// LoadCertificates reads the certificates of a PEM file of anybody's, such as a device's that is to be added.
func LoadCertificates(path string) ([]*x509.Certificate, error) {
	data, err := privatefile.ReadPublic(path, maxPEM)
	if err != nil {
		return nil, *asProblem(path, err)
	}
	return parseCertificates(path, data)
}

func parseCertificates(path string, data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, Problem{File: path, Message: fmt.Sprintf("certificate %d can't be read: %v", len(certs)+1, err), Remedy: "replace the file"}
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, Problem{File: path, Message: "holds no certificate", Remedy: "name a PEM file with a BEGIN CERTIFICATE line"}
	}
	return certs, nil
}

func readKey(path string) (crypto.Signer, error) {
	data, err := privatefile.Read(path, maxPEM)
	if err != nil {
		return nil, *asProblem(path, err)
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "PRIVATE KEY" && block.Type != "EC PRIVATE KEY" {
			continue
		}
		key, err := parseKey(block.Bytes)
		if err != nil {
			break
		}
		return key, nil
	}
	remedy := "name a PEM file with an ECDSA key in PKCS #8 or SEC 1, not encrypted"
	if bytes.Contains(data, []byte("ENCRYPTED")) {
		return nil, Problem{File: path, Message: "is encrypted", Remedy: remedy}
	}
	return nil, Problem{File: path, Message: "holds no private key", Remedy: remedy}
}

func parseKey(der []byte) (crypto.Signer, error) {
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	if signer, ok := key.(crypto.Signer); ok {
		return signer, nil
	}
	return nil, errors.New("no signing key")
}

// checkKeyPair finds what is wrong with a certificate of ours, in the given role.
func (l *loader) checkKeyPair(field string, k KeyPair, usage x509.ExtKeyUsage) {
	chainField, keyField := field+".chain", field+".key"
	if field == "" || usage == x509.ExtKeyUsageClientAuth {
		chainField, keyField = join(field, "certificate"), join(field, "key")
	}
	switch {
	case k.Chain == "":
		l.report(chainField, "is missing", "name the PEM file of the certificate that belongs to the key")
		return
	case k.Key == "":
		l.report(keyField, "is missing", "name the PEM file of the certificate's key")
		return
	}
	c, err := LoadKeyPair(k)
	if err != nil {
		at := chainField
		var p Problem
		if errors.As(err, &p) && p.File == k.Key {
			at = keyField
		} else if _, err := readKey(k.Key); err != nil { // the chain came first; both are named at once
			l.reportFile(keyField, err)
		}
		l.reportFile(at, err)
		return
	}
	l.checkLeaf(chainField, k.Chain, c.Leaf, usage)
}

func (l *loader) checkLeaf(field, file string, leaf *x509.Certificate, usage x509.ExtKeyUsage) {
	bad := func(message, remedy string) { l.report(field, file+" "+message, remedy) }
	key, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	switch {
	case usage == x509.ExtKeyUsageServerAuth && (!ok || key.Curve != elliptic.P256()):
		// RFC 7925, Section 4.4.2: the mandatory suite signs with ECDSA on secp256r1
		bad("has no P-256 key, which devices need", "make a certificate for an ECDSA key on P-256")
	case leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		bad("may not sign: its key usage lacks digitalSignature", "issue it again with digitalSignature")
	case len(leaf.ExtKeyUsage) > 0 && !slices.Contains(leaf.ExtKeyUsage, usage) && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny):
		bad("is not for this role: its extended key usage lacks "+usageName(usage), "issue it again with "+usageName(usage))
	case leaf.IsCA:
		bad("is a CA's", "issue a certificate for the bridge itself")
	case usage == x509.ExtKeyUsageServerAuth && len(leaf.DNSNames)+len(leaf.IPAddresses) == 0:
		bad("has no subjectAltName, so that no device can check its name", "issue it again with the bridge's DNS names")
	}
	if !l.judge {
		return
	}
	switch left := leaf.NotAfter.Sub(l.now); {
	case left <= 0:
		bad("expired on "+leaf.NotAfter.UTC().Format("2006-01-02 15:04 MST"), "renew it")
	case l.now.Before(leaf.NotBefore):
		bad("is not valid before "+leaf.NotBefore.UTC().Format("2006-01-02 15:04 MST"), "set the clock, or issue it again")
	case left < soon && left < leaf.NotAfter.Sub(leaf.NotBefore)/2:
		l.warn(field, fmt.Sprintf("%s expires on %s", file, leaf.NotAfter.UTC().Format("2006-01-02")), "renew it")
	}
}

// checkCAs finds what is wrong with a file of CAs. An expired one is left out, loudly; a file without any CA is a fault.
func (l *loader) checkCAs(field, file string) {
	certs, err := LoadCAs(file)
	if err != nil {
		l.reportFile(field, err)
		return
	}
	usable := 0
	for _, c := range certs {
		switch {
		case !c.IsCA:
			l.warn(field, fmt.Sprintf("%s: %q is no CA and is left out", file, c.Subject), "remove it")
		case l.judge && l.now.After(c.NotAfter):
			l.warn(field, fmt.Sprintf("%s: CA %q expired on %s and is left out", file, c.Subject, c.NotAfter.UTC().Format("2006-01-02")), "replace it")
			usable++
		default:
			usable++
		}
	}
	if usable == 0 {
		l.report(field, file+" holds no CA's certificate", "name a PEM file with the CA's certificate, not with one that it issued")
	}
}

// reportFile adds a fault of a named file at the field that names it.
func (l *loader) reportFile(field string, err error) {
	var p Problem
	if errors.As(err, &p) {
		l.report(field, p.File+" "+p.Message, p.Remedy)
		return
	}
	l.report(field, err.Error(), "")
}

func join(field, name string) string {
	if field == "" {
		return name
	}
	return field + "." + name
}

func usageName(u x509.ExtKeyUsage) string {
	if u == x509.ExtKeyUsageClientAuth {
		return "clientAuth"
	}
	return "serverAuth"
}
