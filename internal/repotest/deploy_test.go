package repotest

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/coap"
	"coapbridge/internal/testpki"
)

// uncommented returns a YAML text with the settings that stand in comments set, so that examples are checked as well.
func uncommented(text string) string {
	return regexp.MustCompile(`(?m)^( *)# ( *[a-zA-Z]+:( |$))`).ReplaceAllString(text, "$1$2")
}

// TestSampleConfiguration shows that the sample configuration, as it is and with every example in it set, is one.
func TestSampleConfiguration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	binary := filepath.Join(dir, "coap-bridge")
	build := exec.Command("go", "build", "-o", binary, "./cmd/coap-bridge")
	build.Dir = root
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)

	etc := filepath.Join(dir, "etc")
	require.NoError(t, os.Mkdir(etc, 0o700))
	ca := testpki.NewCA(t, "sample CA")
	ca.WriteCert(t, etc, "ca.crt")
	ca.WriteCert(t, etc, "cse-ca.crt")
	ca.Server(t, "gateway.example.org").Write(t, etc, "bridge")
	ca.Client(t).Write(t, etc, "cse-client")
	writePrivate(t, filepath.Join(etc, "admin.token"), "0123456789abcdef0123456789abcdef\n")
	writePrivate(t, filepath.Join(etc, "devices.yaml"), "version: 1\ndevices:\n")

	sample := strings.Replace(string(read(t, "deploy/coap-bridge.yaml")), "/var/lib/coap-bridge/bindings.jsonl", "bindings.jsonl", 1)
	full := uncommented(sample)
	require.Contains(t, full, "\n  tokenFile:", "examples are found")
	for name, text := range map[string]string{"as it is": sample, "with every example": full} {
		config := filepath.Join(etc, "coap-bridge.yaml")
		writePrivate(t, config, text)
		out, err := exec.Command(binary, "check", "--config", config).CombinedOutput()
		require.NoError(t, err, "%s: %s", name, out)
	}
	writePrivate(t, filepath.Join(etc, "coap-bridge.yaml"), sample+"unknown: 1\n")
	require.Error(t, exec.Command(binary, "check", "--config", filepath.Join(etc, "coap-bridge.yaml")).Run())
}

func writePrivate(t *testing.T, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
}

// metricFindings returns which metrics of ours a text names although no literal of the source does, whole or without
// their prefix.
func metricFindings(name, text, source string) []string {
	var found []string
	for _, metric := range regexp.MustCompile(`\bcoapbridge_[a-z0-9_]+`).FindAllString(text, -1) {
		if !strings.Contains(source, `"`+metric+`"`) && !strings.Contains(source, `"`+strings.TrimPrefix(metric, "coapbridge_")+`"`) {
			found = append(found, name+": there is no metric "+metric)
		}
	}
	return found
}

// TestMetricNames shows that alerts and documents name metrics that there are.
func TestMetricNames(t *testing.T) {
	t.Parallel()
	var source strings.Builder
	names := tracked(t)
	for _, name := range names {
		if strings.HasPrefix(name, "cmd/") && path.Ext(name) == ".go" && !strings.HasSuffix(name, "_test.go") {
			source.Write(read(t, name))
		}
	}
	for _, name := range names {
		if path.Ext(name) == ".md" || topLevel(name) == "deploy" {
			require.Empty(t, metricFindings(name, string(read(t, name)), source.String()))
		}
	}
	require.NotEmpty(t, metricFindings("a.md", "coapbridge_no_such_total", source.String()))
	require.Empty(t, metricFindings("a.md", "coapbridge_bridge_refusals_total", source.String()))
}

// TestReasonsExplained shows that docs/operations.md explains every reason that a counter can have.
func TestReasonsExplained(t *testing.T) {
	t.Parallel()
	text := string(read(t, "docs/operations.md"))
	var reasons []string
	for _, reason := range coap.Reasons() {
		reasons = append(reasons, reason.String())
	}
	for name, declared := range map[string]string{
		"bridge/stats.go":             `(?:Refusal|Delivery) += "(\w+)"`,
		"bridge/cse/error.go":         `Reason = "(\w+)"`,
		"bridge/observestats.go":      `ObserveEvent = "(\w+)"`,
		"bridge/cse/downlinkstats.go": `DownlinkReason = "(\w+)"`,
		"dtls/stats.go":               `"(\w+)"[,\n]`,
	} {
		found := regexp.MustCompile(declared).FindAllStringSubmatch(string(read(t, name)), -1)
		require.Greater(t, len(found), 10, "the reasons of %s are found", name)
		for _, m := range found {
			reasons = append(reasons, m[1])
		}
	}
	for _, reason := range reasons {
		require.True(t, strings.Contains(text, "`"+reason+"`"), "docs/operations.md does not explain %s", reason)
	}
}
