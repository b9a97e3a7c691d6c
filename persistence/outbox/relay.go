package outbox

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Relay delivers a journal to one sink. Wake, Audit and Stats are safe for
// concurrent use; Run is called once.
type Relay struct {
	cfg  Config
	wake chan struct{} // has a token when there is something to look at

	mu    sync.Mutex
	stats Stats
	audit bool      // the sink is to be asked where it stands
	idle  bool      // everything was delivered
	since time.Time // when everything was delivered last, or nothing was to be

	saved       entropy.Position // as in the cursor's file
	savedAt     time.Time
	deliveredAt time.Time
}

// Stats are figures of a relay.
type Stats struct {
	Name      string           `json:"name"`
	Position  entropy.Position `json:"position"`  // of the last event that was delivered
	Lag       uint64           `json:"lag"`       // events that are not yet
	LagFor    time.Duration    `json:"lag_for"`   // how long there have been any
	Delivered uint64           `json:"delivered"` // events, since the start
	Failures  uint64           `json:"failures"`  // since the start
	Problem   string           `json:"problem,omitempty"`
}

// saveEvery bounds how often the cursor is written. It costs two flushes of the
// disk, and what it is behind costs deliveries that are repeated.
const saveEvery = time.Second

// New returns a relay. It does nothing until Run.
func New(cfg Config) (*Relay, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	r := &Relay{cfg: cfg, wake: make(chan struct{}, 1), since: cfg.Now()}
	r.stats.Name = cfg.Name
	return r, nil
}

// Wake says that there are new events. It never blocks: a tap of the journal may
// call it.
func (r *Relay) Wake() {
	r.mu.Lock()
	if r.idle {
		r.idle, r.since = false, r.cfg.Now()
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default: // it will look
	}
}

// Audit has the sink asked where it stands: it may have lost something.
func (r *Relay) Audit() {
	r.mu.Lock()
	r.audit = true
	r.mu.Unlock()
	r.Wake()
}

// Stats returns the figures as they are.
func (r *Relay) Stats() Stats {
	newest := r.cfg.Source.Seq()
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	if newest > s.Position.Seq {
		s.Lag, s.LagFor = newest-s.Position.Seq, r.cfg.Now().Sub(r.since)
	}
	return s
}

// Run relays until ctx ends.
func (r *Relay) Run(ctx context.Context) {
	cursor, err := readCursor(r.cfg.Cursor)
	if err != nil {
		r.cfg.Logger.Warn("the outbox asks its sink where to go on", "sink", r.cfg.Name, "error", err)
	}
	r.saved = cursor
	for pause := time.Duration(0); ctx.Err() == nil; {
		delivered := r.Stats().Delivered
		err := r.relay(ctx)
		if ctx.Err() != nil {
			break
		}
		if r.Stats().Delivered > delivered {
			pause = 0
		}
		pause = min(max(2*pause, r.cfg.FirstBackoff), r.cfg.MaxBackoff)
		r.failed(err, pause)
		sleep(ctx, pause/2+rand.N(pause/2+1))
	}
	r.save()
}

// relay asks the sink where it stands and delivers from there, until something
// fails.
func (r *Relay) relay(ctx context.Context) error {
	pos, err := r.begin(ctx)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		page, err := r.cfg.Source.Events(ctx, entropy.EventFilter{After: pos, Limit: r.cfg.Batch})
		if err != nil {
			return err
		}
		if len(page.Events) == 0 {
			if pos, err = r.wait(ctx, pos); err != nil {
				return err
			}
			continue
		}
		if first := page.Events[0].Seq; pos.Seq != 0 && first != pos.Seq+1 {
			return entropy.Errorf(entropy.CodeInternal, "the journal has event %d after %d", first, pos.Seq)
		}
		if rest := r.cfg.Gather - time.Since(r.deliveredAt); rest > 0 && len(page.Events) < r.cfg.Batch {
			sleep(ctx, rest) // and see what has come by then
			continue
		}
		began := time.Now()
		if err := r.cfg.Sink.Deliver(ctx, page.Events); err != nil {
			return err
		}
		last := &page.Events[len(page.Events)-1]
		if len(page.Events) == r.cfg.Batch && r.cfg.Now().Sub(last.TS) < r.cfg.GiveWay {
			sleep(ctx, 3*time.Since(began))
		}
		r.deliveredAt = time.Now()
		pos = entropy.Position{Epoch: r.cfg.Source.Epoch(), Seq: last.Seq}
		r.advanced(pos, len(page.Events), last.TS)
		if time.Since(r.savedAt) >= saveEvery {
			r.save()
		}
	}
	return ctx.Err()
}

