package es

import (
	"context"
	"fmt"
	"hash/maphash"
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

// Shards hosts the entities of one kind. Each shard is an actor, the only one
// that brings its entities to life, so that an id has at most one actor.
type Shards struct {
	refs     []Ref
	seed     maphash.Seed
	resident atomic.Int64
}

// Idler is an entity that can say that it has nothing to wait for.
type Idler interface {
	Actor
	// Idle reports whether the entity may leave memory; it is asked after each
	// message. Now asks that it leave without waiting for IdleAfter.
	Idle() (idle, now bool)
}

// SpawnShards starts the shards. New must make an [Idler].
func SpawnShards(s *System, cfg ShardsConfig) (*Shards, error) {
	cfg.Count = max(cfg.Count, 0)
	if cfg.Count == 0 {
		cfg.Count = 32
	}
	if cfg.IdleAfter == 0 {
		cfg.IdleAfter = 2 * time.Second
	}
	if cfg.MaxResident == 0 {
		cfg.MaxResident = 20_000
	}
	sh := &Shards{seed: maphash.MakeSeed()}
	for i := range cfg.Count {
		ref, err := s.Spawn(fmt.Sprintf("%s-shard-%d", cfg.Kind, i), func() Actor {
			return &shard{cfg: &cfg, all: sh, entities: make(map[string]*resident)}
		})
		if err != nil {
			return nil, err
		}
		sh.refs = append(sh.refs, ref)
	}
	return sh, nil
}

func (s *Shards) ref(id string) Ref {
	return s.refs[maphash.String(s.seed, id)%uint64(len(s.refs))]
}

// Tell sends msg to an entity, bringing it to life if need be.
func (s *Shards) Tell(id string, msg any) { s.ref(id).Tell(&toEntity{id, msg}) }

// Ask sends msg to an entity; the answer is had from [Question.Await].
func (s *Shards) Ask(ctx context.Context, id string, msg any) Question {
	q := Question{newRequest(ctx, msg), s.refs[0].sys.closed}
	s.Tell(id, q.req)
	return q
}

// Resident returns how many entities are in memory.
func (s *Shards) Resident() int64 { return s.resident.Load() }

type toEntity struct {
	id  string
	msg any
}

// mayLeave is an entity's word that it is idle after the messages it has counted.
type mayLeave struct {
	from    *tenantOf
	handled uint64
	now     bool
}

// tenantOf identifies one life of an entity: a word of an earlier life, which may
// have been on its way when the entity left, must not end a later one.
type tenantOf struct{ id string }

type sweep struct{}

// resident is an entity in memory, as its shard sees it.
type resident struct {
	ref      Ref
	life     *tenantOf
	sent     uint64    // messages forwarded to it
	idleAt   uint64    // sent when it last said that it was idle; 0: it never did
	idleFrom time.Time // when it said so
}

type shard struct {
	cfg      *ShardsConfig
	all      *Shards
	entities map[string]*resident
}

// Receive forwards messages and lets idle entities go.
func (s *shard) Receive(c *Context) {
	switch m := c.Message().(type) {
	case *toEntity:
		s.forward(c, m)
	case *mayLeave:
		s.onIdle(c, m)
	case sweep:
		s.sweep(c)
	case Started:
		c.After(s.cfg.IdleAfter, sweep{})
	case Stopped:
		s.all.resident.Add(-int64(len(s.entities)))
	case *gone:
		if s.forget(m.life) {
			c.After(restartWindow, &toEntity{m.life.id, Started{Again: true}})
		}
	}
}

func (s *shard) forward(c *Context, m *toEntity) {
	r := s.entities[m.id]
	if r == nil {
		life, self := &tenantOf{m.id}, c.Self()
		r = &resident{life: life, ref: c.Spawn(s.cfg.Kind+":"+m.id, func() Actor {
			return &tenant{Idler: s.cfg.New(life.id).(Idler), life: life, shard: self}
		})}
		s.entities[m.id] = r
		s.all.resident.Add(1)
	}
	r.sent++
	r.ref.Tell(&numbered{r.sent, m.msg})
}

func (s *shard) onIdle(c *Context, m *mayLeave) {
	r := s.entities[m.from.id]
	if r == nil || r.life != m.from || r.sent != m.handled {
		return // a message is on its way to it: it will say so again
	}
	if m.now || s.all.Resident() > int64(s.cfg.MaxResident) {
		s.leave(c, m.from.id, r)
		return
	}
	r.idleAt, r.idleFrom = m.handled, time.Now()
}

func (s *shard) sweep(c *Context) {
	for id, r := range s.entities {
		if r.idleAt == r.sent && r.idleAt > 0 && time.Since(r.idleFrom) >= s.cfg.IdleAfter {
			s.leave(c, id, r)
		}
	}
	c.After(s.cfg.IdleAfter/2, sweep{})
}

// leave stops an entity whose mailbox is known to be empty: it has handled every
// message that was ever sent to it, and only this shard sends to it.
func (s *shard) leave(c *Context, id string, r *resident) {
	delete(s.entities, id)
	s.all.resident.Add(-1)
	c.Stop(r.ref)
}

// forget drops an entity that its supervisor gave up, and reports whether it did:
// not one that left. The next message makes it anew; if none comes, it is told
// after a while that it starts again, since its timers are gone.
func (s *shard) forget(life *tenantOf) bool {
	r := s.entities[life.id]
	if r == nil || r.life != life {
		return false
	}
	delete(s.entities, life.id)
	s.all.resident.Add(-1)
	return true
}

// gone is the last word of an entity.
type gone struct{ life *tenantOf }

type numbered struct {
	n   uint64
	msg any
}

// tenant wraps an entity: it counts messages and tells the shard about idleness.
type tenant struct {
	Idler
	life    *tenantOf
	shard   Ref
	handled uint64
}

// Receive unwraps a numbered message; the entity's own timers arrive bare.
func (t *tenant) Receive(c *Context) {
	if n, ok := c.msg.(*numbered); ok {
		t.handled = n.n
		c.msg = n.msg
		if r, ok := n.msg.(*request); ok {
			c.msg, c.req = r.msg, r
		}
	}
	t.Idler.Receive(c)
	if _, stopped := c.msg.(Stopped); stopped {
		t.shard.Tell(&gone{t.life})
		return
	}
	if t.handled == 0 {
		return
	}
	if idle, now := t.Idle(); idle {
		t.shard.Tell(&mayLeave{t.life, t.handled, now})
	}
}

// Stop stops every shard and, with it, its entities.
func (s *Shards) Stop(sys *System) {
	for _, ref := range s.refs {
		sys.Stop(ref)
	}
}
