//go:build unix

package cse

import (
	"errors"
	"net"
	"syscall"
)

// quiet reports whether a kept connection is still open and has nothing to read. An end that has arrived, and bytes that
// nobody asked for, both make it useless; only in the moments between this look and the request can it still close.
func quiet(c net.Conn) bool {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	empty := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK) // the runtime's sockets don't block
		empty = errors.Is(err, syscall.EAGAIN)
		return true
	})
	return err == nil && empty
}
