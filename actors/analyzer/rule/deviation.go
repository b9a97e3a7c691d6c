package rule

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
)

// The types of the analyzer's events that the engine reads.
const (
	DeviationType = entropy.EntropyDeviation
	RecoveredType = entropy.EntropyRecovered
	PhiType       = entropy.EntropyPhi
)

// fabric is the system that the fabric's own events name; from outside, events with
// it are refused, so that nobody can make up a deviation.
const fabric = "entropy"

// Row is an event as the ledger has it.
type Row struct {
	At    time.Time // when the ledger received it: what the engine goes by
	Event entropy.Event
}

// deviation is what the engine reads of an entropy.deviation or entropy.recovered.
type deviation struct {
	event *entropy.Event

	kind, id string // of the entity

	Step      string    `json:"step"`
	At        time.Time `json:"at"` // by the stream's time; the event's own when it is absent
	Channel   string    `json:"channel"`
	Direction string    `json:"direction"`
	Bits      float64   `json:"bits"`
	P         float64   `json:"p"`
	N         float64   `json:"n"`
	Bounded   bool      `json:"bounded"`
	Repeats   int       `json:"repeats"`
	Why       []string  `json:"why"`
	Cases     []string  `json:"cases"`
	Examples  []string  `json:"examples"`
}

// maxCases bounds the examples that are looked at.
const maxCases = 100

// readDeviation reads an event; false when it is not one that the analyzer wrote.
func readDeviation(e *entropy.Event) (*deviation, bool) {
	d := &deviation{event: e}
	if e.Source.System != fabric || e.ID == "" || e.EntityID == "" || json.Unmarshal(e.Attrs, d) != nil {
		return nil, false
	}
	d.kind, d.id = entropy.SplitEntity(e.EntityID)
	if d.At.IsZero() {
		d.At = e.TS
	}
	d.Cases = append(d.Cases, d.Examples...)
	d.Cases = d.Cases[:min(len(d.Cases), maxCases)]
	if d.Step == "" {
		d.Step = e.Tags["step"]
	}
	if d.Channel == "" {
		d.Channel = e.Tags["channel"]
	}
	return d, true
}

// ofCase returns the case that the deviation is about; "" when it is of a window.
func (d *deviation) ofCase() string { return caseOf(d.event.CorrelationID) }

// jobCase begins the cases that are a job of the fabric.
const jobCase = "job/"

// job returns the fabric's job that the deviation is about: its case, else the first
// of its examples; "" when that is none.
func (d *deviation) job() string {
	for _, c := range append([]string{d.ofCase()}, d.Cases...) {
		if id, ok := strings.CutPrefix(c, jobCase); ok {
			return id
		}
	}
	return ""
}

func caseOf(correlation string) string {
	if strings.HasPrefix(correlation, "win:") {
		return ""
	}
	return correlation
}

// subject is what deviates, and how; item is the case, of those that are about one.
type subject struct{ entity, step, channel, item string }

func (d *deviation) subject() subject {
	return subject{d.event.EntityID, d.Step, d.Channel, d.ofCase()}
}

// spell is a deviation from its first to its end.
type spell struct {
	subject
	began, last, ended time.Time
	treated            *act // nil: no action was asked for
}

// mark is a deviation in the memory of its entity.
type mark struct {
	at   time.Time
	bits float64
}

// trail is the last deviations of an entity, the oldest first.
type trail struct {
	entity, kind string
	marks        []mark
}

const maxMarks = 200 // of an entity

func (t *trail) add(m mark) {
	if len(t.marks) >= maxMarks {
		t.marks = slices.Delete(t.marks, 0, maxMarks/4)
	}
	t.marks = append(t.marks, m)
}

// within returns how many deviations lie in [from, to), and their bits.
func (t *trail) within(from, to time.Time) (n int, bits float64) {
	for _, m := range t.marks {
		if !m.at.Before(from) && m.at.Before(to) {
			n++
			bits += m.bits
		}
	}
	return n, bits
}

// environment returns what expressions see of a deviation at t.
func (e *Engine) environment(d *deviation, t time.Time) *env {
	at := t.In(e.set.Zone)
	v := &env{Entity: d.event.EntityID, Kind: d.kind, ID: d.id, Step: d.Step, Channel: d.Channel, Direction: d.Direction, Bits: d.Bits, P: d.P, N: d.N,
		Bounded: d.Bounded, Repeats: d.Repeats, Why: strings.Join(d.Why, "; "), CaseID: d.ofCase(), Job: d.job(), Cases: d.Cases, Tags: d.event.Tags,
		Hour: at.Hour(), Weekday: strings.ToLower(at.Weekday().String()), Phi: e.phi, LastAction: lastAction{Ago: 1e9}}
	if v.Tags == nil {
		v.Tags = map[string]string{}
	}
	if v.Cases == nil {
		v.Cases = []string{}
	}
	v.Channels = []string{}
	for s := range e.openOf[d.event.EntityID] {
		v.Open++
		if !slices.Contains(v.Channels, s.channel) {
			v.Channels = append(v.Channels, s.channel)
		}
	}
	slices.Sort(v.Channels)
	for _, a := range e.touched["e:"+d.event.EntityID] {
		if a.since.Before(t) && t.Sub(a.since).Seconds() < v.LastAction.Ago {
			v.LastAction = lastAction{a.command, string(a.state), t.Sub(a.since).Seconds()}
		}
	}
	v.Count = func(s string) (int, error) {
		within, err := time.ParseDuration(s)
		if err != nil {
			return 0, err
		}
		tr, ok := e.trails.get(d.event.EntityID)
		if !ok {
			return 0, nil
		}
		n, _ := tr.within(t.Add(-within), t.Add(1))
		return n, nil
	}
	return v
}
