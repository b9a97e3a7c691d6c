package main

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/bus"
	"github.com/entropy-fabric/entropy/cluster/executor"
	"github.com/entropy-fabric/entropy/fabric"
)

const (
	roundTrips    = 200  // actions one after the other
	manyActions   = 3000 // actions at once
	actionCallers = 64   // who ask for them, and how many the executor carries out at once
)

// actions measures actions from the request to the result that is known to whoever
// asked: journaled at every step, over synced streams, by an executor with its own
// durable spool; beside what the same machine's bare JetStream stores.
func actions(ctx context.Context, b *bench) error {
	dir := filepath.Join(b.dir, "actions")
	if err := rawStream(ctx, filepath.Join(dir, "raw")); err != nil {
		return err
	}
	c, err := fabric.OpenControl(ctx, fabric.ControlConfig{DataDir: filepath.Join(dir, "control"), Listen: "127.0.0.1:0"})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(entropy.WithPrincipal(ctx, entropy.Principal{Role: entropy.RoleAdmin, Name: "bench"}))
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { _ = c.Run(ctx) })
	x := executor.New(executor.Config{Name: "bench", Conn: c.Bus().Conn(), Spool: filepath.Join(dir, "spool"), Slots: actionCallers})
	x.Handle("noop", func(context.Context, *executor.Task) (any, error) { return nil, nil })
	if err := c.Bus().EnsureCommand(ctx, "noop"); err != nil {
		return err
	}
	running.Go(func() { _ = x.Run(ctx) })
	if _, err := act(ctx, c.Service()); err != nil { // the first waits until all is there
		return err
	}
	var took []time.Duration
	for range roundTrips {
		d, err := act(ctx, c.Service())
		if err != nil {
			return err
		}
		took = append(took, d)
	}
	report("action: requested to result", took)
	rate, err := atOnce(manyActions, func() error {
		_, err := act(ctx, c.Service())
		return err
	})
	fmt.Printf("%-52s %9.0f actions/s\n", fmt.Sprintf("actions, %d at once", actionCallers), rate)
	return err
}

// act asks for an action and waits for its end.
func act(ctx context.Context, s entropy.Service) (time.Duration, error) {
	start := time.Now()
	id := entropy.NewID()
	envelope := fmt.Appendf(nil, `{"id":%q,"ts":%q,"event_type":"action.requested","entity_id":"bench:%s","attrs":{"command":"noop"}}`, id, start.UTC().Format(time.RFC3339), id)
	r, err := s.RequestAction(ctx, entropy.ActionRequest{Envelope: envelope, StoredAt: start})
	for err == nil && !r.Action.State.Terminal() {
		r.Action, err = s.WaitAction(ctx, r.Action.ID, time.Minute)
	}
	if err == nil && r.Action.State != entropy.ActionSucceeded {
		err = fmt.Errorf("action %s is %s", id, r.Action.State)
	}
	return time.Since(start), err
}

// rawStream measures what a synced stream takes from as many publishers.
func rawStream(ctx context.Context, dir string) error {
	raw, err := bus.Start(ctx, bus.Config{Name: "raw", Dir: dir})
	if err != nil {
		return err
	}
	defer raw.Close()
	body := make([]byte, 300)
	rate, err := atOnce(manyActions, func() error { return raw.Publish(ctx, bus.SubjectRequested, "", body) })
	fmt.Printf("%-52s %9.0f messages/s\n", fmt.Sprintf("raw JetStream, synced, %d publishers", actionCallers), rate)
	return err
}

// atOnce calls f n times from several goroutines, and returns how many a second.
func atOnce(n int, f func() error) (rate float64, err error) {
	var left atomic.Int64
	left.Store(int64(n))
	errs := make(chan error, actionCallers)
	start := time.Now()
	for range actionCallers {
		go func() {
			for left.Add(-1) >= 0 {
				if err := f(); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range actionCallers {
		if e := <-errs; e != nil {
			err = e
		}
	}
	return float64(n) / time.Since(start).Seconds(), err
}
