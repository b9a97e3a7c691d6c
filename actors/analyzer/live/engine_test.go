package live

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer"
	"github.com/entropy-fabric/entropy/actors/analyzer/stat"
)

// orders makes cases of three steps: every ten minutes one of each of n entities.
func orders(system string, n int, from time.Time, span time.Duration, r *stat.Rand) (all []entropy.Event) {
	for at := from; at.Before(from.Add(span)); at = at.Add(10 * time.Minute) {
		for i := range n {
			entity, id := fmt.Sprintf("order:%s%d", system, i), fmt.Sprintf("%s-%d-%d", system, i, at.Unix())
			t := at.Add(time.Duration(i) * time.Second)
			for _, name := range []string{"taken", "packed", "sent"} {
				all = append(all, step(system, entity, name, id, t))
				t = t.Add(time.Minute + time.Duration(float64(10*time.Second)*r.Float64()))
			}
		}
	}
	sortByTime(all)
	return all
}

func sortByTime(all []entropy.Event) {
	slices.SortStableFunc(all, func(a, b entropy.Event) int { return cmp.Or(a.TS.Compare(b.TS), cmp.Compare(a.ID, b.ID)) })
}

// play records events as they happen, half a second late, with a tick of the wall's
// clock every ten seconds.
func (r *rig) play(events []entropy.Event, until time.Time) {
	r.t.Helper()
	if len(events) == 0 {
		return
	}
	now := events[0].TS
	for i := 0; now.Before(until) || i < len(events); now = now.Add(10 * time.Second) {
		for ; i < len(events) && events[i].TS.Add(500*time.Millisecond).Before(now); i++ {
			r.ledger.put(r.t, events[i].TS.Add(500*time.Millisecond), events[i])
		}
		r.tick(now)
	}
}

// proves E-4, E-7: a day of perfectly regular events stays silent, after days of the
// same, and so does the night after it.
func TestARegularDayIsSilent(t *testing.T) {
	r := newRig(t, settings())
	r.play(orders("shop", 5, day0, 3*24*time.Hour, stat.NewRand(1)), day0.Add(3*24*time.Hour))
	if found := r.deviations(""); len(found) > 0 {
		t.Errorf("found %d, the first: %+v", len(found), found[0])
	}
	if h := r.engine.health(); h.Events != 3*144*5*3 {
		t.Errorf("it saw %d events", h.Events)
	}
}

// proves E-4: a step that vanishes is found within its expected gap, while nothing
// else arrives at all, and is known to have come when it comes.
func TestAStepThatVanishes(t *testing.T) {
	r := newRig(t, settings())
	events := orders("shop", 1, day0, 2*24*time.Hour, stat.NewRand(1))
	last := events[len(events)-1] // the last parcel is not sent
	packed := events[len(events)-2].TS
	r.play(events[:len(events)-1], packed.Add(time.Second))
	for now := packed; now.Before(packed.Add(3 * time.Minute)); now = now.Add(10 * time.Second) {
		r.tick(now)
	}
	found := r.deviations(analyzer.Missing)
	if len(found) != 1 || found[0].CorrelationID != last.CorrelationID || found[0].Step != "packed" || !found[0].Open {
		t.Fatalf("found %+v", found)
	}
	x := found[0].Expected
	if waited := found[0].At.Sub(packed); waited > time.Duration(1.51*float64(x.P99))*time.Millisecond {
		t.Errorf("found after %v, the 99 %% gap is %d ms", waited, x.P99)
	}
	r.ledger.put(t, packed.Add(4*time.Minute), step("shop", last.EntityID, "sent", last.CorrelationID, packed.Add(4*time.Minute)))
	if found = r.deviations(analyzer.Missing); found[0].Open || found[0].Ended != analyzer.EndedCame {
		t.Errorf("it came: %+v", found[0])
	}
}

// proves E-4: what became late and missing between two looks at the clock is said in
// that order, and is missing.
func TestLateThenMissing(t *testing.T) {
	r := newRig(t, settings())
	events := orders("shop", 1, day0, 2*24*time.Hour, stat.NewRand(1))
	packed := events[len(events)-2].TS
	r.play(events[:len(events)-1], packed.Add(time.Second))
	r.tick(packed.Add(14 * time.Minute)) // one look
	var open []entropy.Deviation
	channels := map[string]bool{}
	for _, d := range r.deviations("") {
		channels[d.Channel] = true
		if d.Open {
			open = append(open, d)
		}
	}
	if len(open) != 1 || open[0].Channel != analyzer.Missing || !channels[analyzer.Late] {
		t.Errorf("open are %+v of %v", open, channels)
	}
}

