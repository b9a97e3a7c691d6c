package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/es"
)

var errUnreadable = errors.New("unreadable")

// offers are the jobs' side of the scheduler: it keeps what it is offered, or crashes.
type offers struct {
	made  []Answer
	crash bool
	load  []Ready
	until time.Time // the queue cannot be read before
}

func (o *offers) Offer(id entropy.JobID, lease entropy.Assign, claim uint64, _ es.Ref) {
	if o.crash {
		o.crash = false
		panic("told to")
	}
	o.made = append(o.made, Answer{Claim: claim, ID: id, Job: &entropy.Job{ID: id, Lease: &entropy.Lease{WorkerID: lease.WorkerID}}})
}

func inScheduler(t *testing.T, o *offers, f func(ref es.Ref)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		sys := es.New(es.Config{})
		ref, err := sys.Spawn("scheduler", func() es.Actor {
			return New(Config{Jobs: o, Logger: slog.New(slog.DiscardHandler), Load: func(push func(Ready)) error {
				for _, r := range o.load {
					push(r)
				}
				if time.Now().Before(o.until) {
					return errUnreadable
				}
				return nil
			}})
		})
		if err != nil {
			t.Fatal(err)
		}
		f(ref)
		sys.Close()
		sys.Stop(ref)
		<-time.After(time.Minute)
	})
}

// proves J-3: an answer to an offer of before a crash of the scheduler is not
// taken for one of after it: no worker gets another's assignment.
func TestAnswerOfBeforeACrash(t *testing.T) {
	o := &offers{load: []Ready{ready("a", 0, 0, nil)}}
	inScheduler(t, o, func(ref es.Ref) {
		ref.Ask(context.Background(), &Claim{Worker: Worker{ID: "w1"}, Want: 1, Wait: time.Minute})
		synctest.Wait()
		old := o.made[0]
		o.load, o.crash = nil, true
		ref.Ask(context.Background(), &Claim{Worker: Worker{ID: "w1"}, Want: 1, Wait: time.Minute})
		ref.Tell(&Enqueue{Jobs: []Ready{ready("x", 0, 0, nil)}})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		second := ref.Ask(ctx, &Claim{Worker: Worker{ID: "w2"}, Want: 1, Wait: 10 * time.Second})
		ref.Tell(&Enqueue{Jobs: []Ready{ready("a", 0, 0, nil)}})
		synctest.Wait()
		ref.Tell(&old)
		synctest.Wait()
		ref.Tell(&o.made[len(o.made)-1])
		v, err := second.Await(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range v.(*Granted).Jobs {
			if j.Lease.WorkerID != "w2" {
				t.Errorf("w2 was given an assignment of %s", j.Lease.WorkerID)
			}
		}
	})
}

// proves L-7: a queue that cannot be read says so, and is read again until it can.
func TestQueueIsReadAgain(t *testing.T) {
	// A bubble's time starts with the year 2000.
	o := &offers{load: []Ready{ready("a", 0, 0, nil)}, until: time.Date(2000, 1, 1, 0, 1, 0, 0, time.UTC)}
	inScheduler(t, o, func(ref es.Ref) {
		if _, err := ref.Ask(context.Background(), Depth{}).Await(context.Background()); !errors.Is(err, errUnreadable) {
			t.Errorf("depth: %v", err)
		}
		<-time.After(time.Minute + 2*reloadDelay)
		if n, err := ref.Ask(context.Background(), Depth{}).Await(context.Background()); err != nil || n != 1 {
			t.Errorf("depth %v, %v", n, err)
		}
	})
}

// proves J-6: what a worker is excluded from costs it nothing to step over.
func TestExcludedCostsNothing(t *testing.T) {
	q := NewQueue()
	for i := range 10_000 {
		r := ready(fmt.Sprint("j", i), i, 0, nil)
		r.Excluded = []entropy.WorkerID{"bad"}
		q.Push(r)
	}
	if n := testing.AllocsPerRun(5, func() { q.Pick(Worker{ID: "bad"}, 4) }); n > 100 {
		t.Errorf("%v allocations to find that there is nothing for it", n)
	}
	if got := q.Pick(Worker{ID: "good"}, 1); len(got) != 1 || len(got[0].Excluded) != 1 || got[0].Set != ready("x", 0, 0, nil).Set {
		t.Errorf("picked %+v", got)
	}
}
