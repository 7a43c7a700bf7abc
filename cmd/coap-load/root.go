package main

import (
	"github.com/spf13/cobra"
)

// newRootCommand returns the command with all its sub-commands; every call returns a new one.
func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "coap-load",
		Short: "Put load on a CoAP server over DTLS, and measure what it costs",
		Long: `coap-load is very many devices in one process. It makes DTLS 1.2 sessions with a CoAP server, with pre-shared keys or with
certificates, and measures what they cost the server.

Towards a server on loopback every device has an address of its own in 127.0.0.0/8: one socket, bound to a port of all
addresses, names the source of each datagram (IP_PKTINFO), and hears by the same means for whom an answer is. For the server
there is no difference to a socket, or a machine, for each device. Towards other servers each device has a socket.

With --pid the server's process is measured: processor time (user and system) by its own clock, memory from
/proc/PID/smaps_rollup, threads, and, with --metrics, goroutines. Without it, only what the devices see.

Latencies of an open loop (--rate) count from the moment at which the schedule wanted a request to leave, not from when it
left: a server that stalls is seen by every request that was due meanwhile. Those of a closed loop (--in-flight) count from
sending, and are marked so: such a loop waits for the server and spares it.

Progress goes to standard error, the result to standard output: a table, or with --json all there is.

Exit codes: 0 measured; 1 it could not be measured; 2 the command line is wrong.`,
		Example: `  coap-load handshake --target 127.0.0.1:5684 -u load-%d -k 0123456789abcdef --count 10000 --pid 4711
  coap-load request --target 127.0.0.1:5684 -u load-%d -k 0123456789abcdef --sessions 1000 --rate 5000 --pid 4711
  coap-load idle --target 127.0.0.1:5684 -u load-%d -k 0123456789abcdef --sessions 20000 --pid 4711
  coap-load bench --quick`,
		Args:              cobra.NoArgs,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(
		newHandshakeCommand(), newRequestCommand(), newIdleCommand(), newFloodCommand(), newReplayCommand(), newMoveCommand(),
		newBenchCommand(), newEchoCommand(), newCSECommand(),
	)
	return root
}