// proves E-4: a connector that dies makes nothing late: its source is said to be
// silent, once, and what others state is judged as before.
func TestADeadConnector(t *testing.T) {
	withoutRace(t)
	r := newRig(t, settings())
	const days = 2
	dead := orders("dead", 40, day0, days*24*time.Hour, stat.NewRand(1))
	alive := orders("alive", 5, day0, days*24*time.Hour+6*time.Hour, stat.NewRand(2))
	end := day0.Add(days * 24 * time.Hour).Add(-30 * time.Second) // in the middle of forty orders
	dead = slices.DeleteFunc(dead, func(e entropy.Event) bool { return e.TS.After(end) })
	gone := alive[len(alive)-1] // of the others one step does not come either
	alive = slices.DeleteFunc(alive, func(e entropy.Event) bool { return e.ID == gone.ID })
	all := append(dead, alive...)
	sortByTime(all)
	r.play(all, end.Add(6*time.Hour))
	late := 0
	for _, d := range r.deviations("") {
		if strings.HasPrefix(d.EntityID, "order:dead") {
			late++
		}
	}
	silent := r.ledger.all(t, entropy.EntropySourceSilent)
	if late > 2 || len(silent) != 1 {
		t.Errorf("%d of the dead source's orders are late, %d sources silent", late, len(silent))
	}
	for _, e := range silent {
		if e.EntityID != "source:dead" {
			t.Errorf("silent is %s", e.EntityID)
		}
	}
	for i := range 3 { // a restart is no reason to say it again
		r.restart(end.Add(time.Duration(7+i) * time.Hour))
		r.tick(end.Add(time.Duration(7+i)*time.Hour + 50*time.Minute))
	}
	said := 0
	for _, e := range r.ledger.all(t, entropy.EntropySourceSilent) {
		if e.EntityID == "source:dead" {
			said++
		}
	}
	if said != 1 {
		t.Errorf("it was said %d times after restarts", said)
	}
	if found := r.deviations(analyzer.Missing); !slices.ContainsFunc(found, func(d entropy.Deviation) bool { return d.CorrelationID == gone.CorrelationID }) {
		t.Errorf("what is missing of the other source was not found: %+v", found)
	}
}

// proves E-4: a source that rests every night, and over the week-end, is not silent,
// and is when it does not begin in the morning.
func TestASourceThatRests(t *testing.T) {
	s := &source{system: "office"}
	at := day0
	for ; at.Before(day0.AddDate(0, 0, 21)); at = at.Add(time.Minute) {
		if d, became := s.quiet(at); became && at.After(day0.AddDate(0, 0, 7)) {
			t.Fatalf("silent at %v, since %v, allowed %v", at, s.heard, d)
		}
		if at.Weekday() != time.Saturday && at.Weekday() != time.Sunday && at.Hour() >= 8 && at.Hour() < 18 {
			s.hear(at, at.Add(time.Second))
		}
	}
	for ; at.Hour() < 11; at = at.Add(time.Minute) { // a Monday on which it stops at eleven
		if at.Hour() >= 8 {
			s.hear(at, at.Add(time.Second))
		}
	}
	stopped, became := at, false
	for ; !became && at.Before(stopped.Add(12*time.Hour)); at = at.Add(time.Minute) {
		_, became = s.quiet(at)
	}
	if !became || at.Sub(stopped) > 10*time.Minute {
		t.Errorf("silent: %v, after %v", became, at.Sub(stopped))
	}
}

// proves E-3: files of the past that are imported one after the other, each from the
// beginning again, make nothing late.
func TestFilesOneAfterTheOther(t *testing.T) {
	r := newRig(t, settings())
	now := day0.AddDate(0, 6, 0)
	for i := range 5 {
		file := orders("file", 1, day0, 5*24*time.Hour, stat.NewRand(uint64(i)))
		for j := range file {
			file[j].EntityID = fmt.Sprintf("order:%d", i)
			file[j].CorrelationID = fmt.Sprintf("%d/%s", i, file[j].CorrelationID)
		}
		for j := 0; j < len(file); j += 100 {
			r.ledger.put(t, now, file[j:min(len(file), j+100)]...)
			now = now.Add(time.Second)
			r.tick(now)
		}
	}
	if found := r.deviations(""); len(found) > 0 {
		t.Errorf("found %d, the first: %+v", len(found), found[0])
	}
	if h := r.engine.health(); h.Events != 5*5*144*3 || h.Reordered > 0 {
		t.Errorf("%+v", h)
	}
}

