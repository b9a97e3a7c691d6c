package actors

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// bench is a settler without its actor, over states that a test sets.
type bench struct {
	settler
	states map[entropy.JobID]entropy.State
	during func() // called in the middle of a look
	said   map[entropy.JobID]entropy.Settle
	looked int // jobs whose state was read
}

func newBench() *bench {
	b := &bench{states: make(map[entropy.JobID]entropy.State), said: make(map[entropy.JobID]entropy.Settle)}
	b.settler = settler{log: slog.New(slog.DiscardHandler), now: time.Now, graph: newGraph(), queued: make(map[entropy.JobID]bool), told: make(map[entropy.JobID]time.Time),
		settle: func(id entropy.JobID, s entropy.Settle) { b.said[id] = s },
		standings: func(_ context.Context, ids []entropy.JobID) (map[entropy.JobID]entropy.Standing, error) {
			at := make(map[entropy.JobID]entropy.Standing)
			for _, id := range ids {
				at[id] = entropy.Standing{State: b.states[id]}
				b.looked++
			}
			if f := b.during; f != nil {
				b.during = nil
				f()
			}
			return at, nil
		}}
	return b
}

// end ends a job, as a commit does.
func (b *bench) end(id entropy.JobID, s entropy.State) {
	b.states[id] = s
	look, _ := b.graph.ended(&entropy.Job{ID: id, State: s})
	b.push(look)
}

func deps(ids ...entropy.JobID) (after []entropy.Dependency) {
	for _, id := range ids {
		after = append(after, entropy.Dependency{Job: id})
	}
	return after
}

// proves J-10: an end in the middle of a look at one that ended before it is not
// missed, whatever the order.
func TestEndDuringALook(t *testing.T) {
	b := newBench()
	b.states["early"], b.states["late"] = entropy.Succeeded, entropy.Running // early ended before anybody waited
	b.graph.wait("d", deps("early", "late"))
	b.during = func() { b.end("late", entropy.Succeeded) }
	b.push([]entropy.JobID{"d"})
	b.pump()
	if _, ok := b.said["d"]; !ok {
		t.Error("it was told nothing and waits for ever")
	}
}

// proves J-10: a settler tells a bounded number of jobs at once and goes on as
// they answer; none is forgotten.
func TestSettleWindow(t *testing.T) {
	b := newBench()
	const n = 5_000
	for i := range n {
		b.graph.wait(entropy.JobID(fmt.Sprint("d", i)), deps("up"))
	}
	b.end("up", entropy.Succeeded)
	total := 0
	for round := 0; total < n && round < n; round++ {
		b.pump()
		if len(b.told) > settleWindow+settlePiece {
			t.Fatalf("%d jobs are told at once", len(b.told))
		}
		for id := range b.said { // they answer
			b.graph.settled(id)
			delete(b.told, id)
			total++
		}
		clear(b.said)
	}
	if total != n || b.looked > n/settlePiece+1 {
		t.Errorf("%d of %d were told, with %d states read", total, n, b.looked)
	}
}

// proves J-10: ten thousand jobs that wait for an array of which all members fail
// are told to look twice, not once for each member.
func TestFanOutOfAFailingArray(t *testing.T) {
	g := newGraph()
	const n = 1_000
	g.array("a", n)
	for i := range n {
		g.wait(entropy.JobID(fmt.Sprint("d", i)), deps("a"))
	}
	looks, ends := 0, 0
	for i := range n {
		look, array := g.ended(&entropy.Job{ID: entropy.MemberID("a", i), State: entropy.Failed, Spec: entropy.JobSpec{Array: &entropy.ArrayMember{Of: "a", Index: i}}})
		looks += len(look)
		if array != "" {
			ends++
		}
		if i == 0 && len(look) != n {
			t.Errorf("at the first failure %d look", len(look))
		}
	}
	if looks > 2*n || ends != 1 {
		t.Errorf("%d looks, %d ends", looks, ends)
	}
}

// proves J-10: a job that waits for a thousand is looked at when it begins and when
// the last has ended, not at each end.
func TestFanIn(t *testing.T) {
	b := newBench()
	var up []entropy.JobID
	for i := range entropy.MaxAfter {
		up = append(up, entropy.JobID(fmt.Sprint("u", i)))
		b.states[up[i]] = entropy.Running
	}
	b.graph.wait("d", deps(up...))
	b.push([]entropy.JobID{"d"})
	b.pump()
	for _, id := range up {
		if _, early := b.said["d"]; early {
			t.Fatalf("it was told before %s ended", id)
		}
		b.end(id, entropy.Succeeded)
		b.pump()
	}
	if how, ok := b.said["d"]; !ok || how != (entropy.Settle{}) {
		t.Errorf("told %+v, %v", how, ok)
	}
	if b.looked > 2*entropy.MaxAfter {
		t.Errorf("%d states were read", b.looked)
	}
}
