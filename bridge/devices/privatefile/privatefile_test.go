package privatefile

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestO02ReadRefusesWeakFiles sends what row O02 names: modes that let others in, symbolic links, and what is no file.
func TestO02ReadRefusesWeakFiles(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name string
		make func(t *testing.T, path string)
		want string
	}{
		{"world-readable", func(t *testing.T, p string) { write(t, p, 0o644) }, "has mode 0644: others can get at it; run: chmod 600 "},
		{"group-readable", func(t *testing.T, p string) { write(t, p, 0o640) }, "has mode 0640"},
		{"group-writable", func(t *testing.T, p string) { write(t, p, 0o620) }, "has mode 0620"},
		{"symlink", func(t *testing.T, p string) {
			write(t, p+".real", 0o600)
			require.NoError(t, os.Symlink(p+".real", p))
		}, "is a symbolic link; put the file itself in its place"},
		{"dangling symlink", func(t *testing.T, p string) { require.NoError(t, os.Symlink("nowhere", p)) }, "is a symbolic link"},
		{"missing", func(*testing.T, string) {}, "does not exist; create it, or correct the path"},
		{"folder", func(t *testing.T, p string) { require.NoError(t, os.Mkdir(p, 0o700)) }, "is no regular file"},
		{"fifo", func(t *testing.T, p string) { require.NoError(t, syscall.Mkfifo(p, 0o600)) }, "is no regular file"},
		{"too long", func(t *testing.T, p string) { require.NoError(t, os.WriteFile(p, make([]byte, 101), 0o600)) }, "is longer than 100 bytes"},
	}
	if os.Geteuid() == 0 { // only root can give a file away
		cases = append(cases, struct {
			name string
			make func(t *testing.T, path string)
			want string
		}{"foreign owner", func(t *testing.T, p string) {
			write(t, p, 0o600)
			require.NoError(t, os.Chown(p, 12345, -1))
		}, "belongs to user 12345; run: chown 0 "})
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "secret")
			c.make(t, path)
			_, err := Read(path, 100)
			require.ErrorContains(t, err, c.want)
			var typed *Error
			require.ErrorAs(t, err, &typed)
		})
	}
}

// TestO02ReadTrustedRefusesForeignHands: what says whom we trust may be read by all and written by none but us and root.
func TestO02ReadTrustedRefusesForeignHands(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name  string
		mode  fs.FileMode
		owner int
		want  string
	}{
		{"private", 0o600, -1, ""},
		{"readable", 0o644, -1, ""},
		{"read-only", 0o444, -1, ""},
		{"group-writable", 0o664, -1, "has mode 0664: others can change it; run: chmod go-w "},
		{"world-writable", 0o602, -1, "has mode 0602: others can change it"},
	}
	if os.Geteuid() == 0 { // only root can give a file away
		cases = append(cases, struct {
			name  string
			mode  fs.FileMode
			owner int
			want  string
		}{"foreign owner", 0o644, 12345, "belongs to user 12345, who can change it; run: chown 0 "})
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "ca.crt")
			write(t, path, c.mode)
			require.NoError(t, os.Chown(path, c.owner, -1))
			link := path + ".link"
			require.NoError(t, os.Symlink(path, link))
			for _, name := range []string{path, link} {
				_, err := ReadTrusted(name, 100)
				if c.want == "" {
					require.NoError(t, err)
				} else {
					require.ErrorContains(t, err, c.want)
				}
			}
		})
	}
}

func TestReadAndReplace(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	require.NoError(t, Replace(path, []byte("one")))
	require.NoError(t, Replace(path, []byte("two")))
	got, err := Read(path, 3)
	require.NoError(t, err)
	require.Equal(t, "two", string(got))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	names, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, names, 1, "no temporary file is left")

	require.NoError(t, ReplacePublic(path, []byte("x")))
	_, err = ReadPublic(path, 10)
	require.NoError(t, err)
	_, err = Read(path, 10)
	require.ErrorContains(t, err, "0644")
}

func TestCreateNeverOverwrites(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	require.NoError(t, Create(path, []byte("one")))
	require.ErrorIs(t, Create(path, []byte("two")), fs.ErrExist)
	got, err := Read(path, 10)
	require.NoError(t, err)
	require.Equal(t, "one", string(got))
}

func TestCheckFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o777))
	require.ErrorContains(t, CheckFolder(dir), "others can replace files in it; run: chmod 700 ")
	require.False(t, FolderIsPrivate(dir))
	require.NoError(t, os.Chmod(dir, fs.ModeSticky|0o777))
	require.NoError(t, CheckFolder(dir))
	require.NoError(t, os.Chmod(dir, 0o700))
	require.NoError(t, CheckFolder(dir))
	require.True(t, FolderIsPrivate(dir))
	require.ErrorContains(t, CheckFolder(filepath.Join(dir, "none")), "does not exist")
	require.NoError(t, Folder(filepath.Join(dir, "a", "b")))
	require.True(t, FolderIsPrivate(filepath.Join(dir, "a", "b")))
}

func TestLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := Lock(t.Context(), path)
	require.NoError(t, err)

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Lock(ended, path)
	require.ErrorIs(t, err, ErrLocked)

	got := make(chan error)
	go func() {
		second, err := Lock(context.Background(), path)
		if err == nil {
			err = second()
		}
		got <- err
	}()
	require.NoError(t, unlock())
	require.NoError(t, <-got)
}

func write(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte("x"), 0o600))
	require.NoError(t, os.Chmod(path, mode))
}
