package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
)

// Set by the linker (-ldflags "-X main.buildVersion=... -X main.buildDate=..."); constants of one build, never changed
// while the program runs.
var (
	buildVersion string // version of the release, "" for a build from a working tree
	buildDate    string // RFC 3339; the clock is believed from this moment on
)

// shownModules are the modules whose version decides about security or the wire.
func shownModules() []string {
	return []string{"github.com/pion/dtls/v3", "github.com/plgd-dev/go-coap/v3", "golang.org/x/crypto"}
}

// builtAt returns the moment before which a clock can't be right: the linker's date, else the commit's, else zero.
// Until a clock has passed it, certificates are not judged.
func builtAt() time.Time {
	if t, err := time.Parse(time.RFC3339, buildDate); err == nil {
		return t
	}
	if t, err := time.Parse(time.RFC3339, buildSettings()["vcs.time"]); err == nil {
		return t
	}
	return time.Time{}
}

// versionString returns the release's version, or what the Go toolchain recorded of the working tree.
func versionString() string {
	if buildVersion != "" {
		return buildVersion
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

func buildSettings() map[string]string {
	settings := map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
	}
	return settings
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version, the build date and the modules that matter for security",
		Long: `Print the version of coap-bridge, when and from which commit it was built, and the versions of Go and of the modules
that decide about security or the wire. Quote this output in a bug report.`,
		Example: "  coap-bridge version",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return writeVersion(cmd.OutOrStdout())
		},
	}
}

func writeVersion(w io.Writer) error {
	settings := buildSettings()
	built, commit := "unknown", settings["vcs.revision"]
	if t := builtAt(); !t.IsZero() {
		built = t.UTC().Format(time.RFC3339)
	}
	if commit == "" {
		commit = "unknown"
	}
	if settings["vcs.modified"] == "true" {
		commit += " (modified)"
	}
	_, err := fmt.Fprintf(w, "coap-bridge %s\nbuilt       %s\ncommit      %s\ngo          %s %s/%s\n",
		versionString(), built, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if err != nil {
		return err
	}
	versions := moduleVersions()
	for _, path := range shownModules() {
		if v, ok := versions[path]; ok {
			if _, err := fmt.Fprintf(w, "module      %s %s\n", path, v); err != nil {
				return err
			}
		}
	}
	return nil
}

func moduleVersions() map[string]string {
	versions := map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Replace != nil {
				m = m.Replace
			}
			versions[m.Path] = m.Version
		}
	}
	return versions
}
