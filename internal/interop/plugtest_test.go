//go:build interop

package interop

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/coap"
	"coapbridge/dtls"
)

// plugPeer is somebody else's CoAP.
type plugPeer struct {
	name   string
	client func(t *testing.T, to, direct netip.AddrPort) asker // direct is the way without losses
	server func(t *testing.T, at netip.AddrPort) *running
	// Why a row can't be played, by its id or what that begins with.
	clientLacks, serverLacks map[string]string
	// paths are the server's names for the resources.
	paths   map[string]string
	prepare []string // what our client asks first
}

func plugPeers(t *testing.T) []*plugPeer {
	t.Helper()
	return []*plugPeer{plugLibcoap("openssl"), plugLibcoap("gnutls"), plugAiocoap(t), plugCalifornium(t)}
}

func plugLibcoap(flavour string) *plugPeer {
	return &plugPeer{
		name: "libcoap-" + flavour,
		client: func(t *testing.T, to, direct netip.AddrPort) asker {
			return &coapClient{t: t, name: "coap-client-" + flavour, to: to, direct: direct}
		},
		server: func(t *testing.T, at netip.AddrPort) *running { // DTLS is one port above
			return start(t, nil, "coap-server-"+flavour, "-A", at.Addr().String(), "-p", fmt.Sprint(at.Port()-1), "-h", "", "-k", key, "-d", "10")
		},
		clientLacks: map[string]string{
			"CORE_12": "coap-client's first token is 01, whatever it is told",
			"OBS_04":  "coap-client does not register again",
			"OBS_06":  "coap-client forgets no observation while its session lives",
		},
		serverLacks: libcoapServerLacks(),
		paths:       map[string]string{"/separate": "/async?1", "/obs": "/time"},
		// What it doesn't have it makes when it is put.
		prepare: []string{
			"CON PUT /test format=0 text=test", "CON PUT /seg1/seg2/seg3 format=0 text=segments",
			"CON PUT /query format=0 text=asked", "CON PUT /large format=0 large=1700", "CON PUT /large-update format=0 text=small",
			"CON PUT /obs-large format=0 large=1500",
		},
	}
}

