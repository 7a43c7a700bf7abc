package coap

// block is the value of a Block1 or Block2 option (RFC 7959, Section 2.2).
type block struct {
	num  uint32
	more bool
	szx  uint8
}

// size is the block size in bytes.
func (b block) size() int { return 16 << b.szx }

// offset is where the block begins in the body.
func (b block) offset() int { return int(b.num) << (b.szx + 4) }

// value is the option's value.
func (b block) value() uint32 {
	v := b.num<<4 | uint32(b.szx)
	if b.more {
		v |= 8
	}
	return v
}

// block returns the option id, if it is there. Its length was checked before.
func (o Options) block(id OptionID) (b block, ok bool) {
	v, ok := o.Uint(id)
	return block{num: v >> 4, more: v&8 != 0, szx: uint8(v & 7)}, ok
}

// fitSZX returns the size exponent of the largest block of at most n bytes; false when not even the smallest fits.
func fitSZX(n int) (uint8, bool) {
	for szx := maxSZX; szx >= 0; szx-- {
		if 16<<szx <= n {
			return uint8(szx), true
		}
	}
	return 0, false
}
