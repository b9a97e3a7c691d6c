package executor_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy/cluster/executor"
	"github.com/entropy-fabric/entropy/cluster/executor/executortest"
)

// proves A-3: the SDK passes the suite that the examples in other languages pass.
func TestConformance(t *testing.T) {
	executortest.Conformance(t, func() *exec.Cmd { return exec.Command(os.Args[0]) })
}

// conforming is the executor of the suite.
func conforming() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	resend, err := strconv.ParseFloat(os.Getenv("EXECUTOR_RESEND"), 64)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	e := executor.New(executor.Config{Name: os.Getenv("EXECUTOR_NAME"), URL: os.Getenv("NATS_URL"), User: os.Getenv("EXECUTOR_NAME"),
		Password: os.Getenv("EXECUTOR_PASSWORD"), Spool: os.Getenv("EXECUTOR_SPOOL"), Resend: time.Duration(resend * float64(time.Second))})
	e.Handle("greet", func(_ context.Context, t *executor.Task) (any, error) {
		var args struct {
			Name string `json:"name"`
		}
		if err := t.Args(&args); err != nil {
			return nil, err
		}
		return map[string]string{"greeting": "Hello, " + args.Name + "!", "idempotency_key": t.ActionID()}, nil
	})
	e.Handle("count", count)
	e.Handle("flaky", func(_ context.Context, t *executor.Task) (any, error) {
		if t.Order.Attempt == 1 {
			return nil, executor.Retryable(executor.OfKind(fmt.Errorf("not yet"), "unavailable"), 10*time.Millisecond)
		}
		return map[string]int{"attempt": t.Order.Attempt}, nil
	})
	if err := e.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func count(ctx context.Context, t *executor.Task) (any, error) {
	args := struct {
		To    int     `json:"to"`
		Every float64 `json:"every"`
	}{10, 0.1}
	if err := t.Args(&args); err != nil {
		return nil, err
	}
	tick := time.NewTicker(time.Duration(args.Every * float64(time.Second)))
	defer tick.Stop()
	for i := range args.To {
		t.Progress(100*float64(i)/float64(args.To), fmt.Sprintf("at %d", i))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return map[string]int{"counted": args.To}, nil
}
