package config

import (
	"time"

	"coapbridge/bridge"
	"coapbridge/coap"
	"coapbridge/dtls"
)

// Limits are the limits that an operator may set; a zero value is the default, which stands in the help.
type Limits struct {
	// Sessions (package dtls).
	Sessions            int           `yaml:"sessions" help:"live sessions in all; one that was not used for long gives way (100000)"`
	SessionsPerPeer     int           `yaml:"sessionsPerPeer" help:"live sessions of one credential; the oldest gives way (4)"`
	HalfOpen            int           `yaml:"halfOpen" help:"handshakes in progress; the oldest gives way (4096)"`
	HalfOpenPerPrefix   int           `yaml:"halfOpenPerPrefix" help:"of those, from one IPv4 /24 or IPv6 /56 (2048)"`
	HandshakesPerPrefix int           `yaml:"handshakesPerPrefix" help:"handshakes a second from one such prefix (4000)"`
	FlightTimeout       time.Duration `yaml:"flightTimeout" help:"until a flight of a handshake is sent again; NB-IoT and satellites want 9s (1s)"`
	HandshakeTimeout    time.Duration `yaml:"handshakeTimeout" help:"for a whole handshake (30s)"`
	IdleTimeout         time.Duration `yaml:"idleTimeout" help:"a session without a record from the device ends (2h)"`
	MTU                 int           `yaml:"mtu" help:"bytes of an IP packet, headers included (1280)"`

	// Exchanges (package coap).
	MaxBody          int           `yaml:"maxBody" help:"bytes of a body put together from blocks (65536)"`
	AckDelay         time.Duration `yaml:"ackDelay" help:"until a request gets an empty acknowledgement (1s)"`
	Exchanges        int           `yaml:"exchanges" help:"unanswered requests of one device (64)"`
	Bodies           int           `yaml:"bodies" help:"bodies that one device may have begun (4)"`
	BodyBytesTotal   int           `yaml:"bodyBytesTotal" help:"bytes of all bodies that were begun (67108864)"`
	RecordBytes      int           `yaml:"recordBytes" help:"bytes of one device's remembered messages (2097152)"`
	RecordBytesTotal int           `yaml:"recordBytesTotal" help:"bytes of all remembered messages (268435456)"`
	KeptBytes        int           `yaml:"keptBytes" help:"bytes of one device's answers that wait to be fetched (262144)"`
	KeptBytesTotal   int           `yaml:"keptBytesTotal" help:"bytes of all such answers (67108864)"`
	DownlinkQueue    int           `yaml:"downlinkQueue" help:"requests that wait for one device (64)"`
	RetryAfter       time.Duration `yaml:"retryAfter" help:"when a device that got 5.03 may try again (5s)"`

	// Requests (package bridge).
	Workers               int           `yaml:"workers" help:"requests at the CSEs at once (64)"`
	Queue                 int           `yaml:"queue" help:"requests that wait for a worker (1024)"`
	PerDevice             int           `yaml:"perDevice" help:"requests in progress of one device (8)"`
	MaxPayload            int           `yaml:"maxPayload" help:"bytes of a request's content (65536)"`
	RequestTimeout        time.Duration `yaml:"requestTimeout" help:"for a CSE's answer, where nothing says less (10s)"`
	DownlinkTimeout       time.Duration `yaml:"downlinkTimeout" help:"for a device's answer to a CSE, where nothing says less; slow timings have more (20s)"`
	DownlinkConcurrent    int           `yaml:"downlinkConcurrent" help:"requests of CSEs in progress; beyond it they are told to try later (4096)"`
	DownlinkPerDevice     int           `yaml:"downlinkPerDevice" help:"of those, for one device (16)"`
	DownlinkReplays       int           `yaml:"downlinkReplays" help:"CSEs' requests that are remembered for a minute (65536)"`
	DownlinkReplayBytes   int           `yaml:"downlinkReplayBytes" help:"bytes of devices' answers kept for a CSE's repeat (33554432)"`
	Observations          int           `yaml:"observations" help:"observations of plain devices in all (10000)"`
	ObservationsPerDevice int           `yaml:"observationsPerDevice" help:"of those, of one device (16)"`
	ObservedPerDevice     int           `yaml:"observedPerDevice" help:"resources of one device that the bridge observes (16)"`
	ConfirmEvery          int           `yaml:"confirmEvery" help:"one of so many notifications to an observer is Confirmable (1: all of them)"`
	ConfirmAfter          time.Duration `yaml:"confirmAfter" help:"and the next one after this time, up to 24h (24h)"`
	FreshFor              time.Duration `yaml:"freshFor" help:"how old an actuator's Echo value may be (30s)"`
	ReplayLifetime        time.Duration `yaml:"replayLifetime" help:"how long a changing request is remembered (10m)"`
	ReplayPerDevice       int           `yaml:"replayPerDevice" help:"remembered requests of one credential (16384)"`
	ReplayEntries         int           `yaml:"replayEntries" help:"remembered requests in all, 300 bytes each (500000)"`
	ReplayBytes           int           `yaml:"replayBytes" help:"bytes of one credential's answers kept for a repeat (262144)"`
	ReplayBytesTotal      int           `yaml:"replayBytesTotal" help:"bytes of all answers kept for a repeat (67108864)"`
}

