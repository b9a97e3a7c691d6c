package supervisor

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/checkpoint"
	"github.com/entropy-fabric/entropy/actors/worker/spool"
	"github.com/entropy-fabric/entropy/actors/worker/workspace"
)

// run is one assignment while it is held by the engine. Its goroutine goes
// through it from start to end; stops come from other goroutines.
type run struct {
	e    *Engine
	item StartItem
	dir  workspace.Dir

	mu     sync.Mutex
	tree   *tree // nil before the process exists
	box    *box  // nil: it runs in no container
	ended  bool  // the leader has ended: its outcome is settled
	over   bool  // its slot is another's: what is in it is no business of this run
	reason entropy.Reason
	killed bool
}

// Term implements deadline.Target: it asks the processes to end.
func (r *run) Term(reason entropy.Reason) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended || r.reason != "" || r.tree != nil && leaderEnded(r.tree.leader) {
		return
	}
	r.reason = reason
	if r.tree != nil {
		r.tree.term()
	}
}

// Kill implements deadline.Target: it ends the processes.
func (r *run) Kill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.killed = true
	if r.tree != nil && !r.over {
		r.tree.kill()
		if r.box != nil {
			r.killContained()
		}
	}
}

// leaderEnded reports whether a child has ended and was not reaped.
func leaderEnded(pid int) bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return err != nil || info.Signo != 0
}

// main goes through the run and hands its exit to the engine.
func (r *run) main() {
	began := time.Now()
	x := spool.Exit{Completion: entropy.Completion{JobID: r.item.Assignment.JobID, AssignmentID: r.item.Assignment.AssignmentID,
		StartedAt: began.UTC()}}
	err := r.execute(&x)
	if errors.Is(err, errClosing) {
		return // the start is in the spool: the next supervisor reports it
	}
	if err != nil {
		r.broken(&x.Completion, err)
	}
	x.Checkpoint = r.item.Assignment.Spec.Checkpoint != nil && resumable(&x.Completion)
	ended := time.Now()
	x.Completion.FinishedAt = ended.UTC()
	if u := x.Completion.Usage; u != nil {
		u.Wall = entropy.Duration(ended.Sub(began))
	}
	r.e.finish(r, x)
}

// resumable reports whether another attempt may follow, so that what the run
// marked as its state at the end is worth saving.
func resumable(c *entropy.Completion) bool {
	return c.Outcome != entropy.OutcomeSucceeded && c.Reason != entropy.ReasonCancel && c.Reason != entropy.ReasonSuperseded
}

// broken describes a run that never had a process.
func (r *run) broken(c *entropy.Completion, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.Outcome, c.Reason, c.Message = entropy.OutcomeFailed, entropy.ReasonWorkerError, cut(err.Error())
	code := 0
	switch {
	case r.reason != "": // stopped before it began
		c.Outcome, c.Reason, c.Message = stopped(r.reason), r.reason, ""
		return
	case errors.Is(err, syscall.ENOENT), entropy.ErrorCode(err) == entropy.CodeInvalid:
		code = 127 // as a shell reports it
	case errors.Is(err, syscall.ENOEXEC), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.E2BIG), errors.Is(err, syscall.EINVAL):
		code = 126
	default:
		return
	}
	c.Reason, c.ExitCode = entropy.ReasonExit, &code
}

// stopped returns the outcome of a run that was ended for a reason.
func stopped(reason entropy.Reason) entropy.Outcome {
	if reason == entropy.ReasonTimeout {
		return entropy.OutcomeFailed
	}
	return entropy.OutcomeStopped
}

// execute runs the command to its end, or returns why there was no process.
func (r *run) execute(x *spool.Exit) error {
	if r.item.Broken != "" {
		return errors.New(r.item.Broken)
	}
	if _, err := r.e.root.Make(r.item.Assignment.AssignmentID); err != nil {
		return err
	}
	if p := r.item.Assignment.Spec.Checkpoint; p != nil {
		if err := checkpoint.At(r.dir.Path()).Make(p); err != nil {
			return err
		}
	}
	b, err := r.e.slots.get()
	if err != nil {
		return fmt.Errorf("prepare to run: %w", err)
	}
	defer func() {
		r.mu.Lock()
		r.over = true
		r.mu.Unlock()
		r.e.slots.put(b)
	}()
	b.out.attach(workspace.NewLog(r.dir.Log(workspace.Stdout), r.item.MaxLog))
	stderr := workspace.NewLog(r.dir.Log(workspace.Stderr), r.item.MaxLog)
	if r.item.Note != "" {
		fmt.Fprintf(stderr, "[entropy: %s]\n", r.item.Note)
	}
	b.err.attach(stderr)
	if err = r.spawn(b); err == nil {
		err = r.wait(&x.Completion)
	}
	x.Stdout, x.Stderr = b.out.detach(), b.err.detach()
	if err == nil && r.box != nil {
		r.describeContained(&x.Completion)
	}
	if err == nil && x.Completion.Outcome == entropy.OutcomeSucceeded {
		r.collect(x)
	}
	return err
}

