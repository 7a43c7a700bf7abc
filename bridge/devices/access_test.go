package devices

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge"
	"coapbridge/dtls"
)

// token is a good one, and another for each name.
func token(name string) string { return strings.Repeat(name, 32)[:32] }

// TestAccess: how an AE is reached is there after a restart, an update takes the place of what it was, and the end of the
// binding is the end of it.
func TestAccess(t *testing.T) {
	t.Parallel()
	devicesFile, bindingsFile := folder(t, sample)
	options := Options{DefaultCSE: "main"}
	s, err := Open(devicesFile, bindingsFile, options)
	require.NoError(t, err)
	poa := []string{"coap://device.example", "x"}
	require.NoError(t, s.Bind(psk("kitchen-1"), "main", "C1", bridge.Access{Token: token("a"), POA: poa}))
	poa[1] = "the caller's again"
	require.NoError(t, s.Bind(cert(meterID), "", "C2", bridge.Access{}))
	check := func(tok string, wantPOA []string) {
		t.Helper()
		r, ok := s.Reachable(tok)
		require.True(t, ok)
		require.Equal(t, "kitchen", r.Device.Name)
		require.Equal(t, []string{"C1"}, r.Device.Bound)
		require.Equal(t, "main", r.CSE)
		require.Equal(t, "C1", r.AEI)
		require.True(t, bridge.Access{Token: tok, POA: wantPOA}.Equal(r.Access))
		for _, cse := range []string{"", "main"} {
			a, ok := s.Access(cse, "C1")
			require.True(t, ok && a.Equal(r.Access))
			b, ok := s.Bound(cse, "C1")
			require.True(t, ok && b.AEI == "C1" && b.Access.Equal(r.Access))
		}
	}
	check(token("a"), []string{"coap://device.example", "x"})
	a, ok := s.Access("main", "C2")
	require.True(t, ok && a.IsZero())
	_, ok = s.Access("other", "C1")
	require.False(t, ok, "of another CSE")
	_, ok = s.Reachable("")
	require.False(t, ok, "the AEs without a token are not those of the token without characters")

	require.NoError(t, s.Bind(psk("kitchen-1"), "", "C1", bridge.Access{}), "says nothing new")
	check(token("a"), []string{"coap://device.example", "x"})
	require.NoError(t, s.Bind(psk("kitchen-1"), "", "C1", bridge.Access{Token: token("b"), POA: []string{}}))
	check(token("b"), []string{})
	_, ok = s.Reachable(token("a"))
	require.False(t, ok, "the old token")

	require.NoError(t, s.Close())
	s, err = Open(devicesFile, bindingsFile, options)
	require.NoError(t, err)
	check(token("b"), []string{})
	require.NoError(t, s.Unbind(psk("kitchen-1"), "", "C1"))
	for _, again := range []bool{false, true} {
		_, ok = s.Reachable(token("b"))
		require.False(t, ok)
		_, ok = s.Access("", "C1")
		require.False(t, ok)
		if !again {
			require.NoError(t, s.Close())
			s, err = Open(devicesFile, bindingsFile, options)
			require.NoError(t, err)
		}
	}
	require.NoError(t, s.Close())
}

// TestB05TokenOfAnother: no two AEs share a token, whoever binds first, in memory, in one write and in the file.
func TestB05TokenOfAnother(t *testing.T) {
	t.Parallel()
	s, _ := open(t, sample, Options{})
	require.NoError(t, s.Bind(psk("kitchen-1"), "", "C1", bridge.Access{Token: token("a")}))
	require.ErrorIs(t, s.Bind(psk("garage 1"), "", "C2", bridge.Access{Token: token("a")}), errTokenUsed)
	require.ErrorIs(t, s.Bind(psk("kitchen-1"), "", "C3", bridge.Access{Token: token("a")}), errTokenUsed)
	_, ok := s.Access("", "C2")
	require.False(t, ok, "nothing was bound")

	var both sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		both.Go(func() {
			errs[i] = s.Bind(psk("garage 1"), "", fmt.Sprintf("CX%d", i), bridge.Access{Token: token("x")})
		})
	}
	both.Wait()
	errs = slices.DeleteFunc(errs, func(err error) bool { return err != nil })
	require.Len(t, errs, 1)

	for _, weak := range []bridge.Access{
		{Token: "short"}, {Token: token("a/")}, {Token: strings.Repeat("a", 65)}, {POA: make([]string, 17)}, {POA: []string{strings.Repeat("a", 513)}},
		{POA: []string{"a\n"}}, {POA: []string{"\xff"}},
	} {
		require.ErrorIs(t, s.Bind(psk("garage 1"), "", "C4", weak), errBadAccess)
	}
}

// TestEachObserved: the devices whose entries name resources to be observed, as a reload leaves them.
func TestEachObserved(t *testing.T) {
	t.Parallel()
	s, file := open(t, sample, Options{DefaultCSE: "main"})
	require.Empty(t, slices.Collect(s.EachObserved()))
	put(t, file, strings.Replace(sample, "profile: plain", "profile: plain\n    observe: [{path: /t}, {path: /u, container: v}]", 1))
	_, err := s.Reload()
	require.NoError(t, err)
	all := slices.Collect(s.EachObserved())
	require.Len(t, all, 1)
	require.Equal(t, []bridge.ObservedPath{{Path: "/t", Container: "t"}, {Path: "/u", Container: "v"}}, all[0].Observe)
}

