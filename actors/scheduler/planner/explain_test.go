package planner

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

var update = flag.Bool("update", false, "rewrite golden files")

// situation is a fleet and a job in it whose wait is to be explained.
type situation struct {
	name string
	set  func(l *lab) // makes it so that job "j" waits
}

var situations = []situation{
	{"nobody has joined", func(l *lab) { l.submit("j", time.Hour, entropy.JobSpec{}) }},
	{"no such handler", func(l *lab) {
		l.worker("w1", 1, nil)
		l.submit("j", time.Hour, entropy.JobSpec{Handler: "resize"})
	}},
	{"no container runtime", func(l *lab) {
		l.worker("w1", 1, nil)
		l.submit("j", time.Hour, entropy.JobSpec{Image: "docker.io/library/python:3.13", Command: []string{"true"}})
	}},
	{"no such label", func(l *lab) {
		l.worker("w1", 1, nil)
		l.submit("j", time.Hour, entropy.JobSpec{Require: map[string]string{"host": "w9", "gpu": "h100"}})
	}},
	{"not all labels on one worker", func(l *lab) {
		a, b := l.worker("w1", 1, nil), l.worker("w2", 1, nil)
		a.Labels["gpu"], b.Labels["disk"] = "h100", "fast"
		l.submit("j", time.Hour, entropy.JobSpec{Require: map[string]string{"gpu": "h100", "disk": "fast"}})
	}},
	{"more GPUs than any worker has", func(l *lab) {
		l.worker("w1", 1, gpus(2))
		l.worker("w2", 1, gpus(4))
		l.submit("j", time.Hour, entropy.JobSpec{Resources: gpus(8)})
	}},
	{"a resource that nobody has", func(l *lab) {
		l.worker("w1", 1, gpus(2))
		l.submit("j", time.Hour, entropy.JobSpec{Resources: entropy.Resources{"license": entropy.Unit}})
	}},
	{"no alternative", func(l *lab) {
		l.worker("w1", 1, gpus(2))
		l.submit("j", time.Hour, entropy.JobSpec{AnyOf: []entropy.Need{{Require: map[string]string{"gpu": "h100"}}, {Resources: gpus(4)}}})
	}},
	{"refused by all", func(l *lab) {
		l.worker("w1", 1, nil)
		l.worker("w2", 1, nil)
		l.submit("j", time.Hour, entropy.JobSpec{})
		l.change("j", func(j *entropy.Job) { j.Excluded = []entropy.WorkerID{"w1", "w2"} })
	}},
	{"none takes work", func(l *lab) {
		for i, edit := range []func(*entropy.Worker){func(w *entropy.Worker) { w.State = entropy.WorkerLost }, func(w *entropy.Worker) { w.Quarantined = true },
			func(w *entropy.Worker) { w.Draining = true }, func(w *entropy.Worker) { w.State = entropy.WorkerLeft }} {
			w := *l.worker(fmt.Sprint("w", i), 1, nil)
			edit(&w)
			l.p.SetWorker(&w)
		}
		l.submit("j", time.Hour, entropy.JobSpec{})
	}},
	{"queue paused", func(l *lab) {
		l.worker("w1", 1, nil)
		l.p.SetPolicy(&entropy.Policy{Queues: map[string]entropy.QueuePolicy{"gpu": {Paused: true, Reason: "moving house"}}}, l.now)
		l.submit("j", time.Hour, entropy.JobSpec{Queue: "gpu"})
	}},
	{"queue full", func(l *lab) {
		l.worker("w1", 4, nil)
		l.p.SetPolicy(&entropy.Policy{Queues: map[string]entropy.QueuePolicy{"gpu": {MaxRunning: 1}}}, l.now)
		l.submit("a", time.Hour, entropy.JobSpec{Queue: "gpu"})
		l.claim("w1", 1)
		l.submit("j", time.Hour, entropy.JobSpec{Queue: "gpu"})
	}},
	{"gate", func(l *lab) {
		l.worker("w1", 4, nil)
		l.p.SetPolicy(&entropy.Policy{Gates: []entropy.Gate{{Slots: 3, Priority: 50}}}, l.now)
		l.submit("a", time.Hour, entropy.JobSpec{})
		l.claim("w1", 1)
		l.submit("j", time.Hour, entropy.JobSpec{Priority: 10})
	}},
	{"key held", func(l *lab) {
		l.worker("w1", 4, nil)
		l.submit("a", time.Hour, entropy.JobSpec{ConcurrencyKey: "db"})
		l.claim("w1", 1)
		l.submit("j", time.Hour, entropy.JobSpec{ConcurrencyKey: "db"})
	}},
	{"key: another first", func(l *lab) {
		l.worker("w1", 4, nil)
		l.submit("a", time.Hour, entropy.JobSpec{ConcurrencyKey: "db", Priority: 5})
		l.submit("j", time.Hour, entropy.JobSpec{ConcurrencyKey: "db", Priority: 5})
	}},
	{"all slots taken", func(l *lab) {
		l.worker("w1", 1, nil)
		l.submit("a", time.Hour, entropy.JobSpec{})
		l.claim("w1", 1)
		l.submit("j", time.Hour, entropy.JobSpec{})
	}},
	{"GPUs taken, with an end in sight", func(l *lab) {
		l.worker("w1", 4, gpus(2))
		l.submit("a", time.Hour, entropy.JobSpec{Resources: gpus(2), RunTimeout: entropy.Duration(time.Hour)})
		l.claim("w1", 1)
		l.submit("j", time.Hour, entropy.JobSpec{Resources: gpus(1)})
	}},
	{"a worker is reserved for it", func(l *lab) {
		l.worker("w1", 4, gpus(2))
		l.submit("a", time.Hour, entropy.JobSpec{Resources: gpus(1)})
		l.submit("b", time.Hour, entropy.JobSpec{Resources: gpus(1)})
		l.claim("w1", 2)
		l.submit("j", time.Hour, entropy.JobSpec{Resources: gpus(2)})
		l.run(l.now.Add(6 * time.Minute))
	}},
	{"room kept for another", func(l *lab) {
		l.worker("w1", 4, gpus(2))
		l.submit("a", time.Hour, entropy.JobSpec{Resources: gpus(1)})
		l.submit("b", 7*time.Minute, entropy.JobSpec{Resources: gpus(1)})
		l.claim("w1", 2)
		l.submit("large", time.Hour, entropy.JobSpec{Resources: gpus(2)})
		l.run(l.now.Add(8 * time.Minute))
		l.submit("j", time.Hour, entropy.JobSpec{Resources: gpus(1)})
	}},
	{"others go first", func(l *lab) {
		l.worker("w1", 4, nil)
		l.submit("a", time.Hour, entropy.JobSpec{Tenant: "b"})
		l.submit("b", time.Hour, entropy.JobSpec{Tenant: "b", Priority: 5})
		l.submit("j", time.Hour, entropy.JobSpec{Tenant: "b"})
	}},
	{"another tenant goes first", func(l *lab) {
		l.worker("w1", 4, nil)
		l.submit("a", time.Hour, entropy.JobSpec{Tenant: "greedy"})
		l.claim("w1", 1)
		l.now = l.now.Add(time.Hour)
		l.submit("x", time.Hour, entropy.JobSpec{Tenant: "modest"})
		l.submit("j", time.Hour, entropy.JobSpec{Tenant: "greedy"})
	}},
	{"nothing", func(l *lab) {
		l.worker("w1", 4, nil)
		l.submit("j", time.Hour, entropy.JobSpec{})
	}},
}

