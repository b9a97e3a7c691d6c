package artifact

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/entropy-fabric/entropy"
)

// Config configures a [Store]. Only Dir is required.
type Config struct {
	// Dir is the directory of the store, made if it does not exist. It belongs to
	// one process at a time.
	Dir string
	// Logger receives what nobody waits for, such as a failed clean-up; nil discards.
	Logger *slog.Logger
	// MaxBlob bounds one blob, in bytes; 0 means 64 GiB.
	MaxBlob int64
	// MaxLog bounds one output stream of one assignment, in bytes; 0 means 16 MiB.
	MaxLog int64
	// MaxStaged bounds what one assignment may have staged at a time, in bytes; 0
	// means 256 GiB. The number of staged files is bounded by entropy.MaxJobArtifacts.
	MaxStaged int64
	// MaxEvidence bounds what ended assignments left behind, in bytes: beyond it
	// the oldest is removed. 0 means 16 GiB; a negative value keeps nothing.
	MaxEvidence int64
	// Reserve is the free space that checkpoints leave to everything else on the
	// store's file system, the journal above all, in bytes. 0 means 1 GiB; a negative
	// value reserves nothing.
	Reserve int64
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		field *int64
		value int64
	}{{&c.MaxBlob, 64 << 30}, {&c.MaxLog, 16 << 20}, {&c.MaxStaged, 256 << 30}, {&c.MaxEvidence, 16 << 30}, {&c.Reserve, 1 << 30}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	return c
}

func (c Config) validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("the directory is not set"))
	}
	for _, d := range []struct {
		name  string
		value int64
	}{{"MaxBlob", c.MaxBlob}, {"MaxLog", c.MaxLog}, {"MaxStaged", c.MaxStaged}} {
		if d.value < 0 {
			errs = append(errs, fmt.Errorf("%s is negative", d.name))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return entropy.Errorf(entropy.CodeInvalid, "artifact store: %v", errors.Join(errs...))
}
