package executortest

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/executor"
)

// Handlers is a registry that calls handlers directly, without a server.
type Handlers map[string]executor.Handler

// Handle remembers a handler.
func (h Handlers) Handle(command string, fn executor.Handler, _ ...executor.Option) { h[command] = fn }

// Call carries out a command with JSON arguments as the attempt of an action, and
// returns the result as it would be reported.
func (h Handlers) Call(ctx context.Context, command, args string, change ...func(*executor.Task)) (map[string]any, error) {
	fn := h[command]
	if fn == nil {
		return nil, fmt.Errorf("no handler for %s", command)
	}
	t := &executor.Task{Log: slog.New(slog.DiscardHandler), Event: entropy.Event{EntityID: "job:abc123"},
		Order: entropy.ActionOrder{ActionID: "act-1", AttemptID: "attempt-1", Attempt: 1, Command: command, Args: []byte(args)}}
	for _, f := range change {
		f(t)
	}
	result, err := fn(ctx, t)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(result)
	if err != nil {
		return nil, err
	}
	var m map[string]any
	return m, json.Unmarshal(b, &m)
}

// Dry makes a call a dry run.
func Dry(t *executor.Task) { t.Order.DryRun = true }

// KindOf returns the kind of a failure and whether it is final.
func KindOf(err error) (kind string, final bool) {
	f := executor.FailureOf(err)
	return f.Kind, f.Final
}

// AfterOf returns how long a failure asks to be left alone.
func AfterOf(err error) time.Duration { return executor.FailureOf(err).After }
