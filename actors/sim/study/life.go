package study

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/entropy-fabric/entropy"
)

// command is what every simulated job runs.
var command = []string{"simulated"}

// newJob submits a job to the real machine. It is what a queued job's row becomes
// each time it is looked at.
func (r *run) newJob(i int) *entropy.Job {
	row := &r.jobs[i]
	s := entropy.JobSpec{Command: command, Priority: row.Priority, Tenant: row.Tenant, Queue: row.Queue, Resources: r.needs(row),
		Preemptible: r.cfg.Scheduling.PreemptPriority != nil}
	if row.Estimate > 0 {
		s.RunTimeout = entropy.Duration(max(row.Estimate, row.Runtime))
	}
	j := &entropy.Job{ID: entropy.JobID(strconv.Itoa(i))}
	d, err := j.Decide(entropy.Submit{Spec: s, SpecHash: "simulated"}, epoch.Add(r.results[i].Submitted))
	r.apply(j, d, err)
	return j
}

// needs returns the resources of a row; equal rows share theirs.
func (r *run) needs(row *Job) entropy.Resources {
	if row.CPUs == 0 && row.GPUs == 0 {
		return nil
	}
	key := [2]entropy.Amount{row.CPUs, row.GPUs}
	if r.specs[key] == nil {
		n := make(entropy.Resources)
		if row.CPUs > 0 {
			n[entropy.ResourceCPU] = row.CPUs
		}
		if row.GPUs > 0 {
			n[entropy.ResourceGPU] = row.GPUs
		}
		r.specs[key] = n
	}
	return r.specs[key]
}

// decide has the real machine decide and apply a command at the present time.
func (r *run) decide(j *entropy.Job, cmd entropy.JobCommand) {
	d, err := j.Decide(cmd, r.wall())
	r.apply(j, d, err)
}

// apply makes a decision so. Nothing can refuse here: whoever does has a bug.
func (r *run) apply(j *entropy.Job, d entropy.Decision, err error) {
	for k := range d.Events {
		if err == nil {
			err = j.Apply(d.Events[k])
		}
	}
	if err != nil {
		panic(fmt.Sprintf("study: job %s: %v", j.ID, err))
	}
}

// start begins an attempt on a worker.
func (r *run) start(i, w int, res entropy.Resources, gpus []entropy.GPUShare) {
	j := r.kept[i]
	if j == nil {
		j = r.newJob(i)
	}
	delete(r.kept, i)
	id := entropy.AssignmentID(string(j.ID) + "." + strconv.Itoa(j.Attempt+1))
	r.decide(j, entropy.Assign{AssignmentID: id, WorkerID: r.names[w], Incarnation: 1, TTL: leaseTTL, Resources: res, GPUs: gpus})
	r.decide(j, entropy.Ack{AssignmentID: id, WorkerID: r.names[w]})
	r.planner.Sync(j, r.wall())
	r.queued--
	r.change(w, -1)
	a := &attempt{job: j, worker: w, started: r.now}
	r.live[i] = a
	res0 := &r.results[i]
	if res0.Attempts++; res0.Attempts == 1 {
		res0.Start = r.now
	}
	res0.Worker = w + 1
	length := r.jobs[i].Runtime
	if fails, at := r.fails(i, res0.Attempts); fails {
		length = time.Duration(float64(length) * at)
	}
	a.number = r.at(r.now+length, ended, i)
}

// fails reports whether an attempt fails, and after which part of the run time: a
// function of the seed, the job and the attempt, so that every policy meets the
// same failures.
func (r *run) fails(i, attempt int) (bool, float64) {
	if r.cfg.Fail == 0 {
		return false, 0
	}
	draw := rand.New(rand.NewPCG(r.cfg.Seed, uint64(i)<<20^uint64(attempt)))
	return draw.Float64() < r.cfg.Fail, draw.Float64()
}

// end ends an attempt: as it was to, or because it makes room.
func (r *run) end(i int, a *attempt, preempted bool) {
	delete(r.live, i)
	j := a.job
	c := entropy.Completion{JobID: j.ID, AssignmentID: j.Lease.AssignmentID, SpoolID: "s", CompletionSeq: r.seq, Outcome: entropy.OutcomeSucceeded}
	fails, _ := r.fails(i, r.results[i].Attempts)
	switch {
	case preempted:
		c.Outcome, c.Reason = entropy.OutcomeStopped, entropy.ReasonPreempt
		r.sum.Preemptions++
	case fails:
		c.Outcome, c.Reason = entropy.OutcomeFailed, entropy.ReasonExit
	}
	r.decide(j, entropy.Complete{Completion: c, WorkerID: r.names[a.worker]})
	weight := 1.0
	if r.wide() {
		weight = float64(r.jobs[i].CPUs) / float64(entropy.Unit)
	}
	r.busy += weight * (r.now - a.started).Seconds()
	r.change(a.worker, 1)
	switch j.State {
	case entropy.Pending:
		r.kept[i] = j
		r.queued++
	case entropy.Retrying:
		r.kept[i] = j
		r.at(j.RetryAt.Sub(epoch), woken, i)
	default:
		r.over(i, j.State)
	}
	r.planner.Sync(j, r.wall())
}
