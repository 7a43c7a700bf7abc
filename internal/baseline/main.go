// Command baseline is what coap-bridge is measured against: the shortest CoAP server over DTLS that pion/dtls and go-coap
// make, with a pre-shared key and with certificates of both sides. It answers GET /.well-known/core itself, and carries every
// other request to a CSE over HTTPS with mutual TLS, through net/http.
//
// It is test support: it checks nothing, it maps no primitive, and it has no limits but the libraries' own.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	pion "github.com/pion/dtls/v3"
	"github.com/plgd-dev/go-coap/v3/dtls"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/mux"
	coapnet "github.com/plgd-dev/go-coap/v3/net"
	"github.com/plgd-dev/go-coap/v3/options"
	"github.com/plgd-dev/go-coap/v3/udp/client"
)

// flags are where things are.
type flags struct {
	listen, key, metrics                string
	cert, certKey, clientCA             string
	cse, cseCA, cseCert, cseKey, origin string
}

func main() {
	var f flags
	flag.StringVar(&f.listen, "listen", "127.0.0.1:5684", "UDP address")
	flag.StringVar(&f.key, "psk", "", "key of all identities; without it, certificates")
	flag.StringVar(&f.cert, "cert", "", "certificate (PEM)")
	flag.StringVar(&f.certKey, "key", "", "its key (PEM)")
	flag.StringVar(&f.clientCA, "client-ca", "", "CA of the clients (PEM)")
	flag.StringVar(&f.cse, "cse", "", "URL of what requests are carried to")
	flag.StringVar(&f.cseCA, "cse-ca", "", "CA of its certificate (PEM)")
	flag.StringVar(&f.cseCert, "cse-cert", "", "certificate that is shown to it (PEM)")
	flag.StringVar(&f.cseKey, "cse-key", "", "its key (PEM)")
	flag.StringVar(&f.origin, "from", "CAdmin", "Originator of what is carried")
	flag.StringVar(&f.metrics, "metrics", "127.0.0.1:0", "TCP address that says how many goroutines and allocations there are")
	flag.Parse()
	if err := f.run(); err != nil {
		log.Fatal(err)
	}
}

func (f *flags) run() error {
	opts, err := f.dtls()
	if err != nil {
		return err
	}
	forward, err := f.forward()
	if err != nil {
		return err
	}
	listener, err := coapnet.NewDTLSListener("udp4", f.listen, coapnet.NewDTLSServerOptions(opts...))
	if err != nil {
		return err
	}
	router := mux.NewRouter()
	err = router.Handle("/.well-known/core", mux.HandlerFunc(func(w mux.ResponseWriter, _ *mux.Message) {
		_ = w.SetResponse(codes.Content, message.AppLinkFormat, bytes.NewReader([]byte(`</cse-in>;ct="50 60 41"`)))
	}))
	if err != nil {
		return err
	}
	router.DefaultHandle(forward)
	server := dtls.NewServer(
		options.WithMux(router),
		options.WithErrors(func(error) {}),
		options.WithInactivityMonitor(time.Hour, func(cc *client.Conn) { _ = cc.Close() }), // its own is 16 s
	)
	go func() { log.Print(http.ListenAndServe(f.metrics, http.HandlerFunc(metrics))) }()
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-ended
		os.Exit(0) // nothing of it is worth an orderly end
	}()
	return server.Serve(listener)
}

// dtls returns what pion is told. The suites are those that the measurements use.
func (f *flags) dtls() ([]pion.ServerOption, error) {
	if f.key != "" {
		return []pion.ServerOption{
			pion.WithCipherSuites(pion.TLS_PSK_WITH_AES_128_CCM_8),
			pion.WithPSK(func([]byte) ([]byte, error) { return []byte(f.key), nil }),
			pion.WithExtendedMasterSecret(pion.RequireExtendedMasterSecret),
		}, nil
	}
	own, err := tls.LoadX509KeyPair(f.cert, f.certKey)
	if err != nil {
		return nil, err
	}
	cas, err := pool(f.clientCA)
	return []pion.ServerOption{
		pion.WithCipherSuites(pion.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
		pion.WithCertificates(own),
		pion.WithClientAuth(pion.RequireAndVerifyClientCert),
		pion.WithClientCAs(cas),
		pion.WithExtendedMasterSecret(pion.RequireExtendedMasterSecret),
	}, err
}

// forward carries a request to the CSE as a RETRIEVE or CREATE (TS-0009), and its answer's content back.
func (f *flags) forward() (mux.HandlerFunc, error) {
	if f.cse == "" {
		return func(w mux.ResponseWriter, _ *mux.Message) { _ = w.SetResponse(codes.NotFound, message.TextPlain, nil) }, nil
	}
	own, err := tls.LoadX509KeyPair(f.cseCert, f.cseKey)
	if err != nil {
		return nil, err
	}
	cas, err := pool(f.cseCA)
	if err != nil {
		return nil, err
	}
	cse := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig:     &tls.Config{Certificates: []tls.Certificate{own}, RootCAs: cas},
		MaxIdleConnsPerHost: 64,
		MaxConnsPerHost:     64,
	}}
	var identifiers atomic.Uint64
	return func(w mux.ResponseWriter, r *mux.Message) {
		path, _ := r.Path()
		body, err := r.ReadBody()
		if err != nil {
			body = nil
		}
		method := http.MethodGet
		if r.Code() == codes.POST {
			method = http.MethodPost
		}
		req, err := http.NewRequestWithContext(context.Background(), method, f.cse+path, bytes.NewReader(body))
		if err != nil {
			_ = w.SetResponse(codes.BadRequest, message.TextPlain, nil)
			return
		}
		req.Header["X-M2M-Origin"], req.Header["X-M2M-RVI"] = []string{f.origin}, []string{"3"}
		req.Header["X-M2M-RI"] = []string{strconv.FormatUint(identifiers.Add(1), 10)}
		req.Header.Set("Accept", "application/json")
		resp, err := cse.Do(req)
		if err != nil {
			_ = w.SetResponse(codes.GatewayTimeout, message.TextPlain, nil)
			return
		}
		defer resp.Body.Close()
		content, err := io.ReadAll(resp.Body)
		code := codes.Content
		if err != nil || resp.StatusCode >= http.StatusBadRequest {
			code = codes.BadGateway
		}
		_ = w.SetResponse(code, message.AppJSON, bytes.NewReader(content))
	}, nil
}

func pool(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return p, nil
}

func metrics(w http.ResponseWriter, _ *http.Request) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Fprintf(w, "go_goroutines %d\ngo_memstats_mallocs_total %d\n", runtime.NumGoroutine(), m.Mallocs)
}
