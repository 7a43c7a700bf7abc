package devices

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"

	"coapbridge/dtls"
)

// Change is what a reload changed.
type Change struct {
	Added, Removed, Changed []string // names of devices, in the order of the files

	old, next *snapshot
}

// Empty reports whether the file says the same as before.
func (c *Change) Empty() bool { return len(c.Added)+len(c.Removed)+len(c.Changed) == 0 }

// Ended reports whether a live session must end: its device is no more, has another credential, the credential became
// another device's, tenant's or CSE's, or what a session takes at its start is another: maxPayload, timing, observe. Everything else holds
// from the session's next request on.
func (c *Change) Ended(p *dtls.Peer) bool {
	now := c.next.lookup(p.ID, p.Names())
	if now == nil {
		return true
	}
	was := c.old.lookup(p.ID, p.Names())
	if was == nil {
		return false // it was let in by the new file
	}
	a, b := was.owner.entry, now.owner.entry
	if a.Name != b.Name || a.Tenant != b.Tenant || a.CSE != b.CSE || a.Client != b.Client || a.Entity != b.Entity ||
		a.MaxPayload != b.MaxPayload || a.Timing != b.Timing || !slices.Equal(a.Observe, b.Observe) {
		return true
	}
	return p.ID.Kind == dtls.KindPSK && !a.PSK.key(p.Role).Equal(b.PSK.key(p.Role))
}

// Reload reads the devices file again and swaps the snapshot whole; with a fault in the file, which it returns as
// Problems, the old one stays. The caller ends the sessions that Change.Ended names.
func (s *Store) Reload() (*Change, error) {
	s.reload.Lock()
	defer s.reload.Unlock()
	items, read, problems, warnings := load(s.path, s.options.CSEs, s.read)
	if len(problems) > 0 {
		return nil, problems
	}
	old, before := s.current.Load(), s.bindings.generation()
	next := newSnapshot(items, s.cse, s.bound)
	next.adopt(old)
	if err := s.settle(next); err != nil {
		return nil, err
	}
	s.current.Store(next)
	if s.bindings.generation() != before { // a binding made meanwhile may have been published to the old snapshot alone
		next.publish(s.bound)
	}
	s.read, s.warnings = read, warnings
	return diff(old, next), nil
}

func diff(old, next *snapshot) *Change {
	c := &Change{old: old, next: next}
	for _, o := range old.owners {
		if next.names[o.entry.Name] == nil {
			c.Removed = append(c.Removed, o.entry.Name)
		}
	}
	for _, o := range next.owners {
		switch before := old.names[o.entry.Name]; {
		case before == nil:
			c.Added = append(c.Added, o.entry.Name)
		case before.entry != o.entry: // an entry that was not read again is the same one
			c.Changed = append(c.Changed, o.entry.Name)
		}
	}
	return c
}

// Watch reloads whenever the devices file changes, and tells apply of every reload, until ctx ends: one that changed nothing
// may be the end of a failure. It reads the file once at the start, so that no change is lost between Open and Watch. It runs on the caller's
// goroutine, and so does apply.
func (s *Store) Watch(ctx context.Context, apply func(*Change, error)) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("devices: watch: %w", err)
	}
	defer w.Close()
	// The folder, not the file: an edit puts another file in its place.
	if err := w.Add(filepath.Dir(s.path)); err != nil {
		return fmt.Errorf("devices: watch %s: %w", filepath.Dir(s.path), err)
	}
	quiet := time.NewTimer(0)
	defer quiet.Stop()
	var since time.Time // first event of the burst; zero between bursts
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.Events:
			if !ok {
				return nil
			}
			if filepath.Base(e.Name) != filepath.Base(s.path) {
				continue
			}
		case err, ok := <-w.Errors: // events were lost: look
			if !ok {
				return nil
			}
			s.log.Warn("watching the devices folder", "err", err)
		case <-quiet.C:
			since = time.Time{}
			apply(s.Reload())
			continue
		}
		if since.IsZero() {
			since = time.Now()
		}
		quiet.Reset(min(watchQuiet, max(watchAtMost-time.Since(since), 0)))
	}
}
