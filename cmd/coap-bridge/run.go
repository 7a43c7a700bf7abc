package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"coapbridge/cmd/coap-bridge/admin"
	"coapbridge/cmd/coap-bridge/config"
	"coapbridge/cmd/coap-bridge/daemon"
	"coapbridge/cmd/coap-bridge/logging"
)

func newRunCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the bridge",
		Long: `Run the bridge in the foreground, as a service manager wants it.

The configuration, the devices file and every file that they name are checked before a socket is opened; all faults are
printed at once, each with its file, line, field and remedy, and the exit code is 1.

Signals:
  SIGTERM, SIGINT  drain: no new request is taken, those in progress are answered, the devices get a close_notify. What is
                   not done after shutdownGrace is cut short, and so is everything at a second SIGTERM or SIGINT.
  SIGHUP           read again: the devices file, log.level, and the files that certificate, clientCA, admin.certificate and the
                   certificates and keys of the CSEs name; with them the names in Uri-Host, where hosts is not set. All else
                   takes a restart, also another path, and a CSE's ca; a warning names what differs. With a fault in any file
                   everything stays as it was. Sessions whose credential was withdrawn, or whose certificate leads to none of
                   the CAs any more, end.

The devices file is also watched: "coap-bridge device" changes take effect within a second without a signal.

Logs go to standard error, as text on a terminal and as JSON elsewhere. Metrics, /healthz and /readyz are on the admin
socket (admin.socket). Under systemd use Type=notify-reload.`,
		Example: "  coap-bridge run --config /etc/coap-bridge/coap-bridge.yaml",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDaemon(cmd.Context(), configPath(file), cmd.ErrOrStderr())
		},
	}
	addConfigFlag(cmd, &file)
	return cmd
}

// runDaemon loads file and serves until a signal or ctx ends it.
func runDaemon(ctx context.Context, file string, stderr io.Writer) error {
	load := func() (*config.Config, error) { return loadConfig(file) }
	c, err := load()
	var problems config.Problems
	if errors.As(err, &problems) {
		printProblems(stderr, "", problems)
		return fmt.Errorf("%s: %s; not started", file, count(len(problems), "fault"))
	}
	if err != nil {
		return err
	}
	o, err := daemonOptions(c, stderr)
	if err != nil {
		return err
	}
	o.Load = load
	for _, w := range c.Warnings {
		o.Log.Warn("configuration", "problem", w.Error())
	}
	d, err := daemon.Start(o)
	if err != nil {
		return err
	}
	serving := []any{"listen", fmt.Sprint(d.Addresses()), "version", versionString()}
	if at := d.DownlinkAddresses(); len(at) > 0 {
		serving = append(serving, "downlink", fmt.Sprint(at))
	}
	o.Log.Info("serving", serving...)
	return serve(ctx, d, c.ShutdownGrace, o.Log)
}

// daemonOptions makes what a daemon needs besides its configuration.
func daemonOptions(c *config.Config, stderr io.Writer) (daemon.Options, error) {
	// A core dump or a traced process would show keys (S47, S48).
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	level := new(slog.LevelVar)
	l, err := logging.ParseLevel(c.Log.Level)
	if err != nil {
		return daemon.Options{}, err
	}
	level.Set(l)
	format, err := logging.ParseFormat(c.Log.Format)
	if err != nil {
		return daemon.Options{}, err
	}
	names, err := logging.LoadPseudonymizer(c.Log.KeyFile)
	if err != nil {
		return daemon.Options{}, err
	}
	return daemon.Options{
		Config: c, Log: logging.New(stderr, logging.Options{Format: format, Level: level}), Level: level, Pseudonym: names.Device,
		Build: admin.Build{Version: versionString(), Commit: buildSettings()["vcs.revision"], Date: builtAt()},
	}, nil
}

// serve follows the signals until the daemon has ended.
func serve(ctx context.Context, d *daemon.Daemon, grace time.Duration, log *slog.Logger) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	notify(log, sd.SdNotifyReady)
	var failure error
	for waiting := true; waiting; {
		select {
		case <-ctx.Done():
			waiting = false
		case failure = <-d.Failed():
			waiting = false
		case s := <-signals:
			if s != syscall.SIGHUP {
				waiting = false
				break
			}
			reload(d, log)
		}
	}
	notify(log, sd.SdNotifyStopping)
	log.Info("draining", "grace", grace.String())
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	go impatience(ending, signals, cancel)
	err := d.Shutdown(ending)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		log.Warn("requests in progress were cut short")
		err = nil
	}
	log.Info("ended")
	return errors.Join(failure, err)
}

// impatience calls cancel at a signal that ends the process. There is nothing to reload in a process that ends.
func impatience(ending context.Context, signals <-chan os.Signal, cancel func()) {
	for {
		select {
		case s := <-signals:
			if s != syscall.SIGHUP {
				cancel()
				return
			}
		case <-ending.Done():
			return
		}
	}
}

// reload takes the files up again, or leaves everything as it was.
func reload(d *daemon.Daemon, log *slog.Logger) {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	notify(log, fmt.Sprintf("%s\nMONOTONIC_USEC=%d", sd.SdNotifyReloading, now.Nano()/1000))
	if err := d.Reload(); err != nil {
		log.Error("nothing was reloaded, the old state stays", "err", err)
	} else {
		log.Info("reloaded")
	}
	notify(log, sd.SdNotifyReady)
}

// notify tells systemd; without it, nothing happens.
func notify(log *slog.Logger, state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		log.Debug("service manager not reached", "err", err)
	}
}
