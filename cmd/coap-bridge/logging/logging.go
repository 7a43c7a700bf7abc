// Package logging makes the process's logger (log/slog): text on a terminal, JSON elsewhere, and the pseudonyms that stand
// for devices in it (R5).
//
// Everything here is safe for concurrent use. The package keeps no global logger and does not rotate files: standard
// error belongs to the service manager.
package logging

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"golang.org/x/term"
)

// Format says how a line looks.
type Format string

// The formats. FormatAuto is FormatText when the writer is a terminal, FormatJSON otherwise.
const (
	FormatAuto Format = ""
	FormatText Format = "text"
	FormatJSON Format = "json"
)

// ParseFormat reads a format as a configuration or a flag writes it: auto (or nothing), text or json.
func ParseFormat(s string) (Format, error) {
	switch strings.ToLower(s) {
	case "", "auto":
		return FormatAuto, nil
	case string(FormatText):
		return FormatText, nil
	case string(FormatJSON):
		return FormatJSON, nil
	}
	return "", fmt.Errorf("log format %q: write auto, text or json", s)
}

// ParseLevel reads a level as a configuration or a flag writes it: debug, info (or nothing), warn or error.
func ParseLevel(s string) (slog.Level, error) {
	switch strings.ToLower(s) {
	case "debug":
		return slog.LevelDebug, nil
	case "", "info":
		return slog.LevelInfo, nil
	case "warn", "warning":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("log level %q: write debug, info, warn or error", s)
}

// Options describe a logger. The zero value logs info and above, in the format that fits the writer.
type Options struct {
	Format Format
	Level  slog.Leveler // a *slog.LevelVar lets a reload change it; nil means info
}

// New returns a logger that writes to w, one line an event. Both formats quote control characters, so that nothing that a
// peer sent can start a line of its own or drive a terminal.
func New(w io.Writer, o Options) *slog.Logger {
	level := o.Level
	if level == nil {
		level = slog.LevelInfo
	}
	handler := &slog.HandlerOptions{Level: level}
	if o.Format == FormatText || o.Format != FormatJSON && isTerminal(w) {
		return slog.New(slog.NewTextHandler(w, handler))
	}
	return slog.New(slog.NewJSONHandler(w, handler))
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
