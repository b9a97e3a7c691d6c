package generate

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy/actors/analyzer/stat"
)

// Kind names the entities that are made: "supplier:7".
const Kind = "supplier"

// Steps are the steps of a case in their order. Check is repeated now and then.
var Steps = []string{"receive", "check", "process", "deliver"}

// Config describes a stream. The zero value is a quiet month of 50 entities.
type Config struct {
	Seed     uint64
	Start    time.Time     // of the first day, whose location is the rhythm's; zero means 2026-01-05, a Monday, UTC
	Days     int           // 0 means 30
	Entities int           // 0 means 50
	Every    time.Duration // between two cases of an entity by day, on average; 0 means 20 minutes
	Sigma    float64       // of the logarithm of a step's time; 0 means 0.5
	Flat     bool          // no rhythm: nights and weekends are like days
	Overlays []Overlay
}

func (c Config) withDefaults() Config {
	if c.Start.IsZero() {
		c.Start = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
	}
	if c.Days <= 0 {
		c.Days = 30
	}
	if c.Entities <= 0 {
		c.Entities = 50
	}
	if c.Every <= 0 {
		c.Every = 20 * time.Minute
	}
	if c.Sigma <= 0 {
		c.Sigma = 0.5
	}
	return c
}

// The faults that an overlay can be.
const (
	Drift    = "drift"    // the step takes Factor times as long
	Chaos    = "chaos"    // the logarithm of its time scatters Factor times as much
	Stuck    = "stuck"    // it scatters a Factor-th as much
	Tail     = "tail"     // the share Share of the cases takes Factor times as long
	Late     = "late"     // the same, as single late ones
	Missing  = "missing"  // the step, and what follows it, does not come in the share Share of the cases
	Skip     = "skip"     // the step is left out, the case goes on
	Incident = "incident" // everything takes longer, up to Factor in the middle, and the share Share of the cases ends early
)

// Kinds are all kinds of overlays.
var Kinds = []string{Drift, Chaos, Stuck, Tail, Late, Missing, Skip, Incident}

// Overlay is a fault that lasts for a while.
type Overlay struct {
	Kind   string        `json:"kind"`
	Entity int           `json:"entity"` // by number; -1: all
	Step   string        `json:"step"`   // empty: all but the first
	From   time.Duration `json:"from"`   // after Start
	For    time.Duration `json:"for"`
	Factor float64       `json:"factor"` // 0 means the kind's own
	Share  float64       `json:"share"`  // of the cases; 0 means all of them, or the kind's own
}

// Validate returns what is wrong with an overlay, or nil.
func (o Overlay) Validate() error {
	switch {
	case !slices.Contains(Kinds, o.Kind):
		return fmt.Errorf("overlay: %q is not one of %v", o.Kind, Kinds)
	case o.Step != "" && !slices.Contains(Steps, o.Step):
		return fmt.Errorf("overlay: %q is not one of the steps %v", o.Step, Steps)
	case o.For <= 0 || o.From < 0:
		return fmt.Errorf("overlay: it lasts %v from %v", o.For, o.From)
	case o.Factor < 0 || o.Share < 0 || o.Share > 1:
		return fmt.Errorf("overlay: factor %v, share %v", o.Factor, o.Share)
	}
	return nil
}

func (o Overlay) withDefaults() Overlay {
	factors := map[string]float64{Drift: 2, Chaos: 2, Stuck: 4, Tail: 8, Late: 10, Incident: 4}
	shares := map[string]float64{Tail: 0.1, Late: 0.2, Missing: 0.05, Incident: 0.12}
	if o.Factor == 0 {
		o.Factor = factors[o.Kind]
	}
	if o.Share == 0 {
		if o.Share = shares[o.Kind]; o.Share == 0 {
			o.Share = 1
		}
	}
	return o
}

// Event is one event of a stream, or one that an overlay took away.
type Event struct {
	Entity string        `json:"entity_id"`
	Step   string        `json:"step"`
	Case   string        `json:"case"`
	At     time.Time     `json:"ts"`
	Took   time.Duration `json:"-"`               // since the step before it, or for the first of a case
	Label  string        `json:"label,omitempty"` // the kind of the overlay that touched it
	Absent bool          `json:"absent,omitempty"`
}

