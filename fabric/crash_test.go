package fabric_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/fabric"
	"github.com/entropy-fabric/entropy/persistence/journal"
)

const (
	kills         = 50
	killsInFlight = 30 // at least so many of them with a commit in flight
)

// acked is a client's own fsynced record of the jobs it was told are accepted.
type acked struct {
	mu   sync.Mutex
	file *os.File
	ids  []entropy.JobID
}

func (a *acked) add(ids []entropy.JobID) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, id := range ids {
		if _, err := fmt.Fprintln(a.file, id); err != nil {
			return err
		}
	}
	a.ids = append(a.ids, ids...)
	return a.file.Sync()
}

// proves P-1, P-2, J-3, J-4, L-7: 50 times kill -9 of a control plane under load
// from 8 workers, at least 30 with a commit in flight: no acknowledged job is
// lost, none is completed twice, the journal is gapless.
func TestKillControl(t *testing.T) {
	l := newLab(t, 15*time.Second)
	for i := range 8 {
		l.worker(fmt.Sprintf("w%d", i), 8)
	}
	f, err := os.Create(l.path("acked"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	record := &acked{file: f}
	ctx, cancel := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	defer clients.Wait()
	defer cancel()
	var submitted atomic.Int64
	for range 2 {
		clients.Go(func() { l.load(ctx, record, &submitted) })
	}
	inFlight := 0
	for round := range kills {
		l.awaitProgress(&submitted)
		if killsInFlight-inFlight >= kills-round || round%5 != 4 {
			for end := time.Now().Add(5 * time.Second); l.mark[0] == 0 && time.Now().Before(end); {
			}
		}
		l.ctl.kill()
		if l.mark[0] == 1 {
			inFlight++
		}
		l.mark[0] = 0
		l.startControl()
	}
	cancel()
	clients.Wait()
	t.Logf("%d kills, %d with a commit in flight, %d jobs acknowledged", kills, inFlight, len(record.ids))
	if inFlight < killsInFlight {
		t.Errorf("only %d kills hit a commit in flight, want %d", inFlight, killsInFlight)
	}
	l.allSucceeded(record.ids)
	l.ctl.kill()
	l.verify(record.ids)
}

// load submits small batches for as long as ctx lives, repeating each with the
// same IDs until its outcome is known.
func (l *lab) load(ctx context.Context, record *acked, submitted *atomic.Int64) {
	c := l.client()
	for ctx.Err() == nil {
		batch := make([]entropy.Submission, 20)
		for i := range batch {
			batch[i] = entropy.Submission{ID: entropy.JobID(entropy.NewID()), Spec: entropy.JobSpec{Handler: "noop"}}
		}
		var ids []entropy.JobID
		for ids == nil && ctx.Err() == nil {
			results, err := c.Submit(ctx, batch)
			if err != nil {
				continue
			}
			for _, r := range results {
				if r.Error == nil {
					ids = append(ids, r.ID)
				}
			}
		}
		if err := record.add(ids); err != nil {
			l.t.Error(err)
			return
		}
		submitted.Add(int64(len(ids)))
	}
}

// awaitProgress waits until the control plane has accepted more jobs.
func (l *lab) awaitProgress(submitted *atomic.Int64) {
	l.t.Helper()
	from := submitted.Load()
	eventually(l.t, 30*time.Second, func() bool { return submitted.Load() >= from+100 }, func() string { return "no job was accepted for 30 s\n" + l.ctl.logs.String() })
}

func (l *lab) allSucceeded(ids []entropy.JobID) {
	l.t.Helper()
	c := l.client()
	deadline := time.Now().Add(2 * time.Minute)
	for len(ids) > 0 {
		n := min(len(ids), entropy.MaxBatch)
		jobs, err := c.Wait(context.Background(), ids[:n], time.Until(deadline))
		if err != nil {
			l.t.Fatal(err)
		}
		if len(jobs) < n {
			l.t.Fatalf("%d of %d acknowledged jobs did not end", n-len(jobs), n)
		}
		for _, j := range jobs {
			if j.State != entropy.Succeeded {
				l.t.Errorf("job %s %s: %s", j.ID, j.State, j.Message)
			}
		}
		ids = ids[n:]
	}
}

// verify reads the journal file as a program of its own would.
func (l *lab) verify(ids []entropy.JobID) {
	l.t.Helper()
	report, err := journal.VerifyFile(context.Background(), filepath.Join(l.path("control"), fabric.JournalFile))
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Log(report.String())
	if !report.OK() {
		l.t.Errorf("the journal does not verify")
	}
}