// spawn starts the process, unless the run was stopped before.
func (r *run) spawn(b *slot) error {
	spec := &r.item.Assignment.Spec
	if err := Check(spec); err != nil {
		return err
	}
	p, err := r.program()
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reason != "" {
		return errors.New("stopped before it began")
	}
	attr := &syscall.ProcAttr{Dir: r.workdir(), Env: p.env,
		Files: []uintptr{r.e.null.Fd(), b.out.w.Fd(), b.err.w.Fd()},
		Sys:   &syscall.SysProcAttr{Setpgid: true}}
	pid, err := r.fork(p, attr, b)
	if err != nil {
		return fmt.Errorf("execute %s: %w", p.path, err)
	}
	r.tree = &tree{id: r.item.Assignment.AssignmentID, spool: r.e.spool.ID(), leader: pid, cgroup: b.cgroup, children: r.e.children, client: r.box != nil}
	if b.cgroup == nil {
		r.rememberProcess(pid)
	}
	return nil
}

// program is what becomes the leader of a run.
type program struct {
	path      string
	argv, env []string
}

// program returns the job's command, or the client that runs its image.
func (r *run) program() (program, error) {
	spec := &r.item.Assignment.Spec
	if spec.Image != "" {
		return r.contain()
	}
	path, err := lookup(spec)
	return program{path, spec.Command, r.environment()}, err
}

// fork starts the process in the slot's control group. If the kernel refuses
// that, the slot and all that follow do without.
func (r *run) fork(p program, attr *syscall.ProcAttr, b *slot) (int, error) {
	start := func() (int, error) { return syscall.ForkExec(p.path, p.argv, attr) }
	if r.item.Assignment.Spec.Disconnect.Worker == entropy.DisconnectStop {
		// Nobody would keep its deadline after the supervisor.
		attr.Sys.Pdeathsig = syscall.SIGKILL
		start = func() (pid int, err error) {
			r.e.children.onSpawner(func() { pid, err = syscall.ForkExec(p.path, p.argv, attr) })
			return pid, err
		}
	}
	if b.cgroup == nil {
		return r.e.children.fork(start)
	}
	attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(b.cgroup.dir.Fd())
	pid, err := r.e.children.fork(start)
	if err == nil {
		return pid, nil
	}
	attr.Sys.UseCgroupFD = false
	pid, second := r.e.children.fork(start)
	if second == nil { // so the control group was the trouble
		r.e.slots.degrade(err)
		b.cgroup.close()
		b.cgroup = nil
	}
	return pid, second
}

// rememberProcess lets a later supervisor find the processes.
func (r *run) rememberProcess(pid int) {
	p := spool.Process{AssignmentID: r.item.Assignment.AssignmentID, PID: pid}
	if s, ok := procStat(pid); ok {
		p.StartTicks = s.startTicks
	}
	if err := r.e.spool.Process(p); err != nil {
		r.e.log.Warn("a process could not be noted in the spool", slog.Any("error", err), slog.String("assignment_id", string(p.AssignmentID)))
	}
}

// wait blocks until the whole process tree is gone and describes the end.
func (r *run) wait(c *entropy.Completion) error {
	pid := r.tree.leader
	for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	// The leader has ended and is not reaped, so its pid names nothing else yet.
	r.mu.Lock()
	r.ended = true
	reason := r.reason
	if reason == "" && r.box == nil {
		r.tree.sweep()
	}
	r.mu.Unlock()
	status, usage, err := r.e.children.reap(pid)
	if r.box != nil { // its processes are not the leader's
		if err := r.uncontain(status); err != nil {
			return err
		}
	}
	r.tree.awaitEnd(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if reason == "" || r.killed {
			r.tree.kill()
		}
	})
	describe(c, status, usage, err)
	if reason != "" {
		c.Outcome, c.Reason = stopped(reason), reason
		c.Message = "ended by the worker: " + string(reason)
		if reason == entropy.ReasonTimeout {
			c.Message = "it ran longer than its run timeout of " + r.item.Assignment.Spec.RunTimeout.String()
		}
	}
	return nil
}

