package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/cmd/coap-bridge/request"
	"coapbridge/coap"
)

// runRequest runs the command as main does, without a process of its own, and returns its exit code and output.
func runRequest(t *testing.T, stdin string, given ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	root := newRootCommand()
	root.SetArgs(append([]string{"request"}, given...))
	root.SetIn(bytes.NewBufferString(stdin))
	root.SetOut(&out)
	root.SetErr(&errOut)
	code = exitCode(root.ExecuteContext(t.Context()), &errOut)
	return code, out.String(), errOut.String()
}

// TestRequestExitCodes: scripts can tell a wrong command line, a bad file and a missing answer apart.
func TestRequestExitCodes(t *testing.T) {
	t.Parallel()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	uri := "coaps://" + socket.LocalAddr().String() + "/cse-in"
	require.NoError(t, socket.Close()) // nothing listens there now

	code, _, stderr := runRequest(t, "", "get", uri, "-u", "a", "-k", "0123456789abcdef", "--from", "Ca")
	require.Equal(t, exitNoAnswer, code)
	require.Contains(t, stderr, "nothing listens on that UDP port")
	require.NotContains(t, stderr, "0123456789abcdef")
	code, _, _ = runRequest(t, "hex:30313233343536373839616263646566\n", "get", uri, "-u", "a", "--psk-file", "-", "--from", "Ca")
	require.Equal(t, exitNoAnswer, code)
	code, _, stderr = runRequest(t, "hex:3\n", "get", uri, "-u", "a", "--psk-file", "-", "--from", "Ca")
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, "the key is no hex")
	code, _, _ = runRequest(t, "", "get", uri, "-u", "a", "--from", "Ca")
	require.Equal(t, exitUsage, code)
	code, _, _ = runRequest(t, "", "get", uri, "-u", "a", "--psk-file", filepath.Join(t.TempDir(), "none"), "--from", "Ca")
	require.Equal(t, exitFailed, code)
	require.Equal(t, exitFailed, exitCode(&request.RefusedError{Answer: &request.Answer{Code: coap.NotFound}}, &bytes.Buffer{}))
}

// TestRequestOutput: --output keeps the content byte for byte, for this user alone (R5).
func TestRequestOutput(t *testing.T) {
	t.Parallel()
	a := &request.Answer{Code: coap.Content, Content: []byte{0xff, '\n', 0}}
	var out bytes.Buffer
	require.NoError(t, (&requestFlags{output: "-"}).show(&out, a))
	require.Equal(t, a.Content, out.Bytes())

	out.Reset()
	file := filepath.Join(t.TempDir(), "content")
	require.NoError(t, (&requestFlags{output: file, asJSON: true}).show(&out, a))
	require.JSONEq(t, `{"code":"2.05","contentBase64":"/woA","elapsed":0}`, out.String())
	got, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, a.Content, got)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	out.Reset()
	require.NoError(t, (&requestFlags{}).show(&out, a))
	require.Contains(t, out.String(), "2.05 Content")
	require.Error(t, (&requestFlags{output: filepath.Join(file, "x")}).show(&out, a))
}

// TestRequestData: content comes from the flag, a file or standard input, and is bounded.
func TestRequestData(t *testing.T) {
	t.Parallel()
	b, err := (&requestFlags{dataFile: "-"}).payload(bytes.NewBufferString("x\n"))
	require.NoError(t, err)
	require.Equal(t, "x\n", string(b), "as it is")
	_, err = (&requestFlags{dataFile: "-"}).payload(bytes.NewReader(make([]byte, maxRequestData+1)))
	require.ErrorContains(t, err, "read standard input: more than")
	_, err = (&requestFlags{dataFile: t.TempDir()}).payload(nil)
	require.ErrorContains(t, err, "is no regular file")
	b, err = (&requestFlags{data: "y"}).payload(nil)
	require.NoError(t, err)
	require.Equal(t, "y", string(b))
}