// proves J-9: what keeps a queued job from running, in words, with the command
// that would change it; and that nothing could ever run it, at once.
func TestExplain(t *testing.T) {
	var b strings.Builder
	codes := map[string]bool{}
	for _, s := range situations {
		l := newLab(t, entropy.Policy{})
		s.set(l)
		hurdles, never := l.p.Explain("j", l.now)
		fmt.Fprintf(&b, "%s:", s.name)
		if never {
			b.WriteString(" never")
		}
		b.WriteByte('\n')
		for _, h := range hurdles {
			codes[h.Code] = true
			fmt.Fprintf(&b, "  [%s] %s\n", h.Code, h.Text)
			if h.Fix != "" {
				fmt.Fprintf(&b, "    try: %s\n", h.Fix)
			}
		}
		if len(hurdles) == 0 {
			t.Errorf("%s: nothing is said", s.name)
		}
		if got := l.state("j"); got != entropy.Pending {
			t.Errorf("%s: it is %s", s.name, got)
		}
		if l.claimAll(); (l.state("j") != entropy.Pending) != (hurdles[0].Code == Unclaimed || hurdles[0].Code == Turn) {
			t.Errorf("%s: then it is %s", s.name, l.state("j"))
		}
	}
	if len(codes) != 16 {
		t.Errorf("%d codes of 16 are shown: %v", len(codes), codes)
	}
	const path = "testdata/explain.golden"
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != b.String() {
		t.Errorf("%s: if the change is meant: go test -run '^TestExplain$' -update . (%v)\n%s", path, err, b.String())
	}
}
