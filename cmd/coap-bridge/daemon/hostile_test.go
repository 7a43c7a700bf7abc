package daemon

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
)

// crudeCSE answers the requests of the Originator Cmeter1 as a script says, byte by byte, and those of others well.
type crudeCSE struct {
	at   string
	done chan struct{} // closed at the end
	mu   sync.Mutex    // guards the following field
	evil func(w io.Writer, r *http.Request, good string) bool
}

// startCrudeCSE listens with the certificate.
func startCrudeCSE(t *testing.T, conf *tls.Config) *crudeCSE {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", conf)
	require.NoError(t, err)
	c := &crudeCSE{at: l.Addr().String(), done: make(chan struct{})}
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[conn] = true
			mu.Unlock()
			running.Go(func() {
				c.serve(conn)
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		close(c.done)
		_ = l.Close()
		mu.Lock()
		for conn := range open {
			_ = conn.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return c
}

func (c *crudeCSE) serve(conn net.Conn) {
	for br := bufio.NewReader(conn); ; {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		body := `{"m2m:cnt":{"rn":"c"}}`
		good := "HTTP/1.1 200 OK\r\nX-M2M-RSC: 2000\r\nX-M2M-RI: " + r.Header.Get("X-M2M-RI") + "\r\nX-M2M-RVI: 3\r\n" +
			"Content-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
		c.mu.Lock()
		evil := c.evil
		c.mu.Unlock()
		if r.Header.Get("X-M2M-Origin") == "Cmeter1" {
			if !evil(conn, r, good) {
				return
			}
			continue
		}
		if _, err := io.WriteString(conn, good); err != nil {
			return
		}
	}
}

// wickedAnswer is what a hostile CSE may answer, and whether it lasts until the bridge gives up (W02).
type wickedAnswer struct {
	name  string
	lasts bool
	evil  func(c *crudeCSE, w io.Writer, good string) bool
}

func wickedAnswers(elsewhere string) []wickedAnswer {
	edit := func(name, old, new string) wickedAnswer {
		return wickedAnswer{name, false, func(_ *crudeCSE, w io.Writer, good string) bool {
			_, err := io.WriteString(w, strings.Replace(good, old, new, 1))
			return err == nil
		}}
	}
	return []wickedAnswer{
		{"huge body", false, func(_ *crudeCSE, w io.Writer, good string) bool {
			head, _, _ := strings.Cut(good, "Content-Length")
			_, err := io.WriteString(w, head+"Content-Length: 1073741824\r\n\r\n")
			for chunk := strings.Repeat("x", 1<<20); err == nil; {
				_, err = io.WriteString(w, chunk)
			}
			return false
		}},
		edit("wrong Request Identifier", "X-M2M-RI: ", "X-M2M-RI: other"),
		edit("no Request Identifier", "X-M2M-RI: ", "X-Other: "),
		edit("bad Response Status Code", "RSC: 2000", "RSC: success"),
		edit("unknown Response Status Code", "RSC: 2000", "RSC: 99999"),
		edit("header with CR LF", "RSC: 2000", "RSC: 2000\r\n X-M2M-RSC: 2001"),
		edit("two Response Status Codes", "RSC: 2000", "RSC: 2000\r\nX-M2M-RSC: 2001"),
		edit("header with CR", "X-M2M-RVI: 3", "X-M2M-RVI: 3\rX-M2M-RSC: 2001"),
		edit("redirect to another host", "200 OK", "307 Temporary Redirect\r\nLocation: https://"+elsewhere+"/cse-in"),
		edit("permanent redirect", "200 OK", "301 Moved Permanently\r\nLocation: https://"+elsewhere+"/cse-in"),
		edit("not HTTP", "HTTP/1.1", "SMTP"),
		{"slow drip", true, func(c *crudeCSE, w io.Writer, good string) bool {
			_, err := io.WriteString(w, good[:20])
			<-c.done
			return err == nil
		}},
		{"silence", true, func(c *crudeCSE, w io.Writer, _ string) bool {
			<-c.done
			return false
		}},
		{"hang up", false, func(*crudeCSE, io.Writer, string) bool { return false }},
	}
}

// TestW02HostileCSE: nothing that a hostile CSE answers reaches a device as success, and while the bridge bears with it for
// one device, another one is served. No redirect is followed.
func TestW02HostileCSE(t *testing.T) {
	t.Parallel()
	elsewhere, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var called sync.WaitGroup
	called.Go(func() {
		if conn, err := elsewhere.Accept(); err == nil {
			_ = conn.Close()
			t.Error("the redirect was followed")
		}
	})
	t.Cleanup(func() {
		_ = elsewhere.Close()
		called.Wait()
	})
	var cse *crudeCSE
	f := start(t, func(f *fixture, text string) string {
		conf := f.cseCA.Server(t, "127.0.0.1").TLS()
		cse = startCrudeCSE(t, &tls.Config{Certificates: []tls.Certificate{conf}, ClientCAs: f.cseCA.Pool(), ClientAuth: tls.RequireAndVerifyClientCert})
		return strings.Replace(text, "https://"+f.cseAt, "https://"+cse.at, 1)
	})
	meter, other := connect(t, f.addr(), "meter1", meterKey), connect(t, f.addr(), "other", otherKey)
	for _, wicked := range wickedAnswers(elsewhere.Addr().String()) {
		t.Run(wicked.name, func(t *testing.T) {
			cse.mu.Lock()
			cse.evil = func(w io.Writer, _ *http.Request, good string) bool { return wicked.evil(cse, w, good) }
			cse.mu.Unlock()
			type outcome struct {
				m    *coap.Message
				resp *onem2m.Response
			}
			hostile := make(chan outcome, 1)
			go func() {
				m, resp := meter.do(&onem2m.Request{Operation: onem2m.Create, ResourceType: onem2m.TypeContentInstance, To: "cse-in/meter1/c",
					From: "Cmeter1", Content: []byte(`{"m2m:cin":{"con":"1"}}`), MediaType: "application/json"})
				hostile <- outcome{m, resp}
			}()
			for range 5 {
				_, resp := other.do(&onem2m.Request{Operation: onem2m.Retrieve, To: "cse-in/other/c", From: "Cother1"})
				require.Equal(t, onem2m.StatusOK, resp.Status)
			}
			if wicked.lasts {
				select {
				case <-hostile:
					require.Fail(t, "the other device had to wait")
				default:
				}
			}
			got := <-hostile
			require.Equal(t, uint8(5), got.m.Code.Class(), "%s", got.m.Code)
			require.NotEqual(t, uint16(2), uint16(got.resp.Status)/1000, "%d", got.resp.Status)
			require.Contains(t, []onem2m.StatusCode{onem2m.StatusInternalServerError, onem2m.StatusRequestTimeout}, got.resp.Status)
			for _, secret := range []string{"m2m", elsewhere.Addr().String(), "X-"} {
				require.NotContains(t, string(got.m.Payload), secret, "S46")
			}
		})
	}
}
