package study

import (
	"container/heap"
	"runtime"
	"strconv"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/sim"
)

// epoch is the wall clock at the start of every workload.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const leaseTTL = 15 * time.Second

// run is one workload in progress. It is used by one goroutine.
type run struct {
	cfg     Config
	jobs    Workload
	results []Result
	planner sim.Planner
	sum     Summary

	now     time.Duration
	arrived int // jobs whose submission has come
	events  events
	seq     uint64
	queued  int

	free    []int // slots, by worker
	waiting []int // workers with free slots, in the order in which they got them
	waits   []bool
	names   []entropy.WorkerID
	index   map[entropy.WorkerID]int

	live    map[int]*attempt     // by job
	kept    map[int]*entropy.Job // queued or waiting again after an attempt
	after   map[int][]int        // jobs by the one that they wait for
	specs   map[[2]entropy.Amount]entropy.Resources
	reserve time.Duration // when the planner last looked for reservations
	busy    float64       // seconds of slots, or of CPUs, that ran something
}

// attempt is a job that runs.
type attempt struct {
	job     *entropy.Job
	worker  int
	started time.Duration
	number  uint64 // of its end event; another one is void
	preempt bool
}

// event is something that happens later.
type event struct {
	at   time.Duration
	seq  uint64
	kind eventKind
	job  int
}

type eventKind uint8

const (
	submitted eventKind = iota // what it waited for has ended
	ended
	made // room, by a preempted attempt
	woken
)

// Run runs a workload and returns what came of each job, in order, and of all. The
// workload is not changed.
func Run(jobs Workload, cfg Config) ([]Result, Summary, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, Summary{}, err
	}
	if err := jobs.Validate(); err != nil {
		return nil, Summary{}, err
	}
	began := time.Now()
	r := newRun(jobs, cfg)
	for r.step() {
		r.dispatch()
	}
	r.sum.Policy, r.sum.Took = cfg.Policy, time.Since(began)
	r.sum.summarize(jobs, r.results)
	r.sum.Utilization = r.utilization()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	r.sum.Memory = m.Sys
	return r.results, r.sum, nil
}

func newRun(jobs Workload, cfg Config) *run {
	r := &run{cfg: cfg, jobs: jobs, results: make([]Result, len(jobs)), planner: cfg.Planner(epoch),
		free: make([]int, cfg.Workers), waits: make([]bool, cfg.Workers), names: make([]entropy.WorkerID, cfg.Workers),
		index: make(map[entropy.WorkerID]int, cfg.Workers), live: make(map[int]*attempt), kept: make(map[int]*entropy.Job),
		after: make(map[int][]int), specs: make(map[[2]entropy.Amount]entropy.Resources)}
	r.planner.SetPolicy(&r.cfg.Scheduling, epoch)
	for i := range cfg.Workers {
		w := cfg.worker(i)
		r.planner.SetWorker(w)
		r.names[i], r.index[w.ID] = w.ID, i
		r.change(i, cfg.Slots)
	}
	return r
}

func (r *run) wall() time.Time { return epoch.Add(r.now) }

func (r *run) at(t time.Duration, kind eventKind, job int) uint64 {
	r.seq++
	heap.Push(&r.events, event{max(t, r.now), r.seq, kind, job})
	return r.seq
}

// change gives a worker slots back, or takes them.
func (r *run) change(worker, slots int) {
	r.free[worker] += slots
	if r.free[worker] > 0 && !r.waits[worker] {
		r.waits[worker] = true
		r.waiting = append(r.waiting, worker)
	}
}

// step does everything that happens at the next instant at which anything does.
func (r *run) step() bool {
	next := time.Duration(-1)
	if r.arrived < len(r.jobs) {
		next = r.jobs[r.arrived].Submit
	}
	if len(r.events) > 0 && (next < 0 || r.events[0].at < next) {
		next = r.events[0].at
	}
	if next < 0 {
		return false
	}
	r.now = max(next, r.now)
	for r.arrived < len(r.jobs) && r.jobs[r.arrived].Submit <= r.now {
		r.arrive(r.arrived)
		r.arrived++
	}
	for len(r.events) > 0 && r.events[0].at <= r.now {
		r.happen(heap.Pop(&r.events).(event))
	}
	return true
}

// arrive submits a job, unless it waits for another.
func (r *run) arrive(i int) {
	if up := r.jobs[i].After - 1; up >= 0 {
		if end := r.results[up].End; r.results[up].State == "" {
			r.after[up] = append(r.after[up], i)
			return
		} else if end+r.jobs[i].Think > r.now {
			r.at(end+r.jobs[i].Think, submitted, i)
			return
		}
	}
	r.submit(i)
}

