//go:build interop

package interop

import (
	"errors"
	"flag"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"coapbridge/dtls"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// update writes docs/interop.md anew instead of comparing it: "make interop-table".
var update = flag.Bool("update", false, "write the tables in docs/interop.md")

const document = "../../docs/interop.md"

// Columns of the table beside those of the suites, and keys of peer.lacks.
const (
	noServer      = "as server"
	noChoice      = "choice of suite"
	noCertificate = "certificates"
	noCID         = "Connection ID"
	allSuites     = "all suites"
)

// cell is one place of the table.
type cell struct {
	peer   string
	role   dtls.Role
	psk    bool
	column string // a suite's name, allSuites or noCID
}

// findings is what a run saw.
type findings struct {
	mu       sync.Mutex // guards the following fields
	cells    map[cell]string
	versions map[string]string
}

func (f *findings) set(c cell, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cells[c] = text
}

// peers returns everybody, in the order of the table.
func peers() []*peer {
	return []*peer{
		openSSL(), gnuTLS(), libcoapOpenSSL(), libcoapGnuTLS(), pionPeer(),
	}
}

// TestInteropMatrix makes every attempt and compares what it found with docs/interop.md.
func TestInteropMatrix(t *testing.T) {
	creds := newCredentials(t)
	f := &findings{cells: map[cell]string{}, versions: map[string]string{}}
	all := peers()
	t.Run("peer", func(t *testing.T) {
		for _, p := range all {
			t.Run(strings.ReplaceAll(p.name, " ", "-"), func(t *testing.T) {
				t.Parallel()
				version := p.version(t)
				f.mu.Lock()
				f.versions[p.name] = version
				f.mu.Unlock()
				for _, psk := range []bool{true, false} {
					f.meet(t, p, dtls.RoleClient, psk, creds)
					f.meet(t, p, dtls.RoleServer, psk, creds)
				}
			})
		}
	})
	if t.Failed() {
		return // the table would say it less clearly
	}
	was, err := os.ReadFile(document)
	if *update {
		require.NoError(t, os.WriteFile(document, []byte(render(all, f.cells, f.versions)), 0o644))
		return
	}
	require.NoError(t, err)
	// Versions drift with the distribution, so those of the document stand for them.
	require.Equal(t, string(was), render(all, f.cells, versionsIn(string(was))), "\"make interop-table\" writes what was found")
}

// meet makes all attempts with a peer in one role and with one kind of credential.
func (f *findings) meet(t *testing.T, p *peer, role dtls.Role, psk bool, creds *credentials) {
	t.Helper()
	if whole := f.wholly(p, role, psk); whole != "" {
		return
	}
	var kind []suite
	var named []suite
	for _, s := range suites() {
		if s.psk == psk {
			kind = append(kind, s)
			if p.named(s) {
				named = append(named, s)
			}
		}
	}
	attempt := func(suites []suite, cid bool) *attempt {
		return &attempt{peer: p, role: role, psk: psk, suites: suites, cid: cid, creds: creds}
	}
	for _, s := range kind {
		c := cell{p.name, role, psk, s.name}
		switch {
		case p.lacks[noChoice] != "":
			f.set(c, p.lacks[noChoice])
		case !p.named(s):
			f.set(c, p.lack(t, s.name))
		default:
			f.try(t, c, attempt([]suite{s}, false))
		}
	}
	f.try(t, cell{p.name, role, psk, allSuites}, attempt(named, false))
	if why, lacks := p.lacks[noCID]; lacks {
		f.set(cell{p.name, role, psk, noCID}, why)
		return
	}
	f.try(t, cell{p.name, role, psk, noCID}, attempt(named, true))
}

// wholly notes that a peer has not this role, or not this kind of credential.
func (f *findings) wholly(p *peer, role dtls.Role, psk bool) string {
	why := ""
	if role == dtls.RoleServer {
		why = p.lacks[noServer]
	}
	if !psk && why == "" {
		why = p.lacks[noCertificate]
	}
	if why != "" {
		f.set(cell{p.name, role, psk, ""}, why)
	}
	return why
}

// lack returns why the peer has not what a name begins with.
func (p *peer) lack(t *testing.T, name string) string {
	t.Helper()
	for prefix, why := range p.lacks {
		if strings.HasPrefix(name, prefix) {
			return why
		}
	}
	require.Fail(t, "no reason is given", "%s has no %s", p.name, name)
	return ""
}

// What a cell says when it gives no reason.
const (
	yes    = "yes"
	notYet = "not yet"
)

// try makes one attempt and notes how it went. An attempt that fails passes only where a reason is given for it, or where it
// asks for what the bridge doesn't do yet.
func (f *findings) try(t *testing.T, c cell, a *attempt) {
	t.Helper()
	credential := "certificate"
	if c.psk {
		credential = "PSK"
	}
	t.Run(strings.Join([]string{roleName(c.role), credential, strings.ReplaceAll(c.column, " ", "-")}, "/"), func(t *testing.T) {
		agreed, err := a.run(t)
		switch {
		case err == nil && a.pending():
			require.Fail(t, "the bridge does this now: change pending_test.go")
		case err == nil && c.column == allSuites:
			f.set(c, agreed)
			if a.peer.lacks[noChoice] != "" {
				c.column = agreed
				f.set(c, yes)
			}
		case err == nil:
			f.set(c, yes)
		case a.pending():
			t.Log(err)
			f.set(c, notYet)
		case errors.Is(err, errEnded) && c.column != allSuites: // it refused what it was asked for
			t.Log(err)
			f.set(c, a.peer.lack(t, c.column))
		default:
			require.NoError(t, err)
		}
	})
}

func roleName(role dtls.Role) string {
	if role == dtls.RoleClient {
		return "client"
	}
	return "server"
}
