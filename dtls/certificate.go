package dtls

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
)

// Tags of GeneralName (RFC 5280, Section 4.2.1.6).
const (
	generalOther = 0
	generalDNS   = 2
	generalURI   = 6
	generalIP    = 7
)

// PeerIDOf names the holder of a certificate: SHA-256 of its DER, in lower-case hex.
func PeerIDOf(cert *x509.Certificate) PeerID {
	sum := sha256.Sum256(cert.Raw)
	return PeerID{Kind: KindCertificate, ID: hex.EncodeToString(sum[:])}
}

// NamesOf returns the subjectAltNames of a certificate that this package reads, in their order, at most 64: dNSName in
// lower case, uniformResourceIdentifier as it is written, iPAddress in its canonical text, and otherName as OID "=" value,
// where a value that is no string is the hex of its DER. The subject's common name is no name (S9).
func NamesOf(cert *x509.Certificate) []Name {
	var names []Name
	for _, ext := range cert.Extensions {
		if !ext.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) { // id-ce-subjectAltName
			continue
		}
		var seq asn1.RawValue
		if rest, err := asn1.Unmarshal(ext.Value, &seq); err != nil || len(rest) > 0 || seq.Tag != asn1.TagSequence {
			return nil
		}
		for der := seq.Bytes; len(der) > 0 && len(names) < maxNames; {
			var v asn1.RawValue
			rest, err := asn1.Unmarshal(der, &v)
			if err != nil {
				return nil
			}
			der = rest
			if n, ok := generalName(v); ok {
				names = append(names, n)
			}
		}
	}
	return names
}

// generalName reads one GeneralName of a type that this package knows.
func generalName(v asn1.RawValue) (Name, bool) {
	if v.Class != asn1.ClassContextSpecific {
		return Name{}, false
	}
	switch v.Tag {
	case generalDNS:
		return Name{NameDNS, strings.ToLower(string(v.Bytes))}, isPrintable(v.Bytes)
	case generalURI:
		return Name{NameURI, string(v.Bytes)}, isPrintable(v.Bytes)
	case generalIP:
		ip, ok := netip.AddrFromSlice(v.Bytes)
		return Name{NameIP, ip.String()}, ok
	case generalOther:
		return otherName(v.Bytes)
	}
	return Name{}, false
}

// otherName reads the content of an otherName: an object identifier, and a value of any type in an explicit [0].
func otherName(der []byte) (Name, bool) {
	var id asn1.ObjectIdentifier
	rest, err := asn1.Unmarshal(der, &id)
	if err != nil {
		return Name{}, false
	}
	var wrapped, value asn1.RawValue
	if rest, err = asn1.Unmarshal(rest, &wrapped); err != nil || len(rest) > 0 || wrapped.Tag != 0 {
		return Name{}, false
	}
	if rest, err = asn1.Unmarshal(wrapped.Bytes, &value); err != nil || len(rest) > 0 {
		return Name{}, false
	}
	text := hex.EncodeToString(value.FullBytes)
	switch value.Tag {
	case asn1.TagUTF8String, asn1.TagIA5String, asn1.TagPrintableString:
		if value.Class == asn1.ClassUniversal && isPrintable(value.Bytes) {
			text = string(value.Bytes)
		}
	}
	return Name{NameOther, id.String() + "=" + text}, true
}

// isPrintable reports whether b is visible ASCII: a name with a NUL or a line break in it is none (CVE-2009-2408).
func isPrintable(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return len(b) > 0
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
