package devices

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"coapbridge/dtls"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sample has a device of every kind of credential.
const sample = `version: 1
devices:
  # Kitchen, second floor
  - name: kitchen
    psk:
      identity: kitchen-1
      up: text:b7c1e05f83a2d94416ffa0538e6d21c9
      down: hex:000102030405060708090a0b0c0d0e0f
    originators: ["Ckitchen*"]
    operations: [create, retrieve]
    targets: [cse-in/kitchen]
    maxPayload: 1024
  - name: garage
    psk: {identity: "garage 1", up: "hex:f0e1d2c3b4a5968778695a4b3c2d1e0f"}
    profile: plain
    allowDelete: true
    appID: Ngarage

  - name: meter
    certificate:
      fingerprint: AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99
  - name: pump
    certificate: {san: "uri:urn:example:pump"}
    entity: true
    cse: other
    originators: ["*"]
  - name: raw
    rawPublicKey: 000102030405060708090a0b0c0d0e0f000102030405060708090a0b0c0d0e0f
`

const meterID = "aabbccddeeff00112233445566778899aabbccddeeff00112233445566778899"

// folder returns a private folder with the devices file in it.
func folder(t testing.TB, content string) (devicesFile, bindingsFile string) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o700))
	devicesFile = filepath.Join(dir, "devices.yaml")
	put(t, devicesFile, content)
	return devicesFile, filepath.Join(dir, "bindings.jsonl")
}

func put(t testing.TB, path, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".new", []byte(content), 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}

func open(t testing.TB, content string, o Options) (*Store, string) {
	t.Helper()
	devicesFile, bindingsFile := folder(t, content)
	s, err := Open(devicesFile, bindingsFile, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s, devicesFile
}

func psk(id string) dtls.PeerID  { return dtls.PeerID{Kind: dtls.KindPSK, ID: id} }
func cert(id string) dtls.PeerID { return dtls.PeerID{Kind: dtls.KindCertificate, ID: id} }
