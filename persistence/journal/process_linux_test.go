package journal

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// TestMain lets the test binary play the process that is killed, cut off or
// failed by its disk: JOURNAL_TEST_CHILD names the part.
func TestMain(m *testing.M) {
	parts := map[string]func() error{"load": childLoad, "eio": childEIO}
	if part := parts[os.Getenv("JOURNAL_TEST_CHILD")]; part != nil {
		if err := part(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child returns a command that runs the test binary in a part, with settings
// KEY=VALUE.
func child(t *testing.T, part string, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), "JOURNAL_TEST_CHILD="+part), env...)
	cmd.Stderr = os.Stderr
	return cmd
}

// shim compiles the library that watches or fails the child's disk, and returns
// the setting that loads it.
func shim(t *testing.T) string {
	t.Helper()
	lib := filepath.Join(t.TempDir(), "shim.so")
	cc := strings.Fields(os.Getenv("CC"))
	if len(cc) == 0 {
		cc = []string{"cc"}
	}
	out, err := exec.Command(cc[0], append(cc[1:], "-shared", "-fPIC", "-O1", "-o", lib, "testdata/shim.c", "-ldl", "-lpthread")...).CombinedOutput()
	if err != nil {
		t.Fatalf("compile the shim: %v: %s", err, out)
	}
	return "LD_PRELOAD=" + lib
}

// memoryDir returns a directory in memory where there is one: what these tests do
// to the disk they do to copies, thousands of times.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "entropy-journal-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// childLoad runs producers that take jobs through their lives and say what was
// acknowledged, one "id events" a line or, with a log of the shim, as a record in it.
func childLoad() error {
	cfg := Config{Path: os.Getenv("JOURNAL_TEST_PATH"), unsafe: os.Getenv("JOURNAL_TEST_UNSAFE") != "", checkpointPages: 48}
	j, err := Open(context.Background(), cfg)
	if err != nil {
		return err
	}
	ack, err := acknowledger()
	if err != nil {
		return err
	}
	var jobs int
	if _, err := fmt.Sscan(os.Getenv("JOURNAL_TEST_JOBS"), &jobs); err != nil {
		return err
	}
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for p := range cap(errs) {
		wg.Go(func() { errs <- produce(j, os.Getenv("JOURNAL_TEST_PREFIX"), p, jobs, ack) })
	}
	wg.Wait()
	for range cap(errs) {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil // without Close: the parent looks at what a dead process leaves
}

func acknowledger() (func(id string, events int) error, error) {
	path := os.Getenv("ENTROPY_SHIM_LOG")
	if path == "" {
		return func(id string, events int) error { _, err := fmt.Printf("%s %d\n", id, events); return err }, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	return func(id string, events int) error {
		b := binary.LittleEndian.AppendUint64([]byte{'A', 0}, uint64(events))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(id)))
		_, err := f.Write(append(b, id...))
		return err
	}, err
}

