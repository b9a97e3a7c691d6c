package cluster

import "sync"

// mailbox hands over what memberlist's callbacks said. It takes any number:
// callbacks run under memberlist's lock, and one that waits for room stops gossip.
type mailbox struct {
	mu    sync.Mutex
	items []sighting
	ready chan struct{} // has room for one
}

func newMailbox() *mailbox { return &mailbox{ready: make(chan struct{}, 1)} }

// put never blocks.
func (m *mailbox) put(s sighting) {
	m.mu.Lock()
	m.items = append(m.items, s)
	m.mu.Unlock()
	select {
	case m.ready <- struct{}{}:
	default:
	}
}

// take returns everything that was put since the last call, in order.
func (m *mailbox) take() []sighting {
	m.mu.Lock()
	defer m.mu.Unlock()
	items := m.items
	m.items = nil
	return items
}
