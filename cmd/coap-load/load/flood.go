package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"coapbridge/cmd/coap-load/fleet"
	"coapbridge/cmd/coap-load/latency"
	"coapbridge/cmd/coap-load/measure"
)

// Storm says how forged ClientHellos come.
type Storm struct {
	Rate     float64 // a second, each from another address
	Duration time.Duration
	Devices  int           // that connect meanwhile, evenly over the time; 0 is none
	Settle   time.Duration // after its end and before memory is read again
	Blind    bool          // answers are not read, as who forges an address doesn't see them
}

// Flood is what became of forged ClientHellos.
type Flood struct {
	Sent     uint64          `json:"sent"`
	Blind    bool            `json:"blind,omitempty"` // answers were not read, and what is said of them means nothing
	Answered uint64          `json:"answered"`        // by a HelloVerifyRequest, or by whatever an echo server sends
	Others   uint64          `json:"others"`          // datagrams that are no HelloVerifyRequest
	BytesOut uint64          `json:"bytes_out"`
	BytesIn  uint64          `json:"bytes_in"`      // of all answers: more than BytesOut is amplification
	PerHello time.Duration   `json:"per_hello_ns"`  // server CPU; with devices, theirs included
	PerReply time.Duration   `json:"per_answer_ns"` // the same for each that was answered: what the kernel dropped cost less
	Devices  latency.Summary `json:"devices"`
	Failed   uint64          `json:"devices_failed"`
	Before   measure.Sample  `json:"before"`
	At       measure.Sample  `json:"at_end"`
	After    measure.Sample  `json:"after"`
	Kept     int64           `json:"rss_per_answer_bytes"` // resident memory that was added until the end, by hello that was answered
}

// Flood sends forged ClientHellos. Off loopback it returns an error: it measures one's own server, and attacks nobody's.
func (l *Load) Flood(ctx context.Context, s Storm) (*Result, error) {
	if _, err := l.fleet.Elsewhere(0); err != nil {
		return nil, err
	}
	if s.Rate <= 0 || s.Duration <= 0 {
		return nil, errors.New("load: a flood needs a rate and a duration")
	}
	own, err := fleet.Open(l.conf.Target, 1)
	if err != nil {
		return nil, err
	}
	f := &flooding{fleet: own, result: Flood{Blind: s.Blind}}
	var reading sync.WaitGroup
	if !s.Blind {
		reading.Go(func() { own.Serve(context.Background(), f.answered) })
	}
	defer reading.Wait()
	defer own.Close()

	r := &Result{Mode: "flood", Flood: &f.result}
	if f.result.Before, err = l.sample(ctx); err != nil {
		return nil, err
	}
	end, err := l.stretch(ctx)
	if err != nil {
		return nil, err
	}
	stop := l.progress(func() string {
		return fmt.Sprintf("%d forged hellos sent, %d answered", f.sent.Load(), f.hvr.Load())
	})
	defer stop()
	began := time.Now()
	var devices *Result
	var failure error
	var honest sync.WaitGroup
	if s.Devices > 0 {
		honest.Go(func() {
			devices, failure = l.handshakes(ctx, Handshakes{Count: s.Devices, Rate: float64(s.Devices) / s.Duration.Seconds()})
		})
	}
	f.send(ctx, s)
	r.Done = f.sent.Load()
	err = r.finish(time.Since(began), end)
	var sampling error
	f.result.At, sampling = l.sample(ctx)
	honest.Wait()
	if err = errors.Join(err, sampling, ctx.Err()); err != nil {
		return nil, err
	}
	if devices != nil {
		f.result.Devices, f.result.Failed, r.Failures = devices.Latency, devices.Failed, devices.Failures
	} else if s.Devices > 0 {
		f.result.Failed, r.Failures = uint64(s.Devices), map[string]uint64{failure.Error(): 1}
	}
	if err := wait(ctx, s.Settle); err != nil {
		return nil, err
	}
	f.fill(r.Cost)
	f.result.After, err = l.sample(ctx)
	return r, err
}

func (f *flooding) fill(cost *Cost) {
	f.result.Sent, f.result.Answered, f.result.Others = f.sent.Load(), f.hvr.Load(), f.others.Load()
	f.result.BytesIn = f.in.Load()
	if cost != nil && f.result.Sent > 0 {
		f.result.PerHello = cost.CPU / time.Duration(f.result.Sent)
		f.result.PerReply = cost.CPU / time.Duration(max(f.result.Answered, 1))
		f.result.Kept = (int64(f.result.At.RSS) - int64(f.result.Before.RSS)) / int64(max(f.result.Answered, 1))
	}
}

// flooding is a flood under way.
type flooding struct {
	fleet                 *fleet.Fleet
	sent, hvr, others, in atomic.Uint64
	result                Flood
}

func (f *flooding) answered(_ *fleet.Batch, _ fleet.Path, b []byte) {
	f.in.Add(uint64(len(b)))
	if len(b) > recordHeader && b[0] == typeHandshake && b[recordHeader] == typeHelloVerify || len(b) > 0 && b[0] == echoed {
		f.hvr.Add(1)
	} else {
		f.others.Add(1)
	}
}

func (f *flooding) send(ctx context.Context, s Storm) {
	hello, random := clientHello()
	out := f.fleet.NewBatch()
	latency.Pace(ctx, s.Rate, 0, time.Now().Add(s.Duration), func(i int, _ time.Time) {
		for at := random; at < random+randomLength; at += 8 {
			binary.LittleEndian.PutUint64(hello[at:], rand.Uint64())
		}
		p, _ := f.fleet.Elsewhere(i)
		out.Add(p, hello)
		f.sent.Add(1)
		f.result.BytesOut += uint64(len(hello))
	}, out.Flush)
}

// The parts of a ClientHello (RFC 6347, Section 4.2.1; RFC 5246, Section 7.4.1.2).
const (
	recordHeader    = 13
	messageHeader   = 12
	typeHandshake   = 22
	typeClientHello = 1
	typeHelloVerify = 3
	randomLength    = 32
	echoed          = 0xec // first byte of what "coap-load echo" answers
)

// clientHello returns the first ClientHello of a device with a pre-shared key, and where its random bytes stand: everything
// that a server may look at is as an honest device has it, and no cookie is there yet.
func clientHello() (datagram []byte, random int) {
	body := []byte{0xfe, 0xfd} // DTLS 1.2
	body = append(body, make([]byte, randomLength)...)
	body = append(body, 0, 0)                         // no session id, no cookie
	body = append(body, 0, 4, 0xc0, 0xa8, 0x00, 0xff) // TLS_PSK_WITH_AES_128_CCM_8; RFC 5746's signalling value
	body = append(body, 1, 0)                         // no compression
	body = append(body, 0, 4, 0, 23, 0, 0)            // extended_master_secret (RFC 7627)
	n := len(body)
	b := []byte{typeHandshake, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(n + messageHeader)}
	b = append(b, typeClientHello, 0, 0, byte(n), 0, 0, 0, 0, 0, 0, 0, byte(n))
	return append(b, body...), recordHeader + messageHeader + 2
}
