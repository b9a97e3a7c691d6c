package fabric_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer/generate"
	"github.com/entropy-fabric/entropy/cluster/bus"
	"github.com/entropy-fabric/entropy/fabric"
)

// suppliers is thirteen days of a few suppliers, of which one becomes slow and another
// does not deliver now and then.
func suppliers() (items []json.RawMessage) {
	day := 24 * time.Hour
	c := generate.Config{Days: 13, Entities: 8, Sigma: 0.3, Overlays: []generate.Overlay{
		{Kind: generate.Drift, Entity: 3, Step: "process", From: 11 * day, For: day},
		{Kind: generate.Missing, Entity: 5, Step: "deliver", From: 11 * day, For: day, Share: 0.3},
	}}
	for e := range c.Events() {
		if e.Absent {
			continue
		}
		item, err := json.Marshal(entropy.Event{ID: fmt.Sprintf("%s-%s-%d", e.Case, e.Step, e.At.UnixNano()), TS: e.At, Type: "step.completed", EntityID: e.Entity, CorrelationID: e.Case,
			Source: entropy.Source{System: "generate"}, Tags: map[string]string{"step": e.Step}, Schema: 1,
			Attrs: fmt.Appendf(nil, `{"latency_ms":%.3f}`, float64(e.Took)/float64(time.Millisecond))})
		if err != nil {
			panic(err)
		}
		items = append(items, item)
	}
	return items
}

// importAll sends items in batches, each until it is acknowledged; between is called
// after each.
func importAll(t *testing.T, in entropy.IngestService, items []json.RawMessage, between func(sent int)) {
	t.Helper()
	for i := 0; i < len(items); i += 500 {
		batch := items[i:min(len(items), i+500)]
		eventually(t, 30*time.Second, func() bool { _, err := in.Ingest(t.Context(), batch); return err == nil }, func() string { return "an import" })
		between(i + len(batch))
	}
}

