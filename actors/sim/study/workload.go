package study

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Job is one job of a workload. Times count from the start of the workload.
type Job struct {
	ID       string
	Submit   time.Duration
	Runtime  time.Duration  // how long it runs where nothing interrupts it
	Estimate time.Duration  // what its user thinks; 0: unknown. It is ended when it runs longer than this and Runtime
	CPUs     entropy.Amount // beside one slot; 0: none
	GPUs     entropy.Amount // whole ones, or a part of one
	Priority int            // as entropy.JobSpec.Priority
	Tenant   string         // "" means "default"
	Queue    string         // "" means "default"
	After    int            // number of the job, from 1, that must end first; 0: none
	Think    time.Duration  // how long after that it is submitted at the earliest
}

// Workload is a list of jobs in the order of their submission.
type Workload []Job

// Validate reports the first job that could not be run.
func (w Workload) Validate() error {
	for i := range w {
		j := &w[i]
		switch {
		case j.ID == "":
			return entropy.Errorf(entropy.CodeInvalid, "job %d has no ID", i+1)
		case j.Submit < 0 || j.Runtime < 0 || j.Estimate < 0 || j.Think < 0 || j.CPUs < 0 || j.GPUs < 0:
			return entropy.Errorf(entropy.CodeInvalid, "job %s: a negative time or resource", j.ID)
		case j.Priority < entropy.MinPriority || j.Priority > entropy.MaxPriority:
			return entropy.Errorf(entropy.CodeInvalid, "job %s: priority %d is not in %d to %d", j.ID, j.Priority, entropy.MinPriority, entropy.MaxPriority)
		case j.After < 0 || j.After > i:
			return entropy.Errorf(entropy.CodeInvalid, "job %s waits for job %d, which does not come before it", j.ID, j.After)
		case i > 0 && j.Submit < w[i-1].Submit:
			return entropy.Errorf(entropy.CodeInvalid, "job %s is submitted before job %s, which comes before it", j.ID, w[i-1].ID)
		}
	}
	return nil
}

// Synthetic describes a drawn workload.
type Synthetic struct {
	Jobs       int
	Seed       uint64
	Rate       float64       // submissions per second, at exponential intervals; 0: all at once
	Runtime    time.Duration // the median; 0 means one minute
	Spread     float64       // of the logarithm of the run time: 0 is constant, 1 usual
	CPUs       int           // each job asks for 1 to as many; 0: for none
	Priorities int           // from −n to n; 0: all the same
	Tenants    int           // drawn evenly; 0: one
}

// round are what people estimate: a few round times (D. Tsafrir, Y. Etsion, D. Feitelson,
// "Modeling User Runtime Estimates", JSSPP 2005).
var round = []time.Duration{time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 4 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 48 * time.Hour, 7 * 24 * time.Hour}

// estimate rounds up as people do.
func estimate(d time.Duration) time.Duration {
	for _, r := range round {
		if d <= r {
			return r
		}
	}
	return d.Round(time.Hour) + time.Hour
}

// Draw draws the workload: Poisson arrivals, log-normal run times, estimates of one
// to five times the run time, rounded up. Equal descriptions give equal workloads.
func (s Synthetic) Draw() Workload {
	r := rand.New(rand.NewPCG(s.Seed, 0x7374756479))
	median := s.Runtime
	if median == 0 {
		median = time.Minute
	}
	w := make(Workload, s.Jobs)
	at := time.Duration(0)
	for i := range w {
		if s.Rate > 0 {
			at += time.Duration(r.ExpFloat64() / s.Rate * float64(time.Second))
		}
		run := time.Duration(float64(median) * math.Exp(s.Spread*r.NormFloat64())).Truncate(time.Millisecond)
		w[i] = Job{ID: strconv.Itoa(i + 1), Submit: at.Truncate(time.Millisecond), Runtime: run,
			Estimate: estimate(time.Duration(float64(run) * (1 + 4*r.Float64())))}
		if s.CPUs > 0 {
			w[i].CPUs = entropy.Amount(1+r.IntN(s.CPUs)) * entropy.Unit
		}
		if s.Priorities > 0 {
			w[i].Priority = r.IntN(2*s.Priorities+1) - s.Priorities
		}
		if s.Tenants > 1 {
			w[i].Tenant = fmt.Sprint("t", r.IntN(s.Tenants))
		}
	}
	return w
}
