package analyzer

import "container/list"

// lru is a map of bounded size that forgets what was not touched longest.
type lru[K comparable, V any] struct {
	limit   int
	items   map[K]*list.Element
	order   *list.List // the newest first
	evicted uint64
	onEvict func(V)
}

type entry[K comparable, V any] struct {
	key   K
	value V
}

func newLRU[K comparable, V any](limit int, onEvict func(V)) *lru[K, V] {
	return &lru[K, V]{limit: limit, items: make(map[K]*list.Element), order: list.New(), onEvict: onEvict}
}

// get returns a value and makes it the newest.
func (l *lru[K, V]) get(k K) (v V, ok bool) {
	e, ok := l.items[k]
	if !ok {
		return v, false
	}
	l.order.MoveToFront(e)
	return e.Value.(*entry[K, V]).value, true
}

// add adds a value under a key that is not there, and forgets the oldest when
// it is one too many.
func (l *lru[K, V]) add(k K, v V) {
	if l.order.Len() >= l.limit {
		oldest := l.order.Back().Value.(*entry[K, V])
		l.remove(oldest.key)
		l.evicted++
		l.onEvict(oldest.value)
	}
	l.items[k] = l.order.PushFront(&entry[K, V]{k, v})
}

func (l *lru[K, V]) remove(k K) {
	if e, ok := l.items[k]; ok {
		l.order.Remove(e)
		delete(l.items, k)
	}
}

func (l *lru[K, V]) len() int { return l.order.Len() }

// recent remembers keys in two generations: at least size of the newest, at
// most twice as many.
type recent struct {
	size     int
	now, old map[uint64]struct{}
}

// seen reports whether a key was seen before, and remembers it.
func (r *recent) seen(key string) bool {
	h := hash(key)
	if _, ok := r.now[h]; ok {
		return true
	}
	_, ok := r.old[h]
	if len(r.now) >= r.size {
		r.now, r.old = make(map[uint64]struct{}), r.now
	}
	if r.now == nil {
		r.now = make(map[uint64]struct{})
	}
	r.now[h] = struct{}{}
	return ok
}

// hash is FNV-1a of 64 bits.
func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}
