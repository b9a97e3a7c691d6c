package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/telemetry"
)

// source is a StatusSource.
type source struct {
	status entropy.Status
	err    error
}

func (s *source) Status(context.Context) (entropy.Status, error) { return s.status, s.err }

func full(t *testing.T) (*telemetry.Registry, *source) {
	t.Helper()
	src := &source{status: entropy.Status{Epoch: 2, Seq: 77, StartedAt: time.Unix(1_700_000_000, 0), ReadOnly: true, Alarms: []string{"disk_full"},
		Jobs: map[entropy.State]int64{entropy.Pending: 5, entropy.Running: 2}, Workers: map[string]int{"alive": 3}, Counters: map[string]float64{"lost": 4, "retried": 1}}}
	reg, err := telemetry.New(telemetry.Config{Version: "v1.2.3", Status: src, Journal: func() telemetry.JournalStats {
		return telemetry.JournalStats{Commits: 10, Events: 30, QueuedAppends: 4,
			CommitSeconds: telemetry.Histogram{Count: 10, Sum: .5, Buckets: map[float64]uint64{.01: 4, .1: 10}},
			BatchEvents:   telemetry.Histogram{Count: 10, Sum: 30, Buckets: map[float64]uint64{1: 2, 10: 10}}}
	}})
	if err != nil {
		t.Fatal(err)
	}
	reg.Observe("/v1/jobs", "POST", 201, 3*time.Millisecond)
	reg.Observe("/v1/jobs", "POST", 201, 30*time.Millisecond)
	return reg, src
}

// proves O-1
func TestOutboxMetrics(t *testing.T) {
	reg, err := telemetry.New(telemetry.Config{Outbox: func() []telemetry.OutboxStats {
		return []telemetry.OutboxStats{{Sink: "bus", Lag: 7, LagFor: 1500 * time.Millisecond, Delivered: 100, Failures: 2}}
	}})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	families, err := reg.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		m := f.GetMetric()[0]
		got[f.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
	}
	for name, want := range map[string]float64{"entropy_outbox_lag_events": 7, "entropy_outbox_lag_seconds": 1.5,
		"entropy_outbox_delivered_events_total": 100, "entropy_outbox_failures_total": 2} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
}

// proves O-1
func TestMetrics(t *testing.T) {
	reg, _ := full(t)
	const want = `
# HELP entropy_jobs Jobs now in each state.
# TYPE entropy_jobs gauge
entropy_jobs{state="assigned"} 0
entropy_jobs{state="canceled"} 0
entropy_jobs{state="failed"} 0
entropy_jobs{state="lost"} 0
entropy_jobs{state="pending"} 5
entropy_jobs{state="retrying"} 0
entropy_jobs{state="running"} 2
entropy_jobs{state="scheduled"} 0
entropy_jobs{state="succeeded"} 0
# HELP entropy_workers Workers now in each state.
# TYPE entropy_workers gauge
entropy_workers{state="alive"} 3
entropy_workers{state="left"} 0
entropy_workers{state="lost"} 0
# HELP entropy_control_read_only 1 while the control plane accepts nothing that changes something.
# TYPE entropy_control_read_only gauge
entropy_control_read_only 1
# HELP entropy_fabric_occurrences_total What happened since the control plane started, by kind.
# TYPE entropy_fabric_occurrences_total counter
entropy_fabric_occurrences_total{kind="lost"} 4
entropy_fabric_occurrences_total{kind="retried"} 1
# HELP entropy_journal_commit_duration_seconds Time of one group commit, fsync included.
# TYPE entropy_journal_commit_duration_seconds histogram
entropy_journal_commit_duration_seconds_bucket{le="0.01"} 4
entropy_journal_commit_duration_seconds_bucket{le="0.1"} 10
entropy_journal_commit_duration_seconds_bucket{le="+Inf"} 10
entropy_journal_commit_duration_seconds_sum 0.5
entropy_journal_commit_duration_seconds_count 10
# HELP entropy_http_requests_total Requests answered, by route pattern, method and status.
# TYPE entropy_http_requests_total counter
entropy_http_requests_total{method="POST",route="/v1/jobs",status="201"} 2
`
	if err := testutil.GatherAndCompare(reg.Gatherer(), strings.NewReader(want), "entropy_jobs", "entropy_workers", "entropy_control_read_only",
		"entropy_fabric_occurrences_total", "entropy_journal_commit_duration_seconds", "entropy_http_requests_total"); err != nil {
		t.Error(err)
	}
}

