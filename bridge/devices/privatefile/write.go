package privatefile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
)

// lockPoll is the time between two attempts at a lock; a person waits for it.
const lockPoll = 50 * time.Millisecond

// Replace puts data in the place of the file's content, with mode 0600: a reader sees the old content or the new one,
// whole, and so does a start after a crash (S47).
func Replace(path string, data []byte) error { return replace(path, data, 0o600) }

// ReplacePublic is Replace with mode 0644, for certificates.
func ReplacePublic(path string, data []byte) error { return replace(path, data, 0o644) }

func replace(path string, data []byte, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir), renameio.WithStaticPermissions(mode))
	if err != nil {
		return explain(path, err)
	}
	defer f.Cleanup() // nothing is left to clean up after success
	if _, err := f.Write(data); err != nil {
		return explain(path, err)
	}
	if err := f.CloseAtomicallyReplace(); err != nil { // syncs the file before the rename
		return explain(path, err)
	}
	return SyncFolder(dir)
}

// Create writes a new private file and refuses to overwrite one: the error is fs.ErrExist.
func Create(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return &Error{path, "exists already", "move it away first", fs.ErrExist}
	}
	if err != nil {
		return explain(path, err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", path, err), os.Remove(path))
	}
	return SyncFolder(filepath.Dir(path))
}

// SyncFolder makes the names in a folder durable: a rename survives a crash only after this.
func SyncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return explain(dir, err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// ErrLocked is returned by Lock when another process holds the lock.
var ErrLocked = errors.New("is locked by another process")

// Lock takes the lock file at path, which it makes when it is missing, and waits for it until ctx ends. The lock ends with
// the returned function, or with the process, however that ends; the file stays.
func Lock(ctx context.Context, path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, explain(path, err)
	}
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return f.Close, nil // closing the only descriptor releases it
		case !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR):
			f.Close()
			return nil, &Error{path, "can't be locked: " + err.Error(), "", err}
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, &Error{path, ErrLocked.Error(), "end the other coap-bridge, or wait for it", ErrLocked}
		case <-tick.C:
		}
	}
}
