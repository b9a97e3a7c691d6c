package main

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

const policyLong = `How the fabric chooses among its jobs: gates that keep slots for urgent jobs,
how fast a waiting job gains on more urgent ones, when a worker is reserved for
a large one, and who may end whom. Queues and tenants have commands of their own.`

func (a *app) policyCommand() *cobra.Command {
	group := a.group(&cobra.Command{Use: "policy", Short: "See and change how jobs are chosen", Long: policyLong})
	show := &cobra.Command{Use: "show", Short: "Show the policy", Args: argument(0, 0, "")}
	group.AddCommand(a.command(show, func(ctx context.Context, _ []string) error {
		service, err := a.connect()
		if err != nil {
			return err
		}
		p, err := service.Policy(ctx)
		if err != nil {
			return err
		}
		return a.one(p, func() error { return policyTable(&p).write(a.stdout) })
	}))
	group.AddCommand(a.policySetCommand())
	group.AddCommand(a.policyCommandCommand())
	return group
}

func policyTable(p *entropy.Policy) *table {
	t := new(table)
	t.row("SETTING", "VALUE")
	t.row("aging step", p.AgingStepOrDefault().String())
	t.row("reserve after", p.ReserveAfterOrDefault().String())
	preempt := "off"
	if p.PreemptPriority != nil {
		preempt = "for priority " + itoa(*p.PreemptPriority) + " and more"
	}
	t.row("preempt", preempt)
	t.row("retries at once", limit(p.MaxRetrying))
	for _, g := range p.Gates {
		t.row("gate", itoa(g.Slots)+" slots for priority "+itoa(g.Priority)+" and more")
	}
	for _, name := range slices.Sorted(maps.Keys(p.Tenants)) {
		t.row("tenant "+name, "weight "+weight(p.Tenants[name].Weight))
	}
	for _, name := range slices.Sorted(maps.Keys(p.Queues)) {
		t.row("queue "+name, queueWords(p.Queues[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(p.Commands)) {
		t.row("command "+name, commandWords(p.Commands[name]))
	}
	return t
}

func weight(w float64) string { return strconv.FormatFloat(w, 'g', -1, 64) }

func limit(n int) string {
	if n == 0 {
		return "no limit"
	}
	return itoa(n)
}

func queueWords(q entropy.QueuePolicy) string {
	var words []string
	if q.Paused {
		words = append(words, "paused"+inBrackets(q.Reason))
	}
	if q.MaxRunning > 0 {
		words = append(words, "runs at most "+itoa(q.MaxRunning))
	}
	if q.MaxRetrying > 0 {
		words = append(words, "retries at most "+itoa(q.MaxRetrying))
	}
	if len(words) == 0 {
		return "no limit"
	}
	return strings.Join(words, ", ")
}

func inBrackets(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}

// policyTries bounds how often a change is made anew because somebody else was
// faster.
const policyTries = 5

// changePolicy reads the policy, has edit change it, and puts it back.
func (a *app) changePolicy(ctx context.Context, reason string, edit func(*entropy.Policy) error) (entropy.Policy, error) {
	var none entropy.Policy
	service, err := a.connect()
	if err != nil {
		return none, err
	}
	for try := 1; ; try++ {
		p, err := service.Policy(ctx)
		if err != nil {
			return none, err
		}
		if err := edit(&p); err != nil {
			return none, err
		}
		var now entropy.Policy
		op := entropy.Operation{ID: entropy.NewID(), Reason: reason}
		sending := &patience{a: a, limit: sendPatience}
		err = sending.do(ctx, func() (err error) {
			now, err = service.SetPolicy(ctx, p, op)
			return err
		})
		if entropy.ErrorCode(err) != entropy.CodeConflict || try == policyTries {
			return now, err
		}
	}
}

// policyFlags are the flags of policy set; what is not given stays as it is.
type policyFlags struct {
	aging, reserve time.Duration
	preempt        string
	retrying       int
	gates          []string
	reason         string
}

func (a *app) policySetCommand() *cobra.Command {
	var f policyFlags
	c := &cobra.Command{Use: "set", Short: "Change settings of the policy; the others stay", Args: argument(0, 0, ""),
		Example: `  entropy policy set --gate 4@50 --preempt-priority 80
  entropy policy set --gate none --max-retrying 20`}
	s := c.Flags()
	s.DurationVar(&f.aging, "aging-step", 0, "the `WAIT` that makes up for one step of priority")
	s.DurationVar(&f.reserve, "reserve-after", 0, "how long the first job waits before a worker is reserved for it (`WAIT`)")
	s.StringVar(&f.preempt, "preempt-priority", "", "jobs of `PRIORITY` and more may end preemptible ones; off: nobody may")
	s.IntVar(&f.retrying, "max-retrying", 0, "how many retried jobs are queued or running at once (`N`; 0: no limit)")
	s.StringArrayVar(&f.gates, "gate", nil, "keep `SLOTS@PRIORITY` for urgent jobs; replaces all gates; none: no gates (repeatable)")
	s.StringVar(&f.reason, "reason", "", "why, for people; recorded with the event")
	return a.command(c, func(ctx context.Context, _ []string) error {
		if s.NFlag() == 0 {
			return usagef("there is nothing to change").WithHint("name a setting, as in entropy policy set --max-retrying 20")
		}
		p, err := a.changePolicy(ctx, f.reason, func(p *entropy.Policy) error { return f.edit(p, s.Changed) })
		if err != nil {
			return err
		}
		return a.one(p, func() error { return policyTable(&p).write(a.stdout) })
	})
}

func (f *policyFlags) edit(p *entropy.Policy, given func(flag string) bool) error {
	if given("aging-step") {
		p.AgingStep = entropy.Duration(f.aging)
	}
	if given("reserve-after") {
		p.ReserveAfter = entropy.Duration(f.reserve)
	}
	if given("max-retrying") {
		p.MaxRetrying = f.retrying
	}
	if given("preempt-priority") {
		p.PreemptPriority = nil
		if f.preempt != "off" {
			n, err := strconv.Atoi(f.preempt)
			if err != nil {
				return usagef("--preempt-priority is %q", f.preempt).WithHint("it is a priority such as 80, or off")
			}
			p.PreemptPriority = &n
		}
	}
	if !given("gate") {
		return nil
	}
	p.Gates = nil
	for _, text := range f.gates {
		if text == "none" && len(f.gates) == 1 {
			return nil
		}
		slots, priority, _ := strings.Cut(text, "@")
		n, err := strconv.Atoi(slots)
		at, err2 := strconv.Atoi(priority)
		if err != nil || err2 != nil {
			return usagef("--gate is %q", text).WithHint("write SLOTS@PRIORITY, as in 4@50")
		}
		p.Gates = append(p.Gates, entropy.Gate{Slots: n, Priority: at})
	}
	return nil
}
