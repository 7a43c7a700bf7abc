package repotest

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// floors returns the lowest version of each module that is allowed (S53), and why.
func floors() map[string]string {
	return map[string]string{
		// Before it, sessions were stored before their handshake was authenticated (S20).
		"github.com/pion/dtls/v3": "v3.1.14",
		// Before it, a lone last block of a body was delivered as the body.
		"github.com/plgd-dev/go-coap/v3": "v3.8.0",
	}
}

// banned returns modules that may not be required in any version, and why.
func banned() map[string]string {
	return map[string]string{
		"github.com/pion/dtls/v2": "GO-2026-4479 is fixed in v3 only",
		"github.com/pion/dtls":    "GO-2026-4479 is fixed in v3 only",
	}
}

// goMod is what "go mod edit -json" prints of go.mod.
type goMod struct {
	Go      string
	Require []struct{ Path, Version string }
	Replace []struct{ Old struct{ Path string } }
}

// moduleFindings returns which requirements break a rule.
func moduleFindings(m goMod) []string {
	var found []string
	have := map[string]string{}
	for _, r := range m.Require {
		have[r.Path] = r.Version
		if why, ok := banned()[r.Path]; ok {
			found = append(found, r.Path+": "+why)
		}
	}
	for path, floor := range floors() {
		if version, ok := have[path]; !ok || older(version, floor) {
			found = append(found, fmt.Sprintf("%s %s: nothing below %s", path, version, floor))
		}
	}
	for _, r := range m.Replace {
		found = append(found, r.Old.Path+": a replacement hides what is built")
	}
	return found
}

// older reports whether version a comes before b. A pre-release counts as older than its release.
func older(a, b string) bool {
	var va, vb [3]int
	core, pre, _ := strings.Cut(a, "-")
	if _, err := fmt.Sscanf(core, "v%d.%d.%d", &va[0], &va[1], &va[2]); err != nil {
		return true
	}
	if _, err := fmt.Sscanf(b, "v%d.%d.%d", &vb[0], &vb[1], &vb[2]); err != nil {
		return true
	}
	for i := range va {
		if va[i] != vb[i] {
			return va[i] < vb[i]
		}
	}
	return pre != ""
}

// TestS53ModuleFloors keeps the floor of every module whose older versions had a fault that matters here. With a go.mod of
// Go 1.17 or later every module that is built stands in it, indirect ones too.
func TestS53ModuleFloors(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("go", "mod", "edit", "-json")
	cmd.Dir = root
	out, err := cmd.Output()
	require.NoError(t, err, "go mod edit")
	var m goMod
	require.NoError(t, json.Unmarshal(out, &m))
	require.Empty(t, moduleFindings(m))
}

func TestS53ModuleRulesCatch(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"older":       `{"Require":[{"Path":"github.com/pion/dtls/v3","Version":"v3.1.13"}]}`,
		"pre-release": `{"Require":[{"Path":"github.com/pion/dtls/v3","Version":"v3.1.14-0.20260101000000-000000000000"}]}`,
		"absent":      `{}`,
		"v2":          `{"Require":[{"Path":"github.com/pion/dtls/v2","Version":"v2.2.12"}]}`,
		"replaced":    `{"Replace":[{"Old":{"Path":"golang.org/x/net"}}]}`,
	}
	for name, in := range tests {
		var m goMod
		require.NoError(t, json.Unmarshal([]byte(in), &m))
		require.NotEmpty(t, moduleFindings(m), name)
	}
	require.False(t, older("v3.1.15", "v3.1.14"))
	require.False(t, older("v3.2.0", "v3.1.14"))
	require.True(t, older("v3.1.14-rc.1", "v3.1.14"))
}
