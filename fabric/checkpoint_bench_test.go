package fabric_test

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/checkpoint"
	"github.com/entropy-fabric/entropy/cluster/identity"
	"github.com/entropy-fabric/entropy/fabric"
)

const gigabyte = 1 << 30

// BenchmarkCheckpoint measures saves of one gigabyte and its restore, from a
// worker's disk over HTTP to the disk of a control plane on the same machine: the
// first, and three after 1 % has changed. Run it with -benchtime 1x. proves H-10
func BenchmarkCheckpoint(b *testing.B) {
	conf, remote, record := runningSaver(b)
	saver := checkpoint.New(conf)
	content := make([]byte, gigabyte, gigabyte+1)
	rand.NewChaCha8([32]byte{1}).Read(content)
	save := func(b *testing.B) entropy.Checkpoint {
		b.Helper()
		began := time.Now()
		name := filepath.Join(conf.Dir.Job(), "state")
		if err := os.WriteFile(name, content, 0o600); err != nil {
			b.Fatal(err)
		}
		if err := os.Rename(name, filepath.Join(conf.Dir.Job(), "ready", "state")); err != nil {
			b.Fatal(err)
		}
		b.ResetTimer()
		if result, err := saver.Save(b.Context(), remote, true); err != nil || result != checkpoint.Saved {
			b.Fatalf("result %d, %v, after %s", result, err, time.Since(began))
		}
		b.StopTimer()
		saved := record()
		b.SetBytes(saved.Size)
		b.ReportMetric(100*float64(saved.Uploaded)/float64(saved.Size), "%sent")
		return saved
	}
	b.Run("first", func(b *testing.B) { save(b) })
	for _, change := range []struct {
		name string
		do   func()
	}{
		{"pages", func() {
			r := rand.New(rand.NewPCG(1, 2))
			noise := rand.NewChaCha8([32]byte{2})
			for range gigabyte / 100 / 4096 {
				at := r.IntN(gigabyte/4096) * 4096
				noise.Read(content[at : at+4096])
			}
		}},
		{"run", func() { rand.NewChaCha8([32]byte{3}).Read(content[gigabyte/3:][:gigabyte/100]) }},
		{"insertion", func() { content = append(content, 0); copy(content[1:], content) }},
	} {
		b.Run(change.name, func(b *testing.B) {
			change.do()
			if c := save(b); 100*c.Uploaded >= 5*c.Size {
				b.Errorf("%d of %d bytes were sent, want less than 5 %%", c.Uploaded, c.Size)
			}
		})
	}
	b.Run("restore", func(b *testing.B) {
		c := record()
		b.SetBytes(c.Size)
		if note, err := checkpoint.Restore(b.Context(), conf, remote, []entropy.Checkpoint{c}); err != nil || !strings.HasPrefix(note, "restored") {
			b.Fatalf("%q, %v", note, err)
		}
	})
}

// runningSaver returns what saves the checkpoints of a job that a worker has ACKed,
// and the newest that is on record.
func runningSaver(b *testing.B) (checkpoint.Config, entropy.WorkerService, func() entropy.Checkpoint) {
	b.Helper()
	ctx := b.Context()
	check := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	data := b.TempDir()
	c, err := fabric.OpenControl(ctx, fabric.ControlConfig{DataDir: data, Listen: "127.0.0.1:0", Logger: testLogger(), LeaseTTL: time.Hour})
	check(err)
	serving, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(serving) }()
	b.Cleanup(func() { stop(); <-done })
	join, err := identity.ReadSecretFile(filepath.Join(data, fabric.WorkerTokenFile))
	check(err)
	key, err := identity.NewWorkerKey("w")
	check(err)
	w, err := entropy.NewClient(entropy.ClientConfig{Server: c.URL(), Token: join, WorkerKey: key})
	check(err)
	spec := entropy.JobSpec{Command: []string{"true"}, Checkpoint: &entropy.CheckpointPolicy{}, AckTimeout: entropy.Duration(time.Minute)}
	sub, err := c.Service().Submit(ctx, []entropy.Submission{{Spec: spec}})
	check(err)
	reg, err := w.Register(ctx, entropy.Registration{Nonce: entropy.NewID(), KeyHash: identity.Hash(key), BootID: "b", SpoolID: "s", Slots: 1})
	check(err)
	claim, err := w.Claim(ctx, entropy.ClaimRequest{Incarnation: reg.Incarnation, ClaimSeq: 1, Want: 1, Wait: entropy.Duration(10 * time.Second)})
	check(err)
	a := claim.Assignments[0]
	_, err = w.Ack(ctx, entropy.AckRequest{Incarnation: reg.Incarnation, Items: []entropy.Held{{JobID: a.JobID, AssignmentID: a.AssignmentID}}})
	check(err)
	dir := checkpoint.At(b.TempDir())
	check(dir.Make(spec.Checkpoint))
	return checkpoint.Config{Dir: dir, JobID: a.JobID, AssignmentID: a.AssignmentID}, w, func() entropy.Checkpoint {
		j, err := c.Service().Job(ctx, sub[0].ID)
		check(err)
		return j.ResumeFrom()[0]
	}
}
