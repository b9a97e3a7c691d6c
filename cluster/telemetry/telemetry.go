// Package telemetry is how the fabric is watched: a Prometheus registry over
// small sources, the set-up of structured logs, and readiness made of named
// checks.
//
// Metrics are named entropy_<subsystem>_<noun>_<unit>, with _total for counters.
// Every label has few values by construction: states, route patterns, methods
// and status codes; never an ID or a name that a user chose.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/entropy-fabric/entropy"
)

// StatusSource is where the gauges of jobs and workers come from.
// [entropy.Service] is one.
type StatusSource interface {
	Status(ctx context.Context) (entropy.Status, error)
}

// JournalStats is what a journal counted since it was opened.
type JournalStats struct {
	Commits       uint64    // group commits
	Events        uint64    // events in them
	CommitSeconds Histogram // latency of a commit, fsync included
	BatchEvents   Histogram // events in one commit
	QueuedAppends int       // appends that wait for the next commit
}

// OutboxStats is how far the journal is relayed to a sink.
type OutboxStats struct {
	Sink      string        // its name: few, and always the same
	Lag       uint64        // events that are journaled and not published
	LagFor    time.Duration // how long there have been any
	Delivered uint64        // events, since the start
	Failures  uint64        // attempts that failed, since the start
}

// Histogram is an aggregated histogram: Buckets maps an upper bound to how many
// observations were at or below it (cumulative). The bound +Inf is implied.
type Histogram struct {
	Count   uint64
	Sum     float64
	Buckets map[float64]uint64
}

// Config of a [Registry]. The zero value serves runtime and request metrics only.
type Config struct {
	// Version is the release, for entropy_build_info; "" means "dev".
	Version string
	// Status gives the state of the fabric at each scrape; nil leaves its metrics out.
	Status StatusSource
	// Journal gives the journal's statistics at each scrape; nil leaves them out.
	Journal func() JournalStats
	// Analyzer gives the analyzer's figures at each scrape; nil leaves them out.
	Analyzer func() AnalyzerStats
	// Rules gives the rules' figures at each scrape; nil leaves them out.
	Rules func() RulesStats
	// Outbox gives how far the journal is relayed to each sink at each scrape; nil leaves it out.
	Outbox func() []OutboxStats
	// Timeout bounds one reading of Status; 0 means 5 s.
	Timeout time.Duration
}

func (c Config) withDefaults() Config {
	if c.Version == "" {
		c.Version = "dev"
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	return c
}

// Registry holds the metrics of one process. It is safe for concurrent use.
type Registry struct {
	reg      *prometheus.Registry
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

// New returns a registry with everything conf names.
func New(conf Config) (*Registry, error) {
	conf = conf.withDefaults()
	if conf.Timeout < 0 {
		return nil, errors.New("telemetry: the timeout is negative")
	}
	r := &Registry{
		reg: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "entropy_http_requests_total",
			Help: "Requests answered, by route pattern, method and status."}, []string{"route", "method", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "entropy_http_request_duration_seconds",
			Help:    "Time from a request's header to its answer's end, long polls included, by route pattern.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 15, 60}}, []string{"route"}),
	}
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "entropy_build_info", Help: "Always 1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": conf.Version, "goversion": runtime.Version()}}, func() float64 { return 1 })
	all := []prometheus.Collector{r.requests, r.duration, build, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})}
	if conf.Status != nil {
		all = append(all, newStatusCollector(conf.Status, conf.Timeout))
	}
	if conf.Journal != nil {
		all = append(all, newJournalCollector(conf.Journal))
	}
	if conf.Analyzer != nil {
		all = append(all, newAnalyzerCollector(conf.Analyzer))
	}
	if conf.Rules != nil {
		all = append(all, newRulesCollector(conf.Rules))
	}
	if conf.Outbox != nil {
		all = append(all, newOutboxCollector(conf.Outbox))
	}
	for _, c := range all {
		if err := r.reg.Register(c); err != nil {
			return nil, fmt.Errorf("telemetry: %w", err)
		}
	}
	return r, nil
}

// Register adds a collector of another subsystem.
func (r *Registry) Register(c prometheus.Collector) error {
	if err := r.reg.Register(c); err != nil {
		return fmt.Errorf("telemetry: %w", err)
	}
	return nil
}

// Gatherer returns the registry as tests and pushers read it.
func (r *Registry) Gatherer() prometheus.Gatherer { return r.reg }

// Handler serves GET /metrics. At most 4 scrapes run at a time.
func (r *Registry) Handler() http.Handler {
	return promhttp.HandlerFor(r.reg, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4, DisableCompression: true})
}

// Observe counts one answered request. The pattern is the route's, not the path:
// it must be one of few.
func (r *Registry) Observe(pattern, method string, status int, took time.Duration) {
	r.requests.WithLabelValues(pattern, method, strconv.Itoa(status)).Inc()
	r.duration.WithLabelValues(pattern).Observe(took.Seconds())
}
