package repotest

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// root is the repository, as seen from this package's folder, where its tests run.
const root = "../.."

// maxFileBytes is the size of the largest file that belongs into a repository of source; go.sum and vectors stay below.
const maxFileBytes = 200 << 10

// tracked returns the files that git knows or would take, relative to root, in git's order.
func tracked(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	out, err := cmd.Output()
	require.NoError(t, err, "git ls-files")
	var names []string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		// A file that was removed is listed until its removal is committed.
		if info, err := os.Lstat(filepath.Join(root, name)); err == nil && !info.IsDir() {
			names = append(names, name)
		}
	}
	require.NotEmpty(t, names)
	return names
}

// read returns a tracked file.
func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	require.NoError(t, err)
	return b
}

// topLevel returns the first element of a path.
func topLevel(name string) string {
	first, _, _ := strings.Cut(name, "/")
	return first
}

func TestLayout(t *testing.T) {
	t.Parallel()
	allowed := []string{
		"bridge", "coap", "dtls", "cmd", "internal", "testdata", "docs", "deploy",
		"go.mod", "go.sum", "Makefile", ".ci", "Dockerfile", ".dockerignore", ".gitignore",
		"README.md", "LICENSE", "SECURITY.md", "CHANGELOG.md", "CONTRIBUTING.md",
	}
	var seen []string
	for _, name := range tracked(t) {
		first := topLevel(name)
		require.Contains(t, allowed, first, "%s: nothing else stands at the top", name)
		if path.Ext(name) == ".go" {
			require.Contains(t, []string{"bridge", "coap", "dtls", "cmd", "internal"}, first, "%s: no code here", name)
		}
		seen = append(seen, first)
	}
	for _, name := range allowed {
		if name != "testdata" { // there when it holds something
			require.True(t, slices.Contains(seen, name), "%s is missing", name)
		}
	}
}

func TestFileSizes(t *testing.T) {
	t.Parallel()
	for _, name := range tracked(t) {
		info, err := os.Lstat(filepath.Join(root, name))
		require.NoError(t, err)
		require.LessOrEqual(t, info.Size(), int64(maxFileBytes), name)
	}
}

// textRule is a pattern that no text of the repository may hold.
type textRule struct {
	pattern *regexp.Regexp
	why     string
}

// textRules returns the rules for every text. The patterns are written so that they don't match themselves.
func textRules() []textRule {
	return []textRule{
		{regexp.MustCompile(`(^|[\s"'=(:` + "`" + `])/(root|home|work|Users)/`), "a path of one machine"},
		{regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`), "an open end: do it, or file it"},
		{regexp.MustCompile(`-----BEGIN ([A-Z]+ )?PRIVATE` + ` KEY-----`), "a private key: tests make their own"},
		{regexp.MustCompile(`(?m)^(<{7}|>{7}) `), "a conflict that was not resolved"},
	}
}

// textFindings returns why text may not stand in the repository.
func textFindings(text []byte) []string {
	var found []string
	for _, rule := range textRules() {
		if m := rule.pattern.Find(text); m != nil {
			found = append(found, strings.TrimSpace(string(m))+": "+rule.why)
		}
	}
	return found
}

func TestText(t *testing.T) {
	t.Parallel()
	for _, name := range tracked(t) {
		if strings.Contains(name, "testdata/fuzz/") {
			continue // found by machines, any bytes
		}
		require.Empty(t, textFindings(read(t, name)), name)
	}
}

func TestTextRulesCatch(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		"see /ro" + "ot/notes", "\"/ho" + "me/somebody\"", "in (/wo" + "rk/x)",
		"// TO" + "DO: later", "FIX" + "ME", "-----BEGIN EC PRIVATE" + " KEY-----", strings.Repeat("<", 7) + " HEAD",
	} {
		require.NotEmpty(t, textFindings([]byte(bad)), bad)
	}
	require.Empty(t, textFindings([]byte("ProtectHome=yes, network/work/, file:///etc/x\nTODOs")))
}
