// Package discovery finds the control plane of a cluster on the local networks,
// without an address.
//
// A worker asks on every usable interface, by IPv4 multicast, directed broadcast
// and IPv6 link-local multicast; the control plane answers the asker directly.
// Both packets carry a MAC by a key that only members of the cluster have, or by
// one that is derived from the secret of a join token, which neither side sends. The
// answer repeats the question's nonce, so that an old one is worth nothing.
//
// What is found is a hint: an address to try. The control plane still has to prove
// itself there before it is sent any secret. Of a packet's own words no address is
// believed: it is taken from where the packet came from, and on which interface.
package discovery
