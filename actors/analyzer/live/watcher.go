package live

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Watcher follows the ledger and records what it finds in it. It is made by [Open];
// its methods are safe for concurrent use.
type Watcher struct {
	conf   Config
	engine *engine // owned by Run
	asks   chan func()
	ended  chan struct{} // closed when Run returns
	log    *slog.Logger

	done    uint64    // findings up to this row are recorded
	kept    uint64    // the cursor in the ledger
	said    time.Time // when progress was logged last
	live    bool      // everything that was there at the start was read
	problem string
	pages   reader

	mu    sync.Mutex
	stats Stats
}

// CursorName names, in the ledger, how far findings are recorded.
const CursorName = "analyzer"

// Open returns a watcher of a ledger, and records that it listens from now on. It is
// to be called before anything else is recorded after a start. Run runs it.
func Open(ctx context.Context, c Config) (*Watcher, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	w := &Watcher{conf: c, engine: newEngine(c), asks: make(chan func()), ended: make(chan struct{}), log: c.Logger}
	w.stats.State = entropy.EntropyRebuilding
	now := c.Now()
	e, err := event(entropy.EntropyStarted, "system:analyzer", fmt.Sprintf("started:%s:%s", now.UTC().Format(time.RFC3339Nano), entropy.NewID()), now, nil, struct{}{})
	if err == nil {
		err = w.record(ctx, []entropy.Event{e})
	}
	if err != nil {
		return nil, fmt.Errorf("start the analyzer: %w", err)
	}
	return w, nil
}

// Pauses of a watcher.
const (
	pageRows    = entropy.MaxIngest
	firstPause  = 100 * time.Millisecond
	longestWait = 30 * time.Second
	// settle is how long a mark of the wall's clock is waited with, for rows that were
	// received before it and are not there yet.
	settle   = 5 * time.Second
	progress = 10 * time.Second
)

// Run follows the ledger until ctx ends. What cannot be read or recorded now is
// tried again.
func (w *Watcher) Run(ctx context.Context) {
	defer close(w.ended)
	defer w.pages.stop()
	w.retry(ctx, "read the past", w.begin)
	for ctx.Err() == nil {
		changed := w.conf.Ledger.Changed() // before looking: what comes meanwhile rings
		var page entropy.LedgerPage
		w.retry(ctx, "read the ledger", func(ctx context.Context) (err error) {
			page, err = w.pages.next(ctx, w.conf.Ledger, w.engine.row)
			return err
		})
		for i := range page.Entries {
			if i%64 == 0 {
				w.answer()
			}
			w.engine.take(&page.Entries[i])
		}
		if len(page.Entries) == 0 {
			w.caughtUp()
			w.engine.tick(w.conf.Now().Add(-settle))
		}
		w.flush(ctx)
		w.snapshot(ctx)
		if len(page.Entries) == 0 {
			w.wait(ctx, changed)
		} else if now := w.conf.Now(); !w.live && now.Sub(w.said) >= progress {
			w.said = now
			w.log.Info("learning from the ledger", "row", w.engine.row, "of", w.Stats().LastRow)
		}
	}
}

// retry calls f until it succeeds or ctx ends, and answers who asks meanwhile.
func (w *Watcher) retry(ctx context.Context, what string, f func(context.Context) error) {
	for pause := firstPause; ctx.Err() == nil; pause = min(2*pause, longestWait) {
		err := f(ctx)
		if err == nil {
			w.problem = ""
			return
		}
		if ctx.Err() != nil {
			return
		}
		w.problem = fmt.Sprintf("%s: %v", what, err)
		w.log.Warn("the analyzer waits", "problem", w.problem, "for", pause)
		w.snapshot(ctx)
		timer := time.NewTimer(pause)
		for waiting := true; waiting; {
			select {
			case ask := <-w.asks:
				ask()
			case <-timer.C:
				waiting = false
			case <-ctx.Done():
				waiting = false
			}
		}
		timer.Stop()
	}
}

// begin finds out from which row on it is learned, and what was said before.
func (w *Watcher) begin(ctx context.Context) error {
	done, err := w.conf.Ledger.Cursor(ctx, CursorName)
	if err != nil {
		return err
	}
	last, err := w.conf.Ledger.Last(ctx)
	if err != nil {
		return err
	}
	start := uint64(0)
	if last > w.conf.Rows {
		start = last - w.conf.Rows
	}
	since := w.conf.Now().Add(-w.conf.Past)
	for low, high := start, last; low < high; { // the first row that is young enough
		middle := low + (high-low)/2
		page, err := w.conf.Ledger.Events(ctx, entropy.LedgerFilter{After: middle, Limit: 1})
		if err != nil {
			return err
		}
		if len(page.Entries) > 0 && page.Entries[0].ReceivedAt.Before(since) {
			low, start = middle+1, middle+1
		} else {
			high = middle
		}
	}
	if err := w.restorePhi(ctx, start); err != nil {
		return err
	}
	w.engine.row, w.done, w.kept = start, done, done
	w.said = w.conf.Now()
	return nil
}

