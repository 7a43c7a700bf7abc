package main

import (
	"cmp"
	"os"
	"time"

	"github.com/spf13/cobra"

	"coapbridge/cmd/coap-bridge/config"
)

// defaultConfig is where "init --dir /etc/coap-bridge" puts a configuration, and where the systemd unit looks.
const defaultConfig = "/etc/coap-bridge/coap-bridge.yaml"

// addConfigFlag adds --config, whose default is $COAPBRIDGE_CONFIG, else defaultConfig.
func addConfigFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVarP(path, "config", "c", "", "configuration file (default $COAPBRIDGE_CONFIG, else "+defaultConfig+")")
	cobra.CheckErr(cmd.MarkFlagFilename("config", "yaml", "yml"))
}

// configPath returns the value of --config with its default.
func configPath(flag string) string {
	return cmp.Or(flag, os.Getenv("COAPBRIDGE_CONFIG"), defaultConfig)
}

// loadConfig reads and checks a configuration with this process's environment and clock.
func loadConfig(path string) (*config.Config, error) {
	return config.Load(path, config.Options{Environ: os.Environ(), Now: time.Now(), BuiltAt: builtAt()})
}