func (r *run) happen(e event) {
	switch e.kind {
	case submitted:
		r.submit(e.job)
	case ended, made:
		if a := r.live[e.job]; a != nil && a.number == e.seq {
			r.end(e.job, a, e.kind == made)
		}
	case woken:
		j := r.kept[e.job]
		r.decide(j, entropy.Wake{})
		r.queued++
		r.planner.Sync(j, r.wall())
	}
}

func (r *run) submit(i int) {
	r.results[i].Submitted = r.now
	if j := &r.jobs[i]; j.CPUs > r.cfg.CPUs || j.GPUs > r.cfg.GPUs {
		r.sum.Never++
		r.over(i, entropy.Failed)
		return
	}
	r.queued++
	r.planner.Sync(r.newJob(i), r.wall())
}

// over notes that a job has ended, and lets go those that wait for it.
func (r *run) over(i int, state entropy.State) {
	r.results[i].End, r.results[i].State = r.now, state
	for _, down := range r.after[i] {
		r.at(r.now+r.jobs[down].Think, submitted, down)
	}
	delete(r.after, i)
	delete(r.kept, i)
}

// chooser is a planner that knows when it is worth asking.
type chooser interface {
	Worthwhile(w entropy.WorkerID) bool
	Settled()
}

// dispatch offers the queue to the workers that have room.
func (r *run) dispatch() {
	if r.now-r.reserve >= max(time.Second, r.cfg.Scheduling.ReserveAfterOrDefault()/30) {
		r.reserve = r.now
		r.planner.Reserve(r.wall())
	}
	r.preempt()
	choose, knows := r.planner.(chooser)
	rest := r.waiting[:0]
	for k, w := range r.waiting {
		if r.queued == 0 {
			rest = append(rest, r.waiting[k:]...)
			break
		}
		if !knows || choose.Worthwhile(r.names[w]) {
			r.offer(w)
		}
		if r.waits[w] = r.free[w] > 0; r.waits[w] {
			rest = append(rest, w)
		}
	}
	r.waiting = rest
	if knows {
		choose.Settled()
	}
}

func (r *run) offer(w int) {
	r.sum.Decisions++
	began := time.Now()
	chosen := r.planner.Pick(r.names[w], r.free[w], r.wall())
	r.sum.Deciding += time.Since(began)
	for _, ch := range chosen {
		i := number(ch.ID)
		r.start(i, w, ch.Resources, ch.GPUs)
	}
	if o, ok := r.planner.(*ordered); ok {
		o.Offered(r.names[w])
	}
}

// preempt asks those to make room whom the planner names.
func (r *run) preempt() {
	if r.cfg.Scheduling.PreemptPriority == nil {
		return
	}
	for _, p := range r.planner.Preemptions(r.wall()) {
		i := number(p.Job)
		a := r.live[i]
		if a == nil || a.preempt {
			continue
		}
		r.decide(a.job, entropy.Preempt{AssignmentID: p.Assignment})
		r.planner.Sync(a.job, r.wall())
		a.preempt = true
		if end := r.jobs[i].Runtime + a.started; r.now+r.cfg.Grace < end { // else it ends by itself first
			a.number = r.at(r.now+r.cfg.Grace, made, i)
		}
	}
}

// utilization is the share of what there is that ran something over the makespan.
func (r *run) utilization() float64 {
	all := float64(r.cfg.Workers) * float64(r.cfg.Slots)
	if r.wide() {
		all = float64(r.cfg.Workers) * float64(r.cfg.CPUs) / float64(entropy.Unit)
	}
	if r.sum.Makespan <= 0 {
		return 0
	}
	return r.busy / (all * r.sum.Makespan.Seconds())
}

// wide reports whether jobs ask for CPUs.
func (r *run) wide() bool { return len(r.jobs) > 0 && r.jobs[0].CPUs > 0 }

func number(id entropy.JobID) int {
	n, err := strconv.Atoi(string(id))
	if err != nil {
		panic("study: foreign job " + id)
	}
	return n
}

// events is a heap in the order of time, then of their making.
type events []event

func (h events) Len() int { return len(h) }
func (h events) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].seq < h[j].seq
}
func (h events) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *events) Push(x any)   { *h = append(*h, x.(event)) }
func (h *events) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
