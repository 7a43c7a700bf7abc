package cse_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/hex"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestW03KeyUpdates: a CSE that has TLS keys updated and never reads the updates holds its connection no longer than an idle one
// (RFC 8446, Section 4.6.3).
func TestW03KeyUpdates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := startDownlink(t, newPKI(t), newPipeListener(), nil)
		raw, err := d.dial()
		require.NoError(t, err)
		var secrets bytes.Buffer
		c := tls.Client(raw, &tls.Config{
			RootCAs: d.roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{d.up}, KeyLogWriter: &secrets,
		})
		require.NoError(t, c.Handshake())
		_, err = raw.Write(keyUpdate(t, secrets.String(), c.ConnectionState().CipherSuite))
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, 1, d.Stats().CSEs[0].Open)
		<-time.After(3 * time.Minute)
		synctest.Wait()
		require.Zero(t, d.Stats().CSEs[0].Open)
		_ = raw.Close()
	})
}

// keyUpdate is the first record that a client sends after its handshake, a KeyUpdate that asks for one of the server's
// (RFC 8446, Sections 4.6.3, 5.2 and 7.3).
func keyUpdate(t *testing.T, keyLog string, suite uint16) []byte {
	t.Helper()
	size, sum := 16, sha256.New
	if suite == tls.TLS_AES_256_GCM_SHA384 {
		size, sum = 32, sha512.New384
	}
	require.NotEqual(t, tls.TLS_CHACHA20_POLY1305_SHA256, suite, "AES is preferred where the processor has it")
	_, line, ok := strings.Cut(keyLog, "CLIENT_TRAFFIC_SECRET_0 ")
	require.True(t, ok)
	line, _, _ = strings.Cut(line, "\n")
	_, digits, _ := strings.Cut(line, " ")
	secret, err := hex.DecodeString(digits)
	require.NoError(t, err)
	expand := func(label string, n int) []byte {
		label = "tls13 " + label
		out, err := hkdf.Expand(sum, secret, string([]byte{0, byte(n), byte(len(label))})+label+"\x00", n)
		require.NoError(t, err)
		return out
	}
	block, err := aes.NewCipher(expand("key", size))
	require.NoError(t, err)
	aead, err := cipher.NewGCM(block)
	require.NoError(t, err)
	inner := []byte{24, 0, 0, 1, 1, 22} // key_update, update_requested; of type handshake
	header := []byte{23, 3, 3, 0, byte(len(inner) + aead.Overhead())}
	return aead.Seal(header, expand("iv", 12), inner, header)
}
