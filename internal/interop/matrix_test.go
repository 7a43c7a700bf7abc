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
	column string // a suite's name, allSuites or noCID; "" stands for the whole row
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
func peers(t *testing.T) []*peer {
	t.Helper()
	return []*peer{
		openSSL(), gnuTLS(), libcoapOpenSSL(), libcoapGnuTLS(), mbedTLS(t), wolfSSL(t), californium(t), aiocoap(t), pionPeer(),
	}
}

// TestInteropMatrix makes every attempt and compares what it found with docs/interop.md.
func TestInteropMatrix(t *testing.T) {
	creds := newCredentials(t)
	f := &findings{cells: map[cell]string{}, versions: map[string]string{}}
	all := peers(t)
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
	if len(f.versions) < len(all) {
		t.Log("not everybody was met, so nothing is compared")
		return
	}
	was, err := os.ReadFile(document)
	if *update {
		require.NoError(t, os.WriteFile(document, []byte(render(all, f.cells, f.versions)), 0o644))
		return
	}
	require.NoError(t, err)
	// Versions drift with the distribution, so those of the document stand for them.
	require.Empty(t, changes(string(was), render(all, f.cells, versionsIn(string(was)))), "\"make interop-table\" writes what was found")
}

// meet makes all attempts with a peer in one role and with one kind of credential.
func (f *findings) meet(t *testing.T, p *peer, role dtls.Role, psk bool, creds *credentials) {
	t.Helper()
	if why := p.lacks[noCertificate]; !psk && why != "" {
		f.set(cell{p.name, role, psk, ""}, why)
		return
	}
	attempt := func(suites []suite, cid bool) *attempt {
		return &attempt{peer: p, role: role, psk: psk, suites: suites, cid: cid, creds: creds}
	}
	var has []suite
	for _, s := range suites() {
		c := cell{p.name, role, psk, s.name}
		switch {
		case s.psk != psk:
		case p.lacks[noChoice] != "":
			has = append(has, s)
			f.set(c, p.lacks[noChoice])
		case !p.named(s):
			f.set(c, p.lack(role, s.name))
		case f.try(t, c, attempt([]suite{s}, false)):
			has = append(has, s)
		}
	}
	whole := attempt(has, false)
	f.try(t, cell{p.name, role, psk, allSuites}, whole)
	f.try(t, cell{p.name, role, psk, noCID}, attempt(has, true))
}

// lack returns why the peer has not what a name begins with, or "".
func (p *peer) lack(role dtls.Role, name string) string {
	for prefix, why := range p.lacks {
		if strings.HasPrefix(name, prefix) {
			return why
		}
	}
	for prefix, why := range p.clientLacks {
		if role == dtls.RoleClient && strings.HasPrefix(name, prefix) {
			return why
		}
	}
	return ""
}

// yes is what a cell says of what works.
const yes = "yes"

// try makes one attempt, notes how it went, and returns whether the peer could do it. One that fails fails the test, but where the
// peer refuses for a reason that is known.
func (f *findings) try(t *testing.T, c cell, a *attempt) bool {
	t.Helper()
	credential := "certificate"
	if c.psk {
		credential = "PSK"
	}
	could := true
	t.Run(strings.Join([]string{roleName(c.role), credential, strings.ReplaceAll(c.column, " ", "-")}, "/"), func(t *testing.T) {
		agreed, err := a.run(t)
		refused := errors.Is(err, errEnded) || errors.Is(err, errNoCID)
		switch why := a.peer.lack(c.role, c.column); {
		case err == nil && c.column == allSuites:
			f.set(c, agreed)
			if a.peer.lacks[noChoice] != "" {
				c.column = agreed
				f.set(c, yes)
			}
		case err == nil:
			f.set(c, yes)
		case refused && why != "":
			t.Log(err)
			f.set(c, why)
			could = false
		default:
			require.NoError(t, err)
		}
	})
	return could
}

func roleName(role dtls.Role) string {
	if role == dtls.RoleClient {
		return "client"
	}
	return "server"
}
