// Package daemon puts the parts of the bridge together and keeps them running: sockets, DTLS, the bridge, the CSEs, the
// devices file, and the admin listener. The commands run and demo start it.
//
// Start begins everything or nothing. A Daemon's methods are safe for concurrent use; Shutdown ends every goroutine that
// Start began. What can change while it runs (Reload) is what an operator must be able to change without losing a session:
// devices, our certificates, the CAs of devices, and the log level.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"coapbridge/bridge"
	"coapbridge/bridge/cse"
	"coapbridge/bridge/devices"
	"coapbridge/cmd/coap-bridge/admin"
	"coapbridge/cmd/coap-bridge/config"
	"coapbridge/dtls"
)

// Options of Start.
type Options struct {
	Config    *config.Config // loaded and checked
	Log       *slog.Logger
	Level     *slog.LevelVar                 // the Log's level, changed by Reload; nil: it stays
	Pseudonym func(dtls.PeerID) string       // names devices in the log
	Build     admin.Build                    // Build.Date: before it a clock can't be right
	Load      func() (*config.Config, error) // reads the configuration again, for Reload; nil: only the devices are
}

// Daemon is a running bridge.
type Daemon struct {
	options Options
	log     *slog.Logger
	devices *devices.Store
	keys    *keyring
	cse     *cse.Client
	bridge  *bridge.Bridge
	dtls    *dtls.Endpoint
	admin   *admin.Server
	sockets []net.PacketConn

	downlink  *cse.Downlink  // nil where no CSE may call
	poller    *cse.Poller    // nil where no CSE is polled
	listeners []net.Listener // of downlink

	stopWatch  context.CancelFunc
	running    sync.WaitGroup
	failed     chan error
	reloading  sync.Mutex
	badFiles   atomic.Pointer[string] // why the last Reload kept the old state; nil when it did not
	badDevices atomic.Pointer[string] // the same of the devices file

	badDownlink atomic.Pointer[string] // why no CSE can call any more
}

// Start binds the sockets and starts to serve. After an error nothing runs and nothing is bound.
func Start(o Options) (*Daemon, error) {
	d := &Daemon{options: o, log: o.Log, failed: make(chan error, 4)}
	if err := d.build(); err != nil {
		d.release()
		return nil, err
	}
	d.serve("dtls", d.dtls.Serve)
	d.serve("bridge", d.bridge.Serve)
	d.serveDownlink()
	if d.admin != nil {
		d.serve("admin", d.admin.Serve)
	}
	watch, stop := context.WithCancel(context.Background())
	d.stopWatch = stop
	d.serve("devices", func() error { return d.devices.Watch(watch, d.devicesChanged) })
	d.serve("memory", func() error {
		keepMemory(watch)
		return nil
	})
	return d, nil
}

// serve runs f until Shutdown. An error of f is the Daemon's.
func (d *Daemon) serve(name string, f func() error) {
	d.running.Go(func() {
		if err := f(); err != nil {
			select {
			case d.failed <- fmt.Errorf("%s: %w", name, err):
			default:
			}
		}
	})
}

// build makes the parts, from the disk upwards to the socket.
func (d *Daemon) build() error {
	c := d.options.Config
	var err error
	if d.keys, err = newKeyring(c); err != nil {
		return err
	}
	d.devices, err = devices.Open(c.Devices, c.Bindings, devices.Options{
		CSEs: c.DeviceCSEs(), DefaultCSE: c.DefaultCSE().Name, Logger: d.log,
	})
	if err != nil {
		return err
	}
	upstreams, err := d.keys.upstreams(c)
	if err != nil {
		return err
	}
	if d.cse, err = cse.New(upstreams); err != nil {
		return err
	}
	if err := d.openDownlink(); err != nil {
		return err
	}
	poa, err := d.pointOfAccess()
	if err != nil {
		return err
	}
	d.bridge, err = bridge.New(bridge.Config{
		Directory: d.devices, ServiceLayer: d.cse, CSEs: addresses(c, poa), Hosts: d.keys.host, Limits: c.Limits.Bridge(),
		CoAP: c.Limits.CoAP(), Dial: d.dial, Poller: d.newPoller(), Log: d.log, Pseudonym: d.options.Pseudonym,
	})
	if err != nil {
		return err
	}
	return d.buildEdges()
}

// buildEdges makes the parts that hand something to the bridge.
func (d *Daemon) buildEdges() error {
	c := d.options.Config
	var err error
	if err = d.newDownlink(); err != nil {
		return err
	}
	if d.sockets, err = listen(c.Listen); err != nil {
		return err
	}
	conf := &dtls.Config{
		PSK: d.devices.PSK, PSKInMemory: true, Handler: d.bridge, Limits: c.Limits.DTLS(), Log: d.log, Pseudonym: d.options.Pseudonym, ClockOK: d.clockOK,
		Verify: d.verify, Policy: d.policy,
	}
	if !c.Certificate.IsZero() {
		conf.Certificate = d.keys.server
	}
	if d.dtls, err = dtls.New(conf, d.sockets...); err != nil {
		return err
	}
	return d.openAdmin()
}

// release gives back what build took before it failed.
func (d *Daemon) release() {
	for _, s := range d.sockets {
		_ = s.Close()
	}
	d.closeListeners()
	if d.cse != nil {
		_ = d.cse.Close()
	}
	if d.devices != nil {
		_ = d.devices.Close()
	}
}

// addresses is what package bridge must know of the CSEs.
func addresses(c *config.Config, poa string) []bridge.CSE {
	var out []bridge.CSE
	for _, s := range c.CSEs {
		out = append(out, bridge.CSE{
			Name: s.Name, ID: s.CSEID, SP: s.SP, Base: s.CSEBase, Default: s.Default, Timeout: s.Timeout, As: s.BridgeID,
			Downlink: s.Downlink.Mode.Bridge(), POA: poa,
		})
	}
	return out
}

// Addresses are the UDP addresses that devices reach the bridge at.
func (d *Daemon) Addresses() []netip.AddrPort {
	var out []netip.AddrPort
	for _, s := range d.sockets {
		if a, ok := s.LocalAddr().(*net.UDPAddr); ok {
			out = append(out, a.AddrPort())
		}
	}
	return out
}

// Failed delivers the error that ended one of the parts; the Daemon is to be shut down then.
func (d *Daemon) Failed() <-chan error { return d.failed }

// clockOK reports whether the clock can be believed: a gateway starts without one, and certificates are not judged before
// the build's own date.
func (d *Daemon) clockOK() bool { return !time.Now().Before(d.options.Build.Date) }

// Shutdown drains: no new request is taken, from CSEs first, those in progress end until ctx does, then the sessions are closed with a
// close_notify. It returns ctx's error when requests had to be cut short.
func (d *Daemon) Shutdown(ctx context.Context) error {
	d.stopWatch()
	errs := []error{d.stopDownlink(ctx), d.bridge.Shutdown(ctx)}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime) // the devices are told even when ctx is over
	defer cancel()
	errs = append(errs, d.dtls.Shutdown(last))
	if d.admin != nil {
		errs = append(errs, d.admin.Shutdown(last))
	}
	d.running.Wait()
	errs = append(errs, d.cse.Close(), d.devices.Close())
	return errors.Join(errs...)
}

// closeTime is how long Shutdown gives to close_notify alerts and to the admin listener.
const closeTime = 2 * time.Second
