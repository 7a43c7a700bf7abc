package bench

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"coapbridge/cmd/coap-load/load"
)

func get(path, from string) load.Request {
	return load.Request{Method: "GET", Path: path, Format: -1, From: from}
}

// bridgeText is the bridge's configuration for a measurement: as an operator would have it for so many devices.
const bridgeText = `version: 1
listen: ["%s"]
certificate: {chain: bridge.crt, key: bridge.key}
clientCA: ca.crt
devices: %s
bindings: load.jsonl
cses:
  - {name: main, default: true, url: "%s", ca: cse-ca.crt, certificate: cse-client.crt, key: cse-client.key, cseID: /id-in, cseBase: cse-in}
admin: {socket: admin.sock}
log: {level: error}
limits: {sessions: %d}
`

func startBridge(ctx context.Context, p *place, k kind) (*server, error) {
	port, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	dir := p.made.Paths.Dir
	config := filepath.Join(dir, "load-config.yaml")
	text := fmt.Sprintf(bridgeText, loopback(port), devices(k), p.cse, 2*(p.conf.Sessions+p.conf.CertSessions))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	s, err := p.listen(ctx, loopback(port), p.bin("coap-bridge"), "run", "--config", config)
	if err != nil {
		return nil, err
	}
	s.metrics = "unix:" + filepath.Join(dir, "admin.sock")
	s.own = get("/.well-known/core", "")
	forward := get("/cse-in", originator)
	s.forward = &forward
	return s, s.awaitMetrics(ctx)
}

func startBaseline(ctx context.Context, p *place, k kind) (*server, error) {
	port, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	metrics, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	at := metrics.Addr().String()
	_ = metrics.Close()
	paths := p.made.Paths
	args := []string{
		"-listen", loopback(port).String(), "-metrics", at, "-cse", p.cse, "-from", originator,
		"-cse-ca", paths.CSECA.Chain, "-cse-cert", paths.CSEClient.Chain, "-cse-key", paths.CSEClient.Key,
	}
	if k == withKey {
		args = append(args, "-psk", p.key)
	} else {
		args = append(args, "-cert", paths.Bridge.Chain, "-key", paths.Bridge.Key, "-client-ca", paths.DeviceCA.Chain)
	}
	s, err := p.listen(ctx, loopback(port), p.bin("bench/baseline"), args...)
	if err != nil {
		return nil, err
	}
	s.metrics = "http://" + at + "/"
	s.own = get("/.well-known/core", "")
	forward := get("/cse-in", "")
	s.forward = &forward
	return s, s.awaitMetrics(ctx)
}

// proxied is the host that libcoap's server carries requests for, to another one of its kind over plain CoAP: it has no HTTP.
const proxied = "cse.example"

// libcoap returns how libcoap's server is started with one TLS library. It listens for DTLS on the port after its own.
func libcoap(program string) func(context.Context, *place, kind) (*server, error) {
	return func(ctx context.Context, p *place, k kind) (*server, error) {
		port, err := freePorts(2)
		if err != nil {
			return nil, err
		}
		args := []string{"-A", "127.0.0.1", "-p", strconv.Itoa(int(port)), "-v", "0"}
		var next *server
		if k == withKey {
			if next, err = startNext(ctx, p); err != nil {
				return nil, err
			}
			args = append(args, "-k", p.key, "-u", "proxy", "-P", "coap://"+next.target.String()+",proxy.example")
		} else {
			args = append(args, "-c", p.made.Paths.Bridge.Chain, "-j", p.made.Paths.Bridge.Key, "-C", p.made.Paths.DeviceCA.Chain)
		}
		s, err := p.listen(ctx, loopback(port+1), program, args...)
		if err != nil {
			if next != nil {
				next.stop()
			}
			return nil, err
		}
		s.own = get("/time", "")
		if next != nil {
			forward := get("/time", "")
			forward.Host, forward.Proxy = proxied, "coap"
			s.forward = &forward
			stop := s.stop
			s.stop = func() {
				stop()
				next.stop()
			}
		}
		return s, nil
	}
}

// startNext starts what libcoap's server carries requests to.
func startNext(ctx context.Context, p *place) (*server, error) {
	port, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	return p.listen(ctx, loopback(port), "coap-server-notls", "-A", "127.0.0.1", "-p", strconv.Itoa(int(port)), "-v", "0", "-P", ","+proxied)
}

func startEcho(ctx context.Context, p *place) (*server, error) {
	line, s, err := p.spawn(ctx, p.bin("coap-load"), "echo")
	if err != nil {
		return nil, err
	}
	s.target, err = netip.ParseAddrPort(strings.TrimSpace(line))
	return s, err
}
