package action

import (
	"strconv"
	"sync"
	"testing"
)

// proves A-4, H-6, H-7, INV-15: ten thousand actions, with messages that are repeated,
// reordered and dropped, executors and control plane killed and orders lost: ten
// thousand single outcomes, and no executor's answered result is lost
func TestTenThousandActions(t *testing.T) {
	runs := 10
	if raceEnabled {
		runs = 1
	}
	var mu sync.Mutex
	total := make(map[string]int)
	t.Run("worlds", func(t *testing.T) {
		for seed := range runs {
			t.Run(strconv.Itoa(seed), func(t *testing.T) {
				t.Parallel()
				w := newWorld(uint64(seed), "")
				w.run(1000)
				for _, s := range w.wrong {
					t.Error(s)
				}
				mu.Lock()
				defer mu.Unlock()
				for k, n := range w.stats {
					total[k] += n
				}
			})
		}
	})
	t.Logf("%d runs:%s", runs, words(total))
	for _, k := range []string{"succeeded", "canceled", "failedexpired", "failedexhausted", "failedfinal", "late", "kills", "crashes", "compensations"} {
		if total[k] == 0 {
			t.Errorf("the world never showed %s", k)
		}
	}
}

// proves INV-15: the world finds the faults that are put into the control plane
func TestWorldFindsMutants(t *testing.T) {
	for _, m := range []mutant{noFence, staleState, producerClock, earlyAnswer, noOrder, noKey, lateFailure, begunTwice, noRevive} {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(20) {
				w := newWorld(seed, m)
				w.run(150)
				if len(w.wrong) > 0 {
					t.Log(w.wrong[0])
					return
				}
			}
			t.Error("not found")
		})
	}
}
