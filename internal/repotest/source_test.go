package repotest

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	// maxFileLines and maxFunctionLines are where a file or a function has become two. A test may hold a long table.
	maxFileLines         = 700
	maxFunctionLines     = 100
	maxTestFunctionLines = 150
)

// source is one parsed Go file.
type source struct {
	name    string
	test    bool // a _test.go file, or test support below internal/
	virtual bool // its time is virtual
	fset    *token.FileSet
	file    *ast.File
	text    []byte
	found   []string
}

// sourceFindings returns which of the rules for Go source the file breaks. virtual says that the tests of its folder run
// in the bubbles of testing/synctest, where time.Sleep is how time passes.
func sourceFindings(name string, text []byte, virtual bool) []string {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return []string{err.Error()}
	}
	s := &source{
		name: name,
		test: strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "internal/"),
		fset: fset, file: file, text: text, virtual: virtual && strings.HasSuffix(name, "_test.go"),
	}
	s.checkText()
	s.checkNames()
	s.checkInteropNames()
	for _, decl := range file.Decls {
		s.checkDecl(decl)
	}
	ast.Inspect(file, func(n ast.Node) bool { s.checkNode(n); return true })
	return s.found
}

func (s *source) report(pos token.Pos, format string, args ...any) {
	s.found = append(s.found, fmt.Sprintf("%s: %s", s.fset.Position(pos), fmt.Sprintf(format, args...)))
}

func (s *source) line(pos token.Pos) int { return s.fset.Position(pos).Line }

func (s *source) checkText() {
	if formatted, err := format.Source(s.text); err != nil || !bytes.Equal(formatted, s.text) {
		s.report(s.file.Pos(), "gofmt would change it")
	}
	if lines := bytes.Count(s.text, []byte("\n")); lines > maxFileLines {
		s.report(s.file.Pos(), "%d lines; at most %d", lines, maxFileLines)
	}
	for _, group := range s.file.Comments {
		for _, c := range group.List {
			if strings.Contains(c.Text, "no"+"lint") || strings.Contains(c.Text, "lint"+":ignore") {
				s.report(c.Pos(), "a linter is right or is not run; it is not silenced")
			}
		}
	}
}

// checkNames refuses names that say nothing. Identifiers of other packages don't pass here.
func (s *source) checkNames() {
	vague := regexp.MustCompile(`^(util|utils|helper|helpers|common|manager|misc)$`)
	if vague.MatchString(s.file.Name.Name) || vague.MatchString(path.Base(path.Dir(s.name))) {
		s.report(s.file.Name.Pos(), "a package is named by what it does")
	}
	vagueType := regexp.MustCompile(`(Manager|Helper|Utils?)$`)
	for _, decl := range s.file.Decls {
		if gen, ok := decl.(*ast.GenDecl); ok && gen.Tok == token.TYPE {
			for _, spec := range gen.Specs {
				if t := spec.(*ast.TypeSpec); vagueType.MatchString(t.Name.Name) {
					s.report(t.Pos(), "a type is named by what it is")
				}
			}
		}
	}
}

// checkInteropNames keeps the rule by which "make interop" finds its tests, and soak its own.
func (s *source) checkInteropNames() {
	tagged := ""
	for _, group := range s.file.Comments {
		for _, c := range group.List {
			for _, tag := range []string{"interop", "soak"} {
				if c.Text == "//go:build "+tag {
					tagged = tag
				}
			}
		}
	}
	for _, decl := range s.file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || f.Recv != nil || !strings.HasSuffix(s.name, "_test.go") || f.Name.Name == "TestMain" {
			continue
		}
		for tag, prefix := range map[string]string{"interop": "TestInterop", "soak": "TestSoak"} {
			is := strings.HasPrefix(f.Name.Name, prefix)
			if strings.HasPrefix(f.Name.Name, "Test") && is != (tagged == tag) {
				s.report(f.Pos(), "%s… and the build tag %s go together", prefix, tag)
			}
		}
	}
}

func (s *source) checkDecl(decl ast.Decl) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Name.Name == "init" && d.Recv == nil {
			s.report(d.Pos(), "no init: what happens at start stands in main")
		}
		most := maxFunctionLines
		if s.test {
			most = maxTestFunctionLines
		}
		if lines := s.line(d.End()) - s.line(d.Pos()) + 1; lines > most {
			s.report(d.Pos(), "%s has %d lines; at most %d", d.Name.Name, lines, most)
		}
		if !s.test && d.Doc == nil && d.Name.IsExported() && exportedReceiver(d) {
			s.report(d.Pos(), "%s has no comment", d.Name.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			if t, ok := spec.(*ast.TypeSpec); ok && !s.test && t.Name.IsExported() && d.Doc == nil && t.Doc == nil {
				s.report(t.Pos(), "%s has no comment", t.Name.Name)
			}
		}
	}
}

// exportedReceiver reports whether f is a function, or a method of an exported type.
func exportedReceiver(f *ast.FuncDecl) bool {
	if f.Recv == nil {
		return true
	}
	of := f.Recv.List[0].Type
	for {
		switch t := of.(type) {
		case *ast.StarExpr:
			of = t.X
		case *ast.IndexExpr:
			of = t.X
		case *ast.Ident:
			return t.IsExported()
		default:
			return false
		}
	}
}

func (s *source) checkNode(n ast.Node) {
	switch n := n.(type) {
	case *ast.CallExpr:
		s.checkCall(n)
	case *ast.KeyValueExpr:
		if key, ok := n.Key.(*ast.Ident); ok && key.Name == "InsecureSkipVerify" {
			s.checkUnverified(n.Pos())
		}
	case *ast.AssignStmt:
		for _, left := range n.Lhs {
			if sel, ok := left.(*ast.SelectorExpr); ok && sel.Sel.Name == "InsecureSkipVerify" {
				s.checkUnverified(n.Pos())
			}
		}
	}
}

