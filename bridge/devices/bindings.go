package devices

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"coapbridge/bridge"
	"coapbridge/bridge/devices/privatefile"
)

// ErrTooMany is returned by Bind for a device that has as many AE-IDs as one can have.
var ErrTooMany = fmt.Errorf("devices: device has %d AE-IDs already", maxBound)

var (
	errClosed    = errors.New("devices: store is closed")
	errBadAccess = errors.New("devices: access has a weak token, or too many addresses or long ones")
	errTokenUsed = errors.New("devices: token leads to another AE already")
	errBadAEI    = fmt.Errorf("devices: AE-ID is empty, longer than %d bytes or has control characters", maxPattern)
)

// binding is an AE-ID on a CSE; the CSE "" is the default one.
type binding struct{ cse, aei string }

// holder is whom a binding belongs to: the device of that name, so that it keeps its AE-IDs when its credential is renewed,
// and nobody else gets them who is given the old one. Lines of older releases name no device: they are of whichever has the
// credential, until settle puts its name there.
type holder struct {
	device string
	by     credential // by which it was given (TS-0003, 8.2.1: Credential-ID)
}

// index is h as byHolder has it.
func (h holder) index() holder {
	if h.device != "" {
		h.by = credential{}
	}
	return h
}

// bound is what is kept of a binding. What access points to is never changed.
type bound struct {
	of     holder
	access *bridge.Access // nil: the zero Access
}

// digest is the SHA-256 of a token. Tokens are looked up by it, so that how long that takes says nothing of those that
// there are (S43).
type digest [sha256.Size]byte

func digestOf(token string) digest { return sha256.Sum256([]byte(token)) }

// bindings is the bindings file: a log of lines that only grows, synced before a caller hears of success, and written
// anew when most of it is dead. Callers that wait at the same time share one sync.
type bindings struct {
	path   string
	unlock func() error

	mu       sync.RWMutex // guards the following fields; never held during I/O
	table    map[binding]bound
	tokens   map[digest]binding
	claimed  map[digest]bool      // tokens that are being written
	byHolder map[holder][]binding // in no order
	reserved map[binding]bool     // being written
	batch    *batch               // the changes that wait for the next write
	changes  uint64               // applied so far

	write  sync.Mutex // held by the one who writes; guards the following fields
	file   *os.File   // nil after a failed write, until the file has been written anew
	lines  int        // in the file, the header not counted
	closed bool
}

// batch is what one write and one sync make durable.
type batch struct {
	apply []change
	done  bool // guarded by bindings.write
	err   error
}

// change is one line of the file.
type change struct {
	bind   bool
	key    binding
	of     holder
	access *bridge.Access
}

// newBindings is an empty table for the file at path.
func newBindings(path string) *bindings {
	return &bindings{
		path: path, table: map[binding]bound{}, byHolder: map[holder][]binding{}, tokens: map[digest]binding{},
		claimed: map[digest]bool{}, reserved: map[binding]bool{}, batch: &batch{},
	}
}

func openBindings(path string) (*bindings, Problems, error) {
	dir := filepath.Dir(path)
	if err := privatefile.CheckFolder(dir); err != nil {
		return nil, nil, Problems{*fileProblem(path, err)}
	}
	at, cancel := context.WithCancel(context.Background())
	cancel() // do not wait: the other bridge won't end
	unlock, err := privatefile.Lock(at, path+".lock")
	if err != nil {
		return nil, nil, Problems{*fileProblem(path, err)}
	}
	b := newBindings(path)
	b.unlock = unlock
	warnings, err := b.read()
	if err != nil {
		return nil, nil, errors.Join(err, unlock())
	}
	return b, warnings, nil
}

func (b *bindings) close() error {
	b.write.Lock()
	defer b.write.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	var err error
	if b.file != nil {
		err = b.file.Close()
	}
	return errors.Join(err, b.unlock())
}

// holder returns whom an AE-ID belongs to.
func (b *bindings) holder(key binding) (holder, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	h, ok := b.table[key]
	return h.of, ok
}

// get returns what is bound under key.
func (b *bindings) get(key binding) (bound, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	h, ok := b.table[key]
	return h, ok
}

// byToken returns the binding whose AE is reached under the token.
func (b *bindings) byToken(token string) (binding, bound, bool) {
	d := digestOf(token)
	b.mu.RLock()
	defer b.mu.RUnlock()
	key, ok := b.tokens[d]
	return key, b.table[key], ok
}

// of returns the AE-IDs of a device on one CSE, sorted; nil when there are none.
func (b *bindings) of(o *owner, cse string) []string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var aeis []string
	for _, h := range o.holders {
		for _, key := range b.byHolder[h] {
			if key.cse == cse {
				aeis = append(aeis, key.aei)
			}
		}
	}
	slices.Sort(aeis)
	return aeis
}

