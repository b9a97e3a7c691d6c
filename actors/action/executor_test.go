package action

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
)

// executor carries orders out. Its tasks are lost when it crashes; its spool, with
// the results that were not answered, is not.
type executor struct {
	w     *world
	name  string
	up    bool
	life  int
	tasks map[entropy.AttemptID]*task
	spool []*message
}

// task is an attempt that an executor has.
type task struct {
	parcel  *parcel
	started bool
	over    bool
}

// message is a report that is repeated until it is answered.
type message struct {
	typ, id  string
	r        entropy.ActionReport
	answered bool
}

func (e *executor) crash() {
	if !e.up {
		return
	}
	e.w.stats["crashes"]++
	e.up = false
	e.life++
	e.tasks = map[entropy.AttemptID]*task{}
	e.w.after(time.Duration(e.w.r.IntN(20))*time.Second, func() {
		e.up = true
		for _, m := range e.spool {
			if !m.answered {
				e.tell(m, nil)
			}
		}
	})
}

// tell repeats a message until it is answered, in this life.
func (e *executor) tell(m *message, then func(entropy.ActionVerdict)) {
	life := e.life
	var again func()
	tries := 0
	again = func() {
		if tries++; m.answered || e.life != life || tries > 200 {
			return
		}
		e.w.send(func() {
			e.w.control.report(m.typ, m.id, m.r, func(v entropy.ActionVerdict) {
				if e.life != life || m.answered {
					return
				}
				m.answered = true
				if then != nil {
					then(v)
				}
			})
		})
		e.w.after(time.Duration(min(tries, 15))*time.Second, again)
	}
	again()
}

func (e *executor) message(typ string, o entropy.ActionOrder) *message {
	e.w.n++
	id := fmt.Sprintf("r%d", e.w.n)
	e.w.reports[id] = o.AttemptID
	return &message{typ: typ, id: id, r: entropy.ActionReport{ActionID: o.ActionID, AttemptID: o.AttemptID, Executor: e.name}}
}

// take takes an order off its way, and asks whether it may carry it out.
func (e *executor) take(p *parcel) {
	o := p.order
	if !e.up || e.tasks[o.AttemptID] != nil || len(e.tasks) > 50 {
		return
	}
	t := &task{parcel: p}
	e.tasks[o.AttemptID] = t
	e.tell(e.message(entropy.ActionAcceptedType, o), func(v entropy.ActionVerdict) {
		p.taken = true
		if v.Verdict != entropy.ReportAccepted {
			delete(e.tasks, o.AttemptID)
			return
		}
		if by := e.w.begun[o.AttemptID]; by != "" && by != e.name {
			e.w.fail("attempt %s was begun by %s and by %s", o.AttemptID, by, e.name)
		}
		e.w.begun[o.AttemptID] = e.name
		e.begin(t)
	})
}

func (e *executor) begin(t *task) {
	t.started = true
	life := e.life
	heed := func(v entropy.ActionVerdict) { e.heed(t, v) }
	e.tell(e.message(entropy.ActionStartedType, t.parcel.order), heed)
	takes := time.Duration(e.w.r.IntN(12000)) * time.Millisecond
	if e.w.r.IntN(10) == 0 {
		takes *= 5 // longer than it may
	}
	var beat func()
	beat = func() {
		if e.life == life && !t.over && e.w.r.IntN(6) > 0 {
			e.tell(e.message(entropy.ActionProgressType, t.parcel.order), heed)
			e.w.after(3*time.Second, beat)
		}
	}
	beat()
	e.w.after(takes, func() {
		if e.life == life && !t.over {
			e.finish(t, "")
		}
	})
}

// heed follows a verdict: it stops, mostly.
func (e *executor) heed(t *task, v entropy.ActionVerdict) {
	switch {
	case t.over:
	case v.Cancel && e.w.r.IntN(3) > 0:
		e.finish(t, entropy.ActionCanceledType)
	case v.Verdict == entropy.ReportAccepted || e.w.r.IntN(3) == 0:
	default:
		t.over = true
		delete(e.tasks, t.parcel.order.AttemptID)
	}
}

// finish spools how it ended, and reports that until it is answered.
func (e *executor) finish(t *task, typ string) {
	t.over = true
	delete(e.tasks, t.parcel.order.AttemptID)
	if typ == "" {
		typ = entropy.ActionSucceededType
		if e.w.r.IntN(4) == 0 {
			typ = entropy.ActionFailedType
		}
	}
	m := e.message(typ, t.parcel.order)
	m.r.Kind = []string{"io", "never"}[e.w.r.IntN(20)/19]
	m.r.Final = e.w.r.IntN(30) == 0
	m.r.RetryAfter = int64(e.w.r.IntN(3000))
	e.spool = append(e.spool, m)
	e.tell(m, nil)
	if e.w.chance(10) {
		e.crash()
	}
}

// words lists counters.
func words(stats map[string]int) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(stats)) {
		fmt.Fprintf(&b, " %s=%d", k, stats[k])
	}
	return b.String()
}
