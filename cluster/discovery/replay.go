package discovery

import "time"

// MaxSkew is how far the clocks of a question and of the control plane may be apart.
const MaxSkew = 2 * time.Minute

// remembered bounds the nonces of one generation. Only authenticated ones are kept.
const remembered = 10_000

// replays remembers the nonces of questions for at least as long as their times
// are accepted, in two generations.
type replays struct {
	now, before map[Nonce]bool
	since       time.Time
}

// seen reports whether a question was heard before, or cannot be remembered.
func (r *replays) seen(n Nonce, at time.Time) bool {
	if r.now == nil || at.Sub(r.since) > 2*MaxSkew {
		r.now, r.before, r.since = make(map[Nonce]bool), r.now, at
	}
	if r.now[n] || r.before[n] || len(r.now) >= remembered {
		return true
	}
	r.now[n] = true
	return false
}
