package main

import (
	"context"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

const queueLong = `Pause and limit queues. A queue exists as soon as a job names it; one that is
not listed here has no limits. Pausing keeps queued jobs from starting and leaves
those that run alone.`

func (a *app) queueCommand() *cobra.Command {
	group := a.group(&cobra.Command{Use: "queue", Short: "Pause and limit queues", Long: queueLong})
	ls := &cobra.Command{Use: "ls", Short: "List the queues that are paused or limited", Args: argument(0, 0, "")}
	group.AddCommand(a.command(ls, func(ctx context.Context, _ []string) error {
		service, err := a.connect()
		if err != nil {
			return err
		}
		p, err := service.Policy(ctx)
		if err != nil {
			return err
		}
		return list(a, queuesOf(&p), queueTable)
	}))
	group.AddCommand(
		a.queueChange("pause NAME", "Keep a queue's jobs from starting", func(q *entropy.QueuePolicy, reason string) { q.Paused, q.Reason = true, reason }),
		a.queueChange("resume NAME", "Let a paused queue's jobs start again", func(q *entropy.QueuePolicy, _ string) { q.Paused, q.Reason = false, "" }),
		a.queueSetCommand())
	return group
}

// namedQueue is a queue as a listing shows it.
type namedQueue struct {
	Name string `json:"name"`
	entropy.QueuePolicy
}

func queuesOf(p *entropy.Policy) []namedQueue {
	var queues []namedQueue
	for _, name := range slices.Sorted(maps.Keys(p.Queues)) {
		queues = append(queues, namedQueue{name, p.Queues[name]})
	}
	return queues
}

func queueTable(queues []namedQueue) *table {
	t := new(table)
	t.row("QUEUE", "STATE", "MAX RUNNING", "MAX RETRYING")
	for _, q := range queues {
		state := "open"
		if q.Paused {
			state = "paused" + inBrackets(q.Reason)
		}
		t.row(q.Name, state, limit(q.MaxRunning), limit(q.MaxRetrying))
	}
	return t
}

func (a *app) queueChange(use, short string, change func(q *entropy.QueuePolicy, reason string)) *cobra.Command {
	var reason string
	c := &cobra.Command{Use: use, Short: short, Args: argument(1, 1, "a queue's name")}
	c.Flags().StringVar(&reason, "reason", "", "why, for people; shown with the queue")
	return a.command(c, func(ctx context.Context, args []string) error {
		return a.changeQueue(ctx, args[0], reason, func(q *entropy.QueuePolicy) { change(q, reason) })
	})
}

func (a *app) queueSetCommand() *cobra.Command {
	var running, retrying int
	c := &cobra.Command{Use: "set NAME", Short: "Limit a queue; what is not given stays", Args: argument(1, 1, "a queue's name"),
		Example: "  entropy queue set gpu --max-running 8"}
	s := c.Flags()
	s.IntVar(&running, "max-running", 0, "how many of its jobs run at once (`N`; 0: no limit)")
	s.IntVar(&retrying, "max-retrying", 0, "how many of its retried jobs are queued or running at once (`N`; 0: no limit)")
	return a.command(c, func(ctx context.Context, args []string) error {
		if s.NFlag() == 0 {
			return usagef("there is nothing to change").WithHint("give --max-running or --max-retrying")
		}
		return a.changeQueue(ctx, args[0], "", func(q *entropy.QueuePolicy) {
			if s.Changed("max-running") {
				q.MaxRunning = running
			}
			if s.Changed("max-retrying") {
				q.MaxRetrying = retrying
			}
		})
	})
}

// changeQueue changes one queue's policy and shows it. A queue without any limit
// is left out of the policy.
func (a *app) changeQueue(ctx context.Context, name, reason string, change func(*entropy.QueuePolicy)) error {
	if err := entropy.ValidateID("queue", name); err != nil {
		return err
	}
	p, err := a.changePolicy(ctx, reason, func(p *entropy.Policy) error {
		q := p.Queues[name]
		change(&q)
		p.Queues = maps.Clone(p.Queues)
		if p.Queues == nil {
			p.Queues = make(map[string]entropy.QueuePolicy)
		}
		if p.Queues[name] = q; q == (entropy.QueuePolicy{}) {
			delete(p.Queues, name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	q := namedQueue{name, p.Queues[name]}
	return a.one(q, func() error { return a.printf("%s  %s\n", name, queueWords(q.QueuePolicy)) })
}

func (a *app) tenantCommand() *cobra.Command {
	group := a.group(&cobra.Command{Use: "tenant", Short: "Set what part of the fleet a tenant gets",
		Long: "Tenants that have jobs waiting share the fleet by weight. One that is not named\nhas weight 1."})
	var w float64
	c := &cobra.Command{Use: "set NAME --weight W", Short: "Set a tenant's weight", Args: argument(1, 1, "a tenant's name"),
		Example: "  entropy tenant set physics --weight 3"}
	c.Flags().Float64Var(&w, "weight", 1, "its part relative to the others' (`W`, more than 0)")
	group.AddCommand(a.command(c, func(ctx context.Context, args []string) error {
		p, err := a.changePolicy(ctx, "", func(p *entropy.Policy) error {
			p.Tenants = maps.Clone(p.Tenants)
			if p.Tenants == nil {
				p.Tenants = make(map[string]entropy.TenantPolicy)
			}
			p.Tenants[args[0]] = entropy.TenantPolicy{Weight: w}
			return nil
		})
		if err != nil {
			return err
		}
		return a.one(p.Tenants[args[0]], func() error { return a.printf("%s  weight %s\n", args[0], weight(p.Weight(args[0]))) })
	}))
	return group
}
