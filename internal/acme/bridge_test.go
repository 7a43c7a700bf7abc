//go:build interop

package acme_test

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/internal/acme"
	"coapbridge/internal/testpki"
)

// TestInteropPlainProfile runs the bridge, as it is installed, between libcoap's client and ACME: a plain device posts a
// value and reads it back, and ACME holds it.
func TestInteropPlainProfile(t *testing.T) {
	ca := testpki.NewCA(t, "test CA")
	in := acme.Start(t, ca)
	uri := startBridge(t, ca, in) + "/room/temperature"
	ask := func(args ...string) string {
		t.Helper()
		args = append([]string{"-u", "meter", "-k", bridgeKey, "-B", "20"}, append(args, uri)...)
		out, err := exec.Command("coap-client-openssl", args...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		return strings.TrimSpace(string(out))
	}

	require.Contains(t, ask("-m", "get"), "4.04", "nothing was written yet")
	require.Empty(t, ask("-m", "post", "-t", "0", "-e", "21.5"))
	require.Equal(t, "21.5", ask("-m", "get"))
	require.Empty(t, ask("-m", "put", "-t", "0", "-e", "22"))
	require.Equal(t, "22", ask("-m", "get"))

	binary := filepath.Join(t.TempDir(), "payload")
	content := strings.Repeat("\x00\xff\x80\r\n", 400) // 2,000 bytes that are no text: they go and come in blocks
	require.NoError(t, os.WriteFile(binary, []byte(content), 0o600))
	ask("-m", "post", "-b", "256", "-t", "42", "-f", binary)
	copied := filepath.Join(t.TempDir(), "copy")
	ask("-m", "get", "-b", "256", "-o", copied)
	got, err := os.ReadFile(copied)
	require.NoError(t, err)
	require.Equal(t, content, string(got))

	s := &session{t: t, in: in, client: client(t, &tls.Config{
		RootCAs: ca.Pool(), Certificates: []tls.Certificate{ca.Client(t).TLS()},
	})}
	var container struct {
		Container struct {
			Instances int `json:"cni"`
		} `json:"m2m:cnt"`
	}
	require.Equal(t, "2000", s.do(http.MethodGet, in.CSEBase+"/meter/room/temperature", in.Admin, "", "", &container))
	require.Equal(t, 3, container.Container.Instances, "each write was executed once")
	var oldest struct {
		Instance struct {
			Content string `json:"con"`
		} `json:"m2m:cin"`
	}
	require.Equal(t, "2000", s.do(http.MethodGet, in.CSEBase+"/meter/room/temperature/ol", in.Admin, "", "", &oldest))
	require.Equal(t, "21.5", oldest.Instance.Content)
	latest := oldest
	require.Equal(t, "2000", s.do(http.MethodGet, in.CSEBase+"/meter/room/temperature/la", in.Admin, "", "", &latest))
	decoded, err := base64.StdEncoding.DecodeString(latest.Instance.Content)
	require.NoError(t, err)
	require.Equal(t, content, string(decoded))
}

const bridgeKey = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"

// startBridge builds and starts the command with a device "meter", and returns the URI of its port.
func startBridge(t *testing.T, ca *testpki.CA, in *acme.Instance) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bridge")
	require.NoError(t, os.Mkdir(dir, 0o700))
	program := filepath.Join(dir, "coap-bridge")
	out, err := exec.Command("go", "build", "-o", program, "coapbridge/cmd/coap-bridge").CombinedOutput()
	require.NoError(t, err, "%s", out)

	ca.WriteCert(t, dir, "ca.crt")
	ca.Client(t).Write(t, dir, "client")
	files := map[string]string{
		"devices.yaml": fmt.Sprintf("version: 1\ndevices:\n  - name: meter\n    psk: {identity: meter, up: \"text:%s\"}\n", bridgeKey),
		"coap-bridge.yaml": fmt.Sprintf("version: 1\nlisten: [\"127.0.0.1:0\"]\ncses:\n  - name: acme\n    url: %s\n"+
			"    ca: ca.crt\n    certificate: client.crt\n    key: client.key\n    cseID: %s\n    cseBase: %s\n"+
			"log: {format: json}\n", in.URL, in.CSEID, in.CSEBase),
	}
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}

	cmd := exec.Command(program, "run", "--config", filepath.Join(dir, "coap-bridge.yaml"))
	log, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		require.NoError(t, cmd.Wait(), "it ends in order")
	})
	var address string
	lines := bufio.NewScanner(log)
	for address == "" && lines.Scan() {
		var line struct{ Msg, Listen string }
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			t.Log(lines.Text()) // a fault of the configuration
		}
		address = regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(line.Listen)
	}
	require.NotEmpty(t, address, "the bridge did not start")
	go func() { // the pipe must not fill
		for lines.Scan() {
		}
	}()
	return "coaps://" + address
}
