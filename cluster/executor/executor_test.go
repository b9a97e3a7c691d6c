package executor_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/executor"
	"github.com/entropy-fabric/entropy/cluster/executor/executortest"
)

// config returns that of an executor that is quick to repeat.
func config(c *executortest.Control, name string) executor.Config {
	return executor.Config{Name: name, URL: c.URL(), User: name, Password: executortest.Password(name),
		Resend: 20 * time.Millisecond, ResendMax: 100 * time.Millisecond, Grace: 5 * time.Second}
}

// start runs an executor until the test ends, or stop is called.
func start(t *testing.T, e *executor.Executor) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func one(name string, commands ...string) executortest.Config {
	return executortest.Config{Executors: map[string][]string{name: commands}}
}

func order(command, args string) entropy.ActionOrder {
	return entropy.ActionOrder{Command: command, Args: []byte(args)}
}

// proves A-3: accepted, started, progress, result, under one action_id, and the
// order is gone from the stream.
func TestLifeOfAnAction(t *testing.T) {
	c := executortest.Start(t, one("ops-1", "restart_job"))
	e := executor.New(config(c, "ops-1"))
	e.Handle("restart_job", func(ctx context.Context, task *executor.Task) (any, error) {
		var args struct {
			JobID string `json:"job_id"`
			Force bool   `json:"force"`
		}
		if err := task.Args(&args); err != nil {
			return nil, err
		}
		task.Progress(40, "half way")
		return map[string]any{"restarted": args.JobID, "for": task.Event.EntityID}, nil
	})
	start(t, e)
	id := c.Issue(order("restart_job", `{"job_id":"abc123","force":true}`), 1)
	a := c.Done(id)
	if got := string(a.Last.Result); a.State != entropy.ActionSucceeded || got != `{"for":"job:abc123","restarted":"abc123"}` {
		t.Errorf("the action %s with the result %s", a.State, got)
	}
	if want := []string{"action.accepted", "action.started", "action.succeeded"}; !slices.Equal(a.Attempts[0].Story, want) {
		t.Errorf("the story is %v, want %v", a.Attempts[0].Story, want)
	}
	c.UntilSettled("restart_job")
}

// proves A-3: what a handler's error says about another attempt reaches the
// control plane, and a panic is a failure.
func TestErrors(t *testing.T) {
	c := executortest.Start(t, one("ops-1", "fail"))
	e := executor.New(config(c, "ops-1"))
	fails := map[string]error{
		`"plain"`:     errors.New("boom"),
		`"retryable"`: executor.Retryable(errors.New("busy"), 1500*time.Millisecond),
		`"final"`:     executor.Final(errors.New("gone"), "not_found"),
		`"wrapped"`:   fmt.Errorf("call: %w", executor.Final(errors.New("gone"), "not_found")),
		`"fabric"`:    entropy.Errorf(entropy.CodeNotFound, "no such job"),
		`"busy"`:      entropy.Errorf(entropy.CodeOverloaded, "later"),
	}
	e.Handle("fail", func(_ context.Context, task *executor.Task) (any, error) {
		switch string(task.Order.Args) {
		case `"panic"`:
			panic("oops")
		case `"bad"`:
			return func() {}, nil
		case `"large"`:
			return strings.Repeat("x", entropy.MaxActionSize), nil
		case `"args"`:
			return nil, task.Args(&struct{ Known int }{})
		}
		return nil, fails[string(task.Order.Args)]
	})
	start(t, e)
	for args, want := range map[string]entropy.ActionReport{
		`"plain"`:     {Error: "boom", Kind: "error"},
		`"retryable"`: {Error: "busy", Kind: "error", RetryAfter: 1500},
		`"final"`:     {Error: "gone", Kind: "not_found", Final: true},
		`"wrapped"`:   {Error: "call: gone", Kind: "not_found", Final: true},
		`"fabric"`:    {Error: "no such job", Kind: "not_found", Final: true},
		`"busy"`:      {Error: "later", Kind: "overloaded"},
		`"panic"`:     {Error: "the handler panicked: oops", Kind: "panic"},
		`"bad"`:       {Kind: "bad_result", Final: true},
		`"large"`:     {Kind: "bad_result", Final: true},
		`"args"`:      {Kind: "invalid", Final: true},
	} {
		got := c.Done(c.Issue(order("fail", args), 1)).Last
		if want.Error != "" && got.Error != want.Error || got.Kind != want.Kind || got.Final != want.Final || got.RetryAfter != want.RetryAfter {
			t.Errorf("%s: got %+v, want %+v", args, got, want)
		}
	}
	// A failure that is not final is tried again.
	if a := c.Done(c.Issue(order("fail", `"plain"`), 3)); len(a.Attempts) != 3 || a.State != entropy.ActionFailed {
		t.Errorf("%d attempts, %s", len(a.Attempts), a.State)
	}
}

