package rule

import "container/list"

// shelf is a map of bounded size that forgets what was put there longest ago.
type shelf[K comparable, V any] struct {
	size  int
	items map[K]*list.Element
	order *list.List // the oldest first
	gone  func(V)    // called with what is forgotten; may be nil
}

type placed[K comparable, V any] struct {
	key   K
	value V
}

func newShelf[K comparable, V any](size int, gone func(V)) *shelf[K, V] {
	return &shelf[K, V]{size: size, items: make(map[K]*list.Element), order: list.New(), gone: gone}
}

func (s *shelf[K, V]) get(k K) (v V, ok bool) {
	e, ok := s.items[k]
	if !ok {
		return v, false
	}
	return e.Value.(placed[K, V]).value, true
}

// put makes v the newest of its key.
func (s *shelf[K, V]) put(k K, v V) {
	s.remove(k)
	if len(s.items) >= s.size {
		oldest := s.order.Front().Value.(placed[K, V])
		s.remove(oldest.key)
		if s.gone != nil {
			s.gone(oldest.value)
		}
	}
	s.items[k] = s.order.PushBack(placed[K, V]{k, v})
}

func (s *shelf[K, V]) remove(k K) {
	if e, ok := s.items[k]; ok {
		s.order.Remove(e)
		delete(s.items, k)
	}
}

// each calls f with everything, the oldest first, until f returns false.
func (s *shelf[K, V]) each(f func(K, V) bool) {
	for e := s.order.Front(); e != nil; e = e.Next() {
		if p := e.Value.(placed[K, V]); !f(p.key, p.value) {
			return
		}
	}
}

// newest calls f with everything, the newest first, until f returns false.
func (s *shelf[K, V]) newest(f func(K, V) bool) {
	for e := s.order.Back(); e != nil; e = e.Prev() {
		if p := e.Value.(placed[K, V]); !f(p.key, p.value) {
			return
		}
	}
}
