// Command surprise shows the entropy layer in a program of one's own: it runs a control
// plane in this process, takes in two weeks of events of a few suppliers, of which one
// becomes slow and another stops delivering now and then, and prints what surprises,
// and why. It keeps nothing and takes a few seconds.
//
//	go run ./examples/surprise
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer/generate"
	"github.com/entropy-fabric/entropy/fabric"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "surprise:", err)
		os.Exit(1)
	}
}

const day = 24 * time.Hour

// history is two weeks with two faults, which nobody tells the fabric of.
var history = generate.Config{Days: 14, Entities: 8, Sigma: 0.3, Overlays: []generate.Overlay{
	{Kind: generate.Drift, Entity: 3, Step: "process", From: 12 * day, For: day, Factor: 1.8},
	{Kind: generate.Missing, Entity: 5, Step: "deliver", From: 12 * day, For: day, Share: 0.3},
}}

// run takes the history in and prints what is found. It fails when a fault is not.
func run(ctx context.Context, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "entropy-surprise-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	control, err := fabric.OpenControl(ctx, fabric.ControlConfig{DataDir: dir, Listen: "127.0.0.1:0", Bus: fabric.BusConfig{Off: true},
		Gossip: fabric.GossipConfig{Off: true}, NoDiscovery: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- control.Run(ctx) }()
	defer func() {
		stop()
		if stopped := <-done; err == nil {
			err = stopped
		}
	}()
	n, err := importHistory(ctx, control.Ingest())
	if err != nil {
		return err
	}
	status, err := learned(ctx, control.Entropy())
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d events of %d series; system entropy %.2f bits per event\n\n", n, status.Health.Series, status.Phi)
	return report(ctx, out, control.Entropy())
}

// importHistory takes the events in as they would come from outside.
func importHistory(ctx context.Context, in entropy.IngestService) (n int, err error) {
	var items []json.RawMessage
	send := func() error {
		_, err := in.Ingest(ctx, items)
		n, items = n+len(items), nil
		return err
	}
	for e := range history.Events() {
		if e.Absent {
			continue
		}
		item, err := json.Marshal(entropy.Event{TS: e.At, Type: "step.completed", EntityID: e.Entity, CorrelationID: e.Case, Source: entropy.Source{System: "suppliers"},
			Tags: map[string]string{"step": e.Step}, Attrs: fmt.Appendf(nil, `{"latency_ms":%d}`, e.Took.Milliseconds()), Schema: 1})
		if err != nil {
			return n, err
		}
		if items = append(items, item); len(items) == entropy.MaxIngest {
			if err := send(); err != nil {
				return n, err
			}
		}
	}
	return n, send()
}

// learned waits until the analyzer has seen everything.
func learned(ctx context.Context, s entropy.EntropyService) (st entropy.EntropyStatus, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		if st, err = s.Entropy(ctx, false); err != nil || st.State == entropy.EntropyLive && st.Row == st.LastRow {
			return st, err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return st, ctx.Err()
		}
	}
}

// report prints the most surprising of what has not ended, and the series of the first.
func report(ctx context.Context, out io.Writer, s entropy.EntropyService) error {
	found, err := s.Deviations(ctx, entropy.DeviationFilter{Bounded: true, Limit: 10, Since: time.Date(2026, 1, 17, 0, 0, 0, 0, time.UTC)})
	if err != nil {
		return err
	}
	slow, missing := false, false
	for _, d := range found {
		fmt.Fprintf(out, "%5.1f bits  %-11s %-8s %-8s %s\n", d.Bits, d.EntityID, d.Step, d.Channel, d.Why[0])
		slow = slow || d.EntityID == "supplier:3" && d.Step == "process" && d.Direction == "slower"
		missing = missing || d.EntityID == "supplier:5" && d.Channel == "missing"
	}
	if !slow || !missing {
		return fmt.Errorf("of the two faults one was not found: slow %v, missing %v", slow, missing)
	}
	series, err := s.EntropySeries(ctx, "supplier:3", "process")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%s %s is learned from %.0f observations; normally half take up to %v\n", series.EntityID, series.Step, series.N, time.Duration(series.NormalP50)*time.Millisecond)
	return nil
}
