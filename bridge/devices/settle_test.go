package devices

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge"
	"coapbridge/dtls"
)

// one is a devices file with one device, whose credential is the given line.
func one(name, credential string) string {
	return "version: 1\ndevices:\n  - name: " + name + "\n    " + credential + "\n"
}

func pskLine(id, key string) string {
	return fmt.Sprintf("psk: {identity: %s, up: \"hex:%s\"}", id, strings.Repeat(key, 8))
}

func certLine(hex string) string {
	return "certificate: {fingerprint: \"" + strings.Repeat(hex, 64) + "\"}"
}

// TestB02BindingsFollowTheDevice: a device whose credential is renewed keeps its AE-IDs, and whoever is given the credential
// of a removed device gets none of its. Both hold for a reload and for a start, and the file says so afterwards.
func TestB02BindingsFollowTheDevice(t *testing.T) {
	t.Parallel()
	const san = `certificate: {san: "uri:urn:x"}`
	fp := func(hex string) dtls.PeerID { return cert(strings.Repeat(hex, 64)) }
	names := []dtls.Name{{Type: dtls.NameURI, Value: "urn:x"}}
	cases := []struct {
		name          string
		was, now      string // devices files
		old, new      dtls.Peer
		keeps         bool
		file, message string // what the bindings file and the log hold then
	}{
		{
			"fingerprint renewed", one("pump", certLine("a")), one("pump", certLine("b")), dtls.Peer{ID: fp("a")}, dtls.Peer{ID: fp("b")},
			true, `"device":"pump","kind":"certificate","id":"bb`, "bindings moved",
		},
		{
			"identity renewed", one("pump", pskLine("p1", "a1b2c3d4")), one("pump", pskLine("p2", "d4c3b2a1")), dtls.Peer{ID: psk("p1")}, dtls.Peer{ID: psk("p2")},
			true, `"device":"pump","kind":"psk","id":"p2"`, "bindings moved",
		},
		{
			"from a key to a certificate", one("pump", pskLine("p1", "a1b2c3d4")), one("pump", certLine("a")), dtls.Peer{ID: psk("p1")}, dtls.Peer{ID: fp("a")},
			true, `"device":"pump","kind":"certificate"`, "bindings moved",
		},
		{
			"key renewed", one("pump", pskLine("p1", "a1b2c3d4")), one("pump", pskLine("p1", "d4c3b2a1")), dtls.Peer{ID: psk("p1")}, dtls.Peer{ID: psk("p1")},
			true, `"device":"pump","kind":"psk","id":"p1"`, "",
		},
		{
			"same certificate, other name", one("pump", certLine("a")), one("valve", certLine("a")), dtls.Peer{ID: fp("a")}, dtls.Peer{ID: fp("a")},
			true, `"device":"valve","kind":"certificate"`, "bindings moved",
		},
		{
			"identity given to another", one("pump", pskLine("p1", "a1b2c3d4")), one("valve", pskLine("p1", "d4c3b2a1")), dtls.Peer{ID: psk("p1")}, dtls.Peer{ID: psk("p1")},
			false, `"device":"pump","kind":"psk","id":"p1"`, "do not get the AE-IDs",
		},
		{
			"name in the certificate given to another", one("pump", san), one("valve", san), dtls.Peer{ID: fp("a"), Certificate: &dtls.PeerCertificate{Names: names}}, dtls.Peer{ID: fp("b"), Certificate: &dtls.PeerCertificate{Names: names}},
			false, `"device":"pump","kind":"san"`, "do not get the AE-IDs",
		},
		{
			"credentials exchanged",
			one("pump", pskLine("p1", "a1b2c3d4")) + "  - name: valve\n    " + pskLine("p2", "d4c3b2a1") + "\n",
			one("pump", pskLine("p2", "d4c3b2a1")) + "  - name: valve\n    " + pskLine("p1", "a1b2c3d4") + "\n",
			dtls.Peer{ID: psk("p1")}, dtls.Peer{ID: psk("p1")}, false, `"device":"pump","kind":"psk","id":"p2"`, "bindings moved",
		},
	}
	for _, c := range cases {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restart %t", c.name, restart), func(t *testing.T) {
				t.Parallel()
				var log bytes.Buffer
				o := Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}
				devicesFile, bindingsFile := folder(t, c.was)
				s, err := Open(devicesFile, bindingsFile, o)
				require.NoError(t, err)
				_, ok := s.Device(&c.old) // the session of a certificate that is known by name
				require.True(t, ok)
				require.NoError(t, s.Bind(c.old.ID, "", "Cpump1", bridge.Access{}))
				put(t, devicesFile, c.now)
				if restart {
					require.NoError(t, s.Close())
					s, err = Open(devicesFile, bindingsFile, o)
				} else {
					_, err = s.Reload()
				}
				require.NoError(t, err)
				for range 2 { // as it is now, and after a start
					d, ok := s.Device(&c.new)
					require.True(t, ok)
					require.Equal(t, c.keeps, len(d.Bound) == 1)
					require.Equal(t, !c.keeps, s.BelongsToOther(d, "Cpump1"))
					if c.keeps {
						require.NoError(t, s.Bind(c.new.ID, "", "Cpump1", bridge.Access{}))
					} else {
						require.ErrorIs(t, s.Bind(c.new.ID, "", "Cpump1", bridge.Access{}), bridge.ErrBound)
						require.ErrorIs(t, s.Unbind(c.new.ID, "", "Cpump1"), bridge.ErrBound)
					}
					require.NoError(t, s.Close())
					data, err := os.ReadFile(bindingsFile)
					require.NoError(t, err)
					require.Contains(t, string(data), c.file)
					require.LessOrEqual(t, strings.Count(log.String(), "\n"), 2)
					if c.message == "" {
						require.Empty(t, log.String())
					}
					require.Contains(t, log.String(), c.message)
					s, err = Open(devicesFile, bindingsFile, o)
					require.NoError(t, err)
				}
				require.NoError(t, s.Close())
			})
		}
	}
}

