// Package cluster is how the nodes of a fabric know of each other: gossip over
// hashicorp/memberlist, encrypted with the fabric's key and labeled with its
// cluster ID.
//
// A [Membership] tells who is there, who left and who failed, within seconds. It
// is a fast witness and never a judge: nothing in it carries state that must not
// be lost, and whoever holds the fabric's gossip key can make it say anything.
// Leases decide; see docs/GUARANTEES.md.
//
// What memberlist leaves to its user, and this package does: a name per process,
// so that a restarted node never conflicts with what it was; an announced leave
// told apart from a failure; callbacks that never block gossip; the choice of the
// address to be reached at; and a loop that joins again what a partition has
// separated, which gossip alone never does.
package cluster
