package actors

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/es"
	"github.com/entropy-fabric/entropy/actors/job"
)

// ties tells the settler of jobs that should look whether they may start, and of
// those that it told and that wait no longer.
type ties struct{ look, settled []entropy.JobID }

// settleTick has the settler look again at what it told and did not hear of.
type settleTick struct{}

const (
	// settleWindow bounds how many jobs are told and have not answered: each is in
	// memory and waits for the journal.
	settleWindow = 512
	// settlePiece is how many jobs are looked at at once.
	settlePiece = 256
)

// settler tells waiting jobs how those stand that they wait for. The graph says
// when to look, the journal what there is to see: an ended job stays ended, so an
// early look can only say too little, and another follows.
type settler struct {
	log       *slog.Logger
	now       func() time.Time
	graph     *graph
	standings func(ctx context.Context, ids []entropy.JobID) (map[entropy.JobID]entropy.Standing, error)
	settle    func(id entropy.JobID, s entropy.Settle)

	queue  []entropy.JobID // to be looked at, in order
	queued map[entropy.JobID]bool
	told   map[entropy.JobID]time.Time // when a job was told to start, or that it cannot
	timer  *time.Timer
}

// Receive handles one message.
func (s *settler) Receive(c *es.Context) {
	switch m := c.Message().(type) {
	case es.Started: // after a crash as well: whatever was on its way is derived anew
		s.queue, s.queued, s.told = nil, make(map[entropy.JobID]bool), make(map[entropy.JobID]time.Time)
		s.push(s.graph.all())
	case *ties:
		for _, id := range m.settled {
			delete(s.told, id)
		}
		s.push(m.look)
	case settleTick:
		s.timer = nil
		s.again()
	case es.Stopped:
		if s.timer != nil {
			s.timer.Stop()
		}
		return
	}
	s.pump()
	s.arm(c)
}

func (s *settler) push(ids []entropy.JobID) {
	for _, id := range ids {
		if _, told := s.told[id]; !told && !s.queued[id] {
			s.queued[id] = true
			s.queue = append(s.queue, id)
		}
	}
}

// again looks anew at jobs that were told and still wait: the journal may have
// had no room.
func (s *settler) again() {
	for _, id := range slices.Sorted(maps.Keys(s.told)) { // in order, so that a run can be repeated
		at := s.told[id]
		_, waits := s.graph.after(id)
		if !waits || s.now().Sub(at) >= rewake {
			delete(s.told, id)
		}
		if waits && s.now().Sub(at) >= rewake {
			s.push([]entropy.JobID{id})
		}
	}
}

// pump looks at queued jobs while there is room in the window.
func (s *settler) pump() {
	for len(s.queue) > 0 && len(s.told) < settleWindow {
		n := min(len(s.queue), settlePiece)
		again, err := s.look(s.queue[:n])
		if err != nil {
			s.log.Error("look at what jobs wait for", "jobs", n, "error", err)
			return // arm: it is tried again
		}
		for _, id := range s.queue[:n] {
			delete(s.queued, id)
		}
		if s.queue = s.queue[n:]; len(s.queue) == 0 {
			s.queue = nil
		}
		s.push(again)
	}
}

// look tells those of the jobs that have something to do, and returns those that
// must be looked at once more.
func (s *settler) look(ids []entropy.JobID) (again []entropy.JobID, err error) {
	after := make(map[entropy.JobID][]entropy.Dependency, len(ids))
	seen := make(map[entropy.JobID]bool)
	var up []entropy.JobID
	for _, id := range ids {
		deps, waits := s.graph.after(id)
		if !waits {
			continue
		}
		after[id] = deps
		for _, d := range deps {
			if !seen[d.Job] {
				seen[d.Job] = true
				up = append(up, d.Job)
			}
		}
	}
	at, err := s.standings(context.Background(), up)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		deps, waits := after[id]
		if !waits {
			continue
		}
		if how := entropy.Settlement(deps, at); how.Open == 0 || how.Broken != "" {
			s.told[id] = s.now()
			s.settle(id, how)
			continue
		}
		if s.graph.prune(id, at) {
			again = append(again, id)
		}
	}
	return again, nil
}

// arm keeps a timer while anything is open that a message may not finish.
func (s *settler) arm(c *es.Context) {
	if s.timer == nil && len(s.told)+len(s.queue) > 0 {
		s.timer = c.After(rewake, settleTick{})
	}
}

// standings returns how jobs and arrays stand, as the journal has them. Those that
// do not exist are absent.
func (s *System) standings(ctx context.Context, ids []entropy.JobID) (map[entropy.JobID]entropy.Standing, error) {
	states, err := s.cfg.Journal.States(ctx, ids)
	if err != nil {
		return nil, err
	}
	at := make(map[entropy.JobID]entropy.Standing, len(ids))
	for _, id := range ids {
		if state, ok := states[id]; ok {
			at[id] = entropy.Standing{State: state}
			continue
		}
		t, err := s.cfg.Journal.Members(ctx, id)
		if err != nil {
			return nil, err
		}
		if len(t.States) > 0 {
			at[id] = entropy.Standing{State: t.State(), Bad: t.Bad, As: t.BadState}
		}
	}
	return at, nil
}

// settle tells a job how those stand that it waits for.
func (s *System) settle(id entropy.JobID, how entropy.Settle) {
	s.jobs.Tell(string(id), &job.Command{Cmd: how})
}

// loadGraph reads who waits for whom.
func (s *System) loadGraph(ctx context.Context) error {
	err := s.cfg.Journal.EachBlocked(ctx, func(j *entropy.Job) error {
		s.graph.wait(j.ID, j.Spec.After)
		return nil
	})
	if err != nil {
		return err
	}
	return s.cfg.Journal.EachOpenArray(ctx, func(id entropy.JobID, open int) error {
		s.graph.array(id, open)
		return nil
	})
}

// tie follows a committed change of a job, in commit order.
func (s *System) tie(t *ties, before, j *entropy.Job) {
	was := before != nil && before.State != "" && before.Blocked
	switch {
	case j.Blocked && !was:
		s.graph.wait(j.ID, j.Spec.After)
		t.look = append(t.look, j.ID) // one of them may have ended before this
	case was && !j.Blocked:
		s.graph.settled(j.ID)
		t.settled = append(t.settled, j.ID)
	}
	if !j.State.Terminal() {
		return
	}
	look, array := s.graph.ended(j)
	t.look = append(t.look, look...)
	if array != "" {
		s.bell.ring(entropy.Entity(entropy.KindJob, string(array)))
	}
}
