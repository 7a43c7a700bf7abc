package repotest

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// buildLine returns the command with which the Dockerfile builds the binary.
func buildLine(dockerfile string) string {
	m := regexp.MustCompile(`(?m)^RUN (CGO_ENABLED=0 go build -trimpath .*)$`).FindStringSubmatch(dockerfile)
	if m == nil {
		return ""
	}
	return m[1]
}

// dockerFindings returns what is wrong with a Dockerfile.
func dockerFindings(dockerfile string) []string {
	var found []string
	for _, want := range []string{
		"FROM scratch", "USER 65532:65532", "EXPOSE 5684/udp", `ENTRYPOINT ["/coap-bridge"]`,
	} {
		if !strings.Contains(dockerfile, "\n"+want+"\n") {
			found = append(found, want+" is missing")
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^FROM (\S+)`).FindAllStringSubmatch(dockerfile, -1) {
		if strings.Contains(m[1], "/") || strings.HasSuffix(m[1], ":latest") {
			found = append(found, m[1]+": a plain image name with a version")
		}
	}
	if buildLine(dockerfile) == "" {
		found = append(found, "no build line without cgo")
	}
	return found
}

// staticFindings returns what makes the program at name depend on others at run time.
func staticFindings(t *testing.T, name string) []string {
	t.Helper()
	f, err := elf.Open(name)
	require.NoError(t, err)
	defer f.Close()
	var found []string
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			found = append(found, "it needs a dynamic loader (PT_INTERP)")
		}
	}
	libraries, err := f.ImportedLibraries() // DT_NEEDED; none without a dynamic section
	require.NoError(t, err)
	return append(found, libraries...)
}

// TestDockerImage runs the Dockerfile's own build line, for no Docker engine may be at hand, and shows that the image needs
// nothing but that binary.
func TestDockerImage(t *testing.T) {
	t.Parallel()
	dockerfile := string(read(t, "Dockerfile"))
	require.Empty(t, dockerFindings(dockerfile))

	binary := filepath.Join(t.TempDir(), "coap-bridge")
	line := strings.Replace(buildLine(dockerfile), "/out/coap-bridge", binary, 1)
	require.Contains(t, line, binary)
	cmd := exec.Command("sh", "-c", line)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS=linux", "VERSION=v0.0.0-test", "BUILD_DATE=2026-01-02T03:04:05Z")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Empty(t, staticFindings(t, binary))

	if runtime.GOOS == "linux" {
		out, err = exec.Command(binary, "version").CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "v0.0.0-test")
		require.Contains(t, string(out), "2026-01-02T03:04:05Z")
	}
}

func TestDockerRulesCatch(t *testing.T) {
	t.Parallel()
	good := "FROM golang:1.26 AS build\nRUN CGO_ENABLED=0 go build -trimpath -o /out/x ./x\nFROM scratch\n" +
		"USER 65532:65532\nEXPOSE 5684/udp\nENTRYPOINT [\"/coap-bridge\"]\n"
	require.Empty(t, dockerFindings(good))
	for _, broken := range []struct{ from, to string }{
		{"USER 65532:65532\n", ""},
		{"EXPOSE 5684/udp", "EXPOSE 5683/udp"},
		{"CGO_ENABLED=0 ", ""},
		{"golang:1.26", "registry.example/golang:1.26"},
		{"FROM scratch", "FROM debian:12"},
	} {
		require.NotEmpty(t, dockerFindings(strings.Replace(good, broken.from, broken.to, 1)), "%v", broken)
	}
	if runtime.GOOS == "linux" {
		// A shell of the distribution is dynamically linked.
		shell, err := filepath.EvalSymlinks("/bin/sh")
		require.NoError(t, err)
		require.NotEmpty(t, staticFindings(t, shell))
	}
}
