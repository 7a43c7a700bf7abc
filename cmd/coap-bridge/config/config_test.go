package config

import (
	"coapbridge/bridge/devices"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coapbridge/coap"
	"coapbridge/internal/testpki"
)

// setUp fills a private folder with what Sample names and returns the configuration's path.
func setUp(t *testing.T) (dir, file string, ca *testpki.CA) {
	t.Helper()
	dir = t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o700))
	ca = testpki.NewCA(t, "test")
	ca.WriteCert(t, dir, "ca.crt")
	ca.WriteCert(t, dir, "cse-ca.crt")
	ca.Server(t, "localhost").Write(t, dir, "bridge")
	ca.Client(t).Write(t, dir, "cse-client")
	put(t, dir, "devices.yaml", "version: 1\ndevices:\n")
	return dir, put(t, dir, "coap-bridge.yaml", Sample(SampleValues{CSEURL: "https://localhost:8443"})), ca
}

func put(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func now() Options { return Options{Now: time.Now()} }

func TestLoadSample(t *testing.T) {
	t.Parallel()
	dir, file, _ := setUp(t)
	c, err := Load(file, now())
	require.NoError(t, err)
	require.Empty(t, c.Warnings)
	at := func(name string) string { return filepath.Join(dir, name) }
	require.Equal(t, &Config{
		Version: 1, Listen: []string{"[::]:5684"}, Certificate: KeyPair{at("bridge.crt"), at("bridge.key")}, ClientCA: at("ca.crt"),
		Devices: at("devices.yaml"), Bindings: at("bindings.jsonl"),
		CSEs: []CSE{{
			Name: "main", URL: "https://localhost:8443", Default: true, CA: at("cse-ca.crt"), Certificate: at("cse-client.crt"),
			Key: at("cse-client.key"), CSEID: "/id-in", CSEBase: "cse-in", Timeout: 10 * time.Second, MaxAnswer: 1 << 20,
			Downlink: CSEDownlink{Mode: DownlinkOff, CA: at("cse-ca.crt"), MaxPolls: 64, PollTimeout: time.Minute},
		}},
		Admin: Admin{Socket: at("admin.sock")}, Log: Log{Level: "info", Format: "auto", KeyFile: at("log.key")},
		ShutdownGrace: 20 * time.Second, File: file,
	}, c)
	require.Equal(t, "main", c.DefaultCSE().Name)
	require.Equal(t, []devices.CSE{{Name: "main", Default: true}}, c.DeviceCSEs())
}

// TestSampleNamesEveryField: what is commented out in the sample are fields that exist.
func TestSampleNamesEveryField(t *testing.T) {
	t.Parallel()
	_, file, _ := setUp(t)
	field := regexp.MustCompile(`(?m)^( *)#(  )?([a-zA-Z]+:.*)$`) // prose has one blank after the "#"
	all := field.ReplaceAllString(Sample(SampleValues{CSEURL: "https://localhost:8443"}), "$1$2$3")
	require.NoError(t, os.WriteFile(file, []byte(all), 0o600))
	c, err := Load(file, now())
	require.NoError(t, err)
	require.Equal(t, 8, c.Limits.PerDevice)
	require.Equal(t, []string{"gateway.example.org"}, c.Hosts)
	require.True(t, c.Listens())
	require.Equal(t, DownlinkListen, c.CSEs[0].Downlink.Mode)
	require.Equal(t, []CertificateName{"uri:urn:coap-bridge:cse"}, c.CSEs[0].Downlink.Certificates)
}

func TestLimitsReachThePackages(t *testing.T) {
	t.Parallel()
	_, file, _ := setUp(t)
	text := Sample(SampleValues{CSEURL: "https://localhost:8443"}) + "limits:\n"
	for i, l := range LimitFields() {
		value := fmt.Sprint(600 + i)
		switch l.Name {
		case "handshakeTimeout", "flightTimeout", "idleTimeout", "retryAfter", "requestTimeout", "replayLifetime", "downlinkTimeout", "confirmAfter", "freshFor":
			value += "s"
		case "ackDelay":
			value = "500ms"
		}
		require.NotEmpty(t, l.Help)
		text += "  " + l.Name + ": " + value + "\n"
	}
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	c, err := Load(file, now())
	require.NoError(t, err)
	require.NotContains(t, fmt.Sprintf("%+v", c.Limits.CoAP()), ":0 ", "a field that nothing sets")
	require.NotContains(t, fmt.Sprintf("%+v", c.Limits.Bridge()), ":0 ")
	require.NotContains(t, fmt.Sprintf("%+v", c.Limits.DTLS()), ":0 ")
	require.Equal(t, coap.Limits{}, Limits{}.CoAP(), "defaults are the packages' own")
}

// TestCertificatesOfOurs: the bridge's own certificates stop the start when they can't work.
func TestCertificatesOfOurs(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name string
		edit func(*x509.Certificate)
		want string // "" when the start goes on
		warn string
	}{
		{"good", func(*x509.Certificate) {}, "", ""},
		{"expired", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, "bridge.crt expired on", ""},
		{"not yet", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }, "is not valid before", ""},
		{"soon", func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-365*24*time.Hour), time.Now().Add(48*time.Hour)
		}, "", "expires on"},
		{"no SAN", func(c *x509.Certificate) { c.DNSNames = nil }, "has no subjectAltName", ""},
		{"client's", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, "its extended key usage lacks serverAuth", ""},
		{"no digitalSignature", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }, "lacks digitalSignature", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir, file, ca := setUp(t)
			ca.Issue(t, func(cert *x509.Certificate) {
				cert.DNSNames, cert.ExtKeyUsage = []string{"localhost"}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
				c.edit(cert)
			}).Write(t, dir, "bridge")
			got, err := Load(file, now())
			if c.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, "coap-bridge.yaml:13: certificate.chain: ")
				require.ErrorContains(t, err, c.want)
			}
			if c.warn == "" {
				require.Empty(t, got.Warnings)
			} else {
				require.ErrorContains(t, got.Warnings, c.warn)
			}
		})
	}
}

