package es_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/es"
)

type counter struct {
	born  *atomic.Int64
	n     int
	busy  bool
	again bool
}

func (a *counter) Receive(c *es.Context) {
	switch m := c.Message().(type) {
	case es.Started:
		a.born.Add(1)
		a.again = m.Again
	case string:
		switch m {
		case "panic":
			panic("told to")
		case "busy":
			a.busy = true
		case "free":
			a.busy = false
		case "again":
			c.Reply(a.again, nil)
			return
		}
		c.Reply(a.n, nil)
	case int:
		a.n += m
		c.Reply(a.n, nil)
	}
}

func (a *counter) Idle() (idle, now bool) { return !a.busy, false }

func inSystem(t *testing.T, cfg es.ShardsConfig, f func(sh *es.Shards, born *atomic.Int64)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var born atomic.Int64
		sys := es.New(es.Config{})
		cfg.Kind, cfg.Count = "counter", 4
		cfg.New = func(string) es.Actor { return &counter{born: &born} }
		sh, err := es.SpawnShards(sys, cfg)
		if err != nil {
			t.Fatal(err)
		}
		f(sh, &born)
		sys.Close()
		sh.Stop(sys)
		<-time.After(time.Minute)
	})
}

func ask(t *testing.T, sh *es.Shards, id string, msg any) any {
	t.Helper()
	v, err := sh.Ask(context.Background(), id, msg).Await(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// An entity has one actor at a time, and no message is lost when it comes and goes.
func TestNoMessageLostAcrossPassivation(t *testing.T) {
	inSystem(t, es.ShardsConfig{IdleAfter: time.Millisecond, MaxResident: 1}, func(sh *es.Shards, born *atomic.Int64) {
		var wg sync.WaitGroup
		var answered atomic.Int64
		for w := range 8 {
			wg.Go(func() {
				for i := range 500 {
					if _, err := sh.Ask(context.Background(), fmt.Sprint((w+i)%16), 1).Await(context.Background()); err == nil {
						answered.Add(1)
					}
					if i%50 == 0 {
						<-time.After(3 * time.Millisecond)
					}
				}
			})
		}
		wg.Wait()
		if answered.Load() != 4000 {
			t.Errorf("%d of 4000 messages were answered", answered.Load())
		}
		if born.Load() <= 16 {
			t.Errorf("entities never left: %d were born", born.Load())
		}
	})
}

// An idle entity leaves; one with something to do stays.
func TestPassivation(t *testing.T) {
	inSystem(t, es.ShardsConfig{IdleAfter: 2 * time.Second}, func(sh *es.Shards, born *atomic.Int64) {
		ask(t, sh, "a", 5)
		ask(t, sh, "b", "busy")
		<-time.After(10 * time.Second)
		if sh.Resident() != 1 {
			t.Fatalf("%d resident, want 1", sh.Resident())
		}
		ask(t, sh, "b", "free")
		<-time.After(10 * time.Second)
		if sh.Resident() != 0 {
			t.Errorf("%d resident, want 0", sh.Resident())
		}
		if got := ask(t, sh, "a", 1); got != 1 || born.Load() != 3 {
			t.Errorf("reborn with %v, %d born", got, born.Load())
		}
	})
}

// A crash answers the one who waits, and the next message finds a new actor that
// knows that it was made anew.
func TestCrash(t *testing.T) {
	inSystem(t, es.ShardsConfig{}, func(sh *es.Shards, _ *atomic.Int64) {
		ask(t, sh, "a", 5)
		_, err := sh.Ask(context.Background(), "a", "panic").Await(context.Background())
		if entropy.ErrorCode(err) != entropy.CodeUnknown {
			t.Errorf("crash answered %v", err)
		}
		if got := ask(t, sh, "a", "again"); got != true {
			t.Errorf("Started.Again is %v", got)
		}
		if got := ask(t, sh, "a", 1); got != 1 {
			t.Errorf("state survived the crash: %v", got)
		}
	})
}

// An actor that crashes over and over is given up, and the entity lives again
// with the next message.
func TestGivenUp(t *testing.T) {
	inSystem(t, es.ShardsConfig{}, func(sh *es.Shards, _ *atomic.Int64) {
		for range 15 {
			sh.Tell("a", "panic")
		}
		synctest.Wait()
		if got := ask(t, sh, "a", 1); got != 1 {
			t.Errorf("got %v", got)
		}
	})
}

// An entity that was given up starts again by itself: it may have had timers.
func TestGivenUpStartsAgain(t *testing.T) {
	inSystem(t, es.ShardsConfig{IdleAfter: time.Hour}, func(sh *es.Shards, born *atomic.Int64) {
		for range 15 {
			sh.Tell("a", "panic")
		}
		synctest.Wait()
		before := born.Load()
		<-time.After(30 * time.Second)
		if born.Load() == before {
			t.Error("nobody started it")
		}
		if got := ask(t, sh, "a", "again"); got != true {
			t.Errorf("Started.Again is %v", got)
		}
	})
}

// Await ends with its context, and with the system.
func TestAwaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := es.New(es.Config{})
		silent, err := sys.Spawn("silent", func() es.Actor { return mute{} })
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := silent.Ask(ctx, 1).Await(ctx); entropy.ErrorCode(err) != entropy.CodeUnknown {
			t.Errorf("timeout: %v", err)
		}
		time.AfterFunc(time.Second, sys.Close)
		if _, err := silent.Ask(context.Background(), 1).Await(context.Background()); entropy.ErrorCode(err) != entropy.CodeUnknown {
			t.Errorf("closed: %v", err)
		}
		sys.Stop(silent)
		<-time.After(time.Minute)
	})
}

type mute struct{}

func (mute) Receive(*es.Context) {}
