package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// build compiles programs of this module into a directory.
func build(t *testing.T, dir string, packages ...string) {
	t.Helper()
	out, err := exec.Command("go", append([]string{"build", "-o", dir + "/"}, packages...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
}

// proves E-1, E-4, E-5, E-8, A-6: the whole of make demo-entropy, on generated
// latencies and without the verdict, for which it waits a minute. And that it fails when
// what it shows does not happen.
func TestTheDemonstration(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts a control plane and a worker")
	}
	bin := t.TempDir()
	build(t, bin, "github.com/entropy-fabric/entropy/cmd/entropy", ".")
	play := func(args ...string) (string, error) {
		var out bytes.Buffer
		demo := exec.Command(filepath.Join(bin, "entropy-demo"), append([]string{"-verdict=false", "-timeout", "3m"}, args...)...)
		demo.Stdout, demo.Stderr = &out, &out
		demo.Env = append(demo.Environ(), "TMPDIR="+t.TempDir())
		err := demo.Run()
		return out.String(), err
	}
	out, err := play()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"location slower", "wants restart_job", "Executor fabric has it done", "entropy.recovered", "8 of 8"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in the output:\n%s", want, out)
		}
	}
	if out, err := play("-slower", "1"); err == nil || !strings.Contains(out, "FAILED: nothing was noticed") {
		t.Errorf("nothing happened, and it did not fail: %v\n%s", err, out)
	}
	if out, err := play("-data", t.TempDir()); err == nil || !strings.Contains(out, "without -data, latencies are generated") {
		t.Errorf("there is no data: %v\n%s", err, out)
	}
}
