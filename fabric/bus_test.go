package fabric_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/bus"
	"github.com/entropy-fabric/entropy/fabric"
)

// runBusControl opens and runs a control plane until the function that it returns is
// called.
func runBusControl(t *testing.T, cfg fabric.ControlConfig) (c *fabric.Control, stop func()) {
	t.Helper()
	cfg.Listen, cfg.Logger, cfg.Gossip.Off = "127.0.0.1:0", testLogger(), true
	c, err := fabric.OpenControl(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(stop)
	return c, stop
}

func submitTo(t *testing.T, c *fabric.Control, n int) {
	t.Helper()
	batch := make([]entropy.Submission, n)
	for i := range batch {
		batch[i] = entropy.Submission{ID: entropy.JobID(entropy.NewID()), Spec: entropy.JobSpec{Command: []string{"true"}, Env: map[string]string{"TOKEN": "s3cret"}}}
	}
	results, err := c.Service().Submit(entropy.WithPrincipal(t.Context(), entropy.Principal{Role: entropy.RoleAdmin, Name: "test"}), batch)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Error != nil {
			t.Fatal(r.Error)
		}
	}
}

func journaled(t *testing.T, c *fabric.Control) (all []entropy.Event) {
	t.Helper()
	for f := (entropy.EventFilter{}); ; {
		page, err := c.Service().Events(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Events) == 0 {
			return all
		}
		all, f.After = append(all, page.Events...), page.Next
	}
}

