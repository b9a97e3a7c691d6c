package actors

import (
	"context"
	"sync"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/job"
)

// wish is what somebody asks for one job, or for all of an array.
type wish struct {
	id   entropy.JobID
	op   entropy.Operation
	verb string // in the operation's digest
	cmd  entropy.JobCommand
}

// Cancel implements entropy.Service.
func (s *System) Cancel(ctx context.Context, id entropy.JobID, op entropy.Operation) (*entropy.Job, error) {
	return s.wish(ctx, &wish{id, op, "cancel", entropy.Cancel{Message: op.Reason, Operation: op.ID}})
}

// Hold implements entropy.Service.
func (s *System) Hold(ctx context.Context, id entropy.JobID, op entropy.Operation) (*entropy.Job, error) {
	return s.wish(ctx, &wish{id, op, "hold", entropy.Hold{Message: op.Reason, Operation: op.ID}})
}

// Release implements entropy.Service.
func (s *System) Release(ctx context.Context, id entropy.JobID, op entropy.Operation) (*entropy.Job, error) {
	return s.wish(ctx, &wish{id, op, "release", entropy.Unhold{Operation: op.ID}})
}

// Prioritize implements entropy.Service.
func (s *System) Prioritize(ctx context.Context, id entropy.JobID, priority int, op entropy.Operation) (*entropy.Job, error) {
	return s.wish(ctx, &wish{id, op, "prioritize", entropy.Reprioritize{Priority: priority, Operation: op.ID}})
}

// wish carries out a wish that was not carried out before.
func (s *System) wish(ctx context.Context, w *wish) (*entropy.Job, error) {
	record, done, err := s.operation(ctx, w.op, w.verb, entropy.Entity(entropy.KindJob, string(w.id)))
	if err != nil {
		return nil, err
	}
	j, err := s.seen(ctx, w.id) // so that a command to an unknown job makes nothing
	switch {
	case err != nil || done:
		return j, err
	case j.Array != nil:
		return s.wishAll(ctx, w, j)
	}
	out, err := s.command(ctx, w.id, &job.Command{Operation: record, Cmd: w.cmd})
	if err != nil {
		if s.repeated(ctx, record, err) == nil {
			return s.seen(ctx, w.id)
		}
		return nil, err
	}
	return out.Job.Clone(), nil // the actor's own may not be changed
}

// parallelism is how many jobs of one call are spoken to at once.
const parallelism = 64

// parallel calls f with 0 to n-1, some at the same time, and waits for all.
func (s *System) parallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(n, parallelism) {
		wg.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

// Bulk implements entropy.Service.
func (s *System) Bulk(ctx context.Context, r entropy.BulkRequest) (entropy.BulkReply, error) {
	if err := r.Validate(); err != nil {
		return entropy.BulkReply{}, err
	}
	if r.DryRun {
		return s.count(ctx, &r)
	}
	if err := s.writable(); err != nil {
		return entropy.BulkReply{}, err
	}
	if r.Dependents {
		return s.retryDependents(ctx, &r)
	}
	ids, next := r.IDs, ""
	if len(ids) == 0 {
		page, err := s.cfg.Journal.Jobs(ctx, r.Selected())
		if err != nil {
			return entropy.BulkReply{}, err
		}
		next = page.Next
		for _, j := range page.Jobs {
			ids = append(ids, j.ID)
		}
	}
	reply := entropy.BulkReply{Matched: int64(len(ids)), Items: make([]entropy.BulkItem, len(ids)), Next: next}
	s.parallel(len(ids), func(i int) { reply.Items[i] = s.bulkItem(ctx, &r, ids[i]) })
	return reply, nil
}

// count says how many jobs a request is about.
func (s *System) count(ctx context.Context, r *entropy.BulkRequest) (reply entropy.BulkReply, err error) {
	reply.Items = []entropy.BulkItem{}
	if len(r.IDs) == 0 {
		reply.Matched, err = s.cfg.Journal.CountJobs(ctx, r.Selected())
		return reply, err
	}
	at, err := s.standings(ctx, r.IDs)
	reply.Matched = int64(len(at))
	return reply, err
}

// bulkItem carries out the request's verb on one job.
func (s *System) bulkItem(ctx context.Context, r *entropy.BulkRequest, id entropy.JobID) entropy.BulkItem {
	op := partOf(ctx, r.Operation, id)
	var j *entropy.Job
	var err error
	switch r.Verb {
	case entropy.VerbCancel:
		j, err = s.Cancel(ctx, id, op)
	case entropy.VerbRetry:
		j, err = s.Retry(ctx, id, op)
	case entropy.VerbHold:
		j, err = s.Hold(ctx, id, op)
	case entropy.VerbRelease:
		j, err = s.Release(ctx, id, op)
	case entropy.VerbPrioritize:
		j, err = s.Prioritize(ctx, id, r.Priority, op)
	}
	item := entropy.BulkItem{ID: id, Error: entropy.AsError(err)}
	if err == nil {
		item.State = j.State
		if r.Verb == entropy.VerbRetry {
			item.New = j.ID
		}
	}
	return item
}
