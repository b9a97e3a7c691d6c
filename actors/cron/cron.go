package cron

import (
	"context"
	"log/slog"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/es"
)

// Journal is what the actor needs of the journal.
type Journal interface {
	Append(ctx context.Context, changes ...entropy.Change) (entropy.Position, error)
	Documents(ctx context.Context, kind string, f func(entropy.Document) error) error
}

// Jobs is what the actor needs of the jobs. Its methods are called outside the
// actor, several at once, and may block.
type Jobs interface {
	// FiringID returns the ID of the job of a firing, always the same.
	FiringID(s *entropy.Schedule, nominal time.Time) entropy.JobID
	// Submit submits what a firing submits; repeating it is harmless.
	Submit(ctx context.Context, s *entropy.Schedule, sub entropy.Submission) error
	// State returns the state of a job or an array, "" when there is none.
	State(ctx context.Context, id entropy.JobID) (entropy.State, error)
}

// Config configures an [Actor]. Every field is required.
type Config struct {
	Journal Journal
	Jobs    Jobs
	Now     func() time.Time
	Settled func() bool // whether what names a time of day may act
	Logger  *slog.Logger
}

const (
	// again is how long the actor waits after a failure before it tries again.
	again = 5 * time.Second
	// maxSleep bounds the actor's sleep: its timer stands still while the machine
	// is suspended, and knows nothing of a clock that was set.
	maxSleep = 30 * time.Second
	// submitWithin bounds one firing's submission.
	submitWithin = 30 * time.Second
	// setBack is how far the clock may be behind a mark before the mark follows it.
	setBack = time.Hour
)

// Actor owns the schedules.
type Actor struct {
	cfg     Config
	all     map[string]*entry // by name, deleted ones too; nil: not loaded
	living  int
	working bool // a round is on its way
	timer   *time.Timer
	paused  bool // after a failure: no round before the timer
}

// entry is one schedule.
type entry struct {
	*entropy.Schedule
	table *entropy.Timetable // nil: its zone is not known any more
	next  time.Time          // the first nominal time after the mark; zero: none
}

// New returns an actor; it loads the schedules when it starts.
func New(cfg Config) *Actor { return &Actor{cfg: cfg} }

// Change asks for a change of one schedule; the answer is a *[entropy.Schedule].
type Change struct {
	Name string
	// Decide returns the events of the change; now is the present state, nil when
	// there never was a schedule of this name. No events change nothing.
	Decide    func(s *entropy.Schedule, now time.Time) ([]entropy.Event, error)
	Operation *entropy.OperationRecord // recorded with the change; nil: none
}

// Look asks the actor to look at the clock again: it was set, or has settled.
type Look struct{}

type tick struct{}

// Receive handles one message.
func (a *Actor) Receive(c *es.Context) {
	switch m := c.Message().(type) {
	case *Change:
		c.Reply(a.onChange(m))
	case *round:
		a.finish(m)
	case tick:
		a.timer, a.paused = nil, false
	case es.Stopped:
		a.stopTimer()
		return
	}
	a.load()
	a.begin(c)
	a.arm(c)
}

// load reads the schedules if they are not there.
func (a *Actor) load() {
	if a.all != nil || a.paused {
		return
	}
	all, living := make(map[string]*entry), 0
	err := a.cfg.Journal.Documents(context.Background(), entropy.KindSchedule, func(d entropy.Document) error {
		s := d.(*entropy.Schedule)
		all[s.Name] = newEntry(s)
		if !s.Deleted {
			living++
		}
		return nil
	})
	if err != nil {
		a.cfg.Logger.Error("load the schedules", "error", err)
		a.paused = true
		return
	}
	a.all, a.living = all, living
	for name, e := range all {
		if e.table == nil && !e.Deleted {
			a.cfg.Logger.Error("a schedule cannot fire: its time zone is not known here", "schedule", name, "zone", e.Zone)
		}
	}
}

func newEntry(s *entropy.Schedule) *entry {
	e := &entry{Schedule: s}
	if s.Deleted {
		return e
	}
	if t, err := s.Timetable(); err == nil {
		e.table = t
		e.plan()
	}
	return e
}

// plan looks when the schedule has to be looked at next.
func (e *entry) plan() {
	e.next = time.Time{}
	if !e.Paused && !e.Deleted && e.table != nil {
		e.next = e.table.Next(e.Mark)
	}
}

func (a *Actor) onChange(m *Change) (any, error) {
	if a.load(); a.all == nil {
		return nil, entropy.Errorf(entropy.CodeUnavailable, "the schedules could not be read; nothing was changed").WithHint("try again in a few seconds")
	}
	var now *entropy.Schedule
	if e := a.all[m.Name]; e != nil {
		now = e.Schedule
	}
	events, err := m.Decide(now, a.cfg.Now())
	if err == nil && len(events) == 0 && m.Operation != nil { // known when its duplicate comes late (J-5)
		err = a.append([]entropy.Change{{Entity: m.Operation.Entity, Expected: now.Version, Operation: m.Operation}})
	}
	if err != nil || len(events) == 0 {
		return now, err
	}
	next, err := now.Next(events)
	if err != nil {
		panic(err) // what is decided must follow
	}
	born := next.Version == next.Born
	if born && a.living >= entropy.MaxSchedules {
		return nil, entropy.Errorf(entropy.CodeTooLarge, "there are %d schedules, more are not allowed", a.living).WithHint("delete some; entropy schedule ls lists them")
	}
	ch := a.change(m.Name, now, next, events)
	ch.Operation = m.Operation
	if err := a.append([]entropy.Change{ch}); err != nil {
		return nil, err
	}
	switch {
	case born:
		a.living++
		a.all[m.Name] = newEntry(next)
	case next.Deleted:
		a.living--
		a.all[m.Name] = newEntry(next)
	default:
		a.all[m.Name].follow(next)
	}
	return next, nil
}

// follow makes the entry that of the schedule's next state.
func (e *entry) follow(s *entropy.Schedule) {
	e.Schedule = s
	e.plan()
}

// change returns what brings a schedule from one state to the next.
func (a *Actor) change(name string, now, next *entropy.Schedule, events []entropy.Event) entropy.Change {
	ch := entropy.Change{Entity: entropy.Entity(entropy.KindSchedule, name), Events: events, State: next}
	if now != nil {
		ch.Expected, ch.Before = now.Version, now
	}
	return ch
}

// append makes changes durable. On an error after which something else may be on
// record the schedules are read anew.
func (a *Actor) append(changes []entropy.Change) error {
	_, err := a.cfg.Journal.Append(context.Background(), changes...)
	switch entropy.ErrorCode(err) {
	case "", entropy.CodeDiskFull, entropy.CodeOverloaded, entropy.CodeUnavailable: // nothing was recorded
	default:
		a.all = nil
	}
	return err
}

func (a *Actor) stopTimer() {
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
}

// arm sets the timer to the next nominal time.
func (a *Actor) arm(c *es.Context) {
	switch {
	case a.working:
		return // the round's end looks again
	case a.paused:
		if a.timer == nil {
			a.timer = c.After(again, tick{})
		}
		return
	}
	a.stopTimer()
	var next time.Time
	for _, e := range a.all {
		if !e.next.IsZero() && (next.IsZero() || e.next.Before(next)) {
			next = e.next
		}
	}
	if next.IsZero() {
		return
	}
	wait := maxSleep // while the clock is unsettled: Look ends it
	if a.cfg.Settled() {
		wait = min(max(next.Sub(a.cfg.Now()), time.Millisecond), maxSleep)
	}
	a.timer = c.After(wait, tick{})
}