func (s *source) checkCall(call *ast.CallExpr) {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return
	}
	on, _ := sel.X.(*ast.Ident)
	switch {
	case sel.Sel.Name == "WithInsecureSkipVerify":
		s.checkUnverified(call.Pos())
	case on == nil:
	case on.Name == "time" && sel.Sel.Name == "Sleep" && !s.virtual:
		s.report(call.Pos(), "time.Sleep guesses; wait for what is to happen, or use testing/synctest")
	case s.test && regexp.MustCompile(`^(t|b|f|tb)$`).MatchString(on.Name) &&
		regexp.MustCompile(`^(Skip|SkipNow|Skipf)$`).MatchString(sel.Sel.Name):
		s.report(call.Pos(), "no test skips: what is missing makes it fail")
	}
}

// checkUnverified refuses a TLS or DTLS peer that does not verify. A test whose point is what the other side then does
// may have one, with a comment on the line above that starts with "Unverified:" and says what it proves.
func (s *source) checkUnverified(pos token.Pos) {
	if strings.HasSuffix(s.name, "_test.go") {
		for _, group := range s.file.Comments {
			if strings.HasPrefix(group.Text(), "Unverified: ") && s.line(group.End()) == s.line(pos)-1 {
				return
			}
		}
	}
	s.report(pos, "certificates are verified")
}

func TestSource(t *testing.T) {
	t.Parallel()
	virtual := map[string]bool{}    // folders whose tests run in virtual time
	documented := map[string]bool{} // folders, and whether a file of theirs has the package comment
	names := slices.DeleteFunc(tracked(t), func(name string) bool { return path.Ext(name) != ".go" })
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") && bytes.Contains(read(t, name), []byte(`"testing/synctest"`)) {
			virtual[path.Dir(name)] = true
		}
	}
	for _, name := range names {
		text := read(t, name)
		for _, finding := range sourceFindings(name, text, virtual[path.Dir(name)]) {
			t.Error(finding)
		}
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments|parser.PackageClauseOnly)
		require.NoError(t, err)
		documented[path.Dir(name)] = documented[path.Dir(name)] || file.Doc != nil
	}
	for folder, has := range documented {
		require.True(t, has, "%s: no package comment", folder)
	}
}

func TestSourceRulesCatch(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("\t_ = 0\n", maxFunctionLines)
	tests := []struct{ name, file, text string }{
		{"format", "a/a.go", "package a\n\nvar  x int\n"},
		{"syntax", "a/a.go", "package"},
		{"long file", "a/a.go", "package a\n\n" + strings.Repeat("// .\n", maxFileLines)},
		{"long function", "a/a.go", "package a\n\nfunc f() {\n" + long + "}\n"},
		{"silenced linter", "a/a.go", "package a //no" + "lint\n"},
		{"vague package", "a/util/a.go", "package util\n"},
		{"vague type", "a/a.go", "package a\n\ntype sessionManager int\n"},
		{"init", "a/a.go", "package a\n\nfunc init() {}\n"},
		{"function without comment", "a/a.go", "package a\n\nfunc F() {}\n"},
		{"method without comment", "a/a.go", "package a\n\ntype t int\n\n// T is.\ntype T int\n\nfunc (*T) F() {}\n"},
		{"type without comment", "a/a.go", "package a\n\ntype T int\n"},
		{"sleep", "a/a_test.go", "package a\n\nimport \"time\"\n\nfunc f() { time.Sleep(1) }\n"},
		{"sleep in production", "a/a.go", "package a\n\nimport \"time\"\n\nfunc f() { time.Sleep(1) }\n"},
		{"skip", "a/a_test.go", "package a\n\nfunc TestF(t *testing.T) { t.Skip() }\n"},
		{"unverified", "a/a.go", "package a\n\nvar c = tls.Config{InsecureSkipVerify: true}\n"},
		{"unverified, assigned", "a/a_test.go", "package a\n\nfunc f() { c.InsecureSkipVerify = true }\n"},
		{"unverified, by option", "a/a.go", "package a\n\nvar c = dtls.WithInsecureSkipVerify(true)\n"},
		{"unverified in production, with a comment", "a/a.go",
			"package a\n\nvar c = tls.Config{\n\t// Unverified: it is quick.\n\tInsecureSkipVerify: true,\n}\n"},
		{"interop without tag", "a/a_test.go", "package a\n\nfunc TestInteropX() {}\n"},
		{"tag without interop", "a/a_test.go", "//go:build interop\n\npackage a\n\nfunc TestX() {}\n"},
		{"soak without tag", "a/a_test.go", "package a\n\nfunc TestSoakX() {}\n"},
	}
	for _, tt := range tests {
		require.Len(t, sourceFindings(tt.file, []byte(tt.text), false), 1, tt.name)
	}
}

func TestSourceRulesAllow(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"virtual time":   "package a\n\nimport \"time\"\n\nfunc f() { time.Sleep(1) }\n",
		"another's Skip": "package a\n\nfunc f() { s.Skip(3) }\n",
		"a proof": "package a\n\nvar c = tls.Config{\n\t// Unverified: the server must refuse us.\n" +
			"\tInsecureSkipVerify: true,\n}\n",
		"interop": "//go:build interop\n\npackage a\n\nfunc TestInteropX() {}\n\nfunc helper() {}\n",
	}
	for name, text := range tests {
		formatted, err := format.Source([]byte(text))
		require.NoError(t, err)
		require.Empty(t, sourceFindings("a/a_test.go", formatted, true), name)
	}
}
