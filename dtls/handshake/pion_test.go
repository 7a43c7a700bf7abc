package handshake

import (
	"context"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"hash"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pion "github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/ciphersuite"
	"github.com/pion/dtls/v3/pkg/crypto/clientcertificate"
	pionprf "github.com/pion/dtls/v3/pkg/crypto/prf"
	"github.com/pion/dtls/v3/pkg/protocol/recordlayer"
	"github.com/stretchr/testify/require"

	"coapbridge/dtls/record"
)

// pipe is the net.PacketConn of a pion.Conn: no socket, two queues.
type pipe struct {
	in, out chan []byte

	mu      sync.Mutex // guards the following fields
	expired chan struct{}
	timer   *time.Timer
	closed  bool
}

func newPipe() *pipe {
	return &pipe{in: make(chan []byte, 1024), out: make(chan []byte, 1024), expired: make(chan struct{})}
}

func (p *pipe) ReadFrom(b []byte) (int, net.Addr, error) {
	p.mu.Lock()
	expired, closed := p.expired, p.closed
	p.mu.Unlock()
	if closed {
		return 0, nil, net.ErrClosed
	}
	select {
	case d := <-p.in:
		return copy(b, d), p.LocalAddr(), nil
	case <-expired:
		return 0, nil, os.ErrDeadlineExceeded
	}
}

func (p *pipe) WriteTo(b []byte, _ net.Addr) (int, error) {
	select {
	case p.out <- append([]byte(nil), b...):
	default: // full: lost
	}
	return len(b), nil
}

func (p *pipe) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	return p.SetReadDeadline(time.Unix(1, 0))
}

func (p *pipe) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(testAddr) }

func (p *pipe) SetDeadline(t time.Time) error    { return p.SetReadDeadline(t) }
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }

func (p *pipe) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop()
	}
	select {
	case <-p.expired:
		p.expired = make(chan struct{})
	default:
	}
	if expired := p.expired; !t.IsZero() {
		if d := time.Until(t); d <= 0 {
			close(expired)
		} else {
			p.timer = time.AfterFunc(d, func() { close(expired) })
		}
	}
	return nil
}

// ecdhePSKCCM8 is TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256 (RFC 8442) for pion, which lacks it.
type ecdhePSKCCM8 struct {
	mu  sync.Mutex
	ccm *ciphersuite.CCM
}

func (*ecdhePSKCCM8) String() string                          { return "TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256" }
func (*ecdhePSKCCM8) ID() pion.CipherSuiteID                  { return 0xd003 }
func (*ecdhePSKCCM8) CertificateType() clientcertificate.Type { return 0 }
func (*ecdhePSKCCM8) HashFunc() func() hash.Hash              { return sha256.New }
func (*ecdhePSKCCM8) ECC() bool                               { return true }

func (*ecdhePSKCCM8) AuthenticationType() pion.CipherSuiteAuthenticationType {
	return pion.CipherSuiteAuthenticationTypePreSharedKey
}

func (*ecdhePSKCCM8) KeyExchangeAlgorithm() pion.CipherSuiteKeyExchangeAlgorithm {
	return pion.CipherSuiteKeyExchangeAlgorithmPsk | pion.CipherSuiteKeyExchangeAlgorithmEcdhe
}

