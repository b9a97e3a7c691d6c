package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer/generate"
)

// series is the latency file of the Numenta Anomaly Benchmark that the story uses: of
// requests to a server, every five minutes for two weeks.
const series = "nab/data/realKnownCause/ec2_request_latency_system_failure.csv"

// every is the distance of two measurements.
const every = 5 * time.Minute

// learnt is how many measurements are learned from, and needed how many there must
// be: the story goes on with those that follow.
const (
	learnt = 2300
	needed = learnt + 20*window
)

// latencies returns measurements in milliseconds, and where they are from.
func latencies(data string) (values []float64, from string, err error) {
	if data == "" {
		cfg := generate.Config{Seed: 7, Days: 60, Entities: 1, Flat: true, Sigma: 0.3}
		for e := range cfg.Events() {
			if e.Step == "process" && !e.Absent {
				values = append(values, float64(e.Took)/float64(time.Millisecond))
			}
		}
		from = "generated latencies"
	} else {
		if values, err = readSeries(filepath.Join(data, series)); err != nil {
			return nil, "", err
		}
		from = "real latencies: " + series
	}
	if len(values) < needed {
		return nil, "", fmt.Errorf("there are %d latencies, the story needs %d", len(values), needed)
	}
	return values, from, nil
}

func readSeries(file string) (values []float64, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("%w; without -data, latencies are generated", err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for _, r := range rows[1:] {
		v, err := strconv.ParseFloat(r[1], 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		values = append(values, v)
	}
	return values, nil
}

// feed is the agent that measures the service and reports it.
type feed struct {
	client *entropy.Client
	values []float64
	begin  time.Time
	n      int // measurements so far
}

// report reports n further measurements, each made longer by a factor.
func (f *feed) report(ctx context.Context, n int, factor float64) error {
	for n > 0 {
		batch := min(n, entropy.MaxIngest)
		items := make([]json.RawMessage, batch)
		for i := range items {
			ms := f.values[f.n%len(f.values)] * factor
			items[i] = fmt.Appendf(nil, `{"id":"m-%d","ts":%q,"event_type":"request","entity_id":"service:edge","source":{"system":"probe"},"attrs":{"duration_ms":%.3f}}`,
				f.n, f.at().Format(time.RFC3339Nano), ms)
			f.n++
		}
		results, err := f.client.Ingest(ctx, items)
		if err != nil {
			return err
		}
		for _, r := range results {
			if r.Status != entropy.IngestAccepted {
				return fmt.Errorf("a measurement is %s: %s", r.Status, r.Reason)
			}
		}
		n -= batch
	}
	return nil
}

// at returns when the next measurement is made, by the time of the story.
func (f *feed) at() time.Time { return f.begin.Add(time.Duration(f.n) * every).UTC() }
