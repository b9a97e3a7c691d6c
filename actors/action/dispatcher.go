package action

import (
	"log/slog"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/es"
)

// DispatcherConfig configures a [Dispatcher]. Every field is required.
type DispatcherConfig struct {
	// Load calls f with every action that has not ended, the oldest first.
	Load func(f func(*entropy.Action)) error
	// Recent returns actions of a command that have ended, the newest at least: from
	// them follow how its circuit is and how many orders it may have at once.
	Recent func(command string) ([]*entropy.Action, error)
	Rule   func(command string) entropy.CommandPolicy
	Turn   func(entropy.ActionID) // tells the action's actor that it may be issued
	Now    func() time.Time
	Logger *slog.Logger
}

// Commit tells the dispatcher of actions as they stand after a commit, in order.
type Commit struct{ Actions []*entropy.Action }

// Look asks the dispatcher to look again: the policy has changed, or the clock.
type Look struct{}

// heed is how long the dispatcher waits for an action to take its turn before it
// tells it again: the journal may have had no room.
const heed = 5 * time.Second

// Dispatcher gives turns to the actions. It is the actor of a [Line].
type Dispatcher struct {
	cfg   DispatcherConfig
	line  *Line
	given map[entropy.ActionID]time.Time // turns that were not taken yet
	timer *time.Timer
}

// NewDispatcher returns a dispatcher; it loads the line when it starts.
func NewDispatcher(cfg DispatcherConfig) *Dispatcher { return &Dispatcher{cfg: cfg} }

// Receive handles one message.
func (d *Dispatcher) Receive(c *es.Context) {
	switch m := c.Message().(type) {
	case *Commit:
		d.follow(m.Actions)
	case tick:
		d.timer = nil
	case es.Stopped:
		if d.timer != nil {
			d.timer.Stop()
		}
		return
	}
	if d.line == nil {
		d.load()
	}
	d.arm(c, d.turn())
}

func (d *Dispatcher) load() {
	line := NewLine(d.cfg.Rule)
	given := make(map[entropy.ActionID]time.Time)
	now := d.cfg.Now()
	open := make(map[string][]*entropy.Action)
	err := d.cfg.Load(func(a *entropy.Action) {
		line.Follow(a, now)
		open[a.Spec.Command] = append(open[a.Spec.Command], a)
	})
	if err != nil {
		d.cfg.Logger.Error("load the actions that wait", "error", err)
		return
	}
	for command, actions := range open {
		d.recall(line, command, actions)
	}
	d.line, d.given = line, given
}

// recall has the line find out how a command stands; open are its actions that have
// not ended.
func (d *Dispatcher) recall(line *Line, command string, open []*entropy.Action) {
	if rule := d.cfg.Rule(command); rule.BreakAfter == 0 && rule.Rate == 0 {
		return
	}
	recent, err := d.cfg.Recent(command)
	if err != nil {
		d.cfg.Logger.Warn("a command begins with a closed circuit", "command", command, "error", err)
	}
	line.Recall(command, append(open, recent...), d.cfg.Now())
}

func (d *Dispatcher) follow(actions []*entropy.Action) {
	if d.line == nil {
		return // it is read from the journal
	}
	now := d.cfg.Now()
	for _, a := range actions {
		if a.Live() != nil || a.State.Terminal() {
			delete(d.given, a.ID)
		}
		if !a.State.Terminal() && !d.line.Knows(a.Spec.Command) {
			d.recall(d.line, a.Spec.Command, nil)
		}
		d.line.Follow(a, now)
	}
}

// turn gives the turns that are due, and returns when the next may be; zero when
// only a change brings one.
func (d *Dispatcher) turn() (again time.Time) {
	if d.line == nil {
		return again
	}
	now := d.cfg.Now()
	turns, again := d.line.Next(now)
	for id, at := range d.given {
		if now.Sub(at) >= heed {
			turns = append(turns, id)
		}
	}
	slices.Sort(turns)
	for _, id := range turns {
		d.given[id] = now
		d.cfg.Turn(id)
	}
	return again
}

func (d *Dispatcher) arm(c *es.Context, again time.Time) {
	wait := maxSleep
	switch {
	case d.line == nil:
		wait = postponed
	case len(d.given) > 0:
		wait = heed
	case d.line.Len() == 0:
		wait = 0
	}
	if !again.IsZero() {
		wait = min(wait, max(again.Sub(d.cfg.Now()), time.Millisecond))
	}
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if wait > 0 {
		d.timer = c.After(wait, tick{})
	}
}
