package rule

import (
	"cmp"
	"slices"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer/stat"
)

// minUntreated is how many deviations must have ended by themselves before they say
// how long one lasts.
const minUntreated = 5

// worthKey is what worth is told for; of what was not treated, command is "".
type worthKey struct{ command, kind, channel string }

// worth returns the precision and recall of the actions, by what they were for.
//
// An action is good when the rest of its deviation, from the request on, was shorter
// than half of the untreated ones of the same kind and channel still took that had
// lasted as long. Precision is the share of good ones among those that can be
// compared. Recall is their share of the deviations that needed one: the good ones,
// and the untreated that lasted longer than it usually took to ask.
func (e *Engine) worth() []entropy.WorthReport {
	untreated := make(map[worthKey][]float64) // seconds
	treated := make(map[worthKey][]*spell)
	for _, s := range e.ended {
		kind, _ := entropy.SplitEntity(s.entity)
		k := worthKey{kind: kind, channel: s.channel}
		if s.treated == nil {
			untreated[k] = append(untreated[k], s.ended.Sub(s.began).Seconds())
			continue
		}
		k.command = s.treated.command
		treated[k] = append(treated[k], s)
	}
	all := []entropy.WorthReport{}
	for k, spells := range treated {
		all = append(all, k.worth(spells, untreated[worthKey{kind: k.kind, channel: k.channel}]))
	}
	slices.SortFunc(all, func(a, b entropy.WorthReport) int {
		return cmp.Or(cmp.Compare(a.Command, b.Command), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Channel, b.Channel))
	})
	return all
}

func (k worthKey) worth(spells []*spell, untreated []float64) entropy.WorthReport {
	w := entropy.WorthReport{Command: k.command, Kind: k.kind, Channel: k.channel, Treated: len(spells), Untreated: len(untreated)}
	if len(untreated) < minUntreated {
		return w
	}
	var ages []float64
	good, compared := 0, 0
	for _, s := range spells {
		age := s.treated.since.Sub(s.began).Seconds()
		ages = append(ages, age)
		var rest []float64
		for _, u := range untreated {
			if u > age {
				rest = append(rest, u-age)
			}
		}
		if len(rest) == 0 {
			continue // none has lasted as long by itself
		}
		compared++
		if s.ended.Sub(s.treated.since).Seconds() < stat.Median(rest) {
			good++
		}
	}
	if compared > 0 {
		p := float64(good) / float64(compared)
		w.Precision = &p
	}
	needed, usual := good, stat.Median(ages)
	for _, u := range untreated {
		if u > usual {
			needed++
		}
	}
	if needed > 0 {
		r := float64(good) / float64(needed)
		w.Recall = &r
	}
	return w
}
