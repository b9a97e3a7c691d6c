package main

import (
	"encoding/json"
	"io"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/analyzer"
	"github.com/entropy-fabric/entropy/actors/analyzer/detect"
)

// learn lets an analyzer take in a file of events in the envelope, JSON lines,
// "-" for the standard input, in the order of the file. It returns the analyzer
// and the time of the newest event. A line that is no event is an error that
// names it; what teaches nothing is counted on stderr.
func (a *app) learn(file string, cfg analyzer.Config) (*analyzer.Analyzer, time.Time, error) {
	an := analyzer.New(cfg)
	var newest time.Time
	line, learned, other := 0, 0, 0
	take := func(b []byte) error {
		line++
		var e entropy.Event
		if err := json.Unmarshal(b, &e); err != nil {
			return usagef("event %d: %v", line, err).WithHint("each line is one event in the envelope, as entropy generate writes them; entropy import --normalize makes them of other shapes")
		}
		o, ok := analyzer.FromEvent(&e)
		if !ok || e.TS.IsZero() {
			other++
			return nil
		}
		learned++
		if r := an.Observe(o, a.now()); !r.Skewed && o.At.After(newest) {
			newest = o.At
			an.Advance(newest)
		}
		return nil
	}
	read := func(r io.Reader) error { return eachLine(r, take) }
	if err := a.input(file, read); err != nil {
		return nil, newest, err
	}
	h := an.Health()
	if n := uint64(other) + h.Skewed + h.Duplicates + h.Reordered; n > 0 {
		a.notef("of %d events %d have no entity, type or time, %d are from the future, %d came twice, %d are older than what their case or series holds: they teach little or nothing",
			line, other, h.Skewed, h.Duplicates, h.Reordered)
	}
	if learned == 0 {
		return nil, newest, usagef("%s holds no event that the analyzer can learn from", file).WithHint("an event has entity_id, event_type and ts, and its type does not begin with %s", analyzer.OwnPrefix)
	}
	return an, newest, nil
}

// msWords writes milliseconds as people say them.
func msWords(ms float64) string {
	return detect.Words(time.Duration(ms * float64(time.Millisecond)))
}
