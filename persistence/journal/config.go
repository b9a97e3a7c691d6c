package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Config configures a [Journal]. Only Path is required.
type Config struct {
	// Path is the SQLite file. It is created if there is none; its directory must
	// exist. SQLite keeps two more files beside it while it is open: Path-wal, which
	// holds acknowledged events, and Path-shm.
	Path string
	// Logger gets what an operator should know. nil discards it.
	Logger *slog.Logger
	// Now is the wall clock; it only dates rows. nil means time.Now.
	Now func() time.Time
	// QueueLimit bounds the appends that wait for the writer; one more is refused
	// with CodeOverloaded, and so is one that would make them hold over 256 MiB. 0
	// means 16,384.
	QueueLimit int
	// MaxBatch bounds the events of one transaction. A single append that has more
	// is still written in one. 0 means 2,048.
	MaxBatch int
	// CommitMark, for tests, is called by the writer just before each COMMIT (true)
	// and after it (false). nil in production.
	CommitMark func(inFlight bool)

	// unsafe, for tests of the tests, opens the file with synchronous=NORMAL and
	// leaves out the check that would refuse it.
	unsafe bool
	// checkpointPages is how much is written to the write-ahead log, in pages of
	// 4 KiB, before it is moved into the main file. 0 means 4,000.
	checkpointPages int
	// probeEvery is how often a read-only journal looks whether there is room
	// again. 0 means 2 s.
	probeEvery time.Duration
}

// Defaults of [Config].
const (
	DefaultQueueLimit = 16_384
	DefaultMaxBatch   = 2_048
)

// maxBatchBytes bounds one transaction besides MaxBatch, so that large specs do
// not make a commit of hundreds of megabytes.
const maxBatchBytes = 16 << 20

// maxQueueBytes bounds what the appends that wait may hold, besides QueueLimit.
const maxQueueBytes = 256 << 20

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.QueueLimit == 0 {
		c.QueueLimit = DefaultQueueLimit
	}
	if c.MaxBatch == 0 {
		c.MaxBatch = DefaultMaxBatch
	}
	if c.CommitMark == nil {
		c.CommitMark = func(bool) {}
	}
	if c.checkpointPages == 0 {
		c.checkpointPages = 4_000
	}
	if c.probeEvery == 0 {
		c.probeEvery = 2 * time.Second
	}
	return c
}

// synchronous is the setting of the connections that write.
func (c *Config) synchronous() string {
	if c.unsafe {
		return "NORMAL"
	}
	return synchronous
}

func (c Config) validate() error {
	var problems []error
	if c.Path == "" {
		problems = append(problems, errors.New("the path is empty"))
	}
	if c.QueueLimit < 1 {
		problems = append(problems, fmt.Errorf("QueueLimit is %d, it must be positive", c.QueueLimit))
	}
	if c.MaxBatch < 1 {
		problems = append(problems, fmt.Errorf("MaxBatch is %d, it must be positive", c.MaxBatch))
	}
	if err := errors.Join(problems...); err != nil {
		return entropy.Errorf(entropy.CodeInvalid, "journal: %v", err)
	}
	return nil
}
