package fabric

import "time"

// SetKeyGrace makes a rotation of the cluster's keys wait no longer for a worker.
func SetKeyGrace(c *Control, d time.Duration) {
	c.keys.mu.Lock()
	defer c.keys.mu.Unlock()
	c.keys.grace = d
}
