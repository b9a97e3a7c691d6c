package cron

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/es"
)

// round is one step of every schedule that is due: each submits one firing or
// skips some. What is left follows in the next.
type round struct{ steps []*step }

// step is one step of one schedule.
type step struct {
	schedule *entropy.Schedule
	missed   entropy.Missed // to be skipped, unless the first of them has a job
	nominal  time.Time      // else: to be fired

	// What came of it: one of these.
	rewind bool
	fired  time.Time // this nominal time has this job
	job    entropy.JobID
	skip   entropy.Missed // these are not fired, and why
	why    string
	err    error // nothing, for now
}

// parallel is how many firings are submitted at once: they share the journal's
// commits.
const parallel = 64

// begin starts a round when any schedule is due.
func (a *Actor) begin(c *es.Context) {
	if a.working || a.paused || !a.cfg.Settled() {
		return
	}
	now := a.cfg.Now()
	r := new(round)
	for _, e := range a.all {
		if s := e.step(now); s != nil {
			r.steps = append(r.steps, s)
		}
	}
	if len(r.steps) == 0 {
		return
	}
	slices.SortFunc(r.steps, func(x, y *step) int { return strings.Compare(x.schedule.Name, y.schedule.Name) })
	a.working = true
	jobs := a.cfg.Jobs
	c.Go(func() any {
		r.run(jobs)
		return r
	})
}

// step returns what is to be done about a schedule now, or nil.
func (e *entry) step(now time.Time) *step {
	switch {
	case e.next.IsZero():
		return nil
	case e.Mark.Sub(now) > setBack:
		return &step{schedule: e.Schedule, rewind: true}
	case e.next.After(now):
		return nil
	}
	s := &step{schedule: e.Schedule}
	var fire []time.Time
	if fire, s.missed = e.Due(e.table, now); s.missed.Count == 0 {
		s.nominal = fire[0] // next is due: there is one
	}
	return s
}

// run carries the steps out.
func (r *round) run(jobs Jobs) {
	var wg sync.WaitGroup
	room := make(chan struct{}, parallel)
	for _, s := range r.steps {
		room <- struct{}{}
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), submitWithin)
			defer cancel()
			s.run(ctx, jobs)
			<-room
		})
	}
	wg.Wait()
}

func (s *step) run(ctx context.Context, jobs Jobs) {
	if s.rewind {
		return
	}
	nominal := s.nominal
	if s.missed.Count > 0 {
		nominal = s.missed.First
	}
	id := jobs.FiringID(s.schedule, nominal)
	var state entropy.State
	if s.missed.Count > 0 || s.schedule.Overlap == entropy.OverlapSkip {
		state, s.err = jobs.State(ctx, id)
	}
	switch {
	case s.err != nil:
	case state != "": // submitted before a crash, and not recorded
		s.fired, s.job = nominal, id
	case s.missed.Count > 0:
		s.skip, s.why = s.missed, "missed: nothing could be submitted in time"
	case s.schedule.Overlap == entropy.OverlapSkip && s.overlaps(ctx, jobs):
		s.skip, s.why = one(nominal), "overlap: job "+string(s.schedule.LastJob)+" of the firing before has not ended"
	case s.err == nil:
		s.submit(ctx, jobs, id)
	}
}

// overlaps reports whether the job of the firing before has not ended.
func (s *step) overlaps(ctx context.Context, jobs Jobs) bool {
	if s.schedule.LastJob == "" {
		return false
	}
	state, err := jobs.State(ctx, s.schedule.LastJob)
	s.err = err
	return err == nil && state != "" && !state.Terminal()
}

func (s *step) submit(ctx context.Context, jobs Jobs, id entropy.JobID) {
	err := jobs.Submit(ctx, s.schedule, s.schedule.Submission(id, &s.nominal))
	switch entropy.ErrorCode(err) {
	case "":
		s.fired, s.job = s.nominal, id
	case entropy.CodeInvalid, entropy.CodeNotFound, entropy.CodeConflict, entropy.CodeTooLarge: // no repeat would change that
		s.skip, s.why = one(s.nominal), "refused: "+err.Error()
	default:
		s.err = err
	}
}

func one(nominal time.Time) entropy.Missed {
	return entropy.Missed{Count: 1, First: nominal, Last: nominal}
}

// events returns what is to be recorded of a step.
func (s *step) events(now *entropy.Schedule, at time.Time) ([]entropy.Event, error) {
	switch {
	case s.rewind:
		return now.Rewind(at)
	case s.job != "":
		return now.Fire(s.fired, s.job, at)
	case s.skip.Count > 0:
		return now.Skip(s.skip, s.why, at)
	}
	return nil, nil
}

// finish records what came of a round, in one append.
func (a *Actor) finish(r *round) {
	a.working = false
	if a.all == nil {
		return // it was read anew meanwhile, and repeats what was not recorded
	}
	var changes []entropy.Change
	var failed error
	at := a.cfg.Now()
	for _, s := range r.steps {
		e := a.all[s.schedule.Name]
		if e == nil || e.Deleted || e.Born != s.schedule.Born || !e.Mark.Equal(s.schedule.Mark) {
			continue // it was deleted meanwhile, or paused and resumed
		}
		failed = cmp.Or(failed, s.err)
		events, err := s.events(e.Schedule, at)
		if err != nil || len(events) == 0 {
			failed = cmp.Or(failed, err)
			continue
		}
		next, err := e.Next(events)
		if err != nil {
			panic(err) // what is decided must follow
		}
		changes = append(changes, a.change(s.schedule.Name, e.Schedule, next, events))
	}
	if len(changes) > 0 {
		if err := a.append(changes); err != nil {
			failed = err
		} else {
			a.take(changes)
		}
	}
	if failed != nil {
		a.cfg.Logger.Warn("schedules fire later", "error", failed)
		a.paused = true
	}
}

// take follows committed changes.
func (a *Actor) take(changes []entropy.Change) {
	for i := range changes {
		s := changes[i].State.(*entropy.Schedule)
		a.all[s.Name].follow(s)
		if s.Skipped > changes[i].Before.(*entropy.Schedule).Skipped {
			a.cfg.Logger.Info("firings skipped", "schedule", s.Name, "skipped", s.Skipped)
		}
	}
}
