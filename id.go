package entropy

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"sync"
	"time"
)

// JobID names a job. The caller may choose it; see [ValidateID].
type JobID string

// WorkerID names a worker node. It is the name its owner gave it.
type WorkerID string

// AssignmentID names one decision to let one worker run one attempt of a job.
// It is the fence: every write a worker makes carries it, and a write carrying
// one that is no longer current is judged, never blindly applied.
type AssignmentID string

// MaxIDLength is the longest identifier accepted, in bytes.
const MaxIDLength = 64

// ValidateID reports whether s may name an entity: one letter or digit, then up
// to 63 letters, digits, dots, underscores or hyphens. The error names the kind.
func ValidateID(kind, s string) error {
	if s == "" {
		return Errorf(CodeInvalid, "%s is empty", kind)
	}
	if len(s) > MaxIDLength {
		return Errorf(CodeInvalid, "%s is %d bytes long, at most %d are allowed", kind, len(s), MaxIDLength)
	}
	for i := 0; i < len(s); i++ {
		if !idByte(s[i], i == 0) {
			return Errorf(CodeInvalid, "%s %q may hold letters, digits, '.', '_' and '-' and starts with a letter or digit", kind, s)
		}
	}
	return nil
}

func idByte(c byte, first bool) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return !first && strings.IndexByte("._-", c) >= 0
}

// idSource makes UUIDv7 values that rise within a process.
type idSource struct {
	mu   sync.Mutex
	last uint64 // milliseconds<<12 | counter, never falls
	pool [512]byte
	used int
}

var ids = &idSource{used: 512}

// NewID returns a UUIDv7 (RFC 9562 §5.7): 48 bits of Unix milliseconds, a
// 12-bit counter that keeps IDs of one process in order, 62 random bits.
func NewID() string { return ids.next(time.Now()) }

func (s *idSource) next(now time.Time) string {
	var b [16]byte
	s.mu.Lock()
	tick := max(uint64(now.UnixMilli())<<12, s.last+1)
	s.last = tick
	if s.used+8 > len(s.pool) {
		rand.Read(s.pool[:]) // never fails: crypto/rand documents it
		s.used = 0
	}
	copy(b[8:], s.pool[s.used:s.used+8])
	s.used += 8
	s.mu.Unlock()

	binary.BigEndian.PutUint64(b[:8], tick>>12<<16|0x7000|tick&0xfff)
	b[8] = b[8]&0x3f | 0x80
	return formatUUID(b)
}

func formatUUID(b [16]byte) string {
	var s [36]byte
	hex.Encode(s[0:8], b[0:4])
	hex.Encode(s[9:13], b[4:6])
	hex.Encode(s[14:18], b[6:8])
	hex.Encode(s[19:23], b[8:10])
	hex.Encode(s[24:36], b[10:16])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}
