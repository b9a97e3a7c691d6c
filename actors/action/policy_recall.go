package action

import (
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
)

// The state of a command (its circuit, and how many orders it may have at once) is
// kept in no place of its own: it follows from the attempts of its actions, which the
// journal has.

// Knows reports whether the line keeps the state of a command.
func (l *Line) Knows(name string) bool { return l.commands[name] != nil }

// Recall makes the state of a command what its attempts have made of it: those of
// actions, in any order, each once. What was judged already must be among them.
func (l *Line) Recall(name string, actions []*entropy.Action, now time.Time) {
	c, rule := l.command(name), l.rule(name)
	var issued []time.Time
	var over []entropy.ActionAttempt
	for _, a := range actions {
		for _, t := range a.Attempts {
			issued = append(issued, t.IssuedAt)
			if t.EndedAt != nil {
				over = append(over, t)
			}
		}
		if e := l.all[a.ID]; e != nil { // do not judge them again
			e.lastFailed = max(e.lastFailed, ended(a))
		}
	}
	slices.SortFunc(issued, time.Time.Compare)
	slices.SortFunc(over, func(a, b entropy.ActionAttempt) int { return a.EndedAt.Compare(*b.EndedAt) })
	c.failed, c.broken, c.probe, c.at = 0, time.Time{}, "", time.Time{}
	for _, at := range issued {
		if !at.After(now) { // a clock that was set back would stop the command
			c.fill(&rule, at)
			c.tokens = max(c.tokens-1, 0)
		}
	}
	for i := range over {
		c.judge(&rule, over[i].Outcome, false, *over[i].EndedAt)
	}
	if c.broken.IsZero() {
		return
	}
	for _, a := range actions {
		if t := a.Live(); t != nil && l.all[a.ID] != nil && !t.IssuedAt.Before(c.broken) {
			c.probe = a.ID
		}
	}
}

// judge tells the circuit of the outcome of an attempt.
func (c *command) judge(rule *entropy.CommandPolicy, outcome entropy.AttemptOutcome, probe bool, at time.Time) {
	switch outcome {
	case entropy.AttemptSucceeded:
		c.failed, c.broken = 0, time.Time{}
	case entropy.AttemptFailed, entropy.AttemptLost:
		if c.failed++; rule.BreakAfter > 0 && (c.failed >= rule.BreakAfter || probe) {
			c.broken = at.Add(rule.BreakForOrDefault())
		}
	}
}
