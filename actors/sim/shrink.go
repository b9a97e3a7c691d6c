package sim

// Shrink looks for the few planned faults that a broken history needs: it leaves
// out one after the other, and keeps out those without which the same invariant
// is still broken. Runs bounds how many histories it tries. It returns the
// configuration of the smallest history found.
func Shrink(cfg Config, runs int) Config {
	first := Run(cfg)
	if first.Violation == nil {
		return cfg
	}
	breaks := func(c Config) bool {
		runs--
		r := Run(c)
		return r.Violation != nil && r.Violation.Invariant == first.Violation.Invariant
	}
	if calm := cfg; runs > 0 {
		calm.Calm = true
		if breaks(calm) {
			cfg = calm
		}
	}
	for _, f := range first.Faults {
		if runs <= 0 {
			break
		}
		less := cfg
		less.Without = append(append([]int(nil), cfg.Without...), f.number)
		if breaks(less) {
			cfg = less
		}
	}
	return cfg
}
