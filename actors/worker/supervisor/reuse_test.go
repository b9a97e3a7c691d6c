package supervisor

import (
	"testing"

	"github.com/entropy-fabric/entropy"
)

// proves W-6: a job that had to be killed, or left something behind that had, does
// no harm to those that run after it in its place.
func TestKilledPlaceIsNotLentAgain(t *testing.T) {
	bothWays(t, func(t *testing.T, e *Engine) {
		after := uint64(0)
		run := func(id, script string) entropy.Completion {
			t.Helper()
			begin(t, e, sh(id, script))
			x := nextExit(t, e, after)
			after = x.Completion.CompletionSeq
			return x.Completion
		}
		for _, id := range []string{"a", "b", "c"} {
			run(id+"-left", "sleep 600 & exit 0")
			if c := run(id+"-next", "exit 7"); c.ExitCode == nil || *c.ExitCode != 7 {
				t.Errorf("after a job that left a process: %+v", c)
			}
			run(id+"-killed", "sleep 600 & kill -9 $$")
			if c := run(id+"-last", "exit 7"); c.ExitCode == nil || *c.ExitCode != 7 {
				t.Errorf("after a job that was killed: %+v", c)
			}
		}
	})
}
