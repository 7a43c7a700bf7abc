package secret

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"
)

const planted = "planted-9f31c7"

// leaks lists the spellings in which a printer could show the planted bytes.
func leaks() []string {
	b := []byte(planted)
	return []string{planted, fmt.Sprintf("%x", b), fmt.Sprintf("%X", b), strings.Trim(fmt.Sprint(b), "[]"),
		strings.Trim(fmt.Sprintf("%#v", b), "[]byte{}")}
}

func requireNoLeak(t *testing.T, out string) {
	t.Helper()
	for _, l := range leaks() {
		require.NotContains(t, out, l)
	}
}

// TestO01SecretsNeverPrint: whatever prints, logs or encodes a secret, alone or inside another value, shows none of it.
func TestO01SecretsNeverPrint(t *testing.T) {
	t.Parallel()
	s := New([]byte(planted))
	type outer struct {
		Public  Bytes
		private Bytes
		Pointer *Bytes
		M       map[string]Bytes
	}
	holder := outer{Public: s, private: s, Pointer: &s, M: map[string]Bytes{"k": s}}
	require.False(t, holder.private.IsZero())
	for _, v := range []any{s, &s, []Bytes{s}, holder, &holder, error(fmt.Errorf("wrapped %v", s))} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%08b", "%p"} {
			requireNoLeak(t, fmt.Sprintf(verb, v))
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("event", "v", v, slog.Group("g", "v", v))
		slog.New(slog.NewJSONHandler(&log, nil)).Info("event", "v", v, slog.Group("g", "v", v))
		requireNoLeak(t, log.String())
		j, err := json.Marshal(v)
		require.NoError(t, err)
		requireNoLeak(t, string(j))
		y, err := yaml.Marshal(v)
		require.NoError(t, err)
		requireNoLeak(t, string(y))
	}
	x, err := xml.Marshal(s)
	require.NoError(t, err)
	requireNoLeak(t, string(x))
	require.Contains(t, fmt.Sprint(holder.Public), redacted)
}

func TestBytes(t *testing.T) {
	t.Parallel()
	in := []byte(planted)
	s := New(in)
	in[0] = 'X'
	require.Equal(t, planted, string(s.Reveal()))
	s.Reveal()[0] = 'X'
	require.Equal(t, planted, string(s.Reveal()))
	require.Equal(t, len(planted), s.Len())
	require.True(t, s.Equal([]byte(planted)))
	require.False(t, s.Equal([]byte(planted[1:])))
	require.False(t, s.Equal(nil))
	require.True(t, New(nil).IsZero())
	require.False(t, Bytes{}.Equal(nil), "no secret equals nothing")
	require.Nil(t, Bytes{}.Reveal())
}

// TestO02ReadFile: a file that others may read or change, or that is not what it says, is refused with its remedy.
func TestO02ReadFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		require.NoError(t, os.Chmod(path, mode))
		return path
	}
	good := write("good", planted+"\n", 0o600)
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(good, link))
	tests := []struct {
		name, path, want, err string
	}{
		{name: "one line end goes", path: good, want: planted},
		{name: "CR LF goes", path: write("crlf", planted+"\r\n", 0o600), want: planted},
		{name: "only one line end goes", path: write("two", planted+"\n\n", 0o600), want: planted + "\n"},
		{name: "read-only", path: write("ro", planted, 0o400), want: planted},
		{name: "world-readable", path: write("world", planted, 0o644), err: "chmod 600"},
		{name: "group-readable", path: write("group", planted, 0o640), err: "chmod 600"},
		{name: "symbolic link", path: link, err: "symbolic link"},
		{name: "directory", path: dir, err: "no regular file"},
		{name: "empty", path: write("empty", "", 0o600), err: ErrEmpty.Error()},
		{name: "only a line end", path: write("nl", "\n", 0o600), err: ErrEmpty.Error()},
		{name: "too long", path: write("long", strings.Repeat("x", maxFileBytes+1), 0o600), err: "is longer than"},
		{name: "missing", path: filepath.Join(dir, "none"), err: "does not exist"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := ReadFile(tt.path)
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				require.ErrorContains(t, err, tt.path)
				require.NotContains(t, err.Error(), planted)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tt.want, string(s.Reveal()))
		})
	}
}

func TestReadOrCreate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key")
	secrets := make([]Bytes, 8)
	var wg sync.WaitGroup
	for i := range secrets {
		wg.Go(func() {
			s, err := ReadOrCreate(path, 32)
			if err == nil {
				secrets[i] = s
			}
		})
	}
	wg.Wait()
	require.Equal(t, 64, secrets[0].Len(), "32 bytes in hex")
	for _, s := range secrets {
		require.True(t, s.Equal(secrets[0].Reveal()), "all of them read the same secret")
	}
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1, "no temporary file is left")
	again, err := ReadOrCreate(path, 32)
	require.NoError(t, err)
	require.True(t, again.Equal(secrets[0].Reveal()))
}
