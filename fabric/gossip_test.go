package fabric_test

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// How often TestKillIsWitnessed kills, and by which profile.
var (
	deaths  = flag.Int("deaths", 3, "workers that TestKillIsWitnessed kills")
	profile = flag.String("profile", "fast", "gossip profile of TestKillIsWitnessed: fast or lan")
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

// proves L-4, C-2: by the profile fast, or another, a killed machine's worker is LOST, and its job
// running elsewhere, long before its lease of 15 s ends; three kills.
func TestKillIsWitnessed(t *testing.T) {
	t.Setenv("PROFILE", *profile)
	l := newLab(t, 15*time.Second)
	spare := l.worker("spare", 4)
	var lost, moved []time.Duration
	for i := range *deaths {
		victim := l.worker(fmt.Sprintf("victim-%d", i), 1)
		id := entropy.JobID(fmt.Sprintf("job-%d", i))
		eventually(t, 20*time.Second, func() bool {
			return l.member(victim.name, entropy.MemberAlive) && l.member(spare.name, entropy.MemberAlive)
		},
			func() string { return "the workers are not members" })
		spec := entropy.JobSpec{Command: []string{"sleep", "60"}, Retry: entropy.RetryPolicy{Backoff: entropy.Duration(time.Millisecond)}}
		l.drain("spare", entropy.WorkerDrain)
		if r, err := l.client().Submit(context.Background(), []entropy.Submission{{ID: id, Spec: spec}}); err != nil || r[0].Error != nil {
			t.Fatal(err, r)
		}
		runsAt := func(name string) bool {
			j, err := l.client().Job(context.Background(), id)
			return err == nil && j.State == entropy.Running && string(j.Attempts[len(j.Attempts)-1].WorkerID) == name
		}
		eventually(t, 20*time.Second, func() bool { return runsAt(victim.name) }, func() string {
			j, err := l.client().Explain(context.Background(), id)
			return fmt.Sprintf("the job does not run: %+v %v", j, err)
		})
		l.drain("spare", entropy.WorkerResume)
		at := time.Now()
		victim.killAll()
		eventually(t, 14*time.Second, func() bool { return l.workerState(victim.name) == entropy.WorkerLost }, func() string {
			m, _ := l.client().Members(context.Background())
			return fmt.Sprintf("not lost before its lease ends: %+v", m)
		})
		lost = append(lost, time.Since(at))
		eventually(t, 14*time.Second, func() bool { return runsAt(spare.name) }, func() string { return "the job did not move" })
		moved = append(moved, time.Since(at))
	}
	slices.Sort(lost)
	slices.Sort(moved)
	t.Logf("%s, %d kills: kill to LOST min %s, median %s, max %s; to running elsewhere min %s, median %s, max %s", *profile, *deaths,
		lost[0], lost[len(lost)/2], lost[len(lost)-1], moved[0], moved[len(moved)/2], moved[len(moved)-1])
}

// drain sets a worker's mode.
func (l *lab) drain(name string, mode entropy.WorkerMode) {
	l.t.Helper()
	if _, err := l.client().SetWorker(context.Background(), entropy.WorkerID(name), mode, entropy.Operation{ID: entropy.NewID()}); err != nil {
		l.t.Fatal(err)
	}
}
