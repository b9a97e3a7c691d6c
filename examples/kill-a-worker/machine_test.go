package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// wait polls check until it holds.
func wait(t *testing.T, what string, check func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !check() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal(what)
		}
	}
}

// daemons is a node that leaves a daemon in a session of its own, whose parent
// is gone, and which works somewhere else; as a supervisor and a job do.
const daemons = `(setsid sh -c 'export MARK=$0/scratch; cd /; sh -c "echo up > $0/up; sleep 1000"; true' "$1" &) ; sleep 1000; true`

// proves "leaves nothing running": killing a machine takes its daemons and their
// children as well, and another machine's are left alone until the end.
func TestKillTakesTheWholeMachine(t *testing.T) {
	if err := adoptOrphans(); err != nil {
		t.Fatal(err)
	}
	l := &lab{dir: t.TempDir()}
	args := func(dir string) []string { return []string{"-c", daemons, "node", dir} }
	one, two := l.add("/bin/sh", "lab-1", args), l.add("/bin/sh", "lab-10", args)
	for _, m := range l.machines {
		if err := m.start(); err != nil {
			t.Fatal(err)
		}
		wait(t, "the daemon does not come up", func() bool {
			_, err := os.Stat(filepath.Join(m.dir, "up"))
			return err == nil
		})
	}
	all, err := l.processes()
	if err != nil || len(below(all, one.dir)) < 4 {
		t.Fatalf("the machine has %d processes, want at least 4: %v", len(below(all, one.dir)), err)
	}
	if err := l.kill(all[:1], one); err != nil {
		t.Error(err)
	}
	all, err = l.processes()
	if err != nil {
		t.Fatal(err)
	}
	if a, b := len(below(all, one.dir)), len(below(all, two.dir)); a != 0 || b < 4 || len(all) != b {
		t.Errorf("%d processes of the killed machine live, %d of the other, %d in all", a, b, len(all))
	}
	left, err := l.clear()
	if err != nil || len(left) < 4 {
		t.Errorf("cleared %d processes, want at least 4: %v", len(left), err)
	}
	if all, err := l.processes(); err != nil || len(all) != 0 {
		t.Errorf("%d processes are left: %v", len(all), err)
	}
}

// proves "orderly": a node that is asked to stop, and the daemon it leaves, are
// both gone, and one that fails is reported with its log.
func TestStopInOrder(t *testing.T) {
	if err := adoptOrphans(); err != nil {
		t.Fatal(err)
	}
	l := &lab{dir: t.TempDir()}
	good := l.add("/bin/sh", "good", func(dir string) []string {
		return []string{"-c", `trap 'exit 0' TERM; echo up > "$1/up"; while :; do sleep 0.01; done`, "node", dir}
	})
	bad := l.add("/bin/sh", "bad", func(dir string) []string { return []string{"-c", "echo reason; exit 3", "node", dir} })
	for _, m := range l.machines {
		if err := m.start(); err != nil {
			t.Fatal(err)
		}
	}
	wait(t, "the node does not come up", func() bool {
		_, err := os.Stat(filepath.Join(good.dir, "up"))
		return err == nil
	})
	if err := l.stop(context.Background(), good); err != nil {
		t.Errorf("stop: %v", err)
	}
	<-bad.done
	if err := l.stop(context.Background(), bad); err == nil || bad.tail() != "reason" {
		t.Errorf("a node that failed: %v, log %q", err, bad.tail())
	}
	if _, err := l.clear(); err != nil {
		t.Error(err)
	}
}
