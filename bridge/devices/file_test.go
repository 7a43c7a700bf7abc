package devices

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"
)

// faulty has every kind of fault that an entry can have.
const faulty = `version: 1
devices:
  - name: ok
    psk: {identity: ok, up: "hex:000102030405060708090a0b0c0d0e0f"}
  - name: ok
    psk: {identity: ok, up: "hex:0001020304050607"}
  - name: "no name"
    psk:
      identity: ""
      up: secretPSKsecretPSK
  - psk: {identity: x, up: "hex:zz"}
    operations: [create, destroy]
  - name: nothing
    maxpayload: 5
  - name: two
    certificate: {}
    originators: ["", " x"]
    targets: [a/../b, "a*"]
    maxPayload: -1
    appID: xyz
    cse: nowhere
  - name: three
    certificate: {san: "dns:*.example.org", fingerprint: 00}
    profile: fancy
    tenant: a b
  - name: same
    psk: {identity: same, up: "hex:0f0e0d0c0b0a09080706050403020100", down: "hex:0f0e0d0c0b0a09080706050403020100"}
  - name: broken
    psk: {identity: [
  - name: raw
    rawPublicKey: 12
`

func TestOpenNamesEveryFault(t *testing.T) {
	t.Parallel()
	devicesFile, bindingsFile := folder(t, faulty)
	_, err := Open(devicesFile, bindingsFile, Options{CSEs: []CSE{{Name: "main"}}})
	golden(t, "faults", strings.ReplaceAll(err.Error(), devicesFile, "devices.yaml"))
	// S46: no key in an error.
	require.NotContains(t, err.Error(), "secretPSK")
	require.NotContains(t, err.Error(), "0f0e0d")
	// The failed start left no lock behind.
	put(t, devicesFile, sample)
	s, err := Open(devicesFile, bindingsFile, Options{})
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

func TestOpenRefusesHeaders(t *testing.T) {
	t.Parallel()
	cases := []struct{ name, in, want string }{
		{"no version", "devices:\n", "devices.yaml:1: version: is missing; begin the file with: version: 1"},
		{"empty", "", "version: is missing"},
		{"other version", "version: 2\n", "devices.yaml:1: version: 2 is not known to this release"},
		{"unknown field", "version: 1\ndevice:\n", `devices.yaml:2: device: unknown field; did you mean "devices"?`},
		{"in one line", "version: 1\ndevices: [{name: a}]\n", "devices.yaml:2: devices: is written in one line"},
		{"no list", "version: 1\ndevices:\n  name: a\n", "devices.yaml:3: devices: is a group of fields; write a list"},
		{"twice", "version: 1\ndevices:\n- name: a\n  rawPublicKey: " + meterID + "\ndevices:\n- name: b\n", "devices: stands here again after line 2"},
		{"binary", "version: 1\n\xff\n", "is no UTF-8 text"},
		{"tab", "version: 1\ndevices:\n\t- name: a\n", "devices.yaml:3: is no YAML"},
		{"outdented", "version: 1\ndevices:\n  - name: a\n rawPublicKey: x\n", "is no YAML"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			devicesFile, bindingsFile := folder(t, c.in)
			_, err := Open(devicesFile, bindingsFile, Options{})
			require.ErrorContains(t, err, c.want)
		})
	}
}

// TestO02WeakFiles: files that others can get at stop the start, each named with its remedy.
func TestO02WeakFiles(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name string
		make func(t *testing.T, devicesFile, bindingsFile string)
		want string
	}{
		{"devices 0644", func(t *testing.T, d, _ string) { require.NoError(t, os.Chmod(d, 0o644)) }, "devices.yaml: has mode 0644: others can get at it; run: chmod 600 "},
		{"devices symlink", func(t *testing.T, d, _ string) {
			require.NoError(t, os.Rename(d, d+".real"))
			require.NoError(t, os.Symlink(d+".real", d))
		}, "devices.yaml: is a symbolic link; put the file itself in its place"},
		{"folder 0777", func(t *testing.T, d, _ string) { require.NoError(t, os.Chmod(filepath.Dir(d), 0o777)) }, "others can replace files in it; run: chmod 700 "},
		{"bindings 0640", func(t *testing.T, _, b string) {
			put(t, b, "{\"version\":1}\n")
			require.NoError(t, os.Chmod(b, 0o640))
		}, "bindings.jsonl: has mode 0640"},
		{"bindings symlink", func(t *testing.T, _, b string) { require.NoError(t, os.Symlink("x", b)) }, "bindings.jsonl: is a symbolic link"},
		{"devices missing", func(t *testing.T, d, _ string) { require.NoError(t, os.Remove(d)) }, "devices.yaml: does not exist; create it, or correct the path"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			devicesFile, bindingsFile := folder(t, sample)
			c.make(t, devicesFile, bindingsFile)
			_, err := Open(devicesFile, bindingsFile, Options{})
			require.ErrorContains(t, err, c.want)
		})
	}
}

// TestS6Warnings: keys that may be guessed are named.
func TestS6Warnings(t *testing.T) {
	t.Parallel()
	s, file := open(t, `version: 1
devices:
  - name: a
    psk: {identity: a, up: text:correct-horse-battery}
  - name: b
    psk: {identity: b, up: "hex:00000000000000000000000000000000"}
  - name: c
    psk: {identity: c, up: "hex:0102030405060708090a0b0c0d0e0f10"}
  - name: d
    psk: {identity: d, up: "hex:0102030405060708090a0b0c0d0e0f10"}
  - name: e
    psk: {identity: e, up: "base64:q83vASNFZ4mrze8BI0VniavN7wEjRWeJ"}
`, Options{})
	golden(t, "warnings", strings.ReplaceAll(s.Warnings().Error(), file, "devices.yaml"))
}

