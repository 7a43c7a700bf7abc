package devices

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge"
	"coapbridge/dtls"
)

const reachable = `version: 1
devices:
  - name: lamp
    psk: {identity: lamp-1, up: "hex:000102030405060708090a0b0c0d0e0f", down: "hex:f00102030405060708090a0b0c0d0e0f"}
    profile: plain
    address: "192.0.2.7:5684"
    actuator: true
    timing: nbiot
    observe:
      - {path: /room/temp, container: heat}
      - path: /state
  - name: meter
    certificate: {fingerprint: ` + meterID + `}
    address: "[2001:db8::7]:5684"
    timing: satellite
  - name: pump
    certificate: {san: "uri:urn:example:pump"}
    address: "[::ffff:192.0.2.9]:7000"
`

func TestReach(t *testing.T) {
	t.Parallel()
	s, _ := open(t, reachable, Options{})
	require.Empty(t, s.Warnings())
	lamp, _ := s.Device(&dtls.Peer{ID: psk("lamp-1")})
	require.Equal(t, netip.MustParseAddrPort("192.0.2.7:5684"), lamp.Address)
	require.Equal(t, psk("lamp-1"), lamp.DialID)
	require.True(t, lamp.Actuator)
	require.Equal(t, bridge.TimingNBIoT, lamp.Timing)
	require.Equal(t, []bridge.ObservedPath{{Path: "/room/temp", Container: "heat"}, {Path: "/state", Container: "state"}}, lamp.Observe)
	require.Equal(t, bridge.TimingNBIoT, s.Timing(psk("lamp-1")))
	require.Equal(t, bridge.TimingDefault, s.Timing(psk("nobody")))
	meter, _ := s.Device(&dtls.Peer{ID: cert(meterID)})
	require.Equal(t, netip.MustParseAddrPort("[2001:db8::7]:5684"), meter.Address)
	require.Equal(t, cert(meterID), meter.DialID)
	require.Equal(t, bridge.TimingSatellite, meter.Timing)
	for to, id := range map[string]dtls.PeerID{"192.0.2.7:5684": psk("lamp-1"), "[2001:db8::7]:5684": cert(meterID), "192.0.2.9:7000": cert("")} {
		require.True(t, s.Dials(netip.MustParseAddrPort(to), id))
		require.False(t, s.Dials(netip.MustParseAddrPort(to), psk("meter")), "S42: somebody else")
	}
	require.False(t, s.Dials(netip.MustParseAddrPort("192.0.2.7:5683"), psk("lamp-1")), "S42: another port")
	require.False(t, s.Dials(netip.AddrPort{}, dtls.PeerID{}))
	pump, _ := s.Device(&dtls.Peer{ID: cert(strings.Repeat("ef", 32)), Certificate: &dtls.PeerCertificate{Names: []dtls.Name{{Type: dtls.NameURI, Value: "urn:example:pump"}}}})
	require.Equal(t, netip.MustParseAddrPort("192.0.2.9:7000"), pump.Address)
	require.Equal(t, dtls.PeerID{Kind: dtls.KindCertificate}, pump.DialID)
}

// TestS42Addresses: an entry says where one device is, and nothing is resolved for it.
func TestS42Addresses(t *testing.T) {
	t.Parallel()
	file := func(credential, more string) string {
		return "version: 1\ndevices:\n  - name: a\n    " + credential + "\n    " + more + "\n"
	}
	const two = `psk: {identity: a, up: "hex:000102030405060708090a0b0c0d0e0f", down: "hex:f00102030405060708090a0b0c0d0e0f"}`
	const one = `psk: {identity: a, up: "hex:000102030405060708090a0b0c0d0e0f"}`
	const raw = `rawPublicKey: ` + meterID
	cases := []struct{ name, in, problem, warning string }{
		{"name", file(two, "address: device.example:5684"), "devices.yaml:5: devices[0].address: is no address of a device; write an IP address and a port", ""},
		{"no port", file(two, "address: 192.0.2.7"), "is no address of a device", ""},
		{"port 0", file(two, `address: "192.0.2.7:0"`), "has port 0", ""},
		{"service name", file(two, `address: "192.0.2.7:coaps"`), "is no address of a device", ""},
		{"unspecified", file(two, `address: "0.0.0.0:5684"`), "is no address of one device", ""},
		{"unspecified 6", file(two, `address: "[::]:5684"`), "is no address of one device", ""},
		{"multicast", file(two, `address: "224.0.1.187:5684"`), "is no address of one device", ""},
		{"multicast 6", file(two, `address: "[ff02::fd]:5684"`), "is no address of one device", ""},
		{"multicast in 6", file(two, `address: "[::ffff:224.0.1.187]:5684"`), "is no address of one device", ""},
		{"broadcast", file(two, `address: "255.255.255.255:5684"`), "is no address of one device", ""},
		{"link-local without zone", file(two, `address: "[fe80::1]:5684"`), "names no interface", ""},
		{"raw key", file(raw, `address: "192.0.2.7:5684"`), "address: needs a credential by which", ""},
		{"loopback", file(two, `address: "127.0.0.1:5684"`), "", "address: is this machine itself"},
		{"link-local", file(two, `address: "[fe80::1%eth0]:5684"`), "", "address: is link-local"},
		{"metadata", file(two, `address: "169.254.169.254:80"`), "", "address: is link-local"},
		{"one key", file(one, `address: "192.0.2.7:5684"`), "", "address: is dialled with the key that the device dials with too"},
		{"timing", file(two, "timing: slow"), `"slow" is no timing; write default, lan, nbiot or satellite`, ""},
		{"actuator", file(two, "actuator: yes"), "actuator: ", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path, _ := folder(t, c.in)
			problems, warnings := Check(path, nil)
			require.Equal(t, c.problem != "", len(problems) == 1, "%v", problems)
			require.Equal(t, c.warning != "", len(warnings) == 1, "%v", warnings)
			if c.problem != "" {
				require.ErrorContains(t, problems, c.problem)
			} else {
				require.ErrorContains(t, warnings, c.warning)
			}
		})
	}
	path, _ := folder(t, reachable+fmt.Sprintf("  - name: b\n    %s\n    address: \"192.0.2.7:5684\"\n", strings.ReplaceAll(two, "hex:", "hex:aa")))
	problems, _ := Check(path, nil)
	require.ErrorContains(t, problems, "devices.yaml:19: devices[3].address: is the address of the device on line 3 already; give each device an address of its own")
	require.Len(t, problems, 1)
}

