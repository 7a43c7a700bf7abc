//go:build interop

package interop

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/coap"
	"coapbridge/dtls"
)

// plugPeer is somebody else's CoAP.
type plugPeer struct {
	name   string
	client func(t *testing.T, to netip.AddrPort) asker
	server func(t *testing.T, at netip.AddrPort) *running
	// Why a row can't be played, by its id or what that begins with.
	clientLacks, serverLacks map[string]string
	// paths are the server's names for the resources.
	paths map[string]string
}

func plugPeers(t *testing.T) []*plugPeer {
	t.Helper()
	return []*plugPeer{plugLibcoap("openssl"), plugLibcoap("gnutls"), plugAiocoap(t), plugCalifornium(t)}
}

func plugLibcoap(flavour string) *plugPeer {
	return &plugPeer{
		name: "libcoap-" + flavour,
		client: func(t *testing.T, to netip.AddrPort) asker {
			return &coapClient{t: t, name: "coap-client-" + flavour, to: to}
		},
		server: func(t *testing.T, at netip.AddrPort) *running { // DTLS is one port above
			return start(t, nil, "coap-server-"+flavour, "-A", at.Addr().String(), "-p", fmt.Sprint(at.Port()-1), "-h", "", "-k", key, "-d", "10")
		},
		clientLacks: map[string]string{
			"CORE_12": "coap-client's first token is 01, whatever it is told",
			"OBS_04":  "coap-client does not register again",
			"OBS_06":  "coap-client forgets no observation while its session lives",
		},
	}
}

func plugAiocoap(t *testing.T) *plugPeer {
	python := environment(t, "AIOCOAP_VENV") + "/bin/python"
	run := func(t *testing.T, role string, port uint16) *running {
		r := start(t, nil, python, "peers/aiocoap_plugtest.py", role, fmt.Sprint(port), identity, key)
		t.Cleanup(r.stop)
		return r
	}
	return &plugPeer{
		name:   "aiocoap",
		client: func(t *testing.T, to netip.AddrPort) asker { return &script{r: run(t, "client", to.Port())} },
		server: func(t *testing.T, at netip.AddrPort) *running { return run(t, "server", at.Port()) },
		clientLacks: map[string]string{
			"CORE_12": "it chooses its tokens",
			"CORE_31": "it has no ping",
		},
	}
}

func plugCalifornium(t *testing.T) *plugPeer {
	jars := environment(t, "CALIFORNIUM_JARS")
	dir := t.TempDir()
	out, err := exec.Command("javac", "-d", dir, "-cp", jars+"/*", "peers/CaliforniumPlugtest.java").CombinedOutput()
	require.NoError(t, err, "%s", out)
	run := func(t *testing.T, role string, port uint16) *running {
		r := start(t, nil, "java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Djava.net.preferIPv4Stack=true", "-cp", dir+":"+jars+"/*",
			"CaliforniumPlugtest", role, fmt.Sprint(port), identity, key)
		t.Cleanup(r.stop)
		return r
	}
	return &plugPeer{
		name:   "Californium",
		client: func(t *testing.T, to netip.AddrPort) asker { return &script{r: run(t, "client", to.Port())} },
		server: func(t *testing.T, at netip.AddrPort) *running { return run(t, "server", at.Port()) },
	}
}

// lacks returns why a row can't be played.
func lacks(why map[string]string, id string) string {
	for prefix, text := range why {
		if strings.HasPrefix(id, prefix) {
			return text
		}
	}
	return ""
}

func plugRows() []row {
	return append(append(coreRows(), blockRows()...), observeRows()...)
}

// TestInteropPlugtestServer: other people's clients play ETSI's plugtests with our CoAP as the server.
func TestInteropPlugtestServer(t *testing.T) {
	for _, peer := range plugPeers(t) {
		t.Run(peer.name, func(t *testing.T) {
			t.Parallel()
			for _, r := range plugRows() {
				if lacks(peer.clientLacks, r.id) != "" {
					continue
				}
				t.Run(r.id, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					server := newPlugServer()
					side := startPlugSide(t, server)
					t.Cleanup(server.wait.Wait) // before the sides end
					lossy := startRelay(t, side.addr)
					r.run(&play{t: t, ctx: ctx, client: peer.client(t, lossy.addr), trace: side.trace, server: server, lossy: lossy})
					require.Zero(t, side.trace.bad)
				})
			}
		})
	}
}

// TestInteropPlugtestClient: our CoAP plays ETSI's plugtests with other people's servers.
func TestInteropPlugtestClient(t *testing.T) {
	for _, peer := range plugPeers(t) {
		t.Run(peer.name, func(t *testing.T) {
			t.Parallel()
			for _, r := range plugRows() {
				if lacks(peer.serverLacks, r.id) != "" || lacks(ourLacks(), r.id) != "" {
					continue
				}
				t.Run(r.id, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					at := freePort(t)
					server := peer.server(t, at)
					t.Cleanup(server.stop)
					require.NoError(t, bound(ctx, server, at.Port()))
					lossy := startRelay(t, at)
					side := startPlugSide(t, nil)
					conn, err := side.dtls.Dial(ctx, lossy.addr, dtls.PeerID{Kind: dtls.KindPSK, ID: identity})
					require.NoError(t, err, "%s", server.said())
					r.run(&play{t: t, ctx: ctx, client: &own{side: side, conn: conn}, trace: side.trace, lossy: lossy})
				})
			}
		})
	}
}

// ourLacks says what our client can't be told.
func ourLacks() map[string]string {
	return map[string]string{
		"CORE_12": "a token of ours is 8 unpredictable bytes (S30)",
		"OBS_05":  "it is about the server, and needs one that says what it knows",
		"OBS_04":  "others' servers can't be told to forget",
	}
}

var _ = coap.GET
