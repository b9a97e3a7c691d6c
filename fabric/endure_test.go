package fabric_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// What takes minutes; `make soak` gives it more of them.
var (
	loaded = flag.Duration("loaded", time.Minute, "how long TestNoFalseLoss keeps every processor busy")
	cutFor = flag.Duration("cut", 0, "how long the cuts of TestLongCuts last; 0 leaves them out, `make soak` has minutes of them")
)

// proves L-4: nobody is lost for being slow. Every processor is busy twice over,
// for a minute, and by the quickest profile no worker is ever LOST: each runs its
// one job throughout.
func TestNoFalseLoss(t *testing.T) {
	t.Setenv("PROFILE", *profile)
	l := newLab(t, 15*time.Second)
	var workers []*labWorker
	for i := range 3 {
		workers = append(workers, l.worker(fmt.Sprintf("w%d", i), 1))
	}
	var jobs []entropy.JobID
	for _, w := range workers {
		eventually(t, 30*time.Second, func() bool { return l.member(w.name, entropy.MemberAlive) }, func() string { return w.name + " is no member" })
		id := l.submit(l.client(), entropy.JobSpec{Command: []string{"sleep", "3600"}, Require: map[string]string{"host": w.name}})
		l.untilState(l.client(), id, entropy.Running)
		jobs = append(jobs, id)
	}
	start := l.newest()
	burning, _ := l.start("burn")
	flaps, end := 0, time.NewTimer(*loaded)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for busy := true; busy; {
		select {
		case <-end.C:
			busy = false
		case <-tick.C:
			for _, w := range workers {
				if l.member(w.name, entropy.MemberFailed) {
					flaps++
				}
			}
		}
	}
	burning.kill()
	page, err := l.client().Events(context.Background(), entropy.EventFilter{After: start, Type: string(entropy.WorkerWentLost)})
	if err != nil || len(page.Events) > 0 {
		t.Errorf("%d workers were lost: %+v %v", len(page.Events), page.Events, err)
	}
	for _, id := range jobs {
		if j, err := l.client().Job(context.Background(), id); err != nil || j.State != entropy.Running || j.Attempt != 1 {
			t.Errorf("job %+v, %v", j, err)
		}
	}
	t.Logf("%s of full load by profile %s: nobody lost; gossip itself called one failed at %d of %d looks", *loaded, *profile, flaps,
		3*int(*loaded/(200*time.Millisecond)))
}

// newest returns where the journal ends.
func (l *lab) newest() entropy.Position {
	l.t.Helper()
	page, err := l.client().Events(context.Background(), entropy.EventFilter{Latest: true})
	if err != nil {
		l.t.Fatal(err)
	}
	return page.Next
}

// proves C-4, C-2, H-1: cuts of minutes, all at once: a host with its cable pulled,
// one that is heard but does not hear, one whose cable has a loose contact. Who is
// cut off is lost; afterwards all are members again by themselves, and every job
// has succeeded: by the result that waited in the spool or, where the worker was
// given its lost job anew before it had delivered that, by a second attempt.
func TestLongCuts(t *testing.T) {
	if *cutFor == 0 {
		t.Skip("cuts of minutes are for make soak; TestSeveralHosts has those of seconds")
	}
	t.Setenv("PROFILE", *profile)
	h := newHosts(t)
	h.host("ctl", "br0 10.77.0.1/24")
	h.control()
	names := []string{"w1", "w2", "w3"}
	jobs := map[string]entropy.JobID{}
	for i, name := range names {
		h.host(name, fmt.Sprintf("br0 10.77.0.1%d/24", i))
		h.workerOn(name)
	}
	for _, name := range names {
		h.await(30*time.Second, name+" is not there", func() bool { return h.seen(name) })
		jobs[name] = h.submit(h.client(), entropy.JobSpec{Command: []string{"sleep", fmt.Sprintf("%.0f", cutFor.Seconds()/2)},
			Require: map[string]string{"host": name}})
		h.await(30*time.Second, "the job does not run", func() bool { return h.job(jobs[name]).State == entropy.Running })
	}
	var cuts sync.WaitGroup
	over := make(chan struct{})
	cuts.Go(func() { h.loose("w3", over) })
	h.plug("w1", "down")
	h.deaf("w2", true)
	for _, name := range names[:2] {
		took := h.await(40*time.Second, name+" is not lost", func() bool { return h.state(name) == entropy.WorkerLost })
		t.Logf("%s: LOST after %s", name, took)
	}
	<-time.After(*cutFor) // the time of the cut
	close(over)
	cuts.Wait()
	h.plug("w1", "up")
	h.deaf("w2", false)
	for _, name := range names {
		back := h.await(time.Minute, name+" is not back", func() bool { return h.seen(name) })
		result := h.await(time.Minute, "its result did not arrive", func() bool { return h.job(jobs[name]).State == entropy.Succeeded })
		t.Logf("%s: member again after %s, its result there %s later, of attempt %d", name, back, result, h.job(jobs[name]).Attempt)
	}
}

// deaf drops, or no longer, what arrives at a host. What it sends goes out.
func (h *hosts) deaf(name string, off bool) {
	h.t.Helper()
	if !off {
		if out, err := exec.Command("ip", "netns", "exec", h.ns(name), "nft", "delete", "table", "inet", "cut").CombinedOutput(); err != nil {
			h.t.Fatalf("nft: %s", out)
		}
		return
	}
	h.nft(name, `iifname "eth0" drop`)
}

// loose pulls and plugs a host's cable at random, until told.
func (h *hosts) loose(name string, over <-chan struct{}) {
	defer h.plug(name, "up")
	for how := "down"; ; {
		h.plug(name, how)
		pause := time.NewTimer(100*time.Millisecond + rand.N(4*time.Second))
		select {
		case <-over:
			pause.Stop()
			return
		case <-pause.C:
		}
		if how == "down" {
			how = "up"
		} else {
			how = "down"
		}
	}
}
