package action

import (
	"container/heap"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/entropy-fabric/entropy"
)

// This file is a world in which actions live: a control plane that is killed, a
// network that delays, repeats, reorders and drops, executors that crash, go silent
// and speak when nobody asks them, producers whose clocks are wrong. Its time is
// virtual, and a run is its seed's.

// mutant is a fault that is put into the control plane, to see that it is found.
type mutant string

const (
	noFence       mutant = "reports are taken for the live attempt's, whoever they are from"
	staleState    mutant = "after a restart an older state is decided on"
	producerClock mutant = "the TTL counts from the producer's ts"
	earlyAnswer   mutant = "reports are answered before they are durable"
	noOrder       mutant = "actions of an entity are issued as they come"
	noKey         mutant = "the idempotency key is not looked up"
	lateFailure   mutant = "a late failure counts for the live attempt"
	begunTwice    mutant = "whoever accepts an order may begin"
	noRevive      mutant = "a restart arms no timer of what an executor has"
)

type world struct {
	seed    uint64
	r       *rand.Rand
	now     time.Time
	queue   happenings
	n       uint64
	mutant  mutant
	calm    bool // no more faults
	wrong   []string
	stats   map[string]int
	control *plane
	disk    disk

	executors []*executor
	begun     map[entropy.AttemptID]string // who carried an attempt out
	promised  map[entropy.ActionID]entropy.AttemptID
	stored    map[entropy.ActionID]time.Time
	reports   map[string]entropy.AttemptID // what each report is about
	orders    []*parcel                    // not yet taken
}

// disk is what survives: the state and the events of every action.
type disk struct {
	state  map[entropy.ActionID]*entropy.Action
	older  map[entropy.ActionID]*entropy.Action // for a mutant
	log    map[entropy.ActionID][]entropy.Event
	order  []entropy.ActionID
	keys   map[string]entropy.ActionID
	letter map[entropy.ActionID]bool
}

type happening struct {
	at time.Time
	n  uint64
	do func()
}

type happenings []happening

func (h happenings) Len() int { return len(h) }
func (h happenings) Less(i, j int) bool {
	return h[i].at.Before(h[j].at) || h[i].at.Equal(h[j].at) && h[i].n < h[j].n
}
func (h happenings) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *happenings) Push(x any)   { *h = append(*h, x.(happening)) }
func (h *happenings) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

func newWorld(seed uint64, m mutant) *world {
	w := &world{seed: seed, r: rand.New(rand.NewPCG(seed, 7)), now: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), mutant: m, stats: map[string]int{},
		begun: map[entropy.AttemptID]string{}, promised: map[entropy.ActionID]entropy.AttemptID{}, stored: map[entropy.ActionID]time.Time{}, reports: map[string]entropy.AttemptID{},
		disk: disk{state: map[entropy.ActionID]*entropy.Action{}, older: map[entropy.ActionID]*entropy.Action{}, log: map[entropy.ActionID][]entropy.Event{},
			keys: map[string]entropy.ActionID{}, letter: map[entropy.ActionID]bool{}}}
	for i := range 5 {
		w.executors = append(w.executors, &executor{w: w, name: fmt.Sprintf("e%d", i), up: true, tasks: map[entropy.AttemptID]*task{}})
	}
	w.boot()
	return w
}

func (w *world) fail(format string, args ...any) {
	if len(w.wrong) < 5 {
		w.wrong = append(w.wrong, fmt.Sprintf("seed %d at %s: ", w.seed, w.now.Format("15:04:05.000"))+fmt.Sprintf(format, args...))
	}
}

func (w *world) after(d time.Duration, do func()) {
	w.n++
	heap.Push(&w.queue, happening{w.now.Add(d), w.n, do})
}

// chance reports true once in n times, while there are faults.
func (w *world) chance(n int) bool { return !w.calm && w.r.IntN(n) == 0 }

// send carries a message: late, twice, or not at all.
func (w *world) send(do func()) {
	for range 1 + w.r.IntN(20)/19 {
		if !w.chance(15) {
			w.after(time.Duration(1+w.r.IntN(800))*time.Millisecond, do)
		}
	}
}

// run has n actions asked for, and lets the world go on until nothing happens.
func (w *world) run(n int) {
	for i := range n {
		w.after(time.Duration(w.r.IntN(n*200))*time.Millisecond, func() { w.ask(i) })
	}
	w.after(0, w.mischief)
	w.after(time.Duration(n)*200*time.Millisecond+2*time.Minute, func() { w.calm = true })
	for steps := 0; len(w.queue) > 0; steps++ {
		if steps > n*5000 {
			w.fail("it does not come to an end")
			return
		}
		h := heap.Pop(&w.queue).(happening)
		w.now = h.at
		h.do()
	}
	w.check(n)
}

// mischief kills somebody now and then.
func (w *world) mischief() {
	if w.calm {
		return
	}
	switch w.r.IntN(5) {
	case 0:
		w.kill()
	case 1: // what carries orders has lost them, and says so
		for _, p := range w.orders {
			p.taken = true
		}
		w.orders = nil
		w.after(time.Second, func() { w.control.reissue() })
	default:
		w.executors[w.r.IntN(len(w.executors))].crash()
	}
	w.after(time.Duration(1+w.r.IntN(8))*time.Second, w.mischief)
}

