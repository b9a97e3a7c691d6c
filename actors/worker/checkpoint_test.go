package worker

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// fakeCheckpoints is what the small control plane keeps of checkpoints: those of
// all its jobs together.
type fakeCheckpoints struct {
	parts     map[string][]byte
	committed map[entropy.AssignmentID][]entropy.Checkpoint // newest first
	refusals  []string
}

// maySave is the fence. The caller holds mu.
func (f *fabric) maySave(id entropy.AssignmentID) error {
	if j := f.byID[id]; j == nil || !j.acked || j.stopped || j.verdict != "" {
		return entropy.Errorf(entropy.CodeSuperseded, "%s may not save", id)
	}
	return nil
}

func (f *fabric) OfferCheckpoint(_ context.Context, o entropy.CheckpointOffer) error {
	if _, err := f.enter("offer"); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if o.Refused != "" {
		f.saved.refusals = append(f.saved.refusals, o.Refused)
		f.bump()
	}
	return f.maySave(o.AssignmentID)
}

func (f *fabric) PutCheckpointPart(_ context.Context, u entropy.CheckpointUpload, r io.Reader) error {
	if _, err := f.enter("part"); err != nil {
		return err
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if digest(b) != u.SHA256 || int64(len(b)) != u.Size {
		f.problem("part %s has another content", u.SHA256)
	}
	if f.saved.parts == nil {
		f.saved.parts, f.saved.committed = map[string][]byte{}, map[entropy.AssignmentID][]entropy.Checkpoint{}
	}
	f.saved.parts[u.SHA256] = b
	return f.maySave(u.AssignmentID)
}

func (f *fabric) CommitCheckpoint(_ context.Context, c entropy.CheckpointCommit) (reply entropy.CheckpointReply, err error) {
	x, err := f.enter("commit")
	if err != nil {
		return reply, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.maySave(c.AssignmentID); err != nil {
		return reply, err
	}
	list := f.saved.committed[c.AssignmentID]
	if len(list) > 0 && c.Seq <= list[0].Seq {
		reply.Repeat = true
		return answer(x, reply)
	}
	f.saved.committed[c.AssignmentID] = append([]entropy.Checkpoint{{AssignmentID: c.AssignmentID, Attempt: 1, Seq: c.Seq, Manifest: c.Manifest}}, list...)
	f.bump()
	return answer(x, reply)
}

func (f *fabric) OpenCheckpointPart(_ context.Context, _ entropy.JobID, _ entropy.AssignmentID, sum string) (io.ReadCloser, error) {
	if _, err := f.enter("openpart"); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.saved.parts[sum]
	if b == nil {
		return nil, entropy.Errorf(entropy.CodeNotFound, "no part %s", sum)
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

// savingSpec is the spec of a script that saves checkpoints.
func savingSpec(s string) entropy.JobSpec {
	spec := script(s)
	spec.Checkpoint, spec.Grace = &entropy.CheckpointPolicy{}, entropy.Duration(20*time.Second)
	return spec
}

// mark is the rule in two lines of shell: $1 is the content.
const mark = `mark() { printf %s "$1" > "$ENTROPY_CHECKPOINT_DIR/state"; mv "$ENTROPY_CHECKPOINT_DIR/state" "$ENTROPY_CHECKPOINT_DIR/ready/"; }
`

func (f *fabric) awaitSaved(t testing.TB, id entropy.AssignmentID, n int) {
	t.Helper()
	f.await(t, fmt.Sprintf("checkpoint %d of %s", n, id), func() bool { return len(f.saved.committed[id]) >= n })
}

// proves H-10, W-6: a running job's checkpoint is saved while it runs, and is in
// restored/ before the process of the next attempt starts
func TestCheckpointOfRunningJob(t *testing.T) {
	f := newFabric(t)
	startNode(t, Config{Service: f, Exec: true})
	a := f.submit("a", savingSpec(mark+`[ ! -e "$ENTROPY_CHECKPOINT_DIR/restored" ] || exit 9
mark one; while [ "$(cat "$ENTROPY_CHECKPOINT_DIR/status" 2>/dev/null)" != "saved state as 1" ]; do sleep 0.05; done; mark two; sleep 600`))
	f.awaitSaved(t, "a", 2)
	f.stop("a", entropy.ReasonPreempt)
	f.awaitDone(t, a)
	b := f.submit("b", savingSpec(`cat "$ENTROPY_CHECKPOINT_DIR/restored/state"`))
	f.do(func() { b.from = f.saved.committed["a"] })
	f.awaitDone(t, b)
	f.do(func() {
		if out := string(f.logs["b/stdout"]); out != "two" || b.completion.Outcome != entropy.OutcomeSucceeded {
			t.Errorf("it printed %q: %+v", out, b.completion)
		}
		if note := string(f.logs["b/stderr"]); note != "[entropy: restored checkpoint 2 of attempt 1 (0 bytes)]\n" {
			t.Errorf("standard error is %q", note)
		}
	})
}

// proves H-10: what a job marks after TERM is saved before its result is reported
func TestCheckpointAfterTerm(t *testing.T) {
	f := newFabric(t)
	startNode(t, Config{Service: f, Exec: true})
	a := f.submit("a", savingSpec(mark+`trap 'mark last; exit 3' TERM; mark first; while :; do sleep 0.05; done`))
	f.awaitSaved(t, "a", 1)
	f.stop("a", entropy.ReasonPreempt)
	f.awaitDone(t, a)
	c := f.submit("c", savingSpec(mark+`mark x; exit 4`)) // and one that fails by itself
	f.awaitDone(t, c)
	f.do(func() {
		if len(f.saved.committed["a"]) != 2 || a.completion.Reason != entropy.ReasonPreempt {
			t.Errorf("checkpoints %+v, %+v", f.saved.committed["a"], a.completion)
		}
		if len(f.saved.committed["c"]) != 1 || *c.completion.ExitCode != 4 {
			t.Errorf("checkpoints %+v, %+v", f.saved.committed["c"], c.completion)
		}
	})
}

// proves H-10: the newest checkpoint is damaged: the one before is restored and
// the attempt's log says so; all are: it begins anew, and says so
func TestCheckpointDamaged(t *testing.T) {
	f := newFabric(t)
	startNode(t, Config{Service: f, Exec: true})
	a := f.submit("a", savingSpec(mark+`mark one; until grep -q "as 1" "$ENTROPY_CHECKPOINT_DIR/status"; do sleep 0.05; done; mark two; sleep 600`))
	f.awaitSaved(t, "a", 2)
	f.stop("a", entropy.ReasonPreempt)
	f.awaitDone(t, a)
	f.do(func() { f.saved.parts[digest([]byte("two"))][0] ^= 1 })
	show := `cat "$ENTROPY_CHECKPOINT_DIR/restored/state" || echo none`
	b := f.submit("b", savingSpec(show))
	f.do(func() { b.from = f.saved.committed["a"] })
	f.awaitDone(t, b)
	f.do(func() { f.saved.parts[digest([]byte("one"))][0] ^= 1 })
	c := f.submit("c", savingSpec(show))
	f.do(func() { c.from = f.saved.committed["a"] })
	f.awaitDone(t, c)
	f.do(func() {
		for id, want := range map[string][2]string{"b": {"one", "checkpoint 2 of attempt 1 cannot be restored: damaged: a chunk of state has another hash; restored checkpoint 1"}, "c": {"none\n", "nothing was restored"}} {
			if out, note := string(f.logs[id+"/stdout"]), string(f.logs[id+"/stderr"]); out != want[0] || !strings.Contains(note, want[1]) {
				t.Errorf("%s printed %q and %q, want %q", id, out, note, want)
			}
		}
	})
}

// proves H-10: a checkpoint that cannot be fetched now gives the assignment back,
// without blame
func TestCheckpointUnreachable(t *testing.T) {
	f := newFabric(t)
	f.fault = func(op string, _ int) fault {
		if op == "openpart" {
			return refused
		}
		return fine
	}
	startNode(t, Config{Service: f, Exec: true})
	a := f.submit("a", savingSpec(`true`))
	f.do(func() {
		a.from = []entropy.Checkpoint{{Seq: 1, Attempt: 1, Manifest: entropy.CheckpointPart{SHA256: digest(nil), Size: 7}}}
	})
	f.awaitDone(t, a)
	f.do(func() {
		if a.refusal == nil || !a.refusal.Transient {
			t.Errorf("refusal %+v", a.refusal)
		}
	})
}

// proves H-10: a refused checkpoint is told to the fabric; the job runs on
func TestCheckpointRefused(t *testing.T) {
	f := newFabric(t)
	startNode(t, Config{Service: f, Exec: true})
	spec := savingSpec(`ln -s /etc/passwd "$ENTROPY_CHECKPOINT_DIR/ready/state"; until grep -q refused "$ENTROPY_CHECKPOINT_DIR/status"; do sleep 0.05; done; echo on`)
	a := f.submit("a", spec)
	f.awaitDone(t, a)
	f.do(func() {
		if a.completion.Outcome != entropy.OutcomeSucceeded || string(f.logs["a/stdout"]) != "on\n" || len(f.saved.refusals) != 1 || !strings.Contains(f.saved.refusals[0], "symbolic link") {
			t.Errorf("%+v, refusals %q", a.completion, f.saved.refusals)
		}
	})
}

// proves H-10, W-8: the agent is killed while a checkpoint is on its way; the next
// agent saves it, and those that follow
func TestCheckpointOutlivesAgent(t *testing.T) {
	f := newFabric(t)
	state := t.TempDir()
	f.fault = func(op string, _ int) fault {
		if op == "commit" {
			return refused
		}
		return fine
	}
	n := startNode(t, Config{Service: f, Exec: true, DataDir: state})
	a := f.submit("a", savingSpec(mark+`mark one; while [ ! -e `+state+`/go ]; do sleep 0.05; done; mark two; sleep 600`))
	f.await(t, "a commit that fails", func() bool { return f.calls["commit"] > 0 })
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	f.do(func() { f.fault = nil })
	startNode(t, Config{Service: f, Exec: true, DataDir: state})
	f.awaitSaved(t, "a", 1)
	if err := os.WriteFile(filepath.Join(state, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f.awaitSaved(t, "a", 2)
	f.stop("a", entropy.ReasonCancel)
	f.awaitDone(t, a)
}

// proves H-10: jobs without the policy have no such directory and no such variable
func TestNoCheckpointDir(t *testing.T) {
	f := newFabric(t)
	startNode(t, Config{Service: f, Exec: true})
	if _, err := exec.LookPath("env"); err != nil {
		t.Fatal(err)
	}
	a := f.submit("a", entropy.JobSpec{Command: []string{"env"}, Env: map[string]string{"ENTROPY_CHECKPOINT_DIR": "/mine"}})
	f.awaitDone(t, a)
	f.do(func() {
		if out := string(f.logs["a/stdout"]); strings.Contains(out, "CHECKPOINT") || !strings.Contains(out, "ENTROPY_ARTIFACT_DIR") {
			t.Errorf("its environment is %s", out)
		}
	})
}
