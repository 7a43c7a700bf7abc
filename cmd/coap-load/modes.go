package main

import (
	"errors"
	"time"

	"github.com/spf13/cobra"

	"coapbridge/cmd/coap-load/load"
)

// mode returns a command that opens a Load for devices(), runs f on it and prints what f measured.
func mode(use, short, long string, t *targetFlags, devices func() int, f func(*cobra.Command, *load.Load) (*load.Result, error)) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := t.open(cmd, devices())
			if err != nil {
				return err
			}
			defer l.Close()
			r, err := f(cmd, l)
			if r != nil {
				err = errors.Join(err, t.print(cmd.OutOrStdout(), r))
			}
			return err
		},
	}
	t.add(cmd)
	return cmd
}

func newHandshakeCommand() *cobra.Command {
	t := new(targetFlags)
	h := load.Handshakes{}
	cmd := mode("handshake", "Full handshakes", `Make full handshakes, each from an address of its own, and end each session at once with a close_notify.

Closed loop: --in-flight at a time. Open loop: --rate a second, whatever becomes of them. Until --count or --duration.
With --devices fewer than handshakes, devices come again: what a server remembers of them then shows.`,
		t, func() int { return max(h.Count, t.devices, 1) }, func(cmd *cobra.Command, l *load.Load) (*load.Result, error) {
			return l.Handshake(cmd.Context(), h)
		})
	cmd.Flags().IntVar(&h.Count, "count", 1000, "handshakes; 0: until --duration")
	cmd.Flags().DurationVar(&h.Duration, "duration", 0, "how long; 0: until --count")
	cmd.Flags().IntVar(&h.InFlight, "in-flight", 16, "handshakes at a time")
	cmd.Flags().Float64Var(&h.Rate, "rate", 0, "handshakes that begin a second (open loop); 0: closed loop")
	return cmd
}

func newRequestCommand() *cobra.Command {
	t, q := new(targetFlags), new(requestFlags)
	s := load.Stream{}
	var sessions int
	cmd := mode("request", "Requests on established sessions", `Make sessions, then send requests on them in turn.

Closed loop: --in-flight under way at a time, the next as soon as one is answered; that saturates the server. Open loop:
--rate a second. A request without an answer is repeated after 2 and 6 s (RFC 7252, Section 4.2) and is lost after 14 s.`,
		t, func() int { return sessions }, func(cmd *cobra.Command, l *load.Load) (*load.Result, error) {
			if _, err := l.Connect(cmd.Context(), sessions, connectInFlight); err != nil {
				return nil, err
			}
			s.Request = q.get()
			return l.Send(cmd.Context(), s)
		})
	q.add(cmd)
	cmd.Flags().IntVar(&sessions, "sessions", 1000, "sessions")
	cmd.Flags().IntVar(&s.InFlight, "in-flight", 128, "requests under way at a time")
	cmd.Flags().Float64Var(&s.Rate, "rate", 0, "requests a second (open loop); 0: closed loop")
	cmd.Flags().DurationVar(&s.WarmUp, "warm-up", time.Second, "that is not counted")
	cmd.Flags().DurationVar(&s.Duration, "duration", 10*time.Second, "that is counted")
	return cmd
}

// connectInFlight is how many handshakes are under way while sessions are made: what the smallest socket buffer of a server
// holds.
const connectInFlight = 32

func newIdleCommand() *cobra.Command {
	t, q := new(targetFlags), new(requestFlags)
	h := load.Hold{}
	var request bool
	cmd := mode("idle", "Sessions that stay and do nothing", `Make sessions and hold them. Memory is read before the first, when all are there, and, with --request, when each has sent a
request. The cost of a handshake is compared between the first and the last tenth.`,
		t, func() int { return h.Sessions }, func(cmd *cobra.Command, l *load.Load) (*load.Result, error) {
			if request {
				r := q.get()
				h.Request = &r
			}
			return l.Hold(cmd.Context(), h)
		})
	q.add(cmd)
	cmd.Flags().IntVar(&h.Sessions, "sessions", 10_000, "sessions")
	cmd.Flags().IntVar(&h.InFlight, "in-flight", connectInFlight, "handshakes at a time while they are made")
	cmd.Flags().DurationVar(&h.Settle, "settle", 5*time.Second, "memory is read when it has not fallen for twice as long and a second")
	cmd.Flags().DurationVar(&h.For, "hold", 10*time.Second, "how long the idle processor time is watched")
	cmd.Flags().BoolVar(&request, "request", false, "each session sends a request, and memory is read again")
	return cmd
}

