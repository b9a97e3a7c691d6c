package fabric_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// proves E-1, P-1: what the inbox has acknowledged is in the ledger once, though
// the control plane is killed again and again while events come in.
func TestIngestIsKilled(t *testing.T) {
	l := newLab(t, 5*time.Second)
	c := l.client()
	ctx, cancel := context.WithCancel(context.Background())
	var mu sync.Mutex
	acked := make(map[string]bool)
	var calls atomic.Int64
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				var items []json.RawMessage
				for k := range 20 {
					items = append(items, fmt.Appendf(nil, `{"id":"e-%d-%d-%d","ts":"2026-01-31T16:42:00Z","event_type":"step.done","entity_id":"order:%d","attrs":{"duration_ms":%d}}`, g, i, k, k, i))
				}
				results, err := c.Ingest(ctx, items)
				if err != nil {
					continue // unknown: it may be there
				}
				calls.Add(1)
				mu.Lock()
				for _, r := range results {
					if r.Status != entropy.IngestAccepted && r.Status != entropy.IngestDuplicate {
						t.Errorf("%+v", r)
					}
					acked[r.ID] = true
				}
				mu.Unlock()
			}
		})
	}
	for kill := range 5 {
		want := int64(kill+1) * 10
		eventually(t, 30*time.Second, func() bool { return calls.Load() >= want }, func() string { return fmt.Sprintf("%d calls", calls.Load()) })
		l.ctl.kill()
		l.startControl()
	}
	cancel()
	wg.Wait()
	seen := make(map[string]int)
	for f := (entropy.LedgerFilter{Limit: entropy.MaxIngest}); ; {
		page, err := l.client().Ledger(context.Background(), f)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Entries) == 0 {
			break
		}
		for _, e := range page.Entries {
			var ev entropy.Event
			if err := json.Unmarshal(e.Event, &ev); err != nil {
				t.Fatal(err)
			}
			seen[ev.ID]++
		}
		f.After = page.Next
	}
	for id := range acked {
		if seen[id] != 1 {
			t.Errorf("%s was acknowledged and is there %d times", id, seen[id])
		}
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s is there %d times", id, n)
		}
	}
	t.Logf("%d acknowledged, %d in the ledger", len(acked), len(seen))
}
