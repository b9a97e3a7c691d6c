package fabric

import (
	"context"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors"
	"github.com/entropy-fabric/entropy/persistence/journal"
)

// journalPort gives the actors the journal in their own words.
type journalPort struct{ *journal.Journal }

var _ actors.Journal = journalPort{}

// Position implements actors.Journal.
func (p journalPort) Position() entropy.Position {
	return entropy.Position{Epoch: p.Epoch(), Seq: p.Seq()}
}

// LastClaim implements actors.Journal.
func (p journalPort) LastClaim(ctx context.Context, w entropy.WorkerID) (incarnation, seq uint64, items []entropy.Held, err error) {
	c, err := p.Journal.LastClaim(ctx, w)
	return c.Incarnation, c.ClaimSeq, c.Items, err
}

// EachQueued implements actors.Journal. Only the few jobs that some worker may
// not run are read whole.
func (p journalPort) EachQueued(ctx context.Context, f func(*entropy.Job) error) error {
	return p.Journal.EachQueued(ctx, func(q journal.QueuedJob) error {
		j := &entropy.Job{ID: q.ID, State: entropy.Pending, EligibleAt: &q.EligibleAt, Spec: q.Demand.Spec()}
		j.Spec.Handler, j.Spec.Queue, j.Spec.Tenant = q.Handler, q.Queue, q.Tenant
		if q.Priority != j.Spec.Priority {
			j.PriorityNow = &q.Priority
		}
		if q.HasExclusions {
			whole, err := p.Job(ctx, q.ID)
			if err != nil {
				return err
			}
			j = whole
		}
		if q.Held {
			return nil
		}
		return f(j)
	})
}

// SaveLiveness implements actors.Journal.
func (p journalPort) SaveLiveness(ctx context.Context, l actors.Liveness) error {
	return p.Journal.SaveLiveness(ctx, journal.Liveness{Listening: l.Listening, Heard: l.Heard})
}

// LoadLiveness implements actors.Journal.
func (p journalPort) LoadLiveness(ctx context.Context) (actors.Liveness, error) {
	l, err := p.Journal.LoadLiveness(ctx)
	return actors.Liveness{Listening: l.Listening, Heard: l.Heard}, err
}
