//go:build !linux

package admin

import "net"

// peerOf knows nobody: only Linux's way of asking is written.
func peerOf(*net.UnixConn) (localPeer, bool) { return localPeer{}, false }
