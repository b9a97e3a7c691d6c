package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Source is a ledger that can be followed.
type Source interface {
	Events(ctx context.Context, f entropy.LedgerFilter) (entropy.LedgerPage, error)
	// Last returns the newest row; 0: there is none.
	Last(ctx context.Context) (uint64, error)
	// Changed returns a channel that is closed when something is committed after the call.
	Changed() <-chan struct{}
	// Cursor returns the row that a follower has come to; 0: it has seen none.
	Cursor(ctx context.Context, name string) (uint64, error)
	// SetCursor keeps it, durably.
	SetCursor(ctx context.Context, name string, row uint64) error
}

// Follower hands the rows of a ledger to a function, in order and at least once.
type Follower struct {
	Source Source
	// Name names the cursor in the ledger. Empty: there is none, and Run begins behind After.
	Name  string
	After uint64
	Types []string // as those of [entropy.LedgerFilter]
	Batch int      // rows of one call, at most; 0 means 1000, which is the most

	// Handle is called with what is new, oldest first, and never with nothing. When it
	// returns an error the same rows, and perhaps more, come again after a pause.
	Handle func(ctx context.Context, rows []entropy.LedgerEntry) error
	// Take, if set, is called instead of Handle when there are rows behind at, up to
	// last. It reads them itself, and returns the row that it has come to.
	Take func(ctx context.Context, at, last uint64) (next uint64, err error)
	// Reached, if set, is called when everything up to a row was handled and no newer
	// one was there when that was looked up.
	Reached func(row uint64)

	Logger *slog.Logger // nil means none
}

const (
	firstPause  = 100 * time.Millisecond
	longestStay = 30 * time.Second // of a pause
	cursorEvery = 1000             // rows of other types, after which the cursor is kept nevertheless
)

// Run follows until ctx ends, and returns nil then. Another error says that the
// cursor cannot be read.
func (f *Follower) Run(ctx context.Context) error {
	log := f.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	at := f.After
	if f.Name != "" {
		var err error
		if at, err = f.Source.Cursor(ctx, f.Name); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("follow the ledger as %s: %w", f.Name, err)
		}
	}
	kept := at
	var pause time.Duration
	for ctx.Err() == nil {
		changed := f.Source.Changed() // before looking: what comes meanwhile rings
		next, handled, err := f.step(ctx, at)
		if err == nil && f.Name != "" && (handled && next > kept || next >= kept+cursorEvery) {
			if err = f.Source.SetCursor(ctx, f.Name, next); err == nil {
				kept = next
			}
		}
		switch {
		case err != nil && ctx.Err() == nil:
			pause = min(max(2*pause, firstPause), longestStay)
			log.Warn("the ledger cannot be followed now; it is tried again", slog.String("follower", f.Name), slog.Duration("in", pause), slog.Any("error", err))
			wait(ctx, nil, pause)
		case err == nil && next == at: // all was there
			if f.Reached != nil {
				f.Reached(at)
			}
			pause = 0
			wait(ctx, changed, 0)
		case err == nil:
			at, pause = next, 0
		}
	}
	return nil
}

// step handles the next rows and returns the row up to which nothing is left.
func (f *Follower) step(ctx context.Context, at uint64) (next uint64, handled bool, err error) {
	batch := f.Batch
	if batch <= 0 || batch > entropy.MaxIngest {
		batch = entropy.MaxIngest
	}
	last, err := f.Source.Last(ctx)
	if err != nil || last <= at {
		return at, false, err
	}
	if f.Take != nil {
		next, err = f.Take(ctx, at, last)
		return next, true, err
	}
	page, err := f.Source.Events(ctx, entropy.LedgerFilter{After: at, Types: f.Types, Limit: batch})
	if err != nil {
		return at, false, err
	}
	if len(page.Entries) > 0 {
		if err := f.Handle(ctx, page.Entries); err != nil {
			return at, false, errors.Join(err, ctx.Err())
		}
	}
	if len(page.Entries) < batch { // behind the page is nothing of these types up to last
		return max(last, page.Next), len(page.Entries) > 0, nil
	}
	return page.Next, true, nil
}

// wait returns when c is closed, d has passed (0: never) or ctx has ended.
func wait(ctx context.Context, c <-chan struct{}, d time.Duration) {
	var after <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		after = t.C
	}
	select {
	case <-ctx.Done():
	case <-c:
	case <-after:
	}
}
