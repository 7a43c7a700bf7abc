package daemon

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"coapbridge/cmd/coap-bridge/admin"
	"coapbridge/cmd/coap-bridge/secret"
)

// expiryWarning is how long before the end of a certificate /readyz begins to warn.
const expiryWarning = 14 * 24 * time.Hour

// openAdmin opens the admin listener of the configuration.
func (d *Daemon) openAdmin() error {
	c := d.options.Config
	collectors := []prometheus.Collector{
		admin.NewDTLSCollector(d.dtls.Stats),
		admin.NewCoAPCollector(d.bridge.CoAPStats),
		admin.NewBridgeCollector(d.bridge.Stats),
		admin.NewCSECollector(d.cse.Stats),
		admin.NewExpiryCollector(func() map[string]time.Time { return maps.Clone(d.keys.current.Load().ends) }),
	}
	if d.downlink != nil {
		collectors = append(collectors, admin.NewDownlinkCollector(d.downlink.Stats))
	}
	if d.poller != nil {
		collectors = append(collectors, admin.NewPollerCollector(d.poller.Stats))
	}
	registry, err := admin.NewRegistry(d.options.Build, collectors...)
	if err != nil {
		return err
	}
	conf := admin.Config{
		Socket: c.Admin.Socket, Listen: c.Admin.Listen, Hosts: c.Admin.Hosts, Checks: d.checks(), Registry: registry, Log: d.log,
	}
	if c.Admin.Listen != "" {
		conf.Socket = ""
		if conf.Token, err = secret.ReadFile(c.Admin.TokenFile); err != nil {
			return err
		}
	}
	if !c.Admin.Certificate.IsZero() {
		conf.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: d.keys.adminServer}
	}
	d.admin, err = admin.New(conf)
	return err
}

// checks are the conditions of /readyz.
func (d *Daemon) checks() []admin.Check {
	checks := []admin.Check{
		{Name: "clock", Probe: func() error {
			if d.clockOK() {
				return nil
			}
			return errors.New("the clock is before the build's date: certificates wait, pre-shared keys work")
		}},
		{Name: "certificates", Probe: d.certificates},
		{Name: "files", Probe: d.reloadState},
	}
	if d.downlink != nil {
		checks = append(checks, admin.Check{Name: "downlink", Probe: d.downlinkState})
	}
	for _, s := range d.options.Config.CSEs {
		checks = append(checks, admin.Check{
			Name:  "cse_" + metricName(s.Name),
			Probe: func() error { return d.cse.Reachable(s.Name) },
		})
	}
	return checks
}

// downlinkState says why no CSE can call any more.
func (d *Daemon) downlinkState() error {
	if text := d.badDownlink.Load(); text != nil {
		return errors.New(*text)
	}
	return nil
}

// certificates reports ours and our CAs when they have ended, and warns when they are about to.
func (d *Daemon) certificates() error {
	now := time.Now()
	var soon error
	for use, end := range d.keys.current.Load().ends {
		switch left := end.Sub(now); {
		case left <= 0:
			return fmt.Errorf("%s ended on %s", use, end.UTC().Format(time.DateOnly))
		case left < expiryWarning:
			soon = admin.Warning{Err: fmt.Errorf("%s ends on %s", use, end.UTC().Format(time.DateOnly))}
		}
	}
	return soon
}

// metricName is a CSE's name in the form of a check's.
func metricName(s string) string {
	b := []byte(s)
	for i, c := range b {
		switch {
		case c >= 'A' && c <= 'Z':
			b[i] = c - 'A' + 'a'
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		default:
			b[i] = '_'
		}
	}
	return string(b)
}
