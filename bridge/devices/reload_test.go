package devices

import (
	"coapbridge/bridge"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/dtls"
)

func TestReload(t *testing.T) {
	t.Parallel()
	s, file := open(t, sample, Options{})
	change, err := s.Reload()
	require.NoError(t, err)
	require.True(t, change.Empty())

	next := strings.Replace(sample, "b7c1e05f83a2d94416ffa0538e6d21c9", "c8d2f16094b3ea5527aab1649f7e32da", 1) // kitchen's up key
	next = strings.Replace(next, "profile: plain", "profile: onem2m", 1)                                       // garage's policy
	next = strings.Replace(next, "cse: other", "cse: main", 1)                                                 // pump's CSE
	next = strings.Replace(next, "- name: meter", "- name: other-meter", 1)
	next = next[:strings.Index(next, "  - name: raw")] + "  - name: new\n    psk: {identity: new, up: \"hex:a0b1c2d3e4f5061728394a5b6c7d8e9f\"}\n"
	put(t, file, next)
	change, err = s.Reload()
	require.NoError(t, err)
	require.Equal(t, []string{"other-meter", "new"}, change.Added)
	require.Equal(t, []string{"meter", "raw"}, change.Removed)
	require.Equal(t, []string{"kitchen", "garage", "pump"}, change.Changed)

	pump := []dtls.Name{{Type: dtls.NameURI, Value: "urn:example:pump"}}
	raw := dtls.PeerID{Kind: dtls.KindRawPublicKey, ID: strings.Repeat("000102030405060708090a0b0c0d0e0f", 2)}
	cases := []struct {
		name string
		peer dtls.Peer
		want bool
	}{
		{"key changed", dtls.Peer{ID: psk("kitchen-1"), Role: dtls.RoleClient}, true},
		{"the other direction's key did not", dtls.Peer{ID: psk("kitchen-1"), Role: dtls.RoleServer}, false},
		{"policy changed", dtls.Peer{ID: psk("garage 1"), Role: dtls.RoleClient}, false},
		{"CSE changed", dtls.Peer{ID: cert("77"), Certificate: &dtls.PeerCertificate{Names: pump}}, true},
		{"credential became another device's", dtls.Peer{ID: cert(meterID)}, true},
		{"removed", dtls.Peer{ID: raw}, true},
		{"added", dtls.Peer{ID: psk("new"), Role: dtls.RoleClient}, false},
		{"never there", dtls.Peer{ID: psk("nobody")}, true},
	}
	for _, c := range cases {
		require.Equal(t, c.want, change.Ended(&c.peer), c.name)
	}
	_, ok := s.Device(&dtls.Peer{ID: raw})
	require.False(t, ok)
	_, err = s.PSK(t.Context(), dtls.PSKQuery{Peer: psk("new"), Role: dtls.RoleClient})
	require.NoError(t, err)
}

// TestO02ReloadKeepsTheOld: a file that is half written, weak or gone changes nothing.
func TestO02ReloadKeepsTheOld(t *testing.T) {
	t.Parallel()
	s, file := open(t, sample, Options{})
	cases := []struct {
		name string
		make func()
		want string
	}{
		{"half written", func() { put(t, file, sample[:strings.Index(sample, "f0e1d2c3")]) }, "is no YAML"},
		{"cut in the header", func() { put(t, file, "versio") }, "devices.yaml"},
		{"empty", func() { put(t, file, "") }, "version: is missing"},
		{"0644", func() { put(t, file, sample); require.NoError(t, os.Chmod(file, 0o644)) }, "has mode 0644"},
		{"symlink", func() {
			put(t, file+".x", sample)
			require.NoError(t, os.Remove(file))
			require.NoError(t, os.Symlink(file+".x", file))
		}, "is a symbolic link"},
		{"gone", func() { require.NoError(t, os.Remove(file)) }, "does not exist"},
	}
	for _, c := range cases {
		c.make()
		change, err := s.Reload()
		require.ErrorContains(t, err, c.want, c.name)
		require.ErrorAs(t, err, new(Problems))
		require.Nil(t, change)
		_, ok := s.Device(&dtls.Peer{ID: psk("garage 1")})
		require.True(t, ok, c.name)
	}
}

// TestWatch: an edit is taken without being asked for, a fault is told, and a burst counts as one.
func TestWatch(t *testing.T) {
	t.Parallel()
	s, file := open(t, sample, Options{})
	type told struct {
		change *Change
		err    error
	}
	got := make(chan told, 100)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- s.Watch(ctx, func(c *Change, err error) { got <- told{c, err} })
	}()
	require.True(t, (<-got).change.Empty(), "it reads the file once at the start")
	require.NoError(t, Remove(t.Context(), file, "kitchen"))
	first := <-got
	require.NoError(t, first.err)
	require.Equal(t, []string{"kitchen"}, first.change.Removed)
	require.True(t, first.change.Ended(&dtls.Peer{ID: psk("kitchen-1")}))
	_, ok := s.Device(&dtls.Peer{ID: psk("kitchen-1")})
	require.False(t, ok)

	put(t, file, "version: 1\ndevices:\n  - nme: x\n")
	require.ErrorContains(t, (<-got).err, "unknown field")
	_, ok = s.Device(&dtls.Peer{ID: psk("garage 1")})
	require.True(t, ok)

	put(t, file, sample)
	require.Equal(t, []string{"kitchen"}, (<-got).change.Added)

	put(t, file, "version: 1\ndevices:\n  - nme: x\n")
	require.Error(t, (<-got).err)
	put(t, file, sample)
	healed := <-got
	require.NoError(t, healed.err, "a correction that leads back is told as well")
	require.True(t, healed.change.Empty())
	cancel()
	require.NoError(t, <-ended)
}

// TestReloadWhileLookedUp runs look-ups, reloads and bindings against each other; the race detector judges.
func TestReloadWhileLookedUp(t *testing.T) {
	t.Parallel()
	s, file := open(t, sample, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				d, ok := s.Device(&dtls.Peer{ID: psk("garage 1")})
				require.True(t, ok)
				require.Equal(t, "garage", d.Name)
				id := cert(fmt.Sprintf("%d-%d", i, n%50))
				_, ok = s.Device(&dtls.Peer{ID: id, Certificate: &dtls.PeerCertificate{Names: []dtls.Name{{Type: dtls.NameURI, Value: "urn:example:pump"}}}})
				require.True(t, ok)
				_, err := s.PSK(ctx, dtls.PSKQuery{Peer: psk("kitchen-1"), Role: dtls.RoleClient})
				require.NoError(t, err)
			}
		})
	}
	for i := range 20 {
		put(t, file, sample+strings.Repeat("\n", i))
		_, err := s.Reload()
		require.NoError(t, err)
		require.NoError(t, s.Bind(psk("garage 1"), "", fmt.Sprintf("C%d", i), bridge.Access{}))
		d, _ := s.Device(&dtls.Peer{ID: psk("garage 1")})
		require.Len(t, d.Bound, i+1)
	}
	cancel()
	wg.Wait()
}

// TestReloadReadsOnlyWhatChanged: an entry whose text stayed is the same object.
func TestReloadReadsOnlyWhatChanged(t *testing.T) {
	t.Parallel()
	s, file := open(t, sample, Options{})
	before := s.current.Load().names["garage"].entry
	require.NoError(t, Remove(t.Context(), file, "kitchen"))
	_, err := s.Reload()
	require.NoError(t, err)
	require.Same(t, before, s.current.Load().names["garage"].entry)
}