// describe fills in what the kernel said about the leader's end.
func describe(c *entropy.Completion, status unix.WaitStatus, usage unix.Rusage, err error) {
	if err != nil {
		c.Outcome, c.Reason, c.Message = entropy.OutcomeFailed, entropy.ReasonWorkerError, cut("the end of the process was not seen: "+err.Error())
		return
	}
	c.Usage = &entropy.Usage{UserCPU: entropy.Duration(usage.Utime.Nano()), SystemCPU: entropy.Duration(usage.Stime.Nano()), MaxRSS: usage.Maxrss << 10}
	switch {
	case status.Signaled():
		c.Signal = unix.SignalName(status.Signal())
		if c.Signal == "" {
			c.Signal = fmt.Sprintf("SIG%d", int(status.Signal()))
		}
		c.Outcome, c.Reason, c.Message = entropy.OutcomeFailed, entropy.ReasonExit, "killed by "+c.Signal
	case status.ExitStatus() != 0:
		code := status.ExitStatus()
		c.ExitCode = &code
		c.Outcome, c.Reason, c.Message = entropy.OutcomeFailed, entropy.ReasonExit, fmt.Sprintf("exited with code %d", code)
	default:
		code := 0
		c.Outcome, c.ExitCode = entropy.OutcomeSucceeded, &code
	}
}

// collect takes the artifacts of a run that succeeded; without them it failed.
func (r *run) collect(x *spool.Exit) {
	artifacts, files, err := workspace.Collect(r.workdir(), r.dir.Artifacts(), r.item.Assignment.Spec.Artifacts)
	if err != nil {
		x.Completion.Outcome, x.Completion.Reason = entropy.OutcomeFailed, entropy.ReasonArtifact
		x.Completion.Message = cut(err.Error())
		return
	}
	x.Completion.Artifacts, x.Files = artifacts, files
}

func (r *run) workdir() string {
	if cwd := r.item.Assignment.Spec.Cwd; cwd != "" {
		return cwd
	}
	return r.dir.Scratch()
}

// environment is clean: a job sees what is named here, and what it asked for.
func (r *run) environment() []string {
	a := &r.item.Assignment
	env := make([]string, 0, len(a.Spec.Env)+12)
	for _, v := range r.e.baseEnv {
		if _, own := a.Spec.Env[v.name]; !own {
			env = append(env, v.name+"="+v.value)
		}
	}
	if _, own := a.Spec.Env["TMPDIR"]; !own {
		env = append(env, "TMPDIR="+r.dir.Scratch())
	}
	return r.variables(env)
}

// variables appends to env what a job asked for and what it is told, in a
// container or not.
func (r *run) variables(env []string) []string {
	a := &r.item.Assignment
	for k, v := range a.Spec.Env {
		if !ownVariables[k] && (k != cudaDevices || len(a.GPUs) == 0) {
			env = append(env, k+"="+v)
		}
	}
	if len(a.GPUs) > 0 {
		env = append(env, cudaDevices+"="+gpuIndexes(a.GPUs))
	}
	if a.Spec.Checkpoint != nil {
		env = append(env, envCheckpointDir+"="+checkpoint.At(r.dir.Path()).Job())
	}
	return append(env,
		"ENTROPY_JOB_ID="+string(a.JobID),
		envAssignment+"="+string(a.AssignmentID),
		envSpool+"="+r.e.spool.ID(),
		fmt.Sprintf("ENTROPY_ATTEMPT=%d", a.Attempt),
		"ENTROPY_INPUT_DIR="+r.dir.InputsOrEmpty(len(a.Spec.Inputs)),
		"ENTROPY_ARTIFACT_DIR="+r.dir.Artifacts())
}

// cudaDevices tells a process which GPUs are its own, by the convention of CUDA.
const cudaDevices = "CUDA_VISIBLE_DEVICES"

func gpuIndexes(gpus []entropy.GPUShare) string {
	list := make([]string, len(gpus))
	for i, g := range gpus {
		list[i] = strconv.Itoa(g.Index)
	}
	return strings.Join(list, ",")
}

// ownVariables cannot be set by a job: by one of them its processes are found.
var ownVariables = map[string]bool{"ENTROPY_JOB_ID": true, envAssignment: true, envSpool: true, "ENTROPY_ATTEMPT": true,
	"ENTROPY_INPUT_DIR": true, "ENTROPY_ARTIFACT_DIR": true, envCheckpointDir: true}

// envCheckpointDir is set for jobs that save checkpoints; see package checkpoint.
const envCheckpointDir = "ENTROPY_CHECKPOINT_DIR"

func cut(s string) string {
	if len(s) <= entropy.MaxMessage {
		return s
	}
	return s[:entropy.MaxMessage-3] + "..."
}
