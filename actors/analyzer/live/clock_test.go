package live

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer"
	"github.com/entropy-fabric/entropy/actors/analyzer/stat"
)

// proves E-4: a connector that comes back after a day, without what happened meanwhile,
// makes nothing late: neither what was under way then nor what begins now.
func TestAConnectorThatComesBack(t *testing.T) {
	withoutRace(t)
	r := newRig(t, settings())
	from, to := day0.Add(48*time.Hour).Add(-30*time.Second), day0.Add(72*time.Hour).Add(30*time.Second)
	all := orders("shop", 20, day0, 96*time.Hour, stat.NewRand(1))
	all = slices.DeleteFunc(all, func(e entropy.Event) bool { return e.TS.After(from) && e.TS.Before(to) })
	r.play(all, day0.Add(96*time.Hour))
	found := r.deviations("")
	// Of forty orders that were under way when it died and forty when it came back, what
	// was due at that very moment may be late.
	if len(found) > 4 {
		t.Errorf("%d deviations, the first: %+v", len(found), found[0])
	}
	if silent := r.ledger.all(t, entropy.EntropySourceSilent); len(silent) != 1 {
		t.Errorf("it was silent %d times", len(silent))
	}
	again := 0
	for _, e := range r.ledger.all(t, entropy.EntropyRecovered) {
		if e.EntityID == "source:shop" {
			again++
		}
	}
	if again != 1 {
		t.Errorf("it was heard of again %d times", again)
	}
}

// proves E-4: the same when the past is imported, with a hole in it.
func TestAHoleInThePast(t *testing.T) {
	withoutRace(t)
	r := newRig(t, settings())
	from, to := day0.Add(48*time.Hour).Add(-30*time.Second), day0.Add(72*time.Hour)
	all := orders("shop", 20, day0, 96*time.Hour, stat.NewRand(1))
	all = slices.DeleteFunc(all, func(e entropy.Event) bool { return e.TS.After(from) && e.TS.Before(to) })
	now := day0.AddDate(1, 0, 0)
	r.ledger.put(t, now, all...)
	r.tick(now.Add(time.Hour))
	if found := r.deviations(""); len(found) > 4 {
		t.Errorf("%d deviations, the first: %+v", len(found), found[0])
	}
}

// proves E-4, L-3: a control plane that was down for hours makes nothing late, of what
// it could not hear and of what it could not do.
func TestTheControlPlaneWasDown(t *testing.T) {
	withoutRace(t)
	r := newRig(t, settings())
	from, to := day0.Add(48*time.Hour).Add(-30*time.Second), day0.Add(51*time.Hour)
	all := orders("shop", 20, day0, 60*time.Hour, stat.NewRand(1))
	before := slices.DeleteFunc(slices.Clone(all), func(e entropy.Event) bool { return e.TS.After(from) })
	after := slices.DeleteFunc(slices.Clone(all), func(e entropy.Event) bool { return e.TS.Before(to) })
	r.play(before, from)
	r.restart(to)
	r.play(after, day0.Add(60*time.Hour))
	if found := r.deviations(""); len(found) > 2 {
		t.Errorf("%d deviations, the first: %+v", len(found), found[0])
	}
	if silent := r.ledger.all(t, entropy.EntropySourceSilent); len(silent) != 0 {
		t.Errorf("silent: %v", silent)
	}
}

// proves E-4: what one system begins and another goes on with is late by the time of
// the other: when that one is dead, the orders of the living one are not late.
func TestTwoSystemsOfOneCase(t *testing.T) {
	withoutRace(t)
	r := newRig(t, settings())
	all := orders("shop", 20, day0, 60*time.Hour, stat.NewRand(1))
	end := day0.Add(48 * time.Hour)
	for i := range all {
		if all[i].Tags["step"] == "sent" { // the carrier says so
			all[i].Source.System = "carrier"
		}
	}
	all = slices.DeleteFunc(all, func(e entropy.Event) bool { return e.Source.System == "carrier" && e.TS.After(end) })
	r.play(all, day0.Add(60*time.Hour))
	// Its pauses are normally as long as from one burst of orders to the next: one burst
	// is late, twice said, before it is known to be silent. The other 71 are not.
	if found := r.deviations(""); len(found) > 2*20 {
		t.Errorf("%d deviations, the first: %+v", len(found), found[0])
	}
	silent := r.ledger.all(t, entropy.EntropySourceSilent)
	if len(silent) != 1 {
		t.Errorf("%d silent sources", len(silent))
	}
	for _, e := range silent {
		if e.EntityID != "source:carrier" {
			t.Errorf("silent is %s", e.EntityID)
		}
	}
}

// proves E-4: a host whose clock is ahead makes the others' steps no later.
func TestAClockThatIsAhead(t *testing.T) {
	r := newRig(t, settings())
	all := orders("shop", 10, day0, 48*time.Hour, stat.NewRand(1))
	for i := range all {
		if strings.HasSuffix(all[i].EntityID, "7") {
			all[i].TS = all[i].TS.Add(4 * time.Minute)
		}
	}
	for i, now := 0, day0; now.Before(day0.Add(49 * time.Hour)); now = now.Add(10 * time.Second) {
		for ; i < len(all); i++ {
			happened := all[i].TS
			if strings.HasSuffix(all[i].EntityID, "7") {
				happened = happened.Add(-4 * time.Minute)
			}
			if !happened.Before(now) {
				break
			}
			r.ledger.put(t, happened.Add(time.Second), all[i])
		}
		r.tick(now)
	}
	if found := r.deviations(""); len(found) > 0 {
		t.Errorf("%d deviations, the first: %+v", len(found), found[0])
	}
}

// proves E-2 of the fabric itself: through its own events, a worker whose failures
// become surprising is found, and the others are not.
func TestAWorkerOfTheFabricBreaks(t *testing.T) {
	r := newRig(t, settings())
	rand := stat.NewRand(5)
	at, n := day0, 0
	row := func(typ, id, attrs string) {
		n++
		e := step(ownSystem, "job:"+id, "", "", at)
		e.Type, e.Tags, e.Attrs = typ, nil, []byte(attrs)
		r.ledger.put(t, at, e)
		r.ledger.rows[len(r.ledger.rows)-1].Origin = journalOrigin
	}
	for i := range 2400 {
		at = at.Add(30 * time.Second)
		id, worker := "j"+at.Format("150405.000")+at.Format("02"), []string{"a", "b", "c"}[i%3]
		row(entropy.JobSubmitted, id, `{"spec":{"name":"build"},"state":"pending"}`)
		row(entropy.JobAssigned, id, `{"assignment_id":"x`+id+`","worker_id":"`+worker+`"}`)
		row(entropy.JobStarted, id, `{}`)
		if fails := 0.02 + map[bool]float64{true: 0.6}[i > 2000 && worker == "b"]; rand.Float64() < fails {
			row(entropy.JobFailed, id, `{"reason":"exit"}`)
		} else {
			row(entropy.JobSucceeded, id, `{}`)
		}
	}
	r.tick(at.Add(time.Minute))
	found := r.deviations(analyzer.Outcome)
	if len(found) == 0 || found[len(found)-1].Bits < 10 {
		t.Fatalf("found %+v", found)
	}
	for _, d := range found {
		if d.EntityID != "worker:b" && d.EntityID != "jobs:build" || d.Step != "attempt" || d.Direction != "worse" {
			t.Errorf("found %s %s %s: %v", d.EntityID, d.Step, d.Direction, d.Why)
		}
	}
}
