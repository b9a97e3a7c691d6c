// Command entropy is the whole fabric in one binary: the control plane, the
// worker node, and the client that people and scripts use.
//
// This package holds flags, the environment, wiring and words. What the fabric
// does is in the packages below the module's root.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
	_ "time/tzdata" // schedules have zones, and the host may have no table of them: 0.4 MiB

	"github.com/entropy-fabric/entropy"
)

// version is set at link time: -ldflags "-X main.version=v1.2.3".
var version = ""

func main() {
	a := &app{
		stdin:  os.Stdin,
		stdout: os.Stdout,
		stderr: os.Stderr,
		env:    os.Getenv,
		now:    time.Now,
		dial: func(c entropy.ClientConfig) (entropy.Service, error) {
			return entropy.NewClient(c)
		},
	}
	ctx, stop := untilSignal(context.Background())
	code := a.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// untilSignal returns a context that ends with the first SIGINT or SIGTERM, so
// that commands stop in order. A second signal ends the process at once: a
// person who asks twice does not want to wait.
func untilSignal(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		select {
		case s := <-signals:
			cancel(signaled{s.(syscall.Signal)})
		case <-done:
			return
		}
		select {
		case s := <-signals:
			os.Exit(signaled{s.(syscall.Signal)}.exitCode())
		case <-done:
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel(context.Canceled)
	}
}

// signaled is the cause of a context that a signal ended.
type signaled struct{ signal syscall.Signal }

func (s signaled) Error() string { return "stopped by " + s.signal.String() }

// exitCode follows the shell's convention: 128 plus the signal's number.
func (s signaled) exitCode() int { return 128 + int(s.signal) }
