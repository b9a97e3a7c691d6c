package telemetry

import "github.com/prometheus/client_golang/prometheus"

// RulesStats is how the rules by which surprise becomes action stand.
type RulesStats struct {
	Storm      bool  // too many actions were wanted: every rule only suggests
	Demoted    int   // rules that ask because their actions did harm
	Matched    int64 // deviations, by each rule
	Fired      int64
	Suppressed map[string]int64 // by why
	Errors     int64
}

// rulesCollector turns [RulesStats] into metrics at each scrape.
type rulesCollector struct {
	source                                               func() RulesStats
	storm, demoted, matched, fired, suppressed, mistakes *prometheus.Desc
}

func newRulesCollector(source func() RulesStats) *rulesCollector {
	return &rulesCollector{
		source:     source,
		storm:      describe("entropy_rules_storm", "1 while every rule only suggests, because too many actions were wanted at once."),
		demoted:    describe("entropy_rules_demoted", "Rules that ask instead of acting, because their actions did harm."),
		matched:    describe("entropy_rules_matched_total", "Deviations that a rule matched, those of the last 28 days before the start included."),
		fired:      describe("entropy_rules_fired_total", "Times that a rule observed, suggested or asked, those of the last 28 days before the start included."),
		suppressed: describe("entropy_rules_suppressed_total", "Times that a rule matched and was held back, by why.", "why"),
		mistakes:   describe("entropy_rules_errors_total", "Expressions that failed."),
	}
}

// Describe implements prometheus.Collector.
func (c *rulesCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.storm, c.demoted, c.matched, c.fired, c.suppressed, c.mistakes} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *rulesCollector) Collect(ch chan<- prometheus.Metric) {
	st := c.source()
	put := func(d *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, t, v, labels...)
	}
	put(c.storm, prometheus.GaugeValue, map[bool]float64{true: 1}[st.Storm])
	put(c.demoted, prometheus.GaugeValue, float64(st.Demoted))
	put(c.matched, prometheus.CounterValue, float64(st.Matched))
	put(c.fired, prometheus.CounterValue, float64(st.Fired))
	for why, n := range st.Suppressed {
		put(c.suppressed, prometheus.CounterValue, float64(n), why)
	}
	put(c.mistakes, prometheus.CounterValue, float64(st.Errors))
}
