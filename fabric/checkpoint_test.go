package fabric_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/fabric"
)

// countForever counts and saves each number with a megabyte of luggage; what finds
// a number in restored/ prints it and ends.
const countForever = `cd "$ENTROPY_CHECKPOINT_DIR"
if [ -e restored/n ]; then cat restored/n; cmp restored/n restored/again && [ "$(wc -c < restored/luggage)" = 1000000 ]; exit; fi
n=0
while :; do
  n=$((n+1)); mkdir next; echo $n > next/n; echo $n > next/again; head -c 1000000 /dev/urandom > next/luggage
  mv next ready/$n; sleep 0.1
done`

// proves H-10, H-13, J-13: a job that saves checkpoints, under kill -9 of the
// control plane; then its whole machine is lost, and it goes on at another where
// its newest checkpoint was. What it left is removed when it has succeeded.
func TestCheckpointMovesToAnotherMachine(t *testing.T) {
	l := newLab(t, 2*time.Second)
	w1 := l.worker("w1", 1)
	c := l.client()
	id := l.submit(c, entropy.JobSpec{Command: []string{"sh", "-c", countForever}, Checkpoint: &entropy.CheckpointPolicy{Keep: 3},
		Retry: entropy.RetryPolicy{Backoff: entropy.Duration(time.Millisecond)}})
	newest := func() uint64 {
		j := l.until(c, id, "a checkpoint", func(j *entropy.Job) bool { return len(j.Checkpoints) > 0 })
		return j.Checkpoints[len(j.Checkpoints)-1].Seq
	}
	for range 3 {
		before := newest()
		l.ctl.kill()
		l.startControl()
		l.until(c, id, "a newer checkpoint", func(j *entropy.Job) bool {
			return len(j.Checkpoints) > 0 && j.Checkpoints[len(j.Checkpoints)-1].Seq > before
		})
	}
	w1.killAll()
	saved := l.until(c, id, "its loss", func(j *entropy.Job) bool { return j.State != entropy.Running })
	l.worker("w2", 1)
	j := l.untilState(c, id, entropy.Succeeded)
	last := saved.Checkpoints[len(saved.Checkpoints)-1]
	if len(saved.Checkpoints) != 3 || last.Attempt != 1 || j.Attempt < 2 || j.Attempts[0].Reattached > 0 || len(j.Checkpoints) != 0 {
		t.Errorf("kept %+v, then %+v", saved.Checkpoints, j)
	}
	var out, note string
	eventually(t, 20*time.Second, func() bool {
		a, err1 := c.Log(context.Background(), entropy.LogQuery{JobID: id, Stream: "stdout"})
		b, err2 := c.Log(context.Background(), entropy.LogQuery{JobID: id, Stream: "stderr"})
		out, note = string(a.Data), string(b.Data)
		return err1 == nil && err2 == nil && out != "" && note != ""
	}, func() string { return "the second attempt printed nothing" })
	n, err := strconv.ParseUint(strings.TrimSpace(out), 10, 64)
	if err != nil || n < last.Seq || !strings.Contains(note, "restored checkpoint "+strconv.FormatUint(last.Seq, 10)+" of attempt 1") {
		t.Errorf("it went on from %q, %q; the newest checkpoint was %+v", out, note, last)
	}
	eventually(t, 10*time.Second, func() bool {
		_, err := os.Stat(l.path("control/store/checkpoint/" + string(id)))
		return os.IsNotExist(err)
	}, func() string { return "its checkpoints are still stored" })
}

// proves H-10, H-3: a checkpoint that the control plane's disk has no room for is
// refused, in words, to the job and in its record; the job runs on and succeeds, and
// nothing of the checkpoint is left
func TestCheckpointLargerThanTheDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=32m"); err != nil {
		t.Skipf("no tmpfs can be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	c, err := fabric.OpenControl(t.Context(), fabric.ControlConfig{DataDir: filepath.Join(dir, "data"), Listen: "127.0.0.1:0", Logger: testLogger()})
	if err != nil {
		t.Fatal(err)
	}
	w, err := fabric.OpenWorker(t.Context(), fabric.WorkerConfig{DataDir: t.TempDir(), Control: c, Name: "w", Slots: 1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = c.Run(ctx) })
	running.Go(func() { _ = w.Run(ctx) })
	defer running.Wait()
	defer cancel()
	h, err := entropy.Spawn(ctx, c.Service(), entropy.JobSpec{Checkpoint: &entropy.CheckpointPolicy{}, Command: []string{"sh", "-c",
		`cd "$ENTROPY_CHECKPOINT_DIR"; head -c 50000000 /dev/urandom > state; mv state ready/; until grep refused status; do sleep 0.1; done 2> /dev/null`}})
	if err != nil {
		t.Fatal(err)
	}
	j, err := h.Wait(ctx)
	if err != nil || j.State != entropy.Succeeded {
		t.Fatalf("%v, %+v", err, j)
	}
	out, err := io.ReadAll(h.Logs(ctx))
	if err != nil || !strings.HasPrefix(string(out), "refused state: there is no room for 50000000 bytes") {
		t.Errorf("its status was %q, %v", out, err)
	}
	refusals := 0
	for e, err := range h.Events(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Type == entropy.JobCheckpointRefused && strings.Contains(string(e.Attrs), "there is no room") {
			refusals++
		}
	}
	left, err := os.ReadDir(filepath.Join(dir, "data/store/checkpoint"))
	if refusals != 1 || err != nil || len(left) != 0 {
		t.Errorf("%d refusals on record, left %v, %v", refusals, left, err)
	}
}
