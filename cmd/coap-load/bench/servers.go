package bench

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"coapbridge/cmd/coap-bridge/pki"
	"coapbridge/cmd/coap-load/credentials"
	"coapbridge/cmd/coap-load/load"
	"coapbridge/cmd/coap-load/measure"
	"coapbridge/cmd/coap-load/session"
)

// kind is what devices authenticate with.
type kind int

const (
	withKey kind = iota
	withCertificate
)

// server is one that runs.
type server struct {
	target  netip.AddrPort
	pid     int
	metrics string
	own     load.Request  // one that it answers itself
	forward *load.Request // one that it carries to the CSE; nil: it can't
	stop    func()
}

// peer is one that can be started.
type peer struct {
	name     string
	sessions int // it can't reasonably be asked to hold more; 0: any number
	start    func(context.Context, *place, kind) (*server, error)
}

// peers returns the servers; the first is what the others are compared with.
func peers() []peer {
	return []peer{
		{"pion+go-coap", 0, startBaseline},
		{"coap-bridge", 0, startBridge},
		// Each new session costs libcoap a walk along all others: 5 ms at 20,000.
		{"libcoap OpenSSL", 20_000, libcoap("coap-server-openssl")},
		{"libcoap GnuTLS", 20_000, libcoap("coap-server-gnutls")},
	}
}

const (
	originator   = "CAdmin" // who may read the CSE in memory
	identities   = "load-%d"
	certificates = "urn:coap-load:%d"

	startTimeout = 60 * time.Second // a devices file with 100,000 entries takes some seconds
	stopTimeout  = 5 * time.Second
	watchStart   = 10 * time.Millisecond
)

// place is the folder with all keys, and the CSE.
type place struct {
	conf   Config
	dir    string
	key    string
	made   *pki.Result
	issuer *credentials.Issuer
	cse    string // its URL
	ends   []func()
	runs   int
}

func newPlace(ctx context.Context, conf Config, dir string) (*place, error) {
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, err
	}
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	p := &place{conf: conf, dir: dir, key: hex.EncodeToString(random[:])}
	var err error
	if p.made, err = pki.EnsureDemo(ctx, filepath.Join(dir, "pki"), time.Now()); err != nil {
		return nil, err
	}
	if p.issuer, err = credentials.NewIssuer(p.made.Paths.DeviceCA.Chain, p.made.Paths.DeviceCA.Key, certificates); err != nil {
		return nil, err
	}
	if err := p.issuer.Prepare(conf.CertSessions); err != nil {
		return nil, err
	}
	for _, k := range []kind{withKey, withCertificate} {
		if err := p.writeDevices(k); err != nil {
			return nil, err
		}
	}
	cse := p.made.Paths.CSEServer
	out, s, err := p.spawn(ctx, p.bin("coap-load"), "cse", "--cert", cse.Chain, "--key", cse.Key, "--ca", p.made.Paths.CSECA.Chain)
	if err != nil {
		return nil, err
	}
	p.ends = append(p.ends, s.stop)
	p.cse = strings.TrimSpace(out)
	return p, nil
}

func (p *place) close() {
	for _, end := range p.ends {
		end()
	}
}

func (p *place) bin(name string) string { return filepath.Join(p.conf.Bin, name) }

func (p *place) credentials(c *session.Config, k kind) {
	if k == withKey {
		c.Credential = credentials.PSK(identities, []byte(p.key))
		return
	}
	c.Credential = p.issuer.Credential
	c.Roots, _ = credentials.Roots(p.made.Paths.DeviceCA.Chain) // NewIssuer read it before
}

// devices is the bridge's devices file for one kind of devices.
func devices(k kind) string {
	if k == withKey {
		return "load-keys.yaml"
	}
	return "load-certificates.yaml"
}

