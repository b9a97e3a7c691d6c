package actors

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/clock"
	"github.com/entropy-fabric/entropy/actors/cron"
	"github.com/entropy-fabric/entropy/actors/es"
	"github.com/entropy-fabric/entropy/actors/fleet"
	"github.com/entropy-fabric/entropy/actors/job"
	"github.com/entropy-fabric/entropy/actors/scheduler"
)

// System is the control plane's actors. It implements entropy.Service and
// entropy.WorkerService. All methods are safe for concurrent use.
type System struct {
	cfg     Config
	started time.Time

	host      *es.System
	jobs      *es.Shards
	scheduler es.Ref
	waker     es.Ref
	settler   es.Ref
	cron      es.Ref
	actions   *es.Shards
	turns     es.Ref       // the dispatcher of actions
	clock     *clock.Clock // of all that names a time of day
	graph     *graph
	registry  *fleet.Registry
	listening *fleet.Listening
	sessions  sessions

	tally    *tally
	backlog  backlog
	retries  *retries
	progress sync.Map // of actions that have not ended: entropy.ActionID to *entropy.ActionProgress
	policy   atomic.Pointer[entropy.Policy]
	bell     *bell
	gossip   atomic.Pointer[entropy.Gossip]

	saving checkpointLocks
	saved  *savedLiveness

	stop    context.CancelFunc
	stopped sync.WaitGroup
	closing atomic.Bool
	spawned chan struct{} // closed when the actors are there that the tap tells
	done    chan struct{} // closed by Close: nobody waits any longer
}

var (
	_ entropy.Service       = (*System)(nil)
	_ entropy.WorkerService = (*System)(nil)
)

// sessions are the workers' actors.
type sessions struct {
	mu   sync.Mutex
	refs map[entropy.WorkerID]es.Ref
	cfg  *fleet.Config
}

// Start recovers what the journal holds and starts the actors. When it returns,
// every timer of before is armed again and the system serves. The caller keeps
// the journal and the store, and closes them after the system.
func Start(ctx context.Context, cfg Config) (*System, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	counts, err := cfg.Journal.Counts(ctx)
	if err != nil {
		return nil, fmt.Errorf("count jobs: %w", err)
	}
	liveness, err := cfg.Journal.LoadLiveness(ctx)
	if err != nil {
		return nil, fmt.Errorf("load liveness: %w", err)
	}
	s := &System{
		cfg: cfg, started: cfg.Now(), tally: newTally(counts), bell: newBell(), done: make(chan struct{}), spawned: make(chan struct{}),
		host:      es.New(es.Config{Logger: cfg.Logger, Conductor: cfg.Conductor}),
		registry:  fleet.NewRegistry(cfg.Heartbeat + time.Second),
		listening: fleet.NewListening(liveness.Listening, listeningTick, cfg.Heartbeat/2, time.Now()),
	}
	s.saved = newSavedLiveness(liveness)
	if s.clock, err = newClock(ctx, &cfg); err != nil {
		return nil, err
	}
	s.retries = newRetries(s.wakeJob)
	if err := s.loadPolicy(ctx); err != nil {
		return nil, err
	}
	retried, err := cfg.Journal.Retried(ctx)
	if err != nil {
		return nil, fmt.Errorf("count retried jobs: %w", err)
	}
	s.retries.start(retried)
	s.graph = newGraph()
	if err := s.loadGraph(ctx); err != nil {
		return nil, fmt.Errorf("load who waits for whom: %w", err)
	}
	if err := s.loadBacklog(ctx); err != nil {
		return nil, fmt.Errorf("count actions and dead letters: %w", err)
	}
	cfg.Journal.Tap(s.onCommit)
	err = s.spawn()
	close(s.spawned)
	if err != nil {
		return nil, err
	}
	if err := s.recover(ctx, liveness); err != nil {
		s.Close()
		return nil, err
	}
	// Its mailbox is in order: an answer means that the queue is loaded.
	if _, err := s.scheduler.Ask(ctx, scheduler.Depth{}).Await(ctx); err != nil {
		s.Close()
		return nil, fmt.Errorf("load the queue: %w", err)
	}
	s.cron, err = s.host.Spawn("cron", func() es.Actor {
		return cron.New(cron.Config{Journal: s.cfg.Journal, Jobs: cronPort{s}, Now: s.clock.Now, Settled: s.clock.Settled, Logger: s.cfg.Logger})
	})
	if err != nil {
		s.Close()
		return nil, err
	}
	if err := s.reviveActions(); err != nil {
		s.Close()
		return nil, err
	}
	background, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.stopped.Go(func() { s.listen(background) })
	return s, nil
}

