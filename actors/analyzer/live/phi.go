package live

import (
	"cmp"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
)

// phi keeps the system entropy over time. The surprisal of an event, by what was
// learned before it, is on average the entropy of the process that makes it; so its
// mean over the events of a minute is sum w_k h_k, with the kinds' shares of the
// events as weights, as far as everything is normal, and more when it is not. What is
// late or missing adds the bits of its own improbability.
//
// The newest minutes and hours that had events are kept, by kind.
type phi struct {
	minutes, hours ring
}

// The sizes of the rings: two days of minutes, ninety days of hours, and how many
// kinds are told apart.
const (
	phiMinutes = 2 * 24 * 60
	phiHours   = 90 * 24
	phiKinds   = 64
)

// amount is what happened in a slot.
type amount struct{ events, bits, absent float64 }

func (a *amount) add(b amount) {
	a.events, a.bits, a.absent = a.events+b.events, a.bits+b.bits, a.absent+b.absent
}

// phi returns bits per event.
func (a amount) phi() float64 { return a.bits / max(1, a.events) }

// slot is a minute or an hour.
type slot struct {
	number int64 // since 1970
	all    amount
	kinds  []kindAmount
}

type kindAmount struct {
	kind string
	amount
}

// ring keeps the newest slots in order of time, those with nothing in them left out.
//
// Invariant: numbers rise strictly.
type ring struct {
	width time.Duration
	limit int
	slots []slot
}

func newPhi() *phi {
	return &phi{minutes: ring{width: time.Minute, limit: phiMinutes}, hours: ring{width: time.Hour, limit: phiHours}}
}

// add counts something of a kind at a time.
func (p *phi) add(kind string, at time.Time, x amount) {
	p.minutes.add(kind, at, x)
	p.hours.add(kind, at, x)
}

func (r *ring) add(kind string, at time.Time, x amount) {
	number := at.Unix() / int64(r.width/time.Second)
	i, found := len(r.slots)-1, false
	if i < 0 || r.slots[i].number != number { // nearly always it is the last
		i, found = slices.BinarySearchFunc(r.slots, number, func(s slot, n int64) int { return cmp.Compare(s.number, n) })
		if !found {
			if len(r.slots) >= r.limit {
				if i == 0 {
					return // older than all that is kept
				}
				r.slots = slices.Delete(r.slots, 0, 1+r.limit/16) // some more, as moving them costs
				i = max(0, i-1-r.limit/16)
			}
			r.slots = slices.Insert(r.slots, i, slot{number: number})
		}
	}
	s := &r.slots[i]
	s.all.add(x)
	for k := range s.kinds {
		if s.kinds[k].kind == kind {
			s.kinds[k].add(x)
			return
		}
	}
	if len(s.kinds) >= phiKinds {
		return // counted among all
	}
	s.kinds = append(s.kinds, kindAmount{kind, x})
}

// points returns the newest n slots.
func (r *ring) points(n int) []entropy.PhiPoint {
	points := []entropy.PhiPoint{}
	for _, s := range r.slots[max(0, len(r.slots)-n):] {
		points = append(points, entropy.PhiPoint{At: r.begin(s.number), Phi: s.all.phi(), Events: s.all.events, Absent: s.all.absent})
	}
	return points
}

func (r *ring) begin(number int64) time.Time {
	return time.Unix(number*int64(r.width/time.Second), 0).UTC()
}

// now returns the entropy of the last hour that had events, over all and by kind,
// the most surprising first.
func (p *phi) now() (all float64, kinds []entropy.KindEntropy) {
	kinds = []entropy.KindEntropy{}
	n := len(p.minutes.slots)
	if n == 0 {
		return 0, kinds
	}
	total, by := p.minutes.sum(p.minutes.slots[n-1].number-59, p.minutes.slots[n-1].number)
	for kind, a := range by {
		kinds = append(kinds, entropy.KindEntropy{Kind: kind, Phi: a.phi(), Events: a.events, Absent: a.absent})
	}
	slices.SortFunc(kinds, func(a, b entropy.KindEntropy) int {
		return cmp.Or(cmp.Compare(b.Phi, a.Phi), cmp.Compare(a.Kind, b.Kind))
	})
	return total.phi(), kinds
}

// sum adds up the slots from one number to another, inclusive.
func (r *ring) sum(from, to int64) (total amount, kinds map[string]*amount) {
	kinds = make(map[string]*amount)
	i, _ := slices.BinarySearchFunc(r.slots, from, func(s slot, n int64) int { return cmp.Compare(s.number, n) })
	for ; i < len(r.slots) && r.slots[i].number <= to; i++ {
		total.add(r.slots[i].all)
		for _, k := range r.slots[i].kinds {
			if kinds[k.kind] == nil {
				kinds[k.kind] = new(amount)
			}
			kinds[k.kind].add(k.amount)
		}
	}
	return total, kinds
}

// around compares the spans before and after a moment; touched are the kinds that
// something was done about, none means all. Spans are taken in whole minutes while
// those are kept, else in hours; the slot of the moment itself is in neither.
func (p *phi) around(touched []string, at time.Time, before, after time.Duration) entropy.EntropyEffect {
	r := &p.minutes
	if len(r.slots) == 0 || at.Add(-before).Before(r.begin(r.slots[0].number)) || min(before, after) >= 12*time.Hour {
		r = &p.hours
	}
	width := int64(r.width / time.Second)
	slotOf := func(t time.Time) int64 { return t.Unix() / width }
	span := func(from, to int64) (t, control amount) {
		total, kinds := r.sum(from, to)
		if len(touched) == 0 {
			return total, amount{}
		}
		for kind, a := range kinds {
			if slices.Contains(touched, kind) {
				t.add(*a)
			}
		}
		return t, amount{total.events - t.events, total.bits - t.bits, total.absent - t.absent}
	}
	moment := slotOf(at)
	t0, c0 := span(min(slotOf(at.Add(-before)), moment-1), moment-1)
	t1, c1 := span(moment+1, max(slotOf(at.Add(after)), moment+1))
	e := entropy.EntropyEffect{Before: t0.phi(), After: t1.phi(), EventsBefore: t0.events, EventsAfter: t1.events,
		ControlBefore: c0.phi(), ControlAfter: c1.phi(), ControlEventsBefore: c0.events, ControlEventsAfter: c1.events}
	e.Change = e.After - e.Before
	if c0.events > 0 && c1.events > 0 {
		e.Change -= e.ControlAfter - e.ControlBefore
	}
	return e
}