// untilPublished waits until the outbox has nothing left, and checks that what is on
// the bus is the journal, event by event.
func untilPublished(t *testing.T, c *fabric.Control) []bus.Message {
	t.Helper()
	events := journaled(t, c)
	eventually(t, time.Minute, func() bool {
		s := c.Outbox()[0]
		for _, stream := range c.Bus().Status(t.Context()).Streams {
			if stream.Name == bus.StreamEvents {
				return s.Lag == 0 && stream.Messages >= uint64(len(events))
			}
		}
		return false
	}, func() string { s := c.Outbox()[0]; return fmt.Sprintf("the outbox is at %+v", s) })
	messages, err := c.Bus().Read(t.Context(), bus.StreamEvents, 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if len(messages) != len(events) {
		t.Fatalf("%d events are on the bus, %d in the journal", len(messages), len(events))
	}
	for i, m := range messages {
		var e entropy.Event
		if err := json.Unmarshal(m.Data, &e); err != nil {
			t.Fatal(err)
		}
		if e.ID != events[i].ID || e.Seq != events[i].Seq || e.Version != events[i].Version || e.EntityID != events[i].EntityID || m.ID != e.ID {
			t.Fatalf("event %d on the bus is %+v, in the journal %+v", i, e, events[i])
		}
	}
	return messages
}

// proves H-4, H-5, S-2: what is journaled is on the bus, in order, once, over a
// restart; and no secret is.
func TestJournalReachesTheBus(t *testing.T) {
	dir := t.TempDir()
	c, stop := runBusControl(t, fabric.ControlConfig{DataDir: dir})
	submitTo(t, c, 300)
	untilPublished(t, c)
	stop()
	c, _ = runBusControl(t, fabric.ControlConfig{DataDir: dir})
	submitTo(t, c, 100)
	for _, m := range untilPublished(t, c) {
		for _, secret := range []string{"s3cret", `"hash"`, "key_hash", "nonce"} {
			if bytes.Contains(m.Data, []byte(secret)) {
				t.Errorf("%s is on the bus: %s", secret, m.Data)
			}
		}
	}
}

// proves H-4: the bus's directory is wiped in mid-run, under the server: every event
// that was journaled is published again.
func TestWipedBusIsRebuilt(t *testing.T) {
	dir := t.TempDir()
	c, _ := runBusControl(t, fabric.ControlConfig{DataDir: dir})
	submitTo(t, c, 200)
	untilPublished(t, c)
	if err := os.RemoveAll(filepath.Join(dir, "nats")); err != nil {
		t.Fatal(err)
	}
	submitTo(t, c, 200)
	eventually(t, time.Minute, func() bool { return c.Bus().Health(t.Context()) == nil }, func() string { return "the bus does not come back" })
	untilPublished(t, c)
}

// proves H-4, P-1: a control plane is killed under load, some times with a commit in
// flight and always with facts that are journaled and not yet published: none is
// missing, none is there twice.
func TestKilledBetweenCommitAndPublish(t *testing.T) {
	l := newLab(t, 15*time.Second)
	f, err := os.Create(l.path("acked"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	record := &acked{file: f}
	ctx, cancel := context.WithCancel(context.Background())
	var submitted atomic.Int64
	var clients sync.WaitGroup
	clients.Go(func() { l.load(ctx, record, &submitted) })
	for range 6 {
		l.awaitProgress(&submitted)
		for end := time.Now().Add(5 * time.Second); l.mark[0] == 0 && time.Now().Before(end); {
		}
		l.ctl.kill()
		l.mark[0] = 0
		l.startControl()
	}
	cancel()
	clients.Wait()
	l.ctl.kill()
	c, _ := runBusControl(t, fabric.ControlConfig{DataDir: l.path("control")})
	messages := untilPublished(t, c)
	onBus := map[string]bool{}
	for _, m := range messages {
		var e entropy.Event
		if err := json.Unmarshal(m.Data, &e); err != nil {
			t.Fatal(err)
		}
		onBus[e.EntityID] = true
	}
	for _, id := range record.ids {
		if !onBus[entropy.Entity(entropy.KindJob, string(id))] {
			t.Errorf("job %s was acknowledged and is not on the bus", id)
		}
	}
	t.Logf("%d jobs, %d events", len(record.ids), len(messages))
}

// proves I-4: settings of the bus that contradict each other are refused.
func TestBusSettings(t *testing.T) {
	for _, b := range []fabric.BusConfig{
		{Off: true, URL: "nats://x:4222"}, {Off: true, Listen: "127.0.0.1:0"}, {URL: "nats://x:4222", Listen: "127.0.0.1:0"}, {CredsFile: "x"},
		{Listen: "here"}, {URL: "http://x"}, {URL: "nats://127.0.0.1:1", CAFile: filepath.Join(t.TempDir(), "none")},
	} {
		c, err := fabric.OpenControl(t.Context(), fabric.ControlConfig{DataDir: t.TempDir(), Listen: "127.0.0.1:0", Bus: b})
		if err == nil {
			c.Close()
		}
		if e, ok := errors.AsType[*entropy.Error](err); !ok || e.Code != entropy.CodeInvalid {
			t.Errorf("%+v: %v", b, err)
		}
	}
}

// proves H-4: an external bus that is not there holds up nothing.
func TestControlPlaneWithoutItsBus(t *testing.T) {
	c, _ := runBusControl(t, fabric.ControlConfig{DataDir: t.TempDir(), Bus: fabric.BusConfig{URL: "nats://127.0.0.1:1"}})
	submitTo(t, c, 10)
	eventually(t, 20*time.Second, func() bool { s := c.Outbox()[0]; return s.Lag >= 10 && s.Problem != "" },
		func() string { s := c.Outbox()[0]; return fmt.Sprintf("the outbox says %+v", s) })
	if err := c.Bus().Health(t.Context()); entropy.ErrorCode(err) != entropy.CodeUnavailable {
		t.Errorf("the bus says %v", err)
	}
	off, _ := runBusControl(t, fabric.ControlConfig{DataDir: t.TempDir(), Bus: fabric.BusConfig{Off: true}})
	submitTo(t, off, 10)
	if len(off.Outbox()) != 1 || off.Bus() != nil {
		t.Error("there is a bus")
	}
}
