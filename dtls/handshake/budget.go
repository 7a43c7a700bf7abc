package handshake

import "sync/atomic"

// Budget is a number of bytes that handshakes share (S17). It is safe for concurrent use; a nil Budget has no limit.
type Budget struct {
	limit int64
	taken atomic.Int64
}

// NewBudget returns a budget of limit bytes.
func NewBudget(limit int) *Budget { return &Budget{limit: int64(limit)} }

// Take takes n bytes, or nothing and returns false when they aren't there.
func (b *Budget) Take(n int) bool {
	if b == nil {
		return true
	}
	if b.taken.Add(int64(n)) > b.limit {
		b.taken.Add(-int64(n))
		return false
	}
	return true
}

// Return gives n bytes back.
func (b *Budget) Return(n int) {
	if b != nil {
		b.taken.Add(-int64(n))
	}
}

// Taken returns how many bytes are out.
func (b *Budget) Taken() int {
	if b == nil {
		return 0
	}
	return int(b.taken.Load())
}
