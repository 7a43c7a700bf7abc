package admin

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/sys/unix"
)

// probeTimeout is how long a socket that is there already may take to accept; a live process accepts at once.
const probeTimeout = time.Second

// unixListener removes its socket when it is closed, but not one that another process has put there since.
type unixListener struct {
	net.Listener
	path  string
	info  fs.FileInfo // of the socket that we made
	close sync.Once
	err   error
}

// listenUnix listens on path with mode 0600 and replaces a socket that no process listens on any more. There is no moment
// in which another user can connect: the socket is made in a folder that only we may enter, gets its mode there, and is
// then renamed over the old one. Of several processes that start at once, one gets the path: the folder is locked meanwhile.
func listenUnix(path string) (net.Listener, error) {
	path, err := filepath.Abs(path) // the process may change its folder before the socket is removed
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("admin: socket path %s is longer than %d bytes; choose a shorter one", path, maxSocketPath)
	}
	folder := filepath.Dir(path)
	if err := checkFolder(folder); err != nil {
		return nil, err
	}
	unlock, err := lockFolder(folder)
	if err != nil {
		return nil, fmt.Errorf("admin: lock the socket's folder %s: %w", folder, err)
	}
	defer unlock()
	if err := checkOld(path); err != nil {
		return nil, err
	}
	private, err := os.MkdirTemp(folder, ".a") // mode 0700
	if err != nil {
		return nil, fmt.Errorf("admin: make socket %s: %w", path, err)
	}
	defer func() { _ = os.RemoveAll(private) }()
	l, err := bindIn(private, path)
	if err != nil {
		return nil, fmt.Errorf("admin: make socket %s: %w", path, err)
	}
	return l, nil
}

func bindIn(private, path string) (net.Listener, error) {
	first := filepath.Join(private, "s")
	if len(first) > maxSocketPath {
		return nil, fmt.Errorf("its folder's path is too long for a socket; choose a shorter one")
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: first, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // it knows the first name only
	info, err := publish(first, path)
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	return &unixListener{Listener: netutil.LimitListener(namedListener{l}, maxConns), path: path, info: info}, nil
}

// publish gives the socket its mode and its name.
func publish(first, path string) (fs.FileInfo, error) {
	if err := os.Chmod(first, 0o600); err != nil {
		return nil, err
	}
	info, err := os.Lstat(first)
	if err != nil {
		return nil, err
	}
	return info, os.Rename(first, path)
}

// checkFolder makes the socket's folder when it is missing, and refuses one in which others could put their own socket in
// the place of ours (S47).
func checkFolder(folder string) error {
	if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("admin: make the socket's folder: %w", err)
	}
	info, err := os.Stat(folder)
	if err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("admin: %s is not a folder", folder)
	}
	if info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0 {
		return fmt.Errorf("admin: others may write to the socket's folder %s (mode %04o); chmod go-w %s",
			folder, info.Mode().Perm(), folder)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("admin: the socket's folder %s belongs to user %d; choose one of root or of user %d",
			folder, st.Uid, os.Geteuid())
	}
	return nil
}

// lockFolder takes the advisory lock of folder (flock(2)), which ends with the process at the latest and leaves no file.
func lockFolder(folder string) (unlock func(), err error) {
	f, err := os.Open(folder)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}

// checkOld refuses a path that holds anything but a socket of ours which no process answers on.
func checkOld(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("admin: %s is there and is no socket; choose another path", path)
	}
	c, err := net.DialTimeout("unix", path, probeTimeout)
	if err == nil {
		_ = c.Close()
		return fmt.Errorf("%w: another process answers on %s", ErrInUse, path)
	}
	// Only a refusal proves that nobody listens; a full backlog or a foreign owner does not.
	if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s: %w", ErrInUse, path, err)
	}
	return nil
}

// Addr is the address under the name that the socket has now.
func (l *unixListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// Close implements net.Listener.
func (l *unixListener) Close() error {
	l.close.Do(func() {
		if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.info) {
			_ = os.Remove(l.path)
		}
		l.err = l.Listener.Close()
	})
	return l.err
}

// namedListener gives each connection the address of the process that made it: on a Unix socket that is who it runs as.
type namedListener struct{ *net.UnixListener }

// Accept implements net.Listener.
func (l namedListener) Accept() (net.Conn, error) {
	c, err := l.AcceptUnix()
	if err != nil {
		return nil, err
	}
	if who, ok := peerOf(c); ok {
		return namedConn{Conn: c, who: who}, nil
	}
	return c, nil
}

type namedConn struct {
	net.Conn
	who localPeer
}

// RemoteAddr implements net.Conn.
func (c namedConn) RemoteAddr() net.Addr { return c.who }

// localPeer is the process on the other end of a Unix socket, as the kernel knows it.
type localPeer struct {
	uid uint32
	pid int32
}

// Network implements net.Addr.
func (localPeer) Network() string { return "unix" }

// String implements net.Addr.
func (p localPeer) String() string { return fmt.Sprintf("uid %d, pid %d", p.uid, p.pid) }

// inUse marks an error of net.Listen that says so.
func inUse(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w: %w", ErrInUse, err)
	}
	return err
}