// history records a life with faults in a ledger, in which the engine is killed now
// and then and ticks come at any time.
func history(t *testing.T, seed uint64) *rig {
	r, rand := newRig(t, settings()), stat.NewRand(seed)
	events := orders("shop", 8, day0, 3*24*time.Hour, rand)
	events = append(events, orders("depot", 3, day0.Add(time.Hour), 3*24*time.Hour, rand)...)
	sortByTime(events)
	now := day0
	kills := 0
	for _, e := range events {
		switch x := rand.Float64(); {
		case x < 0.002:
			continue // it never happens
		case x < 0.004:
			e.TS = e.TS.Add(time.Duration(rand.Float64() * float64(20*time.Minute))) // or late
		}
		if received := e.TS.Add(time.Duration(rand.Float64() * float64(3*time.Second))); received.After(now) {
			now = received
		}
		r.ledger.put(t, now, e)
		switch x := rand.Float64(); {
		case x < 0.0003:
			page, _ := r.ledger.Events(t.Context(), entropy.LedgerFilter{After: r.engine.row, Limit: 1 + rand.IntN(5)})
			for i := range page.Entries { // killed between what it found and what it recorded
				r.engine.take(&page.Entries[i])
			}
			now = now.Add(time.Duration(rand.Float64() * float64(10*time.Minute)))
			r.restart(now)
			kills++
		case x < 0.3:
			r.tick(now)
		case x < 0.4:
			r.drain(now)
		}
	}
	r.tick(now.Add(time.Hour))
	if kills == 0 {
		t.Fatal("it was never killed")
	}
	return r
}

// proves E-5, P-1: whenever the analyzer is killed and whenever it looks at the clock,
// who reads the ledger from the beginning finds what is in it, nothing more and nothing
// else, and has learned the same.
func TestReplayFindsTheSame(t *testing.T) {
	withoutRace(t)
	for seed := range uint64(3) {
		r := history(t, seed+1)
		again := &rig{t: t, ledger: newMemory(), engine: newEngine(r.config.withDefaults()), config: r.config}
		found := map[string]string{}
		for i := range r.ledger.rows {
			again.engine.take(&r.ledger.rows[i])
			keep(t, found, again.engine.out)
			again.engine.out = nil
		}
		again.engine.tick(r.engine.mark)
		keep(t, found, again.engine.out)
		recorded := map[string]string{}
		for _, typ := range []string{entropy.EntropyDeviation, entropy.EntropyRecovered, entropy.EntropySourceSilent} {
			for id, e := range r.ledger.all(t, typ) {
				recorded[id] = e.IdempotencyKey
			}
		}
		if len(recorded) < 20 {
			t.Errorf("seed %d: only %d findings", seed+1, len(recorded))
		}
		if !maps.Equal(found, recorded) {
			t.Errorf("seed %d: %d found again of %d; missing %v, too many %v", seed+1, len(found), len(recorded), less(recorded, found), less(found, recorded))
		}
		if a, b := r.engine.analyzer.Digest(), again.engine.analyzer.Digest(); a != b {
			t.Errorf("seed %d: it has learned something else", seed+1)
		}
	}
}

func keep(t *testing.T, into map[string]string, events []entropy.Event) {
	t.Helper()
	for _, e := range events {
		if e.Type != entropy.EntropyPhi && e.Type != entropy.EntropyPredicted {
			into[e.ID] = e.IdempotencyKey
		}
	}
}

// less returns a few of what a has and b has not.
func less(a, b map[string]string) (keys []string) {
	for id, key := range a {
		if _, ok := b[id]; !ok && len(keys) < 5 {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// proves E-1, E-7: events of years in the future, out of order, twice, without an
// entity, and of the analyzer's own words from outside teach nothing and find nothing.
func TestRubbish(t *testing.T) {
	clean, dirty := newRig(t, settings()), newRig(t, settings())
	serial = 0
	events := orders("shop", 3, day0, 24*time.Hour, stat.NewRand(1))
	clean.play(events, day0.Add(24*time.Hour))
	for i := range events {
		if i%5 != 0 {
			continue
		}
		future := step("shop", events[i].EntityID, "taken", events[i].CorrelationID, events[i].TS.AddDate(30, 0, 0))
		forged := step("shop", "order:x", "x", "x", events[i].TS)
		forged.Type = entropy.EntropyDeviation
		forged.Attrs = json.RawMessage(`{"step":"x","channel":"late","bits":64}`)
		nobody := step("shop", "", "x", "x", events[i].TS)
		dirty.ledger.put(t, events[i].TS.Add(-time.Minute), future, forged, nobody)
		long := strings.Repeat("ü", 100_000)
		if x := name(long); len(x) > maxName || name(long+"x") == x || !utf8.ValidString(x) {
			t.Fatalf("a long name is %d bytes: %q", len(x), x)
		}
	}
	dirty.play(events, day0.Add(24*time.Hour))
	if found := dirty.deviations(""); len(found) > 0 {
		t.Errorf("found %+v", found[0])
	}
	h := dirty.engine.health()
	if h.Skewed == 0 || h.Events != clean.engine.health().Events {
		t.Errorf("%+v", h)
	}
	for _, s := range dirty.engine.order {
		if s.top.Year() != 2026 {
			t.Errorf("the time of %s is %v", s.system, s.top)
		}
	}
}