// spawn starts the actors of the control plane. Some have jobs commit at once, what
// was due while nothing ran; the tap waits until all can be told of it.
func (s *System) spawn() (err error) {
	jobs := &job.Config{Journal: s.cfg.Journal, Fleet: s.registry, Retries: s.retries, Now: s.clock.Now, Settled: s.clock.Settled, Listening: s.listening.Elapsed,
		TTL: s.cfg.LeaseTTL, Logger: s.cfg.Logger}
	s.jobs, err = es.SpawnShards(s.host, es.ShardsConfig{Kind: entropy.KindJob, Count: s.cfg.Shards, MaxResident: s.cfg.MaxResident,
		New: func(id string) es.Actor { return job.New(jobs, entropy.JobID(id)) }})
	if err != nil {
		return err
	}
	if err = s.spawnActions(); err != nil {
		return err
	}
	port := &jobPort{s}
	s.sessions = sessions{refs: make(map[entropy.WorkerID]es.Ref), cfg: &fleet.Config{
		Registry: s.registry, Journal: s.cfg.Journal, Jobs: port, Claims: port, Listening: s.listening.Elapsed, Now: s.cfg.Now,
		LeaseTTL: s.cfg.LeaseTTL, Heartbeat: s.cfg.Heartbeat,
		Epoch: s.cfg.Journal.Position().Epoch, ClusterID: s.cfg.Journal.ClusterID(), Logger: s.cfg.Logger}}
	s.scheduler, err = s.host.Spawn("scheduler", func() es.Actor {
		return scheduler.New(scheduler.Config{Jobs: port, Load: s.loadPlan, LeaseTTL: s.cfg.LeaseTTL, Now: s.clock.Now, Logger: s.cfg.Logger})
	})
	if err != nil {
		return err
	}
	s.settler, err = s.host.Spawn("settler", func() es.Actor {
		return &settler{log: s.cfg.Logger, now: s.cfg.Now, graph: s.graph, standings: s.standings, settle: s.settle}
	})
	if err != nil {
		return err
	}
	s.waker, err = s.host.Spawn("waker", func() es.Actor {
		return &waker{log: s.cfg.Logger, now: s.clock.Now, load: func(f func(entropy.JobID, time.Time) error) error {
			return s.cfg.Journal.EachWake(context.Background(), f)
		}, wake: func(id entropy.JobID) {
			if !s.retries.waits(id) {
				s.wakeJob(id)
			}
		}}
	})
	return err
}

// wakeJob has a job look what time has brought.
func (s *System) wakeJob(id entropy.JobID) {
	s.jobs.Tell(string(id), &job.Command{Cmd: entropy.Wake{}})
}

// loadPlan reads what the scheduler starts from.
func (s *System) loadPlan() (scheduler.Snapshot, error) {
	ctx := context.Background()
	workers, err := s.cfg.Journal.Workers(ctx)
	return scheduler.Snapshot{Policy: s.policy.Load(), Workers: workers, Each: func(f func(*entropy.Job)) error {
		each := func(j *entropy.Job) error {
			f(j)
			return nil
		}
		if err := s.cfg.Journal.EachLeased(ctx, each); err != nil {
			return err
		}
		return s.cfg.Journal.EachQueued(ctx, each)
	}}, err
}

// restartSlack is added to what was last known of every worker: the last saved
// liveness may lack a heartbeat, or an ACK, that was answered just before the
// stop, up to an interval after the one it has. It does not add up over restarts,
// so that repeated restarts do not keep a dead worker's leases alive. The
// simulator found a shorter one to end a lease within its worker's trust.
func (s *System) restartSlack() time.Duration { return s.cfg.Heartbeat + saveInterval }

