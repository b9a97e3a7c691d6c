package live

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer"
	"github.com/entropy-fabric/entropy/actors/analyzer/stat"
)

// lines is a log that is read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), s)
}

// run runs a watcher until the test ends, or stop is called.
func run(t *testing.T, c Config) (w *Watcher, stop func()) {
	t.Helper()
	w, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { w.Run(ctx); close(done) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return w, stop
}

// until polls until something is so.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !f(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

func caughtUp(w *Watcher, m *memory) func() bool {
	return func() bool {
		last, _ := m.Last(context.Background())
		s := w.Stats()
		return s.Row == last && s.State == entropy.EntropyLive
	}
}

// proves E-5: what cannot be recorded now is recorded later: nothing is lost and
// nothing is there twice, the reason is shown meanwhile, and it answers all the time.
func TestTheLedgerIsFull(t *testing.T) {
	m := newMemory()
	w, stop := run(t, Config{Ledger: m})
	until(t, "it reads", caughtUp(w, m))
	events := orders("shop", 3, day0, 48*time.Hour, stat.NewRand(1))
	gone := events[len(events)/2:]
	for i := range gone { // one step is left out that never was
		if gone[i].Tags["step"] == "packed" && i > 100 {
			gone = append(gone[:i:i], gone[i+1:]...)
			break
		}
	}
	m.put(t, time.Now(), append(events[:len(events)/2:len(events)/2], gone...)...)
	m.mu.Lock()
	m.broken = errFull
	m.mu.Unlock()
	m.mu.Lock()
	close(m.changed)
	m.changed = make(chan struct{})
	m.mu.Unlock()
	until(t, "it says why it waits", func() bool {
		st, err := w.Entropy(t.Context(), false)
		return err == nil && strings.Contains(st.Problem, errFull.Error()) || len(m.all(t, entropy.EntropyDeviation)) > 0
	})
	m.mu.Lock()
	m.broken = nil
	m.mu.Unlock()
	until(t, "it goes on", caughtUp(w, m))
	found := m.all(t, entropy.EntropyDeviation)
	if len(found) == 0 {
		t.Fatal("nothing was found")
	}
	list, err := w.Deviations(t.Context(), entropy.DeviationFilter{})
	if err != nil || len(list) != len(found) {
		t.Errorf("%d of %d deviations, %v", len(list), len(found), err)
	}
	before, err := w.Entropy(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if _, err := w.Entropy(t.Context(), false); entropy.ErrorCode(err) != entropy.CodeUnavailable {
		t.Errorf("after its end: %v", err)
	}
	w, _ = run(t, Config{Ledger: m})
	until(t, "it has read the past", caughtUp(w, m))
	after, err := w.Entropy(t.Context(), true)
	if err != nil || after.Digest != before.Digest || after.Health.Series != before.Health.Series {
		t.Errorf("after a restart it knows something else: %v\n%+v\n%+v", err, before.Health, after.Health)
	}
	if again := m.all(t, entropy.EntropyDeviation); len(again) != len(found) {
		t.Errorf("%d deviations after a restart, %d before", len(again), len(found))
	}
}

// proves E-1, "bounded memory everywhere": a million entities of one event each are
// survived in the room that was given; what was forgotten is counted and said once.
func TestAMillionEntities(t *testing.T) {
	withoutRace(t)
	n := 1_000_000
	if testing.Short() || raceEnabled {
		n = 100_000
	}
	var log lines
	m := newMemory()
	w, err := Open(t.Context(), Config{Ledger: m, Memory: LeastMemory, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	limit := w.conf.Analyzer.Series
	row := uint64(1)
	w.engine.row = row
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range n {
		row++
		at := day0.Add(time.Duration(i) * time.Millisecond)
		body := fmt.Appendf(nil, `{"id":"e%d","ts":%q,"event_type":"seen","entity_id":"thing:%d","source":{"system":"s"},"attrs":{"latency_ms":%d},"schema":1}`, i, at.Format(time.RFC3339Nano), i, i%1000)
		w.engine.take(&entropy.LedgerEntry{Row: row, ReceivedAt: at, Origin: "http:x", Event: body})
		if i%100_000 == 0 {
			w.snapshot(t.Context())
		}
	}
	w.snapshot(t.Context())
	w.snapshot(t.Context())
	runtime.GC()
	runtime.ReadMemStats(&after)
	s := w.Stats()
	if s.Health.Series > limit || s.Health.Evicted < uint64(n-limit) || s.Health.Events != uint64(n) {
		t.Errorf("%+v of at most %d series", s.Health, limit)
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 2*LeastMemory {
		t.Errorf("it takes %d MiB of %d", grown>>20, LeastMemory>>20)
	} else {
		t.Logf("%d entities, %d series, %d bytes a series", n, s.Health.Series, grown/int64(s.Health.Series))
	}
	if said := log.count("there are more series than there is room for"); said != 1 {
		t.Errorf("it was said %d times", said)
	}
	runtime.KeepAlive(w)
}

// proves I-4: settings that cannot be are refused with what to write instead.
func TestSettings(t *testing.T) {
	for want, c := range map[string]Config{"none, some or all": {Predict: "often"}, "16 MiB": {Memory: 1000}} {
		c.Ledger = newMemory()
		if _, err := Open(t.Context(), c); err == nil || !strings.Contains(entropy.AsError(err).Hint, want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// proves E-5: predictions are written down as far as it was asked for.
func TestPredictionsAreBounded(t *testing.T) {
	for predict, want := range map[Predict][2]int{PredictNone: {0, 0}, PredictSome: {50, 60}, PredictAll: {600, 1000}} {
		c := settings()
		c.Predict = predict
		r := newRig(t, c)
		r.ledger.put(t, day0.AddDate(0, 1, 0), orders("shop", 3, day0, 24*time.Hour, stat.NewRand(1))...)
		r.drain(day0.AddDate(0, 1, 0))
		if n := len(r.ledger.all(t, entropy.EntropyPredicted)); n < want[0] || n > want[1] {
			t.Errorf("%s: %d predictions, want %d to %d", predict, n, want[0], want[1])
		}
	}
}

// proves E-8: Φ rises while something is not as usual and falls again, of the kind that
// it happens to, and not of the others.
func TestPhi(t *testing.T) {
	r := newRig(t, settings())
	rand := stat.NewRand(3)
	events := orders("shop", 4, day0, 72*time.Hour, rand)
	others := orders("depot", 4, day0, 72*time.Hour, rand)
	for i := range others {
		others[i].EntityID = strings.Replace(others[i].EntityID, "order:", "parcel:", 1)
	}
	from, to := day0.Add(48*time.Hour), day0.Add(54*time.Hour)
	for i := range events { // for six hours everything takes many times as long
		if e := &events[i]; e.TS.After(from) && e.TS.Before(to) && e.Tags["step"] == "sent" {
			e.TS = e.TS.Add(20 * time.Minute)
		}
	}
	all := append(events, others...)
	sortByTime(all)
	r.ledger.put(t, day0.AddDate(0, 1, 0), all...)
	r.drain(day0.AddDate(0, 1, 0))
	up := r.engine.phi.around([]string{"order"}, from, 3*time.Hour, 3*time.Hour)
	if up.Change < 1 || up.ControlAfter-up.ControlBefore > 0.3 || up.EventsBefore < 100 {
		t.Errorf("when it begins: %+v", up)
	}
	down := r.engine.phi.around([]string{"order"}, to.Add(30*time.Minute), 3*time.Hour, 3*time.Hour)
	if down.Change > -1 {
		t.Errorf("when it ends: %+v", down)
	}
	hours := r.ledger.all(t, entropy.EntropyPhi)
	if len(hours) < 70 || len(hours) > 73 {
		t.Errorf("%d hours were written down", len(hours))
	}
	again := newPhi()
	for _, e := range hours {
		body := r.ledger.rows[0].Event
		for i := range r.ledger.rows {
			if strings.Contains(string(r.ledger.rows[i].Event), e.ID) {
				body = r.ledger.rows[i].Event
			}
		}
		again.restore(body)
	}
	if a, b := again.around(nil, from, 12*time.Hour, 12*time.Hour), r.engine.phi.around(nil, from, 12*time.Hour, 12*time.Hour); a.Change < b.Change/2 || a.Change <= 0 {
		t.Errorf("restored %+v, it was %+v", a, b)
	}
}

// BenchmarkTake measures an event of the ledger, from its bytes on.
func BenchmarkTake(b *testing.B) {
	events := orders("shop", 50, day0, 14*24*time.Hour, stat.NewRand(1))
	rows := make([]entropy.LedgerEntry, len(events))
	for i, e := range events {
		body := fmt.Appendf(nil, `{"id":%q,"ts":%q,"event_type":"step.completed","entity_id":%q,"correlation_id":%q,"source":{"system":"shop"},"tags":{"step":%q},"attrs":{"latency_ms":%d},"schema":1}`,
			e.ID, e.TS.Format(time.RFC3339Nano), e.EntityID, e.CorrelationID, e.Tags["step"], i%1000)
		rows[i] = entropy.LedgerEntry{Row: uint64(i + 1), ReceivedAt: e.TS.Add(time.Second), Origin: "http:x", Event: body}
	}
	e := newEngine(Config{Analyzer: analyzer.Config{}, Logger: slog.New(slog.DiscardHandler), Predict: PredictSome})
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		row := rows[i%len(rows)]
		row.ReceivedAt = row.ReceivedAt.AddDate(0, 0, 14*(i/len(rows)))
		e.take(&row)
		e.out = nil
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkJob measures the four events of a job of the fabric's own.
func BenchmarkJob(b *testing.B) {
	e := newEngine(Config{Analyzer: analyzer.Config{}, Logger: slog.New(slog.DiscardHandler), Predict: PredictSome}.withDefaults())
	row, at := uint64(0), day0
	take := func(typ string, i int, attrs string) {
		row++
		at = at.Add(10 * time.Millisecond)
		body := fmt.Appendf(nil, `{"id":"e%d","seq":%d,"ts":%q,"event_type":%q,"entity_id":"job:j%d","version":1,"source":{"system":"entropy","ns":{"component":"job"}},"attrs":%s,"schema":1}`,
			row, row, at.Format(time.RFC3339Nano), typ, i, attrs)
		e.take(&entropy.LedgerEntry{Row: row, ReceivedAt: at, Origin: journalOrigin, Event: body})
		e.out = nil
	}
	b.ReportAllocs()
	for i := range b.N {
		take(entropy.JobSubmitted, i, `{"spec":{"name":"build","command":["make","all"],"queue":"q","retry":{"max_attempts":3}},"state":"pending","principal":"admin:x"}`)
		take(entropy.JobAssigned, i, `{"attempt":1,"assignment_id":"a1","worker_id":"w","ttl":"15s"}`)
		take(entropy.JobStarted, i, `{"assignment_id":"a1"}`)
		take(entropy.JobSucceeded, i, `{"assignment_id":"a1","exit_code":0,"usage":{}}`)
	}
}
