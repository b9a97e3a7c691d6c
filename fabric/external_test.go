package fabric_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/bus"
	"github.com/entropy-fabric/entropy/cluster/bus/bustest"
	"github.com/entropy-fabric/entropy/cluster/executor"
	"github.com/entropy-fabric/entropy/fabric"
)

// outside is a fabric whose bus is a cluster of servers that are not ours.
type outside struct {
	t       *testing.T
	cluster *bustest.Cluster
	c       *fabric.Control
	karma   bustest.Account // a producer, by password
	began   chan string

	mu      sync.Mutex
	hold    chan struct{} // ends the handlers that wait for it
	effects map[entropy.AttemptID]int
}

// newOutside starts the servers, a control plane that is let in by its nkey, and an
// executor by its own, all over TLS.
func newOutside(t *testing.T) *outside {
	o := &outside{t: t, karma: bustest.WithPassword("karma", bus.RoleProducer), hold: make(chan struct{}), began: make(chan string, 1000), effects: map[entropy.AttemptID]int{}}
	control, ops := bustest.WithNkey(t, "control", bus.RoleControl), bustest.WithNkey(t, "ops-1", bus.RoleExecutor, "work")
	o.cluster = bustest.Start(t, control, ops, o.karma)
	seed := filepath.Join(t.TempDir(), "control.nk")
	if err := os.WriteFile(seed, []byte(control.Seed), 0o600); err != nil {
		t.Fatal(err)
	}
	o.c, _ = runBusControl(t, fabric.ControlConfig{DataDir: t.TempDir(), Bus: fabric.BusConfig{URL: o.cluster.URL(), NKeySeedFile: seed, CAFile: o.cluster.CAFile}})
	o.well()

	x := executor.New(executor.Config{Name: "ops-1", URL: o.cluster.URL(), Seed: ops.Seed, TLS: o.cluster.TLS(), Spool: t.TempDir(), Slots: 64, Resend: 200 * time.Millisecond, ResendMax: 2 * time.Second, Logger: testLogger()})
	x.Handle("work", func(ctx context.Context, task *executor.Task) (any, error) {
		o.mu.Lock()
		o.effects[task.Order.AttemptID]++
		hold := o.hold
		o.mu.Unlock()
		o.began <- task.ActionID()
		select {
		case <-hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		return map[string]string{"did": "it"}, nil
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- x.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("executor: %v", err)
		}
	})
	return o
}

func (o *outside) well() {
	o.t.Helper()
	eventually(o.t, 2*time.Minute, func() bool { return o.c.Bus().Health(o.t.Context()) == nil },
		func() string { return fmt.Sprintf("the bus is not well: %v", o.c.Bus().Health(o.t.Context())) })
}

// asks has the plain client ask for pieces of work, the numbers from to upto.
func (o *outside) asks(from, upto int) {
	o.t.Helper()
	for i := from; i <= upto; i++ {
		envelope := fmt.Appendf(nil, `{"id":"w%d","ts":"2026-01-31T16:42:00Z","event_type":"action.requested","entity_id":"thing:%d","attrs":{"command":"work","ttl_sec":3600,"retry":{"max":3,"initial":"1s"}}}`, i, i)
		o.cluster.Publish(o.karma, bus.SubjectRequested, fmt.Sprintf("w%d", i), envelope)
	}
}

// begun waits until n more pieces of work are under way.
func (o *outside) begun(n int) {
	o.t.Helper()
	limit := time.After(2 * time.Minute)
	for i := range n {
		select {
		case <-o.began:
		case <-limit:
			o.t.Fatalf("%d of %d pieces of work are under way", i, n)
		}
	}
}