// recover brings the workers' actors and the leased jobs back, before any claim
// is served.
func (s *System) recover(ctx context.Context, l Liveness) error {
	workers, err := s.cfg.Journal.Workers(ctx)
	if err != nil {
		return fmt.Errorf("load workers: %w", err)
	}
	heard := make(map[entropy.WorkerID]time.Duration, len(workers))
	for _, w := range workers {
		at, ok := l.Heard[w.ID]
		if !ok {
			at = l.Listening // it registered just before the stop
		}
		s.registry.Remember(w.ID, at)
		heard[w.ID] = at + s.restartSlack()
		if _, err := s.session(w.ID, w, heard[w.ID]); err != nil {
			return err
		}
	}
	return s.cfg.Journal.EachLeased(ctx, func(j *entropy.Job) error {
		s.jobs.Tell(string(j.ID), &job.Revive{RenewedAt: heard[j.Lease.WorkerID]})
		return nil
	})
}

// session returns the actor of a worker, started if need be. W is its state when
// that is known, else nil.
func (s *System) session(id entropy.WorkerID, w *entropy.Worker, heard time.Duration) (es.Ref, error) {
	s.sessions.mu.Lock()
	defer s.sessions.mu.Unlock()
	if ref, ok := s.sessions.refs[id]; ok {
		return ref, nil
	}
	if s.closing.Load() {
		return es.Ref{}, errStopping()
	}
	if w == nil {
		w = &entropy.Worker{ID: id}
	}
	ref, err := s.host.Spawn("worker-"+string(id), func() es.Actor { return fleet.NewSession(s.sessions.cfg, w, heard) })
	if err == nil {
		s.sessions.refs[id] = ref
	}
	return ref, err
}

// known returns the actor of a worker that exists.
func (s *System) known(id entropy.WorkerID) (es.Ref, bool) {
	s.sessions.mu.Lock()
	defer s.sessions.mu.Unlock()
	ref, ok := s.sessions.refs[id]
	return ref, ok
}

const (
	listeningTick = 100 * time.Millisecond
	saveInterval  = 500 * time.Millisecond
)

// listen drives the listening clock and saves who was heard when.
func (s *System) listen(ctx context.Context) {
	tick := time.NewTicker(listeningTick)
	defer tick.Stop()
	saving := make(chan struct{}, 1) // a slow journal must not stop the clock
	var saved time.Duration
	for {
		wait := s.host.Enter()
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			wait()
			s.listening.Tick(now)
			s.watchClock()
		}
		if s.listening.Elapsed()-saved < saveInterval {
			continue
		}
		select {
		case saving <- struct{}{}:
			saved = s.listening.Elapsed()
			begin := s.host.Enter()
			s.stopped.Go(func() {
				begin()
				if err := s.saveLiveness(context.Background()); err != nil && !s.closing.Load() {
					s.cfg.Logger.Warn("save liveness", "error", err)
				}
				<-saving
			})
		default:
		}
	}
}

// Close stops the actors. Calls that still wait are answered CodeUnknown. It does
// not close the journal. It is idempotent.
func (s *System) Close() {
	if s.closing.Swap(true) {
		return
	}
	close(s.done)
	if s.stop != nil {
		s.stop()
	}
	s.stopped.Wait()
	s.host.Close()
	s.host.Stop(s.scheduler)
	s.host.Stop(s.waker)
	s.host.Stop(s.settler)
	s.host.Stop(s.cron)
	s.host.Stop(s.turns)
	s.sessions.mu.Lock() // none is started any more
	defer s.sessions.mu.Unlock()
	for _, ref := range s.sessions.refs {
		s.host.Stop(ref)
	}
	s.jobs.Stop(s.host)
	if s.actions != nil {
		s.actions.Stop(s.host)
	}
}

// errStopping is the answer to who waits while the system stops.
func errStopping() error {
	return entropy.Errorf(entropy.CodeUnavailable, "the control plane is stopping").WithHint("try again in a few seconds")
}
