package admin

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func newOn(t *testing.T, path string) (*Server, error) {
	t.Helper()
	reg, err := NewRegistry(Build{})
	require.NoError(t, err)
	return New(Config{Socket: path, Registry: reg, Log: slog.New(slog.DiscardHandler)})
}

// TestS51SocketMode: only its owner may open the socket; its folder is made for the owner alone, and nothing is left after
// the end.
func TestS51SocketMode(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(shortDir(t), "run")
	path := filepath.Join(folder, "admin.sock")
	f := start(t, Config{Socket: path})
	info, err := os.Lstat(path)
	require.NoError(t, err)
	require.Equal(t, os.ModeSocket|0o600, info.Mode())
	info, err = os.Stat(folder)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Len(t, entries, 1, "no temporary folder is left")

	resp, body := f.do(t, "GET", "/metrics", nil, "")
	require.Equal(t, 200, resp.StatusCode)
	require.Contains(t, body, "coapbridge_admin_requests_total")
	require.Contains(t, f.log.String(), `"uid":`, "the audit line says who asked")
	resp, _ = f.do(t, "GET", "/metrics", map[string]string{"Host": "evil.example"}, "")
	require.Equal(t, 421, resp.StatusCode, "also behind something that puts the socket on TCP")
}

// TestStaleSocket: what a killed process left is replaced; a live process, a file and a foreign folder are not touched.
func TestStaleSocket(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	stale := filepath.Join(dir, "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false)
	require.NoError(t, l.Close())
	s, err := newOn(t, stale)
	require.NoError(t, err)
	require.NoError(t, s.Shutdown(context.Background()))
	require.NoFileExists(t, stale)

	live := filepath.Join(dir, "live")
	first, err := newOn(t, live)
	require.NoError(t, err)
	_, err = newOn(t, live)
	require.ErrorIs(t, err, ErrInUse)
	c, err := net.Dial("unix", live)
	require.NoError(t, err, "the first one still listens")
	require.NoError(t, c.Close())

	// A successor has its socket there already: the predecessor's end must not remove it.
	require.NoError(t, os.Remove(live))
	second, err := newOn(t, live)
	require.NoError(t, err)
	require.NoError(t, first.Shutdown(context.Background()))
	_, err = os.Lstat(live)
	require.NoError(t, err)
	require.NoError(t, second.Shutdown(context.Background()))

	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, []byte("x"), 0o600))
	_, err = newOn(t, file)
	require.ErrorContains(t, err, "is no socket")
	require.FileExists(t, file)
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(stale, link))
	_, err = newOn(t, link)
	require.ErrorContains(t, err, "is no socket")
}

// TestO02SocketFolder: a folder that others may write to is refused.
func TestO02SocketFolder(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	open := filepath.Join(dir, "open")
	require.NoError(t, os.Mkdir(open, 0o700))
	require.NoError(t, os.Chmod(open, 0o777))
	_, err := newOn(t, filepath.Join(open, "s"))
	require.ErrorContains(t, err, "chmod go-w")
	_, err = newOn(t, filepath.Join(dir, strings.Repeat("x", maxSocketPath)))
	require.ErrorContains(t, err, "choose a shorter one")
	_, err = newOn(t, filepath.Join(dir, "none", "none", "s"))
	require.ErrorContains(t, err, "no such file")
}

// TestSocketRace: of several that start at once on a stale socket, exactly one gets the path.
func TestSocketRace(t *testing.T) {
	t.Parallel()
	path := filepath.Join(shortDir(t), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false)
	require.NoError(t, l.Close())
	servers, errs := make([]*Server, 8), make([]error, 8)
	var wg sync.WaitGroup
	for i := range servers {
		wg.Go(func() { servers[i], errs[i] = newOn(t, path) })
	}
	wg.Wait()
	started := 0
	for i, s := range servers {
		if s == nil {
			require.ErrorIs(t, errs[i], ErrInUse)
			continue
		}
		started++
		require.NoError(t, s.Shutdown(context.Background()))
	}
	require.Equal(t, 1, started)
	require.NoFileExists(t, path)
}