// proves O-1: names, units and help as Prometheus wants them
func TestLint(t *testing.T) {
	reg, _ := full(t)
	problems, err := testutil.GatherAndLint(reg.Gatherer())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "entropy_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	families, err := reg.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	ours := 0
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "entropy_") {
			ours++
		}
	}
	if ours < 15 {
		t.Errorf("only %d metrics of ours", ours)
	}
}

// proves O-1: a control plane that cannot say its state can still be scraped
func TestScrapeFailure(t *testing.T) {
	reg, src := full(t)
	src.err = errors.New("busy")
	for n := 1; n <= 2; n++ {
		rec := httptest.NewRecorder()
		reg.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
		body := rec.Body.String()
		if rec.Code != 200 || !strings.Contains(body, "entropy_build_info{") || !strings.Contains(body, `version="v1.2.3"`) || strings.Contains(body, "entropy_jobs{") {
			t.Fatalf("%d %.500s", rec.Code, body)
		}
		if !strings.Contains(body, "entropy_telemetry_scrape_failures_total "+string(rune('0'+n))) {
			t.Errorf("scrape %d is not counted", n)
		}
	}
}

func TestRegister(t *testing.T) {
	reg, _ := full(t)
	c := prometheus.NewGauge(prometheus.GaugeOpts{Name: "entropy_test_things", Help: "Things."})
	if err := reg.Register(c); err != nil {
		t.Fatal(err)
	}
	if err := reg.Register(c); err == nil {
		t.Error("the same metric was registered twice")
	}
	if _, err := telemetry.New(telemetry.Config{Timeout: -1}); err == nil {
		t.Error("a negative timeout was accepted")
	}
}

// proves attack 23: a log line cannot be split
func TestLogger(t *testing.T) {
	for _, format := range []string{"", telemetry.FormatText, telemetry.FormatJSON} {
		var b bytes.Buffer
		log, err := telemetry.NewLogger(&b, format, "warn")
		if err != nil {
			t.Fatal(err)
		}
		log.Info("not shown")
		log.Warn("shown", "name", "a\nlevel=ERROR msg=forged\x1b[31m")
		if n := strings.Count(b.String(), "\n"); n != 1 || strings.Contains(b.String(), "\x1b") {
			t.Errorf("%s: %q", format, b.String())
		}
		if format == telemetry.FormatJSON {
			var line struct{ Time time.Time }
			if err := json.Unmarshal(b.Bytes(), &line); err != nil || line.Time.Location() != time.UTC {
				t.Errorf("%q: %v %v", b.String(), line, err)
			}
		}
	}
	for _, bad := range [][2]string{{"xml", "info"}, {"text", "loud"}, {"text", "info+3"}} {
		if _, err := telemetry.NewLogger(&bytes.Buffer{}, bad[0], bad[1]); entropy.ErrorCode(err) != entropy.CodeInvalid {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

// proves O-1: readiness says what is not ready, and why
func TestHealth(t *testing.T) {
	var h telemetry.Health
	if err := h.Ready(); err != nil {
		t.Fatal(err)
	}
	h.Set("listener", func() error { return nil })
	h.Fail("journal", entropy.Errorf(entropy.CodeDiskFull, "the disk is full").WithHint("free some space"))
	h.Fail("recovery", errors.New("still sweeping"))
	err := h.Ready()
	if e := entropy.AsError(err); e == nil || e.Code != entropy.CodeUnavailable || e.Message != "journal: the disk is full; recovery: still sweeping" || e.Hint != "free some space" {
		t.Fatalf("%v", err)
	}
	h.Set("journal", nil)
	h.Set("recovery", nil)
	if err := h.Ready(); err != nil {
		t.Fatal(err)
	}
}
