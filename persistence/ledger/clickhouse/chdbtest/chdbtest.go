// Package chdbtest starts ClickHouse for tests and measurements: the engine of chdb, in
// a process of its own, behind enough of the HTTP protocol for clickhouse-go. Times
// taken with it are those of the engine, without a network and one query at a time.
package chdbtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Server is a ClickHouse that is running, or was stopped.
type Server struct {
	Addr string // HOST:PORT, the same over a restart
	Dir  string // its data

	lib, bin string
	password string
	cmd      *exec.Cmd
	stdin    io.Closer
}

// URL returns how a client names it.
func (s *Server) URL() string { return "http://" + s.Addr }

// Start starts one for a test, and ends it with the test. Where the engine cannot be had
// the test is skipped, and says why; where it could not be fetched too, except in CI.
func Start(t testing.TB) *Server { return StartWith(t, "") }

// StartWith is Start with a password for the user default.
func StartWith(t testing.TB, password string) *Server {
	t.Helper()
	ctx, done := context.WithTimeout(context.Background(), 8*time.Minute)
	defer done()
	if _, err := Library(ctx); err != nil {
		if os.Getenv("CI") != "" && !errors.Is(err, ErrUnsupported) {
			t.Fatalf("the engine of ClickHouse: %v", err)
		}
		t.Skipf("not checked, for want of the engine of ClickHouse: %v", err)
	}
	s, err := Launch(ctx, t.TempDir(), password)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return s
}

// Launch starts one with its data in dir.
func Launch(ctx context.Context, dir, password string) (*Server, error) {
	lib, err := Library(ctx)
	if err != nil {
		return nil, err
	}
	bin, err := build()
	if err != nil {
		return nil, err
	}
	s := &Server{Addr: "127.0.0.1:0", Dir: dir, lib: lib, bin: bin, password: password}
	return s, s.Restart()
}

// build builds the server once per process, without the race detector, which would see
// the engine's memory. The file has no name any more when it returns, so that nothing
// is left behind; it is run by the descriptor that is kept open.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "chdbserver-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a leftover in a temporary folder
	bin := filepath.Join(dir, "chdbserver")
	out, err := exec.Command("go", "build", "-o", bin, "github.com/entropy-fabric/entropy/persistence/ledger/clickhouse/chdbtest/server").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the server: %w\n%.2000s", err, out)
	}
	program, err = os.Open(bin)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("/proc/self/fd/%d", program.Fd()), nil
})

// program is the server, open for as long as this process lives.
var program *os.File

// Restart starts it again, at the same address and with the same data.
func (s *Server) Restart() error {
	cmd := exec.Command(s.bin, "-lib", s.lib, "-data", s.Dir, "-listen", s.Addr, "-password", s.password)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return fmt.Errorf("the server did not start: %w", errors.Join(err, cmd.Wait()))
	}
	s.cmd, s.stdin, s.Addr = cmd, in, strings.TrimSpace(line)
	return nil
}

// Kill ends it at once, as a power cut of the process would. It is idempotent.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // it may be gone
	_ = s.cmd.Wait()         // it was killed
	_ = s.stdin.Close()      // likewise
	s.cmd = nil
}

// CPUTime returns the processor's time that it has used since it was started.
func (s *Server) CPUTime() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), ") ") // behind the name
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0, fmt.Errorf("%q is no state of a process", b)
	}
	user, err := strconv.ParseInt(f[11], 10, 64) // proc(5): utime and stime, in hundredths of a second
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond, errors.Join(err, err2)
}
