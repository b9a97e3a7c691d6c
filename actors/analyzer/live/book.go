package live

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer"
)

// book keeps the newest deviations and what became of them, from their events in the
// ledger: what is not there was not found.
type book struct {
	all  []*entropy.Deviation // by row
	open map[bookKey][]*entropy.Deviation
}

// maxBook is how many deviations are kept, at least; the ledger has all.
const maxBook = 10_000

// bookKey names what ends together.
type bookKey struct {
	entity, step, channel, correlation string
	from                               time.Time
}

// lasting are the channels whose deviations go on until they are said to end; the
// others are about one moment.
func lasting(channel string) bool {
	switch channel {
	case analyzer.Unseen, analyzer.Transition, analyzer.Sequence, analyzer.Value:
		return false
	}
	return true
}

func keyOf(entity, step, channel, correlation string, from time.Time) bookKey {
	if channel == analyzer.Late {
		channel = analyzer.Missing
	}
	return bookKey{entity, step, channel, correlation, from.UTC()}
}

// apply takes in an event of the analyzer's own.
func (b *book) apply(e *entropy.Event) {
	switch e.Type {
	case entropy.EntropyDeviation:
		d := &entropy.Deviation{ID: e.ID, EntityID: e.EntityID, CorrelationID: e.CorrelationID}
		if json.Unmarshal(e.Attrs, &d.DeviationAttrs) != nil {
			return
		}
		if d.Open = lasting(d.Channel); d.Open {
			if b.open == nil {
				b.open = make(map[bookKey][]*entropy.Deviation)
			}
			k := keyOf(d.EntityID, d.Step, d.Channel, d.CorrelationID, d.Window.From)
			for _, before := range b.open[k] { // it was late, and is missing: one is open
				b.end(before, d.At, "worse")
			}
			b.open[k] = []*entropy.Deviation{d}
		}
		b.add(d)
	case entropy.EntropyRecovered:
		var r entropy.RecoveredAttrs
		if json.Unmarshal(e.Attrs, &r) != nil {
			return
		}
		k := keyOf(e.EntityID, r.Step, r.Channel, e.CorrelationID, r.From)
		for _, d := range b.open[k] {
			b.end(d, r.At, r.How)
		}
		delete(b.open, k)
	}
}

func (b *book) end(d *entropy.Deviation, at time.Time, how string) {
	at = at.UTC()
	d.Open, d.EndedAt, d.Ended = false, &at, how
}

func (b *book) add(d *entropy.Deviation) {
	b.all = append(b.all, d)
	if len(b.all) < 2*maxBook {
		return
	}
	gone := b.all[:len(b.all)-maxBook]
	for _, d := range gone {
		delete(b.open, keyOf(d.EntityID, d.Step, d.Channel, d.CorrelationID, d.Window.From))
	}
	b.all = slices.Clone(b.all[len(b.all)-maxBook:])
}

// The numbers of deviations of one answer.
const (
	someDeviations = 50
	mostDeviations = 1000
)

// list returns the deviations that a filter selects, the most surprising first; of
// those that are equally so, or where the filter says so, the newest.
func (b *book) list(f entropy.DeviationFilter) []entropy.Deviation {
	all := []entropy.Deviation{}
	for _, d := range slices.Backward(b.all) {
		if f.Selects(d) {
			all = append(all, *d)
		}
	}
	slices.SortStableFunc(all, func(x, y entropy.Deviation) int {
		if f.Recent {
			return y.At.Compare(x.At)
		}
		return cmp.Or(cmp.Compare(y.Bits, x.Bits), y.At.Compare(x.At))
	})
	n := f.Limit
	if n <= 0 {
		n = someDeviations
	}
	return all[:min(len(all), n, mostDeviations)]
}
