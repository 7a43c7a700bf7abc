package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// demonstration is a running "coap-bridge demo".
type demonstration struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines []string // those to paste
	text  string
}

// build builds the command as "make build" does, into dir.
func build(t *testing.T, dir string) string {
	t.Helper()
	binary := filepath.Join(dir, "coap-bridge")
	cmd := exec.Command("go", "build", "-o", binary, ".")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return binary
}

// startDemo starts binary's demo in dir and reads what it prints.
func startDemo(t *testing.T, binary, dir string) *demonstration {
	t.Helper()
	d := &demonstration{t: t, cmd: exec.Command(binary, "demo", "--dir", dir, "--port", "0")}
	out, err := d.cmd.StdoutPipe()
	require.NoError(t, err)
	var errs bytes.Buffer
	d.cmd.Stderr = &errs
	require.NoError(t, d.cmd.Start())
	t.Cleanup(func() { _ = d.cmd.Process.Kill() })
	for in := bufio.NewScanner(out); in.Scan(); {
		d.text += in.Text() + "\n"
		if line, ok := strings.CutPrefix(in.Text(), "  "); ok {
			d.lines = append(d.lines, line)
		}
		if strings.HasPrefix(in.Text(), "Counters:") {
			return d
		}
	}
	require.Fail(t, "the demonstration ended early", errs.String())
	return nil
}

// stop ends it as Ctrl-C does.
func (d *demonstration) stop() {
	d.t.Helper()
	require.NoError(d.t, d.cmd.Process.Signal(syscall.SIGINT))
	require.NoError(d.t, d.cmd.Wait())
}

// paste runs a printed line in a shell and returns its standard output.
func (d *demonstration) paste(line string) string {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	require.NoError(d.t, err, "%s\n%s", line, errs.String())
	return string(out)
}

// observe pastes the line that observes, and while it runs the one that posts: what is posted is shown beside the value
// that was there.
func (d *demonstration) observe(line, post, value string) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", "exec "+line)
	out, err := cmd.StdoutPipe()
	require.NoError(d.t, err)
	require.NoError(d.t, cmd.Start())
	shown := make([]byte, len(value))
	_, err = io.ReadFull(out, shown)
	require.NoError(d.t, err)
	require.Equal(d.t, value, string(shown))
	d.paste(strings.Replace(post, "-e 21.5", "-e next-"+value, 1))
	shown = make([]byte, len("next-"+value))
	_, err = io.ReadFull(out, shown)
	require.NoError(d.t, err)
	require.Equal(d.t, "next-"+value, string(shown))
	require.NoError(d.t, cmd.Process.Signal(syscall.SIGINT))
	_ = cmd.Wait() // how a client ends that was told to
}

// TestDemo: on a fresh folder the printed lines work as they are, with both of libcoap's clients, and the CSE holds what
// was sent; a second start uses the folder again.
func TestDemo(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "cb") // short: the admin socket's path has to fit
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	binary := build(t, dir)
	data := filepath.Join(dir, "data")

	d := startDemo(t, binary, data)
	info, err := os.Stat(data)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	require.Len(t, d.lines, 7)
	for i, client := range []string{"coap-client-openssl", "coap-client-gnutls"} {
		pasted := make([]string, len(d.lines))
		for j, line := range d.lines {
			pasted[j] = strings.Replace(line, coapClient(), client, 1)
		}
		value := fmt.Sprintf("21.%d", i)
		d.paste(strings.Replace(pasted[0], "-e 21.5", "-e "+value, 1))
		require.Equal(t, value+"\n", d.paste(pasted[1]), client)
		d.observe(pasted[2], pasted[0], value)
		d.paste(pasted[3])
		require.Equal(t, "on\n", d.paste(pasted[4]), client)
		require.Contains(t, d.paste(pasted[5]), `"con": "next-`+value+`"`)
		require.Contains(t, d.paste(pasted[6]), "cse-in/psk-device/room/temperature")
	}
	d.stop()

	again := startDemo(t, binary, data)
	require.Contains(t, again.text, strings.Fields(d.lines[0])[6], "another key after a second start")
	again.paste(again.lines[0])
	require.Equal(t, "21.5\n", again.paste(again.lines[1]), "the CSE lost its memory; the device is registered again")
	again.stop()
}

// TestDemoPortTaken: an occupied port is a clear error.
func TestDemoPortTaken(t *testing.T) {
	t.Parallel()
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	dir, err := os.MkdirTemp("", "cb")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	var out bytes.Buffer
	port := taken.LocalAddr().(*net.UDPAddr).Port
	err = runDemo(t.Context(), dir, uint16(port), &out, &out)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.ErrorContains(t, err, fmt.Sprintf("127.0.0.1:%d", port))
	require.ErrorContains(t, err, "--port")
	require.Empty(t, out.String())
}

// TestDemoWithoutIPv6: both ways of having no IPv6 are known, and an occupied port is neither.
func TestDemoWithoutIPv6(t *testing.T) {
	t.Parallel()
	for errno, want := range map[syscall.Errno]bool{
		syscall.EADDRNOTAVAIL: true, syscall.EAFNOSUPPORT: true, syscall.EADDRINUSE: false,
	} {
		err := fmt.Errorf("listen: %w", &net.OpError{Op: "listen", Net: "udp", Err: os.NewSyscallError("socket", errno)})
		require.Equal(t, want, withoutIPv6(err), errno.Error())
	}
}