// TestClockRule: before the build's date the clock is wrong, and certificates are not judged.
func TestClockRule(t *testing.T) {
	t.Parallel()
	dir, file, ca := setUp(t)
	ca.Issue(t, func(cert *x509.Certificate) { cert.DNSNames = []string{"localhost"} }).Write(t, dir, "bridge")
	_, err := Load(file, Options{Now: time.Unix(0, 0), BuiltAt: time.Now()})
	require.NoError(t, err)
	_, err = Load(file, Options{Now: time.Unix(0, 0)})
	require.ErrorContains(t, err, "is not valid before")
}

// TestExpiredCAIsLeftOut: loudly, and the start goes on.
func TestExpiredCAIsLeftOut(t *testing.T) {
	t.Parallel()
	_, file, _ := setUp(t)
	c, err := Load(file, Options{Now: time.Now().Add(200 * 24 * time.Hour)})
	require.NoError(t, err)
	require.Empty(t, c.Warnings)
	c, err = Load(file, Options{Now: time.Now().Add(11 * 365 * 24 * time.Hour)})
	require.ErrorContains(t, err, "expired on") // our own certificates
	require.ErrorContains(t, c.Warnings, `CA "CN=test" expired on`)
}

func TestOverridesCountFromTheConfiguration(t *testing.T) {
	t.Parallel()
	dir, file, _ := setUp(t)
	put(t, dir, "other.yaml", "version: 1\n")
	c, err := Load(file, Options{Now: time.Now(), Environ: []string{
		"PATH=/bin", "COAPBRIDGE_DEVICES=other.yaml", "COAPBRIDGE_LISTEN=127.0.0.1:1,[::1]:2", "COAPBRIDGE_CSES_MAIN_URL=https://b",
		"COAPBRIDGE_SHUTDOWN_GRACE=1s", "RUNTIME_DIRECTORY=" + dir,
	}})
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "other.yaml"), c.Devices)
	require.Equal(t, []string{"127.0.0.1:1", "[::1]:2"}, c.Listen)
	require.Equal(t, "https://b", c.CSEs[0].URL)
	require.Equal(t, time.Second, c.ShutdownGrace)
	require.Equal(t, filepath.Join(dir, "admin.sock"), c.Admin.Socket)
}

