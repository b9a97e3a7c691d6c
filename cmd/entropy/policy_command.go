package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
)

const policyCommandLong = `Say how the actions of one command may be carried out; "*" stands for those that are
not named. What is not given stays as it is.

The mode is allow, ask (a human approves first, another than who asked), dry_run
(only dry runs) or deny. --rate is how many orders are issued in a second, --burst
how many at once. After --break-after failed attempts in a row, nothing is issued
for --break-for; then one order is, whose outcome decides.`

func (a *app) policyCommandCommand() *cobra.Command {
	var mode, reason string
	var rate float64
	var burst, breakAfter int
	var breakFor time.Duration
	var reset bool
	c := &cobra.Command{Use: "command NAME", Short: "Say how the actions of a command may be carried out", Long: policyCommandLong, Args: argument(1, 1, "a command, or *"),
		Example: `  entropy policy command deploy --mode ask
  entropy policy command restart_job --rate 0.5 --burst 3 --break-after 5
  entropy policy command deploy --reset`}
	s := c.Flags()
	s.StringVar(&mode, "mode", "", "allow, ask, dry_run or deny")
	s.Float64Var(&rate, "rate", 0, "orders in a second, 0 for no limit")
	s.IntVar(&burst, "burst", 0, "orders at once after a pause")
	s.IntVar(&breakAfter, "break-after", 0, "failed attempts in a row that break the circuit, 0 for none")
	s.DurationVar(&breakFor, "break-for", 0, "how long it stays broken (default 30s)")
	s.BoolVar(&reset, "reset", false, "forget what was said of this command")
	s.StringVar(&reason, "reason", "", "why, for people; recorded with the event")
	return a.command(c, func(ctx context.Context, args []string) error {
		given := c.Flags().Changed
		p, err := a.changePolicy(ctx, reason, func(p *entropy.Policy) error {
			if p.Commands == nil {
				p.Commands = make(map[string]entropy.CommandPolicy)
			}
			now := p.Commands[args[0]]
			if given("mode") {
				now.Mode = entropy.CommandMode(mode)
			}
			if given("rate") {
				now.Rate = rate
			}
			if given("burst") {
				now.Burst = burst
			}
			if given("break-after") {
				now.BreakAfter = breakAfter
			}
			if given("break-for") {
				now.BreakFor = entropy.Duration(breakFor)
			}
			if p.Commands[args[0]] = now; reset {
				delete(p.Commands, args[0])
			}
			return p.Validate()
		})
		if err != nil {
			return err
		}
		return a.one(p, func() error { return policyTable(&p).write(a.stdout) })
	})
}

// commandWords is the policy of a command on one line.
func commandWords(c entropy.CommandPolicy) string {
	words := []string{string(entropy.CommandAllow)}
	if c.Mode != "" {
		words[0] = string(c.Mode)
	}
	if c.Rate > 0 {
		words = append(words, weight(c.Rate)+" a second, "+itoa(c.BurstOrDefault())+" at once")
	}
	if c.BreakAfter > 0 {
		words = append(words, "rests "+c.BreakForOrDefault().String()+" after "+itoa(c.BreakAfter)+" failures")
	}
	return strings.Join(words, ", ")
}
