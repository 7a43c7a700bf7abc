package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/devices"
	"coapbridge/cmd/coap-bridge/config"
	"coapbridge/internal/testpki"
)

func TestEnsureDemo(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "demo")
	now := time.Now()
	first, err := EnsureDemo(t.Context(), dir, now)
	require.NoError(t, err)
	require.Len(t, first.Made, 15)
	require.Empty(t, first.Kept)
	require.Equal(t, PSKDevice, first.Identity)
	require.Len(t, first.Key.Reveal(), 32)

	// A second start reuses everything, the key that was printed included.
	second, err := EnsureDemo(t.Context(), dir, now.Add(24*time.Hour))
	require.NoError(t, err)
	require.Empty(t, second.Made)
	require.Equal(t, first.Paths, second.Paths)
	require.True(t, first.Key.Equal(second.Key))

	// A year later the certificates are renewed for the same keys, and the CAs stay.
	before, err := config.LoadKeyPair(first.Paths.Bridge)
	require.NoError(t, err)
	third, err := EnsureDemo(t.Context(), dir, now.Add(lifeLeaf))
	require.NoError(t, err)
	require.Equal(t, []string{
		first.Paths.Bridge.Chain, first.Paths.Device.Chain, first.Paths.CSEClient.Chain, first.Paths.CSEServer.Chain,
		first.Paths.CSECaller.Chain,
	}, third.Made)
	after, err := config.LoadKeyPair(first.Paths.Bridge)
	require.NoError(t, err)
	require.True(t, after.Leaf.NotAfter.After(before.Leaf.NotAfter))
	require.Equal(t, before.Leaf.PublicKey, after.Leaf.PublicKey)
	_, err = EnsureDemo(t.Context(), dir, now.Add(2*lifeCA))
	require.ErrorContains(t, err, "is no CA that is valid")

	// The operator's edits stay.
	require.NoError(t, devices.Remove(t.Context(), first.Paths.Devices, PSKDevice))
	fourth, err := EnsureDemo(t.Context(), dir, now)
	require.NoError(t, err)
	require.Empty(t, fourth.Identity)
	require.True(t, fourth.Key.IsZero())
}

// TestCertificates keeps S8 and S9 for what is issued here.
func TestCertificates(t *testing.T) {
	t.Parallel()
	r, err := EnsureDemo(t.Context(), t.TempDir(), time.Now())
	require.NoError(t, err)
	p := r.Paths
	cases := []struct {
		name   string
		ca, of config.KeyPair
		usage  x509.ExtKeyUsage
		host   string
	}{
		{"bridge", p.DeviceCA, p.Bridge, x509.ExtKeyUsageServerAuth, "localhost"},
		{"bridge by IPv6", p.DeviceCA, p.Bridge, x509.ExtKeyUsageServerAuth, "::1"},
		{"device", p.DeviceCA, p.Device, x509.ExtKeyUsageClientAuth, ""},
		{"CSE client", p.CSECA, p.CSEClient, x509.ExtKeyUsageClientAuth, ""},
		{"CSE caller", p.CSECA, p.CSECaller, x509.ExtKeyUsageClientAuth, ""},
		{"CSE server", p.CSECA, p.CSEServer, x509.ExtKeyUsageServerAuth, "127.0.0.1"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			roots := x509.NewCertPool()
			cas, err := config.LoadCAs(c.ca.Chain)
			require.NoError(t, err)
			roots.AddCert(cas[0])
			k, err := config.LoadKeyPair(c.of)
			require.NoError(t, err)
			_, err = k.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: c.host, KeyUsages: []x509.ExtKeyUsage{c.usage}})
			require.NoError(t, err)
			require.Equal(t, x509.KeyUsageDigitalSignature, k.Leaf.KeyUsage)
			require.Equal(t, []x509.ExtKeyUsage{c.usage}, k.Leaf.ExtKeyUsage)
			require.Equal(t, elliptic.P256(), k.Leaf.PublicKey.(*ecdsa.PublicKey).Curve)
			require.False(t, k.Leaf.IsCA)
		})
	}
	// A device's certificate opens no door to the CSE.
	roots := x509.NewCertPool()
	cas, err := config.LoadCAs(p.CSECA.Chain)
	require.NoError(t, err)
	roots.AddCert(cas[0])
	device, err := config.LoadKeyPair(p.Device)
	require.NoError(t, err)
	_, err = device.Leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	require.Error(t, err)
}

// TestEnsureAtOnce: two first starts in one folder end with one set of keys.
func TestEnsureAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var wg sync.WaitGroup
	results := make([]*Result, 4)
	for i := range results {
		wg.Go(func() {
			r, err := EnsureDemo(t.Context(), dir, time.Now())
			require.NoError(t, err)
			results[i] = r
		})
	}
	wg.Wait()
	for _, r := range results {
		require.True(t, r.Key.Equal(results[0].Key))
	}
}

// TestEnsureGoesOnAfterACrash: whatever is missing is made, and nothing is overwritten.
func TestEnsureGoesOnAfterACrash(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := EnsureDemo(t.Context(), dir, time.Now())
	require.NoError(t, err)
	require.NoError(t, os.Remove(first.Paths.Bridge.Chain))
	require.NoError(t, os.Remove(first.Paths.Devices))
	again, err := EnsureDemo(t.Context(), dir, time.Now())
	require.NoError(t, err)
	require.Equal(t, []string{first.Paths.Bridge.Chain, first.Paths.Devices}, again.Made)

	require.NoError(t, os.WriteFile(first.Paths.Bridge.Key, []byte("x"), 0o600))
	_, err = EnsureDemo(t.Context(), dir, time.Now())
	require.ErrorContains(t, err, "holds no P-256 key; move it away to make a new one")
}

func TestCheckHost(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"a", "a.example.org", "192.0.2.1", "::1", "xn--bcher-kva.example"} {
		require.Empty(t, CheckHost(good), good)
	}
	for _, bad := range []string{"", "*.example.org", "a b", "-a", ".a", "a..b", "a/b", "ä.example"} {
		require.NotEmpty(t, CheckHost(bad), bad)
	}
	require.Contains(t, DefaultHosts(), "localhost")
}

// TestForeignCertificatesStay: a certificate of another authority, however old, is not ours to replace.
func TestForeignCertificatesStay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r, err := EnsureDemo(t.Context(), dir, time.Now())
	require.NoError(t, err)
	cert, key := testpki.NewCA(t, "other").Server(t, "elsewhere").Write(t, t.TempDir(), "own")
	require.NoError(t, os.Rename(cert, r.Paths.Bridge.Chain))
	require.NoError(t, os.Rename(key, r.Paths.Bridge.Key))
	again, err := EnsureDemo(t.Context(), dir, time.Now())
	require.NoError(t, err)
	require.Empty(t, again.Made)
}
