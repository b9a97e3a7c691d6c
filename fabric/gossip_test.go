package fabric_test

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// How often TestKillIsWitnessed kills, and by which profile. `make bench` kills 20
// of each.
var (
	deaths  = flag.Int("deaths", 3, "workers that TestKillIsWitnessed kills")
	labs    = flag.Int("labs", 1, "labs in which TestKillIsWitnessed kills, side by side")
	profile = flag.String("profile", "fast", "gossip profile of TestKillIsWitnessed: fast, lan or wan")
)

// member reports whether the control plane's gossip has a worker in a state.
func (l *lab) member(name string, s entropy.MemberState) bool {
	all, err := l.client().Members(context.Background())
	return err == nil && slices.ContainsFunc(all.Members, func(m entropy.Member) bool { return m.Name == name && m.State == s })
}

func (l *lab) workerState(name string) entropy.WorkerState {
	all, err := l.client().Workers(context.Background())
	if err != nil {
		return ""
	}
	for _, w := range all {
		if string(w.ID) == name {
			return w.State
		}
	}
	return ""
}

// detection is how one kill was noticed.
type detection struct{ lost, moved time.Duration }

// detections are those of several labs.
type detections struct {
	mu  sync.Mutex
	all []detection
}

func (d *detections) add(x detection) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, x)
}

// times says the minimum, the median and the maximum of one of the two times.
func (d *detections) times(of func(detection) time.Duration) string {
	var sorted []time.Duration
	for _, x := range d.all {
		sorted = append(sorted, of(x))
	}
	slices.Sort(sorted)
	ms := func(i int) time.Duration { return sorted[i].Round(time.Millisecond) }
	return fmt.Sprintf("min %s, median %s, max %s", ms(0), ms(len(sorted)/2), ms(len(sorted)-1))
}

// proves L-4, C-2: by the profile fast, or another, a killed machine's worker is LOST, and its job
// running elsewhere, long before its lease ends; three kills. The lease is of 15 s;
// of wan, which takes its time, of two minutes.
func TestKillIsWitnessed(t *testing.T) {
	ttl := 15 * time.Second
	if *profile == "wan" {
		ttl = 2 * time.Minute
		t.Setenv("HEARTBEAT", "5s")
	}
	t.Setenv("PROFILE", *profile)
	var found detections
	t.Run("labs", func(t *testing.T) {
		for n := range *labs {
			t.Run(strconv.Itoa(n), func(t *testing.T) {
				t.Parallel()
				l := newLab(t, ttl)
				spare := l.worker("spare", 4)
				for i := n; i < *deaths; i += *labs {
					found.add(l.witness(spare, i))
				}
			})
		}
	})
	if len(found.all) < *deaths {
		return // it has failed
	}
	t.Logf("%s, %d kills: kill to LOST %s; to running elsewhere %s", *profile, *deaths,
		found.times(func(d detection) time.Duration { return d.lost }), found.times(func(d detection) time.Duration { return d.moved }))
}

// witness kills a new worker that runs a job, and waits until it is LOST and its
// job runs at the spare one.
func (l *lab) witness(spare *labWorker, i int) detection {
	l.t.Helper()
	early := l.ttl - time.Second
	victim := l.worker(fmt.Sprintf("victim-%d", i), 1)
	id := entropy.JobID(fmt.Sprintf("job-%d", i))
	eventually(l.t, 40*time.Second, func() bool {
		return l.member(victim.name, entropy.MemberAlive) && l.member(spare.name, entropy.MemberAlive)
	}, func() string { return "the workers are not members" })
	spec := entropy.JobSpec{Command: []string{"sleep", "60"}, Retry: entropy.RetryPolicy{Backoff: entropy.Duration(time.Millisecond)}}
	l.drain("spare", entropy.WorkerDrain)
	if r, err := l.client().Submit(context.Background(), []entropy.Submission{{ID: id, Spec: spec}}); err != nil || r[0].Error != nil {
		l.t.Fatal(err, r)
	}
	runsAt := func(name string) bool {
		j, err := l.client().Job(context.Background(), id)
		return err == nil && j.State == entropy.Running && string(j.Attempts[len(j.Attempts)-1].WorkerID) == name
	}
	eventually(l.t, 20*time.Second, func() bool { return runsAt(victim.name) }, func() string {
		j, err := l.client().Explain(context.Background(), id)
		return fmt.Sprintf("the job does not run: %+v %v", j, err)
	})
	l.drain("spare", entropy.WorkerResume)
	at := time.Now()
	victim.killAll()
	eventually(l.t, early, func() bool { return l.workerState(victim.name) == entropy.WorkerLost }, func() string {
		m, _ := l.client().Members(context.Background())
		return fmt.Sprintf("not lost before its lease ends: %+v", m)
	})
	d := detection{lost: time.Since(at)}
	eventually(l.t, early, func() bool { return runsAt(spare.name) }, func() string { return "the job did not move" })
	d.moved = time.Since(at)
	l.cancel(id)
	return d
}

// cancel ends a job, so that the next one finds room.
func (l *lab) cancel(id entropy.JobID) {
	l.t.Helper()
	if _, err := l.client().Cancel(context.Background(), id, entropy.Operation{ID: entropy.NewID()}); err != nil {
		l.t.Fatal(err)
	}
}

// drain sets a worker's mode.
func (l *lab) drain(name string, mode entropy.WorkerMode) {
	l.t.Helper()
	if _, err := l.client().SetWorker(context.Background(), entropy.WorkerID(name), mode, entropy.Operation{ID: entropy.NewID()}); err != nil {
		l.t.Fatal(err)
	}
}
