package repotest

import (
	"flag"
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

// linkFindings returns which relative links of a Markdown text lead nowhere. exists takes a path relative to the root.
func linkFindings(name, text string, exists func(string) bool) []string {
	var found []string
	for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(text, -1) {
		target, _, _ := strings.Cut(m[1], "#")
		if target == "" || strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
			continue
		}
		if to := path.Join(path.Dir(name), target); !exists(to) {
			found = append(found, name+": "+to+" does not exist")
		}
	}
	return found
}

// testFindings returns which tests, fuzz targets and benchmarks a text names although there is none. A name that ends in an
// ellipsis stands for all that begin with it.
func testFindings(name, text string, exists map[string]bool) []string {
	var found []string
	for _, m := range regexp.MustCompile(`\b((?:Test|Fuzz|Benchmark)[A-Z]\w+)(…?)`).FindAllStringSubmatch(text, -1) {
		there, end := false, " "
		if m[2] != "" {
			end = ""
		}
		for other := range exists {
			there = there || strings.HasPrefix(other, m[1]+end)
		}
		if !there {
			found = append(found, name+": there is no "+m[0])
		}
	}
	return found
}

// attackRow is a row of the threat model's table of attacks: its id, the attack, and the tests that make it.
func attackRow() *regexp.Regexp {
	return regexp.MustCompile(`(?m)^\| ([HDCBWO]\d\d) \| (.*) \| (.*) \|$`)
}

// testsByRow returns, for each row that has tests, what the table says of them. tests are names with their folders; a name
// may begin with several ids.
func testsByRow(tests map[string]bool) map[string]string {
	folders := map[string][]string{}
	for test := range tests {
		name, folder, _ := strings.Cut(test, " ")
		begin := regexp.MustCompile(`^Test(?:Interop|Soak)?`).FindString(name)
		for id := regexp.MustCompile(`^[HDCBWO]\d\d`); begin != "" && id.MatchString(name[len(begin):]); {
			row := id.FindString(name[len(begin):])
			begin += row
			cell := "`" + begin + "…` in `" + folder + "`"
			if !slices.Contains(folders[row], cell) {
				folders[row] = append(folders[row], cell)
			}
		}
	}
	rows := map[string]string{}
	for row, cells := range folders {
		slices.Sort(cells)
		rows[row] = strings.Join(cells, ", ")
	}
	return rows
}

// withTests returns the threat model with the tests of each row as they are, and the rows that its table lacks.
func withTests(text string, tests map[string]bool) (filled string, missing []string) {
	rows := testsByRow(tests)
	filled = attackRow().ReplaceAllStringFunc(text, func(line string) string {
		m := attackRow().FindStringSubmatch(line)
		cell, ok := rows[m[1]]
		if !ok {
			cell = "not yet"
		}
		delete(rows, m[1])
		return "| " + m[1] + " | " + m[2] + " | " + cell + " |"
	})
	for row := range rows {
		missing = append(missing, row)
	}
	return filled, missing
}

// testNames returns all tests, fuzz targets and benchmarks, each as "name folder".
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
	for _, name := range tracked(t) {
		if strings.HasSuffix(name, "_test.go") {
			for _, m := range declared.FindAllStringSubmatch(string(read(t, name)), -1) {
				names[m[1]+" "+path.Dir(name)] = true
			}
		}
	}
	return names
}

// TestDocuments shows that what the documents point at is there: files, and the tests that prove a promise.
func TestDocuments(t *testing.T) {
	t.Parallel()
	exists := func(name string) bool {
		_, err := os.Stat(filepath.Join(root, name))
		return err == nil
	}
	tests := testNames(t)
	for _, name := range tracked(t) {
		if path.Ext(name) == ".md" {
			text := string(read(t, name))
			require.Empty(t, linkFindings(name, text, exists))
			require.Empty(t, testFindings(name, text, tests))
		}
	}
}

// update writes docs/threat-model.md anew instead of comparing it: go test ./internal/repotest -run TestAttackRows -update
var update = flag.Bool("update", false, "write the table of attacks in docs/threat-model.md")

