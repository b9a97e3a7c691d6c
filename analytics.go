package entropy

import (
	"context"
	"time"
)

// ActionStatsFilter selects actions by when they were requested.
type ActionStatsFilter struct {
	Command string    // "" means any
	Tenant  string    // "" means any
	From    time.Time // inclusive; zero means from the beginning
	To      time.Time // exclusive; zero means without end
	Limit   int       // 0 means 1000, at most 10,000
}

// ActionStats is how the actions of one command and tenant went. Dry runs are not
// counted.
type ActionStats struct {
	Command   string `json:"command"`
	Tenant    string `json:"tenant"`
	Requested uint64 `json:"requested"`
	Succeeded uint64 `json:"succeeded"`
	Failed    uint64 `json:"failed"`
	Canceled  uint64 `json:"canceled"`
	Open      uint64 `json:"open"` // not ended yet

	Retries  uint64 `json:"retries"`
	Accepted uint64 `json:"accepted"` // those that an executor has taken
	Resolved uint64 `json:"resolved"` // those that succeeded and that an entropy.deviation has caused

	// SuccessRate is Succeeded of those that have ended; nil: none has.
	SuccessRate *float64 `json:"success_rate"`
	// MTTA is the mean time from the request to its first acceptance, in seconds, of
	// those accepted; nil: none was.
	MTTA *float64 `json:"mtta_sec"`
	// MTTR is the mean time from the deviation that caused it, found by the
	// correlation, to the success, in seconds, of those resolved; nil: none was.
	MTTR *float64 `json:"mttr_sec"`

	Errors []ActionErrors `json:"errors"` // the failures of attempts and actions by kind, the most frequent first
}

// ActionErrors is how often something failed in one way.
type ActionErrors struct {
	Kind string `json:"kind"` // of the error, or the reason of the failure
	N    uint64 `json:"n"`
}

// AnalyticsService answers questions about the ledger.
type AnalyticsService interface {
	// ActionStats returns how actions went, by command and tenant.
	ActionStats(ctx context.Context, f ActionStatsFilter) ([]ActionStats, error)
}

// ActionStatsList answers GET /v1/ledger/actions.
type ActionStatsList struct {
	Actions []ActionStats `json:"actions"`
}