// TestManyWarnings: of very many warnings the first of each kind are told, and how many more there are.
func TestManyWarnings(t *testing.T) {
	t.Parallel()
	var file strings.Builder
	file.WriteString("version: 1\ndevices:\n")
	for i := range maxWarnings + 3 {
		fmt.Fprintf(&file, "  - name: d%d\n    psk: {identity: d%d, up: text:correct-horse-battery}\n", i, i)
	}
	fmt.Fprint(&file, "  - name: old\n    noExtendedMasterSecret: true\n    psk: {identity: old, up: \"hex:8f14e45fceea167a5a36dedd4bea2543\"}\n")
	s, path := open(t, file.String(), Options{})
	told := s.Warnings()
	require.Len(t, told, 2*maxWarnings+1+2)
	require.Contains(t, told[2*maxWarnings].Error(), "noExtendedMasterSecret")
	require.Equal(t, path+": 2 more warnings with this remedy; give each device a key of its own", told[2*maxWarnings+1].Error())
	require.Equal(t, path+": 3 more warnings with this remedy; use random bytes", told[2*maxWarnings+2].Error())
}

func TestRandomKeysAreNotWarnedOf(t *testing.T) {
	t.Parallel()
	for range 10_000 {
		k := RandomKey()
		require.Len(t, k.Reveal(), 32)
		require.Empty(t, k.weakness())
	}
}

// TestS46KeysAreNotPrinted tries every way in which a key could get into a log.
func TestS46KeysAreNotPrinted(t *testing.T) {
	t.Parallel()
	const text = "b7c1e05f83a2d94416ffa0538e6d21c9"
	key, err := NewKey([]byte(text))
	require.NoError(t, err)
	type hidden struct{ key Key } // fmt can't call methods of an unexported field
	var out strings.Builder
	for _, v := range []any{key, &key, PSK{"id", key, key}, &Entry{PSK: &PSK{Up: key}}, hidden{key}, []Key{key}, map[string]Key{"k": key}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(h).Info("x", "v", v)
		}
		j, err := json.Marshal(v)
		require.NoError(t, err)
		y, err := yaml.Marshal(v)
		require.NoError(t, err)
		out.Write(j)
		out.Write(y)
	}
	require.Contains(t, out.String(), redacted)
	require.NotContains(t, out.String(), text)
	require.NotContains(t, out.String(), "62376331") // in hex
	require.NotContains(t, out.String(), "98 55 99") // as bytes
	require.NotContains(t, out.String(), "0x62, 0x37")
}

func TestKeyForms(t *testing.T) {
	t.Parallel()
	cases := []struct{ in, want, err string }{
		{"text:0123456789abcdef", "0123456789abcdef", ""},
		{"hex:30313233343536373839616263646566", "0123456789abcdef", ""},
		{"base64:MDEyMzQ1Njc4OWFiY2RlZg==", "0123456789abcdef", ""},
		{"text:" + strings.Repeat("ab", 32), strings.Repeat("ab", 32), ""},
		{"text:" + strings.Repeat("a", 65), "", "has 65 bytes"},
		{"text:0123456789abcde", "", "has 15 bytes"}, // S6
		{"hex:3031", "", "has 2 bytes"},
		{"hex:xyz", "", "is no hex"},
		{"base64:***", "", "is no base64"},
		{"0123456789abcdef", "", "doesn't say how it is written"},
		{"rot13:0123456789abcdef", "", "doesn't say how it is written"},
		{"", "", "doesn't say how it is written"},
	}
	for _, c := range cases {
		var k Key
		err := k.UnmarshalText([]byte(c.in))
		if c.err != "" {
			require.ErrorContains(t, err, c.err, c.in)
			require.True(t, k.IsZero())
			continue
		}
		require.NoError(t, err)
		require.Equal(t, c.want, string(k.Reveal()))
		var again Key
		require.NoError(t, again.UnmarshalText([]byte(k.spell())))
		require.True(t, k.Equal(again))
	}
	a, b := RandomKey(), RandomKey()
	require.False(t, a.Equal(b))
	require.False(t, a.Equal(Key{}))
	require.True(t, Key{}.Equal(Key{}))
}

// golden compares with testdata/name.golden; UPDATE_GOLDEN=1 writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got+"\n"), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got+"\n")
}

func FuzzDevicesFile(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte(faulty))
	f.Add([]byte("version: 1\ndevices: []\n"))
	f.Add([]byte("version: 1\r\ndevices:\r\n- name: a\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		items, _, problems, _ := parse("devices.yaml", in, nil, nil)
		if len(problems) > 0 {
			return
		}
		// What can be read can be edited: a device more, then that one away again, and the others are the same.
		entry := Entry{Name: "fuzz-added", RawPublicKey: Fingerprint(strings.Repeat("5a", 32))}
		more, err := appendEntries(in, []Entry{entry})
		if err != nil {
			return
		}
		with, _, problems, _ := parse("devices.yaml", more, nil, nil)
		if len(problems) > 0 {
			require.Contains(t, problems.Error(), "already")
			return
		}
		require.Len(t, with, len(items)+1)
		less, err := removeEntries(more, []string{"fuzz-added"})
		require.NoError(t, err)
		again, _, problems, _ := parse("devices.yaml", less, nil, nil)
		require.Empty(t, problems)
		require.Len(t, again, len(items))
		for i := range items {
			require.Equal(t, items[i].entry.Name, again[i].entry.Name)
		}
	})
}
