package actors

import "sync"

// bell lets callers wait for something to happen to a key. It holds nothing for
// keys that nobody waits for. It is safe for concurrent use.
type bell struct {
	mu      sync.Mutex
	waiters map[string]map[chan struct{}]struct{}
}

// anyEvent is the key that rings at every commit.
const anyEvent = ""

func newBell() *bell { return &bell{waiters: make(map[string]map[chan struct{}]struct{})} }

// listen returns a channel that is closed at the next ring of key, and a function
// that gives up waiting.
func (b *bell) listen(key string) (<-chan struct{}, func()) {
	ch := make(chan struct{})
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiters[key] == nil {
		b.waiters[key] = make(map[chan struct{}]struct{})
	}
	b.waiters[key][ch] = struct{}{}
	return ch, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.waiters[key], ch)
		if len(b.waiters[key]) == 0 {
			delete(b.waiters, key)
		}
	}
}

func (b *bell) ring(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for ch := range b.waiters[key] {
		close(ch)
	}
	delete(b.waiters, key)
}
