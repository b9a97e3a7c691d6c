package action

import (
	"context"
	"log/slog"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/es"
)

// Config is what the actors of all actions share. Every field is required but Orders.
type Config struct {
	Journal Journal
	Orders  Orders // nil: nothing is issued
	// MayExecute reports whether an executor may report on actions of a command.
	MayExecute func(executor, command string) bool
	Rule       func(command string) entropy.CommandPolicy
	// Progress is told how far an executor has come. It must not block.
	Progress func(id entropy.ActionID, p *entropy.ActionProgress)
	Now      func() time.Time
	Settled  func() bool // whether what names a time of day may act (H-12)
	Logger   *slog.Logger
}

const (
	// postponed is how long a decision waits that the journal could not take.
	postponed = 2 * time.Second
	// unsettled is how often a clock that is not believed yet is looked at again.
	unsettled = time.Second
	// maxSleep bounds a sleep: a timer stands still while the machine is suspended.
	maxSleep = 30 * time.Second
	// issueWithin bounds one hand-over of an order.
	issueWithin = 10 * time.Second
	// An order that could not be handed over is tried again after issueAgain,
	// doubling to issueMost. One that nobody has accepted for unaccepted is handed
	// over again, in case that it was lost on its way.
	issueAgain = time.Second
	issueMost  = 30 * time.Second
	unaccepted = 5 * time.Minute
)

// Actor is the actor of one action.
type Actor struct {
	cfg *Config
	id  entropy.ActionID

	loaded bool
	action *entropy.Action // nil: there is none
	heard  time.Time       // when its executor last said something
	timer  *time.Timer
	unsure bool // the state could not be read: stay, and look again

	sending entropy.AttemptID // its order is on its way, or about to be again
	tries   int               // failed hand-overs of it in a row
}

// New returns the actor of an action; it loads its state at its first message.
func New(cfg *Config, id entropy.ActionID) *Actor { return &Actor{cfg: cfg, id: id} }

type (
	tick      struct{}
	lookAgain struct{}
	resend    struct{ attempt entropy.AttemptID }
	sent      struct {
		attempt entropy.AttemptID
		err     error
	}
)

// Receive handles one message.
func (a *Actor) Receive(c *es.Context) {
	switch m := c.Message().(type) {
	case *Request:
		c.Reply(a.onRequest(c, m))
	case *Set:
		c.Reply(a.onSet(c, m))
	case *Report:
		c.Reply(a.onReport(c, m))
	case Turn:
		a.onTurn(c)
	case Revive:
		a.onRevive(c)
	case Again:
		a.onResend(c, "")
	case tick:
		a.timer = nil
		a.onTick(c)
	case lookAgain:
		a.unsure = false
		a.onRevive(c)
	case resend:
		a.onResend(c, m.attempt)
	case *sent:
		a.onSent(c, m)
	case es.Started:
		if m.Again {
			a.onRevive(c)
		}
	case es.Stopped:
		a.stopTimer()
	}
}

// Idle reports that an action that has ended, or is none, has nothing to wait for.
func (a *Actor) Idle() (idle, now bool) {
	idle = !a.unsure && (a.action == nil || a.action.State.Terminal())
	return idle, idle
}

// load reads the state if it is not there. On an error the actor stays in memory
// and looks again by itself: nobody else would see its times end.
func (a *Actor) load(c *es.Context) error {
	if a.loaded {
		return nil
	}
	d, err := a.cfg.Journal.Document(context.Background(), entropy.Entity(entropy.KindAction, string(a.id)))
	switch entropy.ErrorCode(err) {
	case "":
		a.action = d.(*entropy.Action)
	case entropy.CodeNotFound:
		a.action = nil
	default:
		if !a.unsure {
			a.unsure = true
			c.After(postponed, lookAgain{})
		}
		return err
	}
	a.loaded, a.unsure = true, false
	return nil
}

// execute is the loop of the fabric: load, decide, append, apply. It returns when
// the decision is durable, and reports whether there was anything to decide.
func (a *Actor) execute(c *es.Context, op *entropy.OperationRecord, decide func(x *entropy.Action, now time.Time) ([]entropy.Event, error)) (changed bool, err error) {
	for again := false; ; again = true {
		if err := a.load(c); err != nil {
			return false, err
		}
		now := a.cfg.Now()
		events, err := decide(a.action, now)
		if err != nil || len(events) == 0 {
			return false, err
		}
		if err = a.commit(events, op, now, again); err == nil {
			a.follow(c)
			return true, nil
		}
		if entropy.ErrorCode(err) != entropy.CodeConflict || again {
			if !a.loaded && a.load(c) == nil {
				a.follow(c)
			}
			return false, err
		}
	}
}