func (s *ecdhePSKCCM8) Init(master, clientRandom, serverRandom []byte, isClient bool) error {
	k, err := pionprf.GenerateEncryptionKeys(master, clientRandom, serverRandom, 0, 16, 4, sha256.New)
	if err != nil {
		return err
	}
	own, ownIV, peer, peerIV := k.ServerWriteKey, k.ServerWriteIV, k.ClientWriteKey, k.ClientWriteIV
	if isClient {
		own, ownIV, peer, peerIV = peer, peerIV, own, ownIV
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ccm, err = ciphersuite.NewCCM(ciphersuite.CCMTagLength8, own, ownIV, peer, peerIV)
	return err
}

func (s *ecdhePSKCCM8) inner() *ciphersuite.CCM {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ccm
}

func (s *ecdhePSKCCM8) IsInitialized() bool { return s.inner() != nil }

func (s *ecdhePSKCCM8) Encrypt(pkt *recordlayer.RecordLayer, raw []byte) ([]byte, error) {
	return s.inner().Encrypt(pkt, raw)
}

func (s *ecdhePSKCCM8) Decrypt(h recordlayer.Header, in []byte) ([]byte, error) {
	return s.inner().Decrypt(h, in)
}

// pionOptions are those of a pion peer with one suite and the credentials of a side.
func pionOptions(s Suite, who *side, key string) []pion.Option {
	var opts []pion.Option
	if s.ID == 0xd003 {
		opts = append(opts, pion.WithCustomCipherSuites(func() []pion.CipherSuite {
			return []pion.CipherSuite{&ecdhePSKCCM8{}}
		}))
	} else {
		opts = append(opts, pion.WithCipherSuites(pion.CipherSuiteID(s.ID)))
	}
	opts = append(opts, pion.WithExtendedMasterSecret(pion.RequireExtendedMasterSecret))
	if s.PSK {
		return append(opts, pion.WithPSK(func([]byte) ([]byte, error) { return []byte(key), nil }),
			pion.WithPSKIdentityHint([]byte(testIdentity)))
	}
	leaf, _ := x509.ParseCertificate(who.chain[0])
	return append(opts, pion.WithCertificates(tls.Certificate{Certificate: who.chain, PrivateKey: who.key, Leaf: leaf}),
		pion.WithInsecureSkipVerify(true))
}

// network hands datagrams on, after some time, once, twice or not at all.
type network func(deliver func())

func perfect(deliver func()) { deliver() }

// pionRun lets a pion peer shake hands with a machine in a synctest bubble, which is done when both have said so.
type pionRun struct {
	pipe   *pipe
	net    network
	cidLen int
	up     chan []byte   // to the machine
	over   chan struct{} // closed when the machine is done

	receive func(datagram []byte, now time.Time)
	output  func() [][]byte
	machine func() *Machine
}

// drive moves datagrams and timers until stop is closed.
func (r *pionRun) drive(stop <-chan struct{}) {
	r.up = make(chan []byte, 4096)
	for {
		if m := r.machine(); m != nil && r.over != nil {
			if res, err := m.Done(); res != nil || err != nil {
				close(r.over)
				r.over = nil
			}
		}
		for _, d := range r.output() {
			r.net(func() {
				select {
				case r.pipe.in <- d:
				default:
				}
			})
		}
		var tick <-chan time.Time
		var timer *time.Timer
		if m := r.machine(); m != nil && !m.Deadline().IsZero() {
			timer = time.NewTimer(time.Until(m.Deadline()))
			tick = timer.C
		}
		select {
		case <-stop:
			return
		case d := <-r.pipe.out:
			r.net(func() {
				select {
				case r.up <- append([]byte(nil), d...):
				default:
				}
			})
		case d := <-r.up:
			r.receive(d, time.Now())
		case now := <-tick:
			r.machine().Tick(now)
		}
		if timer != nil {
			timer.Stop()
		}
	}
}

// pionClient runs a pion client against our server; it returns pion's connection when both are done.
func pionClient(f *front, net network, opts ...pion.Option) (*pionRun, *pion.Conn, error) {
	run := &pionRun{pipe: newPipe(), net: net, receive: repeatFinished(f), output: f.output, machine: func() *Machine { return f.m }}
	clientOpts := make([]pion.ClientOption, len(opts))
	for i, o := range opts {
		clientOpts[i] = o
	}
	conn, err := pion.ClientWithOptions(run.pipe, run.pipe.LocalAddr(), clientOpts...)
	if err != nil {
		return run, nil, err
	}
	return run, conn, run.finish(conn)
}

// pionServer runs a pion server against our client.
func pionServer(m *Machine, net network, opts ...pion.ServerOption) (*pionRun, *pion.Conn, error) {
	run := &pionRun{pipe: newPipe(), net: net, output: m.Output, machine: func() *Machine { return m }}
	run.receive = func(d []byte, now time.Time) {
		for _, r := range records(d, len(m.localCID)) {
			m.Receive(r, now)
			work(m, now)
		}
	}
	conn, err := pion.ServerWithOptions(run.pipe, run.pipe.LocalAddr(), opts...)
	if err != nil {
		return run, nil, err
	}
	return run, conn, run.finish(conn)
}

// repeatFinished stands for the engine, that answers a client which repeats its last flight.
func repeatFinished(f *front) func([]byte, time.Time) {
	var repeats uint64
	return func(d []byte, now time.Time) {
		if f.m != nil {
			if res, err := f.m.Done(); res != nil && err == nil {
				for _, r := range records(d, len(f.cid)) {
					if r.Type == record.TypeChangeCipherSpec {
						b := record.AppendClear(nil, record.TypeChangeCipherSpec, res.ClearSeq+repeats, []byte{1})
						b = record.NewCipher(&res.Write).Seal(b, record.TypeHandshake, 1, res.NextSeq+repeats, res.RemoteCID, res.LastFinished)
						f.out = append(f.out, b)
						repeats++
					}
				}
				return
			}
		}
		f.receive(d, now)
	}
}

func (r *pionRun) finish(conn *pion.Conn) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	stop, done, driven, over := make(chan struct{}), make(chan error, 1), make(chan struct{}), make(chan struct{})
	r.over = over
	go func() { done <- conn.HandshakeContext(ctx) }()
	go func() {
		r.drive(stop)
		close(driven)
	}()
	err := <-done
	if err == nil {
		select {
		case <-over:
		case <-ctx.Done():
		}
		time.Sleep(time.Second) // what is still under way
	}
	close(stop)
	<-driven
	return err
}

