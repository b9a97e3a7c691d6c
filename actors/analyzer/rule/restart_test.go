package rule

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/entropy-fabric/entropy"
)

const mixed = `
storm: {limit: 3 per 20m, quiet: 15m}
effect: 7m
entity_cooldown: 5m
judge: 30m
rules:
  - {name: act, when: channel == "location" && last_action.ago > 60, mode: act, reversible: true, cooldown: 4m, do: {command: a, args: {n: "{count('1h')}", open: "{open}"}}}
  - {name: ask, when: channel == "late" && count("15m") >= 2, mode: ask, for: 2, at_most: 4 per 1h, do: {command: b}}
  - {name: held, when: channel == "shape" && "late" not in channels, mode: act, reversible: true, for: 9m, cooldown: 20m, do: {command: c, entity: "x:{id}"}}
  - {name: say, when: bits > 10, mode: suggest, cooldown: 3m, do: {command: d}}
  - {name: see, when: bits > 0, mode: observe}
`

// step is one thing that happens.
type step struct {
	wait                  time.Duration
	entity, name, channel string
	bits                  float64
	recovers              bool
	ofCase                string
}

func drawSteps(t *rapid.T) []step {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{
			wait:   time.Duration(rapid.SampledFrom([]int{0, 0, 0, 10, 60, 200, 900, 4000}).Draw(t, "wait")) * time.Second,
			entity: rapid.SampledFrom([]string{"feed:a", "feed:b", "feed:c", "job:1", "action:a", "x:a"}).Draw(t, "entity"),
			name:   "send", channel: rapid.SampledFrom([]string{"location", "late", "shape", "tail"}).Draw(t, "channel"),
			bits:     rapid.Float64Range(1, 30).Draw(t, "bits"),
			recovers: rapid.IntRange(0, 4).Draw(t, "recovers") == 0,
			ofCase:   rapid.SampledFrom([]string{"", "", "c1", "c2"}).Draw(t, "case"),
		}
	}), 1, 80).Draw(t, "steps")
}

// play lets steps happen in a world.
func (w *world) play(steps []step) {
	for _, s := range steps {
		w.pass(s.wait)
		if s.recovers {
			w.recover(s.entity, s.name, s.channel, s.ofCase)
			continue
		}
		w.deviate(s.entity, s.name, s.channel, func(e *entropy.Event, at map[string]any) {
			at["bits"] = s.bits
			if s.ofCase != "" {
				e.CorrelationID = s.ofCase
			}
		})
	}
	w.pass(2 * time.Hour)
}

func (w *world) asked() []string {
	var all []string
	for _, s := range w.acted {
		r, err := Request(s)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, string(r.Envelope))
	}
	return all
}

// proves E-5: stopped anywhere, between a decision and its record, between that and
// the request, before the cursor is kept, the rules decide and ask for the same, and
// nothing twice.
func TestRestartsChangeNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := drawSteps(rt)
		calm := newWorld(t, mixed)
		calm.play(steps)
		if n := len(calm.asked()); n != len(slices.Compact(slices.Sorted(slices.Values(calm.asked())))) {
			rt.Fatalf("an action is asked for twice: %q", calm.asked())
		}
		rough := newWorld(t, mixed)
		rare := rapid.IntRange(1, 6).Draw(rt, "rare")
		n := uint64(rapid.IntRange(0, 1<<30).Draw(rt, "seed"))
		rough.crash = func() bool {
			n = n*6364136223846793005 + 1442695040888963407
			return (n>>33)%uint64(rare+1) == 0
		}
		rough.play(steps)
		if a, b := calm.asked(), rough.asked(); !slices.Equal(a, b) {
			rt.Fatalf("asked for\n%q\nand with restarts\n%q", a, b)
		}
		a, b := calm.ids, rough.ids
		if !maps.Equal(a, b) {
			rt.Fatalf("the ledgers differ: %v", difference(a, b))
		}
	})
}

func difference(a, b map[string]bool) (all []string) {
	for k := range a {
		if !b[k] {
			all = append(all, "-"+k)
		}
	}
	for k := range b {
		if !a[k] {
			all = append(all, "+"+k)
		}
	}
	slices.Sort(all)
	return all
}

// proves E-5: whatever happens, the guards hold: against storms, for each entity, for
// each rule, and against acting on what an action of the rules touches.
func TestGuardsHold(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, mixed)
		outcome := rapid.SampledFrom([]string{"succeeded", "failed", "canceled"}).Draw(rt, "outcome")
		w.outcome = func(*entropy.Suggestion) string { return outcome }
		w.play(drawSteps(rt))
		last := map[string]time.Time{}
		for i, s := range w.acted {
			if j := i - w.set.Storm.AtMost; j >= 0 && s.At.Sub(w.acted[j].At) < w.set.Storm.Per {
				rt.Errorf("%d actions within %v", w.set.Storm.AtMost+1, s.At.Sub(w.acted[j].At))
			}
			for _, key := range []string{s.Entity, s.Target} {
				if at, before := last[key]; before && s.At.Sub(at) < w.set.EntityCooldown {
					rt.Errorf("two actions for %s within %v", key, s.At.Sub(at))
				}
			}
			// It took 30 s, and its effects may last for Effect.
			if at, before := last[s.Entity]; before && s.At.Sub(at) < w.set.Effect {
				rt.Errorf("%s of %s is acted on %v after an action for it", s.Channel, s.Entity, s.At.Sub(at))
			}
			last[s.Entity], last[s.Target] = s.At, s.At
			if s.Entity == "action:a" && i > 0 && s.At.After(w.acted[i-1].At) && s.At.Sub(w.acted[i-1].At) < w.set.Effect && w.acted[i-1].Command == "a" {
				rt.Errorf("it acts on how its own action went")
			}
		}
	})
}

// proves that an engine stays bounded whatever comes.
func TestBounded(t *testing.T) {
	w := newWorld(t, mixed)
	for i := range 25_000 {
		w.now = w.now.Add(time.Second)
		w.deviate(fmt.Sprintf("feed:%d", i), "send", []string{"location", "shape", "late"}[i%3])
		r := w.rows[len(w.rows)-1]
		w.rows = w.rows[:0]
		w.engine.Apply(r, true)
	}
	e := w.engine
	if n := len(e.machines.items); n > maxMachines {
		t.Errorf("%d machines", n)
	}
	if len(e.spells.items) > maxSpells || len(e.openOf) > maxSpells || len(e.trails.items) > maxTrails || len(e.firings) > maxWindow || len(e.suggestions.items) > maxSuggestions {
		t.Errorf("%d spells, %d open, %d trails, %d firings, %d suggestions", len(e.spells.items), len(e.openOf), len(e.trails.items), len(e.firings), len(e.suggestions.items))
	}
}
