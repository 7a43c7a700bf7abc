package daemon

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync/atomic"

	"coapbridge/bridge/devices"
	"coapbridge/cmd/coap-bridge/config"
	"coapbridge/cmd/coap-bridge/logging"
	"coapbridge/dtls"
)

// Reload reads the devices file, the log level, and the files of the running configuration again: our certificates with
// their keys, and the devices' CAs. Sessions whose credential was withdrawn, or whose certificate leads to none of the CAs
// any more, end; all others go on. With a fault in any file, also in one that only a restart would take up, the old state
// stays, whole, and the error says what is wrong.
func (d *Daemon) Reload() error {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	err := d.reloadLocked()
	if d.devicesFault(err) {
		note(&d.badFiles, nil)
		note(&d.badDevices, err)
		return err
	}
	note(&d.badFiles, err)
	if err == nil {
		note(&d.badDevices, nil)
	}
	return err
}

func (d *Daemon) reloadLocked() error {
	next := d.options.Config
	if d.options.Load != nil {
		var err error
		if next, err = d.options.Load(); err != nil {
			return err
		}
	}
	was := d.keys.current.Load()
	// The paths are those of the start: what a change of a path would need besides it takes a restart.
	k, err := loadKeys(d.options.Config)
	if err != nil {
		return err
	}
	change, err := d.devices.Reload()
	if err != nil {
		return err
	}
	restart := needRestart(d.options.Config, next)
	if k.keepCSECAs(was) {
		restart = append(restart, "cses[].ca")
	}
	d.keys.current.Store(k)
	d.cse.Renew()
	if d.downlink != nil {
		d.downlink.Renew()
	}
	if level, err := logging.ParseLevel(next.Log.Level); err == nil && d.options.Level != nil {
		d.options.Level.Set(level)
	}
	d.apply(change)
	d.untrusted(!k.clientCA.Equal(was.clientCA))
	if len(restart) > 0 {
		d.log.Warn("configuration changed where only a restart takes it up", "fields", restart)
	}
	return nil
}

// devicesChanged follows a change of the devices file that nobody announced with SIGHUP.
func (d *Daemon) devicesChanged(change *devices.Change, err error) {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	note(&d.badDevices, err)
	if err != nil {
		d.log.Error("devices file not taken, the old one stays", "err", err)
		return
	}
	d.apply(change)
}

// apply ends the sessions that a new devices file no longer allows.
func (d *Daemon) apply(change *devices.Change) {
	if change.Empty() {
		return
	}
	ended := d.dtls.CloseWhere(change.Ended, dtls.ReasonRevoked)
	d.log.Info("devices changed", "added", len(change.Added), "removed", len(change.Removed),
		"changed", len(change.Changed), slog.Int("sessions_ended", ended))
}

// untrusted ends the sessions of certificates that no entry admits any more, or, with other CAs than before, whose own is not
// among them. A device whose certificate another of them issued as well makes a new session.
func (d *Daemon) untrusted(otherCAs bool) {
	judged := map[*x509.Certificate]bool{} // there are as many as CAs
	trusted := func(anchor *x509.Certificate) bool {
		ok, known := judged[anchor]
		if !known {
			ok = d.anchored(anchor)
			judged[anchor] = ok
		}
		return ok
	}
	ended := d.dtls.CloseWhere(func(p *dtls.Peer) bool {
		if p.Certificate == nil {
			return false
		}
		return !d.devices.Admits(p.ID, p.Names()) || otherCAs && !trusted(p.Certificate.Anchor)
	}, dtls.ReasonRevoked)
	if ended > 0 {
		d.log.Info("sessions ended, their certificates are no longer trusted", "sessions_ended", ended)
	}
}

// devicesFault reports whether err is of the devices file alone, so that a correction of it, which Watch sees, is the end
// of it.
func (d *Daemon) devicesFault(err error) bool {
	var problems config.Problems
	if !errors.As(err, &problems) {
		return false
	}
	return !slices.ContainsFunc(problems, func(p config.Problem) bool { return p.File != d.options.Config.Devices })
}

// note remembers for /readyz whether files and what runs agree.
func note(at *atomic.Pointer[string], err error) {
	if err == nil {
		at.Store(nil)
		return
	}
	text := err.Error()
	at.Store(&text)
}

// needRestart names the fields that differ and that Reload leaves as they were.
func needRestart(was, now *config.Config) []string {
	var fields []string
	a, b := *was, *now
	// This is taken up. Of the files that others name the content is, and the paths are fixed.
	a.Log.Level, b.Log.Level = "", ""
	a.Warnings, b.Warnings = nil, nil
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range x.NumField() {
		if !reflect.DeepEqual(x.Field(i).Interface(), y.Field(i).Interface()) {
			fields = append(fields, x.Type().Field(i).Tag.Get("yaml"))
		}
	}
	return fields
}

// reloadState is the check of /readyz.
func (d *Daemon) reloadState() error {
	var errs []error
	for _, text := range []*string{d.badFiles.Load(), d.badDevices.Load()} {
		if text != nil {
			errs = append(errs, fmt.Errorf("the last reload failed and the old state stays: %w", errors.New(*text)))
		}
	}
	return errors.Join(errs...)
}