// requirePionTalk exchanges application data with pion.
func requirePionTalk(t testing.TB, run *pionRun, conn *pion.Conn, res *Result) {
	t.Helper()
	run.drain()
	_, err := conn.Write([]byte("from pion"))
	require.NoError(t, err)
	d := <-run.pipe.out
	r, _, ok := record.Parse(d, len(res.LocalCID))
	require.True(t, ok)
	require.Equal(t, len(res.LocalCID), len(r.CID))
	typ, plaintext, ok := record.NewCipher(&res.Read).Open(r)
	require.True(t, ok)
	require.Equal(t, record.TypeApplicationData, typ)
	require.Equal(t, "from pion", string(plaintext))
	seq := res.NextSeq + 100 // behind what was repeated
	run.pipe.in <- record.NewCipher(&res.Write).Seal(nil, record.TypeApplicationData, 1, seq, res.RemoteCID, []byte("to pion"))
	buf := make([]byte, 100)
	n, err := conn.Read(buf)
	require.NoError(t, err)
	require.Equal(t, "to pion", string(buf[:n]))
}

func (r *pionRun) drain() {
	for {
		select {
		case <-r.pipe.out:
		default:
			return
		}
	}
}

func TestEverySuiteServesPion(t *testing.T) {
	t.Parallel()
	for _, s := range Suites() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			mine, theirs := newSides(t, elliptic.P256())
			synctest.Test(t, func(t *testing.T) {
				f := &front{conf: bothKinds(), cb: mine}
				run, conn, err := pionClient(f, perfect, pionOptions(s, theirs, testKey)...)
				require.NoError(t, err)
				defer conn.Close()
				res, err := f.m.Done()
				require.NoError(t, err)
				require.NotNil(t, res)
				require.Equal(t, s, res.Suite)
				requirePionTalk(t, run, conn, res)
			})
		})
	}
}

func TestEverySuiteDialsPion(t *testing.T) {
	t.Parallel()
	for _, s := range Suites() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			mine, theirs := newSides(t, elliptic.P256())
			synctest.Test(t, func(t *testing.T) {
				m := NewClient(only(s), mine, Timers{}, paramsFor(s), time.Now())
				run, conn, err := pionServer(m, perfect, pionServerOptions(s, theirs)...)
				require.NoError(t, err)
				defer conn.Close()
				res, err := m.Done()
				require.NoError(t, err)
				require.NotNil(t, res)
				require.Equal(t, !s.PSK, res.Asked)
				requirePionTalk(t, run, conn, res)
			})
		})
	}
}

func pionServerOptions(s Suite, who *side, more ...pion.Option) []pion.ServerOption {
	opts := []pion.ServerOption{pion.WithClientAuth(pion.RequireAnyClientCert)}
	if s.PSK {
		opts = nil
	}
	for _, o := range append(pionOptions(s, who, testKey), more...) {
		opts = append(opts, o)
	}
	return opts
}
