package devices

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge"
	"coapbridge/dtls"
)

const bindingsHead = `{"version":1}` + "\n"

func bindLine(aei, id string) string {
	return fmt.Sprintf(`{"bind":%q,"kind":"psk","id":%q}`+"\n", aei, id)
}

// ofDevice is the line with the name of its device.
func ofDevice(device, line string) string {
	return strings.Replace(line, `,"kind"`, fmt.Sprintf(`,"device":%q,"kind"`, device), 1)
}

// TestBindingsCutShort cuts the file at every byte, as a crash can: what was confirmed is there, what was not is dropped
// and said, and the next binding works.
func TestBindingsCutShort(t *testing.T) {
	t.Parallel()
	devicesFile, bindingsFile := folder(t, sample)
	whole := bindingsHead + bindLine("C1", "kitchen-1") + bindLine("C2", "garage 1")
	for n := range len(whole) + 1 {
		put(t, bindingsFile, whole[:n])
		s, err := Open(devicesFile, bindingsFile, Options{})
		require.NoError(t, err, "cut at %d", n)
		confirmed := strings.Count(whole[:n], "\n")
		require.Equal(t, n > 0 && whole[n-1] != '\n', len(s.Warnings()) == 1, "cut at %d", n)
		d, _ := s.Device(&dtls.Peer{ID: psk("kitchen-1")})
		require.Equal(t, confirmed >= 2, len(d.Bound) == 1)
		d, _ = s.Device(&dtls.Peer{ID: psk("garage 1")})
		require.Equal(t, confirmed >= 3, len(d.Bound) == 1)
		require.NoError(t, s.Bind(psk("garage 1"), "", "C3", bridge.Access{}))
		require.NoError(t, s.Close())

		s, err = Open(devicesFile, bindingsFile, Options{})
		require.NoError(t, err, "cut at %d, then bound", n)
		require.Empty(t, s.Warnings())
		d, _ = s.Device(&dtls.Peer{ID: psk("garage 1")})
		require.Contains(t, d.Bound, "C3")
		require.NoError(t, s.Close())
	}
}

func TestBindingsFaults(t *testing.T) {
	t.Parallel()
	cases := []struct{ name, in, want string }{
		{"no header", bindLine("C1", "a"), "bindings.jsonl:1: is no version that this release knows; restore the file"},
		{"later version", `{"version":2}` + "\n", "bindings.jsonl:1: is no version"},
		{"garbage", bindingsHead + "hello\n" + bindLine("C1", "a"), "bindings.jsonl:2: is no line of a bindings file"},
		{"zeros", bindingsHead + "\x00\x00\x00\n", "bindings.jsonl:2: is no line"},
		{"unknown field", bindingsHead + `{"bind":"C1","kind":"psk","id":"a","x":1}` + "\n", ":2: is no line"},
		{"both", bindingsHead + `{"bind":"C1","unbind":"C1","kind":"psk","id":"a"}` + "\n", ":2: is no binding"},
		{"unknown kind", bindingsHead + `{"bind":"C1","kind":"x","id":"a"}` + "\n", ":2: is no binding"},
		{"no name of a device", bindingsHead + ofDevice("a b", bindLine("C1", "a")), ":2: is no binding"},
		{"bound twice", bindingsHead + bindLine("C1", "a") + bindLine("C1", "b"), ":3: binds an AE-ID again, to another credential"},
		{"unbound", bindingsHead + `{"unbind":"C1","kind":"psk","id":"a"}` + "\n", ":2: unbinds an AE-ID that is not bound"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			devicesFile, bindingsFile := folder(t, sample)
			put(t, bindingsFile, c.in)
			_, err := Open(devicesFile, bindingsFile, Options{})
			require.ErrorContains(t, err, c.want)
			problems, _ := CheckBindings(bindingsFile)
			require.ErrorContains(t, problems, c.want)
			got, err := os.ReadFile(bindingsFile)
			require.NoError(t, err)
			require.Equal(t, c.in, string(got), "nothing was changed")
		})
	}
}

// TestOneBridgeABindingsFile: two that write one file would each believe in half of it.
func TestOneBridgeABindingsFile(t *testing.T) {
	t.Parallel()
	devicesFile, bindingsFile := folder(t, sample)
	s, err := Open(devicesFile, bindingsFile, Options{})
	require.NoError(t, err)
	_, err = Open(devicesFile, bindingsFile, Options{})
	require.ErrorContains(t, err, "bindings.jsonl.lock: is locked by another process; end the other coap-bridge")
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "again")
	s, err = Open(devicesFile, bindingsFile, Options{})
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

// TestBindAfterFailedWrite: a write that fails binds nothing, and the next one starts the file anew.
func TestBindAfterFailedWrite(t *testing.T) {
	t.Parallel()
	devicesFile, bindingsFile := folder(t, sample)
	s, err := Open(devicesFile, bindingsFile, Options{})
	require.NoError(t, err)
	require.NoError(t, s.Bind(psk("kitchen-1"), "", "C1", bridge.Access{}))
	require.NoError(t, s.bindings.file.Close()) // the disk goes away
	require.Error(t, s.Bind(psk("kitchen-1"), "", "C2", bridge.Access{}))
	d, _ := s.Device(&dtls.Peer{ID: psk("kitchen-1")})
	require.Equal(t, []string{"C1"}, d.Bound)
	require.NoError(t, s.Bind(psk("garage 1"), "", "C2", bridge.Access{}), "C2 was not bound")
	require.ErrorIs(t, s.Bind(psk("kitchen-1"), "", "C2", bridge.Access{}), bridge.ErrBound)
	require.NoError(t, s.Close())
	data, err := os.ReadFile(bindingsFile)
	require.NoError(t, err)
	require.Equal(t, bindingsHead+ofDevice("kitchen", bindLine("C1", "kitchen-1"))+ofDevice("garage", bindLine("C2", "garage 1")), string(data))
}

// TestCompaction: binding and unbinding for ever doesn't fill the disk.
func TestCompaction(t *testing.T) {
	t.Parallel()
	devicesFile, bindingsFile := folder(t, sample)
	dead := strings.Repeat(bindLine("C1", "kitchen-1")+`{"unbind":"C1","kind":"psk","id":"kitchen-1"}`+"\n", compactSlack)
	last := ofDevice("kitchen", bindLine("C2", "kitchen-1"))
	put(t, bindingsFile, bindingsHead+dead+last)
	s, err := Open(devicesFile, bindingsFile, Options{})
	require.NoError(t, err)
	require.NoError(t, s.Bind(psk("garage 1"), "", "C3", bridge.Access{}))
	require.NoError(t, s.Bind(psk("garage 1"), "", "C4", bridge.Access{}))
	require.NoError(t, s.Close())
	data, err := os.ReadFile(bindingsFile)
	require.NoError(t, err)
	require.Equal(t, bindingsHead+last+ofDevice("garage", bindLine("C3", "garage 1"))+ofDevice("garage", bindLine("C4", "garage 1")), string(data))
}

func FuzzBindings(f *testing.F) {
	f.Add([]byte(bindingsHead + bindLine("C1", "a") + ofDevice("x", bindLine("C2", "a"))))
	f.Add([]byte(bindingsHead + `{"bind":"C1","kind":"psk","id":"a"}{"bind":"C2"}` + "\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		b := newBindings("b")
		if b.replay(in) != nil {
			return
		}
		n := 0
		for h, keys := range b.byHolder {
			for _, key := range keys {
				require.Equal(t, h, b.table[key].of.index())
				n++
			}
		}
		require.Len(t, b.table, n)
	})
}
