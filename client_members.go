package entropy

import "context"

// Members returns the nodes that the control plane knows by gossip: control planes
// first, then by name. The list is empty when it takes no part in gossip.
func (c *Client) Members(ctx context.Context) (MemberList, error) {
	var list MemberList
	err := c.call(ctx, call{method: "GET", path: "/v1/members", out: &list})
	return list, err
}

// RotateKey begins to replace the keys that the cluster's members share, and
// returns how far that is; while a rotation is under way it begins no other. The
// rest goes on by itself, see KeyRotation.
func (c *Client) RotateKey(ctx context.Context) (KeyRotation, error) {
	var r KeyRotation
	err := c.call(ctx, call{method: "POST", path: "/v1/members/rotate-key", out: &r, mutates: true, repeatable: true})
	return r, err
}

// KeyRotation returns how far a rotation of the members' keys is.
func (c *Client) KeyRotation(ctx context.Context) (KeyRotation, error) {
	var r KeyRotation
	err := c.call(ctx, call{method: "GET", path: "/v1/members/rotate-key", out: &r})
	return r, err
}
