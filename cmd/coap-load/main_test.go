package main

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// command runs the command as a user does and returns its exit code and what it printed.
func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errors bytes.Buffer
	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&errors)
	code = exitCode(root.ExecuteContext(context.Background()), &errors)
	return code, out.String(), errors.String()
}

func TestHelp(t *testing.T) {
	t.Parallel()
	code, out, _ := command(t)
	require.Equal(t, exitOK, code)
	for _, mode := range []string{"handshake", "request", "idle", "flood", "replay", "move", "bench", "echo"} {
		require.Contains(t, out, "\n  "+mode+" ")
		code, help, _ := command(t, mode, "--help")
		require.Equal(t, exitOK, code)
		require.Contains(t, help, "Usage:\n  coap-load "+mode)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"handshake", "--nonsense"},
		{"handshake"}, // no credential
		{"handshake", "-u", "a", "-k", "0123456789abcdef", "--suite", "CCM"},
		{"handshake", "-u", "a", "-k", "0123456789abcdef", "--target", "127.0.0.1:port"},
	} {
		code, _, stderr := command(t, args...)
		require.Equal(t, exitUsage, code, "%v", args)
		require.Contains(t, stderr, "Try 'coap-load --help'.")
	}
	code, _, _ := command(t, "handshake", "-u", "a", "-k", "0123456789abcdef", "--suite", "0x002f")
	require.Equal(t, exitFailed, code, "no such suite")
	code, _, _ = command(t, "nonsense")
	require.NotEqual(t, exitOK, code)
}