// writeDevices writes a devices file in which each device has its own entry.
func (p *place) writeDevices(k kind) error {
	f, err := os.OpenFile(filepath.Join(p.made.Paths.Dir, devices(k)), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	fmt.Fprint(w, "version: 1\ndevices:\n")
	n := p.conf.Sessions
	if k == withCertificate {
		n = p.conf.CertSessions
	}
	for i := range n {
		name := credentials.Numbered(identities, i)
		fmt.Fprintf(w, "  - name: %s\n    entity: true\n    originators: [%s]\n", name, originator)
		if k == withKey {
			fmt.Fprintf(w, "    psk: {identity: %s, up: \"text:%s\"}\n", name, p.key)
		} else {
			fmt.Fprintf(w, "    certificate: {san: \"uri:%s\"}\n", credentials.Numbered(certificates, i))
		}
	}
	return errors.Join(w.Flush(), f.Close())
}

// spawn starts a program and returns the first line that it prints, which says that it is there.
func (p *place) spawn(ctx context.Context, name string, args ...string) (line string, s *server, err error) {
	read, write, err := os.Pipe()
	if err != nil {
		return "", nil, err
	}
	defer read.Close()
	s, err = p.start(ctx, write, name, args...)
	_ = write.Close()
	if err != nil {
		return "", nil, err
	}
	_ = read.SetReadDeadline(time.Now().Add(startTimeout))
	line, err = bufio.NewReader(read).ReadString('\n')
	if err != nil {
		s.stop()
		return "", nil, fmt.Errorf("bench: %s does not start: %w; see %s", filepath.Base(name), err, p.log())
	}
	return line, s, nil
}

func (p *place) log() string { return filepath.Join(p.dir, "log."+strconv.Itoa(p.runs)) }

// start starts a program whose output goes to a file.
func (p *place) start(ctx context.Context, stdout *os.File, name string, args ...string) (*server, error) {
	p.runs++
	log, err := os.Create(p.log())
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if stdout != nil {
		cmd.Stdout = stdout
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	return &server{pid: cmd.Process.Pid, stop: func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(stopTimeout):
			_ = cmd.Process.Kill()
			<-ended
		}
	}}, nil
}

// listen starts a server and waits until it listens on target.
func (p *place) listen(ctx context.Context, target netip.AddrPort, name string, args ...string) (*server, error) {
	s, err := p.start(ctx, nil, name, args...)
	if err != nil {
		return nil, err
	}
	s.target = target
	for began := time.Now(); time.Since(began) < startTimeout; {
		if listens(target.Port()) {
			return s, nil
		}
		if syscall.Kill(s.pid, 0) != nil || ctx.Err() != nil {
			break
		}
		<-time.After(watchStart)
	}
	s.stop()
	text, _ := os.ReadFile(p.log())
	return nil, fmt.Errorf("bench: %s does not start: %s", filepath.Base(name), strings.TrimSpace(string(text[max(0, len(text)-400):])))
}

// awaitMetrics waits until the server says what it has.
func (s *server) awaitMetrics(ctx context.Context) error {
	for began := time.Now(); ; <-time.After(watchStart) {
		_, err := measure.Open(s.pid, s.metrics)
		if err == nil || ctx.Err() != nil || time.Since(began) > startTimeout {
			if err != nil {
				s.stop()
			}
			return err
		}
	}
}

// listens reports whether somebody has the UDP port, as /proc/net/udp and udp6 say.
func listens(port uint16) bool {
	mark := fmt.Sprintf(":%04X ", port)
	for _, name := range []string{"/proc/net/udp", "/proc/net/udp6"} {
		table, _ := os.ReadFile(name)
		for line := range strings.Lines(string(table)) {
			if _, local, ok := strings.Cut(line, ": "); ok && len(local) > 40 && strings.Contains(local[:40], mark) {
				return true
			}
		}
	}
	return false
}

// freePorts returns n UDP ports in a row that nobody had a moment ago.
func freePorts(n int) (uint16, error) {
	for range 100 {
		first, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		port := first.LocalAddr().(*net.UDPAddr).Port
		free := true
		for i := 1; i < n && free; i++ {
			next, err := net.ListenPacket("udp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port+i)))
			if free = err == nil; free {
				_ = next.Close()
			}
		}
		_ = first.Close()
		if free {
			return uint16(port), nil
		}
	}
	return 0, errors.New("bench: no free UDP ports")
}

func loopback(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
}
