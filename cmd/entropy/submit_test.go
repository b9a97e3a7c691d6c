package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entropy-fabric/entropy"
)

// proves SPEC §12: submit prints the job's ID and nothing else, and every flag
// reaches the specification.
func TestSubmitSaysWhatTheFlagsSay(t *testing.T) {
	b := newBench(t)
	code := b.run("submit", "--id", "n-1", "--name", "nightly", "--queue", "q", "--tenant", "t", "--priority", "-7",
		"--max-attempts", "4", "--run-timeout", "2h", "--queue-timeout", "90s", "--not-before", "10m", "--require", "gpu=h100",
		"--artifact", "out/*.csv", "--env", "A=b=c", "--cwd", "/srv", "--label", "team=x", "--disconnect", "stop",
		"--", "make", "-j", "2", "--wait")
	if code != 0 || b.stdout.String() != "n-1\n" || b.stderr.Len() > 0 {
		t.Fatalf("exit %d, stdout %q, stderr %q", code, b.stdout.String(), b.stderr.String())
	}
	later := noon.Add(10 * time.Minute)
	want := []entropy.Submission{{ID: "n-1", Spec: entropy.JobSpec{
		Name: "nightly", Command: []string{"make", "-j", "2", "--wait"}, Env: map[string]string{"A": "b=c"}, Cwd: "/srv",
		Queue: "q", Tenant: "t", Priority: -7, Labels: map[string]string{"team": "x"}, Require: map[string]string{"gpu": "h100"},
		Artifacts: []string{"out/*.csv"}, Retry: entropy.RetryPolicy{MaxAttempts: 4}, Disconnect: entropy.Disconnect{Worker: "stop"},
		RunTimeout: entropy.Duration(2 * time.Hour), QueueTimeout: entropy.Duration(90 * time.Second), NotBefore: &later,
	}}}
	if !reflect.DeepEqual(b.service.subs, want) {
		t.Errorf("submitted %+v\nwant %+v", b.service.subs, want)
	}
}

// proves J-5: the ID is made before the first send, and every repetition of a
// send without an answer carries it.
func TestSubmitRepeatsWithTheSameID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.app.now = time.Now
		unknown := entropy.Errorf(entropy.CodeUnknown, "the connection broke")
		b.service.errs = []error{unknown, entropy.Errorf(entropy.CodeUnavailable, "refused"), unknown}
		if code := b.run("submit", "--", "true"); code != 0 {
			t.Fatalf("exit %d: %s", code, b.stderr.String())
		}
		if len(b.service.subs) != 4 {
			t.Fatalf("%d sends, want 4", len(b.service.subs))
		}
		id := b.service.subs[0].ID
		for _, s := range b.service.subs {
			if s.ID != id || id == "" {
				t.Errorf("sent with ID %q, first with %q", s.ID, id)
			}
		}
		if b.stdout.String() != string(id)+"\n" {
			t.Errorf("stdout %q, want the ID %s alone", b.stdout.String(), id)
		}
	})
}

// proves SPEC §12: an unknown outcome is exit 6, and the hint names the ID with
// which repeating is harmless.
func TestSubmitGivesUpNamingTheID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.app.now = time.Now
		for range 1000 {
			b.service.errs = append(b.service.errs, entropy.Errorf(entropy.CodeUnknown, "the connection broke"))
		}
		start := time.Now()
		code := b.run("submit", "--", "true")
		if code != 6 || b.stdout.Len() > 0 || !strings.Contains(b.stderr.String(), "--id "+string(b.service.subs[0].ID)) {
			t.Errorf("exit %d, stdout %q, stderr %q", code, b.stdout.String(), b.stderr.String())
		}
		if took := time.Since(start); took < sendPatience || took > sendPatience+2*maxPause {
			t.Errorf("gave up after %s, want about %s", took, sendPatience)
		}
	})
}

func TestSubmitByKeyAndConflict(t *testing.T) {
	b := newBench(t)
	if code := b.run("submit", "--idempotency-key", "k", "-o", "jsonl", "--", "true"); code != 0 || b.stdout.String() != `{"id":"by-key-k","created":true}`+"\n" {
		t.Errorf("exit %d, stdout %q", code, b.stdout.String())
	}
	b.service.errs = []error{entropy.Errorf(entropy.CodeConflict, "job x exists with another spec")}
	if code := b.run("submit", "--id", "x", "--", "true"); code != 5 || len(b.service.subs) != 2 {
		t.Errorf("a conflict: exit %d after %d sends, want 5 after one more", code, len(b.service.subs))
	}
}

// proves J-15: files and directories are shipped by content, each content once,
// and only what the control plane lacks.
func TestSubmitShipsInputs(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "src", "a.txt"), "same")
	write(t, filepath.Join(dir, "src", "deep", "b.txt"), "same")
	tool := write(t, filepath.Join(dir, "tool.sh"), "#!/bin/sh\n")
	if err := os.Chmod(tool, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a.txt", filepath.Join(dir, "src", "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "src", "out", "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	b := newBench(t)
	for range 2 { // the second time everything is there
		if code := b.run("submit", "--input", filepath.Join(dir, "src"), "--input", tool, "--", "true"); code != 0 {
			t.Fatalf("exit %d: %s", code, b.stderr.String())
		}
	}
	if got, want := strings.Join(b.service.calls, " "), "has put put submit has submit"; got != want {
		t.Errorf("calls %q, want %q", got, want)
	}
	var got []string
	for _, in := range b.service.subs[0].Spec.Inputs {
		if in.Dir {
			got = append(got, in.Path+"/")
			continue
		}
		if string(b.service.blobs[in.SHA256]) == "" || int64(len(b.service.blobs[in.SHA256])) != in.Size {
			t.Errorf("%s: its content was not shipped", in.Path)
		}
		got = append(got, in.Path)
	}
	if want := []string{"src/a.txt", "src/deep/b.txt", "src/link", "src/out/empty/", "tool.sh"}; !reflect.DeepEqual(got, want) {
		t.Errorf("inputs %q, want %q", got, want)
	}
	if mode := b.service.subs[0].Spec.Inputs[4].Mode; mode != 0o755 {
		t.Errorf("the tool's mode is %o, want 755", mode)
	}
}

// proves SPEC §12: submit --wait has the exit code of wait, and stdout still
// holds the ID alone.
func TestSubmitWait(t *testing.T) {
	three := 3
	for state, want := range map[entropy.State]int{entropy.Succeeded: 0, entropy.Failed: 7, entropy.Canceled: 7} {
		b := newBench(t)
		b.service.jobs["j"] = &entropy.Job{ID: "j", State: state, Reason: entropy.ReasonExit, ExitCode: &three}
		if code := b.run("submit", "--id", "j", "--wait", "--", "true"); code != want || b.stdout.String() != "j\n" {
			t.Errorf("%s: exit %d, stdout %q; want %d", state, code, b.stdout.String(), want)
		}
		if state == entropy.Failed && !strings.Contains(b.stderr.String(), "failed: exit code 3") {
			t.Errorf("stderr %q does not say how it failed", b.stderr.String())
		}
	}
}
