package executor_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/executor"
	"github.com/entropy-fabric/entropy/cluster/executor/executortest"
)

// TestMain lets the test's own program be an executor that can be killed.
func TestMain(m *testing.M) {
	if name := os.Getenv("EXECUTOR_CHILD"); name != "" {
		os.Exit(child(name))
	}
	if os.Getenv("NATS_URL") != "" && os.Getenv("EXECUTOR_SPOOL") != "" {
		os.Exit(conforming())
	}
	os.Exit(m.Run())
}

// child is an executor whose effect is a line in a file: the attempt's ID. What it
// was asked to it does after that.
func child(name string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	fmt.Println("ready") // to be told to stop
	e := executor.New(executor.Config{Name: name, URL: os.Getenv("EXECUTOR_URL"), User: name, Password: executortest.Password(name),
		Spool: os.Getenv("EXECUTOR_SPOOL"), Resend: 20 * time.Millisecond, ResendMax: 200 * time.Millisecond})
	e.Handle("effect", func(ctx context.Context, t *executor.Task) (any, error) {
		f, err := os.OpenFile(os.Getenv("EXECUTOR_EFFECTS"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if _, err := fmt.Fprintln(f, t.Order.AttemptID); err != nil {
			return nil, err
		}
		var args struct {
			HangFirst bool `json:"hang_first"`
			MS        int  `json:"ms"`
		}
		if err := t.Args(&args); err != nil {
			return nil, err
		}
		if args.HangFirst && t.Order.Attempt == 1 {
			t.Progress(50, "the effect is there")
			<-ctx.Done()
			return nil, ctx.Err()
		}
		select {
		case <-time.After(time.Duration(args.MS) * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		return t.Order.AttemptID, nil
	})
	if err := e.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// process is an executor in a process of its own.
type process struct {
	t    *testing.T
	env  []string
	cmd  *exec.Cmd
	dir  string
	name string
}

func spawn(t *testing.T, c *executortest.Control, name, effects string) *process {
	p := &process{t: t, name: name, dir: filepath.Join(t.TempDir(), name)}
	p.env = append(os.Environ(), "EXECUTOR_CHILD="+name, "EXECUTOR_URL="+c.URL(), "EXECUTOR_SPOOL="+p.dir, "EXECUTOR_EFFECTS="+effects)
	p.start()
	t.Cleanup(func() { p.cmd.Process.Kill(); p.cmd.Wait() })
	return p
}

func (p *process) start() {
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env, p.cmd.Stderr = p.env, os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		p.t.Fatalf("%s said %q, %v", p.name, line, err)
	}
}

func (p *process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// stop ends the process as an operator would, and checks that nothing is left to
// be reported.
func (p *process) stop() {
	p.t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("%s: %v", p.name, err)
	}
	if left, err := executor.SpoolLeft(p.dir); left > 0 || err != nil {
		p.t.Errorf("%s leaves %d results in its spool, %v", p.name, left, err)
	}
}

func effectsOf(t *testing.T, file string) []string {
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(b))
}

// proves A-3 and H-6: an executor that is killed after its result was written and
// before the verdict reports it again after its restart; the handler has run once.
func TestKilledBeforeTheVerdict(t *testing.T) {
	reported := make(chan string, 100)
	var deaf atomic.Bool
	deaf.Store(true)
	conf := one("ops-1", "effect")
	conf.AckWait = time.Second // the server may not know yet that the process is gone, and give it the order once more
	conf.Verdict = func(ev *entropy.Event, _ entropy.ActionVerdict) []time.Duration {
		if ev.Type == entropy.ActionSucceededType {
			select {
			case reported <- ev.ID:
			default:
			}
			if deaf.Load() {
				return nil
			}
		}
		return executortest.Once()
	}
	c := executortest.Start(t, conf)
	effects := filepath.Join(t.TempDir(), "effects")
	p := spawn(t, c, "ops-1", effects)
	id := c.Issue(order("effect", `{}`), 5)
	first := <-reported
	p.kill()
	deaf.Store(false)
	for len(reported) > 0 {
		<-reported
	}
	c.Redeliver(id) // and as if the ACK of the order had been lost as well
	p.start()
	if again := <-reported; again != first {
		t.Errorf("it reported %s after %s", again, first)
	}
	c.UntilSettled("effect")
	p.stop()
	a := c.Action(id)
	if got := effectsOf(t, effects); len(got) != 1 || len(a.Attempts) != 1 || a.State != entropy.ActionSucceeded {
		t.Errorf("effects %v in %d attempts, %s", got, len(a.Attempts), a.State)
	}
}

// proves A-3: an executor that is killed between the effect and its spool reports
// that the attempt is lost, and does not run it again; the next attempt does.
func TestKilledInTheHandler(t *testing.T) {
	c := executortest.Start(t, one("ops-1", "effect"))
	effects := filepath.Join(t.TempDir(), "effects")
	p := spawn(t, c, "ops-1", effects)
	o := order("effect", `{"hang_first":true}`)
	o.HeartbeatMS = 60
	id := c.Issue(o, 2)
	c.Until(id, "in its handler", func(a executortest.Action) bool {
		return slices.ContainsFunc(a.Attempts[0].Progress, func(r entropy.ActionReport) bool { return r.Message != "" })
	})
	p.kill()
	p.start()
	a := c.Done(id)
	got := effectsOf(t, effects)
	if len(got) != 2 || got[0] != string(a.Attempts[0].ID) || got[1] != string(a.Attempts[1].ID) || a.State != entropy.ActionSucceeded {
		t.Errorf("effects %v, %s", got, a.State)
	}
	p.stop()
}

// proves A-3 and H-6: with verdicts that are lost, repeated and late, and executors
// that are killed at any time, each action ends once and each attempt was begun at
// most once.
func TestChaos(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(seed, 1))
	draw := func(n int) int { mu.Lock(); defer mu.Unlock(); return rng.IntN(n) }

	const executors, actions = 3, 120
	conf := executortest.Config{Executors: map[string][]string{}, StartWithin: 2 * time.Second, AckWait: time.Second}
	for i := range executors {
		conf.Executors[fmt.Sprintf("ops-%d", i)] = []string{"effect"}
	}
	conf.Verdict = func(*entropy.Event, entropy.ActionVerdict) []time.Duration {
		switch draw(10) {
		case 0, 1, 2:
			return nil
		case 3, 4:
			return []time.Duration{0, time.Duration(draw(300)) * time.Millisecond, 0}
		case 5:
			return []time.Duration{time.Duration(draw(300)) * time.Millisecond}
		}
		return executortest.Once()
	}
	c := executortest.Start(t, conf)
	effects := filepath.Join(t.TempDir(), "effects")
	var ps []*process
	for i := range executors {
		ps = append(ps, spawn(t, c, fmt.Sprintf("ops-%d", i), effects))
	}
	var ids []entropy.ActionID
	for range actions {
		ids = append(ids, c.Issue(order("effect", fmt.Sprintf(`{"ms":%d}`, draw(20))), 100))
	}
	kills := 0
	for i, id := range ids {
		c.Done(id)
		if i%10 == 9 {
			p := ps[draw(executors)]
			p.kill()
			p.start()
			kills++
		}
	}
	for _, p := range ps {
		p.stop()
	}
	seen := map[string]bool{}
	attempts := 0
	for _, a := range effectsOf(t, effects) {
		if seen[a] {
			t.Errorf("attempt %s was carried out twice", a)
		}
		seen[a] = true
	}
	for _, id := range ids {
		a := c.Action(id)
		attempts += len(a.Attempts)
		if a.State != entropy.ActionSucceeded || a.Ends != 1 {
			t.Errorf("%s is %s and ended %d times", id, a.State, a.Ends)
		}
	}
	t.Logf("%d actions, %d attempts, %d effects, %d kills", actions, attempts, len(seen), kills)
}
