package actors_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/entropy-fabric/entropy"
)

// op names an operation.
func op(id string) entropy.Operation { return entropy.Operation{ID: id} }

// proves J-5: an operation that finds nothing to change is remembered as well, over
// a crash too: its duplicate, late, undoes nobody's work.
func TestOperationThatChangedNothing(t *testing.T) {
	inLab(t, func(l *lab) {
		ctx := context.Background()
		id := l.submit(entropy.JobSpec{})
		l.worker("w1")
		l.schedule(entropy.ScheduleSpec{Name: "nightly", Cron: "@daily", Job: entropy.JobSpec{Command: []string{"true"}}})
		hold := func(o string) error { _, err := l.sys.Hold(ctx, id, op(o)); return err }
		release := func(o string) error { _, err := l.sys.Release(ctx, id, op(o)); return err }
		rank := func(priority int) func(string) error {
			return func(o string) error { _, err := l.sys.Prioritize(ctx, id, priority, op(o)); return err }
		}
		mode := func(m entropy.WorkerMode) func(string) error {
			return func(o string) error { _, err := l.sys.SetWorker(ctx, "w1", m, op(o)); return err }
		}
		set := func(m entropy.ScheduleMode) func(string) error {
			return func(o string) error { _, err := l.sys.SetSchedule(ctx, "nightly", m, op(o)); return err }
		}
		worker := func() bool { all, _ := l.sys.Workers(ctx); return all[0].Draining }
		paused := func() bool { s, _ := l.sys.Schedule(ctx, "nightly", 0); return s.Paused }
		for _, c := range []struct {
			name     string
			do, undo func(op string) error
			done     func() bool
		}{
			{"hold", hold, release, func() bool { return l.job(id).Held }},
			{"prioritize", rank(7), rank(0), func() bool { return l.job(id).Priority() == 7 }},
			{"drain", mode(entropy.WorkerDrain), mode(entropy.WorkerResume), worker},
			{"pause", set(entropy.SchedulePause), set(entropy.ScheduleResume), paused},
		} {
			do := func(what string, f func(op string) error, want bool) {
				t.Helper()
				if err := f(c.name + "-" + what); err != nil {
					t.Fatalf("%s, %s: %v", c.name, what, err)
				}
				if synctest.Wait(); c.done() != want {
					t.Errorf("%s, after %s: %t", c.name, what, c.done())
				}
			}
			do("first", c.do, true)
			do("second", c.do, true) // it finds the work done
			do("undo", c.undo, false)
			do("undo-again", c.undo, false)
			do("second", c.do, false)
			l.crash()
			do("second", c.do, false)
			do("third", c.do, true)
			do("undo-again", c.undo, true)
		}
	})
}

// proves J-5: copies of one operation that arrive together are one operation, and
// each is told so.
func TestOperationArrivesTwiceAtOnce(t *testing.T) {
	inLab(t, func(l *lab) {
		id := l.submit(entropy.JobSpec{})
		l.worker("w1")
		l.schedule(entropy.ScheduleSpec{Name: "nightly", Cron: "@daily", Job: entropy.JobSpec{Command: []string{"true"}}})
		stuck := make(chan struct{})
		l.journal.mu.Lock()
		l.journal.hold = stuck
		l.journal.mu.Unlock()
		const copies = 3
		outcomes := make(chan error, 3*copies)
		for range copies {
			go func() { _, err := l.sys.Hold(context.Background(), id, op("a")); outcomes <- err }()
			go func() {
				_, err := l.sys.SetWorker(context.Background(), "w1", entropy.WorkerDrain, op("b"))
				outcomes <- err
			}()
			go func() {
				_, err := l.sys.SetSchedule(context.Background(), "nightly", entropy.SchedulePause, op("c"))
				outcomes <- err
			}()
		}
		synctest.Wait()
		close(stuck)
		for range cap(outcomes) {
			if err := <-outcomes; err != nil {
				t.Error(err)
			}
		}
		if !l.job(id).Held {
			t.Error("the job is not held")
		}
	})
}
