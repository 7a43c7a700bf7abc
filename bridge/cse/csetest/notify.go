package csetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// delivery is a NOTIFY on its way out.
type delivery struct {
	urls  []string // tried in turn
	ch    *channel // of a polling channel, instead of urls
	to    string   // for ch
	from  string
	rqi   string // "" makes one
	body  []byte
	media string // "" means JSON
}

// notifier sends notifications in order, one at a time, from a goroutine that lives only while some wait.
type notifier struct {
	client  *http.Client // nil: nobody is trusted, so nothing leaves
	timeout time.Duration

	ctx    context.Context // ends with close; a notification belongs to no caller
	cancel context.CancelFunc

	mu      sync.Mutex // guards the following fields
	queue   []delivery
	running bool
	work    sync.WaitGroup

	sent, failed atomic.Int64
}

func newNotifier(cfg Config) *notifier {
	n := &notifier{timeout: cfg.NotifyTimeout}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	if cfg.NotifyCAs == nil {
		return n
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.NotifyCAs}
	if len(cfg.NotifyCertificate.Certificate) > 0 {
		conf.Certificates = []tls.Certificate{cfg.NotifyCertificate}
	}
	n.client = &http.Client{
		Transport:     &http.Transport{TLSClientConfig: conf, DisableCompression: true, MaxConnsPerHost: 4, IdleConnTimeout: idleTimeout},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return n
}

// Notifications returns how many notifications a target took with 2000, and how many were lost: refused, unreachable, or
// crowded out. Verifications and NOTIFYs handed on count too.
func (c *CSE) Notifications() (sent, failed int64) {
	return c.notifier.sent.Load(), c.notifier.failed.Load()
}

func (n *notifier) lost() { n.failed.Add(1) }

func (n *notifier) enqueue(d delivery) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ctx.Err() != nil || len(n.queue) >= maxQueued {
		n.lost()
		return
	}
	n.queue = append(n.queue, d)
	if !n.running {
		n.running = true
		n.work.Add(1)
		go n.run()
	}
}

func (n *notifier) run() {
	defer n.work.Done()
	for {
		n.mu.Lock()
		if len(n.queue) == 0 || n.ctx.Err() != nil {
			n.running, n.queue = false, nil
			n.mu.Unlock()
			return
		}
		d := n.queue[0]
		n.queue = n.queue[1:]
		n.mu.Unlock()
		_, _, _ = n.send(n.ctx, d) // counted there; a CSE doesn't repeat a notification
	}
}

// send posts to the first URL that answers, and returns the answer's content and ResponseStatusCode. An answer without
// X-M2M-RSC counts by its HTTP status: 200 is 2000.
func (n *notifier) send(ctx context.Context, d delivery) ([]byte, status, error) {
	ctx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	err := errors.New("csetest: no pointOfAccess")
	if d.ch != nil {
		body, s, err := d.ch.ask(ctx, d)
		if err != nil || s != ok {
			n.lost()
		} else {
			n.sent.Add(1)
		}
		return body, s, err
	}
	for _, url := range d.urls {
		var body []byte
		var s status
		if body, s, err = n.post(ctx, url, d); err == nil {
			if s == ok {
				n.sent.Add(1)
			} else {
				n.lost()
			}
			return body, s, nil
		}
	}
	n.lost()
	return nil, 0, err
}

func (n *notifier) post(ctx context.Context, url string, d delivery) ([]byte, status, error) {
	if n.client == nil || !strings.HasPrefix(url, "https://") {
		return nil, 0, errors.New("csetest: only https is notified, and only with Config.NotifyCAs")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(d.body))
	if err != nil {
		return nil, 0, err
	}
	if d.rqi == "" {
		d.rqi = rand.Text()
	}
	if d.media == "" {
		d.media = formatJSON.media()
	}
	for name, value := range map[string]string{
		"X-M2M-Origin": d.from, "X-M2M-RI": d.rqi, "X-M2M-RVI": "3", "Content-Type": d.media,
		"X-M2M-OT": time.Now().UTC().Format(stampLong),
	} {
		r.Header[name] = []string{value}
	}
	resp, err := n.client.Do(r)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxNotifyAnswer))
	if err != nil {
		return nil, 0, err
	}
	if rsc := resp.Header.Get("X-M2M-RSC"); rsc != "" {
		v, err := strconv.Atoi(rsc)
		return body, status(v), err
	}
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusNoContent {
		return body, ok, nil
	}
	return body, internalError, nil
}

// close drops what waits, and returns when the goroutine is gone.
func (n *notifier) close() {
	n.cancel()
	n.work.Wait()
	if n.client != nil {
		n.client.CloseIdleConnections()
	}
}