// libcoapServerLacks says why rows can't be played with coap-server, whose resources are as they are.
func libcoapServerLacks() map[string]string {
	const noPost, noCondition = "its resources take no POST", "its resources know no conditions"
	return map[string]string{
		"CORE_04": noPost, "CORE_08": noPost, "CORE_18": noPost, "CORE_19": noPost, "BLOCK_04": noPost, "BLOCK_05": noPost,
		"CORE_20": "a resource of its has one format", "CORE_21": noCondition, "CORE_22": noCondition, "CORE_23": noCondition,
		"OBS_02": "a notification of its is Confirmable, if it isn't told otherwise for all",
		"OBS_07": "it leaves a DELETE of what changes by itself, /time, without an answer",
		"OBS_08": "what changes by itself, /time, has one format", "OBS_09": "a PUT of /time sets a clock",
		"LINK_02": "it has one resource type", "LINK_03": "it has one resource type", "LINK_04": "it has one resource type",
		"LINK_05": "it has one interface", "LINK_06": "its links have no size", "LINK_07": "it has other paths", "LINK_08": "it has other paths",
		"LINK_09": "its links are in one document",
		"OBS_13":  "what changes by itself, /time, is small", "OBS_14": "what changes by itself, /time, is small",
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
		client: func(t *testing.T, to, _ netip.AddrPort) asker { return &script{r: run(t, "client", to.Port())} },
		server: func(t *testing.T, at netip.AddrPort) *running { return run(t, "server", at.Port()) },
		clientLacks: map[string]string{
			"CORE_12": "it chooses its tokens",
			"CORE_31": "it has no ping",
			"OBS_04":  "it does not register again",
			"OBS_06":  "it acknowledges what it forgot while it runs",
			"OBS_12":  "it sends no GET to end an observation",
		},
		serverLacks: map[string]string{
			"OBS_02":  "its notifications are Confirmable",
			"LINK_03": "it lists what has no resource type as well", "LINK_06": "its links have no size", "LINK_09": "its links are in one document",
			"OBS_13": "it sends what is observed whole, and its DTLS takes no more than a block",
			"OBS_14": "it sends what is observed whole, and its DTLS takes no more than a block",
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
		client: func(t *testing.T, to, _ netip.AddrPort) asker { return &script{r: run(t, "client", to.Port())} },
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
	return slices.Concat(coreRows(), blockRows(), observeRows(), linkRows())
}

// TestInteropPlugtestServer: other people's clients play ETSI's plugtests with our CoAP as the server.
func TestInteropPlugtestServer(t *testing.T) {
	for _, peer := range plugPeers(t) {
		t.Run(peer.name, func(t *testing.T) {
			t.Parallel()
			playAll(t, both(peer.clientLacks, theirLacks()), func(t *testing.T) *play { return serve(t, peer) })
		})
	}
}

// TestInteropPlugtestClient: our CoAP plays ETSI's plugtests with other people's servers.
func TestInteropPlugtestClient(t *testing.T) {
	for _, peer := range plugPeers(t) {
		t.Run(peer.name, func(t *testing.T) {
			t.Parallel()
			playAll(t, both(peer.serverLacks, ourLacks()), func(t *testing.T) *play { return dial(t, peer) })
		})
	}
}

// playAll plays all rows but those that are lacking. Those of Observe leave something behind, so each has a client and a server of its own.
func playAll(t *testing.T, lacking map[string]string, begin func(*testing.T) *play) {
	t.Helper()
	shared := begin(t)
	for _, r := range plugRows() {
		if lacks(lacking, r.id) != "" {
			continue
		}
		t.Run(r.id, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			p := *shared
			if strings.HasPrefix(r.id, "OBS") {
				p = *begin(t)
			}
			p.t, p.ctx, p.begin = t, ctx, len(p.trace.so())
			r.run(&p)
			require.Zero(t, p.trace.bad)
		})
	}
}

// serve starts our server and the peer's client.
func serve(t *testing.T, peer *plugPeer) *play {
	t.Helper()
	server := newPlugServer()
	side := startPlugSide(t, server, coap.Profile{AckTimeout: ackTimeout})
	t.Cleanup(server.wait.Wait) // before the side ends
	lossy := startRelay(t, side.addr)
	return &play{client: peer.client(t, lossy.addr, side.addr), trace: side.trace, server: server, lossy: lossy}
}

// dial starts the peer's server and our client.
func dial(t *testing.T, peer *plugPeer) *play {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	at := freePort(t)
	server := peer.server(t, at)
	t.Cleanup(server.stop)
	require.NoError(t, bound(ctx, server, at.Port()))
	lossy := startRelay(t, at)
	side := startPlugSide(t, nil, coap.Profile{AckTimeout: ackTimeout})
	conn, err := side.dtls.Dial(ctx, lossy.addr, dtls.PeerID{Kind: dtls.KindPSK, ID: identity})
	require.NoError(t, err, "%s", server.said())
	p := &play{t: t, ctx: ctx, client: &own{t: t, side: side, conn: conn, to: at, paths: peer.paths}, trace: side.trace, lossy: lossy}
	p.plain = len(peer.prepare) > 0
	for _, text := range peer.prepare {
		p.ask(text)
	}
	return p
}

// both is what either lacks.
func both(a, b map[string]string) map[string]string {
	all := maps.Clone(b)
	maps.Copy(all, a)
	return all
}

// theirLacks says what no client plays here.
func theirLacks() map[string]string {
	return map[string]string{"LINK": "coap knows no links; TestInteropPlugtestLinks plays these with the bridge"}
}

// ourLacks says what our client can't be told.
func ourLacks() map[string]string {
	return map[string]string{
		"CORE_12": "a token of ours is 8 unpredictable bytes (S30)",
		"OBS_05":  "it is about the server, and needs one that says what it knows",
		"OBS_04":  "others' servers can't be told to forget",
		"OBS_12":  "it ends an observation with a Reset",
	}
}