// TestAccessOfRemoved: a token leads nowhere when its device has no entry, or one for another CSE, and to the device again
// when it has.
func TestAccessOfRemoved(t *testing.T) {
	t.Parallel()
	s, file := open(t, sample, Options{DefaultCSE: "main"})
	require.NoError(t, s.Bind(psk("garage 1"), "", "C1", bridge.Access{Token: token("a")}))
	reachable := func() bool {
		_, byToken := s.Reachable(token("a"))
		_, byAEI := s.Bound("main", "C1")
		require.Equal(t, byToken, byAEI)
		require.Equal(t, byToken, len(slices.Collect(s.EachBound())) == 1)
		return byToken
	}
	put(t, file, strings.Replace(sample, "name: garage", "name: shed", 1))
	_, err := s.Reload()
	require.NoError(t, err)
	require.False(t, reachable(), "an identity can be given to somebody else")
	put(t, file, strings.Replace(sample, "profile: plain", "cse: second", 1))
	_, err = s.Reload()
	require.NoError(t, err)
	require.False(t, reachable(), "of another CSE")
	put(t, file, strings.Replace(sample, `{identity: "garage 1"`, `{identity: "garage 2"`, 1))
	_, err = s.Reload()
	require.NoError(t, err)
	require.True(t, reachable(), "another credential, the same device")
	r, _ := s.Reachable(token("a"))
	require.False(t, s.BelongsToOther(r.Device, "C1"))
}

// TestAccessByName: a device that only a certificate's name tells is found while no session of it was seen, and afterwards.
func TestAccessByName(t *testing.T) {
	t.Parallel()
	s, _ := open(t, sample, Options{DefaultCSE: "main"})
	pump := &dtls.Peer{ID: cert(strings.Repeat("ef", 32)), Certificate: &dtls.PeerCertificate{Names: []dtls.Name{{Type: dtls.NameURI, Value: "urn:example:pump"}}}}
	_, ok := s.Device(pump)
	require.True(t, ok)
	require.NoError(t, s.Bind(pump.ID, "other", "C1", bridge.Access{Token: token("a")}))
	r, ok := s.Reachable(token("a"))
	require.True(t, ok)
	require.Equal(t, "pump", r.Device.Name)
	require.Equal(t, "other", r.CSE)
	require.Equal(t, []string{"C1"}, r.Device.Bound)
	require.False(t, s.BelongsToOther(r.Device, "C1"))
}

// TestAccessInFile: lines with and without what this release adds, the faults, and what is written when the file is written
// anew.
func TestAccessInFile(t *testing.T) {
	t.Parallel()
	line := ofDevice("garage", bindLine("C1", "garage 1"))
	with := func(more string) string { return strings.Replace(line, "}", more+"}", 1) }
	tok := fmt.Sprintf(`,"token":%q`, token("a"))
	cases := []struct{ name, in, want string }{
		{"token of another", bindingsHead + with(tok) + strings.Replace(with(tok), "C1", "C2", 1), ":3: has the token of another line"},
		{"weak token", bindingsHead + with(`,"token":"secret"`), ":2: is no binding"},
		{"unbinds with a token", bindingsHead + line + strings.Replace(with(tok), "bind", "unbind", 1), ":3: is no binding"},
		{"many addresses", bindingsHead + with(`,"poa":["`+strings.Repeat(`","`, 17)+`"]`), ":2: is no binding"},
		{"in the header", `{"version":1` + tok + "}\n", ":1: is no version"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			devicesFile, bindingsFile := folder(t, sample)
			put(t, bindingsFile, c.in)
			_, err := Open(devicesFile, bindingsFile, Options{})
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), token("a"))
			require.NotContains(t, err.Error(), "secret")
		})
	}

	devicesFile, bindingsFile := folder(t, sample)
	update := with(fmt.Sprintf(`,"token":%q,"poa":[]`, token("b")))
	put(t, bindingsFile, bindingsHead+line+with(tok)+update+strings.Repeat(line+update, 2*compactSlack))
	s, err := Open(devicesFile, bindingsFile, Options{})
	require.NoError(t, err)
	require.NoError(t, s.Bind(psk("kitchen-1"), "", "C2", bridge.Access{Token: token("a"), POA: []string{"mqtt://x"}}), "a token that was given up")
	require.NoError(t, s.Close())
	data, err := os.ReadFile(bindingsFile)
	require.NoError(t, err)
	kitchen := ofDevice("kitchen", strings.Replace(bindLine("C2", "kitchen-1"), "}", tok+`,"poa":["mqtt://x"]}`, 1))
	require.Equal(t, bindingsHead+update+kitchen, string(data))
	info, err := os.Stat(bindingsFile)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
}

// TestAccessMoves: a binding that goes to another name or credential takes its token along.
func TestAccessMoves(t *testing.T) {
	t.Parallel()
	s, file := open(t, sample, Options{})
	require.NoError(t, s.Bind(cert(meterID), "", "C1", bridge.Access{Token: token("a"), POA: []string{"x"}}))
	put(t, file, strings.Replace(sample, "name: meter", "name: counter", 1))
	_, err := s.Reload()
	require.NoError(t, err)
	r, ok := s.Reachable(token("a"))
	require.True(t, ok)
	require.Equal(t, "counter", r.Device.Name)
	require.Equal(t, []string{"x"}, r.Access.POA)
}

// TestS46AccessIsNotPrinted: a token gives whoever has it the AE's point of access.
func TestS46AccessIsNotPrinted(t *testing.T) {
	t.Parallel()
	a := bridge.Access{Token: token("a"), POA: []string{token("a")}}
	for _, text := range []string{fmt.Sprint(a), fmt.Sprintf("%+v %#v %s %q %x", a, a, a, a, a), fmt.Sprintf("%+v", bridge.Reachable{Access: a}), a.LogValue().String()} {
		require.NotContains(t, text, "aaaa")
		require.NotContains(t, text, "6161")
	}
}
