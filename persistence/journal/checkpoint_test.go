package journal

import (
	"os"
	"sync"
	"testing"
)

// Under a steady load, with no moment of rest and a reader that comes and goes, the
// write-ahead log is moved into the main file and starts anew.
//
// proves P-1, P-5
func TestTheLogStaysBoundedUnderASteadyLoad(t *testing.T) {
	t.Parallel()
	const pages, perPage = 32, 4096 + 24
	j := open(t, Config{checkpointPages: pages})
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for p := range 6 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					runJob(t, j, name("j%d-%d", p, i), name("w%d", p), uint64(i+1))
				}
			}
		})
	}
	var longest int64
	waitFor(t, "2,000 events are written", func() bool {
		fi, err := os.Stat(j.path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		longest = max(longest, fi.Size())
		if _, err := j.Counts(bg); err != nil {
			t.Fatal(err)
		}
		return j.Seq() >= 2_000
	})
	close(stop)
	wg.Wait()
	if fi, err := os.Stat(j.path); err != nil || fi.Size() < 100*4096 {
		t.Errorf("the main file has %d bytes, %v: nothing was moved into it", fi.Size(), err)
	}
	// Without a new start the log would be over 2,000 x 8 pages.
	if limit := int64(20 * backstop * pages * perPage); longest > limit {
		t.Errorf("the log grew to %d bytes, over %d", longest, limit)
	}
	verified(t, j)
}

func TestEveryCheckpointingConnectionIsFullySynchronous(t *testing.T) {
	t.Parallel()
	j := open(t, Config{})
	if got, err := j.checkpoints.number(bg, "PRAGMA synchronous"); err != nil || got != 2 {
		t.Errorf("synchronous is %d, %v", got, err)
	}
}
