package entropy

import "time"

// BusStatus is how the bus is, over which events leave and actions come.
type BusStatus struct {
	Embedded  bool      `json:"embedded"`
	Address   string    `json:"address"`
	Version   string    `json:"version,omitempty"` // of the server; "" while there is no connection
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since"`             // since when it is connected, or is not
	Problem   string    `json:"problem,omitempty"` // what is wrong, for people
	Bytes     uint64    `json:"bytes"`             // stored, of MaxBytes
	MaxBytes  int64     `json:"max_bytes"`

	Streams []StreamStatus `json:"streams"`
}

// StreamStatus is how one stream of the bus is.
type StreamStatus struct {
	Name     string `json:"name"`
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
	MaxBytes int64  `json:"max_bytes"`
	Replicas int    `json:"replicas"`
	// Rebuilding says that facts may be missing, and are being published again.
	Rebuilding bool `json:"rebuilding,omitempty"`
}

// RelayStatus is how far the journal is relayed to a sink.
type RelayStatus struct {
	Sink       string  `json:"sink"`
	Lag        uint64  `json:"lag"`         // events that it does not have yet
	LagSeconds float64 `json:"lag_seconds"` // how long there have been any
	Problem    string  `json:"problem,omitempty"`
}