func TestObserveFaults(t *testing.T) {
	t.Parallel()
	file := func(more string) string {
		return "version: 1\ndevices:\n  - name: a\n    rawPublicKey: " + meterID + "\n    " + more + "\n"
	}
	cases := []struct{ name, in, want string }{
		{"profile", file("observe: [{path: /a}]"), "devices.yaml:5: devices[0].observe: is for devices of the plain profile; write profile: plain"},
		{"entity", file("profile: plain\n    entity: true\n    observe: [{path: /a}]"), "observe: is not for a network entity"},
		{"no path", file("profile: plain\n    observe: [{container: a}]"), "observe[0].path: is missing"},
		{"relative", file("profile: plain\n    observe: [{path: a}]"), "observe[0].path: is no path of a resource"},
		{"query", file(`profile: plain` + "\n    " + `observe: [{path: "/a?b"}]`), "observe[0].path: is no path"},
		{"dots", file("profile: plain\n    observe: [{path: /a/../b}]"), "observe[0].path: is no path"},
		{"root", file("profile: plain\n    observe: [{path: /}]"), "observe[0].path: is no path"},
		{"virtual", file("profile: plain\n    observe: [{path: /a, container: a/la}]"), "observe[0].container: is no name of a container"},
		{"deep", file("profile: plain\n    observe: [{path: /a/a/a/a/a/a/a/a/a}]"), "observe[0].path: is no path"},
		{"long", file("profile: plain\n    observe: [{path: /" + strings.Repeat("a", 256) + "}]"), "observe[0].path: is no path"},
		{"twice", file("profile: plain\n    observe: [{path: /a}, {path: /a, container: b}]"), "observe[1].path: stands there twice"},
		{"many", file("profile: plain\n    observe: [" + strings.Repeat("{path: /a},", 16) + "{path: /a}]"), "observe: has 17 members; write up to 16"},
		{"unknown", file("profile: plain\n    observe: [{paths: /a, path: /b}]"), `observe[0].paths: unknown field; did you mean "path"?`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path, _ := folder(t, c.in)
			problems, _ := Check(path, nil)
			require.ErrorContains(t, problems, c.want)
			require.Len(t, problems, 1)
		})
	}
}

// TestReachIsKept: what Add writes is what was added, and what a session took at its start ends it.
func TestReachIsKept(t *testing.T) {
	t.Parallel()
	file, _ := folder(t, "version: 1\ndevices:\n")
	var address Address
	require.NoError(t, address.UnmarshalText([]byte("[2001:db8::7]:5684")))
	e := Entry{
		Name: "lamp", PSK: &PSK{Identity: "lamp", Up: RandomKey(), Down: RandomKey()}, Profile: Profile(bridge.ProfilePlain), Address: address,
		Actuator: true, Timing: Timing(bridge.TimingLAN), Observe: []Observed{{Path: "/a b/c"}, {Path: "/true", Container: "x: y"}},
	}
	require.NoError(t, Add(t.Context(), file, nil, e))
	items, _, problems, warnings := load(file, nil, nil)
	require.Empty(t, problems)
	require.Empty(t, warnings)
	got := items[0].entry
	require.Equal(t, e.Address, got.Address)
	require.Equal(t, e.Timing, got.Timing)
	require.Equal(t, e.Observe, got.Observe)
	require.True(t, got.Actuator)
	list, _, err := List(file)
	require.NoError(t, err)
	require.Equal(t, "[2001:db8::7]:5684", list[0].Address)
	require.Equal(t, "lan", list[0].Timing)
	require.Equal(t, []string{"/a b/c", "/true=x: y"}, list[0].Observe)
	require.True(t, list[0].Actuator)

	s, file := open(t, reachable, Options{})
	lamp, meter := &dtls.Peer{ID: psk("lamp-1")}, &dtls.Peer{ID: cert(meterID)}
	for _, edit := range []struct {
		was, is string
		ends    bool
	}{
		{"timing: nbiot", "timing: lan", true}, {"path: /state", "path: /other", true},
		{"192.0.2.7", "192.0.2.8", false}, {"actuator: true", "actuator: false", false},
	} {
		put(t, file, strings.Replace(reachable, edit.was, edit.is, 1))
		change, err := s.Reload()
		require.NoError(t, err)
		require.Equal(t, []string{"lamp"}, change.Changed)
		require.Equal(t, edit.ends, change.Ended(lamp), edit.is)
		require.False(t, change.Ended(meter))
		put(t, file, reachable)
		_, err = s.Reload()
		require.NoError(t, err)
	}
}
