package worker

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

func gpu(index int, amount entropy.Amount) entropy.GPUShare {
	return entropy.GPUShare{Index: index, Amount: amount}
}

// proves J-9: what the fabric gave away of a GPU is taken only when it is free
// here: whole ones by one attempt, fractions up to the whole.
func TestGPUsAreNotShared(t *testing.T) {
	s := newSlots(8)
	take := func(id string, gpus ...entropy.GPUShare) bool {
		fresh, busy := s.reserve([]entropy.Assignment{{JobID: "j", AssignmentID: entropy.AssignmentID(id), GPUs: gpus}})
		if len(fresh)+len(busy) != 1 {
			t.Fatalf("%s: %d fresh, %d busy", id, len(fresh), len(busy))
		}
		if len(busy) == 1 {
			s.release(busy[0].AssignmentID)
		}
		return len(fresh) == 1
	}
	for _, c := range []struct {
		id   string
		gpus []entropy.GPUShare
		want bool
	}{
		{"whole", []entropy.GPUShare{gpu(0, entropy.Unit), gpu(1, entropy.Unit)}, true},
		{"again", []entropy.GPUShare{gpu(1, entropy.Unit)}, false},
		{"part of it", []entropy.GPUShare{gpu(0, entropy.Unit/4)}, false},
		{"none", nil, true},
		{"half", []entropy.GPUShare{gpu(2, entropy.Unit/2)}, true},
		{"other half", []entropy.GPUShare{gpu(2, entropy.Unit/2)}, true},
		{"a third half", []entropy.GPUShare{gpu(2, entropy.Unit/2)}, false},
	} {
		if got := take(c.id, c.gpus...); got != c.want {
			t.Errorf("%s: taken %t", c.id, got)
		}
	}
	s.release("whole")
	s.adopt(entropy.Held{JobID: "old", AssignmentID: "old", GPUs: []entropy.GPUShare{gpu(0, entropy.Unit)}}, nil)
	if take("free again", gpu(0, entropy.Unit)) || !take("the other", gpu(1, entropy.Unit)) {
		t.Error("what an earlier agent's assignment owns was given away, or what nobody owns was not")
	}
}

// proves W-6, J-9: a job learns which GPUs are its own, cannot claim others, and
// keeps the next one from starting until it is gone.
func TestJobSeesItsGPUs(t *testing.T) {
	f := newFabric(t)
	dir := t.TempDir()
	started, gate := filepath.Join(dir, "started"), filepath.Join(dir, "gate")
	startNode(t, Config{Service: f, Exec: true})
	spec := script(`echo $CUDA_VISIBLE_DEVICES; echo > ` + started + `; while [ ! -e ` + gate + ` ]; do sleep 0.01; done`)
	spec.Env = map[string]string{"CUDA_VISIBLE_DEVICES": "7"}
	first := f.submitWith("a", spec, gpu(3, entropy.Unit), gpu(5, entropy.Unit))
	awaitLine(t, started)
	f.do(func() { f.ackTimeout = 50 * time.Millisecond })
	second := f.submitWith("b", script("true"), gpu(5, entropy.Unit))
	f.await(t, "the second to be given back", func() bool { return second.refusal != nil && second.refusal.Transient })
	f.do(func() { f.ackTimeout = time.Minute })
	third := f.submitWith("c", script("true"), gpu(5, entropy.Unit))
	f.await(t, "the third to be claimed", func() bool { return f.byID["c"] != nil })
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f.awaitDone(t, first, third)
	f.do(func() {
		if got := string(f.logs["a/stdout"]); got != "3,5\n" {
			t.Errorf("CUDA_VISIBLE_DEVICES is %q", got)
		}
	})
}

// proves J-9: configured resources stand beside the detected ones and override them.
func TestConfiguredResources(t *testing.T) {
	n, err := New(Config{DataDir: t.TempDir(), Name: "w", Service: newFabric(t), Exec: true, SupervisorIdleExit: time.Second,
		Resources: entropy.Resources{"license": 2000, "cpu": 500, "mem": 0}})
	if err != nil {
		t.Fatal(err)
	}
	if got := n.resources(); got["license"] != 2000 || got["cpu"] != 500 || got["mem"] != 0 {
		t.Errorf("%v", got)
	}
	for _, bad := range []entropy.Resources{{"gpu": 500}, {"cpu": -1}, {"a b": 1}} {
		if _, err := New(Config{DataDir: t.TempDir(), Name: "w", Service: newFabric(t), Exec: true, Resources: bad}); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}
