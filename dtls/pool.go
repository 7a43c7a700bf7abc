package dtls

import (
	"runtime"
	"sync"

	"coapbridge/dtls/handshake"
)

// pool runs the public-key operations of handshakes on a few goroutines, so that a storm of certificates never delays the
// records of established sessions. Its queue is bounded: handshakes that begin may fill half of it, those under way all.
type pool struct {
	mu      sync.Mutex // guards the following fields
	queue   []task
	running int
}

// task is one job of a handshake.
type task struct {
	n   *negotiation
	job *handshake.Job
}

// cryptoWorkers leaves a core to the sockets where there are several.
func cryptoWorkers() int { return max(1, runtime.GOMAXPROCS(0)/2) }

// run lets a job of a handshake be done elsewhere. A look-up that may block has a goroutine of its own; HalfOpen bounds them.
func (ep *Endpoint) run(n *negotiation, job *handshake.Job) {
	switch {
	case job.Blocking && ep.conf.PSKInMemory:
		ep.work(task{n, job})
		return
	case job.Blocking:
		if n.hold() {
			go func() {
				defer ep.running.Done()
				ep.work(task{n, job})
			}()
		}
		return
	}
	p := &ep.crypto
	p.mu.Lock()
	if len(p.queue) >= maxCrypto || !n.underWay() && len(p.queue) >= maxCrypto/2 {
		p.mu.Unlock()
		n.cancel(errOverload)
		return
	}
	p.queue = append(p.queue, task{n, job})
	start := p.running < cryptoWorkers() && n.hold()
	if start {
		p.running++
	}
	p.mu.Unlock()
	if start {
		go ep.workAll()
	}
}

// workAll runs jobs until there are none.
func (ep *Endpoint) workAll() {
	defer ep.running.Done()
	p := &ep.crypto
	for {
		p.mu.Lock()
		if len(p.queue) == 0 {
			p.queue = nil
			p.running--
			p.mu.Unlock()
			return
		}
		next := p.queue[0]
		p.queue[0] = task{}
		p.queue = p.queue[1:]
		p.mu.Unlock()
		ep.work(next)
	}
}

func (ep *Endpoint) work(t task) {
	t.job.Run(t.n.lookups())
	t.n.resume(t.job)
}
