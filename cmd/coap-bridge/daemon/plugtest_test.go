//go:build interop

package daemon

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/coap"
)

// linkKey is a key that tinydtls can take: of 16 bytes.
const linkKey = "link-key-of-test"

// TestInteropPlugtestLinks: ETSI's plugtests of links, TD_COAP_LINK_01 to 08, played by other people's clients with a plain
// device's resources at the bridge. Its links have no rt, if or sz, so that a filter by those leaves none.
func TestInteropPlugtestLinks(t *testing.T) {
	t.Parallel()
	f := start(t, func(f *fixture, text string) string {
		f.write("devices.yaml", strings.ReplaceAll(devicesText, meterKey, linkKey))
		return text
	})
	c := connect(t, f.addr(), "meter1", linkKey)
	all := []string{"/link1", "/link2", "/link3", "/test"}
	for _, path := range all {
		require.Equal(t, coap.Created, c.exchange(plain(coap.POST, path[1:], "1")).Code)
	}
	for name, get := range f.linkClients(t) {
		for _, row := range []struct {
			id, filter string
			want       []string
		}{
			{"LINK_01", "", all},
			{"LINK_02", "?rt=Type1", nil},
			{"LINK_03", "?rt=*", nil},
			{"LINK_05", "?if=If*", nil},
			{"LINK_06", "?sz=*", nil},
			{"LINK_07", "?href=/link1", all[:1]},
			{"LINK_08", "?href=/link*", all[:3]},
		} {
			t.Run(name+"/"+row.id, func(t *testing.T) {
				var paths []string
				for _, m := range regexp.MustCompile(`<([^>]*)>`).FindAllStringSubmatch(get(t, "/.well-known/core"+row.filter), -1) {
					paths = append(paths, m[1])
				}
				require.ElementsMatch(t, row.want, paths)
			})
		}
	}
}

// linkClients are functions that get a path with other people's clients, by their names.
func (f *fixture) linkClients(t *testing.T) map[string]func(*testing.T, string) string {
	t.Helper()
	variable := func(name string) string {
		value := os.Getenv(name)
		require.NotEmpty(t, value, "%s is not set: run \"make interop\", which installs what it names", name)
		return value
	}
	const peers = "../../../internal/interop/peers/"
	jars, classes := variable("CALIFORNIUM_JARS")+"/*", t.TempDir()
	out, err := exec.Command("javac", "-d", classes, "-cp", jars, peers+"CaliforniumPlugtest.java").CombinedOutput()
	require.NoError(t, err, "%s", out)
	port := fmt.Sprint(f.addr().Port())
	clients := map[string]func(*testing.T, string) string{
		"aiocoap": scripted(t, variable("AIOCOAP_VENV")+"/bin/python", peers+"aiocoap_plugtest.py", "client", port, "meter1", linkKey),
		"Californium": scripted(t, "java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Djava.net.preferIPv4Stack=true",
			"-cp", classes+":"+jars, "CaliforniumPlugtest", "client", port, "meter1", linkKey),
	}
	for _, client := range []libcoap{openssl, gnutls} {
		clients[string(client)] = func(t *testing.T, path string) string {
			out, _ := client.run(t, "-u", "meter1", "-k", linkKey, "-m", "get", f.uri+path)
			return out
		}
	}
	return clients
}

// scripted starts one of the programs of internal/interop/peers, which take requests line by line and print answers so.
func scripted(t *testing.T, argv ...string) func(*testing.T, string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // its exit status says little
	})
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	return func(t *testing.T, path string) string {
		_, err := fmt.Fprintf(in, "ask CON GET %s\n", path)
		require.NoError(t, err)
		for lines.Scan() {
			if answer, ok := strings.CutPrefix(lines.Text(), "answer 2.05 "); ok {
				b, err := hex.DecodeString(answer)
				require.NoError(t, err)
				return string(b)
			}
			require.NotContains(t, lines.Text(), "answer")
		}
		require.Fail(t, "no answer", "%v", lines.Err())
		return ""
	}
}
