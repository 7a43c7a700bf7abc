package devices

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge"
	"coapbridge/bridge/onem2m"
	"coapbridge/dtls"
)

var _ bridge.Directory = (*Store)(nil)

func TestDevice(t *testing.T) {
	t.Parallel()
	s, _ := open(t, sample, Options{CSEs: []CSE{{Name: "main"}, {Name: "other"}}, DefaultCSE: "main"})
	uri := func(v string) dtls.Name { return dtls.Name{Type: dtls.NameURI, Value: v} }
	cases := []struct {
		name  string
		id    dtls.PeerID
		names []dtls.Name
		want  string // device's name, "" for none
	}{
		{"PSK", psk("kitchen-1"), nil, "kitchen"},
		{"PSK with a blank", psk("garage 1"), nil, "garage"},
		{"PSK of other case", psk("Kitchen-1"), nil, ""},
		{"unknown PSK", psk("x"), nil, ""},
		{"empty PSK", psk(""), nil, ""},
		{"fingerprint", cert(meterID), nil, "meter"},
		{"SAN", cert("01"), []dtls.Name{uri("urn:example:other"), uri("urn:example:pump")}, "pump"},
		{"SAN of other type", cert("02"), []dtls.Name{{Type: dtls.NameDNS, Value: "urn:example:pump"}}, ""},
		{"SAN of other case", cert("03"), []dtls.Name{uri("urn:example:Pump")}, ""},
		{"fingerprint goes before SAN", cert(meterID), []dtls.Name{uri("urn:example:pump")}, "meter"},
		{"raw public key", dtls.PeerID{Kind: dtls.KindRawPublicKey, ID: strings.Repeat("000102030405060708090a0b0c0d0e0f", 2)}, nil, "raw"},
		// S11: credentials of equal spelling are different ones.
		{"PSK spelled as a fingerprint", psk(meterID), nil, ""},
		{"raw key spelled as a fingerprint", dtls.PeerID{Kind: dtls.KindRawPublicKey, ID: meterID}, nil, ""},
		{"certificate spelled as an identity", cert("kitchen-1"), nil, ""},
		{"raw key with a SAN", dtls.PeerID{Kind: dtls.KindRawPublicKey, ID: "04"}, []dtls.Name{uri("urn:example:pump")}, ""},
		{"PSK spelled as a SAN", psk("uri:urn:example:pump"), nil, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d, ok := s.Device(&dtls.Peer{ID: c.id, Certificate: &dtls.PeerCertificate{Names: c.names}})
			require.Equal(t, c.want != "", ok)
			require.Equal(t, c.want != "" && c.id.Kind != dtls.KindPSK, s.Admits(c.id, c.names))
			if ok {
				require.Equal(t, c.want, d.Name)
			}
		})
	}
	d, _ := s.Device(&dtls.Peer{ID: psk("kitchen-1")})
	require.Equal(t, &bridge.Device{
		Name: "kitchen", Originators: []string{"Ckitchen*"}, Targets: []string{"cse-in/kitchen"},
		Operations: 1<<onem2m.Create | 1<<onem2m.Retrieve, MaxPayload: 1024,
	}, d)
	d, _ = s.Device(&dtls.Peer{ID: psk("garage 1")})
	require.Equal(t, &bridge.Device{
		Name: "garage", Profile: bridge.ProfilePlain, AllowDelete: true, AppID: "Ngarage",
	}, d)
	devices, oneKey := s.Len()
	require.Equal(t, []int{5, 1}, []int{devices, oneKey})
	require.True(t, s.OneKey(psk("garage 1")))
	require.False(t, s.OneKey(psk("kitchen-1")))
	require.False(t, s.OneKey(cert(meterID)))
}

// TestBindingProfile: how an entry says that its device departs from TS-0008 V3.9.0 reaches the bridge.
func TestBindingProfile(t *testing.T) {
	t.Parallel()
	for _, want := range []bridge.Device{{}, {LegacyOptions: true}, {StrictTimestamps: true}} {
		s, _ := open(t, fmt.Sprintf("version: 1\ndevices:\n  - name: old\n    psk: {identity: old, up: \"hex:f0e1d2c3b4a5968778695a4b3c2d1e0f\"}\n"+
			"    legacyOptions: %t\n    strictTimestamps: %t\n", want.LegacyOptions, want.StrictTimestamps), Options{CSEs: []CSE{{Name: "main"}}})
		d, ok := s.Device(&dtls.Peer{ID: psk("old")})
		require.True(t, ok)
		want.Name = "old"
		require.Equal(t, &want, d)
	}
}

