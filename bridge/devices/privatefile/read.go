// Package privatefile reads and replaces files that hold secrets or say who may do what: nobody but this user can have
// read or written them (mode 0600, own, no symbolic link, in a folder that nobody else may write), and what is written is on
// disk, whole, before a call returns. Of files that are no secret and that we trust, nobody but this user or root can have
// written them.
//
// Its functions are safe for concurrent use; two writers of one file need a Lock. It doesn't look at folders above the
// one that a file lies in.
package privatefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Error says why a file can't be used, and what to do about it. It unwraps to the system's error, where there is one.
type Error struct {
	Path, Message, Remedy string
	err                   error
}

// Error implements error.
func (e *Error) Error() string {
	text := e.Path + ": " + e.Message
	if e.Remedy != "" {
		text += "; " + e.Remedy
	}
	return text
}

// Unwrap returns the system's error, or nil.
func (e *Error) Unwrap() error { return e.err }

// Read returns the content of a private file of up to limit bytes. Its errors are of type *Error.
func Read(path string, limit int64) ([]byte, error) {
	f, err := Open(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, path, limit)
}

// ReadTrusted is Read for a file that others may read and none may have written, such as a CA's certificate: it belongs to
// this user or to root, and only its owner may write it. A symbolic link is followed, and what it leads to is checked.
func ReadTrusted(path string, limit int64) ([]byte, error) {
	f, err := open(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := checkTrusted(f, path); err != nil {
		return nil, err
	}
	return readAll(f, path, limit)
}

// ReadPublic is Read for a file that nothing depends on but what is done with it; only its type and size are checked.
func ReadPublic(path string, limit int64) ([]byte, error) {
	f, err := open(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, path, limit)
}

// Open opens a private file (S47). The checks are made on the open file, so that none can be put in its place afterwards; in a
// folder that others can write, they could have put another private file of ours there before.
func Open(path string, flag int) (*os.File, error) {
	f, err := open(path, flag|syscall.O_NOFOLLOW)
	if err != nil {
		return nil, err
	}
	if err = checkPrivate(f, path); err == nil {
		err = CheckFolder(filepath.Dir(path))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func open(path string, flag int) (*os.File, error) {
	// O_NONBLOCK: a FIFO in the file's place must not hold the start up.
	f, err := os.OpenFile(path, flag|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, explain(path, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &Error{Path: path, Message: "is no regular file", Remedy: "name a file"}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func explain(path string, err error) error {
	switch {
	case errors.Is(err, syscall.ELOOP):
		return &Error{path, "is a symbolic link", "put the file itself in its place", err}
	case errors.Is(err, fs.ErrNotExist):
		return &Error{path, "does not exist", "create it, or correct the path", err}
	case errors.Is(err, fs.ErrPermission):
		return &Error{path, "can't be read by this user", fmt.Sprintf("chown it to user %d", os.Geteuid()), err}
	}
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		err = pathError.Err
	}
	return &Error{path, "can't be opened: " + err.Error(), "", err}
}

func checkPrivate(f *os.File, path string) error {
	info, err := f.Stat()
	if err != nil {
		return explain(path, err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return &Error{path, fmt.Sprintf("has mode %04o: others can get at it", mode), "run: chmod 600 " + path, nil}
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() {
		return &Error{path, fmt.Sprintf("belongs to user %d", stat.Uid), fmt.Sprintf("run: chown %d %s", os.Geteuid(), path), nil}
	}
	return nil
}

func checkTrusted(f *os.File, path string) error {
	info, err := f.Stat()
	if err != nil {
		return explain(path, err)
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return &Error{path, fmt.Sprintf("has mode %04o: others can change it", mode), "run: chmod go-w " + path, nil}
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return &Error{path, fmt.Sprintf("belongs to user %d, who can change it", stat.Uid), fmt.Sprintf("run: chown %d %s", os.Geteuid(), path), nil}
	}
	return nil
}

func readAll(f *os.File, path string, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, explain(path, err)
	}
	if int64(len(data)) > limit {
		return nil, &Error{Path: path, Message: fmt.Sprintf("is longer than %d bytes", limit), Remedy: "check that it is the right file"}
	}
	return data, nil
}

// CheckFolder refuses a folder in which others could put a file of theirs in the place of ours. A sticky folder (such as
// /tmp) is taken: there nobody can replace what is not his.
func CheckFolder(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return explain(dir, err)
	}
	if !info.IsDir() {
		return &Error{Path: dir, Message: "is no folder", Remedy: "name a folder"}
	}
	if info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0 {
		return &Error{dir, fmt.Sprintf("has mode %04o: others can replace files in it", info.Mode().Perm()), "run: chmod 700 " + dir, nil}
	}
	return nil
}

// FolderIsPrivate reports whether nobody else can even list the folder (S47: 0600 in 0700).
func FolderIsPrivate(dir string) bool {
	info, err := os.Stat(dir)
	return err == nil && info.Mode().Perm()&0o077 == 0
}

// Folder makes a folder of mode 0700, or checks one that exists.
func Folder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return explain(dir, err)
	}
	return CheckFolder(filepath.Clean(dir))
}
