package actors

import "github.com/entropy-fabric/entropy"

// Witness tells the system what gossip says of a worker: that it is dead, or no
// longer. It is a hint: it brings forward the loss of a worker that is silent in
// every other way too, and expires nothing by itself. Of a worker that said
// goodbye or that was never registered it changes nothing. It does not block.
func (s *System) Witness(worker entropy.WorkerID, dead bool) { s.registry.Witness(worker, dead) }

// SetGossip says how the control plane gossips: workers are told when they register.
func (s *System) SetGossip(g entropy.Gossip) { s.gossip.Store(&g) }
