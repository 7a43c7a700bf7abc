package admin

import (
	"net"

	"golang.org/x/sys/unix"
)

// peerOf asks the kernel who connected to the Unix socket (SO_PEERCRED, unix(7)).
func peerOf(c *net.UnixConn) (localPeer, bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return localPeer{}, false
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err != nil || credErr != nil {
		return localPeer{}, false
	}
	return localPeer{uid: cred.Uid, pid: cred.Pid}, true
}
