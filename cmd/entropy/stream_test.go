package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entropy-fabric/entropy"
)

func sampleEvents() []entropy.EventPage {
	event := func(seq uint64, kind, entity, attrs string) entropy.Event {
		return entropy.Event{ID: "e", Seq: seq, TS: noon, Type: kind, EntityID: entity, Attrs: json.RawMessage(attrs), Schema: 1}
	}
	return []entropy.EventPage{
		{Next: entropy.Position{Epoch: 2, Seq: 8}, Events: []entropy.Event{
			event(7, "job.submitted", "job:a", `{"spec":{"name":"x"}}`),
			event(8, "job.assigned", "job:a", `{"attempt":1,"worker_id":"lab-1","assignment_id":"z"}`),
		}},
		{Next: entropy.Position{Epoch: 2, Seq: 20}}, // all left out by the filter, but the position moves
		{Next: entropy.Position{Epoch: 2, Seq: 21}, Events: []entropy.Event{
			event(21, "job.lost", "job:a\x1b[1m", `{"cause":"lease_expired","message":"line\nbreak","counted":"loss"}`),
		}},
	}
}

func TestEventsInEveryFormat(t *testing.T) {
	b := newBench(t)
	var out strings.Builder
	for _, format := range outputs {
		b.service.events = sampleEvents()
		if code := b.run("events", "-o", format); code != 0 {
			t.Fatalf("exit %d: %s", code, b.stderr.String())
		}
		out.WriteString(b.stdout.String())
		if format == outputJSON && !json.Valid(b.stdout.Bytes()) {
			t.Error("-o json is not JSON")
		}
	}
	golden(t, "events.golden", out.String())
	if b.run("events", "-o", "json"); b.stdout.String() != "[]\n" {
		t.Errorf("no events are %q", b.stdout.String())
	}
}

// proves H-4 for the reader: follow continues after the last position it was
// given, over an outage, and misses and repeats nothing.
func TestEventsFollowContinues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.app.now = time.Now
		b.service.events = sampleEvents()
		b.service.errs = []error{nil, entropy.Errorf(entropy.CodeUnavailable, "gone"), nil, nil}
		if code := b.run("events", "--follow", "--limit", "3", "--type", "job."); code != 0 || strings.Count(b.stdout.String(), "\n") != 3 {
			t.Fatalf("exit %d, stdout %q, stderr %q", code, b.stdout.String(), b.stderr.String())
		}
		var after []string
		for _, f := range b.service.asked {
			after = append(after, f.After.String())
		}
		if got := strings.Join(after, " "); got != "0:0 2:8 2:8 2:20" || !b.service.asked[0].Latest || b.service.asked[1].Latest {
			t.Errorf("asked after %s, latest %v", got, b.service.asked[0].Latest)
		}
		b.service.asked = nil
		b.run("events", "--after", "2:21")
		if f := b.service.asked[0]; f.Latest || f.After != (entropy.Position{Epoch: 2, Seq: 21}) || f.Wait != 0 {
			t.Errorf("--after asked with %+v", f)
		}
	})
}

// proves SPEC §12 "logs": the bytes as written, the chosen stream, and follow
// until the job, not only its first attempt, has ended.
func TestLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.app.now = time.Now
		b.service.pieces["stderr"] = []entropy.LogChunk{{Data: []byte("raw\x1b[2J\xff"), Next: 8, Attempt: 1}, {Next: 8, Attempt: 1}}
		if code := b.run("logs", "--stderr", "j"); code != 0 || b.stdout.String() != "raw\x1b[2J\xff" {
			t.Errorf("exit %d, stdout %q", code, b.stdout.String())
		}
		started := noon
		j := &entropy.Job{ID: "j", State: entropy.Retrying, Attempts: []entropy.Attempt{{Number: 1, StartedAt: &started, End: entropy.EndFailed}}}
		b.service.jobs["j"] = j
		b.service.pieces["stdout"] = []entropy.LogChunk{
			{Data: []byte("one "), Next: 4, Attempt: 1}, {Next: 4, Attempt: 1, EOF: true},
			{Data: []byte("two"), Next: 3, Attempt: 2, EOF: true},   // lost
			{Data: []byte(" more"), Next: 8, Attempt: 2, EOF: true}, // reattached, and ended
			{Data: []byte(" last"), Next: 13, Attempt: 2, EOF: true},
		}
		waits := 0
		b.service.onWait = func([]entropy.JobID) {
			switch waits++; waits {
			case 2:
				j.Attempts = append(j.Attempts, entropy.Attempt{Number: 2, StartedAt: &started})
			case 3, 4:
				j.Attempts[1].End = entropy.EndLost
			case 5:
				j.Attempts[1].End = ""
			case 6:
				j.State, j.Attempts[1].End = entropy.Succeeded, entropy.EndSucceeded
			}
		}
		if code := b.run("logs", "-f", "j"); code != 0 || b.stdout.String() != "one two more last" {
			t.Errorf("follow: exit %d, stdout %q, stderr %q", code, b.stdout.String(), b.stderr.String())
		}
	})
}

// proves SPEC §12 "artifacts" and W-7: what lies under an artifact's name was
// checked against its hash; what does not match, or would leave the directory,
// leaves nothing behind.
func TestArtifactsGet(t *testing.T) {
	hello := "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
	b := newBench(t)
	b.service.files["out/hello"] = []byte("hello")
	b.service.files["lie"] = []byte("other")
	b.service.files["long"] = []byte("hello and more")
	j := &entropy.Job{ID: "j", State: entropy.Succeeded, Artifacts: []entropy.Artifact{{Name: "out/hello", SHA256: hello, Size: 5}}}
	b.service.jobs["j"] = j
	dir := filepath.Join(t.TempDir(), "new")
	if code := b.run("artifacts", "get", "j", "-O", dir); code != 0 || b.stdout.String() != filepath.Join(dir, "out/hello")+"\n" {
		t.Fatalf("exit %d, stdout %q, stderr %q", code, b.stdout.String(), b.stderr.String())
	}
	if got, err := os.ReadFile(filepath.Join(dir, "out", "hello")); err != nil || string(got) != "hello" {
		t.Errorf("the file holds %q, %v", got, err)
	}
	if code := b.run("artifacts", "get", "j", "nothing", "-O", dir); code != 3 {
		t.Errorf("an unknown name: exit %d, want 3", code)
	}
	for _, name := range []string{"lie", "long", "../escape", "out/../../escape"} {
		bad := t.TempDir()
		j.Artifacts = []entropy.Artifact{{Name: name, SHA256: hello, Size: 5}}
		if code := b.run("artifacts", "get", "j", "-O", bad); code == 0 {
			t.Errorf("%s: exit 0", name)
		}
		if left, _ := os.ReadDir(bad); len(left) > 0 {
			t.Errorf("%s left %v behind", name, left)
		}
	}
	trap := t.TempDir()
	if err := os.Symlink(t.TempDir(), filepath.Join(trap, "out")); err != nil {
		t.Fatal(err)
	}
	j.Artifacts = []entropy.Artifact{{Name: "out/hello", SHA256: hello, Size: 5}}
	if code := b.run("artifacts", "get", "j", "-O", trap); code != 1 {
		t.Errorf("through a symbolic link out of the directory: exit %d, want 1", code)
	}
}