// DTLS returns the limits of package dtls.
func (l Limits) DTLS() dtls.Limits {
	return dtls.Limits{
		Sessions: l.Sessions, SessionsPerPeer: l.SessionsPerPeer, HalfOpen: l.HalfOpen, HalfOpenPerPrefix: l.HalfOpenPerPrefix,
		HandshakesPerPrefix: l.HandshakesPerPrefix, FlightTimeout: l.FlightTimeout, HandshakeTimeout: l.HandshakeTimeout, IdleTimeout: l.IdleTimeout, MTU: l.MTU,
	}
}

// CoAP returns the limits of package coap.
func (l Limits) CoAP() coap.Limits {
	return coap.Limits{
		MaxBody: l.MaxBody, AckDelay: l.AckDelay, MaxExchanges: l.Exchanges, MaxBodies: l.Bodies,
		MaxBodyBytesTotal: l.BodyBytesTotal, MaxRecordBytes: l.RecordBytes, MaxRecordBytesTotal: l.RecordBytesTotal,
		MaxKeptBytes: l.KeptBytes, MaxKeptBytesTotal: l.KeptBytesTotal, MaxQueue: l.DownlinkQueue,
		MaxObservations: l.ObservationsPerDevice, MaxObservationsTotal: l.Observations, MaxObserved: l.ObservedPerDevice, RetryAfter: l.RetryAfter,
	}
}

// Bridge returns the limits of package bridge.
func (l Limits) Bridge() bridge.Limits {
	return bridge.Limits{
		Workers: l.Workers, Queue: l.Queue, PerDevice: l.PerDevice, MaxPayload: l.MaxPayload, RequestTimeout: l.RequestTimeout,
		ReplayLifetime: l.ReplayLifetime, ReplayPerDevice: l.ReplayPerDevice, ReplayEntries: l.ReplayEntries,
		ReplayBytes: l.ReplayBytes, ReplayBytesTotal: l.ReplayBytesTotal,
		DownlinkTimeout: l.DownlinkTimeout, DownlinkConcurrent: l.DownlinkConcurrent, DownlinkPerDevice: l.DownlinkPerDevice,
		DownlinkReplays: l.DownlinkReplays, DownlinkReplayBytes: l.DownlinkReplayBytes,
		Observations: l.ObservationsPerDevice, ObservationsTotal: l.Observations, ConfirmEvery: l.ConfirmEvery,
		ConfirmAfter: l.ConfirmAfter, FreshFor: l.FreshFor,
	}
}

// The defaults and bounds of this package.
const (
	defaultListen   = "[::]:5684" // RFC 7252, Section 12.8: coaps
	defaultDevices  = "devices.yaml"
	defaultBindings = "bindings.jsonl"
	defaultSocket   = "admin.sock"
	defaultLogKey   = "log.key"
	defaultGrace    = 20 * time.Second
	defaultTimeout  = 10 * time.Second
	defaultAnswer   = 1 << 20

	defaultPolls        = 64 // polls at one CSE at once: connections, or streams of one
	defaultPollTimeout  = time.Minute
	maxPolls            = 4096 // more connections to one CSE than that are a slip of the pen
	minPollTimeout      = time.Second
	maxPollTimeout      = 10 * time.Minute
	maxCertificateNames = 64 // names of one CSE: each handshake is compared with them

	maxConfig  = 1 << 20 // bytes of a configuration
	maxPEM     = 1 << 20 // bytes of a certificate or CA file
	maxLimit   = 1 << 30 // no limit is that large: a slip of the pen
	minToken   = 16      // bytes of the admin token
	minMTU     = 576     // what package dtls can work with
	maxMTU     = 1500
	maxAckWait = 1900 * time.Millisecond
	soon       = 30 * 24 * time.Hour // a certificate that ends within it is warned of
)
