package bridge

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"

	"coapbridge/coap"
	"coapbridge/dtls"
)

// liveSessions knows the sessions of the devices that a CSE has something to send to: those with a bound AE-ID. Other sessions
// cost nothing here.
type liveSessions struct {
	mu       sync.Mutex              // guards the following fields
	byDevice map[string][]*coap.Peer // newest first
	names    map[*coap.Peer]string   // under which each is there
}

// add makes p the newest session of the device.
func (l *liveSessions) add(device string, p *coap.Peer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byDevice == nil {
		l.byDevice, l.names = make(map[string][]*coap.Peer), make(map[*coap.Peer]string)
	}
	s, ok := p.Owner().(*session)
	if !ok || s.closed.Load() { // it was closed while its AE was registered
		return
	}
	s.listed.Store(true)
	if l.names[p] == device && l.byDevice[device][0] == p {
		return
	}
	l.removeLocked(p)
	l.names[p] = device
	l.byDevice[device] = slices.Insert(l.byDevice[device], 0, p)
}

// remove forgets p, and returns the device whose last session it was.
func (l *liveSessions) remove(p *coap.Peer) (device string, last bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s, ok := p.Owner().(*session); ok {
		s.closed.Store(true)
	}
	device, ok := l.names[p]
	l.removeLocked(p)
	return device, ok && len(l.byDevice[device]) == 0
}

func (l *liveSessions) removeLocked(p *coap.Peer) {
	device, ok := l.names[p]
	if !ok {
		return
	}
	delete(l.names, p)
	rest := slices.DeleteFunc(l.byDevice[device], func(other *coap.Peer) bool { return other == p })
	if len(rest) == 0 {
		delete(l.byDevice, device)
		return
	}
	l.byDevice[device] = rest
}

// of returns the device's newest session; nil when it has none.
func (l *liveSessions) of(device string) *coap.Peer {
	l.mu.Lock()
	defer l.mu.Unlock()
	if sessions := l.byDevice[device]; len(sessions) > 0 {
		return sessions[0]
	}
	return nil
}

// began notes a new session of dev's.
func (b *Bridge) began(dev *Device, p *coap.Peer) {
	if len(dev.Bound) == 0 {
		return
	}
	b.live.add(dev.Name, p)
	for _, aei := range dev.Bound {
		b.watch(dev, b.cses[dev.CSE], aei)
	}
}

// ended notes that a session is over. Without another one, nobody asks for what its device could not get.
func (b *Bridge) ended(p *coap.Peer) {
	s, ok := p.Owner().(*session)
	if !ok {
		return
	}
	name, last := b.live.remove(p)
	if !last || b.cfg.Poller == nil {
		return
	}
	if dev, ok := b.cfg.Directory.Device(s.peer); ok && dev.Name == name && !b.dials(dev) {
		for _, aei := range dev.Bound {
			b.forget(dev, b.cses[dev.CSE], aei)
		}
	}
}

// watchDialled has the polling channels of those AEs asked whose devices the bridge can dial, where the Directory can tell them.
func (b *Bridge) watchDialled() {
	known, ok := b.cfg.Directory.(interface{ EachBound() iter.Seq[Reachable] })
	if !ok || b.cfg.Poller == nil {
		return
	}
	for r := range known.EachBound() {
		if b.dials(r.Device) {
			b.watch(r.Device, b.cses[r.CSE], r.AEI)
		}
	}
}

// watch has the polling channel of an AE asked whose device can be reached.
func (b *Bridge) watch(dev *Device, cse *CSE, aei string) {
	if b.cfg.Poller != nil && cse != nil && cse.Downlink == DownlinkPoll {
		b.cfg.Poller.Watch(Upstream{CSE: cse.Name, Client: dev.Client}, aei)
	}
}

// forget is the end of watch.
func (b *Bridge) forget(dev *Device, cse *CSE, aei string) {
	if b.cfg.Poller != nil && cse != nil && cse.Downlink == DownlinkPoll {
		b.cfg.Poller.Forget(Upstream{CSE: cse.Name, Client: dev.Client}, aei)
	}
}

// dials reports whether the bridge may begin a session with dev: at the address of its entry, and nowhere else (S42).
func (b *Bridge) dials(dev *Device) bool { return b.cfg.Dial != nil && dev.Address.IsValid() }

// The failures to find a session for a request; none of it was sent.
var (
	errNoSession = errors.New("bridge: device has no session and no address")
	errDial      = errors.New("bridge: device was not reached at its address")
	errWrongPeer = errors.New("bridge: another device answered at the address")
)

// reach returns a session of dev: the newest live one, or one that the bridge begins (TS-0003, 8.2.1: as Entity B it is the
// client of SA2).
func (b *Bridge) reach(ctx context.Context, dev *Device) (*coap.Peer, error) {
	if p := b.liveSession(dev); p != nil {
		return p, nil
	}
	if !b.dials(dev) {
		return nil, errNoSession
	}
	for {
		conn, err := b.cfg.Dial(ctx, dev.Address, dev.DialID)
		if errors.Is(err, dtls.ErrBusy) && sleep(ctx, dialAgain) { // the device is about to have a session of its own
			if p := b.liveSession(dev); p != nil {
				return p, nil
			}
			continue
		}
		if err != nil {
			return nil, errDial
		}
		p, ok := conn.Owner().(*coap.Peer)
		if !ok || !b.leadsTo(conn.Peer(), dev) {
			conn.Close(dtls.ReasonLocal)
			return nil, errWrongPeer
		}
		return p, nil
	}
}

// liveSession returns the newest session of dev; nil when it has none, or when that one's credential is not dev's any more.
func (b *Bridge) liveSession(dev *Device) *coap.Peer {
	p := b.live.of(dev.Name)
	if p == nil {
		return nil
	}
	if s, ok := p.Owner().(*session); !ok || !b.leadsTo(s.peer, dev) {
		return nil
	}
	return p
}

// fault leaves one rate-limited line of what a device did not do in the log, as note does of what it asked for.
func (b *Bridge) fault(dev *Device, event, reason string) {
	if !b.audit.Allow() {
		return
	}
	id := dev.DialID
	if p := b.live.of(dev.Name); p != nil {
		if s, ok := p.Owner().(*session); ok {
			id = s.peer.ID
		}
	}
	b.cfg.Log.Info(event, slog.String("device", b.cfg.Pseudonym(id)), slog.String("reason", reason))
}

// leadsTo reports whether an authenticated peer is dev.
func (b *Bridge) leadsTo(who *dtls.Peer, dev *Device) bool {
	now, ok := b.cfg.Directory.Device(who)
	return ok && now.Name == dev.Name
}

// suspect ends a session on which a device was silent, so that the next request makes a new one. A device that can't be dialled
// keeps it: it may only sleep.
func (b *Bridge) suspect(dev *Device, p *coap.Peer, since time.Time) {
	conn, ok := p.Conn().(interface {
		Idle() time.Duration
		Close(dtls.Reason)
	})
	if ok && b.dials(dev) && conn.Idle() > time.Since(since) {
		b.ended(p) // now, and not when the session is told
		conn.Close(dtls.ReasonLocal)
	}
}

// sleep waits; false: ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
