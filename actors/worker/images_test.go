package worker

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/container"
	"github.com/entropy-fabric/entropy/actors/worker/container/containertest"
)

// registrations is a fabric that remembers the labels of every registration.
type registrations struct {
	*fabric
	labels []string // values of the container label; "-": none
}

func (r *registrations) Register(ctx context.Context, reg entropy.Registration) (entropy.Registered, error) {
	label, ok := reg.Labels[entropy.LabelContainer]
	if !ok {
		label = "-"
	}
	r.do(func() { r.labels = append(r.labels, label) })
	return r.fabric.Register(ctx, reg)
}

func (r *registrations) awaitLabel(t *testing.T, n int, want string) {
	t.Helper()
	r.await(t, "a registration with the container label "+want, func() bool { return len(r.labels) >= n })
	r.do(func() {
		if r.labels[n-1] != want {
			t.Errorf("registrations %v, and the last has to carry %q", r.labels, want)
		}
	})
}

// proves W-6: a worker carries the label only while its container runtime
// answers, and refuses what it cannot run; what runs is left alone.
func TestRuntimeComesAndGoes(t *testing.T) {
	rt := containertest.Fake(t)
	rt.Set(t, containertest.Down, "")
	f := &registrations{fabric: newFabric(t)}
	startNode(t, Config{Service: f, Exec: true, ContainerRuntime: container.Docker, probe: 20 * time.Millisecond,
		Labels: map[string]string{entropy.LabelContainer: "invented"}})
	f.awaitLabel(t, 1, "-")
	image := script("echo in the image")
	image.Image = "image"
	refused := f.submit("a", image)
	f.await(t, "a refusal", func() bool { return refused.refusal != nil })
	if refused.refusal.Transient {
		t.Errorf("refusal %+v", refused.refusal)
	}
	rt.Clear(t, containertest.Down)
	f.awaitLabel(t, 2, container.Docker)
	dir := t.TempDir()
	run := f.submit("b", script(fmt.Sprintf("echo run > %[1]s/began; while [ ! -e %[1]s/go ]; do sleep 0.01; done", dir)))
	awaitLine(t, dir+"/began")
	done := f.submit("c", image)
	f.awaitDone(t, done)
	rt.Set(t, containertest.Down, "")
	f.awaitLabel(t, 3, "-")
	if err := os.WriteFile(dir+"/go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f.awaitDone(t, run)
	f.do(func() {
		for _, j := range []*fakeJob{run, done} {
			if j.completion.Outcome != entropy.OutcomeSucceeded {
				t.Errorf("%+v", j.completion)
			}
		}
		if got := string(f.logs["c/stdout"]); got != "in the image\n" {
			t.Errorf("log %q", got)
		}
	})
}

func imageJob() entropy.JobSpec {
	return entropy.JobSpec{Image: containertest.Image, Command: []string{"/box", "print", "before", "write", "$ENTROPY_ARTIFACT_DIR/ready", "yes",
		"await", "/entropy/artifact/go", "print", "after"}}
}

// imageAgent is a worker process that says "ready" once its job in an image
// runs, and then waits to be killed.
func imageAgent(dir string) {
	f := newMemoryFabric()
	f.submit("a", imageJob())
	n, err := New(Config{DataDir: dir, Name: "w", Service: f, Slots: 1, Exec: true, ContainerRuntime: container.Podman})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	go func() {
		for {
			if _, err := os.Stat(filepath.Join(dir, "work", "a", "artifacts", "ready")); err == nil {
				fmt.Println("ready")
				return
			}
			<-time.After(5 * time.Millisecond)
		}
	}()
	fmt.Println(n.Run(context.Background()))
	os.Exit(1)
}

// proves W-8, W-6: an agent killed with kill -9 leaves a container running; the
// next one reports its end, its log and its artifacts once.
func TestAgentKilledBesideContainer(t *testing.T) {
	containertest.Podman(t)
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "image-agent", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("agent: %q, %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	f := newFabric(t)
	f.byID["a"] = &fakeJob{spec: imageJob(), job: "job-a", id: "a", acked: true, expires: time.Now().Add(f.ttl)}
	startNode(t, Config{DataDir: dir, Service: f, Exec: true, ContainerRuntime: container.Podman})
	if err := os.WriteFile(filepath.Join(dir, "work", "a", "artifacts", "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f.awaitDone(t, f.byID["a"])
	f.do(func() {
		j := f.byID["a"]
		if j.completes != 1 || j.completion.Outcome != entropy.OutcomeSucceeded || len(j.completion.Artifacts) != 2 {
			t.Errorf("%d completions, %+v", j.completes, j.completion)
		}
		if got := string(f.logs["a/stdout"]); got != "before\nafter\n" {
			t.Errorf("log %q", got)
		}
	})
}
