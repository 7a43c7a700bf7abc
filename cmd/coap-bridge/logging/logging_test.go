package logging

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/cmd/coap-bridge/secret"
	"coapbridge/dtls"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Format{"": FormatAuto, "auto": FormatAuto, "TEXT": FormatText, "json": FormatJSON} {
		got, err := ParseFormat(in)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := ParseFormat("xml")
	require.EqualError(t, err, `log format "xml": write auto, text or json`)
	for in, want := range map[string]slog.Level{
		"": slog.LevelInfo, "info": slog.LevelInfo, "Debug": slog.LevelDebug, "warn": slog.LevelWarn,
		"warning": slog.LevelWarn, "error": slog.LevelError,
	} {
		got, err := ParseLevel(in)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err = ParseLevel("loud")
	require.EqualError(t, err, `log level "loud": write debug, info, warn or error`)
}

func TestFormat(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	New(&buf, Options{}).Info("handshake failed", "reason", "psk_failed")
	var line map[string]any
	require.NoError(t, json.Unmarshal(buf.Bytes(), &line), "no terminal: JSON")
	require.Equal(t, "handshake failed", line["msg"])
	require.Equal(t, "psk_failed", line["reason"])

	buf.Reset()
	New(&buf, Options{Format: FormatText}).Info("handshake failed", "reason", "psk_failed")
	require.Contains(t, buf.String(), `msg="handshake failed" reason=psk_failed`)

	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	require.False(t, isTerminal(f), "a file is no terminal")
}

func TestLevelFollowsReload(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	level := new(slog.LevelVar)
	log := New(&buf, Options{Level: level})
	log.Debug("hidden")
	require.Empty(t, buf.String())
	level.Set(slog.LevelDebug)
	log.Debug("shown")
	require.Contains(t, buf.String(), "shown")
}

// TestO01ControlCharacters: what a peer sent can neither start a line of its own nor drive the operator's terminal.
func TestO01ControlCharacters(t *testing.T) {
	t.Parallel()
	hostile := "a\nlevel=ERROR msg=forged\r\x1b[2J\x00\u202e\xff"
	for _, format := range []Format{FormatText, FormatJSON} {
		var buf bytes.Buffer
		New(&buf, Options{Format: format}).Info("event", "rqi", hostile, hostile, "value")
		require.Equal(t, 1, strings.Count(buf.String(), "\n"), "format %s", format)
		require.NotContains(t, buf.String(), "\x1b")
		require.NotContains(t, buf.String(), "\x00")
		require.NotContains(t, buf.String(), "\r")
	}
}

// TestO01PseudonymHidesIdentity: a logged pseudonymizer or log key shows neither the key nor an identity.
func TestO01PseudonymHidesIdentity(t *testing.T) {
	t.Parallel()
	const planted = "planted-log-key-0123456789"
	p, err := NewPseudonymizer(secret.New([]byte(planted)))
	require.NoError(t, err)
	id := dtls.PeerID{Kind: dtls.KindPSK, ID: "planted-identity"}
	var buf bytes.Buffer
	for _, format := range []Format{FormatText, FormatJSON} {
		New(&buf, Options{Format: format}).Info("event", "device", p.Device(id), "p", p, "key", p.key)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		fmt.Fprintf(&buf, verb, p)
		fmt.Fprintf(&buf, verb, *p)
	}
	for _, leak := range []string{planted, hex.EncodeToString([]byte(planted)), "planted-identity",
		strings.Trim(fmt.Sprint([]byte(planted)), "[]")} {
		require.NotContains(t, buf.String(), leak)
	}
}

func TestPseudonym(t *testing.T) {
	t.Parallel()
	key := []byte("0123456789abcdef")
	p, err := NewPseudonymizer(secret.New(key))
	require.NoError(t, err)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("\x01a"))
	require.Equal(t, hex.EncodeToString(mac.Sum(nil))[:8], p.Device(dtls.PeerID{Kind: dtls.KindPSK, ID: "a"}))

	seen := map[string]bool{}
	for _, kind := range []dtls.Kind{dtls.KindPSK, dtls.KindCertificate, dtls.KindRawPublicKey} {
		for _, id := range []string{"", "a", "A", "aa"} {
			seen[p.Device(dtls.PeerID{Kind: kind, ID: id})] = true
		}
	}
	require.Len(t, seen, 12, "kind and spelling both count (S11)")

	_, err = NewPseudonymizer(secret.New(key[:15]))
	require.ErrorIs(t, err, ErrShortKey)
}

func TestLoadPseudonymizer(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log.key")
	id := dtls.PeerID{Kind: dtls.KindPSK, ID: "a"}
	first, err := LoadPseudonymizer(path)
	require.NoError(t, err)
	second, err := LoadPseudonymizer(path)
	require.NoError(t, err)
	require.Equal(t, first.Device(id), second.Device(id), "the same after a restart")

	require.NoError(t, os.WriteFile(path, []byte("short\n"), 0o600))
	_, err = LoadPseudonymizer(path)
	require.ErrorIs(t, err, ErrShortKey)
	require.ErrorContains(t, err, path)
	require.NoError(t, os.Chmod(path, 0o644))
	_, err = LoadPseudonymizer(path)
	require.ErrorContains(t, err, "chmod 600")
}

func BenchmarkPseudonym(b *testing.B) {
	p, err := NewPseudonymizer(secret.New([]byte("0123456789abcdef")))
	require.NoError(b, err)
	id := dtls.PeerID{Kind: dtls.KindPSK, ID: "urn:example:device:0001"}
	for b.Loop() {
		_ = p.Device(id)
	}
}
