//go:build interop

package interop

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// environment returns the value of a variable that "make interop" sets.
func environment(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	require.NotEmpty(t, value, "%s is not set: run \"make interop\", which installs what it names", name)
	return value
}

// californium is a program of ours on Eclipse Californium's Scandium. CALIFORNIUM_JARS is the folder of its libraries.
func californium(t *testing.T) *peer {
	t.Helper()
	jars := environment(t, "CALIFORNIUM_JARS")
	dir := t.TempDir()
	out, err := exec.Command("javac", "-d", dir, "-cp", jars+"/*", "peers/CaliforniumPeer.java").CombinedOutput()
	require.NoError(t, err, "%s", out)
	// It lives for a second: its start matters, not its speed.
	argv := []string{
		"java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Djava.net.preferIPv4Stack=true", "-cp", dir + ":" + jars + "/*", "CaliforniumPeer",
	}
	run := starter(argv, func(a *attempt) []string { return []string{numbers(a), cidLength(a)} })
	return &peer{
		name: "Californium", how: "[a program](../internal/interop/peers/CaliforniumPeer.java)", dialect: echoes,
		version: func(t *testing.T) string {
			found, err := filepath.Glob(jars + "/scandium-*.jar")
			require.NoError(t, err)
			require.Len(t, found, 1)
			return strings.TrimSuffix(strings.TrimPrefix(filepath.Base(found[0]), "scandium-"), ".jar")
		},
		named: func(suite) bool { return true },
		lacks: map[string]string{
			"TLS_ECDHE_PSK_WITH_CHACHA20":   "no suite with ChaCha20-Poly1305",
			"TLS_ECDHE_ECDSA_WITH_CHACHA20": "no suite with ChaCha20-Poly1305",
		},
		client: run, server: run,
	}
}
