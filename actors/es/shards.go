package es

import (
	"context"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ShardsConfig configures [Shards].
type ShardsConfig struct {
	Kind  string                // names the actors in logs
	New   func(id string) Actor // makes the entity; it loads its state at its first message
	Count int                   // shards; 0 means 32

	// IdleAfter is how long an entity that has nothing to wait for stays in
	// memory. 0 means 2 s.
	IdleAfter time.Duration
	// MaxResident is how many entities may be in memory before idle ones leave at
	// once. Entities with something to do stay regardless. 0 means 20,000.
	MaxResident int
}

// Shards hosts the entities of one kind, each an actor that is brought to life by
// its first message. A shard is a part of the directory of those in memory, with
// a lock of its own: who sends a message finds its actor there, so that an id has
// at most one, and a message takes one step.
type Shards struct {
	cfg      ShardsConfig
	sys      *System
	seed     maphash.Seed
	shards   []shard
	keeper   Ref
	resident atomic.Int64
}

// shard is a part of the directory.
type shard struct {
	mu       sync.Mutex
	entities map[string]*resident
}

// resident is an entity in memory. It identifies one life of it: a word of an
// earlier life must not end a later one. All but id is guarded by the shard's lock.
type resident struct {
	id       string
	ref      Ref
	sent     uint64    // messages sent to it
	idleAt   uint64    // sent when it last said that it was idle; 0: it never did
	idleFrom time.Time // when it said so
}

// Idler is an entity that can say that it has nothing to wait for.
type Idler interface {
	Actor
	// Idle reports whether the entity may leave memory; it is asked after each
	// message. Now asks that it leave without waiting for IdleAfter.
	Idle() (idle, now bool)
}

// SpawnShards returns an empty directory. New must make an [Idler].
func SpawnShards(s *System, cfg ShardsConfig) (*Shards, error) {
	if cfg.Count <= 0 {
		cfg.Count = 32
	}
	if cfg.IdleAfter == 0 {
		cfg.IdleAfter = 2 * time.Second
	}
	if cfg.MaxResident == 0 {
		cfg.MaxResident = 20_000
	}
	sh := &Shards{cfg: cfg, sys: s, seed: maphash.MakeSeed(), shards: make([]shard, cfg.Count)}
	for i := range sh.shards {
		sh.shards[i].entities = make(map[string]*resident)
	}
	var err error
	sh.keeper, err = s.Spawn(cfg.Kind+"-keeper", func() Actor { return &keeper{sh} })
	return sh, err
}

func (s *Shards) shard(id string) *shard {
	return &s.shards[maphash.String(s.seed, id)%uint64(len(s.shards))]
}

// Tell sends msg to an entity, bringing it to life if need be.
func (s *Shards) Tell(id string, msg any) {
	if s.sys.isClosed() {
		return
	}
	sh := s.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock() // the mailbox has the messages in the order of their numbers
	r := sh.entities[id]
	if r == nil {
		r = &resident{id: id}
		r.ref = s.sys.spawn(s.cfg.Kind+":"+id, func() Actor { return &tenant{Idler: s.cfg.New(id).(Idler), life: r, all: s} })
		sh.entities[id] = r
		s.resident.Add(1)
	}
	r.sent++
	r.ref.Tell(&numbered{r.sent, msg})
}

// Ask sends msg to an entity; the answer is had from [Question.Await].
func (s *Shards) Ask(ctx context.Context, id string, msg any) Question {
	q := Question{newRequest(ctx, msg), s.sys.closed, s.sys.Enter()}
	s.Tell(id, q.req)
	return q
}

// Resident returns how many entities are in memory.
func (s *Shards) Resident() int64 { return s.resident.Load() }

// Stop stops every entity and waits until they have stopped. What waits in their
// mailboxes is dropped. Close the system before it, so that none comes back.
func (s *Shards) Stop(sys *System) {
	refs := []Ref{s.keeper}
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		for _, r := range sh.entities {
			refs = append(refs, r.ref)
		}
		sh.mu.Unlock()
	}
	sys.Stop(refs...)
}

// idle is an entity's word that it may leave after the messages it has counted.
func (s *Shards) idle(r *resident, handled uint64, now bool) {
	sh := s.shard(r.id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	switch {
	case sh.entities[r.id] != r || r.sent != handled: // a message is on its way to it: it will say so again
	case now || s.Resident() > int64(s.cfg.MaxResident):
		s.leave(sh, r)
	default:
		r.idleAt, r.idleFrom = handled, time.Now()
	}
}

// leave stops an entity whose mailbox is known to be empty: it has handled every
// message that was ever sent to it. The caller holds the lock.
func (s *Shards) leave(sh *shard, r *resident) {
	delete(sh.entities, r.id)
	s.resident.Add(-1)
	r.ref.stop()
}

// gone drops an entity that its supervisor gave up, and reports whether it did:
// not one that left.
func (s *Shards) gone(r *resident) bool {
	sh := s.shard(r.id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.entities[r.id] != r {
		return false
	}
	delete(sh.entities, r.id)
	s.resident.Add(-1)
	return true
}

// sweep lets go whoever has been idle for long, in an order that can be repeated.
func (s *Shards) sweep() {
	var idle []*resident
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		for _, r := range sh.entities {
			if r.idleAt == r.sent && r.idleAt > 0 && time.Since(r.idleFrom) >= s.cfg.IdleAfter {
				idle = append(idle, r)
			}
		}
		sh.mu.Unlock()
	}
	slices.SortFunc(idle, func(a, b *resident) int { return strings.Compare(a.id, b.id) })
	for _, r := range idle {
		sh := s.shard(r.id)
		sh.mu.Lock()
		if sh.entities[r.id] == r && r.idleAt == r.sent {
			s.leave(sh, r)
		}
		sh.mu.Unlock()
	}
}
