package pipeline_test

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// lab is a control plane with a worker, and the program that talks to it.
type lab struct {
	t       *testing.T
	program string
	env     []string
}

var address = regexp.MustCompile(`http://\S*\d`)

func newLab(t *testing.T) *lab {
	t.Helper()
	dir := t.TempDir()
	l := &lab{t: t, program: filepath.Join(dir, "entropy")}
	if out, err := exec.Command("go", "build", "-o", l.program, "github.com/entropy-fabric/entropy/cmd/entropy").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	up := exec.Command(l.program, "up", "--data", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0", "--slots", "3")
	var log bytes.Buffer
	up.Stderr = &log
	stdout, err := up.StdoutPipe()
	if err == nil {
		err = up.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = up.Process.Signal(syscall.SIGTERM)
		if err := up.Wait(); err != nil && t.Failed() {
			t.Logf("up: %v\n%s", err, log.String())
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("%v: %s", err, log.String())
	}
	go io.Copy(io.Discard, stdout)
	l.env = append(os.Environ(), "ENTROPY_SERVER="+address.FindString(line), "ENTROPY_TOKEN_FILE="+filepath.Join(dir, "data", "admin.token"))
	return l
}

// run runs one command and returns what it printed.
func (l *lab) run(args ...string) string {
	l.t.Helper()
	c := exec.Command(l.program, args...)
	c.Env, c.WaitDelay = l.env, time.Second
	out, err := c.Output()
	if err != nil {
		stderr := ""
		if e, ok := err.(*exec.ExitError); ok {
			stderr = string(e.Stderr)
		}
		l.t.Fatalf("entropy %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr)
	}
	return string(out)
}

// proves J-10, J-15 and issue 3: the job file and the script do what the README
// says, with real processes.
func TestPipeline(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the program and starts two processes")
	}
	l := newLab(t)
	ids := strings.Fields(l.run("submit", "-f", "pipeline.yaml", "--wait", "--wait-timeout", "60s"))
	if len(ids) != 4 {
		t.Fatalf("IDs %q", ids)
	}
	array := ids[1]
	if got := l.run("logs", array+".2"); got != "blood orange has 12 letters\n" {
		t.Errorf("the log says %q", got)
	}
	if got := l.run("job", array); !strings.Contains(got, "4 members, 0 to 3: 4 succeeded") {
		t.Errorf("the array:\n%s", got)
	}
	dir := t.TempDir()
	l.run("artifacts", "get", array+".3", "-O", dir)
	if b, err := os.ReadFile(filepath.Join(dir, "length.txt")); err != nil || string(b) != "6\n" {
		t.Errorf("the artifact is %q, %v", b, err)
	}
	if got := l.run("logs", ids[2]) + l.run("logs", ids[3]); got != "every fruit is measured\nswept\n" {
		t.Errorf("the logs say %q", got)
	}
	if got := l.run("jobs", "--queue", "fruits", "--state", "succeeded", "-o", "jsonl"); strings.Count(got, "\n") != 7 {
		t.Errorf("jobs:\n%s", got)
	}
	id := strings.TrimSpace(l.run("submit", "--wait", "--wait-timeout", "60s", "./measure.sh", "pomegranate"))
	if got := l.run("logs", id); got != "pomegranate has 11 letters\n" {
		t.Errorf("the script says %q", got)
	}
	if got := l.run("job", id); !strings.Contains(got, "measure") || !strings.Contains(got, "cpu 1") {
		t.Errorf("its flags did not count:\n%s", got)
	}
}
