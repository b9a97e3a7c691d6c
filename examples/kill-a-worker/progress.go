package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/entropy-fabric/entropy"
)

// progress shows one line about how far the batch is, and keeps the counts that
// the demonstration waits for.
type progress struct {
	out     io.Writer
	live    bool // out is a terminal: the line is drawn over
	total   int
	begun   time.Time
	stopped chan struct{}

	mu      sync.Mutex
	jobs    map[entropy.State]int64
	away    bool // the control plane did not answer the last time
	changed chan struct{}
}

func newProgress(out io.Writer, total int) *progress {
	p := &progress{out: out, total: total, begun: time.Now(), stopped: make(chan struct{}), changed: make(chan struct{})}
	if f, ok := out.(*os.File); ok {
		info, err := f.Stat()
		p.live = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

// watch asks for the counts a few times a second until ctx ends.
func (p *progress) watch(ctx context.Context, service entropy.Service) {
	defer close(p.stopped)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		ask, cancel := context.WithTimeout(ctx, 2*time.Second)
		s, err := service.Status(ask)
		cancel()
		p.update(s.Jobs, err != nil)
		if p.live || n%20 == 0 {
			p.draw()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (p *progress) update(jobs map[entropy.State]int64, away bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.away = away; !away {
		p.jobs = jobs
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

// until waits until at least n jobs have succeeded by the control plane's count.
func (p *progress) until(ctx context.Context, n int) error {
	for {
		p.mu.Lock()
		done, changed := p.jobs[entropy.Succeeded], p.changed
		p.mu.Unlock()
		if int(done) >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d jobs had succeeded: %w", done, n, context.Cause(ctx))
		}
	}
}

// succeeded returns the newest count.
func (p *progress) succeeded() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return int(p.jobs[entropy.Succeeded])
}

// say writes a line about what happens now and keeps the line of progress below it.
func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clearLine()
	fmt.Fprintf(p.out, "%5.1fs  %s\n", time.Since(p.begun).Seconds(), fmt.Sprintf(format, args...))
}

func (p *progress) clearLine() {
	if p.live {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}

const barWidth = 30

func (p *progress) draw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	done := int(p.jobs[entropy.Succeeded])
	filled := barWidth * done / max(1, p.total)
	line := fmt.Sprintf("%5.1fs  [%s%s] %d/%d done", time.Since(p.begun).Seconds(),
		strings.Repeat("█", filled), strings.Repeat("·", barWidth-filled), done, p.total)
	for _, s := range []entropy.State{entropy.Running, entropy.Lost, entropy.Retrying} {
		if n := p.jobs[s]; n > 0 {
			line += fmt.Sprintf(", %d %s", n, s)
		}
	}
	if p.away {
		line += "  (the control plane is away)"
	}
	p.clearLine()
	if fmt.Fprint(p.out, line); !p.live {
		fmt.Fprintln(p.out)
	}
}