// TestAttackRows shows that the threat model's table of attacks says of each row which tests make it, and of no row more.
func TestAttackRows(t *testing.T) {
	t.Parallel()
	const name = "docs/threat-model.md"
	text := string(read(t, name))
	filled, missing := withTests(text, testNames(t))
	require.Empty(t, missing, "rows that tests name and the table does not")
	if *update {
		require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte(filled), 0o644))
		return
	}
	require.True(t, filled == text, "the table is out of date: go test ./internal/repotest -run TestAttackRows -update")
}

// plugtests returns the ids of ETSI's CoAP plugtests that docs/conformance.md must have a row of.
func plugtests() []string {
	var ids []string
	for group, numbers := range map[string]string{
		"CORE":  "01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 17 18 19 20 21 22 23 31",
		"BLOCK": "01 02 03 04 05 06",
		"OBS":   "01 02 04 05 06 07 08 09 10 11 12 13 14",
		"LINK":  "01 02 03 04 05 06 07 08 09",
		"DTLS":  "01 02 03 04",
	} {
		for number := range strings.FieldsSeq(numbers) {
			ids = append(ids, group+"_"+number)
		}
	}
	return ids
}

// missingPlugtests returns which of the ids have no row in the text.
func missingPlugtests(text string, ids []string) []string {
	return slices.DeleteFunc(ids, func(id string) bool {
		return regexp.MustCompile(`(?m)^\| ` + id + ` `).MatchString(text)
	})
}

// TestPlugtestRows shows that docs/conformance.md has a row for each of ETSI's CoAP plugtests. That the rows are true is shown
// by "make interop".
func TestPlugtestRows(t *testing.T) {
	t.Parallel()
	require.Empty(t, missingPlugtests(string(read(t, "docs/conformance.md")), plugtests()))
	require.Equal(t, []string{"CORE_02"}, missingPlugtests("| CORE_01 | GET | yes |\n| CORE_021 | GET | yes |\n", []string{"CORE_01", "CORE_02"}))
}

func TestDocumentRulesCatch(t *testing.T) {
	t.Parallel()
	none := func(string) bool { return false }
	require.NotEmpty(t, linkFindings("docs/a.md", "see [b](b.md#part)", none))
	require.Empty(t, linkFindings("docs/a.md", "see [b](https://example.org/b) and [c](#c)", none))
	require.NotEmpty(t, testFindings("a.md", "`TestD03Nothing` shows it", map[string]bool{}))
	require.NotEmpty(t, testFindings("a.md", "`TestD04…`", map[string]bool{"TestD03Filter dtls": true}))
	require.NotEmpty(t, testFindings("a.md", "`TestD03`", map[string]bool{"TestD03Filter dtls": true}))
	require.Empty(t, testFindings("a.md", "`TestD03Filter`, `TestD03…`", map[string]bool{"TestD03Filter dtls": true}))

	tests := map[string]bool{"TestD03Filter dtls": true, "TestD03Flood dtls": true, "TestInteropD03 cmd": true, "TestD04Alert dtls": true}
	filled, missing := withTests("| D03 | records | not yet |\n| D05 | short ones | gone |\n", tests)
	require.Equal(t, "| D03 | records | `TestD03…` in `dtls`, `TestInteropD03…` in `cmd` |\n| D05 | short ones | not yet |\n", filled)
	require.Equal(t, []string{"D04"}, missing)
	filled, missing = withTests("| D03 | records | x |\n| D04 | alerts | x |\n", map[string]bool{"TestD03D04Change dtls": true, "TestD03Flood dtls": true})
	require.Equal(t, "| D03 | records | `TestD03…` in `dtls` |\n| D04 | alerts | `TestD03D04…` in `dtls` |\n", filled)
	require.Empty(t, missing)
}

// TestMakefile shows that every target that the documents name can be made.
func TestMakefile(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"run", "test", "interop", "bench", "soak", "lint", "vuln", "fuzz", "build"} {
		cmd := exec.Command("make", "--dry-run", "--no-print-directory", target)
		cmd.Dir = root
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "make %s: %s", target, out)
	}
}
