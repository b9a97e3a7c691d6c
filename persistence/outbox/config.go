package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Source is a journal.
type Source interface {
	// Events returns events after a position, oldest first, and does not wait.
	Events(ctx context.Context, f entropy.EventFilter) (entropy.EventPage, error)
	// Epoch is that of the history, and Seq the newest event that is on disk.
	Epoch() uint64
	Seq() uint64
}

// Sink takes events. Only one goroutine calls it.
type Sink interface {
	// Deliver takes events that follow each other in the journal. When it returns nil
	// the sink has them all for good; else it may have some, and they come again.
	Deliver(ctx context.Context, events []entropy.Event) error
	// Last returns the position of the last event that the sink has, with all before
	// it; the zero position when it has none, or lost some. CodeUnknown says that it
	// cannot tell.
	Last(ctx context.Context) (entropy.Position, error)
}

// Resetter is a [Sink] that can forget what it has. It is asked to when that is of an
// older epoch: the history that goes on from there is another.
type Resetter interface {
	Reset(ctx context.Context) error
}

// Config configures a [Relay]. Name, Source, Sink and Cursor are required.
type Config struct {
	Name   string // of the sink, for people
	Source Source
	Sink   Sink
	// Cursor is the file that holds how far the relay came. Its directory is made.
	Cursor string
	// Batch is how many events are delivered at a time. 0 means 256.
	Batch int
	// GiveWay lets those go first who have the journal written: while events come
	// faster than they are delivered, the relay works a quarter of the time, until it
	// is so far behind; then, and after an outage, it works as fast as it can. 0 means
	// that it always does.
	GiveWay time.Duration
	// Gather is how long after one delivery the next may begin at the earliest, unless it
	// is a whole batch: under a steady flow a sink then takes many events at once, each
	// flush of its disk pays for all. After a rest the first event is delivered at once.
	// 0 means that no event waits.
	Gather time.Duration
	// FirstBackoff is the pause after a failure. It doubles up to MaxBackoff, with
	// jitter. 0 means 250 ms, and 30 s.
	FirstBackoff, MaxBackoff time.Duration
	// AuditEvery is how often a sink that got everything is asked where it stands. 0
	// means a minute.
	AuditEvery time.Duration
	Logger     *slog.Logger     // nil discards
	Now        func() time.Time // dates the lag; nil means time.Now
}

func (c Config) withDefaults() Config {
	if c.Batch == 0 {
		c.Batch = 256
	}
	if c.FirstBackoff == 0 {
		c.FirstBackoff = 250 * time.Millisecond
	}
	if c.MaxBackoff == 0 {
		c.MaxBackoff = 30 * time.Second
	}
	if c.AuditEvery == 0 {
		c.AuditEvery = time.Minute
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func (c Config) validate() error {
	var problems []error
	if c.Name == "" || c.Cursor == "" || c.Source == nil || c.Sink == nil {
		problems = append(problems, errors.New("each of Name, Source, Sink and Cursor is required"))
	}
	if c.Batch < 1 || c.Batch > 10_000 {
		problems = append(problems, fmt.Errorf("a Batch of %d, it may be 1 to 10,000", c.Batch))
	}
	if c.Gather < 0 || c.Gather > time.Minute {
		problems = append(problems, fmt.Errorf("a Gather of %v, it may be 0 to a minute", c.Gather))
	}
	if c.FirstBackoff < 0 || c.MaxBackoff < c.FirstBackoff {
		problems = append(problems, fmt.Errorf("the backoff goes from %v to %v", c.FirstBackoff, c.MaxBackoff))
	}
	if err := errors.Join(problems...); err != nil {
		return entropy.Errorf(entropy.CodeInvalid, "outbox: %v", err)
	}
	return nil
}
