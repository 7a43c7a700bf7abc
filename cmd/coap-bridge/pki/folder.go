package pki

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"coapbridge/bridge"
	"coapbridge/bridge/devices"
	"coapbridge/bridge/devices/privatefile"
	"coapbridge/cmd/coap-bridge/config"
	"coapbridge/dtls"
)

// The devices that a new devices file has.
const (
	PSKDevice  = "psk-device"
	CertDevice = "cert-device"
	certURI    = "urn:coap-bridge:cert-device" // subjectAltName of CertDevice
	CallerURI  = "urn:coap-bridge:cse"         // subjectAltName of the CSE's client certificate
)

// Paths are the files of a folder, absolute.
type Paths struct {
	Dir       string
	Config    string // coap-bridge.yaml; "demo" has none
	Devices   string
	Bindings  string
	DeviceCA  config.KeyPair // issues Bridge and Device
	Bridge    config.KeyPair // server certificate, towards devices
	Device    config.KeyPair // of CertDevice
	CSECA     config.KeyPair // issues CSEClient, CSEServer and CSECaller
	CSEClient config.KeyPair // the bridge's client certificate, towards the CSE
	CSEServer config.KeyPair // the CSE's own, for a CSE that has none
	CSECaller config.KeyPair // the CSE's client certificate, towards the bridge, for a CSE that has none
}

// NewPaths returns where things are in a folder.
func NewPaths(dir string) (Paths, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Paths{}, err
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	pair := func(name string) config.KeyPair {
		return config.KeyPair{Chain: at(name + ".crt"), Key: at(name + ".key")}
	}
	return Paths{
		Dir: dir, Config: at("coap-bridge.yaml"), Devices: at("devices.yaml"), Bindings: at("bindings.jsonl"),
		DeviceCA: pair("ca"), Bridge: pair("bridge"), Device: pair(CertDevice),
		CSECA: pair("cse-ca"), CSEClient: pair("cse-client"), CSEServer: pair("cse-server"),
		CSECaller: pair("cse-caller"),
	}, nil
}

// files returns every file that Ensure makes.
func (p Paths) files() []string {
	files := []string{p.Config, p.Devices}
	for _, k := range []config.KeyPair{p.DeviceCA, p.Bridge, p.Device, p.CSECA, p.CSEClient, p.CSEServer, p.CSECaller} {
		files = append(files, k.Chain, k.Key)
	}
	return files
}

// Existing returns which of the files are there already.
func (p Paths) Existing() []string {
	return slices.DeleteFunc(p.files(), func(f string) bool {
		_, err := os.Lstat(f)
		return errors.Is(err, fs.ErrNotExist)
	})
}

// Options of Ensure.
type Options struct {
	Hosts    []string // names of the bridge
	CSEHosts []string // names of the CSE
	CSEURL   string   // for the configuration; "" writes none
	Now      time.Time
}

// Result says what Ensure did.
type Result struct {
	Paths      Paths
	Made, Kept []string    // files
	Identity   string      // of PSKDevice; "" when it is no more in the devices file
	Key        devices.Key // of PSKDevice
}

// maker is one run of Ensure.
type maker struct {
	now    time.Time
	result Result
}

func (m *maker) made(path string) { m.result.Made = append(m.result.Made, path) }
func (m *maker) kept(path string) { m.result.Kept = append(m.result.Kept, path) }

// Ensure makes what is missing in a folder, and the folder (0700): authorities, certificates with their keys, a devices
// file and, where a CSE is named, a configuration. What is there stays; certificates that end soon or lack a name are
// issued again for their keys.
func Ensure(ctx context.Context, dir string, o Options) (*Result, error) {
	paths, err := NewPaths(dir)
	if err != nil {
		return nil, err
	}
	for _, host := range slices.Concat(o.Hosts, o.CSEHosts) {
		if message := CheckHost(host); message != "" {
			return nil, fmt.Errorf("host %q: %s", host, message)
		}
	}
	if err := privatefile.Folder(paths.Dir); err != nil {
		return nil, err
	}
	unlock, err := privatefile.Lock(ctx, filepath.Join(paths.Dir, ".lock"))
	if err != nil {
		return nil, err
	}
	m := &maker{now: o.Now, result: Result{Paths: paths}}
	err = errors.Join(m.run(ctx, o), unlock())
	return &m.result, err
}

