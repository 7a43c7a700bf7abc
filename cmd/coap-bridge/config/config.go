// Package config reads the configuration of the bridge: one YAML file, decoded strictly, with overrides by a closed set
// of environment variables, and the files that it names. Every fault is found at once, each with file, line, field and
// remedy, so that a start fails once and not ten times.
//
// Its values are plain; nothing is changed after Load returned it, and then everything may be read concurrently. It opens
// no socket and reads no pre-shared key (package devices does).
package config

import (
	"time"

	"coapbridge/bridge/devices/strictyaml"
)

// Problem is one fault, with file, line, field and remedy.
type Problem = strictyaml.Problem

// Invalid is an error of UnmarshalText, with a remedy.
type Invalid = strictyaml.Invalid

// Problems are all faults of a configuration; Load returns them as its error.
type Problems = strictyaml.Problems

// Config is a configuration whose paths are absolute and whose defaults are filled in.
type Config struct {
	Version int `yaml:"version"` // 1
	// Listen are the UDP addresses for devices (default [::]:5684, IPv6 and IPv4).
	Listen []string `yaml:"listen"`
	// Hosts are the names by which devices may call the bridge (Uri-Host). Empty: the names in its certificate.
	Hosts []string `yaml:"hosts"`
	// Certificate is what devices see. Without it only pre-shared keys can be used.
	Certificate KeyPair `yaml:"certificate"`
	// ClientCA is a PEM file with the CAs of the devices' certificates. Without it no certificate is taken.
	ClientCA string `yaml:"clientCA"`
	Devices  string `yaml:"devices"`  // the devices file (default devices.yaml)
	Bindings string `yaml:"bindings"` // the bindings file (default bindings.jsonl beside the devices file)
	CSEs     []CSE  `yaml:"cses"`
	// Downlink is where CSEs call the bridge.
	Downlink Downlink `yaml:"downlink"`
	Limits   Limits   `yaml:"limits"`
	Admin    Admin    `yaml:"admin"`
	Log      Log      `yaml:"log"`
	// ShutdownGrace is how long SIGTERM waits for requests in progress (default 20 s).
	ShutdownGrace time.Duration `yaml:"shutdownGrace"`

	File     string   `yaml:"-"` // the configuration's own path, absolute
	Warnings Problems `yaml:"-"` // what doesn't stop the start
}

// KeyPair names a certificate chain (PEM, leaf first) and its private key (PEM, PKCS #8 or SEC 1; mode 0600).
type KeyPair struct {
	Chain string `yaml:"chain"`
	Key   string `yaml:"key"`
}

// IsZero reports whether no certificate is named.
func (k KeyPair) IsZero() bool { return k == KeyPair{} }

// CSE is one Service Layer.
type CSE struct {
	Name    string `yaml:"name"` // unique; devices name it
	URL     string `yaml:"url"`  // https://host[:port]
	Default bool   `yaml:"default"`
	// CA is a PEM file with the only CAs that the CSE's certificate may come from.
	CA string `yaml:"ca"`
	// Certificate and Key are the bridge's client certificate.
	Certificate string            `yaml:"certificate"`
	Key         string            `yaml:"key"`
	Clients     map[string]Client `yaml:"clients"` // further client certificates, by name
	// ServerName is the name in the CSE's certificate, where it isn't the URL's host.
	ServerName string `yaml:"serverName"`
	CSEID      string `yaml:"cseID"`   // SP-relative, "/id-in"
	CSEBase    string `yaml:"cseBase"` // resource name of the CSEBase, "cse-in"
	// Identity is who the bridge is for the CSE: shared (the default), mnCSE or perDevice.
	Identity Identity `yaml:"identity"`
	// BridgeID is the bridge's own CSE-ID, "/mn-1", with identity mnCSE.
	BridgeID string `yaml:"bridgeID"`
	SP       string `yaml:"sp"` // service provider's FQDN, to recognise Absolute addresses
	// Timeout is for an answer where the request says less (default 10 s).
	Timeout   time.Duration `yaml:"timeout"`
	MaxAnswer int           `yaml:"maxAnswer"` // bytes of an answer's content (default 1 MiB)
	// Deduplicates says that the CSE recognises a repeated Request Identifier, so that a request may be sent again.
	Deduplicates bool     `yaml:"deduplicates"`
	Quirks       []string `yaml:"quirks"` // deviations that this CSE needs
	// Downlink says how the CSE's own requests, such as notifications, come.
	Downlink CSEDownlink `yaml:"downlink"`
}

// Identity is how a CSE tells devices apart behind the bridge (TS-0003, 8.2.1).
type Identity string

// The identities. IdentityShared: one certificate, for which the CSE holds a list of AE-IDs or checks none.
// IdentityMNCSE: the bridge is a CSE, and Originators go up in their SP-relative form. IdentityPerDevice: a certificate and
// a TLS connection for each device.
const (
	IdentityShared    Identity = "shared"
	IdentityMNCSE     Identity = "mnCSE"
	IdentityPerDevice Identity = "perDevice"
)

// Client is a further client certificate for a CSE.
type Client struct {
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
}

// Admin is the admin listener (S51): a Unix socket, or TCP with a token.
type Admin struct {
	// Socket defaults to admin.sock, in $RUNTIME_DIRECTORY where systemd sets it, else beside the configuration.
	Socket      string   `yaml:"socket"`
	Listen      string   `yaml:"listen"`    // host:port, instead of a socket
	TokenFile   string   `yaml:"tokenFile"` // bearer token, 16 bytes or more; mode 0600
	Certificate KeyPair  `yaml:"certificate"`
	Hosts       []string `yaml:"hosts"` // names by which clients may call it, besides the listener's own
}

// Log says what is logged and how.
type Log struct {
	Level  string `yaml:"level"`  // debug, info (the default), warn, error
	Format string `yaml:"format"` // auto (the default), text, json
	// KeyFile holds the key of the devices' pseudonyms; it is made when it is missing (default log.key).
	KeyFile string `yaml:"keyFile"`
}
