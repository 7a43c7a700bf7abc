//go:build !linux

package dtls

import "net"

// newPacketInfo returns nil: the kernel chooses the source of what leaves a socket that is bound to no address. Bind one
// socket to each address instead.
func newPacketInfo(*net.UDPConn) (packetInfo, error) { return nil, nil }
