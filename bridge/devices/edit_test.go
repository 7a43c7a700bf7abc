package devices

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/onem2m"
	"coapbridge/dtls"
)

func TestAddKeepsTheRest(t *testing.T) {
	t.Parallel()
	file, _ := folder(t, sample)
	key, err := NewKey([]byte("0f1e2d3c4b5a69788796a5b4c3d2e1f0"))
	require.NoError(t, err)
	require.NoError(t, Add(t.Context(), file, []CSE{{Name: "other"}}, Entry{
		Name: "true", Entity: true, Tenant: "t-1", CSE: "other", Profile: 1, LegacyOptions: true, StrictTimestamps: true, Originators: []string{"C*", `q"uo\te`},
		Operations: []Operation{Operation(onem2m.Create), Operation(onem2m.Notify)}, Targets: []string{"cse-in/x"}, MaxPayload: 7,
		AllowDelete: true, AppID: "Nx", PSK: &PSK{Identity: "grüß: #1", Up: key, Down: RandomKey()},
		Certificate:  &Certificate{Fingerprint: Fingerprint(strings.Repeat("ab", 32)), SAN: SAN{Type: dtls.NameDNS, Value: "a.example"}},
		RawPublicKey: Fingerprint(strings.Repeat("12", 32)),
	}))
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(data), sample), "byte by byte")
	for _, flag := range []string{"entity", "legacyOptions", "strictTimestamps", "allowDelete"} {
		require.Contains(t, string(data[len(sample):]), "    "+flag+": true\n")
	}
	list, _, err := List(file)
	require.NoError(t, err)
	require.Equal(t, Summary{
		Name: "true", Entity: true, Tenant: "t-1", CSE: "other", Profile: "onem2m", Credentials: []string{"psk", "certificate", "rawPublicKey"},
		Identity: "grüß: #1", Fingerprint: strings.Repeat("ab", 32), SAN: "dns:a.example", RawKey: strings.Repeat("12", 32),
		Originators: []string{"C*", `q"uo\te`}, Operations: []string{"create", "notify"}, Targets: []string{"cse-in/x"}, MaxPayload: 7,
		ID: dtls.PeerID{Kind: dtls.KindPSK, ID: "grüß: #1"},
	}, list[len(list)-1])
	identity, up, err := PSKOf(file, "true")
	require.NoError(t, err)
	require.Equal(t, "grüß: #1", identity)
	require.True(t, key.Equal(up))

	require.NoError(t, Remove(t.Context(), file, "true"))
	data, err = os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, sample, string(data))
}

func TestEditForms(t *testing.T) {
	t.Parallel()
	raw := "rawPublicKey: " + strings.Repeat("12", 32)
	added := "  - name: new\n    rawPublicKey: \"" + strings.Repeat("34", 32) + "\"\n"
	cases := []struct{ name, in, want string }{
		{"empty list", "version: 1\ndevices: [] # none yet\n", "version: 1\ndevices: # none yet\n" + added},
		{"no value", "version: 1\ndevices:\n# more: later\n", "version: 1\ndevices:\n" + added + "# more: later\n"},
		{"no field", "version: 1", "version: 1\ndevices:\n" + added},
		{"no end of line", "version: 1\ndevices:\n  - name: a\n    " + raw, "version: 1\ndevices:\n  - name: a\n    " + raw + "\n" + added},
		{"field after", "devices:\n  - name: a\n    " + raw + "\n\nversion: 1\n", "devices:\n  - name: a\n    " + raw + "\n" + added + "\nversion: 1\n"},
		{"not indented", "version: 1\ndevices:\n- name: a\n  " + raw + "\n", "version: 1\ndevices:\n- name: a\n  " + raw + "\n" + strings.ReplaceAll(added, "\n    ", "\n  ")[2:]},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			file, _ := folder(t, c.in)
			require.NoError(t, Add(t.Context(), file, nil, Entry{Name: "new", RawPublicKey: Fingerprint(strings.Repeat("34", 32))}))
			got, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, c.want, string(got))
			require.NoError(t, Remove(t.Context(), file, "new"))
			_, _, err = List(file)
			require.NoError(t, err)
		})
	}
}

func TestRemoveTakesItsComment(t *testing.T) {
	t.Parallel()
	file, _ := folder(t, sample)
	require.NoError(t, Remove(t.Context(), file, "kitchen", "meter"))
	got, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NotContains(t, string(got), "Kitchen")
	require.True(t, strings.HasPrefix(string(got), "version: 1\ndevices:\n  - name: garage\n"), string(got))
	require.ErrorIs(t, Remove(t.Context(), file, "garage", "nobody"), ErrNotFound)
	after, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(got), string(after), "all or none")
	require.NoError(t, Remove(t.Context(), file, "garage", "pump", "raw"))
	list, _, err := List(file)
	require.NoError(t, err)
	require.Empty(t, list)
}