// ended waits until n actions have succeeded, and checks that each has one outcome,
// and none was begun twice under one attempt.
func (o *outside) ended(n int) {
	o.t.Helper()
	outcomes := map[string][]string{}
	eventually(o.t, 3*time.Minute, func() bool {
		clear(outcomes)
		good := 0
		for _, e := range journaled(o.t, o.c) {
			if e.Type == entropy.ActionSucceededType || e.Type == entropy.ActionFailedType || e.Type == entropy.ActionCanceledType {
				outcomes[e.EntityID] = append(outcomes[e.EntityID], e.Type)
			}
			if e.Type == entropy.ActionSucceededType {
				good++
			}
		}
		return good >= n
	}, func() string { return fmt.Sprintf("%d of %d have ended", len(outcomes), n) })
	for id, all := range outcomes {
		if !slices.Equal(all, []string{entropy.ActionSucceededType}) {
			o.t.Errorf("%s has the outcomes %v", id, all)
		}
	}
	if len(outcomes) != n {
		o.t.Errorf("%d actions have an outcome, want %d", len(outcomes), n)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for attempt, times := range o.effects {
		if times != 1 {
			o.t.Errorf("the attempt %s was begun %d times", attempt, times)
		}
	}
}

// proves, H-4, H-6, S-3 for an external bus, end to end: a cluster of three
// by TLS; the control plane and an executor come by nkey, a plain client by password.
// It asks for the restart of a job and for work; the server that leads the streams is
// killed in the middle: each action ends once. Then all three are killed and their
// disks wiped, with work under way: what the executor holds arrives, and every
// journaled fact is on the bus again.
func TestExternalClusterEndToEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("three servers take their time")
	}
	o := newOutside(t)
	runWorker(t, o.c)
	ctx := entropy.WithPrincipal(t.Context(), entropy.Principal{Role: entropy.RoleAdmin, Name: "test"})
	if r, err := o.c.Service().Submit(ctx, []entropy.Submission{{ID: "abc123", Spec: entropy.JobSpec{Command: []string{"sleep", "600"}}}}); err != nil || r[0].Error != nil {
		t.Fatal(err, r)
	}
	eventually(t, time.Minute, func() bool {
		j, err := o.c.Service().Job(ctx, "abc123")
		return err == nil && j.State == entropy.Running
	}, func() string { return "the job does not run" })

	o.asks(1, 20)
	o.begun(20)
	o.cluster.Publish(o.karma, bus.SubjectRequested, "mission", []byte(mission))
	leader := o.cluster.Leader(bus.StreamOrders)
	o.cluster.Kill(leader)
	o.cluster.Publish(o.karma, bus.SubjectRequested, "mission-again", []byte(mission)) // to those that are left
	close(o.hold)
	o.asks(21, 25)
	o.ended(26)
	o.restartedOnce(ctx)
	o.cluster.Start(leader)
	untilPublished(t, o.c)

	o.mu.Lock()
	o.hold = make(chan struct{})
	o.mu.Unlock()
	o.begun(5)
	o.asks(31, 40)
	o.begun(10)
	for i := range o.cluster.Len() {
		o.cluster.Kill(i)
	}
	if st, err := o.c.Service().Status(t.Context()); err != nil || st.Bus.Connected && !errors.Is(o.c.Bus().Health(t.Context()), nil) {
		t.Errorf("without a server the status is %+v, %v", st.Bus, err)
	}
	close(o.hold) // they end while nobody hears it
	for i := range o.cluster.Len() {
		o.cluster.Wipe(i)
		o.cluster.Start(i)
	}
	o.ended(36)
	o.well()
	untilPublished(t, o.c)
}

// restartedOnce checks what the mission's envelope has done.
func (o *outside) restartedOnce(ctx context.Context) {
	o.t.Helper()
	page, err := o.c.Service().Jobs(ctx, entropy.JobFilter{Limit: 10})
	if err != nil {
		o.t.Fatal(err)
	}
	states := map[entropy.State]int{}
	for _, j := range page.Jobs {
		states[j.State]++
	}
	if len(page.Jobs) != 2 || states[entropy.Canceled] != 1 {
		o.t.Errorf("the job was restarted to %v", slices.Collect(maps.Keys(states)))
	}
}

// proves S-3, I-4: an external bus that does not know the control plane's key, or whose
// certificate nobody vouches for, lets nothing through, and the status says so.
func TestExternalClusterRefuses(t *testing.T) {
	o := bustest.Start(t, bustest.WithNkey(t, "control", bus.RoleControl))
	stranger := bustest.WithNkey(t, "control", bus.RoleControl)
	if err := o.Try(stranger); err == nil {
		t.Error("an unknown key is let in")
	}
	seed := filepath.Join(t.TempDir(), "stranger.nk")
	if err := os.WriteFile(seed, []byte(stranger.Seed), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, b := range map[string]fabric.BusConfig{
		"an unknown key": {URL: o.URL(), NKeySeedFile: seed, CAFile: o.CAFile}, "an unknown authority": {URL: o.URL(), NKeySeedFile: seed},
	} {
		c, stop := runBusControl(t, fabric.ControlConfig{DataDir: t.TempDir(), Bus: b})
		submitTo(t, c, 1)
		st, err := c.Service().Status(t.Context())
		if err != nil || st.Bus.Connected || st.Bus.Problem == "" || len(st.Alarms) == 0 {
			t.Errorf("%s: %+v, %v", what, st.Bus, err)
		}
		stop()
	}
}
