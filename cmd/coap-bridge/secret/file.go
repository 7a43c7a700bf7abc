package secret

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"coapbridge/bridge/devices/privatefile"
)

// maxFileBytes bounds a secret's file: a path that was mistyped must not pull a disk image into memory.
const maxFileBytes = 4 << 10

// ErrEmpty is wrapped by ReadFile for a file that holds nothing.
var ErrEmpty = errors.New("file is empty")

// ReadFile reads a secret of 1 byte to 4 KiB from a private file (S47, package privatefile). One line ending at its end is
// not part of the secret, since editors and echo leave one. Errors name the file and the remedy.
func ReadFile(path string) (Bytes, error) {
	b, err := privatefile.Read(path, maxFileBytes)
	if err != nil {
		return Bytes{}, err
	}
	b = bytes.TrimSuffix(b, []byte("\n"))
	b = bytes.TrimSuffix(b, []byte("\r"))
	if len(b) == 0 {
		return Bytes{}, fmt.Errorf("%s: %w", path, ErrEmpty)
	}
	return New(b), nil
}

// ReadOrCreate reads the secret in path and, when there is no such file, first creates it (0600) with n random bytes in
// hex. Two processes that do so at once end with the same secret.
func ReadOrCreate(path string, n int) (Bytes, error) {
	s, err := ReadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	if err := create(path, fmt.Appendf(nil, "%x\n", b)); err != nil {
		return Bytes{}, err
	}
	return ReadFile(path)
}

// create writes content to path unless it exists: whole or not at all, so that a second process that starts now reads the
// whole secret, and so does a start after a crash.
func create(path string, content []byte) error {
	folder := filepath.Dir(path)
	f, err := os.CreateTemp(folder, "."+filepath.Base(path)+"-") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	// A link fails where a rename would replace what another process has just put there.
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return privatefile.SyncFolder(folder)
}