func TestAddRefuses(t *testing.T) {
	t.Parallel()
	file, _ := folder(t, sample)
	one := func() *PSK { return &PSK{Identity: "one", Up: RandomKey()} }
	cases := []struct {
		name  string
		entry Entry
		want  string
	}{
		{"name taken", Entry{Name: "kitchen", PSK: one()}, "is the name of the device on line 4 already"},
		{"identity taken", Entry{Name: "x", PSK: &PSK{Identity: "kitchen-1", Up: RandomKey()}}, "is the credential of the device on line 4 already"},
		{"no credential", Entry{Name: "x"}, "has no credential"},
		{"unknown CSE", Entry{Name: "x", CSE: "nowhere", PSK: one()}, `no CSE is named "nowhere"`},
		{"bad name", Entry{Name: "a/b", PSK: one()}, "name: is no name"},
		{"long identity", Entry{Name: "x", PSK: &PSK{Identity: strings.Repeat("i", 129), Up: RandomKey()}}, "has 129 bytes"},
	}
	for _, c := range cases {
		require.ErrorContains(t, Add(t.Context(), file, []CSE{{Name: "other"}}, c.entry), c.want, c.name)
	}
	require.NoError(t, Add(t.Context(), file, []CSE{{Name: "other"}}, Entry{Name: "x", PSK: &PSK{Identity: strings.Repeat("i", 128), Up: RandomKey()}}))

	put(t, file, faulty)
	require.ErrorContains(t, Add(t.Context(), file, nil, Entry{Name: "x", PSK: one()}), "devices[1].name", "a file with faults isn't edited")
	require.NoError(t, os.Chmod(file, 0o644))
	require.ErrorContains(t, Add(t.Context(), file, nil, Entry{Name: "x", PSK: one()}), "0644")
	got, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, faulty, string(got))
}

func TestAddMakesTheFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "devices.yaml")
	require.NoError(t, Add(t.Context(), file, nil, Entry{Name: "a", PSK: &PSK{Identity: "a", Up: RandomKey()}}))
	list, _, err := List(file)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.True(t, list[0].OneKey)
	require.Error(t, Remove(t.Context(), filepath.Join(t.TempDir(), "none.yaml"), "a"))
}

// TestEditsAtOnce: no edit is lost when several are made at once.
func TestEditsAtOnce(t *testing.T) {
	t.Parallel()
	file, _ := folder(t, "version: 1\n")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			id := fmt.Sprintf("dev-%d", i)
			require.NoError(t, Add(t.Context(), file, nil, Entry{Name: id, PSK: &PSK{Identity: id, Up: RandomKey()}}))
		})
	}
	wg.Wait()
	list, _, err := List(file)
	require.NoError(t, err)
	require.Len(t, list, 8)
}

const libcoapFile = `# hint,identity,key
,meter-1,0123456789abcdef0123456789abcdef
hint,meter 2,0x000102030405060708090a0b0c0d0e0f
hint,meter-3,a,key,with,commas,of,enough,bytes

hint,short,secretPSK
hint,meter-1,0123456789abcdef0123456789abcdee
no commas
hint,bad-hex,0xzz02030405060708090a0b0c0d0e0f10
hint,kitchen-1,0123456789abcdef0123456789abcded
hint,garage,0123456789abcdef0123456789abcdec
hint,,0123456789abcdef0123456789abcdeb
`

func TestImport(t *testing.T) {
	t.Parallel()
	file, _ := folder(t, sample)
	template := Entry{Profile: 2, Tenant: "plant"}
	done, err := Import(t.Context(), file, nil, strings.NewReader(libcoapFile), template, false)
	require.ErrorIs(t, err, ErrRefused)
	require.Empty(t, done.Added)
	want := []Refused{
		{6, "the key has 9 bytes, which can be guessed from one recorded handshake; use 16 to 64 random bytes"},
		{7, "its identity is on line 2 already"},
		{8, "is not hint,identity,key"},
		{9, "the key begins with 0x and is no hex"},
		{10, "its identity is in the devices file already"},
		{11, `a device of the name "garage" is in the devices file already`},
		{12, "psk.identity is missing; write the identity that the device presents"},
	}
	for i := range want {
		require.Equal(t, want[i], done.Refused[i])
	}
	require.Len(t, done.Refused, len(want))
	got, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, sample, string(got), "nothing half done")

	done, err = Import(t.Context(), file, nil, strings.NewReader(libcoapFile), template, true)
	require.NoError(t, err)
	require.Equal(t, []string{"meter-1", nameFor("meter 2"), "meter-3"}, done.Added)
	require.Equal(t, []Refused{{2, "the key repeats itself"}}, done.Warnings)
	s, err := Open(file, file+".bindings", Options{})
	require.NoError(t, err)
	defer s.Close()
	for id, key := range map[string]string{
		"meter-1": "0123456789abcdef0123456789abcdef", "meter 2": "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f",
		"meter-3": "a,key,with,commas,of,enough,bytes",
	} {
		b, err := s.PSK(t.Context(), dtls.PSKQuery{Peer: psk(id), Role: dtls.RoleClient})
		require.NoError(t, err)
		require.Equal(t, key, string(b))
		d, ok := s.Device(&dtls.Peer{ID: psk(id)})
		require.True(t, ok)
		require.Equal(t, "plant", d.Tenant)
		require.True(t, s.OneKey(psk(id)))
	}
	done, err = Import(t.Context(), file, nil, strings.NewReader(strings.Repeat("x", maxImportLine+1)), template, false)
	require.ErrorIs(t, err, ErrRefused)
	require.Equal(t, 1, done.Refused[0].Line)
}

func FuzzLibcoap(f *testing.F) {
	f.Add(libcoapFile)
	f.Add("a,b,0x\n")
	f.Fuzz(func(t *testing.T, in string) {
		taken, _, err := parseLibcoap(strings.NewReader(in), Entry{})
		require.NoError(t, err)
		if len(taken) == 0 {
			return
		}
		names := map[string]bool{}
		var entries []Entry
		for _, l := range taken {
			if !names[l.entry.Name] {
				names[l.entry.Name] = true
				entries = append(entries, l.entry)
			}
		}
		data, err := appendEntries([]byte(newFile), entries)
		require.NoError(t, err)
		items, _, problems, _ := parse("devices.yaml", data, nil, nil)
		require.Empty(t, problems)
		require.Len(t, items, len(entries))
		for i, it := range items {
			require.Equal(t, entries[i].PSK.Identity, it.entry.PSK.Identity)
			require.True(t, entries[i].PSK.Up.Equal(it.entry.PSK.Up))
		}
	})
}
