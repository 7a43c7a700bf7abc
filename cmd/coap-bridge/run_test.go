package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRunSignals: the daemon tells systemd when it serves, reloads on SIGHUP or says why not, and ends on SIGTERM with
// exit code 0.
func TestRunSignals(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "cb")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	binary := build(t, dir)
	etc := filepath.Join(dir, "etc")
	out, err := exec.Command(binary, "init", "--dir", etc, "--host", "localhost").CombinedOutput()
	require.NoError(t, err, "%s", out)
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	require.NoError(t, err)
	defer manager.Close()
	told := func(want string) {
		t.Helper()
		require.NoError(t, manager.SetReadDeadline(time.Now().Add(20*time.Second)))
		b := make([]byte, 500)
		n, err := manager.Read(b)
		require.NoError(t, err)
		require.Equal(t, want, strings.SplitN(string(b[:n]), "\n", 2)[0])
	}

	log, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	defer log.Close()
	cmd := exec.Command(binary, "run", "--config", filepath.Join(etc, "coap-bridge.yaml"))
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+filepath.Join(dir, "notify"), "COAPBRIDGE_LISTEN=127.0.0.1:0")
	cmd.Stderr = log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	said := func() string {
		text, err := os.ReadFile(log.Name())
		require.NoError(t, err)
		return string(text)
	}
	told("READY=1")
	require.Contains(t, said(), `"serving"`)
	require.NotContains(t, said(), `"downlink"`, "where no CSE can call")

	reload := func() string {
		before := len(said())
		require.NoError(t, cmd.Process.Signal(syscall.SIGHUP))
		told("RELOADING=1")
		told("READY=1")
		return said()[before:]
	}
	require.Contains(t, reload(), `"reloaded"`)
	devices := filepath.Join(etc, "devices.yaml")
	good, err := os.ReadFile(devices)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(devices, append(good, "unknown: 1\n"...), 0o600))
	require.Contains(t, reload(), "nothing was reloaded")
	require.NoError(t, os.WriteFile(devices, good, 0o600))
	require.Contains(t, reload(), `"reloaded"`)

	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	told("STOPPING=1")
	require.NoError(t, cmd.Wait(), "exit code 0; it said: %s", said())
}

// TestRunNamesEveryFault: nothing is bound when the configuration has faults, and all of them are printed.
func TestRunNamesEveryFault(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "coap-bridge.yaml")
	require.NoError(t, os.WriteFile(file, []byte("version: 1\nlistn: x\ncses: [{name: a, url: 'http://cse'}]\n"), 0o600))
	var said strings.Builder
	err := runDaemon(t.Context(), file, &said)
	require.ErrorContains(t, err, "not started")
	require.Contains(t, said.String(), ":2: listn: unknown field")
	require.Contains(t, said.String(), ":3: cses[0].url: ")
}
