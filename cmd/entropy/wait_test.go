package main

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entropy-fabric/entropy"
)

// proves SPEC §12: wait exits 0, 7 or 8, prints each job as it ends, and reads
// IDs from standard input.
func TestWaitExitCodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.app.now = time.Now
		b.service.jobs["good"] = &entropy.Job{ID: "good", State: entropy.Succeeded}
		b.service.jobs["bad"] = &entropy.Job{ID: "bad", State: entropy.Failed, Reason: entropy.ReasonTimeout, Message: "over 5s"}
		b.service.jobs["open"] = &entropy.Job{ID: "open", State: entropy.Running}

		b.app.stdin = strings.NewReader("good\n\ngood\n")
		if code := b.run("wait", "-"); code != 0 || b.stdout.String() != "good  succeeded\n" {
			t.Errorf("all well: exit %d, stdout %q", code, b.stdout.String())
		}
		if code := b.run("wait", "good", "bad"); code != 7 || b.stdout.String() != "good  succeeded\nbad  failed: timeout: over 5s\n" {
			t.Errorf("one failed: exit %d, stdout %q", code, b.stdout.String())
		}
		start := time.Now()
		if code := b.run("wait", "--timeout", "5s", "good", "open"); code != 8 || b.stdout.String() != "good  succeeded\n" {
			t.Errorf("timed out: exit %d, stdout %q", code, b.stdout.String())
		}
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("timed out after %s, want 5s", took)
		}
		b.service.errs = []error{entropy.Errorf(entropy.CodeNotFound, "there is no job x")}
		if code := b.run("wait", "x"); code != 3 {
			t.Errorf("an unknown job: exit %d, want 3", code)
		}
	})
}

// proves SPEC §12: Ctrl-C ends a wait with 130 and does nothing to the jobs.
func TestWaitCtrlCLeavesTheJobsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.app.now = time.Now
		b.service.jobs["open"] = &entropy.Job{ID: "open", State: entropy.Running}
		ctx, cancel := context.WithCancelCause(context.Background())
		b.service.onWait = func([]entropy.JobID) { cancel(signaled{syscall.SIGINT}) }
		if code := b.app.run(ctx, []string{"wait", "open"}); code != 130 {
			t.Errorf("exit %d, want 130 (%s)", code, b.stderr.String())
		}
		if got := strings.Join(b.service.calls, " "); got != "wait" {
			t.Errorf("calls %q, want one wait only", got)
		}
	})
}

// proves P-1 as a person sees it: a control plane that dies under a wait and
// comes back minutes later does not end the wait.
func TestWaitSitsOutARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.app.now = time.Now
		b.service.jobs["j"] = &entropy.Job{ID: "j", State: entropy.Running}
		rounds := 0
		b.service.onWait = func([]entropy.JobID) {
			if rounds++; rounds == 1 {
				for range 40 { // about two minutes of outage
					b.service.errs = append(b.service.errs, entropy.Errorf(entropy.CodeUnavailable, "refused"))
				}
				return
			}
			b.service.jobs["j"] = &entropy.Job{ID: "j", State: entropy.Succeeded}
		}
		if code := b.run("wait", "j"); code != 0 || !strings.Contains(b.stderr.String(), "answers again") {
			t.Errorf("exit %d, stderr %q", code, b.stderr.String())
		}
		b.service.errs = nil
		for range 1000 {
			b.service.errs = append(b.service.errs, entropy.Errorf(entropy.CodeUnavailable, "refused"))
		}
		if code := b.run("wait", "j"); code != 6 {
			t.Errorf("never reached: exit %d, want 6", code)
		}
	})
}

// proves "limits on every loop": many jobs are asked about in batches, and every
// one of them is heard of.
func TestWaitForManyJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.app.now = time.Now
		var in strings.Builder
		const n = 2*entropy.MaxBatch + 7
		for i := range n {
			id := entropy.JobID(fmt.Sprintf("j%d", i))
			b.service.jobs[id] = &entropy.Job{ID: id, State: entropy.Succeeded}
			fmt.Fprintln(&in, id)
		}
		b.service.jobs["j3"].State = entropy.Running
		b.service.onWait = func(ids []entropy.JobID) {
			if len(ids) > entropy.MaxBatch {
				t.Errorf("%d jobs in one call", len(ids))
			}
			if len(ids) == 1 {
				b.service.jobs["j3"].State = entropy.Succeeded
			}
		}
		b.app.stdin = strings.NewReader(in.String())
		if code := b.run("wait", "-"); code != 0 || strings.Count(b.stdout.String(), "\n") != n {
			t.Errorf("exit %d with %d lines, want %d", code, strings.Count(b.stdout.String(), "\n"), n)
		}
	})
}
