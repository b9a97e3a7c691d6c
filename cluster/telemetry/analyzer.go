package telemetry

import "github.com/prometheus/client_golang/prometheus"

// AnalyzerStats is what the analyzer says of itself.
type AnalyzerStats struct {
	Live        bool    // it has read the past
	Lag         uint64  // rows of the ledger that it has not seen
	Phi         float64 // system entropy, bits per event
	Silent      int     // sources
	Series      int
	Open        int // deviations
	Evicted     uint64
	Events      uint64
	Deviations  uint64
	FalseAlarms float64 // that are admitted in a day
}

// analyzerCollector turns [AnalyzerStats] into metrics at each scrape.
type analyzerCollector struct {
	source func() AnalyzerStats

	live, lag, phi, silent, series, open, evicted, events, deviations, falseAlarms *prometheus.Desc
}

func newAnalyzerCollector(source func() AnalyzerStats) *analyzerCollector {
	return &analyzerCollector{
		source:      source,
		live:        describe("entropy_analyzer_live", "1 when the analyzer has read the past, 0 while it does."),
		lag:         describe("entropy_analyzer_lag_rows", "Rows of the ledger that the analyzer has not seen yet."),
		phi:         describe("entropy_analyzer_phi_bits", "System entropy of the last hour with events, in bits per event."),
		silent:      describe("entropy_analyzer_silent_sources", "Sources of events that are silent for longer than they ever are."),
		series:      describe("entropy_analyzer_series", "Steps of entities that are remembered."),
		open:        describe("entropy_analyzer_open_deviations", "Deviations that have not ended."),
		evicted:     describe("entropy_analyzer_evicted_series_total", "Steps of entities forgotten for want of room since the start."),
		events:      describe("entropy_analyzer_events_total", "Events observed since the start, the past included."),
		deviations:  describe("entropy_analyzer_deviations_total", "Deviations found since the start, the past included."),
		falseAlarms: describe("entropy_analyzer_admitted_false_alarms", "False alarms in a day that the limit in force admits."),
	}
}

// Describe implements prometheus.Collector.
func (c *analyzerCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.live, c.lag, c.phi, c.silent, c.series, c.open, c.evicted, c.events, c.deviations, c.falseAlarms} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *analyzerCollector) Collect(ch chan<- prometheus.Metric) {
	st := c.source()
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	count := func(d *prometheus.Desc, v uint64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v))
	}
	gauge(c.live, map[bool]float64{true: 1}[st.Live])
	gauge(c.lag, float64(st.Lag))
	gauge(c.phi, st.Phi)
	gauge(c.silent, float64(st.Silent))
	gauge(c.series, float64(st.Series))
	gauge(c.open, float64(st.Open))
	gauge(c.falseAlarms, st.FalseAlarms)
	count(c.evicted, st.Evicted)
	count(c.events, st.Events)
	count(c.deviations, st.Deviations)
}