// begin finds the position after which the sink lacks events.
func (r *Relay) begin(ctx context.Context) (entropy.Position, error) {
	r.mu.Lock()
	r.audit = false
	r.mu.Unlock()
	epoch, newest := r.cfg.Source.Epoch(), r.cfg.Source.Seq()
	last, err := r.cfg.Sink.Last(ctx)
	switch {
	case entropy.ErrorCode(err) == entropy.CodeUnknown:
		if last = r.saved; last.Epoch != epoch || last.Seq > newest {
			last = entropy.Position{}
		}
	case err != nil:
		return last, err
	case last == (entropy.Position{}):
		if r.saved.Seq > 0 {
			r.cfg.Logger.Warn("the sink lost what it had, it gets everything again", "sink", r.cfg.Name, "events", newest)
		}
	case last.Epoch < epoch:
		r.cfg.Logger.Warn("the sink has another history, it gets this one from the beginning", "sink", r.cfg.Name, "at", last, "epoch", epoch)
		if s, ok := r.cfg.Sink.(Resetter); ok {
			if err := s.Reset(ctx); err != nil {
				return last, err
			}
		}
		last = entropy.Position{}
	case last.Epoch > epoch || last.Seq > newest:
		return last, entropy.Errorf(entropy.CodeConflict, "the sink %s is at %s, ahead of the journal at %d:%d", r.cfg.Name, last, epoch, newest).
			WithHint("was an older data directory put back, or does another control plane publish there? nothing is published until this is settled")
	}
	r.mu.Lock()
	r.stats.Position = entropy.Position{Epoch: epoch, Seq: last.Seq}
	r.mu.Unlock()
	return last, nil
}

// wait blocks until there is something to look at, and returns where to go on.
func (r *Relay) wait(ctx context.Context, pos entropy.Position) (entropy.Position, error) {
	r.mu.Lock()
	r.stats.Problem = ""
	r.idle, r.since = true, r.cfg.Now()
	audit := r.audit
	r.mu.Unlock()
	if audit {
		return r.begin(ctx)
	}
	if r.cfg.Source.Seq() > pos.Seq {
		return pos, nil
	}
	tick := time.NewTimer(r.cfg.AuditEvery)
	defer tick.Stop()
	unsaved := time.NewTimer(saveEvery - time.Since(r.savedAt))
	defer unsaved.Stop()
	for {
		select {
		case <-ctx.Done():
			return pos, ctx.Err()
		case <-unsaved.C:
			r.save()
		case <-r.wake:
			return pos, nil
		case <-tick.C:
			return r.begin(ctx)
		}
	}
}

// advanced counts n events up to pos, the last of which was dated ts: as long ago as
// that, everything was delivered that there was then.
func (r *Relay) advanced(pos entropy.Position, n int, ts time.Time) {
	now := r.cfg.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !ts.IsZero() && ts.Before(now) {
		r.since = ts
	}
	r.stats.Position = pos
	r.stats.Delivered += uint64(n)
	r.stats.Problem = ""
}

// failed is logged once for a row of failures that look the same.
func (r *Relay) failed(err error, pause time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.Failures++
	r.idle = false
	if text := err.Error(); text != r.stats.Problem {
		r.stats.Problem = text
		r.cfg.Logger.Warn("the outbox waits for its sink", "sink", r.cfg.Name, "error", err, "again_in", pause)
	}
}

// save makes the cursor durable. A failure costs deliveries that are repeated.
func (r *Relay) save() {
	r.mu.Lock()
	pos := r.stats.Position
	r.mu.Unlock()
	if pos == r.saved || pos == (entropy.Position{}) {
		return
	}
	r.savedAt = time.Now()
	if err := writeCursor(r.cfg.Cursor, pos); err != nil {
		r.cfg.Logger.Warn("the cursor of the outbox was not saved", "sink", r.cfg.Name, "error", err)
		return
	}
	r.saved = pos
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