// restorePhi takes the system entropy of hours that are not learned again from what
// was written down.
func (w *Watcher) restorePhi(ctx context.Context, before uint64) error {
	for after := uint64(0); after < before; {
		page, err := w.conf.Ledger.Events(ctx, entropy.LedgerFilter{After: after, Types: []string{entropy.EntropyPhi}, Limit: pageRows})
		if err != nil {
			return err
		}
		for i := range page.Entries {
			if page.Entries[i].Row <= before && page.Entries[i].Origin == Origin {
				w.engine.phi.restore(page.Entries[i].Event)
			}
		}
		if len(page.Entries) < pageRows {
			return nil
		}
		after = page.Next
	}
	return nil
}

// restore takes in an event entropy.phi.
func (p *phi) restore(raw []byte) {
	var e entropy.Event
	var attrs entropy.PhiAttrs
	if json.Unmarshal(raw, &e) != nil || json.Unmarshal(e.Attrs, &attrs) != nil {
		return
	}
	p.hours.add("", attrs.Window.From, amount{events: attrs.Events, bits: attrs.Phi * max(1, attrs.Events), absent: attrs.Absent})
}

// caughtUp notes that there is no newer row.
func (w *Watcher) caughtUp() {
	if w.live {
		return
	}
	w.live = true
	h := w.engine.analyzer.Health()
	w.log.Info("the analyzer has read the past", "row", w.engine.row, "events", w.engine.events, "series", h.Series)
}

// flush records what was found. Findings from rows that were done before the start
// are recorded already.
func (w *Watcher) flush(ctx context.Context) {
	out := w.engine.out
	w.engine.out = nil
	if w.engine.row <= w.done && !w.live {
		return
	}
	for len(out) > 0 && ctx.Err() == nil {
		n := min(len(out), pageRows)
		w.retry(ctx, "record what was found", func(ctx context.Context) error { return w.record(ctx, out[:n]) })
		out = out[n:]
	}
	if ctx.Err() != nil {
		return
	}
	if row := w.engine.row; row > w.kept && (w.live || row >= w.kept+100*pageRows) {
		if w.conf.Ledger.SetCursor(ctx, CursorName, row) == nil { // else later: what is found again is known
			w.kept = row
		}
	}
}

// record keeps events in the ledger.
func (w *Watcher) record(ctx context.Context, events []entropy.Event) error {
	obs := make([]entropy.Observation, len(events))
	for i := range events {
		body, err := json.Marshal(&events[i])
		if err != nil {
			return err
		}
		obs[i] = entropy.Observation{Event: events[i], Body: body, Origin: Origin}
	}
	_, _, err := w.conf.Ledger.Record(ctx, w.conf.Now(), obs, nil)
	return err
}

// answer answers who asks now.
func (w *Watcher) answer() {
	for {
		select {
		case ask := <-w.asks:
			ask()
		default:
			return
		}
	}
}

// wait answers who asks until there is something to do.
func (w *Watcher) wait(ctx context.Context, changed <-chan struct{}) {
	now := w.conf.Now().Add(-settle)
	timer := time.NewTimer(now.Truncate(Grid).Add(Grid).Sub(now))
	defer timer.Stop()
	for {
		select {
		case ask := <-w.asks:
			ask()
		case <-changed:
			return
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// ask has f called by Run. CodeUnavailable when that has ended.
func (w *Watcher) ask(ctx context.Context, f func(e *engine)) error {
	done := make(chan struct{})
	select {
	case w.asks <- func() { f(w.engine); close(done) }:
	case <-w.ended:
		return entropy.Errorf(entropy.CodeUnavailable, "the analyzer has stopped").WithHint("ask again when the control plane is up")
	case <-ctx.Done():
		return entropy.Errorf(entropy.CodeUnavailable, "the analyzer did not answer in time: %v", context.Cause(ctx)).WithHint("it may be reading the past; ask again in a minute")
	}
	<-done
	return nil
}

// reader reads pages of the ledger, and where there is more, the next one while one is
// being looked at. It is owned by one goroutine.
type reader struct {
	after uint64
	ahead chan read // what was read ahead, behind after; nil: nothing
}

// read is a page, or why there is none.
type read struct {
	page entropy.LedgerPage
	err  error
}

// next returns the page behind a row.
func (r *reader) next(ctx context.Context, l Ledger, after uint64) (entropy.LedgerPage, error) {
	got := read{}
	if ahead := r.ahead; ahead != nil {
		got, r.ahead = <-ahead, nil
	}
	if got.err != nil || r.after != after || len(got.page.Entries) == 0 {
		got.page, got.err = l.Events(ctx, entropy.LedgerFilter{After: after, Limit: pageRows})
	}
	if got.err == nil && len(got.page.Entries) == pageRows {
		ahead := make(chan read, 1)
		r.after, r.ahead = got.page.Next, ahead
		go func() {
			page, err := l.Events(ctx, entropy.LedgerFilter{After: got.page.Next, Limit: pageRows})
			ahead <- read{page, err}
		}()
	}
	return got.page, got.err
}

// stop waits until nothing is read any more.
func (r *reader) stop() {
	if r.ahead != nil {
		<-r.ahead
	}
}
