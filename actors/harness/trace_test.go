package harness

import (
	"fmt"
	"hash/fnv"
	"time"
)

// kept is how many lines of a trace are kept for a report.
const kept = 50

// trace is a hash of all that happened in a history, and its last lines.
type trace struct {
	verbose bool
	all     []string
	lines   [kept]string
	count   int
	hash    uint64
	buf     []byte
	names   map[string]string // short names of what has random ones
}

// note adds a line.
func (w *world) note(format string, args ...any) {
	t := &w.trace
	t.buf = fmt.Appendf(t.buf[:0], "%10.4fs ", w.now().Seconds())
	t.buf = fmt.Appendf(t.buf, format, args...)
	h := fnv.New64a()
	h.Write(t.buf)
	t.mix(h.Sum64())
	line := string(t.buf)
	t.lines[t.count%kept] = line
	t.count++
	if t.verbose {
		t.all = append(t.all, line)
	}
}

// turn takes note of which gate was opened, and when.
func (t *trace) turn(gate uint64, at time.Duration) {
	t.mix(gate)
	t.mix(uint64(at))
}

func (t *trace) mix(v uint64) { t.hash = (t.hash^v)*1099511628211 + t.hash>>29 }

// short returns the name that stands for a random one: equal in equal histories,
// because it is numbered by first appearance.
func (t *trace) short(random string) string {
	if random == "" {
		return "-"
	}
	s, ok := t.names[random]
	if !ok {
		s = fmt.Sprintf("#%d", len(t.names)+1)
		t.names[random] = s
	}
	return s
}

// tail returns the lines that were kept, oldest first.
func (t *trace) tail() []string {
	var out []string
	for i := max(0, t.count-kept); i < t.count; i++ {
		out = append(out, t.lines[i%kept])
	}
	return out
}
