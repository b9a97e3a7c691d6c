package supervisor

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/checkpoint"
	"github.com/entropy-fabric/entropy/actors/worker/spool"
)

// recoverPatience bounds the wait for processes that were killed to be gone.
const recoverPatience = 30 * time.Second

// sweepPatience bounds how long a supervisor's start waits for container
// runtimes.
const sweepPatience = 15 * time.Second

// recover ends what a supervisor that died left behind. A run of this boot is
// reported as a worker error once its processes are gone; one of an earlier
// boot is forgotten: that its worker no longer holds it says all.
func (e *Engine) recover() error {
	starts, processes := e.spool.Unfinished()
	var left []spool.Start
	var gone []spool.Decision
	for _, s := range starts {
		if s.BootID == e.bootID {
			left = append(left, s)
		} else {
			gone = append(gone, spool.Decision{AssignmentID: s.AssignmentID, Verdict: entropy.VerdictStop})
		}
	}
	if len(left) > 0 {
		if err := killLeft(e.spool.ID(), left, processes); err != nil {
			return err
		}
	}
	if err := e.spool.Decide(gone); err != nil {
		return err
	}
	return e.endContainers(left)
}

// endContainers ends what the supervisor before left in containers, and then
// reports its runs. A runtime that does not answer must not keep the worker from
// all other work: the runs stay held, and it is asked again.
func (e *Engine) endContainers(left []spool.Start) error {
	ctx, cancel := context.WithTimeout(context.Background(), sweepPatience)
	defer cancel()
	err := e.boxes.sweep(ctx)
	if err == nil {
		return e.reportLeft(left)
	}
	e.log.Error("containers of an earlier supervisor may still run, so its assignments are not over", slog.Any("error", err))
	e.removed.Go(func() {
		if !e.boxes.sweepAssignments(left, e.closing) {
			return
		}
		if err := e.reportLeft(left); err != nil {
			e.log.Error("the ends of lost assignments cannot be written to the spool", slog.Any("error", err))
		}
	})
	return nil
}

// reportLeft spools the ends of runs whose supervisor died.
func (e *Engine) reportLeft(left []spool.Start) error {
	for _, s := range left {
		e.log.Warn("an assignment had lost its supervisor; its processes were ended", slog.String("assignment_id", string(s.AssignmentID)))
		x := spool.Exit{Completion: entropy.Completion{JobID: s.JobID, AssignmentID: s.AssignmentID,
			Outcome: entropy.OutcomeFailed, Reason: entropy.ReasonWorkerError, Message: "the supervisor of the worker died while it ran",
			StartedAt: s.At, FinishedAt: time.Now().UTC()}}
		x.Stdout, x.Stderr = e.logSizes(s.AssignmentID)
		x.Checkpoint = checkpoint.At(e.root.Dir(s.AssignmentID).Path()).Enabled()
		if err := e.spool.Exit(x); err != nil {
			return err
		}
	}
	return e.spool.Sync(context.Background())
}

func (e *Engine) logSizes(id entropy.AssignmentID) (stdout, stderr int64) {
	d := e.root.Dir(id)
	size := func(stream string) int64 {
		fi, err := os.Stat(d.Log(stream))
		if err != nil {
			return 0
		}
		return fi.Size()
	}
	return size("stdout"), size("stderr")
}

// killLeft ends the processes of runs and returns when they are gone.
func killLeft(spoolID string, starts []spool.Start, processes []*spool.Process) error {
	ids := map[entropy.AssignmentID]bool{}
	groups := map[string]bool{}
	for _, s := range starts {
		ids[s.AssignmentID] = true
		if s.Cgroup != "" {
			groups[s.Cgroup] = true
		}
	}
	end := time.Now().Add(recoverPatience)
	for {
		left := killOnce(spoolID, ids, groups, processes)
		if left == 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d processes of an earlier supervisor do not end", left)
		}
		time.Sleep(5 * time.Millisecond) // the kernel tells nobody when a foreign process has gone
	}
}

// killOnce kills everything that belongs to the runs and returns how many
// processes it saw.
func killOnce(spoolID string, ids map[entropy.AssignmentID]bool, groups map[string]bool, processes []*spool.Process) (seen int) {
	for g := range groups {
		seen += killCgroups(g)
	}
	for _, p := range processes {
		if p == nil || p.StartTicks == 0 {
			continue
		}
		same := func() bool { s, ok := procStat(p.PID); return ok && s.startTicks == p.StartTicks }
		if same() && !zombie(p.PID) {
			seen++
			_ = unix.Kill(-p.PID, unix.SIGKILL) // the leader is there, so the group is its own
			killIf(p.PID, same)
		}
	}
	for _, pid := range pidsIn("/proc") {
		mine := func() bool { return ids[assignmentOf(pid, spoolID)] } // a zombie has no environment
		if pid != os.Getpid() && mine() {
			seen++
			killIf(pid, mine)
		}
	}
	return seen
}

// killCgroups kills what is in the groups below dir and removes those that are
// empty. It returns how many processes it saw.
func killCgroups(dir string) (seen int) {
	list, _ := filepath.Glob(filepath.Join(dir, "*", "cgroup.procs"))
	for _, procs := range list {
		b, _ := os.ReadFile(procs)
		if n := len(slices.DeleteFunc(parsePIDs(b), zombie)); n > 0 {
			seen += n
			_ = killCgroup(filepath.Dir(procs))
			continue
		}
		_ = unix.Rmdir(filepath.Dir(procs))
	}
	return seen
}