// proves A-3: a verdict that says cancel ends the handler's context, and what is
// reported is that it was canceled. The verdict rides on a heartbeat if the one
// that was sent by itself is lost.
func TestCancel(t *testing.T) {
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprintf("lost=%v", lost), func(t *testing.T) {
			c := executortest.Start(t, one("ops-1", "wait"))
			e := executor.New(config(c, "ops-1"))
			e.Handle("wait", func(ctx context.Context, _ *executor.Task) (any, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			})
			start(t, e)
			o := order("wait", `{}`)
			o.HeartbeatMS = 60
			id := c.Issue(o, 3)
			c.Until(id, "alive", func(a executortest.Action) bool { return len(a.Attempts[0].Progress) > 1 })
			if lost {
				c.CancelQuietly(id)
			} else {
				c.Cancel(id)
			}
			if a := c.Done(id); a.State != entropy.ActionCanceled || len(a.Attempts) != 1 {
				t.Errorf("%s after %d attempts", a.State, len(a.Attempts))
			}
		})
	}
}

// proves H-6: an attempt that another has taken over ends, and its failure does
// not count, while a late success would.
func TestSuperseded(t *testing.T) {
	c := executortest.Start(t, one("ops-1", "wait"))
	e := executor.New(config(c, "ops-1"))
	var calls atomic.Int32
	e.Handle("wait", func(ctx context.Context, _ *executor.Task) (any, error) {
		if calls.Add(1) == 1 {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return "second", nil
	})
	start(t, e)
	o := order("wait", `{}`)
	o.HeartbeatMS = 60
	id := c.Issue(o, 2)
	c.Until(id, "alive", func(a executortest.Action) bool { return len(a.Attempts[0].Progress) > 0 })
	c.Supersede(id)
	a := c.Done(id)
	if a.State != entropy.ActionSucceeded || string(a.Last.Result) != `"second"` {
		t.Errorf("%s with %s", a.State, a.Last.Result)
	}
	c.Until(id, "told of the first attempt's end", func(a executortest.Action) bool {
		return slices.Contains(a.Attempts[0].Story, "action.failed")
	})
}

// proves A-3: the attempt's time is kept by the executor, too.
func TestTimeout(t *testing.T) {
	c := executortest.Start(t, one("ops-1", "wait"))
	e := executor.New(config(c, "ops-1"))
	e.Handle("wait", func(ctx context.Context, _ *executor.Task) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	start(t, e)
	o := order("wait", `{}`)
	o.TimeoutMS = 50
	if a := c.Done(c.Issue(o, 1)); a.Last.Kind != executor.KindTimeout || a.Last.Final {
		t.Errorf("got %+v", a.Last)
	}
}

// proves H-7: an order that gets no verdict within what is left of its TTL is
// given up, is not carried out, and the control plane is told.
func TestTTL(t *testing.T) {
	conf := one("ops-1", "noop")
	conf.Verdict = func(ev *entropy.Event, _ entropy.ActionVerdict) []time.Duration {
		if ev.Type == entropy.ActionAcceptedType {
			return nil
		}
		return executortest.Once()
	}
	c := executortest.Start(t, conf)
	e := executor.New(config(c, "ops-1"))
	e.Handle("noop", func(context.Context, *executor.Task) (any, error) {
		t.Error("it was carried out")
		return nil, nil
	})
	start(t, e)
	o := order("noop", `{}`)
	o.RemainingMS = 100
	if a := c.Done(c.Issue(o, 1)); a.Last.Kind != executor.KindExpired {
		t.Errorf("got %+v", a.Last)
	}
	c.UntilSettled("noop")
}

// proves A-7: a dry run reaches only handlers that know what it is.
func TestDryRun(t *testing.T) {
	c := executortest.Start(t, one("ops-1", "able", "unable"))
	e := executor.New(config(c, "ops-1"))
	e.Handle("able", func(_ context.Context, task *executor.Task) (any, error) { return task.DryRun(), nil }, executor.DryRun())
	e.Handle("unable", func(context.Context, *executor.Task) (any, error) {
		t.Error("it was carried out")
		return nil, nil
	})
	start(t, e)
	o := order("able", `{}`)
	o.DryRun = true
	if a := c.Done(c.Issue(o, 1)); string(a.Last.Result) != "true" {
		t.Errorf("got %+v", a.Last)
	}
	o.Command = "unable"
	if a := c.Done(c.Issue(o, 5)); a.Last.Kind != executor.KindUnsupported || !a.Last.Final || len(a.Attempts) != 1 {
		t.Errorf("got %+v", a.Last)
	}
}

// proves A-3: at most Slots handlers run at once, over all commands, and no order
// is left behind.
func TestSlots(t *testing.T) {
	c := executortest.Start(t, one("ops-1", "a", "b", "c"))
	conf := config(c, "ops-1")
	conf.Slots = 2
	e := executor.New(conf)
	var now, most atomic.Int32
	entered, gate := make(chan struct{}, 12), make(chan struct{})
	for _, command := range []string{"a", "b", "c"} {
		e.Handle(command, func(ctx context.Context, _ *executor.Task) (any, error) {
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			defer now.Add(-1)
			entered <- struct{}{}
			select {
			case gate <- struct{}{}:
			case <-ctx.Done():
			}
			return nil, nil
		})
	}
	start(t, e)
	var ids []entropy.ActionID
	for i := range 12 {
		ids = append(ids, c.Issue(order(string("abc"[i%3]), `{}`), 1))
	}
	<-entered
	<-entered
	for range ids {
		<-gate
	}
	for _, id := range ids {
		c.Done(id)
	}
	if most.Load() != 2 {
		t.Errorf("%d at once, want 2", most.Load())
	}
}

// proves A-3: a credential that does not allow what the executor publishes is an
// error that says so, not a silence.
func TestForbidden(t *testing.T) {
	c := executortest.Start(t, executortest.Config{Executors: map[string][]string{"ops-1": {"restart_job"}, "ops-2": {"other"}}})
	for name, change := range map[string]func(*executor.Config){
		"another's name": func(conf *executor.Config) { conf.Name = "ops-2" },
		"another's command": func(conf *executor.Config) {
			conf.User, conf.Password, conf.Name = "ops-2", executortest.Password("ops-2"), "ops-2"
		},
	} {
		t.Run(name, func(t *testing.T) {
			conf := config(c, "ops-1")
			change(&conf)
			e := executor.New(conf)
			e.Handle("restart_job", func(context.Context, *executor.Task) (any, error) { return nil, nil })
			err := e.Run(t.Context())
			if entropy.ErrorCode(err) != entropy.CodeForbidden {
				t.Errorf("got %v", err)
			}
		})
	}
}

// proves that what is configured wrongly is said at once, all of it.
func TestConfig(t *testing.T) {
	e := executor.New(executor.Config{Name: "a.b", Slots: -1})
	e.Handle("bad.command", func(context.Context, *executor.Task) (any, error) { return nil, nil })
	e.Handle("twice", func(context.Context, *executor.Task) (any, error) { return nil, nil })
	e.Handle("twice", func(context.Context, *executor.Task) (any, error) { return nil, nil })
	e.Handle("none", nil)
	err := e.Run(t.Context())
	for _, want := range []string{"a.b", "bad.command", "two handlers", "no function", "URL and Conn", "negative"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not mention %s", err, want)
		}
	}
}

// proves A-3: with the control plane's own connection, which stays open.
func TestGivenConnection(t *testing.T) {
	c := executortest.Start(t, one("local", "noop"))
	nc, err := nats.Connect(c.URL(), nats.UserInfo("control", executortest.Password("control")))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	e := executor.New(executor.Config{Name: "local", Conn: nc})
	e.Handle("noop", func(context.Context, *executor.Task) (any, error) { return nil, nil })
	stop := start(t, e)
	c.Done(c.Issue(order("noop", `{}`), 1))
	stop()
	if !nc.IsConnected() {
		t.Error("the connection was closed")
	}
}

// proves A-3: a server that goes away and comes back is reconnected to, with the
// handler running all the while, and its result arrives.
func TestServerAway(t *testing.T) {
	c := executortest.Start(t, one("ops-1", "wait"))
	conf := config(c, "ops-1")
	conf.Spool = filepath.Join(t.TempDir(), "spool")
	e := executor.New(conf)
	began, goOn := make(chan struct{}), make(chan struct{})
	e.Handle("wait", func(context.Context, *executor.Task) (any, error) {
		close(began)
		<-goOn
		return "done", nil
	})
	start(t, e)
	id := c.Issue(order("wait", `{}`), 1)
	<-began
	c.Stop()
	close(goOn)
	waitForFile(t, conf.Spool, `{"end":`)
	c.Start()
	if a := c.Done(id); a.State != entropy.ActionSucceeded {
		t.Errorf("%s", a.State)
	}
}

// proves A-3: an executor may be started before there is a server.
func TestServerComesLater(t *testing.T) {
	c := executortest.Start(t, one("ops-1", "noop"))
	c.Stop()
	e := executor.New(config(c, "ops-1"))
	e.Handle("noop", func(context.Context, *executor.Task) (any, error) { return nil, nil })
	start(t, e)
	c.Start()
	if a := c.Done(c.Issue(order("noop", `{}`), 1)); a.State != entropy.ActionSucceeded {
		t.Errorf("%s", a.State)
	}
}

// proves A-3: an order that cannot be understood is terminated, a verdict that cannot
// is ignored, and neither keeps the executor from its work.
func TestNotUnderstood(t *testing.T) {
	c := executortest.Start(t, one("ops-1", "noop"))
	e := executor.New(config(c, "ops-1"))
	e.Handle("noop", func(context.Context, *executor.Task) (any, error) { return nil, nil })
	start(t, e)
	for _, text := range []string{``, `no JSON`, `{}`, `{"attrs":7}`, `{"attrs":{"command":"noop"}}`,
		`{"attrs":{"action_id":"a","attempt_id":"b","command":"other"}}`, `{"attrs":{"action_id":"a","attempt_id":"b","command":"noop","remaining_ms":-1}}`} {
		c.Conn().Publish("actions.requested.noop", []byte(text))
		c.Conn().Publish("actions.verdict.ops-1", []byte(text))
	}
	if a := c.Done(c.Issue(order("noop", `{}`), 1)); a.State != entropy.ActionSucceeded {
		t.Errorf("%s", a.State)
	}
	c.UntilSettled("noop")
}

// proves A-3: what was canceled before it was taken is not carried out.
func TestCanceledBeforeItBegan(t *testing.T) {
	c := executortest.Start(t, one("ops-1", "noop"))
	id := c.Issue(order("noop", `{}`), 1)
	c.CancelQuietly(id)
	e := executor.New(config(c, "ops-1"))
	e.Handle("noop", func(context.Context, *executor.Task) (any, error) {
		t.Error("it was carried out")
		return nil, nil
	})
	start(t, e)
	if a := c.Done(id); a.State != entropy.ActionCanceled {
		t.Errorf("%s", a.State)
	}
}

// BenchmarkRoundTrip measures an order's way through an executor that does nothing,
// from the stream of orders to the verdict on its result, with a server that does not
// sync its streams.
func BenchmarkRoundTrip(b *testing.B) {
	for name, spool := range map[string]bool{"memory": false, "spool": true} {
		b.Run(name, func(b *testing.B) {
			c := executortest.Start(b, one("ops-1", "noop"))
			conf := config(c, "ops-1")
			conf.Slots = 16
			if spool {
				conf.Spool = filepath.Join(b.TempDir(), "spool")
			}
			e := executor.New(conf)
			e.Handle("noop", func(context.Context, *executor.Task) (any, error) { return nil, nil })
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			go e.Run(ctx)
			c.Done(c.Issue(order("noop", `{}`), 1))
			b.ResetTimer()
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					c.Done(c.Issue(order("noop", `{}`), 1))
				}
			})
		})
	}
}

// waitForFile waits until a file of the spool holds a text.
func waitForFile(t *testing.T, dir, text string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(10 * time.Second)
	for {
		names, _ := filepath.Glob(filepath.Join(dir, "*.log"))
		for _, name := range names {
			if b, err := os.ReadFile(name); err == nil && strings.Contains(string(b), text) {
				return
			}
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("no file in %s holds %s", dir, text)
		}
	}
}
