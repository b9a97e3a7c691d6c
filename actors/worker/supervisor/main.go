package supervisor

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/entropy-fabric/entropy"
)

// DefaultIdleExit is how long a supervisor waits for an agent with nothing to do.
const DefaultIdleExit = 10 * time.Minute

const readyLine = "ready\n"

// Main is the supervisor process. Its arguments are flags; it returns the exit
// code. It says "ready" on standard output once it serves, or why it cannot.
func Main(args []string) int {
	if err := mainErr(args); err != nil {
		fmt.Fprintln(os.Stdout, "entropy supervisor:", err)
		return 1
	}
	return 0
}

func mainErr(args []string) error {
	flags := flag.NewFlagSet("supervisor", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	state := flags.String("state", "", "state directory of the worker")
	version := flags.String("release", "", "release of the worker that starts it")
	keeps := flags.String("keep", "", "end the containers of this supervisor when standard input ends")
	idleExit := flags.Duration("idle-exit", DefaultIdleExit, "end after this long without an agent and without work")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *state == "" || flags.NArg() > 0 || *idleExit <= 0 {
		return errors.New("usage: supervisor --state DIR [--idle-exit D]; it is started by the worker")
	}
	// Caught and left lying, not ignored: jobs would inherit that.
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT, unix.SIGPIPE)
	term := make(chan os.Signal, 1)
	signal.Notify(term, unix.SIGTERM)
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if *keeps != "" {
		signal.Reset(unix.SIGTERM)
		return keep(*state, *keeps, os.Stdin, log)
	}
	keeper := slices.Clone(os.Args[:max(len(os.Args)-len(args), 1)]) // this program, and what led it here
	return serve(*state, *version, *idleExit, keeper, term, log)
}

// serve holds the state directory and serves agents until it is told to end.
func serve(state, version string, idleExit time.Duration, keeper []string, term <-chan os.Signal, log *slog.Logger) error {
	lock, err := Lock(filepath.Join(state, "supervisor.lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	e, err := OpenEngine(state, log)
	if err != nil {
		return err
	}
	e.boxes.keeper.command = keeper
	l, err := listen(state)
	if err != nil {
		return fmt.Errorf("open the supervisor's socket: %w", err)
	}
	s := newServer(e, l, idleExit, log)
	s.version = version
	served := make(chan error, 1)
	go func() { served <- s.serve() }()
	fmt.Print(readyLine)
	log.Info("supervisor serves", slog.Int("pid", os.Getpid()), slog.String("spool", e.spool.ID()))
	select {
	case err = <-served:
	case <-s.stop:
	case <-term:
		log.Warn("SIGTERM: ending every job of this worker")
		err = e.StopAll(context.Background())
	}
	s.close()
	return errors.Join(err, e.Close())
}

// Lock takes the lock file at path for this process, until it is closed or the
// process ends. CodeConflict when another process holds it.
func Lock(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(f, 20))
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, entropy.Errorf(entropy.CodeConflict, "%s is held by process %s", path, strings.TrimSpace(string(holder))).
				WithHint("one worker may use a data directory; stop the other one or choose another --data")
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0) // for people only
	}
	return f, nil
}

// Spawn starts a supervisor for a state directory and returns once it serves.
// It is its own session and outlives the caller. Command is the program and the
// arguments that lead to [Main].
func Spawn(ctx context.Context, command []string, state, version string, idleExit time.Duration) error {
	program, err := exec.LookPath(command[0])
	if err == nil {
		program, err = filepath.Abs(program)
	}
	if err != nil {
		return fmt.Errorf("find the supervisor's program: %w", err)
	}
	logFile, err := openLog(filepath.Join(state, "supervisor.log"))
	if err != nil {
		return err
	}
	defer logFile.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	args := append(append([]string{}, command[1:]...), "--state", state, "--release", version, "--idle-exit", idleExit.String())
	cmd := exec.Command(program, args...)
	cmd.Dir = state // it must not keep another file system busy
	cmd.Stdout, cmd.Stderr = w, logFile
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	go func() { _ = cmd.Wait() }() // reaps it if it ends before this process does
	return awaitReady(ctx, r)
}

// awaitReady reads what a new supervisor says about itself.
func awaitReady(ctx context.Context, r *os.File) error {
	stop := context.AfterFunc(ctx, func() { r.Close() })
	defer stop()
	b := make([]byte, 0, 4096)
	for len(b) < cap(b) {
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if strings.HasPrefix(string(b), readyLine) {
			return nil
		}
		if err != nil {
			break
		}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("the supervisor did not become ready: %w", ctx.Err())
	}
	return fmt.Errorf("the supervisor did not start: %s", strings.TrimSpace(string(b)))
}

// openLog opens the supervisor's own log, which begins anew when it is large.
func openLog(path string) (*os.File, error) {
	flags := os.O_WRONLY | os.O_CREATE | os.O_APPEND
	if fi, err := os.Stat(path); err == nil && fi.Size() > 8<<20 {
		flags |= os.O_TRUNC
	}
	return os.OpenFile(path, flags, 0o600)
}