// TestAmbiguousNames: a certificate whose names belong to two devices is neither (S9, S11).
func TestAmbiguousNames(t *testing.T) {
	t.Parallel()
	s, _ := open(t, "version: 1\ndevices:\n- name: a\n  certificate: {san: dns:a}\n- name: b\n  certificate: {san: dns:b}\n", Options{})
	both := []dtls.Name{{Type: dtls.NameDNS, Value: "a"}, {Type: dtls.NameDNS, Value: "b"}}
	_, ok := s.Device(&dtls.Peer{ID: cert("01"), Certificate: &dtls.PeerCertificate{Names: both}})
	require.False(t, ok)
	require.False(t, s.Admits(cert("01"), both))
	require.True(t, s.Admits(cert("02"), both[:1]))
}

// TestPSK keeps S7 (a key per direction) and S5 (an unknown identity is told from nothing but the error).
func TestPSK(t *testing.T) {
	t.Parallel()
	s, _ := open(t, sample, Options{})
	key := func(id string, kind dtls.Kind, role dtls.Role) string {
		b, err := s.PSK(t.Context(), dtls.PSKQuery{Peer: dtls.PeerID{Kind: kind, ID: id}, Role: role})
		if err != nil {
			require.ErrorIs(t, err, dtls.ErrUnknownIdentity)
			require.Nil(t, b)
			return ""
		}
		return string(b)
	}
	require.Equal(t, "b7c1e05f83a2d94416ffa0538e6d21c9", key("kitchen-1", dtls.KindPSK, dtls.RoleClient))
	require.Equal(t, "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f", key("kitchen-1", dtls.KindPSK, dtls.RoleServer))
	require.Equal(t, key("garage 1", dtls.KindPSK, dtls.RoleClient), key("garage 1", dtls.KindPSK, dtls.RoleServer), "one key serves both")
	require.Empty(t, key("nobody", dtls.KindPSK, dtls.RoleClient))
	require.Empty(t, key("kitchen-1", dtls.KindCertificate, dtls.RoleClient))
	require.Empty(t, key(meterID, dtls.KindPSK, dtls.RoleClient))

	mine, err := s.PSK(t.Context(), dtls.PSKQuery{Peer: psk("kitchen-1"), Role: dtls.RoleClient})
	require.NoError(t, err)
	clear(mine) // the caller may wipe its copy
	require.Equal(t, "b7c1e05f83a2d94416ffa0538e6d21c9", key("kitchen-1", dtls.KindPSK, dtls.RoleClient))
}

func TestLookupsDoNotAllocate(t *testing.T) { // not parallel: AllocsPerRun counts the whole process
	s, _ := open(t, sample, Options{})
	p := &dtls.Peer{ID: psk("kitchen-1")}
	san := &dtls.Peer{ID: cert("01"), Certificate: &dtls.PeerCertificate{Names: []dtls.Name{{Type: dtls.NameURI, Value: "urn:example:pump"}}}}
	s.Device(san)
	require.Zero(t, testing.AllocsPerRun(100, func() { s.Device(p); s.Device(san) }))
}

