package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"coapbridge/bridge"
	"coapbridge/bridge/cse"
	"coapbridge/cmd/coap-bridge/config"
	"coapbridge/dtls"
)

// errNotEntry refuses to dial what no entry of the devices file names (S42).
var errNotEntry = errors.New("daemon: no device's entry has this address for this credential")

// dial implements bridge.Config.Dial. The DTLS endpoint is there before the bridge serves.
func (d *Daemon) dial(ctx context.Context, to netip.AddrPort, id dtls.PeerID) (*dtls.Conn, error) {
	if !d.devices.Dials(to, id) { // whatever led here
		return nil, errNotEntry
	}
	return d.dtls.Dial(ctx, to, id)
}

// poller returns what bridge.Config.Poller is: nil where no CSE is polled.
func (d *Daemon) newPoller() bridge.Poller {
	for _, s := range d.options.Config.CSEs {
		if s.Downlink.Mode == config.DownlinkPoll {
			d.poller = cse.NewPoller(cse.PollerConfig{Client: d.cse, Timeout: bridge.MaxPatience(0), Log: d.log})
			return d.poller
		}
	}
	return nil
}

// openDownlink takes the addresses at which CSEs call the bridge, so that the point of access is known.
func (d *Daemon) openDownlink() error {
	var lc net.ListenConfig
	for _, a := range d.options.Config.Downlink.Listen {
		l, err := lc.Listen(context.Background(), "tcp", a)
		if err != nil {
			return explainListen("TCP", a, "downlink.listen", err)
		}
		d.listeners = append(d.listeners, l)
	}
	return nil
}

// pointOfAccess is the URL that CSEs are told, without a slash at its end. Port 0 in the configuration stands for that of
// the first listener.
func (d *Daemon) pointOfAccess() (string, error) {
	c := d.options.Config
	if !c.Listens() {
		return "", nil
	}
	u, err := url.Parse(c.Downlink.URL)
	if err != nil {
		return "", fmt.Errorf("daemon: downlink.url: %w", err)
	}
	if a, ok := d.listeners[0].Addr().(*net.TCPAddr); ok && u.Port() == "0" {
		u.Host = net.JoinHostPort(u.Hostname(), strconv.Itoa(a.Port))
	}
	return strings.TrimSuffix(u.String(), "/"), nil
}

// newDownlink makes the server of CSEs' requests; nil where none may call.
func (d *Daemon) newDownlink() error {
	c := d.options.Config
	conf := cse.DownlinkConfig{
		Deliver: d.bridge, Log: d.log, Certificate: d.keys.identity(func(k *keys) tls.Certificate { return k.downlink }),
		Timeout: bridge.MaxPatience(0), // the bridge knows the device, and ends a request before
	}
	for i := range c.CSEs {
		s := &c.CSEs[i]
		if s.Downlink.Mode != config.DownlinkListen {
			continue
		}
		quirks := cse.CSE{}
		quirks.Apply(s.Quirks...) // config.Load names those that are unknown
		one := cse.DownlinkCSE{Name: s.Name, CA: d.keys.current.Load().cses[s.Name].callers, NoToken: quirks.NoToken}
		for _, name := range s.Downlink.Certificates {
			one.Certificates = append(one.Certificates, string(name))
		}
		conf.CSEs = append(conf.CSEs, one)
	}
	if len(conf.CSEs) == 0 || len(d.listeners) == 0 {
		d.closeListeners() // nobody would be let in
		return nil
	}
	var err error
	d.downlink, err = cse.NewDownlink(conf, d.listeners...)
	return err
}

func (d *Daemon) closeListeners() {
	for _, l := range d.listeners {
		_ = l.Close()
	}
	d.listeners = nil
}

// DownlinkAddresses are the TCP addresses that CSEs reach the bridge at; none where they can't.
func (d *Daemon) DownlinkAddresses() []netip.AddrPort {
	var out []netip.AddrPort
	for _, l := range d.listeners {
		if a, ok := l.Addr().(*net.TCPAddr); ok {
			out = append(out, a.AddrPort())
		}
	}
	return out
}

// serveDownlink begins to take requests of CSEs. /readyz shows when that has ended.
func (d *Daemon) serveDownlink() {
	if d.downlink != nil {
		d.serve("downlink", func() error {
			err := d.downlink.Serve()
			note(&d.badDownlink, err)
			return err
		})
	}
	if d.poller != nil {
		d.serve("poller", func() error { return d.poller.Serve(d.bridge) })
	}
}

// stopDownlink takes no more requests of CSEs, and lets those under way end for half of the time that ctx leaves: the other half
// is for the devices' requests and for the bridge's own, which a device that is silent must not take.
func (d *Daemon) stopDownlink(ctx context.Context) error {
	if end, limited := ctx.Deadline(); limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/2)
		defer cancel()
	}
	ends := make(chan error, 2)
	n := 0
	if d.downlink != nil {
		n++
		go func() { ends <- d.downlink.Shutdown(ctx) }()
	}
	if d.poller != nil {
		n++
		go func() { ends <- d.poller.Shutdown(ctx) }()
	}
	var errs []error
	for range n {
		errs = append(errs, <-ends)
	}
	return errors.Join(errs...)
}
