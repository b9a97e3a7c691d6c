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

// MaxAnalytics bounds the rows of an answer.
const MaxAnalytics = 10_000

// StepFilter selects counts of steps. Times are those of the events and whole hours.
type StepFilter struct {
	Entity string    // "" means any
	Step   string    // "" means any; of a transition the later one
	From   time.Time // inclusive; zero means from the beginning
	To     time.Time // exclusive; zero means without end
	// Least is how many timed events make an hour a window of the baseline. 0 means 20.
	Least int
	Limit int // 0 means 1000, at most MaxAnalytics
}

// Check completes f. CodeInvalid when its times are not whole hours.
func (f StepFilter) Check() (StepFilter, error) {
	for _, t := range []time.Time{f.From, f.To} {
		if !t.IsZero() && !t.Truncate(time.Hour).Equal(t) {
			return f, Errorf(CodeInvalid, "%s is not a whole hour: steps are counted by hours", t.Format(time.RFC3339)).
				WithHint("ask from and to whole hours, in UTC")
		}
	}
	if f.Least <= 0 {
		f.Least = 20
	}
	if f.Limit <= 0 {
		f.Limit = 1000
	}
	f.Limit = min(f.Limit, MaxAnalytics)
	return f, nil
}

// BucketCount is a bucket of latencies that is not empty, see [LatencyBucket].
type BucketCount struct {
	Bucket int    `json:"bucket"`
	N      uint64 `json:"n"`
}

// StepCounts is what is known of the step of an entity in a time.
type StepCounts struct {
	Entity    string        `json:"entity"`
	Step      string        `json:"step"`
	N         uint64        `json:"n"`         // events
	Timed     uint64        `json:"timed"`     // those that state a latency
	Histogram []BucketCount `json:"histogram"` // of the latter, by bucket

	Entropy  float64 `json:"entropy"`  // of the histogram in bits, with Miller's and Madow's correction
	Variance float64 `json:"variance"` // of the entropy, in bits squared

	// The baseline: the hours with enough timed events, and the median and 1.4826 MAD
	// of their entropies.
	Windows int     `json:"windows"`
	Median  float64 `json:"baseline_entropy"`
	Scale   float64 `json:"baseline_scale"`
}

// TransitionCount is how often one step came after another in a case.
type TransitionCount struct {
	Entity string `json:"entity"`
	From   string `json:"from"`
	To     string `json:"to"`
	N      uint64 `json:"n"`
}

// StepCountsList answers GET /v1/ledger/steps.
type StepCountsList struct {
	Steps []StepCounts `json:"steps"`
}

// TransitionCountList answers GET /v1/ledger/transitions.
type TransitionCountList struct {
	Transitions []TransitionCount `json:"transitions"`
}

// AnalyticsService answers questions about the ledger.
type AnalyticsService interface {
	// ActionStats returns how actions went, by command and tenant.
	ActionStats(ctx context.Context, f ActionStatsFilter) ([]ActionStats, error)
	// Steps returns what is known of steps, by entity and step. CodeInvalid when the
	// times are not whole hours.
	Steps(ctx context.Context, f StepFilter) ([]StepCounts, error)
	// Transitions returns which step came how often after which, in its case.
	Transitions(ctx context.Context, f StepFilter) ([]TransitionCount, error)
}

// ActionStatsList answers GET /v1/ledger/actions.
type ActionStatsList struct {
	Actions []ActionStats `json:"actions"`
}
