package onem2m

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestConformanceDocument holds docs/conformance.md against the tree: every test that it names exists, every row names one,
// and every clause that says "shall" has a row.
func TestConformanceDocument(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, "docs", "conformance.md"))
	require.NoError(t, err)
	tests := testNames(t, root)
	name := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9_]+)`")
	for _, m := range name.FindAllStringSubmatch(string(text), -1) {
		require.True(t, tests[m[1]], "docs/conformance.md names %s, which no _test.go file has", m[1])
	}

	coapPart, rest, ok := strings.Cut(string(text), "\n## TS-0009")
	require.True(t, ok)
	httpPart, _, ok := strings.Cut(rest, "\n## Deviations")
	require.True(t, ok)
	for part, clauses := range map[string]string{
		coapPart: "6.1 6.2.1 6.2.2.1 6.2.2.2 6.2.2.3 6.2.2.4.0 6.2.2.4.1 6.2.2.4.2 6.2.2.4.4 6.2.2.4.5 6.2.2.4.6 6.2.2.4.7 6.2.2.4.8 " +
			"6.2.2.4.9 6.2.2.4.10 6.2.2.4.11 6.2.2.4.12 6.2.2.4.13 6.2.2.4.14 6.2.2.4.15 6.2.2.4.16 6.2.2.4.17 6.2.2.4.18 6.2.2.4.19 " +
			"6.2.2.4.20 6.2.3 6.2.4 6.3.0 6.3.1 6.3.2 6.3.3 6.3.4 6.4 6.5",
		httpPart: "6.1 6.2.1 6.2.2.1 6.2.2.2 6.2.3 6.3.2 6.4.0 6.4.1 6.4.2 6.4.3 6.4.4 6.4.5 6.4.7 6.4.8 6.4.10 6.4.11 6.4.12 6.4.13 " +
			"6.4.14 6.4.15 6.4.16 6.4.17 6.4.18 6.4.19 6.4.20 6.4.21 6.4.22 6.4.23 6.4.24 6.4.25 6.5",
	} {
		rows := map[string]bool{}
		for line := range strings.SplitSeq(part, "\n") {
			cells := strings.Split(line, "|")
			if len(cells) < 5 || !strings.HasPrefix(cells[1], " 6.") {
				continue
			}
			rows[strings.TrimSpace(cells[1])] = true
			require.True(t, name.MatchString(cells[len(cells)-2]), "row without a test: %s", line)
		}
		for clause := range strings.FieldsSeq(clauses) {
			require.True(t, rows[clause], "docs/conformance.md has no row for clause %s", clause)
		}
	}
}

// testNames returns the names of all tests and fuzz targets below root.
func testNames(t *testing.T, root string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range declared.FindAllSubmatch(source, -1) {
			names[string(m[1])] = true
		}
		return nil
	}))
	return names
}
