package bus

import (
	"context"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Status is how the bus is.
type Status struct {
	Embedded  bool           `json:"embedded"`
	Address   string         `json:"address"` // where it listens, or is; "" when only this process is on it
	Version   string         `json:"version"` // of the server
	Level     int            `json:"level"`   // of its JetStream API
	Connected bool           `json:"connected"`
	Since     time.Time      `json:"since"`             // since when it is connected, or is not
	Problem   string         `json:"problem,omitempty"` // what is wrong, for people
	Bytes     uint64         `json:"bytes"`             // stored
	MaxBytes  int64          `json:"max_bytes"`
	Streams   []StreamStatus `json:"streams"`
}

// StreamStatus is how one stream is.
type StreamStatus struct {
	Name     string `json:"name"`
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
	MaxBytes int64  `json:"max_bytes"`
	FirstSeq uint64 `json:"first_seq"`
	LastSeq  uint64 `json:"last_seq"`
	Replicas int    `json:"replicas"`
	// Rebuilding says that facts may be missing, and are being published again.
	Rebuilding bool `json:"rebuilding,omitempty"`
}

// Status asks the server how it is. It fails at nothing: what could not be found out
// is in Problem.
func (b *Bus) Status(ctx context.Context) Status {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	s := Status{Embedded: b.embedded != nil, Level: int(b.level.Load()), Connected: b.nc.IsConnected(), Since: time.Unix(0, b.since.Load()).UTC(), MaxBytes: b.cfg.MaxStore, Address: redacted(b.cfg.URL)}
	if a := b.Addr(); a != nil {
		s.Address = a.String()
	}
	if err := b.Health(ctx); err != nil {
		s.Problem = err.Error()
	}
	if !s.Connected {
		return s
	}
	s.Version = b.nc.ConnectedServerVersion()
	for _, t := range streamTable(b.cfg.Sources) {
		conf, state, err := b.streamConfigured(ctx, t.name)
		if err != nil {
			if s.Problem == "" {
				s.Problem = busError("ask for the stream "+t.name, err).Error()
			}
			continue
		}
		s.Bytes += state.Bytes
		s.Streams = append(s.Streams, StreamStatus{Name: t.name, Messages: state.Msgs, Bytes: state.Bytes, MaxBytes: conf.MaxBytes,
			FirstSeq: state.FirstSeq, LastSeq: state.LastSeq, Replicas: conf.Replicas, Rebuilding: conf.Metadata[rebuilding] != ""})
	}
	return s
}

// Health says why the bus does not carry messages now; nil when it does. Of the
// embedded server it includes what the server says of its disk.
func (b *Bus) Health(context.Context) error {
	if b.embedded != nil {
		if err := b.embedded.health(); err != nil {
			return embeddedError(err, b.cfg.Dir)
		}
	}
	if !b.nc.IsConnected() {
		return entropy.Errorf(entropy.CodeUnavailable, "there is no connection to the bus at %s", b.where()).
			WithHint("it is tried again by itself; nothing is lost meanwhile")
	}
	return b.Problem()
}
