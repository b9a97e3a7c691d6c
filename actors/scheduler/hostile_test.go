package scheduler

import (
	"context"
	"errors"
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
	load  []*entropy.Job
	until time.Time // the queue cannot be read before
}

func (o *offers) Offer(id entropy.JobID, lease entropy.Assign, claim uint64, _ es.Ref) {
	if o.crash {
		o.crash = false
		panic("told to")
	}
	o.made = append(o.made, Answer{Claim: claim, ID: id, Job: &entropy.Job{ID: id, State: entropy.Assigned, Version: 2,
		Lease: &entropy.Lease{AssignmentID: lease.AssignmentID, WorkerID: lease.WorkerID}}})
}

func (o *offers) Preempt(entropy.JobID, entropy.Preempt) {}

func (o *offers) Look(_ context.Context, id entropy.JobID) (*entropy.Job, error) {
	return ready(string(id)), nil
}

func ready(id string) *entropy.Job {
	at := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	return &entropy.Job{ID: entropy.JobID(id), Version: 1, State: entropy.Pending, EligibleAt: &at}
}

func (o *offers) snapshot() (Snapshot, error) {
	var workers []*entropy.Worker
	for _, id := range []entropy.WorkerID{"w1", "w2"} {
		workers = append(workers, &entropy.Worker{ID: id, State: entropy.WorkerAlive, Slots: 4})
	}
	return Snapshot{Policy: new(entropy.Policy), Workers: workers, Each: func(f func(*entropy.Job)) error {
		if time.Now().Before(o.until) {
			return errUnreadable
		}
		for _, j := range o.load {
			f(j)
		}
		return nil
	}}, nil
}

func inScheduler(t *testing.T, o *offers, f func(ref es.Ref)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		sys := es.New(es.Config{})
		ref, err := sys.Spawn("scheduler", func() es.Actor {
			return New(Config{Jobs: o, Logger: slog.New(slog.DiscardHandler), Now: time.Now, Load: o.snapshot})
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
	o := &offers{load: []*entropy.Job{ready("a")}}
	inScheduler(t, o, func(ref es.Ref) {
		ref.Ask(context.Background(), &Claim{Worker: "w1", Want: 1, Wait: time.Minute})
		synctest.Wait()
		old := o.made[0]
		o.load, o.crash = nil, true
		ref.Ask(context.Background(), &Claim{Worker: "w1", Want: 1, Wait: time.Minute})
		ref.Tell(&Commit{Jobs: []*entropy.Job{ready("x")}})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		second := ref.Ask(ctx, &Claim{Worker: "w2", Want: 1, Wait: 10 * time.Second})
		ref.Tell(&Commit{Jobs: []*entropy.Job{ready("a")}})
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
	o := &offers{load: []*entropy.Job{ready("a")}, until: time.Date(2000, 1, 1, 0, 1, 0, 0, time.UTC)}
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
