package config

import (
	"crypto/x509"
	"time"
)

// LoadPool reads the CAs of a PEM file as a trust store, and says when the last of them ends.
func LoadPool(path string) (*x509.CertPool, time.Time, error) {
	certs, err := LoadCAs(path)
	if err != nil {
		return nil, time.Time{}, err
	}
	pool := x509.NewCertPool()
	var end time.Time
	for _, c := range certs {
		pool.AddCert(c)
		if c.NotAfter.After(end) {
			end = c.NotAfter
		}
	}
	return pool, end, nil
}
