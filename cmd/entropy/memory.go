package main

import (
	"os"
	"runtime/debug"
)

// relaxCollector lets the heap of a control plane grow to five times what lives
// in it before it is collected, because most of what it allocates dies with the
// request; but not beyond the limit, from where on memory counts for more than
// speed. What the analyzer may take comes on top. GOGC and GOMEMLIMIT, when set, decide instead.
func relaxCollector(analyzer int64) {
	const limit = 400 << 20 // bytes
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(400)
		debug.SetMemoryLimit(limit + analyzer)
	}
}