// ask has a producer ask for an action until it is answered.
func (w *world) ask(i int) {
	skew := time.Duration(w.r.IntN(14400)-7200) * time.Second
	attrs := []string{
		`"ttl_sec":120,"timeout_sec":15,"heartbeat_sec":10,"retry":{"max":4,"initial":"1s","cap":"5s"}`,
		`"ttl_sec":60,"timeout_sec":30,"retry":{"max":2,"initial":"2s","non_retryable":["never"]},"on_failure":{"command":"undo","ttl_sec":300}`,
		`"ttl_sec":5`,
		`"ttl_sec":900,"timeout_sec":20,"heartbeat_sec":8,"retry":{"max":100,"initial":"1s","cap":"2s"}`,
	}[w.r.IntN(4)]
	envelope := fmt.Sprintf(`{"ts":%q,"event_type":"action.requested","entity_id":"job:%d","idempotency_key":"k%d","attrs":{"command":"c%d",%s}}`,
		w.now.Add(skew).Format(time.RFC3339), i%97, i, i%3, attrs)
	answered := false
	var again func()
	again = func() {
		if answered {
			return
		}
		raw := envelope
		if w.mutant == noKey { // it is then told apart by an id that the producer makes anew
			w.n++
			raw = fmt.Sprintf(`{"id":"x%d",`, w.n) + envelope[1:]
		}
		sent := w.now
		w.send(func() { w.control.request(raw, sent, func() { answered = true }) })
		w.after(3*time.Second, again)
	}
	again()
	if w.r.IntN(20) == 0 {
		w.after(time.Duration(w.r.IntN(20))*time.Second, func() { w.control.cancel(fmt.Sprintf("k%d", i)) })
	}
}

// parcel is an order on its way to the executors of its command: whoever takes it
// first, and again until somebody says that it need not come any more.
type parcel struct {
	order entropy.ActionOrder
	taken bool
}

func (w *world) post(o entropy.ActionOrder) {
	p := &parcel{order: o}
	w.orders = append(w.orders, p)
	if len(w.orders) > 200 {
		w.orders = w.orders[100:]
	}
	var deliver func()
	left := 40
	deliver = func() {
		if left--; p.taken || left == 0 {
			return
		}
		e := w.executors[w.r.IntN(len(w.executors))]
		w.send(func() { e.take(p) })
		w.after(8*time.Second, deliver)
	}
	deliver()
}

// check looks at what is on disk in the end.
func (w *world) check(n int) {
	asked := 0
	for id, a := range w.disk.state {
		ends := 0
		for _, e := range w.disk.log[id] {
			switch e.Type {
			case entropy.ActionSucceededType, entropy.ActionFailedType, entropy.ActionCanceledType:
				ends++
			}
		}
		w.stats[string(a.State)+string(a.Reason)]++
		if ends != 1 || !a.State.Terminal() {
			w.fail("action %s is %s and ended %d times", id, a.State, ends)
		}
		replayed, err := (*entropy.Action)(nil).Next(w.disk.log[id])
		if err != nil || text(replayed) != text(a) {
			w.fail("a replay of %s gives another action (%v)", id, err)
		}
		if a.Compensates == "" {
			asked++
		}
		w.checkEnd(a)
	}
	if asked != n {
		w.fail("%d were asked for, and there are %d", n, asked)
	}
	for id, attempt := range w.promised {
		a := w.disk.state[id]
		won := false
		for _, t := range a.Attempts {
			won = won || t.ID == attempt && t.Outcome == entropy.AttemptSucceeded
		}
		if a.State != entropy.ActionSucceeded || !won {
			w.fail("the success of %s was answered, and it is %s", id, a.State)
		}
	}
}

func (w *world) checkEnd(a *entropy.Action) {
	if want := w.stored[a.ID].Add(a.Spec.TTLOrDefault()); a.Compensates == "" && !a.Deadline.Equal(want) {
		w.fail("the TTL of %s ends at %s, and not at %s", a.ID, a.Deadline, want)
	}
	if a.Reason == entropy.FailedExpired && a.FinishedAt.Before(a.Deadline) {
		w.fail("action %s expired early", a.ID)
	}
	if a.DeadLetter() != nil != w.disk.letter[a.ID] {
		w.fail("action %s is %s, and is a dead letter: %v", a.ID, a.State, w.disk.letter[a.ID])
	}
	wins := 0
	for _, t := range a.Attempts {
		if t.AcceptedAt != nil && !t.AcceptedAt.Before(a.Deadline) {
			w.fail("attempt %s was accepted after the TTL", t.ID)
		}
		if t.StartedAt != nil && t.Outcome == entropy.AttemptUntaken {
			w.fail("attempt %s was started, and is called untaken", t.ID)
		}
		if t.Outcome == entropy.AttemptSucceeded {
			wins++
			if by := w.begun[t.ID]; by != t.Executor {
				w.fail("attempt %s succeeded by %s, and %q carried it out", t.ID, t.Executor, by)
			}
		}
		if t.Report != "" && w.reports[t.Report] != t.ID {
			w.fail("attempt %s ended by the report %s, which is about %s", t.ID, t.Report, w.reports[t.Report])
		}
		if t.Late {
			w.stats["late"]++
		}
	}
	if (a.State == entropy.ActionSucceeded) != (wins == 1) || wins > 1 {
		w.fail("action %s is %s, and %d attempts succeeded", a.ID, a.State, wins)
	}
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
