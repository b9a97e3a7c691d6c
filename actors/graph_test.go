package actors_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// once is a job that fails at its first failure and waits for others.
func once(after ...entropy.JobID) entropy.JobSpec {
	spec := entropy.JobSpec{Command: []string{"true"}, Retry: entropy.RetryPolicy{MaxAttempts: 1}}
	for _, id := range after {
		spec.After = append(spec.After, entropy.Dependency{Job: id})
	}
	return spec
}

// all submits one call.
func (l *lab) all(subs ...entropy.Submission) []entropy.JobID {
	l.t.Helper()
	res, err := l.sys.Submit(context.Background(), subs)
	if err != nil {
		l.t.Fatal(err)
	}
	ids := make([]entropy.JobID, len(res))
	for i := range res {
		ids[i] = res[i].ID
	}
	return ids
}

// end runs the next job of the queue to its end.
func (n *node) end(code int) entropy.JobID {
	n.l.t.Helper()
	h := n.run()
	outcome := entropy.OutcomeSucceeded
	if code != 0 {
		outcome = entropy.OutcomeFailed
	}
	r, err := n.l.sys.Complete(n.ctx, entropy.CompleteRequest{Incarnation: n.incarnation, Items: []entropy.Completion{{JobID: h.JobID, AssignmentID: h.AssignmentID,
		SpoolID: "spool", Outcome: outcome, Reason: entropy.ReasonExit, ExitCode: &code}}})
	if err != nil || r[0].Verdict != entropy.VerdictAccepted {
		n.l.t.Fatal(err, r)
	}
	return h.JobID
}

// states counts the jobs of a journal.
func (l *lab) states() map[entropy.State]int64 {
	l.t.Helper()
	counts, err := l.journal.Counts(context.Background())
	if err != nil {
		l.t.Fatal(err)
	}
	return counts
}

// proves J-10: ten thousand jobs that wait for one start when it ends, without as
// many goroutines at once, and without looking at each pair.
func TestFanOut(t *testing.T) {
	inLab(t, func(l *lab) {
		n := l.worker("w1")
		up := l.all(entropy.Submission{ID: "up", Spec: once()})[0]
		l.all(entropy.Submission{ID: "fan", Spec: once(up), Array: &entropy.ArraySpec{Last: 9_999}})
		l.pass(time.Second)
		if got := l.states(); got[entropy.Scheduled] != 10_000 {
			t.Fatalf("%v", got)
		}
		var most atomic.Int64
		l.journal.watch(func() { most.Store(max(most.Load(), int64(runtime.NumGoroutine()))) })
		n.end(0)
		l.pass(time.Second)
		if got := l.states(); got[entropy.Pending] != 10_000 {
			t.Fatalf("%v", got)
		}
		if most.Load() > 4_000 {
			t.Errorf("%d goroutines at once", most.Load())
		}
		if j := l.want("fan", entropy.Pending); j.Array.States[entropy.Pending] != 10_000 {
			t.Errorf("the array: %v", j.Array)
		}
	})
}

// proves J-10: a failure goes down a chain of a thousand, to its end.
func TestChain(t *testing.T) {
	inLab(t, func(l *lab) {
		n := l.worker("w1")
		subs := []entropy.Submission{{ID: "j0", Spec: once()}}
		for i := 1; i < 1000; i++ {
			subs = append(subs, entropy.Submission{ID: entropy.JobID(fmt.Sprint("j", i)), Spec: once(entropy.JobID(fmt.Sprint("j", i-1)))})
		}
		l.all(subs...)
		n.end(1)
		l.pass(time.Second)
		if j := l.want("j999", entropy.Failed); j.Reason != entropy.ReasonDependency || !strings.Contains(j.Message, "j998") {
			t.Errorf("the last: %s %q", j.Reason, j.Message)
		}
		if got := l.states(); got[entropy.Failed] != 1000 {
			t.Errorf("%v", got)
		}
	})
}

// proves J-10, H-2: dependents are derived again at the start: an end whose
// consequences a crash cut off is followed up, whole arrays included.
func TestDependentsSurviveACrash(t *testing.T) {
	inLab(t, func(l *lab) {
		n := l.worker("w1")
		l.all(entropy.Submission{ID: "up", Spec: once()}, entropy.Submission{ID: "arr", Spec: once("up"), Array: &entropy.ArraySpec{Last: 1}},
			entropy.Submission{ID: "down", Spec: once("arr")}, entropy.Submission{ID: "later", Spec: once("down")})
		stop := func(of ...string) {
			l.journal.set(func(ch entropy.Change) error {
				for _, e := range of {
					if len(ch.Events) > 0 && ch.Events[0].Type == e {
						return entropy.Errorf(entropy.CodeUnavailable, "the process died here")
					}
				}
				return nil
			})
		}
		stop(entropy.JobEligible)
		n.end(0)
		l.want("arr.0", entropy.Scheduled)
		l.crash()
		l.want("arr.0", entropy.Pending)
		l.want("arr.1", entropy.Pending)
		l.want("down", entropy.Scheduled)
		n.register()
		n.end(0)
		l.crash() // the array's count of open members is derived, too
		n.register()
		stop(entropy.JobFailed)
		n.end(0)
		l.want("down", entropy.Pending)
		n.end(0)
		l.want("later", entropy.Pending)
	})
}

