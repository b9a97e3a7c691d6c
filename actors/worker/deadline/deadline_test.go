package deadline

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/boottime"
)

// proves L-2: under a contract KILL always falls before the end of trust,
// whatever the renewals, the stops and the grace; and each action is due once.
func TestContractKillFallsBeforeTrustEnds(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		ttl := time.Duration(2+rng.IntN(30)) * time.Second
		now := time.Duration(1 + rng.Int64N(int64(time.Hour)))
		l := Limits{Trust: Trust(now, ttl), Contract: true, Grace: time.Duration(rng.Int64N(int64(ttl/3))) + 1}
		var terms, kills int
		for kills == 0 {
			at, act, _ := l.Next()
			if act == None {
				t.Fatal("nothing is due for a contract run that was never killed")
			}
			switch rng.IntN(3) {
			case 0:
				if terms == 0 && now < at {
					l.Trust = Trust(now, ttl)
					now += ttl / 7
					continue
				}
			case 1:
				if l.Stop(now, entropy.ReasonCancel) {
					terms++
				}
				continue
			}
			now = max(now, at)
			switch act, _ := l.Due(now); act {
			case Term:
				terms++
			case Kill:
				kills++
			}
		}
		if now >= l.Trust || terms != 1 {
			t.Fatalf("killed at %s, trust ends at %s, %d TERMs", now, l.Trust, terms)
		}
		if act, _ := l.Due(now + time.Hour); act != None {
			t.Fatalf("action %d after the kill", act)
		}
	}
}

// proves L-2: the margin is at least 1 s + 1 % of the TTL, from the send time.
func TestTrustKeepsTheMargin(t *testing.T) {
	for _, ttl := range []time.Duration{2 * time.Second, 15 * time.Second, time.Hour} {
		if got := time.Minute + ttl - Trust(time.Minute, ttl); got < time.Second+ttl/100 {
			t.Errorf("ttl %s: margin %s", ttl, got)
		}
	}
}

type fakeTarget struct{ calls chan string }

func (f *fakeTarget) Term(r entropy.Reason) { f.calls <- "term:" + string(r) }

func (f *fakeTarget) Kill() { f.calls <- "kill" }

func expect(t *testing.T, ch <-chan string, want string) {
	t.Helper()
	select {
	case got := <-ch:
		if got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("no %s", want)
	}
}

// proves J-12: a timeout sends TERM, then KILL after the grace.
func TestWatchTimesOut(t *testing.T) {
	w, err := NewWatch()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	f := &fakeTarget{calls: make(chan string, 4)}
	w.Add("a", Limits{Timeout: boottime.Now() + 20*time.Millisecond, Grace: 20 * time.Millisecond}, f)
	expect(t, f.calls, "term:timeout")
	expect(t, f.calls, "kill")
}

// proves L-6 (a wedged executor): Check answers while the loop turns and fails
// when it does not.
func TestCheckNoticesAStuckLoop(t *testing.T) {
	w, err := NewWatch()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	f := &fakeTarget{calls: make(chan string)} // nobody reads: Term blocks the loop
	w.Add("a", Limits{Timeout: 1, Grace: time.Hour}, f)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	for w.Check(ctx) == nil { // the turn that began before the loop was stuck may still count
	}
	<-f.calls
	if err := w.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// proves L-2: an answer that comes when trust has run out, as after a suspension,
// does not revive it under the contract.
func TestTrustThatRanOutIsNotRenewed(t *testing.T) {
	for _, c := range []struct {
		contract   bool
		now, trust time.Duration
		want       time.Duration
	}{
		{true, 9 * time.Second, 20 * time.Second, 20 * time.Second},
		{true, 9 * time.Second, 5 * time.Second, 10 * time.Second},
		{true, 10 * time.Second, 20 * time.Second, 10 * time.Second},
		{false, 11 * time.Second, 20 * time.Second, 20 * time.Second},
	} {
		l := Limits{Trust: 10 * time.Second, Contract: c.contract}
		if l.Renew(c.now, c.trust); l.Trust != c.want {
			t.Errorf("%+v: trust until %s", c, l.Trust)
		}
	}
}