func TestBind(t *testing.T) {
	t.Parallel()
	devicesFile, bindingsFile := folder(t, sample)
	o := Options{DefaultCSE: "main"}
	s, err := Open(devicesFile, bindingsFile, o)
	require.NoError(t, err)
	bound := func(id dtls.PeerID, names ...dtls.Name) []string {
		d, ok := s.Device(&dtls.Peer{ID: id, Certificate: &dtls.PeerCertificate{Names: names}})
		require.True(t, ok)
		return d.Bound
	}
	pump := dtls.Name{Type: dtls.NameURI, Value: "urn:example:pump"}

	before, _ := s.Device(&dtls.Peer{ID: psk("kitchen-1")})
	require.NoError(t, s.Bind(psk("kitchen-1"), "main", "C2", bridge.Access{}))
	require.NoError(t, s.Bind(psk("kitchen-1"), "", "C1", bridge.Access{}))
	require.NoError(t, s.Bind(psk("kitchen-1"), "", "C1", bridge.Access{}), "again")
	require.Empty(t, before.Bound, "a device that was returned doesn't change")
	require.Equal(t, []string{"C1", "C2"}, bound(psk("kitchen-1")))

	// B02: an AE-ID stays with the credential that it was given to.
	require.ErrorIs(t, s.Bind(psk("garage 1"), "main", "C1", bridge.Access{}), bridge.ErrBound)
	require.ErrorIs(t, s.Unbind(psk("garage 1"), "", "C1"), bridge.ErrBound)
	require.NoError(t, s.Bind(psk("garage 1"), "second", "C1", bridge.Access{}), "another CSE's AE-IDs are its own")
	require.Empty(t, bound(psk("garage 1")), "but its own CSE gave it none")
	require.ErrorIs(t, s.Bind(psk("nobody"), "", "C9", bridge.Access{}), ErrNoDevice)
	for _, bad := range []string{"", strings.Repeat("C", 257), "C\n1", "C\x00"} {
		require.Error(t, s.Bind(psk("garage 1"), "", bad, bridge.Access{}))
	}

	bound(cert("f1"), pump) // the session of a certificate that is known by name
	require.NoError(t, s.Bind(cert("f1"), "other", "Cpump", bridge.Access{}))
	require.Equal(t, []string{"Cpump"}, bound(cert("f2"), pump), "a renewed certificate is the same device")

	garage, _ := s.Device(&dtls.Peer{ID: psk("garage 1")})
	kitchen, _ := s.Device(&dtls.Peer{ID: psk("kitchen-1")})
	require.True(t, s.BelongsToOther(garage, "C1"))
	require.False(t, s.BelongsToOther(kitchen, "C1"))
	require.False(t, s.BelongsToOther(garage, "C77"))

	require.NoError(t, s.Unbind(psk("kitchen-1"), "", "C2"))
	require.NoError(t, s.Unbind(psk("kitchen-1"), "", "C2"), "again")
	require.NoError(t, s.Bind(psk("garage 1"), "", "C2", bridge.Access{}), "free again")
	require.NoError(t, s.Close())
	require.Error(t, s.Bind(psk("garage 1"), "", "C3", bridge.Access{}), "closed")

	s, err = Open(devicesFile, bindingsFile, o)
	require.NoError(t, err)
	defer s.Close()
	require.Equal(t, []string{"C1"}, bound(psk("kitchen-1")))
	require.Equal(t, []string{"C2"}, bound(psk("garage 1")))
	require.Equal(t, []string{"Cpump"}, bound(cert("f3"), pump))
	require.ErrorIs(t, s.Bind(psk("garage 1"), "main", "C1", bridge.Access{}), bridge.ErrBound)
}

func TestBindConcurrently(t *testing.T) {
	t.Parallel()
	s, file := open(t, sample, Options{})
	ids := []dtls.PeerID{psk("kitchen-1"), psk("garage 1"), cert(meterID)}
	const n = 40
	won := make([]int, n) // bit i: ids[i] got C<k>
	var mu sync.Mutex
	var wg sync.WaitGroup
	for k := range n {
		for i, id := range ids {
			wg.Go(func() {
				switch err := s.Bind(id, "", fmt.Sprintf("C%d", k), bridge.Access{}); err {
				case nil:
					mu.Lock()
					won[k] |= 1 << i
					mu.Unlock()
				default:
					require.ErrorIs(t, err, bridge.ErrBound)
				}
			})
		}
	}
	wg.Go(func() {
		for range 5 {
			_, err := s.Reload()
			require.NoError(t, err)
		}
	})
	wg.Go(func() {
		for i := range 5 {
			put(t, file, sample+strings.Repeat("# changed\n", i))
			s.Device(&dtls.Peer{ID: ids[0]})
		}
	})
	wg.Wait()
	got := 0
	for i, id := range ids {
		d, _ := s.Device(&dtls.Peer{ID: id})
		got += len(d.Bound)
		for _, aei := range d.Bound {
			var k int
			_, err := fmt.Sscanf(aei, "C%d", &k)
			require.NoError(t, err)
			require.Equal(t, 1<<i, won[k], "one winner")
		}
	}
	require.Equal(t, n, got)
}

func TestTooManyBindings(t *testing.T) {
	t.Parallel()
	devicesFile, bindingsFile := folder(t, sample)
	var content strings.Builder
	content.WriteString(bindingsHead)
	for i := range maxBound - 1 {
		content.WriteString(bindLine(fmt.Sprintf("C%d", i), "kitchen-1"))
	}
	put(t, bindingsFile, content.String())
	s, err := Open(devicesFile, bindingsFile, Options{})
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.Bind(psk("kitchen-1"), "", "last", bridge.Access{}))
	require.ErrorIs(t, s.Bind(psk("kitchen-1"), "", "one-more", bridge.Access{}), ErrTooMany)
	require.NoError(t, s.Bind(psk("garage 1"), "", "one-more", bridge.Access{}), "another device has its own share")
}
