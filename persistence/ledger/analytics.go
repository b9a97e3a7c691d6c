package ledger

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Analytics is what a ledger is asked. Ledgers that hold the same events answer
// with the same numbers, to within 1e-6; ledgertest holds them to it. Counts are
// kept as the events come in: an answer does not read the events again.
type Analytics interface {
	// Events returns events by row, oldest first.
	Events(ctx context.Context, f entropy.LedgerFilter) (entropy.LedgerPage, error)
	// Steps returns what is known of steps, by entity and step.
	Steps(ctx context.Context, f StepFilter) ([]Step, error)
	// Transitions returns which step came how often after which, in its case, by
	// entity, earlier and later step.
	Transitions(ctx context.Context, f StepFilter) ([]Transition, error)
	// ActionStates returns where actions stand, by the time of their request and ID.
	ActionStates(ctx context.Context, f entropy.ActionStatsFilter) ([]ActionState, error)
	// ActionStats returns how actions went, by command and tenant.
	ActionStats(ctx context.Context, f entropy.ActionStatsFilter) ([]entropy.ActionStats, error)
}

type (
	// StepFilter selects steps of entities. It and what it selects are the root's, for the API.
	StepFilter = entropy.StepFilter
	// Step is what is counted of one.
	Step = entropy.StepCounts
	// Cell is a bucket of its latencies.
	Cell = entropy.BucketCount
	// Transition is how often one step followed another.
	Transition = entropy.TransitionCount
)

// MaxSteps bounds an answer.
const MaxSteps = entropy.MaxAnalytics

// Limit returns how many rows an answer of statistics has at most; 0 means 1000.
func Limit(n int) int {
	if n <= 0 {
		return 1000
	}
	return min(n, MaxSteps)
}

// ActionState is where an action stands.
type ActionState struct {
	ID, Command, Tenant, Correlation string

	State       entropy.ActionState
	RequestedAt time.Time
	AcceptedAt  *time.Time // the first time
	FinishedAt  *time.Time
	TriggeredAt *time.Time // the last entropy.deviation of its correlation before the request
	Retries     uint64
	Reason      string
	DryRun      bool
}

// Entropy returns Shannon's entropy of a histogram in bits, with the first-order
// correction of its bias, (K-1) / (2 n ln 2) (Miller 1955), and the variance of the
// uncorrected one, (sum p log2^2 p - H^2) / n (Basharin 1959). Both are 0 of nothing.
func Entropy(cells []Cell) (bits, variance float64) {
	var n, squares float64
	for _, c := range cells {
		n += float64(c.N)
	}
	if n == 0 {
		return 0, 0
	}
	for _, c := range cells {
		p := float64(c.N) / n
		l := math.Log2(p)
		bits -= p * l
		squares += p * l * l
	}
	return bits + float64(len(cells)-1)/(2*n*math.Ln2), max(0, squares-bits*bits) / n
}

// MedianMAD returns the median of values and 1.4826 times their median absolute
// deviation from it (Hampel 1974); values are sorted. Both are 0 of nothing.
func MedianMAD(values []float64) (median, scale float64) {
	if len(values) == 0 {
		return 0, 0
	}
	slices.Sort(values)
	median = middle(values)
	off := make([]float64, len(values))
	for i, v := range values {
		off[i] = math.Abs(v - median)
	}
	slices.Sort(off)
	return median, 1.4826 * middle(off)
}

func middle(sorted []float64) float64 {
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// Rates completes the statistics of actions: toAccept is the sum of the times to the
// first acceptance, toRepair that of the times from the deviation to the success, in
// microseconds.
func Rates(s *entropy.ActionStats, toAccept, toRepair float64) {
	mean := func(sum float64, n uint64) *float64 {
		if n == 0 {
			return nil
		}
		m := sum / float64(n)
		return &m
	}
	s.SuccessRate = mean(float64(s.Succeeded), s.Succeeded+s.Failed+s.Canceled)
	s.MTTA, s.MTTR = mean(toAccept/1e6, s.Accepted), mean(toRepair/1e6, s.Resolved)
	s.Errors = []entropy.ActionErrors{}
}

// maxErrorKinds bounds the kinds of errors of one command and tenant in an answer.
const maxErrorKinds = 100

// AddError adds a kind of errors to its statistics among all.
func AddError(all []entropy.ActionStats, command, tenant string, e entropy.ActionErrors) {
	i := slices.IndexFunc(all, func(s entropy.ActionStats) bool { return s.Command == command && s.Tenant == tenant })
	if i >= 0 && len(all[i].Errors) < maxErrorKinds {
		all[i].Errors = append(all[i].Errors, e)
	}
}
