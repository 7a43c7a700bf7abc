package repotest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// module is the path of this module.
const module = "coapbridge"

// layer says which of our packages a package may import. A path that ends in "/..." stands for itself and what is below.
type layer struct {
	path    string
	imports []string
}

// layers returns who may import whom (docs/architecture.md). The first that fits decides. A production package that no
// layer names is refused.
func layers() []layer {
	return []layer{
		{"cmd/...", []string{"cmd/...", "bridge/...", "coap/...", "dtls/..."}},
		{"bridge", []string{"bridge/onem2m", "coap", "dtls"}},
		{"bridge/devices", []string{"bridge", "bridge/devices/...", "bridge/onem2m", "dtls"}},
		{"bridge/devices/...", nil},
		{"bridge/onem2m", []string{"coap"}},
		// The in-memory CSE is a test double: the client of real ones must not lean on it.
		{"bridge/cse/csetest", []string{"bridge/onem2m"}},
		{"bridge/cse", []string{"bridge", "bridge/onem2m"}},
		{"bridge/cse/...", []string{"bridge", "bridge/onem2m", "bridge/cse"}},
		{"bridge/spool", nil},
		{"coap", nil},
		{"coap/tcp", []string{"coap"}},
		{"dtls", []string{"dtls/handshake", "dtls/record"}},
		{"dtls/handshake", []string{"dtls/record"}},
		{"dtls/record", nil},
	}
}

// confined returns imports that are allowed in some places only, with their places; no place means nowhere.
func confined() map[string][]string {
	return map[string][]string{
		"net/http": {"bridge/cse/...", "cmd/..."},
		// dtls: pion takes its certificates as tls.Certificate. Nothing of TLS is spoken there.
		"crypto/tls":                      {"bridge/cse/...", "cmd/...", "dtls"},
		"github.com/pion/...":             {"dtls/..."},
		"github.com/plgd-dev/go-coap/...": {"coap/..."},
		"github.com/prometheus/...":       {"cmd/..."},
		"github.com/spf13/...":            {"cmd/..."},
		"net/http/pprof":                  nil, // S51
		"math/rand":                       nil, // S12: math/rand/v2 for jitter, crypto/rand for all that must not be guessed
		"crypto/md5":                      nil, // S1
		"crypto/sha1":                     nil, // S1
		"crypto/rc4":                      nil,
		"crypto/des":                      nil,
		"unsafe":                          nil,
		"testing":                         nil,
		"github.com/stretchr/testify/...": nil,
		module + "/internal/...":          nil, // test support only
	}
}

// under reports whether path is what pattern names: equal to it, or below it when it ends in "/...".
func under(path, pattern string) bool {
	base, deep := strings.CutSuffix(pattern, "/...")
	return path == base || deep && strings.HasPrefix(path, base+"/")
}

func underAny(path string, patterns []string) bool {
	for _, p := range patterns {
		if under(path, p) {
			return true
		}
	}
	return false
}

// importFindings returns which imports of the production package pkg break a rule. Paths are relative to the module.
func importFindings(pkg string, imports []string) []string {
	var found []string
	for _, imported := range imports {
		for pattern, places := range confined() {
			if under(imported, pattern) && !underAny(pkg, places) {
				found = append(found, pkg+" must not import "+imported)
			}
		}
		ours, ok := strings.CutPrefix(imported, module+"/")
		if ok && !under(ours, "internal/...") && !allowed(pkg, ours) {
			found = append(found, pkg+" must not import "+ours)
		}
	}
	return found
}

// allowed reports whether the layers let pkg import ours.
func allowed(pkg, ours string) bool {
	for _, l := range layers() {
		if under(pkg, l.path) {
			return underAny(ours, l.imports)
		}
	}
	return false
}

// listed is what "go list -json" says of one package.
type listed struct {
	ImportPath string
	Imports    []string
}

// packages lists this module's packages with their direct imports, those of tests left out.
func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	require.NoError(t, err, "go list")
	var all []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		all = append(all, p)
	}
	require.NotEmpty(t, all)
	return all
}

// TestImports keeps "who may import whom" of docs/architecture.md.
func TestImports(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		pkg := strings.TrimPrefix(p.ImportPath, module+"/")
		if under(pkg, "internal/...") {
			continue // test support may import anything, and nothing may import it
		}
		named := false
		for _, l := range layers() {
			named = named || under(pkg, l.path)
		}
		require.True(t, named, "%s: no layer names it; say in docs/architecture.md and here what it may import", pkg)
		require.Empty(t, importFindings(pkg, p.Imports))
	}
}

func TestImportRulesCatch(t *testing.T) {
	t.Parallel()
	tests := []struct{ pkg, imported string }{
		{"bridge", module + "/bridge/cse"},
		{"bridge", module + "/bridge/devices"},
		{"bridge", "net/http"},
		{"bridge", "crypto/tls"},
		{"bridge/devices", module + "/coap"},
		{"bridge/onem2m", module + "/bridge"},
		{"bridge/onem2m", "net/http"},
		{"bridge/onem2m", "github.com/plgd-dev/go-coap/v3/message"},
		{"bridge/cse", module + "/bridge/cse/csetest"},
		{"bridge/cse", module + "/dtls"},
		{"bridge/spool", module + "/bridge"},
		{"coap", module + "/dtls"},
		{"coap", "github.com/pion/dtls/v3"},
		{"dtls", module + "/coap"},
		{"dtls/handshake", module + "/dtls"},
		{"dtls/handshake", "crypto/tls"},
		{"dtls/record", module + "/dtls/handshake"},
		{"cmd/coap-bridge", module + "/internal/testpki"},
		{"cmd/coap-bridge", "net/http/pprof"},
		{"cmd/coap-bridge", "github.com/pion/dtls/v3"},
		{"bridge/cse/csetest", "testing"},
		{"newfolder", module + "/coap"},
	}
	for _, tt := range tests {
		require.NotEmpty(t, importFindings(tt.pkg, []string{tt.imported}), "%s imports %s", tt.pkg, tt.imported)
	}
	require.Empty(t, importFindings("bridge/cse", []string{"net/http", "crypto/tls", module + "/bridge/onem2m"}))
	require.Empty(t, importFindings("dtls", []string{"github.com/pion/dtls/v3/pkg/protocol", module + "/dtls/record"}))
}
