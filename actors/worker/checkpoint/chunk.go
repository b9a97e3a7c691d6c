package checkpoint

import (
	"io"
	"math/bits"
)

// The average size of chunks. Small ones find more that has not changed: of 1 %
// of a file's 4 KiB pages, changed in place here and there, those of 4 KiB make
// 2.8 % to send, of 8 KiB 4.7 %. Each costs 59 bytes of manifest, another 1.2 % or
// 0.6 %, so that there should not be too many of them.
const (
	minAverage = 4 << 10
	maxAverage = 1 << 20
	maxChunks  = 1 << 19
)

// average returns the average chunk size for so many bytes: a power of two. The
// one of the checkpoint before is kept as long as it is not off by more than four,
// because another one finds nothing again.
func average(total int64, before int) int {
	fit := minAverage
	for fit < maxAverage && total/int64(fit) > maxChunks {
		fit *= 2
	}
	if before >= minAverage && before <= maxAverage && bits.OnesCount(uint(before)) == 1 && before <= 4*fit && fit <= 4*before {
		return before
	}
	return fit
}

// gear maps a byte to 64 fixed, well mixed bits. Another table would find none of
// the chunks of older checkpoints. Made by SplitMix64 (Steele et al., OOPSLA 2014).
var gear = func() (t [256]uint64) {
	state := uint64(0)
	for i := range t {
		state += 0x9e3779b97f4a7c15
		z := state
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		t[i] = z ^ z>>31
	}
	return t
}()

// chunker cuts content into chunks where a rolling hash of the last 64 bytes says
// so: the gear hash of FastCDC (Xia et al., USENIX ATC 2016), without that paper's
// normalization, which draws sizes together and needs longer to fall into step
// again after a change: it was measured to send half as much again.
type chunker struct {
	min, max int
	mask     uint64 // of the high bits of the hash: they depend on the most bytes
	buf      []byte
}

func newChunker(avg int) *chunker {
	n := bits.TrailingZeros(uint(avg))
	return &chunker{min: avg / 4, max: 4 * avg, mask: (1<<n - 1) << (64 - n), buf: make([]byte, max(8*avg, 1<<20))}
}

// cut returns the length of the chunk at the beginning of b, which holds at least
// max bytes or all that is left.
func (c *chunker) cut(b []byte) int {
	if len(b) <= c.min {
		return len(b)
	}
	b = b[:min(len(b), c.max)]
	var h uint64
	for i := c.min; i < len(b); i++ {
		if h = h<<1 + gear[b[i]]; h&c.mask == 0 {
			return i + 1
		}
	}
	return len(b)
}

// split calls f with each chunk of r, in order. The chunk is valid until f returns.
func (c *chunker) split(r io.Reader, f func(chunk []byte) error) error {
	have, end := 0, false
	for {
		for !end && have < len(c.buf) {
			n, err := r.Read(c.buf[have:])
			have += n
			if err == io.EOF {
				end = true
			} else if err != nil {
				return err
			}
		}
		at := 0
		for have-at >= c.max || end && at < have {
			n := c.cut(c.buf[at:have])
			if err := f(c.buf[at : at+n]); err != nil {
				return err
			}
			at += n
		}
		have = copy(c.buf, c.buf[at:have])
		if end && have == 0 {
			return nil
		}
	}
}
