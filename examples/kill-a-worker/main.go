// Command kill-a-worker is what "make demo" runs: a real batch on a control
// plane and three workers of this machine, of which one worker and then the
// control plane are killed with kill -9 at the worst moment.
//
// It ends with a table, and with the program prove holding that table to the
// journal. It fails, with a status other than zero, on any deviation.
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
	prove   string        // path of the program that proves the table
	jobs    int           // packages, at most; 0 means all
	keep    bool          // leave the directory for inspection
	timeout time.Duration // for the whole
}

func main() {
	var c config
	here, _ := os.Executable()
	flag.StringVar(&c.entropy, "entropy", filepath.Join(filepath.Dir(here), "entropy"), "the `BINARY` of the fabric")
	flag.StringVar(&c.prove, "prove", filepath.Join(filepath.Dir(here), "prove"), "the `BINARY` that proves the table from the journal")
	flag.IntVar(&c.jobs, "jobs", 0, "at most this many packages (default: the whole standard library)")
	flag.BoolVar(&c.keep, "keep", false, "leave the directory with the journal and the logs")
	flag.DurationVar(&c.timeout, "timeout", 4*time.Minute, "`LIMIT` on the whole")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "kill-a-worker: %q is not expected\n", flag.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, c); err != nil {
		fmt.Fprintf(os.Stderr, "\nFAILED: %v\n", err)
		os.Exit(1)
	}
}

// run makes the directory, plays the demonstration in it, and cleans up after
// it, however it ended.
func run(ctx context.Context, c config) (err error) {
	for _, f := range []*string{&c.entropy, &c.prove} {
		if *f, err = filepath.Abs(*f); err != nil { // the processes run elsewhere
			return err
		}
		if _, err := os.Stat(*f); err != nil {
			return fmt.Errorf("%w; build it with make demo", err)
		}
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
	d := &demo{config: c, dir: dir, lab: &lab{dir: dir}}
	defer func() {
		if ctx.Err() != nil && err != nil {
			err = errors.Join(err, context.Cause(ctx))
		}
		err = errors.Join(err, d.cleanUp(err))
	}()
	return d.play(ctx)
}

// cleanUp ends every process that is left and removes the directory, which it
// keeps after a failure.
func (d *demo) cleanUp(failure error) error {
	left, err := d.lab.clear()
	if d.link != nil {
		d.link.close()
	}
	if failure == nil && len(left) > 0 {
		err = errors.Join(err, fmt.Errorf("%d processes were left running, the first was %q", len(left), left[0].command))
	}
	if failure != nil || err != nil || d.keep {
		fmt.Fprintf(os.Stderr, "The journal and the logs are in %s\n", d.dir)
		return err
	}
	return os.RemoveAll(d.dir)
}
