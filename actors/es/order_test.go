package es_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/entropy-fabric/entropy/actors/es"
)

// recorder notes, in a book that outlives it, what it was told; with one place in
// memory for all it leaves after nearly every message.
type recorder struct {
	id   string
	book *book
}

type book struct {
	mu   sync.Mutex
	seen map[string][]int
	in   map[string]int // actors of an id that handle a message now
	twin bool           // two actors of one id were at work at once
}

func (b *book) enter(id string, by int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.in[id] += by
	b.twin = b.twin || b.in[id] > 1
}

func (r *recorder) Receive(c *es.Context) {
	n, ok := c.Message().(int)
	if !ok {
		return
	}
	r.book.enter(r.id, 1)
	r.book.mu.Lock()
	r.book.seen[r.id] = append(r.book.seen[r.id], n)
	r.book.mu.Unlock()
	r.book.enter(r.id, -1)
	c.Reply(nil, nil)
}

func (r *recorder) Idle() (idle, now bool) { return true, len(r.id)%2 == 0 }

// proves J-3 (the actor's part): what one sender tells an entity arrives in its
// order, though the entity comes and goes meanwhile, and never two of it are at
// work at once.
func TestOrderAndUniquenessAcrossLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{seen: make(map[string][]int), in: make(map[string]int)}
		sys := es.New(es.Config{})
		sh, err := es.SpawnShards(sys, es.ShardsConfig{Kind: "recorder", Count: 2, MaxResident: 1,
			New: func(id string) es.Actor { return &recorder{id, b} }})
		if err != nil {
			t.Fatal(err)
		}
		const senders, messages = 6, 400
		var wg sync.WaitGroup
		for s := range senders {
			wg.Go(func() {
				for n := range messages {
					if n%7 == 0 { // let it go idle now and then
						if _, err := sh.Ask(context.Background(), fmt.Sprint("e", s%3), s*messages+n).Await(context.Background()); err != nil {
							t.Error(err)
						}
						continue
					}
					sh.Tell(fmt.Sprint("e", s%3), s*messages+n)
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		sys.Close()
		sh.Stop(sys)
		total, last := 0, make(map[int]int)
		for _, seen := range b.seen {
			for _, n := range seen {
				if s := n / messages; n%messages < last[s] {
					t.Fatalf("sender %d: message %d came after %d", s, n%messages, last[s])
				} else {
					last[s] = n % messages
				}
				total++
			}
		}
		if total != senders*messages || b.twin {
			t.Errorf("%d of %d messages arrived; two of one id at once: %v", total, senders*messages, b.twin)
		}
	})
}