func (m *maker) run(ctx context.Context, o Options) error {
	p := m.result.Paths
	ca, err := m.ensureAuthority(p.DeviceCA, "coap-bridge devices")
	if err != nil {
		return err
	}
	cseCA, err := m.ensureAuthority(p.CSECA, "coap-bridge Service Layer")
	if err != nil {
		return err
	}
	leaves := []struct {
		ca   *authority
		at   config.KeyPair
		want wanted
	}{
		{ca, p.Bridge, wanted{name: "coap-bridge", usage: x509.ExtKeyUsageServerAuth, hosts: o.Hosts}},
		{ca, p.Device, wanted{name: CertDevice, usage: x509.ExtKeyUsageClientAuth, uris: []string{certURI}}},
		{cseCA, p.CSEClient, wanted{name: "coap-bridge", usage: x509.ExtKeyUsageClientAuth}},
		{cseCA, p.CSEServer, wanted{name: "CSE", usage: x509.ExtKeyUsageServerAuth, hosts: o.CSEHosts}},
		{cseCA, p.CSECaller, wanted{name: "CSE", usage: x509.ExtKeyUsageClientAuth, uris: []string{CallerURI}}},
	}
	for _, l := range leaves {
		if err := m.ensureLeaf(l.ca, l.at, l.want); err != nil {
			return err
		}
	}
	if err := m.ensureDevices(ctx, p.Devices); err != nil {
		return err
	}
	if o.CSEURL != "" {
		return m.ensureConfig(p, o.CSEURL)
	}
	return nil
}

func (m *maker) ensureDevices(ctx context.Context, file string) error {
	identity, key, err := devices.PSKOf(file, PSKDevice)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		identity, key = PSKDevice, devices.RandomKey()
		err := devices.Add(ctx, file, nil,
			devices.Entry{
				Name: PSKDevice, Profile: devices.Profile(bridge.ProfileAuto), AllowDelete: true, Originators: []string{bridge.DefaultAEID(PSKDevice)},
				PSK: &devices.PSK{Identity: identity, Up: key, Down: devices.RandomKey()},
			},
			devices.Entry{
				Name: CertDevice, AllowDelete: true, Originators: []string{bridge.DefaultAEID(CertDevice)},
				Certificate: &devices.Certificate{SAN: devices.SAN{Type: dtls.NameURI, Value: certURI}},
			})
		if err != nil {
			return err
		}
		m.made(file)
	case errors.Is(err, devices.ErrNotFound): // the operator removed it
		m.kept(file)
	case err != nil:
		return err
	default:
		m.kept(file)
	}
	m.result.Identity, m.result.Key = identity, key
	return nil
}

func (m *maker) ensureConfig(p Paths, cseURL string) error {
	text := config.Sample(config.SampleValues{CSEURL: cseURL})
	switch err := privatefile.Create(p.Config, []byte(text)); {
	case errors.Is(err, fs.ErrExist):
		m.kept(p.Config)
	case err != nil:
		return err
	default:
		m.made(p.Config)
	}
	return nil
}

// EnsureDemo is Ensure for a demonstration on this machine: the names are those of loopback, and there is no
// configuration file.
func EnsureDemo(ctx context.Context, dir string, now time.Time) (*Result, error) {
	return Ensure(ctx, dir, Options{Hosts: LoopbackHosts(), CSEHosts: LoopbackHosts(), Now: now})
}

// LoopbackHosts are the names of this machine for itself.
func LoopbackHosts() []string { return []string{"localhost", "127.0.0.1", "::1"} }

// DefaultHosts are the names of this machine: loopback's and its host name.
func DefaultHosts() []string {
	hosts := LoopbackHosts()
	if name, err := os.Hostname(); err == nil {
		name = strings.ToLower(name)
		if CheckHost(name) == "" && !slices.Contains(hosts, name) {
			hosts = append(hosts, name)
		}
	}
	return hosts
}
