//go:build !linux

package dtls

import "net"

// newBatches has no implementation here: datagrams are read and written one at a time.
func newBatches(*socket, *net.UDPConn) (transport, error) { return nil, nil }