// bind makes a binding of a device durable, or another access of one that is there.
func (b *bindings) bind(key binding, by credential, o *owner, access bridge.Access) error {
	if key.aei == "" || len(key.aei) > maxPattern || strings.ContainsFunc(key.aei, control) {
		return errBadAEI
	}
	if !access.Valid() {
		return errBadAccess
	}
	c := change{bind: true, key: key, of: holder{o.entry.Name, by}}
	if !access.IsZero() {
		c.access = &bridge.Access{Token: access.Token, POA: slices.Clone(access.POA)}
	}
	b.lockFree(key)
	held, ok := b.table[key]
	if ok {
		c.of = held.of
	}
	var err error
	switch {
	case ok && !o.owns(held.of):
		err = bridge.ErrBound
	case ok && (c.access == nil || held.access != nil && held.access.Equal(access)):
		b.mu.Unlock()
		return nil
	case !ok && b.countLocked(o) >= maxBound:
		err = ErrTooMany
	case !b.freeLocked(c.access, key):
		err = errTokenUsed
	}
	if err != nil {
		b.mu.Unlock()
		return err
	}
	wait := b.enqueueLocked(c)
	b.mu.Unlock()
	return b.commit(wait)
}

// freeLocked reports whether no other binding than that of key has the access's token.
func (b *bindings) freeLocked(access *bridge.Access, key binding) bool {
	if access == nil || access.Token == "" {
		return true
	}
	d := digestOf(access.Token)
	other, taken := b.tokens[d]
	return !b.claimed[d] && (!taken || other == key)
}

// unbind removes a binding of a device durably.
func (b *bindings) unbind(key binding, o *owner) error {
	b.lockFree(key)
	held, ok := b.table[key]
	if !ok || !o.owns(held.of) {
		b.mu.Unlock()
		if ok {
			return bridge.ErrBound
		}
		return nil
	}
	wait := b.enqueueLocked(change{key: key, of: held.of})
	b.mu.Unlock()
	return b.commit(wait)
}

// lockFree takes mu when no change of key is being written.
func (b *bindings) lockFree(key binding) {
	for {
		b.mu.Lock()
		if !b.reserved[key] {
			return
		}
		wait := b.batch // the change is in this batch or in the one before, which this one waits for
		b.mu.Unlock()
		_ = b.commit(wait) // its own caller is told
	}
}

func (b *bindings) countLocked(o *owner) int {
	n := 0
	for _, h := range o.holders {
		n += len(b.byHolder[h])
	}
	return n
}

func (b *bindings) enqueueLocked(c change) *batch {
	b.reserved[c.key] = true
	if c.access != nil && c.access.Token != "" {
		b.claimed[digestOf(c.access.Token)] = true
	}
	b.batch.apply = append(b.batch.apply, c)
	return b.batch
}

// commit returns when x is on disk. Whoever comes first writes what all have queued until then.
func (b *bindings) commit(x *batch) error {
	b.write.Lock()
	defer b.write.Unlock()
	if x.done {
		return x.err
	}
	b.mu.Lock()
	b.batch = &batch{} // x was the one in the queue: an earlier one is done
	b.mu.Unlock()

	if len(x.apply) > 0 {
		x.err = b.append(x.apply)
	}
	b.mu.Lock()
	for _, c := range x.apply {
		delete(b.reserved, c.key)
		if c.access != nil {
			delete(b.claimed, digestOf(c.access.Token))
		}
		if x.err == nil {
			b.applyLocked(c)
		}
	}
	b.mu.Unlock()
	x.done = true
	return x.err
}

// generation changes whenever table does.
func (b *bindings) generation() uint64 {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.changes
}

func (b *bindings) applyLocked(c change) {
	b.changes++
	h := c.of.index()
	was, held := b.table[c.key]
	if was.access != nil && was.access.Token != "" {
		delete(b.tokens, digestOf(was.access.Token))
	}
	if !c.bind {
		delete(b.table, c.key)
		b.byHolder[h] = slices.DeleteFunc(b.byHolder[h], func(key binding) bool { return key == c.key })
		if len(b.byHolder[h]) == 0 {
			delete(b.byHolder, h)
		}
		return
	}
	b.table[c.key] = bound{c.of, c.access}
	if c.access != nil && c.access.Token != "" {
		b.tokens[digestOf(c.access.Token)] = c.key
	}
	if !held { // a binding goes to another holder by its end and a new one
		b.byHolder[h] = append(b.byHolder[h], c.key)
	}
}
