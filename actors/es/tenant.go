package es

// numbered is a message to an entity with its place among all that were sent to
// this life of it.
type numbered struct {
	n   uint64
	msg any
}

// tenant wraps an entity: it counts messages and says when it is idle.
type tenant struct {
	Idler
	life    *resident
	all     *Shards
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
		if t.all.gone(t.life) {
			t.all.keeper.Tell(givenUp{t.life.id})
		}
		return
	}
	if t.handled == 0 {
		return
	}
	if idle, now := t.Idle(); idle {
		t.all.idle(t.life, t.handled, now)
	}
}

// keeper is the actor that looks after the directory: it lets idle entities go,
// and starts again who was given up.
type keeper struct{ all *Shards }

type sweep struct{}

// givenUp says that an entity crashed too often. The next message makes it anew;
// if none comes, it is told after a while that it starts again, since its timers
// are gone.
type givenUp struct{ id string }

type startAgain struct{ id string }

// Receive handles one message.
func (k *keeper) Receive(c *Context) {
	switch m := c.Message().(type) {
	case Started:
		c.After(k.all.cfg.IdleAfter, sweep{})
	case sweep:
		k.all.sweep()
		c.After(k.all.cfg.IdleAfter/2, sweep{})
	case givenUp:
		c.After(restartWindow, startAgain(m))
	case startAgain:
		k.all.Tell(m.id, Started{Again: true})
	}
}
