package live

import (
	"context"
	"log/slog"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer"
)

// Ledger is what a [Watcher] needs of the ledger.
type Ledger interface {
	Events(ctx context.Context, f entropy.LedgerFilter) (entropy.LedgerPage, error)
	// Last returns the newest row; 0: there is none.
	Last(ctx context.Context) (uint64, error)
	// Changed returns a channel that is closed when something is committed after the call.
	Changed() <-chan struct{}
	// Cursor returns the row that a follower has come to; 0: it has seen none.
	Cursor(ctx context.Context, name string) (uint64, error)
	SetCursor(ctx context.Context, name string, row uint64) error
	// Record keeps events that are not there yet. What it has returned without an
	// error is durable.
	Record(ctx context.Context, at time.Time, events []entropy.Observation, dead []entropy.DeadItem) (known []bool, ids []int64, err error)
}

// Predict says which predictions are written down unasked.
type Predict string

// The choices of predictions.
const (
	PredictNone Predict = "none" // they are there for who asks
	PredictSome Predict = "some" // the first of each case that is sure enough, at most 60 a minute
	PredictAll  Predict = "all"  // one with every step of a case, at most 6,000 a minute
)

// Config configures a [Watcher]. Ledger is required.
type Config struct {
	Ledger   Ledger
	Analyzer analyzer.Config
	// Memory bounds what is learned, in bytes, about: it sets Analyzer.Series and
	// Analyzer.Cases where those are 0. 0 means 512 MiB.
	Memory int64
	// Past is how much of the ledger is read at the start; 0 means 28 days.
	Past time.Duration
	// Rows bounds that; 0 means 10 million.
	Rows    uint64
	Predict Predict          // "" means PredictSome
	Now     func() time.Time // nil means time.Now
	Logger  *slog.Logger     // nil discards
}

// bytesPerSeries is what a series needs that has seen every hour of the week, with its
// share of the cases, as measured.
const bytesPerSeries = 16 << 10

// DefaultMemory is what may be learned where nothing else is said, in bytes.
const DefaultMemory = 512 << 20

// LeastMemory is the least that can be worked with.
const LeastMemory = 16 << 20

func (c Config) withDefaults() Config {
	if c.Memory <= 0 {
		c.Memory = DefaultMemory
	}
	n := int(max(c.Memory, LeastMemory) / bytesPerSeries)
	if c.Analyzer.Series <= 0 {
		c.Analyzer.Series = n
	}
	if c.Analyzer.Cases <= 0 {
		c.Analyzer.Cases = n
	}
	if c.Analyzer.Values <= 0 {
		c.Analyzer.Values = min(4096, max(1, n/8)) // a series of numbers takes about as much as one of steps
	}
	if c.Past <= 0 {
		c.Past = 28 * 24 * time.Hour
	}
	if c.Rows == 0 {
		c.Rows = 10_000_000
	}
	if c.Predict == "" {
		c.Predict = PredictSome
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate reports what is wrong with the settings, with the flags' names.
func (c Config) Validate() error {
	switch c.Predict {
	case "", PredictNone, PredictSome, PredictAll:
	default:
		return entropy.Errorf(entropy.CodeInvalid, "%q says not which predictions are written down", string(c.Predict)).WithHint("it is none, some or all")
	}
	if c.Memory != 0 && c.Memory < LeastMemory {
		return entropy.Errorf(entropy.CodeInvalid, "the analyzer cannot work with %d bytes", c.Memory).WithHint("give it 16 MiB or more, or run without it: --no-analyzer")
	}
	return nil
}
