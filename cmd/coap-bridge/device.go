package main

import (
	"os"

	"github.com/spf13/cobra"

	"coapbridge/bridge/devices"
	"coapbridge/cmd/coap-bridge/config"
	"coapbridge/cmd/coap-bridge/logging"
	"coapbridge/cmd/coap-bridge/secret"
)

// newDeviceCommand returns "device" with its sub-commands.
func newDeviceCommand() *cobra.Command {
	var where deviceFile
	cmd := &cobra.Command{
		Use:   "device",
		Short: "Let devices in, list them, take them out",
		Long: `Edit the devices file: who the devices are, how they prove it, and what each may do.

The file is edited safely: under a lock, into a temporary file that takes the old one's place whole. Comments and order
stay. A running bridge takes a change within a second: a new device is let in, and the session of a removed one ends.

The devices file is the one that the configuration names (--config), or the one given with --devices.

Exit codes: 0 done; 1 not done, and the file is as it was; 2 the command line is wrong.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	flags := cmd.PersistentFlags()
	flags.StringVarP(&where.config, "config", "c", "", "configuration file (default $COAPBRIDGE_CONFIG, else "+defaultConfig+")")
	flags.StringVar(&where.devices, "devices", "", "devices file, instead of the one that the configuration names")
	cobra.CheckErr(cmd.MarkPersistentFlagFilename("config", "yaml", "yml"))
	cobra.CheckErr(cmd.MarkPersistentFlagFilename("devices", "yaml", "yml"))
	cmd.AddCommand(
		newDeviceAddCommand(&where),
		newDeviceListCommand(&where),
		newDeviceRemoveCommand(&where),
		newDeviceImportCommand(&where),
	)
	return cmd
}

// deviceFile says which devices file is meant.
type deviceFile struct{ config, devices string }

// find returns the devices file and the CSEs that its devices may name; nil when no configuration says so.
func (d *deviceFile) find() (file string, cses []devices.CSE, err error) {
	if d.devices != "" {
		return d.devices, nil, nil
	}
	return config.DevicesFile(configPath(d.config), os.Environ())
}

// logNames returns what the log calls devices; nil where no configuration names a log key, or no bridge made it yet.
func (d *deviceFile) logNames() *logging.Pseudonymizer {
	if d.devices != "" {
		return nil
	}
	key, err := secret.ReadFile(config.LogKeyFile(configPath(d.config), os.Environ()))
	if err != nil {
		return nil
	}
	names, err := logging.NewPseudonymizer(key)
	if err != nil {
		return nil
	}
	return names
}

// completeDevices completes the names of devices that are not among those given already.
func (d *deviceFile) completeDevices(_ *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	file, _, err := d.find()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	list, _, err := devices.List(file)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	taken := map[string]bool{}
	for _, name := range given {
		taken[name] = true
	}
	var names []string
	for _, s := range list {
		if !taken[s.Name] {
			names = append(names, s.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