// settled waits until the analyzer has seen everything, its own findings included.
func settled(t *testing.T, s entropy.EntropyService) (st entropy.EntropyStatus) {
	t.Helper()
	eventually(t, time.Minute, func() bool {
		var err error
		st, err = s.Entropy(t.Context(), false)
		return err == nil && st.State == entropy.EntropyLive && st.Row == st.LastRow && st.Problem == ""
	}, func() string { return fmt.Sprintf("%+v", st) })
	st, err := s.Entropy(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// findings returns the events of deviations of a ledger, by ID: how often each is there.
func findings(t *testing.T, in entropy.IngestService) map[string]int {
	t.Helper()
	found := map[string]int{}
	for f := (entropy.LedgerFilter{Types: []string{"entropy.deviation", "entropy.recovered"}, Limit: entropy.MaxIngest}); ; {
		page, err := in.Ledger(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Entries {
			var v entropy.Event
			if err := json.Unmarshal(e.Event, &v); err != nil {
				t.Fatal(err)
			}
			found[v.ID+" "+v.IdempotencyKey]++
		}
		if len(page.Entries) < f.Limit {
			return found
		}
		f.After = page.Next
	}
}

// proves E-3, E-5, P-1: a control plane that is killed again and again while it learns
// finds what one finds that is left alone, each once, and has learned the same.
func TestAnalyzerIsKilled(t *testing.T) {
	items := suppliers()
	alone := openControl(t)
	importAll(t, alone.Ingest(), items, func(int) {})
	want := settled(t, alone.Entropy())

	l := newLab(t, 5*time.Second)
	c := l.client()
	kills := 0
	importAll(t, c, items, func(sent int) {
		if sent >= (kills+1)*len(items)/5 && kills < 4 {
			kills++
			if kills%2 == 0 { // once in the midst of it, once when it has caught up
				settled(t, c)
			}
			l.ctl.kill()
			l.startControl()
		}
	})
	got := settled(t, c)
	if kills != 4 {
		t.Fatalf("it was killed %d times", kills)
	}
	if got.Digest != want.Digest {
		t.Errorf("it has learned something else:\n%+v\n%+v", got.Health, want.Health)
	}
	left, right := findings(t, c), findings(t, alone.Ingest())
	if !maps.Equal(left, right) || len(left) < 10 {
		t.Errorf("%d findings, %d when it is left alone", len(left), len(right))
	}
	for id, n := range left {
		if n != 1 {
			t.Errorf("%s is there %d times", id, n)
		}
	}
}

// proves E-4, E-5, I-3: what surprises is found through the running fabric, most
// surprising first, with a series that explains it, and told over HTTP as in process.
func TestSurprises(t *testing.T) {
	c := openControl(t)
	importAll(t, c.Ingest(), suppliers(), func(int) {})
	settled(t, c.Entropy())
	client, err := entropy.NewClient(entropy.ClientConfig{Server: c.URL(), Token: secret(t, c, fabric.AdminTokenFile)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdle)
	for name, s := range map[string]entropy.EntropyService{"in process": c.Entropy(), "over HTTP": client} {
		t.Run(name, func(t *testing.T) { checkSurprises(t, s) })
	}
}

func checkSurprises(t *testing.T, s entropy.EntropyService) {
	ctx := context.Background()
	all, err := s.Deviations(ctx, entropy.DeviationFilter{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSortedFunc(all, func(a, b entropy.Deviation) int { return int(b.Bits*1e6) - int(a.Bits*1e6) }) {
		t.Error("they are not ranked")
	}
	slow, err := s.Deviations(ctx, entropy.DeviationFilter{Entity: "supplier:3", Step: "process", Channel: "location"})
	if err != nil || len(slow) == 0 || slow[0].Direction != "slower" || slow[0].Bits < 10 || len(slow[0].Why) == 0 || len(slow[0].Examples) == 0 {
		t.Fatalf("the slow supplier: %+v, %v", slow, err)
	}
	missing, err := s.Deviations(ctx, entropy.DeviationFilter{Entity: "supplier:5", Channel: "missing", Since: time.Date(2026, 1, 16, 0, 0, 0, 0, time.UTC)})
	if err != nil || len(missing) < 2 || missing[0].Expected == nil {
		t.Errorf("the supplier that does not deliver: %+v, %v", missing, err)
	}
	if kind, err := s.Deviations(ctx, entropy.DeviationFilter{Entity: "supplier:", Limit: 1000}); err != nil || len(kind) != len(all) {
		t.Errorf("%d of the kind, %d in all, %v", len(kind), len(all), err)
	}
	series, err := s.EntropySeries(ctx, "supplier:3", "process")
	if err != nil || len(series.Buckets) == 0 || len(series.Hours) != 168 || len(series.Found) == 0 || series.N < 50 {
		t.Errorf("its series: %+v, %v", series, err)
	}
	if kind, err := s.EntropySeries(ctx, "supplier:*", "process"); err != nil || kind.N < series.N/2 {
		t.Errorf("its kind: %v observations, %v", kind.N, err)
	}
	for _, bad := range [][2]string{{"supplier:3", "nothing"}, {"nobody:1", "process"}, {"supplier:../3", "a/b"}} {
		if _, err := s.EntropySeries(ctx, bad[0], bad[1]); entropy.ErrorCode(err) != entropy.CodeNotFound || entropy.AsError(err).Hint == "" {
			t.Errorf("%v: %v", bad, err)
		}
	}
	if _, err := s.Predict(ctx, "no/such"); entropy.ErrorCode(err) != entropy.CodeNotFound {
		t.Errorf("a case that is not: %v", err)
	}
	effect, err := s.EntropyEffect(ctx, entropy.EffectQuery{At: time.Date(2026, 1, 16, 12, 0, 0, 0, time.UTC), Kinds: []string{"supplier"}, Before: 48 * time.Hour, After: 12 * time.Hour})
	if err != nil || effect.EventsBefore < 1000 || effect.EventsAfter < 100 || effect.Before <= 0 {
		t.Errorf("before and after: %+v, %v", effect, err)
	}
	for _, bad := range []entropy.EffectQuery{{}, {At: time.Now(), Before: -time.Hour}, {At: time.Now(), After: 1000 * time.Hour}} {
		if _, err := s.EntropyEffect(ctx, bad); entropy.ErrorCode(err) != entropy.CodeInvalid {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	st, err := s.Entropy(ctx, false)
	if err != nil || st.Phi <= 0 || len(st.Hours) < 100 || len(st.Kinds) == 0 || len(st.Sources) == 0 || st.Health.Series == 0 {
		t.Errorf("status: %+v, %v", st.Health, err)
	}
}

// proves I-4: without an analyzer there is none, and it says how to have one.
func TestNoAnalyzer(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	c, err := fabric.OpenControl(ctx, fabric.ControlConfig{DataDir: t.TempDir(), Listen: "127.0.0.1:0", Bus: fabric.BusConfig{Off: true}, Analyzer: fabric.AnalyzerConfig{Off: true}, Logger: testLogger()})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	defer func() { cancel(); <-done }()
	client, err := entropy.NewClient(entropy.ClientConfig{Server: c.URL(), Token: secret(t, c, fabric.AdminTokenFile)})
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdle()
	if _, err := client.Deviations(ctx, entropy.DeviationFilter{}); entropy.ErrorCode(err) != entropy.CodeNotFound || c.Entropy() != nil {
		t.Errorf("%v", err)
	}
	_, err = fabric.OpenControl(ctx, fabric.ControlConfig{DataDir: t.TempDir(), Listen: "127.0.0.1:0", Analyzer: fabric.AnalyzerConfig{Zone: "Atlantis/Deep"}})
	if entropy.ErrorCode(err) != entropy.CodeInvalid {
		t.Errorf("a zone that is not: %v", err)
	}
}

// proves E-5, A-1: what is found goes out on the bus too, all of it, by its kind and
// with its ID, also what was found before the bus was there.
func TestFindingsOnTheBus(t *testing.T) {
	dir := t.TempDir()
	open := func(b fabric.BusConfig) (*fabric.Control, func()) {
		ctx, cancel := context.WithCancel(context.Background())
		c, err := fabric.OpenControl(ctx, fabric.ControlConfig{DataDir: dir, Listen: "127.0.0.1:0", NoDiscovery: true, Gossip: fabric.GossipConfig{Off: true}, Bus: b, Logger: testLogger()})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		return c, sync.OnceFunc(func() { cancel(); <-done })
	}
	items := suppliers()
	c, stop := open(fabric.BusConfig{Off: true})
	importAll(t, c.Ingest(), items[:len(items)/2], func(int) {})
	settled(t, c.Entropy())
	before := len(findings(t, c.Ingest()))
	stop()
	c, stop = open(fabric.BusConfig{Listen: "127.0.0.1:0"})
	defer stop()
	importAll(t, c.Ingest(), items[len(items)/2:], func(int) {})
	settled(t, c.Entropy())
	want := findings(t, c.Ingest())
	if before == 0 || len(want) == before {
		t.Fatalf("%d findings, and %d before there was a bus", len(want), before)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	got := map[string]int{}
	consumed := make(chan error, 1)
	go func() {
		consumed <- c.Bus().Consume(ctx, bus.StreamEntropy, "test", "", func(_ context.Context, m bus.Message) bus.Disposition {
			var e entropy.Event
			if json.Unmarshal(m.Data, &e) != nil || m.Header["Nats-Msg-Id"][0] != e.ID || m.Header["ce-id"][0] != e.ID || e.Type == entropy.EntropyStarted {
				t.Errorf("%s: %s", m.Subject, m.Data)
			}
			if e.Type == entropy.EntropyDeviation && m.Subject != "entropy.deviation.supplier" {
				t.Errorf("on %s", m.Subject)
			}
			if e.Type == entropy.EntropyDeviation || e.Type == entropy.EntropyRecovered {
				mu.Lock()
				got[e.ID+" "+e.IdempotencyKey]++
				mu.Unlock()
			}
			return bus.Ack()
		})
	}()
	eventually(t, 30*time.Second, func() bool { mu.Lock(); defer mu.Unlock(); return maps.Equal(got, want) },
		func() string {
			mu.Lock()
			defer mu.Unlock()
			return fmt.Sprintf("%d of %d findings", len(got), len(want))
		})
	cancel()
	if err := <-consumed; err != nil {
		t.Error(err)
	}
}

// proves E-4: a step that vanishes is found within its expected gap, through the running
// fabric, while nothing else arrives any more: by the wall's clock alone.
func TestAStepVanishes(t *testing.T) {
	t.Parallel()
	c := openControl(t)
	var items []json.RawMessage
	add := func(id, step string, at time.Time) {
		items = append(items, fmt.Appendf(nil, `{"id":"%s-%s","ts":%q,"event_type":"step.completed","entity_id":"parcel:1","correlation_id":%q,"source":{"system":"depot"},"tags":{"step":%q}}`,
			id, step, at.Format(time.RFC3339Nano), id, step))
	}
	now := time.Now()
	for i := range 200 { // an hour of the past
		at := now.Add(-time.Hour - time.Duration(200-i)*20*time.Second)
		for j, step := range []string{"taken", "packed", "sent"} {
			add(fmt.Sprintf("p%d", i), step, at.Add(time.Duration(j)*2*time.Second))
		}
	}
	importAll(t, c.Ingest(), items, func(int) {})
	settled(t, c.Entropy())
	items = nil
	taken := time.Now()
	add("open", "taken", taken)
	importAll(t, c.Ingest(), items, func(int) {})
	p, err := c.Entropy().Predict(t.Context(), "open")
	for end := time.Now().Add(10 * time.Second); err != nil && time.Now().Before(end); p, err = c.Entropy().Predict(t.Context(), "open") {
	}
	if err != nil || len(p.Next) == 0 || p.Next[0].Step != "packed" || p.Next[0].P < 0.9 || p.Deadline == nil || p.Deadline.Sub(taken) > 5*time.Second {
		t.Fatalf("what comes next: %+v, %v", p, err)
	}
	var found []entropy.Deviation
	eventually(t, time.Minute, func() bool {
		found, err = c.Entropy().Deviations(t.Context(), entropy.DeviationFilter{Channel: "missing", Open: true})
		return err == nil && len(found) == 1
	}, func() string {
		st, err := c.Entropy().Entropy(t.Context(), false)
		return fmt.Sprintf("taken at %v, found %+v, %v, sources %+v, row %d of %d", taken, found, err, st.Sources, st.Row, st.LastRow)
	})
	d := found[0]
	if d.CorrelationID != "open" || d.Step != "taken" || d.At.Sub(taken) > 5*time.Second {
		t.Errorf("found %+v", d)
	}
	if took := time.Since(d.At); took > 40*time.Second {
		t.Errorf("it was found %v after it was due", took)
	}
	items = nil
	add("open", "packed", time.Now())
	importAll(t, c.Ingest(), items, func(int) {})
	eventually(t, 30*time.Second, func() bool {
		found, err = c.Entropy().Deviations(t.Context(), entropy.DeviationFilter{Channel: "missing", Open: true})
		return err == nil && len(found) == 0
	}, func() string { return fmt.Sprintf("it came, and is still missing: %+v, %v", found, err) })
}