// proves J-10, H-3: a word that the journal had no room for is said again.
func TestSettleIsRepeated(t *testing.T) {
	inLab(t, func(l *lab) {
		n := l.worker("w1")
		l.all(entropy.Submission{ID: "up", Spec: once()}, entropy.Submission{ID: "down", Spec: once("up")})
		l.journal.set(func(ch entropy.Change) error {
			if ch.Entity == "job:down" {
				return entropy.Errorf(entropy.CodeDiskFull, "no room")
			}
			return nil
		})
		n.end(0)
		l.pass(20 * time.Second)
		l.want("down", entropy.Scheduled)
		l.journal.set(nil)
		l.pass(10 * time.Second)
		l.want("down", entropy.Pending)
	})
}

// proves J-10: what ends between the look at a submission and its commit is not
// missed: the journal is looked at again after the commit.
func TestEndDuringSubmission(t *testing.T) {
	inLab(t, func(l *lab) {
		n := l.worker("w1")
		l.all(entropy.Submission{ID: "up", Spec: once()}, entropy.Submission{ID: "other", Spec: once()})
		gate := make(chan struct{})
		l.journal.set(func(ch entropy.Change) error {
			if ch.Entity == "job:down" && gate != nil {
				g := gate
				gate = nil
				l.journal.mu.Unlock() // the append waits while others pass
				<-g
				l.journal.mu.Lock()
			}
			return nil
		})
		done := make(chan error, 1)
		g := gate
		go func() {
			_, err := l.sys.Submit(context.Background(), []entropy.Submission{{ID: "down", Spec: once("up", "other")}})
			done <- err
		}()
		l.pass(time.Millisecond)
		n.end(0)
		close(g)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		l.want("down", entropy.Scheduled)
		n.end(0)
		l.want("down", entropy.Pending)
	})
}

// proves J-5: a group and a single submission of one ID meet in the journal, and a
// job's actor that looked before the group made the job does not hide it.
func TestGroupBesideActors(t *testing.T) {
	inLab(t, func(l *lab) {
		n := l.worker("w1")
		_, _ = l.sys.Ack(n.ctx, entropy.AckRequest{Incarnation: n.incarnation, Items: []entropy.Held{{JobID: "g", AssignmentID: "a"}}}) // its actor learns that there is none
		l.all(entropy.Submission{ID: "g", Spec: once(), Atomic: true})
		j, err := l.sys.Cancel(context.Background(), "g", entropy.Operation{})
		if err != nil || j.State != entropy.Canceled {
			t.Fatalf("%+v, %v", j, err)
		}
		same := []entropy.Submission{{ID: "same", Spec: once(), Atomic: true}}
		lone := []entropy.Submission{{ID: "same", Spec: once()}}
		results := make(chan entropy.SubmitResult, 20)
		for i := range 20 {
			subs := [][]entropy.Submission{same, lone}[i%2]
			go func() {
				res, err := l.sys.Submit(context.Background(), subs)
				if err != nil {
					t.Error(err)
					res = []entropy.SubmitResult{{}}
				}
				results <- res[0]
			}()
		}
		created := 0
		for range 20 {
			if r := <-results; r.Error != nil {
				t.Error(r.Error)
			} else if r.Created {
				created++
			}
		}
		if created != 1 {
			t.Errorf("it was created %d times", created)
		}
	})
}

// proves J-14: a repeated operation on an array or by filter is carried out once.
func TestBulkOperationOnce(t *testing.T) {
	inLab(t, func(l *lab) {
		ctx := context.Background()
		l.all(entropy.Submission{ID: "arr", Spec: once(), Array: &entropy.ArraySpec{Last: 99}})
		hold := entropy.BulkRequest{Verb: entropy.VerbHold, IDs: []entropy.JobID{"arr"}, Operation: entropy.Operation{ID: "h"}}
		if _, err := l.sys.Bulk(ctx, hold); err != nil {
			t.Fatal(err)
		}
		l.want("arr.99", entropy.Pending)
		if j := l.job("arr.50"); !j.Held {
			t.Fatal("it is not held")
		}
		if _, err := l.sys.Release(ctx, "arr", entropy.Operation{ID: "r"}); err != nil {
			t.Fatal(err)
		}
		if _, err := l.sys.Bulk(ctx, hold); err != nil { // the answer was lost, say
			t.Fatal(err)
		}
		if j := l.job("arr.50"); j.Held {
			t.Error("a repeat held it again")
		}
	})
}