// Events returns the stream in order of time. Absent events are at the time
// at which they would have come.
func (c Config) Events() iter.Seq[Event] {
	c = c.withDefaults()
	overlays := make([]Overlay, len(c.Overlays))
	for i, o := range c.Overlays {
		overlays[i] = o.withDefaults()
	}
	entities := make([]entity, c.Entities)
	for i := range entities {
		entities[i] = newEntity(c, overlays, i)
	}
	return func(yield func(Event) bool) {
		var held []Event
		for day := range c.Days {
			end := c.Start.AddDate(0, 0, day+1)
			for i := range entities {
				held = entities[i].until(end, held)
			}
			slices.SortStableFunc(held, func(a, b Event) int {
				if c := a.At.Compare(b.At); c != 0 {
					return c
				}
				return cmp.Compare(a.Case, b.Case)
			})
			n := 0
			for ; n < len(held) && (held[n].At.Before(end) || day == c.Days-1); n++ {
				if !yield(held[n]) {
					return
				}
			}
			held = slices.Delete(held, 0, n)
		}
	}
}

// entity makes the cases of one entity.
type entity struct {
	config   Config
	overlays []Overlay
	number   int
	name     string
	rand     *stat.Rand
	medians  []float64 // seconds, by step
	next     time.Time // when its next case begins
	cases    int
}

func newEntity(c Config, overlays []Overlay, number int) entity {
	e := entity{config: c, overlays: overlays, number: number, name: fmt.Sprintf("%s:%d", Kind, number),
		rand: stat.NewRand(c.Seed*1_000_003 + uint64(number) + 1)}
	for range Steps {
		e.medians = append(e.medians, 30*math.Exp(0.7*e.rand.Normal()))
	}
	e.next = c.Start
	e.pause()
	return e
}

// rhythm returns how many times as long steps take, and how many times as
// often cases begin.
func (c Config) rhythm(at time.Time) (slower, busier float64) {
	slower, busier = 1, 1
	if c.Flat {
		return slower, busier
	}
	if h := at.Hour(); h < 6 {
		slower, busier = 1.6, 0.5
	}
	if d := at.Weekday(); d == time.Saturday || d == time.Sunday {
		busier *= 0.6
	}
	return slower, busier
}

func (e *entity) pause() {
	_, busier := e.config.rhythm(e.next)
	e.next = e.next.Add(time.Duration(e.rand.Exponential() * float64(e.config.Every) / busier))
}

// until appends the events of the cases that begin before end.
func (e *entity) until(end time.Time, to []Event) []Event {
	for e.next.Before(end) {
		to = e.runCase(to)
		e.pause()
	}
	return to
}

// retries is the share of the checks that is repeated.
const retries = 0.03

func (e *entity) runCase(to []Event) []Event {
	id := fmt.Sprintf("%d-%d", e.number, e.cases)
	e.cases++
	at, gone := e.next, ""
	for i, step := range Steps {
		for again := true; again; {
			// Every number is drawn whether it is used or not, so that an
			// overlay changes nothing but what it touches.
			z, u := e.rand.Normal(), e.rand.Float64()
			again = step == "check" && e.rand.Float64() < retries
			f := e.fault(step, at, u, i > 0)
			if f.skip {
				to = append(to, Event{Entity: e.name, Step: step, Case: id, At: at, Label: f.label, Absent: true})
				again = false
				continue
			}
			slower, _ := e.config.rhythm(at)
			took := time.Duration(float64(time.Second) * e.medians[i] * slower * f.factor * math.Exp(e.config.Sigma*f.spread*z))
			at = at.Add(took)
			if f.ends && gone == "" {
				gone = f.label
			}
			to = append(to, Event{Entity: e.name, Step: step, Case: id, At: at, Took: took, Label: cmp.Or(gone, f.label), Absent: gone != ""})
		}
	}
	return to
}

// fault is what the overlays do to one step.
type fault struct {
	label          string
	factor, spread float64
	skip, ends     bool
}

func (e *entity) fault(step string, at time.Time, u float64, later bool) fault {
	f := fault{factor: 1, spread: 1}
	since := at.Sub(e.config.Start)
	for _, o := range e.overlays {
		if o.Entity >= 0 && o.Entity != e.number || o.Step != "" && o.Step != step || o.Step == "" && !later ||
			since < o.From || since >= o.From+o.For {
			continue
		}
		if u >= o.Share && o.Kind != Incident {
			continue
		}
		f.label = o.Kind
		switch o.Kind {
		case Drift, Tail, Late:
			f.factor *= o.Factor
		case Chaos:
			f.spread *= o.Factor
		case Stuck:
			f.spread /= o.Factor
		case Missing:
			f.ends = true
		case Skip:
			f.skip = true
		case Incident:
			f.factor *= 1 + (o.Factor-1)*math.Sin(math.Pi*float64(since-o.From)/float64(o.For))
			f.ends = u < o.Share/float64(len(Steps))
		}
	}
	return f
}
