package record

// Window remembers which of the last 128 sequence numbers of one epoch came (RFC 6347, Section 4.1.2.6). The zero value is
// ready and has seen nothing. It is a value of 24 bytes: an epoch is left by overwriting it.
type Window struct {
	top    uint64 // greatest number marked
	lo, hi uint64 // bit i, hi above lo, is number top-i; bit 0 is set once anything is marked
}

// Verdict is what a window says of a sequence number.
type Verdict uint8

// A record that isn't Fresh is dropped before it is opened.
const (
	Fresh    Verdict = iota // not marked so far
	Replayed                // marked
	TooOld                  // below the window: nobody knows
)

// String names the verdict.
func (v Verdict) String() string {
	switch v {
	case Fresh:
		return "fresh"
	case Replayed:
		return "replayed"
	}
	return "too old"
}

// Check judges a number that a record, not opened yet, claims. It changes nothing.
func (w *Window) Check(seq uint64) Verdict {
	if seq > w.top {
		return Fresh
	}
	bits, age := w.lo, w.top-seq
	switch {
	case age >= windowWidth:
		return TooOld
	case age >= 64:
		bits, age = w.hi, age-64
	}
	if bits>>age&1 != 0 {
		return Replayed
	}
	return Fresh
}

// Mark notes that a record with this number came. It must have been opened before: a forged number marked would shut out
// honest ones (CVE-2016-2181). newest says that it is greater than all before (RFC 9146, Section 6: only such a record may
// bring a new address). A number below the window, or marked already, changes nothing.
func (w *Window) Mark(seq uint64) (newest bool) {
	if seq > w.top || w.lo == 0 {
		w.shift(seq - w.top)
		w.top = seq
		w.lo |= 1
		return true
	}
	switch age := w.top - seq; {
	case age < 64:
		w.lo |= 1 << age
	case age < windowWidth:
		w.hi |= 1 << (age - 64)
	}
	return false
}

// shift moves the window up by n numbers. Go's shifts by 64 or more leave 0.
func (w *Window) shift(n uint64) {
	if n < 64 {
		w.hi = w.hi<<n | w.lo>>(64-n)
	} else {
		w.hi = w.lo << (n - 64)
	}
	w.lo <<= n
}