// commit makes events durable and then applies them, together with what follows
// from the end of an action. On an error after which something else may be on record
// the state is dropped, so that it is read anew.
func (a *Actor) commit(events []entropy.Event, op *entropy.OperationRecord, now time.Time, again bool) error {
	next, err := a.action.Next(events)
	if err != nil {
		panic(err) // what is decided must follow
	}
	ch := entropy.Change{Entity: entropy.Entity(entropy.KindAction, string(a.id)), Events: events, State: next, Operation: op}
	if a.action != nil {
		ch.Expected, ch.Before = a.action.Version, a.action
	}
	changes := []entropy.Change{ch}
	if a.action != nil && !a.action.State.Terminal() && next.State == entropy.ActionFailed {
		changes = a.consequences(changes, next, now, again)
	}
	if _, err = a.cfg.Journal.Append(context.Background(), changes...); err != nil {
		switch entropy.ErrorCode(err) {
		case entropy.CodeDiskFull, entropy.CodeOverloaded, entropy.CodeUnavailable: // nothing was recorded
		default:
			a.loaded, a.action = false, nil
		}
		return err
	}
	a.action = next
	return nil
}

// consequences adds what follows from a failure, in the same append: the dead letter
// and the compensation. Their IDs are derived, so that each is made once; after a
// conflict it looks whether somebody has taken them.
func (a *Actor) consequences(changes []entropy.Change, failed *entropy.Action, now time.Time, look bool) []entropy.Change {
	taken := func(entity string) bool {
		if !look {
			return false
		}
		_, err := a.cfg.Journal.Document(context.Background(), entity)
		return err == nil
	}
	if d := failed.DeadLetter(); d != nil {
		entity := entropy.Entity(entropy.KindDeadLetter, d.ID)
		if events, err := d.Add(now); err != nil {
			a.cfg.Logger.Error("no dead letter of an action", "action", a.id, "error", err)
		} else if state, err := (*entropy.DeadLetter)(nil).Next(events); err == nil && !taken(entity) {
			changes = append(changes, entropy.Change{Entity: entity, Events: events, State: state})
		}
	}
	id, events, err := failed.Compensation(a.cfg.Rule, now)
	if err != nil {
		a.cfg.Logger.Warn("the compensation of an action is refused", "action", a.id, "error", err)
		return changes
	}
	entity := entropy.Entity(entropy.KindAction, string(id))
	if id == "" || taken(entity) {
		return changes
	}
	state, err := (*entropy.Action)(nil).Next(events)
	if err != nil {
		panic(err) // what is decided must follow
	}
	return append(changes, entropy.Change{Entity: entity, Events: events, State: state})
}

// follow brings the timer in line with the state, and has an order issued that is
// new.
func (a *Actor) follow(c *es.Context) {
	a.arm(c)
	if l := a.live(); l != nil && l.Executor == "" && a.sending != l.ID {
		a.tries = 0
		a.send(c)
	}
}

func (a *Actor) live() *entropy.ActionAttempt {
	if a.action == nil {
		return nil
	}
	return a.action.Live()
}

func (a *Actor) stopTimer() {
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
}

// arm sets the timer to when time changes something.
func (a *Actor) arm(c *es.Context) {
	a.stopTimer()
	if a.action == nil {
		return
	}
	at := a.action.WakeAt(a.heard)
	if at.IsZero() {
		return
	}
	wait := min(max(at.Sub(a.cfg.Now()), time.Millisecond), maxSleep)
	if !a.cfg.Settled() {
		wait = unsettled
	}
	a.timer = c.After(wait, tick{})
}

func (a *Actor) onTick(c *es.Context) {
	if !a.cfg.Settled() {
		a.arm(c)
		return
	}
	changed, err := a.execute(c, nil, func(x *entropy.Action, now time.Time) ([]entropy.Event, error) {
		if x == nil {
			return nil, nil
		}
		return x.Wake(a.heard, now)
	})
	switch {
	case err != nil:
		a.cfg.Logger.Warn("the end of an action's time is postponed", "action", a.id, "error", err)
		a.stopTimer()
		a.timer = c.After(postponed, tick{})
	case !changed:
		a.arm(c)
	}
}
