// Package ledgertest says what every ledger has to answer: a stream of events, the
// answers worked out plainly from it, and the suite that compares a ledger's with
// them.
package ledgertest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Start is when the stream begins.
var Start = time.Date(2026, 3, 2, 6, 30, 0, 0, time.UTC)

// Generator makes a seeded stream of events: cases of orders whose steps take their
// time, actions and the deviations that cause some of them, the fabric's own jobs;
// some events come late, out of their order, or again.
type Generator struct {
	r     *rand.Rand
	now   time.Time
	n     int
	ahead []due // what is still to come, by time
}

// due is an event that comes at a time, which may be later than its own.
type due struct {
	at    time.Time
	event entropy.Event
}

// NewGenerator returns the generator of a seed.
func NewGenerator(seed uint64) *Generator {
	return &Generator{r: rand.New(rand.NewPCG(seed, 1)), now: Start}
}

// Next returns the next n events.
func (g *Generator) Next(n int) []entropy.Observation {
	all := make([]entropy.Observation, 0, n)
	for len(all) < n {
		for len(g.ahead) < 64 {
			g.begin()
		}
		slices.SortStableFunc(g.ahead, func(a, b due) int { return cmp.Compare(a.at.UnixMicro(), b.at.UnixMicro()) })
		out := min(n-len(all), 48)
		for _, d := range g.ahead[:out] {
			body, err := json.Marshal(&d.event)
			if err != nil {
				panic(err)
			}
			all = append(all, entropy.Observation{Event: d.event, Body: body, Origin: "test"})
			if g.chance(0.005) {
				all = append(all, all[g.r.IntN(len(all))]) // again
			}
		}
		g.ahead = slices.Delete(g.ahead, 0, out)
	}
	return all[:n]
}

func (g *Generator) chance(p float64) bool { return g.r.Float64() < p }

// begin adds a case, an action or a job to what is to come.
func (g *Generator) begin() {
	g.now = g.now.Add(time.Duration(g.r.ExpFloat64() * float64(4*time.Second)))
	switch x := g.r.Float64(); {
	case x < 0.8:
		g.order()
	case x < 0.9:
		g.action()
	default:
		g.job()
	}
}

// add lets an event come at its time, or now and then a while later; those of the
// journal, which have a version, come in order.
func (g *Generator) add(e entropy.Event) {
	g.n++
	e.ID, e.Schema = fmt.Sprintf("e-%08d", g.n), 1
	e.TS = e.TS.UTC().Truncate(time.Millisecond)
	at := e.TS
	if e.Version == 0 && g.chance(0.02) {
		at = at.Add(time.Duration(g.r.IntN(120)) * time.Second)
	}
	g.ahead = append(g.ahead, due{at, e})
}

var steps = []string{"receive", "check", "process", "deliver"}

func (g *Generator) order() {
	at := g.now
	entity := fmt.Sprintf("order:%d", g.r.IntN(40))
	id := ""
	if g.chance(0.9) {
		id = fmt.Sprintf("case-%d", g.n)
	}
	for i, step := range steps {
		if g.chance(0.1) {
			continue
		}
		ms := 50 * float64(i+1) * math.Exp(0.8*g.r.NormFloat64())
		at = at.Add(time.Duration(ms * float64(time.Millisecond)))
		e := entropy.Event{TS: at, Type: "step.done", EntityID: entity, CorrelationID: id, Source: entropy.Source{System: "shop"}, Tags: map[string]string{"step": step, "tenant": fmt.Sprint("t", g.r.IntN(3))}}
		switch g.r.IntN(8) {
		case 0: // it does not say how long it took
		case 1:
			e.Attrs = fmt.Appendf(nil, `{"latency_sec":%.6f}`, ms/1000)
		case 2:
			e.Attrs = fmt.Appendf(nil, `{"duration_ms":%.3f,"note":"it's \"quoted\"\n"}`, ms)
		default:
			e.Attrs = fmt.Appendf(nil, `{"latency_ms":%.3f}`, ms)
		}
		g.add(e)
	}
}

// job is one of the fabric's own: it comes once.
func (g *Generator) job() {
	at, id := g.now, fmt.Sprintf("job:j-%d", g.n)
	for i, typ := range []string{"job.submitted", "job.assigned", "job.started", "job.succeeded"} {
		g.add(entropy.Event{TS: at, Version: uint64(i + 1), Type: typ, EntityID: id, Source: entropy.Source{System: "entropy"}, Attrs: json.RawMessage(`{}`)})
		at = at.Add(time.Duration(g.r.IntN(3000)) * time.Millisecond) // 0 too: two events of one instant
	}
}

// action is asked for, often after a deviation, and goes one way or another.
func (g *Generator) action() {
	id, correlation := fmt.Sprintf("a-%d", g.n), fmt.Sprintf("win-%d", g.r.IntN(1+g.n/4))
	command, at := []string{"restart_job", "notify_supplier", "retry_step"}[g.r.IntN(3)], g.now
	if g.chance(0.7) {
		g.add(entropy.Event{TS: at, Type: "entropy.deviation", EntityID: "order:1", CorrelationID: correlation, Source: entropy.Source{System: "entropy"}, Attrs: json.RawMessage(`{"bits":12}`)})
		at = at.Add(time.Duration(g.r.IntN(60_000)) * time.Millisecond)
	}
	tags := map[string]string{"tenant": fmt.Sprint("t", g.r.IntN(2))}
	say := func(typ string, state entropy.ActionState, more string) {
		g.add(entropy.Event{TS: at, Type: typ, EntityID: "action:" + id, CorrelationID: correlation, Tags: tags, Source: entropy.Source{System: "entropy"},
			Attrs: fmt.Appendf(nil, `{"action_id":%q,"command":%q,"state":%q%s}`, id, command, state, more)})
		at = at.Add(time.Duration(g.r.IntN(2000)) * time.Millisecond)
	}
	dry := ""
	if g.chance(0.1) {
		dry = `,"dry_run":true`
	}
	say(entropy.ActionRequestedType, entropy.ActionRequested, dry)
	say(entropy.ActionIssuedType, entropy.ActionRequested, dry)
	if g.chance(0.1) {
		say(entropy.ActionFailedType, entropy.ActionFailed, `,"reason":"expired"`+dry)
		return
	}
	say(entropy.ActionAcceptedType, entropy.ActionAccepted, dry)
	say(entropy.ActionStartedType, entropy.ActionStarted, dry)
	if g.chance(0.3) {
		say(entropy.ActionRetryingType, entropy.ActionRetrying, `,"kind":"timeout"`+dry)
		say(entropy.ActionAcceptedType, entropy.ActionAccepted, dry)
	}
	switch x := g.r.Float64(); {
	case x < 0.6:
		say(entropy.ActionSucceededType, entropy.ActionSucceeded, dry)
	case x < 0.8:
		say(entropy.ActionFailedType, entropy.ActionFailed, `,"reason":"exhausted","kind":"refused"`+dry)
		say(entropy.ActionEvidenceType, entropy.ActionFailed, `,"kind":"late"`+dry)
	case x < 0.9:
		say(entropy.ActionCanceledType, entropy.ActionCanceled, dry)
	}
}