func newFloodCommand() *cobra.Command {
	t := new(targetFlags)
	s := load.Storm{}
	cmd := mode("flood", "Forged ClientHellos, and devices that connect meanwhile", `Send first ClientHellos, each from another address of 127.128.0.0/9 with new random bytes, whose cookie never comes back, and
count the HelloVerifyRequests. With --connect so many honest devices make handshakes meanwhile, evenly over the time.
On loopback only.`,
		t, func() int { return max(s.Devices, 1) }, func(cmd *cobra.Command, l *load.Load) (*load.Result, error) {
			return l.Flood(cmd.Context(), s)
		})
	cmd.Flags().Float64Var(&s.Rate, "rate", 20_000, "forged ClientHellos a second")
	cmd.Flags().DurationVar(&s.Duration, "duration", 10*time.Second, "how long")
	cmd.Flags().IntVar(&s.Devices, "connect", 0, "devices that connect meanwhile")
	cmd.Flags().DurationVar(&s.Settle, "settle", 2*time.Second, "until memory is read again")
	cmd.Flags().BoolVar(&s.Blind, "blind", false, "don't read the answers, as who forges an address doesn't see them; none is counted")
	return cmd
}

func newReplayCommand() *cobra.Command {
	t, q := new(targetFlags), new(requestFlags)
	rec := load.Recording{}
	var sessions int
	cmd := mode("replay", "Records that are sent again", `Record what the sessions send, send it again at --rate, and count what comes back: nothing should. Then ask whether every
session still lives. With --elsewhere the records come from addresses that are nobody's. On loopback only.`,
		t, func() int { return sessions }, func(cmd *cobra.Command, l *load.Load) (*load.Result, error) {
			if _, err := l.Connect(cmd.Context(), sessions, connectInFlight); err != nil {
				return nil, err
			}
			rec.Request = q.get()
			return l.Replay(cmd.Context(), rec)
		})
	q.add(cmd)
	cmd.Flags().IntVar(&sessions, "sessions", 100, "sessions")
	cmd.Flags().IntVar(&rec.PerRound, "requests", 10, "requests of each session that are recorded")
	cmd.Flags().Float64Var(&rec.Rate, "rate", 10_000, "records a second")
	cmd.Flags().DurationVar(&rec.Duration, "duration", 5*time.Second, "how long")
	cmd.Flags().BoolVar(&rec.Elsewhere, "elsewhere", false, "from other addresses than they came from")
	return cmd
}

func newMoveCommand() *cobra.Command {
	t, q := new(targetFlags), new(requestFlags)
	m := load.Moves{}
	var sessions int
	cmd := mode("move", "Sessions whose addresses change", `Make sessions with a Connection ID, then let all of them change their address and send requests from the new one, again and
again, without a handshake. A server that knows no Connection ID fails here. On loopback only.`,
		t, func() int { return sessions }, func(cmd *cobra.Command, l *load.Load) (*load.Result, error) {
			if _, err := l.Connect(cmd.Context(), sessions, connectInFlight); err != nil {
				return nil, err
			}
			m.Request = q.get()
			return l.Move(cmd.Context(), m)
		})
	q.add(cmd)
	cmd.Flags().IntVar(&sessions, "sessions", 10, "sessions")
	cmd.Flags().IntVar(&m.Count, "moves", 100, "changes of each session's address")
	cmd.Flags().IntVar(&m.Between, "requests", 1, "requests of each session after each change")
	cobra.CheckErr(cmd.Flags().Set("cid", "true"))
	return cmd
}
