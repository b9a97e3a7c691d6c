package telemetry

import (
	"context"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/entropy-fabric/entropy"
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// statusCollector turns an [entropy.Status] into metrics at each scrape.
type statusCollector struct {
	source  StatusSource
	timeout time.Duration
	failed  atomic.Uint64

	jobs, workers, seq, epoch, started, readOnly, alarms, counters, failures *prometheus.Desc
}

func newStatusCollector(source StatusSource, timeout time.Duration) *statusCollector {
	return &statusCollector{
		source: source, timeout: timeout,
		jobs:     describe("entropy_jobs", "Jobs now in each state.", "state"),
		workers:  describe("entropy_workers", "Workers now in each state.", "state"),
		seq:      describe("entropy_journal_position", "Sequence number of the newest journaled event."),
		epoch:    describe("entropy_journal_epoch", "Epoch of the journal; it rises at promotion and restore."),
		started:  describe("entropy_control_start_time_seconds", "When the control plane started, in Unix time."),
		readOnly: describe("entropy_control_read_only", "1 while the control plane accepts nothing that changes something."),
		alarms:   describe("entropy_control_alarms", "Alarms that are raised now."),
		counters: describe("entropy_fabric_occurrences_total", "What happened since the control plane started, by kind.", "kind"),
		failures: describe("entropy_telemetry_scrape_failures_total", "Scrapes that could not read the state of the control plane."),
	}
}

// Describe implements prometheus.Collector.
func (c *statusCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.jobs, c.workers, c.seq, c.epoch, c.started, c.readOnly, c.alarms, c.counters, c.failures} {
		ch <- d
	}
}

// maxKinds bounds the label kind and the workers' states.
const maxKinds = 128

// Collect implements prometheus.Collector. A state without jobs is 0, not absent,
// so that alerts on it work from the first scrape.
func (c *statusCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	st, err := c.source.Status(ctx)
	if err != nil {
		c.failed.Add(1)
	}
	ch <- prometheus.MustNewConstMetric(c.failures, prometheus.CounterValue, float64(c.failed.Load()))
	if err != nil {
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, s := range entropy.States {
		gauge(c.jobs, float64(st.Jobs[s]), string(s))
	}
	for _, s := range []entropy.WorkerState{entropy.WorkerAlive, entropy.WorkerLost, entropy.WorkerLeft} {
		gauge(c.workers, float64(st.Workers[string(s)]), string(s))
	}
	gauge(c.seq, float64(st.Seq))
	gauge(c.epoch, float64(st.Epoch))
	gauge(c.started, float64(st.StartedAt.UnixMilli())/1000)
	gauge(c.readOnly, map[bool]float64{true: 1}[st.ReadOnly])
	gauge(c.alarms, float64(len(st.Alarms)))
	kinds := slices.Sorted(maps.Keys(st.Counters))
	for _, kind := range kinds[:min(len(kinds), maxKinds)] {
		ch <- prometheus.MustNewConstMetric(c.counters, prometheus.CounterValue, st.Counters[kind], kind)
	}
}

// journalCollector turns [JournalStats] into metrics at each scrape.
type journalCollector struct {
	source func() JournalStats

	commits, events, latency, batch, queued *prometheus.Desc
}

func newJournalCollector(source func() JournalStats) *journalCollector {
	return &journalCollector{
		source:  source,
		commits: describe("entropy_journal_commits_total", "Group commits since the journal was opened."),
		events:  describe("entropy_journal_events_total", "Events appended since the journal was opened."),
		latency: describe("entropy_journal_commit_duration_seconds", "Time of one group commit, fsync included."),
		batch:   describe("entropy_journal_batch_events", "Events in one group commit."),
		queued:  describe("entropy_journal_queued_appends", "Appends that wait for the next group commit."),
	}
}

// Describe implements prometheus.Collector.
func (c *journalCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.commits, c.events, c.latency, c.batch, c.queued} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *journalCollector) Collect(ch chan<- prometheus.Metric) {
	st := c.source()
	ch <- prometheus.MustNewConstMetric(c.commits, prometheus.CounterValue, float64(st.Commits))
	ch <- prometheus.MustNewConstMetric(c.events, prometheus.CounterValue, float64(st.Events))
	ch <- prometheus.MustNewConstMetric(c.queued, prometheus.GaugeValue, float64(st.QueuedAppends))
	for d, h := range map[*prometheus.Desc]Histogram{c.latency: st.CommitSeconds, c.batch: st.BatchEvents} {
		ch <- prometheus.MustNewConstHistogram(d, h.Count, h.Sum, h.Buckets)
	}
}

// outboxCollector turns [OutboxStats] into metrics at each scrape.
type outboxCollector struct {
	source                         func() []OutboxStats
	lag, lagFor, delivered, failed *prometheus.Desc
}

func newOutboxCollector(source func() []OutboxStats) *outboxCollector {
	return &outboxCollector{
		source:    source,
		lag:       describe("entropy_outbox_lag_events", "Events that are journaled and not yet published.", "sink"),
		lagFor:    describe("entropy_outbox_lag_seconds", "How long there have been events that are not yet published.", "sink"),
		delivered: describe("entropy_outbox_delivered_events_total", "Events published since the start.", "sink"),
		failed:    describe("entropy_outbox_failures_total", "Attempts to publish that failed since the start.", "sink"),
	}
}

// Describe implements prometheus.Collector.
func (c *outboxCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.lag, c.lagFor, c.delivered, c.failed} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *outboxCollector) Collect(ch chan<- prometheus.Metric) {
	for _, st := range c.source() {
		ch <- prometheus.MustNewConstMetric(c.lag, prometheus.GaugeValue, float64(st.Lag), st.Sink)
		ch <- prometheus.MustNewConstMetric(c.lagFor, prometheus.GaugeValue, st.LagFor.Seconds(), st.Sink)
		ch <- prometheus.MustNewConstMetric(c.delivered, prometheus.CounterValue, float64(st.Delivered), st.Sink)
		ch <- prometheus.MustNewConstMetric(c.failed, prometheus.CounterValue, float64(st.Failures), st.Sink)
	}
}
