package request

import (
	"context"
	"net/netip"
	"time"
)

// outcome is how one attempt ended; session counts when err is nil.
type outcome[S any] struct {
	session S
	err     error
}

// race tries the addresses, of which there is at least one, in their order: each a little after the one before or as soon
// as one failed (RFC 8305, Section 5, with attempts that need no more than that). It returns the first session, or the error
// that says most. When it returns, the other attempts have ended, and discard was called with what they brought too late.
func race[S any](ctx context.Context, addrs []netip.AddrPort, try func(context.Context, netip.AddrPort) (S, error),
	discard func(S)) (S, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	outcomes := make(chan outcome[S], len(addrs))
	started, ended := 0, 0
	start := func() {
		if started == len(addrs) {
			return
		}
		addr := addrs[started]
		started++
		go func() {
			s, err := try(ctx, addr)
			outcomes <- outcome[S]{s, err}
		}()
	}
	start()
	ticker := time.NewTicker(attemptDelay)
	defer ticker.Stop()
	var best error
	for {
		select {
		case <-ticker.C:
			start()
		case o := <-outcomes:
			ended++
			if o.err == nil {
				cancel()
				for ; ended < started; ended++ {
					if late := <-outcomes; late.err == nil {
						discard(late.session)
					}
				}
				return o.session, nil
			}
			best = tellsMore(best, o.err)
			start()
			if ended == started {
				return o.session, best
			}
		}
	}
}