// TestDevicesFileOfABrokenConfiguration: a device can be added where the certificates are not readable.
func TestDevicesFileOfABrokenConfiguration(t *testing.T) {
	t.Parallel()
	dir, file, _ := setUp(t)
	require.NoError(t, os.Remove(filepath.Join(dir, "bridge.key")))
	got, cses, err := DevicesFile(file, nil)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "devices.yaml"), got)
	require.Equal(t, []devices.CSE{{Name: "main", Default: true}}, cses)
	_, err = Load(filepath.Join(dir, "none.yaml"), now())
	require.ErrorContains(t, err, "none.yaml: does not exist")
}

func FuzzConfig(f *testing.F) {
	dir := f.TempDir()
	path := filepath.Join(dir, "c.yaml")
	f.Add(Sample(SampleValues{CSEURL: "https://localhost:8443"}))
	f.Add("version: 1\ncses: [{name: a, clients: {b: {}}}, {name: A}]\nlisten: ['']\nlimits: {mtu: 1}\n")
	f.Fuzz(func(t *testing.T, in string) {
		require.NoError(t, os.WriteFile(path, []byte(in), 0o600))
		c, err := Load(path, Options{Now: time.Unix(2e9, 0)})
		if err == nil {
			require.NotEmpty(t, c.DefaultCSE().Name)
		}
	})
}

// TestO02ForeignHands: the configuration, certificates and CAs that others can change stop the start.
func TestO02ForeignHands(t *testing.T) {
	t.Parallel()
	for name, field := range map[string]string{
		"coap-bridge.yaml": "coap-bridge.yaml: has mode 0666", "ca.crt": "clientCA: ", "cse-ca.crt": "cses[0].ca: ",
		"bridge.crt": "certificate.chain: ", "cse-client.crt": "cses[0].certificate: ",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, file, _ := setUp(t)
			require.NoError(t, os.Chmod(filepath.Join(dir, name), 0o666))
			_, err := Load(file, now())
			require.ErrorContains(t, err, field)
			require.ErrorContains(t, err, name)
			require.ErrorContains(t, err, "others can change it; run: chmod go-w")
		})
	}
}

// TestO02KeyInAnOpenFolder: a private key in a folder where others can replace it stops the start.
func TestO02KeyInAnOpenFolder(t *testing.T) {
	t.Parallel()
	for _, field := range []string{"certificate.key", "cses[0].key"} {
		t.Run(field, func(t *testing.T) {
			t.Parallel()
			dir, file, _ := setUp(t)
			name := map[string]string{"certificate.key": "bridge.key", "cses[0].key": "cse-client.key"}[field]
			open := filepath.Join(dir, "open")
			require.NoError(t, os.Mkdir(open, 0o700))
			require.NoError(t, os.Rename(filepath.Join(dir, name), filepath.Join(open, name)))
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(file, []byte(strings.Replace(string(text), "key: "+name, "key: open/"+name, 1)), 0o600))
			_, err = Load(file, now())
			require.NoError(t, err)
			require.NoError(t, os.Chmod(open, 0o777))
			_, err = Load(file, now())
			require.ErrorContains(t, err, field+": "+open+" has mode 0777: others can replace files in it; run: chmod 700")
		})
	}
}

// TestMissingNames: without the names of the CSE and its CSEBase the bridge can't tell what an address means.
func TestMissingNames(t *testing.T) {
	t.Parallel()
	_, file, _ := setUp(t)
	text := regexp.MustCompile(`(?m)^ *cse(ID|Base):.*\n`).ReplaceAllString(Sample(SampleValues{CSEURL: "https://localhost:8443"}), "")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	_, err := Load(file, now())
	require.ErrorContains(t, err, "cses[0].cseID: is missing; write")
	require.ErrorContains(t, err, "cses[0].cseBase: is missing; write")
}

// TestBothFilesOfAPair: a missing chain doesn't hide that its key can be read by everybody.
func TestBothFilesOfAPair(t *testing.T) {
	t.Parallel()
	dir, file, _ := setUp(t)
	require.NoError(t, os.Remove(filepath.Join(dir, "bridge.crt")))
	require.NoError(t, os.Chmod(filepath.Join(dir, "bridge.key"), 0o644))
	_, err := Load(file, now())
	require.ErrorContains(t, err, "certificate.chain: ")
	require.ErrorContains(t, err, "certificate.key: ")
}
