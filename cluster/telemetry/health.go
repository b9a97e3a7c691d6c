package telemetry

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/entropy-fabric/entropy"
)

// Health is readiness made of named checks. The zero value is ready. It is safe
// for concurrent use.
type Health struct {
	mu     sync.RWMutex
	checks map[string]func() error
}

// Set adds a check, or replaces the one of that name; nil removes it. A check
// must be quick and returns why its part cannot serve now, or nil.
func (h *Health) Set(name string, check func() error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if check == nil {
		delete(h.checks, name)
		return
	}
	if h.checks == nil {
		h.checks = map[string]func() error{}
	}
	h.checks[name] = check
}

// Fail makes the part of that name not ready, for a reason, until it is Set again.
func (h *Health) Fail(name string, err error) { h.Set(name, func() error { return err }) }

// Ready returns nil when every check passes, else one [entropy.CodeUnavailable]
// that names each failed check and carries the hint of the first.
func (h *Health) Ready() error {
	h.mu.RLock()
	checks := maps.Clone(h.checks)
	h.mu.RUnlock()
	var failed []string
	var hint string
	for _, name := range slices.Sorted(maps.Keys(checks)) {
		err := checks[name]()
		if err == nil {
			continue
		}
		e := entropy.AsError(err)
		failed = append(failed, fmt.Sprintf("%s: %s", name, e.Message))
		if hint == "" {
			hint = e.Hint
		}
	}
	if failed == nil {
		return nil
	}
	return entropy.Errorf(entropy.CodeUnavailable, "%s", strings.Join(failed, "; ")).WithHint("%s", hint)
}