// TestBindingsOfOlderReleases: lines without a device are its device's, by the credential, and get its name.
func TestBindingsOfOlderReleases(t *testing.T) {
	t.Parallel()
	devicesFile, bindingsFile := folder(t, one("pump", pskLine("p1", "a1b2c3d4")))
	gone := bindLine("C2", "nobody's")
	put(t, bindingsFile, bindingsHead+bindLine("C1", "p1")+gone)
	s, err := Open(devicesFile, bindingsFile, Options{})
	require.NoError(t, err)
	defer s.Close()
	d, ok := s.Device(&dtls.Peer{ID: psk("p1")})
	require.True(t, ok)
	require.Equal(t, []string{"C1"}, d.Bound)
	require.True(t, s.BelongsToOther(d, "C2"))
	data, err := os.ReadFile(bindingsFile)
	require.NoError(t, err)
	require.Contains(t, string(data), ofDevice("pump", bindLine("C1", "p1")))
	require.Contains(t, string(data), gone)
}

// TestReloadWithoutDisk: where the bindings can't follow, nothing is reloaded.
func TestReloadWithoutDisk(t *testing.T) {
	t.Parallel()
	s, file := open(t, one("pump", certLine("a")), Options{})
	require.NoError(t, s.Bind(cert(strings.Repeat("a", 64)), "", "C1", bridge.Access{}))
	s.bindings.path += "/gone/bindings.jsonl"
	put(t, file, one("pump", certLine("b")))
	_, err := s.Reload()
	require.ErrorContains(t, err, "bindings are not brought up to date")
	d, ok := s.Device(&dtls.Peer{ID: cert(strings.Repeat("a", 64))})
	require.True(t, ok)
	require.Equal(t, []string{"C1"}, d.Bound)
}
