// Command entropy-demo is what "make demo-entropy" runs: a service becomes slow, the
// entropy layer notices and says why, a rule has the service restarted, and the
// entropy comes back down.
//
// It ends with a table, and fails, with a status other than zero, when any of it did
// not happen.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// config is what the flags say.
type config struct {
	entropy string        // path of the binary of the fabric
	data    string        // folder of published sets
	slower  float64       // how many times as long everything takes while the service is slow
	verdict bool          // wait until the action was judged, a minute
	keep    bool          // leave the directory for inspection
	timeout time.Duration // for the whole
}

func main() {
	var c config
	here, _ := os.Executable()
	flag.StringVar(&c.entropy, "entropy", filepath.Join(filepath.Dir(here), "entropy"), "the `BINARY` of the fabric")
	flag.StringVar(&c.data, "data", "", "`FOLDER` with nab/ in it, real latencies (default: generated ones)")
	flag.Float64Var(&c.slower, "slower", 3, "how many `TIMES` as long everything takes while the service is slow; with 1 nothing happens, and it fails")
	flag.BoolVar(&c.verdict, "verdict", true, "wait a minute for the verdict on the action")
	flag.BoolVar(&c.keep, "keep", false, "leave the directory with the ledger and the log")
	flag.DurationVar(&c.timeout, "timeout", 5*time.Minute, "`LIMIT` on the whole")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "entropy-demo: %q is not expected\n", flag.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, c); err != nil {
		fmt.Fprintf(os.Stderr, "\nFAILED: %v\n", err)
		os.Exit(1)
	}
}

// run makes the directory, plays the story in it, and cleans up after it, however
// it ended.
func run(ctx context.Context, c config) (err error) {
	if c.entropy, err = filepath.Abs(c.entropy); err != nil {
		return err
	}
	if _, err := os.Stat(c.entropy); err != nil {
		return fmt.Errorf("%w; build it with make build", err)
	}
	if err := adoptOrphans(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "entropy-demo-")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("not done after %s", c.timeout))
	defer cancel()
	s := &story{config: c, dir: dir}
	err = s.play(ctx)
	if ctx.Err() != nil && err != nil {
		err = errors.Join(err, context.Cause(ctx))
	}
	left := s.lab.stop()
	if len(left) > 0 {
		err = errors.Join(err, fmt.Errorf("%d processes were left running: %v", len(left), left))
	}
	if c.keep || err != nil {
		fmt.Printf("\neverything is in %s; its log is %s\n", dir, filepath.Join(dir, logName))
		return err
	}
	return os.RemoveAll(dir)
}
