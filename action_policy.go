package entropy

import (
	"cmp"
	"time"
)

// CommandPolicy says how the actions of one command may be carried out. The zero
// value lets all of them through.
type CommandPolicy struct {
	Mode CommandMode `json:"mode,omitempty"` // "" means allow
	// Rate is how many orders are issued in a second, on average; Burst how many at
	// once after a pause, 0 meaning 1. A Rate of 0 means no limit. What has to wait
	// is issued by priority, then by age.
	Rate  float64 `json:"rate,omitempty"`
	Burst int     `json:"burst,omitempty"`
	// BreakAfter is how many attempts in a row may fail before no order is issued
	// for BreakFor; then one is, whose outcome decides. 0 means that nothing breaks
	// the circuit; a BreakFor of 0 means 30 s.
	BreakAfter int      `json:"break_after,omitempty"`
	BreakFor   Duration `json:"break_for,omitzero"`
}

// CommandMode says what is done about a request.
type CommandMode string

// The modes of a command.
const (
	CommandAllow  CommandMode = "allow"   // it is carried out
	CommandAsk    CommandMode = "ask"     // after a human, not the one who asked for it, has approved
	CommandDryRun CommandMode = "dry_run" // only dry runs are carried out, others are refused
	CommandDeny   CommandMode = "deny"    // it is refused
)

// AnyCommand is the key in [Policy] of the commands that are not named there.
const AnyCommand = "*"

// DefaultBreakFor is how long a circuit stays broken when the policy does not say.
const DefaultBreakFor = 30 * time.Second

const maxCommandRate = 1e6

// Command returns the policy of a command.
func (p *Policy) Command(name string) CommandPolicy {
	if c, ok := p.Commands[name]; ok {
		return c
	}
	return p.Commands[AnyCommand]
}

// BreakForOrDefault returns how long a circuit stays broken.
func (c *CommandPolicy) BreakForOrDefault() time.Duration {
	return orDefaultDuration(c.BreakFor, DefaultBreakFor)
}

// BurstOrDefault returns how many orders may be issued at once.
func (c *CommandPolicy) BurstOrDefault() int { return max(c.Burst, 1) }

// validate reports what is wrong with the policy of a command.
func (c *CommandPolicy) validate(name string, bad report) {
	if name != AnyCommand {
		if err := ValidateCommand(name); err != nil {
			bad("commands: %w", err)
		}
	}
	switch cmp.Or(c.Mode, CommandAllow) {
	case CommandAllow, CommandAsk, CommandDryRun, CommandDeny:
	default:
		bad("command %s: mode is %q; it is allow, ask, dry_run or deny", name, cut(string(c.Mode)))
	}
	if !(c.Rate >= 0 && c.Rate <= maxCommandRate) || c.Burst < 0 || c.Burst > maxCommandRate || c.BreakAfter < 0 || c.BreakFor < 0 || c.BreakFor.D() > MaxTTL {
		bad("command %s: rate, burst, break_after and break_for must not be negative, rate and burst are at most %v", name, float64(maxCommandRate))
	}
}

// admit reports whether the policy lets a request through, and whether a human has
// to approve it first. CodeForbidden.
func (c *CommandPolicy) admit(s *ActionSpec) (ask bool, err error) {
	switch {
	case c.Mode == CommandDeny:
		return false, Errorf(CodeForbidden, "the policy does not let the command %s be carried out", s.Command).
			WithHint("entropy policy show has its commands")
	case c.Mode == CommandDryRun && !s.DryRun:
		return false, Errorf(CodeForbidden, "the policy lets only dry runs of the command %s be carried out", s.Command).
			WithHint("ask for a dry run, or change the policy")
	}
	return s.Approval || c.Mode == CommandAsk && !s.DryRun, nil
}
