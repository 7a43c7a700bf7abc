package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// socketBuffer is the kernel's receive and send buffer for each UDP socket, in bytes: at 20,000 datagrams a second of 200
// bytes it holds half a second. The kernel may grant less (net.core.rmem_max).
const socketBuffer = 2 << 20

// listen opens one UDP socket for each address. An IPv6 wildcard takes IPv4 too.
func listen(addresses []string) ([]net.PacketConn, error) {
	var sockets []net.PacketConn
	var lc net.ListenConfig
	for _, a := range addresses {
		s, err := lc.ListenPacket(context.Background(), "udp", a)
		if err != nil {
			for _, opened := range sockets {
				_ = opened.Close()
			}
			return nil, explainListen("UDP", a, "listen", err)
		}
		if u, ok := s.(*net.UDPConn); ok { // a smaller buffer works, it only loses earlier
			_ = u.SetReadBuffer(socketBuffer)
			_ = u.SetWriteBuffer(socketBuffer)
		}
		sockets = append(sockets, s)
	}
	return sockets, nil
}

// explainListen says what to do about an address that can't be listened on.
func explainListen(network, address, field string, err error) error {
	remedy := "choose another address in the configuration's " + field
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		remedy = "end the process that uses it (ss -lntup shows it), or choose another address or port"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		remedy = "this machine has no such address; choose one of its own, or one that begins with [::] for all"
	case errors.Is(err, syscall.EACCES):
		remedy = "ports below 1024 need a privilege; choose a higher one"
	}
	return fmt.Errorf("listen on %s %s: %w; %s", network, address, err, remedy)
}