func produce(j *Journal, prefix string, p, jobs int, ack func(string, int) error) error {
	t := new(fatalTB)
	for i := range jobs {
		k := newTracker(fmt.Sprintf("%s-%d-%d", prefix, p, i))
		steps := []func() entropy.Change{
			func() entropy.Change { return k.submit(t, spec()) },
			func() entropy.Change { return k.assign(t, name("w%d", p), uint64(i+1)) },
			func() entropy.Change { return k.ack(t) },
			func() entropy.Change { return k.succeed(t) },
		}
		for n, step := range steps {
			if _, err := j.Append(context.Background(), step()); err != nil {
				return err
			}
			if err := ack(string(k.job.ID), n+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// fatalTB lets the kit be used outside of a test.
type fatalTB struct{ testing.TB }

func (*fatalTB) Helper()                           {}
func (*fatalTB) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (*fatalTB) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// checkAcked fails the test for everything acknowledged that is not there.
func checkAcked(t *testing.T, path string, acked map[string]int) {
	t.Helper()
	if lost := lostOf(t, path, acked); len(lost) > 0 {
		t.Fatalf("%d of %d acknowledged jobs have lost events: %v", len(lost), len(acked), lost[:min(len(lost), 5)])
	}
}

// lostOf opens the journal, as a start would, and returns the jobs that have fewer
// events than were acknowledged.
func lostOf(t *testing.T, path string, acked map[string]int) (lost []string) {
	t.Helper()
	j := open(t, Config{Path: path})
	versions := map[string]int{}
	for i, e := range allEvents(t, j, maxEvents) {
		if e.Seq != uint64(i+1) {
			t.Fatalf("seq %d where %d belongs", e.Seq, i+1)
		}
		_, id := entropy.SplitEntity(e.EntityID)
		versions[id] = int(e.Version)
	}
	for id, n := range acked {
		if versions[id] < n {
			lost = append(lost, id)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return lost
}

// proves P-1, P-2: kill -9 under load, again and again on one journal.
func TestKillNineLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "journal.db")
	record, err := os.Create(filepath.Join(dir, "acked"))
	if err != nil {
		t.Fatal(err)
	}
	defer record.Close() //nolint:errcheck // the test reads it no more
	acked := map[string]int{}
	for round := range 6 {
		cmd := child(t, "load", "JOURNAL_TEST_PATH="+path, "JOURNAL_TEST_JOBS=1000000", name("JOURNAL_TEST_PREFIX=r%d", round))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		enough := 30 + 41*round
		killed := make(chan struct{})
		hung := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() }) // a hang fails below, it does not hang the suite
		n := follow(t, out, record, acked, func(n int) {
			if n == enough {
				_ = cmd.Process.Kill()
				close(killed)
			}
		})
		hung.Stop()
		select {
		case <-killed:
		default:
			t.Fatalf("round %d: the process ended after %d acknowledgments", round, n)
		}
		_ = cmd.Wait() // it was killed
		checkAcked(t, path, acked)
		verifiedFile(t, path)
	}
}

// follow reads acknowledgments until the writer is gone, and makes its own record
// of them durable before it counts them.
func follow(t *testing.T, out io.Reader, record *os.File, acked map[string]int, each func(n int)) (n int) {
	t.Helper()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var id string
		var events int
		if _, err := fmt.Sscan(lines.Text(), &id, &events); err != nil {
			break // the last line was cut off
		}
		if _, err := fmt.Fprintln(record, lines.Text()); err != nil {
			t.Fatal(err)
		}
		if err := record.Sync(); err != nil {
			t.Fatal(err)
		}
		acked[id] = max(acked[id], events)
		n++
		each(n)
	}
	return n
}

// childEIO appends, has its disk fail, and says what it was told.
func childEIO() error {
	j, err := Open(context.Background(), Config{Path: os.Getenv("JOURNAL_TEST_PATH")})
	if err != nil {
		return err
	}
	t := new(fatalTB)
	if _, err := j.Append(context.Background(), newTracker("before").submit(t, spec())); err != nil {
		return err
	}
	if err := os.WriteFile(os.Getenv("ENTROPY_SHIM_FAIL"), nil, 0o600); err != nil {
		return err
	}
	_, during := j.Append(context.Background(), newTracker("during").submit(t, spec()))
	<-j.Fatal()
	_, after := j.Append(context.Background(), newTracker("after").submit(t, spec()))
	_, read := j.Job(context.Background(), "before")
	fmt.Println(entropy.ErrorCode(during), entropy.ErrorCode(after), j.Err() != nil, j.ReadOnly(), read, j.Seq(), j.Close())
	return nil
}

// proves H-3: after a commit that failed in fsync nothing is acknowledged.
func TestAFailedFsyncIsFatal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "journal.db")
	out, err := child(t, "eio", shim(t), "JOURNAL_TEST_PATH="+path, "ENTROPY_SHIM_FAIL="+filepath.Join(dir, "fail")).Output()
	if err != nil {
		t.Fatalf("child: %v: %s", err, out)
	}
	if got, want := string(out), "unknown unavailable true false <nil> 1 <nil>\n"; got != want {
		t.Errorf("child said %q, want %q", got, want)
	}
	checkAcked(t, path, map[string]int{"before": 1})
	verifiedFile(t, path)
}
